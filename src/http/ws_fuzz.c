/* Any bytes as the frames of a WebSocket client. The first byte says how they are cut, the second what the owner
 * does. */
#include "base/fuzz_bounds.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "http/testing.h"
#include "http/ws.h"

struct app {
    struct stream *ws;
    bool closes;
};

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct app *a = ctx;
    if (a->closes)
        stream_close(&a->ws, true);
    else
        stream_write(a->ws, p, n);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)ctx;
    (void)why;
}

static void upgrade(void *app, struct http_exchange *ex)
{
    static const struct stream_events events = {on_data, NULL, on_closed};
    static const struct ws_opts opts = {.subprotocol = "x", .max_message_bytes = 500};
    struct app *a = app;
    if (ws_accept(ex, &opts, &a->ws) == RC_OK)
        stream_set_events(a->ws, &events, a);
}

static const struct http_route routes[] = {{HTTP_GET, "/", upgrade, 0}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                               "Sec-WebSocket-Protocol: x\r\n\r\n";
    static struct loop *loop;
    if (size < 2)
        return 0;
    if (loop == NULL) {
        crypto_init();
        loop = loop_create(0);
    }
    fuzz_bounds_mark();
    struct app app = {.closes = (data[1] & 1) != 0};
    struct http_server_opts opts = {.loop = loop, .routes = routes, .routes_n = 1, .app = &app};
    struct http_server *server = http_server_create(&opts);
    struct stream *server_end;
    struct stream *client_end;
    struct peer peer;
    stream_pair_create(loop, data[0] % 16, &server_end, &client_end);
    peer_open(&peer, client_end);
    http_server_accept(server, server_end);
    stream_write(client_end, head, sizeof(head) - 1);
    stream_write(client_end, data + 2, size - 2);
    run_due(loop);
    peer_close(&peer);
    run_due(loop);
    stream_close(&app.ws, false);
    http_server_destroy(&server);
    run_due(loop);
    /* In pieces of a byte, each an iteration of the loop. */
    fuzz_bounds_check(size, 256 << 10, 64);
    fuzz_bounds_check_steps(size, 60000, 480);
    return 0;
}
