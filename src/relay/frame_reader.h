/* Finds the DERP frames in a stream of bytes that comes in pieces of any size. A frame that is whole in a piece is
 * handled where it is, without a copy; only a frame that is cut off is collected in a buffer. Used by the relay's
 * clients, by the links of the mesh and by the load generator.
 *
 * The reader trusts nothing that the header says: its owner decides by the header alone, before a byte of the
 * payload is kept, whether the frame is read. So the owner's limits bound the buffer. No I/O, no clock. Loop thread
 * only. src: docs/protocol/derp-stun.md 2 */
#ifndef RELAY_FRAME_READER_H
#define RELAY_FRAME_READER_H

#include <stdbool.h>

#include "proto/derp.h"
#include "relay/frame_pool.h"

/* What to do with a frame whose header has come. */
enum frame_verdict {
    FRAME_READ, /* hand over the frame when its payload is whole */
    FRAME_SKIP, /* drop the payload as it comes */
    FRAME_STOP, /* read no further; the owner has most likely closed the connection */
};

struct frame_reader_ops {
    enum frame_verdict (*header)(void *ctx, struct derp_header h);
    /* A whole frame for which `header` said FRAME_READ; `payload` is borrowed for the call. False: read no further. */
    bool (*frame)(void *ctx, struct derp_header h, const uint8_t *payload);
};

struct frame_reader {
    const struct frame_reader_ops *ops;
    void *ctx;               /* of `ops` */
    struct frame_pool *pool; /* borrowed; lives longer than the reader */
    struct buf in;           /* the frame that has not come whole */
    uint32_t skip;           /* bytes left of a payload that is dropped */
    uint64_t ended_n;        /* frames that came whole so far, those that were dropped included */
};

/* Reads `n` bytes. Returns how many were used: all of them, or fewer when an op stopped the reader; then the frame that
 * stopped it is used up. An op may end the reader and its owner, if the owner's memory outlives this call. */
size_t frame_reader_feed(struct frame_reader *r, const uint8_t *p, size_t n);
/* Whether a frame has begun and not ended. */
bool frame_reader_is_partial(const struct frame_reader *r);
/* Forgets the frame that has begun, and gives its buffer back. */
void frame_reader_reset(struct frame_reader *r);

#endif
