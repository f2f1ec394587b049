/* The values of keys: each type, defaults, the environment, lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "config/schema_internal.h"
#include "config/testing.h"

#define PIN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_empty_file_serves(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source, "");
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
    struct config_source src = testing_source;
    src.is_root = false;
    struct config *cfg = testing_parse(&src, "state_dir: data\n");
    assert_string_equal(cfg->state_dir, "/etc/fs/data");
    assert_string_equal(cfg->unix_socket, "/etc/fs/data/fullscale.sock");
    assert_string_equal(cfg->database_sqlite_path, "/etc/fs/data/db.sqlite");
    config_destroy(&cfg);
    src.env = (const char *const[]){"FULLSCALE_STATE_DIR=data", NULL};
    cfg = testing_parse(&src, "");
    assert_string_equal(cfg->state_dir, "data");
    config_destroy(&cfg);
}

static const char each_type[] = "listen_addr: '[::]:9000'\n"
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
                                "limits: {body_size: 128k}\n";

static void test_each_type(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source, each_type);
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
    struct config *cfg = testing_parse(&testing_source,
                                       "dns: ~\nderp:\nserver_url: ''\nlog:\n  level:\ntls_cert_path: \"\"\n"
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
    struct config_source src = testing_source;
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
    struct config *cfg = testing_parse(&src, "listen_addr: 0.0.0.0:8000\nlog.level: debug\n");
    assert_int_equal(cfg->listen_addr.addr.port, 1234);
    assert_int_equal(cfg->dns_nameservers_global.n, 3);
    assert_int_equal(cfg->log_level, LOG_DEBUG);
    assert_int_equal(cfg->derp_server_region_id, 7);
    assert_true(testing_warns(cfg, "FULLSCALE_LOG_LEVLE is ignored: did you mean FULLSCALE_LOG_LEVEL?"));
    assert_false(testing_warns(cfg, "FULLSCALE_RELAY_KEY") || testing_warns(cfg, "FULLSCALE_BENCH_AUTHKEY"));
    config_destroy(&cfg);
    src.env = (const char *const[]){"FULLSCALE_WORKERS=many", NULL};
    struct err err;
    assert_int_equal(config_parse(&src, STR("workers: 2"), "c.yaml", &cfg, &err), RC_INVALID);
    assert_string_equal(err.file, "FULLSCALE_WORKERS");
    assert_string_equal(err.text, "workers must be a whole number, not \"many\"");
}

/* Clients look names up in lower case, and compare bytes. */
static void test_names_are_lower_case_and_there_once(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(
        &testing_source,
        "derp.server.hostname: Relay.Example.NET.\n"
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
    testing_refused(&testing_source, "dns.nameservers.split: {A.b: [1.1.1.1], a.B: [9.9.9.9]}", 1, -1,
                    "has the domain a.b twice");
    char label[128];
    snprintf(label, sizeof(label), "dns.search_domains: %064d.example", 1);
    testing_refused(&testing_source, label, 1, 21, "must be a DNS name");
    testing_refused(&testing_source, "dns.extra_records: [{name: a b, type: A, value: 1.2.3.4}]", 1, -1,
                    "must have a DNS name");
    testing_refused(&testing_source, "dns.nameservers.global: 'https://a b'", 1, -1,
                    "must be an IP address or a DNS-over-HTTPS");
}

/* One value is a list of one. */
static void test_one_value_is_a_list_of_one(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(
        &testing_source, "ip_prefixes: 100.66.0.0/16\ntrusted_proxies: 127.0.0.1\n"
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
    cfg = testing_parse(&testing_source,
                        "ip_prefixes: 100.66.0.0/16, fd7a:115c:a1e0::/64\ntrusted_proxies: ['::1', 10.0.0.0/8]");
    assert_int_equal(cfg->prefix_v4.bits, 16);
    assert_int_equal(cfg->prefix_v6.bits, 64);
    assert_string_equal(cfg->trusted_proxies.items[0].text, "::1/128");
    config_destroy(&cfg);
    testing_refused(&testing_source, "trusted_proxies: 0.0.0.0/0", 1, 18, "must not hold 0.0.0.0/0: that is everyone");
    testing_refused(&testing_source, "trusted_proxies: proxy.lan", 1, 18,
                    "must be an address, or an address and a length");
}

static void same_as_nothing(const char *yaml, const char *nothing)
{
    struct buf dump = {0};
    struct config *cfg = testing_parse(&testing_source, yaml);
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

/* For every type of key, and for groups of keys. */
static void test_empty_containers_mean_nothing(void **ctx)
{
    (void)ctx;
    static const char *const empties[] = {"[]", "{}", "~", ""};
    struct buf nothing = {0};
    struct config *cfg = testing_parse(&testing_source, "");
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

static void test_probes_of_routers(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source,
                                       "node: {routes: {ha: {probe_interval: 1m, probe_timeout: 20s}}}\n");
    assert_int_equal(cfg->node_routes_ha_probe_interval_ms, 60000);
    assert_int_equal(cfg->node_routes_ha_probe_timeout_ms, 20000);
    assert_false(testing_warns(cfg, "node.routes"));
    config_destroy(&cfg);
    cfg = testing_parse(&testing_source, "node.routes.ha.probe_interval: 0\n");
    assert_int_equal(cfg->node_routes_ha_probe_interval_ms, 0);
    config_destroy(&cfg);
    cfg = testing_parse(&testing_source, "");
    assert_int_equal(cfg->node_routes_ha_probe_interval_ms, 10000);
    assert_int_equal(cfg->node_routes_ha_probe_timeout_ms, 5000);
    config_destroy(&cfg);
}

static void test_default_url_follows_the_listener(void **ctx)
{
    (void)ctx;
    struct config_source src = testing_source;
    struct config *cfg = testing_parse(&src, "listen_addr: 10.0.0.7:80");
    assert_string_equal(cfg->server_url, "http://10.0.0.7");
    config_destroy(&cfg);
    snprintf(src.primary_ip, sizeof(src.primary_ip), "fd00::5");
    cfg = testing_parse(&src, "");
    assert_string_equal(cfg->server_url, "http://[fd00::5]:8080");
    assert_string_equal(cfg->derp_server_hostname, "fd00::5");
    config_destroy(&cfg);
}

/* `fullscale relay` on a machine with a public address: its own server_url is an unused default. */
static void test_relays_have_no_server_url(void **ctx)
{
    (void)ctx;
    struct config_source relay = testing_source;
    relay.is_relay = true;
    snprintf(relay.primary_ip, sizeof(relay.primary_ip), "8.8.8.8");
    struct config *cfg = testing_parse(&relay, "");
    assert_string_equal(cfg->derp_server_hostname, "8.8.8.8");
    assert_null(config_warning(cfg, 0));
    config_destroy(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_file_serves),
        cmocka_unit_test(test_defaults_when_not_root),
        cmocka_unit_test(test_each_type),
        cmocka_unit_test(test_null_and_empty_mean_default),
        cmocka_unit_test(test_environment_wins),
        cmocka_unit_test(test_names_are_lower_case_and_there_once),
        cmocka_unit_test(test_one_value_is_a_list_of_one),
        cmocka_unit_test(test_empty_containers_mean_nothing),
        cmocka_unit_test(test_probes_of_routers),
        cmocka_unit_test(test_default_url_follows_the_listener),
        cmocka_unit_test(test_relays_have_no_server_url),
    };
    return cmocka_run_group_tests_name("config config", tests, NULL, NULL);
}
