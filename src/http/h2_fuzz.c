/* HTTP/2 sessions of strangers, whose side never acknowledges SETTINGS. The first byte says how: any bytes behind a
 * preface, cut in pieces; or (its highest bit) commands, each a frame or a step in time, so that whole connections with
 * flow control come up: windows that are closed, opened by a byte, requests that are begun, ended, reset, answered at
 * once, later and in pieces. Whatever is sent, the session holds no more than its budget, what it allocates on the way
 * grows with the input only, and so does the number of allocations and of calls of handlers. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "base/mem.h"
#include "http/http_internal.h"
#include "http/testing.h"

enum {
    BASE_BYTES = 320 * 1024, /* a session's budget, the server, and what an iteration of the loop has in flight */
    BYTES_PER_BYTE = 16,     /* the copies of input and output in the pair that stands for a socket */
    ALLOCATIONS_PER_BYTE = 8,
};

struct app {
    struct http_exchange *waiting;
    unsigned handled_n;
};

static void on_closed(void *ctx)
{
    ((struct app *)ctx)->waiting = NULL;
}

static const struct http_events events = {.closed = on_closed};

static void echo(void *app, struct http_exchange *ex)
{
    ((struct app *)app)->handled_n++;
    http_respond(ex, 200, "text/plain", http_request(ex)->body);
}

static void stream_out(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    a->handled_n++;
    if (a->waiting != NULL) {
        http_abort(ex);
        return;
    }
    a->waiting = ex;
    http_set_events(ex, &events, a);
    http_stream_start(ex, 200, NULL);
    http_stream_push(ex, rcbuf_create("piece", 5));
}

static void finish_waiting(struct app *a)
{
    struct http_exchange *ex = a->waiting;
    if (ex == NULL)
        return;
    a->waiting = NULL;
    http_stream_push(ex, rcbuf_create("more", 4));
    http_stream_end(ex);
}

static void conn_gone(void *app, void *conn_ctx)
{
    (void)app;
    *(struct http_conn **)conn_ctx = NULL;
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/e", echo, 1000},
    {HTTP_GET | HTTP_POST, "/s", stream_out, 0},
};

struct run {
    struct loop *loop;
    struct app app;
    struct http_server *server;
    struct http_conn *conn; /* null once it is gone */
    struct peer peer;
    int64_t passed_ms;
    uint32_t next_stream;
    size_t sent_bytes; /* what commands stand for */
};

static void check(const struct run *r)
{
    if (r->conn != NULL && budget_used(&r->conn->budget) > HTTP_STRANGER_BYTES)
        abort();
}

static void step(struct run *r)
{
    run_due(r->loop);
    buf_reset(&r->peer.in, 0);
    check(r);
}

/* --- commands --- */

static void frame(struct run *r, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t n)
{
    struct buf out = {0};
    buf_append_byte(&out, (uint8_t)(n >> 16));
    buf_append_u16be(&out, (uint16_t)n);
    buf_append_byte(&out, type);
    buf_append_byte(&out, flags);
    buf_append_u32be(&out, stream);
    buf_append(&out, payload, n);
    stream_write(r->peer.s, buf_at(&out), buf_len(&out));
    r->sent_bytes += buf_len(&out);
    buf_fini(&out);
}

/* A request whose head repeats what stands in the decoder's table `arg` times. */
static void request(struct run *r, uint8_t flags, uint8_t arg)
{
    static const char value[4000] = {'v'};
    struct buf block = {0};
    buf_append(&block, "\x83\x87\x01\1h\x04\2/", 8);
    buf_append_byte(&block, arg % 2 == 0 ? 'e' : 's');
    if (r->next_stream == 1) {
        buf_append(&block, "\x40\1x\x7f\xa1\x1e", 6); /* 4000 bytes */
        for (size_t i = 0; i < sizeof(value); i++)
            buf_append_byte(&block, 'v');
    }
    for (unsigned i = 0; i < arg; i++)
        buf_append_byte(&block, 0xbe);
    frame(r, 1, flags, r->next_stream, buf_at(&block), buf_len(&block));
    r->next_stream += 2;
    buf_fini(&block);
}

static void command(struct run *r, uint8_t what, uint8_t arg)
{
    static const uint8_t zeros[255];
    uint8_t small[6] = {0, 4, 0, 0, 0, arg}; /* SETTINGS_INITIAL_WINDOW_SIZE */
    uint8_t number[4] = {0, 0, 0, arg};
    uint32_t stream = (uint32_t)arg * 2 + 1;
    switch (what % 10) {
    case 0: request(r, 5, arg); break; /* END_HEADERS, END_STREAM */
    case 1: request(r, 4, arg); break;
    case 2: frame(r, 0, arg % 2, r->next_stream - 2, zeros, arg); break; /* DATA */
    case 3: frame(r, 3, 0, stream, number, 4); break;                    /* RST_STREAM */
    case 4: frame(r, 4, 0, 0, small, 6); break;                          /* SETTINGS */
    case 5: frame(r, 8, 0, arg % 3 == 0 ? 0 : stream, number, 4); break; /* WINDOW_UPDATE */
    case 6: frame(r, 6, 0, 0, zeros, 8); break;                          /* PING */
    case 7: finish_waiting(&r->app); break;
    case 8:
        r->passed_ms += (int64_t)arg * 500;
        http_server_sweep(r->server, loop_now_ms(r->loop) + r->passed_ms);
        break;
    case 9: step(r); break;
    }
}

/* --- a run --- */

static void open_run(struct run *r, struct loop *loop, size_t chunk)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    struct stream *server_end, *client_end;
    *r = (struct run){.loop = loop, .next_stream = 1};
    r->server = http_server_create(&(struct http_server_opts){.loop = loop,
                                                              .routes = routes,
                                                              .routes_n = ARRAY_LEN(routes),
                                                              .app = &r->app,
                                                              .conn_gone = conn_gone,
                                                              .has_strangers = true});
    stream_pair_create(loop, chunk, &server_end, &client_end);
    peer_open(&r->peer, client_end);
    r->conn = http_server_attach_h2(r->server, server_end, &r->conn);
    stream_write(client_end, preface, sizeof(preface) - 1);
}

static void close_run(struct run *r)
{
    step(r);
    finish_waiting(&r->app);
    step(r);
    http_server_sweep(r->server, loop_now_ms(r->loop) + r->passed_ms + 60 * 1000);
    step(r);
    peer_close(&r->peer);
    http_server_destroy(&r->server);
    run_due(r->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    struct run r;
    if (size == 0)
        return 0;
    if (loop == NULL)
        loop = loop_create(0);
    fuzz_bounds_mark();
    open_run(&r, loop, data[0] % 32 > 0 ? data[0] % 32 : 4077);
    if ((data[0] & 0x80) == 0)
        stream_write(r.peer.s, data + 1, size - 1);
    for (size_t i = 1; (data[0] & 0x80) != 0 && i + 1 < size; i += 2)
        command(&r, data[i], data[i + 1]);
    close_run(&r);
    size_t sent = size + r.sent_bytes;
    fuzz_bounds_check(sent, BASE_BYTES, BYTES_PER_BYTE);
    fuzz_bounds_check_steps(sent, 200000, 830);
    if (fuzz_bounds_allocations() > 2000 + sent * ALLOCATIONS_PER_BYTE || r.app.handled_n > sent)
        abort();
    return 0;
}
