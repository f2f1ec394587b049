/* Files and environments of Headscale, and of Kubernetes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "config/schema_internal.h"
#include "config/testing.h"

/* A former Headscale container still has its variables. */
static void test_variables_of_headscale_are_read(void **ctx)
{
    (void)ctx;
    struct config_source src = testing_source;
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
    struct config *cfg = testing_parse(&src, "log.level: info\n");
    assert_string_equal(cfg->dns_base_domain, "env.example.net");
    assert_string_equal(cfg->policy_path, "/dev/null");
    assert_int_equal(cfg->workers, 2);
    assert_true(testing_warns(cfg, "HEADSCALE_DNS_BASE_DOMAIN is read as dns.base_domain"));
    assert_true(testing_warns(cfg, "HEADSCALE_ACL_POLICY_PATH is read as policy.path"));
    assert_true(testing_warns(cfg, "HEADSCALE_WORKERS is ignored: FULLSCALE_WORKERS is set"));
    assert_true(testing_warns(cfg, "HEADSCALE_OIDC_ISSUER is ignored: login through OpenID"));
    assert_true(testing_warns(cfg, "HEADSCALE_DNS_EXTRA_RECORDS is ignored: it can only be written in the file"));
    assert_true(testing_warns(cfg, "HEADSCALE_CONFIG is ignored: FULLSCALE_CONFIG or --config names the file"));
    assert_true(testing_warns(cfg, "HEADSCALE_NONSENSE is ignored: it means nothing here"));
    assert_false(testing_warns(cfg, "SERVICE"));
    assert_false(testing_warns(cfg, "_PORT"));
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
    struct config_source src = testing_source;
    src.env = (const char *const[]){"HEADSCALE_DNS_BASE_DOMAIN=old.example.net",
                                    "HEADSCALE_ACL_POLICY_PATH=/nonexistent",
                                    "HEADSCALE_LOG_LEVEL=debug",
                                    "HEADSCALE_WORKERS=3",
                                    "FULLSCALE_WORKERS=4",
                                    NULL};
    struct config *cfg = testing_parse(&src, "workers: 2\ndns:\n  base_domain: file.example.net\n"
                                             "acl_policy_path: /dev/null\nlog.level: ''\n");
    assert_string_equal(cfg->dns_base_domain, "file.example.net");
    assert_string_equal(cfg->policy_path, "/dev/null");
    assert_int_equal(cfg->log_level, LOG_DEBUG);
    assert_int_equal(cfg->workers, 4);
    assert_true(testing_warns(cfg, "HEADSCALE_DNS_BASE_DOMAIN is ignored: the file sets dns.base_domain (line 3)"));
    assert_true(testing_warns(cfg, "HEADSCALE_ACL_POLICY_PATH is ignored: the file sets policy.path (line 4)"));
    assert_true(testing_warns(cfg, "HEADSCALE_LOG_LEVEL is read as log.level"));
    assert_true(testing_warns(cfg, "HEADSCALE_WORKERS is ignored: FULLSCALE_WORKERS is set"));
    config_destroy(&cfg);
}

/* A Service called fullscale-derp beside the server must not stop it; a misspelt key must. */
static void test_variables_of_kubernetes_are_passed_over(void **ctx)
{
    (void)ctx;
    struct config_source src = testing_source;
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
    struct config *cfg = testing_parse(&src, "");
    assert_int_equal(cfg->derp_server_region_id, 7);
    assert_false(testing_warns(cfg, "environment variable"));
    config_destroy(&cfg);
    static const char *const refused[] = {"FULLSCALE_DERP_PORT=8443", "FULLSCALE_DERP_PORT_X_TCP=1",
                                          "FULLSCALE_DERP_PORT_443_TCPX=1", "FULLSCALE_DERP_SERVICE_HOSTS=x",
                                          "FULLSCALE_POLCY_PATH=/x"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        src.env = (const char *const[]){refused[i], NULL};
        testing_refused(&src, "", 0, -1, "unknown environment variable FULLSCALE_");
    }
}

/* The texts about ignored keys must be true: a key that exists by now is not called unsupported. */
static void test_texts_of_ignored_keys_are_true(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *word; /* in a text with "not ... yet" */
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

static void test_headscale_file_is_understood(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(
        &testing_source,
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
    assert_true(testing_warns(cfg, "derp.server.ipv4 (198.51.100.1) is an address for documentation"));
    assert_true(testing_warns(cfg, "grpc_listen_addr is ignored"));
    assert_true(testing_warns(cfg, "oidc is ignored"));
    assert_true(testing_warns(cfg, "oidc.expiry is ignored: node.expiry is set"));
    assert_true(testing_warns(cfg, "only this machine can reach it"));
    assert_false(testing_warns(cfg, "unknown"));
    assert_false(testing_warns(cfg, "acme"));
    config_destroy(&cfg);
}

static void test_renamed_keys_are_read(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source,
                                       "ephemeral_node_inactivity_timeout: 10m\n"
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
    assert_true(testing_warns(cfg, "c.yaml:1:1: ephemeral_node_inactivity_timeout is now called "
                                   "node.ephemeral.inactivity_timeout"));
    assert_true(testing_warns(cfg, "dns_config.base_domain is ignored: dns.base_domain is set"));
    config_destroy(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variables_of_headscale_are_read),
        cmocka_unit_test(test_the_file_wins_over_variables_of_headscale),
        cmocka_unit_test(test_variables_of_kubernetes_are_passed_over),
        cmocka_unit_test(test_texts_of_ignored_keys_are_true),
        cmocka_unit_test(test_headscale_file_is_understood),
        cmocka_unit_test(test_renamed_keys_are_read),
    };
    return cmocka_run_group_tests_name("config headscale", tests, NULL, NULL);
}
