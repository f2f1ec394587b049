/* The mesh as neighbours see this relay: what the mesh key permits, watching, forwarded packets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "proto/test_vectors.h"
#include "relay/mesh_rig_internal.h"

static const uint8_t disco[62] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

static struct relay_opts mesh_opts(void)
{
    struct relay_opts opts = rig_default_opts;
    memcpy(opts.mesh_key, mesh_rig_key, sizeof(opts.mesh_key));
    return opts;
}

static void start(struct rig *r)
{
    struct relay_opts opts = mesh_opts();
    rig_start(r, &opts, NULL);
}

static void join_neighbour(struct rig *r, struct rig_client *c, uint8_t number)
{
    rig_mesh_login(r, c, number, mesh_rig_key);
    rig_run(r);
    rig_expect_welcome(r, c);
    rig_expect_nothing(c);
}

/* --- What the mesh key permits --- */

static void refuse(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    (void)key;
    (void)from;
    ++*(unsigned *)ctx;
    relay_admit(login, false);
}

static void test_neighbours_are_always_admitted(void **state)
{
    (void)state;
    unsigned asked = 0;
    struct relay_ops ops = {&asked, refuse};
    struct relay_opts opts = mesh_opts();
    uint8_t wrong[32] = {[0] = 7, [31] = 8}, none[32] = {0};
    struct rig r;
    struct rig_client neighbour, guess, zero;
    rig_start(&r, &opts, &ops);
    join_neighbour(&r, &neighbour, 1);
    assert_int_equal(asked, 0);
    rig_mesh_login(&r, &guess, 2, wrong);
    rig_mesh_login(&r, &zero, 3, none);
    rig_run(&r);
    assert_int_equal(asked, 2);
    rig_expect(&guess, DERP_SERVER_KEY, 40);
    rig_expect_closed(&guess);
    rig_expect(&zero, DERP_SERVER_KEY, 40);
    rig_expect_closed(&zero);
    rig_close(&neighbour);
    rig_close(&guess);
    rig_close(&zero);
    rig_stop(&r);
}

/* A relay without a mesh key has no neighbours, not even one with a key of zeros. */
static void test_no_mesh(void **state)
{
    (void)state;
    static const uint8_t zeros[32];
    struct rig r;
    struct rig_client c[2];
    rig_start(&r, NULL, NULL);
    int64_t before = rig_count("closed_total", "reason=\"no_mesh_right\"");
    for (uint8_t i = 0; i < 2; i++) {
        rig_mesh_login(&r, &c[i], i, i == 0 ? zeros : mesh_rig_key);
        rig_run(&r);
        rig_expect_welcome(&r, &c[i]);
        rig_frame(&c[i], DERP_WATCH_CONNS, NULL, 0);
        rig_run(&r);
        rig_expect_closed(&c[i]);
        rig_close(&c[i]);
    }
    assert_int_equal(rig_count("closed_total", "reason=\"no_mesh_right\""), before + 2);
    rig_stop(&r);
}

static void test_wrong_key_is_a_client(void **state)
{
    (void)state;
    uint8_t wrong[32] = {1};
    struct rig r;
    struct rig_client c, other;
    start(&r);
    rig_join(&r, &other, 2);
    for (int i = 0; i < 3; i++) {
        static const uint8_t zeros[64];
        static const uint8_t types[] = {DERP_WATCH_CONNS, DERP_FORWARD_PACKET, DERP_CLOSE_PEER};
        static const size_t sizes[] = {0, 64, 32};
        rig_mesh_login(&r, &c, 1, wrong);
        rig_run(&r);
        rig_expect_welcome(&r, &c);
        rig_send(&c, &other, "x", 1);
        rig_run(&r);
        rig_expect_packet(&other, &c, "x", 1);
        rig_frame(&c, types[i], zeros, sizes[i]);
        rig_run(&r);
        rig_expect_closed(&c);
        rig_expect_gone(&other, &c, DERP_GONE_DISCONNECTED);
        rig_close(&c);
    }
    rig_expect_nothing(&other);
    rig_close(&other);
    rig_stop(&r);
}

static void test_key_of_wrong_length(void **state)
{
    (void)state;
    static const char *const infos[] = {"{\"meshKey\":\"0011\",\"version\":2}", "{\"meshKey\":\"zz\"}",
                                        "{\"meshKey\":7}"};
    for (size_t i = 0; i < ARRAY_LEN(infos); i++) {
        struct rig r;
        struct rig_client c;
        struct buf b = {0};
        uint8_t nonce[BOX_NONCE_BYTES] = {3};
        size_t n = strlen(infos[i]);
        start(&r);
        rig_connect(&r, &c, 1, 0);
        buf_append(&b, c.public.b, KEY_BYTES);
        assert_int_equal(box_seal(c.key.b, relay_public_key(r.relay), nonce, (const uint8_t *)infos[i], n,
                                  buf_reserve(&b, n + BOX_OVERHEAD)),
                         RC_OK);
        buf_commit(&b, n + BOX_OVERHEAD);
        int64_t before = rig_count("closed_total", "reason=\"bad_login\"");
        rig_frame(&c, DERP_CLIENT_INFO, buf_at(&b), buf_len(&b));
        buf_fini(&b);
        rig_run(&r);
        rig_expect(&c, DERP_SERVER_KEY, 40);
        rig_expect_closed(&c);
        assert_int_equal(rig_count("closed_total", "reason=\"bad_login\""), before + 1);
        rig_close(&c);
        rig_stop(&r);
    }
}

static void test_wrong_sizes(void **state)
{
    (void)state;
    static const uint8_t zeros[65];
    static const struct {
        uint8_t type;
        size_t n;
    } bad[] = {{DERP_WATCH_CONNS, 1}, {DERP_FORWARD_PACKET, 63}, {DERP_FORWARD_PACKET, 0},
               {DERP_CLOSE_PEER, 31}, {DERP_CLOSE_PEER, 33},     {DERP_CLOSE_PEER, 0}};
    struct rig r;
    start(&r);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct rig_client c;
        int64_t before = rig_count("closed_total", "reason=\"bad_frame\"");
        join_neighbour(&r, &c, 1);
        rig_frame(&c, bad[i].type, zeros, bad[i].n);
        rig_run(&r);
        rig_expect_closed(&c);
        assert_int_equal(rig_count("closed_total", "reason=\"bad_frame\""), before + 1);
        rig_close(&c);
    }
    rig_stop(&r);
}

/* The program is not asked about a neighbour, which has no limit of rate either. */
static void test_neighbours_have_no_limits(void **state)
{
    (void)state;
    static uint8_t packet[60000];
    unsigned asked = 0;
    struct relay_ops ops = {&asked, refuse};
    struct relay_opts opts = mesh_opts();
    opts.client_rate_bytes = 16 * 1024;
    opts.client_burst_bytes = 128 * 1024;
    struct rig r;
    struct rig_client n, absent;
    rig_start(&r, &opts, &ops);
    rig_connect(&r, &absent, 2, 0);
    rig_close(&absent);
    rig_mesh_login(&r, &n, 1, mesh_rig_key);
    rig_run(&r);
    rig_expect(&n, DERP_SERVER_KEY, 40);
    struct derp_header h = {0};
    const uint8_t *p = NULL;
    struct derp_server_info info;
    assert_true(rig_next(&n, &h, &p));
    assert_int_equal(derp_server_info_open(&n.key, relay_public_key(r.relay), p, h.len, &info), RC_OK);
    assert_int_equal(info.bucket_bytes_per_s, 0);
    relay_ask_again(r.relay);
    int64_t before = rig_count("packets_forwarded_in_total", "");
    for (int i = 0; i < 20; i++)
        rig_forward(&n, &absent, &absent, packet, sizeof(packet));
    rig_run(&r);
    assert_int_equal(rig_count("packets_forwarded_in_total", ""), before + 20);
    assert_int_equal(asked, 0);
    rig_expect_nothing(&n);
    rig_close(&n);
    rig_stop(&r);
}

/* --- Watching --- */

static void test_watching(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client w, a, duplicate, b;
    start(&r);
    rig_join(&r, &a, 2);
    join_neighbour(&r, &w, 1);
    assert_int_equal(rig_count("watchers", ""), 0);
    rig_frame(&w, DERP_WATCH_CONNS, NULL, 0);
    rig_run(&r);
    assert_int_equal(rig_count("watchers", ""), 1);
    unsigned seen = 0;
    for (int i = 0; i < 2; i++) { /* in no order */
        const uint8_t *p = rig_expect(&w, DERP_PEER_PRESENT, DERP_PEER_PRESENT_BYTES);
        bool is_self = keys_equal(p, w.public.b);
        assert_true(is_self || keys_equal(p, a.public.b));
        assert_int_equal(p[50], is_self ? DERP_PRESENT_MESH_PEER : DERP_PRESENT_REGULAR);
        seen |= is_self ? 1 : 2;
    }
    assert_int_equal(seen, 3);
    rig_expect_nothing(&w);
    rig_join(&r, &duplicate, 2);
    rig_expect_present(&w, &a, DERP_PRESENT_REGULAR); /* for every connection */
    rig_close(&a);
    rig_run(&r);
    rig_expect_nothing(&w);
    rig_close(&duplicate);
    rig_run(&r);
    rig_expect_gone(&w, &duplicate, DERP_GONE_DISCONNECTED); /* for the last one only */
    rig_join(&r, &b, 3);
    rig_expect_present(&w, &b, DERP_PRESENT_REGULAR);
    rig_frame(&w, DERP_WATCH_CONNS, NULL, 0); /* again: the whole list once more */
    rig_run(&r);
    rig_expect(&w, DERP_PEER_PRESENT, DERP_PEER_PRESENT_BYTES);
    rig_expect(&w, DERP_PEER_PRESENT, DERP_PEER_PRESENT_BYTES);
    rig_close(&b);
    rig_run(&r);
    rig_expect_gone(&w, &b, DERP_GONE_DISCONNECTED);
    rig_expect_nothing(&w);
    rig_close(&w);
    rig_run(&r);
    assert_int_equal(rig_count("watchers", ""), 0);
    rig_stop(&r);
}

/* A watcher that asks several times before the list has left gets one list. */
static void test_many_requests_to_watch(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client w;
    start(&r);
    join_neighbour(&r, &w, 1);
    for (int i = 0; i < 50; i++)
        rig_frame(&w, DERP_WATCH_CONNS, NULL, 0);
    rig_run(&r);
    rig_expect_present(&w, &w, DERP_PRESENT_MESH_PEER);
    rig_expect_nothing(&w);
    rig_close(&w);
    rig_stop(&r);
}

/* The relay's own key at the other end: it is the relay itself. */
static void test_self_gets_no_list(void **state)
{
    (void)state;
    struct relay_opts opts = mesh_opts();
    struct rig r;
    struct rig_client probe, self, other;
    uint8_t random[KEY_BYTES] = {[1] = 77};
    private_key_from_bytes(random, &opts.key);
    rig_start(&r, &opts, NULL);
    join_neighbour(&r, &self, 77);
    assert_memory_equal(self.public.b, relay_public_key(r.relay), KEY_BYTES);
    rig_frame(&self, DERP_WATCH_CONNS, NULL, 0);
    rig_join(&r, &other, 2);
    rig_expect_nothing(&self);
    join_neighbour(&r, &probe, 3);
    rig_close(&probe);
    rig_close(&self);
    rig_close(&other);
    rig_stop(&r);
}

/* A connection from `from`, whose login is made of the vectors. */
static void join_as(struct rig *r, struct rig_client *c, struct vectors *v, const char *key, const char *from,
                    bool is_not_ideal, bool is_neighbour)
{
    struct derp_client_info info = {.version = 2, .has_mesh_key = is_neighbour};
    struct buf b = {0};
    uint8_t nonce[BOX_NONCE_BYTES] = {5};
    struct stream *server_end;
    *c = (struct rig_client){0};
    memcpy(c->key.b, vectors_bytes(v, "keys", key).p, KEY_BYTES);
    private_key_public(&c->key, c->public.b);
    stream_pair_create(r->loop, 0, &c->s, &server_end);
    assert_int_equal(addr_parse(str_c(from), &server_end->peer), RC_OK);
    stream_set_events(c->s, &rig_client_events, c);
    relay_attach(r->relay, server_end, NULL, 0, is_not_ideal);
    info.key = c->public;
    memcpy(info.mesh_key, mesh_rig_key, sizeof(info.mesh_key));
    assert_int_equal(derp_append_client_info(&b, &c->key, relay_public_key(r->relay), nonce, &info), RC_OK);
    rig_write(c, &b);
    rig_run(r);
}

static void test_presence_as_the_reference_has_it(void **state)
{
    (void)state;
    static const struct {
        const char *key, *from, *frame;
        bool is_not_ideal, is_neighbour;
    } cases[] = {
        {"a_private", "[2001:db8::5]:41641", "peer_present_a_v6_regular", false, false},
        {"b_private", "192.0.2.7:1234", "peer_present_b_v4_notideal", true, false},
        {"mesh_peer_private", "192.0.2.7:1234", "peer_present_mesh_peer_v4", false, true},
    };
    struct vectors v;
    struct rig r;
    struct rig_client w, c;
    vectors_load(&v, VECTORS_DIR "/derp.json");
    start(&r);
    join_neighbour(&r, &w, 1);
    rig_frame(&w, DERP_WATCH_CONNS, NULL, 0);
    rig_run(&r);
    rig_expect_present(&w, &w, DERP_PRESENT_MESH_PEER);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str frame = vectors_bytes(&v, "frames", cases[i].frame);
        join_as(&r, &c, &v, cases[i].key, cases[i].from, cases[i].is_not_ideal, cases[i].is_neighbour);
        assert_int_equal(buf_len(&w.got), frame.len);
        assert_memory_equal(buf_at(&w.got), frame.p, frame.len);
        buf_clear(&w.got);
        rig_close(&c);
        rig_run(&r);
        rig_expect_gone(&w, &c, DERP_GONE_DISCONNECTED);
    }
    rig_close(&w);
    rig_stop(&r);
    vectors_fini(&v);
}

/* Updates wait for a watcher that does not read up to a limit; then it is closed. */
static void test_slow_watcher(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client slow, quick;
    start(&r);
    join_neighbour(&r, &slow, 1);
    join_neighbour(&r, &quick, 2);
    rig_frame(&slow, DERP_WATCH_CONNS, NULL, 0);
    rig_frame(&quick, DERP_WATCH_CONNS, NULL, 0);
    rig_run(&r);
    stream_pause(slow.s, true);
    int64_t before = rig_count("closed_total", "reason=\"slow_watcher\"");
    unsigned rounds = 0;
    struct presence p = {.flags = DERP_PRESENT_REGULAR};
    node_key key = {{1}};
    for (; rounds < 100 && rig_count("closed_total", "reason=\"slow_watcher\"") == before; rounds++) {
        for (int i = 0; i < 1000; i++) {
            struct dir_conn *conn = directory_add(r.relay, &key, 0, 12345, &p);
            directory_remove(r.relay, &conn);
        }
        rig_run(&r);
        buf_clear(&quick.got);
    }
    assert_in_range(rounds, 40, 60); /* of 95,000 bytes each */
    assert_int_equal(rig_count("watchers", ""), 1);
    assert_false(quick.is_closed);
    stream_pause(slow.s, false);
    rig_run(&r);
    assert_true(slow.is_closed);
    rig_close(&slow);
    rig_close(&quick);
    rig_stop(&r);
}

/* Neighbours have 30 s to read something, clients 2. */
static void test_patience_with_neighbours(void **state)
{
    (void)state;
    static uint8_t packet[60000];
    struct rig r;
    struct rig_client n, a;
    start(&r);
    join_neighbour(&r, &n, 1);
    rig_join(&r, &a, 2);
    stream_pause(n.s, true);
    for (int i = 0; i < 4; i++)
        rig_send(&a, &n, packet, sizeof(packet));
    rig_run(&r);
    for (int s = 0; s < 28; s += 7) {
        relay_test_advance(r.relay, 7000);
        rig_run(&r);
        assert_int_equal(relay_client_count(r.relay), 2);
    }
    relay_test_advance(r.relay, 35000);
    relay_test_advance(r.relay, 35000);
    rig_run(&r);
    assert_int_equal(relay_client_count(r.relay), 1);
    rig_close(&n);
    rig_close(&a);
    rig_stop(&r);
}

/* --- Forwarded packets --- */

static void test_forwarded_packets(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client n, a, absent, far;
    start(&r);
    join_neighbour(&r, &n, 1);
    rig_join(&r, &a, 2);
    rig_join(&r, &absent, 3);
    rig_connect(&r, &far, 4, 0); /* for its key */
    rig_close(&absent);
    rig_run(&r);
    int64_t in = rig_count("packets_forwarded_in_total", "");
    int64_t dropped = rig_count("packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"disco\"");
    int64_t dropped_other = rig_count("packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"other\"");
    rig_forward(&n, &far, &a, "hello", 5);
    rig_forward(&n, &far, &a, "", 0);
    rig_run(&r);
    rig_expect_packet(&a, &far, "hello", 5);
    rig_expect_packet(&a, &far, "", 0);
    for (int i = 0; i < 6; i++)
        rig_forward(&n, &far, &absent, disco, sizeof(disco));
    rig_forward(&n, &far, &absent, "data", 4);
    rig_run(&r);
    for (int i = 0; i < PACKET_NOT_HERE_BURST; i++)
        rig_expect_gone(&n, &absent, DERP_GONE_NOT_HERE);
    rig_expect_nothing(&n);
    rig_expect_nothing(&a);
    assert_int_equal(rig_count("packets_forwarded_in_total", ""), in + 9);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"disco\""), dropped + 6);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"other\""),
                     dropped_other + 1);
    rig_close(&n);
    rig_close(&a);
    rig_close(&far);
    rig_stop(&r);
}

static void test_close_peer(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client n, a, duplicate, b;
    start(&r);
    join_neighbour(&r, &n, 1);
    rig_join(&r, &a, 2);
    rig_join(&r, &duplicate, 2);
    rig_join(&r, &b, 3);
    int64_t before = rig_count("closed_total", "reason=\"mesh\"");
    rig_frame(&n, DERP_CLOSE_PEER, a.public.b, KEY_BYTES);
    rig_run(&r);
    rig_expect_closed(&a);
    rig_expect_closed(&duplicate);
    rig_expect_nothing(&b);
    rig_frame(&n, DERP_CLOSE_PEER, a.public.b, KEY_BYTES); /* no connection has it now */
    rig_run(&r);
    rig_expect_nothing(&n);
    assert_int_equal(rig_count("closed_total", "reason=\"mesh\""), before + 2);
    rig_close(&n);
    rig_close(&a);
    rig_close(&duplicate);
    rig_close(&b);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_neighbours_are_always_admitted, rig_tear_down),
        cmocka_unit_test_teardown(test_no_mesh, rig_tear_down),
        cmocka_unit_test_teardown(test_wrong_key_is_a_client, rig_tear_down),
        cmocka_unit_test_teardown(test_key_of_wrong_length, rig_tear_down),
        cmocka_unit_test_teardown(test_wrong_sizes, rig_tear_down),
        cmocka_unit_test_teardown(test_neighbours_have_no_limits, rig_tear_down),
        cmocka_unit_test_teardown(test_watching, rig_tear_down),
        cmocka_unit_test_teardown(test_many_requests_to_watch, rig_tear_down),
        cmocka_unit_test_teardown(test_self_gets_no_list, rig_tear_down),
        cmocka_unit_test_teardown(test_presence_as_the_reference_has_it, rig_tear_down),
        cmocka_unit_test_teardown(test_slow_watcher, rig_tear_down),
        cmocka_unit_test_teardown(test_patience_with_neighbours, rig_tear_down),
        cmocka_unit_test_teardown(test_forwarded_packets, rig_tear_down),
        cmocka_unit_test_teardown(test_close_peer, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
