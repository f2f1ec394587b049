/* Which clients get a PeerGone when a sender leaves: those that had a packet from it, and so may use this relay as
 * the way back. A link is removed when the sender leaves (the next packet makes a new one), when the client closes,
 * and, the oldest first, when a client has had packets from too many senders. */
#include "base/mem.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

static void link_free(struct relay_worker *w, struct peer_gone_link *l)
{
    map_remove(&w->gone_links, l->id, sizeof(l->id));
    list_remove(&l->of_source);
    list_remove(&l->of_client);
    l->client->sender_n--;
    if (l->client->last_source == l->source)
        l->client->last_source = NULL;
    mem_free(l);
}

static void forget_oldest(struct relay_worker *w, struct client *c)
{
    struct peer_gone_link *l = LIST_ENTRY(c->senders.next, struct peer_gone_link, of_client);
    struct peer *source = l->source;
    link_free(w, l);
    peers_tidy(w, source);
}

void peer_gone_remember(struct relay_worker *w, struct peer *source, struct client *c)
{
    if (c->last_source == source)
        return;
    uint64_t id[2] = {(uint64_t)(uintptr_t)source, c->id};
    struct peer_gone_link *l = map_get(&w->gone_links, id, sizeof(id));
    if (l == NULL) {
        if (c->sender_n >= w->relay->opts.max_gone_sources)
            forget_oldest(w, c);
        l = MEM_NEW(struct peer_gone_link);
        l->id[0] = id[0];
        l->id[1] = id[1];
        l->source = source;
        l->client = c;
        list_push_back(&source->receivers, &l->of_source);
        list_push_back(&c->senders, &l->of_client);
        c->sender_n++;
        map_put(&w->gone_links, l->id, sizeof(l->id), l);
    }
    c->last_source = source;
}

void peer_gone_announce(struct relay_worker *w, struct peer *source)
{
    LIST_EACH_SAFE (it, &source->receivers) {
        struct peer_gone_link *l = LIST_ENTRY(it, struct peer_gone_link, of_source);
        client_queue_gone(l->client, &source->key, DERP_GONE_DISCONNECTED);
        link_free(w, l);
    }
}

void peer_gone_forget_client(struct relay_worker *w, struct client *c)
{
    while (!list_is_empty(&c->senders))
        forget_oldest(w, c);
}
