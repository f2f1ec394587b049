/* One DERP connection: frames in, login, and what each frame does. */
#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/fits.h"
#include "base/log.h"
#include "base/mem.h"
#include "relay/relay_internal.h"

LOG_MODULE("derp");

static int64_t now_of(const struct client *c)
{
    return worker_now_ms(c->worker);
}

/* --- End --- */

static void client_free(void *obj)
{
    mem_free(obj);
}

static void leave_directory(struct client *c)
{
    if (c->directory == NULL)
        return;
    lanes_post(c->worker); /* what it sent arrives before the news that it has gone */
    directory_remove(c->worker->relay, &c->directory);
}

static void leave_peer(struct client *c)
{
    if (c->peer == NULL)
        return;
    if (c->peer->local == c)
        c->peer->local = NULL;
    list_remove(&c->of_peer);
    worker_peer_tidy(c->worker, c->peer);
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

/* It is in, or out: what it sent ahead waits no more. */
static void forget_held(struct client *c)
{
    c->worker->held_bytes -= c->held_bytes;
    c->held_bytes = 0;
}

void client_close(struct client *c, enum relay_counter why, bool flush)
{
    struct relay_worker *w = c->worker;
    enum client_phase was = c->phase;
    if (was == CLIENT_CLOSED)
        return;
    if (flush && was == CLIENT_ACTIVE)
        client_flush(c);
    c->phase = CLIENT_CLOSED;
    stats_add(&w->stats, why, 1);
    uncount(c, was);
    leave_directory(c);
    gone_forget_client(w, c);
    leave_peer(c);
    client_queues_fini(c);
    if (!list_is_empty(&c->in_watchers))
        metric_add(&relay_gauge_watchers, -1);
    list_remove(&c->in_watchers);
    rate_forget(c);
    forget_held(c);
    worker_buf_give(w, &c->in);
    worker_unschedule(c);
    map_remove(&w->clients, &c->id, sizeof(c->id));
    if (w->clients.n == 0)
        loop_timer_stop(w->timer);
    stream_close(&c->stream, flush);
    worker_touch(w);
    loop_free_later(w->loop, c, client_free);
}

/* A frame that no client of ours sends. */
static void reject(struct client *c, enum relay_counter why, const char *what, uint8_t type)
{
    char from[ADDR_TEXT_CAP];
    addr_format(&c->stream->peer, true, from);
    log_limited(LOG_INFO, what, LOG_S("from", from), LOG_U("frame", type));
    client_close(c, why, false);
}

/* --- Login --- */

void client_ask_admission(struct client *c)
{
    struct relay *relay = c->worker->relay;
    struct relay_msg *m = relay_msg_create(relay, sizeof(struct relay_admission), c->worker, worker_on_admission);
    m->conn_id = c->id;
    relay->ops.admit(relay->ops.ctx, CONTAINER_OF(m, struct relay_admission, m), &c->key, &c->stream->peer);
}

/* A wrong mesh key makes a client like all others, until it asks for what only neighbours may.
 * src: tailscale 1.102 derp/derpserver isMeshPeer */
static bool is_neighbour(const struct relay *relay, const struct derp_client_info *info)
{
    return info->has_mesh_key && !key_is_zero(relay->opts.mesh_key) &&
           secret_equal(info->mesh_key, relay->opts.mesh_key, DERP_MESH_KEY_BYTES);
}

static void on_client_info(struct client *c, const uint8_t *payload, size_t n)
{
    struct derp_client_info info;
    if (derp_client_info_open(&c->worker->relay->key, payload, n, &info) != RC_OK) {
        reject(c, COUNT_CLOSED_BAD_LOGIN, "bad login", DERP_CLIENT_INFO);
        return;
    }
    c->key = info.key;
    c->can_ack_pings = info.can_ack_pings;
    c->is_prober = info.is_prober;
    c->is_mesh = is_neighbour(c->worker->relay, &info);
    secret_wipe(&info, sizeof(info));
    c->peer = worker_peer_make(c->worker, &c->key);
    list_push_back(&c->peer->clients, &c->of_peer);
    c->phase = CLIENT_ADMISSION;
    stream_pause(c->stream, true);
    if (c->worker->relay->ops.admit != NULL && !c->is_mesh) /* a neighbour is no node: nobody else knows it */
        client_ask_admission(c);
    else
        client_admitted(c, true);
}

static struct presence presence_of(const struct client *c)
{
    static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    const struct addr *from = &c->stream->peer;
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

void client_admitted(struct client *c, bool is_allowed)
{
    if (c->phase == CLIENT_ACTIVE && !is_allowed && !c->worker->relay->ops.is_open) { /* asked again */
        client_close(c, COUNT_CLOSED_REVOKED, false);
        return;
    }
    if (c->phase != CLIENT_ADMISSION)
        return;
    c->is_guest = !is_allowed;
    if (!is_allowed && !c->worker->relay->ops.is_open) {
        reject(c, COUNT_CLOSED_NOT_ADMITTED, "not admitted", DERP_CLIENT_INFO);
        return;
    }
    if (!places_enter(c)) {
        reject(c, COUNT_CLOSED_LIMIT, "no place for a client that has logged in", DERP_CLIENT_INFO);
        return;
    }
    c->phase = CLIENT_JOINING;
    struct presence presence = presence_of(c);
    c->directory = directory_add(c->worker->relay, &c->key, c->worker->index, c->id, &presence);
}

static void send_server_info(struct client *c)
{
    const struct relay_opts *opts = &c->worker->relay->opts;
    struct derp_server_info info = {.version = DERP_VERSION};
    if (opts->client_rate_bytes > 0 && !c->is_mesh) {
        info.bucket_bytes_per_s = opts->client_rate_bytes;
        info.bucket_burst_bytes = opts->client_burst_bytes;
    }
    struct buf frame = worker_buf_take(c->worker);
    uint8_t nonce[BOX_NONCE_BYTES];
    rng_bytes(nonce, sizeof(nonce));
    if (derp_append_server_info(&frame, &c->worker->relay->key, &c->key, nonce, &info) == RC_OK)
        client_queue_control(c, DERP_SERVER_INFO, buf_at(&frame) + DERP_HEADER_BYTES,
                             buf_len(&frame) - DERP_HEADER_BYTES);
    worker_buf_give(c->worker, &frame);
}

/* Spread by chance, so that those who came together do not stay together. */
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
    worker_schedule(c->worker, c);
}

static void feed(struct client *c, const uint8_t *p, size_t n);

void client_joined(struct client *c)
{
    struct relay *relay = c->worker->relay;
    c->phase = CLIENT_ACTIVE;
    atomic_fetch_add(&relay->client_n, 1);
    metric_add(&relay_gauge_clients, 1);
    metric_add(&relay_gauge_not_ideal, c->is_not_ideal);
    if (c->peer->conn_n > 1)
        stats_add(&c->worker->stats, COUNT_DUP_CONNS, 1);
    send_server_info(c);
    start_timers(c, now_of(c));
    struct buf held = c->in;
    c->in = (struct buf){0};
    forget_held(c);
    if (buf_len(&held) > 0)
        feed(c, buf_at(&held), buf_len(&held));
    worker_buf_give(c->worker, &held);
    if (c->phase != CLIENT_CLOSED)
        stream_pause(c->stream, false);
    rate_check(c);
}

/* --- Frames of a client that is in --- */

static void on_note_preferred(struct client *c, bool is_home)
{
    if (c->is_home == is_home)
        return;
    c->is_home = is_home;
    metric_add(&relay_gauge_homes, is_home ? 1 : -1);
    if (now_of(c) - c->opened_ms >= RELAY_HOME_SETTLED_MS)
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
    c->rtt_ms = now_of(c) - c->ping_sent_ms;
    c->ping_sent_ms = 0;
    stats_rtt(c->rtt_ms);
    stats_add(&c->worker->stats, COUNT_GOT_PONG, 1);
}

static void on_send_packet(struct client *c, const uint8_t *payload, size_t n)
{
    node_key dst;
    memcpy(dst.b, payload, KEY_BYTES);
    worker_send(c->worker, c, &dst, payload + KEY_BYTES, n - KEY_BYTES);
}

static void on_forward_packet(struct client *c, const uint8_t *payload, size_t n)
{
    node_key src, dst;
    memcpy(src.b, payload, KEY_BYTES);
    memcpy(dst.b, payload + KEY_BYTES, KEY_BYTES);
    worker_forward(c->worker, c, &src, &dst, payload + 2 * KEY_BYTES, n - 2 * KEY_BYTES);
}

static void on_close_peer(struct client *c, const uint8_t *payload)
{
    node_key key;
    memcpy(key.b, payload, KEY_BYTES);
    struct peer *p = worker_peer_get(c->worker, &key);
    if (p != NULL && p->conn_id != 0)
        relay_close_peer(c->worker->relay, &key);
}

/* What only neighbours may send. */
static void on_mesh_frame(struct client *c, uint8_t type, const uint8_t *payload, size_t n)
{
    if (!c->is_mesh) {
        reject(c, COUNT_CLOSED_NO_MESH_RIGHT, "frame of a mesh from a client", type);
        return;
    }
    switch (type) {
    case DERP_FORWARD_PACKET: on_forward_packet(c, payload, n); break;
    case DERP_WATCH_CONNS: watch_start(c); break;
    case DERP_CLOSE_PEER: on_close_peer(c, payload); break;
    }
}

/* The header has passed derp_header_check. */
static void on_frame(struct client *c, uint8_t type, const uint8_t *payload, size_t n)
{
    /* An answer to our ping is no sign that the device at this end is the one in use. */
    if (c->peer->conn_n > 1 && c->peer->local != c && !c->is_claiming && type != DERP_PONG) {
        c->is_claiming = true; /* until the directory says what came of it */
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

/* Decides by the header alone. False: nothing to collect, the frame is skipped or the connection closed. */
static bool accept_header(struct client *c, struct derp_header h)
{
    enum rc rc = derp_header_check(h, c->phase == CLIENT_LOGIN);
    if (rc == RC_OK)
        return true;
    if (rc == RC_UNSUPPORTED) {
        c->skip = h.len;
        rate_charge(c, h.len);
        stats_add(&c->worker->stats, COUNT_UNKNOWN_FRAMES, h.type != DERP_PONG);
        return false;
    }
    reject(c, c->phase == CLIENT_LOGIN ? COUNT_CLOSED_BAD_LOGIN : COUNT_CLOSED_BAD_FRAME, "bad frame", h.type);
    return false;
}

static void dispatch(struct client *c, struct derp_header h, const uint8_t *payload)
{
    c->frame_due_ms = 0;
    rate_charge(c, h.len);
    if (c->phase == CLIENT_LOGIN)
        on_client_info(c, payload, h.len);
    else
        on_frame(c, h.type, payload, h.len);
}

static void stash(struct client *c, const uint8_t *p, size_t n)
{
    if (c->in.data == NULL)
        c->in = worker_buf_take(c->worker);
    buf_append(&c->in, p, n);
}

static void dispatch_stashed(struct client *c)
{
    struct buf frame = c->in; /* the handler may put other bytes there */
    c->in = (struct buf){0};
    dispatch(c, derp_header_parse(buf_at(&frame)), buf_at(&frame) + DERP_HEADER_BYTES);
    worker_buf_give(c->worker, &frame);
}

static void on_stashed_header(struct client *c)
{
    struct derp_header h = derp_header_parse(buf_at(&c->in));
    if (!accept_header(c, h))
        worker_buf_give(c->worker, &c->in);
    else if (h.len == 0)
        dispatch_stashed(c);
}

/* Goes on with a frame that came in part; once its header is there it has been accepted. Returns the bytes used. */
static size_t add_to_stash(struct client *c, const uint8_t *p, size_t n)
{
    size_t have = buf_len(&c->in);
    bool has_header = have >= DERP_HEADER_BYTES;
    size_t want = DERP_HEADER_BYTES + (has_header ? derp_header_parse(buf_at(&c->in)).len : 0);
    size_t used = want - have < n ? want - have : n;
    buf_append(&c->in, p, used);
    if (have + used < want)
        return used;
    if (has_header)
        dispatch_stashed(c);
    else
        on_stashed_header(c);
    return used;
}

/* A frame begins at `p`; what is whole is handled in place. Returns the bytes used. */
static size_t begin_frame(struct client *c, const uint8_t *p, size_t n)
{
    if (n < DERP_HEADER_BYTES) {
        stash(c, p, n);
        return n;
    }
    struct derp_header h = derp_header_parse(p);
    if (!accept_header(c, h))
        return DERP_HEADER_BYTES;
    if (n - DERP_HEADER_BYTES < h.len) {
        stash(c, p, n);
        return n;
    }
    dispatch(c, h, p + DERP_HEADER_BYTES);
    return DERP_HEADER_BYTES + h.len;
}

static size_t skip_some(struct client *c, size_t n)
{
    size_t used = c->skip < n ? c->skip : n;
    c->skip -= used;
    if (c->skip == 0)
        c->frame_due_ms = 0;
    return used;
}

/* What came ahead of admission waits. */
static void hold(struct client *c, const uint8_t *p, size_t n)
{
    struct relay_worker *w = c->worker;
    if (!fits(c->held_bytes, n, RELAY_HELD_MAX_BYTES) || !fits(w->held_bytes, n, RELAY_HELD_ALL_MAX_BYTES)) {
        reject(c, COUNT_CLOSED_BAD_LOGIN, "too much before admission", 0);
        return;
    }
    c->held_bytes += (uint32_t)n;
    w->held_bytes += n;
    stash(c, p, n);
}

static void feed(struct client *c, const uint8_t *p, size_t n)
{
    while (n > 0 && (c->phase == CLIENT_LOGIN || c->phase == CLIENT_ACTIVE)) {
        size_t used;
        if (c->skip > 0)
            used = skip_some(c, n);
        else if (buf_len(&c->in) > 0)
            used = add_to_stash(c, p, n);
        else
            used = begin_frame(c, p, n);
        p += used;
        n -= used;
    }
    if (n > 0 && c->phase != CLIENT_CLOSED)
        hold(c, p, n);
}

void client_watch_frame(struct client *c)
{
    bool is_partial = c->phase == CLIENT_ACTIVE && (buf_len(&c->in) > 0 || c->skip > 0);
    if (!is_partial || c->frame_due_ms != 0)
        return;
    c->frame_due_ms = now_of(c) + RELAY_FRAME_TIMEOUT_MS;
    worker_schedule(c->worker, c);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct client *c = ctx;
    c->pings_unanswered = 0;
    feed(c, p, n);
    worker_touch(c->worker);
    client_watch_frame(c);
    rate_check(c);
}

static void on_drained(void *ctx)
{
    struct client *c = ctx;
    if (list_is_empty(&c->in_dirty))
        list_push_back(&c->worker->dirty, &c->in_dirty);
    worker_touch(c->worker);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    client_close(ctx, COUNT_CLOSED_PEER, false);
}

void client_create(struct relay_worker *w, struct stream *s, const struct budget_place *place, const void *leftover,
                   size_t leftover_len, bool is_not_ideal)
{
    static const struct stream_events events = {on_data, on_drained, on_closed};
    struct client *c = MEM_NEW(struct client);
    c->worker = w;
    c->stream = s;
    c->id = (uint64_t)w->index << 48 | ++w->next_id;
    c->opened_ms = now_of(c);
    c->rtt_ms = -1;
    c->is_not_ideal = is_not_ideal;
    c->place = *place;
    list_push_back(&w->logins, &c->in_logins);
    list_init(&c->of_peer);
    list_init(&c->in_wheel);
    list_init(&c->in_dirty);
    list_init(&c->in_watchers);
    list_init(&c->links);
    map_put(&w->clients, &c->id, sizeof(c->id), c);
    if (w->clients.n == 1)
        loop_timer_start(w->timer, 1000, 1000);
    atomic_fetch_add(&w->relay->conn_n, 1);
    metric_add(&relay_gauge_connections, 1);
    stats_add(&w->stats, COUNT_ACCEPTS, 1);
    c->login_due_ms = c->opened_ms + w->relay->opts.login_timeout_ms;
    worker_schedule(w, c);
    stream_set_events(s, &events, c);
    struct buf hello = worker_buf_take(w);
    derp_append_server_key(&hello, w->relay->public_key);
    stream_write(s, buf_at(&hello), buf_len(&hello));
    worker_buf_give(w, &hello);
    if (leftover_len > 0)
        on_data(c, leftover, leftover_len);
}

/* --- Timers --- */

int64_t client_due_ms(const struct client *c)
{
    const int64_t due[] = {c->login_due_ms, c->frame_due_ms, c->keep_alive_due_ms,
                           c->ping_due_ms,  c->write_due_ms, c->drain_due_ms};
    int64_t first = 0;
    for (size_t i = 0; i < ARRAY_LEN(due); i++)
        if (due[i] != 0 && (first == 0 || due[i] < first))
            first = due[i];
    return first;
}

static bool is_due(int64_t due_ms, int64_t now_ms)
{
    return due_ms != 0 && due_ms <= now_ms;
}

/* False: nothing of what waited has gone since the last look. */
static bool check_progress(struct client *c, int64_t now_ms)
{
    size_t waiting = stream_queued(c->stream);
    int64_t gone_bytes = c->written_bytes - (int64_t)waiting;
    if (waiting > 0 && gone_bytes <= c->progress_bytes)
        return false;
    c->progress_bytes = gone_bytes;
    c->write_due_ms = waiting > 0 ? now_ms + client_write_timeout_ms(c) : 0;
    return true;
}

/* False: too many in a row were not answered, nor did anything else come. */
static bool send_ping(struct client *c, int64_t now_ms)
{
    if (c->pings_unanswered >= RELAY_PINGS_UNANSWERED_MAX)
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
    } else if (is_due(c->write_due_ms, now_ms) && !check_progress(c, now_ms)) {
        client_close(c, COUNT_CLOSED_WRITE_TIMEOUT, false);
    } else if (is_due(c->ping_due_ms, now_ms) && !send_ping(c, now_ms)) {
        client_close(c, COUNT_CLOSED_PING_TIMEOUT, false);
    } else {
        if (is_due(c->keep_alive_due_ms, now_ms)) {
            client_queue_control(c, DERP_KEEP_ALIVE, NULL, 0);
            c->keep_alive_due_ms = now_ms + c->keep_alive_every_ms;
        }
        worker_schedule(c->worker, c);
    }
}
