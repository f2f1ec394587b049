/* Who and what becomes visible when: newcomers, and profiles of users. */
#include "netmap/world_internal.h"

#include <string.h>

/* Registers one more node; w->pieces gets what the first node is sent of it. */
static node_id newcomer_joins(struct world *w, const char *name)
{
    node_id id = world_join_as(w, w->reusable, name, &w->machines[1]);
    world_seal(w);
    world_commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&world_ctx, c, 1, NETMAP_PLAIN, &w->pieces);
    change_unref(&c);
    return id;
}

/* Others get a newcomer once it has reported where it can be reached, all at once; it gets them from the start. */
static void test_newcomers_are_announced_when_they_can_be_reached(void **state)
{
    struct world *w = *state;
    struct node_report report = {.home_derp = 7};
    const struct node *n;
    world_init_with(w, 3, 2000);
    newcomer_joins(w, "first");
    netmap_pieces_clear(&w->pieces);
    w->now_ms += 2000;
    state_tick(w->st, w->now_ms);
    node_id id = newcomer_joins(w, "second");
    assert_int_equal(w->pieces.n, 0);
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    assert_false(world_pieces_have(w, "second."));
    assert_false(netmap_has_peers(&world_ctx, state_snapshot(w->st), 1));
    netmap_pieces_clear(&w->pieces);
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), id, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    assert_true(world_pieces_have(w, "first.") && world_pieces_have(w, "second."));
    assert_true(netmap_has_peers(&world_ctx, state_snapshot(w->st), id));
    netmap_pieces_clear(&w->pieces);
    assert_int_equal(state_node_report(w->st, &w->machines[1].key, &w->machines[1].machine, &report, &n), RC_OK);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&world_ctx, c, 1, NETMAP_PLAIN, &w->pieces);
    assert_int_equal(w->pieces.n, 1);
    assert_true(world_pieces_have(w, "PeersChanged\":[") && world_pieces_have(w, "second.") &&
                world_pieces_have(w, "\"HomeDERP\":7"));
    change_unref(&c);
}

/* One that never reports is announced all the same; one that is deleted before is never announced. */
static void test_newcomers_do_not_stay_hidden(void **state)
{
    struct world *w = *state;
    world_init_with(w, 4, 2000);
    newcomer_joins(w, "first");
    netmap_pieces_clear(&w->pieces);
    newcomer_joins(w, "silent");
    node_id ghost = newcomer_joins(w, "ghost");
    assert_int_equal(w->pieces.n, 0);
    assert_int_equal(state_node_delete(w->st, ghost, NULL), RC_OK);
    w->now_ms += 1999;
    state_tick(w->st, w->now_ms);
    assert_int_equal(state_next_tick_ms(w->st), w->now_ms + 1);
    w->now_ms += 1;
    state_tick(w->st, w->now_ms);
    world_seal(w);
    world_commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&world_ctx, c, 1, NETMAP_PLAIN, &w->pieces);
    assert_true(world_pieces_have(w, "silent."));
    assert_false(world_pieces_have(w, "ghost.") || world_pieces_have(w, "PeersRemoved"));
    change_unref(&c);
}

/* --- profiles of users under a policy --- */

/* What node 1 is sent when the user gets another role, which no profile shows. */
static void send_role(struct world *w, user_id id)
{
    const struct user *u;
    assert_int_equal(state_user_set_role(w->st, id, USER_AUDITOR, &u, NULL), RC_OK);
    world_send(w, 1);
}

/* A node gets the profiles of the users whose nodes it sees, as they are now; without a policy those of all users. */
static void test_profiles_go_with_nodes(void **state)
{
    struct world *w = *state;
    world_small(w, 2);
    static const char *const user_names[] = {"berta", "clara"};
    static const char own[] =
        "{\"grants\":[{\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]}]}";
    const struct user *u[2];
    const struct node *n;
    for (int i = 0; i < 2; i++) {
        struct user_spec spec = {.name = str_c(user_names[i])};
        assert_int_equal(state_user_create(w->st, &spec, w->now_ms, &u[i], NULL), RC_OK);
    }
    world_make_key(w, u[0]->id, NULL, 0, false, w->others[0]);
    node_id bertas = world_join_as(w, w->others[0], "other", &w->machines[2]);
    world_put_policy(w, own);
    world_send(w, 1);
    assert_false(world_pieces_have(w, "berta") || world_pieces_have(w, "clara"));
    netmap_pieces_clear(&w->pieces);
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    assert_true(world_pieces_have(w, "anna") && world_pieces_have(w, "tagged-devices"));
    assert_false(world_pieces_have(w, "berta") || world_pieces_have(w, "clara"));
    /* Another name: the user's own nodes get it, others do not. */
    assert_int_equal(state_user_rename(w->st, u[0]->id, STR("bertha"), &u[0], NULL), RC_OK);
    world_send(w, bertas);
    assert_true(world_pieces_have(w, "\"UserProfiles\":[{") && world_pieces_have(w, "bertha"));
    assert_int_equal(state_user_rename(w->st, u[0]->id, STR("bertrand"), &u[0], NULL), RC_OK);
    world_send(w, 1);
    assert_false(world_pieces_have(w, "bertrand"));
    /* A node that comes to see the user's nodes gets it, and the next name as well. */
    world_put_policy(w, "{\"grants\":[{\"src\":[\"*\"],\"dst\":[\"*\"],\"ip\":[\"*\"]}]}");
    world_send(w, 1);
    assert_true(world_pieces_have(w, "bertrand"));
    assert_false(world_pieces_have(w, "clara"));
    assert_int_equal(state_user_rename(w->st, u[0]->id, STR("bertold"), &u[0], NULL), RC_OK);
    world_send(w, 1);
    assert_true(world_pieces_have(w, "bertold"));
    assert_false(world_pieces_have(w, "PeersChanged")); /* the profile, and no node */
    send_role(w, u[0]->id);
    assert_int_equal(w->pieces.n, 0);
    /* A user without nodes is sent to no node, until there is no policy. */
    state_set_policy(w->st, NULL);
    world_send(w, 1);
    assert_true(world_pieces_have(w, "clara"));
    /* A node with tags has no owner. */
    const struct str tag = STR("tag:x");
    world_put_policy(w, "{\"tagOwners\":{\"tag:x\":[]},\"grants\":[]}");
    assert_int_equal(state_node_set_tags(w->st, bertas, &tag, 1, &n, NULL), RC_OK);
    world_send(w, bertas);
    netmap_pieces_clear(&w->pieces);
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), bertas, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    assert_false(world_pieces_have(w, "bertold"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_newcomers_are_announced_when_they_can_be_reached),
        WORLD_TEST(test_newcomers_do_not_stay_hidden),
        WORLD_TEST(test_profiles_go_with_nodes),
    };
    return cmocka_run_group_tests_name("visible", tests, world_group_setup, world_group_teardown);
}
