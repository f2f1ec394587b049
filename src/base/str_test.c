/* Text: comparing, cutting, numbers, hexadecimal, durations; against tables of what is accepted and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static void test_text_basics(void **state UNUSED)
{
    struct str head, rest;
    assert_true(str_eq(STR_EMPTY, (struct str){NULL, 0}));
    assert_true(str_eq(STR("a\0b"), STR("a\0b")) && !str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_eq_c(STR("abc"), "abc") && !str_eq_c(STR("abc"), "ab"));
    assert_true(str_eq_ci(STR("aBc-[9"), STR("AbC-[9")) && !str_eq_ci(STR("a@"), STR("a`")) &&
                !str_eq_ci(STR("a"), STR("ab")));
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR_EMPTY) &&
                !str_starts(STR("a"), STR("ab")));
    assert_true(str_ends(STR("abc"), STR("bc")) && str_ends(STR("abc"), STR_EMPTY) && !str_ends(STR("c"), STR("bc")));
    assert_true(str_eq_c(str_trim(STR(" \t a b\r\n")), "a b") && str_trim(STR("  ")).len == 0);
    assert_int_equal(str_index(STR("abc"), 'c'), 2);
    assert_int_equal(str_index(STR("abc"), 'd'), -1);
    assert_int_equal(str_index(STR_EMPTY, 'd'), -1);
    assert_true(str_cut(STR("a:b:c"), ':', &head, &rest) && str_eq_c(head, "a") && str_eq_c(rest, "b:c"));
    assert_true(str_cut(STR(":"), ':', &head, &rest) && head.len == 0 && rest.len == 0);
    assert_false(str_cut(STR("abc"), ':', &head, &rest));
    assert_true(str_eq_c(head, "abc") && rest.len == 0);
    assert_true(str_c(NULL).len == 0 && str_c("ab").len == 2);
}

static void test_text_distance(void **state UNUSED)
{
    char long_text[200];
    memset(long_text, 'a', sizeof(long_text));
    assert_int_equal(str_distance(STR(""), STR("")), 0);
    assert_int_equal(str_distance(STR("abc"), STR("")), 3);
    assert_int_equal(str_distance(STR("Users"), STR("users")), 0);
    assert_int_equal(str_distance(STR("nodes"), STR("ndoes")), 1);
    assert_int_equal(str_distance(STR("list"), STR("lists")), 1);
    assert_int_equal(str_distance(STR("kitten"), STR("sitting")), 3);
    assert_int_equal(str_distance(str_n(long_text, 200), STR("")), 63);
    assert_int_equal(str_distance(str_n(long_text, 200), str_n(long_text, 100)), 0);
}

static void test_integers(void **state UNUSED)
{
    static const char *const bad[] = {"",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "-",
                                      "--1",
                                      "0x1",
                                      "1.0",
                                      "1e3",
                                      "a",
                                      "1_0",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    uint64_t u = 7;
    int64_t i = 7;
    for (size_t n = 0; n < ARRAY_LEN(bad); n++) {
        assert_int_equal(str_to_u64(str_c(bad[n]), &u), RC_INVALID);
        assert_int_equal(str_to_i64(str_c(bad[n]), &i), RC_INVALID);
    }
    assert_int_equal(str_to_u64(STR("-1"), &u), RC_INVALID);
    assert_int_equal(str_to_i64(STR("9223372036854775808"), &i), RC_INVALID);
    assert_int_equal(str_to_i64(STR("-9223372036854775809"), &i), RC_INVALID);
    assert_true(u == 7 && i == 7);
    assert_true(str_to_u64(STR("18446744073709551615"), &u) == RC_OK && u == UINT64_MAX);
    assert_true(str_to_u64(STR("007"), &u) == RC_OK && u == 7);
    assert_true(str_to_i64(STR("9223372036854775807"), &i) == RC_OK && i == INT64_MAX);
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) == RC_OK && i == INT64_MIN);
    assert_true(str_to_i64(STR("-0"), &i) == RC_OK && i == 0);
}

static void test_hexadecimal(void **state UNUSED)
{
    uint8_t bytes[4];
    char text[8];
    assert_int_equal(hex_decode(STR("00fFaB9c"), bytes, 4), RC_OK);
    assert_memory_equal(bytes, "\x00\xff\xab\x9c", 4);
    hex_encode(bytes, 4, text);
    assert_memory_equal(text, "00ffab9c", 8);
    assert_int_equal(hex_decode(STR_EMPTY, bytes, 0), RC_OK);
    assert_int_equal(hex_decode(STR("00ffab9"), bytes, 4), RC_INVALID);
    assert_int_equal(hex_decode(STR("00ffab9c0"), bytes, 4), RC_INVALID);
    assert_int_equal(hex_decode(STR("00ffab"), bytes, 4), RC_INVALID);
    for (unsigned c = 0; c < 256; c++) {
        char two[2] = {'0', (char)c};
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        assert_int_equal(hex_decode(str_n(two, 2), bytes, 1) == RC_OK, digit);
    }
}

static void test_durations(void **state UNUSED)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0", 0},
        {"0s", 0},
        {"30s", 30000},
        {"1h30m", 5400000},
        {"90m", 5400000},
        {"1d", 86400000},
        {"2w", 1209600000},
        {"1y", 31536000000},
        {"250ms", 250},
        {"1m1ms", 60001},
        {"1.5h", 5400000},
        {".5s", 500},
        {"0.001s", 1},
        {"1d2h3m4s5ms", 93784005},
        {"1.0000001s", 1000},
        {"292471208y", 9223372015488000000},
    };
    static const char *const bad[] = {
        "",
        "5",
        "s",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1x",
        "1.2.3s",
        ".s",
        ".",
        "1h-5m",
        "1S",
        "00",
        "1us",
        "1h5",
        "h1",
        "9223372036854775808ms",
        "292471209y",
        "99999999999999999999s",
        "9223372036854775807ms1ms",
        "inf",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t ms = -1;
        if (str_to_duration_ms(str_c(good[i].text), &ms) != RC_OK || ms != good[i].ms)
            fail_msg("%s: %lld", good[i].text, (long long)ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms = -1;
        if (str_to_duration_ms(str_c(bad[i]), &ms) != RC_INVALID || ms != -1)
            fail_msg("accepted: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_basics), cmocka_unit_test(test_text_distance), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_hexadecimal), cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
