/* DERP inside WebSocket, from the upgrade on: the input is what a client sends behind its handshake, in pieces of a
 * size that the first byte chooses. The relay's key is that of tests/vectors/derp.json, so that the logins recorded
 * there are good. Another client must not be affected. */
#include <stdlib.h>

#define assert_true(x)                                                                                                 \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)
#define assert_false(x) assert_true(!(x))
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_memory_equal(a, b, n) assert_true(memcmp((a), (b), (n)) == 0)

#include "base/fuzz_bounds.h"
#include "base/log.h"
#include "relay/relay_http.h"
#include "relay/rig_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct relay_opts opts = {
    .key = {{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
             0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20}}};

static void feed(struct rig *r, struct http_server *http, struct rig_client *c, const uint8_t *data, size_t size)
{
    static const char head[] = "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                               "Sec-WebSocket-Protocol: derp\r\n\r\n";
    static const size_t chunks[] = {1, 2, 5, 37, 1000, 0, 0, 0};
    struct stream *server_end;
    stream_pair_create(r->loop, chunks[data[0] & 7], &c->s, &server_end);
    stream_set_events(c->s, &rig_client_events, c);
    stream_write(c->s, head, sizeof(head) - 1);
    stream_write(c->s, data + 1, size - 1);
    http_server_accept(http, server_end);
    rig_run(r);
    if ((data[0] & 8) != 0)
        relay_test_advance(r->relay, 70 * 1000);
    rig_run(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || log_set_level(NULL, LOG_OFF) != RC_OK)
        return 0;
    struct rig r;
    struct rig_client fuzzed = {0}, other;
    rig_start(&r, &opts, NULL);
    rig_join(&r, &other, 2);
    struct relay_http app = {.relay = r.relay};
    struct http_server *http = http_server_create(&(struct http_server_opts){
        .loop = r.loop, .routes = relay_http_routes, .routes_n = relay_http_routes_n, .app = &app});
    fuzz_bounds_mark();
    feed(&r, http, &fuzzed, data, size);
    fuzz_bounds_check(size, 1 << 20, 64);
    fuzz_bounds_check_steps(size, 100000, 600);
    buf_clear(&other.got); /* it may have been sent things */
    rig_send(&other, &other, "still here", 10);
    rig_run(&r);
    rig_expect_packet(&other, &other, "still here", 10);
    rig_close(&fuzzed);
    rig_close(&other);
    http_server_destroy(&http);
    rig_stop(&r);
    return 0;
}
