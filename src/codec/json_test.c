#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/json_write.h"
#include "support/oom_sweep.h"
#include "support/test_file.h"
#include "support/test_random.h"

/* The parser gets an exact heap copy, so that the sanitizer sees every byte read too far. */
struct parsed {
    struct arena arena;
    const struct json *root;
    struct err err;
    enum rc rc;
    struct str text;
};

static struct parsed parse_limited(struct str text, const struct json_limits *limits)
{
    struct parsed p = {0};
    p.text = str_n(mem_dup(text.p, text.len), text.len);
    p.rc = json_parse(&p.arena, p.text, limits, &p.root, &p.err);
    return p;
}

static struct parsed parse(struct str text)
{
    return parse_limited(text, NULL);
}

static void drop(struct parsed *p)
{
    arena_fini(&p->arena);
    mem_free((void *)p->text.p);
}

static enum rc rc_of(struct str text)
{
    struct parsed p = parse(text);
    drop(&p);
    return p.rc;
}

static void check_string(const char *text, struct str want)
{
    struct parsed p = parse(str_c(text));
    struct str got = STR_EMPTY;
    assert_int_equal(p.rc, RC_OK);
    assert_true(json_str(p.root, &got));
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.p, want.p, want.len);
    assert_true(str_eq_c(json_raw(p.root), text));
    drop(&p);
}

static void test_strings_are_decoded(void **state UNUSED)
{
    check_string("\"\"", STR(""));
    check_string("\"plain\"", STR("plain"));
    check_string("\"sixteen bytes ok and a few more\"", STR("sixteen bytes ok and a few more"));
    check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", STR("\"\\/\b\f\n\r\t"));
    check_string("\"a\\u0000b\"", STR("a\0b"));
    check_string("\"\\u00e9\\u20AC\\ud83d\\ude00\"", STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
    check_string("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"", STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f"));
}

/* As Go reads them: one U+FFFD for each bad byte, one for each lone half of a pair. */
static void test_bad_unicode_is_replaced(void **state UNUSED)
{
    check_string("\"bad\xffutf8\"", STR("bad\xef\xbf\xbdutf8"));
    check_string("\"\xc3\"", STR("\xef\xbf\xbd"));
    check_string("\"\xe2\x82\"", STR("\xef\xbf\xbd\xef\xbf\xbd"));
    check_string("\"\xc0\xaf\"", STR("\xef\xbf\xbd\xef\xbf\xbd"));
    check_string("\"\xed\xa0\x80\"", STR("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    check_string("\"\xf4\x90\x80\x80\"", STR("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    check_string("\"\xe0\x80\x80|\xf0\x80\x80\x80\"",
                 STR("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    check_string("\"\\ud800\"", STR("\xef\xbf\xbd"));
    check_string("\"\\udc00x\"", STR("\xef\xbf\xbdx"));
    check_string("\"\\ud800\\n\"", STR("\xef\xbf\xbd\n"));
    check_string("\"\\ud800\\u0041\"", STR("\xef\xbf\xbd\x41"));
    check_string("\"\\ud800\\ud83d\\ude00\"", STR("\xef\xbf\xbd\xf0\x9f\x98\x80"));
}

static void test_strict_text_refuses_bad_unicode(void **state)
{
    (void)state;
    static const struct {
        struct str text;
        enum rc rc;
    } cases[] = {
        {STR("\"\\ud83d\\ude00 \xc3\xa9 \\ufffd\""), RC_OK},
        {STR("\"\\ud83d\""), RC_INVALID},
        {STR("\"\\ude00\\ud83d\""), RC_INVALID},
        {STR("\"\\ud83d\\u0041\""), RC_INVALID},
        {STR("\"\\ud83dx\""), RC_INVALID},
        {STR("\"a\xff\""), RC_INVALID},
        {STR("{\"\xc0\xaf\":1}"), RC_INVALID},
        {STR("\"\xed\xa0\x80\""), RC_INVALID},
    };
    struct json_limits limits = json_limits_default;
    limits.strict_text = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p = parse_limited(cases[i].text, &limits);
        assert_int_equal(p.rc, cases[i].rc);
        assert_int_equal(p.err.line, cases[i].rc == RC_OK ? 0 : 1);
        drop(&p);
    }
}

static const char *const invalid[] = {
    "{} x",
    "[1] 2",
    "1 2",
    "nul1",
    "truE",
    "True",
    "NaN",
    "Infinity",
    "+1",
    "01",
    "-01",
    ".5",
    "1.e2",
    "-x",
    "1.x",
    "1ex",
    "0x10",
    "[1,]",
    "{\"a\":1,}",
    "[,1]",
    "[,]",
    "{,}",
    "{a:1}",
    "{1:2}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "[1 2]",
    "[1}",
    "{\"a\":1]",
    "]",
    "}",
    ":",
    ",",
    "'a'",
    "\"\\x41\"",
    "\"\\u12g4\"",
    "\"\\ \"",
    "\"a\nb\"",
    "\"\x01\"",
    "\"\t\"",
    "// c\n1",
    "1 /* c */",
    "\xef\xbb\xbf{}",
    "\v1",
    "{\"a\":}",
    "{\"a\":,}",
    "{\"a\"}",
    "[\"a\":1]",
    "--1",
    "1-",
    "[1,,2]",
    "{\"a\":1,,\"b\":2}",
    "\"a\" \"b\"",
    "\\",
    "\x80",
    "\"\\\xff\"",
};
static const char *const truncated[] = {
    "",         " \n",       "{",  "[",    "[1",    "[1,",     "{\"a",      "{\"a\"", "{\"a\":",
    "{\"a\":1", "{\"a\":1,", "\"", "\"\\", "\"\\u", "\"\\u12", "\"a\xc3",   "t",      "fals",
    "n",        "-",         "1.", "1e",   "1e+",   "[[[[",    "[{\"a\":[",
};

static void test_broken_text_is_refused(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++) {
        if (rc_of(str_c(invalid[i])) != RC_INVALID)
            fail_msg("accepted or misnamed: %s", invalid[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(truncated); i++) {
        if (rc_of(str_c(truncated[i])) != RC_TRUNCATED)
            fail_msg("accepted or misnamed: %s", truncated[i]);
    }
    assert_int_equal(rc_of(STR("\0")), RC_INVALID);
    assert_int_equal(rc_of(STR("\"a\0\"")), RC_INVALID);
    assert_int_equal(rc_of(STR("\"\\\0\"")), RC_INVALID);
    assert_int_equal(rc_of((struct str){NULL, 0}), RC_TRUNCATED);
}

static void test_good_text_is_accepted(void **state UNUSED)
{
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "1.5",
        "-0.0",
        "1e3",
        "1E+3",
        "1e-3",
        "1.25e10",
        "\"\"",
        "[]",
        "{}",
        " \t\r\n{ } \n",
        "[ ]",
        "[[],[[]],{}]",
        "{\"\":1}",
        "{\"a\":{\"a\":{\"a\":[null]}}}",
        "[1 , 2\n,\t3]",
        "{ \"a\" : 1 , \"b\" : 2 }",
        "123456789012345678901234567890",
        "1e999",
        "\"\x7f\"",
        "{\"a\":1,\"a\":2}",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (rc_of(str_c(good[i])) != RC_OK)
            fail_msg("refused: %s", good[i]);
    }
}

static void test_errors_have_the_position(void **state UNUSED)
{
    static const struct {
        const char *text;
        int line, col;
        const char *message;
    } rows[] = {
        {"{\n  \"a\": 1\n  \"b\": 2}", 3, 3, "expected ',' or '}', found '\"'"},
        {"[1,]", 1, 4, "expected a value, found ']'"},
        {"{} x", 1, 4, "expected nothing after the value, found 'x'"},
        {"", 1, 1, "expected a value, found the end of the text"},
        {"\"a\\q\"", 1, 4, "expected one of \"\\/bfnrtu after a backslash, found 'q'"},
        {"[\n\n\"\001\"]", 3, 2, "control characters in strings must be escaped, found byte 0x01"},
        {"[\n", 2, 1, "expected a value, found the end of the text"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse(str_c(rows[i].text));
        assert_int_not_equal(p.rc, RC_OK);
        assert_int_equal(p.err.code, p.rc);
        assert_string_equal(p.err.text, rows[i].message);
        assert_int_equal(p.err.line, rows[i].line);
        assert_int_equal(p.err.col, rows[i].col);
        drop(&p);
    }
    struct arena a = {0};
    const struct json *root;
    assert_int_equal(json_parse(&a, STR("["), NULL, &root, NULL), RC_TRUNCATED);
    arena_fini(&a);
}

static void test_limits_are_kept(void **state UNUSED)
{
    const struct json_limits small = {.max_bytes = 20, .max_depth = 2, .max_nodes = 4};
    static const struct {
        const char *text;
        enum rc rc;
    } rows[] = {
        {"[[1,2]]", RC_OK},
        {"[[[1]]]", RC_TOO_DEEP},
        {"{\"a\":[[]]}", RC_TOO_DEEP},
        {"[1,2,3]", RC_OK},
        {"[1,2,3,4]", RC_TOO_LARGE},
        {"{\"a\":1,\"b\":2}", RC_TOO_LARGE}, /* keys count */
        {"\"123456789012345678\"", RC_OK},
        {"\"1234567890123456789\"", RC_TOO_LARGE},
        {"[[],[]]", RC_OK}, /* open at once, not in all */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse_limited(str_c(rows[i].text), &small);
        if (p.rc != rows[i].rc)
            fail_msg("%s: %s", rows[i].text, rc_text(p.rc));
        drop(&p);
    }
    const struct json_limits none = {.max_bytes = 100, .max_depth = 0, .max_nodes = 0};
    struct parsed p = parse_limited(STR("1"), &none);
    assert_int_equal(p.rc, RC_TOO_LARGE);
    drop(&p);
}

static void test_nesting_is_refused_cleanly(void **state UNUSED)
{
    enum { DEEP = 100000 };
    static char text[DEEP * 6];
    const struct json_limits lax = {.max_bytes = sizeof(text), .max_depth = 10 * DEEP, .max_nodes = sizeof(text)};
    memset(text, '[', DEEP);
    assert_int_equal(rc_of(str_n(text, DEEP)), RC_TOO_DEEP);
    for (size_t i = 0; i < DEEP; i++)
        memcpy(text + i * 5, "{\"a\":", 5);
    assert_int_equal(rc_of(str_n(text, DEEP * 5)), RC_TOO_DEEP);
    /* What a caller allows has a cap of its own, since others may recurse over the tree. */
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct parsed p = parse_limited(str_n(text, 2 * depth), &lax);
        assert_int_equal(p.rc, depth > JSON_DEPTH_MAX ? RC_TOO_DEEP : RC_OK);
        drop(&p);
    }
}

static void test_lookup_follows_go(void **state UNUSED)
{
    struct parsed p = parse(
        STR("{\"domain\":1,\"Domain\":2,\"x\":{\"y\":[10,20]},\"\\u0041b\":3,\"\":4,\"DOMAIN\":5,\"domain\":6}"));
    int64_t n = 0;
    assert_true(json_i64(json_get(p.root, "Domain"), &n) && n == 6);
    assert_true(json_i64(json_get_exact(p.root, "Domain"), &n) && n == 2);
    assert_true(json_i64(json_get_exact(p.root, "domain"), &n) && n == 6);
    assert_true(json_i64(json_get(p.root, "aB"), &n) && n == 3);
    assert_true(json_i64(json_get(p.root, ""), &n) && n == 4);
    assert_null(json_get(p.root, "missing"));
    assert_null(json_get_exact(p.root, "DomaiN"));
    assert_null(json_get(NULL, "x"));
    assert_null(json_get(json_get(json_get(p.root, "none"), "none"), "none"));
    assert_null(json_get(json_get(json_get(p.root, "x"), "y"), "none"));
    assert_int_equal(json_len(p.root), 7);
    drop(&p);
}

static void test_iteration_visits_all(void **state UNUSED)
{
    struct parsed p = parse(STR("{\"a\":[1,[2,3],{\"k\":4}],\"b\":{},\"c\":[],\"d\":\"x\"}"));
    char keys[8] = "";
    JSON_EACH (it, p.root)
        strncat(keys, json_key_of(it).p, 1);
    assert_string_equal(keys, "abcd");
    const struct json *a = json_get(p.root, "a");
    assert_int_equal(json_len(a), 3);
    const struct json *second = json_next(json_first(a));
    assert_int_equal(json_type_of(second), JSON_ARRAY);
    assert_int_equal(json_type_of(json_next(second)), JSON_OBJECT);
    assert_null(json_next(json_next(second)));
    assert_int_equal(json_key_of(second).len, 0);
    assert_null(json_first(json_get(p.root, "b")));
    assert_null(json_first(json_get(p.root, "c")));
    assert_null(json_first(json_get(p.root, "d")));
    assert_null(json_next(p.root));
    assert_int_equal(json_len(json_get(p.root, "d")), 0);
    assert_true(str_eq_c(json_raw(second), "[2,3]"));
    assert_true(str_eq_c(json_raw(json_get(p.root, "d")), "\"x\""));
    drop(&p);
}

static void test_missing_nodes_are_harmless(void **state UNUSED)
{
    struct str s = STR("same");
    int64_t i = 7;
    uint64_t u = 7;
    double d = 7;
    bool b = true;
    int line, col;
    assert_int_equal(json_type_of(NULL), JSON_NULL);
    assert_true(json_is_null(NULL));
    assert_false(json_str(NULL, &s) || json_i64(NULL, &i) || json_u64(NULL, &u) || json_f64(NULL, &d) ||
                 json_bool(NULL, &b));
    assert_true(str_eq_c(s, "same") && i == 7 && u == 7 && d == 7 && b);
    assert_int_equal(json_len(NULL), 0);
    assert_null(json_first(NULL));
    assert_null(json_next(NULL));
    assert_int_equal(json_key_of(NULL).len, 0);
    assert_int_equal(json_raw(NULL).len, 0);
    json_pos(NULL, STR("x"), &line, &col);
    assert_int_equal(line, 0);
    assert_int_equal(col, 0);
}

static void test_integers_are_exact(void **state UNUSED)
{
    static const struct {
        const char *text;
        bool is_i64, is_u64;
        int64_t i64;
        uint64_t u64;
    } rows[] = {
        {"0", true, true, 0, 0},
        {"-0", true, false, 0, 0},
        {"9007199254740993", true, true, 9007199254740993, 9007199254740993},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", false, true, 0, 9223372036854775808u},
        {"-9223372036854775808", true, false, INT64_MIN, 0},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", false, true, 0, UINT64_MAX},
        {"18446744073709551616", false, false, 0, 0},
        {"1.0", false, false, 0, 0},
        {"1e3", false, false, 0, 0},
        {"\"1\"", false, false, 0, 0},
        {"true", false, false, 0, 0},
        {"null", false, false, 0, 0},
        {"[1]", false, false, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse(str_c(rows[i].text));
        int64_t i64 = 0;
        uint64_t u64 = 0;
        assert_int_equal(json_i64(p.root, &i64), rows[i].is_i64);
        assert_int_equal(json_u64(p.root, &u64), rows[i].is_u64);
        assert_true(i64 == rows[i].i64);
        assert_true(u64 == rows[i].u64);
        drop(&p);
    }
}

static void test_floats_and_booleans(void **state UNUSED)
{
    struct parsed p = parse(STR("[1.5,-2e-3,10,1e999,-1e999,true,false,\"1\",1e-400]"));
    const struct json *it = json_first(p.root);
    double d = 0;
    bool b = false;
    assert_true(json_f64(it, &d) && d == 1.5);
    assert_true(json_f64(it = json_next(it), &d) && d == -0.002);
    assert_true(json_f64(it = json_next(it), &d) && d == 10);
    assert_false(json_f64(it = json_next(it), &d));
    assert_false(json_f64(it = json_next(it), &d));
    assert_true(json_bool(it = json_next(it), &b) && b);
    assert_true(json_bool(it = json_next(it), &b) && !b);
    assert_false(json_bool(it = json_next(it), &b) || json_f64(it, &d));
    assert_true(json_f64(json_next(it), &d) && d == 0);
    drop(&p);
    char digits[600];
    memset(digits, '1', sizeof(digits));
    p = parse(str_n(digits, sizeof(digits)));
    assert_int_equal(p.rc, RC_OK);
    assert_false(json_f64(p.root, &d));
    drop(&p);
}

static void test_places_are_found(void **state UNUSED)
{
    struct parsed p = parse(STR("{\n \"a\": [1,\n  \"x\\n\",\r\n3]}"));
    const struct json *a = json_get(p.root, "a");
    static const int want[][2] = {{2, 8}, {3, 3}, {4, 1}};
    int line, col, i = 0;
    json_pos(p.root, p.text, &line, &col);
    assert_true(line == 1 && col == 1);
    JSON_EACH (it, a) {
        if (i == 0) {
            json_pos(a, p.text, &line, &col);
            assert_true(line == 2 && col == 7);
        }
        json_pos(it, p.text, &line, &col);
        assert_int_equal(line, want[i][0]);
        assert_int_equal(col, want[i++][1]);
    }
    drop(&p);
}

/* Cases that Go's decoder refuses for their meaning, not for their syntax; the handlers' tests are about those. */
static bool is_syntax_fault(struct str text)
{
    return text.len == 0 || str_eq_c(text, "{\"Domain\":\"a\"}{\"Domain\":\"b\"}") ||
           str_eq_c(text, "{\"Domain\":\"a\"} x");
}

static void test_tolerance_vectors(void **state UNUSED)
{
    struct buf file = test_file_read(VECTORS_DIR, "json_tolerance.json");
    struct parsed vectors = parse(buf_str(&file));
    size_t accepted = 0, refused = 0;
    assert_int_equal(vectors.rc, RC_OK);
    JSON_EACH (it, json_get(vectors.root, "cases")) {
        struct str text = STR_EMPTY;
        bool decoded = false;
        assert_true(json_str(json_get(it, "json"), &text));
        assert_true(json_bool(json_get(it, "decoded"), &decoded));
        enum rc rc = rc_of(text);
        assert_int_equal(rc == RC_OK, decoded || !is_syntax_fault(text));
        accepted += rc == RC_OK;
        refused += rc != RC_OK;
    }
    assert_true(accepted > 50);
    assert_int_equal(refused, 3);
    drop(&vectors);
    buf_fini(&file);
}

/* Whatever byte is changed or cut, the parser answers, and reads nothing behind the end. */
static void test_mutations_are_survived(void **state UNUSED)
{
    static const char seed[] =
        "{\"a\":[1,-2.5e+3,\"t\\u00e9xt\\n\",{\"b\":null,\"\xc3\xa9\":true}],\"c\":{\"d\":[[],{}]},"
        "\"e\":\"long enough for sse\"}";
    struct test_random r = {1};
    char text[sizeof(seed) - 1];
    for (size_t len = 0; len < sizeof(text); len++)
        assert_int_not_equal(rc_of(str_n(seed, len)), RC_OK);
    for (int i = 0; i < 20000; i++) {
        static const char interesting[] = "{}[]\",:\\u0e-. tfn\xc3\xff\0\n";
        memcpy(text, seed, sizeof(text));
        for (uint32_t n = test_random_below(&r, 4); n > 0; n--)
            text[test_random_below(&r, sizeof(text))] = interesting[test_random_below(&r, sizeof(interesting) - 1)];
        struct parsed p = parse(str_n(text, sizeof(text)));
        if (p.rc == RC_OK) {
            struct buf again = {0};
            struct json_writer w;
            json_w_init(&w, &again);
            json_w_tree(&w, p.root);
            assert_int_equal(rc_of(buf_str(&again)), RC_OK);
            buf_fini(&again);
        }
        drop(&p);
    }
}

static void parse_for_sweep(void *ctx UNUSED)
{
    struct buf text = {0};
    struct json_writer w;
    json_w_init(&w, &text);
    json_w_array(&w);
    for (int i = 0; i < 500; i++)
        json_w_cstr(&w, i % 2 == 0 ? "plain" : "\xff\n");
    json_w_end_array(&w);
    struct parsed p = parse(buf_str(&text));
    if (p.rc != RC_OK || json_len(p.root) != 500)
        abort();
    drop(&p);
    buf_fini(&text);
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(parse_for_sweep, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings_are_decoded),
        cmocka_unit_test(test_bad_unicode_is_replaced),
        cmocka_unit_test(test_strict_text_refuses_bad_unicode),
        cmocka_unit_test(test_broken_text_is_refused),
        cmocka_unit_test(test_good_text_is_accepted),
        cmocka_unit_test(test_errors_have_the_position),
        cmocka_unit_test(test_limits_are_kept),
        cmocka_unit_test(test_nesting_is_refused_cleanly),
        cmocka_unit_test(test_lookup_follows_go),
        cmocka_unit_test(test_iteration_visits_all),
        cmocka_unit_test(test_missing_nodes_are_harmless),
        cmocka_unit_test(test_integers_are_exact),
        cmocka_unit_test(test_floats_and_booleans),
        cmocka_unit_test(test_places_are_found),
        cmocka_unit_test(test_tolerance_vectors),
        cmocka_unit_test(test_mutations_are_survived),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
