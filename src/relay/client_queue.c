/* Frames to a client. What the endpoint does with them is in frame_endpoint.h; here are the limits and the counters. */
#include <string.h>

#include "relay/client_internal.h"
#include "relay/relay_internal.h"

void client_queue_packet(struct client *c, const struct packet *p)
{
    enum frame_priority priority = p->is_disco ? FRAME_DISCO : FRAME_DATA;
    size_t limit = p->is_disco ? CLIENT_DISCO_QUEUE_BYTES : c->worker->relay->opts.queue_bytes;
    size_t frame_bytes = DERP_HEADER_BYTES + KEY_BYTES + p->n;
    derp_append_recv_packet(frame_endpoint_make_room(&c->endpoint, priority, frame_bytes, limit), p->src, p->bytes,
                            p->n);
}

bool client_queue_control(struct client *c, uint8_t type, const void *payload, size_t n)
{
    struct derp_header h = {type, (uint32_t)n};
    return c->phase != CLIENT_CLOSED &&
           frame_endpoint_queue(&c->endpoint, FRAME_CONTROL, h, payload, CLIENT_CONTROL_QUEUE_BYTES);
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
    return c->phase == CLIENT_CLOSED || frame_endpoint_queue_raw(&c->endpoint, FRAME_UPDATE, frames, n, c->watch_limit);
}

int64_t client_queue_timeout_ms(const struct client *c)
{
    return c->is_mesh ? CLIENT_NEIGHBOUR_WRITE_TIMEOUT_MS : c->worker->relay->opts.write_timeout_ms;
}

/* From the time at which the client stops reading to the time at which nothing waits. */
static void note_wait(struct client *c, bool is_waiting)
{
    if (is_waiting == (c->waiting_since_ms != 0))
        return;
    int64_t now_ms = worker_now_ms(c->worker);
    if (!is_waiting)
        stats_queue_wait(now_ms - c->waiting_since_ms);
    c->waiting_since_ms = is_waiting ? now_ms : 0;
}

void client_queue_flush(struct client *c)
{
    if (c->phase == CLIENT_CLOSED)
        return;
    int64_t was_due_ms = c->endpoint.write_due_ms;
    bool is_waiting = !frame_endpoint_flush(&c->endpoint, worker_now_ms(c->worker), client_queue_timeout_ms(c));
    if (c->phase == CLIENT_CLOSED)
        return;
    c->has_pong = c->has_pong && frame_endpoint_waiting(&c->endpoint, FRAME_CONTROL) > 0;
    note_wait(c, is_waiting);
    if (c->endpoint.write_due_ms != was_due_ms)
        client_timers_schedule(c);
}

void client_queue_on_flush(void *ctx)
{
    client_queue_flush(ctx);
}

static bool is_packet(enum frame_priority priority)
{
    return priority == FRAME_DISCO || priority == FRAME_DATA;
}

void client_queue_on_written(void *ctx, enum frame_priority priority, size_t frame_n, size_t bytes)
{
    struct relay_stats *stats = &((struct client *)ctx)->worker->stats;
    if (!is_packet(priority))
        return;
    stats_add(stats, COUNT_PACKETS_SENT, (int64_t)frame_n);
    stats_add(stats, COUNT_BYTES_SENT, (int64_t)(bytes - frame_n * (DERP_HEADER_BYTES + KEY_BYTES)));
}

void client_queue_on_dropped(void *ctx, enum frame_priority priority, size_t bytes, bool is_closing)
{
    struct relay_stats *stats = &((struct client *)ctx)->worker->stats;
    if (is_packet(priority))
        stats_drop(stats, is_closing ? DROP_GONE : DROP_HEAD, priority == FRAME_DISCO,
                   bytes - DERP_HEADER_BYTES - KEY_BYTES);
}
