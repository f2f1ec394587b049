/* HTTP/2: peers that leave, idle or misbehave; memory of a session. */
#include "http/h2_testing.h"

/* --- peers that leave --- */

static void test_cancel(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    int32_t poll = h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    int32_t wait = h2_app_ask(a, "POST", "/later", STR_EMPTY);
    h2_client_cancel(a->client, poll);
    h2_client_ping(a->client);
    h2_client_cancel(a->client, wait);
    run_due(a->loop);
    assert_int_equal(a->closed_n, 2);
    /* With bytes queued; and after the answer, when the owner is done and gets no call. */
    a->waiting_n = 0;
    poll = h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    h2_app_push(a->waiting[0], 'p', 100 * 1024);
    h2_client_cancel(a->client, poll);
    run_due(a->loop);
    assert_int_equal(a->closed_n, 3);
    a->waiting_n = 0;
    wait = h2_app_ask(a, "POST", "/later", STR_EMPTY);
    http_respond_text(a->waiting[0], 200, "late");
    h2_client_cancel(a->client, wait);
    run_due(a->loop);
    assert_int_equal(a->closed_n, 3);
}

static void test_connection_lost(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    h2_app_ask(a, "POST", "/later", STR_EMPTY);
    h2_client_request_open(a->client, "POST", "h", "/echo", STR("part"));
    run_due(a->loop);
    h2_client_destroy(&a->client);
    run_due(a->loop);
    assert_int_equal(a->closed_n, 2);
    assert_int_equal(a->conn_gone_n, 1);
}

static void test_handler_closes(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    h2_app_ask(a, "GET", "/close", STR_EMPTY);
    assert_int_equal(a->closed_n, 1);
    assert_true(a->is_client_closed);
    assert_int_equal(http_server_conns(a->server), 0);
}

/* --- time --- */

static void test_idle(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    int64_t now_ms = loop_now_ms(a->loop);
    h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    http_server_sweep(a->server, now_ms + 24 * 3600 * 1000);
    run_due(a->loop);
    assert_false(a->has_goaway);
    http_stream_end(a->waiting[0]);
    run_due(a->loop);
    http_server_sweep(a->server, now_ms + 299 * 1000);
    run_due(a->loop);
    assert_false(a->has_goaway);
    http_server_sweep(a->server, now_ms + 301 * 1000);
    run_due(a->loop);
    assert_true(a->has_goaway);
    assert_int_equal(a->goaway_error, NGHTTP2_NO_ERROR);
    assert_true(a->is_client_closed);
}

static void test_incomplete_request(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    int64_t now_ms = loop_now_ms(a->loop);
    int32_t id = h2_client_request_open(a->client, "POST", "h", "/echo", STR("part"));
    run_due(a->loop);
    http_server_sweep(a->server, now_ms + 29 * 1000);
    run_due(a->loop);
    assert_int_equal(h2_app_reply_of(a, id)->status, 0);
    http_server_sweep(a->server, now_ms + 31 * 1000);
    run_due(a->loop);
    assert_int_equal(h2_app_reply_of(a, id)->status, 408);
    assert_true(h2_app_reply_of(a, id)->is_ended);
    assert_int_equal(a->handled_n, 0);
}

static void test_drain(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    int32_t id = h2_app_ask(a, "POST", "/later", STR_EMPTY);
    http_server_drain(a->server);
    run_due(a->loop);
    assert_true(a->has_goaway);
    assert_false(a->is_client_closed);
    http_respond_text(a->waiting[0], 200, NULL);
    run_due(a->loop);
    assert_int_equal(h2_app_reply_of(a, id)->status, 200);
    assert_true(a->is_client_closed);
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
    a->raw_end = h2_app_open_server(a, 0);
    stream_set_events(a->raw_end, &raw_events, a);
    return a->raw_end;
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
        run_due(a->loop);
        assert_true(a->is_client_closed);
        assert_int_equal(http_refused("reason=\"protocol\""), before + 1);
        h2_app_close(a);
    }
}

static void test_no_preface(void **state)
{
    (void)state;
    struct app *a = MEM_NEW(struct app);
    open_raw(a);
    run_due(a->loop);
    assert_true(buf_len(&a->raw) > 9); /* our settings do not wait for theirs */
    http_server_sweep(a->server, loop_now_ms(a->loop) + 11 * 1000);
    run_due(a->loop);
    assert_true(a->is_client_closed);
}

/* A request that is cancelled in the same iteration: no handler sees it. */
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
        run_due(a->loop);
        assert_int_equal(a->handled_n, 1 - is_cancelled);
        assert_false(a->is_client_closed);
        h2_app_close(a);
    }
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
    run_due(a->loop);
    assert_true(a->is_client_closed);
    assert_int_equal(h2_app_goaway_error(a), want_error);
}

static void test_floods(void **state)
{
    (void)state;
    static const uint8_t ping[17] = {0, 0, 8, NGHTTP2_PING};
    static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
    flood(ping, sizeof(ping), 2000, NGHTTP2_ENHANCE_YOUR_CALM);
    flood(settings, sizeof(settings), 2000, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* CVE-2023-44487: requests that are cancelled in the same iteration. No handler sees one. */
static void test_rapid_reset(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    int64_t before = http_refused("reason=\"flood\"");
    for (int i = 0; i < MAX_REPLIES - 1 && !a->is_client_closed; i++) {
        int32_t id = h2_client_request_open(a->client, "POST", "h", "/echo", STR_EMPTY);
        run_due(a->loop);
        h2_client_cancel(a->client, id);
        run_due(a->loop);
    }
    assert_true(a->has_goaway);
    assert_true(a->is_client_closed);
    assert_int_equal(a->handled_n, 0);
    assert_true(http_refused("reason=\"flood\"") > before);
}

static void test_header_limits(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    struct buf path = {0};
    buf_append_c(&path, "/echo?");
    while (buf_len(&path) < HTTP_MAX_HEAD_BYTES)
        buf_append_byte(&path, 'q');
    int32_t id = h2_app_ask(a, "GET", buf_cstr(&path), STR_EMPTY);
    buf_fini(&path);
    assert_int_equal(h2_app_reply_of(a, id)->status, 431);
    id = h2_app_ask(a, "GET", "/echo", STR_EMPTY);
    assert_int_equal(h2_app_reply_of(a, id)->status, 200);
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
    run_due(a->loop);
    assert_int_equal(stream_queued(end), 0);
    assert_false(a->is_client_closed);
    stream_pause(end, false);
    run_due(a->loop);
    assert_true((int64_t)buf_len(&a->raw) > sent);
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
        apps[i] = h2_app_open((size_t)i * 5, false);
        ids[i] = h2_app_ask(apps[i], "POST", "/poll", STR_EMPTY);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            h2_app_push(apps[i]->waiting[0], (char)('A' + i), 997);
            h2_app_push(apps[i]->waiting[0], (char)('a' + round), 3);
        }
        for (int i = N - 1; i >= 0; i--) {
            run_due(apps[i]->loop);
            assert_int_equal(h2_app_reply_of(apps[i], ids[i])->bytes, (round + 1) * 1000);
            assert_int_equal(h2_app_reply_of(apps[i], ids[i])->last_byte, 'a' + round);
            assert_int_equal(h2_app_reply_of(apps[i], ids[i])->text[100], 'A' + i);
        }
    }
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
        clients[i] = h2_client_create(client_end, false, &h2_app_events, a);
        a->waiting_n = 0;
        h2_client_request(clients[i], "POST", "h", "/poll", STR("{\"Version\":1}"));
        run_due(a->loop);
        buf_reset(&a->raw, 0);
    }
    size_t each = (mallinfo2().uordblks - before) / SESSIONS;
    assert_int_equal(http_server_conns(a->server), is_served ? SESSIONS + 1 : 1);
    for (int i = 0; i < SESSIONS; i++) {
        h2_client_destroy(&clients[i]);
        if (!is_served)
            stream_close(&far_ends[i], false);
    }
    run_due(a->loop);
    return each;
}

/* An idle session with its one open stream. Only the real allocator can tell: the sanitizers' own says 0. */
static void test_memory(void **state)
{
    (void)state;
    enum { LIMIT_BYTES = 12 * 1024 };
    struct app *a = h2_app_open(0, false);
    size_t client = heap_of_sessions(a, false);
    size_t both = heap_of_sessions(a, true);
    print_message("# a session with an open stream: %zu bytes of heap\n", both - client);
    assert_true(both - client < LIMIT_BYTES);
    a->conn_gone_n = 0;
}

#define TEST(f) cmocka_unit_test_teardown(f, h2_app_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel),         TEST(test_connection_lost),      TEST(test_handler_closes),
        TEST(test_idle),           TEST(test_incomplete_request),   TEST(test_drain),
        TEST(test_garbage),        TEST(test_cancelled_unseen),     TEST(test_no_preface),
        TEST(test_floods),         TEST(test_rapid_reset),          TEST(test_header_limits),
        TEST(test_unread_answers), TEST(test_interleaved_sessions), TEST(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
