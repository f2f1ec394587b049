#include "codec/hujson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "support/oom_sweep.h"
#include "support/test_random.h"

static void check_blank(const char *text, const char *want)
{
    struct arena a = {0};
    struct str clean;
    struct err err;
    assert_int_equal(hujson_blank(&a, str_c(text), &clean, &err), RC_OK);
    assert_string_equal(clean.p, want);
    assert_int_equal(clean.len, strlen(text));
    arena_fini(&a);
}

static void test_comments_and_commas_become_blanks(void **state UNUSED)
{
    check_blank("", "");
    check_blank("{}", "{}");
    check_blank("// c\n{}", "    \n{}");
    check_blank("// c\r\n{}", "    \r\n{}");
    check_blank("{} // c", "{}     ");
    check_blank("/* a\nb */1/**/", "    \n    1    ");
    check_blank("[1,2,]", "[1,2 ]");
    check_blank("{\"a\":[1,],}", "{\"a\":[1 ] }");
    check_blank("[1, // c ]\n /* , */ ]", "[1        \n         ]");
    check_blank("[\"// no\", \"/* no */\", \",]\", \"\\\"//\",]", "[\"// no\", \"/* no */\", \",]\", \"\\\"//\" ]");
    check_blank("/*/**/1", "      1");
    check_blank("/***/1//", "     1  ");
    /* No value before the comma: left for the parser to refuse. */
    check_blank("[,]", "[,]");
    check_blank("{,}", "{,}");
    check_blank("[1,,]", "[1,,]");
    check_blank("{\"a\":,}", "{\"a\":,}");
    check_blank("/", "/");
    check_blank("1 / 2", "1 / 2");
    check_blank("\"unclosed // x", "\"unclosed // x");
    check_blank("\"\\", "\"\\");
}

static enum rc parse(const char *text, struct err *err)
{
    struct arena a = {0};
    const struct json *root;
    enum rc rc = hujson_parse(&a, str_c(text), NULL, &root, NULL, err);
    arena_fini(&a);
    return rc;
}

static void test_refusals_have_their_place(void **state UNUSED)
{
    static const struct {
        const char *text;
        enum rc rc;
        int line, col;
    } rows[] = {
        {"{\n  /* never closed", RC_TRUNCATED, 2, 3},
        {"/*/", RC_TRUNCATED, 1, 1},
        {"// only a comment", RC_TRUNCATED, 1, 18},
        {"[,]", RC_INVALID, 1, 2},
        {"[1,,]", RC_INVALID, 1, 4},
        {"{,}", RC_INVALID, 1, 2},
        {"1/**/2", RC_INVALID, 1, 6},
        {"// c\n{\"a\": /* \xc3\xa9 */ x}", RC_INVALID, 2, 16},
        {"{\"a\",}", RC_INVALID, 1, 6},
        {"1,", RC_INVALID, 1, 2},
        {"[1] / x", RC_INVALID, 1, 5},
        {"# c\n1", RC_INVALID, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        if (parse(rows[i].text, &err) != rows[i].rc || err.line != rows[i].line || err.col != rows[i].col)
            fail_msg("%s: %s at %d:%d", rows[i].text, err.text, err.line, err.col);
    }
    assert_int_equal(parse("/*", NULL), RC_TRUNCATED);
}

static void test_a_policy_is_read_with_places(void **state UNUSED)
{
    static const char policy[] =
        "// the policy\n{\n  \"acls\": [\n    {\"action\": \"accept\", /* all */ \"src\": [\"*\",], },\n  ],\n}\n";
    struct arena a = {0};
    const struct json *root;
    struct str clean;
    struct err err;
    int line, col;
    assert_int_equal(hujson_parse(&a, STR(policy), NULL, &root, &clean, &err), RC_OK);
    const struct json *rule = json_first(json_get(root, "acls"));
    json_pos(json_get(rule, "src"), clean, &line, &col);
    assert_int_equal(line, 4);
    assert_int_equal(col, 43);
    assert_int_equal(json_len(json_get(rule, "src")), 1);
    arena_fini(&a);
}

static void test_limits_come_before_the_copy(void **state UNUSED)
{
    const struct json_limits limits = {.max_bytes = 3, .max_depth = 1, .max_nodes = 10};
    struct arena a = {0};
    const struct json *root;
    assert_int_equal(hujson_parse(&a, STR("[ 1]"), &limits, &root, NULL, NULL), RC_TOO_LARGE);
    assert_int_equal(a.used_bytes, 0);
    assert_int_equal(hujson_parse(&a, STR("[1]"), &limits, &root, NULL, NULL), RC_OK);
    arena_fini(&a);
}

/* What is JSON already stays as it is, and comments sprinkled between tokens change nothing. */
static void test_comments_anywhere_change_nothing(void **state UNUSED)
{
    static const char *const tokens[] = {"{",          "\"a\"", ":", "[",     "1", ",", "true", ",",
                                         "\"x // y\"", "]",     ",", "\"b\"", ":", "{", "}",    "}"};
    static const char *const fill[] = {"", " ", "\n", "// ]}\"\n", "/* , */", "/*\"*/", "\t"};
    struct test_random r = {3};
    for (int round = 0; round < 500; round++) {
        struct buf plain = {0};
        struct buf decorated = {0};
        struct arena a = {0};
        const struct json *root;
        struct str clean;
        for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
            buf_append_c(&plain, tokens[i]);
            buf_append_c(&decorated, fill[test_random_below(&r, ARRAY_LEN(fill))]);
            if ((tokens[i][0] == ']' || tokens[i][0] == '}') && i > 0 && tokens[i - 1][0] != '{' &&
                test_random_below(&r, 2) == 0)
                buf_append_c(&decorated, ", ");
            buf_append_c(&decorated, tokens[i]);
        }
        assert_int_equal(hujson_parse(&a, buf_str(&decorated), NULL, &root, &clean, NULL), RC_OK);
        struct buf squeezed = {0};
        bool in_string = false;
        for (size_t i = 0; i < clean.len; i++) {
            in_string ^= clean.p[i] == '"';
            if (in_string || strchr(" \n\t", clean.p[i]) == NULL)
                buf_append_byte(&squeezed, (uint8_t)clean.p[i]);
        }
        assert_string_equal(buf_cstr(&squeezed), buf_cstr(&plain));
        arena_fini(&a);
        buf_fini(&squeezed);
        buf_fini(&plain);
        buf_fini(&decorated);
    }
}

static void parse_for_sweep(void *ctx UNUSED)
{
    if (parse("{\"a\": [1, /* two */ 2,], // three\n}", NULL) != RC_OK)
        abort();
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(parse_for_sweep, NULL) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comments_and_commas_become_blanks), cmocka_unit_test(test_refusals_have_their_place),
        cmocka_unit_test(test_a_policy_is_read_with_places),      cmocka_unit_test(test_limits_come_before_the_copy),
        cmocka_unit_test(test_comments_anywhere_change_nothing),  cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
