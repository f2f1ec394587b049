/* The body of a map poll: messages with their length in front, each of one or more zstd frames. A frame is read as
 * soon as it is whole, so that a node holds a part of one frame at most, however long the message is. The bytes come
 * from the server under test and are treated as hostile. src: docs/protocol/control.md 6.6 */
#ifndef BENCH_MAP_STREAM_H
#define BENCH_MAP_STREAM_H

#include "bench/frame_cache.h"

enum { MAP_STREAM_MESSAGE_MAX_BYTES = 256 * 1024 * 1024 };

struct map_stream {
    uint8_t head[4];
    uint8_t head_n;
    uint32_t left;      /* bytes of the message that are still to be read; those in `partial` count */
    uint32_t message_n; /* its length */
    uint64_t json_n;
    struct buf partial; /* the first bytes of a frame; allocated only while there are some */
    struct scan scan;
    struct scan_counts counts; /* of the message so far */
};

struct map_stream_events {
    /* A frame of the message has been read. */
    void (*piece)(void *ctx, const struct map_effect *s);
    /* The message has ended: `in` has its lengths and counts. Any result but RC_OK ends map_stream_feed, which
     * returns it. */
    enum rc (*message)(void *ctx, const struct map_stream *in);
};

/* Zero-initialised is a new body; frees what is kept of it. */
void map_stream_fini(struct map_stream *in);
/* Starts a new body. */
void map_stream_clear(struct map_stream *in);
/* Reads the next `n` bytes of the body. After RC_TOO_LARGE, RC_INVALID, an error of frame_cache_read or of `message`
 * the poll must be ended. */
MUST_CHECK enum rc map_stream_feed(struct map_stream *in, struct frame_cache *cache, const uint8_t *p, size_t n,
                                   const struct map_stream_events *events, void *ctx);

#endif
