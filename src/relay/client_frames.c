/* Receives the frames of a client, and what each of them does. */
#include <string.h>

#include "relay/client_internal.h"
#include "relay/relay_internal.h"

static void on_note_preferred(struct client *c, bool is_home)
{
    if (c->is_home == is_home)
        return;
    c->is_home = is_home;
    metric_add(&relay_gauge_homes, is_home ? 1 : -1);
    if (worker_now_ms(c->worker) - c->opened_ms >= CLIENT_HOME_SETTLED_MS)
        stats_add(&c->worker->stats, is_home ? COUNT_HOME_IN : COUNT_HOME_OUT, 1);
}

static void on_ping(struct client *c, const uint8_t *payload)
{
    stats_add(&c->worker->stats, COUNT_GOT_PING, 1);
    if (c->has_pong || !client_queue_control(c, DERP_PONG, payload, DERP_PING_BYTES))
        return;
    c->has_pong = true;
    stats_add(&c->worker->stats, COUNT_SENT_PONG, 1);
}

static void on_pong(struct client *c, const uint8_t *payload)
{
    if (c->ping_sent_ms == 0 || memcmp(payload, c->ping, DERP_PING_BYTES) != 0)
        return;
    c->rtt_ms = worker_now_ms(c->worker) - c->ping_sent_ms;
    c->ping_sent_ms = 0;
    stats_rtt(c->rtt_ms);
    stats_add(&c->worker->stats, COUNT_GOT_PONG, 1);
}

static void on_send_packet(struct client *c, const uint8_t *payload, size_t n)
{
    struct packet p = packet_of(&c->key, (const node_key *)payload, payload + KEY_BYTES, n - KEY_BYTES);
    packet_send(c->worker, c, &p);
}

static void on_forward_packet(struct client *c, const uint8_t *payload, size_t n)
{
    const node_key *keys = (const node_key *)payload;
    struct packet p = packet_of(&keys[0], &keys[1], payload + 2 * KEY_BYTES, n - 2 * KEY_BYTES);
    packet_send_forwarded(c->worker, c, &p);
}

static void on_close_peer(struct client *c, const uint8_t *payload)
{
    node_key key;
    memcpy(key.b, payload, KEY_BYTES);
    struct peer *p = peers_get(c->worker, &key);
    if (p != NULL && p->route.conn_id != 0)
        message_post_close_key(c->worker->relay, &key, true);
}

static void on_watch_conns(struct client *c)
{
    struct relay *relay = c->worker->relay;
    /* The other end is this relay itself, or the list that it asks for is still on its way. */
    if (keys_equal(c->key.b, relay->public_key) || c->is_listing ||
        frame_endpoint_waiting(&c->endpoint, FRAME_UPDATE) > 0)
        return;
    c->is_listing = true;
    directory_list(relay, c->worker->index, c->id);
}

/* What only neighbours may send. */
static void on_mesh_frame(struct client *c, uint8_t type, const uint8_t *payload, size_t n)
{
    if (!c->is_mesh) {
        client_reject(c, COUNT_CLOSED_NO_MESH_RIGHT, "frame of a mesh from a client", type);
        return;
    }
    switch (type) {
    case DERP_FORWARD_PACKET: on_forward_packet(c, payload, n); break;
    case DERP_WATCH_CONNS: on_watch_conns(c); break;
    case DERP_CLOSE_PEER: on_close_peer(c, payload); break;
    }
}

/* A frame of a client that is in; the header has passed derp_header_check. */
static void on_active_frame(struct client *c, uint8_t type, const uint8_t *payload, size_t n)
{
    /* An answer to our ping is no sign that the device at this end is the one in use. */
    if (c->peer->route.conn_n > 1 && c->peer->local != c && !c->is_claiming && type != DERP_PONG) {
        c->is_claiming = true; /* until the directory has answered */
        stats_add(&c->worker->stats, COUNT_DUP_SWITCHES, 1);
        directory_speak(c->worker->relay, c->directory);
    }
    switch (type) {
    case DERP_SEND_PACKET: on_send_packet(c, payload, n); break;
    case DERP_NOTE_PREFERRED: on_note_preferred(c, payload[0] != 0); break;
    case DERP_PING: on_ping(c, payload); break;
    case DERP_PONG: on_pong(c, payload); break;
    default: on_mesh_frame(c, type, payload, n);
    }
}

/* --- Bytes in --- */

static enum frame_verdict on_header(void *ctx, struct derp_header h)
{
    struct client *c = ctx;
    bool is_login = c->phase == CLIENT_LOGIN;
    enum rc rc = derp_header_check(h, is_login);
    if (rc == RC_OK)
        return FRAME_READ;
    if (rc != RC_UNSUPPORTED) {
        client_reject(c, is_login ? COUNT_CLOSED_BAD_LOGIN : COUNT_CLOSED_BAD_FRAME, "bad frame", h.type);
        return FRAME_STOP;
    }
    rate_charge(c, h.len);
    stats_add(&c->worker->stats, COUNT_UNKNOWN_FRAMES, h.type != DERP_PONG);
    return FRAME_SKIP;
}

static bool on_frame(void *ctx, struct derp_header h, const uint8_t *payload)
{
    struct client *c = ctx;
    rate_charge(c, h.len);
    if (c->phase == CLIENT_LOGIN)
        client_on_login(c, payload, h.len);
    else
        on_active_frame(c, h.type, payload, h.len);
    return c->phase == CLIENT_ACTIVE;
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct client *c = ctx;
    c->pings_unanswered = 0;
    client_feed(c, p, n);
    worker_touch(c->worker);
    client_timers_watch_frame(c);
    rate_check(c);
}

static void on_drained(void *ctx)
{
    struct client *c = ctx;
    frame_endpoint_mark_dirty(&c->endpoint);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    client_close(ctx, COUNT_CLOSED_PEER, false);
}

static const struct frame_endpoint_ops ops = {
    .reader = {on_header, on_frame},
    .flush = client_queue_on_flush,
    .written = client_queue_on_written,
    .dropped = client_queue_on_dropped,
};
static const struct stream_events events = {on_data, on_drained, on_closed};

void client_create(struct relay_worker *w, struct stream *s, const struct budget_place *place, const void *leftover,
                   size_t leftover_len, bool is_not_ideal)
{
    struct client *c = client_open(w, s, place, &ops, &events);
    c->is_not_ideal = is_not_ideal;
    struct buf hello = frame_pool_take(&w->frames.pool);
    derp_append_server_key(&hello, w->relay->public_key);
    stream_write(s, buf_at(&hello), buf_len(&hello));
    frame_pool_give(&w->frames.pool, &hello);
    if (leftover_len > 0)
        on_data(c, leftover, leftover_len);
}
