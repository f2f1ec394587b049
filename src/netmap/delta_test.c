/* What nodes are sent of a change, and that it is encoded once for all who get the same. */
#include "netmap/world_internal.h"

#include <pthread.h>
#include <string.h>

#include "base/metric.h"

/* Serialising and compressing happen once for everyone: a counter, not a belief. */
static void test_a_change_is_encoded_once(void **state)
{
    struct world *w = *state;
    world_small(w, 100);
    struct node_report r = {.home_derp = 999};
    const struct node *n;
    assert_int_equal(state_node_report(w->st, &w->machines[7].key, &w->machines[7].machine, &r, &n), RC_OK);
    struct change *c = state_publish(w->st, w->now_ms);
    int64_t shared = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
    int64_t private_ = metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"");
    for (unsigned i = 0; i < 100; i++)
        netmap_delta(&world_ctx, c, w->machines[i].id, NETMAP_ZSTD, &w->pieces);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"") - shared, 1);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"") - private_, 0);
    assert_int_equal(w->pieces.n, 99); /* the node itself has nothing to learn */
    for (size_t i = 1; i < w->pieces.n; i++)
        assert_ptr_equal(w->pieces.items[i], w->pieces.items[0]);
    change_unref(&c);
}

/* Few items that mean something, scattered over a change of all nodes, are one message. */
static void test_few_of_many_items_are_one_message(void **state)
{
    static const struct str tag = STR("tag:b");
    struct world *w = *state;
    world_ruled(w);
    const struct node *n;
    size_t messages = 0, peers = 0;
    world_put_policy(w, "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[]},\"acls\":[]}");
    world_publish(w);
    for (node_id id = 8; id <= 96; id += 8)
        assert_int_equal(state_node_set_tags(w->st, id, &tag, 1, &n, NULL), RC_OK);
    world_put_policy(w, "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[]},\"grants\":[{\"src\":[\"tag:a\"],"
                        "\"dst\":[\"tag:b\"],\"ip\":[\"*\"]}]}");
    world_seal(w);
    world_commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&world_ctx, c, 101, NETMAP_PLAIN, &w->pieces);
    for (size_t i = 0; i < w->pieces.n; i++) {
        struct str rest = str_n(w->pieces.items[i]->data, w->pieces.items[i]->len);
        messages += memmem(rest.p, rest.len, "\"PeersChanged\"", 14) != NULL;
        for (const char *at; (at = memmem(rest.p, rest.len, "\"StableID\"", 10)) != NULL; peers++)
            rest = str_n(at + 1, rest.len - (size_t)(at + 1 - rest.p));
    }
    assert_int_equal(messages, 1);
    assert_int_equal(peers, 12);
    change_unref(&c);
}

/* The items are looked at for each of the two audiences, and encoded for the one to which they mean something. */
static void test_audiences_share_messages(void **state)
{
    struct world *w = *state;
    world_ruled(w);
    struct node_report r = {.home_derp = 999};
    const struct node *n;
    assert_int_equal(state_node_report(w->st, &w->machines[107].key, &w->machines[107].machine, &r, &n), RC_OK);
    struct change *c = state_publish(w->st, w->now_ms);
    assert_ptr_equal(c->before->access, c->after->access); /* nothing that the policy cares about */
    int64_t shares = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
    int64_t own = metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"");
    int64_t audiences = metric_read("fullscale_netmap_audiences_total", "");
    for (unsigned i = 0; i < 120; i++)
        netmap_delta(&world_ctx, c, w->machines[i].id, NETMAP_ZSTD, &w->pieces);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"") - shares, 1);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"") - own, 0);
    assert_int_equal(metric_read("fullscale_netmap_audiences_total", "") - audiences, 2);
    assert_int_equal(w->pieces.n, 100);
    for (size_t i = 1; i < w->pieces.n; i++)
        assert_ptr_equal(w->pieces.items[i], w->pieces.items[0]);
    change_unref(&c);
}

/* A policy that says the same in other words changes nothing for any node. */
static void test_the_same_policy_says_nothing(void **state)
{
    struct world *w = *state;
    world_ruled(w);
    world_put_policy(w, "{\"tagOwners\":{\"tag:a\":[]},\"groups\":{\"group:g\":[\"anna@\"]},\"grants\":[{\"src\":"
                        "[\"group:g\"],\"dst\":[\"tag:a\"],\"ip\":[\"*\"]}]}");
    struct change *c = state_publish(w->st, w->now_ms);
    assert_non_null(c);
    for (unsigned i = 0; i < 120; i++)
        netmap_delta(&world_ctx, c, w->machines[i].id, NETMAP_ZSTD, &w->pieces);
    assert_int_equal(w->pieces.n, 0);
    change_unref(&c);
}

/* --- several workers send the same change --- */

struct sender {
    pthread_t thread;
    struct world *w;
    struct change *c;
    unsigned first;
    uint64_t sum; /* of all bytes */
};

static void *send_all(void *arg)
{
    struct sender *t = arg;
    struct netmap_ctx own = {0};
    struct netmap_pieces pieces = {0};
    for (unsigned i = 0; i < 120; i++) {
        node_id id = t->w->machines[(i + t->first) % 120].id;
        netmap_delta(&own, t->c, id, NETMAP_PLAIN, &pieces);
        assert_int_equal(netmap_full(&own, t->c->after, id, NETMAP_PLAIN, true, &pieces), RC_OK);
        for (size_t k = 0; k < pieces.n; k++)
            t->sum += pieces.items[k]->len * (1 + (uint64_t)pieces.items[k]->data[pieces.items[k]->len / 2]);
        netmap_pieces_clear(&pieces);
    }
    netmap_pieces_fini(&pieces);
    netmap_ctx_fini(&own);
    return NULL;
}

static void test_workers_share_a_change(void **state)
{
    struct world *w = *state;
    world_ruled(w);
    struct sender senders[4] = {0};
    world_put_policy(
        w, "{\"tagOwners\":{\"tag:a\":[]},\"grants\":[{\"src\":[\"tag:a\"],\"dst\":[\"tag:a\"],\"ip\":[\"22\"]},"
           "{\"src\":[\"anna@\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]}]}");
    struct change *c = state_publish(w->st, w->now_ms);
    for (unsigned i = 0; i < ARRAY_LEN(senders); i++) {
        senders[i] = (struct sender){.w = w, .c = c, .first = i * 7};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(senders); i++)
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    for (unsigned i = 1; i < ARRAY_LEN(senders); i++)
        assert_true(senders[i].sum == senders[0].sum);
    change_unref(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_change_is_encoded_once), WORLD_TEST(test_few_of_many_items_are_one_message),
        WORLD_TEST(test_audiences_share_messages), WORLD_TEST(test_the_same_policy_says_nothing),
        WORLD_TEST(test_workers_share_a_change),
    };
    return cmocka_run_group_tests_name("delta", tests, world_group_setup, world_group_teardown);
}
