/* Dates as text, and the clocks and random bytes of the system. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/time.h"

static void test_times_are_formatted(void **state UNUSED)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59Z"},
        {1795395723123, "2026-11-23T01:02:03.123Z"},
        {951782400000, "2000-02-29T00:00:00Z"},
        {-62135596800000, "0001-01-01T00:00:00Z"},
        {-62135596800001, "0001-01-01T00:00:00Z"},
        {INT64_MIN, "0001-01-01T00:00:00Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[TIME_TEXT_CAP];
        time_format(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_times_are_read(void **state UNUSED)
{
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
        {"9999-12-31T23:59:59-23:59", 253402300799000}, /* in the year 10000, which cannot be written */
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

static void test_clocks_and_randomness(void **state UNUSED)
{
    uint8_t a[40] = {0}, b[40] = {0};
    int64_t before = clock_mono_us();
    assert_true(clock_mono_us() >= before);
    assert_true(clock_mono_ms() >= before / 1000);
    assert_true(clock_wall_ms() > 1700000000000);
    assert_true(clock_thread_cpu_us() >= 0);
    rng_bytes(a, sizeof(a));
    rng_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    rng_bytes(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_formatted),
        cmocka_unit_test(test_times_are_read),
        cmocka_unit_test(test_clocks_and_randomness),
    };
    return cmocka_run_group_tests_name("time", tests, NULL, NULL);
}
