/* What the policy approves without a person, and which routes and texts it shows to which viewers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"
#include "state/access.h"
#include "state/testing.h"

static void test_auto_approval(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    struct str router = STR("tag:router");
    test_routers_advertise(f, 1, "10.1.0.0/16 192.168.0.0/24 0.0.0.0/0");
    test_routers_advertise(f, 2, "10.2.0.0/16");
    test_routers_set_policy(
        f, "{\"tagOwners\":{\"tag:router\":[],\"tag:exit\":[]},\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":"
           "[\"anna@\"]},\"exitNode\":[\"tag:router\"]}}");
    test_assert_prefixes(state_node(f->st, 1)->approved, "10.1.0.0/16");
    test_assert_prefixes(state_node(f->st, 2)->approved, "10.2.0.0/16");
    /* as soon as it advertises */
    test_routers_advertise(f, 3, "10.3.0.0/16 11.0.0.0/8");
    test_assert_prefixes(state_node(f->st, 3)->approved, "10.3.0.0/16");
    test_assert_prefixes(state_node(f->st, 3)->primary, "10.3.0.0/16");
    /* as soon as its tags allow it; what was approved before stays approved */
    assert_int_equal(state_node_set_tags(f->st, 1, &router, 1, &n, NULL), RC_OK);
    test_assert_prefixes(n->approved, "0.0.0.0/0 10.1.0.0/16");
    /* A policy that approves less takes nothing back. */
    test_routers_set_policy(f, "{}");
    test_assert_prefixes(state_node(f->st, 2)->approved, "10.2.0.0/16");
    state_set_policy(f->st, NULL);
    test_routers_advertise(f, 4, "10.4.0.0/16");
    assert_null(state_node(f->st, 4)->approved);
}

/* Whether the viewer gets the route as one that the router carries. */
static bool is_shown(const struct test_routers *f, node_id viewer, node_id router, const char *route)
{
    struct prefix p;
    const struct access *r = state_snapshot(f->st)->access;
    const struct route_table *t = access_of_node(r, router)->routes;
    const uint64_t *row = route_table_row(t, engine_view_key(r->view, viewer));
    assert_int_equal(test_parse_routes(route, &p), 1);
    for (size_t i = 0; i < t->prefixes->n; i++) {
        if (prefix_compare(&t->prefixes->v[i], &p) == 0)
            return bit_get(row, i);
    }
    return false;
}

/* Of two routers that a `via` grant allows to carry a route, neither of them the primary, one carries it. When that
 * one goes offline or comes back, viewers get the other one anew as well, although it did not change. */
static void test_a_router_depends_on_others(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    const struct str via = STR("tag:v");
    test_routers_set_policy(f,
                            "{\"tagOwners\":{\"tag:v\":[]},\"grants\":[{\"src\":[\"anna@\"],\"dst\":[\"10.0.0.0/8\"],"
                            "\"ip\":[\"*\"],\"via\":[\"tag:v\"]}]}");
    for (node_id id = 2; id <= 4; id++) {
        const char *routes = id == 4 ? "10.0.0.0/8 172.16.0.0/12" : "10.0.0.0/8";
        test_routers_advertise(f, id, routes);
        assert_int_equal(test_routers_approve(f, id, routes), RC_OK);
        test_routers_poll(f, id);
        if (id > 2)
            assert_int_equal(state_node_set_tags(f->st, id, &via, 1, &n, NULL), RC_OK);
    }
    test_routers_publish(f);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_false(is_shown(f, 1, 2, "10.0.0.0/8"));
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_false(is_shown(f, 1, 4, "10.0.0.0/8"));
    state_poll_end(f->st, 3, f->now_ms);
    f->now_ms += TEST_GRACE_MS;
    state_tick(f->st, f->now_ms);
    test_routers_publish(f);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_false(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
    test_routers_poll(f, 3);
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_false(is_shown(f, 1, 4, "10.0.0.0/8"));
}

/* A via grant lets a node carry a route as long as the node can serve. */
static void test_via_follows_who_can_serve(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    const struct str via = STR("tag:v");
    const node_id third = 3;
    test_routers_set_policy(f,
                            "{\"tagOwners\":{\"tag:v\":[]},\"grants\":[{\"src\":[\"anna@\"],\"dst\":[\"10.0.0.0/8\"],"
                            "\"ip\":[\"*\"],\"via\":[\"tag:v\"]}]}");
    for (node_id id = 2; id <= 4; id++) {
        test_routers_advertise(f, id, "10.0.0.0/8");
        assert_int_equal(test_routers_approve(f, id, "10.0.0.0/8"), RC_OK);
        test_routers_poll(f, id);
        if (id > 2)
            assert_int_equal(state_node_set_tags(f->st, id, &via, 1, &n, NULL), RC_OK);
    }
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_int_equal(state_node_expire(f->st, 3, f->now_ms, f->now_ms, &n, NULL), RC_OK);
    test_routers_publish(f);
    assert_false(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
    assert_int_equal(state_node_expire(f->st, 3, NO_EXPIRY, f->now_ms, &n, NULL), RC_OK);
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_int_equal(state_routers_silent(f->st, &third, 1), 1);
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
    state_router_answered(f->st, 3);
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    state_poll_end(f->st, 3, f->now_ms);
    f->now_ms += TEST_AWAY_MS; /* sooner than it counts as offline */
    state_tick(f->st, f->now_ms);
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
}

/* The policy gets a router before snapshots show it, and loses it after they have ceased to: so a router may come
 * and go without any snapshot having shown it as one. */
static void test_a_router_that_was_never_shown(void **state)
{
    struct test_routers *f = *state;
    test_routers_set_policy(f,
                            "{\"tagOwners\":{\"tag:v\":[]},\"grants\":[{\"src\":[\"anna@\"],\"dst\":[\"10.0.0.0/8\"],"
                            "\"ip\":[\"*\"],\"via\":[\"tag:v\"]}]}");
    for (node_id id = 2; id <= 4; id++) {
        test_routers_advertise(f, id, "10.0.0.0/8");
        if (id != 4)
            assert_int_equal(test_routers_approve(f, id, "10.0.0.0/8"), RC_OK);
        if (id != 3)
            test_routers_poll(f, id);
        if (id > 2)
            test_routers_set_tag(f, id, STR("tag:v"));
    }
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    /* Node 4 would be better, as it is online; the approval is not on disk. */
    assert_int_equal(test_routers_approve(f, 4, "10.0.0.0/8"), RC_OK);
    struct change *c = state_publish(f->st, f->now_ms);
    change_unref(&c);
    assert_false(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_int_equal(state_node_delete(f->st, 4, NULL), RC_OK);
    test_routers_publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
}

/* Capabilities may depend on the node's system. They are sent when a snapshot shows the system, even if the policy
 * has known it for longer. */
static void test_capabilities_follow_the_system(void **state)
{
    static const char mac[] = "{\"OS\":\"macOS\"}";
    struct test_routers *f = *state;
    const struct registration *reg = &f->nodes[0];
    const struct node *n;
    test_routers_set_policy(f, "{\"OneCGNATRoute\":\"mac-always\",\"grants\":[]}");
    test_routers_publish(f);
    struct node_report report = {.hostname = STR("another"), .hostinfo = rcbuf_create(mac, sizeof(mac) - 1)};
    assert_int_equal(state_node_report(f->st, &reg->key, &reg->machine, &report, &n), RC_OK);
    rcbuf_unref(&report.hostinfo);
    struct change *c = state_publish(f->st, f->now_ms); /* the name waits for the disk */
    change_unref(&c);
    test_routers_publish(f);
    const struct rcbuf *caps = access_of_node(state_snapshot(f->st)->access, 1)->caps;
    assert_non_null(memmem(caps->data, caps->len, "one-cgnat?v=true", 16));
}

static void assert_v4(const struct node *n, const char *want)
{
    char text[ADDR_TEXT_CAP];
    addr_format(&n->v4, false, text);
    assert_string_equal(text, want);
}

/* Pools give addresses to new nodes; existing nodes keep theirs. */
static void test_pools(void **state)
{
    struct test_routers *f = *state;
    char web[AUTH_KEY_TEXT_CAP];
    static const char *const want[] = {"100.80.0.1", "100.80.0.2", "100.90.0.9"};
    struct str tag = STR("tag:web");
    const struct node *n;
    test_routers_key(f, 2, "tag:web", web);
    test_routers_set_policy(
        f, "{\"tagOwners\":{\"tag:web\":[\"anna@\"]},\"nodeAttrs\":[{\"target\":[\"tag:web\"],\"ipPool\":"
           "[\"100.80.0.0/30\",\"100.90.0.9/32\"]}]}");
    assert_int_equal(state_node_set_tags(f->st, 1, &tag, 1, &n, NULL), RC_OK);
    assert_v4(n, "100.64.0.1");
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct registration reg = test_routers_request(f, web);
        assert_v4(test_routers_join(f, &reg).node, want[i]);
        /* It comes back with another key. */
        test_routers_random(f, &reg.key, sizeof(reg.key));
        assert_v4(test_routers_join(f, &reg).node, want[i]);
    }
    struct registration late = test_routers_request(f, web), other = test_routers_request(f, f->key);
    struct register_result r = test_routers_join(f, &late);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    assert_non_null(strstr(r.err.text, "ipPool"));
    r = test_routers_join(f, &other);
    assert_int_equal(r.node->v4.ip[1], 64);
    assert_true(r.node->id > TEST_ROUTERS + ARRAY_LEN(want));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_routers_set_up, test_routers_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_auto_approval),
        TEST(test_a_router_depends_on_others),
        TEST(test_via_follows_who_can_serve),
        TEST(test_a_router_that_was_never_shown),
        TEST(test_capabilities_follow_the_system),
        TEST(test_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
