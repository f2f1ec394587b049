/* Addresses and prefixes as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

static void test_addresses_with_ports(void **state UNUSED)
{
    static const char *const good[][2] = {
        {"1.2.3.4:80", "1.2.3.4:80"},
        {"[::1]:443", "[::1]:443"},
        {"[2001:DB8::0001]:0", "[2001:db8::1]:0"},
        {"[::ffff:1.2.3.4]:65535", "1.2.3.4:65535"},
    };
    static const char *const bad[] = {
        "",
        ":",
        ":80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:80x",
        "1.2.3:80",
        "01.2.3.4:80",
        "1.2.3.4:+80",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[::1",
        "[]:80",
        "[::g]:80",
        "1.2.3.4.5:80",
        "localhost:80",
        "[fe80::1%eth0]:80",
        " 1.2.3.4:80",
        "256.1.1.1:80",
        "[::1]]:80",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct addr a, b;
        struct sockaddr_storage sa;
        char text[ADDR_TEXT_CAP];
        assert_int_equal(addr_parse(str_c(good[i][0]), &a), RC_OK);
        addr_format(&a, true, text);
        assert_string_equal(text, good[i][1]);
        addr_to_sockaddr(&a, &sa);
        addr_from_sockaddr((const struct sockaddr *)&sa, &b);
        assert_true(addr_eq(&a, &b));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct addr a = {.port = 7};
        if (addr_parse(str_c(bad[i]), &a) != RC_INVALID || a.port != 7)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void test_addresses_alone_and_to_listen(void **state UNUSED)
{
    struct addr a, b;
    char text[ADDR_TEXT_CAP];
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::1"), &a), RC_OK);
    addr_format(&a, false, text);
    assert_string_equal(text, "fd7a:115c:a1e0::1");
    assert_int_equal(addr_parse_ip(STR("1.2.3.4\0"), &a), RC_INVALID);
    assert_int_equal(addr_parse_ip(STR("1.2.3.4:80"), &a), RC_INVALID);
    assert_int_equal(addr_parse_ip(STR("0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"), &a), RC_INVALID);
    assert_int_equal(addr_parse_listen(STR(":8080"), &a), RC_OK);
    assert_true(a.family == 6 && a.port == 8080 && a.ip[15] == 0);
    assert_int_equal(addr_parse_listen(STR("localhost:1"), &b), RC_OK);
    assert_true(b.family == 4 && addr_is_loopback(&b) && !addr_eq(&a, &b));
    assert_int_equal(addr_parse_listen(STR("0.0.0.0:1"), &b), RC_OK);
    assert_int_equal(addr_parse_listen(STR("example.com:1"), &b), RC_INVALID);
    assert_int_equal(addr_parse_listen(STR(":"), &b), RC_INVALID);
    a = (struct addr){0};
    addr_format(&a, true, text);
    assert_string_equal(text, "-");
}

static void test_private_addresses(void **state UNUSED)
{
    static const struct {
        const char *ip;
        bool is_private;
    } rows[] = {
        {"10.0.0.1", true},
        {"11.0.0.1", false},
        {"172.15.0.1", false},
        {"172.16.0.1", true},
        {"172.31.0.1", true},
        {"172.32.0.1", false},
        {"192.168.1.1", true},
        {"192.169.1.1", false},
        {"169.254.0.1", true},
        {"100.63.0.1", false},
        {"100.64.0.1", true},
        {"100.127.0.1", true},
        {"100.128.0.1", false},
        {"127.1.2.3", true},
        {"8.8.8.8", false},
        {"::1", true},
        {"::2", false},
        {"fc00::1", true},
        {"fdff::1", true},
        {"fe00::1", false},
        {"fe80::1", true},
        {"febf::1", true},
        {"fec0::1", false},
        {"2001:db8::1", false},
        {"::ffff:10.0.0.1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a;
        assert_int_equal(addr_parse_ip(str_c(rows[i].ip), &a), RC_OK);
        if (addr_is_private(&a) != rows[i].is_private)
            fail_msg("%s", rows[i].ip);
    }
}

static void test_prefixes(void **state UNUSED)
{
    static const struct {
        const char *text, *shown; /* null: refused */
        bool had_host_bits;
    } rows[] = {
        {"10.0.0.0/8", "10.0.0.0/8", false},
        {"10.1.2.3/8", "10.0.0.0/8", true},
        {"10.1.2.3/32", "10.1.2.3/32", false},
        {"0.0.0.0/0", "0.0.0.0/0", false},
        {"1.2.3.4/0", "0.0.0.0/0", true},
        {"::/0", "::/0", false},
        {"fd00::1/9", "fd00::/9", true},
        {"2001:db8::1/128", "2001:db8::1/128", false},
        {"10.0.0.0", NULL, false},
        {"10.0.0.0/", NULL, false},
        {"10.0.0.0/33", NULL, false},
        {"10.0.0.0/08", NULL, false},
        {"10.0.0.0/-1", NULL, false},
        {"::/129", NULL, false},
        {"/8", NULL, false},
        {"", NULL, false},
        {"10.0.0/8", NULL, false},
        {"::ffff:10.0.0.0/8", NULL, false},
        {"10.0.0.0/8/8", NULL, false},
        {"fe80::1%eth0/64", NULL, false},
        {"10.0.0.0/9999", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct prefix p;
        char shown[PREFIX_TEXT_CAP];
        bool had_host_bits;
        assert_int_equal(prefix_parse(str_c(rows[i].text), &p, &had_host_bits),
                         rows[i].shown != NULL ? RC_OK : RC_INVALID);
        if (rows[i].shown == NULL)
            continue;
        prefix_format(&p, shown);
        assert_string_equal(shown, rows[i].shown);
        assert_int_equal(had_host_bits, rows[i].had_host_bits);
        assert_int_equal(prefix_compare(&p, &p), 0);
    }
    struct prefix four, six, longer;
    assert_int_equal(prefix_parse(STR("10.0.0.0/8"), &four, NULL), RC_OK);
    assert_int_equal(prefix_parse(STR("10.0.0.0/16"), &longer, NULL), RC_OK);
    assert_int_equal(prefix_parse(STR("::/0"), &six, NULL), RC_OK);
    assert_true(prefix_compare(&four, &longer) < 0 && prefix_compare(&six, &four) > 0);
}

static void test_addresses_as_sockaddr(void **state UNUSED)
{
    static const char *const good[] = {"192.0.2.1:41641", "[2001:db8::1]:443", "0.0.0.0:0", "[::]:65535"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct addr a;
        char text[ADDR_TEXT_CAP];
        assert_int_equal(addr_parse(str_c(good[i]), &a), RC_OK);
        addr_format(&a, true, text);
        assert_string_equal(text, good[i]);
        struct sockaddr_storage sa;
        struct addr b;
        addr_to_sockaddr(&a, &sa);
        addr_from_sockaddr((struct sockaddr *)&sa, &b);
        assert_true(addr_eq(&a, &b));
    }
}

static void test_addresses_that_are_refused(void **state UNUSED)
{
    static const char *const bad[] = {"",       ":80",        "1.2.3.4",    "1.2.3.4:",     "1.2.3.4:65536", "1.2.3:80",
                                      "[::1]",  "[::1]80",    "[::1]:",     "::1:80x",      "1.2.3.4:8 0",   "a.b:80",
                                      "[1::2:", "[::1%lo]:1", "1.2.3.4:-1", "[1.2.3.4]:80 "};
    struct addr a;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(addr_parse(str_c(bad[i]), &a), RC_INVALID);
    assert_int_equal(addr_parse_listen(STR(":8080"), &a), RC_OK);
    assert_int_equal(a.port, 8080);
    assert_int_equal(a.family, 6);
    assert_int_equal(addr_parse_ip(STR("::ffff:10.1.2.3"), &a), RC_OK);
    assert_int_equal(a.family, 4);
    assert_true(addr_is_private(&a));
    assert_int_equal(addr_parse_ip(STR("8.8.8.8"), &a), RC_OK);
    assert_false(addr_is_private(&a));
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::1"), &a), RC_OK);
    assert_true(addr_is_private(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_with_ports),  cmocka_unit_test(test_addresses_alone_and_to_listen),
        cmocka_unit_test(test_private_addresses),     cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_addresses_as_sockaddr), cmocka_unit_test(test_addresses_that_are_refused),
    };
    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
