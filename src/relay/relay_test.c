/* The DERP server, driven by clients over in-memory streams. Time is the test's: relay_test_advance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/rig_internal.h"

static const char text[] = "a packet";
static uint8_t disco[100] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

/* --- Login --- */

static void test_login_and_packets(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 2);
    assert_int_equal(relay_client_count(r.relay), 2);
    rig_send(&a, &b, text, sizeof(text));
    rig_send(&a, &b, "", 0);
    rig_send(&b, &a, disco, sizeof(disco));
    rig_run(&r);
    rig_send(&a, &a, "self", 4);
    rig_run(&r);
    rig_expect_packet(&b, &a, text, sizeof(text));
    rig_expect_packet(&b, &a, "", 0);
    rig_expect_nothing(&b);
    rig_expect_packet(&a, &b, disco, sizeof(disco));
    rig_expect_packet(&a, &a, "self", 4);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

/* Bytes may be cut anywhere; frames of every size come through whole and in order. */
static void test_bytes_in_any_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1200, 65536, 31, 9000};
    static uint8_t packet[65536];
    for (size_t i = 0; i < sizeof(packet); i++)
        packet[i] = (uint8_t)(i * 7);
    for (size_t chunk = 1; chunk < 5000; chunk = chunk * 3 + 1) {
        struct rig r;
        struct rig_client a, b;
        rig_start(&r, NULL, NULL);
        rig_connect(&r, &a, 1, chunk);
        rig_login(&r, &a, false);
        rig_join(&r, &b, 2);
        rig_expect_welcome(&r, &a);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            rig_send(&a, &b, packet, sizes[i]);
        rig_run(&r);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            rig_expect_packet(&b, &a, packet, sizes[i]);
        rig_expect_nothing(&b);
        rig_close(&a);
        rig_close(&b);
        rig_stop(&r);
    }
}

/* Fast start: the client does not wait for anything. */
static void test_everything_at_once(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a;
    rig_start(&r, NULL, NULL);
    rig_connect(&r, &a, 1, 0);
    struct buf b = {0};
    rig_append_login(&r, &a, &b, false);
    derp_append_frame(&b, DERP_NOTE_PREFERRED, "\1", 1);
    derp_append_send_packet(&b, &a.public, text, sizeof(text));
    derp_append_frame(&b, DERP_PING, "12345678", 8);
    rig_write(&a, &b);
    rig_run(&r);
    rig_expect_welcome(&r, &a);
    rig_expect(&a, DERP_PONG, 8); /* control frames go first */
    rig_expect_packet(&a, &a, text, sizeof(text));
    rig_expect_nothing(&a);
    assert_int_equal(rig_count("current_home_connections", ""), 1);
    rig_close(&a);
    rig_run(&r);
    assert_int_equal(rig_count("current_home_connections", ""), 0);
    rig_stop(&r);
}

static void test_leftover_of_the_upgrade(void **state)
{
    (void)state;
    static const struct stream_events events = {rig_on_data, NULL, rig_on_closed};
    struct rig r;
    struct rig_client a, like;
    rig_start(&r, NULL, NULL);
    rig_connect(&r, &like, 1, 0);
    a = (struct rig_client){.key = like.key, .public = like.public};
    struct stream *server_end;
    stream_pair_create(r.loop, 0, &a.s, &server_end);
    stream_set_events(a.s, &events, &a);
    struct buf b = {0};
    rig_append_login(&r, &a, &b, false);
    size_t cut = buf_len(&b) - 10; /* the rest comes by itself */
    relay_attach(r.relay, server_end, buf_at(&b), cut, false);
    buf_consume(&b, cut);
    rig_write(&a, &b);
    rig_run(&r);
    rig_expect_welcome(&r, &a);
    rig_close(&a);
    rig_close(&like);
    rig_stop(&r);
}

/* Sends `n` bytes as the first ones of a connection, which must be closed for them. */
static void refuse_first(struct rig *r, const void *p, size_t n)
{
    struct rig_client c;
    int64_t before = rig_count("closed_total", "reason=\"bad_login\"");
    rig_connect(r, &c, 1, 0);
    stream_write(c.s, p, n);
    rig_run(r);
    rig_expect(&c, DERP_SERVER_KEY, 40);
    rig_expect_closed(&c);
    assert_int_equal(rig_count("closed_total", "reason=\"bad_login\""), before + 1);
    rig_close(&c);
}

static void test_bad_logins(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client c;
    rig_start(&r, NULL, NULL);
    refuse_first(&r, "\x04\0\0\0\x20", 5);       /* a packet before the login */
    refuse_first(&r, "\x06\0\0\0\0", 5);         /* what would be skipped later */
    refuse_first(&r, "\x02\0\0\0\x37", 5);       /* 55 bytes: no room for a nonce */
    refuse_first(&r, "\x02\0\0\x10\x01", 5);     /* 4 KiB and one: nothing of it is kept */
    refuse_first(&r, "\x02\xff\xff\xff\xff", 5); /* closed by the header alone */
    refuse_first(&r, "GET / HTTP/1.1\r\n\r\n", 18);
    rig_connect(&r, &c, 1, 0);
    struct buf b = {0};
    rig_append_login(&r, &c, &b, false);
    buf_at(&b)[buf_len(&b) - 1] ^= 1; /* the box is broken */
    refuse_first(&r, buf_at(&b), buf_len(&b));
    buf_at(&b)[buf_len(&b) - 1] ^= 1;
    buf_at(&b)[DERP_HEADER_BYTES] ^= 1; /* another's key */
    refuse_first(&r, buf_at(&b), buf_len(&b));
    buf_fini(&b);
    rig_expect(&c, DERP_SERVER_KEY, 40);
    rig_expect_nothing(&c); /* it did not notice */
    rig_close(&c);
    rig_stop(&r);
}

static void test_login_timeout(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client silent, half, in;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &in, 3);
    rig_connect(&r, &silent, 1, 0);
    rig_connect(&r, &half, 2, 0);
    struct buf b = {0};
    rig_append_login(&r, &half, &b, false);
    stream_write(half.s, buf_at(&b), buf_len(&b) / 2);
    buf_fini(&b);
    rig_run(&r);
    rig_expect(&silent, DERP_SERVER_KEY, 40);
    rig_expect(&half, DERP_SERVER_KEY, 40);
    relay_test_advance(r.relay, 9000);
    rig_run(&r);
    rig_expect_nothing(&silent);
    relay_test_advance(r.relay, 3000);
    rig_run(&r);
    rig_expect_closed(&silent);
    rig_expect_closed(&half);
    rig_expect_nothing(&in);
    rig_close(&silent);
    rig_close(&half);
    rig_close(&in);
    rig_stop(&r);
}

/* --- Admission --- */

struct gate {
    struct relay_admission *waiting[4];
    unsigned n;
    node_key last;
};

static void gate_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct gate *g = ctx;
    (void)from;
    g->last = *key;
    g->waiting[g->n++] = login;
}

static void test_admission(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct relay_ops ops = {&gate, gate_admit};
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, &ops);
    rig_connect(&r, &a, 1, 0);
    rig_login(&r, &a, false);
    rig_send(&a, &a, text, sizeof(text)); /* ahead of the verdict: waits */
    rig_run(&r);
    assert_int_equal(gate.n, 1);
    assert_true(keys_equal(gate.last.b, a.public.b));
    rig_expect(&a, DERP_SERVER_KEY, 40);
    rig_expect_nothing(&a);
    relay_admit(gate.waiting[0], true);
    rig_run(&r);
    struct derp_header h;
    const uint8_t *p;
    assert_true(rig_next(&a, &h, &p) && h.type == DERP_SERVER_INFO);
    rig_expect_packet(&a, &a, text, sizeof(text));

    int64_t before = rig_count("closed_total", "reason=\"not_admitted\"");
    rig_connect(&r, &b, 2, 0);
    rig_login(&r, &b, false);
    rig_run(&r);
    relay_admit(gate.waiting[1], false);
    rig_run(&r);
    rig_expect(&b, DERP_SERVER_KEY, 40);
    rig_expect_closed(&b);
    assert_int_equal(rig_count("closed_total", "reason=\"not_admitted\""), before + 1);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

/* Asked about again, a client that may not stay is closed; the others notice nothing. */
static void test_asked_again(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct relay_ops ops = {&gate, gate_admit};
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, &ops);
    rig_connect(&r, &a, 1, 0);
    rig_login(&r, &a, false);
    rig_run(&r);
    relay_ask_again(r.relay); /* while its login waits: asked once */
    rig_run(&r);
    assert_int_equal(gate.n, 1);
    relay_admit(gate.waiting[0], true);
    rig_run(&r);
    rig_expect_welcome(&r, &a);
    rig_connect(&r, &b, 2, 0);
    rig_login(&r, &b, false);
    rig_run(&r);
    relay_admit(gate.waiting[1], true);
    rig_run(&r);
    rig_expect_welcome(&r, &b);
    int64_t before = rig_count("closed_total", "reason=\"revoked\"");
    relay_ask_again(r.relay);
    rig_run(&r);
    assert_int_equal(gate.n, 4);
    bool is_last_b = keys_equal(gate.last.b, b.public.b);
    relay_admit(gate.waiting[2], is_last_b);
    relay_admit(gate.waiting[3], !is_last_b);
    rig_run(&r);
    rig_expect_nothing(&a);
    rig_expect_closed(&b);
    assert_int_equal(rig_count("closed_total", "reason=\"revoked\""), before + 1);
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

/* The client may be gone, or the node be deleted, before the answer comes; and the answer may never come. */
static void test_late_admissions(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct relay_ops ops = {&gate, gate_admit};
    struct rig r;
    struct rig_client left, deleted, never, too_late;
    rig_start(&r, NULL, &ops);
    struct rig_client *const all[] = {&left, &deleted, &never, &too_late};
    for (size_t i = 0; i < 4; i++) {
        rig_connect(&r, all[i], (uint8_t)i, 0);
        rig_login(&r, all[i], false);
    }
    rig_run(&r);
    rig_close(&left);
    relay_close_key(r.relay, &deleted.public);
    relay_test_advance(r.relay, 5000);
    rig_run(&r);
    relay_admit(gate.waiting[0], true);
    relay_admit(gate.waiting[1], true);
    relay_test_advance(r.relay, 6000); /* the login's time is over */
    relay_admit(gate.waiting[3], true);
    rig_run(&r);
    for (size_t i = 1; i < 4; i++) {
        rig_expect(all[i], DERP_SERVER_KEY, 40);
        rig_expect_closed(all[i]);
        rig_close(all[i]);
    }
    assert_int_equal(relay_client_count(r.relay), 0);
    rig_stop(&r);
}

/* A client that floods before it is admitted is thrown out instead of stored. */
static void test_flood_before_admission(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct relay_ops ops = {&gate, gate_admit};
    static uint8_t packet[60000];
    struct rig r;
    struct rig_client a;
    rig_start(&r, NULL, &ops);
    rig_connect(&r, &a, 1, 0);
    struct buf b = {0};
    rig_append_login(&r, &a, &b, false);
    for (int i = 0; i < 6; i++)
        derp_append_send_packet(&b, &a.public, packet, sizeof(packet));
    rig_write(&a, &b);
    rig_run(&r);
    rig_expect(&a, DERP_SERVER_KEY, 40);
    rig_expect_closed(&a);
    rig_close(&a);
    rig_stop(&r);
}

static void test_close_key(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, twin, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &twin, 1);
    rig_join(&r, &b, 2);
    rig_send(&twin, &b, text, sizeof(text));
    rig_run(&r);
    rig_expect_packet(&b, &a, text, sizeof(text));
    relay_close_key(r.relay, &a.public);
    relay_close_key(r.relay, &a.public);
    rig_run(&r);
    rig_expect_closed(&a);
    rig_expect_closed(&twin);
    rig_expect_gone(&b, &a, DERP_GONE_DISCONNECTED);
    rig_expect_nothing(&b);
    assert_int_equal(relay_client_count(r.relay), 1);
    rig_close(&a);
    rig_close(&twin);
    rig_close(&b);
    rig_stop(&r);
}

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
    rig_join(&r, &c[0], 7); /* there is room again */
    rig_close(&c[0]);
    rig_close(&c[1]);
    rig_stop(&r);
}

/* Strangers who hold on to connections lose them to each other: a node gets in, and the relay stays healthy. */
static void test_strangers_keep_nobody_out(void **state)
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

/* One address, or one /64, has a part of the strangers' share; the oldest of its own goes for its newest. */
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

/* All kinds of clients come from a proxy's address, and from this machine's. */
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

/* An open relay lets everyone in, and keeps a quarter of its places for whom it knows. */
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

/* One address, or one /64, has no more than a quarter of the places for guests; nodes that are known are not counted
 * by it. */
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

/* A key may have so many connections; for a new one that goes which has been silent longest. */
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
    rig_frame(&t[0], DERP_NOTE_PREFERRED, "\1", 1); /* the first speaks, so that the second is the most silent one */
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

/* Many twins that speak in turn: each is the active one when it has spoken, and only then. */
static void test_twins_in_turn(void **state)
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
        buf_clear(&now->got); /* what twins are told of each other */
        rig_send(&other, now, text, sizeof(text));
        rig_run(&r);
        rig_expect_packet(now, &other, text, sizeof(text));
    }
    for (size_t i = 0; i < TWINS; i++)
        rig_close(&t[i]);
    rig_close(&other);
    rig_stop(&r);
}

/* --- Frames --- */

/* A logged-in client sends this and is closed for it; another does not notice. */
static void refuse_frame(uint8_t type, uint32_t claimed, const void *payload, size_t n, const char *reason)
{
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 2);
    int64_t before = rig_count("closed_total", reason);
    uint8_t header[DERP_HEADER_BYTES];
    derp_header_build(type, claimed, header);
    stream_write(a.s, header, sizeof(header));
    stream_write(a.s, payload, n);
    rig_run(&r);
    rig_expect_closed(&a);
    rig_expect_nothing(&b);
    assert_int_equal(rig_count("closed_total", reason), before + 1);
    rig_send(&b, &b, text, sizeof(text));
    rig_run(&r);
    rig_expect_packet(&b, &b, text, sizeof(text));
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

static void test_bad_frames(void **state)
{
    (void)state;
    static const char bad[] = "reason=\"bad_frame\"";
    static const char mesh[] = "reason=\"no_mesh_right\"";
    static const uint8_t zeros[1024];
    refuse_frame(DERP_SEND_PACKET, 0, NULL, 0, bad); /* where a key is due */
    refuse_frame(DERP_SEND_PACKET, 31, zeros, 31, bad);
    refuse_frame(DERP_SEND_PACKET, 32 + 65537, NULL, 0, bad);
    refuse_frame(DERP_NOTE_PREFERRED, 0, NULL, 0, bad);
    refuse_frame(DERP_NOTE_PREFERRED, 2, zeros, 2, bad);
    refuse_frame(DERP_PING, 7, zeros, 7, bad);
    refuse_frame(DERP_PING, 1001, zeros, 1001, bad);
    refuse_frame(DERP_CLIENT_INFO, 100, zeros, 100, bad);
    refuse_frame(DERP_WATCH_CONNS, 1, zeros, 1, bad);
    refuse_frame(DERP_CLOSE_PEER, 31, zeros, 31, bad);
    refuse_frame(DERP_FORWARD_PACKET, 63, zeros, 63, bad);
    refuse_frame(DERP_WATCH_CONNS, 0, NULL, 0, mesh);
    refuse_frame(DERP_CLOSE_PEER, 32, zeros, 32, mesh);
    refuse_frame(DERP_FORWARD_PACKET, 64, zeros, 64, mesh);
}

static void test_unknown_frames_are_skipped(void **state)
{
    (void)state;
    static uint8_t junk[100000];
    struct rig r;
    struct rig_client a;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_frame(&a, 0x7f, junk, sizeof(junk));
    rig_frame(&a, 0x7f, NULL, 0);
    rig_frame(&a, DERP_RECV_PACKET, junk, 40);
    rig_frame(&a, DERP_PONG, "12345678", 8); /* to no ping of ours */
    rig_frame(&a, DERP_PONG, "123", 3);
    rig_frame(&a, DERP_PING, "12345678", 8);
    rig_run(&r);
    assert_memory_equal(rig_expect(&a, DERP_PONG, 8), "12345678", 8);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_stop(&r);
}

static void test_half_a_frame_then_silence(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 2);
    int64_t before = rig_count("closed_total", "reason=\"frame_timeout\"");
    stream_write(a.s, "\x04\0\0\0\x40halves", 11);
    stream_write(b.s, "\x04\0", 2);
    rig_run(&r);
    relay_test_advance(r.relay, 20000);
    stream_write(b.s, "\0\0\x20", 3);
    stream_write(b.s, b.public.b, KEY_BYTES);
    rig_run(&r);
    rig_expect_nothing(&a);
    rig_expect_packet(&b, &b, "", 0);
    relay_test_advance(r.relay, 12000);
    rig_run(&r);
    rig_expect_closed(&a);
    rig_expect_nothing(&b);
    assert_int_equal(rig_count("closed_total", "reason=\"frame_timeout\""), before + 1);
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

static void test_pings_of_clients(void **state)
{
    (void)state;
    static uint8_t long_ping[1000] = "abcdefgh-more";
    struct rig r;
    struct rig_client a;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_frame(&a, DERP_PING, long_ping, sizeof(long_ping));
    rig_frame(&a, DERP_PING, "ignored!", 8); /* one answer waits already */
    rig_run(&r);
    assert_memory_equal(rig_expect(&a, DERP_PONG, 8), "abcdefgh", 8);
    rig_expect_nothing(&a);
    rig_frame(&a, DERP_PING, "12345678", 8);
    rig_run(&r);
    assert_memory_equal(rig_expect(&a, DERP_PONG, 8), "12345678", 8);
    rig_close(&a);
    rig_stop(&r);
}

static void test_homes(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    int64_t moves_in = rig_count("home_moves_in_total", ""), out = rig_count("home_moves_out_total", "");
    rig_frame(&a, DERP_NOTE_PREFERRED, "\1", 1);
    rig_frame(&a, DERP_NOTE_PREFERRED, "\2", 1);
    rig_run(&r);
    assert_int_equal(rig_count("current_home_connections", ""), 1);
    assert_int_equal(rig_count("home_moves_in_total", ""), moves_in); /* it has just come */
    relay_test_advance(r.relay, 6000);
    rig_frame(&a, DERP_NOTE_PREFERRED, "\0", 1);
    rig_run(&r);
    assert_int_equal(rig_count("current_home_connections", ""), 0);
    assert_int_equal(rig_count("home_moves_out_total", ""), out + 1);
    rig_close(&a);
    rig_stop(&r);
}

/* --- Who is not here, who has gone --- */

static void test_not_here(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, nobody;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_connect(&r, &nobody, 2, 0); /* connected, not logged in: not here */
    int64_t dropped = rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"disco\"");
    int64_t dropped_data = rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"other\"");
    for (int i = 0; i < 10; i++)
        rig_send(&a, &nobody, disco, sizeof(disco));
    rig_send(&a, &nobody, text, sizeof(text));
    rig_run(&r);
    for (int i = 0; i < PACKET_NOT_HERE_BURST; i++)
        rig_expect_gone(&a, &nobody, DERP_GONE_NOT_HERE);
    rig_expect_nothing(&a);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"disco\""), dropped + 10);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"other\""), dropped_data + 1);
    relay_test_advance(r.relay, 2000);
    for (int i = 0; i < 10; i++)
        rig_send(&a, &nobody, disco, sizeof(disco));
    rig_run(&r);
    rig_expect_gone(&a, &nobody, DERP_GONE_NOT_HERE);
    rig_expect_gone(&a, &nobody, DERP_GONE_NOT_HERE);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_close(&nobody);
    rig_stop(&r);
}

static void test_gone_is_told_each_time(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b, stranger;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &b, 2);
    rig_join(&r, &stranger, 3);
    for (int i = 0; i < 3; i++) {
        rig_join(&r, &a, 1);
        rig_send(&a, &b, text, sizeof(text));
        rig_send(&a, &b, disco, sizeof(disco));
        rig_run(&r);
        rig_expect_packet(&b, &a, disco, sizeof(disco)); /* disco goes first */
        rig_expect_packet(&b, &a, text, sizeof(text));
        rig_close(&a);
        rig_run(&r);
        rig_expect_gone(&b, &a, DERP_GONE_DISCONNECTED);
        rig_expect_nothing(&b);
    }
    rig_join(&r, &a, 1);
    rig_close(&a); /* it has sent nothing this time */
    rig_run(&r);
    rig_expect_nothing(&b);
    rig_expect_nothing(&stranger);
    rig_close(&b);
    rig_close(&stranger);
    rig_run(&r);
    assert_int_equal(r.relay->workers[0].peers.n, 0);
    assert_int_equal(r.relay->workers[0].gone_links.n, 0);
    rig_stop(&r);
}

/* The last packets come before the news. */
static void test_gone_after_the_last_packet(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 2);
    rig_send(&a, &b, text, sizeof(text));
    stream_close(&a.s, true);
    rig_run(&r);
    rig_expect_packet(&b, &a, text, sizeof(text));
    rig_expect_gone(&b, &a, DERP_GONE_DISCONNECTED);
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

static void test_memory_of_senders_is_bounded(void **state)
{
    (void)state;
    struct relay_opts opts = rig_default_opts;
    opts.max_gone_sources = 4;
    struct rig r;
    struct rig_client b, senders[10];
    rig_start(&r, &opts, NULL);
    rig_join(&r, &b, 100);
    for (uint8_t i = 0; i < 10; i++) {
        rig_join(&r, &senders[i], i);
        rig_send(&senders[i], &b, text, sizeof(text));
        rig_run(&r);
        rig_expect_packet(&b, &senders[i], text, sizeof(text));
    }
    assert_int_equal(r.relay->workers[0].gone_links.n, 4);
    for (uint8_t i = 0; i < 10; i++)
        rig_close(&senders[i]);
    rig_run(&r);
    for (uint8_t i = 6; i < 10; i++)
        rig_expect_gone(&b, &senders[i], DERP_GONE_DISCONNECTED);
    rig_expect_nothing(&b);
    assert_int_equal(r.relay->workers[0].gone_links.n, 0);
    rig_close(&b);
    rig_stop(&r);
}

/* --- Several connections with one key --- */

static void test_last_writer_is_active(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client old, new, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &old, 1);
    rig_join(&r, &b, 2);
    rig_join(&r, &new, 1);
    assert_int_equal(rig_count("current_dup_client_keys", ""), 1);
    assert_int_equal(rig_count("current_dup_client_conns", ""), 2);
    rig_send(&b, &old, "1", 1);
    rig_run(&r);
    rig_expect_packet(&new, &b, "1", 1); /* the newest */
    rig_send(&old, &b, "2", 1);
    rig_run(&r);
    rig_expect_packet(&b, &old, "2", 1);
    rig_send(&b, &old, "3", 1);
    rig_run(&r);
    rig_expect_packet(&old, &b, "3", 1); /* who spoke last */
    rig_expect_nothing(&new);
    rig_close(&old);
    rig_run(&r);
    rig_expect_nothing(&b); /* the key is still here */
    rig_send(&b, &new, "4", 1);
    rig_run(&r);
    rig_expect_packet(&new, &b, "4", 1);
    rig_expect_nothing(&new); /* one switch is a client that moved: no health warning */
    assert_int_equal(rig_count("current_dup_client_keys", ""), 0);
    assert_int_equal(rig_count("current_dup_client_conns", ""), 0);
    rig_close(&new);
    rig_run(&r);
    rig_expect_gone(&b, &new, DERP_GONE_DISCONNECTED);
    rig_close(&b);
    rig_stop(&r);
}

static void expect_health(struct rig_client *c, bool is_bad)
{
    struct derp_header h = {0};
    const uint8_t *p;
    assert_true(rig_next(c, &h, &p));
    assert_int_equal(h.type, DERP_HEALTH);
    assert_int_equal(h.len > 0, is_bad);
    if (is_bad)
        assert_memory_equal(p, "duplicate node key", 18);
}

static void test_rivals_are_warned(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b, c;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 1);
    rig_frame(&a, DERP_NOTE_PREFERRED, "\1", 1);
    rig_run(&r);
    rig_expect_nothing(&a);
    rig_frame(&b, DERP_NOTE_PREFERRED, "\1", 1);
    rig_run(&r);
    expect_health(&a, true);
    expect_health(&b, true);
    rig_frame(&a, DERP_NOTE_PREFERRED, "\0", 1);
    rig_run(&r);
    rig_expect_nothing(&a); /* once is enough */
    rig_connect(&r, &c, 1, 0);
    rig_login(&r, &c, false);
    rig_run(&r);
    rig_expect_welcome(&r, &c);
    expect_health(&c, true);
    rig_close(&c);
    rig_run(&r);
    rig_close(&b);
    rig_run(&r);
    expect_health(&a, false);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_stop(&r);
}

/* --- Queues --- */

static void test_slow_reader(void **state)
{
    (void)state;
    static uint8_t packet[1000];
    struct relay_opts opts = rig_default_opts;
    opts.queue_bytes = 128 * 1024;
    struct rig r;
    struct rig_client a, slow, b;
    rig_start(&r, &opts, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &slow, 2);
    rig_join(&r, &b, 3);
    int64_t before = rig_count("packets_dropped_total", "reason=\"queue_head\",kind=\"other\"");
    int64_t waits = metric_histogram_count("fullscale_derp_queue_wait_seconds");
    stream_pause(slow.s, true);
    for (unsigned i = 0; i < 1000; i++) {
        memcpy(packet, &i, sizeof(i));
        rig_send(&a, &slow, packet, sizeof(packet));
        if (i % 50 == 0)
            rig_run(&r);
    }
    rig_send(&a, &slow, disco, sizeof(disco));
    rig_send(&a, &b, text, sizeof(text));
    rig_run(&r);
    rig_expect_packet(&b, &a, text, sizeof(text)); /* the sender is not held up */
    int64_t dropped = rig_count("packets_dropped_total", "reason=\"queue_head\",kind=\"other\"") - before;
    assert_true(dropped > 700 && dropped < 900); /* 128 KiB here and 64 KiB in the stream remain */
    stream_pause(slow.s, false);
    rig_run(&r);
    unsigned got = 0, last = 0;
    bool has_disco = false;
    struct derp_header h;
    const uint8_t *p;
    while (rig_next(&slow, &h, &p)) {
        unsigned number;
        assert_int_equal(h.type, DERP_RECV_PACKET);
        if (h.len == KEY_BYTES + sizeof(disco)) {
            assert_true(last < 100); /* ahead of what waited in our queue, behind what the stream had already */
            has_disco = true;
            continue;
        }
        memcpy(&number, p + KEY_BYTES, sizeof(number));
        assert_true(got == 0 || number > last);
        last = number;
        got++;
    }
    assert_true(has_disco);
    assert_int_equal(last, 999); /* the newest is there: the oldest were dropped */
    assert_int_equal(got + dropped, 1000);
    assert_int_equal(metric_histogram_count("fullscale_derp_queue_wait_seconds"), waits + 1);
    rig_close(&a);
    rig_close(&slow);
    rig_close(&b);
    rig_stop(&r);
}

static void test_write_timeout(void **state)
{
    (void)state;
    static uint8_t packet[30000];
    struct rig r;
    struct rig_client a, stuck, slow;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_connect(&r, &slow, 2, 1000);
    rig_login(&r, &slow, false);
    rig_join(&r, &stuck, 3);
    int64_t gone = rig_count("packets_dropped_total", "reason=\"gone_disconnected\",kind=\"other\"");
    int64_t timeouts = rig_count("closed_total", "reason=\"write_timeout\"");
    stream_pause(stuck.s, true);
    for (int i = 0; i < 5; i++) {
        rig_send(&a, &stuck, packet, sizeof(packet));
        rig_send(&a, &slow, packet, sizeof(packet));
    }
    rig_run(&r);
    relay_test_advance(r.relay, 1000);
    rig_run(&r);
    rig_expect_nothing(&stuck);
    relay_test_advance(r.relay, 2000); /* the login's frame was taken meanwhile: one more term */
    relay_test_advance(r.relay, 3000);
    rig_run(&r);
    stream_pause(stuck.s, false);
    rig_run(&r);
    rig_expect_closed(&stuck);
    assert_int_equal(rig_count("closed_total", "reason=\"write_timeout\""), timeouts + 1);
    rig_expect_nothing(&a);
    assert_false(slow.is_closed);
    assert_true(rig_count("packets_dropped_total", "reason=\"gone_disconnected\",kind=\"other\"") > gone);
    rig_close(&a);
    rig_close(&slow);
    rig_close(&stuck);
    rig_stop(&r);
}

/* Two workers, run by turns by one thread. */
static void two_workers_run(struct rig r[2])
{
    for (int i = 0; i < 3; i++) {
        rig_run(&r[0]);
        rig_run(&r[1]);
    }
}

/* A worker that gets no CPU for a hundred turns of another loses nothing; what waits for it is bounded in bytes. */
static void test_a_worker_that_is_late(void **state)
{
    (void)state;
    static uint8_t large[60000];
    struct loop *loops[2] = {loop_create(0), loop_create(1)};
    struct rig r[2] = {{.loop = loops[0]}, {.loop = loops[1]}};
    struct rig_client a, b;
    crypto_init();
    r[0].relay = r[1].relay = relay_create(&rig_default_opts, NULL, loops, 2);
    rig_connect(&r[0], &a, 1, 0);
    rig_connect(&r[1], &b, 2, 0);
    rig_login(&r[0], &a, false);
    rig_login(&r[1], &b, false);
    two_workers_run(r);
    rig_expect_welcome(&r[0], &a);
    rig_expect_welcome(&r[1], &b);
    int64_t dropped = rig_count("packets_dropped_total", "reason=\"worker_busy\",kind=\"other\"");
    for (uint8_t i = 0; i < 100; i++) {
        rig_send(&a, &b, &i, 1);
        rig_run(&r[0]);
    }
    two_workers_run(r);
    for (uint8_t i = 0; i < 100; i++)
        rig_expect_packet(&b, &a, &i, 1);
    rig_expect_nothing(&b);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"worker_busy\",kind=\"other\""), dropped);
    for (unsigned i = 0; i < 2 * PIPE_IN_FLIGHT_MAX_BYTES / sizeof(large); i++) {
        rig_send(&a, &b, large, sizeof(large));
        rig_run(&r[0]);
    }
    assert_true(rig_count("packets_dropped_total", "reason=\"worker_busy\",kind=\"other\"") > dropped);
    two_workers_run(r);
    buf_clear(&b.got);
    rig_send(&a, &b, text, sizeof(text)); /* there is room again */
    two_workers_run(r);
    rig_expect_packet(&b, &a, text, sizeof(text));
    relay_destroy(&r[0].relay);
    rig_close(&a);
    rig_close(&b);
    loop_destroy(&loops[0]);
    loop_destroy(&loops[1]);
}

/* Idle connections hold no buffers. */
static void test_idle_memory(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 2);
    rig_send(&a, &b, text, sizeof(text));
    rig_send(&b, &a, disco, sizeof(disco));
    rig_run(&r);
    struct client *c;
    size_t pos = 0;
    while ((c = map_next(&r.relay->workers[0].clients, &pos)) != NULL) {
        assert_null(c->endpoint.reader.in.data);
        for (unsigned i = 0; i < FRAME_PRIORITY_N; i++)
            assert_null(c->endpoint.queues[i].data);
    }
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

/* --- Time --- */

static void test_keep_alive(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    for (int i = 0; i < 3; i++) {
        relay_test_advance(r.relay, 59000);
        rig_run(&r);
        rig_expect_nothing(&a);
        relay_test_advance(r.relay, 7000);
        rig_run(&r);
        rig_expect(&a, DERP_KEEP_ALIVE, 0);
        rig_expect_nothing(&a);
    }
    rig_close(&a);
    rig_stop(&r);
}

static void test_pings_of_the_server(void **state)
{
    (void)state;
    struct relay_opts opts = rig_default_opts;
    opts.keep_alive_ms = 1000 * 1000;
    struct rig r;
    struct rig_client good, dead, mute;
    rig_start(&r, &opts, NULL);
    rig_connect(&r, &good, 1, 0);
    rig_connect(&r, &dead, 2, 0);
    rig_login(&r, &good, true);
    rig_login(&r, &dead, true);
    rig_join(&r, &mute, 3); /* does not answer pings, and says so */
    rig_expect_welcome(&r, &good);
    rig_expect_welcome(&r, &dead);
    int64_t answers = metric_histogram_count("fullscale_derp_ping_rtt_seconds");
    for (int i = 0; i < 3; i++) {
        relay_test_advance(r.relay, 31000);
        rig_run(&r);
        uint8_t id[8];
        memcpy(id, rig_expect(&good, DERP_PING, 8), 8);
        rig_expect(&dead, DERP_PING, 8);
        relay_test_advance(r.relay, 20);
        rig_frame(&good, DERP_PONG, id, 8);
        rig_run(&r);
        rig_expect_nothing(&mute);
    }
    relay_test_advance(r.relay, 31000);
    rig_run(&r);
    rig_expect(&good, DERP_PING, 8);
    rig_expect_closed(&dead);
    rig_expect_nothing(&mute);
    struct peer *p = peers_get(&r.relay->workers[0], &good.public);
    assert_in_range(p->local->rtt_ms, 20, 1000);
    assert_int_equal(metric_histogram_count("fullscale_derp_ping_rtt_seconds"), answers + 3);
    rig_close(&good);
    rig_close(&dead);
    rig_close(&mute);
    rig_stop(&r);
}

static void test_drain(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client c[4], late;
    rig_start(&r, NULL, NULL);
    for (uint8_t i = 0; i < 4; i++)
        rig_join(&r, &c[i], i);
    relay_drain(r.relay, 40000);
    rig_run(&r);
    assert_true(relay_is_draining(r.relay));
    rig_connect(&r, &late, 9, 0);
    rig_run(&r);
    rig_expect_closed(&late);
    for (unsigned s = 1; s <= 4; s++) {
        relay_test_advance(r.relay, 10000);
        rig_run(&r);
        unsigned closed = 0;
        for (size_t i = 0; i < 4; i++)
            closed += c[i].is_closed;
        /* One in ten seconds; the next one too where the machine's own clock has gone on to its second. */
        assert_in_range(closed, s, s < 4 ? s + 1 : 4);
    }
    for (size_t i = 0; i < 4; i++) {
        struct derp_header h = {0};
        const uint8_t *p;
        assert_true(rig_next(&c[i], &h, &p) && h.type == DERP_HEALTH && h.len > 0);
        rig_expect_closed(&c[i]);
        rig_close(&c[i]);
    }
    rig_close(&late);
    rig_stop(&r);
}

static void test_drain_at_once(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &b, 2);
    rig_send(&a, &b, text, sizeof(text));
    rig_run(&r);
    relay_drain(r.relay, 0);
    rig_run(&r);
    rig_expect_closed(&a);
    rig_expect_packet(&b, &a, text, sizeof(text));
    rig_close(&a);
    rig_close(&b);
    rig_stop(&r);
}

/* Whatever is open or under way when the program ends is freed. */
static void test_end_in_the_middle(void **state)
{
    (void)state;
    struct gate gate = {0};
    struct relay_ops ops = {&gate, gate_admit};
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, &ops);
    rig_connect(&r, &a, 1, 0);
    rig_connect(&r, &b, 2, 0);
    rig_login(&r, &a, false);
    rig_login(&r, &b, false);
    rig_run(&r);
    relay_admit(gate.waiting[0], true);
    rig_run(&r);
    relay_close_key(r.relay, &a.public); /* never run */
    rig_send(&a, &a, text, sizeof(text));
    relay_destroy(&r.relay);
    rig_close(&a);
    rig_close(&b);
    loop_destroy(&r.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login_and_packets),
        cmocka_unit_test(test_bytes_in_any_pieces),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_leftover_of_the_upgrade),
        cmocka_unit_test(test_bad_logins),
        cmocka_unit_test(test_login_timeout),
        cmocka_unit_test(test_admission),
        cmocka_unit_test(test_asked_again),
        cmocka_unit_test(test_late_admissions),
        cmocka_unit_test(test_flood_before_admission),
        cmocka_unit_test(test_close_key),
        cmocka_unit_test(test_limit_of_clients),
        cmocka_unit_test(test_strangers_keep_nobody_out),
        cmocka_unit_test(test_strangers_of_one_address),
        cmocka_unit_test(test_a_proxy_is_no_address),
        cmocka_unit_test(test_guests_leave_a_reserve),
        cmocka_unit_test(test_guests_of_one_address),
        cmocka_unit_test(test_limit_of_one_key),
        cmocka_unit_test(test_twins_in_turn),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_unknown_frames_are_skipped),
        cmocka_unit_test(test_half_a_frame_then_silence),
        cmocka_unit_test(test_pings_of_clients),
        cmocka_unit_test(test_homes),
        cmocka_unit_test(test_not_here),
        cmocka_unit_test(test_gone_is_told_each_time),
        cmocka_unit_test(test_gone_after_the_last_packet),
        cmocka_unit_test(test_memory_of_senders_is_bounded),
        cmocka_unit_test(test_last_writer_is_active),
        cmocka_unit_test(test_rivals_are_warned),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_write_timeout),
        cmocka_unit_test(test_a_worker_that_is_late),
        cmocka_unit_test(test_idle_memory),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_pings_of_the_server),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_at_once),
        cmocka_unit_test(test_end_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
