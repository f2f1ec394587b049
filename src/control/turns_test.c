#include "control/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MANY = 3 * TURNS_AT_ONCE };

static struct turns turns;
static struct turn turn[MANY];

static int setup(void **unused)
{
    (void)unused;
    turns_init(&turns);
    for (unsigned i = 0; i < MANY; i++)
        turn_init(&turn[i]);
    return 0;
}

static void test_first_come_first_served(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        turns_ask(&turns, &turn[i], TURNS_RETURNING);
    turns_ask(&turns, &turn[0], TURNS_RETURNING); /* keeps its place */
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(turns_next(&turns, 0), &turn[i]);
    assert_null(turns_next(&turns, 0));
    assert_false(turns_wait(&turns));
}

static void test_only_so_many_at_once(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        turns_ask(&turns, &turn[i], TURNS_RETURNING);
    for (unsigned i = 0; i < TURNS_AT_ONCE; i++)
        assert_ptr_equal(turns_next(&turns, 0), &turn[i]);
    assert_null(turns_next(&turns, 0));
    assert_true(turns_wait(&turns));
    turns_leave(&turns, &turn[5]);
    turns_leave(&turns, &turn[5]); /* gives one place back, not two */
    assert_ptr_equal(turns_next(&turns, 0), &turn[TURNS_AT_ONCE]);
    assert_null(turns_next(&turns, 0));
}

static void test_newcomers_do_not_wait_for_all_who_return(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 10; i++)
        turns_ask(&turns, &turn[i], TURNS_RETURNING);
    turns_ask(&turns, &turn[10], TURNS_NEWCOMERS);
    turns_ask(&turns, &turn[11], TURNS_NEWCOMERS);
    const unsigned want[] = {10, 0, 11, 1, 2};
    for (unsigned i = 0; i < 5; i++)
        assert_ptr_equal(turns_next(&turns, 0), &turn[want[i]]);
}

static void test_a_slow_reader_gives_its_place_away(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        turns_ask(&turns, &turn[i], TURNS_RETURNING);
    for (unsigned i = 0; i < TURNS_AT_ONCE; i++)
        assert_non_null(turns_next(&turns, i < 10 ? 0 : 50));
    turns_expire(&turns, TURN_MS - 1);
    assert_null(turns_next(&turns, TURN_MS - 1));
    turns_expire(&turns, TURN_MS);
    for (unsigned i = 0; i < 10; i++)
        assert_ptr_equal(turns_next(&turns, TURN_MS), &turn[TURNS_AT_ONCE + i]);
    assert_null(turns_next(&turns, TURN_MS));
    turns_leave(&turns, &turn[0]); /* it has gone out in the end: its place is another's by now */
    assert_null(turns_next(&turns, TURN_MS));
}

static void test_whoever_leaves_the_line_gets_no_turn(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        turns_ask(&turns, &turn[i], TURNS_RETURNING);
    turns_leave(&turns, &turn[1]);
    assert_ptr_equal(turns_next(&turns, 0), &turn[0]);
    assert_ptr_equal(turns_next(&turns, 0), &turn[2]);
    assert_null(turns_next(&turns, 0));
}

static void test_whoever_has_a_place_may_ask_again(void **unused)
{
    (void)unused;
    turns_ask(&turns, &turn[0], TURNS_RETURNING);
    assert_ptr_equal(turns_next(&turns, 0), &turn[0]);
    turns_ask(&turns, &turn[0], TURNS_RETURNING);
    assert_int_equal(turns.running_n, 0);
    assert_ptr_equal(turns_next(&turns, 0), &turn[0]);
    assert_int_equal(turns.running_n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_come_first_served, setup),
        cmocka_unit_test_setup(test_only_so_many_at_once, setup),
        cmocka_unit_test_setup(test_newcomers_do_not_wait_for_all_who_return, setup),
        cmocka_unit_test_setup(test_a_slow_reader_gives_its_place_away, setup),
        cmocka_unit_test_setup(test_whoever_leaves_the_line_gets_no_turn, setup),
        cmocka_unit_test_setup(test_whoever_has_a_place_may_ask_again, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
