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

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        n++;
    return n;
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text)};
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
