/* Whom to tell when a sender leaves: a client that had a packet from it has it as a peer, and takes down the way back when
 * it hears that the sender is gone. The memory is cleared by each departure (so the next one is told again), by the client's
 * end, and, for the oldest, when a client has had too many senders. */
#include "base/mem.h"
#include "relay/relay_internal.h"

static void link_free(struct relay_worker *w, struct gone_link *l)
{
    map_remove(&w->links, l->id, sizeof(l->id));
    list_remove(&l->of_source);
    list_remove(&l->of_client);
    l->client->link_n--;
    if (l->client->last_source == l->source)
        l->client->last_source = NULL;
    mem_free(l);
}

static void forget_oldest(struct relay_worker *w, struct client *c)
{
    struct gone_link *l = LIST_ENTRY(c->links.next, struct gone_link, of_client);
    struct peer *source = l->source;
    link_free(w, l);
    worker_peer_tidy(w, source);
}

void gone_remember(struct relay_worker *w, struct peer *source, struct client *c)
{
    if (c->last_source == source)
        return;
    uint64_t id[2] = {(uint64_t)(uintptr_t)source, c->id};
    struct gone_link *l = map_get(&w->links, id, sizeof(id));
    if (l == NULL) {
        if (c->link_n >= w->relay->opts.max_gone_sources)
            forget_oldest(w, c);
        l = MEM_NEW(struct gone_link);
        l->id[0] = id[0];
        l->id[1] = id[1];
        l->source = source;
        l->client = c;
        list_push_back(&source->links, &l->of_source);
        list_push_back(&c->links, &l->of_client);
        c->link_n++;
        map_put(&w->links, l->id, sizeof(l->id), l);
    }
    c->last_source = source;
}

void gone_announce(struct relay_worker *w, struct peer *source)
{
    LIST_EACH_SAFE (it, &source->links) {
        struct gone_link *l = LIST_ENTRY(it, struct gone_link, of_source);
        client_queue_gone(l->client, &source->key, DERP_GONE_DISCONNECTED);
        link_free(w, l);
    }
}

void gone_forget_client(struct relay_worker *w, struct client *c)
{
    while (!list_is_empty(&c->links))
        forget_oldest(w, c);
}
