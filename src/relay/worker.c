#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "relay/relay_internal.h"

static void on_timer(void *ctx)
{
    worker_tick(ctx);
}

static void on_rate_timer(void *ctx)
{
    rate_tick(ctx);
}

static void on_turn_end(struct loop_task *task)
{
    struct relay_worker *w = CONTAINER_OF(task, struct relay_worker, turn_end);
    lanes_post(w);
    while (!list_is_empty(&w->dirty)) {
        struct client *c = LIST_ENTRY(w->dirty.next, struct client, in_dirty);
        list_remove(&c->in_dirty);
        client_flush(c);
    }
    stats_publish(&w->stats);
}

void worker_init(struct relay_worker *w, struct relay *relay, struct loop *loop, unsigned index)
{
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    w->relay = relay;
    w->loop = loop;
    w->index = index;
    w->turn_end.run = on_turn_end;
    map_init(&w->peers, seed);
    map_init(&w->clients, seed);
    map_init(&w->links, seed);
    list_init(&w->dirty);
    list_init(&w->logins);
    list_init(&w->watchers);
    list_init(&w->mesh_links);
    list_init(&w->batches);
    list_init(&w->held_back);
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->wheel[i]);
    w->lanes = mem_zalloc(relay->worker_n, sizeof(*w->lanes));
    w->wheel_s = loop_now_ms(loop) / 1000;
    w->timer = loop_timer_create(loop, on_timer, w);
    w->rate_timer = loop_timer_create(loop, on_rate_timer, w);
}

/* All clients, in a block that the caller frees: closing one changes the map. */
static struct client **list_clients(const struct relay_worker *w, size_t *n_out)
{
    struct client **all = mem_zalloc(w->clients.n + 1, sizeof(struct client *));
    struct client *c;
    size_t pos = 0;
    *n_out = 0;
    while ((c = map_next(&w->clients, &pos)) != NULL)
        all[(*n_out)++] = c;
    return all;
}

static void free_peers(struct relay_worker *w)
{
    struct peer *p;
    size_t pos = 0;
    while ((p = map_next(&w->peers, &pos)) != NULL)
        mem_free(p);
    map_fini(&w->peers);
}

void worker_fini(struct relay_worker *w)
{
    size_t n;
    mesh_close_links(w);
    struct client **all = list_clients(w, &n);
    for (size_t i = 0; i < n; i++)
        client_close(all[i], COUNT_CLOSED_DRAINING, false);
    mem_free(all);
    stats_publish(&w->stats);
    loop_defer_cancel(&w->turn_end);
    loop_timer_destroy(&w->timer);
    loop_timer_destroy(&w->rate_timer);
    lanes_fini(w);
    for (unsigned i = 0; i < w->pool_n; i++)
        buf_fini(&w->pool[i]);
    free_peers(w);
    map_fini(&w->clients);
    map_fini(&w->links);
}

int64_t worker_now_ms(const struct relay_worker *w)
{
    return loop_now_ms(w->loop) + w->test_skew_ms;
}

void worker_touch(struct relay_worker *w)
{
    loop_defer(w->loop, &w->turn_end);
}

struct buf worker_buf_take(struct relay_worker *w)
{
    return w->pool_n > 0 ? w->pool[--w->pool_n] : (struct buf){0};
}

void worker_buf_give(struct relay_worker *w, struct buf *b)
{
    buf_clear(b);
    if (b->data != NULL && b->cap <= RELAY_POOL_BUF_MAX_BYTES && w->pool_n < RELAY_POOL_BUFS)
        w->pool[w->pool_n++] = *b;
    else
        buf_fini(b);
    *b = (struct buf){0};
}

/* --- Peers --- */

struct peer *worker_peer_get(struct relay_worker *w, const node_key *key)
{
    return map_get(&w->peers, key->b, KEY_BYTES);
}

struct peer *worker_peer_make(struct relay_worker *w, const node_key *key)
{
    struct peer *p = worker_peer_get(w, key);
    if (p != NULL)
        return p;
    p = MEM_NEW(struct peer);
    p->key = *key;
    list_init(&p->clients);
    list_init(&p->links);
    map_put(&w->peers, p->key.b, KEY_BYTES, p);
    return p;
}

void worker_peer_tidy(struct relay_worker *w, struct peer *peer)
{
    if (peer->conn_id != 0 || peer->forward_id != 0 || !list_is_empty(&peer->clients) || !list_is_empty(&peer->links))
        return;
    map_remove(&w->peers, peer->key.b, KEY_BYTES);
    mem_free(peer);
}

/* --- Packets --- */

/* May `c` be told of one more unknown destination? Each reply costs a second, and three may be owed. */
static bool may_reply_not_here(struct client *c, int64_t now_ms)
{
    if (c->not_here_ms < now_ms)
        c->not_here_ms = now_ms;
    if (c->not_here_ms - now_ms > (RELAY_NOT_HERE_BURST - 1) * 1000)
        return false;
    c->not_here_ms += 1000;
    return true;
}

/* Only a disco message is told: the sender looks for a path, and there is none here. */
static void drop_unknown(struct relay_worker *w, struct client *src, const node_key *dst, enum drop_reason reason,
                         bool is_disco, size_t n)
{
    stats_drop(&w->stats, reason, is_disco, n);
    if (is_disco && may_reply_not_here(src, worker_now_ms(w)))
        client_queue_gone(src, dst, DERP_GONE_NOT_HERE);
}

void worker_deliver(struct relay_worker *w, struct client *dst, struct peer *source, const node_key *src,
                    const uint8_t *packet, size_t n)
{
    /* One forwarded by a neighbour may be here before the news of its sender, which come over another connection. */
    gone_remember(w, source != NULL ? source : worker_peer_make(w, src), dst);
    client_queue_packet(dst, src, packet, n, derp_is_disco(packet, n));
}

static void cross(struct relay_worker *w, unsigned to, uint64_t conn_id, const node_key *src, const node_key *dst,
                  const uint8_t *packet, size_t n)
{
    if (lane_append(w, to, conn_id, src, dst, packet, n))
        stats_add(&w->stats, COUNT_PACKETS_CROSSED, 1);
    else
        stats_drop(&w->stats, DROP_LANE, derp_is_disco(packet, n), n);
}

/* To a key with a connection, of whichever worker. */
static void send_here(struct relay_worker *w, struct peer *to, struct peer *source, const node_key *src,
                      const uint8_t *packet, size_t n)
{
    if (to->worker != w->index)
        cross(w, to->worker, to->conn_id, src, NULL, packet, n);
    else if (to->local != NULL)
        worker_deliver(w, to->local, source, src, packet, n);
    else
        stats_drop(&w->stats, DROP_GONE, derp_is_disco(packet, n), n);
}

static void send_to_neighbour(struct relay_worker *w, struct peer *to, const node_key *src, const uint8_t *packet,
                              size_t n)
{
    stats_add(&w->stats, COUNT_FORWARDED_OUT, 1);
    struct mesh_link *link = to->forward_worker == w->index ? mesh_link_find(w, to->forward_id) : NULL;
    if (link != NULL)
        mesh_link_forward(link, src, &to->key, packet, n);
    else if (to->forward_worker != w->index)
        cross(w, to->forward_worker, to->forward_id, src, &to->key, packet, n);
    else
        stats_drop(&w->stats, DROP_GONE, derp_is_disco(packet, n), n);
}

void worker_send(struct relay_worker *w, struct client *src, const node_key *dst, const uint8_t *packet, size_t n)
{
    bool is_disco = derp_is_disco(packet, n);
    stats_add(&w->stats, is_disco ? COUNT_PACKETS_RECEIVED_DISCO : COUNT_PACKETS_RECEIVED_OTHER, 1);
    stats_add(&w->stats, COUNT_BYTES_RECEIVED, (int64_t)n);
    struct peer *to = worker_peer_get(w, dst);
    if (to != NULL && to->conn_id != 0)
        send_here(w, to, src->peer, &src->key, packet, n);
    else if (to != NULL && to->forward_id != 0)
        send_to_neighbour(w, to, &src->key, packet, n);
    else
        drop_unknown(w, src, dst, DROP_UNKNOWN, is_disco, n);
}

void worker_forward(struct relay_worker *w, struct client *neighbour, const node_key *src, const node_key *dst,
                    const uint8_t *packet, size_t n)
{
    stats_add(&w->stats, COUNT_FORWARDED_IN, 1);
    struct peer *to = worker_peer_get(w, dst);
    if (to != NULL && to->conn_id != 0)
        send_here(w, to, worker_peer_get(w, src), src, packet, n);
    else
        drop_unknown(w, neighbour, dst, DROP_FORWARD, derp_is_disco(packet, n), n);
}

/* --- Timers: a wheel of seconds, where each client waits once for its earliest due time --- */

void worker_unschedule(struct client *c)
{
    list_remove(&c->in_wheel);
}

void worker_schedule(struct relay_worker *w, struct client *c)
{
    int64_t due_ms = client_due_ms(c);
    list_remove(&c->in_wheel);
    if (due_ms == 0)
        return;
    int64_t s = (due_ms + 999) / 1000;
    if (s <= w->wheel_s)
        s = w->wheel_s + 1;
    if (s >= w->wheel_s + WHEEL_SLOTS)
        s = w->wheel_s + WHEEL_SLOTS - 1; /* looked at then, and put off again */
    list_push_back(&w->wheel[s % WHEEL_SLOTS], &c->in_wheel);
}

void worker_tick(struct relay_worker *w)
{
    int64_t now_ms = worker_now_ms(w);
    int64_t now_s = now_ms / 1000;
    if (now_s - w->wheel_s > WHEEL_SLOTS)
        w->wheel_s = now_s - WHEEL_SLOTS; /* once round is all of them */
    while (w->wheel_s < now_s) {
        struct list *slot = &w->wheel[++w->wheel_s % WHEEL_SLOTS];
        while (!list_is_empty(slot)) {
            struct client *c = LIST_ENTRY(slot->next, struct client, in_wheel);
            list_remove(&c->in_wheel);
            client_on_timer(c, now_ms);
        }
    }
    worker_touch(w);
}

/* --- Messages --- */

static void tell_health(struct relay_worker *w, struct peer *p, const struct relay_msg *m)
{
    static const char duplicate[] = "duplicate node key: another device with the same state is connected";
    struct client *newest = p->local;
    (void)w;
    if (m->health == HEALTH_DUPLICATE_TO_NEW && newest != NULL && newest->phase == CLIENT_ACTIVE)
        client_queue_control(newest, DERP_HEALTH, duplicate, sizeof(duplicate) - 1);
    if (m->health == HEALTH_SAME || m->health == HEALTH_DUPLICATE_TO_NEW)
        return;
    LIST_EACH (it, &p->clients) {
        struct client *c = LIST_ENTRY(it, struct client, of_peer);
        if (c->phase == CLIENT_ACTIVE)
            client_queue_control(c, DERP_HEALTH, duplicate, m->health == HEALTH_DUPLICATE ? sizeof(duplicate) - 1 : 0);
    }
}

/* A connection of this worker, if it is still there. */
static struct client *client_find(const struct relay_worker *w, uint64_t conn_id)
{
    return map_get(&w->clients, &conn_id, sizeof(conn_id));
}

/* However many connections the key has, two of them change: the one that was active, and the one that is. */
static struct client *change_active(struct relay_worker *w, struct peer *p, const struct relay_msg *m)
{
    if (p->local != NULL)
        p->local->is_claiming = false;
    p->worker = m->worker;
    p->conn_id = m->conn_id;
    p->conn_n = m->conn_n;
    p->local = m->conn_id != 0 && m->worker == w->index ? client_find(w, m->conn_id) : NULL;
    if (p->local == NULL)
        return NULL;
    p->local->is_claiming = false;
    return p->local->phase == CLIENT_JOINING ? p->local : NULL;
}

/* The directory's entry of a key has changed. */
void worker_on_route(struct relay_worker *w, struct relay_msg *m)
{
    watch_tell(w, m); /* may close watchers, and free peers with them */
    bool is_known = m->conn_n > 0 || m->forward_id != 0;
    struct peer *p = is_known ? worker_peer_make(w, &m->key) : worker_peer_get(w, &m->key);
    if (p == NULL)
        return;
    p->forward_worker = m->forward_worker;
    p->forward_id = m->forward_id;
    struct client *joining = change_active(w, p, m);
    if (!is_known)
        gone_announce(w, p);
    if (joining != NULL)
        client_joined(joining); /* may close it; `p` stays, it has a connection still in the directory's view */
    tell_health(w, p, m);
    worker_peer_tidy(w, p);
    worker_touch(w);
}

void worker_on_close_key(struct relay_worker *w, struct relay_msg *m)
{
    struct peer *p = worker_peer_get(w, &m->key);
    enum relay_counter why = m->is_by_mesh ? COUNT_CLOSED_BY_MESH : COUNT_CLOSED_REVOKED;
    if (p == NULL)
        return;
    LIST_EACH_SAFE (it, &p->clients) {
        bool is_last = it_next == &p->clients; /* then closing it may free the peer, and the list's head with it */
        client_close(LIST_ENTRY(it, struct client, of_peer), why, false);
        if (is_last)
            break;
    }
    worker_touch(w);
}

void worker_on_evict(struct relay_worker *w, struct relay_msg *m)
{
    struct client *c = client_find(w, m->conn_id);
    if (c != NULL)
        client_close(c, COUNT_CLOSED_KEY_LIMIT, false);
    worker_touch(w);
}

void worker_on_admission(struct relay_worker *w, struct relay_msg *m)
{
    struct client *c = client_find(w, m->conn_id);
    if (c != NULL)
        client_admitted(c, m->is_allowed);
    worker_touch(w);
}

void worker_on_ask_again(struct relay_worker *w, struct relay_msg *m)
{
    size_t n;
    struct client **all = list_clients(w, &n);
    (void)m;
    for (size_t i = 0; i < n; i++) {
        if (all[i]->phase == CLIENT_ACTIVE && !all[i]->is_mesh)
            client_ask_admission(all[i]);
    }
    mem_free(all);
}

void worker_on_drain(struct relay_worker *w, struct relay_msg *m)
{
    static const char text[] = "relay is going down for maintenance";
    int64_t now_ms = worker_now_ms(w);
    size_t n;
    struct client **all = list_clients(w, &n);
    if (m->over_ms <= 0)
        mesh_close_links(w);
    for (size_t i = 0; i < n; i++) {
        struct client *c = all[i];
        if (m->over_ms <= 0) {
            client_close(c, COUNT_CLOSED_DRAINING, true);
            continue;
        }
        if (c->phase == CLIENT_ACTIVE)
            client_queue_control(c, DERP_HEALTH, text, sizeof(text) - 1);
        c->drain_due_ms = now_ms + 1 + m->over_ms * (int64_t)i / (int64_t)n;
        worker_schedule(w, c);
    }
    mem_free(all);
    worker_touch(w);
}
