/* Neighbours in the mesh (or whoever else has its key) that watch who comes and goes: the list of all keys that have a
 * connection here, and then each change. A new connection is told each time, a departure only when it was the key's last.
 * The list and the changes reach a watcher's worker as messages in one order, so that nothing falls between them.
 * src: tailscale 1.102 derp/derpserver addWatcher, broadcastPeerStateChangeLocked, sendMeshUpdates */
#include "base/log.h"
#include "relay/relay_internal.h"

LOG_MODULE("derp");

void watch_start(struct client *c)
{
    struct relay *relay = c->worker->relay;
    /* Ourselves, at the other end: it would tell us what we know. Or the list that it asks for is still on its way. */
    if (keys_equal(c->key.b, relay->public_key) || c->is_listing || buf_len(&c->watch.frames) > 0)
        return;
    c->is_listing = true;
    directory_list(relay, c->worker->index, c->id);
}

void worker_on_list(struct relay_worker *w, struct relay_msg *m)
{
    struct client *c = map_get(&w->clients, &m->conn_id, sizeof(m->conn_id));
    if (c == NULL)
        return;
    c->is_listing = false;
    c->watch_limit = buf_len(&c->watch.frames) + buf_len(&m->frames) + RELAY_WATCH_QUEUE_BYTES;
    if (list_is_empty(&c->in_watchers)) {
        list_push_back(&w->watchers, &c->in_watchers);
        metric_add(&relay_gauge_watchers, 1);
    }
    (void)client_queue_watch(c, buf_at(&m->frames), buf_len(&m->frames)); /* the limit has been made for it */
}

static void build_frame(const struct relay_msg *m, struct buf *frame)
{
    if (m->news == NEWS_PRESENT)
        derp_append_peer_present(frame, &m->key, m->presence.ip, m->presence.port, m->presence.flags);
    else
        derp_append_peer_gone(frame, &m->key, DERP_GONE_DISCONNECTED);
}

void watch_tell(struct relay_worker *w, const struct relay_msg *m)
{
    if (m->news == NEWS_NONE || list_is_empty(&w->watchers))
        return;
    struct buf frame = worker_buf_take(w);
    build_frame(m, &frame);
    LIST_EACH_SAFE (it, &w->watchers) {
        struct client *c = LIST_ENTRY(it, struct client, in_watchers);
        if (client_queue_watch(c, buf_at(&frame), buf_len(&frame))) {
            stats_add(&w->stats, COUNT_GONE_SENT, m->news == NEWS_GONE);
            continue;
        }
        log_limited(LOG_WARN, "a watcher does not read");
        client_close(c, COUNT_CLOSED_SLOW_WATCHER, false);
    }
    worker_buf_give(w, &frame);
}
