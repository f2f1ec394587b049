/* HTTP/1.1: requests and answers. */
#include "http/h1_testing.h"

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
        h1_app_open(&a, chunk);
        h1_app_say(&a, "GET /echo?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_true(h1_app_heard(&a, "HTTP/1.1 200 OK\r\ndate: "));
        assert_true(h1_app_heard(&a, "content-type: text/plain\r\ncontent-length: 18\r\n\r\nGET /echo?x=1 h []"));
        assert_false(h1_app_heard(&a, "connection: close"));
        assert_false(a.peer.is_closed);
        h1_app_close(&a);
    }
}

static void test_bodies(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 3; chunk++) {
        struct app a;
        h1_app_open(&a, chunk);
        h1_app_say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        assert_true(h1_app_heard(&a, "POST /echo? h [hello]"));
        h1_app_say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nget");
        assert_true(h1_app_heard(&a, "GET /echo? h [get]"));
        h1_app_say(
            &a, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
        assert_true(h1_app_heard(&a, "POST /echo? h [abcde]"));
        h1_app_say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        assert_true(h1_app_heard(&a, "POST /echo? h []"));
        assert_int_equal(a.handled_n, 4);
        h1_app_close(&a);
    }
}

static void test_expect(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(buf_cstr(&a.peer.in), "HTTP/1.1 100 Continue\r\n\r\n");
    h1_app_say(&a, "ok");
    assert_true(h1_app_heard(&a, "[ok]"));
    buf_clear(&a.peer.in);
    /* Refused before it is sent: no 100 first. */
    h1_app_say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 65\r\n\r\n");
    assert_true(h1_app_heard(&a, "HTTP/1.1 413 "));
    assert_false(h1_app_heard(&a, "100 Continue"));
    h1_app_close(&a);
}

static void test_routes(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /a/4%31/b/x%2Fy?v=a%2Bb+c HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "\r\n\r\n<41><x/y>v=a+b c"));
    h1_app_say(&a, "GET /static/ HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "\r\n\r\n<><>-"));
    h1_app_say(&a, "GET /static/c/d.js?w=1&v HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "\r\n\r\n<c/d.js><>v="));
    buf_clear(&a.peer.in);
    static const char *const unknown[] = {
        "/",         "/echo/",   "/ech",    "/a//b/x",    "/a/1/b",    "/a/1/b/",
        "/a/1/b/2/", "/a/1/c/2", "/static", "/a/%00/b/x", "/a/%4/b/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        struct buf text = {0};
        buf_printf(&text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", unknown[i]);
        h1_app_say(&a, buf_cstr(&text));
        buf_fini(&text);
        assert_int_equal(count(&a, "HTTP/1.1 404 Not Found\r\n"), i + 1);
    }
    h1_app_say(&a, "DELETE /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_true(h1_app_heard(&a, "allow: GET, HEAD, POST\r\n"));
    assert_false(a.peer.is_closed);
    h1_app_close(&a);
}

static void test_head_and_204(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "content-length: 16\r\n\r\n"));
    assert_true(str_ends(buf_str(&a.peer.in), STR("\r\n\r\n")));
    buf_clear(&a.peer.in);
    h1_app_say(&a, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "HTTP/1.1 204 No Content\r\n"));
    assert_true(h1_app_heard(&a, "x-evil: a  Set-Cookie: b\r\n"));
    assert_true(h1_app_heard(&a, "x-content-type-options: nosniff\r\n"));
    assert_false(h1_app_heard(&a, "strict-transport-security")); /* not over TLS */
    assert_false(h1_app_heard(&a, "content-length"));
    assert_true(str_ends(buf_str(&a.peer.in), STR("\r\n\r\n")));
    h1_app_close(&a);
}

static void test_pipelined(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 7);
    struct buf text = {0};
    enum { N = 3000 };
    for (int i = 0; i < N; i++)
        buf_printf(&text, "POST /echo?%d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%c", i, 'a' + i % 26);
    h1_app_say(&a, buf_cstr(&text));
    buf_fini(&text);
    assert_int_equal(a.handled_n, N);
    const char *at = buf_cstr(&a.peer.in);
    for (int i = 0; i < N; i++) {
        char want[64];
        snprintf(want, sizeof(want), "POST /echo?%d h [%c]", i, 'a' + i % 26);
        at = strstr(at, want);
        assert_non_null(at);
    }
    h1_app_close(&a);
}

/* A client that sends requests and reads no answers is not read from any more. */
static void test_pipelined_unread(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    stream_pause(a.peer.s, true);
    static const char request[] = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++)
            stream_write(a.peer.s, request, sizeof(request) - 1);
        run_due(a.loop);
    }
    assert_true(a.handled_n < 5000);
    assert_true(stream_queued(a.peer.s) > 0); /* what the server has not read */
    stream_pause(a.peer.s, false);
    run_due(a.loop);
    assert_int_equal(a.handled_n, 5000);
    assert_int_equal(count(&a, "GET /echo? h []"), 5000);
    h1_app_close(&a);
}

static void test_later(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(a.waiting);
    assert_int_equal(buf_len(&a.peer.in), 0);
    http_respond_text(a.waiting, 201, "made");
    run_due(a.loop);
    assert_true(h1_app_heard(&a, "HTTP/1.1 201 Created\r\n"));
    assert_true(h1_app_heard(&a, "made\n"));
    assert_true(h1_app_heard(&a, "GET /echo? h []"));
    assert_int_equal(a.closed_n, 0);
    h1_app_close(&a);
    assert_int_equal(a.closed_n, 0);
}

static void test_streaming(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "content-type: application/x\r\ntransfer-encoding: chunked\r\n\r\n"));
    buf_clear(&a.peer.in);
    h1_app_push(&a, 'a', 3);
    h1_app_push(&a, 'b', 0);
    h1_app_push(&a, 'c', 17);
    run_due(a.loop);
    assert_string_equal(buf_cstr(&a.peer.in), "3\r\naaa\r\n11\r\nccccccccccccccccc\r\n");
    h1_app_push(&a, 'd', 1);
    http_stream_end(a.waiting);
    run_due(a.loop);
    assert_true(h1_app_heard(&a, "1\r\nd\r\n0\r\n\r\n"));
    buf_clear(&a.peer.in);
    h1_app_say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "GET /echo? h []"));
    /* HTTP/1.0 has no chunks. */
    buf_clear(&a.peer.in);
    h1_app_say(&a, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(h1_app_heard(&a, "connection: close\r\n\r\n"));
    h1_app_push(&a, 'x', 2);
    http_stream_end(a.waiting);
    run_due(a.loop);
    assert_true(h1_app_heard(&a, "\r\n\r\nxx"));
    assert_true(a.peer.is_closed);
    h1_app_close(&a);
}

static void test_take(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct app a;
        h1_app_open(&a, chunk);
        h1_app_say(
            &a, "POST /take HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\nmore");
        assert_string_equal(buf_cstr(&a.peer.in), "raw!");
        assert_true(str_eq_c(buf_str(&a.leftover), "more"));
        assert_non_null(a.taken);
        assert_int_equal(http_server_conns(a.server), 0);
        h1_app_close(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),           cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_expect),           cmocka_unit_test(test_routes),
        cmocka_unit_test(test_head_and_204),     cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_pipelined_unread), cmocka_unit_test(test_later),
        cmocka_unit_test(test_streaming),        cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
