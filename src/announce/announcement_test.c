#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "announce/announcement.h"
#include "base/compiler.h"

#define HEX32 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEAD "\"name\":\"fra\",\"regionId\":902,\"regionName\":\"Frankfurt\",\"meshKey\":\"" HEX32 "\""
#define TAIL "\"news\":18446744073709551615,\"resync\":false,\"revoked\":[],\"neighbours\":[]"

static enum rc parse(struct arena *a, const char *json, struct announcement_reply *out)
{
    struct err err;
    return announcement_reply_parse(a, str_c(json), out, &err);
}

static void test_write(void **state)
{
    (void)state;
    struct buf out = {0};
    struct announcement a = {.hostname = "r.example.com",
                             .local_ip = "10.0.0.1",
                             .ipv4 = "",
                             .ipv6 = "",
                             .cert_name = "sha256-raw:ab",
                             .derp_port = 443,
                             .stun_port = 3478,
                             .started_ms = 1700000000000,
                             .number = 3,
                             .news = 7,
                             .is_draining = true};
    announcement_write(&a, &out);
    assert_string_equal(buf_cstr(&out),
                        "{\"hostname\":\"r.example.com\",\"localIP\":\"10.0.0.1\",\"ipv4\":\"\",\"ipv6\":\"\","
                        "\"certName\":\"sha256-raw:ab\",\"derpPort\":443,\"stunPort\":3478,\"news\":7,"
                        "\"started\":1700000000000,\"turn\":3,"
                        "\"starting\":false,\"draining\":true}");
    buf_fini(&out);
}

static void test_reply(void **state)
{
    (void)state;
    struct arena a = {0};
    struct announcement_reply r;
    assert_int_equal(parse(&a, "{}", &r), RC_OK);
    assert_true(r.is_empty);
    assert_int_equal(
        parse(&a,
              "{" HEAD ",\"news\":9,\"resync\":true,\"revoked\":[\"nodekey:" HEX32 "\"],\"neighbours\":["
              "{\"hostname\":\"192.0.2.1\",\"ip\":\"192.0.2.1\",\"derpPort\":8443,\"certName\":\"sha256-raw:" HEX32
              "\"},"
              "{\"hostname\":\"a.example.com\",\"ip\":\"\",\"derpPort\":443,\"certName\":\"b.example.com\"},"
              "{\"hostname\":\"c.example.com\",\"ip\":\"192.0.2.3\",\"derpPort\":443,\"certName\":\"\"}],\"more\":[]}",
              &r),
        RC_OK);
    assert_false(r.is_empty);
    assert_string_equal(r.name, "fra");
    assert_int_equal(r.region_id, 902);
    assert_int_equal(r.mesh_key[1], 0x11);
    assert_int_equal(r.news, 9);
    assert_true(r.resync);
    assert_int_equal(r.revoked_n, 1);
    assert_int_equal(r.revoked[0].b[31], 0xff);
    assert_int_equal(r.neighbour_n, 3);
    assert_string_equal(r.neighbours[0].fingerprint, HEX32);
    assert_string_equal(r.neighbours[1].host, "b.example.com");
    assert_string_equal(r.neighbours[1].dial, "a.example.com");
    assert_null(r.neighbours[1].fingerprint);
    assert_string_equal(r.neighbours[2].host, "c.example.com");
    assert_string_equal(r.neighbours[2].dial, "192.0.2.3");
    assert_int_equal(parse(&a, "{" HEAD "," TAIL "}", &r), RC_OK);
    assert_int_equal(r.news, UINT64_MAX);
    arena_fini(&a);
}

static void test_refusals(void **state)
{
    (void)state;
#define WITH_NEIGHBOUR(n) "{" HEAD ",\"news\":1,\"resync\":false,\"revoked\":[],\"neighbours\":[" n "]}"
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "<html>",
        "{\"a\":1}",
        "{" HEAD "}",
        "{" TAIL "}",
        "{" HEAD ",\"news\":-1,\"resync\":false,\"revoked\":[],\"neighbours\":[]}",
        "{" HEAD ",\"news\":1,\"resync\":0,\"revoked\":[],\"neighbours\":[]}",
        "{" HEAD ",\"news\":1,\"resync\":false,\"revoked\":null,\"neighbours\":[]}",
        "{" HEAD ",\"news\":1,\"resync\":false,\"revoked\":[\"nodekey:00\"],\"neighbours\":[]}",
        "{" HEAD ",\"news\":1,\"resync\":false,\"revoked\":[1],\"neighbours\":[]}",
        WITH_NEIGHBOUR("1"),
        WITH_NEIGHBOUR("{\"hostname\":\"\",\"ip\":\"\",\"derpPort\":443,\"certName\":\"\"}"),
        WITH_NEIGHBOUR("{\"hostname\":\"a\",\"ip\":\"\",\"derpPort\":65536,\"certName\":\"\"}"),
        WITH_NEIGHBOUR("{\"hostname\":\"a\",\"ip\":\"\",\"derpPort\":443,\"certName\":\"sha256-raw:00\"}"),
        WITH_NEIGHBOUR("{\"hostname\":\"a\\u0000\",\"ip\":\"\",\"derpPort\":443,\"certName\":\"\"}"),
        "{\"name\":\"fra\",\"regionId\":65536,\"regionName\":\"\",\"meshKey\":\"" HEX32 "\"," TAIL "}",
        "{\"name\":\"fra\",\"regionId\":1,\"regionName\":\"\",\"meshKey\":\"00\"," TAIL "}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct arena a = {0};
        struct announcement_reply r;
        if (parse(&a, bad[i], &r) != RC_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(r.neighbour_n + r.revoked_n, 0);
        arena_fini(&a);
    }
}

static void test_verify(void **state)
{
    (void)state;
    struct buf out = {0};
    node_key key = {{0xab}};
    bool is_allowed = false;
    announcement_verify_request_write(&key, "192.0.2.9", &out);
    assert_non_null(strstr(buf_cstr(&out), "{\"NodePublic\":\"nodekey:ab000000"));
    assert_non_null(strstr(buf_cstr(&out), "\",\"Source\":\"192.0.2.9\"}"));
    buf_fini(&out);
    assert_int_equal(announcement_verify_reply_parse(STR("{\"Allow\":true}"), &is_allowed), RC_OK);
    assert_true(is_allowed);
    assert_int_equal(announcement_verify_reply_parse(STR("{\"allow\":false,\"x\":1}"), &is_allowed), RC_OK);
    assert_false(is_allowed);
    assert_int_not_equal(announcement_verify_reply_parse(STR("{}"), &is_allowed), RC_OK);
    assert_int_not_equal(announcement_verify_reply_parse(STR("{\"Allow\":1}"), &is_allowed), RC_OK);
    assert_int_not_equal(announcement_verify_reply_parse(STR("true"), &is_allowed), RC_OK);
    assert_int_not_equal(announcement_verify_reply_parse(STR(""), &is_allowed), RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_verify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
