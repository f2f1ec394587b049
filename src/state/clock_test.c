/* The machine's clock is set, by an hour or by years, ahead and back: what that may change, and what it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "state/state.h"
#include "support/test_random.h"

enum { GRACE_MS = 10000, EPHEMERAL_MS = 60000, NEWCOMER_MS = 5000, RELAY_MS = 90000, NODES = 12 };
#define HOUR_MS INT64_C(3600000)
#define YEAR_MS (365 * 24 * HOUR_MS)
static const int64_t start_ms = 1800000000000;

/* A tailnet, and what the clock of its machine shows. */
struct world {
    struct state *st;
    struct test_random random;
    int64_t steady_ms; /* since the start */
    int64_t ahead_ms;  /* as the clock was set */
    char key[AUTH_KEY_TEXT_CAP];
    char ephemeral_key[AUTH_KEY_TEXT_CAP];
    struct registration nodes[NODES + 1]; /* by id */
    uint64_t relay;
};

static int64_t now(const struct world *w)
{
    return start_ms + w->steady_ms + w->ahead_ms;
}

static void random_bytes(struct world *w, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)test_random_u64(&w->random);
}

static void make_key(struct world *w, bool is_ephemeral, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct auth_key_spec spec = {.user = 1, .is_reusable = true, .is_ephemeral = is_ephemeral};
    random_bytes(w, random, sizeof(random));
    assert_int_equal(state_key_create(w->st, &spec, random, now(w), &k, text, NULL), RC_OK);
}

static void open_world(struct world *w, uint64_t seed)
{
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}},
                                    .v4_bits = 10,
                                    .node_expiry_ms = 180 * 24 * HOUR_MS,
                                    .offline_grace_ms = GRACE_MS,
                                    .ephemeral_timeout_ms = EPHEMERAL_MS,
                                    .newcomer_ms = NEWCOMER_MS};
    struct tailnet_settings *t = tailnet_settings_create();
    struct user_spec anna = {.name = STR("anna")};
    struct relay_spec relay = {.name = STR("r1")};
    const struct user *u;
    const struct relay_host *r;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    char text[AUTH_KEY_TEXT_CAP];
    *w = (struct world){.random.state = seed};
    t->derp_map_json = rcbuf_create("{}", 2);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{}", 2);
    w->st = state_create(&options, t);
    assert_int_equal(state_user_create(w->st, &anna, now(w), &u, NULL), RC_OK);
    make_key(w, false, w->key);
    make_key(w, true, w->ephemeral_key);
    random_bytes(w, random, sizeof(random));
    assert_int_equal(state_relay_create(w->st, &relay, random, now(w), &r, text, NULL), RC_OK);
    w->relay = r->id;
}

static void close_world(struct world *w)
{
    state_destroy(&w->st);
}

static node_id join(struct world *w, bool is_ephemeral)
{
    struct registration reg = {.auth_key = str_c(is_ephemeral ? w->ephemeral_key : w->key),
                               .report.hostname = STR("node")};
    struct register_result r;
    random_bytes(w, &reg.machine, sizeof(reg.machine));
    random_bytes(w, &reg.key, sizeof(reg.key));
    random_bytes(w, reg.random, sizeof(reg.random));
    state_register(w->st, &reg, now(w), &r);
    assert_int_equal(r.outcome, REGISTER_OK);
    if (r.node->id <= NODES)
        w->nodes[r.node->id] = reg;
    return r.node->id;
}

static void begin_poll(struct world *w, node_id id)
{
    const struct node *n;
    struct node_report none = {0};
    assert_int_equal(state_poll_begin(w->st, &w->nodes[id].key, &w->nodes[id].machine, &none, now(w), &n), RC_OK);
}

static void announce_relay(struct world *w)
{
    struct relay_report report = {.host_name = "r.example", .derp_port = 443};
    uint64_t serial;
    assert_int_equal(state_relay_announce(w->st, w->relay, &report, now(w) + RELAY_MS, now(w), &serial), RC_OK);
}

/* As the core does: the state is notified, and looks at everything. */
static void set_clock(struct world *w, int64_t ahead_ms)
{
    w->ahead_ms = ahead_ms;
    state_set_clock(w->st, ahead_ms);
    state_tick(w->st, now(w));
    state_settle(w->st, now(w));
}

/* Every deadline gets its tick on time, as from the core's timer. */
static void pass_time(struct world *w, int64_t ms)
{
    int64_t end_ms = w->steady_ms + ms;
    int64_t due_ms;
    while ((due_ms = state_next_tick_ms(w->st) == INT64_MAX
                         ? INT64_MAX
                         : state_next_tick_ms(w->st) - start_ms - w->ahead_ms) <= end_ms) {
        if (due_ms > w->steady_ms)
            w->steady_ms = due_ms;
        state_tick(w->st, now(w));
        state_settle(w->st, now(w));
    }
    w->steady_ms = end_ms;
}

static const int64_t jumps_ms[] = {HOUR_MS, -HOUR_MS, 10 * YEAR_MS, -10 * YEAR_MS, 1000, -1000};

static void test_a_clock_set_ahead_and_back_expires_nothing_for_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jumps_ms); i++) {
        struct world w;
        node_key gone[4];
        open_world(&w, 1 + i);
        node_id id = join(&w, false);
        begin_poll(&w, id);
        int64_t expires_ms = state_node(w.st, id)->expires_ms;
        set_clock(&w, jumps_ms[i]);
        bool is_past = expires_ms <= now(&w);
        assert_int_equal(state_node(w.st, id)->is_expired, is_past);
        assert_int_equal(state_key_is_active(w.st, &w.nodes[id].key), !is_past);
        assert_int_equal(state_take_revoked(w.st, gone, 4), is_past);
        set_clock(&w, 0);
        assert_false(state_node(w.st, id)->is_expired);
        assert_true(state_key_is_active(w.st, &w.nodes[id].key));
        assert_int_equal(state_node(w.st, id)->expires_ms, expires_ms);
        close_world(&w);
    }
}

static void test_peers_hear_that_it_holds_again(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 7);
    node_id id = join(&w, false);
    struct row_batch *b = state_take_batch(w.st);
    state_committed(w.st, b->seq);
    row_batch_destroy(&b);
    struct change *c = state_publish(w.st, now(&w));
    change_unref(&c);
    set_clock(&w, YEAR_MS);
    c = state_publish(w.st, now(&w));
    assert_int_equal(c->item_n, 1);
    assert_true(c->items[0].after->is_expired);
    change_unref(&c);
    set_clock(&w, 0);
    c = state_publish(w.st, now(&w));
    assert_int_equal(c->item_n, 1);
    assert_int_equal(c->items[0].id, id);
    assert_false(c->items[0].after->is_expired);
    change_unref(&c);
    assert_null(state_take_batch(w.st)); /* nothing of this is written */
    close_world(&w);
}

static void test_nothing_is_deleted_by_a_clock_that_jumps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jumps_ms); i++) {
        struct world w;
        open_world(&w, 100 + i);
        node_id offline = join(&w, true), online = join(&w, true);
        begin_poll(&w, online);
        announce_relay(&w);
        pass_time(&w, EPHEMERAL_MS - 2);
        set_clock(&w, jumps_ms[i]);
        pass_time(&w, 1);
        assert_non_null(state_node(w.st, offline));
        assert_true(state_relay(w.st, w.relay)->is_up);
        /* It is removed when that much time has passed, whatever the clock shows. */
        pass_time(&w, 1);
        assert_null(state_node(w.st, offline));
        state_poll_end(w.st, online, now(&w));
        pass_time(&w, GRACE_MS - 1);
        assert_true(state_node(w.st, online)->is_online);
        set_clock(&w, 0);
        pass_time(&w, 1);
        assert_false(state_node(w.st, online)->is_online);
        assert_int_equal(state_node(w.st, online)->last_seen_ms, now(&w) - GRACE_MS);
        pass_time(&w, EPHEMERAL_MS - GRACE_MS - 1);
        assert_non_null(state_node(w.st, online));
        pass_time(&w, 1);
        assert_null(state_node(w.st, online));
        close_world(&w);
    }
}

/* Loaded on a machine without a battery for its clock, which gets the time later. */
static void test_after_a_start_ephemeral_nodes_get_their_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jumps_ms); i++) {
        struct world w;
        open_world(&w, 200 + i);
        struct node *n = node_create(0);
        n->id = 5;
        n->user = 1;
        snprintf(n->name, sizeof(n->name), "from-disk");
        random_bytes(&w, &n->machine, sizeof(n->machine));
        random_bytes(&w, &n->key, sizeof(n->key));
        n->is_ephemeral = true;
        n->last_seen_ms = 1000; /* long ago, or so it seems */
        n->expires_ms = start_ms + HOUR_MS / 2;
        assert_int_equal(state_load(w.st, &entity_node, &n->row, NULL), RC_OK);
        state_load_done(w.st, now(&w));
        set_clock(&w, jumps_ms[i]);
        assert_int_equal(state_node(w.st, 5)->is_expired, jumps_ms[i] >= HOUR_MS);
        pass_time(&w, EPHEMERAL_MS - 1);
        assert_non_null(state_node(w.st, 5));
        pass_time(&w, 1);
        assert_null(state_node(w.st, 5));
        close_world(&w);
    }
}

/* A node that logged out, or whose key an admin ended, does not come back because the clock was wrong at the time. */
static void test_what_was_ended_stays_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jumps_ms); i++) {
        struct world w;
        const struct node *n;
        struct register_result r;
        open_world(&w, 300 + i);
        node_id out = join(&w, false), sent = join(&w, false);
        set_clock(&w, jumps_ms[i]);
        w.nodes[out].expiry_ms = 123000; /* as clients log out */
        state_register(w.st, &w.nodes[out], now(&w), &r);
        assert_int_equal(r.outcome, REGISTER_KEY_EXPIRED);
        assert_int_equal(state_node_expire(w.st, sent, now(&w) - 5, now(&w), &n, NULL), RC_OK);
        set_clock(&w, 0);
        pass_time(&w, 1);
        assert_true(state_node(w.st, out)->is_expired);
        assert_true(state_node(w.st, sent)->is_expired);
        assert_false(state_key_is_active(w.st, &w.nodes[sent].key));
        w.nodes[sent].auth_key = STR_EMPTY;
        state_register(w.st, &w.nodes[sent], now(&w), &r);
        assert_int_equal(r.outcome, REGISTER_KEY_EXPIRED);
        assert_int_equal(state_node_expire(w.st, sent, now(&w) + HOUR_MS, now(&w), &n, NULL), RC_OK);
        assert_false(n->is_expired);
        close_world(&w);
    }
}

static bool may_join(struct world *w, const char *key)
{
    struct registration reg = {.auth_key = str_c(key), .report.hostname = STR("guest")};
    struct register_result r;
    random_bytes(w, &reg.machine, sizeof(reg.machine));
    random_bytes(w, &reg.key, sizeof(reg.key));
    state_register(w->st, &reg, now(w), &r);
    return r.outcome == REGISTER_OK;
}

static void test_an_auth_key_that_was_ended_stays_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jumps_ms); i++) {
        struct world w;
        char key[AUTH_KEY_TEXT_CAP];
        open_world(&w, 400 + i);
        pass_time(&w, HOUR_MS);
        set_clock(&w, jumps_ms[i]);
        assert_true(may_join(&w, w.key));
        assert_int_equal(state_key_expire(w.st, 1, now(&w), NULL), RC_OK);
        assert_false(may_join(&w, w.key));
        set_clock(&w, 0);
        assert_false(may_join(&w, w.key));
        /* A key that only looks expired can be ended, too. */
        struct auth_key_spec spec = {.user = 1, .is_reusable = true, .expires_ms = now(&w) + HOUR_MS / 2};
        uint8_t random[AUTH_KEY_RANDOM_BYTES];
        const struct auth_key *k;
        random_bytes(&w, random, sizeof(random));
        assert_int_equal(state_key_create(w.st, &spec, random, now(&w), &k, key, NULL), RC_OK);
        uint64_t id = k->id;
        assert_true(may_join(&w, key));
        set_clock(&w, jumps_ms[i]);
        assert_int_equal(may_join(&w, key), jumps_ms[i] < HOUR_MS);
        set_clock(&w, 0);
        assert_true(may_join(&w, key));
        set_clock(&w, jumps_ms[i]);
        assert_int_equal(state_key_expire(w.st, id, now(&w), NULL), RC_OK);
        set_clock(&w, 0);
        assert_false(may_join(&w, key));
        close_world(&w);
    }
}

/* --- random events in two worlds, of which one has a clock that people set --- */

static bool is_same(const struct node *a, const struct node *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || (a->is_online == b->is_online && a->is_away == b->is_away &&
                                                        a->is_newcomer == b->is_newcomer));
}

static void do_both(struct world *w, unsigned *polls)
{
    uint64_t what = test_random_below(&w[0].random, 6);
    node_id id = 1 + test_random_below(&w[0].random, NODES);
    bool is_ephemeral = test_random_below(&w[0].random, 2) != 0;
    int64_t ms = 1 + (int64_t)test_random_below(&w[0].random, 20000);
    for (int i = 0; i < 2; i++) {
        struct world *one = &w[i];
        one->random.state = w[0].random.state;
        bool exists = state_node(one->st, id) != NULL;
        if (what == 0)
            announce_relay(one);
        else if (what <= 2 && exists)
            begin_poll(one, id);
        else if (what <= 4 && exists && polls[id] > 0)
            state_poll_end(one->st, id, now(one));
        else if (what == 5 && state_node_count(one->st) < 4)
            join(one, is_ephemeral);
        pass_time(one, ms);
    }
    if (what >= 1 && what <= 2 && state_node(w[1].st, id) != NULL)
        polls[id]++;
    else if (what >= 3 && what <= 4 && polls[id] > 0)
        polls[id]--;
}

static void test_durations_are_the_same_whatever_the_clock_shows(void **state)
{
    (void)state;
    unsigned deleted = 0, downs = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world w[2];
        unsigned polls[NODES + 1] = {0};
        open_world(&w[0], seed);
        open_world(&w[1], seed);
        for (int step = 0; step < 60; step++) {
            uint64_t jump = test_random_below(&w[1].random, 4 * ARRAY_LEN(jumps_ms));
            size_t before = state_node_count(w[1].st);
            bool was_up = state_relay(w[1].st, w[1].relay)->is_up;
            if (jump < ARRAY_LEN(jumps_ms))
                set_clock(&w[1], w[1].ahead_ms + jumps_ms[jump]);
            do_both(w, polls);
            for (node_id id = 1; id <= NODES; id++)
                assert_true(is_same(state_node(w[0].st, id), state_node(w[1].st, id)));
            assert_int_equal(state_relay(w[0].st, w[0].relay)->is_up, state_relay(w[1].st, w[1].relay)->is_up);
            deleted += state_node_count(w[1].st) < before;
            downs += was_up && !state_relay(w[1].st, w[1].relay)->is_up;
        }
        set_clock(&w[1], 0);
        for (node_id id = 1; id <= NODES; id++) {
            const struct node *n = state_node(w[1].st, id);
            assert_true(n == NULL || n->is_expired == (n->expires_ms <= now(&w[1])));
        }
        close_world(&w[0]);
        close_world(&w[1]);
    }
    assert_true(deleted > 20 && downs > 20);
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_clock_set_ahead_and_back_expires_nothing_for_good),
        cmocka_unit_test(test_peers_hear_that_it_holds_again),
        cmocka_unit_test(test_nothing_is_deleted_by_a_clock_that_jumps),
        cmocka_unit_test(test_after_a_start_ephemeral_nodes_get_their_time),
        cmocka_unit_test(test_what_was_ended_stays_ended),
        cmocka_unit_test(test_an_auth_key_that_was_ended_stays_ended),
        cmocka_unit_test(test_durations_are_the_same_whatever_the_clock_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
