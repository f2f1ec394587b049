/* HTTP/2: requests and answers, long ones too. */
#include "http/h2_testing.h"

/* --- the client's side --- */

static struct buf filled(size_t n)
{
    struct buf b = {0};
    memset(buf_reserve(&b, n), 'f', n);
    buf_commit(&b, n);
    return b;
}

/* --- requests and answers --- */

static void test_simple(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 4; chunk++) {
        struct app *a = h2_app_open(chunk, false);
        int32_t id = h2_app_ask(a, "GET", "/echo?a=b", STR_EMPTY);
        assert_int_equal(h2_app_reply_of(a, id)->status, 200);
        assert_string_equal(h2_app_reply_of(a, id)->text, "GET /echo?a=b host:1 [0:]");
        assert_true(h2_app_reply_of(a, id)->is_ended);
        assert_int_equal(h2_app_reply_of(a, id)->error, 0);
        /* The body of a GET reaches the handler (tailnet lock asks so). */
        id = h2_app_ask(a, "GET", "/echo", STR("{\"x\":1}"));
        assert_string_equal(h2_app_reply_of(a, id)->text, "GET /echo? host:1 [7:{\"x\":1}]");
        id = h2_app_ask(a, "HEAD", "/echo", STR_EMPTY);
        assert_int_equal(h2_app_reply_of(a, id)->status, 200);
        assert_int_equal(h2_app_reply_of(a, id)->bytes, 0);
        assert_int_equal(h2_app_reply_of(a, id)->error, 0);
        h2_app_close(a);
    }
}

static void test_big_bodies(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    struct buf body = filled(HTTP_MAX_BODY_BYTES);
    int32_t id = h2_app_ask(a, "POST", "/echo", buf_str(&body));
    assert_string_equal(h2_app_reply_of(a, id)->text, "POST /echo? host:1 [1048576:ffffffffffffffffffff]");
    /* One more than fits. */
    buf_append_byte(&body, 'f');
    id = h2_app_ask(a, "POST", "/echo", buf_str(&body));
    assert_int_equal(h2_app_reply_of(a, id)->status, 413);
    id = h2_app_ask(a, "POST", "/small", str_n(buf_at(&body), 101));
    assert_int_equal(h2_app_reply_of(a, id)->status, 413);
    id = h2_app_ask(a, "POST", "/small", str_n(buf_at(&body), 100));
    assert_int_equal(h2_app_reply_of(a, id)->status, 200);
    buf_fini(&body);
}

/* 100 MB for a route that takes 1 MB: refused at once, and the rest is not read. */
static void test_huge_body(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    struct buf body = filled(100 * 1024 * 1024);
    int32_t id = h2_app_ask(a, "POST", "/echo", buf_str(&body));
    buf_fini(&body);
    assert_int_equal(h2_app_reply_of(a, id)->status, 413);
    assert_true(h2_app_reply_of(a, id)->is_ended);
    assert_int_equal(a->handled_n, 0);
    id = h2_app_ask(a, "GET", "/echo", STR_EMPTY);
    assert_int_equal(h2_app_reply_of(a, id)->status, 200);
}

/* All requests of a session together may hold so much, whatever each may. */
static void test_body_budget(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    struct buf body = filled(900 * 1024);
    int32_t ids[6];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = h2_client_request_open(a->client, "POST", "h", "/echo", buf_str(&body));
        run_due(a->loop);
    }
    buf_fini(&body);
    assert_int_equal(h2_app_reply_of(a, ids[3])->status, 0);
    assert_int_equal(h2_app_reply_of(a, ids[4])->status, 429);
    assert_int_equal(h2_app_reply_of(a, ids[5])->status, 429);
    h2_client_cancel(a->client, ids[0]);
    run_due(a->loop);
    int32_t id = h2_app_ask(a, "POST", "/echo", STR("x"));
    assert_int_equal(h2_app_reply_of(a, id)->status, 200);
}

/* All connections of a server together may hold so much, besides a little each: strangers are many. */
static void test_body_pool(void **state)
{
    (void)state;
    h2_app_pool_bytes = 2 * 1024 * 1024;
    struct app *a = h2_app_open(0, false);
    struct buf body = filled(900 * 1024);
    int32_t ids[4];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i] = h2_client_request_open(a->client, "POST", "h", "/echo", buf_str(&body));
        run_due(a->loop);
    }
    buf_fini(&body);
    assert_int_equal(h2_app_reply_of(a, ids[1])->status, 0);
    assert_int_equal(h2_app_reply_of(a, ids[2])->status, 429);
    h2_client_cancel(a->client, ids[0]);
    h2_client_cancel(a->client, ids[1]);
    h2_client_cancel(a->client, ids[3]);
    run_due(a->loop);
    body = filled(900 * 1024);
    for (int i = 0; i < 3; i++) {
        int32_t id = h2_app_ask(a, "POST", "/echo", buf_str(&body));
        assert_int_equal(h2_app_reply_of(a, id)->status, 200);
    }
    buf_fini(&body);
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
    struct app *a = h2_app_open(3, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int32_t id = h2_app_ask(a, rows[i].method, rows[i].path, STR_EMPTY);
        assert_int_equal(h2_app_reply_of(a, id)->status, rows[i].status);
        assert_true(h2_app_reply_of(a, id)->is_ended);
    }
    int32_t id = h2_app_ask(a, "GET", "/refuse", STR_EMPTY);
    assert_int_equal(h2_app_reply_of(a, id)->error, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(a->handled_n, 0);
}

static void test_many(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    for (int i = 0; i < 1000; i++)
        assert_true(h2_client_request(a->client, "POST", "h", "/echo", STR("abc")) > 0);
    run_due(a->loop);
    assert_int_equal(a->handled_n, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_string_equal(a->replies[i].text, "POST /echo? h [3:abc]");
        assert_true(a->replies[i].is_ended);
    }
}

/* --- long answers --- */

static void test_poll(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < 2; chunk++) {
        struct app *a = h2_app_open(chunk, false);
        int32_t id = h2_app_ask(a, "POST", "/poll", STR("{}"));
        assert_int_equal(h2_app_reply_of(a, id)->status, 200);
        for (int i = 0; i < 3; i++) {
            h2_app_push(a->waiting[0], (char)('a' + i), 1000);
            h2_app_push(a->waiting[0], 'x', 24);
            run_due(a->loop);
            assert_int_equal(h2_app_reply_of(a, id)->bytes, (i + 1) * 1024);
            assert_int_equal(http_stream_queued(a->waiting[0]), 0);
        }
        /* Others are answered meanwhile. */
        int32_t other = h2_app_ask(a, "GET", "/echo", STR_EMPTY);
        assert_int_equal(h2_app_reply_of(a, other)->status, 200);
        h2_app_push(a->waiting[0], 'z', 1);
        http_stream_end(a->waiting[0]);
        run_due(a->loop);
        assert_int_equal(h2_app_reply_of(a, id)->last_byte, 'z');
        assert_true(h2_app_reply_of(a, id)->is_ended);
        assert_int_equal(a->closed_n, 0);
        h2_app_close(a);
    }
}

/* The same bytes for many receivers: references only. */
static void test_shared_piece(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, false);
    for (int i = 0; i < 5; i++)
        h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    struct rcbuf *piece = rcbuf_create(NULL, 3 * 1024 * 1024);
    memset(piece->data, 's', piece->len);
    for (int i = 0; i < 5; i++)
        http_stream_push(a->waiting[i], rcbuf_ref(piece));
    assert_int_equal(atomic_load(&piece->refs), 6);
    run_due(a->loop);
    assert_int_equal(atomic_load(&piece->refs), 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(a->replies[i].bytes, 3 * 1024 * 1024);
    rcbuf_unref(&piece);
}

static void test_stalled_window(void **state)
{
    (void)state;
    struct app *a = h2_app_open(0, true);
    int32_t id = h2_app_ask(a, "POST", "/poll", STR_EMPTY);
    enum { WINDOW = 4 * 1024 * 1024, EXTRA = 300 * 1024 };
    for (int i = 0; i < (WINDOW + EXTRA) / (20 * 1024); i++)
        h2_app_push(a->waiting[0], 'w', 20 * 1024);
    run_due(a->loop);
    assert_int_equal(h2_app_reply_of(a, id)->bytes, WINDOW);
    size_t queued = http_stream_queued(a->waiting[0]);
    assert_int_equal(queued, (WINDOW + EXTRA) / (20 * 1024) * (20 * 1024) - WINDOW);
    assert_int_equal(a->drained_n, 0);
    /* The newest state instead of each step: what has not begun to go out can be taken back. */
    size_t dropped = http_stream_drop_queued(a->waiting[0]);
    assert_true(dropped > 0 && http_stream_queued(a->waiting[0]) < 20 * 1024);
    h2_app_push(a->waiting[0], 'n', 7);
    h2_client_consume(a->client, id, WINDOW);
    run_due(a->loop);
    assert_int_equal(http_stream_queued(a->waiting[0]), 0);
    assert_int_equal(h2_app_reply_of(a, id)->last_byte, 'n');
    assert_int_equal((WINDOW + EXTRA) / (20 * 1024) * (20 * 1024) + 7 - dropped, h2_app_reply_of(a, id)->bytes);
    assert_int_equal(a->drained_n, 1);
}

#define TEST(f) cmocka_unit_test_teardown(f, h2_app_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_simple),       TEST(test_big_bodies),     TEST(test_huge_body), TEST(test_body_budget),
        TEST(test_body_pool),    TEST(test_refusals),       TEST(test_many),      TEST(test_poll),
        TEST(test_shared_piece), TEST(test_stalled_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
