/* A link to a scripted neighbour, over in-memory streams and HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/mesh_rig_internal.h"

static const uint8_t disco[62] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

struct script {
    struct rig r;
    struct rig_client far; /* the neighbour's end; `key` is its server key */
    unsigned dials;
    bool stops_loop;
};

static struct stream *script_dial(void *ctx, struct loop *loop, const struct relay_neighbour *to)
{
    struct script *s = ctx;
    struct stream *near;
    (void)to;
    stream_close(&s->far.s, false);
    buf_clear(&s->far.got);
    s->far.is_closed = false;
    stream_pair_create(loop, 0, &near, &s->far.s);
    stream_set_events(s->far.s, &rig_client_events, &s->far);
    s->dials++;
    if (s->stops_loop)
        loop_stop(loop);
    return near;
}

static void script_prepare(struct script *s, const struct relay_opts *more)
{
    struct relay_opts opts = more != NULL ? *more : rig_default_opts;
    uint8_t random[KEY_BYTES] = {[1] = 99};
    memcpy(opts.mesh_key, mesh_rig_key, sizeof(opts.mesh_key));
    *s = (struct script){0};
    rig_start(&s->r, &opts, NULL);
    private_key_from_bytes(random, &s->far.key);
    private_key_public(&s->far.key, s->far.public.b);
    s->r.relay->mesh.test_dial = script_dial;
    s->r.relay->mesh.test_dial_ctx = s;
}

static void script_start(struct script *s, const struct relay_opts *more)
{
    static const struct relay_neighbour at = {.host = "2001:db8::1", .port = 8443};
    script_prepare(s, more);
    relay_mesh_set(s->r.relay, &at, 1);
    rig_run(&s->r);
    assert_int_equal(s->dials, 1);
}

static void script_stop(struct script *s)
{
    rig_close(&s->far);
    rig_stop(&s->r);
}

static void say(struct script *s, const char *text)
{
    stream_write(s->far.s, text, strlen(text));
}

static void expect_request(struct script *s)
{
    static const char want[] =
        "GET /derp HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nUser-Agent: fullscale/" FULLSCALE_VERSION
        "\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n";
    assert_int_equal(buf_len(&s->far.got), sizeof(want) - 1);
    assert_memory_equal(buf_at(&s->far.got), want, sizeof(want) - 1);
    buf_clear(&s->far.got);
}

static const char granted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n";

static void send_server_key(struct script *s)
{
    struct buf b = {0};
    derp_append_server_key(&b, s->far.public.b);
    rig_write(&s->far, &b);
}

static void send_server_info(struct script *s, const char *text)
{
    struct buf b = {0};
    uint8_t nonce[BOX_NONCE_BYTES] = {8};
    size_t n = strlen(text);
    assert_int_equal(box_seal(s->far.key.b, relay_public_key(s->r.relay), nonce, (const uint8_t *)text, n,
                              buf_reserve(&b, n + BOX_OVERHEAD)),
                     RC_OK);
    buf_commit(&b, n + BOX_OVERHEAD);
    rig_frame(&s->far, DERP_SERVER_INFO, buf_at(&b), buf_len(&b));
    buf_fini(&b);
}

static void expect_login(struct script *s)
{
    struct derp_header h = {0};
    const uint8_t *p = NULL;
    struct derp_client_info info;
    assert_true(rig_next(&s->far, &h, &p));
    assert_int_equal(h.type, DERP_CLIENT_INFO);
    assert_int_equal(derp_client_info_open(&s->far.key, p, h.len, &info), RC_OK);
    assert_memory_equal(info.key.b, relay_public_key(s->r.relay), KEY_BYTES);
    assert_true(info.has_mesh_key);
    assert_memory_equal(info.mesh_key, mesh_rig_key, sizeof(mesh_rig_key));
    assert_int_equal(info.version, 2);
    rig_expect(&s->far, DERP_WATCH_CONNS, 0);
}

static void script_log_in(struct script *s)
{
    expect_request(s);
    say(s, granted);
    send_server_key(s);
    rig_run(&s->r);
    expect_login(s);
    send_server_info(s, "{\"version\":2}");
    rig_run(&s->r);
    assert_int_equal(relay_mesh_links(s->r.relay), 1);
}

static void send_present(struct script *s, const struct rig_client *who)
{
    static const uint8_t ip[16];
    struct buf b = {0};
    derp_append_peer_present(&b, &who->public, ip, 1, DERP_PRESENT_REGULAR);
    rig_write(&s->far, &b);
}

static void send_gone(struct script *s, const struct rig_client *who, enum derp_gone_reason reason)
{
    struct buf b = {0};
    derp_append_peer_gone(&b, &who->public, reason);
    rig_write(&s->far, &b);
}

/* The link has been lost: it dials again after 5 s, not before. */
static void expect_lost(struct script *s)
{
    unsigned dials = s->dials;
    assert_int_equal(relay_mesh_links(s->r.relay), 0);
    assert_true(s->far.is_closed);
    relay_test_advance(s->r.relay, 4000);
    rig_run(&s->r);
    assert_int_equal(s->dials, dials);
    relay_test_advance(s->r.relay, 2000);
    rig_run(&s->r);
    assert_int_equal(s->dials, dials + 1);
}

static void expect_forwarded(struct script *s, const struct rig_client *src, const struct rig_client *dst,
                             const char *text)
{
    size_t n = strlen(text);
    const uint8_t *p = rig_expect(&s->far, DERP_FORWARD_PACKET, 2 * KEY_BYTES + n);
    assert_memory_equal(p, src->public.b, KEY_BYTES);
    assert_memory_equal(p + KEY_BYTES, dst->public.b, KEY_BYTES);
    assert_memory_equal(p + 2 * KEY_BYTES, text, n);
}

static void test_clients_of_a_neighbour(void **state)
{
    (void)state;
    struct script s;
    struct rig_client a, x, y;
    script_start(&s, NULL);
    script_log_in(&s);
    rig_join(&s.r, &a, 1);
    rig_connect(&s.r, &x, 2, 0);
    rig_connect(&s.r, &y, 3, 0);
    rig_close(&x);
    rig_close(&y);
    int64_t not_known = rig_count("packet_forwarder_delete_other_value_total", "");
    send_present(&s, &x);
    send_present(&s, &x); /* a second connection */
    send_present(&s, &y);
    rig_run(&s.r);
    rig_send(&a, &x, "1", 1);
    rig_send(&a, &y, "2", 1);
    rig_run(&s.r);
    expect_forwarded(&s, &a, &x, "1");
    expect_forwarded(&s, &a, &y, "2");
    send_gone(&s, &x, DERP_GONE_DISCONNECTED); /* its last one */
    send_gone(&s, &y, DERP_GONE_NOT_HERE);
    rig_run(&s.r);
    rig_send(&a, &x, disco, sizeof(disco));
    rig_send(&a, &y, disco, sizeof(disco));
    rig_run(&s.r);
    rig_expect_gone(&a, &x, DERP_GONE_NOT_HERE);
    rig_expect_gone(&a, &y, DERP_GONE_NOT_HERE);
    send_gone(&s, &y, DERP_GONE_DISCONNECTED);
    rig_frame(&s.far, DERP_PEER_PRESENT, y.public.b, KEY_BYTES); /* as short as old relays send it */
    rig_frame(&s.far, DERP_PEER_GONE, x.public.b, KEY_BYTES);
    rig_frame(&s.far, DERP_PING, "12345678901", 11);
    rig_frame(&s.far, DERP_KEEP_ALIVE, NULL, 0);
    rig_frame(&s.far, DERP_HEALTH, "ill", 3);
    rig_frame(&s.far, 0x77, "unknown", 7);
    rig_run(&s.r);
    assert_memory_equal(rig_expect(&s.far, DERP_PONG, 8), "12345678", 8);
    rig_send(&a, &y, "3", 1);
    rig_run(&s.r);
    expect_forwarded(&s, &a, &y, "3");
    assert_int_equal(rig_count("packet_forwarder_delete_other_value_total", ""), not_known + 2);
    assert_int_equal(relay_mesh_links(s.r.relay), 1);
    rig_close(&a);
    script_stop(&s);
}

/* A packet that a neighbour forwarded is not forwarded to another neighbour. */
static void test_one_hop_only(void **state)
{
    (void)state;
    struct script s;
    struct rig_client n, x, y;
    script_start(&s, NULL);
    script_log_in(&s);
    rig_connect(&s.r, &x, 2, 0);
    rig_connect(&s.r, &y, 3, 0);
    rig_close(&x);
    rig_close(&y);
    rig_mesh_login(&s.r, &n, 4, mesh_rig_key);
    send_present(&s, &x);
    rig_run(&s.r);
    rig_expect_welcome(&s.r, &n);
    rig_forward(&n, &y, &x, disco, sizeof(disco));
    rig_run(&s.r);
    rig_expect_gone(&n, &x, DERP_GONE_NOT_HERE);
    assert_int_equal(buf_len(&s.far.got), 0);
    rig_close(&n);
    script_stop(&s);
}

static void test_bad_answers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 503 x\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
    };
    struct script s;
    script_start(&s, NULL);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        expect_request(&s);
        say(&s, bad[i]);
        rig_run(&s.r);
        expect_lost(&s);
    }
    stream_close(&s.far.s, false); /* nothing at all */
    rig_run(&s.r);
    relay_test_advance(s.r.relay, 6000);
    rig_run(&s.r);
    expect_request(&s);
    relay_test_advance(s.r.relay, 11000); /* nothing for too long */
    rig_run(&s.r);
    expect_lost(&s);
    script_stop(&s);
}

static void test_bad_logins(void **state)
{
    (void)state;
    static const uint8_t zeros[1100];
    struct script s;
    struct buf key = {0};
    script_start(&s, NULL);
    derp_append_server_key(&key, s.far.public.b);
    for (int i = 0; i < 8; i++) {
        expect_request(&s);
        say(&s, granted);
        if (i >= 4) {
            send_server_key(&s);
            rig_run(&s.r);
            expect_login(&s);
        }
        switch (i) {
        case 0: rig_frame(&s.far, DERP_SERVER_KEY, zeros, 40); break;                            /* no magic */
        case 1: rig_frame(&s.far, DERP_SERVER_KEY, buf_at(&key) + DERP_HEADER_BYTES, 39); break; /* too short */
        case 2: rig_frame(&s.far, DERP_SERVER_KEY, zeros, 1025); break;                          /* too long */
        case 3: rig_frame(&s.far, DERP_KEEP_ALIVE, NULL, 0); break;                              /* not now */
        case 4: rig_frame(&s.far, DERP_SERVER_INFO, zeros, 60); break;                           /* not sealed */
        case 5: send_server_info(&s, "[]"); break;
        case 6: send_present(&s, &s.far); break; /* not now */
        case 7: rig_frame(&s.far, DERP_SERVER_INFO, NULL, 0); break;
        }
        rig_run(&s.r);
        expect_lost(&s);
    }
    buf_fini(&key);
    script_stop(&s);
}

/* Unknown bytes may follow the key. */
static void test_longer_greeting(void **state)
{
    (void)state;
    static const uint8_t future[984];
    struct script s;
    struct buf key = {0};
    script_start(&s, NULL);
    expect_request(&s);
    say(&s, granted);
    derp_append_server_key(&key, s.far.public.b);
    buf_append(&key, future, sizeof(future));
    rig_frame(&s.far, DERP_SERVER_KEY, buf_at(&key) + DERP_HEADER_BYTES, buf_len(&key) - DERP_HEADER_BYTES);
    buf_fini(&key);
    rig_run(&s.r);
    expect_login(&s);
    script_stop(&s);
}

static void test_bad_frames(void **state)
{
    (void)state;
    static uint8_t zeros[2000];
    static const struct {
        uint8_t type;
        size_t n;
    } bad[] = {{DERP_PEER_PRESENT, 31}, {DERP_PEER_GONE, 31},      {DERP_PING, 7},
               {DERP_PING, 1001},       {DERP_PEER_PRESENT, 1001}, {DERP_PEER_GONE, 0}};
    struct script s;
    script_start(&s, NULL);
    for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
        static const uint8_t huge[] = {DERP_RECV_PACKET, 0, 0x10, 0, 1};
        script_log_in(&s);
        if (i < ARRAY_LEN(bad))
            rig_frame(&s.far, bad[i].type, zeros, bad[i].n);
        else
            stream_write(s.far.s, huge, sizeof(huge));
        rig_run(&s.r);
        expect_lost(&s);
    }
    script_stop(&s);
}

/* Frames that only a client or a server would send are skipped, whole or in pieces. */
static void test_skipped_frames(void **state)
{
    (void)state;
    static uint8_t zeros[100 * 1000];
    struct script s;
    struct rig_client x, a;
    script_start(&s, NULL);
    script_log_in(&s);
    rig_join(&s.r, &a, 1);
    rig_connect(&s.r, &x, 2, 0);
    rig_close(&x);
    rig_frame(&s.far, DERP_RECV_PACKET, zeros, sizeof(zeros));
    rig_frame(&s.far, DERP_SERVER_INFO, zeros, 3);
    rig_frame(&s.far, DERP_WATCH_CONNS, NULL, 0);
    rig_frame(&s.far, DERP_CLOSE_PEER, a.public.b, KEY_BYTES);
    send_present(&s, &x);
    rig_run(&s.r);
    rig_send(&a, &x, "1", 1);
    rig_run(&s.r);
    expect_forwarded(&s, &a, &x, "1");
    rig_expect_nothing(&a);
    rig_close(&a);
    script_stop(&s);
}

static void test_self_dial(void **state)
{
    (void)state;
    struct script s;
    struct buf b = {0};
    script_start(&s, NULL);
    expect_request(&s);
    say(&s, granted);
    derp_append_server_key(&b, relay_public_key(s.r.relay));
    rig_write(&s.far, &b);
    rig_run(&s.r);
    assert_true(s.far.is_closed);
    assert_int_equal(buf_len(&s.far.got), 0); /* the mesh key was not sent */
    for (int i = 0; i < 5; i++)
        relay_test_advance(s.r.relay, 10000);
    rig_run(&s.r);
    assert_int_equal(s.dials, 1);
    script_stop(&s);
}

static void test_limit_of_keys(void **state)
{
    (void)state;
    struct relay_opts opts = rig_default_opts;
    opts.max_mesh_keys = 3;
    struct script s;
    struct rig_client x[4];
    script_start(&s, &opts);
    script_log_in(&s);
    for (uint8_t i = 0; i < 4; i++) {
        rig_connect(&s.r, &x[i], i, 0);
        rig_close(&x[i]);
        assert_int_equal(relay_mesh_links(s.r.relay), 1);
        send_present(&s, &x[i]);
        rig_run(&s.r);
    }
    assert_int_equal(rig_count("clients_remote", ""), 0);
    expect_lost(&s);
    script_stop(&s);
}

/* A neighbour that does not read: the oldest packets are dropped, and disco goes first. */
static void test_slow_neighbour(void **state)
{
    (void)state;
    static uint8_t packet[10000];
    struct relay_opts opts = rig_default_opts;
    opts.mesh_queue_bytes = 200 * 1000;
    struct script s;
    struct rig_client a, x;
    script_start(&s, &opts);
    script_log_in(&s);
    rig_join(&s.r, &a, 1);
    rig_connect(&s.r, &x, 2, 0);
    rig_close(&x);
    send_present(&s, &x);
    rig_run(&s.r);
    int64_t head = rig_count("packets_dropped_total", "reason=\"queue_head\",kind=\"other\"");
    stream_pause(s.far.s, true);
    for (unsigned i = 0; i < 50; i++) {
        memcpy(packet, &i, sizeof(i));
        rig_send(&a, &x, packet, sizeof(packet));
        rig_run(&s.r);
    }
    head = rig_count("packets_dropped_total", "reason=\"queue_head\",kind=\"other\"") - head;
    assert_in_range(head, 20, 26); /* of 500 KB: 200 here and 64 in the stream remain */
    rig_send(&a, &x, disco, sizeof(disco));
    stream_pause(s.far.s, false);
    rig_run(&s.r);
    unsigned got = 0, last = 0, at_disco = 0;
    struct derp_header h = {0};
    const uint8_t *p = NULL;
    while (rig_next(&s.far, &h, &p)) {
        assert_int_equal(h.type, DERP_FORWARD_PACKET);
        if (h.len == 2 * KEY_BYTES + sizeof(disco)) {
            at_disco = got;
            continue;
        }
        memcpy(&last, p + 2 * KEY_BYTES, sizeof(last));
        got++;
    }
    assert_int_equal(got + head, 50);
    assert_int_equal(last, 49);
    assert_in_range(at_disco, 1, 10); /* ahead of what waited */
    rig_close(&a);
    script_stop(&s);
}

/* A neighbour that takes nothing of what waits for 5 s is lost, and the packets with it. */
static void test_stuck_neighbour(void **state)
{
    (void)state;
    static uint8_t packet[10000];
    struct script s;
    struct rig_client a, x;
    script_start(&s, NULL);
    script_log_in(&s);
    rig_join(&s.r, &a, 1);
    rig_connect(&s.r, &x, 2, 0);
    rig_close(&x);
    send_present(&s, &x);
    rig_run(&s.r);
    int64_t gone = rig_count("packets_dropped_total", "reason=\"gone_disconnected\",kind=\"other\"");
    stream_pause(s.far.s, true);
    for (int i = 0; i < 20; i++)
        rig_send(&a, &x, packet, sizeof(packet));
    rig_run(&s.r);
    relay_test_advance(s.r.relay, 4000);
    rig_run(&s.r);
    assert_int_equal(relay_mesh_links(s.r.relay), 1);
    relay_test_advance(s.r.relay, 3000);
    relay_test_advance(s.r.relay, 6000);
    rig_run(&s.r);
    stream_pause(s.far.s, false);
    assert_int_equal(relay_mesh_links(s.r.relay), 0);
    assert_true(rig_count("packets_dropped_total", "reason=\"gone_disconnected\",kind=\"other\"") > gone);
    rig_close(&a);
    script_stop(&s);
}

static void test_silence(void **state)
{
    (void)state;
    struct script s;
    script_start(&s, NULL);
    script_log_in(&s);
    for (int i = 0; i < 4; i++) {
        relay_test_advance(s.r.relay, 31000);
        rig_run(&s.r);
        rig_frame(&s.far, DERP_PONG, rig_expect(&s.far, DERP_PING, 8), 8);
        rig_run(&s.r);
    }
    relay_test_advance(s.r.relay, 31000);
    relay_test_advance(s.r.relay, 31000);
    rig_run(&s.r);
    rig_expect(&s.far, DERP_PING, 8);
    rig_expect(&s.far, DERP_PING, 8);
    assert_int_equal(relay_mesh_links(s.r.relay), 1);
    relay_test_advance(s.r.relay, 31000);
    rig_run(&s.r);
    expect_lost(&s);
    script_stop(&s);
}

/* While too many messages wait for the workers, a neighbour is not read. */
static void test_back_pressure(void **state)
{
    (void)state;
    struct script s;
    struct rig_client x;
    script_start(&s, NULL);
    script_log_in(&s);
    rig_connect(&s.r, &x, 2, 0);
    rig_close(&x);
    atomic_fetch_add(&s.r.relay->messages.n, 1000 * 1000);
    rig_frame(&s.far, DERP_KEEP_ALIVE, NULL, 0);
    rig_run(&s.r);
    send_present(&s, &x);
    rig_run(&s.r);
    assert_int_equal(rig_count("clients_remote", ""), 0);
    atomic_fetch_sub(&s.r.relay->messages.n, 1000 * 1000);
    relay_test_advance(s.r.relay, 1000);
    rig_run(&s.r);
    assert_int_equal(rig_count("clients_remote", ""), 1);
    script_stop(&s);
}

/* Names go through the resolver's thread; a name of the hosts file needs no network. */
static void test_names(void **state)
{
    (void)state;
    static const struct relay_neighbour named = {.host = "a.example", .dial = "localhost"};
    struct script s;
    script_prepare(&s, NULL);
    s.stops_loop = true;
    relay_mesh_set(s.r.relay, &named, 1);
    loop_run(s.r.loop);
    assert_int_equal(s.dials, 1);
    relay_mesh_set(s.r.relay, (const struct relay_neighbour[]){{.host = "localhost"}}, 1);
    rig_run(&s.r);
    script_stop(&s); /* perhaps before the answer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_clients_of_a_neighbour, rig_tear_down),
        cmocka_unit_test_teardown(test_one_hop_only, rig_tear_down),
        cmocka_unit_test_teardown(test_bad_answers, rig_tear_down),
        cmocka_unit_test_teardown(test_bad_logins, rig_tear_down),
        cmocka_unit_test_teardown(test_longer_greeting, rig_tear_down),
        cmocka_unit_test_teardown(test_bad_frames, rig_tear_down),
        cmocka_unit_test_teardown(test_skipped_frames, rig_tear_down),
        cmocka_unit_test_teardown(test_self_dial, rig_tear_down),
        cmocka_unit_test_teardown(test_limit_of_keys, rig_tear_down),
        cmocka_unit_test_teardown(test_slow_neighbour, rig_tear_down),
        cmocka_unit_test_teardown(test_stuck_neighbour, rig_tear_down),
        cmocka_unit_test_teardown(test_silence, rig_tear_down),
        cmocka_unit_test_teardown(test_back_pressure, rig_tear_down),
        cmocka_unit_test_teardown(test_names, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
