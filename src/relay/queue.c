/* A client's frames on their way out. They stand in byte queues as they go to the wire, and leave at the end of the turn in
 * one piece for the layers below to make one record of. Control frames go first, then disco (which finds better paths than
 * this one), then what watchers are told, then data; when too much data waits the oldest goes overboard. */
#include <string.h>

#include "base/fits.h"
#include "relay/relay_internal.h"

/* Before the first frame of a turn the queue has no memory. */
static struct buf *queue_open(struct client *c, struct frame_queue *q)
{
    if (q->frames.data == NULL)
        q->frames = worker_buf_take(c->worker);
    return &q->frames;
}

static void mark_dirty(struct client *c)
{
    if (list_is_empty(&c->in_dirty))
        list_push_back(&c->worker->dirty, &c->in_dirty);
    worker_touch(c->worker);
}

static size_t frame_len_at(const uint8_t *p)
{
    return DERP_HEADER_BYTES + derp_header_parse(p).len;
}

static void drop_first(struct client *c, struct frame_queue *q, enum drop_reason reason, bool is_disco)
{
    size_t n = frame_len_at(buf_at(&q->frames));
    stats_drop(&c->worker->stats, reason, is_disco, n - DERP_HEADER_BYTES - KEY_BYTES);
    buf_consume(&q->frames, n);
}

/* A queue near its limit would otherwise be moved down in memory for every packet. */
static void reserve(struct buf *b, size_t n)
{
    if (!fits(b->end, n, b->cap) && buf_len(b) > b->cap / 2)
        buf_reserve(b, b->cap + n);
}

void client_queue_packet(struct client *c, const node_key *src, const uint8_t *packet, size_t n, bool is_disco)
{
    struct frame_queue *q = is_disco ? &c->disco : &c->data;
    size_t limit = is_disco ? RELAY_DISCO_QUEUE_BYTES : c->worker->relay->opts.queue_bytes;
    size_t frame_len = DERP_HEADER_BYTES + KEY_BYTES + n;
    struct buf *b = queue_open(c, q);
    while (buf_len(b) > 0 && buf_len(b) + frame_len > limit)
        drop_first(c, q, DROP_HEAD, is_disco);
    reserve(b, frame_len);
    derp_append_recv_packet(b, src, packet, n);
    mark_dirty(c);
}

bool client_queue_control(struct client *c, uint8_t type, const void *payload, size_t n)
{
    if (c->phase == CLIENT_CLOSED || buf_len(&c->control.frames) + n > RELAY_CONTROL_QUEUE_BYTES)
        return false;
    derp_append_frame(queue_open(c, &c->control), type, payload, n);
    mark_dirty(c);
    return true;
}

void client_queue_gone(struct client *c, const node_key *key, enum derp_gone_reason reason)
{
    uint8_t payload[KEY_BYTES + 1];
    memcpy(payload, key->b, KEY_BYTES);
    payload[KEY_BYTES] = (uint8_t)reason;
    if (client_queue_control(c, DERP_PEER_GONE, payload, sizeof(payload)))
        stats_add(&c->worker->stats, reason == DERP_GONE_NOT_HERE ? COUNT_NOT_HERE_SENT : COUNT_GONE_SENT, 1);
}

bool client_queue_watch(struct client *c, const void *frames, size_t n)
{
    if (c->phase == CLIENT_CLOSED)
        return true;
    if (buf_len(&c->watch.frames) + n > c->watch_limit)
        return false;
    buf_append(queue_open(c, &c->watch), frames, n);
    mark_dirty(c);
    return true;
}

int64_t client_write_timeout_ms(const struct client *c)
{
    return c->is_mesh ? RELAY_MESH_WRITE_TIMEOUT_MS : c->worker->relay->opts.write_timeout_ms;
}

/* The length of the whole frames at the front that fit into `room`, at least one. Packets among them are counted. */
static size_t frames_within(struct client *c, const struct buf *b, size_t room, bool is_packets)
{
    const uint8_t *p = buf_at(b);
    size_t len = 0;
    int64_t packets = 0;
    while (len < buf_len(b)) {
        size_t n = frame_len_at(p + len);
        if (len > 0 && len + n > room)
            break;
        len += n;
        packets++;
    }
    if (is_packets) {
        stats_add(&c->worker->stats, COUNT_PACKETS_SENT, packets);
        stats_add(&c->worker->stats, COUNT_BYTES_SENT, (int64_t)len - packets * (DERP_HEADER_BYTES + KEY_BYTES));
    }
    return len;
}

/* False when the stream takes no more; `drained` will come. What waits above its mark is ours to choose from. */
static bool write_queue(struct client *c, struct frame_queue *q, bool is_packets)
{
    struct buf *b = &q->frames;
    while (buf_len(b) > 0) {
        size_t waiting = stream_queued(c->stream);
        if (waiting > STREAM_HIGH_WATER)
            return false;
        size_t n = frames_within(c, b, STREAM_HIGH_WATER - waiting, is_packets);
        c->written_bytes += (int64_t)n;
        stream_write(c->stream, buf_at(b), n);
        if (c->phase == CLIENT_CLOSED)
            return false;
        buf_consume(b, n);
    }
    if (b->data != NULL)
        worker_buf_give(c->worker, b);
    return true;
}

/* From now on the peer has to take something now and then. */
static void watch_progress(struct client *c)
{
    int64_t timeout_ms = client_write_timeout_ms(c);
    if (c->write_due_ms != 0 || timeout_ms < 0)
        return;
    c->write_due_ms = worker_now_ms(c->worker) + timeout_ms;
    c->progress_bytes = c->written_bytes - (int64_t)stream_queued(c->stream);
    worker_schedule(c->worker, c);
}

/* False: something waits still. */
static bool write_queues(struct client *c)
{
    if (!write_queue(c, &c->control, false))
        return false;
    c->has_pong = false;
    return write_queue(c, &c->disco, true) && write_queue(c, &c->watch, false) && write_queue(c, &c->data, true);
}

/* From the time that the client takes no more to the time that nothing waits. */
static void note_wait(struct client *c, bool is_waiting)
{
    if (is_waiting == (c->waiting_since_ms != 0))
        return;
    int64_t now_ms = worker_now_ms(c->worker);
    if (!is_waiting)
        stats_queue_wait(now_ms - c->waiting_since_ms);
    c->waiting_since_ms = is_waiting ? now_ms : 0;
}

void client_flush(struct client *c)
{
    if (c->phase == CLIENT_CLOSED)
        return;
    int64_t before = c->written_bytes;
    bool is_waiting = !write_queues(c);
    if (c->phase == CLIENT_CLOSED)
        return;
    note_wait(c, is_waiting);
    if (c->written_bytes != before)
        watch_progress(c);
}

static void drop_all(struct client *c, struct frame_queue *q, bool is_disco)
{
    while (buf_len(&q->frames) > 0)
        drop_first(c, q, DROP_GONE, is_disco);
    if (q->frames.data != NULL)
        worker_buf_give(c->worker, &q->frames);
}

void client_queues_fini(struct client *c)
{
    drop_all(c, &c->disco, true);
    drop_all(c, &c->data, false);
    if (c->control.frames.data != NULL)
        worker_buf_give(c->worker, &c->control.frames);
    if (c->watch.frames.data != NULL)
        worker_buf_give(c->worker, &c->watch.frames);
    list_remove(&c->in_dirty);
}
