/* Limits on connections: of strangers, of guests, of one address, of one key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/rig_internal.h"

static const char text[] = "a packet";

/* --- Places --- */

static void count_open(struct rig_client *c, size_t n, size_t *open_out)
{
    *open_out = 0;
    for (size_t i = 0; i < n; i++)
        *open_out += !c[i].is_closed;
}

static void test_limit_of_clients(void **state)
{
    (void)state;
    struct relay_opts opts = rig_default_opts;
    opts.max_conns = 2;
    struct rig r;
    struct rig_client c[3];
    rig_start(&r, &opts, NULL);
    rig_join(&r, &c[0], 0);
    rig_join(&r, &c[1], 1);
    assert_false(relay_has_room(r.relay));
    int64_t before = rig_count("closed_total", "reason=\"limit\"");
    rig_connect(&r, &c[2], 2, 0);
    rig_login(&r, &c[2], false);
    rig_run(&r);
    rig_expect(&c[2], DERP_SERVER_KEY, 40);
    rig_expect_closed(&c[2]);
    assert_int_equal(rig_count("closed_total", "reason=\"limit\""), before + 1);
    rig_close(&c[0]);
    rig_close(&c[2]);
    rig_run(&r);
    assert_true(relay_has_room(r.relay));
    rig_join(&r, &c[0], 7); /* there is a place again */
    rig_close(&c[0]);
    rig_close(&c[1]);
    rig_stop(&r);
}

/* Strangers that hold on to connections replace each other: a node gets in, and the relay stays healthy. */
static void test_strangers_keep_no_node_out(void **state)
{
    (void)state;
    enum { STRANGERS = 50, SHARE = 5 };
    struct relay_opts opts = rig_default_opts;
    opts.max_conns = 8;
    opts.max_logins = SHARE;
    struct rig r;
    struct rig_client in, late, s[STRANGERS];
    size_t open;
    rig_start(&r, &opts, NULL);
    rig_join(&r, &in, 1);
    int64_t before = rig_count("closed_total", "reason=\"login_limit\"");
    for (size_t i = 0; i < STRANGERS; i++) {
        rig_connect(&r, &s[i], 2, 0);
        assert_true(relay_has_room(r.relay));
    }
    rig_run(&r);
    count_open(s, STRANGERS, &open);
    assert_int_equal(open, SHARE);
    assert_false(s[STRANGERS - 1].is_closed); /* the newest are there */
    assert_int_equal(rig_count("closed_total", "reason=\"login_limit\""), before + STRANGERS - SHARE);
    rig_join(&r, &late, 3);
    count_open(s, STRANGERS, &open);
    assert_int_equal(open, SHARE - 1);
    rig_send(&late, &in, text, sizeof(text));
    rig_run(&r);
    rig_expect_packet(&in, &late, text, sizeof(text));
    for (size_t i = 0; i < STRANGERS; i++)
        rig_close(&s[i]);
    rig_close(&in);
    rig_close(&late);
    rig_stop(&r);
}

/* One address, or one /64, has a part of the strangers' share; its newest connection replaces its oldest. */
static void test_strangers_of_one_address(void **state)
{
    (void)state;
    static const struct {
        const char *many[4], *other;
    } rows[] = {
        {{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"}, "192.0.2.2"},
        {{"2001:db8::1", "2001:db8::2:1", "2001:db8::", "2001:db8:0:0:ffff::"}, "2001:db8:0:1::1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct relay_opts opts = rig_default_opts;
        opts.max_logins_per_address = 3;
        struct rig r;
        struct rig_client other, many[4];
        rig_start(&r, &opts, NULL);
        rig_connect_from(&r, &other, 9, rows[i].other);
        for (size_t k = 0; k < 4; k++)
            rig_connect_from(&r, &many[k], (uint8_t)k, rows[i].many[k]);
        rig_run(&r);
        assert_true(many[0].is_closed);
        assert_false(many[1].is_closed || many[2].is_closed || many[3].is_closed || other.is_closed);
        for (size_t k = 0; k < 4; k++)
            rig_close(&many[k]);
        rig_close(&other);
        rig_stop(&r);
    }
}

static bool is_behind_proxy(void *ctx, const struct addr *from)
{
    (void)ctx;
    return from->ip[0] == 10;
}

/* The address of a proxy, and those of this machine, have no limit. */
static void test_a_proxy_is_no_address(void **state)
{
    (void)state;
    static const char *const addresses[] = {"10.0.0.1", "127.0.0.1", "::1"};
    const struct relay_ops ops = {.is_proxy = is_behind_proxy};
    struct relay_opts opts = rig_default_opts;
    opts.max_logins_per_address = 1;
    struct rig r;
    struct rig_client c[3][2];
    rig_start(&r, &opts, &ops);
    for (size_t i = 0; i < 3; i++) {
        rig_connect_from(&r, &c[i][0], 1, addresses[i]);
        rig_connect_from(&r, &c[i][1], 2, addresses[i]);
    }
    rig_run(&r);
    for (size_t i = 0; i < 6; i++) {
        assert_false(c[i / 2][i % 2].is_closed);
        rig_close(&c[i / 2][i % 2]);
    }
    rig_stop(&r);
}

static void admit_even(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct rig_client *known = ctx;
    (void)from;
    relay_admit(login, keys_equal(key->b, known->public.b));
}

/* An open relay lets all clients in, and keeps a quarter of its places for those that the program knows. */
static void test_guests_leave_a_reserve(void **state)
{
    (void)state;
    struct rig_client known, guests[4];
    const struct relay_ops ops = {.ctx = &known, .admit = admit_even, .is_open = true};
    struct relay_opts opts = rig_default_opts;
    opts.max_conns = 4;
    struct rig r;
    rig_start(&r, &opts, &ops);
    rig_connect(&r, &known, 50, 0);
    for (uint8_t i = 0; i < 3; i++)
        rig_join(&r, &guests[i], i);
    rig_connect(&r, &guests[3], 3, 0);
    rig_login(&r, &guests[3], false);
    rig_run(&r);
    rig_expect(&guests[3], DERP_SERVER_KEY, 40);
    rig_expect_closed(&guests[3]);
    assert_true(relay_has_room(r.relay));
    rig_login(&r, &known, false);
    rig_run(&r);
    rig_expect_welcome(&r, &known);
    rig_expect_nothing(&known);
    relay_ask_again(r.relay); /* a guest stays one */
    rig_run(&r);
    rig_expect_nothing(&guests[0]);
    rig_close(&guests[0]);
    rig_run(&r);
    rig_close(&guests[3]);
    rig_join(&r, &guests[3], 3);
    rig_close(&guests[0]);
    for (size_t i = 1; i < 4; i++)
        rig_close(&guests[i]);
    rig_close(&known);
    rig_stop(&r);
}

/* One address, or one /64, has no more than a quarter of the places for guests; known nodes do not count. */
static void test_guests_of_one_address(void **state)
{
    (void)state;
    enum { PLACES = 8, PART = PLACES / 4 + 1 };
    struct rig_client known, guests[PART + 1], other;
    const struct relay_ops ops = {.ctx = &known, .admit = admit_even, .is_open = true};
    struct relay_opts opts = rig_default_opts;
    opts.max_conns = PLACES;
    struct rig r;
    rig_start(&r, &opts, &ops);
    rig_connect_from(&r, &known, 50, "192.0.2.1");
    for (uint8_t i = 0; i <= PART; i++) {
        rig_connect_from(&r, &guests[i], i, "192.0.2.1");
        rig_login(&r, &guests[i], false);
        rig_run(&r);
        assert_int_equal(guests[i].is_closed, i == PART);
    }
    rig_connect_from(&r, &other, 60, "192.0.2.2");
    rig_login(&r, &other, false);
    rig_login(&r, &known, false);
    rig_run(&r);
    assert_false(other.is_closed || known.is_closed);
    assert_int_equal(relay_client_count(r.relay), PART + 2);
    for (size_t i = 0; i <= PART; i++)
        rig_close(&guests[i]);
    rig_close(&other);
    rig_close(&known);
    rig_stop(&r);
}

/* A key may have so many connections; a new one replaces the one that has been silent longest. */
static void test_limit_of_one_key(void **state)
{
    (void)state;
    enum { LIMIT = 3, TWINS = 6 };
    struct relay_opts opts = rig_default_opts;
    opts.max_conns_per_key = LIMIT;
    struct rig r;
    struct rig_client other, t[TWINS];
    rig_start(&r, &opts, NULL);
    rig_join(&r, &other, 2);
    int64_t before = rig_count("closed_total", "reason=\"key_limit\"");
    for (size_t i = 0; i < LIMIT; i++)
        rig_join(&r, &t[i], 1);
    rig_frame(&t[0], DERP_NOTE_PREFERRED, "\1", 1); /* the first sends, so that the second has been silent longest */
    rig_run(&r);
    rig_join(&r, &t[LIMIT], 1);
    assert_false(t[0].is_closed);
    assert_true(t[1].is_closed);
    for (size_t i = LIMIT + 1; i < TWINS; i++)
        rig_join(&r, &t[i], 1);
    assert_true(t[0].is_closed && t[1].is_closed && t[2].is_closed);
    assert_int_equal(rig_count("closed_total", "reason=\"key_limit\""), before + TWINS - LIMIT);
    assert_int_equal(rig_count("current_dup_client_conns", ""), LIMIT);
    assert_int_equal(relay_client_count(r.relay), LIMIT + 1);
    rig_send(&other, &t[0], text, sizeof(text));
    rig_run(&r);
    rig_expect_packet(&t[TWINS - 1], &other, text, sizeof(text));
    for (size_t i = 0; i < TWINS; i++)
        rig_close(&t[i]);
    rig_run(&r);
    assert_int_equal(relay_client_count(r.relay), 1);
    assert_int_equal(rig_count("current_dup_client_conns", ""), 0);
    assert_int_equal(r.relay->directory.keys.n, 1);
    rig_close(&other);
    rig_stop(&r);
}

/* Many connections of one key send frames one after the other: each becomes the active one when it sends. */
static void test_duplicates_in_turn(void **state)
{
    (void)state;
    enum { TWINS = 40 };
    struct relay_opts opts = rig_default_opts;
    opts.max_conns_per_key = TWINS;
    struct rig r;
    struct rig_client other, t[TWINS];
    rig_start(&r, &opts, NULL);
    rig_join(&r, &other, 2);
    for (size_t i = 0; i < TWINS; i++)
        rig_join(&r, &t[i], 1);
    for (size_t i = 0; i < 3 * (size_t)TWINS; i++) {
        struct rig_client *now = &t[i * 7 % TWINS];
        rig_frame(now, DERP_NOTE_PREFERRED, i % 2 != 0 ? "\1" : "\0", 1);
        rig_run(&r);
        buf_clear(&now->got); /* health messages about the duplicates */
        rig_send(&other, now, text, sizeof(text));
        rig_run(&r);
        rig_expect_packet(now, &other, text, sizeof(text));
    }
    for (size_t i = 0; i < TWINS; i++)
        rig_close(&t[i]);
    rig_close(&other);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_limit_of_clients, rig_tear_down),
        cmocka_unit_test_teardown(test_strangers_keep_no_node_out, rig_tear_down),
        cmocka_unit_test_teardown(test_strangers_of_one_address, rig_tear_down),
        cmocka_unit_test_teardown(test_a_proxy_is_no_address, rig_tear_down),
        cmocka_unit_test_teardown(test_guests_leave_a_reserve, rig_tear_down),
        cmocka_unit_test_teardown(test_guests_of_one_address, rig_tear_down),
        cmocka_unit_test_teardown(test_limit_of_one_key, rig_tear_down),
        cmocka_unit_test_teardown(test_duplicates_in_turn, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
