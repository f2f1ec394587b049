/* The rules between keys, and warnings about settings that will cause trouble later. */
#include <errno.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/load_internal.h"

static void check_readable(struct loader *l, const char *row_name, const char *path)
{
    if (!l->src->is_client && path[0] != '\0' && access(path, R_OK) != 0)
        loader_note_row(l, true, row_name, "names a file that cannot be read: %.200s (%s)", path, strerror(errno));
}

static void check_tls(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    bool has_cert = cfg->tls_cert_path[0] != '\0';
    if (has_cert != (cfg->tls_key_path[0] != '\0')) {
        const char *set = has_cert ? "tls_cert_path" : "tls_key_path";
        loader_note_row(l, true, set, "needs %s, too", has_cert ? "tls_key_path" : "tls_cert_path");
        return;
    }
    check_readable(l, "tls_cert_path", cfg->tls_cert_path);
    check_readable(l, "tls_key_path", cfg->tls_key_path);
}

/* Whether `host` is the domain itself or below it. */
static bool is_within(struct str host, struct str domain)
{
    if (host.len > domain.len && host.p[host.len - domain.len - 1] == '.')
        host = str_n(host.p + host.len - domain.len, domain.len);
    return str_eq_ci(host, domain);
}

/* Hosts for which clients keep using plain HTTP: after a first connection they try only TLS towards every other host.
 * src: tailscale 1.102 control/controlhttp, control/ts2021 (forced TLS); docs/protocol/control.md 3.3 */
static bool is_plain_safe(struct str host)
{
    struct addr ip;
    if (addr_parse_ip(host, &ip) != RC_OK)
        return str_eq_ci(host, STR("localhost"));
    bool is_link_local = ip.family == 4 ? ip.ip[0] == 169 : ip.ip[0] == 0xfe;
    bool is_shared = ip.family == 4 && ip.ip[0] == 100;
    return addr_is_private(&ip) && !is_link_local && !is_shared;
}

/* Whether the value was left as the examples have it. */
static bool is_placeholder(struct str host)
{
    static const char *const known[] = {
        "headscale.example.com", "headscale.example.org", "myheadscale.example.com",   "fullscale.example.com",
        "derp.example.com",      "your-domain.com",       "headscale.your-domain.com", "headscale.yourdomain.com"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq_ci(host, str_c(known[i])))
            return true;
    }
    return false;
}

static void check_server_url(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    struct schema_url url;
    struct addr ip;
    if (l->src->is_relay || !schema_url_parse(str_c(cfg->server_url), &url))
        return;
    bool is_ip = addr_parse_ip(url.host, &ip) == RC_OK;
    if (!is_ip && is_within(url.host, str_c(cfg->dns_base_domain)))
        loader_note_row(
            l, true, "dns.base_domain",
            "must not contain the host of server_url (%.*s): nodes would look for the server inside the tailnet. "
            "Use another domain, e.g. tailnet.internal",
            STR_ARG(url.host));
    if (!url.is_https && cfg->tls_cert_path[0] != '\0')
        loader_note_row(l, false, "server_url",
                        "says http://, but listen_addr speaks TLS (tls_cert_path is set): use https://");
    else if (!url.is_https && !is_plain_safe(url.host))
        loader_note_row(
            l, false, "server_url",
            "is plain http:// on a public name or address (%s): clients lose the server for good after their first "
            "reconnect. Set tls_cert_path and tls_key_path, or put a TLS proxy in front, and use https://",
            cfg->server_url);
    if (url.is_https && cfg->tls_cert_path[0] == '\0' && cfg->trusted_proxies.n == 0 &&
        !addr_is_loopback(&cfg->listen_addr.addr))
        loader_note_row(
            l, false, "server_url",
            "is https://, but nothing here speaks TLS: set tls_cert_path and tls_key_path, or put the address "
            "of the TLS proxy in front into trusted_proxies");
    if (is_placeholder(url.host))
        loader_note_row(l, false, "server_url",
                        "is the example's (%s): write the name by which clients reach this server", cfg->server_url);
    if (str_eq_ci(url.host, STR("localhost")) || (is_ip && addr_is_loopback(&ip)))
        loader_note_row(l, false, "server_url", "is %s: only this machine can reach it", cfg->server_url);
}

static void check_prefix(struct loader *l, const char *row_name, const struct config_prefix *p, uint8_t family)
{
    static const uint8_t v4[] = {100, 64};
    static const uint8_t v6[] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
    uint8_t longest = family == 4 ? 30 : 126;
    if (p->ip.family == 0)
        return;
    if (p->ip.family != family) {
        loader_note_row(l, true, row_name, "must be an IPv%u prefix, not %s", family, p->text);
        return;
    }
    if (p->bits > longest || p->bits < 8) {
        loader_note_row(l, true, row_name, "must have a length from 8 to %u, not %s", longest, p->text);
        return;
    }
    bool is_usual = family == 4 ? p->ip.ip[0] == v4[0] && (p->ip.ip[1] & 0xc0) == v4[1] && p->bits >= 10
                                : memcmp(p->ip.ip, v6, sizeof(v6)) == 0 && p->bits >= 48;
    if (!is_usual)
        loader_note_row(l, false, row_name,
                        "is outside %s, the range that clients are made for: some of their features will not work",
                        family == 4 ? "100.64.0.0/10" : "fd7a:115c:a1e0::/48");
}

static void check_prefixes(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    if (cfg->prefix_v4.ip.family == 0 && cfg->prefix_v6.ip.family == 0)
        loader_note_row(l, true, "prefixes.v4", "and prefixes.v6 are both empty: nodes need at least one address");
    check_prefix(l, "prefixes.v4", &cfg->prefix_v4, 4);
    check_prefix(l, "prefixes.v6", &cfg->prefix_v6, 6);
}

static void check_relay(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    bool has_own = cfg->derp_server_enabled && cfg->derp_server_add_region;
    if (!has_own && cfg->derp_paths.n == 0 && cfg->derp_urls.n == 0)
        loader_note_row(
            l, false,
            cfg->derp_server_enabled ? "derp.server.automatically_add_embedded_derp_region" : "derp.server.enabled",
            "is false, and neither derp.paths nor derp.urls names another relay: no client gets connected until one is "
            "enrolled (fullscale relays create)");
    for (size_t i = 0; i < cfg->derp_paths.n; i++)
        check_readable(l, "derp.paths", cfg->derp_paths.items[i]);
    check_readable(l, "derp.server.mesh_key_path", cfg->derp_server_mesh_key_path);
    if (cfg->derp_server_mesh_with.n > 0 && cfg->derp_server_mesh_key_path[0] == '\0')
        loader_note_row(l, true, "derp.server.mesh_with", "needs derp.server.mesh_key_path, too");
    if (cfg->derp_server_enabled && cfg->derp_server_listen_addr.addr.family == 0 && cfg->tls_cert_path[0] == '\0' &&
        !config_is_behind_proxy(cfg))
        loader_note_row(l, true, "derp.server.listen_addr",
                        "may only be empty when tls_cert_path is set, or when server_url is the https:// URL of a TLS "
                        "proxy in front: clients speak to relays over TLS only");
    bool has_cert = loader_is_set(l, "derp.server.tls_cert_path");
    if (has_cert != loader_is_set(l, "derp.server.tls_key_path"))
        loader_note_row(l, true, has_cert ? "derp.server.tls_cert_path" : "derp.server.tls_key_path", "needs %s, too",
                        has_cert ? "derp.server.tls_key_path" : "derp.server.tls_cert_path");
}

bool config_is_same_port(const struct config_listen *a, const struct config_listen *b)
{
    static const uint8_t any[16];
    if (a->addr.family == 0 || b->addr.family == 0 || a->addr.port != b->addr.port || a->addr.port == 0)
        return false;
    return addr_eq(&a->addr, &b->addr) || memcmp(a->addr.ip, any, sizeof(any)) == 0 ||
           memcmp(b->addr.ip, any, sizeof(any)) == 0;
}

static void check_listeners(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    const struct {
        const char *name;
        const struct config_listen *listen;
    } tcp[] = {{"listen_addr", &cfg->listen_addr},
               {"metrics_listen_addr", &cfg->metrics_listen_addr},
               {"derp.server.listen_addr", cfg->derp_server_enabled ? &cfg->derp_server_listen_addr : NULL}};
    for (size_t i = 1; i < ARRAY_LEN(tcp); i++) {
        for (size_t j = 0; j < i; j++) {
            if (tcp[i].listen != NULL && tcp[j].listen != NULL && config_is_same_port(tcp[i].listen, tcp[j].listen))
                loader_note_row(l, true, tcp[i].name, "(%s) takes the port of %s (%s): choose another",
                                tcp[i].listen->text, tcp[j].name, tcp[j].listen->text);
        }
    }
}

static void check_dns(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    if (loader_is_set(l, "dns.override_local_dns") && cfg->dns_override_local_dns && cfg->dns_nameservers_global.n == 0)
        loader_note_row(l, false, "dns.override_local_dns", "has no effect without dns.nameservers.global");
    if (str_ends(str_c(cfg->dns_base_domain), STR(".local")))
        loader_note_row(l, false, "dns.base_domain", "ends in .local, which many systems resolve by multicast only");
}

static void check_socket(struct loader *l)
{
    size_t cap = sizeof(((struct sockaddr_un *)0)->sun_path);
    if (strlen(l->out->cfg.unix_socket) >= cap)
        loader_note_row(l, true, "unix_socket", "is longer than the %zu bytes that a socket's path may have", cap - 1);
}

static void check_policy(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    if (cfg->policy_mode == CONFIG_POLICY_FILE)
        check_readable(l, "policy.path", cfg->policy_path);
    else if (cfg->policy_path[0] != '\0')
        loader_note_row(l, false, "policy.path",
                        "is not read: policy.mode is database (fullscale policy set -f %.200s)", cfg->policy_path);
}

/* --- the address at which clients are sent to the relay --- */

static unsigned documentation_net(const char *text)
{
    struct addr ip;
    return addr_parse_ip(str_c(text), &ip) == RC_OK ? addr_documentation_net(&ip) : 0;
}

/* A test network may use such addresses: then other addresses of this server are in the same network. */
static bool is_example(const struct loader *l, const char *text)
{
    const struct config *cfg = &l->out->cfg;
    unsigned net = documentation_net(text);
    char host[CONFIG_HOST_CAP];
    config_url_host(cfg->server_url, host);
    return net != 0 && net != documentation_net(host) && net != documentation_net(l->src->primary_ip) &&
           net != documentation_net(cfg->derp_server_hostname);
}

/* Whether the host is reachable from the internet, as far as its name or address shows. */
static bool is_public_host(struct str host)
{
    static const char *const inside[] = {".local", ".internal", ".lan", ".home", ".home.arpa", ".localhost", ".test"};
    struct addr ip;
    if (addr_parse_ip(host, &ip) == RC_OK)
        return !addr_is_private(&ip) && addr_documentation_net(&ip) == 0;
    for (size_t i = 0; i < ARRAY_LEN(inside); i++) {
        if (str_ends(host, str_c(inside[i])))
            return false;
    }
    return str_index(host, '.') > 0;
}

/* Clients would dial the example's address and nothing else. `field` becomes "". */
static void check_relay_address(struct loader *l, const char *row_name, const char **field)
{
    struct addr ip;
    char host[CONFIG_HOST_CAP];
    if (addr_parse_ip(str_c(*field), &ip) != RC_OK)
        return;
    config_url_host(l->out->cfg.server_url, host);
    if (is_example(l, *field)) {
        loader_note_row(
            l, false, row_name,
            "(%s) is an address for documentation, which leads nowhere, and is ignored: remove the line, or "
            "write the relay's public address",
            *field);
        *field = "";
    } else if (addr_is_private(&ip) && is_public_host(str_c(host))) {
        loader_note_row(
            l, false, row_name,
            "(%s) is a private address, and server_url a public one: nodes outside of that network do not reach "
            "the relay. Remove the line, or write its public address",
            *field);
    }
}

bool config_is_public_host(const char *host)
{
    return is_public_host(str_c(host));
}

static void check_relay_places(struct loader *l)
{
    struct config *cfg = &l->out->cfg;
    if (!cfg->derp_server_enabled && !l->src->is_relay)
        return;
    check_relay_address(l, "derp.server.ipv4", &cfg->derp_server_ipv4);
    check_relay_address(l, "derp.server.ipv6", &cfg->derp_server_ipv6);
    if (loader_is_set(l, "derp.server.hostname") && is_placeholder(str_c(cfg->derp_server_hostname)))
        loader_note_row(l, false, "derp.server.hostname",
                        "is the example's (%s): clients look for the relay there. Remove the line, or write its name",
                        cfg->derp_server_hostname);
}

static void check_proxies(struct loader *l)
{
    const struct config_prefixes *p = &l->out->cfg.trusted_proxies;
    for (size_t i = 0; i < p->n; i++) {
        if (p->items[i].bits == 0)
            loader_note_row(l, true, "trusted_proxies", "must not hold %s: that is everyone", p->items[i].text);
    }
}

static void check_probes(struct loader *l)
{
    static const char interval[] = "node.routes.ha.probe_interval", timeout[] = "node.routes.ha.probe_timeout";
    const struct config *cfg = &l->out->cfg;
    int64_t interval_ms = cfg->node_routes_ha_probe_interval_ms, timeout_ms = cfg->node_routes_ha_probe_timeout_ms;
    if (interval_ms == 0)
        return;
    if (interval_ms < 2000)
        loader_note_row(l, true, interval, "must be at least 2s, or 0 for no probes");
    else if (timeout_ms >= interval_ms && loader_is_set(l, timeout))
        loader_note_row(l, true, timeout, "must be less than %s, which is %gs", interval, (double)interval_ms / 1000);
    else if (timeout_ms >= interval_ms)
        loader_note_row(l, true, interval, "must be more than %s, which is %gs", timeout, (double)timeout_ms / 1000);
}

void config_check_rules(struct loader *l)
{
    check_proxies(l);
    check_relay_places(l);
    check_tls(l);
    check_server_url(l);
    check_prefixes(l);
    check_relay(l);
    check_listeners(l);
    check_dns(l);
    check_socket(l);
    check_policy(l);
    check_probes(l);
}
