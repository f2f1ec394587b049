/* Links to neighbours: two or three of our relays over in-memory streams and HTTP, and a scripted neighbour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/mesh_rig_internal.h"

static const uint8_t disco[62] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

/* --- Our relays among themselves --- */

static void test_both_ways(void **state)
{
    (void)state;
    for (unsigned loops = 1; loops <= 3; loops++) {
        struct mesh_rig m;
        struct rig_client a, b;
        mesh_rig_start(&m, 2, loops);
        mesh_rig_link(&m);
        mesh_rig_join(&m, &a, 0, 0, 1);
        mesh_rig_join(&m, &b, 1, loops - 1, 2);
        assert_int_equal(rig_count("watchers", ""), 2);
        assert_int_equal(rig_count("clients_remote", ""), 2);
        int64_t out = rig_count("packets_forwarded_out_total", ""), in = rig_count("packets_forwarded_in_total", "");
        for (unsigned i = 0; i < 3; i++) {
            rig_send(&a, &b, "ping", 4);
            rig_send(&a, &b, disco, sizeof(disco));
            mesh_rig_run(&m);
            rig_expect_packet(&b, &a, disco, sizeof(disco));
            rig_expect_packet(&b, &a, "ping", 4);
            rig_send(&b, &a, "pong", 4);
            mesh_rig_run(&m);
            rig_expect_packet(&a, &b, "pong", 4);
        }
        assert_int_equal(rig_count("packets_forwarded_out_total", ""), out + 9);
        assert_int_equal(rig_count("packets_forwarded_in_total", ""), in + 9);
        rig_close(&b);
        mesh_rig_run(&m);
        rig_expect_gone(&a, &b, DERP_GONE_DISCONNECTED); /* it has left the region */
        rig_send(&a, &b, disco, sizeof(disco));
        mesh_rig_run(&m);
        rig_expect_gone(&a, &b, DERP_GONE_NOT_HERE);
        rig_expect_nothing(&a);
        rig_close(&a);
        mesh_rig_stop(&m);
        assert_int_equal(rig_count("clients_remote", ""), 0);
        assert_int_equal(rig_count("watchers", ""), 0);
    }
}

/* A key with connections at two relays has left the region only when it is at neither. */
static void test_gone_from_the_region(void **state)
{
    (void)state;
    struct mesh_rig m;
    struct rig_client a, here, there;
    mesh_rig_start(&m, 2, 2);
    mesh_rig_link(&m);
    mesh_rig_join(&m, &a, 0, 0, 1);
    mesh_rig_join(&m, &here, 0, 1, 2);
    mesh_rig_join(&m, &there, 1, 0, 2);
    rig_send(&here, &a, "1", 1);
    rig_send(&a, &here, "2", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&a, &here, "1", 1);
    rig_expect_packet(&here, &a, "2", 1); /* who is here goes before who is there */
    rig_expect_nothing(&there);
    rig_close(&here);
    mesh_rig_run(&m);
    rig_expect_nothing(&a);
    rig_send(&a, &there, "3", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&there, &a, "3", 1);
    rig_send(&there, &a, "4", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&a, &there, "4", 1);
    rig_close(&there);
    mesh_rig_run(&m);
    rig_expect_gone(&a, &there, DERP_GONE_DISCONNECTED);
    rig_expect_nothing(&a);
    rig_close(&a);
    mesh_rig_stop(&m);
}

/* A key at two neighbours: the first that told of it gets the packets, then the other. */
static void test_first_seen_is_preferred(void **state)
{
    (void)state;
    struct mesh_rig m;
    struct rig_client a, first, second;
    mesh_rig_start(&m, 3, 2);
    mesh_rig_link(&m);
    int64_t created = rig_count("multiforwarder_created_total", "");
    int64_t deleted = rig_count("multiforwarder_deleted_total", "");
    mesh_rig_join(&m, &a, 0, 0, 1);
    mesh_rig_join(&m, &first, 1, 0, 2);
    mesh_rig_join(&m, &second, 2, 1, 2);
    assert_int_equal(rig_count("multiforwarder_created_total", ""), created + 1);
    rig_send(&a, &first, "1", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&first, &a, "1", 1);
    rig_close(&first);
    mesh_rig_run(&m);
    assert_int_equal(rig_count("multiforwarder_deleted_total", ""), deleted + 1);
    rig_send(&a, &second, "2", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&second, &a, "2", 1);
    mesh_rig_join(&m, &first, 1, 0, 2); /* again, and now the younger */
    rig_send(&a, &first, "3", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&second, &a, "3", 1);
    rig_expect_nothing(&first);
    rig_close(&first);
    rig_close(&second);
    rig_close(&a);
    mesh_rig_stop(&m);
}

static void cut_links(struct mesh_rig *m, unsigned i)
{
    m->is_cut[i] = true;
    for (unsigned k = 0; k < m->loop_n; k++)
        mesh_close_links(&m->relays[i]->workers[k]);
    relay_close_key(m->relays[i], (const node_key *)relay_public_key(m->relays[1 - i]));
    mesh_rig_run(m);
}

static void test_loss_and_return(void **state)
{
    (void)state;
    struct mesh_rig m;
    struct rig_client a, b;
    mesh_rig_start(&m, 2, 1);
    mesh_rig_link(&m);
    mesh_rig_join(&m, &a, 0, 0, 1);
    mesh_rig_join(&m, &b, 1, 0, 2);
    rig_send(&b, &a, "1", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&a, &b, "1", 1);
    cut_links(&m, 1);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0);
    assert_int_equal(rig_count("clients_remote", ""), 0);
    rig_expect_gone(&a, &b, DERP_GONE_DISCONNECTED);
    rig_send(&a, &b, disco, sizeof(disco));
    relay_test_advance(m.relays[0], 6000); /* in vain */
    mesh_rig_run(&m);
    rig_expect_gone(&a, &b, DERP_GONE_NOT_HERE);
    m.is_cut[1] = false;
    relay_test_advance(m.relays[0], 4000);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0); /* not before 5 s */
    relay_test_advance(m.relays[0], 1500);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 1);
    rig_send(&a, &b, "2", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&b, &a, "2", 1);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_close(&b);
    mesh_rig_stop(&m);
}

/* The list can be replaced at any time; what is in both lists lives on. */
static void test_lists(void **state)
{
    (void)state;
    static const struct relay_neighbour one = {.host = "r1", .dial = "192.0.2.1"};
    static const struct relay_neighbour two = {.host = "r2", .dial = "192.0.2.1"};
    struct mesh_rig m;
    mesh_rig_start(&m, 3, 2);
    struct relay_neighbour both[2] = {one, two};
    relay_mesh_set(m.relays[0], both, 2);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 2);
    unsigned accepts = (unsigned)rig_count("accepts_total", "");
    relay_mesh_set(m.relays[0], &two, 1);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 1);
    assert_int_equal(relay_client_count(m.relays[1]), 0);
    assert_int_equal(relay_client_count(m.relays[2]), 1);
    relay_mesh_set(m.relays[0], &two, 1);
    mesh_rig_run(&m);
    assert_int_equal(rig_count("accepts_total", ""), accepts);
    relay_mesh_set(m.relays[0], both, 2);
    relay_mesh_set(m.relays[0], NULL, 0); /* before the loops have run */
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0);
    assert_int_equal(relay_client_count(m.relays[2]), 0);
    relay_mesh_set(m.relays[0], both, 2);
    mesh_rig_stop(&m); /* with messages under way */
}

static void test_draining_ends_links(void **state)
{
    (void)state;
    struct mesh_rig m;
    mesh_rig_start(&m, 2, 1);
    mesh_rig_link(&m);
    relay_drain(m.relays[0], 0);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0);
    assert_int_equal(relay_mesh_links(m.relays[1]), 0);
    relay_test_advance(m.relays[1], 6000);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[1]), 0); /* refused */
    mesh_rig_stop(&m);
}

/* Without a key there is nothing to show to a neighbour. */
static void test_no_key_no_links(void **state)
{
    (void)state;
    static const struct relay_neighbour at = {.host = "192.0.2.1"};
    struct rig r;
    rig_start(&r, NULL, NULL);
    relay_mesh_set(r.relay, &at, 1);
    rig_run(&r);
    assert_true(list_is_empty(&r.relay->workers[0].mesh_links));
    rig_stop(&r);
}

/* --- A scripted neighbour --- */

struct script {
    struct rig r;
    struct rig_client far; /* the neighbour's end; `key` is its server key */
    unsigned dials;
    bool stops_loop;
};

static struct stream *script_dial(void *ctx, struct loop *loop, const struct relay_neighbour *to)
{
    static const struct stream_events events = {rig_on_data, NULL, rig_on_closed};
    struct script *s = ctx;
    struct stream *near;
    (void)to;
    stream_close(&s->far.s, false);
    buf_clear(&s->far.got);
    s->far.is_closed = false;
    stream_pair_create(loop, 0, &near, &s->far.s);
    stream_set_events(s->far.s, &events, &s->far);
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

static void test_what_a_neighbour_tells(void **state)
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
    rig_frame(&s.far, DERP_PEER_PRESENT, y.public.b, KEY_BYTES); /* as short as of old */
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

/* A packet for a key of a neighbour that comes from a neighbour goes no further. */
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
        case 3: rig_frame(&s.far, DERP_KEEP_ALIVE, NULL, 0); break;                              /* not its turn */
        case 4: rig_frame(&s.far, DERP_SERVER_INFO, zeros, 60); break;                           /* not sealed */
        case 5: send_server_info(&s, "[]"); break;
        case 6: send_present(&s, &s.far); break; /* not its turn */
        case 7: rig_frame(&s.far, DERP_SERVER_INFO, NULL, 0); break;
        }
        rig_run(&s.r);
        expect_lost(&s);
    }
    buf_fini(&key);
    script_stop(&s);
}

/* More than we know may follow the key. */
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

/* Whatever it asks of us, or sends us as if we were a client, is skipped, whole or in pieces. */
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
    assert_int_equal(buf_len(&s.far.got), 0); /* the mesh key was not told */
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

/* Too much for a neighbour that does not read: the oldest packets go, and disco goes ahead. */
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

/* While the workers have too much before them, a neighbour is not read. */
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
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_gone_from_the_region),
        cmocka_unit_test(test_first_seen_is_preferred),
        cmocka_unit_test(test_loss_and_return),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_draining_ends_links),
        cmocka_unit_test(test_no_key_no_links),
        cmocka_unit_test(test_what_a_neighbour_tells),
        cmocka_unit_test(test_one_hop_only),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_bad_logins),
        cmocka_unit_test(test_longer_greeting),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_skipped_frames),
        cmocka_unit_test(test_self_dial),
        cmocka_unit_test(test_limit_of_keys),
        cmocka_unit_test(test_slow_neighbour),
        cmocka_unit_test(test_stuck_neighbour),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
