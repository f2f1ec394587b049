#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "http/testing.h"

struct app {
    struct loop *loop;
    struct http_server *server;
    struct peer peer;
    size_t chunk;
    /* what handlers saw and did */
    struct http_exchange *waiting; /* to be answered by the test */
    unsigned closed_n;
    unsigned drained_n;
    unsigned handled_n;
    struct stream *taken;
    struct buf leftover;
};

static void on_closed(void *ctx)
{
    struct app *a = ctx;
    a->closed_n++;
    a->waiting = NULL;
}

static void on_drained(void *ctx)
{
    ((struct app *)ctx)->drained_n++;
}

static const struct http_events events = {on_closed, on_drained};

/* Tells the request back. */
static void echo(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    const struct http_request *req = http_request(ex);
    struct buf out = {0};
    a->handled_n++;
    buf_printf(&out, "%.*s %.*s?%.*s %.*s [%.*s]", STR_ARG(req->method_name), STR_ARG(req->path), STR_ARG(req->query),
               STR_ARG(req->authority), STR_ARG(req->body));
    http_respond(ex, 200, "text/plain", buf_str(&out));
    buf_fini(&out);
}

static void param(void *app, struct http_exchange *ex)
{
    (void)app;
    struct str v = STR_EMPTY;
    bool has = http_query(ex, "v", &v);
    struct buf out = {0};
    buf_printf(&out, "<%.*s><%.*s>%s%.*s", STR_ARG(http_request(ex)->params[0]), STR_ARG(http_request(ex)->params[1]),
               has ? "v=" : "-", STR_ARG(v));
    http_respond(ex, 200, NULL, buf_str(&out));
    buf_fini(&out);
}

static void later(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    a->waiting = ex;
    http_set_events(ex, &events, a);
}

static void stream_out(void *app, struct http_exchange *ex)
{
    later(app, ex);
    http_stream_start(ex, 200, "application/x");
}

static void forgetful(void *app, struct http_exchange *ex)
{
    (void)app;
    (void)ex;
}

static void taken_data(void *app, const uint8_t *p, size_t n)
{
    struct app *a = app;
    buf_append(&a->leftover, p, n);
}

static void taken_closed(void *app, enum rc why)
{
    (void)app;
    (void)why;
}

static void take(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    assert_int_equal(http_take_stream(ex, &a->taken, &a->leftover), RC_OK);
    static const struct stream_events taken_events = {taken_data, NULL, taken_closed};
    stream_set_events(a->taken, &taken_events, a);
    stream_write(a->taken, "raw!", 4);
}

static void gone(void *app, struct http_exchange *ex)
{
    (void)app;
    http_abort(ex);
}

static void no_content(void *app, struct http_exchange *ex)
{
    (void)app;
    http_set_header(ex, "X-Evil", STR("a\r\nSet-Cookie: b"));
    http_set_browser_headers(ex);
    http_respond(ex, 204, NULL, STR("not sent"));
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/echo", echo, 64},
    {HTTP_POST, "/big", echo, 0},
    {HTTP_GET, "/a/{id}/b/{name}", param, 0},
    {HTTP_GET, "/static/*", param, 0},
    {HTTP_GET, "/later", later, 0},
    {HTTP_GET, "/stream", stream_out, 0},
    {HTTP_GET, "/forgetful", forgetful, 0},
    {HTTP_POST | HTTP_GET, "/take", take, 0},
    {HTTP_GET, "/gone", gone, 0},
    {HTTP_GET, "/none", no_content, 0},
};

static void connect_peer(struct app *a)
{
    struct stream *server_end;
    struct stream *client_end;
    stream_pair_create(a->loop, a->chunk, &server_end, &client_end);
    peer_open(&a->peer, client_end);
    http_server_accept(a->server, server_end);
}

static void open_app(struct app *a, size_t chunk)
{
    *a = (struct app){.chunk = chunk};
    a->loop = loop_create(0);
    struct http_server_opts opts = {.loop = a->loop, .routes = routes, .routes_n = ARRAY_LEN(routes), .app = a};
    a->server = http_server_create(&opts);
    connect_peer(a);
}

static void close_app(struct app *a)
{
    peer_close(&a->peer);
    stream_close(&a->taken, false);
    buf_fini(&a->leftover);
    http_server_destroy(&a->server);
    turn(a->loop);
    loop_destroy(&a->loop);
}

static void say(struct app *a, const char *text)
{
    stream_write(a->peer.s, text, strlen(text));
    turn(a->loop);
}

static bool heard(struct app *a, const char *text)
{
    return strstr(buf_cstr(&a->peer.in), text) != NULL;
}

static unsigned count(struct app *a, const char *text)
{
    unsigned n = 0;
    for (const char *p = buf_cstr(&a->peer.in); (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

/* --- requests and answers --- */

static void test_simple(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 4; chunk++) {
        struct app a;
        open_app(&a, chunk);
        say(&a, "GET /echo?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_true(heard(&a, "HTTP/1.1 200 OK\r\ndate: "));
        assert_true(heard(&a, "content-type: text/plain\r\ncontent-length: 18\r\n\r\nGET /echo?x=1 h []"));
        assert_false(heard(&a, "connection: close"));
        assert_false(a.peer.is_closed);
        close_app(&a);
    }
}

static void test_bodies(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 3; chunk++) {
        struct app a;
        open_app(&a, chunk);
        say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        assert_true(heard(&a, "POST /echo? h [hello]"));
        say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nget");
        assert_true(heard(&a, "GET /echo? h [get]"));
        say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
        assert_true(heard(&a, "POST /echo? h [abcde]"));
        say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        assert_true(heard(&a, "POST /echo? h []"));
        assert_int_equal(a.handled_n, 4);
        close_app(&a);
    }
}

static void test_expect(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(buf_cstr(&a.peer.in), "HTTP/1.1 100 Continue\r\n\r\n");
    say(&a, "ok");
    assert_true(heard(&a, "[ok]"));
    buf_clear(&a.peer.in);
    /* Refused before it is sent: no 100 first. */
    say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 65\r\n\r\n");
    assert_true(heard(&a, "HTTP/1.1 413 "));
    assert_false(heard(&a, "100 Continue"));
    close_app(&a);
}

static void test_routes(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "GET /a/4%31/b/x%2Fy?v=a%2Bb+c HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "\r\n\r\n<41><x/y>v=a+b c"));
    say(&a, "GET /static/ HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "\r\n\r\n<><>-"));
    say(&a, "GET /static/c/d.js?w=1&v HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "\r\n\r\n<c/d.js><>v="));
    buf_clear(&a.peer.in);
    static const char *const unknown[] = {
        "/",         "/echo/",   "/ech",    "/a//b/x",    "/a/1/b",    "/a/1/b/",
        "/a/1/b/2/", "/a/1/c/2", "/static", "/a/%00/b/x", "/a/%4/b/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        struct buf text = {0};
        buf_printf(&text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", unknown[i]);
        say(&a, buf_cstr(&text));
        buf_fini(&text);
        assert_int_equal(count(&a, "HTTP/1.1 404 Not Found\r\n"), i + 1);
    }
    say(&a, "DELETE /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_true(heard(&a, "allow: GET, HEAD, POST\r\n"));
    assert_false(a.peer.is_closed);
    close_app(&a);
}

static void test_head_and_204(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "content-length: 16\r\n\r\n"));
    assert_true(str_ends(buf_str(&a.peer.in), STR("\r\n\r\n")));
    buf_clear(&a.peer.in);
    say(&a, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "HTTP/1.1 204 No Content\r\n"));
    assert_true(heard(&a, "x-evil: a  Set-Cookie: b\r\n"));
    assert_true(heard(&a, "x-content-type-options: nosniff\r\n"));
    assert_false(heard(&a, "strict-transport-security")); /* not over TLS */
    assert_false(heard(&a, "content-length"));
    assert_true(str_ends(buf_str(&a.peer.in), STR("\r\n\r\n")));
    close_app(&a);
}

static void test_pipelined(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 7);
    struct buf text = {0};
    enum { N = 3000 };
    for (int i = 0; i < N; i++)
        buf_printf(&text, "POST /echo?%d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%c", i, 'a' + i % 26);
    say(&a, buf_cstr(&text));
    buf_fini(&text);
    assert_int_equal(a.handled_n, N);
    const char *at = buf_cstr(&a.peer.in);
    for (int i = 0; i < N; i++) {
        char want[64];
        snprintf(want, sizeof(want), "POST /echo?%d h [%c]", i, 'a' + i % 26);
        at = strstr(at, want);
        assert_non_null(at);
    }
    close_app(&a);
}

/* A client that sends requests and reads no answers is not read from any more. */
static void test_pipelined_unread(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    stream_pause(a.peer.s, true);
    static const char request[] = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++)
            stream_write(a.peer.s, request, sizeof(request) - 1);
        turn(a.loop);
    }
    assert_true(a.handled_n < 5000);
    assert_true(stream_queued(a.peer.s) > 0); /* what the server has not read */
    stream_pause(a.peer.s, false);
    turn(a.loop);
    assert_int_equal(a.handled_n, 5000);
    assert_int_equal(count(&a, "GET /echo? h []"), 5000);
    close_app(&a);
}

static void test_later(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(a.waiting);
    assert_int_equal(buf_len(&a.peer.in), 0);
    http_respond_text(a.waiting, 201, "made");
    turn(a.loop);
    assert_true(heard(&a, "HTTP/1.1 201 Created\r\n"));
    assert_true(heard(&a, "made\n"));
    assert_true(heard(&a, "GET /echo? h []"));
    assert_int_equal(a.closed_n, 0);
    close_app(&a);
    assert_int_equal(a.closed_n, 0);
}

static void test_client_leaves(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(a.waiting);
    stream_close(&a.peer.s, false);
    turn(a.loop);
    assert_int_equal(a.closed_n, 1);
    assert_int_equal(http_server_conns(a.server), 0);
    close_app(&a);
}

static void test_forgotten_and_aborted(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    assert_int_equal(log_set_level("http", LOG_OFF), RC_OK);
    say(&a, "GET /forgetful HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(log_set_level("http", LOG_INFO), RC_OK);
    assert_true(heard(&a, "HTTP/1.1 500 "));
    say(&a, "GET /gone HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(a.peer.is_closed);
    close_app(&a);
}

static void push(struct app *a, char fill, size_t n)
{
    struct rcbuf *piece = rcbuf_create(NULL, n);
    memset(piece->data, fill, n);
    http_stream_push(a->waiting, piece);
}

static void test_streaming(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "content-type: application/x\r\ntransfer-encoding: chunked\r\n\r\n"));
    buf_clear(&a.peer.in);
    push(&a, 'a', 3);
    push(&a, 'b', 0);
    push(&a, 'c', 17);
    turn(a.loop);
    assert_string_equal(buf_cstr(&a.peer.in), "3\r\naaa\r\n11\r\nccccccccccccccccc\r\n");
    push(&a, 'd', 1);
    http_stream_end(a.waiting);
    turn(a.loop);
    assert_true(heard(&a, "1\r\nd\r\n0\r\n\r\n"));
    buf_clear(&a.peer.in);
    say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "GET /echo? h []"));
    /* HTTP/1.0 knows no chunks. */
    buf_clear(&a.peer.in);
    say(&a, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(heard(&a, "connection: close\r\n\r\n"));
    push(&a, 'x', 2);
    http_stream_end(a.waiting);
    turn(a.loop);
    assert_true(heard(&a, "\r\n\r\nxx"));
    assert_true(a.peer.is_closed);
    close_app(&a);
}

static void test_stalled_reader(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    stream_pause(a.peer.s, true);
    for (int i = 0; i < 64; i++)
        push(&a, 'z', 16 * 1024);
    turn(a.loop);
    size_t queued = http_stream_queued(a.waiting);
    assert_true(queued > 800 * 1024); /* what is below is bounded, the rest is told */
    assert_true(a.drained_n == 0);
    size_t dropped = http_stream_drop_queued(a.waiting);
    assert_true(dropped > 0 && dropped >= queued - 16 * 1024);
    push(&a, 'e', 5);
    stream_pause(a.peer.s, false);
    turn(a.loop);
    assert_int_equal(a.drained_n, 1);
    assert_int_equal(http_stream_queued(a.waiting), 0);
    assert_true(heard(&a, "5\r\neeeee\r\n"));

    /* Nothing taken for two minutes ends it. */
    stream_pause(a.peer.s, true);
    for (int i = 0; i < 16; i++)
        push(&a, 'z', 16 * 1024);
    turn(a.loop);
    int64_t now_ms = loop_now_ms(a.loop);
    int64_t before = http_refused("reason=\"stalled\"");
    http_server_sweep(a.server, now_ms);
    http_server_sweep(a.server, now_ms + 119 * 1000);
    assert_int_equal(a.closed_n, 0);
    http_server_sweep(a.server, now_ms + 121 * 1000);
    assert_int_equal(a.closed_n, 1);
    assert_int_equal(http_refused("reason=\"stalled\""), before + 1);
    close_app(&a);
}

static void test_take(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct app a;
        open_app(&a, chunk);
        say(&a, "POST /take HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\nmore");
        assert_string_equal(buf_cstr(&a.peer.in), "raw!");
        assert_true(str_eq_c(buf_str(&a.leftover), "more"));
        assert_non_null(a.taken);
        assert_int_equal(http_server_conns(a.server), 0);
        close_app(&a);
    }
}

/* --- refusals --- */

static void test_bad_requests(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *answer;
    } rows[] = {
        {"GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", "HTTP/1.1 505 "},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", "HTTP/1.1 417 "},
        {"\x16\x03\x01\x02\n", "HTTP/1.1 400 "}, /* TLS on a plain port */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app a;
        open_app(&a, 0);
        int64_t before = http_refused("reason=\"head\"") + http_refused("reason=\"body\"");
        say(&a, rows[i].text);
        assert_true(heard(&a, rows[i].answer));
        assert_true(heard(&a, "connection: close\r\n"));
        assert_int_equal(http_refused("reason=\"head\"") + http_refused("reason=\"body\""), before + 1);
        /* What follows is never read as a request. */
        say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_int_equal(a.handled_n, 0);
        http_server_sweep(a.server, loop_now_ms(a.loop) + 10 * 1000);
        turn(a.loop);
        assert_true(a.peer.is_closed);
        close_app(&a);
    }
}

/* Three ways to send too much; none is collected, each is told why, and the connection ends. */
static void test_too_large(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 104857600\r\n\r\n");
    assert_true(heard(&a, "HTTP/1.1 413 "));
    for (int i = 0; i < 100; i++) {
        uint8_t megabyte[64 * 1024] = {0};
        for (int k = 0; k < 16; k++) {
            stream_write(a.peer.s, megabyte, sizeof(megabyte));
            turn(a.loop);
            assert_int_equal(stream_queued(a.peer.s), 0); /* taken and dropped, so that the answer can be read */
        }
    }
    assert_int_equal(a.handled_n, 0);
    close_app(&a);

    open_app(&a, 0);
    say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n"
            "0123456789012345678901234567890123456789012345678901234567890123\r\n1\r\n");
    assert_int_equal(buf_len(&a.peer.in), 0);
    say(&a, "x\r\n0\r\n\r\n");
    assert_true(heard(&a, "HTTP/1.1 413 "));
    close_app(&a);

    open_app(&a, 0);
    say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\nX: ");
    for (int i = 0; i < 2000 && !heard(&a, "431"); i++)
        say(&a, "0123456789abcdef");
    assert_true(heard(&a, "HTTP/1.1 431 "));
    close_app(&a);
}

static void test_unknown_with_body(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    /* The body, not read, must not become the next request. */
    say(&a, "POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(heard(&a, "HTTP/1.1 404 "));
    assert_true(heard(&a, "connection: close\r\n"));
    assert_int_equal(a.handled_n, 0);
    close_app(&a);
}

static void test_slow(void **state)
{
    (void)state;
    static const char *const said[] = {"GET /echo HTTP/1.1\r\nHost:",
                                       "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n12"};
    static const int64_t limit_ms[] = {10 * 1000, 30 * 1000};
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        struct app a;
        open_app(&a, 0);
        int64_t before = http_refused("reason=\"timeout\"");
        int64_t now_ms = loop_now_ms(a.loop);
        say(&a, said[i]);
        http_server_sweep(a.server, now_ms + limit_ms[i] - 1000);
        turn(a.loop);
        assert_int_equal(buf_len(&a.peer.in), 0);
        http_server_sweep(a.server, now_ms + limit_ms[i] + 1000);
        turn(a.loop);
        assert_true(heard(&a, "HTTP/1.1 408 "));
        assert_int_equal(http_refused("reason=\"timeout\""), before + 1);
        close_app(&a);
    }
}

static void test_idle(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    int64_t now_ms = loop_now_ms(a.loop);
    say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_sweep(a.server, now_ms + 25 * 1000);
    turn(a.loop);
    assert_false(a.peer.is_closed);
    http_server_sweep(a.server, now_ms + 35 * 1000);
    turn(a.loop);
    assert_true(a.peer.is_closed);
    peer_close(&a.peer);
    /* One that says nothing at all. */
    connect_peer(&a);
    turn(a.loop);
    http_server_sweep(a.server, now_ms + 15 * 1000);
    turn(a.loop);
    assert_true(a.peer.is_closed);
    assert_int_equal(buf_len(&a.peer.in), 0);
    /* A handler may take as long as it likes. */
    peer_close(&a.peer);
    connect_peer(&a);
    say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_sweep(a.server, now_ms + 3600 * 1000);
    turn(a.loop);
    assert_false(a.peer.is_closed);
    close_app(&a);
    assert_int_equal(a.closed_n, 1);
}

static void test_drain(void **state)
{
    (void)state;
    struct app a;
    open_app(&a, 0);
    say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_drain(a.server);
    turn(a.loop);
    assert_false(a.peer.is_closed);
    http_respond_text(a.waiting, 200, NULL);
    turn(a.loop);
    assert_true(heard(&a, "connection: close\r\n"));
    assert_true(a.peer.is_closed);
    assert_int_equal(http_server_conns(a.server), 0);
    close_app(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_head_and_204),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_pipelined_unread),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_forgotten_and_aborted),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_stalled_reader),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_unknown_with_body),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
