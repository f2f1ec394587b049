/* Changes that follow each other, as one. What clients get of it: netmap/worlds_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "state/testing.h"

static void move(struct test_routers *f, node_id id, uint16_t home_derp)
{
    const struct node *n = state_node(f->st, id);
    struct node_report report = {.home_derp = home_derp};
    node_key key = n->key;
    machine_key machine = n->machine;
    assert_int_equal(state_node_report(f->st, &key, &machine, &report, &n), RC_OK);
}

/* Commits everything, as test_routers_publish does, but gives the change. */
static struct change *publish(struct test_routers *f)
{
    struct row_batch *batch;
    while ((batch = state_take_batch(f->st)) != NULL) {
        state_committed(f->st, batch->seq);
        row_batch_destroy(&batch);
    }
    return state_publish(f->st, f->now_ms);
}

static void test_changes_are_joined_node_by_node(void **state)
{
    struct test_routers *f = *state;
    struct change *c[3];
    test_routers_publish(f);
    move(f, 1, 3);
    c[0] = publish(f);
    move(f, 1, 4);
    move(f, 3, 9);
    assert_int_equal(state_node_delete(f->st, 2, NULL), RC_OK);
    struct registration reg = test_routers_request(f, f->key);
    node_id passing = test_routers_join(f, &reg).node->id;
    c[1] = publish(f);
    assert_int_equal(state_node_delete(f->st, passing, NULL), RC_OK);
    c[2] = publish(f);
    assert_non_null(snapshot_node(c[1]->after, passing));
    struct change *all = change_join(c, 3);
    assert_ptr_equal(all->before, c[0]->before);
    assert_ptr_equal(all->after, c[2]->after);
    assert_int_equal(all->item_n, 3); /* none is of the node that came and went */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(all->items[i].id, i + 1);
        assert_ptr_equal(all->items[i].before, snapshot_node(all->before, i + 1));
        assert_ptr_equal(all->items[i].after, snapshot_node(all->after, i + 1));
    }
    assert_int_equal(all->items[0].after->home_derp, 4);
    assert_null(all->items[1].after);
    change_unref(&all);
    for (size_t i = 0; i < 3; i++)
        change_unref(&c[i]);
}

static void test_one_change_is_itself(void **state)
{
    struct test_routers *f = *state;
    test_routers_publish(f);
    move(f, 1, 3);
    struct change *c = publish(f), *all = change_join(&c, 1);
    assert_ptr_equal(all, c);
    change_unref(&all);
    change_unref(&c);
}

static void test_what_concerns_all_nodes_is_kept(void **state)
{
    struct test_routers *f = *state;
    struct change *c[2];
    test_routers_publish(f);
    test_routers_set_policy(f, "{}");
    c[0] = publish(f);
    move(f, 1, 3);
    c[1] = publish(f);
    assert_true(c[0]->policy_changed && !c[1]->policy_changed);
    struct change *all = change_join(c, 2);
    assert_true(all->policy_changed);
    assert_int_equal(all->item_n, TEST_ROUTERS);
    change_unref(&all);
    change_unref(&c[0]);
    change_unref(&c[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes_are_joined_node_by_node, test_routers_set_up,
                                        test_routers_tear_down),
        cmocka_unit_test_setup_teardown(test_one_change_is_itself, test_routers_set_up, test_routers_tear_down),
        cmocka_unit_test_setup_teardown(test_what_concerns_all_nodes_is_kept, test_routers_set_up,
                                        test_routers_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
