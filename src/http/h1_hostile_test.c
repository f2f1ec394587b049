/* HTTP/1.1: refusals, limits, clients that are slow or leave. */
#include "http/h1_testing.h"

/* --- requests and answers --- */

static void test_client_leaves(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(a.waiting);
    stream_close(&a.peer.s, false);
    run_due(a.loop);
    assert_int_equal(a.closed_n, 1);
    assert_int_equal(http_server_conns(a.server), 0);
    h1_app_close(&a);
}

static void test_forgotten_and_aborted(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    assert_int_equal(log_set_level("http", LOG_OFF), RC_OK);
    h1_app_say(&a, "GET /forgetful HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(log_set_level("http", LOG_INFO), RC_OK);
    assert_true(h1_app_heard(&a, "HTTP/1.1 500 "));
    h1_app_say(&a, "GET /gone HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(a.peer.is_closed);
    h1_app_close(&a);
}

static void test_stalled_reader(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    stream_pause(a.peer.s, true);
    for (int i = 0; i < 64; i++)
        h1_app_push(&a, 'z', 16 * 1024);
    run_due(a.loop);
    size_t queued = http_stream_queued(a.waiting);
    assert_true(queued > 800 * 1024); /* the layer below holds a bounded part; the rest is reported as queued */
    assert_true(a.drained_n == 0);
    size_t dropped = http_stream_drop_queued(a.waiting);
    assert_true(dropped > 0 && dropped >= queued - 16 * 1024);
    h1_app_push(&a, 'e', 5);
    stream_pause(a.peer.s, false);
    run_due(a.loop);
    assert_int_equal(a.drained_n, 1);
    assert_int_equal(http_stream_queued(a.waiting), 0);
    assert_true(h1_app_heard(&a, "5\r\neeeee\r\n"));

    /* Nothing taken for two minutes ends it. */
    stream_pause(a.peer.s, true);
    for (int i = 0; i < 16; i++)
        h1_app_push(&a, 'z', 16 * 1024);
    run_due(a.loop);
    int64_t now_ms = loop_now_ms(a.loop);
    int64_t before = http_refused("reason=\"stalled\"");
    http_server_sweep(a.server, now_ms);
    http_server_sweep(a.server, now_ms + 119 * 1000);
    assert_int_equal(a.closed_n, 0);
    http_server_sweep(a.server, now_ms + 121 * 1000);
    assert_int_equal(a.closed_n, 1);
    assert_int_equal(http_refused("reason=\"stalled\""), before + 1);
    h1_app_close(&a);
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
        h1_app_open(&a, 0);
        int64_t before = http_refused("reason=\"head\"") + http_refused("reason=\"body\"");
        h1_app_say(&a, rows[i].text);
        assert_true(h1_app_heard(&a, rows[i].answer));
        assert_true(h1_app_heard(&a, "connection: close\r\n"));
        assert_int_equal(http_refused("reason=\"head\"") + http_refused("reason=\"body\""), before + 1);
        /* What follows is never read as a request. */
        h1_app_say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_int_equal(a.handled_n, 0);
        http_server_sweep(a.server, loop_now_ms(a.loop) + 10 * 1000);
        run_due(a.loop);
        assert_true(a.peer.is_closed);
        h1_app_close(&a);
    }
}

/* Three ways to send too much: nothing is collected, each is refused with the reason, and the connection ends. */
static void test_too_large(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 104857600\r\n\r\n");
    assert_true(h1_app_heard(&a, "HTTP/1.1 413 "));
    for (int i = 0; i < 100; i++) {
        uint8_t megabyte[64 * 1024] = {0};
        for (int k = 0; k < 16; k++) {
            stream_write(a.peer.s, megabyte, sizeof(megabyte));
            run_due(a.loop);
            assert_int_equal(stream_queued(a.peer.s), 0); /* taken and dropped, so that the answer can be read */
        }
    }
    assert_int_equal(a.handled_n, 0);
    h1_app_close(&a);

    h1_app_open(&a, 0);
    h1_app_say(&a, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n"
                   "0123456789012345678901234567890123456789012345678901234567890123\r\n1\r\n");
    assert_int_equal(buf_len(&a.peer.in), 0);
    h1_app_say(&a, "x\r\n0\r\n\r\n");
    assert_true(h1_app_heard(&a, "HTTP/1.1 413 "));
    h1_app_close(&a);

    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\nX: ");
    for (int i = 0; i < 2000 && !h1_app_heard(&a, "431"); i++)
        h1_app_say(&a, "0123456789abcdef");
    assert_true(h1_app_heard(&a, "HTTP/1.1 431 "));
    h1_app_close(&a);
}

static void test_unknown_with_body(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    /* The body, not read, must not become the next request. */
    h1_app_say(&a,
               "POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(h1_app_heard(&a, "HTTP/1.1 404 "));
    assert_true(h1_app_heard(&a, "connection: close\r\n"));
    assert_int_equal(a.handled_n, 0);
    h1_app_close(&a);
}

static void test_slow(void **state)
{
    (void)state;
    static const char *const said[] = {"GET /echo HTTP/1.1\r\nHost:",
                                       "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n12"};
    static const int64_t limit_ms[] = {10 * 1000, 30 * 1000};
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        struct app a;
        h1_app_open(&a, 0);
        int64_t before = http_refused("reason=\"timeout\"");
        int64_t now_ms = loop_now_ms(a.loop);
        h1_app_say(&a, said[i]);
        http_server_sweep(a.server, now_ms + limit_ms[i] - 1000);
        run_due(a.loop);
        assert_int_equal(buf_len(&a.peer.in), 0);
        http_server_sweep(a.server, now_ms + limit_ms[i] + 1000);
        run_due(a.loop);
        assert_true(h1_app_heard(&a, "HTTP/1.1 408 "));
        assert_int_equal(http_refused("reason=\"timeout\""), before + 1);
        h1_app_close(&a);
    }
}

static void test_idle(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    int64_t now_ms = loop_now_ms(a.loop);
    h1_app_say(&a, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_sweep(a.server, now_ms + 25 * 1000);
    run_due(a.loop);
    assert_false(a.peer.is_closed);
    http_server_sweep(a.server, now_ms + 35 * 1000);
    run_due(a.loop);
    assert_true(a.peer.is_closed);
    peer_close(&a.peer);
    /* One that says nothing at all. */
    h1_app_connect(&a);
    run_due(a.loop);
    http_server_sweep(a.server, now_ms + 15 * 1000);
    run_due(a.loop);
    assert_true(a.peer.is_closed);
    assert_int_equal(buf_len(&a.peer.in), 0);
    /* A handler may take as long as it likes. */
    peer_close(&a.peer);
    h1_app_connect(&a);
    h1_app_say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_sweep(a.server, now_ms + 3600 * 1000);
    run_due(a.loop);
    assert_false(a.peer.is_closed);
    h1_app_close(&a);
    assert_int_equal(a.closed_n, 1);
}

static void test_drain(void **state)
{
    (void)state;
    struct app a;
    h1_app_open(&a, 0);
    h1_app_say(&a, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_drain(a.server);
    run_due(a.loop);
    assert_false(a.peer.is_closed);
    http_respond_text(a.waiting, 200, NULL);
    run_due(a.loop);
    assert_true(h1_app_heard(&a, "connection: close\r\n"));
    assert_true(a.peer.is_closed);
    assert_int_equal(http_server_conns(a.server), 0);
    h1_app_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_leaves),  cmocka_unit_test(test_forgotten_and_aborted),
        cmocka_unit_test(test_stalled_reader), cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_too_large),      cmocka_unit_test(test_unknown_with_body),
        cmocka_unit_test(test_slow),           cmocka_unit_test(test_idle),
        cmocka_unit_test(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
