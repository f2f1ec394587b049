#include "codec/json_write.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/json.h"
#include "support/oom_sweep.h"
#include "support/test_random.h"

static void assert_buf(struct buf *b, const char *want)
{
    assert_string_equal(buf_cstr(b), want);
    buf_clear(b);
}

static void test_structure(void **state UNUSED)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_object(&w);
    json_w_kv_u64(&w, "ID", UINT64_MAX);
    json_w_kv_i64(&w, "Min", INT64_MIN);
    json_w_kv_str(&w, "Name", STR("n"));
    json_w_kv_cstr(&w, "None", NULL);
    json_w_kv_bool(&w, "Yes", true);
    json_w_key(&w, "List");
    json_w_array(&w);
    json_w_i64(&w, 0);
    json_w_array(&w);
    json_w_end_array(&w);
    json_w_object(&w);
    json_w_end_object(&w);
    json_w_bool(&w, false);
    json_w_null(&w);
    json_w_raw(&w, STR("{\"raw\":1}"));
    json_w_raw(&w, STR_EMPTY);
    json_w_end_array(&w);
    json_w_key_str(&w, STR("k\"ey"));
    json_w_str(&w, (struct str){NULL, 0});
    json_w_end_object(&w);
    assert_int_equal(w.depth, 0);
    assert_buf(&out,
               "{\"ID\":18446744073709551615,\"Min\":-9223372036854775808,\"Name\":\"n\",\"None\":null,\"Yes\":true,"
               "\"List\":[0,[],{},false,null,{\"raw\":1},null],\"k\\\"ey\":\"\"}");
    buf_fini(&out);
}

static void test_pretty(void **state UNUSED)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init_pretty(&w, &out);
    json_w_object(&w);
    json_w_key(&w, "a");
    json_w_array(&w);
    json_w_i64(&w, 1);
    json_w_object(&w);
    json_w_kv_bool(&w, "b", true);
    json_w_end_object(&w);
    json_w_end_array(&w);
    json_w_key(&w, "empty");
    json_w_array(&w);
    json_w_end_array(&w);
    json_w_end_object(&w);
    assert_buf(&out, "{\n  \"a\": [\n    1,\n    {\n      \"b\": true\n    }\n  ],\n  \"empty\": []\n}");
    buf_fini(&out);
}

static void test_fragments_may_follow_by_hand(void **state UNUSED)
{
    struct buf out = {0};
    struct json_writer w;
    buf_append_c(&out, "{\"Peers\":[");
    json_w_init(&w, &out);
    json_w_i64(&w, 1);
    json_w_i64(&w, 2);
    buf_append_c(&out, "]}");
    assert_buf(&out, "{\"Peers\":[1,2]}");
    buf_fini(&out);
}

static void check_string(struct str s, const char *want)
{
    /* An exact heap copy, so that the sanitizer sees every byte read too far. */
    char *copy = mem_dup(s.p, s.len);
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_str(&w, str_n(copy, s.len));
    assert_buf(&out, want);
    buf_fini(&out);
    mem_free(copy);
}

static void test_strings_are_escaped_as_go_does(void **state UNUSED)
{
    check_string(STR(""), "\"\"");
    check_string(STR("plain"), "\"plain\"");
    check_string(STR("exactly 16 bytes"), "\"exactly 16 bytes\"");
    check_string(STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
    check_string(STR("<a>&b"), "\"\\u003ca\\u003e\\u0026b\"");
    check_string(STR("\b\f\n\r\t\x01\x1f\x7f"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    check_string(STR("a\0b"), "\"a\\u0000b\"");
    check_string(STR("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa"), "\"\\u2028\\u2029\xe2\x80\xaa\"");
    check_string(STR("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    check_string(STR("\xff|\xc3|\xed\xa0\x80"), "\"\\ufffd|\\ufffd|\\ufffd\\ufffd\\ufffd\"");
    check_string(STR("\xe2\x80"), "\"\\ufffd\\ufffd\"");
}

/* Every byte at every distance from the ends of the blocks in which the writer scans. */
static void test_every_byte_at_every_offset(void **state UNUSED)
{
    for (unsigned c = 1; c < 0x80; c++) {
        for (size_t len = 1; len <= 40; len += c % 3 + 1) {
            char text[40];
            char want[48] = "\"";
            memset(text, 'x', len);
            text[len - 1] = (char)c;
            memset(want + 1, 'x', len - 1);
            char *at = want + len;
            bool is_short = strchr("\"\\\b\f\n\r\t", (int)c) != NULL;
            if (is_short)
                snprintf(at, 8, "\\%c\"", "\"\\bfnrt"[strchr("\"\\\b\f\n\r\t", (int)c) - "\"\\\b\f\n\r\t"]);
            else if (c < ' ' || strchr("<>&", (int)c) != NULL)
                snprintf(at, 8, "\\u%04x\"", c);
            else
                snprintf(at, 8, "%c\"", (char)c);
            check_string(str_n(text, len), want);
        }
    }
}

static void check_double(double v, const char *want)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_f64(&w, v);
    assert_buf(&out, want);
    buf_fini(&out);
}

static void test_floats_are_printed_as_go_does(void **state UNUSED)
{
    check_double(0, "0");
    check_double(-0.0, "-0");
    check_double(1, "1");
    check_double(-1.5, "-1.5");
    check_double(0.1, "0.1");
    check_double(1.0 / 3, "0.3333333333333333");
    check_double(100, "100");
    check_double(123456789.125, "123456789.125");
    check_double(1e20, "100000000000000000000");
    check_double(1e21, "1e+21");
    check_double(1e-6, "0.000001");
    check_double(1e-7, "1e-7");
    check_double(-1.25e-9, "-1.25e-9");
    check_double(5e-324, "5e-324");
    check_double(1.7976931348623157e308, "1.7976931348623157e+308");
    check_double(NAN, "null");
    check_double(INFINITY, "null");
    check_double(-INFINITY, "null");
}

static void test_random_floats_read_back(void **state UNUSED)
{
    struct test_random r = {7};
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = test_random_u64(&r);
        double v, back = 0;
        memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v))
            continue;
        if (i % 2 == 0)
            v = (double)(int64_t)(bits >> 20) / 1000;
        struct buf out = {0};
        struct json_writer w;
        struct arena a = {0};
        const struct json *root;
        json_w_init(&w, &out);
        json_w_f64(&w, v);
        assert_int_equal(json_parse(&a, buf_str(&out), NULL, &root, NULL), RC_OK);
        assert_true(json_f64(root, &back) && back == v);
        arena_fini(&a);
        buf_fini(&out);
    }
}

enum { KINDS = 8, TREE_DEPTH = 6 };

static size_t random_text(struct test_random *r, char out[64])
{
    static const char *const pieces[] = {
        "a", "0", " ", "\"", "\\", "\n", "\0", "<", "\xc3\xa9", "\xe2\x80\xa8", "\xf0\x9f\x98\x80", "/"};
    static const size_t lens[] = {1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 1};
    size_t n = 0;
    for (uint32_t left = test_random_below(r, 16); left > 0; left--) {
        uint32_t pick = test_random_below(r, 3) > 0 ? 0 : test_random_below(r, ARRAY_LEN(pieces));
        memcpy(out + n, pieces[pick], lens[pick]);
        n += lens[pick];
    }
    return n;
}

/* Writing and checking draw the same numbers from the same seed: no second representation to keep. */
static void write_random(struct test_random *r, struct json_writer *w, unsigned depth)
{
    char text[64];
    uint32_t n;
    switch (test_random_below(r, depth < TREE_DEPTH ? KINDS : KINDS - 2)) {
    case 0: json_w_null(w); break;
    case 1: json_w_bool(w, test_random_below(r, 2) == 1); break;
    case 2:
        json_w_i64(w, (int64_t)(test_random_u64(r) >> test_random_below(r, 64)) * (test_random_below(r, 2) ? 1 : -1));
        break;
    case 3: json_w_u64(w, test_random_u64(r)); break;
    case 4:
    case 5:
        n = (uint32_t)random_text(r, text);
        json_w_str(w, str_n(text, n));
        break;
    case 6:
        json_w_array(w);
        for (n = test_random_below(r, 6); n > 0; n--)
            write_random(r, w, depth + 1);
        json_w_end_array(w);
        break;
    default:
        json_w_object(w);
        for (n = test_random_below(r, 6); n > 0; n--) {
            size_t len = random_text(r, text);
            json_w_key_str(w, str_n(text, len));
            write_random(r, w, depth + 1);
        }
        json_w_end_object(w);
        break;
    }
}

static void check_random(struct test_random *r, const struct json *node, unsigned depth)
{
    char text[64];
    struct str s = STR_EMPTY;
    int64_t i64 = 0, want_i64;
    uint64_t u64 = 0;
    bool b = false;
    uint32_t n;
    const struct json *it;
    switch (test_random_below(r, depth < TREE_DEPTH ? KINDS : KINDS - 2)) {
    case 0:
        assert_non_null(node);
        assert_true(json_is_null(node));
        break;
    case 1: assert_true(json_bool(node, &b) && b == (test_random_below(r, 2) == 1)); break;
    case 2:
        want_i64 = (int64_t)(test_random_u64(r) >> test_random_below(r, 64)) * (test_random_below(r, 2) ? 1 : -1);
        assert_true(json_i64(node, &i64) && i64 == want_i64);
        break;
    case 3: assert_true(json_u64(node, &u64) && u64 == test_random_u64(r)); break;
    case 4:
    case 5:
        n = (uint32_t)random_text(r, text);
        assert_true(json_str(node, &s) && str_eq(s, str_n(text, n)));
        break;
    case 6:
        n = test_random_below(r, 6);
        assert_true(json_type_of(node) == JSON_ARRAY && json_len(node) == n);
        for (it = json_first(node); n > 0; n--, it = json_next(it))
            check_random(r, it, depth + 1);
        assert_null(it);
        break;
    default:
        n = test_random_below(r, 6);
        assert_true(json_type_of(node) == JSON_OBJECT && json_len(node) == n);
        for (it = json_first(node); n > 0; n--, it = json_next(it)) {
            size_t len = random_text(r, text);
            assert_true(str_eq(json_key_of(it), str_n(text, len)));
            check_random(r, it, depth + 1);
        }
        assert_null(it);
        break;
    }
}

static void test_random_trees_read_back(void **state UNUSED)
{
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct buf out = {0};
        struct buf again = {0};
        struct json_writer w;
        struct arena a = {0};
        const struct json *root;
        struct test_random r = {seed};
        if (seed % 2 == 0)
            json_w_init(&w, &out);
        else
            json_w_init_pretty(&w, &out);
        write_random(&r, &w, 0);
        assert_int_equal(json_parse(&a, buf_str(&out), NULL, &root, NULL), RC_OK);
        r = (struct test_random){seed};
        check_random(&r, root, 0);
        if (seed % 2 == 0)
            json_w_init(&w, &again);
        else
            json_w_init_pretty(&w, &again);
        json_w_tree(&w, root);
        assert_true(str_eq(buf_str(&out), buf_str(&again)));
        arena_fini(&a);
        buf_fini(&again);
        buf_fini(&out);
    }
}

static void write_for_sweep(void *ctx UNUSED)
{
    struct buf out = {0};
    struct json_writer w;
    struct test_random r = {5};
    json_w_init(&w, &out);
    json_w_array(&w);
    for (int i = 0; i < 50; i++)
        write_random(&r, &w, 0);
    json_w_end_array(&w);
    buf_fini(&out);
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(write_for_sweep, NULL) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_fragments_may_follow_by_hand),
        cmocka_unit_test(test_strings_are_escaped_as_go_does),
        cmocka_unit_test(test_every_byte_at_every_offset),
        cmocka_unit_test(test_floats_are_printed_as_go_does),
        cmocka_unit_test(test_random_floats_read_back),
        cmocka_unit_test(test_random_trees_read_back),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
