/* What is refused or warned of, at which position and with which remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/testing.h"

static const struct {
    const char *yaml;
    int line, col;
    const char *text;
} refusals[] = {
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

static void test_refusals_name_place_and_fix(void **ctx)
{
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        testing_refused(&testing_source, refusals[i].yaml, refusals[i].line, refusals[i].col, refusals[i].text);
}

/* The command line reads the server's file for its socket: a user who may open that need not be allowed to read
 * keys. */
static void test_clients_need_no_certificates(void **ctx)
{
    (void)ctx;
    struct config_source client = testing_source;
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
    testing_refused(&testing_source, yaml, 1, 14, "is longer than the 107 bytes");
}

static void test_unknown_keys_get_a_suggestion(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source, "listen_adr: 0.0.0.0:1\nzzzzzzzz: {a: {b: 1}}\n");
    assert_true(testing_warns(cfg, "c.yaml:1:1: unknown key listen_adr: did you mean listen_addr?"));
    assert_true(testing_warns(cfg, "unknown key zzzzzzzz is ignored"));
    config_destroy(&cfg);
}

/* Misspelt, each would silently open the tailnet, or serve under another identity. */
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
        testing_refused(&testing_source, rows[i].yaml, 1, -1, rows[i].text);
    struct config_source src = testing_source;
    src.env = (const char *const[]){"FULLSCALE_POLICY_PTH=/x", NULL};
    testing_refused(&src, "", 0, -1,
                    "unknown environment variable FULLSCALE_POLICY_PTH: did you mean FULLSCALE_POLICY_PATH?");
    /* The command line asks the server's file for its socket only. */
    src = testing_source;
    src.is_client = true;
    struct config *cfg = testing_parse(&src, "policy: {pth: x}");
    config_destroy(&cfg);
}

/* Names that users invent may resemble those of the short groups about access (node, derp, noise, relay). */
static void test_harmless_unknown_keys_are_warnings(void **ctx)
{
    (void)ctx;
    static const char *const names[] = {"name", "note", "notes", "mode", "role", "home", "code", "notice", "delay"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s: x", names[i]);
        struct config *cfg = testing_parse(&testing_source, text);
        snprintf(text, sizeof(text), "unknown key %s", names[i]);
        assert_true(testing_warns(cfg, text));
        config_destroy(&cfg);
    }
}

static void test_no_relay_is_worth_a_word(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source, "derp.server.enabled: false\n");
    assert_true(testing_warns(cfg, "derp.server.enabled is false, and neither derp.paths nor derp.urls"));
    config_destroy(&cfg);
    cfg = testing_parse(&testing_source, "derp:\n  server:\n    enabled: false\n  urls: [https://example.com/map]\n");
    assert_false(testing_warns(cfg, "derp.server.enabled"));
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
    assert_int_equal(config_parse(&testing_source, buf_str(&yaml), "c.yaml", &cfg, &err), RC_INVALID);
    assert_int_equal(err.line, 3001);
    buf_fini(&yaml);
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
        struct config *cfg = testing_parse(&testing_source, rows[i].yaml);
        if (rows[i].warning != NULL && !testing_warns(cfg, rows[i].warning))
            fail_msg("no warning for %s", rows[i].yaml);
        if (rows[i].warning == NULL && config_warning(cfg, 0) != NULL)
            fail_msg("%s: %s", rows[i].yaml, config_warning(cfg, 0));
        config_destroy(&cfg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_name_place_and_fix),
        cmocka_unit_test(test_clients_need_no_certificates),
        cmocka_unit_test(test_long_socket_path_is_refused),
        cmocka_unit_test(test_unknown_keys_get_a_suggestion),
        cmocka_unit_test(test_unknown_keys_about_access_are_errors),
        cmocka_unit_test(test_harmless_unknown_keys_are_warnings),
        cmocka_unit_test(test_no_relay_is_worth_a_word),
        cmocka_unit_test(test_many_unknown_keys_stay_bounded),
        cmocka_unit_test(test_plain_http_on_a_public_name_warns),
    };
    return cmocka_run_group_tests_name("config check", tests, NULL, NULL);
}
