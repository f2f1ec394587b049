#include "config/schema_internal.h"

#include <ctype.h>
#include <strings.h>

#include "base/log.h"

/* --- checks of single values --- */

bool schema_is_domain(struct str name)
{
    if (name.len == 0 || name.len > 253)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        if (c == '.') {
            if (label == 0 || name.p[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if ((!isalnum((unsigned char)c) && c != '_' && (c != '-' || label == 0)) || ++label > 63)
            return false;
    }
    return label > 0 && name.p[name.len - 1] != '-';
}

bool schema_url_parse(struct str url, struct schema_url *out)
{
    *out = (struct schema_url){0};
    struct str rest;
    if (str_starts(url, STR("https://"))) {
        out->is_https = true;
        rest = str_n(url.p + 8, url.len - 8);
    } else if (str_starts(url, STR("http://"))) {
        rest = str_n(url.p + 7, url.len - 7);
    } else {
        return false;
    }
    struct addr ip;
    if (rest.len > 0 && rest.p[0] == '[') {
        struct str inside;
        struct str after;
        if (!str_cut(str_n(rest.p + 1, rest.len - 1), ']', &inside, &after) || addr_parse_ip(inside, &ip) != RC_OK)
            return false;
        out->host = inside;
        rest = after;
        if (rest.len > 0 && rest.p[0] != ':')
            return false;
        rest = rest.len > 0 ? str_n(rest.p + 1, rest.len - 1) : rest;
    } else {
        bool has_port = str_cut(rest, ':', &out->host, &rest);
        if (!schema_is_domain(out->host) || (has_port && rest.len == 0))
            return false;
    }
    uint64_t port = 0;
    if (rest.len > 0 && (str_to_u64(rest, &port) != RC_OK || port == 0 || port > 65535))
        return false;
    out->port = (uint16_t)port;
    return true;
}

static const char *check_server_url(struct str *text)
{
    struct schema_url url;
    while (text->len > 0 && text->p[text->len - 1] == '/')
        text->len--;
    return schema_url_parse(*text, &url) ? NULL
                                         : "must be http:// or https:// and a host, without a path, e.g. "
                                           "https://hs.example.com";
}

static const char *check_domain(struct str *text)
{
    if (text->len > 0 && text->p[text->len - 1] == '.')
        text->len--;
    return schema_is_domain(*text) ? NULL : "must be a DNS name, e.g. tailnet.example.com";
}

static const char *check_hostname(struct str *text)
{
    struct addr ip;
    if (addr_parse_ip(*text, &ip) == RC_OK)
        return NULL;
    if (text->len > 1 && text->p[text->len - 1] == '.')
        text->len--;
    return schema_is_domain(*text) ? NULL
                                   : "must be a host name or an IP address alone, without https://, port or path "
                                     "(the relay's port is that of derp.server.listen_addr)";
}

static const char *check_family(struct str text, uint8_t family, const char *wanted)
{
    struct addr ip;
    return addr_parse_ip(text, &ip) == RC_OK && ip.family == family ? NULL : wanted;
}

static const char *check_ipv4(struct str *text)
{
    return check_family(*text, 4, "must be an IPv4 address");
}

static const char *check_ipv6(struct str *text)
{
    return check_family(*text, 6, "must be an IPv6 address");
}

static const char *check_url(struct str *text)
{
    static const char wanted[] = "must be an http:// or https:// URL, e.g. https://example.com/derpmap.json";
    struct str host, path;
    bool is_https = str_starts(*text, STR("https://"));
    if (!is_https && !str_starts(*text, STR("http://")))
        return wanted;
    for (size_t i = 0; i < text->len; i++) {
        if (text->p[i] <= ' ' || text->p[i] == 0x7f)
            return wanted;
    }
    size_t scheme = is_https ? 8 : 7;
    str_cut(str_n(text->p + scheme, text->len - scheme), '/', &host, &path);
    return host.len > 0 && text->len <= 2048 ? NULL : wanted;
}

static const char *check_nameserver(struct str *text)
{
    struct addr ip;
    if (addr_parse_ip(*text, &ip) == RC_OK || addr_parse(*text, &ip) == RC_OK)
        return NULL;
    return str_starts(*text, STR("https://")) && check_url(text) == NULL
               ? NULL
               : "must be an IP address or a DNS-over-HTTPS URL (https://...)";
}

static bool is_pin(struct str text)
{
    const struct str prefix = STR("sha256-raw:");
    uint8_t digest[32];
    return str_starts(text, prefix) &&
           hex_decode(str_n(text.p + prefix.len, text.len - prefix.len), digest, sizeof(digest)) == RC_OK;
}

/* host, host:port, [IPv6]:port */
static bool is_host_port(struct str text)
{
    struct addr ip;
    uint64_t port;
    if (check_hostname(&text) == NULL || addr_parse(text, &ip) == RC_OK)
        return true;
    long colon = str_index(text, ':');
    if (colon <= 0)
        return false;
    struct str host = str_n(text.p, (size_t)colon);
    struct str number = str_n(text.p + colon + 1, text.len - (size_t)colon - 1);
    return check_hostname(&host) == NULL && str_to_u64(number, &port) == RC_OK && port > 0 && port <= UINT16_MAX;
}

static const char *check_neighbour(struct str *text)
{
    static const char wanted[] = "must be host[:port], and perhaps /dialled-host and /sha256-raw:<fingerprint>";
    struct str rest = *text;
    bool has_pin = false;
    for (int part = 0;; part++) {
        long slash = str_index(rest, '/');
        struct str piece = slash < 0 ? rest : str_n(rest.p, (size_t)slash);
        bool is_fit = part == 0 ? is_host_port(piece) : is_pin(piece) || (part == 1 && check_hostname(&piece) == NULL);
        if (!is_fit || has_pin)
            return wanted;
        has_pin = part > 0 && is_pin(piece);
        if (slash < 0)
            return NULL;
        rest = str_n(rest.p + slash + 1, rest.len - (size_t)slash - 1);
    }
}

/* --- the table --- */

static const struct schema_choice allocations[] = {
    {"sequential", CONFIG_ALLOCATION_SEQUENTIAL, false}, {"random", CONFIG_ALLOCATION_RANDOM, false}, {0}};
static const struct schema_choice databases[] = {
    {"sqlite", CONFIG_DATABASE_SQLITE, false}, {"sqlite3", CONFIG_DATABASE_SQLITE, true}, {0}};
static const struct schema_choice policy_modes[] = {
    {"file", CONFIG_POLICY_FILE, false}, {"database", CONFIG_POLICY_DATABASE, false}, {0}};
static const struct schema_choice log_formats[] = {
    {"text", CONFIG_LOG_TEXT, false}, {"json", CONFIG_LOG_JSON, false}, {0}};
static const struct schema_choice log_levels[] = {{"trace", LOG_TRACE, false}, {"debug", LOG_DEBUG, false},
                                                  {"info", LOG_INFO, false},   {"warn", LOG_WARN, false},
                                                  {"error", LOG_ERROR, false}, {"warning", LOG_WARN, true},
                                                  {"fatal", LOG_ERROR, true},  {"panic", LOG_ERROR, true},
                                                  {"off", LOG_OFF, false},     {0}};

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define YEAR_MS (365 * 24 * 60 * MINUTE_MS)
#define FIELD(f) .offset = offsetof(struct config, f)

/* Order: as `config reference` prints it; and a default that refers to another row stands below that row. */
const struct schema_row schema_rows[] = {
    {"listen_addr", SCHEMA_LISTEN, FIELD(listen_addr), .def = "[::]:8080", .must_not_be_empty = true,
     .meaning =
         "Where clients and browsers connect: the control protocol over HTTP, or HTTPS when tls_cert_path is set."},
    {"tls_cert_path", SCHEMA_PATH, FIELD(tls_cert_path), .def = "",
     .meaning =
         "Certificate chain (PEM) for listen_addr. Together with tls_key_path; both are read again when they change."},
    {"tls_key_path", SCHEMA_PATH, FIELD(tls_key_path), .def = "", .meaning = "Private key (PEM) of tls_cert_path."},
    {"server_url", SCHEMA_STRING, FIELD(server_url), .def = "{server_url}",
     .def_shown = "http://<address of this machine at the first start>:<port>", .check = check_server_url,
     .meaning =
         "The URL by which clients reach this server (tailscale up --login-server URL). Use https:// on anything but "
         "a private address."},
    {"metrics_listen_addr", SCHEMA_LISTEN, FIELD(metrics_listen_addr), .def = "127.0.0.1:9090",
     .meaning = "Where /metrics (Prometheus) is served, over plain HTTP. Empty: off."},
    {"trusted_proxies", SCHEMA_PREFIXES, FIELD(trusted_proxies), .def = "",
     .meaning = "Reverse proxies in front of this server, each an address or a prefix. Limits per address are for the "
                "client that they name in "
                "X-Forwarded-For."},
    {"allowed_hosts", SCHEMA_STRINGS, FIELD(allowed_hosts), .def = "", .check = check_domain,
     .meaning =
         "Further names by which this server, its metrics and its relay may be called, as in "
         "http://NAME:9090/metrics. IP "
         "addresses, localhost, the name of this machine, the host of server_url and derp.server.hostname always "
         "may; a request "
         "with another Host header gets 421."},
    {"state_dir", SCHEMA_PATH, FIELD(state_dir), .def = "{state_dir}",
     .def_shown = "/var/lib/fullscale (root), fullscale-data beside the file",
     .meaning = "Directory of the database, keys and certificates, made when absent."},
    {"unix_socket", SCHEMA_PATH, FIELD(unix_socket), .def = "{run_dir}/fullscale.sock",
     .def_shown = "/run/fullscale/fullscale.sock (root), STATE_DIR/fullscale.sock",
     .meaning = "Socket on which the command line talks to the server. Whoever may open it is an administrator."},
    {"unix_socket_permission", SCHEMA_MODE, FIELD(unix_socket_permission), .def = "0770", .unit = "octal", .max = 0777,
     .meaning = "Permission bits of unix_socket."},
    {"workers", SCHEMA_INT, FIELD(workers), .def = "0", .unit = "threads", .max = 256,
     .meaning = "Event loops that serve connections. 0: one per CPU."},

    {"noise.private_key_path", SCHEMA_PATH, FIELD(noise_private_key_path), .def = "{state_dir}/noise_private.key",
     .meaning =
         "The server's identity towards clients, made when absent. Keep it: with another key running clients stay "
         "offline."},

    {"prefixes.v4", SCHEMA_PREFIX, FIELD(prefix_v4), .def = "100.64.0.0/10",
     .meaning = "IPv4 addresses for nodes. Empty: no IPv4."},
    {"prefixes.v6", SCHEMA_PREFIX, FIELD(prefix_v6), .def = "fd7a:115c:a1e0::/48",
     .meaning = "IPv6 addresses for nodes. Empty: no IPv6."},
    {"prefixes.allocation", SCHEMA_CHOICE, FIELD(prefix_allocation), .def = "sequential", .choices = allocations,
     .meaning = "How a new node's addresses are chosen."},

    {"derp.server.enabled", SCHEMA_BOOL, FIELD(derp_server_enabled), .def = "true",
     .meaning = "Run the embedded relay (DERP) and STUN."},
    {"derp.server.region_id", SCHEMA_INT, FIELD(derp_server_region_id), .def = "999", .min = 1, .max = 65535,
     .meaning = "Region number of the embedded relay; it wins over the same number in derp.urls and derp.paths."},
    {"derp.server.region_code", SCHEMA_STRING, FIELD(derp_server_region_code), .def = "fullscale",
     .meaning = "Short name of the region."},
    {"derp.server.region_name", SCHEMA_STRING, FIELD(derp_server_region_name), .def = "Fullscale Embedded DERP",
     .meaning = "Name of the region for people."},
    {"derp.server.verify_clients", SCHEMA_BOOL, FIELD(derp_server_verify_clients), .def = "true",
     .meaning = "Relay for nodes of this server only."},
    {"derp.server.listen_addr", SCHEMA_LISTEN, FIELD(derp_server_listen_addr), .def = "{derp_listen}",
     .def_shown = "[::]:8443; none when tls_cert_path is set or server_url is a TLS proxy's",
     .meaning =
         "Where the embedded relay listens, with TLS of its own. None, or the same as listen_addr: it is at "
         "listen_addr, "
         "behind the certificate or the TLS proxy of that, and clients reach it at the port of server_url; then one "
         "port "
         "serves all but STUN. Of `fullscale relay`: [::]:8443."},
    {"derp.server.hostname", SCHEMA_STRING, FIELD(derp_server_hostname), .def = "",
     .def_shown = "the host of server_url", .check = check_hostname, .is_name = true,
     .meaning = "Name or address by which clients reach the embedded relay and STUN."},
    {"derp.server.stun_listen_addr", SCHEMA_LISTEN, FIELD(derp_server_stun_listen_addr), .def = "[::]:3478",
     .must_not_be_empty = true, .meaning = "Where STUN listens (UDP)."},
    {"derp.server.private_key_path", SCHEMA_PATH, FIELD(derp_server_private_key_path),
     .def = "{state_dir}/derp_server_private.key", .meaning = "Key of the embedded relay, made when absent."},
    {"derp.server.tls_cert_path", SCHEMA_PATH, FIELD(derp_server_tls_cert_path), .def = "{state_dir}/derp_cert.pem",
     .meaning =
         "Certificate of the embedded relay. When absent a self-signed one is made, whose pin is in the DERP map."},
    {"derp.server.tls_key_path", SCHEMA_PATH, FIELD(derp_server_tls_key_path), .def = "{state_dir}/derp_key.pem",
     .meaning = "Private key of derp.server.tls_cert_path."},
    {"derp.server.automatically_add_embedded_derp_region", SCHEMA_BOOL, FIELD(derp_server_add_region), .def = "true",
     .meaning = "Tell clients about the embedded relay. False needs derp.paths or derp.urls."},
    {"derp.server.ipv4", SCHEMA_STRING, FIELD(derp_server_ipv4), .def = "", .check = check_ipv4,
     .meaning = "IPv4 address of the embedded relay, for clients that cannot resolve its name."},
    {"derp.server.ipv6", SCHEMA_STRING, FIELD(derp_server_ipv6), .def = "", .check = check_ipv6,
     .meaning = "IPv6 address of the embedded relay, for clients that cannot resolve its name."},
    {"derp.server.mesh_key_path", SCHEMA_PATH, FIELD(derp_server_mesh_key_path), .def = "",
     .meaning =
         "File with the secret that the relays of one region share: 64 hex digits, as for derper's -mesh-psk-file."},
    {"derp.server.mesh_with", SCHEMA_STRINGS, FIELD(derp_server_mesh_with), .def = "", .check = check_neighbour,
     .meaning =
         "The other relays of the region, each host[:port]; port 443 when none is given. Then, after slashes, the host "
         "to dial when it is another, and sha256-raw:<fingerprint> of a certificate that no authority has signed. Each "
         "relay of the region lists all others."},
    {"derp.server.limits.connections", SCHEMA_INT, FIELD(derp_limits_connections), .def = "20000", .min = 16,
     .max = 10000000, .meaning = "Open connections to the embedded relay; further ones are closed at once."},
    {"derp.server.limits.accepts_per_address", SCHEMA_INT, FIELD(derp_limits_accepts_per_address), .def = "100",
     .unit = "1/s", .max = 1000000,
     .meaning =
         "Connections a second to the embedded relay from one address (an IPv6 /64), ten times that at once. 0: no "
         "limit."},
    {"derp.server.limits.client_rate", SCHEMA_BYTES, FIELD(derp_limits_client_rate_bytes), .def = "0",
     .unit = "bytes/s", .max = INT64_C(1) << 40,
     .meaning = "What one client may send through the embedded relay in a second, at least 16KiB. Clients are sent "
                "the limit; those that send more are read more slowly. 0: no limit."},
    {"derp.server.limits.client_burst", SCHEMA_BYTES, FIELD(derp_limits_client_burst_bytes), .def = "1MiB",
     .min = 128 * 1024, .max = INT64_C(1) << 40,
     .meaning = "What a client that was silent may send at once, when there is a client_rate."},
    {"derp.server.limits.client_queue", SCHEMA_BYTES, FIELD(derp_limits_client_queue_bytes), .def = "256KiB",
     .min = 128 * 1024, .max = 64 << 20,
     .meaning = "Packets that wait for one client of the embedded relay; the oldest are dropped."},
    {"derp.server.limits.write_timeout", SCHEMA_DURATION, FIELD(derp_limits_write_timeout_ms), .def = "2s",
     .max = 10 * MINUTE_MS, .meaning = "When a client is closed that takes nothing of what waits for it. 0: never."},
    {"derp.server.limits.login_timeout", SCHEMA_DURATION, FIELD(derp_limits_login_timeout_ms), .def = "10s",
     .min = SECOND_MS, .max = 10 * MINUTE_MS,
     .meaning = "How long a connection to the embedded relay may take to log in."},
    {"derp.verify_unauthenticated", SCHEMA_BOOL, FIELD(derp_verify_unauthenticated), .def = "false",
     .meaning =
         "Answer POST /verify (may this node use a relay?) to anyone, for relays that cannot send a key. Without it "
         "a relay "
         "needs the key that `fullscale relays create` shows: as a bearer token, or as a password in the URL "
         "(derper -verify-client-url https://relay:KEY@HOST/verify)."},
    {"derp.urls", SCHEMA_STRINGS, FIELD(derp_urls), .def = "", .check = check_url,
     .meaning =
         "Where to fetch further relay regions from: JSON as at https://controlplane.tailscale.com/derpmap/default. "
         "The "
         "last good copy of each is kept in state_dir, so that an unreachable URL keeps nothing waiting."},
    {"derp.paths", SCHEMA_PATHS, FIELD(derp_paths), .def = "",
     .meaning =
         "YAML files with further relay regions, merged over those of derp.urls; a later file wins over an earlier "
         "one, "
         "and a region that is null is removed."},
    {"derp.auto_update_enabled", SCHEMA_BOOL, FIELD(derp_auto_update_enabled), .def = "true",
     .meaning = "Fetch derp.urls and read derp.paths again every derp.update_frequency. SIGHUP does it at once."},
    {"derp.update_frequency", SCHEMA_DURATION, FIELD(derp_update_frequency_ms), .def = "3h", .min = 10 * SECOND_MS,
     .max = YEAR_MS, .meaning = "How often, give or take a tenth."},

    {"relay.fail_open", SCHEMA_BOOL, FIELD(relay_fail_open), .def = "false",
     .meaning =
         "For `fullscale relay`: while the control server does not answer, admit also clients that it has not admitted "
         "before."},
    {"relay.drain", SCHEMA_DURATION, FIELD(relay_drain_ms), .def = "5s", .max = 10 * MINUTE_MS,
     .meaning =
         "For `fullscale relay`: over how long its clients are sent away when it ends, so that not all come to the "
         "next "
         "relay at once."},

    {"database.type", SCHEMA_CHOICE, FIELD(database_type), .def = "sqlite", .choices = databases,
     .meaning = "Kind of database."},
    {"database.sqlite.path", SCHEMA_PATH, FIELD(database_sqlite_path), .def = "{state_dir}/db.sqlite",
     .meaning = "Database file, made when absent."},
    {"database.sqlite.wal_autocheckpoint", SCHEMA_INT, FIELD(database_sqlite_wal_autocheckpoint), .def = "1000",
     .unit = "pages", .min = -1, .max = 1000000,
     .meaning = "Length of the write-ahead log after which it is copied into the database. 0 or less: never."},

    {"dns.magic_dns", SCHEMA_BOOL, FIELD(dns_magic_dns), .def = "true",
     .meaning = "Let nodes resolve each other by name."},
    {"dns.base_domain", SCHEMA_STRING, FIELD(dns_base_domain), .def = "tailnet.internal", .check = check_domain,
     .is_name = true, .meaning = "Domain of the nodes' names. Must not contain the host of server_url."},
    {"dns.override_local_dns", SCHEMA_BOOL, FIELD(dns_override_local_dns), .def = "true",
     .meaning = "Use dns.nameservers.global for everything; false: only where the node has no resolver of its own."},
    {"dns.nameservers.global", SCHEMA_STRINGS, FIELD(dns_nameservers_global), .def = "", .check = check_nameserver,
     .meaning = "Resolvers for all names: IP addresses or DNS-over-HTTPS URLs."},
    {"dns.nameservers.split", SCHEMA_SPLITS, FIELD(dns_nameservers_split), .def = "", .check = check_nameserver,
     .meaning = "Resolvers for the names below a domain."},
    {"dns.search_domains", SCHEMA_STRINGS, FIELD(dns_search_domains), .def = "", .check = check_domain, .is_name = true,
     .meaning = "Domains that are tried after dns.base_domain when a name has no dot."},
    {"dns.extra_records", SCHEMA_RECORDS, FIELD(dns_extra_records), .def = "",
     .meaning = "A and AAAA records that nodes answer by themselves: name, type, value."},

    {"policy.mode", SCHEMA_CHOICE, FIELD(policy_mode), .def = "file", .choices = policy_modes,
     .meaning = "Where the policy is that decides which nodes reach which: in policy.path, or in the database, where "
                "`fullscale policy set` puts it."},
    {"policy.path", SCHEMA_PATH, FIELD(policy_path), .def = "",
     .meaning = "File with the policy (HuJSON); read again on SIGHUP and when it changes. Empty: no policy, every node "
                "reaches "
                "every other."},

    {"node.expiry", SCHEMA_DURATION, FIELD(node_expiry_ms), .def = "0", .max = 100 * YEAR_MS,
     .meaning = "When a node has to log in again; its client may ask for an earlier time. 0: never."},
    {"node.ephemeral.inactivity_timeout", SCHEMA_DURATION, FIELD(node_ephemeral_inactivity_timeout_ms), .def = "2m",
     .min = SECOND_MS, .max = YEAR_MS, .meaning = "How long an ephemeral node may be offline before it is deleted."},
    {"node.routes.ha.probe_interval", SCHEMA_DURATION, FIELD(node_routes_ha_probe_interval_ms), .def = "10s",
     .max = 60 * MINUTE_MS,
     .meaning =
         "How often routers are asked whether they are there, if another node serves a route of theirs as well: one "
         "whose "
         "link is cut or whose process hangs hands its routes over. At least 2s. 0: never."},
    {"node.routes.ha.probe_timeout", SCHEMA_DURATION, FIELD(node_routes_ha_probe_timeout_ms), .def = "5s",
     .min = SECOND_MS, .max = 60 * MINUTE_MS,
     .meaning = "How long such a router has to answer. It is asked again after half of that. Less than "
                "node.routes.ha.probe_interval."},
    {"auth_keys.alarm_joins", SCHEMA_INT, FIELD(auth_keys_alarm_joins), .def = "100", .unit = "nodes/h", .max = 1000000,
     .meaning =
         "So many nodes that join with one auth key within an hour are reported in the log and in a metric: the key "
         "may have leaked. 0: never."},

    {"log.level", SCHEMA_CHOICE, FIELD(log_level), .def = "info", .choices = log_levels,
     .meaning = "Least severity that is logged; `fullscale log level` changes it while running."},
    {"log.format", SCHEMA_CHOICE, FIELD(log_format), .def = "text", .choices = log_formats,
     .meaning = "Form of a log line."},

    {"logtail.enabled", SCHEMA_BOOL, FIELD(logtail_enabled), .def = "false",
     .meaning = "Let clients send their logs to Tailscale Inc."},
    {"taildrop.enabled", SCHEMA_BOOL, FIELD(taildrop_enabled), .def = "true", .meaning = "Let nodes send files."},
    {"auto_update.enabled", SCHEMA_BOOL, FIELD(auto_update_enabled), .def = "false",
     .meaning = "Let clients update themselves unless their user chose otherwise."},
    {"randomize_client_port", SCHEMA_BOOL, FIELD(randomize_client_port), .def = "false",
     .meaning = "Make clients use a random WireGuard port, for firewalls that mix up fixed ones."},

    {"limits.connections", SCHEMA_INT, FIELD(limits_connections), .def = "20000", .min = 16, .max = 10000000,
     .meaning =
         "Open connections of the main listener. A quarter of them is for strangers: whoever has not proved to be a "
         "node. When "
         "that is full, the oldest stranger makes room for a new connection."},
    {"limits.strangers_per_address", SCHEMA_INT, FIELD(limits_strangers_per_address), .def = "2500", .max = 1000000,
     .meaning =
         "Open connections of strangers from one address (an IPv6 /64), at most half of all strangers'. Beyond it "
         "the oldest "
         "of that address makes room. Nodes do not count. 0: no limit."},
    {"limits.connections_per_key", SCHEMA_INT, FIELD(limits_connections_per_key), .def = "32", .min = 2, .max = 1000000,
     .meaning = "Open connections of one node's machine; further ones are treated as strangers."},
    {"limits.accepts_per_address", SCHEMA_INT, FIELD(limits_accepts_per_address), .def = "100", .unit = "1/s",
     .max = 1000000,
     .meaning =
         "TLS connections a second to the main listener from one address (an IPv6 /64), ten times that at once. 0: no "
         "limit."},
    {"limits.handshakes_per_address", SCHEMA_INT, FIELD(limits_handshakes_per_address), .def = "100", .unit = "1/s",
     .max = 1000000,
     .meaning = "Noise handshakes a second from one address (an IPv6 /64), ten times that at once. 0: no limit."},
    {"limits.handshake_timeout", SCHEMA_DURATION, FIELD(limits_handshake_timeout_ms), .def = "15s", .min = SECOND_MS,
     .max = 10 * MINUTE_MS, .meaning = "How long a new connection may take until its first complete request."},
    {"limits.idle_timeout", SCHEMA_DURATION, FIELD(limits_idle_timeout_ms), .def = "10m", .min = 10 * SECOND_MS,
     .max = YEAR_MS, .meaning = "When a connection without any open request is closed."},
    {"limits.body_size", SCHEMA_BYTES, FIELD(limits_body_bytes), .def = "1MiB", .min = 64 * 1024, .max = 64 << 20,
     .meaning = "Largest request body."},
};
const size_t schema_rows_n = ARRAY_LEN(schema_rows);

/* src: Headscale 0.30-dev hscontrol/types/config.go, and keys of older versions seen in the wild */
const struct schema_old schema_olds[] = {
    {"ephemeral_node_inactivity_timeout", SCHEMA_OLD_MOVED, "node.ephemeral.inactivity_timeout", NULL, NULL},
    {"dns_config.magic_dns", SCHEMA_OLD_MOVED, "dns.magic_dns", NULL, NULL},
    {"dns_config.base_domain", SCHEMA_OLD_MOVED, "dns.base_domain", NULL, NULL},
    {"dns_config.override_local_dns", SCHEMA_OLD_MOVED, "dns.override_local_dns", NULL, NULL},
    {"dns_config.nameservers", SCHEMA_OLD_MOVED, "dns.nameservers.global", NULL, NULL},
    {"dns_config.restricted_nameservers", SCHEMA_OLD_MOVED, "dns.nameservers.split", NULL, NULL},
    {"dns_config.domains", SCHEMA_OLD_MOVED, "dns.search_domains", NULL, NULL},
    {"dns_config.extra_records", SCHEMA_OLD_MOVED, "dns.extra_records", NULL, NULL},
    {"dns_config.use_username_in_magic_dns", SCHEMA_OLD_IGNORED, NULL, NULL, "user names are not part of node names"},
    {"dns.use_username_in_magic_dns", SCHEMA_OLD_IGNORED, NULL, NULL, "user names are not part of node names"},
    {"oidc.expiry", SCHEMA_OLD_MOVED, "node.expiry", NULL, NULL},
    {"db_type", SCHEMA_OLD_MOVED, "database.type", NULL, NULL},
    {"db_path", SCHEMA_OLD_MOVED, "database.sqlite.path", NULL, NULL},
    {"log_level", SCHEMA_OLD_MOVED, "log.level", NULL, NULL},
    {"log_tail.enabled", SCHEMA_OLD_MOVED, "logtail.enabled", NULL, NULL},
    {"ip_prefixes", SCHEMA_OLD_MOVED, "prefixes.*", NULL, NULL},
    {"acl_policy_path", SCHEMA_OLD_MOVED, "policy.path", NULL, NULL},
    {"noise_private_key_path", SCHEMA_OLD_MOVED, "noise.private_key_path", NULL, NULL},
    {"derp.server.stun.listen_addr", SCHEMA_OLD_MOVED, "derp.server.stun_listen_addr", NULL, NULL},
    {"oidc.*", SCHEMA_OLD_LATER, NULL, NULL,
     "login through OpenID Connect is not supported yet: nodes join by auth keys"},
    {"tls_letsencrypt_hostname", SCHEMA_OLD_LATER, NULL, "",
     "certificates are not fetched yet: set tls_cert_path and tls_key_path, or put a TLS proxy in front"},
    {"tls_letsencrypt_cache_dir", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"tls_letsencrypt_challenge_type", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"tls_letsencrypt_listen", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"tls_client_auth_mode", SCHEMA_OLD_LATER, NULL, "relaxed", "clients are not asked for certificates"},
    {"acme_url", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"acme_email", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"derp.server.stun.enabled", SCHEMA_OLD_IGNORED, NULL, NULL, "STUN runs whenever derp.server.enabled is true"},
    {"dns.extra_records_path", SCHEMA_OLD_LATER, NULL, "", "not supported yet: use dns.extra_records"},
    {"preauth_keys.*", SCHEMA_OLD_IGNORED, NULL, NULL, "expired keys are kept until they are deleted"},
    {"database.debug", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"database.gorm.*", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"database.postgres.*", SCHEMA_OLD_LATER, NULL, NULL, "PostgreSQL is not supported yet: the database is SQLite"},
    {"db_host", SCHEMA_OLD_LATER, NULL, NULL, "PostgreSQL is not supported yet: the database is SQLite"},
    {"db_port", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"db_name", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"db_user", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"db_pass", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"db_ssl", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"database.sqlite.write_ahead_log", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"disable_check_updates", SCHEMA_OLD_QUIET, NULL, NULL, NULL},
    {"grpc_listen_addr", SCHEMA_OLD_IGNORED, NULL, NULL, "there is no gRPC: the API is HTTP"},
    {"grpc_allow_insecure", SCHEMA_OLD_IGNORED, NULL, NULL, "there is no gRPC: the API is HTTP"},
    {"cli.*", SCHEMA_OLD_LATER, NULL, NULL, "the command line reaches the server by unix_socket only"},
    {"tuning.*", SCHEMA_OLD_IGNORED, NULL, NULL, "nothing here needs tuning"},
    {"private_key_path", SCHEMA_OLD_IGNORED, NULL, NULL, "the old protocol is not spoken; see noise.private_key_path"},
    {"node_update_check_interval", SCHEMA_OLD_IGNORED, NULL, NULL, "changes are sent when they happen"},
};
const size_t schema_olds_n = ARRAY_LEN(schema_olds);
