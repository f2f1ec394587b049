/* Where the relay listens, and which address clients are given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/testing.h"

#define PROXY "server_url: https://hs.example.net\ntrusted_proxies: [172.16.0.0/12]\nlisten_addr: 0.0.0.0:8080\n"
#define CERT "tls_cert_path: /dev/null\ntls_key_path: /dev/null\n"

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
        struct config *cfg = testing_parse(&testing_source, rows[i].yaml);
        assert_int_equal(cfg->derp_server_listen_addr.addr.port, rows[i].port);
        assert_int_equal(cfg->derp_server_listen_addr.addr.family != 0, rows[i].port != 0);
        config_destroy(&cfg);
    }
    testing_refused(&testing_source, "derp.server.listen_addr: ''", 1, -1,
                    "may only be empty when tls_cert_path is set");
}

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
        struct config *cfg = testing_parse(&testing_source, rows[i].yaml);
        if (cfg->derp_server_listen_addr.addr.port != rows[i].listens || cfg->derp_public_port != rows[i].public_port)
            fail_msg("%s: listens at %u, reached at %u", rows[i].yaml, cfg->derp_server_listen_addr.addr.port,
                     cfg->derp_public_port);
        config_destroy(&cfg);
    }
    testing_refused(&testing_source, "server_url: http://10.0.0.1:8080\nderp.server.listen_addr: ':8080'", 2, -1,
                    "takes the port of listen_addr");
    struct config_source relay = testing_source;
    relay.is_relay = true;
    struct config *cfg = testing_parse(&relay, "server_url: https://hs.example.net");
    assert_int_equal(cfg->derp_server_listen_addr.addr.port, 8443);
    config_destroy(&cfg);
}

/* With the address of Headscale's example, clients would look for the relay where there is none. */
static void test_relay_at_an_address_for_documentation(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(&testing_source,
                                       PROXY "derp.server: {ipv4: 198.51.100.1, ipv6: '2001:db8::1'}\n");
    assert_string_equal(cfg->derp_server_ipv4, "");
    assert_string_equal(cfg->derp_server_ipv6, "");
    assert_true(testing_warns(cfg, "c.yaml:4:21: derp.server.ipv4 (198.51.100.1) is an address for documentation"));
    assert_true(testing_warns(cfg, "c.yaml:4:41: derp.server.ipv6 (2001:db8::1) is an address for documentation"));
    config_destroy(&cfg);
    cfg = testing_parse(&testing_source, "server_url: http://192.0.2.7:8080\nderp.server.ipv4: 192.0.2.7\n");
    assert_string_equal(cfg->derp_server_ipv4, "192.0.2.7");
    assert_false(testing_warns(cfg, "documentation"));
    config_destroy(&cfg);
    cfg = testing_parse(&testing_source, PROXY "derp.server.ipv4: 192.168.1.4\n");
    assert_string_equal(cfg->derp_server_ipv4, "192.168.1.4");
    assert_true(testing_warns(cfg, "derp.server.ipv4 (192.168.1.4) is a private address, and server_url a public one"));
    config_destroy(&cfg);
    cfg = testing_parse(&testing_source,
                        "derp.server: {ipv4: 198.51.100.1, enabled: false}\nderp.urls: [https://a.example/m]\n");
    assert_null(config_warning(cfg, 0));
    config_destroy(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_the_relay_listens),
        cmocka_unit_test(test_relay_behind_a_proxy_is_at_its_port),
        cmocka_unit_test(test_relay_at_an_address_for_documentation),
    };
    return cmocka_run_group_tests_name("config relay_place", tests, NULL, NULL);
}
