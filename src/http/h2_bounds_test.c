/* What strangers can make an HTTP/2 session hold, and for how long. Raw frames; their side never acknowledges
 * SETTINGS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "http/http_internal.h"
#include "http/testing.h"

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, WINDOW_UPDATE = 8, END_STREAM = 1, END_HEADERS = 4, NO_WINDOW = 1 };

struct side {
    struct loop *loop;
    struct http_server *server;
    struct http_conn *conn;
    struct peer peer;
    struct http_exchange *waiting[4];
    unsigned waiting_n;
    unsigned handled_n;
    unsigned closed_n;
    size_t answer_bytes;
};

/* --- handlers --- */

static void on_closed(void *ctx)
{
    ((struct side *)ctx)->closed_n++;
}

static void answer(void *app, struct http_exchange *ex)
{
    struct side *s = app;
    char text[16 * 1024] = {0};
    s->handled_n++;
    http_respond(ex, 200, "text/plain", str_n(text, s->answer_bytes));
}

static void keep(struct side *s, struct http_exchange *ex)
{
    static const struct http_events events = {.closed = on_closed};
    s->handled_n++;
    assert_true(s->waiting_n < ARRAY_LEN(s->waiting));
    s->waiting[s->waiting_n++] = ex;
    http_set_events(ex, &events, s);
}

static void later(void *app, struct http_exchange *ex)
{
    keep(app, ex);
}

static void poll_stream(void *app, struct http_exchange *ex)
{
    keep(app, ex);
    http_stream_start(ex, 200, NULL);
}

static void conn_gone(void *app, void *conn_ctx)
{
    (void)app;
    ((struct side *)conn_ctx)->conn = NULL;
}

static const struct http_route routes[] = {
    {HTTP_POST, "/a", answer, 0}, {HTTP_POST, "/l", later, 0}, {HTTP_POST, "/p", poll_stream, 0}};

/* --- a connection --- */

static void frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t n)
{
    buf_append_byte(out, (uint8_t)(n >> 16));
    buf_append_u16be(out, (uint16_t)n);
    buf_append_byte(out, type);
    buf_append_byte(out, flags);
    buf_append_u32be(out, stream);
    buf_append(out, payload, n);
}

static void transmit(struct side *s, struct buf *out)
{
    stream_write(s->peer.s, buf_at(out), buf_len(out));
    buf_fini(out);
    run_due(s->loop);
}

/* `server` null: one of its own. */
static struct side *open_side(struct http_server *server, struct loop *loop, unsigned flags)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t no_window[] = {0, 4, 0, 0, 0, 0};
    struct side *s = MEM_NEW(struct side);
    struct stream *near, *far;
    struct buf out = {0};
    s->loop = loop != NULL ? loop : loop_create(0);
    s->server = server != NULL ? server
                               : http_server_create(&(struct http_server_opts){.loop = s->loop,
                                                                               .routes = routes,
                                                                               .routes_n = ARRAY_LEN(routes),
                                                                               .app = s,
                                                                               .conn_gone = conn_gone,
                                                                               .has_strangers = true});
    s->answer_bytes = 100;
    stream_pair_create(s->loop, 16 * 1024, &near, &far); /* as TLS has it */
    peer_open(&s->peer, far);
    s->conn = http_server_attach_h2(s->server, near, s);
    buf_append(&out, preface, sizeof(preface) - 1);
    frame(&out, SETTINGS, 0, 0, no_window, (flags & NO_WINDOW) != 0 ? sizeof(no_window) : 0);
    transmit(s, &out);
    return s;
}

static void close_side(struct side *s, bool is_last)
{
    peer_close(&s->peer);
    run_due(s->loop);
    if (is_last) {
        http_server_destroy(&s->server);
        run_due(s->loop);
        loop_destroy(&s->loop);
    }
    mem_free(s);
}

static void head(struct buf *out, const char *path)
{
    buf_append(out, "\x83\x87\x41\1h\x44", 6); /* POST, https, authority, path */
    buf_append_byte(out, (uint8_t)strlen(path));
    buf_append_c(out, path);
}

/* POST `path` with a body of `n` bytes. */
static void ask(struct side *s, uint32_t stream, const char *path, size_t n)
{
    static const char zeros[16 * 1024];
    struct buf out = {0}, block = {0};
    head(&block, path);
    frame(&out, HEADERS, (uint8_t)(END_HEADERS | (n == 0 ? END_STREAM : 0)), stream, buf_at(&block), buf_len(&block));
    buf_fini(&block);
    while (n > 0) {
        size_t piece = n < sizeof(zeros) ? n : sizeof(zeros);
        n -= piece;
        frame(&out, DATA, n == 0 ? END_STREAM : 0, stream, zeros, piece);
    }
    transmit(s, &out);
}

static void sweep_at(struct side *s, int64_t after_ms)
{
    http_server_sweep(s->server, loop_now_ms(s->loop) + after_ms);
    run_due(s->loop);
}

static size_t held(const struct side *s)
{
    return s->conn != NULL ? budget_used(&s->conn->budget) : 0;
}

/* Of the answer on `stream`: 200, -1 for any other; 0: there is none. */
static int status_of(const struct side *s, uint32_t stream)
{
    const uint8_t *p = buf_at(&s->peer.in);
    size_t left = buf_len(&s->peer.in);
    while (left >= 9) {
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        uint32_t id = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
        if (p[3] == HEADERS && id == stream) {
            const uint8_t *first = p + 9;
            while ((*first & 0xe0) == 0x20) /* the size of the table */
                first++;
            return *first == 0x88 ? 200 : -1;
        }
        p += 9 + n;
        left -= left < 9 + n ? left : 9 + n;
    }
    return 0;
}

/* --- what is held --- */

/* A header of 4 KiB stands in the decoder's table, which the client may use until it has acknowledged SETTINGS, and is
 * named again and again by one byte. */
static void bomb(struct buf *out, unsigned streams, unsigned repeats, bool is_complete)
{
    for (unsigned i = 0; i < streams; i++) {
        struct buf block = {0};
        head(&block, "/a");
        if (i == 0) {
            static const char value[4060] = {'v'};
            buf_append(&block, "\x40\1x\x7f\xdd\x1e", 6); /* a literal of 4060 bytes, to be remembered */
            buf_append(&block, value, sizeof(value));
        }
        for (unsigned k = 0; k < repeats; k++)
            buf_append_byte(&block, 0xbe);
        frame(out, HEADERS, (uint8_t)(END_HEADERS | (is_complete ? END_STREAM : 0)), 1 + 2 * i, buf_at(&block),
              buf_len(&block));
        buf_fini(&block);
    }
}

static void test_header_bomb(void **state)
{
    (void)state;
    static const unsigned repeats[] = {1, 2, 3, 4, 32, 60, 5000};
    for (size_t i = 0; i < ARRAY_LEN(repeats); i++) {
        for (unsigned is_complete = 0; is_complete < 2; is_complete++) {
            struct side *s = open_side(NULL, NULL, NO_WINDOW);
            struct buf out = {0};
            bomb(&out, 250, repeats[i], is_complete);
            transmit(s, &out);
            assert_true(held(s) <= HTTP_STRANGER_BYTES);
            sweep_at(s, 31 * 1000);
            sweep_at(s, 62 * 1000);
            sweep_at(s, 93 * 1000);
            assert_true(held(s) < HTTP_STRANGER_BYTES / 2); /* and not for ever */
            close_side(s, true);
        }
    }
}

/* Fields of 60 KiB, which the library collects before anyone sees them. */
static void test_long_fields(void **state)
{
    (void)state;
    static const uint8_t field_64k[] = {0x40, 0x7f, 0xe0, 0xd3, 0x03}; /* the length of a plain name: 59999 */
    static const uint8_t huffman_64k[] = {0x40, 0xff, 0xe0,
                                          0xd3, 0x03, 0x1f}; /* of a packed one, which may be double */
    for (unsigned packed = 0; packed < 2; packed++) {
        struct side *s = open_side(NULL, NULL, 0);
        struct buf out = {0}, block = {0};
        head(&block, "/a");
        buf_append(&block, packed ? huffman_64k : field_64k, 5);
        frame(&out, HEADERS, 0, 1, buf_at(&block), buf_len(&block));
        buf_fini(&block);
        for (int i = 0; i < 6; i++) {
            static const char text[8000] = {'a'};
            frame(&out, 9, 0, 1, text, sizeof(text));
        }
        transmit(s, &out);
        assert_true(held(s) <= HTTP_STRANGER_BYTES);
        close_side(s, true);
    }
}

static void test_bodies_of_a_stranger(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, 0);
    ask(s, 1, "/l", 40 * 1024);
    assert_int_equal(s->handled_n, 1);
    for (uint32_t id = 3; id < 100; id += 2)
        ask(s, id, "/a", 30 * 1024); /* some are answered, some refused: it holds too much already */
    assert_true(s->conn == NULL || held(s) <= HTTP_STRANGER_BYTES);
    close_side(s, true);
}

/* What was asked costs nothing once it is answered, though the answer cannot leave. */
static void test_an_answered_request_is_dropped(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, NO_WINDOW);
    size_t before = held(s);
    ask(s, 1, "/a", 40 * 1024);
    assert_int_equal(s->handled_n, 1);
    assert_true(held(s) < before + 4 * 1024);
    assert_int_equal(s->closed_n, 0);
    close_side(s, true);
}

/* Strangers that fill their share leave room for known peers. */
static void test_shares(void **state)
{
    (void)state;
    struct side *first = open_side(NULL, NULL, 0);
    enum { STRANGERS = 400 };
    struct side *others[STRANGERS];
    for (unsigned i = 0; i < STRANGERS; i++) {
        others[i] = open_side(first->server, first->loop, 0);
        struct buf out = {0}, block = {0};
        static const char zeros[16 * 1024];
        head(&block, "/a");
        frame(&out, HEADERS, END_HEADERS, 1, buf_at(&block), buf_len(&block));
        buf_fini(&block);
        for (int k = 0; k < 3; k++)
            frame(&out, DATA, 0, 1, zeros, sizeof(zeros)); /* and no end */
        transmit(others[i], &out);
    }
    assert_true(budget_used(first->conn->budget.above) <= 16 * 1024 * 1024);
    assert_true(budget_used(first->conn->budget.above) > 8 * 1024 * 1024);
    http_conn_know(first->conn, "key", 3);
    http_conn_know(first->conn, "key", 3);
    ask(first, 1, "/a", 60 * 1024);
    assert_int_equal(status_of(first, 1), 200);
    for (unsigned i = 0; i < STRANGERS; i++)
        close_side(others[i], false);
    close_side(first, true);
}

/* --- for how long --- */

static void test_closed_windows_end(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, NO_WINDOW);
    http_conn_know(s->conn, "key", 3);
    ask(s, 1, "/a", 10);
    ask(s, 3, "/p", 10);
    ask(s, 5, "/p", 10);
    http_stream_push(s->waiting[0], rcbuf_create("x", 1));
    sweep_at(s, 1);
    sweep_at(s, 120 * 1000);
    assert_int_equal(s->closed_n, 0);
    sweep_at(s, 120 * 1000 + 2);
    assert_int_equal(s->closed_n, 1);
    assert_false(s->peer.is_closed);
    sweep_at(s, 24 * 3600 * 1000); /* what has nothing to say may go on for ever */
    assert_int_equal(s->closed_n, 1);
    assert_false(s->peer.is_closed);
    http_stream_push(s->waiting[1], rcbuf_create("x", 1));
    sweep_at(s, 24 * 3600 * 1000 + 1000);
    sweep_at(s, 24 * 3600 * 1000 + 130 * 1000);
    assert_int_equal(s->closed_n, 2);
    close_side(s, true);
}

/* A stranger has less time, and then none. */
static void test_strangers_with_closed_windows_leave(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, NO_WINDOW);
    ask(s, 1, "/p", 10);
    sweep_at(s, 3600 * 1000);
    assert_false(s->peer.is_closed); /* it may wait for an answer */
    http_stream_push(s->waiting[0], rcbuf_create("x", 1));
    sweep_at(s, 3601 * 1000);
    sweep_at(s, 3617 * 1000);
    assert_int_equal(s->closed_n, 1);
    assert_true(s->peer.is_closed);
    close_side(s, true);
}

static void open_window(struct side *s, uint32_t stream, uint8_t n)
{
    uint8_t more[4] = {0, 0, 0, n};
    struct buf out = {0};
    frame(&out, WINDOW_UPDATE, 0, stream, more, sizeof(more));
    transmit(s, &out);
}

/* A byte now and then is no progress. */
static void test_drops_do_not_count(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, NO_WINDOW);
    int64_t before = http_refused("reason=\"stalled\"");
    s->answer_bytes = 200;
    ask(s, 1, "/a", 0);
    for (int64_t ms = 1; ms < 20 * 1000; ms += 1000) {
        sweep_at(s, ms);
        open_window(s, 1, 1);
    }
    assert_int_equal(http_refused("reason=\"stalled\""), before + 1);
    close_side(s, true);
}

static void test_known_parties_have_more_time(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, NO_WINDOW);
    http_conn_know(s->conn, "key", 3);
    ask(s, 1, "/p", 10);
    http_stream_push(s->waiting[0], rcbuf_create("x", 1));
    sweep_at(s, 1);
    sweep_at(s, 119 * 1000);
    assert_int_equal(s->closed_n, 0);
    sweep_at(s, 121 * 1000);
    assert_int_equal(s->closed_n, 1);
    sweep_at(s, 299 * 1000); /* nor is it idle so soon */
    assert_false(s->peer.is_closed);
    close_side(s, true);
}

static void test_idle_strangers_leave(void **state)
{
    (void)state;
    struct side *s = open_side(NULL, NULL, 0);
    sweep_at(s, 14 * 1000);
    assert_false(s->peer.is_closed);
    sweep_at(s, 16 * 1000);
    sweep_at(s, 22 * 1000);
    assert_true(s->peer.is_closed);
    close_side(s, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_bomb),
        cmocka_unit_test(test_long_fields),
        cmocka_unit_test(test_bodies_of_a_stranger),
        cmocka_unit_test(test_an_answered_request_is_dropped),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_closed_windows_end),
        cmocka_unit_test(test_strangers_with_closed_windows_leave),
        cmocka_unit_test(test_drops_do_not_count),
        cmocka_unit_test(test_known_parties_have_more_time),
        cmocka_unit_test(test_idle_strangers_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
