#include "control/map_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MANY = 3 * MAP_QUEUE_AT_ONCE };

static struct map_queue queue;
static struct map_waiter waiter[MANY];

static int set_up(void **unused)
{
    (void)unused;
    map_queue_init(&queue);
    for (unsigned i = 0; i < MANY; i++)
        map_waiter_init(&waiter[i]);
    return 0;
}

static void test_first_come_first_served(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        map_queue_join(&queue, &waiter[i], MAP_QUEUE_RETURNING);
    map_queue_join(&queue, &waiter[0], MAP_QUEUE_RETURNING); /* stays where it is */
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(map_queue_next(&queue, 0), &waiter[i]);
    assert_null(map_queue_next(&queue, 0));
    assert_false(map_queue_has_waiters(&queue));
}

static void test_only_so_many_at_once(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        map_queue_join(&queue, &waiter[i], MAP_QUEUE_RETURNING);
    for (unsigned i = 0; i < MAP_QUEUE_AT_ONCE; i++)
        assert_ptr_equal(map_queue_next(&queue, 0), &waiter[i]);
    assert_null(map_queue_next(&queue, 0));
    assert_true(map_queue_has_waiters(&queue));
    map_queue_leave(&queue, &waiter[5]);
    map_queue_leave(&queue, &waiter[5]); /* makes room for one, not two */
    assert_ptr_equal(map_queue_next(&queue, 0), &waiter[MAP_QUEUE_AT_ONCE]);
    assert_null(map_queue_next(&queue, 0));
}

static void test_newcomers_do_not_wait_for_all_who_return(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 10; i++)
        map_queue_join(&queue, &waiter[i], MAP_QUEUE_RETURNING);
    map_queue_join(&queue, &waiter[10], MAP_QUEUE_NEWCOMERS);
    map_queue_join(&queue, &waiter[11], MAP_QUEUE_NEWCOMERS);
    const unsigned want[] = {10, 0, 11, 1, 2};
    for (unsigned i = 0; i < 5; i++)
        assert_ptr_equal(map_queue_next(&queue, 0), &waiter[want[i]]);
}

static void test_a_slow_reader_holds_up_others_for_a_while_only(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        map_queue_join(&queue, &waiter[i], MAP_QUEUE_RETURNING);
    for (unsigned i = 0; i < MAP_QUEUE_AT_ONCE; i++)
        assert_non_null(map_queue_next(&queue, i < 10 ? 0 : 50));
    map_queue_expire(&queue, MAP_QUEUE_HOLD_MS - 1);
    assert_null(map_queue_next(&queue, MAP_QUEUE_HOLD_MS - 1));
    map_queue_expire(&queue, MAP_QUEUE_HOLD_MS);
    for (unsigned i = 0; i < 10; i++)
        assert_ptr_equal(map_queue_next(&queue, MAP_QUEUE_HOLD_MS), &waiter[MAP_QUEUE_AT_ONCE + i]);
    assert_null(map_queue_next(&queue, MAP_QUEUE_HOLD_MS));
    map_queue_leave(&queue, &waiter[0]); /* it has gone out in the end, and had not counted any more */
    assert_null(map_queue_next(&queue, MAP_QUEUE_HOLD_MS));
}

static void test_whoever_leaves_the_line_is_not_served(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        map_queue_join(&queue, &waiter[i], MAP_QUEUE_RETURNING);
    map_queue_leave(&queue, &waiter[1]);
    assert_ptr_equal(map_queue_next(&queue, 0), &waiter[0]);
    assert_ptr_equal(map_queue_next(&queue, 0), &waiter[2]);
    assert_null(map_queue_next(&queue, 0));
}

static void test_whoever_is_sending_may_join_again(void **unused)
{
    (void)unused;
    map_queue_join(&queue, &waiter[0], MAP_QUEUE_RETURNING);
    assert_ptr_equal(map_queue_next(&queue, 0), &waiter[0]);
    map_queue_join(&queue, &waiter[0], MAP_QUEUE_RETURNING);
    assert_int_equal(queue.sending_n, 0);
    assert_ptr_equal(map_queue_next(&queue, 0), &waiter[0]);
    assert_int_equal(queue.sending_n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_come_first_served, set_up),
        cmocka_unit_test_setup(test_only_so_many_at_once, set_up),
        cmocka_unit_test_setup(test_newcomers_do_not_wait_for_all_who_return, set_up),
        cmocka_unit_test_setup(test_a_slow_reader_holds_up_others_for_a_while_only, set_up),
        cmocka_unit_test_setup(test_whoever_leaves_the_line_is_not_served, set_up),
        cmocka_unit_test_setup(test_whoever_is_sending_may_join_again, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
