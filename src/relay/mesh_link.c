/* One link to a neighbour: dials, asks for DERP, logs in with the relay's own key and the mesh key, and watches. What it
 * learns goes into the directory; packets for these keys come by mesh_link_forward. What the neighbour sends is hostile
 * until it has shown the certificate, and bounded afterwards.
 * src: docs/protocol/derp-stun.md 4.6; tailscale 1.102 derp/derp_client.go, derp/derphttp/mesh_client.go */
#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/fits.h"
#include "base/log.h"
#include "base/mem.h"
#include "relay/mesh_link_internal.h"
#include "tls/tls.h"

LOG_MODULE("mesh");

/* What the workers may have before them, above which a neighbour is not read: each of its changes is a message to each. */
enum { MESSAGES_MAX = 100 * 1000 };

static int64_t now_of(const struct mesh_link *l)
{
    return worker_now_ms(l->worker);
}

/* --- Packets out --- */

static void schedule(struct mesh_link *l)
{
    loop_defer(l->worker->loop, &l->task);
}

static size_t frame_len_at(const uint8_t *p)
{
    return DERP_HEADER_BYTES + derp_header_parse(p).len;
}

static void drop_first(struct mesh_link *l, unsigned queue, enum drop_reason reason)
{
    struct buf *b = &l->out[queue];
    size_t n = frame_len_at(buf_at(b));
    stats_drop(&l->worker->stats, reason, queue == MESH_QUEUE_DISCO, n - DERP_HEADER_BYTES - 2 * KEY_BYTES);
    buf_consume(b, n);
}

/* A queue near its limit would otherwise be moved down in memory for every packet. */
static void reserve(struct buf *b, size_t n)
{
    if (!fits(b->end, n, b->cap) && buf_len(b) > b->cap / 2)
        buf_reserve(b, b->cap + n);
}

static void append_forward(struct buf *b, const node_key *src, const node_key *dst, const uint8_t *packet, size_t n)
{
    uint8_t *p = buf_reserve(b, DERP_HEADER_BYTES + 2 * KEY_BYTES + n);
    derp_header_build(DERP_FORWARD_PACKET, (uint32_t)(2 * KEY_BYTES + n), p);
    memcpy(p + DERP_HEADER_BYTES, src->b, KEY_BYTES);
    memcpy(p + DERP_HEADER_BYTES + KEY_BYTES, dst->b, KEY_BYTES);
    if (n > 0)
        memcpy(p + DERP_HEADER_BYTES + 2 * KEY_BYTES, packet, n);
    buf_commit(b, DERP_HEADER_BYTES + 2 * KEY_BYTES + n);
}

void mesh_link_forward(struct mesh_link *l, const node_key *src, const node_key *dst, const uint8_t *packet, size_t n)
{
    unsigned queue = derp_is_disco(packet, n) ? MESH_QUEUE_DISCO : MESH_QUEUE_DATA;
    struct relay_worker *w = l->worker;
    worker_touch(w);
    if (l->phase != MESH_UP) {
        stats_drop(&w->stats, DROP_GONE, queue == MESH_QUEUE_DISCO, n);
        return;
    }
    struct buf *b = &l->out[queue];
    size_t frame_len = DERP_HEADER_BYTES + 2 * KEY_BYTES + n;
    while (buf_len(b) > 0 && buf_len(b) + frame_len > w->relay->opts.mesh_queue_bytes)
        drop_first(l, queue, DROP_HEAD);
    reserve(b, frame_len);
    append_forward(b, src, dst, packet, n);
    schedule(l);
}

static void queue_control(struct mesh_link *l, uint8_t type, const void *payload, size_t n)
{
    struct buf *b = &l->out[MESH_QUEUE_CONTROL];
    if (buf_len(b) + n > RELAY_CONTROL_QUEUE_BYTES)
        return;
    derp_append_frame(b, type, payload, n);
    schedule(l);
}

/* The length of the whole frames at the front that fit into `room`, at least one. */
static size_t frames_within(const struct buf *b, size_t room)
{
    size_t len = 0;
    while (len < buf_len(b)) {
        size_t n = frame_len_at(buf_at(b) + len);
        if (len > 0 && len + n > room)
            break;
        len += n;
    }
    return len;
}

/* False: the stream takes no more for now. */
static bool write_queue(struct mesh_link *l, struct buf *b)
{
    while (buf_len(b) > 0) {
        size_t waiting = stream_queued(l->stream);
        if (waiting > STREAM_HIGH_WATER)
            return false;
        size_t n = frames_within(b, STREAM_HIGH_WATER - waiting);
        l->written_bytes += (int64_t)n;
        stream_write(l->stream, buf_at(b), n);
        buf_consume(b, n);
    }
    buf_reset(b, RELAY_POOL_BUF_MAX_BYTES);
    return true;
}

static void flush(struct loop_task *task)
{
    struct mesh_link *l = CONTAINER_OF(task, struct mesh_link, task);
    if (l->stream == NULL || l->phase < MESH_LOGIN)
        return;
    unsigned queue = 0;
    while (queue < MESH_QUEUE_N && write_queue(l, &l->out[queue]))
        queue++;
    if (l->write_due_ms == 0 && stream_queued(l->stream) > 0) {
        l->write_due_ms = now_of(l) + MESH_WRITE_MS;
        l->progress_bytes = l->written_bytes - (int64_t)stream_queued(l->stream);
    }
}

/* False: nothing of what waited has gone in a term. */
static bool check_progress(struct mesh_link *l, int64_t now_ms)
{
    size_t waiting = stream_queued(l->stream);
    int64_t gone_bytes = l->written_bytes - (int64_t)waiting;
    if (waiting > 0 && gone_bytes <= l->progress_bytes)
        return false;
    l->progress_bytes = gone_bytes;
    l->write_due_ms = waiting > 0 ? now_ms + MESH_WRITE_MS : 0;
    return true;
}

/* --- Ends --- */

static void forget_keys(struct mesh_link *l)
{
    struct dir_forwarder *f;
    size_t pos = 0;
    struct map keys = l->keys;
    map_init(&l->keys, (const uint8_t *)keys.seed);
    while ((f = map_next(&keys, &pos)) != NULL)
        directory_unforward(l->worker->relay, &f);
    map_fini(&keys);
}

static void drop_queues(struct mesh_link *l)
{
    buf_clear(&l->out[MESH_QUEUE_CONTROL]);
    for (unsigned queue = MESH_QUEUE_DISCO; queue < MESH_QUEUE_N; queue++)
        while (buf_len(&l->out[queue]) > 0)
            drop_first(l, queue, DROP_GONE);
    worker_touch(l->worker);
}

static void disconnect(struct mesh_link *l)
{
    if (l->phase == MESH_UP)
        atomic_fetch_sub_explicit(&l->worker->relay->mesh.link_n, 1, memory_order_relaxed);
    stream_close(&l->stream, false);
    forget_keys(l);
    drop_queues(l);
    buf_reset(&l->in, 0);
    l->skip = 0;
    l->is_paused = false;
    l->write_due_ms = 0;
    l->written_bytes = l->progress_bytes = 0;
}

/* Dials again later; the next of the name's addresses at once, when this one gave nothing. */
static void lose(struct mesh_link *l, const char *why)
{
    bool was_up = l->phase == MESH_UP, is_deaf = l->phase == MESH_UPGRADING && l->heard_ms == 0;
    log_limited(was_up ? LOG_WARN : LOG_INFO, was_up ? "neighbour lost" : "neighbour not reached",
                LOG_S("neighbour", l->at.host), LOG_S("why", why));
    disconnect(l);
    l->phase = MESH_WAITING;
    l->due_ms = now_of(l) + (is_deaf && l->addr_i < l->addr_n ? 1 : MESH_RETRY_MS);
}

/* --- What the neighbour tells --- */

static void on_server_key(struct mesh_link *l, const uint8_t *payload, size_t n)
{
    struct relay *relay = l->worker->relay;
    struct derp_client_info info = {.version = DERP_VERSION, .has_mesh_key = true, .can_ack_pings = true};
    uint8_t nonce[BOX_NONCE_BYTES];
    if (derp_server_key_parse(payload, n, l->server_key) != RC_OK) {
        lose(l, "no key");
        return;
    }
    if (keys_equal(l->server_key, relay->public_key)) {
        log_info("a neighbour is this relay itself", LOG_S("neighbour", l->at.host));
        disconnect(l);
        l->phase = MESH_SELF;
        return;
    }
    memcpy(info.key.b, relay->public_key, KEY_BYTES);
    memcpy(info.mesh_key, relay->opts.mesh_key, DERP_MESH_KEY_BYTES);
    rng_bytes(nonce, sizeof(nonce));
    enum rc rc = derp_append_client_info(&l->out[MESH_QUEUE_CONTROL], &relay->key, l->server_key, nonce, &info);
    secret_wipe(&info, sizeof(info));
    if (rc != RC_OK) {
        lose(l, "bad key");
        return;
    }
    l->phase = MESH_LOGIN;
    queue_control(l, DERP_WATCH_CONNS, NULL, 0);
}

static void on_server_info(struct mesh_link *l, const uint8_t *payload, size_t n)
{
    struct relay *relay = l->worker->relay;
    struct derp_server_info info;
    if (derp_server_info_open(&relay->key, l->server_key, payload, n, &info) != RC_OK) {
        lose(l, "bad welcome");
        return;
    }
    l->phase = MESH_UP;
    l->addr_i = l->addr_n; /* the next time the name is asked again */
    atomic_fetch_add_explicit(&relay->mesh.link_n, 1, memory_order_relaxed);
    log_info("neighbour reached", LOG_S("neighbour", l->at.host));
}

static void on_present(struct mesh_link *l, const uint8_t *payload)
{
    struct relay_worker *w = l->worker;
    node_key key;
    memcpy(key.b, payload, KEY_BYTES);
    /* It tells each connection and only the last departure: more than "it is there" is not to be counted. Our own key is
     * this link's other end. */
    if (map_get(&l->keys, key.b, KEY_BYTES) != NULL || keys_equal(key.b, w->relay->public_key))
        return;
    if (l->keys.n >= w->relay->opts.max_mesh_keys) {
        lose(l, "it has too many clients");
        return;
    }
    struct dir_forwarder *f = directory_forward(w->relay, &key, w->index, l->id);
    map_put(&l->keys, directory_forwarder_key(f)->b, KEY_BYTES, f);
}

/* For either reason: gone from there, or not there when a packet came. */
static void on_gone(struct mesh_link *l, const uint8_t *payload)
{
    struct dir_forwarder *f = map_remove(&l->keys, payload, KEY_BYTES);
    if (f != NULL)
        directory_unforward(l->worker->relay, &f);
    else
        stats_add(&l->worker->stats, COUNT_FORWARDER_NOT_KNOWN, 1);
}

/* May the header be, and is its payload read? */
static bool accept_header(struct mesh_link *l, struct derp_header h, size_t *read_max_out)
{
    *read_max_out = 0;
    if (h.len > MESH_FRAME_MAX_BYTES)
        return false;
    if (l->phase == MESH_GREETING) {
        *read_max_out = MESH_KEY_FRAME_MAX_BYTES;
        return h.type == DERP_SERVER_KEY && h.len <= MESH_KEY_FRAME_MAX_BYTES;
    }
    if (l->phase == MESH_LOGIN) {
        *read_max_out = MESH_INFO_MAX_BYTES;
        return h.type == DERP_SERVER_INFO && h.len <= MESH_INFO_MAX_BYTES;
    }
    bool is_about_peer = h.type == DERP_PEER_PRESENT || h.type == DERP_PEER_GONE;
    if ((is_about_peer && h.len < KEY_BYTES) || (h.type == DERP_PING && h.len < DERP_PING_BYTES))
        return false;
    if (is_about_peer || h.type == DERP_PING)
        *read_max_out = DERP_PING_MAX_BYTES;
    return h.len <= *read_max_out || *read_max_out == 0;
}

static void dispatch(struct mesh_link *l, struct derp_header h, const uint8_t *payload)
{
    if (l->phase == MESH_GREETING)
        on_server_key(l, payload, h.len);
    else if (l->phase == MESH_LOGIN)
        on_server_info(l, payload, h.len);
    else if (h.type == DERP_PEER_PRESENT)
        on_present(l, payload);
    else if (h.type == DERP_PEER_GONE)
        on_gone(l, payload);
    else if (h.type == DERP_PING)
        queue_control(l, DERP_PONG, payload, DERP_PING_BYTES);
}

/* --- Bytes in --- */

/* The header in `in` is whole: goes on to the payload, or skips it. */
static void on_header(struct mesh_link *l)
{
    struct derp_header h = derp_header_parse(buf_at(&l->in));
    size_t read_max;
    if (!accept_header(l, h, &read_max)) {
        lose(l, "bad frame");
        return;
    }
    if (read_max == 0) {
        buf_clear(&l->in);
        l->skip = h.len;
    } else if (h.len == 0) {
        lose(l, "bad frame"); /* none of those that are read may be empty */
    }
}

static void on_whole_frame(struct mesh_link *l)
{
    struct buf frame = l->in; /* the handler may end the link */
    l->in = (struct buf){0};
    dispatch(l, derp_header_parse(buf_at(&frame)), buf_at(&frame) + DERP_HEADER_BYTES);
    buf_clear(&frame);
    if (l->stream != NULL)
        l->in = frame;
    else
        buf_fini(&frame);
}

static size_t feed_some(struct mesh_link *l, const uint8_t *p, size_t n)
{
    size_t have = buf_len(&l->in), used;
    if (l->skip > 0) {
        used = l->skip < n ? l->skip : n;
        l->skip -= used;
        return used;
    }
    bool has_header = have >= DERP_HEADER_BYTES;
    size_t want = has_header ? frame_len_at(buf_at(&l->in)) : DERP_HEADER_BYTES;
    used = want - have < n ? want - have : n;
    buf_append(&l->in, p, used);
    if (have + used < want)
        return used;
    if (has_header)
        on_whole_frame(l);
    else
        on_header(l);
    return used;
}

static void feed(struct mesh_link *l, const uint8_t *p, size_t n)
{
    while (n > 0 && l->stream != NULL) {
        size_t used = feed_some(l, p, n);
        p += used;
        n -= used;
    }
}

/* The answer of HTTP, and what came behind it. */
static void feed_answer(struct mesh_link *l, const uint8_t *p, size_t n)
{
    size_t used = 0;
    buf_append(&l->in, p, n); /* a stream hands over at most a few records at once */
    int rc = mesh_http_answer(buf_at(&l->in), buf_len(&l->in), &used);
    if (rc == 0)
        return;
    if (rc < 0) {
        lose(l, rc == RC_UNSUPPORTED ? "it grants no DERP" : "bad answer");
        return;
    }
    struct buf rest = l->in;
    l->in = (struct buf){0};
    buf_consume(&rest, used);
    l->phase = MESH_GREETING;
    feed(l, buf_at(&rest), buf_len(&rest));
    buf_fini(&rest);
}

static void hold_back(struct mesh_link *l)
{
    bool is_behind = atomic_load_explicit(&l->worker->relay->message_n, memory_order_relaxed) > MESSAGES_MAX;
    if (l->stream == NULL || is_behind == l->is_paused)
        return;
    l->is_paused = is_behind;
    stream_pause(l->stream, is_behind);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct mesh_link *l = ctx;
    l->heard_ms = now_of(l);
    if (l->phase == MESH_UPGRADING)
        feed_answer(l, p, n);
    else
        feed(l, p, n);
    hold_back(l);
    worker_touch(l->worker);
}

static void on_drained(void *ctx)
{
    schedule(ctx);
}

static void on_closed(void *ctx, enum rc why)
{
    lose(ctx, rc_text(why));
}

/* --- Dialling --- */

static void write_request(struct mesh_link *l)
{
    bool is_v6 = strchr(l->at.host, ':') != NULL;
    struct buf b = {0};
    buf_printf(&b, is_v6 ? "GET /derp HTTP/1.1\r\nHost: [%s]" : "GET /derp HTTP/1.1\r\nHost: %s", l->at.host);
    if (l->at.port != 0 && l->at.port != 443)
        buf_printf(&b, ":%u", l->at.port);
    buf_append_c(&b, "\r\nUser-Agent: fullscale/" FULLSCALE_VERSION "\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n");
    stream_write(l->stream, buf_at(&b), buf_len(&b));
    buf_fini(&b);
}

static struct stream *shake_hands(struct mesh_link *l, struct stream *raw)
{
    struct addr ip;
    bool has_pin = l->at.fingerprint[0] != '\0';
    struct tls_client_opts opts = {
        .server_name = addr_parse_ip(str_c(l->at.host), &ip) == RC_OK ? NULL : l->at.host,
        .fingerprint = has_pin ? l->at.fingerprint : NULL,
        .verify_host = has_pin ? NULL : l->at.host,
    };
    return tls_client_create(raw, &opts);
}

static struct stream *connect_to(struct mesh_link *l, struct addr to)
{
    const struct mesh *mesh = &l->worker->relay->mesh;
    struct stream *s = NULL;
    if (mesh->test_dial != NULL)
        return mesh->test_dial(mesh->test_dial_ctx, l->worker->loop, &l->at);
    to.port = l->at.port != 0 ? l->at.port : 443;
    if (tcp_connect(l->worker->loop, &to, &s) != RC_OK)
        return NULL;
    return l->at.is_plain ? s : shake_hands(l, s);
}

static void connect_next(struct mesh_link *l)
{
    static const struct stream_events events = {on_data, on_drained, on_closed};
    l->phase = MESH_UPGRADING;
    l->heard_ms = 0;
    l->stream = connect_to(l, l->addrs[l->addr_i++]);
    if (l->stream == NULL) {
        lose(l, "no connection");
        return;
    }
    stream_set_events(l->stream, &events, l);
    write_request(l);
}

void mesh_link_resolved(struct mesh_link *l, const struct addr *addrs, unsigned n)
{
    if (l->phase != MESH_RESOLVING)
        return;
    memcpy(l->addrs, addrs, n * sizeof(*addrs));
    l->addr_n = n;
    l->addr_i = 0;
    if (n > 0)
        connect_next(l);
    else
        lose(l, "no such name");
}

static void dial(struct mesh_link *l)
{
    const char *name = l->at.dial[0] != '\0' ? l->at.dial : l->at.host;
    struct addr literal;
    l->due_ms = now_of(l) + MESH_LOGIN_MS;
    if (l->addr_i < l->addr_n) {
        connect_next(l);
        return;
    }
    l->phase = MESH_RESOLVING;
    if (addr_parse_ip(str_c(name), &literal) == RC_OK)
        mesh_link_resolved(l, &literal, 1);
    else
        mesh_resolve(l, name);
}

/* --- Time --- */

static void tick_up(struct mesh_link *l, int64_t now_ms)
{
    if (now_ms - l->heard_ms >= MESH_SILENCE_MS && !l->is_paused) {
        lose(l, "silence");
    } else if (now_ms - l->heard_ms >= MESH_PING_MS && now_ms - l->pinged_ms >= MESH_PING_MS) {
        uint8_t id[DERP_PING_BYTES];
        rng_bytes(id, sizeof(id));
        l->pinged_ms = now_ms;
        queue_control(l, DERP_PING, id, sizeof(id));
    }
}

void mesh_link_tick(struct mesh_link *l, int64_t now_ms)
{
    if (l->phase == MESH_SELF)
        return;
    hold_back(l);
    if (l->phase == MESH_WAITING && now_ms >= l->due_ms && !relay_is_draining(l->worker->relay))
        dial(l);
    else if (l->phase != MESH_WAITING && l->phase != MESH_UP && now_ms >= l->due_ms)
        lose(l, "took too long");
    else if (l->write_due_ms != 0 && now_ms >= l->write_due_ms && !check_progress(l, now_ms))
        lose(l, "it does not read");
    else if (l->phase == MESH_UP)
        tick_up(l, now_ms);
}

static void on_timer(void *ctx)
{
    struct mesh_link *l = ctx;
    mesh_link_tick(l, now_of(l));
}

/* --- Life --- */

struct mesh_link *mesh_link_create(struct relay_worker *w, uint64_t id, const struct relay_neighbour *at)
{
    struct mesh_link *l = MEM_NEW(struct mesh_link);
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    l->worker = w;
    l->id = id;
    mesh_neighbour_copy(&l->at, at);
    map_init(&l->keys, seed);
    l->task.run = flush;
    l->timer = loop_timer_create(w->loop, on_timer, l);
    loop_timer_start(l->timer, 1000, 1000);
    list_push_back(&w->mesh_links, &l->entry);
    return l;
}

static void link_free(void *obj)
{
    struct mesh_link *l = obj;
    for (unsigned i = 0; i < MESH_QUEUE_N; i++)
        buf_fini(&l->out[i]);
    mesh_neighbour_fini(&l->at);
    map_fini(&l->keys);
    mem_free(l);
}

void mesh_link_destroy(struct mesh_link **at)
{
    struct mesh_link *l = *at;
    *at = NULL;
    disconnect(l);
    list_remove(&l->entry);
    loop_defer_cancel(&l->task);
    loop_timer_destroy(&l->timer);
    loop_free_later(l->worker->loop, l, link_free);
}

struct mesh_link *mesh_link_find(struct relay_worker *w, uint64_t id)
{
    LIST_EACH (it, &w->mesh_links) {
        struct mesh_link *l = LIST_ENTRY(it, struct mesh_link, entry);
        if (l->id == id)
            return l;
    }
    return NULL;
}
