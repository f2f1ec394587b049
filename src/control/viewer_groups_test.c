#include "control/viewer_groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct viewer_groups groups;
static struct viewer_group_member member[4];

static int set_up(void **unused)
{
    (void)unused;
    viewer_groups_init(&groups, NULL);
    for (unsigned i = 0; i < 4; i++)
        viewer_group_member_init(&member[i]);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 4; i++)
        viewer_groups_leave(&member[i]);
    viewer_groups_fini(&groups);
    return 0;
}

static size_t count(struct viewer_key key)
{
    struct viewer_group *g = viewer_groups_find(&groups, key);
    size_t n = 0;
    if (g == NULL)
        return 0;
    LIST_EACH (it, &g->members)
        n++;
    return n;
}

static const struct viewer_key a = {.class_index = 1}, b = {.class_index = 1, .owner = 7},
                               again = {.class_index = 1, .class_made = 2};

static void test_keys_differ_in_every_part(void **unused)
{
    (void)unused;
    viewer_groups_put(&groups, &member[0], a);
    viewer_groups_put(&groups, &member[1], b);
    viewer_groups_put(&groups, &member[2], again);
    viewer_groups_put(&groups, &member[3], a);
    assert_int_equal(count(a), 2);
    assert_int_equal(count(b), 1);
    assert_int_equal(count(again), 1);
}

static void test_a_member_is_in_one_group(void **unused)
{
    (void)unused;
    viewer_groups_put(&groups, &member[0], a);
    viewer_groups_put(&groups, &member[0], a);
    assert_int_equal(count(a), 1);
    viewer_groups_put(&groups, &member[0], b);
    assert_int_equal(count(a), 0);
    assert_int_equal(count(b), 1);
    viewer_groups_leave(&member[0]);
    viewer_groups_leave(&member[0]);
    assert_int_equal(count(b), 0);
}

static void test_empty_groups_stay_until_they_are_swept(void **unused)
{
    (void)unused;
    viewer_groups_put(&groups, &member[0], a);
    viewer_groups_put(&groups, &member[1], b);
    viewer_groups_leave(&member[0]);
    assert_non_null(viewer_groups_find(&groups, a));
    viewer_groups_sweep(&groups);
    assert_null(viewer_groups_find(&groups, a));
    assert_int_equal(count(b), 1);
    viewer_groups_put(&groups, &member[0], a);
    assert_int_equal(count(a), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keys_differ_in_every_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_member_is_in_one_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty_groups_stay_until_they_are_swept, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
