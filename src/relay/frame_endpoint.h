/* One end of a DERP connection: a stream, the reader of its frames (frame_reader.h), and bounded queues for the
 * frames that wait to be written. The relay has one for each client and for each link of the mesh.
 *
 * Queues. A frame is encoded once, into the queue of its priority, as it goes to the wire. At the end of the
 * iteration of the event loop, or when the stream has drained, the queues are written in the order of their
 * priority, so that the layers below make one record of all. No more than STREAM_HIGH_WATER bytes wait in the stream;
 * what waits above can still be dropped or overtaken. Packets drop the oldest packet when their queue is full; other
 * frames are refused.
 *
 * Deadline. While bytes wait, the peer has to take some within a term (`write_due_ms`); see
 * frame_endpoint_has_progress.
 *
 * Loop thread only; nothing blocks. */
#ifndef RELAY_FRAME_ENDPOINT_H
#define RELAY_FRAME_ENDPOINT_H

#include "base/list.h"
#include "net/stream.h"
#include "relay/frame_reader.h"

/* In the order in which they are written. Disco messages find better paths than this one, so they overtake packets. */
enum frame_priority { FRAME_CONTROL, FRAME_DISCO, FRAME_UPDATE, FRAME_DATA, FRAME_PRIORITY_N };

/* What the endpoints of one loop share. */
struct frame_hub {
    struct frame_pool pool;
    struct loop *loop;     /* borrowed */
    struct list dirty;     /* struct frame_endpoint.in_dirty: those with frames to write */
    struct loop_task task; /* scheduled when an endpoint becomes dirty; its `run` calls frame_hub_flush */
};

struct frame_endpoint;

struct frame_endpoint_ops {
    struct frame_reader_ops reader;
    /* The endpoint is dirty: call frame_endpoint_flush. */
    void (*flush)(void *ctx);
    /* `frame_n` frames, of `bytes` together, were given to the stream. May be null. */
    void (*written)(void *ctx, enum frame_priority priority, size_t frame_n, size_t bytes);
    /* A frame of `bytes` was dropped: it did not fit (`is_closing` false), or the endpoint is closed. */
    void (*dropped)(void *ctx, enum frame_priority priority, size_t bytes, bool is_closing);
};

struct frame_endpoint {
    struct stream *stream; /* owned; null when closed */
    struct frame_hub *hub; /* borrowed */
    const struct frame_endpoint_ops *ops;
    void *ctx; /* of `ops` */
    struct frame_reader reader;
    struct buf queues[FRAME_PRIORITY_N];
    struct list in_dirty;
    int64_t written_bytes;  /* given to the stream so far */
    int64_t progress_bytes; /* of these, gone when `write_due_ms` was set */
    int64_t write_due_ms;   /* when to look whether more has gone; 0: nothing waits */
};

/* `loop` is borrowed. The caller sets `task.run`. */
void frame_hub_init(struct frame_hub *hub, struct loop *loop);
/* No endpoint is open any more. */
void frame_hub_fini(struct frame_hub *hub);
/* Flushes all dirty endpoints. */
void frame_hub_flush(struct frame_hub *hub);

/* Once, before all other calls; the endpoint is closed. `ops` and `hub` are borrowed and outlive it. */
void frame_endpoint_init(struct frame_endpoint *e, struct frame_hub *hub, const struct frame_endpoint_ops *ops,
                         void *ctx);
/* Takes over the stream; the caller sets the stream's events, and calls frame_reader_feed when data comes and
 * frame_endpoint_mark_dirty when it has drained. */
void frame_endpoint_open(struct frame_endpoint *e, struct stream *s);
/* Drops what waits and what came in part, and closes the stream (`flush`: the stream sends first what it holds).
 * Harmless on one that is closed. Afterwards it may be opened again. */
void frame_endpoint_close(struct frame_endpoint *e, bool flush);

/* Makes room for one frame of `bytes` in a queue of packets, dropping the oldest ones when more than `limit_bytes`
 * would wait. The caller appends exactly that frame at once. */
struct buf *frame_endpoint_make_room(struct frame_endpoint *e, enum frame_priority priority, size_t bytes,
                                     size_t limit_bytes);
/* Queues a frame. False: refused, since the queue would have more than `limit_bytes` of earlier frames and payload. */
bool frame_endpoint_queue(struct frame_endpoint *e, enum frame_priority priority, struct derp_header h,
                          const void *payload, size_t limit_bytes);
/* The same for `n` bytes that are whole frames already. */
bool frame_endpoint_queue_raw(struct frame_endpoint *e, enum frame_priority priority, const void *frames, size_t n,
                              size_t limit_bytes);
/* Bytes that wait in one queue. */
static inline size_t frame_endpoint_waiting(const struct frame_endpoint *e, enum frame_priority priority)
{
    return buf_len(&e->queues[priority]);
}

/* To be flushed at the end of the iteration. */
void frame_endpoint_mark_dirty(struct frame_endpoint *e);
/* Writes what the stream takes, and sets `write_due_ms` when bytes wait and it was not set (`timeout_ms` negative:
 * never). False: frames wait in the queues; the stream's `drained` will come. The stream may close the endpoint
 * meanwhile. */
bool frame_endpoint_flush(struct frame_endpoint *e, int64_t now_ms, int64_t timeout_ms);
/* To be asked when `write_due_ms` has come. False: none of the bytes that waited has gone since. Otherwise sets the
 * next `write_due_ms`, or 0 when nothing waits. */
bool frame_endpoint_has_progress(struct frame_endpoint *e, int64_t now_ms, int64_t timeout_ms);

#endif
