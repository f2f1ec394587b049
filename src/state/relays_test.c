#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "state/testing.h"

enum { NOW_MS = 1000000, BACK_MS = 60000 };

static int set_up(void **state)
{
    struct state_options options = {.own_region = 901};
    crypto_init();
    *state = state_create(&options, test_settings());
    return 0;
}

static int tear_down(void **state)
{
    struct state *st = *state;
    state_destroy(&st);
    return 0;
}

static enum rc create(struct state *st, const char *name, uint16_t region_id, const struct relay_host **out,
                      char text[AUTH_KEY_TEXT_CAP])
{
    static uint8_t random[AUTH_KEY_RANDOM_BYTES];
    struct relay_spec spec = {.name = str_c(name), .region_id = region_id};
    struct err err;
    random[0]++;
    return state_relay_create(st, &spec, random, NOW_MS, out, text, &err);
}

static struct relay_report report(const char *host)
{
    struct relay_report r = {.derp_port = 443, .stun_port = 3478};
    snprintf(r.host_name, sizeof(r.host_name), "%s", host);
    return r;
}

static void test_enrol(void **state)
{
    struct state *st = *state;
    const struct relay_host *a, *b, *c;
    char text[AUTH_KEY_TEXT_CAP], other[AUTH_KEY_TEXT_CAP];
    assert_int_equal(create(st, "fra", 0, &a, text), RC_OK);
    assert_int_equal(a->region_id, 902); /* 901 is the server's own */
    assert_string_equal(a->region_name, "fra");
    assert_ptr_equal(state_relay_by_key(st, str_c(text)), a);
    assert_null(state_relay_by_key(st, str_c(a->prefix)));
    assert_null(state_relay_by_key(st, STR_EMPTY));
    assert_int_equal(create(st, "fra2", 902, &b, other), RC_OK);
    assert_string_equal(b->region_code, "fra"); /* the code that the region has already */
    assert_int_equal(create(st, "nyc", 0, &c, other), RC_OK);
    assert_int_equal(c->region_id, 903);
    assert_string_not_equal(text, other);
    struct row_batch *batch = state_take_batch(st);
    assert_int_equal(batch->n, 4); /* and the counters */
    assert_int_equal(((const struct counter *)batch->ops[3].object)->next, 4);
    for (size_t i = 0; i < batch->n; i++)
        assert_true(batch->ops[i].entity != &entity_relay_host ||
                    strstr((const char *)((const struct relay_host *)batch->ops[i].object)->hash, text) == NULL);
    row_batch_destroy(&batch);
    assert_false(state_take_relays_changed(st)); /* none has come yet */
}

static void test_refusals(void **state)
{
    static const char *const bad[] = {"", "Fra", "-a", "a-", "a.b", "a b", "\"", "ä"};
    struct state *st = *state;
    const struct relay_host *r;
    char text[AUTH_KEY_TEXT_CAP], name[16];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(create(st, bad[i], 0, &r, text), RC_INVALID);
    assert_int_equal(create(st, "fra", 0, &r, text), RC_OK);
    assert_int_equal(create(st, "fra", 0, &r, text), RC_EXISTS);
    assert_int_equal(state_relay_delete(st, 17, NULL), RC_NOT_FOUND);
    struct relay_report there = report("192.0.2.1");
    uint64_t serial;
    assert_int_equal(state_relay_announce(st, 17, &there, NOW_MS + 1, NOW_MS, &serial), RC_NOT_FOUND);
    state_relay_leave(st, 17, 0, NOW_MS, NOW_MS);
    for (int i = 1; i < 1000; i++) {
        snprintf(name, sizeof(name), "r%d", i);
        assert_int_equal(create(st, name, 0, &r, text), RC_OK);
    }
    assert_int_equal(create(st, "one-more", 0, &r, text), RC_LIMIT);
}

static void test_twins(void **state)
{
    struct state *st = *state;
    const struct relay_host *r;
    char text[AUTH_KEY_TEXT_CAP];
    struct relay_report there = report("192.0.2.1");
    uint64_t serial;
    assert_int_equal(create(st, "fra", 0, &r, text), RC_OK);
    uint64_t id = r->id;
    assert_int_equal(state_relay_accept_number(st, 17, 1, 1), RC_NOT_FOUND);
    assert_int_equal(state_relay_accept_number(st, id, 100, 2), RC_OK);
    assert_int_equal(state_relay_accept_number(st, id, 100, 2), RC_OK);
    assert_int_equal(state_relay_accept_number(st, id, 100, 1),
                     RC_LIMIT); /* also while it is down: its last announcement came first */
    assert_int_equal(state_relay_announce(st, id, &there, NOW_MS + 100, NOW_MS, &serial), RC_OK);
    assert_int_equal(state_relay_accept_number(st, id, 99, 50), RC_EXISTS);
    assert_int_equal(state_relay_accept_number(st, id, 101, 1), RC_OK); /* started anew */
    assert_int_equal(state_relay_accept_number(st, id, 100, 3), RC_EXISTS);
    /* When the newer one has gone the older one may come back. */
    state_relay_leave(st, id, serial, NOW_MS, NOW_MS);
    assert_int_equal(state_relay_accept_number(st, id, 100, 3), RC_OK);
}

static void test_coming_and_going(void **state)
{
    struct state *st = *state;
    const struct relay_host *r;
    char text[AUTH_KEY_TEXT_CAP];
    assert_int_equal(create(st, "fra", 0, &r, text), RC_OK);
    uint64_t id = r->id, serial = 0, first;
    struct relay_report there = report("192.0.2.1");
    assert_int_equal(state_relay_announce(st, id, &there, NOW_MS + 100, NOW_MS, &serial), RC_OK);
    assert_true(state_take_relays_changed(st));
    assert_true(state_relay(st, id)->is_up);
    assert_int_equal(state_next_tick_ms(st), NOW_MS + 100);
    /* The same announcement again only moves the deadline; an end that refers to the first one is out of date. */
    first = serial;
    assert_int_equal(state_relay_announce(st, id, &there, NOW_MS + 200, NOW_MS + 50, &serial), RC_OK);
    assert_false(state_take_relays_changed(st));
    state_relay_leave(st, id, first, NOW_MS + 60, NOW_MS + 60);
    state_tick(st, NOW_MS + 150);
    assert_true(state_relay(st, id)->is_up);
    there.derp_port = 8443;
    assert_int_equal(state_relay_announce(st, id, &there, NOW_MS + 300, NOW_MS + 160, &serial), RC_OK);
    assert_true(state_take_relays_changed(st));
    /* Its connection breaks: it gets some time. A later deadline than the one that is set changes nothing. */
    state_relay_leave(st, id, serial, NOW_MS + 400, NOW_MS + 170);
    state_relay_leave(st, id, serial, NOW_MS + 190, NOW_MS + 170);
    assert_true(state_relay(st, id)->is_up);
    state_tick(st, NOW_MS + 190);
    assert_false(state_relay(st, id)->is_up);
    assert_int_equal(state_relay(st, id)->last_seen_ms, NOW_MS + 190);
    assert_true(state_take_relays_changed(st));
    /* Drained: gone at once. */
    assert_int_equal(state_relay_announce(st, id, &there, NOW_MS + 900, NOW_MS + 200, &serial), RC_OK);
    state_relay_leave(st, id, serial, NOW_MS + 210, NOW_MS + 210);
    assert_false(state_relay(st, id)->is_up);
    assert_int_equal(state_relay_announce(st, id, &there, NOW_MS + 900, NOW_MS + 220, &serial), RC_OK);
    assert_true(state_take_relays_changed(st));
    assert_int_equal(state_relay_delete(st, id, NULL), RC_OK);
    assert_false(state_take_relays_changed(st)); /* it may have to be undone */
    struct row_batch *batch = state_take_batch(st);
    state_committed(st, batch->seq);
    row_batch_destroy(&batch);
    assert_true(state_take_relays_changed(st));
    assert_null(state_relay_by_key(st, str_c(text)));
}

/* What was up when the server stopped is up when it starts, for a minute. */
static void test_after_a_restart(void **state)
{
    struct state *st = *state;
    struct relay_host *up = state_relay_host_create(), *down = state_relay_host_create(),
                      *twin = state_relay_host_create();
    snprintf(up->name, sizeof(up->name), "up");
    snprintf(down->name, sizeof(down->name), "down");
    snprintf(twin->name, sizeof(twin->name), "up");
    up->id = 3;
    down->id = 4;
    twin->id = 5;
    up->is_up = true;
    snprintf(up->report.host_name, sizeof(up->report.host_name), "relay.example.com");
    up->report.derp_port = 443;
    assert_int_equal(state_load(st, &entity_relay_host, &up->row, NULL), RC_OK);
    assert_int_equal(state_load(st, &entity_relay_host, &down->row, NULL), RC_OK);
    assert_int_equal(state_load(st, &entity_relay_host, &twin->row, NULL), RC_INVALID);
    state_load_done(st, NOW_MS);
    assert_true(state_take_relays_changed(st));
    state_tick(st, NOW_MS + BACK_MS - 1);
    assert_true(state_relay(st, 3)->is_up);
    state_tick(st, NOW_MS + BACK_MS);
    assert_false(state_relay(st, 3)->is_up);
    assert_true(state_take_relays_changed(st));
    const struct relay_host *r;
    char text[AUTH_KEY_TEXT_CAP];
    assert_int_equal(create(st, "next", 0, &r, text), RC_OK);
    assert_int_equal(r->id, 5); /* the row that was left out does not count */
}

/* Random events against a naive model: a relay is up until the earliest end that was set since its last
 * announcement. */
static void test_random_events(void **state)
{
    enum { RELAYS = 5 };
    struct test_random random = {7};
    struct state *st = *state;
    struct {
        uint64_t id;
        uint64_t serial;
        int64_t until_ms;
    } want[RELAYS] = {0};
    char text[AUTH_KEY_TEXT_CAP];
    int64_t now_ms = NOW_MS;
    for (int step = 0; step < 5000; step++) {
        size_t i = test_random_below(&random, RELAYS);
        struct relay_report there = report(test_random_below(&random, 2) != 0 ? "a" : "b");
        int64_t at_ms = now_ms + test_random_below(&random, 300);
        now_ms += test_random_below(&random, 50);
        uint32_t dice = test_random_below(&random, 10);
        const struct relay_host *r;
        char name[16];
        snprintf(name, sizeof(name), "r%zu", i);
        if (want[i].id == 0) {
            assert_int_equal(create(st, name, 0, &r, text), RC_OK);
            want[i].id = r->id;
        } else if (dice < 5) {
            assert_int_equal(state_relay_announce(st, want[i].id, &there, at_ms + 50, now_ms, &want[i].serial), RC_OK);
            want[i].until_ms = at_ms + 50;
        } else if (dice < 9) {
            state_relay_leave(st, want[i].id, want[i].serial, at_ms, now_ms);
            if (at_ms < want[i].until_ms)
                want[i].until_ms = at_ms;
        } else {
            assert_int_equal(state_relay_delete(st, want[i].id, NULL), RC_OK);
            want[i].id = 0;
            want[i].until_ms = 0;
        }
        state_tick(st, now_ms);
        for (size_t k = 0; k < RELAYS; k++) {
            r = want[k].id != 0 ? state_relay(st, want[k].id) : NULL;
            assert_int_equal(r != NULL, want[k].id != 0);
            assert_true(r == NULL || r->is_up == (want[k].until_ms > now_ms));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_enrol),           TEST(test_refusals),      TEST(test_twins), TEST(test_coming_and_going),
        TEST(test_after_a_restart), TEST(test_random_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
