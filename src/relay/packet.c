#include "relay/packet_internal.h"

#include "relay/client_internal.h"
#include "relay/mesh_link_internal.h"
#include "relay/relay_internal.h"

/* Whether `c` may get one more reply about an unknown destination: PACKET_NOT_HERE_BURST at once, then one a second. */
static bool may_reply_not_here(struct client *c, int64_t now_ms)
{
    if (c->not_here_ms < now_ms)
        c->not_here_ms = now_ms;
    if (c->not_here_ms - now_ms > (PACKET_NOT_HERE_BURST - 1) * 1000)
        return false;
    c->not_here_ms += 1000;
    return true;
}

/* Only a disco message is answered: its sender looks for a path, and there is none here. */
static void drop_unknown(struct relay_worker *w, struct client *from, const struct packet *p, enum drop_reason reason)
{
    stats_drop(&w->stats, reason, p->is_disco, p->n);
    if (p->is_disco && may_reply_not_here(from, worker_now_ms(w)))
        client_queue_gone(from, p->dst, DERP_GONE_NOT_HERE);
}

/* Delivers to a client of this worker. `source` null: this worker does not know the sender. */
static void deliver(struct relay_worker *w, struct client *to, struct peer *source, const struct packet *p)
{
    /* A packet that a neighbour forwarded may arrive before the news of its sender, which come over another
     * connection. */
    peer_gone_remember(w, source != NULL ? source : peers_get_or_create(w, p->src), to);
    client_queue_packet(to, p);
}

static void cross(struct relay_worker *w, unsigned to, uint64_t id, const struct packet *p)
{
    if (worker_pipe_append(w, to, id, p))
        stats_add(&w->stats, COUNT_PACKETS_CROSSED, 1);
    else
        stats_drop(&w->stats, DROP_PIPE, p->is_disco, p->n);
}

/* Delivers to a key that has a connection, on this worker or another. */
static void send_here(struct relay_worker *w, struct peer *to, struct peer *source, const struct packet *p)
{
    if (to->route.worker != w->index)
        cross(w, to->route.worker, to->route.conn_id, p);
    else if (to->local != NULL)
        deliver(w, to->local, source, p);
    else
        stats_drop(&w->stats, DROP_GONE, p->is_disco, p->n);
}

static void send_to_link(struct relay_worker *w, uint64_t link_id, const struct packet *p)
{
    struct mesh_link *link = mesh_link_find(w, link_id);
    if (link != NULL)
        mesh_link_forward(link, p);
    else
        stats_drop(&w->stats, DROP_GONE, p->is_disco, p->n);
}

static void send_to_neighbour(struct relay_worker *w, const struct route *to, const struct packet *p)
{
    stats_add(&w->stats, COUNT_FORWARDED_OUT, 1);
    if (to->forward_worker != w->index)
        cross(w, to->forward_worker, to->forward_id, p);
    else
        send_to_link(w, to->forward_id, p);
}

void packet_send(struct relay_worker *w, struct client *from, const struct packet *p)
{
    stats_add(&w->stats, p->is_disco ? COUNT_PACKETS_RECEIVED_DISCO : COUNT_PACKETS_RECEIVED_OTHER, 1);
    stats_add(&w->stats, COUNT_BYTES_RECEIVED, (int64_t)p->n);
    struct peer *to = peers_get(w, p->dst);
    if (to != NULL && to->route.conn_id != 0)
        send_here(w, to, from->peer, p);
    else if (to != NULL && to->route.forward_id != 0)
        send_to_neighbour(w, &to->route, p);
    else
        drop_unknown(w, from, p, DROP_UNKNOWN);
}

void packet_send_forwarded(struct relay_worker *w, struct client *neighbour, const struct packet *p)
{
    stats_add(&w->stats, COUNT_FORWARDED_IN, 1);
    struct peer *to = peers_get(w, p->dst);
    if (to != NULL && to->route.conn_id != 0)
        send_here(w, to, peers_get(w, p->src), p);
    else
        drop_unknown(w, neighbour, p, DROP_FORWARD);
}

void packet_deliver_batch(struct relay_worker *w, const struct pipe_batch *batch)
{
    struct packet p;
    uint64_t id;
    size_t at = 0;
    while (pipe_batch_next(batch, &at, &id, &p)) {
        if (is_mesh_link_id(id)) {
            send_to_link(w, id, &p);
            continue;
        }
        struct client *to = client_find(w, id);
        struct peer *last = to != NULL ? to->last_source : NULL;
        if (to == NULL)
            stats_drop(&w->stats, DROP_GONE, p.is_disco, p.n);
        else if (last != NULL && keys_equal(last->key.b, p.src->b))
            deliver(w, to, last, &p);
        else
            deliver(w, to, peers_get(w, p.src), &p);
    }
    worker_touch(w);
}
