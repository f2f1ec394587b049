/* Metrics count, from any thread, and are listed by name. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/metric.h"

METRIC_COUNTER(test_b, "metric_test_b_total", "kind=\"x\"", "A test counter.");
METRIC_COUNTER(test_a, "metric_test_a_total", "", "A test counter.");
METRIC_COUNTER(test_b2, "metric_test_b_total", "kind=\"y\"", "");
METRIC_GAUGE(test_gauge, "metric_test_gauge", "", "A test gauge.");

static void test_metrics_count(void **state UNUSED)
{
    metric_inc(&test_a);
    metric_add(&test_a, 4);
    metric_set(&test_gauge, 10);
    metric_add(&test_gauge, -3);
    metric_inc(&test_b2);
    assert_int_equal(metric_get(&test_a), 5);
    assert_int_equal(metric_read("metric_test_gauge", ""), 7);
    assert_int_equal(metric_read("metric_test_b_total", "kind=\"y\""), 1);
    assert_int_equal(metric_read("metric_test_b_total", "kind=\"x\""), 0);
    assert_int_equal(metric_read("metric_test_none", ""), 0);
    /* Rows of one name stand together. */
    assert_true(metric_next(&test_b) == &test_b2 || metric_next(&test_b2) == &test_b);
    const char *before = "";
    for (const struct metric *m = metric_next(NULL); m != NULL; before = m->name, m = metric_next(m))
        assert_true(strcmp(before, m->name) <= 0);
}

static void *count_up(void *ctx UNUSED)
{
    for (int i = 0; i < 10000; i++)
        metric_inc(&test_b);
    return NULL;
}

static void test_metrics_count_from_any_thread(void **state UNUSED)
{
    pthread_t threads[4];
    metric_set(&test_b, 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_get(&test_b), 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_count),
        cmocka_unit_test(test_metrics_count_from_any_thread),
    };
    return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}
