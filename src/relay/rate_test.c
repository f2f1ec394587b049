/* Limits of what one client may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/mesh_rig_internal.h"

enum { RATE = 100 * 1000, BURST = 128 * 1024, PACKET = 10000, FRAME = KEY_BYTES + PACKET };

static uint8_t packet[PACKET];

static void start(struct rig *r)
{
    struct relay_opts opts = rig_default_opts;
    opts.client_rate_bytes = RATE;
    opts.client_burst_bytes = BURST;
    rig_start(r, &opts, NULL);
}

/* Packets that have come to `c`. */
static unsigned count(struct rig_client *c)
{
    struct derp_header h;
    const uint8_t *payload = NULL;
    unsigned n = 0;
    while (rig_next(c, &h, &payload))
        n += h.type == DERP_RECV_PACKET && h.len == FRAME;
    return n;
}

static void send_many(struct rig_client *c, const struct rig_client *to, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        rig_send(c, to, packet, sizeof(packet));
}

/* A burst goes through, then the rate; nothing is lost, and other clients are not affected. */
static void test_rate(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client fast, other, to;
    start(&r);
    rig_join(&r, &to, 3);
    rig_connect(&r, &fast, 1, FRAME + DERP_HEADER_BYTES); /* comes in pieces of a frame */
    rig_login(&r, &fast, false);
    rig_run(&r);
    rig_join(&r, &other, 2);
    int64_t waits = rig_count("rate_limit_waits_total", "");
    send_many(&fast, &to, 60);
    for (int i = 0; i < 12; i++)
        rig_run(&r);
    unsigned got = count(&to);
    assert_in_range(got, BURST / FRAME, BURST / FRAME + 2);
    assert_int_equal(rig_count("rate_limit_waits_total", ""), waits + 1);
    assert_int_equal(rig_count("rate_limited_clients", ""), 1);
    rig_send(&other, &to, "hello", 5);
    rig_run(&r);
    rig_expect_packet(&to, &other, "hello", 5);
    unsigned before = got;
    for (int i = 0; i < 20; i++) {
        relay_test_advance(r.relay, 100); /* worth 10,000 bytes */
        rig_run(&r);
        got += count(&to);
    }
    assert_in_range(got - before, 18, 21);
    for (int i = 0; i < 40; i++) {
        relay_test_advance(r.relay, 100);
        rig_run(&r);
        got += count(&to);
    }
    assert_int_equal(got, 60);
    assert_false(fast.is_closed);
    assert_int_equal(rig_count("rate_limited_clients", ""), 0);
    rig_close(&fast);
    rig_close(&other);
    rig_close(&to);
    rig_stop(&r);
}

static void test_frames_of_unknown_type_cost_as_well(void **state)
{
    (void)state;
    static uint8_t junk[BURST];
    struct rig r;
    struct rig_client c;
    start(&r);
    rig_join(&r, &c, 1);
    rig_frame(&c, 0x77, junk, DERP_PACKET_MAX_BYTES);
    rig_frame(&c, 0x77, junk, DERP_PACKET_MAX_BYTES);
    rig_run(&r);
    assert_int_equal(rig_count("rate_limited_clients", ""), 0);
    rig_frame(&c, 0x77, junk, 1000);
    rig_run(&r);
    assert_int_equal(rig_count("rate_limited_clients", ""), 1);
    relay_close_key(r.relay, &c.public); /* before it is read again */
    rig_run(&r);
    rig_expect_closed(&c);
    assert_int_equal(rig_count("rate_limited_clients", ""), 0);
    rig_close(&c);
    rig_stop(&r);
}

/* Silence earns no more than a burst. */
static void test_silence_is_not_saved_up(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client c;
    start(&r);
    rig_join(&r, &c, 1);
    relay_test_advance(r.relay, 20 * 1000);
    send_many(&c, &c, BURST / FRAME + 2);
    rig_run(&r);
    assert_int_equal(rig_count("rate_limited_clients", ""), 1);
    rig_close(&c);
    rig_stop(&r);
}

/* A frame is not late while the relay does not read the rest. */
static void test_half_a_frame_while_waiting(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client c;
    start(&r);
    rig_join(&r, &c, 1);
    send_many(&c, &c, BURST / FRAME + 1);
    stream_write(c.s, "\x12\0\0", 3);
    rig_run(&r);
    assert_int_equal(rig_count("rate_limited_clients", ""), 1);
    struct peer *p = peers_get(&r.relay->workers[0], &c.public);
    assert_int_equal(p->local->frame_due_ms, 0);
    relay_test_advance(r.relay, 1000);
    rig_run(&r);
    assert_true(p->local->frame_due_ms > 0);
    stream_write(c.s,
                 "\0\x08"
                 "12345678",
                 10);
    rig_run(&r);
    assert_int_equal(p->local->frame_due_ms, 0);
    assert_false(c.is_closed);
    rig_close(&c);
    rig_stop(&r);
}

static void expect_info(struct rig *r, struct rig_client *c, int64_t rate, int64_t burst)
{
    struct derp_header h = {0};
    const uint8_t *p = rig_expect(c, DERP_SERVER_KEY, 40);
    struct derp_server_info info;
    assert_true(rig_next(c, &h, &p));
    assert_int_equal(derp_server_info_open(&c->key, relay_public_key(r->relay), p, h.len, &info), RC_OK);
    assert_int_equal(info.bucket_bytes_per_s, rate);
    assert_int_equal(info.bucket_burst_bytes, burst);
}

/* Clients get the limits at login; limits that would hold back large packets for good are raised. */
static void test_clients_get_the_limits(void **state)
{
    (void)state;
    static const int64_t cases[][4] = {{0, 5000000, 0, 0},
                                       {1000000, 0, 1000000, 1024 * 1024},
                                       {1000000, 10, 1000000, BURST},
                                       {1, BURST, 16 * 1024, BURST}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct relay_opts opts = rig_default_opts;
        opts.client_rate_bytes = cases[i][0];
        opts.client_burst_bytes = cases[i][1];
        struct rig r;
        struct rig_client c;
        rig_start(&r, &opts, NULL);
        rig_connect(&r, &c, 1, 0);
        rig_login(&r, &c, false);
        rig_run(&r);
        expect_info(&r, &c, cases[i][2], cases[i][3]);
        assert_int_equal(rig_count("rate_limit_per_client_bytes_per_second", ""), cases[i][2]);
        assert_int_equal(rig_count("rate_limit_per_client_burst_bytes", ""), cases[i][3]);
        rig_close(&c);
        rig_stop(&r);
    }
}

/* A neighbour of the mesh sends for many clients: it has no limit, and gets none at login. */
static void test_neighbours_are_exempt(void **state)
{
    (void)state;
    struct relay_opts opts = rig_default_opts;
    opts.client_rate_bytes = RATE;
    opts.client_burst_bytes = BURST;
    memcpy(opts.mesh_key, mesh_rig_key, sizeof(opts.mesh_key));
    struct rig r;
    struct rig_client neighbour, to;
    rig_start(&r, &opts, NULL);
    rig_join(&r, &to, 2);
    rig_mesh_login(&r, &neighbour, 1, mesh_rig_key);
    rig_run(&r);
    expect_info(&r, &neighbour, 0, 0);
    for (int i = 0; i < 3 * BURST / FRAME; i++) {
        send_many(&neighbour, &to, 1);
        rig_run(&r);
    }
    assert_int_equal(count(&to), 3 * BURST / FRAME);
    assert_int_equal(rig_count("rate_limited_clients", ""), 0);
    rig_close(&neighbour);
    rig_close(&to);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_rate, rig_tear_down),
        cmocka_unit_test_teardown(test_frames_of_unknown_type_cost_as_well, rig_tear_down),
        cmocka_unit_test_teardown(test_silence_is_not_saved_up, rig_tear_down),
        cmocka_unit_test_teardown(test_half_a_frame_while_waiting, rig_tear_down),
        cmocka_unit_test_teardown(test_clients_get_the_limits, rig_tear_down),
        cmocka_unit_test_teardown(test_neighbours_are_exempt, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
