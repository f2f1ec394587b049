/* The body of a map poll: messages with their length in front, each of one or more zstd frames. Frames are taken off as they
 * complete, so that a node holds a part of one frame at most, however long the message is. Bytes come from a server that is
 * under test: hostile. src: docs/protocol/control.md 6.6 */
#ifndef BENCH_MAP_STREAM_H
#define BENCH_MAP_STREAM_H

#include "bench/frame_cache.h"

enum { MAP_STREAM_MESSAGE_MAX_BYTES = 256 * 1024 * 1024 };

struct map_stream {
    uint8_t head[4];
    uint8_t head_n;
    uint32_t left;      /* of the message, with what `partial` holds */
    uint32_t message_n; /* its length */
    uint64_t json_n;
    struct buf partial; /* the first bytes of a frame; owns memory only while there are some */
    struct scan scan;
    struct scan_counts counts; /* of the message so far */
};

struct map_stream_events {
    /* A piece of a message. */
    void (*piece)(void *ctx, const struct map_effect *s);
    /* Its end: `in` has its lengths and counts. Anything but RC_OK ends map_stream_feed with it. */
    enum rc (*message)(void *ctx, const struct map_stream *in);
};

void map_stream_fini(struct map_stream *in);
/* At the start of a body. */
void map_stream_clear(struct map_stream *in);
/* RC_TOO_LARGE, RC_INVALID and those of frame_cache_read, or what `message` returned: the poll is of no use any more. */
MUST_CHECK enum rc map_stream_feed(struct map_stream *in, struct frame_cache *cache, const uint8_t *p, size_t n,
                                   const struct map_stream_events *events, void *ctx);

#endif
