/* Queues, timers and the end of the relay, with clients over in-memory streams. Time is the test's:
 * relay_test_advance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/rig_internal.h"

static const char text[] = "a packet";
static uint8_t disco[100] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

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

/* Two workers, run alternately by one thread. */
static void two_workers_run(struct rig r[2])
{
    for (int i = 0; i < 3; i++) {
        rig_run(&r[0]);
        rig_run(&r[1]);
    }
}

/* A worker that gets no CPU for a hundred iterations of another loses nothing; what waits for it is bounded in
 * bytes. */
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
    struct rig_gate gate = {0};
    struct relay_ops ops = {&gate, rig_gate_admit};
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
    rig_cleanup_now(r.relay);
    rig_close(&a);
    rig_close(&b);
    rig_cleanup_now(r.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_slow_reader, rig_tear_down),
        cmocka_unit_test_teardown(test_write_timeout, rig_tear_down),
        cmocka_unit_test_teardown(test_a_worker_that_is_late, rig_tear_down),
        cmocka_unit_test_teardown(test_idle_memory, rig_tear_down),
        cmocka_unit_test_teardown(test_keep_alive, rig_tear_down),
        cmocka_unit_test_teardown(test_pings_of_the_server, rig_tear_down),
        cmocka_unit_test_teardown(test_drain, rig_tear_down),
        cmocka_unit_test_teardown(test_drain_at_once, rig_tear_down),
        cmocka_unit_test_teardown(test_end_in_the_middle, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
