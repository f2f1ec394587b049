/* From an HTTP request to DERP, over in-memory streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "proto/test_vectors.h"
#include "relay/relay_http.h"
#include "relay/rig_internal.h"

static const char *const addrs[] = {"192.0.2.1", "2001:db8::1"};
static const struct relay_http_name names[] = {
    {"relay.example.com", addrs, 2, false},
    {"control.example.com", addrs, 1, true},
    {"self.example.com", NULL, 0, true},
};

struct site {
    struct rig rig;
    struct relay_http app;
    struct http_server *http;
};

static void free_http(void *obj)
{
    struct http_server *http = obj;
    http_server_destroy(&http);
}

static void site_start(struct site *t)
{
    struct vectors v;
    vectors_load(&v, VECTORS_DIR "/derp.json");
    struct str key = vectors_bytes(&v, "keys", "server_private");
    struct relay_opts opts = {0};
    memcpy(opts.key.b, key.p, KEY_BYTES);
    vectors_fini(&v);
    rig_start(&t->rig, &opts, NULL);
    t->app = (struct relay_http){t->rig.relay, names, ARRAY_LEN(names)};
    struct http_server_opts http_opts = {
        .loop = t->rig.loop, .routes = relay_http_routes, .routes_n = relay_http_routes_n, .app = &t->app};
    t->http = http_server_create(&http_opts);
    rig_cleanup_add(free_http, t->http, t->http);
}

static void site_stop(struct site *t)
{
    rig_cleanup_now(t->http);
    rig_stop(&t->rig);
}

static void close_stream(void *obj)
{
    struct stream *s = obj;
    stream_close(&s, true);
}

/* A connection to the site with this as its first bytes. */
static void site_connect(struct site *t, struct rig_client *c, struct str bytes)
{
    *c = (struct rig_client){0};
    uint8_t random[KEY_BYTES] = {[1] = 9};
    private_key_from_bytes(random, &c->key);
    private_key_public(&c->key, c->public.b);
    struct stream *server_end;
    stream_pair_create(t->rig.loop, 0, &c->s, &server_end);
    stream_set_events(c->s, &rig_client_events, c);
    rig_cleanup_add(close_stream, c->s, c);
    assert_int_equal(addr_parse_ip(STR("192.0.2.53"), &server_end->local), RC_OK);
    stream_write(c->s, bytes.p, bytes.len);
    http_server_accept(t->http, server_end);
    rig_run(&t->rig);
}

/* Asks, and compares the status line and what else must be (or with '!' first, must not be) in the answer. */
static void ask(struct site *t, const char *request, const char *const *wants)
{
    struct rig_client c;
    struct buf b = {0};
    buf_printf(&b, "%s\r\nHost: relay.example.com\r\nConnection: close\r\n\r\n", request);
    site_connect(t, &c, buf_str(&b));
    const char *answer = buf_cstr(&c.got);
    for (; *wants != NULL; wants++) {
        bool has = strstr(answer, **wants == '!' ? *wants + 1 : *wants) != NULL;
        if (has == (**wants == '!'))
            fail_msg("%s: %s in\n%s", request, *wants, answer);
    }
    buf_fini(&b);
    rig_close(&c);
}

#define ASK(t, request, ...) ask((t), (request), (const char *const[]){__VA_ARGS__, NULL})

static void test_small_answers(void **state)
{
    (void)state;
    struct site t;
    site_start(&t);
    ASK(&t, "GET /derp HTTP/1.1", "HTTP/1.1 426 ", "\r\n\r\nDERP requires connection upgrade\n");
    ASK(&t, "GET /derp HTTP/1.1\r\nUpgrade: h2c", "HTTP/1.1 426 ");
    ASK(&t, "POST /derp HTTP/1.1\r\nUpgrade: DERP\r\nContent-Length: 0", "HTTP/1.1 426 ");
    ASK(&t, "GET /derp/probe HTTP/1.1", "HTTP/1.1 200 ", "ccess-", "ontent-", "\r\n\r\n");
    ASK(&t, "HEAD /derp/latency-check HTTP/1.1", "HTTP/1.1 200 ", "rigin: *\r\n");
    ASK(&t, "POST /derp/probe HTTP/1.1\r\nContent-Length: 0", "HTTP/1.1 405 ", "\r\n\r\nbogus probe method\n");
    ASK(&t, "GET /generate_204 HTTP/1.1", "HTTP/1.1 204 ", "no-transform", "!response");
    ASK(&t, "GET /generate_204 HTTP/1.1\r\nX-Tailscale-Challenge: ts_relay.example.com", "HTTP/1.1 204 ",
        ": response ts_relay.example.com\r\n");
    ASK(&t, "GET /generate_204 HTTP/1.1\r\nX-Tailscale-Challenge: a b", "HTTP/1.1 204 ", "!response");
    ASK(&t,
        "GET /generate_204 HTTP/1.1\r\nX-Tailscale-Challenge: 12345678901234567890123456789012345678901234567890"
        "123456789012345",
        "HTTP/1.1 204 ", "!response");
    ASK(&t, "GET /robots.txt HTTP/1.1", "HTTP/1.1 200 ", "\r\n\r\nUser-agent: *\nDisallow: /\n");
    ASK(&t, "GET /bootstrap-dns HTTP/1.1", "HTTP/1.1 200 ", "application/json",
        "\r\n\r\n{\"relay.example.com\":[\"192.0.2.1\",\"2001:db8::1\"]}");
    ASK(&t, "GET /bootstrap-dns?q=Control.Example.com HTTP/1.1", "\r\n\r\n{\"control.example.com\":[\"192.0.2.1\"]}");
    ASK(&t, "GET /bootstrap-dns?q=other.example.com HTTP/1.1", "\r\n\r\n{\"relay.example.com\":[");
    ASK(&t, "GET /bootstrap-dns?q=self.example.com HTTP/1.1", "\r\n\r\n{\"self.example.com\":[\"192.0.2.53\"]}");
    ASK(&t, "GET / HTTP/1.1", "HTTP/1.1 200 ", "relay", "ontent-security-policy");
    ASK(&t, "GET /other HTTP/1.1", "HTTP/1.1 404 ");
    relay_drain(t.rig.relay, 0);
    ASK(&t, "GET /derp/probe HTTP/1.1", "HTTP/1.1 503 ");
    ASK(&t, "GET /derp HTTP/1.1\r\nUpgrade: DERP", "HTTP/1.1 503 ");
    ASK(&t, "GET /derp HTTP/1.1\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1", "!HTTP");
    t.app.relay = NULL;
    ASK(&t, "GET /derp HTTP/1.1\r\nUpgrade: DERP", "HTTP/1.1 404 ");
    ASK(&t, "GET /derp/probe HTTP/1.1", "HTTP/1.1 503 ");
    site_stop(&t);
}

static void exchange_packets(struct site *t, struct rig_client *c)
{
    rig_send(c, c, "hello", 5);
    rig_run(&t->rig);
    rig_expect_packet(c, c, "hello", 5);
    rig_expect_nothing(c);
}

/* The vectors' request, and the vectors' answer byte for byte. */
static void test_upgrade(void **state)
{
    (void)state;
    struct vectors v;
    vectors_load(&v, VECTORS_DIR "/derp.json");
    struct site t;
    struct rig_client c;
    site_start(&t);
    site_connect(&t, &c, vectors_text(vectors_at(&v, "http_upgrade_request", NULL)));
    struct str want = vectors_text(vectors_at(&v, "http_101_response", NULL));
    assert_true(buf_len(&c.got) > want.len);
    assert_memory_equal(buf_at(&c.got), want.p, want.len);
    buf_consume(&c.got, want.len);
    rig_login(&t.rig, &c, false);
    rig_run(&t.rig);
    rig_expect_welcome(&t.rig, &c);
    exchange_packets(&t, &c);
    rig_close(&c);
    site_stop(&t);
    vectors_fini(&v);
}

/* No HTTP answer; the login follows the request in one piece. */
static void test_fast_start(void **state)
{
    (void)state;
    struct vectors v;
    vectors_load(&v, VECTORS_DIR "/derp.json");
    struct site t;
    struct rig_client c, like;
    struct buf b = {0};
    site_start(&t);
    buf_append_str(&b, vectors_text(vectors_at(&v, "http_faststart_request", NULL)));
    site_connect(&t, &like, STR_EMPTY);
    rig_append_login(&t.rig, &like, &b, false);
    site_connect(&t, &c, buf_str(&b));
    rig_expect_welcome(&t.rig, &c);
    exchange_packets(&t, &c);
    buf_fini(&b);
    rig_close(&c);
    rig_close(&like);
    site_stop(&t);
    vectors_fini(&v);
}

/* One masked binary message. The mask is zero, which is allowed, and leaves the bytes as they are. */
static void write_message(struct rig_client *c, const struct buf *payload)
{
    uint8_t len = (uint8_t)buf_len(payload);
    if (buf_len(payload) < 126)
        stream_write(c->s, (uint8_t[]){0x82, 0x80 | len, 0, 0, 0, 0}, 6);
    else
        stream_write(c->s, (uint8_t[]){0x82, 0x80 | 126, (uint8_t)(buf_len(payload) >> 8), len, 0, 0, 0, 0}, 8);
    stream_write(c->s, buf_at(payload), buf_len(payload));
}

/* Strips the frame heads from what the client got; all are binary messages. */
static void unwrap_messages(struct rig_client *c)
{
    struct buf bytes = {0};
    while (buf_len(&c->got) >= 2) {
        const uint8_t *p = buf_at(&c->got);
        assert_int_equal(p[0], 0x82);
        size_t head = p[1] == 126 ? 4 : 2;
        size_t n = p[1] == 126 ? (size_t)(p[2] << 8 | p[3]) : p[1];
        buf_append(&bytes, p + head, n);
        buf_consume(&c->got, head + n);
    }
    buf_fini(&c->got);
    c->got = bytes;
}

static void test_websocket(void **state)
{
    (void)state;
    struct site t;
    struct rig_client c;
    int64_t before = rig_count("websocket_accepts_total", "");
    site_start(&t);
    site_connect(&t, &c,
                 STR("GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Protocol: derp\r\n\r\n"));
    const char *answer = buf_cstr(&c.got);
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    assert_non_null(strstr(answer, "HTTP/1.1 101 "));
    assert_non_null(strstr(answer, "Sec-WebSocket-Protocol: derp\r\n"));
    buf_consume(&c.got, (size_t)(end + 4 - answer));
    struct buf b = {0};
    rig_append_login(&t.rig, &c, &b, false);
    derp_append_send_packet(&b, &c.public, "hello", 5);
    struct buf half = {0}; /* messages and frames are not cut alike */
    buf_append(&half, buf_at(&b), 50);
    buf_consume(&b, 50);
    write_message(&c, &half);
    rig_run(&t.rig);
    write_message(&c, &b);
    rig_run(&t.rig);
    unwrap_messages(&c);
    rig_expect_welcome(&t.rig, &c);
    rig_expect_packet(&c, &c, "hello", 5);
    rig_expect_nothing(&c);
    assert_int_equal(rig_count("websocket_accepts_total", ""), before + 1);
    buf_fini(&b);
    buf_fini(&half);
    rig_close(&c);
    site_stop(&t);
}

/* A request of a megabyte is refused when its head is too long, whatever is still to come; another client is not
 * affected. */
static void test_a_megabyte_of_headers(void **state)
{
    (void)state;
    struct site t;
    struct rig_client other, c;
    struct buf b = {0};
    site_start(&t);
    rig_join(&t.rig, &other, 2);
    buf_append_c(&b, "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n");
    while (buf_len(&b) < 1024 * 1024)
        buf_append_c(&b, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    int64_t refused = metric_read("fullscale_http_refused_total", "reason=\"head\"");
    int64_t accepts = rig_count("accepts_total", "");
    site_connect(&t, &c, buf_str(&b));
    assert_int_equal(metric_read("fullscale_http_refused_total", "reason=\"head\""), refused + 1);
    assert_int_equal(rig_count("accepts_total", ""), accepts);
    assert_true(str_starts(buf_str(&c.got), STR("HTTP/1.1 431 ")));
    assert_int_equal(stream_queued(c.s), 0); /* read and dropped, so that the answer arrives */
    http_server_sweep(t.http, loop_now_ms(t.rig.loop) + 60 * 1000);
    rig_run(&t.rig);
    assert_true(c.is_closed);
    rig_send(&other, &other, "hello", 5);
    rig_run(&t.rig);
    rig_expect_packet(&other, &other, "hello", 5);
    buf_fini(&b);
    rig_close(&c);
    rig_close(&other);
    site_stop(&t);
}

/* Very old clients: "websocket" in the header only. */
static void test_websocket_without_the_protocol_is_an_upgrade(void **state)
{
    (void)state;
    struct site t;
    struct rig_client c;
    site_start(&t);
    site_connect(&t, &c, STR("GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"));
    const char *answer = buf_cstr(&c.got);
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n"));
    buf_consume(&c.got, (size_t)(end + 4 - answer));
    rig_login(&t.rig, &c, false);
    rig_run(&t.rig);
    rig_expect_welcome(&t.rig, &c);
    rig_close(&c);
    site_stop(&t);
}

/* A client that would have preferred another node of the region says so, and is counted. */
static void test_ideal_node(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        bool is_not_ideal;
    } cases[] = {
        {"GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n", false},
        {"GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nIdeal-Node: \r\n\r\n", false},
        {"GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nIdeal-Node: 1a\r\n\r\n", true},
        {"GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nIdeal-Node: 1a\r\n"
         "Derp-Fast-Start: 1\r\n\r\n",
         true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct site t;
        struct rig_client c;
        site_start(&t);
        site_connect(&t, &c, str_c(cases[i].request));
        rig_login(&t.rig, &c, false);
        rig_run(&t.rig);
        assert_int_equal(relay_client_count(t.rig.relay), 1);
        assert_int_equal(rig_count("current_notideal_connections", ""), cases[i].is_not_ideal);
        rig_close(&c);
        rig_run(&t.rig);
        assert_int_equal(rig_count("current_notideal_connections", ""), 0);
        site_stop(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_small_answers, rig_tear_down),
        cmocka_unit_test_teardown(test_upgrade, rig_tear_down),
        cmocka_unit_test_teardown(test_fast_start, rig_tear_down),
        cmocka_unit_test_teardown(test_ideal_node, rig_tear_down),
        cmocka_unit_test_teardown(test_websocket, rig_tear_down),
        cmocka_unit_test_teardown(test_a_megabyte_of_headers, rig_tear_down),
        cmocka_unit_test_teardown(test_websocket_without_the_protocol_is_an_upgrade, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
