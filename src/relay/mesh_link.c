/* One link to a neighbour: dials, asks for DERP, logs in with the relay's own key and the mesh key, and watches.
 * What it learns goes into the directory; packets for these keys come by mesh_link_forward. What the neighbour sends
 * is treated as hostile, and bounded.
 * src: docs/protocol/derp-stun.md 4.6; tailscale 1.102 derp/derp_client.go, derp/derphttp/mesh_client.go */
#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "relay/mesh_link_internal.h"
#include "relay/relay_internal.h"
#include "tls/tls.h"

LOG_MODULE("mesh");

enum {
    FORWARD_HEAD_BYTES = DERP_HEADER_BYTES + 2 * KEY_BYTES, /* of a ForwardPacket, ahead of the packet */
    CONTROL_QUEUE_BYTES = 64 * 1024,
    /* While more messages wait for the workers, neighbours are not read: each change that they send is a message to
     * each. */
    MESSAGES_MAX = 100 * 1000,
};

static int64_t now_of(const struct mesh_link *l)
{
    return worker_now_ms(l->worker);
}

/* --- Frames out --- */

void mesh_link_forward(struct mesh_link *l, const struct packet *p)
{
    struct relay_worker *w = l->worker;
    enum frame_priority priority = p->is_disco ? FRAME_DISCO : FRAME_DATA;
    struct derp_header h = {DERP_FORWARD_PACKET, (uint32_t)(2 * KEY_BYTES + p->n)};
    worker_touch(w);
    if (l->phase != MESH_UP) {
        stats_drop(&w->stats, DROP_GONE, p->is_disco, p->n);
        return;
    }
    struct buf *b = frame_endpoint_make_room(&l->endpoint, priority, FORWARD_HEAD_BYTES + p->n,
                                             w->relay->opts.mesh_queue_bytes);
    uint8_t *at = buf_reserve(b, FORWARD_HEAD_BYTES + p->n);
    derp_header_build(h.type, h.len, at);
    memcpy(at + DERP_HEADER_BYTES, p->src->b, KEY_BYTES);
    memcpy(at + DERP_HEADER_BYTES + KEY_BYTES, p->dst->b, KEY_BYTES);
    if (p->n > 0)
        memcpy(at + FORWARD_HEAD_BYTES, p->bytes, p->n);
    buf_commit(b, FORWARD_HEAD_BYTES + p->n);
}

static void queue_control(struct mesh_link *l, uint8_t type, const void *payload, size_t n)
{
    struct derp_header h = {type, (uint32_t)n};
    (void)frame_endpoint_queue(&l->endpoint, FRAME_CONTROL, h, payload, CONTROL_QUEUE_BYTES);
}

static void on_flush(void *ctx)
{
    struct mesh_link *l = ctx;
    (void)frame_endpoint_flush(&l->endpoint, now_of(l), MESH_WRITE_MS);
}

static void on_dropped(void *ctx, enum frame_priority priority, size_t bytes, bool is_closing)
{
    struct mesh_link *l = ctx;
    if (priority == FRAME_DISCO || priority == FRAME_DATA)
        stats_drop(&l->worker->stats, is_closing ? DROP_GONE : DROP_HEAD, priority == FRAME_DISCO,
                   bytes - FORWARD_HEAD_BYTES);
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

static void disconnect(struct mesh_link *l)
{
    if (l->phase == MESH_UP)
        atomic_fetch_sub_explicit(&l->worker->relay->mesh.link_n, 1, memory_order_relaxed);
    frame_endpoint_close(&l->endpoint, false);
    forget_keys(l);
    buf_fini(&l->answer);
    l->is_paused = false;
    worker_touch(l->worker);
}

/* Dials again later; or the next address of the name at once, when this one did not answer. */
static void lose(struct mesh_link *l, const char *why)
{
    bool was_up = l->phase == MESH_UP, is_silent = l->phase == MESH_UPGRADING && l->heard_ms == 0;
    log_limited(was_up ? LOG_WARN : LOG_INFO, was_up ? "neighbour lost" : "neighbour not reached",
                LOG_S("neighbour", l->at.host), LOG_S("why", why));
    disconnect(l);
    l->phase = MESH_WAITING;
    l->due_ms = now_of(l) + (is_silent && l->addr_i < l->addr_n ? 1 : MESH_RETRY_MS);
}

/* --- Frames in --- */

static void on_server_key(struct mesh_link *l, const uint8_t *payload, size_t n)
{
    struct relay *relay = l->worker->relay;
    struct derp_client_info info = {.version = DERP_VERSION, .has_mesh_key = true, .can_ack_pings = true};
    uint8_t nonce[BOX_NONCE_BYTES];
    struct buf login = {0};
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
    enum rc rc = derp_append_client_info(&login, &relay->key, l->server_key, nonce, &info);
    secret_wipe(&info, sizeof(info));
    if (rc == RC_OK) {
        l->phase = MESH_LOGIN;
        (void)frame_endpoint_queue_raw(&l->endpoint, FRAME_CONTROL, buf_at(&login), buf_len(&login),
                                       CONTROL_QUEUE_BYTES);
        queue_control(l, DERP_WATCH_CONNS, NULL, 0);
    }
    buf_fini(&login);
    if (rc != RC_OK)
        lose(l, "bad key");
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
    l->addr_i = l->addr_n; /* when the link dials next, the name is looked up again */
    atomic_fetch_add_explicit(&relay->mesh.link_n, 1, memory_order_relaxed);
    log_info("neighbour reached", LOG_S("neighbour", l->at.host));
}

static void on_present(struct mesh_link *l, const uint8_t *payload)
{
    struct relay_worker *w = l->worker;
    node_key key;
    memcpy(key.b, payload, KEY_BYTES);
    /* Every connection of a key comes as a frame, but only the last departure: so connections are not counted. Our
     * own key is this end of the link. */
    if (map_get(&l->keys, key.b, KEY_BYTES) != NULL || keys_equal(key.b, w->relay->public_key))
        return;
    if (l->keys.n >= w->relay->opts.max_mesh_keys) {
        lose(l, "it has too many clients");
        return;
    }
    struct dir_forwarder *f = directory_forward(w->relay, &key, w->index, l->id);
    map_put(&l->keys, directory_forwarder_key(f)->b, KEY_BYTES, f);
}

/* The client has left, or was not connected when a packet for it came. */
static void on_gone(struct mesh_link *l, const uint8_t *payload)
{
    struct dir_forwarder *f = map_remove(&l->keys, payload, KEY_BYTES);
    if (f != NULL)
        directory_unforward(l->worker->relay, &f);
    else
        stats_add(&l->worker->stats, COUNT_FORWARDER_NOT_KNOWN, 1);
}

/* Whether this frame is allowed now, and how much of its payload to read. `*read_max_out` 0: skip it. */
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

static enum frame_verdict on_header(void *ctx, struct derp_header h)
{
    struct mesh_link *l = ctx;
    size_t read_max;
    bool is_accepted = accept_header(l, h, &read_max);
    if (is_accepted && read_max == 0)
        return FRAME_SKIP;
    if (is_accepted && h.len > 0) /* none of those that are read may be empty */
        return FRAME_READ;
    lose(l, "bad frame");
    return FRAME_STOP;
}

static bool on_frame(void *ctx, struct derp_header h, const uint8_t *payload)
{
    struct mesh_link *l = ctx;
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
    return l->endpoint.stream != NULL;
}

/* --- Bytes in --- */

/* The answer of HTTP, and the frames behind it. */
static void feed_answer(struct mesh_link *l, const uint8_t *p, size_t n)
{
    size_t used = 0;
    buf_append(&l->answer, p, n); /* a stream hands over at most a few records at once */
    int rc = mesh_http_answer(buf_at(&l->answer), buf_len(&l->answer), &used);
    if (rc == 0)
        return;
    if (rc < 0) {
        lose(l, rc == RC_UNSUPPORTED ? "it grants no DERP" : "bad answer");
        return;
    }
    struct buf rest = l->answer; /* a frame may end the link */
    l->answer = (struct buf){0};
    buf_consume(&rest, used);
    l->phase = MESH_GREETING;
    frame_reader_feed(&l->endpoint.reader, buf_at(&rest), buf_len(&rest));
    buf_fini(&rest);
}

static void hold_back(struct mesh_link *l)
{
    bool is_behind = atomic_load_explicit(&l->worker->relay->messages.n, memory_order_relaxed) > MESSAGES_MAX;
    if (l->endpoint.stream == NULL || is_behind == l->is_paused)
        return;
    l->is_paused = is_behind;
    stream_pause(l->endpoint.stream, is_behind);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct mesh_link *l = ctx;
    l->heard_ms = now_of(l);
    if (l->phase == MESH_UPGRADING)
        feed_answer(l, p, n);
    else
        frame_reader_feed(&l->endpoint.reader, p, n);
    hold_back(l);
    worker_touch(l->worker);
}

static void on_drained(void *ctx)
{
    struct mesh_link *l = ctx;
    frame_endpoint_mark_dirty(&l->endpoint);
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
    stream_write(l->endpoint.stream, buf_at(&b), buf_len(&b));
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
    struct stream *s = connect_to(l, l->addrs[l->addr_i++]);
    if (s == NULL) {
        lose(l, "no connection");
        return;
    }
    frame_endpoint_open(&l->endpoint, s);
    stream_set_events(s, &events, l);
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
        mesh_resolver_ask(l->worker->relay->mesh.resolver, name, l->worker, l->id);
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

static bool is_draining(const struct mesh_link *l)
{
    return atomic_load_explicit(&l->worker->relay->is_draining, memory_order_relaxed);
}

void mesh_link_tick(struct mesh_link *l, int64_t now_ms)
{
    if (l->phase == MESH_SELF)
        return;
    hold_back(l);
    if (l->phase == MESH_WAITING && now_ms >= l->due_ms && !is_draining(l))
        dial(l);
    else if (l->phase != MESH_WAITING && l->phase != MESH_UP && now_ms >= l->due_ms)
        lose(l, "took too long");
    else if (l->endpoint.write_due_ms != 0 && now_ms >= l->endpoint.write_due_ms &&
             !frame_endpoint_has_progress(&l->endpoint, now_ms, MESH_WRITE_MS))
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

static const struct frame_endpoint_ops ops = {
    .reader = {on_header, on_frame}, .flush = on_flush, .dropped = on_dropped};

struct mesh_link *mesh_link_create(struct relay_worker *w, uint64_t id, const struct relay_neighbour *at)
{
    struct mesh_link *l = MEM_NEW(struct mesh_link);
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    l->worker = w;
    l->id = id;
    mesh_neighbour_copy(&l->at, at);
    map_init(&l->keys, seed);
    frame_endpoint_init(&l->endpoint, &w->frames, &ops, l);
    l->timer = loop_timer_create(w->loop, on_timer, l);
    loop_timer_start(l->timer, 1000, 1000);
    list_push_back(&w->mesh_links, &l->of_worker);
    return l;
}

static void link_free(void *obj)
{
    struct mesh_link *l = obj;
    mesh_neighbour_fini(&l->at);
    map_fini(&l->keys);
    mem_free(l);
}

void mesh_link_destroy(struct mesh_link **at)
{
    struct mesh_link *l = *at;
    *at = NULL;
    disconnect(l);
    list_remove(&l->of_worker);
    loop_timer_destroy(&l->timer);
    loop_free_later(l->worker->loop, l, link_free);
}

struct mesh_link *mesh_link_find(struct relay_worker *w, uint64_t id)
{
    LIST_EACH (it, &w->mesh_links) {
        struct mesh_link *l = LIST_ENTRY(it, struct mesh_link, of_worker);
        if (l->id == id)
            return l;
    }
    return NULL;
}
