/* A DERP client over any stream: upgrade, login, packets. Built to cost little: packets are read where the stream
 * has them, and an idle client keeps no buffer. What the server sends is checked in length before anything is done
 * with it. Loop thread only. src: docs/protocol/derp-stun.md 2, 3 */
#ifndef BENCH_DERP_CLIENT_INTERNAL_H
#define BENCH_DERP_CLIENT_INTERNAL_H

#include "bench/bench.h"
#include "net/stream.h"
#include "proto/derp.h"
#include "relay/frame_reader.h"

/* Each of them may stop the client. */
struct bench_derp_client_events {
    /* The server has let it in, and has shown that it holds the key of its greeting. */
    void (*up)(void *ctx);
    /* `p` is borrowed for the call. */
    void (*packet)(void *ctx, const uint8_t src[KEY_BYTES], const uint8_t *p, size_t n);
    /* Not after bench_derp_client_stop. The last event; the client has stopped. */
    void (*ended)(void *ctx, const char *why);
};

struct bench_derp_client {
    struct stream *stream; /* owned; null before the start and after the end */
    enum {
        BENCH_DERP_CLIENT_UPGRADING,
        BENCH_DERP_CLIENT_GREETING,
        BENCH_DERP_CLIENT_LOGIN,
        BENCH_DERP_CLIENT_UP
    } phase;
    private_key key;
    node_key public_key;
    uint8_t server_key[KEY_BYTES];
    struct buf answer;          /* of HTTP, while it has not come whole */
    struct frame_reader reader; /* after it */
    const struct bench_derp_client_events *events;
    void *ctx;
};

/* Takes over `s`, which may be connecting still. `pool`: for frames that come in parts; borrowed, of the loop.
 * `random`: 32 fresh bytes, of which its key is made. */
void bench_derp_client_start(struct bench_derp_client *c, struct stream *s, struct frame_pool *pool,
                             const struct bench_url *at, const uint8_t random[KEY_BYTES],
                             const struct bench_derp_client_events *events, void *ctx);
/* Ends it without an event; harmless on one that has ended. The struct may be freed after the current iteration of the
 * loop. */
void bench_derp_client_stop(struct bench_derp_client *c);

#endif
