/* The text format: families stand together, each with one HELP and TYPE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/metric.h"
#include "metrics/metrics.h"

METRIC_COUNTER(one, "test_things_total", "kind=\"one\"", "");
METRIC_COUNTER(other, "test_other_total", "", "Others.");
METRIC_COUNTER(two, "test_things_total", "kind=\"two\"", "Things, by kind.");

METRIC_HISTOGRAM(times, "test_times_seconds", "Times.", 10, 250, 1000);

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
}

static void test_histogram(void **state)
{
    (void)state;
    static const int64_t ms[] = {0, 10, 11, 250, 5000};
    struct buf out = {0};
    for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++)
        metric_observe_ms(&times, ms[i]);
    metrics_write(&out, "1.2.3");
    assert_int_equal(count(buf_cstr(&out), "# HELP test_times_seconds Times.\n"
                                           "# TYPE test_times_seconds histogram\n"
                                           "test_times_seconds_bucket{le=\"0.01\"} 2\n"
                                           "test_times_seconds_bucket{le=\"0.25\"} 4\n"
                                           "test_times_seconds_bucket{le=\"1\"} 4\n"
                                           "test_times_seconds_bucket{le=\"+Inf\"} 5\n"
                                           "test_times_seconds_sum 5.271\n"
                                           "test_times_seconds_count 5\n"),
                     1);
    buf_fini(&out);
}

static void test_text(void **state)
{
    (void)state;
    struct buf out = {0};
    metric_add(&one, 3);
    metric_inc(&two);
    metric_inc(&other);
    metrics_write(&out, "1.2.3");
    const char *text = buf_cstr(&out);
    assert_int_equal(count(text, "# HELP test_things_total Things, by kind.\n# TYPE test_things_total counter\n"), 1);
    assert_int_equal(count(text, "# TYPE test_things_total"), 1);
    assert_int_equal(count(text, "\ntest_things_total{kind=\"one\"} 3\n"), 1);
    assert_int_equal(count(text, "\ntest_things_total{kind=\"two\"} 1\n"), 1);
    assert_int_equal(count(text, "\ntest_other_total 1\n"), 1);
    assert_int_equal(count(text, "fullscale_build_info{version=\"1.2.3\"} 1\n"), 1);
    assert_int_equal(count(text, "process_resident_memory_bytes 0\n"), 0);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_histogram)};
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
