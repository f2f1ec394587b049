/* Logging in to the relay, and admission by the program. The tests set the time: relay_test_advance. */
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
    struct rig r;
    struct rig_client a, like;
    rig_start(&r, NULL, NULL);
    rig_connect(&r, &like, 1, 0);
    a = (struct rig_client){.key = like.key, .public = like.public};
    struct stream *server_end;
    stream_pair_create(r.loop, 0, &a.s, &server_end);
    stream_set_events(a.s, &rig_client_events, &a);
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
    refuse_first(&r, "\x06\0\0\0\0", 5);         /* after the login this would be skipped */
    refuse_first(&r, "\x02\0\0\0\x37", 5);       /* 55 bytes: no room for a nonce */
    refuse_first(&r, "\x02\0\0\x10\x01", 5);     /* 4 KiB and one byte: closed without keeping any */
    refuse_first(&r, "\x02\xff\xff\xff\xff", 5); /* closed by the header alone */
    refuse_first(&r, "GET / HTTP/1.1\r\n\r\n", 18);
    rig_connect(&r, &c, 1, 0);
    struct buf b = {0};
    rig_append_login(&r, &c, &b, false);
    buf_at(&b)[buf_len(&b) - 1] ^= 1; /* the box is broken */
    refuse_first(&r, buf_at(&b), buf_len(&b));
    buf_at(&b)[buf_len(&b) - 1] ^= 1;
    buf_at(&b)[DERP_HEADER_BYTES] ^= 1; /* the key of another client */
    refuse_first(&r, buf_at(&b), buf_len(&b));
    buf_fini(&b);
    rig_expect(&c, DERP_SERVER_KEY, 40);
    rig_expect_nothing(&c); /* it is not affected */
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

static void test_admission(void **state)
{
    (void)state;
    struct rig_gate gate = {0};
    struct relay_ops ops = {&gate, rig_gate_admit};
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, &ops);
    rig_connect(&r, &a, 1, 0);
    rig_login(&r, &a, false);
    rig_send(&a, &a, text, sizeof(text)); /* ahead of the admission: it waits */
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

/* When the program is asked again, clients that it does not allow any more are closed; the others are not affected. */
static void test_asked_again(void **state)
{
    (void)state;
    struct rig_gate gate = {0};
    struct relay_ops ops = {&gate, rig_gate_admit};
    struct rig r;
    struct rig_client a, b;
    rig_start(&r, NULL, &ops);
    rig_connect(&r, &a, 1, 0);
    rig_login(&r, &a, false);
    rig_run(&r);
    relay_ask_again(r.relay); /* its login waits: the program is not asked twice */
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
    struct rig_gate gate = {0};
    struct relay_ops ops = {&gate, rig_gate_admit};
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

/* A client that sends too much before it is admitted is closed. */
static void test_flood_before_admission(void **state)
{
    (void)state;
    struct rig_gate gate = {0};
    struct relay_ops ops = {&gate, rig_gate_admit};
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
    struct rig_client a, duplicate, b;
    rig_start(&r, NULL, NULL);
    rig_join(&r, &a, 1);
    rig_join(&r, &duplicate, 1);
    rig_join(&r, &b, 2);
    rig_send(&duplicate, &b, text, sizeof(text));
    rig_run(&r);
    rig_expect_packet(&b, &a, text, sizeof(text));
    relay_close_key(r.relay, &a.public);
    relay_close_key(r.relay, &a.public);
    rig_run(&r);
    rig_expect_closed(&a);
    rig_expect_closed(&duplicate);
    rig_expect_gone(&b, &a, DERP_GONE_DISCONNECTED);
    rig_expect_nothing(&b);
    assert_int_equal(relay_client_count(r.relay), 1);
    rig_close(&a);
    rig_close(&duplicate);
    rig_close(&b);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_login_and_packets, rig_tear_down),
        cmocka_unit_test_teardown(test_bytes_in_any_pieces, rig_tear_down),
        cmocka_unit_test_teardown(test_everything_at_once, rig_tear_down),
        cmocka_unit_test_teardown(test_leftover_of_the_upgrade, rig_tear_down),
        cmocka_unit_test_teardown(test_bad_logins, rig_tear_down),
        cmocka_unit_test_teardown(test_login_timeout, rig_tear_down),
        cmocka_unit_test_teardown(test_admission, rig_tear_down),
        cmocka_unit_test_teardown(test_asked_again, rig_tear_down),
        cmocka_unit_test_teardown(test_late_admissions, rig_tear_down),
        cmocka_unit_test_teardown(test_flood_before_admission, rig_tear_down),
        cmocka_unit_test_teardown(test_close_key, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
