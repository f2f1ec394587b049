/* The heart of netmap's tests: random sequences of events, with commits and publications at random moments, must leave
 * every connected node with the same view by its deltas as a full map gives, and both must be what a naive reading of
 * the state says; also in every second world, where several publications are sent as one. */
#include "netmap/world_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool is_owner_in(const struct view *v, uint64_t user)
{
    bool is = v->self_user == user;
    for (node_id id = 1; id < IDS_MAX; id++)
        is = is || (v->peers[id].is_there && v->peers[id].user == user);
    return is;
}

/* A full map has the profiles of those whose nodes it has, and under a policy no others; deltas leave none of them
 * behind. */
static void compare_users(struct world *w, const struct view *v, const struct view *fresh)
{
    bool is_ruled = !access_is_open(state_snapshot(w->st)->access);
    for (uint64_t id = 1; id < USERS_MAX; id++) {
        bool is_known = fresh->users[id][0] != '\0';
        if (is_known)
            assert_string_equal(v->users[id], fresh->users[id]);
        if (is_ruled)
            assert_int_equal(is_known, is_owner_in(fresh, id));
        w->users_hidden += is_ruled && !is_known && state_user(w->st, id) != NULL;
    }
}

/* The view by deltas is the view by a full map of the same snapshot. */
static void compare_with_full(struct world *w, const struct view *v)
{
    struct netmap_pieces pieces = {0};
    struct view *fresh = MEM_NEW(struct view);
    fresh->self = v->self;
    fresh->coding = v->coding;
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), v->self, v->coding, true, &pieces), RC_OK);
    view_apply(fresh, &pieces);
    netmap_pieces_fini(&pieces);
    for (node_id id = 1; id < IDS_MAX; id++)
        view_assert_peer(v->self, id, &v->peers[id], &fresh->peers[id]);
    assert_string_equal(v->self_name, fresh->self_name);
    assert_string_equal(v->self_expiry, fresh->self_expiry);
    assert_string_equal(v->self_allowed, fresh->self_allowed);
    assert_string_equal(v->self_primary, fresh->self_primary);
    assert_string_equal(v->self_caps, fresh->self_caps);
    assert_string_equal(v->filter, fresh->filter);
    assert_string_equal(v->ssh, fresh->ssh);
    assert_string_equal(v->dns, fresh->dns);
    compare_users(w, v, fresh);
    mem_free(fresh);
}

static void compare_views(struct world *w)
{
    world_send_changes(w);
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (w->views[i] != NULL && !w->views[i]->is_gone)
            compare_with_full(w, w->views[i]);
    }
}

/* What the policy says of the viewer itself. */
static void compare_access(struct world *w, struct engine *p, const struct view *v)
{
    static const char allow_all[] =
        "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]";
    struct buf text = {0};
    struct peer_view self = {0};
    reference_routes(p, v->self, state_node(w->st, v->self), &self);
    assert_string_equal(v->self_allowed, self.allowed);
    assert_string_equal(v->self_primary, self.primary);
    w->routes_seen += self.primary[0] != '\0';
    if (p == NULL) {
        assert_string_equal(v->filter, allow_all);
        assert_string_equal(v->ssh, "{\"rules\":[]}");
        assert_string_equal(v->self_caps, "{\"base\":[]}");
        return;
    }
    engine_filter(p, v->self, &text);
    assert_true(str_eq_c(buf_str(&text), v->filter));
    buf_clear(&text);
    buf_append_c(&text, "{\"rules\":");
    engine_ssh(p, v->self, "https://control.example", &text);
    buf_append_byte(&text, '}');
    assert_true(str_eq_c(buf_str(&text), v->ssh));
    buf_clear(&text);
    engine_self_caps(p, v->self, &text);
    if (buf_len(&text) > 2)
        assert_non_null(strstr(v->self_caps, buf_cstr(&text) + 1));
    else
        assert_string_equal(v->self_caps, "{\"base\":[]}");
    w->filters_empty += strcmp(v->filter, "[]") == 0;
    w->ssh_seen += strcmp(v->ssh, "{\"rules\":[]}") != 0;
    buf_fini(&text);
}

/* With everything committed and published, each view is what the state says node by node. */
static void compare_with_reference(struct world *w)
{
    world_seal(w);
    world_commit_all(w);
    world_publish(w);
    world_send_changes(w);
    /* Made anew, of all users and nodes as they are. */
    const struct engine *at_work = state_policy(w->st);
    struct engine *p = NULL;
    if (at_work != NULL)
        p = state_policy_try(w->st, (struct policy_doc *)engine_doc(at_work));
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        const struct view *v = w->views[i];
        if (v == NULL || v->is_gone)
            continue;
        for (node_id id = 1; id < IDS_MAX; id++) {
            const struct node *n = id != v->self ? node_as_peer(state_node(w->st, id)) : NULL;
            struct peer_view want = {0};
            if (n != NULL && (p == NULL || engine_sees(p, v->self, id)))
                reference_peer(p, v->self, n, &want);
            view_assert_peer(v->self, id, &v->peers[id], &want);
            w->pairs_hidden += n != NULL && !want.is_there;
            w->routes_shown += want.primary[0] != '\0';
        }
        compare_access(w, p, v);
    }
    engine_destroy(&p);
}

static void run_world(struct world *w, uint64_t seed, unsigned events, bool has_policies, bool sends_late)
{
    world_init_with(w, seed, seed % 2 == 0 ? 3000 : 0);
    w->sends_late = sends_late;
    if (has_policies)
        world_add_policies(w);
    for (unsigned i = 0; i < events; i++) {
        world_random_event(w);
        if (has_policies && world_below(w, 30) == 0)
            world_event_policy(w);
        if (has_policies && world_below(w, 40) == 0)
            world_event_user(w);
        if (world_below(w, 60) == 0)
            world_event_dns(w);
        /* Now and then nothing is published for long, so that changes of many nodes come at once. */
        bool quiet = i / 200 % 5 == 4;
        if (world_below(w, 3) == 0)
            world_seal(w);
        if (world_below(w, 4) == 0)
            world_commit_one(w);
        if (!quiet && world_below(w, 3) == 0)
            world_publish(w);
        if (i % 100 == 99)
            compare_views(w);
        if (i % 400 == 399 || (has_policies && i % 50 == 49))
            compare_with_reference(w);
    }
    compare_with_reference(w);
    assert_true(w->deltas > events / 20);
    assert_true(w->publications > events / 20);
    assert_int_equal(w->joined > events / 20, sends_late);
    if (has_policies)
        assert_true(w->policies > 20 && w->pairs_hidden > 500 && w->routes_shown > 10 && w->filters_empty > 0 &&
                    w->ssh_seen > 0 && w->users_hidden > 0);
    assert_true(w->routes_seen > 0);
    world_fini(w);
}

static void test_deltas_equal_full_maps(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_world(*state, seed * 7919, 4000, false, seed % 2 == 0);
}

static void test_policies_apply_live(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_world(*state, seed * 104729, 4000, true, seed % 2 == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_deltas_equal_full_maps),
        WORLD_TEST(test_policies_apply_live),
    };
    return cmocka_run_group_tests_name("worlds", tests, world_group_setup, world_group_teardown);
}
