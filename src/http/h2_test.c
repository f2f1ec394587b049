#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "http/h2_client.h"
#include "http/testing.h"

enum { MAX_REPLIES = 6000 }; /* more than a flood earns meanwhile, on a slow machine too */

/* What the client got, by stream id / 2. */
struct reply {
    int status;
    unsigned bytes;
    uint8_t last_byte;
    bool is_ended;
    uint32_t error;
    char text[128];
};

struct app {
    struct loop *loop;
    struct http_server *server;
    struct http_conn *conn;
    struct h2_client *client;
    struct reply replies[MAX_REPLIES];
    struct buf raw; /* for tests that speak without a client */
    uint32_t goaway_error;
    bool has_goaway;
    bool is_client_closed;
    /* handlers */
    struct http_exchange *waiting[8];
    unsigned waiting_n;
    unsigned handled_n;
    unsigned closed_n;
    unsigned drained_n;
    unsigned conn_gone_n;
};

/* --- handlers --- */

static void on_closed(void *ctx)
{
    ((struct app *)ctx)->closed_n++;
}

static void on_drained(void *ctx)
{
    ((struct app *)ctx)->drained_n++;
}

static const struct http_events events = {on_closed, on_drained};

static void echo(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    const struct http_request *req = http_request(ex);
    struct buf out = {0};
    a->handled_n++;
    assert_ptr_equal(req->conn_ctx, a);
    assert_int_equal(req->version, 20);
    int shown = req->body.len < 20 ? (int)req->body.len : 20;
    buf_printf(&out, "%.*s %.*s?%.*s %.*s [%zu:%.*s]", STR_ARG(req->method_name), STR_ARG(req->path),
               STR_ARG(req->query), STR_ARG(req->authority), req->body.len, shown, req->body.p);
    http_set_header(ex, "X-Thing", STR("1"));
    http_respond(ex, 200, "text/plain", buf_str(&out));
    buf_fini(&out);
}

static void later(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    a->handled_n++;
    assert_true(a->waiting_n < ARRAY_LEN(a->waiting));
    a->waiting[a->waiting_n++] = ex;
    http_set_events(ex, &events, a);
}

static void poll_stream(void *app, struct http_exchange *ex)
{
    later(app, ex);
    http_stream_start(ex, 200, "application/json");
}

static void close_conn(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    (void)ex;
    a->handled_n++;
    http_conn_close(a->conn);
}

static void no_take(void *app, struct http_exchange *ex)
{
    struct stream *s;
    struct buf leftover = {0};
    (void)app;
    assert_int_equal(http_take_stream(ex, &s, &leftover), RC_UNSUPPORTED);
    http_respond_rc(ex, RC_UNSUPPORTED);
}

static void refuse(void *app, struct http_exchange *ex)
{
    (void)app;
    http_abort(ex);
}

static void conn_gone(void *app, void *conn_ctx)
{
    struct app *a = app;
    assert_ptr_equal(app, conn_ctx);
    a->conn_gone_n++;
    a->conn = NULL;
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/echo", echo, 0}, {HTTP_POST, "/small", echo, 100},
    {HTTP_POST, "/later", later, 0},          {HTTP_GET | HTTP_POST, "/poll", poll_stream, 0},
    {HTTP_GET, "/close", close_conn, 0},      {HTTP_GET, "/take", no_take, 0},
    {HTTP_GET, "/refuse", refuse, 0},
};

/* --- the client's side --- */

static struct reply *reply_of(struct app *a, int32_t id)
{
    assert_true(id > 0 && id / 2 < MAX_REPLIES);
    return &a->replies[id / 2];
}

static void on_response(void *ctx, int32_t id, int status)
{
    reply_of(ctx, id)->status = status;
}

static void on_data(void *ctx, int32_t id, const uint8_t *p, size_t n)
{
    struct reply *r = reply_of(ctx, id);
    for (size_t i = 0; i < n && r->bytes + i < sizeof(r->text) - 1; i++)
        r->text[r->bytes + i] = (char)p[i];
    r->bytes += (unsigned)n;
    r->last_byte = n > 0 ? p[n - 1] : r->last_byte;
}

static void on_ended(void *ctx, int32_t id, uint32_t error)
{
    struct reply *r = reply_of(ctx, id);
    r->is_ended = true;
    r->error = error;
}

static void on_goaway(void *ctx, uint32_t error)
{
    struct app *a = ctx;
    a->has_goaway = true;
    a->goaway_error = error;
}

static void on_client_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct app *)ctx)->is_client_closed = true;
}

static const struct h2_client_events client_events = {
    .response = on_response,
    .data = on_data,
    .ended = on_ended,
    .goaway = on_goaway,
    .closed = on_client_closed,
};

static size_t pool_bytes; /* of the next server; 0: default */

static struct stream *open_server(struct app *a, size_t chunk)
{
    struct stream *server_end;
    struct stream *client_end;
    a->loop = loop_create(0);
    struct http_server_opts opts = {
        .loop = a->loop, .routes = routes, .routes_n = ARRAY_LEN(routes), .app = a, .conn_gone = conn_gone};
    opts.pool_bytes = pool_bytes;
    a->server = http_server_create(&opts);
    stream_pair_create(a->loop, chunk, &server_end, &client_end);
    a->conn = http_server_attach_h2(a->server, server_end, a);
    return client_end;
}

static struct app *open_app(size_t chunk, bool manual_window)
{
    struct app *a = MEM_NEW(struct app);
    struct stream *end = open_server(a, chunk);
    a->client = h2_client_create(end, manual_window, &client_events, a);
    turn(a->loop);
    return a;
}

static void close_app(struct app *a)
{
    h2_client_destroy(&a->client);
    http_server_destroy(&a->server);
    turn(a->loop);
    assert_int_equal(a->conn_gone_n, 1);
    loop_destroy(&a->loop);
    buf_fini(&a->raw);
    mem_free(a);
}

static int32_t ask(struct app *a, const char *method, const char *path, struct str body)
{
    int32_t id = h2_client_request(a->client, method, "host:1", path, body);
    turn(a->loop);
    return id;
}

static struct buf filled(size_t n)
{
    struct buf b = {0};
    memset(buf_reserve(&b, n), 'f', n);
    buf_commit(&b, n);
    return b;
}

static void push(struct http_exchange *ex, char fill, size_t n)
{
    struct rcbuf *piece = rcbuf_create(NULL, n);
    memset(piece->data, fill, n);
    http_stream_push(ex, piece);
}

/* --- requests and answers --- */

static void test_simple(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 4; chunk++) {
        struct app *a = open_app(chunk, false);
        int32_t id = ask(a, "GET", "/echo?a=b", STR_EMPTY);
        assert_int_equal(reply_of(a, id)->status, 200);
        assert_string_equal(reply_of(a, id)->text, "GET /echo?a=b host:1 [0:]");
        assert_true(reply_of(a, id)->is_ended);
        assert_int_equal(reply_of(a, id)->error, 0);
        /* The body of a GET reaches the handler (tailnet lock asks so). */
        id = ask(a, "GET", "/echo", STR("{\"x\":1}"));
        assert_string_equal(reply_of(a, id)->text, "GET /echo? host:1 [7:{\"x\":1}]");
        id = ask(a, "HEAD", "/echo", STR_EMPTY);
        assert_int_equal(reply_of(a, id)->status, 200);
        assert_int_equal(reply_of(a, id)->bytes, 0);
        assert_int_equal(reply_of(a, id)->error, 0);
        close_app(a);
    }
}

static void test_big_bodies(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    struct buf body = filled(HTTP_MAX_BODY_BYTES);
    int32_t id = ask(a, "POST", "/echo", buf_str(&body));
    assert_string_equal(reply_of(a, id)->text, "POST /echo? host:1 [1048576:ffffffffffffffffffff]");
    /* One more than fits. */
    buf_append_byte(&body, 'f');
    id = ask(a, "POST", "/echo", buf_str(&body));
    assert_int_equal(reply_of(a, id)->status, 413);
    id = ask(a, "POST", "/small", str_n(buf_at(&body), 101));
    assert_int_equal(reply_of(a, id)->status, 413);
    id = ask(a, "POST", "/small", str_n(buf_at(&body), 100));
    assert_int_equal(reply_of(a, id)->status, 200);
    buf_fini(&body);
    close_app(a);
}

/* 100 MB for a route that takes one: told at once, and the rest is not wanted. */
static void test_huge_body(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    struct buf body = filled(100 * 1024 * 1024);
    int32_t id = ask(a, "POST", "/echo", buf_str(&body));
    buf_fini(&body);
    assert_int_equal(reply_of(a, id)->status, 413);
    assert_true(reply_of(a, id)->is_ended);
    assert_int_equal(a->handled_n, 0);
    id = ask(a, "GET", "/echo", STR_EMPTY);
    assert_int_equal(reply_of(a, id)->status, 200);
    close_app(a);
}

/* All requests of a session together may hold so much, whatever each may. */
static void test_body_budget(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    struct buf body = filled(900 * 1024);
    int32_t ids[6];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = h2_client_request_open(a->client, "POST", "h", "/echo", buf_str(&body));
        turn(a->loop);
    }
    buf_fini(&body);
    assert_int_equal(reply_of(a, ids[3])->status, 0);
    assert_int_equal(reply_of(a, ids[4])->status, 429);
    assert_int_equal(reply_of(a, ids[5])->status, 429);
    h2_client_cancel(a->client, ids[0]);
    turn(a->loop);
    int32_t id = ask(a, "POST", "/echo", STR("x"));
    assert_int_equal(reply_of(a, id)->status, 200);
    close_app(a);
}

/* All connections of a server together may hold so much, besides a little each: strangers are many. */
static void test_body_pool(void **state)
{
    (void)state;
    pool_bytes = 2 * 1024 * 1024;
    struct app *a = open_app(0, false);
    pool_bytes = 0;
    struct buf body = filled(900 * 1024);
    int32_t ids[4];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = h2_client_request_open(a->client, "POST", "h", "/echo", buf_str(&body));
        turn(a->loop);
    }
    buf_fini(&body);
    assert_int_equal(reply_of(a, ids[1])->status, 0);
    assert_int_equal(reply_of(a, ids[2])->status, 429);
    h2_client_cancel(a->client, ids[0]);
    h2_client_cancel(a->client, ids[1]);
    h2_client_cancel(a->client, ids[3]);
    turn(a->loop);
    body = filled(900 * 1024);
    for (int i = 0; i < 3; i++) {
        int32_t id = ask(a, "POST", "/echo", buf_str(&body));
        assert_int_equal(reply_of(a, id)->status, 200);
    }
    buf_fini(&body);
    close_app(a);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        int status;
    } rows[] = {
        {"GET", "/nowhere", 404}, {"DELETE", "/echo", 405}, {"GET", "/later", 405}, {"OPTIONS", "*", 404},
        {"GET", "/take", 501},    {"GET", "/echo#x", 400},  {"BREW", "/echo", 405},
    };
    struct app *a = open_app(3, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int32_t id = ask(a, rows[i].method, rows[i].path, STR_EMPTY);
        assert_int_equal(reply_of(a, id)->status, rows[i].status);
        assert_true(reply_of(a, id)->is_ended);
    }
    int32_t id = ask(a, "GET", "/refuse", STR_EMPTY);
    assert_int_equal(reply_of(a, id)->error, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(a->handled_n, 0);
    close_app(a);
}

static void test_many(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    for (int i = 0; i < 1000; i++)
        assert_true(h2_client_request(a->client, "POST", "h", "/echo", STR("abc")) > 0);
    turn(a->loop);
    assert_int_equal(a->handled_n, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_string_equal(a->replies[i].text, "POST /echo? h [3:abc]");
        assert_true(a->replies[i].is_ended);
    }
    close_app(a);
}

/* --- long answers --- */

static void test_poll(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct app *a = open_app(chunk, false);
        int32_t id = ask(a, "POST", "/poll", STR("{}"));
        assert_int_equal(reply_of(a, id)->status, 200);
        for (int i = 0; i < 3; i++) {
            push(a->waiting[0], (char)('a' + i), 1000);
            push(a->waiting[0], 'x', 24);
            turn(a->loop);
            assert_int_equal(reply_of(a, id)->bytes, (i + 1) * 1024);
            assert_int_equal(http_stream_queued(a->waiting[0]), 0);
        }
        /* Others are answered meanwhile. */
        int32_t other = ask(a, "GET", "/echo", STR_EMPTY);
        assert_int_equal(reply_of(a, other)->status, 200);
        push(a->waiting[0], 'z', 1);
        http_stream_end(a->waiting[0]);
        turn(a->loop);
        assert_int_equal(reply_of(a, id)->last_byte, 'z');
        assert_true(reply_of(a, id)->is_ended);
        assert_int_equal(a->closed_n, 0);
        close_app(a);
    }
}

/* The same bytes for many receivers: references only. */
static void test_shared_piece(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    for (int i = 0; i < 5; i++)
        ask(a, "POST", "/poll", STR_EMPTY);
    struct rcbuf *piece = rcbuf_create(NULL, 3 * 1024 * 1024);
    memset(piece->data, 's', piece->len);
    for (int i = 0; i < 5; i++)
        http_stream_push(a->waiting[i], rcbuf_ref(piece));
    assert_int_equal(atomic_load(&piece->refs), 6);
    turn(a->loop);
    assert_int_equal(atomic_load(&piece->refs), 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(a->replies[i].bytes, 3 * 1024 * 1024);
    rcbuf_unref(&piece);
    close_app(a);
}

static void test_stalled_window(void **state)
{
    (void)state;
    struct app *a = open_app(0, true);
    int32_t id = ask(a, "POST", "/poll", STR_EMPTY);
    enum { WINDOW = 4 * 1024 * 1024, EXTRA = 300 * 1024 };
    for (int i = 0; i < (WINDOW + EXTRA) / (20 * 1024); i++)
        push(a->waiting[0], 'w', 20 * 1024);
    turn(a->loop);
    assert_int_equal(reply_of(a, id)->bytes, WINDOW);
    size_t queued = http_stream_queued(a->waiting[0]);
    assert_int_equal(queued, (WINDOW + EXTRA) / (20 * 1024) * (20 * 1024) - WINDOW);
    assert_int_equal(a->drained_n, 0);
    /* The newest state instead of each step: what has not begun to go out can be taken back. */
    size_t dropped = http_stream_drop_queued(a->waiting[0]);
    assert_true(dropped > 0 && http_stream_queued(a->waiting[0]) < 20 * 1024);
    push(a->waiting[0], 'n', 7);
    h2_client_consume(a->client, id, WINDOW);
    turn(a->loop);
    assert_int_equal(http_stream_queued(a->waiting[0]), 0);
    assert_int_equal(reply_of(a, id)->last_byte, 'n');
    assert_int_equal((WINDOW + EXTRA) / (20 * 1024) * (20 * 1024) + 7 - dropped, reply_of(a, id)->bytes);
    assert_int_equal(a->drained_n, 1);
    close_app(a);
}

/* --- peers that leave --- */

static void test_cancel(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    int32_t poll = ask(a, "POST", "/poll", STR_EMPTY);
    int32_t wait = ask(a, "POST", "/later", STR_EMPTY);
    h2_client_cancel(a->client, poll);
    h2_client_ping(a->client);
    h2_client_cancel(a->client, wait);
    turn(a->loop);
    assert_int_equal(a->closed_n, 2);
    /* With bytes queued; and after the answer, when the owner is done and hears nothing. */
    a->waiting_n = 0;
    poll = ask(a, "POST", "/poll", STR_EMPTY);
    push(a->waiting[0], 'p', 100 * 1024);
    h2_client_cancel(a->client, poll);
    turn(a->loop);
    assert_int_equal(a->closed_n, 3);
    a->waiting_n = 0;
    wait = ask(a, "POST", "/later", STR_EMPTY);
    http_respond_text(a->waiting[0], 200, "late");
    h2_client_cancel(a->client, wait);
    turn(a->loop);
    assert_int_equal(a->closed_n, 3);
    close_app(a);
}

static void test_connection_lost(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    ask(a, "POST", "/poll", STR_EMPTY);
    ask(a, "POST", "/later", STR_EMPTY);
    h2_client_request_open(a->client, "POST", "h", "/echo", STR("part"));
    turn(a->loop);
    h2_client_destroy(&a->client);
    turn(a->loop);
    assert_int_equal(a->closed_n, 2);
    assert_int_equal(a->conn_gone_n, 1);
    close_app(a);
}

static void test_handler_closes(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    ask(a, "POST", "/poll", STR_EMPTY);
    ask(a, "GET", "/close", STR_EMPTY);
    assert_int_equal(a->closed_n, 1);
    assert_true(a->is_client_closed);
    assert_int_equal(http_server_conns(a->server), 0);
    close_app(a);
}

/* --- time --- */

static void test_idle(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    int64_t now_ms = loop_now_ms(a->loop);
    ask(a, "POST", "/poll", STR_EMPTY);
    http_server_sweep(a->server, now_ms + 24 * 3600 * 1000);
    turn(a->loop);
    assert_false(a->has_goaway);
    http_stream_end(a->waiting[0]);
    turn(a->loop);
    http_server_sweep(a->server, now_ms + 299 * 1000);
    turn(a->loop);
    assert_false(a->has_goaway);
    http_server_sweep(a->server, now_ms + 301 * 1000);
    turn(a->loop);
    assert_true(a->has_goaway);
    assert_int_equal(a->goaway_error, NGHTTP2_NO_ERROR);
    assert_true(a->is_client_closed);
    close_app(a);
}

static void test_incomplete_request(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    int64_t now_ms = loop_now_ms(a->loop);
    int32_t id = h2_client_request_open(a->client, "POST", "h", "/echo", STR("part"));
    turn(a->loop);
    http_server_sweep(a->server, now_ms + 29 * 1000);
    turn(a->loop);
    assert_int_equal(reply_of(a, id)->status, 0);
    http_server_sweep(a->server, now_ms + 31 * 1000);
    turn(a->loop);
    assert_int_equal(reply_of(a, id)->status, 408);
    assert_true(reply_of(a, id)->is_ended);
    assert_int_equal(a->handled_n, 0);
    close_app(a);
}

static void test_drain(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    int32_t id = ask(a, "POST", "/later", STR_EMPTY);
    http_server_drain(a->server);
    turn(a->loop);
    assert_true(a->has_goaway);
    assert_false(a->is_client_closed);
    http_respond_text(a->waiting[0], 200, NULL);
    turn(a->loop);
    assert_int_equal(reply_of(a, id)->status, 200);
    assert_true(a->is_client_closed);
    close_app(a);
}

/* --- peers that misbehave --- */

static void raw_data(void *ctx, const uint8_t *p, size_t n)
{
    buf_append(&((struct app *)ctx)->raw, p, n);
}

static void raw_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct app *)ctx)->is_client_closed = true;
}

static const struct stream_events raw_events = {raw_data, NULL, raw_closed};

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

static struct stream *open_raw(struct app *a)
{
    struct stream *end = open_server(a, 0);
    stream_set_events(end, &raw_events, a);
    return end;
}

static void test_garbage(void **state)
{
    (void)state;
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct app *a = MEM_NEW(struct app);
        struct stream *end = open_raw(a);
        int64_t before = http_refused("reason=\"protocol\"");
        stream_write(end, texts[i], strlen(texts[i]));
        turn(a->loop);
        assert_true(a->is_client_closed);
        assert_int_equal(http_refused("reason=\"protocol\""), before + 1);
        stream_close(&end, false);
        close_app(a);
    }
}

static void test_no_preface(void **state)
{
    (void)state;
    struct app *a = MEM_NEW(struct app);
    struct stream *end = open_raw(a);
    turn(a->loop);
    assert_true(buf_len(&a->raw) > 9); /* our settings do not wait for theirs */
    http_server_sweep(a->server, loop_now_ms(a->loop) + 11 * 1000);
    turn(a->loop);
    assert_true(a->is_client_closed);
    stream_close(&end, false);
    close_app(a);
}

/* Asked and cancelled in one breath: no handler sees it. */
static void test_cancelled_unseen(void **state)
{
    (void)state;
    static const uint8_t headers[] = "\0\0\x0c\1\5\0\0\0\1"        /* HEADERS, END_STREAM | END_HEADERS, stream 1 */
                                     "\x82\x87\x41\1h\x44\5/echo"; /* GET, https, authority, path */
    static const uint8_t reset[] = "\0\0\4\3\0\0\0\0\1\0\0\0\x08";
    for (unsigned is_cancelled = 0; is_cancelled < 2; is_cancelled++) {
        struct app *a = MEM_NEW(struct app);
        struct stream *end = open_raw(a);
        stream_write(end, PREFACE, sizeof(PREFACE) - 1);
        stream_write(end, headers, sizeof(headers) - 1);
        if (is_cancelled)
            stream_write(end, reset, sizeof(reset) - 1);
        turn(a->loop);
        assert_int_equal(a->handled_n, 1 - is_cancelled);
        assert_false(a->is_client_closed);
        stream_close(&end, false);
        close_app(a);
    }
}

/* The last frame of what came, if it is a GOAWAY: its error. */
static uint32_t goaway_error(struct app *a)
{
    const uint8_t *p = buf_at(&a->raw);
    size_t left = buf_len(&a->raw);
    uint32_t error = UINT32_MAX;
    while (left >= 9) {
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        assert_true(left >= 9 + n);
        if (p[3] == NGHTTP2_GOAWAY)
            error = (uint32_t)p[13] << 24 | (uint32_t)p[14] << 16 | (uint32_t)p[15] << 8 | p[16];
        p += 9 + n;
        left -= 9 + n;
    }
    return error;
}

static void flood(const void *frame, size_t n, size_t times, uint32_t want_error)
{
    struct app *a = MEM_NEW(struct app);
    struct stream *end = open_raw(a);
    struct buf out = {0};
    buf_append(&out, PREFACE, sizeof(PREFACE) - 1);
    for (size_t i = 0; i < times; i++)
        buf_append(&out, frame, n);
    stream_write(end, buf_at(&out), buf_len(&out));
    buf_fini(&out);
    turn(a->loop);
    assert_true(a->is_client_closed);
    assert_int_equal(goaway_error(a), want_error);
    stream_close(&end, false);
    close_app(a);
}

static void test_floods(void **state)
{
    (void)state;
    static const uint8_t ping[17] = {0, 0, 8, NGHTTP2_PING};
    static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
    flood(ping, sizeof(ping), 2000, NGHTTP2_ENHANCE_YOUR_CALM);
    flood(settings, sizeof(settings), 2000, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* CVE-2023-44487: requests that are cancelled in the same breath. No handler sees one. */
static void test_rapid_reset(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    int64_t before = http_refused("reason=\"flood\"");
    for (int i = 0; i < MAX_REPLIES - 1 && !a->is_client_closed; i++) {
        int32_t id = h2_client_request_open(a->client, "POST", "h", "/echo", STR_EMPTY);
        turn(a->loop);
        h2_client_cancel(a->client, id);
        turn(a->loop);
    }
    assert_true(a->has_goaway);
    assert_true(a->is_client_closed);
    assert_int_equal(a->handled_n, 0);
    assert_true(http_refused("reason=\"flood\"") > before);
    close_app(a);
}

static void test_header_limits(void **state)
{
    (void)state;
    struct app *a = open_app(0, false);
    struct buf path = {0};
    buf_append_c(&path, "/echo?");
    while (buf_len(&path) < HTTP_MAX_HEAD_BYTES)
        buf_append_byte(&path, 'q');
    int32_t id = ask(a, "GET", buf_cstr(&path), STR_EMPTY);
    buf_fini(&path);
    assert_int_equal(reply_of(a, id)->status, 431);
    id = ask(a, "GET", "/echo", STR_EMPTY);
    assert_int_equal(reply_of(a, id)->status, 200);
    close_app(a);
}

/* A peer that asks and never reads: its requests stay with it. */
static void test_unread_answers(void **state)
{
    (void)state;
    struct app *a = MEM_NEW(struct app);
    struct stream *end = open_raw(a);
    static const uint8_t ping[17] = {0, 0, 8, NGHTTP2_PING};
    stream_write(end, PREFACE, sizeof(PREFACE) - 1);
    stream_pause(end, true);
    /* Slow enough not to be a flood. */
    int64_t sent = 0;
    for (int i = 0; i < 400; i++) {
        stream_write(end, ping, sizeof(ping));
        sent += (int64_t)sizeof(ping);
    }
    turn(a->loop);
    assert_int_equal(stream_queued(end), 0);
    assert_false(a->is_client_closed);
    stream_pause(end, false);
    turn(a->loop);
    assert_true((int64_t)buf_len(&a->raw) > sent);
    stream_close(&end, false);
    close_app(a);
}

/* --- memory --- */

/* All sessions of a thread share the library's frame buffer: they must not see each other's bytes. */
static void test_interleaved_sessions(void **state)
{
    (void)state;
    enum { N = 8 };
    struct app *apps[N];
    int32_t ids[N];
    for (int i = 0; i < N; i++) {
        apps[i] = open_app((size_t)i * 5, false);
        ids[i] = ask(apps[i], "POST", "/poll", STR_EMPTY);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            push(apps[i]->waiting[0], (char)('A' + i), 997);
            push(apps[i]->waiting[0], (char)('a' + round), 3);
        }
        for (int i = N - 1; i >= 0; i--) {
            turn(apps[i]->loop);
            assert_int_equal(reply_of(apps[i], ids[i])->bytes, (round + 1) * 1000);
            assert_int_equal(reply_of(apps[i], ids[i])->last_byte, 'a' + round);
            assert_int_equal(reply_of(apps[i], ids[i])->text[100], 'A' + i);
        }
    }
    for (int i = 0; i < N; i++)
        close_app(apps[i]);
}

/* Makes N connections whose clients wait for the answer of a poll; returns the heap that each took. */
enum { SESSIONS = 100 };

static size_t heap_of_sessions(struct app *a, bool is_served)
{
    struct h2_client *clients[SESSIONS];
    struct stream *far_ends[SESSIONS] = {0};
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < SESSIONS; i++) {
        struct stream *client_end;
        stream_pair_create(a->loop, 0, &far_ends[i], &client_end);
        if (is_served)
            http_server_attach_h2(a->server, far_ends[i], a);
        else
            stream_set_events(far_ends[i], &raw_events, a);
        clients[i] = h2_client_create(client_end, false, &client_events, a);
        a->waiting_n = 0;
        h2_client_request(clients[i], "POST", "h", "/poll", STR("{\"Version\":1}"));
        turn(a->loop);
        buf_reset(&a->raw, 0);
    }
    size_t each = (mallinfo2().uordblks - before) / SESSIONS;
    assert_int_equal(http_server_conns(a->server), is_served ? SESSIONS + 1 : 1);
    for (int i = 0; i < SESSIONS; i++) {
        h2_client_destroy(&clients[i]);
        if (!is_served)
            stream_close(&far_ends[i], false);
    }
    turn(a->loop);
    return each;
}

/* An idle session with its one open stream. Only the real allocator can tell: the sanitizers' own says 0. */
static void test_memory(void **state)
{
    (void)state;
    enum { LIMIT_BYTES = 12 * 1024 };
    struct app *a = open_app(0, false);
    size_t client = heap_of_sessions(a, false);
    size_t both = heap_of_sessions(a, true);
    print_message("# a session with an open stream: %zu bytes of heap\n", both - client);
    assert_true(both - client < LIMIT_BYTES);
    a->conn_gone_n = 0;
    close_app(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_big_bodies),
        cmocka_unit_test(test_huge_body),
        cmocka_unit_test(test_body_budget),
        cmocka_unit_test(test_body_pool),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_poll),
        cmocka_unit_test(test_shared_piece),
        cmocka_unit_test(test_stalled_window),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_connection_lost),
        cmocka_unit_test(test_handler_closes),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_incomplete_request),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_cancelled_unseen),
        cmocka_unit_test(test_no_preface),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_rapid_reset),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_unread_answers),
        cmocka_unit_test(test_interleaved_sessions),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
