/* The configuration: each type, defaults, the environment, places in messages, old keys, the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "config/config.h"
#include "config/schema_internal.h"
#include "config/value_internal.h"

static const char *const no_env[] = {NULL};
static const struct config_source plain = {.env = no_env, .primary_ip = "192.168.1.5", .is_root = true};

static struct config *parse_ok(const struct config_source *src, const char *yaml)
{
    struct config *cfg;
    struct err err = {0};
    if (config_parse(src, str_c(yaml), "/etc/fs/c.yaml", &cfg, &err) != RC_OK)
        fail_msg("%d:%d: %s", err.line, err.col, err.text);
    return cfg;
}

static bool has_warning(const struct config *cfg, const char *text)
{
    const char *warning;
    for (size_t i = 0; (warning = config_warning(cfg, i)) != NULL; i++) {
        if (strstr(warning, text) != NULL)
            return true;
    }
    return false;
}

/* -1: any. */
static void refused_with(const struct config_source *src, const char *yaml, int line, int col, const char *text)
{
    struct config *cfg;
    struct err err = {0};
    if (config_parse(src, str_c(yaml), "c.yaml", &cfg, &err) == RC_OK)
        fail_msg("accepted: %s", yaml);
    assert_null(cfg);
    if ((line >= 0 && err.line != line) || (col >= 0 && err.col != col) || strstr(err.text, text) == NULL)
        fail_msg("for \"%s\": got %d:%d: %s", yaml, err.line, err.col, err.text);
}

static void test_empty_file_serves(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, "");
    assert_string_equal(cfg->server_url, "http://192.168.1.5:8080");
    assert_string_equal(cfg->listen_addr.text, "[::]:8080");
    assert_int_equal(cfg->listen_addr.addr.family, 6);
    assert_int_equal(cfg->listen_addr.addr.port, 8080);
    assert_string_equal(cfg->state_dir, "/var/lib/fullscale");
    assert_string_equal(cfg->unix_socket, "/run/fullscale/fullscale.sock");
    assert_int_equal(cfg->unix_socket_permission, 0770);
    assert_string_equal(cfg->noise_private_key_path, "/var/lib/fullscale/noise_private.key");
    assert_string_equal(cfg->database_sqlite_path, "/var/lib/fullscale/db.sqlite");
    assert_int_equal(cfg->prefix_v4.bits, 10);
    assert_int_equal(cfg->prefix_v4.ip.ip[0], 100);
    assert_int_equal(cfg->prefix_v6.ip.family, 6);
    assert_true(cfg->derp_server_enabled);
    assert_int_equal(cfg->derp_server_stun_listen_addr.addr.port, 3478);
    assert_string_equal(cfg->derp_server_hostname, "192.168.1.5");
    assert_int_equal(cfg->policy_mode, CONFIG_POLICY_FILE);
    assert_string_equal(cfg->policy_path, "");
    assert_int_equal(cfg->derp_urls.n, 0);
    assert_true(cfg->derp_auto_update_enabled);
    assert_int_equal(cfg->derp_update_frequency_ms, 3 * 3600 * 1000);
    assert_string_equal(cfg->dns_base_domain, "tailnet.internal");
    assert_int_equal(cfg->node_ephemeral_inactivity_timeout_ms, 120000);
    assert_int_equal(cfg->log_level, LOG_INFO);
    assert_int_equal(cfg->limits_body_bytes, 1 << 20);
    assert_null(config_warning(cfg, 0));
    config_destroy(&cfg);
    assert_null(cfg);
}

static void test_defaults_when_not_root(void **ctx)
{
    (void)ctx;
    struct config_source src = plain;
    src.is_root = false;
    struct config *cfg = parse_ok(&src, "state_dir: data\n");
    assert_string_equal(cfg->state_dir, "/etc/fs/data");
    assert_string_equal(cfg->unix_socket, "/etc/fs/data/fullscale.sock");
    assert_string_equal(cfg->database_sqlite_path, "/etc/fs/data/db.sqlite");
    config_destroy(&cfg);
    src.env = (const char *const[]){"FULLSCALE_STATE_DIR=data", NULL};
    cfg = parse_ok(&src, "");
    assert_string_equal(cfg->state_dir, "data");
    config_destroy(&cfg);
}

#define PIN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_each_type(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain,
                                  "listen_addr: '[::]:9000'\n"
                                  "server_url: https://hs.example.com/\n"
                                  "metrics_listen_addr: ''\n"
                                  "unix_socket_permission: \"0o600\"\n"
                                  "trusted_proxies: [10.1.2.3/8, '::1/128']\n"
                                  "workers: 4\n"
                                  "prefixes: {v4: 100.64.9.0/24, v6: '', allocation: Random}\n"
                                  "derp:\n"
                                  "  server:\n"
                                  "    verify_clients: no\n"
                                  "    ipv4: 8.8.4.4\n"
                                  "    mesh_key_path: /dev/null\n"
                                  "    mesh_with: [r2.example.com, '192.0.2.1:8443', '[2001:db8::1]:443/10.0.0.7', "
                                  "r3.example.com:1/sha256-raw:" PIN "]\n"
                                  "database: {type: sqlite3, sqlite: {path: sub/x.db}}\n"
                                  "dns:\n"
                                  "  base_domain: tail.example.org.\n"
                                  "  nameservers:\n"
                                  "    global: [1.1.1.1, 'https://dns.nextdns.io/abc', '2606:4700:4700::1111']\n"
                                  "    split:\n"
                                  "      corp.example.com: [10.0.0.1]\n"
                                  "      lan.: [10.0.0.2, 10.0.0.3]\n"
                                  "  search_domains: a.example.com b.example.com\n"
                                  "  extra_records:\n"
                                  "    - {name: grafana.tail.example.org, type: A, value: 100.64.0.3}\n"
                                  "    - {name: v6.tail.example.org., type: AAAA, value: 'fd7a:115c:a1e0::3'}\n"
                                  "node: {expiry: 90d, ephemeral: {inactivity_timeout: 1h30m}}\n"
                                  "log: {level: warning, format: json}\n"
                                  "policy: {mode: Database, path: sub/policy.hujson}\n"
                                  "limits: {body_size: 128k}\n");
    assert_int_equal(cfg->policy_mode, CONFIG_POLICY_DATABASE);
    assert_string_equal(cfg->policy_path, "/etc/fs/sub/policy.hujson");
    assert_int_equal(cfg->listen_addr.addr.family, 6);
    assert_string_equal(cfg->server_url, "https://hs.example.com");
    assert_string_equal(cfg->derp_server_hostname, "hs.example.com");
    assert_int_equal(cfg->metrics_listen_addr.addr.family, 0);
    assert_int_equal(cfg->unix_socket_permission, 0600);
    assert_int_equal(cfg->trusted_proxies.n, 2);
    assert_string_equal(cfg->trusted_proxies.items[0].text, "10.0.0.0/8");
    assert_int_equal(cfg->workers, 4);
    assert_int_equal(cfg->prefix_v4.bits, 24);
    assert_int_equal(cfg->prefix_v6.ip.family, 0);
    assert_int_equal(cfg->prefix_allocation, CONFIG_ALLOCATION_RANDOM);
    assert_false(cfg->derp_server_verify_clients);
    assert_string_equal(cfg->derp_server_ipv4, "8.8.4.4");
    assert_string_equal(cfg->derp_server_mesh_key_path, "/dev/null");
    assert_int_equal(cfg->derp_server_mesh_with.n, 4);
    assert_string_equal(cfg->derp_server_mesh_with.items[2], "[2001:db8::1]:443/10.0.0.7");
    assert_string_equal(cfg->database_sqlite_path, "/etc/fs/sub/x.db");
    assert_string_equal(cfg->dns_base_domain, "tail.example.org");
    assert_int_equal(cfg->dns_nameservers_global.n, 3);
    assert_int_equal(cfg->dns_nameservers_split.n, 2);
    assert_string_equal(cfg->dns_nameservers_split.items[1].domain, "lan");
    assert_string_equal(cfg->dns_nameservers_split.items[1].servers.items[1], "10.0.0.3");
    assert_int_equal(cfg->dns_search_domains.n, 2);
    assert_int_equal(cfg->dns_extra_records.n, 2);
    assert_string_equal(cfg->dns_extra_records.items[1].name, "v6.tail.example.org");
    assert_int_equal(cfg->node_expiry_ms, INT64_C(90) * 86400 * 1000);
    assert_int_equal(cfg->node_ephemeral_inactivity_timeout_ms, 5400000);
    assert_int_equal(cfg->log_level, LOG_WARN);
    assert_int_equal(cfg->log_format, CONFIG_LOG_JSON);
    assert_int_equal(cfg->limits_body_bytes, 128 * 1024);
    config_destroy(&cfg);
}

static void test_null_and_empty_mean_default(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, "dns: ~\nderp:\nserver_url: ''\nlog:\n  level:\ntls_cert_path: \"\"\n"
                                          "dns.base_domain: ''\nderp.paths: []\n");
    assert_string_equal(cfg->server_url, "http://192.168.1.5:8080");
    assert_string_equal(cfg->dns_base_domain, "tailnet.internal");
    assert_int_equal(cfg->log_level, LOG_INFO);
    assert_null(config_warning(cfg, 0));
    config_destroy(&cfg);
}

static void test_environment_wins(void **ctx)
{
    (void)ctx;
    struct config_source src = plain;
    src.env = (const char *const[]){"FULLSCALE_LISTEN_ADDR=127.0.0.1:1234",
                                    "FULLSCALE_DNS_NAMESERVERS_GLOBAL=127.0.0.11 1.1.1.1,9.9.9.9",
                                    "FULLSCALE_LOG_LEVEL=",
                                    "FULLSCALE_DERP_SERVER_REGION_ID=7",
                                    "FULLSCALE_LOG_LEVLE=debug",
                                    "FULLSCALE_CONFIG=/x",
                                    "FULLSCALE_RELAY_KEY=a-key",
                                    "FULLSCALE_BENCH_AUTHKEY=a-key",
                                    "HEADSCALE_LOG_LEVEL=debug",
                                    NULL};
    struct config *cfg = parse_ok(&src, "listen_addr: 0.0.0.0:8000\nlog.level: debug\n");
    assert_int_equal(cfg->listen_addr.addr.port, 1234);
    assert_int_equal(cfg->dns_nameservers_global.n, 3);
    assert_int_equal(cfg->log_level, LOG_DEBUG);
    assert_int_equal(cfg->derp_server_region_id, 7);
    assert_true(has_warning(cfg, "FULLSCALE_LOG_LEVLE is ignored: did you mean FULLSCALE_LOG_LEVEL?"));
    assert_false(has_warning(cfg, "FULLSCALE_RELAY_KEY") || has_warning(cfg, "FULLSCALE_BENCH_AUTHKEY"));
    config_destroy(&cfg);
    src.env = (const char *const[]){"FULLSCALE_WORKERS=many", NULL};
    struct err err;
    assert_int_equal(config_parse(&src, STR("workers: 2"), "c.yaml", &cfg, &err), RC_INVALID);
    assert_string_equal(err.file, "FULLSCALE_WORKERS");
    assert_string_equal(err.text, "workers must be a whole number, not \"many\"");
}

static void test_refusals_name_place_and_fix(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *yaml;
        int line, col;
        const char *text;
    } rows[] = {
        {"listen_addr: 80800", 1, 14, "listen_addr must be HOST:PORT"},
        {"listen_addr: ''", 1, -1, "listen_addr must be HOST:PORT"},
        {"a: 1\nlog:\n  level: loud\n", 3, 10,
         "log.level must be one of trace, debug, info, warn, error, off, not \"loud\""},
        {"workers: 1000", 1, 10, "workers must be from 0 to 256"},
        {"workers: -1", 1, 10, "workers must be from 0 to 256"},
        {"workers: [1]", 1, -1, "workers must be an int"},
        {"node: {expiry: 120}", 1, 16, "node.expiry must be a duration with a unit"},
        {"node.ephemeral.inactivity_timeout: 1ms", 1, 36, "must be from 1s to 365d"},
        {"node.routes.ha: {probe_interval: 1s}", 1, 34, "node.routes.ha.probe_interval must be at least 2s, or 0"},
        {"node.routes.ha: {probe_interval: 5s}", 1, 34, "must be more than node.routes.ha.probe_timeout, which is 5s"},
        {"node.routes.ha.probe_timeout: 10s", 1, 31, "must be less than node.routes.ha.probe_interval, which is 10s"},
        {"node.routes.ha.probe_timeout: 500ms", 1, 31, "must be from 1s"},
        {"derp: {server: {enabled: maybe}}", 1, 26, "must be true or false"},
        {"derp: 5", 1, 7, "derp must have keys below it"},
        {"limits.body_size: 3", 1, 19, "must be from"},
        {"limits.body_size: 3 apples", 1, 19, "must be a size"},
        {"unix_socket_permission: 888", 1, 25, "must be octal"},
        {"unix_socket_permission: 7777", 1, 25, "must be octal"},
        {"prefixes.v4: 100.64.0.0", 1, 14, "must be an address and a length"},
        {"prefixes.v4: 100.64.0.0/33", 1, 14, "must be an address and a length"},
        {"prefixes.v4: fd7a::/48", 1, 14, "prefixes.v4 must be an IPv4 prefix"},
        {"prefixes.v4: 100.64.0.0/31", 1, 14, "must have a length"},
        {"prefixes: {v4: '', v6: ''}", 1, -1, "both empty"},
        {"prefixes.allocation: best", 1, 22, "must be one of sequential, random"},
        {"database.type: postgres", 1, 16, "must be one of sqlite, not \"postgres\""},
        {"server_url: hs.example.com", 1, 13, "must be http:// or https://"},
        {"server_url: https://hs.example.com/path", 1, 13, "without a path"},
        {"server_url: https://u@hs.example.com", 1, 13, "server_url must"},
        {"server_url: https://hs.example.com:99999", 1, 13, "server_url must"},
        {"server_url: https://[::1", 1, 13, "server_url must"},
        {"server_url: https://hs.a.example\ndns.base_domain: a.example", 2, 18, "must not contain the host"},
        {"server_url: https://a.example\ndns.base_domain: a.example", 2, 18, "must not contain the host"},
        {"dns.base_domain: a..b", 1, 18, "must be a DNS name"},
        {"dns.nameservers.global: [1.1.1.1, x]", 1, 35, "must be an IP address or a DNS-over-HTTPS URL"},
        {"dns.nameservers.global: [[1]]", 1, -1, "must be a list of strings"},
        {"dns.nameservers.split: [1.1.1.1]", 1, -1, "must be a map from domain"},
        {"dns.nameservers.split: {a b: [1.1.1.1]}", 1, -1, "must have DNS names as keys"},
        {"dns.nameservers.split: {a.b: {c: 1.1.1.1}}", 1, 34, "must have a list of resolvers"},
        {"dns.nameservers.split: {a.b: [1.1.1.1, z]}", 1, 40, "must be an IP address"},
        {"dns.extra_records: [{name: a.b, type: MX, value: x}]", 1, -1, "must have the type A or AAAA"},
        {"dns.extra_records: [{name: a.b, type: A, value: '::1'}]", 1, -1, "must have an IPv4 address as value"},
        {"dns.extra_records: [{name: a.b, typ: A}]", 1, 38, "name, type and value only"},
        {"tls_cert_path: /nonexistent", 1, 16, "tls_cert_path needs tls_key_path, too"},
        {"tls_cert_path: /nonexistent\ntls_key_path: /nonexistent", 1, 16, "cannot be read: /nonexistent"},
        {"derp.urls: [ftp://example.com/x]", 1, -1, "must be an http:// or https:// URL"},
        {"derp.urls: [file:///etc/passwd]", 1, -1, "must be an http:// or https:// URL"},
        {"derp.urls: ['https://']", 1, -1, "must be an http:// or https:// URL"},
        {"derp.urls: [https:///map]", 1, -1, "must be an http:// or https:// URL"},
        {"derp.urls: ['https://a b/']", 1, -1, "must be an http:// or https:// URL"},
        {"derp.update_frequency: 1s", 1, 24, "must be from 10s"},
        {"derp.update_frequency: often", 1, 24, "must be a duration"},
        {"derp.server.tls_cert_path: x", 1, 28, "needs derp.server.tls_key_path"},
        {"derp.paths: [/nonexistent]", 1, -1, "cannot be read: /nonexistent"},
        {"derp.server.mesh_key_path: /nonexistent", 1, -1, "cannot be read: /nonexistent"},
        {"derp.server.mesh_with: [a.example]", 1, -1, "needs derp.server.mesh_key_path"},
        {"derp.server.mesh_with: ['a.example:0']", 1, -1, "must be host[:port]"},
        {"derp.server.mesh_with: ['https://a.example']", 1, -1, "must be host[:port]"},
        {"derp.server.mesh_with: [a.example/b/c]", 1, -1, "must be host[:port]"},
        {"derp.server.mesh_with: [a.example/sha256-raw:12]", 1, -1, "must be host[:port]"},
        {"derp.server.mesh_with: [a.example/]", 1, -1, "must be host[:port]"},
        {"metrics_listen_addr: 127.0.0.1:8080", 1, 22, "takes the port of listen_addr"},
        {"policy: {mode: both}", 1, 16, "must be one of file, database"},
        {"policy: {path: /nonexistent}", 1, 16, "policy.path names a file that cannot be read: /nonexistent"},
        {"acl_policy_path: /nonexistent", 1, -1, "cannot be read: /nonexistent"},
        {"workers: 1\nWorkers: 2", 2, 1, "workers is set twice"},
        {"workers: 1\nworkers: 2", 2, 1, ""},
        {"- a\n- b", 1, -1, "must be a list of `key: value` lines"},
        {"a: [", -1, -1, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refused_with(&plain, rows[i].yaml, rows[i].line, rows[i].col, rows[i].text);
}

/* The command line reads the server's file for its socket: whoever may open that need not be allowed to read keys. */
static void test_clients_need_no_certificates(void **ctx)
{
    (void)ctx;
    struct config_source client = plain;
    struct err err;
    struct config *cfg;
    client.is_client = true;
    assert_int_equal(config_parse(&client,
                                  STR("tls_cert_path: /nonexistent\ntls_key_path: /nonexistent\n"
                                      "unix_socket: /run/x.sock"),
                                  "c.yaml", &cfg, &err),
                     RC_OK);
    assert_string_equal(cfg->unix_socket, "/run/x.sock");
    config_destroy(&cfg);
}

static void test_long_socket_path_is_refused(void **ctx)
{
    (void)ctx;
    char yaml[256];
    snprintf(yaml, sizeof(yaml), "unix_socket: /%0150d", 1);
    refused_with(&plain, yaml, 1, 14, "is longer than the 107 bytes");
}

static void test_unknown_keys_get_a_suggestion(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, "listen_adr: 0.0.0.0:1\nzzzzzzzz: {a: {b: 1}}\n");
    assert_true(has_warning(cfg, "c.yaml:1:1: unknown key listen_adr: did you mean listen_addr?"));
    assert_true(has_warning(cfg, "unknown key zzzzzzzz is ignored"));
    config_destroy(&cfg);
}

/* Misspelt, each would open the tailnet, or serve as somebody else, without a word. */
static void test_unknown_keys_about_access_are_errors(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *yaml, *text;
    } rows[] = {
        {"policy: {pth: /etc/fs/acl.hujson}", "unknown key policy.pth: did you mean policy.path?"},
        {"polcy: {path: x}", "unknown key polcy: did you mean policy?"},
        {"policy_path: x", "unknown key policy_path: did you mean policy.path?"},
        {"acl_policy: x", "unknown key acl_policy"},
        {"polciy: acl.hujson", "unknown key polciy: did you mean policy?"},
        {"policies: {path: x}", "unknown key policies"},
        {"noed: {expiry: 90d}", "unknown key noed: did you mean node?"},
        {"drep: {server: {verify_clients: true}}", "unknown key drep: did you mean derp?"},
        {"trustd_proxis: [10.0.0.1]", "unknown key trustd_proxis: did you mean trusted_proxies?"},
        {"policy: {where_it_is: x}", "unknown key policy.where_it_is: there are policy.mode, policy.path"},
        {"policy: acl.hujson", "policy must have keys below it"},
        {"derp: {server: {enabld: true}}", "unknown key derp.server.enabld: did you mean derp.server.enabled?"},
        {"derp: {server: {verify_client: true}}", "did you mean derp.server.verify_clients?"},
        {"derp: {listen_addr: ':8443'}", "unknown key derp.listen_addr: did you mean derp.server.listen_addr?"},
        {"derp: {servers: {enabled: false}}", "unknown key derp.servers: did you mean derp.server?"},
        {"tls_cert: x", "unknown key tls_cert: did you mean tls_cert_path?"},
        {"tls_certificate_file: x", "unknown key tls_certificate_file ("},
        {"noise: {private_key: x}", "unknown key noise.private_key: did you mean noise.private_key_path?"},
        {"trusted_proxy: [10.0.0.1]", "unknown key trusted_proxy: did you mean trusted_proxies?"},
        {"unix_socket_permissions: '0777'", "did you mean unix_socket_permission?"},
        {"node: {expire: 90d}", "unknown key node.expire: did you mean node.expiry?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refused_with(&plain, rows[i].yaml, 1, -1, rows[i].text);
    struct config_source src = plain;
    src.env = (const char *const[]){"FULLSCALE_POLICY_PTH=/x", NULL};
    refused_with(&src, "", 0, -1,
                 "unknown environment variable FULLSCALE_POLICY_PTH: did you mean FULLSCALE_POLICY_PATH?");
    /* The command line asks the server's file for its socket only. */
    src = plain;
    src.is_client = true;
    struct config *cfg = parse_ok(&src, "policy: {pth: x}");
    config_destroy(&cfg);
}

/* Words of one's own are like the short groups about access: node, derp, noise, relay. */
static void test_harmless_unknown_keys_are_warnings(void **ctx)
{
    (void)ctx;
    static const char *const names[] = {"name", "note", "notes", "mode", "role", "home", "code", "notice", "delay"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s: x", names[i]);
        struct config *cfg = parse_ok(&plain, text);
        snprintf(text, sizeof(text), "unknown key %s", names[i]);
        assert_true(has_warning(cfg, text));
        config_destroy(&cfg);
    }
}

/* One port is enough where there is a certificate that serves both. */
static void test_where_the_relay_listens(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *yaml;
        uint16_t port; /* 0: at listen_addr */
    } rows[] = {
        {"", 8443},
        {"tls_cert_path: /dev/null\ntls_key_path: /dev/null\n", 0},
        {"tls_cert_path: /dev/null\ntls_key_path: /dev/null\nderp.server.listen_addr: 0.0.0.0:9443\n", 9443},
        {"tls_cert_path: /dev/null\ntls_key_path: /dev/null\n"
         "derp.server.tls_cert_path: /dev/null\nderp.server.tls_key_path: /dev/null\n",
         8443},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *cfg = parse_ok(&plain, rows[i].yaml);
        assert_int_equal(cfg->derp_server_listen_addr.addr.port, rows[i].port);
        assert_int_equal(cfg->derp_server_listen_addr.addr.family != 0, rows[i].port != 0);
        config_destroy(&cfg);
    }
    refused_with(&plain, "derp.server.listen_addr: ''", 1, -1, "may only be empty when tls_cert_path is set");
}

#define PROXY "server_url: https://hs.example.net\ntrusted_proxies: [172.16.0.0/12]\nlisten_addr: 0.0.0.0:8080\n"
#define CERT "tls_cert_path: /dev/null\ntls_key_path: /dev/null\n"

/* A TLS proxy publishes server_url, and perhaps nothing else: the relay is reached there, too. */
static void test_relay_behind_a_proxy_is_at_its_port(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *yaml;
        uint16_t listens; /* 0: at listen_addr */
        uint16_t public_port;
    } rows[] = {
        {PROXY, 0, 443},
        {PROXY "derp.server.listen_addr: ''\n", 0, 443},
        {PROXY "derp.server.listen_addr: 0.0.0.0:8080\n", 0, 443},
        {PROXY "derp.server.listen_addr: ':8080'\n", 0, 443},
        {PROXY "derp.server.listen_addr: '[::]:8443'\n", 8443, 8443},
        {PROXY "derp.server.hostname: hs.example.net\n", 0, 443},
        {PROXY "derp.server.hostname: relay.example.net\n", 8443, 8443},
        {PROXY "derp.server: {tls_cert_path: /dev/null, tls_key_path: /dev/null}\n", 8443, 8443},
        {"server_url: https://hs.example.net:4443\nlisten_addr: 127.0.0.1:8080\n", 0, 4443},
        {"server_url: https://hs.example.net\nlisten_addr: 0.0.0.0:8443\n" CERT, 0, 443},
        {"server_url: http://10.0.0.1:8080\n", 8443, 8443},
        {CERT "listen_addr: ':443'\n", 0, 443},
        {CERT "listen_addr: ':9443'\nderp.server.listen_addr: ':9443'\n", 0, 9443},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *cfg = parse_ok(&plain, rows[i].yaml);
        if (cfg->derp_server_listen_addr.addr.port != rows[i].listens || cfg->derp_public_port != rows[i].public_port)
            fail_msg("%s: listens at %u, reached at %u", rows[i].yaml, cfg->derp_server_listen_addr.addr.port,
                     cfg->derp_public_port);
        config_destroy(&cfg);
    }
    refused_with(&plain, "server_url: http://10.0.0.1:8080\nderp.server.listen_addr: ':8080'", 2, -1,
                 "takes the port of listen_addr");
    struct config_source relay = plain;
    relay.is_relay = true;
    struct config *cfg = parse_ok(&relay, "server_url: https://hs.example.net");
    assert_int_equal(cfg->derp_server_listen_addr.addr.port, 8443);
    config_destroy(&cfg);
}

/* The address of Headscale's example is where clients would look for the relay, in vain. */
static void test_relay_at_an_address_for_documentation(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, PROXY "derp.server: {ipv4: 198.51.100.1, ipv6: '2001:db8::1'}\n");
    assert_string_equal(cfg->derp_server_ipv4, "");
    assert_string_equal(cfg->derp_server_ipv6, "");
    assert_true(has_warning(cfg, "c.yaml:4:21: derp.server.ipv4 (198.51.100.1) is an address for documentation"));
    assert_true(has_warning(cfg, "c.yaml:4:41: derp.server.ipv6 (2001:db8::1) is an address for documentation"));
    config_destroy(&cfg);
    cfg = parse_ok(&plain, "server_url: http://192.0.2.7:8080\nderp.server.ipv4: 192.0.2.7\n");
    assert_string_equal(cfg->derp_server_ipv4, "192.0.2.7");
    assert_false(has_warning(cfg, "documentation"));
    config_destroy(&cfg);
    cfg = parse_ok(&plain, PROXY "derp.server.ipv4: 192.168.1.4\n");
    assert_string_equal(cfg->derp_server_ipv4, "192.168.1.4");
    assert_true(has_warning(cfg, "derp.server.ipv4 (192.168.1.4) is a private address, and server_url a public one"));
    config_destroy(&cfg);
    cfg = parse_ok(&plain, "derp.server: {ipv4: 198.51.100.1, enabled: false}\nderp.urls: [https://a.example/m]\n");
    assert_null(config_warning(cfg, 0));
    config_destroy(&cfg);
}

/* Clients look names up in lower case, and compare bytes. */
static void test_names_are_lower_case_and_there_once(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(
        &plain, "derp.server.hostname: Relay.Example.NET.\n"
                "dns:\n  base_domain: Tail.Test.\n  search_domains: [Corp.Example, corp.example., TAIL.test, b.c]\n"
                "  nameservers: {split: {Corp.Example: [10.1.0.2]}}\n"
                "  extra_records:\n"
                "    - {name: Wiki.Example.com, type: A, value: 100.64.0.9}\n"
                "    - {name: wiki.example.COM., type: A, value: 100.64.0.9}\n"
                "    - {name: wiki.example.com, type: A, value: 100.64.0.10}\n");
    assert_string_equal(cfg->derp_server_hostname, "relay.example.net");
    assert_string_equal(cfg->dns_base_domain, "tail.test");
    assert_int_equal(cfg->dns_search_domains.n, 2);
    assert_string_equal(cfg->dns_search_domains.items[0], "corp.example");
    assert_string_equal(cfg->dns_search_domains.items[1], "b.c");
    assert_string_equal(cfg->dns_nameservers_split.items[0].domain, "corp.example");
    assert_int_equal(cfg->dns_extra_records.n, 2);
    assert_string_equal(cfg->dns_extra_records.items[0].name, "wiki.example.com");
    assert_string_equal(cfg->dns_extra_records.items[1].value, "100.64.0.10");
    config_destroy(&cfg);
    refused_with(&plain, "dns.nameservers.split: {A.b: [1.1.1.1], a.B: [9.9.9.9]}", 1, -1, "has the domain a.b twice");
    char label[128];
    snprintf(label, sizeof(label), "dns.search_domains: %064d.example", 1);
    refused_with(&plain, label, 1, 21, "must be a DNS name");
    refused_with(&plain, "dns.extra_records: [{name: a b, type: A, value: 1.2.3.4}]", 1, -1, "must have a DNS name");
    refused_with(&plain, "dns.nameservers.global: 'https://a b'", 1, -1, "must be an IP address or a DNS-over-HTTPS");
}

/* One value is a list of one. */
static void test_one_value_is_a_list_of_one(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain,
                                  "ip_prefixes: 100.66.0.0/16\ntrusted_proxies: 127.0.0.1\n"
                                  "derp: {urls: https://a.example/m, paths: /dev/null}\n"
                                  "dns: {search_domains: a.b, nameservers: {global: 1.1.1.1, split: {a.b: 9.9.9.9}},\n"
                                  "      extra_records: {name: x.y, type: A, value: 1.2.3.4}}\n");
    assert_string_equal(cfg->prefix_v4.text, "100.66.0.0/16");
    assert_string_equal(cfg->prefix_v6.text, "fd7a:115c:a1e0::/48");
    assert_string_equal(cfg->trusted_proxies.items[0].text, "127.0.0.1/32");
    assert_int_equal(cfg->derp_urls.n, 1);
    assert_int_equal(cfg->derp_paths.n, 1);
    assert_string_equal(cfg->dns_nameservers_split.items[0].servers.items[0], "9.9.9.9");
    assert_string_equal(cfg->dns_extra_records.items[0].name, "x.y");
    config_destroy(&cfg);
    cfg = parse_ok(&plain, "ip_prefixes: 100.66.0.0/16, fd7a:115c:a1e0::/64\ntrusted_proxies: ['::1', 10.0.0.0/8]");
    assert_int_equal(cfg->prefix_v4.bits, 16);
    assert_int_equal(cfg->prefix_v6.bits, 64);
    assert_string_equal(cfg->trusted_proxies.items[0].text, "::1/128");
    config_destroy(&cfg);
    refused_with(&plain, "trusted_proxies: 0.0.0.0/0", 1, 18, "must not hold 0.0.0.0/0: that is everyone");
    refused_with(&plain, "trusted_proxies: proxy.lan", 1, 18, "must be an address, or an address and a length");
}

static void same_as_nothing(const char *yaml, const char *nothing)
{
    struct buf dump = {0};
    struct config *cfg = parse_ok(&plain, yaml);
    config_dump(cfg, &dump);
    if (strcmp(buf_cstr(&dump), nothing) != 0)
        fail_msg("%s sets something:\n%s", yaml, buf_cstr(&dump));
    for (size_t i = 0; config_warning(cfg, i) != NULL; i++) {
        if (strstr(config_warning(cfg, i), "is now called") == NULL)
            fail_msg("%s: %s", yaml, config_warning(cfg, i));
    }
    buf_fini(&dump);
    config_destroy(&cfg);
}

/* Whatever the key wants, and for the groups that keys are in. */
static void test_empty_containers_mean_nothing(void **ctx)
{
    (void)ctx;
    static const char *const empties[] = {"[]", "{}", "~", ""};
    struct buf nothing = {0};
    struct config *cfg = parse_ok(&plain, "");
    config_dump(cfg, &nothing);
    config_destroy(&cfg);
    for (size_t i = 0; i < schema_rows_n + schema_olds_n; i++) {
        const char *name = i < schema_rows_n ? schema_rows[i].name : schema_olds[i - schema_rows_n].name;
        struct str rest = str_c(name);
        for (size_t k = 0; k < ARRAY_LEN(empties); k++) {
            char yaml[128];
            snprintf(yaml, sizeof(yaml), "%s: %s", name, empties[k]);
            if (strchr(name, '*') == NULL)
                same_as_nothing(yaml, buf_cstr(&nothing));
            long dot = str_index(rest, '.');
            snprintf(yaml, sizeof(yaml), "%.*s: %s", dot > 0 ? (int)dot : (int)rest.len, name, empties[k]);
            same_as_nothing(yaml, buf_cstr(&nothing));
        }
    }
    buf_fini(&nothing);
}

/* Who comes from Headscale's container has its variables. */
static void test_variables_of_headscale_are_read(void **ctx)
{
    (void)ctx;
    struct config_source src = plain;
    src.env = (const char *const[]){"HEADSCALE_DNS_BASE_DOMAIN=env.example.net",
                                    "HEADSCALE_ACL_POLICY_PATH=/dev/null",
                                    "HEADSCALE_WORKERS=3",
                                    "FULLSCALE_WORKERS=2",
                                    "HEADSCALE_OIDC_ISSUER=https://id.example.net",
                                    "HEADSCALE_DNS_EXTRA_RECORDS=[]",
                                    "HEADSCALE_CONFIG=/etc/headscale",
                                    "HEADSCALE_NONSENSE=1",
                                    "HEADSCALE_SERVICE_HOST=10.0.0.1",
                                    "HEADSCALE_PORT_8080_TCP=tcp://10.0.0.1:8080",
                                    "FULLSCALE_SERVICE_PORT_HTTP=80",
                                    "FULLSCALE_PORT=tcp://10.0.0.1:8080",
                                    NULL};
    struct config *cfg = parse_ok(&src, "log.level: info\n");
    assert_string_equal(cfg->dns_base_domain, "env.example.net");
    assert_string_equal(cfg->policy_path, "/dev/null");
    assert_int_equal(cfg->workers, 2);
    assert_true(has_warning(cfg, "HEADSCALE_DNS_BASE_DOMAIN is read as dns.base_domain"));
    assert_true(has_warning(cfg, "HEADSCALE_ACL_POLICY_PATH is read as policy.path"));
    assert_true(has_warning(cfg, "HEADSCALE_WORKERS is ignored: FULLSCALE_WORKERS is set"));
    assert_true(has_warning(cfg, "HEADSCALE_OIDC_ISSUER is ignored: login through OpenID"));
    assert_true(has_warning(cfg, "HEADSCALE_DNS_EXTRA_RECORDS is ignored: it can only be written in the file"));
    assert_true(has_warning(cfg, "HEADSCALE_CONFIG is ignored: FULLSCALE_CONFIG or --config names the file"));
    assert_true(has_warning(cfg, "HEADSCALE_NONSENSE is ignored: it means nothing here"));
    assert_false(has_warning(cfg, "SERVICE"));
    assert_false(has_warning(cfg, "_PORT"));
    config_destroy(&cfg);
    src.env = (const char *const[]){"HEADSCALE_WORKERS=many", NULL};
    struct err err;
    assert_int_equal(config_parse(&src, STR(""), "c.yaml", &cfg, &err), RC_INVALID);
    assert_string_equal(err.file, "HEADSCALE_WORKERS");
}

/* A variable left over from Headscale does not undo what was written for this server. */
static void test_the_file_wins_over_variables_of_headscale(void **ctx)
{
    (void)ctx;
    struct config_source src = plain;
    src.env = (const char *const[]){"HEADSCALE_DNS_BASE_DOMAIN=old.example.net",
                                    "HEADSCALE_ACL_POLICY_PATH=/nonexistent",
                                    "HEADSCALE_LOG_LEVEL=debug",
                                    "HEADSCALE_WORKERS=3",
                                    "FULLSCALE_WORKERS=4",
                                    NULL};
    struct config *cfg = parse_ok(&src, "workers: 2\ndns:\n  base_domain: file.example.net\n"
                                        "acl_policy_path: /dev/null\nlog.level: ''\n");
    assert_string_equal(cfg->dns_base_domain, "file.example.net");
    assert_string_equal(cfg->policy_path, "/dev/null");
    assert_int_equal(cfg->log_level, LOG_DEBUG);
    assert_int_equal(cfg->workers, 4);
    assert_true(has_warning(cfg, "HEADSCALE_DNS_BASE_DOMAIN is ignored: the file sets dns.base_domain (line 3)"));
    assert_true(has_warning(cfg, "HEADSCALE_ACL_POLICY_PATH is ignored: the file sets policy.path (line 4)"));
    assert_true(has_warning(cfg, "HEADSCALE_LOG_LEVEL is read as log.level"));
    assert_true(has_warning(cfg, "HEADSCALE_WORKERS is ignored: FULLSCALE_WORKERS is set"));
    config_destroy(&cfg);
}

/* A Service called fullscale-derp beside the server must not stop it; a misspelt key must. */
static void test_variables_of_kubernetes_are_passed_over(void **ctx)
{
    (void)ctx;
    struct config_source src = plain;
    src.env = (const char *const[]){"FULLSCALE_DERP_SERVICE_HOST=10.0.0.1",
                                    "FULLSCALE_DERP_SERVICE_PORT=443",
                                    "FULLSCALE_DERP_SERVICE_PORT_HTTPS=443",
                                    "FULLSCALE_DERP_PORT=tcp://10.0.0.1:443",
                                    "FULLSCALE_DERP_PORT_443_TCP=tcp://10.0.0.1:443",
                                    "FULLSCALE_DERP_PORT_443_TCP_ADDR=10.0.0.1",
                                    "FULLSCALE_DERP_PORT_443_TCP_PORT=443",
                                    "FULLSCALE_DERP_PORT_443_TCP_PROTO=tcp",
                                    "FULLSCALE_RELAY_PORT=udp://10.0.0.1:3478",
                                    "FULLSCALE_RELAY_PORT_3478_UDP=udp://10.0.0.1:3478",
                                    "FULLSCALE_NODE_X_PORT_99_SCTP_ADDR=10.0.0.1",
                                    "FULLSCALE_PORT_8080_TCP=tcp://10.0.0.1:8080",
                                    "FULLSCALE_DERP_SERVER_REGION_ID=7",
                                    NULL};
    struct config *cfg = parse_ok(&src, "");
    assert_int_equal(cfg->derp_server_region_id, 7);
    assert_false(has_warning(cfg, "environment variable"));
    config_destroy(&cfg);
    static const char *const refused[] = {"FULLSCALE_DERP_PORT=8443", "FULLSCALE_DERP_PORT_X_TCP=1",
                                          "FULLSCALE_DERP_PORT_443_TCPX=1", "FULLSCALE_DERP_SERVICE_HOSTS=x",
                                          "FULLSCALE_POLCY_PATH=/x"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        src.env = (const char *const[]){refused[i], NULL};
        refused_with(&src, "", 0, -1, "unknown environment variable FULLSCALE_");
    }
}

/* What the texts of ignored keys say must be so: a key that is there now is not called unsupported. */
static void test_texts_of_ignored_keys_are_true(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *word; /* in a text that says "not ... yet" */
        const char *key;  /* what there would be */
    } claims[] = {
        {"OpenID", "oidc.issuer"},
        {"certificates are not fetched", "tls_letsencrypt_hostname"},
        {"use dns.extra_records", "dns.extra_records_path"},
        {"PostgreSQL", "database.postgres.host"},
        {"unix_socket only", "cli.address"},
        {"asked for certificates", "tls_client_auth_mode"},
    };
    for (size_t i = 0; i < schema_olds_n; i++) {
        const struct schema_old *old = &schema_olds[i];
        if (old->kind != SCHEMA_OLD_LATER)
            continue;
        size_t k = 0;
        while (k < ARRAY_LEN(claims) && strstr(old->note, claims[k].word) == NULL)
            k++;
        if (k == ARRAY_LEN(claims))
            fail_msg("say here when \"%s: %s\" stops being true", old->name, old->note);
        assert_null(schema_find(str_c(claims[k].key)));
        assert_non_null(schema_find_old(str_c(claims[k].key)));
    }
    for (size_t i = 0; i < schema_olds_n; i++) {
        const struct schema_old *old = &schema_olds[i];
        bool says_no = old->note != NULL &&
                       (strstr(old->note, "not supported") != NULL || strstr(old->note, "yet") != NULL);
        assert_true(!says_no || old->kind == SCHEMA_OLD_LATER);
    }
}

static void test_probes_of_routers(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, "node: {routes: {ha: {probe_interval: 1m, probe_timeout: 20s}}}\n");
    assert_int_equal(cfg->node_routes_ha_probe_interval_ms, 60000);
    assert_int_equal(cfg->node_routes_ha_probe_timeout_ms, 20000);
    assert_false(has_warning(cfg, "node.routes"));
    config_destroy(&cfg);
    cfg = parse_ok(&plain, "node.routes.ha.probe_interval: 0\n");
    assert_int_equal(cfg->node_routes_ha_probe_interval_ms, 0);
    config_destroy(&cfg);
    cfg = parse_ok(&plain, "");
    assert_int_equal(cfg->node_routes_ha_probe_interval_ms, 10000);
    assert_int_equal(cfg->node_routes_ha_probe_timeout_ms, 5000);
    config_destroy(&cfg);
}

static void test_no_relay_is_worth_a_word(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, "derp.server.enabled: false\n");
    assert_true(has_warning(cfg, "derp.server.enabled is false, and neither derp.paths nor derp.urls"));
    config_destroy(&cfg);
    cfg = parse_ok(&plain, "derp:\n  server:\n    enabled: false\n  urls: [https://example.com/map]\n");
    assert_false(has_warning(cfg, "derp.server.enabled"));
    config_destroy(&cfg);
}

static void test_many_unknown_keys_stay_bounded(void **ctx)
{
    (void)ctx;
    struct buf yaml = {0};
    for (int i = 0; i < 3000; i++)
        buf_printf(&yaml, "unknown_%d: 1\n", i);
    buf_append_c(&yaml, "workers: x\n");
    struct config *cfg;
    struct err err;
    assert_int_equal(config_parse(&plain, buf_str(&yaml), "c.yaml", &cfg, &err), RC_INVALID);
    assert_int_equal(err.line, 3001);
    buf_fini(&yaml);
}

static void test_headscale_file_is_understood(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(
        &plain,
        "server_url: http://127.0.0.1:8080\nlisten_addr: 127.0.0.1:8080\nmetrics_listen_addr: 127.0.0.1:9090\n"
        "trusted_proxies: []\ngrpc_listen_addr: 127.0.0.1:50443\ngrpc_allow_insecure: false\n"
        "noise:\n  private_key_path: /var/lib/headscale/noise_private.key\n"
        "prefixes:\n  v4: 100.64.0.0/10\n  v6: fd7a:115c:a1e0::/48\n  allocation: sequential\n"
        "derp:\n  server:\n    enabled: true\n    region_id: 999\n    region_code: headscale\n"
        "    region_name: Headscale Embedded DERP\n    verify_clients: true\n    stun_listen_addr: 0.0.0.0:3478\n"
        "    private_key_path: /var/lib/headscale/derp_server_private.key\n"
        "    automatically_add_embedded_derp_region: true\n    ipv4: 198.51.100.1\n    ipv6: 2001:db8::1\n"
        "  urls:\n    - https://controlplane.tailscale.com/derpmap/default\n  paths: []\n"
        "  auto_update_enabled: true\n  update_frequency: 3h\n"
        "disable_check_updates: false\nnode:\n  expiry: 0\n  ephemeral:\n    inactivity_timeout: 30m\n"
        "  routes:\n    ha: {probe_interval: 10s}\n"
        "database:\n  type: sqlite\n  debug: false\n  gorm: {prepare_stmt: true}\n"
        "  sqlite: {path: /var/lib/headscale/db.sqlite, write_ahead_log: true, wal_autocheckpoint: 1000}\n"
        "acme_url: https://acme-v02.api.letsencrypt.org/directory\nacme_email: ''\ntls_letsencrypt_hostname: ''\n"
        "tls_letsencrypt_cache_dir: /var/lib/headscale/cache\ntls_letsencrypt_challenge_type: HTTP-01\n"
        "tls_letsencrypt_listen: ':http'\ntls_cert_path: ''\ntls_key_path: ''\n"
        "log: {level: info, format: text}\npolicy: {mode: file, path: ''}\n"
        "dns:\n  magic_dns: true\n  base_domain: example.com\n  override_local_dns: true\n"
        "  nameservers: {global: [1.1.1.1, 1.0.0.1], split: {}}\n  search_domains: []\n  extra_records: []\n"
        "unix_socket: /var/run/headscale/headscale.sock\nunix_socket_permission: '0770'\n"
        "logtail: {enabled: false}\nrandomize_client_port: false\ntaildrop: {enabled: true}\n"
        "oidc: {issuer: x, expiry: 180d}\ntuning: {node_store_batch_size: 100}\n");
    assert_int_equal(cfg->node_ephemeral_inactivity_timeout_ms, 30 * 60000);
    assert_int_equal(cfg->derp_urls.n, 1);
    assert_string_equal(cfg->derp_urls.items[0], "https://controlplane.tailscale.com/derpmap/default");
    assert_true(cfg->derp_auto_update_enabled);
    assert_int_equal(cfg->derp_update_frequency_ms, 3 * 3600 * 1000);
    assert_true(has_warning(cfg, "derp.server.ipv4 (198.51.100.1) is an address for documentation"));
    assert_true(has_warning(cfg, "grpc_listen_addr is ignored"));
    assert_true(has_warning(cfg, "oidc is ignored"));
    assert_true(has_warning(cfg, "oidc.expiry is ignored: node.expiry is set"));
    assert_true(has_warning(cfg, "only this machine can reach it"));
    assert_false(has_warning(cfg, "unknown"));
    assert_false(has_warning(cfg, "acme"));
    config_destroy(&cfg);
}

static void test_renamed_keys_are_read(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain, "ephemeral_node_inactivity_timeout: 10m\n"
                                          "dns_config: {nameservers: [9.9.9.9], base_domain: old.example.com, "
                                          "restricted_nameservers: {a.b: [1.1.1.1]}}\n"
                                          "dns: {base_domain: new.example.com}\n"
                                          "ip_prefixes: ['fd7a:115c:a1e0::/64', 100.64.0.0/16]\ndb_path: /x.db\n"
                                          "oidc: {expiry: 30d}\n");
    assert_int_equal(cfg->node_ephemeral_inactivity_timeout_ms, 600000);
    assert_string_equal(cfg->dns_nameservers_global.items[0], "9.9.9.9");
    assert_int_equal(cfg->dns_nameservers_split.n, 1);
    assert_string_equal(cfg->dns_base_domain, "new.example.com");
    assert_int_equal(cfg->prefix_v4.bits, 16);
    assert_int_equal(cfg->prefix_v6.bits, 64);
    assert_string_equal(cfg->database_sqlite_path, "/x.db");
    assert_int_equal(cfg->node_expiry_ms, INT64_C(30) * 86400 * 1000);
    assert_true(has_warning(cfg, "c.yaml:1:1: ephemeral_node_inactivity_timeout is now called "
                                 "node.ephemeral.inactivity_timeout"));
    assert_true(has_warning(cfg, "dns_config.base_domain is ignored: dns.base_domain is set"));
    config_destroy(&cfg);
}

static void test_plain_http_on_a_public_name_warns(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *yaml;
        const char *warning;
    } rows[] = {
        {"server_url: http://hs.example.com", "plain http:// on a public name"},
        {"server_url: http://8.8.8.8:8080", "plain http:// on a public name"},
        {"server_url: http://100.64.0.1", "plain http:// on a public name"},
        {"server_url: http://[2001:db8::1]:80", "plain http:// on a public name"},
        {"server_url: http://localhost:8080", "only this machine"},
        {"server_url: http://[::1]:8080", "only this machine"},
        {"server_url: http://10.0.0.1", NULL},
        {"server_url: http://[fd00::1]", NULL},
        {"server_url: https://hs.example.com\ntrusted_proxies: [10.0.0.1]", NULL},
        {"server_url: https://hs.example.com\nlisten_addr: 127.0.0.1:8080", NULL},
        {"server_url: https://hs.example.com", "is https://, but nothing here speaks TLS"},
        {"server_url: https://headscale.example.com", "is the example's (https://headscale.example.com)"},
        {"derp.server.hostname: derp.example.com", "derp.server.hostname is the example's"},
        {"prefixes.v4: 10.0.0.0/8", "outside 100.64.0.0/10"},
        {"dns.override_local_dns: true", "no effect"},
        {"dns.base_domain: x.local", ".local"},
        {"policy: {mode: database, path: /nonexistent}", "policy.path is not read: policy.mode is database"},
        {"policy: {mode: file, path: /dev/null}", NULL},
        {"acl_policy_path: /dev/null", "acl_policy_path is now called policy.path"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *cfg = parse_ok(&plain, rows[i].yaml);
        if (rows[i].warning != NULL && !has_warning(cfg, rows[i].warning))
            fail_msg("no warning for %s", rows[i].yaml);
        if (rows[i].warning == NULL && config_warning(cfg, 0) != NULL)
            fail_msg("%s: %s", rows[i].yaml, config_warning(cfg, 0));
        config_destroy(&cfg);
    }
}

/* `fullscale relay` on a machine with a public address: its own server_url is a default that nobody uses. */
static void test_relays_have_no_server_url(void **ctx)
{
    (void)ctx;
    struct config_source relay = plain;
    relay.is_relay = true;
    snprintf(relay.primary_ip, sizeof(relay.primary_ip), "8.8.8.8");
    struct config *cfg = parse_ok(&relay, "");
    assert_string_equal(cfg->derp_server_hostname, "8.8.8.8");
    assert_null(config_warning(cfg, 0));
    config_destroy(&cfg);
}

static void test_default_url_follows_the_listener(void **ctx)
{
    (void)ctx;
    struct config_source src = plain;
    struct config *cfg = parse_ok(&src, "listen_addr: 10.0.0.7:80");
    assert_string_equal(cfg->server_url, "http://10.0.0.7");
    config_destroy(&cfg);
    snprintf(src.primary_ip, sizeof(src.primary_ip), "fd00::5");
    cfg = parse_ok(&src, "");
    assert_string_equal(cfg->server_url, "http://[fd00::5]:8080");
    assert_string_equal(cfg->derp_server_hostname, "fd00::5");
    config_destroy(&cfg);
}

static void test_reference_lists_each_row(void **ctx)
{
    (void)ctx;
    for (int format = CONFIG_REFERENCE_TEXT; format <= CONFIG_REFERENCE_JSON; format++) {
        struct buf out = {0};
        config_reference((enum config_reference_format)format, &out);
        const char *text = buf_cstr(&out);
        for (size_t i = 0; i < schema_rows_n && format != CONFIG_REFERENCE_YAML; i++) {
            assert_non_null(strstr(text, schema_rows[i].name));
            if (format == CONFIG_REFERENCE_JSON)
                assert_non_null(strstr(text, value_type_name(schema_rows[i].type)[0] == 'c'
                                                 ? schema_rows[i].name
                                                 : value_type_name(schema_rows[i].type)));
        }
        buf_fini(&out);
    }
}

/* The example file, with the comment signs of its keys taken away, is a file that sets every key to its default. */
static void test_example_file_parses(void **ctx)
{
    (void)ctx;
    struct buf out = {0};
    struct buf plain_text = {0};
    config_reference(CONFIG_REFERENCE_YAML, &out);
    struct str rest = buf_str(&out);
    struct str line;
    while (rest.len > 0) {
        str_cut(rest, '\n', &line, &rest);
        if (line.len > 0 && line.p[0] == '#')
            line = str_n(line.p + 1, line.len - 1);
        struct str trimmed = str_trim(line);
        if (trimmed.len > 0 && trimmed.p[0] != '#' && !str_starts(line, STR(" Fullscale")))
            buf_printf(&plain_text, "%.*s\n", STR_ARG(line));
    }
    struct config *cfg = parse_ok(&plain, buf_cstr(&plain_text));
    assert_string_equal(cfg->server_url, "https://fullscale.example.com");
    assert_string_equal(cfg->unix_socket, "/run/fullscale/fullscale.sock");
    for (size_t i = 0; config_warning(cfg, i) != NULL; i++) {
        const char *expected[] = {"override_local_dns", "nothing here speaks TLS", "is the example's"};
        assert_true(i < ARRAY_LEN(expected));
        assert_true(has_warning(cfg, expected[i]));
    }
    buf_fini(&out);
    buf_fini(&plain_text);
    config_destroy(&cfg);
}

static void test_dump_reads_back(void **ctx)
{
    (void)ctx;
    struct config *cfg = parse_ok(&plain,
                                  "dns: {nameservers: {global: [1.1.1.1], split: {a.b: [9.9.9.9]}}, extra_records: "
                                  "[{name: x.y, type: A, value: 1.2.3.4}]}\nnode.expiry: 36h\nprefixes.v6: ''\n");
    struct buf first = {0};
    struct buf second = {0};
    config_dump(cfg, &first);
    struct config *again = parse_ok(&plain, buf_cstr(&first));
    config_dump(again, &second);
    assert_string_equal(buf_cstr(&first), buf_cstr(&second));
    assert_non_null(strstr(buf_cstr(&first), "node.expiry: \"1d12h\"\n"));
    assert_non_null(strstr(buf_cstr(&first), "unix_socket_permission: \"0770\"\n"));
    buf_fini(&first);
    buf_fini(&second);
    config_destroy(&cfg);
    config_destroy(&again);
}

static void test_secrets_are_never_printed(void **ctx)
{
    (void)ctx;
    struct schema_row row = *schema_find(STR("server_url"));
    row.is_secret = true;
    struct config cfg = {.server_url = "hunter2"};
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    value_write(&row, &cfg, &w);
    assert_string_equal(buf_cstr(&out), "\"(secret)\"");
    struct arena a = {0};
    struct value_error error;
    struct value_item item = {STR("hunter2"), 1, 1};
    assert_int_equal(value_set(&a, &row, "", &item, 1, &cfg, &error), RC_INVALID);
    assert_null(strstr(error.why, "hunter2"));
    buf_fini(&out);
    arena_fini(&a);
}

/* Each row's default is good, its field is its own, and its name, environment name and meaning are usable. */
static void test_table_is_consistent(void **ctx)
{
    (void)ctx;
    for (size_t i = 0; i < schema_rows_n; i++) {
        const struct schema_row *row = &schema_rows[i];
        assert_non_null(row->meaning);
        assert_non_null(row->def);
        assert_true(strlen(row->meaning) > 10);
        assert_true(strlen(row->name) + sizeof(SCHEMA_ENV_PREFIX) < SCHEMA_ENV_CAP);
        assert_ptr_equal(schema_find(str_c(row->name)), row);
        assert_null(schema_find_old(str_c(row->name)));
        assert_true((row->type == SCHEMA_CHOICE) == (row->choices != NULL));
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(row->offset, schema_rows[j].offset);
    }
    for (size_t i = 0; i < schema_olds_n; i++) {
        const struct schema_old *old = &schema_olds[i];
        assert_null(schema_find(str_c(old->name)));
        if (old->kind == SCHEMA_OLD_MOVED && strcmp(old->now, "prefixes.*") != 0)
            assert_non_null(schema_find(str_c(old->now)));
        assert_true(old->kind == SCHEMA_OLD_MOVED || old->kind == SCHEMA_OLD_QUIET || old->note != NULL);
    }
}

static void test_load_from_disk(void **ctx)
{
    (void)ctx;
    char path[] = "/tmp/fullscale-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "workers: 3\nwrokers: 4\n", 22), 22);
    close(fd);
    struct config *cfg;
    struct err err;
    struct config_source src = plain;
    src.path = path;
    assert_int_equal(config_load(&src, &cfg, &err), RC_OK);
    assert_int_equal(cfg->workers, 3);
    assert_string_equal(config_path(cfg), path);
    config_destroy(&cfg);

    char env[64];
    snprintf(src.checkout_path, sizeof(src.checkout_path), "%s", path);
    src.path = NULL;
    assert_int_equal(config_load(&src, &cfg, &err), RC_OK);
    assert_string_equal(config_path(cfg), path);
    config_destroy(&cfg);
    snprintf(src.checkout_path, sizeof(src.checkout_path), "/nonexistent/data/config.yaml");
    snprintf(env, sizeof(env), "FULLSCALE_CONFIG=%s", path);
    src.path = NULL;
    src.env = (const char *const[]){env, NULL};
    struct buf report = {0};
    assert_int_equal(config_check(&src, &report), RC_OK);
    assert_non_null(strstr(buf_cstr(&report), ":2:1: unknown key wrokers: did you mean workers?\n"));
    buf_clear(&report);
    src.path = "/nonexistent/config.yaml";
    assert_int_equal(config_load(&src, &cfg, &err), RC_NOT_FOUND);
    assert_string_equal(err.file, src.path);
    assert_int_equal(config_check(&src, &report), RC_NOT_FOUND);
    src.path = "/tmp";
    assert_int_equal(config_load(&src, &cfg, &err), RC_IO);
    assert_null(cfg);
    buf_fini(&report);
    unlink(path);
}

static void test_check_reports_everything(void **ctx)
{
    (void)ctx;
    char path[] = "/tmp/fullscale-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char yaml[] = "workers: x\nlisten_addr: y\nfoo_bar_baz: 1\n";
    assert_int_equal(write(fd, yaml, sizeof(yaml) - 1), sizeof(yaml) - 1);
    close(fd);
    struct config_source src = plain;
    src.path = path;
    struct buf report = {0};
    assert_int_equal(config_check(&src, &report), RC_INVALID);
    assert_non_null(strstr(buf_cstr(&report), ":1:10: workers must"));
    assert_non_null(strstr(buf_cstr(&report), ":2:14: listen_addr must"));
    assert_non_null(strstr(buf_cstr(&report), "warning: "));
    buf_fini(&report);
    unlink(path);
}

static void test_system_source(void **ctx)
{
    (void)ctx;
    struct config_source src;
    config_source_system("x", &src);
    assert_string_equal(src.path, "x");
    struct addr ip;
    assert_true(src.primary_ip[0] == '\0' || addr_parse_ip(str_c(src.primary_ip), &ip) == RC_OK);
}

static void test_distance(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *a, *b;
        size_t distance;
    } rows[] = {{"", "", 0},       {"", "abc", 3},          {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
                {"Abc", "aBC", 0}, {"listen", "listne", 1}, {"a", "b", 1},  {"abcd", "acbd", 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(str_distance(str_c(rows[i].a), str_c(rows[i].b)), rows[i].distance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_file_serves),
        cmocka_unit_test(test_defaults_when_not_root),
        cmocka_unit_test(test_each_type),
        cmocka_unit_test(test_null_and_empty_mean_default),
        cmocka_unit_test(test_environment_wins),
        cmocka_unit_test(test_refusals_name_place_and_fix),
        cmocka_unit_test(test_clients_need_no_certificates),
        cmocka_unit_test(test_long_socket_path_is_refused),
        cmocka_unit_test(test_unknown_keys_get_a_suggestion),
        cmocka_unit_test(test_unknown_keys_about_access_are_errors),
        cmocka_unit_test(test_harmless_unknown_keys_are_warnings),
        cmocka_unit_test(test_where_the_relay_listens),
        cmocka_unit_test(test_relay_behind_a_proxy_is_at_its_port),
        cmocka_unit_test(test_relay_at_an_address_for_documentation),
        cmocka_unit_test(test_names_are_lower_case_and_there_once),
        cmocka_unit_test(test_one_value_is_a_list_of_one),
        cmocka_unit_test(test_empty_containers_mean_nothing),
        cmocka_unit_test(test_variables_of_headscale_are_read),
        cmocka_unit_test(test_the_file_wins_over_variables_of_headscale),
        cmocka_unit_test(test_variables_of_kubernetes_are_passed_over),
        cmocka_unit_test(test_texts_of_ignored_keys_are_true),
        cmocka_unit_test(test_probes_of_routers),
        cmocka_unit_test(test_no_relay_is_worth_a_word),
        cmocka_unit_test(test_many_unknown_keys_stay_bounded),
        cmocka_unit_test(test_headscale_file_is_understood),
        cmocka_unit_test(test_renamed_keys_are_read),
        cmocka_unit_test(test_plain_http_on_a_public_name_warns),
        cmocka_unit_test(test_relays_have_no_server_url),
        cmocka_unit_test(test_default_url_follows_the_listener),
        cmocka_unit_test(test_reference_lists_each_row),
        cmocka_unit_test(test_example_file_parses),
        cmocka_unit_test(test_dump_reads_back),
        cmocka_unit_test(test_secrets_are_never_printed),
        cmocka_unit_test(test_table_is_consistent),
        cmocka_unit_test(test_load_from_disk),
        cmocka_unit_test(test_check_reports_everything),
        cmocka_unit_test(test_system_source),
        cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
