#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/fits.h"
#include "base/log.h"
#include "base/mem.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

LOG_MODULE("derp");

static int64_t now_of(const struct client *c)
{
    return worker_now_ms(c->worker);
}

/* --- Life --- */

struct client *client_open(struct relay_worker *w, struct stream *s, const struct budget_place *place,
                           const struct frame_endpoint_ops *ops, const struct stream_events *events)
{
    struct client *c = MEM_NEW(struct client);
    c->worker = w;
    c->id = (uint64_t)w->index << 48 | ++w->next_id;
    c->opened_ms = now_of(c);
    c->rtt_ms = -1;
    c->place = *place;
    list_push_back(&w->logins, &c->in_logins);
    list_init(&c->of_peer);
    list_init(&c->in_wheel);
    list_init(&c->in_watchers);
    list_init(&c->senders);
    map_put(&w->clients, &c->id, sizeof(c->id), c);
    if (w->clients.n == 1)
        loop_timer_start(w->timer, 1000, 1000);
    atomic_fetch_add(&w->relay->conn_n, 1);
    metric_add(&relay_gauge_connections, 1);
    stats_add(&w->stats, COUNT_ACCEPTS, 1);
    c->login_due_ms = c->opened_ms + w->relay->opts.login_timeout_ms;
    client_timers_schedule(c);
    frame_endpoint_init(&c->endpoint, &w->frames, ops, c);
    frame_endpoint_open(&c->endpoint, s);
    stream_set_events(s, events, c);
    return c;
}

static void client_free(void *obj)
{
    mem_free(obj);
}

static void leave_directory(struct client *c)
{
    if (c->directory == NULL)
        return;
    worker_pipes_post(c->worker); /* its packets must arrive before the news that it has gone */
    directory_remove(c->worker->relay, &c->directory);
}

static void leave_peer(struct client *c)
{
    if (c->peer == NULL)
        return;
    if (c->peer->local == c)
        c->peer->local = NULL;
    list_remove(&c->of_peer);
    peers_tidy(c->worker, c->peer);
    c->peer = NULL;
}

static void uncount(struct client *c, enum client_phase was)
{
    struct relay *relay = c->worker->relay;
    places_leave(c, was == CLIENT_JOINING || was == CLIENT_ACTIVE);
    atomic_fetch_sub(&relay->conn_n, 1);
    metric_add(&relay_gauge_connections, -1);
    if (was == CLIENT_ACTIVE) {
        atomic_fetch_sub(&relay->client_n, 1);
        metric_add(&relay_gauge_clients, -1);
        metric_add(&relay_gauge_not_ideal, -(int64_t)c->is_not_ideal);
    }
    if (c->is_home)
        metric_add(&relay_gauge_homes, -1);
}

/* What the client sent ahead of its admission. */
static void forget_held(struct client *c)
{
    c->worker->held_bytes -= buf_len(&c->held);
    frame_pool_give(&c->worker->frames.pool, &c->held);
}

void client_close(struct client *c, enum relay_counter why, bool flush)
{
    struct relay_worker *w = c->worker;
    enum client_phase was = c->phase;
    if (was == CLIENT_CLOSED)
        return;
    if (flush && was == CLIENT_ACTIVE)
        client_queue_flush(c);
    c->phase = CLIENT_CLOSED;
    stats_add(&w->stats, why, 1);
    uncount(c, was);
    leave_directory(c);
    peer_gone_forget_client(w, c);
    leave_peer(c);
    if (!list_is_empty(&c->in_watchers))
        metric_add(&relay_gauge_watchers, -1);
    list_remove(&c->in_watchers);
    rate_forget(c);
    forget_held(c);
    list_remove(&c->in_wheel);
    map_remove(&w->clients, &c->id, sizeof(c->id));
    if (w->clients.n == 0)
        loop_timer_stop(w->timer);
    frame_endpoint_close(&c->endpoint, flush);
    worker_touch(w);
    loop_free_later(w->loop, c, client_free);
}

void client_reject(struct client *c, enum relay_counter why, const char *what, uint8_t type)
{
    char from[ADDR_TEXT_CAP];
    addr_format(&c->endpoint.stream->peer, true, from);
    log_limited(LOG_INFO, what, LOG_S("from", from), LOG_U("frame", type));
    client_close(c, why, false);
}

/* --- Bytes in --- */

static bool is_reading(const struct client *c)
{
    return c->phase == CLIENT_LOGIN || c->phase == CLIENT_ACTIVE;
}

/* What came ahead of admission waits. */
static void hold(struct client *c, const uint8_t *p, size_t n)
{
    struct relay_worker *w = c->worker;
    if (!fits(buf_len(&c->held), n, CLIENT_HELD_MAX_BYTES) || !fits(w->held_bytes, n, CLIENT_HELD_ALL_MAX_BYTES)) {
        client_reject(c, COUNT_CLOSED_BAD_LOGIN, "too much before admission", 0);
        return;
    }
    if (c->held.data == NULL)
        c->held = frame_pool_take(&w->frames.pool);
    buf_append(&c->held, p, n);
    w->held_bytes += n;
}

void client_feed(struct client *c, const uint8_t *p, size_t n)
{
    uint64_t ended_n = c->endpoint.reader.ended_n;
    size_t used = is_reading(c) ? frame_reader_feed(&c->endpoint.reader, p, n) : 0;
    if (c->endpoint.reader.ended_n != ended_n)
        c->frame_due_ms = 0;
    if (used < n && c->phase != CLIENT_CLOSED)
        hold(c, p + used, n - used);
}

/* --- Login --- */

void client_ask_admission(struct client *c)
{
    struct relay *relay = c->worker->relay;
    struct relay_admission *m = message_create(c->worker, MSG_ADMISSION);
    m->conn_id = c->id;
    relay->ops.admit(relay->ops.ctx, m, &c->key, &c->endpoint.stream->peer);
}

/* A client with a wrong mesh key is one like all others, until it sends what only neighbours may send.
 * src: tailscale 1.102 derp/derpserver isMeshPeer */
static bool is_neighbour(const struct relay *relay, const struct derp_client_info *info)
{
    return info->has_mesh_key && !key_is_zero(relay->opts.mesh_key) &&
           secret_equal(info->mesh_key, relay->opts.mesh_key, DERP_MESH_KEY_BYTES);
}

void client_on_login(struct client *c, const uint8_t *payload, size_t n)
{
    struct derp_client_info info;
    if (derp_client_info_open(&c->worker->relay->key, payload, n, &info) != RC_OK) {
        client_reject(c, COUNT_CLOSED_BAD_LOGIN, "bad login", DERP_CLIENT_INFO);
        return;
    }
    c->key = info.key;
    c->can_ack_pings = info.can_ack_pings;
    c->is_prober = info.is_prober;
    c->is_mesh = is_neighbour(c->worker->relay, &info);
    secret_wipe(&info, sizeof(info));
    c->peer = peers_get_or_create(c->worker, &c->key);
    list_push_back(&c->peer->clients, &c->of_peer);
    c->phase = CLIENT_ADMISSION;
    stream_pause(c->endpoint.stream, true);
    if (c->worker->relay->ops.admit != NULL &&
        !c->is_mesh) /* a neighbour is no node, so the program is not asked about it */
        client_ask_admission(c);
    else
        client_on_admission(c, true);
}

static struct presence presence_of(const struct client *c)
{
    static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    const struct addr *from = &c->endpoint.stream->peer;
    struct presence p = {.port = from->port};
    if (from->family == 4) {
        memcpy(p.ip, v4_prefix, sizeof(v4_prefix));
        memcpy(p.ip + sizeof(v4_prefix), from->ip, 4);
    } else {
        memcpy(p.ip, from->ip, sizeof(p.ip));
    }
    p.flags = (uint8_t)((c->is_mesh ? DERP_PRESENT_MESH_PEER : 0) | (c->is_prober ? DERP_PRESENT_PROBER : 0) |
                        (c->is_not_ideal ? DERP_PRESENT_NOT_IDEAL : 0));
    if (p.flags == 0)
        p.flags = DERP_PRESENT_REGULAR;
    return p;
}

void client_on_admission(struct client *c, bool is_allowed)
{
    if (c->phase == CLIENT_ACTIVE && !is_allowed &&
        !c->worker->relay->ops.is_open) { /* the answer to relay_ask_again */
        client_close(c, COUNT_CLOSED_REVOKED, false);
        return;
    }
    if (c->phase != CLIENT_ADMISSION)
        return;
    c->is_guest = !is_allowed;
    if (!is_allowed && !c->worker->relay->ops.is_open) {
        client_reject(c, COUNT_CLOSED_NOT_ADMITTED, "not admitted", DERP_CLIENT_INFO);
        return;
    }
    if (!places_enter(c)) {
        client_reject(c, COUNT_CLOSED_LIMIT, "no place for a client that has logged in", DERP_CLIENT_INFO);
        return;
    }
    c->phase = CLIENT_JOINING;
    struct presence presence = presence_of(c);
    c->directory = directory_add(c->worker->relay, &c->key, c->worker->index, c->id, &presence);
}

void client_put_off(struct client *c)
{
    if (c->phase == CLIENT_ADMISSION)
        client_reject(c, COUNT_CLOSED_UNDECIDED, "whether it may come in cannot be decided now", DERP_CLIENT_INFO);
}

static void send_server_info(struct client *c)
{
    const struct relay_opts *opts = &c->worker->relay->opts;
    struct derp_server_info info = {.version = DERP_VERSION};
    if (opts->client_rate_bytes > 0 && !c->is_mesh) {
        info.bucket_bytes_per_s = opts->client_rate_bytes;
        info.bucket_burst_bytes = opts->client_burst_bytes;
    }
    struct buf frame = frame_pool_take(&c->worker->frames.pool);
    uint8_t nonce[BOX_NONCE_BYTES];
    rng_bytes(nonce, sizeof(nonce));
    if (derp_append_server_info(&frame, &c->worker->relay->key, &c->key, nonce, &info) == RC_OK)
        client_queue_control(c, DERP_SERVER_INFO, buf_at(&frame) + DERP_HEADER_BYTES,
                             buf_len(&frame) - DERP_HEADER_BYTES);
    frame_pool_give(&c->worker->frames.pool, &frame);
}

/* The terms have random parts, so that clients that came at the same time are not due at the same time. */
static void start_timers(struct client *c, int64_t now_ms)
{
    const struct relay_opts *opts = &c->worker->relay->opts;
    uint32_t chance[2];
    rng_bytes(chance, sizeof(chance));
    c->login_due_ms = 0;
    c->keep_alive_every_ms = opts->keep_alive_ms + chance[0] % 5000;
    c->keep_alive_due_ms = now_ms + c->keep_alive_every_ms;
    if (c->can_ack_pings && opts->ping_ms > 0)
        c->ping_due_ms = now_ms + opts->ping_ms / 2 + (int64_t)chance[1] % (opts->ping_ms / 2 + 1);
    client_timers_schedule(c);
}

static void read_held(struct client *c)
{
    struct buf held = c->held;
    if (held.data == NULL)
        return;
    c->worker->held_bytes -= buf_len(&held);
    c->held = (struct buf){0};
    client_feed(c, buf_at(&held), buf_len(&held));
    frame_pool_give(&c->worker->frames.pool, &held);
}

void client_on_joined(struct client *c)
{
    struct relay *relay = c->worker->relay;
    c->phase = CLIENT_ACTIVE;
    atomic_fetch_add(&relay->client_n, 1);
    metric_add(&relay_gauge_clients, 1);
    metric_add(&relay_gauge_not_ideal, c->is_not_ideal);
    if (c->peer->route.conn_n > 1)
        stats_add(&c->worker->stats, COUNT_DUP_CONNS, 1);
    send_server_info(c);
    start_timers(c, now_of(c));
    read_held(c);
    if (c->phase != CLIENT_CLOSED)
        stream_pause(c->endpoint.stream, false);
    rate_check(c);
}

/* --- Timers --- */

static bool is_due(int64_t due_ms, int64_t now_ms)
{
    return due_ms != 0 && due_ms <= now_ms;
}

/* Pings the client. False: it has not answered too many in a row, and has sent nothing else since. */
static bool send_ping(struct client *c, int64_t now_ms)
{
    if (c->pings_unanswered >= CLIENT_PINGS_UNANSWERED_MAX)
        return false;
    rng_bytes(c->ping, sizeof(c->ping));
    c->ping_sent_ms = now_ms;
    c->ping_due_ms = now_ms + c->worker->relay->opts.ping_ms;
    c->pings_unanswered++;
    if (client_queue_control(c, DERP_PING, c->ping, sizeof(c->ping)))
        stats_add(&c->worker->stats, COUNT_SENT_PING, 1);
    return true;
}

void client_on_timer(struct client *c, int64_t now_ms)
{
    if (is_due(c->login_due_ms, now_ms)) {
        client_close(c, COUNT_CLOSED_LOGIN_TIMEOUT, false);
    } else if (is_due(c->frame_due_ms, now_ms)) {
        client_close(c, COUNT_CLOSED_FRAME_TIMEOUT, false);
    } else if (is_due(c->drain_due_ms, now_ms)) {
        client_close(c, COUNT_CLOSED_DRAINING, true);
    } else if (is_due(c->endpoint.write_due_ms, now_ms) &&
               !frame_endpoint_has_progress(&c->endpoint, now_ms, client_queue_timeout_ms(c))) {
        client_close(c, COUNT_CLOSED_WRITE_TIMEOUT, false);
    } else if (is_due(c->ping_due_ms, now_ms) && !send_ping(c, now_ms)) {
        client_close(c, COUNT_CLOSED_PING_TIMEOUT, false);
    } else {
        if (is_due(c->keep_alive_due_ms, now_ms)) {
            client_queue_control(c, DERP_KEEP_ALIVE, NULL, 0);
            c->keep_alive_due_ms = now_ms + c->keep_alive_every_ms;
        }
        client_timers_schedule(c);
    }
}
