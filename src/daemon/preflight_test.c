/* `config check` reports what would keep `serve` from starting, and changes nothing. */
#include "daemon/testing.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "daemon/daemon.h"
#include "daemon/port_holder_internal.h"
#include "daemon/preflight_internal.h"
#include "tls/selfsigned.h"

struct fixture {
    struct test_folder folder;
};

/* --- files --- */

static void write_pair(struct test_folder *f, const char *name, const char *host, int64_t made_s)
{
    struct buf cert = {0}, key = {0};
    char file[64];
    assert_int_equal(selfsigned_make(host, made_s, &cert, &key), RC_OK);
    snprintf(file, sizeof(file), "%s.pem", name);
    test_write(f, file, buf_cstr(&cert));
    snprintf(file, sizeof(file), "%s.key", name);
    test_write(f, file, buf_cstr(&key));
    assert_int_equal(chmod(test_path(f, file), 0600), 0);
    buf_fini(&cert);
    buf_fini(&key);
}

static void write_files(struct test_folder *f)
{
    static const struct {
        const char *name, *text;
    } files[] = {
        {"good.key", "privkey:1111111111111111111111111111111111111111111111111111111111111111\n"},
        {"open.key", "privkey:1111111111111111111111111111111111111111111111111111111111111111\n"},
        {"bad.key", "hello\n"},
        {"mesh.bad", "12\n"},
        {"plain.txt", "hello\n"},
        {"acl.hujson", "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}]}\n"},
        {"acl.bad", "{\n  \"acls\": [{\"action\": \"accept\", \"src\": [\"group:none\"], \"dst\": [\"*:*\"]}]\n}\n"},
        {"acl.syntax", "{\n  \"acls\": [\n"},
        {"acl.empty", ""},
        {"acl.derp", "{\"acls\": [], \"derpMap\": {\"Regions\": {\"900\": {\"RegionID\": 900, \"Nodes\": "
                     "[{\"Name\": \"900a\", \"RegionID\": 900, \"HostName\": \"https://derp.example.net\"}]}}}}\n"},
        {"derp.good", "regions:\n  900: {nodes: [{name: 900a, hostname: derp.example.net}]}\n"},
        {"derp.url",
         "regions:\n  900:\n    nodes:\n      - {name: 900a, hostname: 'https://derp.example.net', derpport: 30000}\n"},
        {"derp.port", "regions:\n  900:\n    nodes:\n      - name: 900a\n        hostname: derp2.example.net:8443\n"},
        {"derp.space", "regions: {900: {nodes: [{name: 900a, hostname: 'a b'}]}}\n"},
        {"derp.path", "regions: {900: {nodes: [{name: 900a, hostname: derp.example.net/derp}]}}\n"},
        {"derp.doc", "regions:\n  900:\n    nodes:\n      - {name: 900a, hostname: d.example.net, ipv4: 192.0.2.44}\n"
                     "      - {name: 900b, hostname: derp.example.com}\n  901: {nodes: []}\n"
                     "  902: {nodes: [{name: 902a, hostname: 10.0.0.1}]}\n"},
        {"derp.key", "regions: {900: {nodes: [{name: 900a, host: x}]}}\n"},
        {"derp.yaml", "regions: [\n"},
        {"derp.twice", "regions: {901: {nodes: [{name: 900a, hostname: x.example.net}]}}\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        test_write(f, files[i].name, files[i].text);
        assert_int_equal(chmod(test_path(f, files[i].name), strcmp(files[i].name, "open.key") == 0 ? 0644 : 0600), 0);
    }
    int64_t now_s = clock_wall_ms() / 1000;
    write_pair(f, "hs", "hs.example.net", now_s);
    write_pair(f, "other", "other.example.net", now_s);
    write_pair(f, "old", "hs.example.net", now_s - 400 * 86400);
    write_pair(f, "soon", "hs.example.net", now_s - 360 * 86400);
    write_pair(f, "early", "hs.example.net", now_s + 90 * 86400);
}

static int set_up(void **state)
{
    static struct fixture x;
    x = (struct fixture){0};
    test_folder_make(&x.folder);
    write_files(&x.folder);
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    test_folder_remove(&x->folder);
    return 0;
}

/* --- a report --- */

/* The folder becomes %, dates become DATE. */
static void shorten(const struct test_folder *f, const char *text, struct buf *out)
{
    size_t n = strlen(f->path);
    for (const char *p = text; *p != '\0';) {
        if (strncmp(p, f->path, n) == 0) {
            buf_append_c(out, "%");
            p += n;
        } else if (strncmp(p, "20", 2) == 0 && strlen(p) >= 20 && p[4] == '-' && p[7] == '-' && p[13] == ':') {
            buf_append_c(out, "DATE");
            p += 20;
        } else {
            buf_append_byte(out, (uint8_t)*p++);
        }
    }
}

static void expand(const struct test_folder *f, const char *yaml, struct buf *out)
{
    buf_append_c(out, "state_dir: state\n");
    for (const char *p = yaml; *p != '\0'; p++) {
        if (*p == '%')
            buf_append_c(out, f->path);
        else
            buf_append_byte(out, (uint8_t)*p);
    }
    buf_append_c(out, "\n");
}

/* What `config check` prints; true: exit status 0. */
static bool check(struct test_folder *f, const char *yaml, struct buf *out)
{
    struct buf text = {0}, raw = {0};
    char path[128];
    snprintf(path, sizeof(path), "%s", test_path(f, "config.yaml"));
    struct config_source src = {.path = path, .primary_ip = "10.0.0.9"};
    struct config *cfg = NULL;
    expand(f, yaml, &text);
    test_write(f, "config.yaml", buf_cstr(&text));
    bool is_good = config_check(&src, &raw) == RC_OK;
    if (is_good) {
        assert_int_equal(config_load(&src, &cfg, NULL), RC_OK);
        is_good = daemon_check(cfg, false, &raw) == 0;
        config_destroy(&cfg);
    }
    shorten(f, buf_cstr(&raw), out);
    buf_fini(&raw);
    buf_fini(&text);
    return is_good;
}

#define HTTPS "server_url: https://hs.example.net\n"
#define PROXY HTTPS "trusted_proxies: [10.1.0.0/16]\n"
#define PAIR(cert, key) "tls_cert_path: " cert "\ntls_key_path: " key "\n"

static const char *const good[] = {
    "",
    PROXY,
    HTTPS PAIR("hs.pem", "hs.key"),
    "policy.path: acl.hujson",
    "derp.paths: [derp.good]",
    "noise.private_key_path: good.key",
    "metrics_listen_addr: ''",
};

/* Line 1 is "state_dir: state". */
static const struct {
    const char *yaml, *report;
} bad[] = {
    {"server_url: hs.example.net",
     "error: %/config.yaml:2:13: server_url must be http:// or https:// and a host, without a path, e.g. "
     "https://hs.example.com, not \"hs.example.net\"\n"},
    {"server_url: https://hs.example.net/admin",
     "error: %/config.yaml:2:13: server_url must be http:// or https:// and a host, without a path, e.g. "
     "https://hs.example.com, not \"https://hs.example.net/admin\"\n"},
    {"server_url: https://hs.tail.example\ndns.base_domain: tail.example",
     "error: %/config.yaml:3:18: dns.base_domain must not contain the host of server_url (hs.tail.example): "
     "nodes would look for the server inside the tailnet. Use another domain, e.g. tailnet.internal\n"
     "warning: %/config.yaml:2:13: server_url is https://, but nothing here speaks TLS: set tls_cert_path and "
     "tls_key_path, or put the address of the TLS proxy in front into trusted_proxies\n"},
    {"server_url: https://headscale.example.com\ntrusted_proxies: [10.1.0.0/16]",
     "warning: %/config.yaml:2:13: server_url is the example's (https://headscale.example.com): write the name "
     "by which clients reach this server\n"},
    {"server_url: https://hs.example.net",
     "warning: %/config.yaml:2:13: server_url is https://, but nothing here speaks TLS: set tls_cert_path and "
     "tls_key_path, or put the address of the TLS proxy in front into trusted_proxies\n"},
    {"server_url: http://hs.example.net",
     "warning: %/config.yaml:2:13: server_url is plain http:// on a public name or address "
     "(http://hs.example.net): clients lose the server for good after their first reconnect. Set tls_cert_path and "
     "tls_key_path, or put a TLS proxy in front, and use https://\n"},
    {HTTPS "tls_cert_path: hs.pem", "error: %/config.yaml:3:16: tls_cert_path needs tls_key_path, too\n"},
    {HTTPS PAIR("missing.pem", "hs.key"),
     "error: %/config.yaml:3:16: tls_cert_path names a file that cannot be read: %/missing.pem (No such file or "
     "directory)\n"},
    {HTTPS PAIR("hs.pem", "other.key"),
     "error: %/config.yaml:3:16: tls_cert_path cannot be used with %/other.key: no usable pair of certificate "
     "and key: key values mismatch\n"},
    {HTTPS PAIR("other.pem", "other.key"),
     "error: %/config.yaml:3:16: tls_cert_path names a certificate for other.example.net, and not for "
     "hs.example.net (server_url): clients refuse it. Get one for that name\n"},
    {HTTPS PAIR("old.pem", "old.key"),
     "error: %/config.yaml:3:16: tls_cert_path names a certificate that ended at DATE: clients refuse it. Renew "
     "it\n"},
    {HTTPS PAIR("early.pem", "early.key"),
     "error: %/config.yaml:3:16: tls_cert_path names a certificate that is good from DATE on only: clients "
     "refuse it (is the clock right?)\n"},
    {HTTPS PAIR("soon.pem", "soon.key"),
     "warning: %/config.yaml:3:16: tls_cert_path names a certificate that ends soon, at DATE: renew it\n"},
    {HTTPS PAIR("plain.txt", "hs.key"),
     "error: %/config.yaml:3:16: tls_cert_path cannot be used with %/hs.key: no usable pair of certificate and "
     "key: no start line\n"},
    {PROXY PAIR("other.pem", "other.key"),
     "warning: %/config.yaml:4:16: tls_cert_path names a certificate for other.example.net, and not for "
     "hs.example.net (server_url): clients refuse it. Get one for that name\n"},
    {"derp.server: {tls_cert_path: other.pem, tls_key_path: other.key, hostname: relay.example.net}",
     "error: %/config.yaml:2:30: derp.server.tls_cert_path names a certificate for other.example.net, and not "
     "for relay.example.net (derp.server.hostname): clients refuse it. Get one for that name\n"},
    {"database.sqlite.path: db.sqlite\nnoise.private_key_path: plain.txt/noise.key",
     "error: %/config.yaml:3:25: noise.private_key_path (%/plain.txt) is a file, and must be a folder\n"},
    {"noise.private_key_path: plain.txt/noise.key",
     "error: %/config.yaml:2:25: noise.private_key_path (%/plain.txt) is a file, and must be a folder\n"},
    {"unix_socket: plain.txt",
     "error: %/config.yaml:2:14: unix_socket (%/plain.txt) is there and is no socket: move it away, or choose "
     "another path\n"},
    {"unix_socket: plain.txt/x.sock",
     "error: %/config.yaml:2:14: unix_socket (%/plain.txt) is a file, and must be a folder\n"},
    {"noise.private_key_path: bad.key",
     "error: %/config.yaml:2:25: noise.private_key_path cannot be used: %/bad.key holds no private key "
     "(\"privkey:\" and 64 hex digits). Put the file back from a backup, or move it away for a new key\n"},
    {"noise.private_key_path: open.key",
     "warning: %/config.yaml:2:25: noise.private_key_path (%/open.key) is a secret that others on this machine "
     "may read or change: chmod 600 it\n"},
    {"noise.private_key_path: nowhere/noise.key",
     "error: %/config.yaml:2:25: noise.private_key_path (%/nowhere/noise.key) is to be made in a folder that is "
     "not there: %/nowhere\n"},
    {"derp.server.private_key_path: bad.key",
     "error: %/config.yaml:2:31: derp.server.private_key_path cannot be used: %/bad.key holds no private key "
     "(\"privkey:\" and 64 hex digits). Put the file back from a backup, or move it away for a new key\n"},
    {"derp.server.mesh_key_path: mesh.bad",
     "error: %/config.yaml:2:28: derp.server.mesh_key_path cannot be used: %/mesh.bad must hold 64 hex digits, "
     "not all of them 0\n"},
    {"derp.server.mesh_with: [r2.example.net]",
     "error: %/config.yaml:2:24: derp.server.mesh_with needs derp.server.mesh_key_path, too\n"},
    {"database.sqlite.path: plain.txt",
     "error: %/config.yaml:2:23: database.sqlite.path cannot be used: database %/plain.txt is damaged or no "
     "database at all (file is not a database); restore it from a backup\n"},
    {"database.sqlite.path: plain.txt/db.sqlite",
     "error: %/config.yaml:2:23: database.sqlite.path (%/plain.txt) is a file, and must be a folder\n"},
    {"database.sqlite.path: .",
     "error: %/config.yaml:2:23: database.sqlite.path cannot be used: database % is no file\n"},
    {"database.type: postgres", "error: %/config.yaml:2:16: database.type must be one of sqlite, not \"postgres\"\n"},
    {"listen_addr: 198.18.7.7:8080",
     "warning: server_url is plain http:// on a public name or address (http://198.18.7.7:8080): clients lose "
     "the server for good after their first reconnect. Set tls_cert_path and tls_key_path, or put a TLS proxy in "
     "front, and use https://\n"
     "error: %/config.yaml:2:14: listen_addr (198.18.7.7:8080) is not an address of this machine: write one "
     "that it has, or [::] for all of them\n"},
    {"listen_addr: 8080",
     "error: %/config.yaml:2:14: listen_addr must be HOST:PORT with an address as host, e.g. 0.0.0.0:8080 or "
     "[::]:8080, not \"8080\"\n"},
    {"listen_addr: hs.example.net:8080",
     "error: %/config.yaml:2:14: listen_addr must be HOST:PORT with an address as host, e.g. 0.0.0.0:8080 or "
     "[::]:8080, not \"hs.example.net:8080\"\n"},
    {"metrics_listen_addr: 198.18.7.7:9090",
     "error: %/config.yaml:2:22: metrics_listen_addr (198.18.7.7:9090) is not an address of this machine: write "
     "one that it has, or [::] for all of them\n"},
    {"metrics_listen_addr: ':8080'",
     "error: %/config.yaml:2:22: metrics_listen_addr (:8080) takes the port of listen_addr ([::]:8080): choose "
     "another\n"},
    {"derp.server.listen_addr: 198.18.7.7:8443",
     "error: %/config.yaml:2:26: derp.server.listen_addr (198.18.7.7:8443) is not an address of this machine: "
     "write one that it has, or [::] for all of them\n"},
    {"derp.server.stun_listen_addr: 198.18.7.7:3478",
     "error: %/config.yaml:2:31: derp.server.stun_listen_addr (198.18.7.7:3478) is not an address of this "
     "machine: write one that it has, or [::] for all of them\n"},
    {"derp.server.listen_addr: ''",
     "error: %/config.yaml:2:26: derp.server.listen_addr may only be empty when "
     "tls_cert_path is set, or when server_url is the https:// URL of a TLS proxy in front: clients speak to relays "
     "over TLS only\n"},
    {"policy.path: missing.hujson",
     "error: %/config.yaml:2:14: policy.path names a file that cannot be read: %/missing.hujson (No such file "
     "or directory)\n"},
    {"policy.path: acl.bad", "error: %/acl.bad:2:41: src=group not found: \"group:none\" (policy.path)\n"},
    {"policy.path: acl.syntax", "error: %/acl.syntax:3:1: expected a value, found the end of the text (policy.path)\n"},
    {"policy.path: acl.empty",
     "error: %/acl.empty:1:1: the policy is empty; to let every node reach every other, write {} (policy.path)\n"},
    {"policy.path: acl.derp",
     "error: %/acl.derp: DERP region 900, node 900a: hostname must be a host name alone: no https://, no path, "
     "and the port is derpport (policy.path)\n"},
    {"policy.path: .",
     "error: %/config.yaml:2:14: policy.path cannot be used: cannot read %: it is a directory, not a file\n"},
    {"policy: {pth: acl.hujson}", "error: %/config.yaml:2:10: unknown key policy.pth: did you mean policy.path?\n"},
    {"policy: acl.hujson", "error: %/config.yaml:2:9: policy must have keys below it\n"},
    {"derp.paths: [missing.yaml]",
     "error: %/config.yaml:2:13: derp.paths names a file that cannot be read: %/missing.yaml (No such file or "
     "directory)\n"},
    {"derp.paths: [derp.url]",
     "error: %/derp.url:4:22: hostname: must be a host name alone, not \"https://derp.example.net\": write "
     "hostname: derp.example.net (derp.paths)\n"},
    {"derp.paths: [derp.port]",
     "error: %/derp.port:5:9: hostname: must be a host name alone, not \"derp2.example.net:8443\": write "
     "hostname: derp2.example.net and derpport: 8443 (derp.paths)\n"},
    {"derp.paths: [derp.space]",
     "error: %/derp.space:1:38: hostname: must be a host name alone, not \"a b\" (derp.paths)\n"},
    {"derp.paths: [derp.path]",
     "error: %/derp.path:1:38: hostname: must be a host name alone, not \"derp.example.net/derp\": write "
     "hostname: derp.example.net (derp.paths)\n"},
    {PROXY "derp.paths: [derp.doc]",
     "warning: %/derp.doc:4:1: DERP region 900, node 900a: ipv4 192.0.2.44 is an address for documentation, "
     "which leads nowhere: write the relay's own (derp.paths)\n"
     "warning: %/derp.doc:5:1: DERP region 900, node 900b: hostname is the example's (derp.example.com): write "
     "the relay's (derp.paths)\n"
     "warning: %/derp.doc:6:1: DERP region 901 has no nodes: no client can use it (derp.paths)\n"
     "warning: %/derp.doc:7:1: DERP region 902, node 902a: hostname 10.0.0.1 is a private address, and "
     "server_url a public one: nodes elsewhere do not reach it (derp.paths)\n"},
    {"derp.paths: [derp.key]", "error: %/derp.key:1:38: host: unknown key (derp.paths)\n"},
    {"derp.paths: [derp.yaml]", "error: %/derp.yaml:2:1: flow sequence without a closing bracket (derp.paths)\n"},
    {"derp.paths: [derp.good, derp.twice]",
     "error: %/config.yaml:2:13: derp.paths do not fit together: DERP region 901: there is another node named "
     "900a\n"},
    {"derp.urls: [derp.example.net/map.json]",
     "error: %/config.yaml:2:13: derp.urls must be an http:// or https:// URL, e.g. "
     "https://example.com/derpmap.json, not \"derp.example.net/map.json\"\n"},
    {"derp.server.hostname: https://derp.example.net",
     "error: %/config.yaml:2:23: derp.server.hostname must be a host name or an IP address alone, without "
     "https://, port or path (the relay's port is that of derp.server.listen_addr), not "
     "\"https://derp.example.net\"\n"},
    {"derp.server.hostname: derp.example.net:8443",
     "error: %/config.yaml:2:23: derp.server.hostname must be a host name or an IP address alone, without "
     "https://, port or path (the relay's port is that of derp.server.listen_addr), not \"derp.example.net:8443\"\n"},
    {PROXY "derp.server: {ipv4: 198.51.100.1, ipv6: '2001:db8::1'}",
     "warning: %/config.yaml:4:21: derp.server.ipv4 (198.51.100.1) is an address for documentation, which leads "
     "nowhere, and is ignored: remove the line, or write the relay's public address\n"
     "warning: %/config.yaml:4:41: derp.server.ipv6 (2001:db8::1) is an address for documentation, which leads "
     "nowhere, and is ignored: remove the line, or write the relay's public address\n"},
    {PROXY "derp.server.ipv4: 192.168.1.4",
     "warning: %/config.yaml:4:19: derp.server.ipv4 (192.168.1.4) is a private address, and server_url a public "
     "one: nodes outside of that network do not reach the relay. Remove the line, or write its public address\n"},
    {"derp.server: {enabld: false}",
     "error: %/config.yaml:2:15: unknown key derp.server.enabld: did you mean derp.server.enabled?\n"},
    {"tls_cert: hs.pem", "error: %/config.yaml:2:1: unknown key tls_cert: did you mean tls_cert_path?\n"},
    {"trusted_proxies: [0.0.0.0/0]",
     "error: %/config.yaml:2:18: trusted_proxies must not hold 0.0.0.0/0: that is everyone\n"},
    {"trusted_proxies: proxy.lan",
     "error: %/config.yaml:2:18: trusted_proxies must be an address, or an address and a length, e.g. "
     "10.0.0.0/8, not \"proxy.lan\"\n"},
    {"prefixes: {v4: '', v6: ''}",
     "error: %/config.yaml:2:16: prefixes.v4 and prefixes.v6 are both empty: nodes need at least one address\n"},
    {"dns.search_domains: ['a b']",
     "error: %/config.yaml:2:22: dns.search_domains must be a DNS name, e.g. tailnet.example.com, not \"a b\"\n"},
    {"dns.nameservers.split: {a.b: [1.1.1.1], A.B: [9.9.9.9]}",
     "error: %/config.yaml:2:46: dns.nameservers.split has the domain a.b twice\n"},
    {"dns.extra_records: [{name: a.b, type: CNAME, value: c.d}]",
     "error: %/config.yaml:2:21: dns.extra_records must have the type A or AAAA, others are not answered by "
     "clients\n"},
    {"dns.nameservers.global: [dns.google]",
     "error: %/config.yaml:2:26: dns.nameservers.global must be an IP address or a DNS-over-HTTPS URL "
     "(https://...), not \"dns.google\"\n"},
    {"node.expiry: 90",
     "error: %/config.yaml:2:14: node.expiry must be a duration with a unit, e.g. 30s, 12h or 90d, not \"90\"\n"},
    {"workers: many", "error: %/config.yaml:2:10: workers must be a whole number, not \"many\"\n"},
    {"log: {level: loud}",
     "error: %/config.yaml:2:14: log.level must be one of trace, debug, info, warn, error, off, not \"loud\"\n"},
};

static void test_good_ones_are_good(void **state)
{
    struct fixture *x = *state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct buf out = {0};
        if (!check(&x->folder, good[i], &out) || buf_len(&out) > 0)
            fail_msg("%s: %s", good[i], buf_cstr(&out));
        buf_fini(&out);
    }
}

static void test_bad_ones_in_words(void **state)
{
    struct fixture *x = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out = {0};
        bool is_good = check(&x->folder, bad[i].yaml, &out);
        if (strcmp(buf_cstr(&out), bad[i].report) != 0)
            fail_msg("number %zu: %s\nis reported as\n%s\nand not as\n%s", i, bad[i].yaml, buf_cstr(&out),
                     bad[i].report);
        assert_int_equal(is_good, strstr(bad[i].report, "error: ") == NULL);
        buf_fini(&out);
    }
    assert_int_not_equal(access(test_path(&x->folder, "state"), F_OK), 0);
}

/* As the start has it: an error ends it, a fault does not. */
static void test_serve_refuses_errors_only(void **state)
{
    struct fixture *x = *state;
    struct config *cfg = test_config(&x->folder, HTTPS PAIR("%/other.pem", "%/other.key") "unix_socket: %/x.sock\n");
    struct err err = {0};
    assert_int_equal(preflight_serve(cfg, &err), RC_OK);
    config_destroy(&cfg);
    cfg = test_config(&x->folder, HTTPS PAIR("%/hs.pem", "%/other.key") "unix_socket: %/x.sock\n");
    assert_int_not_equal(preflight_serve(cfg, &err), RC_OK);
    assert_non_null(strstr(err.text, "tls_cert_path cannot be used"));
    assert_int_equal(err.line, 3);
    config_destroy(&cfg);
}

/* A folder with configuration and data is moved, or copied: what it names by an absolute path is elsewhere. */
static void test_moved_folder_is_said(void **state)
{
    struct fixture *x = *state;
    struct buf out = {0};
    test_write(&x->folder, "db.sqlite", "");
    assert_false(check(&x->folder, "", &out));
    assert_string_equal(
        buf_cstr(&out),
        "error: %/config.yaml:1:12: state_dir (%/state) has no database, but there is one beside this "
        "configuration: %/db.sqlite. Was the folder moved? Write `state_dir: .` to go on with that one; to "
        "start an empty tailnet, move it away\n");
    buf_clear(&out);
    test_write(&x->folder, "other.sqlite", "");
    assert_true(check(&x->folder, "database.sqlite.path: %/db.sqlite", &out));
    assert_string_equal(buf_cstr(&out), "");
    assert_int_equal(mkdir(test_path(&x->folder, "state"), 0700), 0);
    assert_int_equal(symlink("../other.sqlite", test_path(&x->folder, "state/db.sqlite")), 0);
    assert_true(check(&x->folder, "", &out));
    assert_non_null(strstr(buf_cstr(&out),
                           "state_dir (%/state) lies elsewhere than this configuration, and the database "
                           "beside it is not used: %/db.sqlite. Was the folder copied?"));
    buf_fini(&out);
    unlink(test_path(&x->folder, "state/db.sqlite"));
    rmdir(test_path(&x->folder, "state"));
}

/* The machine has another address than at the first start: nodes still use the old one. */
static void test_guessed_url_that_is_gone_is_said(void **state)
{
    struct fixture *x = *state;
    struct buf out = {0};
    assert_int_equal(mkdir(test_path(&x->folder, "state"), 0700), 0);
    test_write(&x->folder, "state/" CONFIG_LAST_START, "{\"server_url\":\"http://198.18.7.7:8080\",\"guessed\":true}");
    assert_true(check(&x->folder, "", &out));
    assert_non_null(strstr(buf_cstr(&out),
                           "server_url is not set, and http://198.18.7.7:8080 as at the first start, which is no "
                           "address of this machine any more"));
    buf_fini(&out);
    unlink(test_path(&x->folder, "state/" CONFIG_LAST_START));
    rmdir(test_path(&x->folder, "state"));
}

static void test_who_holds_a_port(void **state)
{
    struct fixture *x = *state;
    static const char *const addresses[] = {"127.0.0.1", "0.0.0.0", "::1", "::"};
    for (size_t i = 0; i < 2 * ARRAY_LEN(addresses); i++) {
        int type = i % 2 != 0 ? SOCK_DGRAM : SOCK_STREAM;
        struct addr at;
        struct sockaddr_storage sa;
        struct port_holder h;
        char who[PORT_HOLDER_TEXT_CAP], want[PORT_HOLDER_TEXT_CAP], yaml[200];
        assert_int_equal(addr_parse_ip(str_c(addresses[i / 2]), &at), RC_OK);
        socklen_t len = addr_to_sockaddr(&at, &sa);
        int fd = socket(sa.ss_family, type | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) != 0 || (type == SOCK_STREAM && listen(fd, 1) != 0)) {
            close(fd);
            continue; /* a machine without IPv6 */
        }
        len = sizeof(sa);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        addr_from_sockaddr((struct sockaddr *)&sa, &at);
        assert_true(port_holder_find(&at, type, &h));
        assert_int_equal(h.pid, getpid());
        port_holder_format(&h, who);
        snprintf(want, sizeof(want), "process %d (%s)", (int)getpid(), h.name);
        assert_string_equal(who, want);
        snprintf(yaml, sizeof(yaml), "listen_addr: '[::]:%u'\n", at.port);
        struct config *cfg = test_config(&x->folder, yaml);
        struct err err = {0};
        assert_int_equal(port_holder_explain(cfg, "listen_addr", &cfg->listen_addr, type, RC_IN_USE, &err), RC_IN_USE);
        snprintf(yaml, sizeof(yaml), "listen_addr ([::]:%u): the port is taken by %s. End that, or write another port",
                 at.port, who);
        assert_string_equal(err.text, yaml);
        assert_string_equal(err.file, "test.yaml");
        assert_int_equal(err.line, 2);
        config_destroy(&cfg);
        close(fd);
        assert_false(port_holder_find(&at, type, &h));
    }
}

int main(void)
{
    crypto_init();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_good_ones_are_good),
        TEST(test_bad_ones_in_words),
        TEST(test_serve_refuses_errors_only),
        TEST(test_moved_folder_is_said),
        TEST(test_guessed_url_that_is_gone_is_said),
        TEST(test_who_holds_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
