#include "control/spacing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { COST_US = 10000, START_US = 1000000000 };

static struct spacing spacing;

static int set_up(void **unused)
{
    (void)unused;
    spacing = (struct spacing){0};
    spacing_published(&spacing, 1, true, START_US);
    spacing_sent(&spacing, START_US);
    return 0;
}

static void test_nothing_is_sent_when_nothing_was_published(void **unused)
{
    (void)unused;
    assert_true(spacing_send_us(&spacing, COST_US) == INT64_MAX);
}

static void test_a_change_in_quiet_times_is_published_and_sent_at_once(void **unused)
{
    (void)unused;
    int64_t now_us = START_US + COST_US * SPACING_FACTOR;
    assert_true(spacing_publish_us(&spacing, COST_US) <= now_us);
    spacing_published(&spacing, 1, true, now_us);
    assert_true(spacing_send_us(&spacing, COST_US) <= now_us);
}

/* When the workers have rested; the snapshot alone is published sooner. */
static void test_the_next_change_waits_for_as_long_as_sending_costs(void **unused)
{
    (void)unused;
    int64_t now_us = spacing_publish_us(&spacing, COST_US);
    assert_true(now_us > START_US && now_us < START_US + COST_US * SPACING_FACTOR);
    spacing_published(&spacing, 1, true, now_us);
    assert_true(spacing_send_us(&spacing, COST_US) == START_US + COST_US * SPACING_FACTOR);
}

static void test_a_heavy_snapshot_is_sent_when_it_is_published(void **unused)
{
    (void)unused;
    int64_t now_us = START_US + COST_US * SPACING_FACTOR;
    spacing_published(&spacing, 50, false, now_us);
    assert_true(spacing_send_us(&spacing, COST_US) == now_us);
    spacing_sent(&spacing, now_us);
    assert_true(spacing_publish_us(&spacing, COST_US) == now_us + COST_US * SPACING_FACTOR);
}

/* Changes come a millisecond apart, which is faster than they can be sent. */
static void test_in_a_storm_sending_takes_a_small_share(void **unused)
{
    (void)unused;
    int64_t now_us = START_US;
    unsigned sent = 0;
    for (; now_us < START_US + 10000000; now_us += 1000) {
        spacing_published(&spacing, 1, true, now_us);
        if (spacing_send_us(&spacing, COST_US) > now_us)
            continue;
        spacing_sent(&spacing, now_us);
        sent++;
    }
    assert_in_range(sent, 10000000 / (COST_US * SPACING_STORM_FACTOR), 10000000 / (COST_US * SPACING_STORM_FACTOR) + 1);
}

static void test_a_storm_that_pauses_is_sent(void **unused)
{
    (void)unused;
    spacing_published(&spacing, 500, true, START_US + 2000);
    assert_true(spacing_send_us(&spacing, COST_US) == START_US + 2000 + COST_US * SPACING_FACTOR);
}

static void test_nobody_waits_longer_than_a_second(void **unused)
{
    (void)unused;
    spacing_published(&spacing, 1, true, START_US + 1000);
    assert_true(spacing_send_us(&spacing, 60 * 1000 * 1000) == START_US + SPACING_MAX_US);
    spacing_published(&spacing, SIZE_MAX / 4, true, START_US + 900000);
    assert_true(spacing_send_us(&spacing, 60 * 1000 * 1000) == START_US + SPACING_MAX_US);
    assert_true(spacing_publish_us(&spacing, 60 * 1000 * 1000) == START_US + 900000 + SPACING_ALONE_MAX_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_is_sent_when_nothing_was_published, set_up),
        cmocka_unit_test_setup(test_a_change_in_quiet_times_is_published_and_sent_at_once, set_up),
        cmocka_unit_test_setup(test_the_next_change_waits_for_as_long_as_sending_costs, set_up),
        cmocka_unit_test_setup(test_a_heavy_snapshot_is_sent_when_it_is_published, set_up),
        cmocka_unit_test_setup(test_in_a_storm_sending_takes_a_small_share, set_up),
        cmocka_unit_test_setup(test_a_storm_that_pauses_is_sent, set_up),
        cmocka_unit_test_setup(test_nobody_waits_longer_than_a_second, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
