/* Any bytes as the input of an HTTP/2 session, with a preface in front and a handler for each way to answer. The first byte
 * says how the input is cut. */
#include "base/mem.h"
#include "http/testing.h"

struct app {
    struct http_exchange *waiting;
};

static void on_closed(void *ctx)
{
    ((struct app *)ctx)->waiting = NULL;
}

static const struct http_events events = {.closed = on_closed};

static void echo(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "text/plain", http_request(ex)->body);
}

static void stream_out(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    if (a->waiting != NULL) {
        http_abort(ex);
        return;
    }
    a->waiting = ex;
    http_set_events(ex, &events, a);
    http_stream_start(ex, 200, NULL);
    http_stream_push(ex, rcbuf_create("piece", 5));
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/e", echo, 1000},
    {HTTP_GET | HTTP_POST, "/s", stream_out, 0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static struct loop *loop;
    if (size == 0)
        return 0;
    if (loop == NULL)
        loop = loop_create(0);
    struct app app = {0};
    struct http_server_opts opts = {.loop = loop, .routes = routes, .routes_n = ARRAY_LEN(routes), .app = &app};
    struct http_server *server = http_server_create(&opts);
    struct stream *server_end;
    struct stream *client_end;
    struct peer peer;
    stream_pair_create(loop, data[0] % 32, &server_end, &client_end);
    peer_open(&peer, client_end);
    http_server_attach_h2(server, server_end, NULL);
    stream_write(client_end, preface, sizeof(preface) - 1);
    stream_write(client_end, data + 1, size - 1);
    turn(loop);
    if (app.waiting != NULL) {
        http_stream_push(app.waiting, rcbuf_create("more", 4));
        http_stream_end(app.waiting);
        app.waiting = NULL;
    }
    turn(loop);
    http_server_sweep(server, loop_now_ms(loop) + 60 * 1000);
    turn(loop);
    peer_close(&peer);
    http_server_destroy(&server);
    turn(loop);
    return 0;
}
