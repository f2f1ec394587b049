/* What the frames of clients do: packets, pings, homes, and the news of clients that leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/rig_internal.h"

static const char text[] = "a packet";
static uint8_t disco[100] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

/* --- Frames --- */

/* A logged-in client sends this frame and is closed; another client is not affected. */
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
    rig_frame(&a, DERP_PONG, "12345678", 8); /* the relay sent no such ping */
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

/* --- Clients that are not here, clients that have gone --- */

static void test_not_here(void **state)
{
    (void)state;
    struct rig r;
    struct rig_client a, absent;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_connect(&r, &absent, 2, 0); /* connected, not logged in: not here */
    int64_t dropped = rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"disco\"");
    int64_t dropped_data = rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"other\"");
    for (int i = 0; i < 10; i++)
        rig_send(&a, &absent, disco, sizeof(disco));
    rig_send(&a, &absent, text, sizeof(text));
    rig_run(&r);
    for (int i = 0; i < PACKET_NOT_HERE_BURST; i++)
        rig_expect_gone(&a, &absent, DERP_GONE_NOT_HERE);
    rig_expect_nothing(&a);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"disco\""), dropped + 10);
    assert_int_equal(rig_count("packets_dropped_total", "reason=\"unknown_dest\",kind=\"other\""), dropped_data + 1);
    relay_test_advance(r.relay, 2000);
    for (int i = 0; i < 10; i++)
        rig_send(&a, &absent, disco, sizeof(disco));
    rig_run(&r);
    rig_expect_gone(&a, &absent, DERP_GONE_NOT_HERE);
    rig_expect_gone(&a, &absent, DERP_GONE_NOT_HERE);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_close(&absent);
    rig_stop(&r);
}

static void test_gone_is_sent_each_time(void **state)
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

/* The last packets come before the PeerGone. */
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
    rig_expect_packet(&old, &b, "3", 1); /* the one that spoke last */
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

static void test_duplicates_are_warned(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_bad_frames, rig_tear_down),
        cmocka_unit_test_teardown(test_unknown_frames_are_skipped, rig_tear_down),
        cmocka_unit_test_teardown(test_half_a_frame_then_silence, rig_tear_down),
        cmocka_unit_test_teardown(test_pings_of_clients, rig_tear_down),
        cmocka_unit_test_teardown(test_homes, rig_tear_down),
        cmocka_unit_test_teardown(test_not_here, rig_tear_down),
        cmocka_unit_test_teardown(test_gone_is_sent_each_time, rig_tear_down),
        cmocka_unit_test_teardown(test_gone_after_the_last_packet, rig_tear_down),
        cmocka_unit_test_teardown(test_memory_of_senders_is_bounded, rig_tear_down),
        cmocka_unit_test_teardown(test_last_writer_is_active, rig_tear_down),
        cmocka_unit_test_teardown(test_duplicates_are_warned, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
