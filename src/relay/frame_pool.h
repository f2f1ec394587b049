/* Buffers for frames that have not come whole or wait to be written, shared by the connections of one loop: a
 * connection without traffic holds none, and a relayed packet allocates none. Loop thread only. */
#ifndef RELAY_FRAME_POOL_H
#define RELAY_FRAME_POOL_H

#include "base/buf.h"

enum {
    FRAME_POOL_BUFS = 16,
    FRAME_POOL_BUF_MAX_BYTES = 256 * 1024, /* larger buffers are freed, not kept */
};

/* Zero-initialised is empty. */
struct frame_pool {
    struct buf bufs[FRAME_POOL_BUFS]; /* owned */
    unsigned n;
};

/* An empty buffer, the caller's until frame_pool_give. */
struct buf frame_pool_take(struct frame_pool *pool);
/* Takes the buffer back, whatever it holds; `*b` is empty afterwards and owns nothing. */
void frame_pool_give(struct frame_pool *pool, struct buf *b);
/* Frees the buffers that are in the pool. */
void frame_pool_fini(struct frame_pool *pool);

#endif
