/* Register and map requests: everything that real clients sent parses, everything that Go would refuse is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "codec/json.h"
#include "proto/tailcfg.h"

static void read_vectors(const char *name, struct buf *out)
{
    char path[512];
    uint8_t chunk[4096];
    size_t n;
    snprintf(path, sizeof(path), "%s/%s", VECTORS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_append(out, chunk, n);
    fclose(f);
}

static void check_register(struct str body, bool has_auth)
{
    struct arena a = {0};
    struct register_request req;
    assert_int_equal(register_request_parse(&a, body, &req, NULL), RC_OK);
    assert_true(req.version >= CAP_VERSION_FLOOR);
    assert_false(key_is_zero(req.key.b));
    assert_true(req.hostinfo.is_present);
    assert_true(req.hostinfo.hostname.len > 0);
    assert_int_equal(req.auth_key.len > 0, has_auth);
    struct rcbuf *kept = hostinfo_for_store(&req.hostinfo);
    struct rcbuf *shown = hostinfo_for_peers(&req.hostinfo);
    assert_non_null(kept);
    assert_non_null(shown);
    assert_null(memmem(kept->data, kept->len, "NetInfo", 7));
    assert_null(memmem(shown->data, shown->len, "LogID", 5));
    rcbuf_unref(&kept);
    rcbuf_unref(&shown);
    arena_fini(&a);
}

static void check_map(struct str body)
{
    struct arena a = {0};
    struct map_request req;
    assert_int_equal(map_request_parse(&a, body, &req, NULL), RC_OK);
    assert_true(req.wants_zstd);
    assert_false(key_is_zero(req.key.b));
    assert_false(key_is_zero(req.disco.b));
    assert_true(req.is_stream != req.omit_peers);
    arena_fini(&a);
}

static void test_captured_requests(void **state)
{
    (void)state;
    struct buf text = {0};
    struct arena a = {0};
    const struct json *root;
    unsigned registers = 0, maps = 0;
    read_vectors("captured_requests.json", &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &root, NULL), RC_OK);
    JSON_EACH (r, json_get(root, "requests")) {
        struct str path;
        const struct json *body = json_get(r, "body");
        assert_true(json_str(json_get(r, "path"), &path));
        if (str_eq(path, STR("/machine/register"))) {
            check_register(json_raw(body), !json_is_null(json_get(json_get(body, "Auth"), "AuthKey")));
            registers++;
        } else if (str_eq(path, STR("/machine/map"))) {
            check_map(json_raw(body));
            maps++;
        }
    }
    assert_true(registers >= 4 && maps >= 4);
    arena_fini(&a);
    buf_fini(&text);
}

#define KEY64 "93d25891ed0bdebee18b447801d1cbc2bc1c2a4657524c401b7c86ec00c9fb79"

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{\"Version\":\"113\"}",
        "{\"Version\":1.0}",
        "{\"NodeKey\":\"\"}",
        "{\"NodeKey\":\"mkey:" KEY64 "\"}",
        "{\"NodeKey\":7}",
        "{\"Hostinfo\":[]}",
        "{\"Hostinfo\":{\"Hostname\":1}}",
        "{\"Hostinfo\":{\"NetInfo\":{\"PreferredDERP\":\"1\"}}}",
        "{\"Hostinfo\":{\"RoutableIPs\":\"10.0.0.0/8\"}}",
        "{\"Hostinfo\":{\"RoutableIPs\":[\"10.0.0.0\"]}}",
        "{\"Hostinfo\":{\"RoutableIPs\":[\"10.0.0.0/33\"]}}",
        "{\"Hostinfo\":{\"RoutableIPs\":[8]}}",
        "{\"Hostinfo\":{\"RequestTags\":[1]}}",
        "{\"Hostinfo\":{\"RequestTags\":{}}}",
        "{\"Stream\":1}",
        "{\"Endpoints\":\"1.2.3.4:5\"}",
        "{\"Endpoints\":[\"1.2.3.4\"]}",
        "{\"Endpoints\":[\"1.2.3.4:70000\"]}",
        "{\"Endpoints\":[null]}",
        "{} trailing",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct arena a = {0};
        struct map_request req;
        struct err err = {0};
        assert_int_not_equal(map_request_parse(&a, str_c(bad[i]), &req, &err), RC_OK);
        assert_true(err.text[0] != '\0');
        arena_fini(&a);
    }
    static const char *const bad_register[] = {"{\"Expiry\":\"\"}",        "{\"Expiry\":\"yesterday\"}",
                                               "{\"Auth\":\"k\"}",         "{\"Auth\":{\"AuthKey\":1}}",
                                               "{\"Ephemeral\":\"true\"}", "{\"OldNodeKey\":\"nodekey:00\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad_register); i++) {
        struct arena a = {0};
        struct register_request req;
        assert_int_not_equal(register_request_parse(&a, str_c(bad_register[i]), &req, NULL), RC_OK);
        arena_fini(&a);
    }
}

static void test_tolerances(void **state)
{
    (void)state;
    struct arena a = {0};
    struct map_request req;
    assert_int_equal(
        map_request_parse(&a,
                          STR("{\"version\":113,\"NODEKEY\":\"nodekey:" KEY64 "\",\"DiscoKey\":null,"
                              "\"Endpoints\":[],\"New\":{\"x\":[1,{}]},\"Stream\":false,\"Stream\":true}\n"),
                          &req, NULL),
        RC_OK);
    assert_int_equal(req.version, 113);
    assert_true(req.is_stream);
    assert_true(req.has_endpoints);
    assert_int_equal(req.endpoints_n, 0);
    assert_false(req.wants_zstd);
    arena_fini(&a);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 1}, /* a time long past, not the absence of one */
        {"0001-01-01T00:00:00Z", 0},
        {"1970-01-01T00:02:03Z", 123000},
        {"2026-11-23T01:02:03.123Z", 1795395723123},
        {"2026-11-23T02:32:03.123456789+01:30", 1795395723123},
        {"2024-02-29T23:59:59.5Z", 1709251199500},
    };
    static const char *const bad[] = {"",
                                      "2026-11-23",
                                      "2026-11-23T01:02:03",
                                      "2026-13-01T00:00:00Z",
                                      "2026-11-23T01:02:03.Z",
                                      "2026-11-23 01:02:03Z",
                                      "2026-11-23T01:02:03+1:30",
                                      "2026-11-23T01:02:03Zx",
                                      "20x6-11-23T01:02:03Z"};
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(time_parse(str_c(good[i].text), &ms), RC_OK);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(time_parse(str_c(bad[i]), &ms), RC_INVALID);
    for (int64_t t = -3000000000000; t < 9000000000000; t += 123456789123) {
        char text[TIME_TEXT_CAP];
        time_format(t, text);
        assert_int_equal(time_parse(str_c(text), &ms), RC_OK);
        assert_int_equal(ms, t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_requests),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_tolerances),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests_name("tailcfg", tests, NULL, NULL);
}
