#include "relay/frame_endpoint.h"

#include "base/fits.h"

void frame_hub_init(struct frame_hub *hub, struct loop *loop)
{
    *hub = (struct frame_hub){.loop = loop};
    list_init(&hub->dirty);
}

void frame_hub_fini(struct frame_hub *hub)
{
    loop_defer_cancel(&hub->task);
    frame_pool_fini(&hub->pool);
}

void frame_hub_flush(struct frame_hub *hub)
{
    while (!list_is_empty(&hub->dirty)) {
        struct frame_endpoint *e = LIST_ENTRY(hub->dirty.next, struct frame_endpoint, in_dirty);
        list_remove(&e->in_dirty);
        e->ops->flush(e->ctx);
    }
}

void frame_endpoint_init(struct frame_endpoint *e, struct frame_hub *hub, const struct frame_endpoint_ops *ops,
                         void *ctx)
{
    *e = (struct frame_endpoint){.hub = hub, .ops = ops, .ctx = ctx};
    e->reader = (struct frame_reader){.ops = &ops->reader, .ctx = ctx, .pool = &hub->pool};
    list_init(&e->in_dirty);
}

void frame_endpoint_open(struct frame_endpoint *e, struct stream *s)
{
    e->stream = s;
}

static size_t frame_len_at(const uint8_t *p)
{
    return DERP_HEADER_BYTES + derp_header_parse(p).len;
}

static void drop_first(struct frame_endpoint *e, enum frame_priority priority, bool is_closing)
{
    struct buf *b = &e->queues[priority];
    size_t n = frame_len_at(buf_at(b));
    e->ops->dropped(e->ctx, priority, n, is_closing);
    buf_consume(b, n);
}

void frame_endpoint_close(struct frame_endpoint *e, bool flush)
{
    for (unsigned i = 0; i < FRAME_PRIORITY_N; i++) {
        while (buf_len(&e->queues[i]) > 0)
            drop_first(e, i, true);
        frame_pool_give(&e->hub->pool, &e->queues[i]);
    }
    frame_reader_reset(&e->reader);
    list_remove(&e->in_dirty);
    stream_close(&e->stream, flush);
    e->written_bytes = e->progress_bytes = e->write_due_ms = 0;
}

/* --- Frames into the queues --- */

/* Before its first frame a queue has no memory. */
static struct buf *open_queue(struct frame_endpoint *e, enum frame_priority priority)
{
    struct buf *b = &e->queues[priority];
    if (b->data == NULL)
        *b = frame_pool_take(&e->hub->pool);
    return b;
}

/* A queue near its limit would otherwise be moved down in memory for every packet. */
static void reserve(struct buf *b, size_t n)
{
    if (!fits(b->end, n, b->cap) && buf_len(b) > b->cap / 2)
        buf_reserve(b, b->cap + n);
}

struct buf *frame_endpoint_make_room(struct frame_endpoint *e, enum frame_priority priority, size_t bytes,
                                     size_t limit_bytes)
{
    struct buf *b = open_queue(e, priority);
    while (buf_len(b) > 0 && !fits(buf_len(b), bytes, limit_bytes))
        drop_first(e, priority, false);
    reserve(b, bytes);
    frame_endpoint_mark_dirty(e);
    return b;
}

bool frame_endpoint_queue(struct frame_endpoint *e, enum frame_priority priority, struct derp_header h,
                          const void *payload, size_t limit_bytes)
{
    if (!fits(frame_endpoint_waiting(e, priority), h.len, limit_bytes))
        return false;
    derp_append_frame(open_queue(e, priority), h.type, payload, h.len);
    frame_endpoint_mark_dirty(e);
    return true;
}

bool frame_endpoint_queue_raw(struct frame_endpoint *e, enum frame_priority priority, const void *frames, size_t n,
                              size_t limit_bytes)
{
    if (!fits(frame_endpoint_waiting(e, priority), n, limit_bytes))
        return false;
    buf_append(open_queue(e, priority), frames, n);
    frame_endpoint_mark_dirty(e);
    return true;
}

/* --- Frames to the stream --- */

void frame_endpoint_mark_dirty(struct frame_endpoint *e)
{
    if (list_is_empty(&e->in_dirty))
        list_push_back(&e->hub->dirty, &e->in_dirty);
    loop_defer(e->hub->loop, &e->hub->task);
}

/* The length of the whole frames at the front that fit into `room`, at least one. */
static size_t frames_within(const struct buf *b, size_t room, size_t *frame_n_out)
{
    const uint8_t *p = buf_at(b);
    size_t len = 0;
    *frame_n_out = 0;
    while (len < buf_len(b)) {
        size_t n = frame_len_at(p + len);
        if (len > 0 && !fits(len, n, room))
            break;
        len += n;
        ++*frame_n_out;
    }
    return len;
}

/* False: the stream takes no more for now. */
static bool write_queue(struct frame_endpoint *e, enum frame_priority priority)
{
    struct buf *b = &e->queues[priority];
    while (buf_len(b) > 0) {
        size_t waiting = stream_queued(e->stream), frame_n;
        if (waiting > STREAM_HIGH_WATER)
            return false;
        size_t n = frames_within(b, STREAM_HIGH_WATER - waiting, &frame_n);
        if (e->ops->written != NULL)
            e->ops->written(e->ctx, priority, frame_n, n);
        e->written_bytes += (int64_t)n;
        stream_write(e->stream, buf_at(b), n);
        if (e->stream == NULL)
            return false;
        buf_consume(b, n);
    }
    if (b->data != NULL)
        frame_pool_give(&e->hub->pool, b);
    return true;
}

bool frame_endpoint_flush(struct frame_endpoint *e, int64_t now_ms, int64_t timeout_ms)
{
    unsigned priority = 0;
    if (e->stream == NULL)
        return true;
    while (priority < FRAME_PRIORITY_N && write_queue(e, priority))
        priority++;
    size_t waiting = e->stream != NULL ? stream_queued(e->stream) : 0;
    if (waiting > 0 && e->write_due_ms == 0 && timeout_ms >= 0) {
        e->write_due_ms = now_ms + timeout_ms;
        e->progress_bytes = e->written_bytes - (int64_t)waiting;
    }
    return priority == FRAME_PRIORITY_N;
}

bool frame_endpoint_has_progress(struct frame_endpoint *e, int64_t now_ms, int64_t timeout_ms)
{
    size_t waiting = stream_queued(e->stream);
    int64_t gone_bytes = e->written_bytes - (int64_t)waiting;
    if (waiting > 0 && gone_bytes <= e->progress_bytes)
        return false;
    e->progress_bytes = gone_bytes;
    e->write_due_ms = waiting > 0 ? now_ms + timeout_ms : 0;
    return true;
}
