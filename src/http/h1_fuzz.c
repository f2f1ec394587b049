/* Any bytes as the input of an HTTP/1.1 connection, whole and in single bytes: what handlers get must be the same, or
 * the parser has two opinions. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "base/mem.h"
#include "http/testing.h"

static struct buf seen[2];
static struct buf *now;

static void note(void *app, struct http_exchange *ex)
{
    (void)app;
    const struct http_request *req = http_request(ex);
    buf_printf(now, "%.*s %.*s?%.*s %.*s %u %zu [%.*s]\n", STR_ARG(req->method_name), STR_ARG(req->path),
               STR_ARG(req->query), STR_ARG(req->authority), req->version, req->headers_n, STR_ARG(req->body));
    struct str v;
    if (http_query(ex, "v", &v))
        http_set_header(ex, "x-v", v);
    http_respond(ex, 200, NULL, req->body);
}

static void on_closed(void *ctx)
{
    (void)ctx;
}

static void stream_out(void *app, struct http_exchange *ex)
{
    static const struct http_events none = {.closed = on_closed};
    (void)app;
    http_set_events(ex, &none, NULL);
    http_stream_start(ex, 200, NULL);
    http_stream_push(ex, rcbuf_create("piece", 5));
    http_stream_end(ex);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/s", stream_out, 0},
    {HTTP_GET | HTTP_POST, "/{a}/x/{b}", note, 0},
    {HTTP_GET | HTTP_POST | HTTP_PUT | HTTP_OPTIONS, "*", note, 200},
};

static void run(struct loop *loop, size_t chunk, const uint8_t *data, size_t size)
{
    struct http_server_opts opts = {.loop = loop, .routes = routes, .routes_n = ARRAY_LEN(routes)};
    struct http_server *server = http_server_create(&opts);
    struct stream *server_end;
    struct stream *client_end;
    struct peer peer;
    stream_pair_create(loop, chunk, &server_end, &client_end);
    peer_open(&peer, client_end);
    http_server_accept(server, server_end);
    stream_write(client_end, data, size);
    run_due(loop);
    http_server_sweep(server, loop_now_ms(loop) + 60 * 1000);
    run_due(loop);
    peer_close(&peer);
    http_server_destroy(&server);
    run_due(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct loop *loop;
    if (loop == NULL)
        loop = loop_create(0);
    fuzz_bounds_mark();
    for (int i = 0; i < 2; i++) {
        now = &seen[i];
        buf_clear(now);
        run(loop, (size_t)i, data, size);
    }
    if (!str_eq(buf_str(&seen[0]), buf_str(&seen[1])))
        abort();
    /* Short requests have long answers and notes; and in the second run each byte is an iteration of the loop. */
    fuzz_bounds_check(size, 256 << 10, 700);
    fuzz_bounds_check_steps(size, 100000, 1800);
    return 0;
}
