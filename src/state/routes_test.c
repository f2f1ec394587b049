/* Routes: what is approved, and who is the primary, against a naive model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "state/testing.h"

/* --- approval --- */

static void test_approval(void **state)
{
    struct test_routers *f = *state;
    struct prefix many[ROUTES_MAX];
    const struct node *n;
    test_routers_advertise(f, 1, "10.1.0.0/16 10.0.0.0/8 fd00::/8 10.1.0.0/16");
    test_assert_prefixes(state_node(f->st, 1)->advertised, "10.0.0.0/8 10.1.0.0/16 fd00::/8");
    assert_null(state_node(f->st, 1)->primary);
    assert_int_equal(test_routers_approve(f, 1, "10.1.0.0/16 192.168.0.0/24"), RC_OK);
    test_assert_prefixes(state_node(f->st, 1)->approved, "10.1.0.0/16 192.168.0.0/24");
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.1.0.0/16");
    /* It must be on disk before it is published. */
    uint64_t seq = state_durable_seq(f->st);
    struct row_batch *b = state_take_batch(f->st);
    assert_int_equal(b->seq, seq);
    test_assert_prefixes(((const struct node *)b->ops[b->n - 4].object)->approved,
                         "10.1.0.0/16 192.168.0.0/24"); /* then come three counters */
    row_batch_destroy(&b);
    struct change *c = state_publish(f->st, f->now_ms);
    assert_null(c != NULL ? snapshot_node(c->after, 1) : NULL);
    change_unref(&c);
    state_committed(f->st, seq);
    c = state_publish(f->st, f->now_ms);
    test_assert_prefixes(snapshot_node(c->after, 1)->primary, "10.1.0.0/16");
    change_unref(&c);
    /* The node no longer serves what it ceases to advertise, and serves it when it advertises it again: it is still
     * approved. */
    test_routers_advertise(f, 1, "192.168.0.0/24");
    test_assert_prefixes(state_node(f->st, 1)->primary, "192.168.0.0/24");
    assert_int_equal(test_routers_approve(f, 1, ""), RC_OK);
    assert_null(state_node(f->st, 1)->approved);
    assert_null(state_node(f->st, 1)->primary);
    assert_int_equal(test_routers_approve(f, 99, "10.0.0.0/8"), RC_NOT_FOUND);
    memset(many, 0, sizeof(many));
    assert_int_equal(state_node_approve_routes(f->st, 1, many, ROUTES_MAX, &n, NULL), RC_LIMIT);
}

static void test_exit_routes_come_in_pairs_and_have_no_primary(void **state)
{
    struct test_routers *f = *state;
    for (node_id id = 1; id <= 2; id++) {
        test_routers_advertise(f, id, "0.0.0.0/0 ::/0 10.0.0.0/8");
        assert_false(node_is_exit(state_node(f->st, id)));
        assert_int_equal(test_routers_approve(f, id, id == 1 ? "0.0.0.0/0" : "10.0.0.0/8 ::/0"), RC_OK);
        assert_true(node_is_exit(state_node(f->st, id)));
    }
    test_assert_prefixes(state_node(f->st, 1)->approved, "0.0.0.0/0 ::/0");
    test_assert_prefixes(state_node(f->st, 2)->approved, "0.0.0.0/0 10.0.0.0/8 ::/0");
    assert_null(state_node(f->st, 1)->primary);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
}

/* --- who is primary --- */

static void test_failover(void **state)
{
    struct test_routers *f = *state;
    for (node_id id = 1; id <= 2; id++) {
        test_routers_advertise(f, id, "10.0.0.0/8");
        assert_int_equal(test_routers_approve(f, id, "10.0.0.0/8"), RC_OK);
    }
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8"); /* no node is online: the first */
    test_routers_poll(f, 2);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_null(state_node(f->st, 1)->primary);
    test_routers_poll(f, 1); /* no way back while the other serves */
    assert_null(state_node(f->st, 1)->primary);
    state_poll_end(f->st, 2, f->now_ms);
    test_routers_poll(f, 2); /* it has only changed its connection */
    state_tick(f->st, f->now_ms + TEST_AWAY_MS);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    state_poll_end(f->st, 2, f->now_ms);
    assert_int_equal(state_next_tick_ms(f->st), f->now_ms + TEST_AWAY_MS);
    state_tick(f->st, f->now_ms + TEST_AWAY_MS);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
    assert_null(state_node(f->st, 2)->primary);
    assert_true(state_node(f->st, 2)->is_online);
    /* When no other router is left, the primary stays as it is. */
    state_poll_end(f->st, 1, f->now_ms);
    state_tick(f->st, f->now_ms + TEST_GRACE_MS);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
    assert_int_equal(state_node_delete(f->st, 1, NULL), RC_OK);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(test_routers_approve(f, 2, ""), RC_OK);
    assert_null(state_node(f->st, 2)->primary);
}

static void two_routers(struct test_routers *f)
{
    for (node_id id = 1; id <= 2; id++) {
        test_routers_advertise(f, id, "10.0.0.0/8");
        assert_int_equal(test_routers_approve(f, id, "10.0.0.0/8"), RC_OK);
        test_routers_poll(f, id);
    }
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
}

static void test_a_router_whose_key_expires_hands_over(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    two_routers(f);
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms + 500, f->now_ms, &n, NULL), RC_OK);
    state_tick(f->st, f->now_ms + 499);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
    state_tick(f->st, f->now_ms + 500);
    assert_true(state_node(f->st, 1)->is_online); /* it still polls */
    assert_null(state_node(f->st, 1)->primary);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    /* It does not get them back when its key is good again; and an admin who ends a key moves routes as its date
     * does. */
    assert_int_equal(state_node_expire(f->st, 1, NO_EXPIRY, f->now_ms + 600, &n, NULL), RC_OK);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(state_node_expire(f->st, 2, f->now_ms, f->now_ms + 700, &n, NULL), RC_OK);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
    /* When no other router is left, the primary stays as it is. */
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms, f->now_ms + 800, &n, NULL), RC_OK);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
}

static void test_a_silent_router_hands_over(void **state)
{
    struct test_routers *f = *state;
    const node_id first = 1, both[] = {1, 2};
    two_routers(f);
    assert_int_equal(state_router_next(f->st, 0), 1);
    assert_int_equal(state_router_next(f->st, 1), 2);
    assert_int_equal(state_router_next(f->st, 2), 0);
    /* If no router answers, this server may be the one that is cut off: nothing changes. */
    assert_int_equal(state_routers_silent(f->st, both, 2), 0);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
    assert_int_equal(state_routers_silent(f->st, &first, 1), 1);
    assert_null(state_node(f->st, 1)->primary);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(state_routers_silent(f->st, &first, 1), 0); /* known already */
    /* It is still pinged, and so is the router that carries the route now, whose silence changes nothing while it is
     * the only one left. */
    assert_int_equal(state_router_next(f->st, 0), 1);
    assert_int_equal(state_routers_silent(f->st, both, 2), 0);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    state_router_answered(f->st, 1); /* it stands by, and does not get the route back */
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(state_routers_silent(f->st, &both[1], 1), 1);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.0.0.0/8");
    test_routers_poll(f, 2); /* a new poll is a sign of life */
    assert_int_equal(state_routers_silent(f->st, &first, 1), 1);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    state_router_answered(f->st, 99);
}

static void test_only_routers_with_a_standby_are_asked(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    two_routers(f);
    test_routers_advertise(f, 3, "10.3.0.0/16 0.0.0.0/0");
    assert_int_equal(test_routers_approve(f, 3, "10.3.0.0/16 0.0.0.0/0"), RC_OK);
    test_routers_advertise(f, 4, "0.0.0.0/0");
    assert_int_equal(test_routers_approve(f, 4, "0.0.0.0/0"), RC_OK);
    test_routers_advertise(f, 5, "10.3.0.0/16"); /* not approved */
    for (node_id id = 3; id <= 5; id++)
        test_routers_poll(f, id);
    assert_int_equal(state_router_next(f->st, 2), 0);
    state_poll_end(f->st, 2, f->now_ms);
    assert_int_equal(state_router_next(f->st, 0), 0);
    test_routers_poll(f, 2);
    assert_int_equal(state_node_expire(f->st, 2, f->now_ms, f->now_ms, &n, NULL), RC_OK);
    assert_int_equal(state_router_next(f->st, 0), 0);
}

/* A naive model of the rule: it looks at all nodes after each event. */
static const char *const pool[] = {"10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "0.0.0.0/0"};

struct twin {
    node_id primary[ARRAY_LEN(pool)];
    unsigned polls[TEST_ROUTERS + 1];
    int64_t away_ms[TEST_ROUTERS + 1]; /* with no poll: when it is away; 0: it never polled */
    int64_t expires_ms[TEST_ROUTERS + 1];
    bool is_silent[TEST_ROUTERS + 1];
};

static bool twin_is_up(const struct twin *t, node_id id, int64_t now_ms)
{
    bool is_expired = t->expires_ms[id] != 0 && t->expires_ms[id] <= now_ms;
    return (t->polls[id] > 0 || t->away_ms[id] > now_ms) && !is_expired && !t->is_silent[id];
}

static bool serves(const struct state *st, node_id id, const char *route)
{
    const struct node *n = state_node(st, id);
    struct prefix p;
    assert_int_equal(test_parse_routes(route, &p), 1);
    return n != NULL && prefix_list_has(n->advertised, &p) && prefix_list_has(n->approved, &p);
}

static node_id twin_elect(const struct twin *t, const struct test_routers *f, const char *route, node_id before)
{
    node_id first = 0, first_up = 0;
    for (node_id id = TEST_ROUTERS; id >= 1; id--) {
        if (!serves(f->st, id, route))
            continue;
        first = id;
        if (twin_is_up(t, id, f->now_ms))
            first_up = id;
    }
    bool stays = before != 0 && serves(f->st, before, route);
    if (stays && (twin_is_up(t, before, f->now_ms) || first_up == 0))
        return before;
    return first_up != 0 ? first_up : first;
}

static void compare_with_twin(struct twin *t, const struct test_routers *f)
{
    for (size_t i = 0; i < ARRAY_LEN(pool); i++) {
        struct prefix p;
        assert_int_equal(test_parse_routes(pool[i], &p), 1);
        t->primary[i] = p.bits > 0 ? twin_elect(t, f, pool[i], t->primary[i]) : 0;
        for (node_id id = 1; id <= TEST_ROUTERS; id++) {
            const struct node *n = state_node(f->st, id);
            bool is_primary = n != NULL && prefix_list_has(n->primary, &p);
            if (is_primary != (t->primary[i] == id))
                fail_msg("%s: node %d is %s, the twin says %d", pool[i], (int)id, is_primary ? "primary" : "not",
                         (int)t->primary[i]);
        }
    }
}

static const char *random_routes(struct test_routers *f, char out[128])
{
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(pool); i++) {
        size_t at = strlen(out);
        if (test_random_below(&f->random, 3) > 0)
            snprintf(out + at, 128 - at, "%s%s", at > 0 ? " " : "", pool[i]);
    }
    return out;
}

static void pass_time(struct twin *t, struct test_routers *f, int64_t ms)
{
    int64_t end_ms = f->now_ms + ms;
    while (state_next_tick_ms(f->st) <= end_ms) {
        if (state_next_tick_ms(f->st) > f->now_ms)
            f->now_ms = state_next_tick_ms(f->st);
        state_tick(f->st, f->now_ms);
        compare_with_twin(t, f);
    }
    f->now_ms = end_ms;
}

static void end_poll(struct twin *t, struct test_routers *f, node_id id)
{
    const struct node *n = state_node(f->st, id);
    if (t->polls[id] == 0)
        return;
    if (--t->polls[id] == 0)
        t->away_ms[id] = f->now_ms + (n->advertised != NULL && n->approved != NULL ? TEST_AWAY_MS : TEST_GRACE_MS);
    state_poll_end(f->st, id, f->now_ms);
}

static void expire(struct twin *t, struct test_routers *f, node_id id)
{
    const struct node *n;
    int64_t at_ms = test_random_below(&f->random, 2) != 0 ? 0
                                                          : f->now_ms + (int64_t)test_random_below(&f->random, 3000);
    assert_int_equal(state_node_expire(f->st, id, at_ms, f->now_ms, &n, NULL), RC_OK);
    t->expires_ms[id] = at_ms;
}

static bool twin_is_reachable(const struct twin *t, node_id id, int64_t now_ms)
{
    return t->polls[id] > 0 && (t->expires_ms[id] == 0 || t->expires_ms[id] > now_ms);
}

/* A node that is not `failing` could carry one of its routes. */
static bool twin_has_standby(const struct twin *t, const struct test_routers *f, node_id id, const bool *failing)
{
    for (size_t i = 0; i < ARRAY_LEN(pool) - 1; i++) {
        for (node_id other = 1; serves(f->st, id, pool[i]) && other <= TEST_ROUTERS; other++) {
            if (other != id && serves(f->st, other, pool[i]) && twin_is_reachable(t, other, f->now_ms) &&
                (failing == NULL || (!failing[other] && !t->is_silent[other])))
                return true;
        }
    }
    return false;
}

/* A round of pings, of which some are not answered. */
static void ping_all(struct twin *t, struct test_routers *f)
{
    bool failing[TEST_ROUTERS + 1] = {false}, falls[TEST_ROUTERS + 1] = {false};
    node_id ids[TEST_ROUTERS], walked = 0;
    size_t n = 0, want = 0;
    for (node_id id = 1; id <= TEST_ROUTERS; id++) {
        bool is_asked = state_node(f->st, id) != NULL && twin_is_reachable(t, id, f->now_ms) &&
                        twin_has_standby(t, f, id, NULL);
        if (!is_asked)
            continue;
        walked = state_router_next(f->st, walked);
        assert_int_equal(walked, id);
        failing[id] = test_random_below(&f->random, 2) != 0;
        if (failing[id]) {
            ids[n++] = id;
            continue;
        }
        t->is_silent[id] = false;
        state_router_answered(f->st, id);
        compare_with_twin(t, f);
    }
    assert_int_equal(state_router_next(f->st, walked), 0);
    for (size_t i = 0; i < n; i++) {
        falls[ids[i]] = !t->is_silent[ids[i]] && twin_has_standby(t, f, ids[i], failing);
        want += falls[ids[i]];
    }
    for (node_id id = 1; id <= TEST_ROUTERS; id++)
        t->is_silent[id] = t->is_silent[id] || falls[id];
    assert_int_equal(state_routers_silent(f->st, ids, n), want);
}

static void random_event(struct twin *t, struct test_routers *f)
{
    char routes[128];
    node_id id = 1 + test_random_below(&f->random, TEST_ROUTERS);
    if (state_node(f->st, id) == NULL)
        return;
    switch (test_random_below(&f->random, 13)) {
    case 0:
    case 1: test_routers_advertise(f, id, random_routes(f, routes)); break;
    case 2: assert_int_equal(test_routers_approve(f, id, random_routes(f, routes)), RC_OK); break;
    case 3:
    case 4:
    case 5:
        test_routers_poll(f, id);
        t->polls[id]++;
        t->is_silent[id] = false;
        break;
    case 6:
    case 7:
    case 8:
    case 9: end_poll(t, f, id); break;
    case 10: expire(t, f, id); break;
    case 11: ping_all(t, f); break;
    default: break;
    }
    if (test_random_below(&f->random, 3000) == 0 && state_node_count(f->st) > 3) {
        assert_int_equal(state_node_delete(f->st, id, NULL), RC_OK);
        t->polls[id] = 0;
        t->away_ms[id] = 0;
        t->is_silent[id] = false;
    }
}

static void test_primaries_like_a_naive_twin(void **state)
{
    struct test_routers *f = *state;
    struct twin t = {0};
    unsigned failovers = 0;
    for (unsigned i = 0; i < 20000; i++) {
        node_id before = t.primary[0];
        random_event(&t, f);
        compare_with_twin(&t, f);
        pass_time(&t, f, 1 + (int64_t)test_random_below(&f->random, 700));
        compare_with_twin(&t, f);
        failovers += before != t.primary[0];
    }
    assert_true(failovers > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_routers_set_up, test_routers_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_approval),
        TEST(test_exit_routes_come_in_pairs_and_have_no_primary),
        TEST(test_failover),
        TEST(test_a_router_whose_key_expires_hands_over),
        TEST(test_a_silent_router_hands_over),
        TEST(test_only_routers_with_a_standby_are_asked),
        TEST(test_primaries_like_a_naive_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
