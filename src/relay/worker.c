#include "relay/worker_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "relay/client_internal.h"
#include "relay/mesh_link_internal.h"
#include "relay/relay_internal.h"
#include "relay/watch_internal.h"

static void on_iteration_end(struct loop_task *task)
{
    struct relay_worker *w = CONTAINER_OF(task, struct relay_worker, frames.task);
    worker_pipes_post(w);
    frame_hub_flush(&w->frames);
    stats_publish(&w->stats);
}

void worker_tick(struct relay_worker *w)
{
    client_timers_tick(w, worker_now_ms(w), client_on_timer);
    worker_touch(w);
}

static void on_timer(void *ctx)
{
    worker_tick(ctx);
}

static void on_rate_timer(void *ctx)
{
    rate_tick(ctx);
}

void worker_init(struct relay_worker *w, struct relay *relay, struct loop *loop, unsigned index)
{
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    w->relay = relay;
    w->loop = loop;
    w->index = index;
    frame_hub_init(&w->frames, loop);
    w->frames.task.run = on_iteration_end;
    map_init(&w->peers, seed);
    map_init(&w->clients, seed);
    map_init(&w->gone_links, seed);
    list_init(&w->logins);
    list_init(&w->watchers);
    list_init(&w->mesh_links);
    worker_pipes_init(w);
    list_init(&w->held_back);
    wheel_init(&w->wheel, loop_now_ms(loop) / 1000);
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

void worker_fini(struct relay_worker *w)
{
    size_t n;
    mesh_close_links(w);
    struct client **all = list_clients(w, &n);
    for (size_t i = 0; i < n; i++)
        client_close(all[i], COUNT_CLOSED_DRAINING, false);
    mem_free(all);
    stats_publish(&w->stats);
    loop_timer_destroy(&w->timer);
    loop_timer_destroy(&w->rate_timer);
    worker_pipes_fini(w);
    frame_hub_fini(&w->frames);
    peers_fini(w);
    map_fini(&w->clients);
    map_fini(&w->gone_links);
}

/* --- Messages --- */

/* Sends the connections of a key notice that another device has the key too, or no longer. */
static void send_health(struct peer *p, enum route_health health)
{
    static const char duplicate[] = "duplicate node key: another device with the same state is connected";
    struct client *newest = p->local;
    if (health == HEALTH_DUPLICATE_TO_NEW && newest != NULL && newest->phase == CLIENT_ACTIVE)
        client_queue_control(newest, DERP_HEALTH, duplicate, sizeof(duplicate) - 1);
    if (health == HEALTH_SAME || health == HEALTH_DUPLICATE_TO_NEW)
        return;
    LIST_EACH (it, &p->clients) {
        struct client *c = LIST_ENTRY(it, struct client, of_peer);
        if (c->phase == CLIENT_ACTIVE)
            client_queue_control(c, DERP_HEALTH, duplicate, health == HEALTH_DUPLICATE ? sizeof(duplicate) - 1 : 0);
    }
}

/* However many connections the key has, two of them change: the one that was active, and the one that is now.
 * Returns the latter if it is joining. */
static struct client *change_route(struct relay_worker *w, struct peer *p, const struct route *to)
{
    if (p->local != NULL)
        p->local->is_claiming = false;
    p->route = *to;
    p->local = to->conn_id != 0 && to->worker == w->index ? client_find(w, to->conn_id) : NULL;
    if (p->local == NULL)
        return NULL;
    p->local->is_claiming = false;
    return p->local->phase == CLIENT_JOINING ? p->local : NULL;
}

static void on_route(struct relay_worker *w, struct message *msg)
{
    const struct route_message *m = CONTAINER_OF(msg, struct route_message, base);
    watch_send(w, m); /* may close watchers, and free peers with them */
    bool is_known = m->route.conn_n > 0 || m->route.forward_id != 0;
    struct peer *p = is_known ? peers_get_or_create(w, &m->key) : peers_get(w, &m->key);
    if (p == NULL)
        return;
    struct client *joining = change_route(w, p, &m->route);
    if (!is_known)
        peer_gone_announce(w, p);
    if (joining != NULL)
        client_on_joined(joining); /* may close it; `p` stays: the directory has not removed the connection yet */
    send_health(p, m->health);
    peers_tidy(w, p);
    worker_touch(w);
}

static void on_close_key(struct relay_worker *w, struct message *msg)
{
    const struct close_key_message *m = CONTAINER_OF(msg, struct close_key_message, base);
    struct peer *p = peers_get(w, &m->key);
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

static void on_evict(struct relay_worker *w, struct message *msg)
{
    struct client *c = client_find(w, CONTAINER_OF(msg, struct evict_message, base)->conn_id);
    if (c != NULL)
        client_close(c, COUNT_CLOSED_KEY_LIMIT, false);
    worker_touch(w);
}

static void on_admission(struct relay_worker *w, struct message *msg)
{
    const struct relay_admission *m = CONTAINER_OF(msg, struct relay_admission, base);
    struct client *c = client_find(w, m->conn_id);
    if (c != NULL && m->is_put_off)
        client_put_off(c);
    else if (c != NULL)
        client_on_admission(c, m->is_allowed);
    worker_touch(w);
}

static void on_ask_again(struct relay_worker *w, struct message *msg)
{
    size_t n;
    struct client **all = list_clients(w, &n);
    (void)msg;
    for (size_t i = 0; i < n; i++) {
        if (all[i]->phase == CLIENT_ACTIVE && !all[i]->is_mesh)
            client_ask_admission(all[i]);
    }
    mem_free(all);
}

static void on_drain(struct relay_worker *w, struct message *msg)
{
    const int64_t over_ms = CONTAINER_OF(msg, struct drain_message, base)->over_ms;
    static const char text[] = "relay is going down for maintenance";
    int64_t now_ms = worker_now_ms(w);
    size_t n;
    struct client **all = list_clients(w, &n);
    if (over_ms <= 0)
        mesh_close_links(w);
    for (size_t i = 0; i < n; i++) {
        struct client *c = all[i];
        if (over_ms <= 0) {
            client_close(c, COUNT_CLOSED_DRAINING, true);
            continue;
        }
        if (c->phase == CLIENT_ACTIVE)
            client_queue_control(c, DERP_HEALTH, text, sizeof(text) - 1);
        c->drain_due_ms = now_ms + 1 + over_ms * (int64_t)i / (int64_t)n;
        client_timers_schedule(c);
    }
    mem_free(all);
    worker_touch(w);
}

message_handler *const worker_message_handlers[MSG_KIND_N] = {
    [MSG_ROUTE] = on_route,
    [MSG_EVICT] = on_evict,
    [MSG_WATCH_LIST] = watch_on_list,
    [MSG_ADMISSION] = on_admission,
    [MSG_ASK_AGAIN] = on_ask_again,
    [MSG_CLOSE_KEY] = on_close_key,
    [MSG_DRAIN] = on_drain,
    [MSG_LINK_START] = mesh_on_link_start,
    [MSG_LINK_STOP] = mesh_on_link_stop,
    [MSG_LINK_RESOLVED] = mesh_on_link_resolved,
};
