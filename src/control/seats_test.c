#include "control/seats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct seats seats;
static struct seated who[4];

static int setup(void **unused)
{
    (void)unused;
    seats_init(&seats, NULL);
    for (unsigned i = 0; i < 4; i++)
        seated_init(&who[i]);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 4; i++)
        seats_leave(&who[i]);
    seats_fini(&seats);
    return 0;
}

static size_t members(struct viewer_key seat)
{
    struct seat_group *g = seats_find(&seats, seat);
    size_t n = 0;
    if (g == NULL)
        return 0;
    LIST_EACH (it, &g->members)
        n++;
    return n;
}

static const struct viewer_key a = {.class_index = 1}, b = {.class_index = 1, .owner = 7},
                               again = {.class_index = 1, .class_made = 2};

static void test_seats_differ_in_every_part(void **unused)
{
    (void)unused;
    seats_put(&seats, &who[0], a);
    seats_put(&seats, &who[1], b);
    seats_put(&seats, &who[2], again);
    seats_put(&seats, &who[3], a);
    assert_int_equal(members(a), 2);
    assert_int_equal(members(b), 1);
    assert_int_equal(members(again), 1);
}

static void test_one_sits_in_one_place(void **unused)
{
    (void)unused;
    seats_put(&seats, &who[0], a);
    seats_put(&seats, &who[0], a);
    assert_int_equal(members(a), 1);
    seats_put(&seats, &who[0], b);
    assert_int_equal(members(a), 0);
    assert_int_equal(members(b), 1);
    seats_leave(&who[0]);
    seats_leave(&who[0]);
    assert_int_equal(members(b), 0);
}

static void test_empty_groups_stay_until_they_are_swept(void **unused)
{
    (void)unused;
    seats_put(&seats, &who[0], a);
    seats_put(&seats, &who[1], b);
    seats_leave(&who[0]);
    assert_non_null(seats_find(&seats, a));
    seats_sweep(&seats);
    assert_null(seats_find(&seats, a));
    assert_int_equal(members(b), 1);
    seats_put(&seats, &who[0], a);
    assert_int_equal(members(a), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_seats_differ_in_every_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_sits_in_one_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_groups_stay_until_they_are_swept, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
