#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "http/testing.h"
#include "http/ws.h"

struct app {
    struct loop *loop;
    struct http_server *server;
    struct peer peer; /* the client's end of the byte stream */
    /* the server's end */
    enum rc accept_rc;
    struct stream *ws;
    struct buf got;
    bool is_closed;
    bool closes_itself; /* in its next data callback */
    unsigned drained_n;
    size_t max_message_bytes;
};

static void ws_data(void *ctx, const uint8_t *p, size_t n)
{
    struct app *a = ctx;
    buf_append(&a->got, p, n);
    if (a->closes_itself)
        stream_close(&a->ws, true);
}

static void ws_drained(void *ctx)
{
    ((struct app *)ctx)->drained_n++;
}

static void ws_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct app *)ctx)->is_closed = true;
}

static void upgrade(void *app, struct http_exchange *ex)
{
    static const struct stream_events events = {ws_data, ws_drained, ws_closed};
    struct app *a = app;
    const struct ws_opts opts = {.subprotocol = "thing", .max_message_bytes = a->max_message_bytes};
    a->accept_rc = ws_accept(ex, &opts, &a->ws);
    if (a->ws != NULL)
        stream_set_events(a->ws, &events, a);
}

static const struct http_route routes[] = {{HTTP_GET | HTTP_POST, "/ws", upgrade, 0}};

#define HEAD_WITHOUT_PROTOCOL                                                                                          \
    "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"                         \
    "Origin: https://anywhere\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"         \
    "Sec-WebSocket-Extensions: permessage-deflate\r\n"
#define HEAD_OK HEAD_WITHOUT_PROTOCOL "Sec-WebSocket-Protocol: other, thing\r\n\r\n"

static struct app *open_app(size_t chunk)
{
    struct app *a = MEM_NEW(struct app);
    struct stream *server_end;
    struct stream *client_end;
    a->loop = loop_create(0);
    struct http_server_opts opts = {.loop = a->loop, .routes = routes, .routes_n = 1, .app = a};
    a->server = http_server_create(&opts);
    stream_pair_create(a->loop, chunk, &server_end, &client_end);
    peer_open(&a->peer, client_end);
    http_server_accept(a->server, server_end);
    return a;
}

static void close_app(struct app *a)
{
    peer_close(&a->peer);
    stream_close(&a->ws, false);
    http_server_destroy(&a->server);
    run_due(a->loop);
    loop_destroy(&a->loop);
    buf_fini(&a->got);
    mem_free(a);
}

static void say(struct app *a, const void *p, size_t n)
{
    stream_write(a->peer.s, p, n);
    run_due(a->loop);
}

static void say_c(struct app *a, const char *text)
{
    say(a, text, strlen(text));
}

/* A frame as clients send them: masked. `first`: FIN, RSV and opcode. */
static void frame(struct buf *out, uint8_t first, const void *p, size_t n)
{
    static const uint8_t mask[4] = {0x11, 0x22, 0x33, 0x44};
    buf_append_byte(out, first);
    if (n < 126) {
        buf_append_byte(out, (uint8_t)(0x80 | n));
    } else if (n <= UINT16_MAX) {
        buf_append_byte(out, 0x80 | 126);
        buf_append_u16be(out, (uint16_t)n);
    } else {
        buf_append_byte(out, 0x80 | 127);
        buf_append_u32be(out, 0);
        buf_append_u32be(out, (uint32_t)n);
    }
    buf_append(out, mask, sizeof(mask));
    for (size_t i = 0; i < n; i++)
        buf_append_byte(out, ((const uint8_t *)p)[i] ^ mask[i % 4]);
}

static void say_frame(struct app *a, uint8_t first, const void *p, size_t n)
{
    struct buf out = {0};
    frame(&out, first, p, n);
    say(a, buf_at(&out), buf_len(&out));
    buf_fini(&out);
}

static struct app *open_ws(size_t chunk)
{
    struct app *a = open_app(chunk);
    say_c(a, HEAD_OK);
    assert_int_equal(a->accept_rc, RC_OK);
    assert_non_null(a->ws);
    buf_clear(&a->peer.in);
    return a;
}

/* The code of the close frame that ends what came, or 0. */
static unsigned close_code(const struct app *a)
{
    size_t n = buf_len(&a->peer.in);
    const uint8_t *p = buf_at(&a->peer.in);
    return n >= 4 && p[n - 4] == 0x88 && p[n - 3] == 2 ? (unsigned)p[n - 2] << 8 | p[n - 1] : 0;
}

static void test_handshake(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 3; chunk++) {
        struct app *a = open_app(chunk);
        say_c(a, HEAD_OK);
        assert_int_equal(a->accept_rc, RC_OK);
        assert_string_equal(
            buf_cstr(&a->peer.in),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: thing\r\n\r\n");
        close_app(a);
    }
}

static void test_no_subprotocol(void **state)
{
    (void)state;
    static const char *const heads[] = {HEAD_WITHOUT_PROTOCOL "\r\n",
                                        HEAD_WITHOUT_PROTOCOL "Sec-WebSocket-Protocol: things\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct app *a = open_app(0);
        say_c(a, heads[i]);
        assert_int_equal(a->accept_rc, RC_DENIED);
        assert_null(a->ws);
        assert_int_equal(close_code(a), 1008);
        assert_true(a->peer.is_closed);
        close_app(a);
    }
}

static void test_bad_handshakes(void **state)
{
    (void)state;
#define START "GET /ws HTTP/1.1\r\nHost: h\r\n"
#define U "Upgrade: websocket\r\n"
#define C "Connection: Upgrade\r\n"
#define V "Sec-WebSocket-Version: 13\r\n"
#define K "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define P "Sec-WebSocket-Protocol: thing\r\n"
    static const struct {
        const char *head;
        const char *answer;
    } rows[] = {
        {START U C K P "\r\n", "HTTP/1.1 426 "},
        {START U C K P "Sec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 426 "},
        {START C V K P "\r\n", "HTTP/1.1 400 "},
        {START U V K P "\r\n", "HTTP/1.1 400 "},
        {START U C V P "\r\n", "HTTP/1.1 400 "},
        {START U C V P "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n", "HTTP/1.1 400 "},
        {START U C V P "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n\r\n", "HTTP/1.1 400 "},
        {START U C V P "Sec-WebSocket-Key: !!hlIHNhbXBsZSBub25jZQ==\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /ws HTTP/1.1\r\nHost: h\r\n" U C V K P "\r\n", "HTTP/1.1 400 "},
        {"GET /ws HTTP/1.0\r\nHost: h\r\n" U C V K P "\r\n", "HTTP/1.1 400 "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app *a = open_app(0);
        say_c(a, rows[i].head);
        assert_int_equal(a->accept_rc, RC_INVALID);
        assert_null(a->ws);
        assert_non_null(strstr(buf_cstr(&a->peer.in), rows[i].answer));
        close_app(a);
    }
}

static void test_messages(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 3; chunk++) {
        struct app *a = open_ws(chunk);
        say_frame(a, 0x82, "hello", 5);
        say_frame(a, 0x02, " fr", 3); /* fragments, with a ping in between */
        say_frame(a, 0x89, "beat", 4);
        say_frame(a, 0x00, "ag", 2);
        say_frame(a, 0x80, "ments", 5);
        say_frame(a, 0x82, "", 0);
        assert_string_equal(buf_cstr(&a->got), "hello fragments");
        assert_string_equal(buf_cstr(&a->peer.in), "\x8a\x04"
                                                   "beat");
        buf_clear(&a->peer.in);
        /* One iteration, one message. */
        stream_write(a->ws, "ab", 2);
        stream_write(a->ws, "cd", 2);
        run_due(a->loop);
        assert_string_equal(buf_cstr(&a->peer.in), "\x82\x04"
                                                   "abcd");
        close_app(a);
    }
}

/* What came right behind the handshake is not lost. */
static void test_early_message(void **state)
{
    (void)state;
    struct app *a = open_app(0);
    struct buf out = {0};
    buf_append_c(&out, HEAD_OK);
    frame(&out, 0x82, "early", 5);
    say(a, buf_at(&out), buf_len(&out));
    buf_fini(&out);
    assert_string_equal(buf_cstr(&a->got), "early");
    close_app(a);
}

static void test_large_output(void **state)
{
    (void)state;
    struct app *a = open_ws(0);
    uint8_t piece[50 * 1024];
    memset(piece, 'b', sizeof(piece));
    stream_write(a->ws, piece, sizeof(piece));
    run_due(a->loop);
    const uint8_t *p = buf_at(&a->peer.in);
    size_t at = 0;
    size_t total = 0;
    while (at < buf_len(&a->peer.in)) {
        assert_int_equal(p[at], 0x82);
        size_t n = p[at + 1] < 126 ? p[at + 1] : (size_t)p[at + 2] << 8 | p[at + 3];
        assert_true(n <= 32 * 1024);
        at += (p[at + 1] < 126 ? 2 : 4) + n;
        total += n;
    }
    assert_int_equal(total, sizeof(piece));
    /* A stalled reader. */
    stream_pause(a->peer.s, true);
    stream_write(a->ws, piece, sizeof(piece));
    stream_write(a->ws, piece, sizeof(piece));
    run_due(a->loop);
    assert_true(stream_queued(a->ws) > 2 * sizeof(piece));
    assert_int_equal(a->drained_n, 0);
    stream_pause(a->peer.s, false);
    run_due(a->loop);
    assert_int_equal(stream_queued(a->ws), 0);
    assert_int_equal(a->drained_n, 1);
    close_app(a);
}

static void test_violations(void **state)
{
    (void)state;
    static const uint8_t utf8[] = {0xff, 0xff};
    static const uint8_t no_reason[] = {1005 >> 8, 1005 & 0xff};
    static const struct {
        uint8_t first;
        const void *p;
        size_t n;
        unsigned code;
    } rows[] = {
        {0x81, "text", 4, 1003},           {0x01, "te", 2, 1003},      {0x81, utf8, 2, 1003},
        {0xc2, "deflated", 8, 1002},       {0x83, "what", 4, 1002},    {0x80, "continuation of nothing", 23, 1002},
        {0x09, "ping in parts", 13, 1002}, {0x88, no_reason, 2, 1002}, {0x88, "x", 1, 1002},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app *a = open_ws(0);
        say_frame(a, rows[i].first, rows[i].p, rows[i].n);
        if (close_code(a) != 0)
            assert_int_equal(close_code(a), rows[i].code);
        assert_true(a->is_closed);
        assert_true(a->peer.is_closed);
        assert_int_equal(buf_len(&a->got), 0);
        close_app(a);
    }
    /* Not masked. */
    struct app *a = open_ws(0);
    say(a, "\x82\x01x", 3);
    assert_int_equal(close_code(a), 1002);
    assert_true(a->is_closed);
    close_app(a);
}

static void test_message_limit(void **state)
{
    (void)state;
    for (int in_parts = 0; in_parts < 2; in_parts++) {
        struct app *a = open_app(0);
        a->max_message_bytes = 100;
        say_c(a, HEAD_OK);
        buf_clear(&a->peer.in);
        uint8_t bytes[101] = {0};
        say_frame(a, 0x82, bytes, 100);
        assert_int_equal(buf_len(&a->got), 100);
        if (in_parts) {
            say_frame(a, 0x02, bytes, 60);
            say_frame(a, 0x80, bytes, 41);
        } else {
            say_frame(a, 0x82, bytes, 101);
        }
        assert_int_equal(close_code(a), 1009);
        assert_true(a->is_closed);
        assert_int_equal(buf_len(&a->got), in_parts ? 160 : 100);
        close_app(a);
    }
    /* A length of nearly 2^63 costs nothing. */
    struct app *a = open_ws(0);
    say(a,
        "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"
        "mask"
        "x",
        15);
    assert_int_equal(close_code(a), 1009);
    close_app(a);
}

static void test_closing(void **state)
{
    (void)state;
    static const uint8_t normal[] = {1000 >> 8, 1000 & 0xff};
    struct app *a = open_ws(0);
    say_frame(a, 0x88, normal, 2);
    assert_int_equal(close_code(a), 1000);
    assert_true(a->is_closed);
    close_app(a);

    a = open_ws(0);
    stream_write(a->ws, "bye", 3);
    stream_close(&a->ws, true);
    run_due(a->loop);
    assert_memory_equal(buf_at(&a->peer.in),
                        "\x82\x03"
                        "bye\x88\x02\x03\xe8",
                        9);
    assert_true(a->peer.is_closed);
    close_app(a);

    /* From its own callback, with more to come in the same bytes. */
    a = open_ws(0);
    a->closes_itself = true;
    struct buf out = {0};
    frame(&out, 0x82, "one", 3);
    frame(&out, 0x82, "two", 3);
    say(a, buf_at(&out), buf_len(&out));
    buf_fini(&out);
    assert_string_equal(buf_cstr(&a->got), "one");
    assert_false(a->is_closed);
    close_app(a);

    a = open_ws(0);
    stream_close(&a->peer.s, false);
    run_due(a->loop);
    assert_true(a->is_closed);
    close_app(a);
}

/* Pings whose answers are not read. */
static void test_unread_pongs(void **state)
{
    (void)state;
    struct app *a = open_ws(0);
    uint8_t bytes[125] = {0};
    stream_pause(a->peer.s, true);
    for (int i = 0; i < 3000; i++)
        say_frame(a, 0x89, bytes, sizeof(bytes));
    assert_true(stream_queued(a->peer.s) > 0);
    assert_true(stream_queued(a->ws) < 2 * STREAM_HIGH_WATER);
    stream_pause(a->peer.s, false);
    run_due(a->loop);
    assert_int_equal(buf_len(&a->peer.in), 3000 * 127);
    close_app(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),      cmocka_unit_test(test_no_subprotocol),
        cmocka_unit_test(test_bad_handshakes), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_early_message),  cmocka_unit_test(test_large_output),
        cmocka_unit_test(test_violations),     cmocka_unit_test(test_message_limit),
        cmocka_unit_test(test_closing),        cmocka_unit_test(test_unread_pongs),
    };
    crypto_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
