/* Neighbours in the mesh (or others that have its key) that watch which clients come and go. A watcher gets the list
 * of all keys that have a connection here, and then each change: every new connection, but a departure only when it
 * was the last of its key. The list and the changes reach a watcher's worker as messages in one order, so that
 * nothing is missed in between.
 * src: tailscale 1.102 derp/derpserver addWatcher, broadcastPeerStateChangeLocked, sendMeshUpdates */
#include "relay/watch_internal.h"

#include "base/log.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

LOG_MODULE("derp");

enum { QUEUE_BYTES = 4 * 1024 * 1024 /* updates that may wait for a watcher, beside the first list */ };

void watch_on_list(struct relay_worker *w, struct message *msg)
{
    const struct watch_list_message *m = CONTAINER_OF(msg, struct watch_list_message, base);
    struct client *c = client_find(w, m->conn_id);
    if (c == NULL)
        return;
    c->is_listing = false;
    c->watch_limit = frame_endpoint_waiting(&c->endpoint, FRAME_UPDATE) + buf_len(&m->frames) + QUEUE_BYTES;
    if (list_is_empty(&c->in_watchers)) {
        list_push_back(&w->watchers, &c->in_watchers);
        metric_add(&relay_gauge_watchers, 1);
    }
    (void)client_queue_watch(c, buf_at(&m->frames), buf_len(&m->frames)); /* within the limit just set */
}

static void build_frame(const struct route_message *m, struct buf *frame)
{
    if (m->news == NEWS_PRESENT)
        derp_append_peer_present(frame, &m->key, m->presence.ip, m->presence.port, m->presence.flags);
    else
        derp_append_peer_gone(frame, &m->key, DERP_GONE_DISCONNECTED);
}

void watch_send(struct relay_worker *w, const struct route_message *m)
{
    if (m->news == NEWS_NONE || list_is_empty(&w->watchers))
        return;
    struct buf frame = frame_pool_take(&w->frames.pool);
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
    frame_pool_give(&w->frames.pool, &frame);
}
