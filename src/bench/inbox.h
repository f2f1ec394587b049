/* The body of a map poll: messages with their length in front, each of one or more zstd frames. Frames are taken off as they
 * complete, so that a node holds a part of one frame at most, however long the message is. Bytes come from a server that is
 * under test: hostile. src: docs/protocol/control.md 6.6 */
#ifndef BENCH_INBOX_H
#define BENCH_INBOX_H

#include "bench/memo.h"

enum { INBOX_MESSAGE_MAX_BYTES = 256 * 1024 * 1024 };

struct inbox {
    uint8_t head[4];
    uint8_t head_n;
    uint32_t left;      /* of the message, with what `partial` holds */
    uint32_t message_n; /* its length */
    uint64_t json_n;
    struct buf partial; /* the first bytes of a frame; owns memory only while there are some */
    struct scan scan;
    struct scan_counts counts; /* of the message so far */
};

struct inbox_events {
    /* A piece of a message. */
    void (*piece)(void *ctx, const struct said *s);
    /* Its end: `in` has its lengths and counts. Anything but RC_OK ends inbox_feed with it. */
    enum rc (*message)(void *ctx, const struct inbox *in);
};

void inbox_fini(struct inbox *in);
/* At the start of a body. */
void inbox_clear(struct inbox *in);
/* RC_TOO_LARGE, RC_INVALID and those of memo_read, or what `message` returned: the poll is of no use any more. */
MUST_CHECK enum rc inbox_feed(struct inbox *in, struct memo *memo, const uint8_t *p, size_t n,
                              const struct inbox_events *events, void *ctx);

#endif
