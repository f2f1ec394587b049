/* Full maps: what is in them, and that groups of peers are encoded once. */
#include "netmap/world_internal.h"

#include <string.h>

#include "base/arena.h"
#include "base/metric.h"
#include "codec/json.h"

/* A full map costs its own piece and the groups that changed, not one for each peer. */
static void test_groups_are_encoded_once(void **state)
{
    struct world *w = *state;
    world_small(w, 100);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 100; i++)
            assert_int_equal(
                netmap_full(&world_ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_ZSTD, true, &w->pieces),
                RC_OK);
        netmap_pieces_clear(&w->pieces);
    }
    int64_t groups = metric_read("fullscale_netmap_encoded_total", "what=\"group\"");
    struct node_report r = {.home_derp = 5};
    const struct node *n;
    assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &r, &n), RC_OK);
    world_publish(w);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(
            netmap_full(&world_ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_ZSTD, true, &w->pieces), RC_OK);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"group\"") - groups, 1);
}

/* Full maps under a policy: the groups that a kind of viewers sees are encoded once. */
static void test_parts_of_groups_are_encoded_once(void **state)
{
    struct world *w = *state;
    world_ruled(w);
    int64_t parts = metric_read("fullscale_netmap_encoded_total", "what=\"group_part\"");
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(
            netmap_full(&world_ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_ZSTD, true, &w->pieces), RC_OK);
    /* tag:a is 101 to 120, in the group of 64 to 127. */
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"group_part\"") - parts, 1);
    netmap_pieces_clear(&w->pieces);
    assert_true(netmap_has_peers(&world_ctx, state_snapshot(w->st), 1));
    world_put_policy(w, "{\"grants\":[]}");
    world_publish(w);
    assert_false(netmap_has_peers(&world_ctx, state_snapshot(w->st), 1));
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    assert_false(world_pieces_have(w, "\"Peers\""));
    assert_true(world_pieces_have(w, "\"PacketFilters\":{\"base\":[]}"));
}

static void test_keep_alive_is_not_the_hazardous_one(void **state)
{
    (void)state;
    for (int coding = NETMAP_PLAIN; coding <= NETMAP_ZSTD; coding++) {
        struct rcbuf *b = netmap_keep_alive(&world_ctx, (enum netmap_coding)coding);
        struct buf json = {0};
        if (coding == NETMAP_ZSTD)
            assert_int_equal(zstd_decompress(&world_ctx.zstd, b->data + 4, b->len - 4, 1000, &json), RC_OK);
        else
            buf_append(&json, b->data + 4, b->len - 4);
        assert_false(str_eq(buf_str(&json), STR("{\"KeepAlive\":true}")));
        assert_true(str_eq(str_trim(buf_str(&json)), STR("{\"KeepAlive\":true}")));
        buf_fini(&json);
        rcbuf_unref(&b);
    }
}

static void test_first_map_has_what_a_client_needs(void **state)
{
    struct world *w = *state;
    world_small(w, 2);
    struct arena a = {0};
    struct buf wire = {0};
    const struct json *root;
    static const char *const needed[] = {"Node",          "DERPMap",         "Peers",     "UserProfiles",
                                         "PacketFilters", "SSHPolicy",       "DNSConfig", "Domain",
                                         "ControlTime",   "CollectServices", "Debug"};
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    for (size_t i = 0; i < w->pieces.n; i++)
        buf_append(&wire, w->pieces.items[i]->data, w->pieces.items[i]->len);
    buf_consume(&wire, 4);
    assert_int_equal(json_parse(&a, buf_str(&wire), NULL, &root, NULL), RC_OK);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        assert_non_null(json_get_exact(root, needed[i]));
    arena_fini(&a);
    buf_fini(&wire);
    netmap_pieces_clear(&w->pieces);
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), 999, NETMAP_PLAIN, true, &w->pieces), RC_NOT_FOUND);
}

static void test_alone_has_no_peers_key(void **state)
{
    struct world *w = *state;
    world_small(w, 1);
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &w->pieces), RC_OK);
    assert_false(world_pieces_have(w, "\"Peers\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_groups_are_encoded_once),
        WORLD_TEST(test_parts_of_groups_are_encoded_once),
        WORLD_TEST(test_keep_alive_is_not_the_hazardous_one),
        WORLD_TEST(test_first_map_has_what_a_client_needs),
        WORLD_TEST(test_alone_has_no_peers_key),
    };
    return cmocka_run_group_tests_name("full", tests, world_group_setup, world_group_teardown);
}
