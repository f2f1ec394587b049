#include "relay/peers_internal.h"

#include "base/mem.h"
#include "relay/worker_internal.h"

struct peer *peers_get(struct relay_worker *w, const node_key *key)
{
    return map_get(&w->peers, key->b, KEY_BYTES);
}

struct peer *peers_get_or_create(struct relay_worker *w, const node_key *key)
{
    struct peer *p = peers_get(w, key);
    if (p != NULL)
        return p;
    p = MEM_NEW(struct peer);
    p->key = *key;
    list_init(&p->clients);
    list_init(&p->receivers);
    map_put(&w->peers, p->key.b, KEY_BYTES, p);
    return p;
}

void peers_tidy(struct relay_worker *w, struct peer *peer)
{
    if (peer->route.conn_id != 0 || peer->route.forward_id != 0 || !list_is_empty(&peer->clients) ||
        !list_is_empty(&peer->receivers))
        return;
    map_remove(&w->peers, peer->key.b, KEY_BYTES);
    mem_free(peer);
}

void peers_fini(struct relay_worker *w)
{
    struct peer *p;
    size_t pos = 0;
    while ((p = map_next(&w->peers, &pos)) != NULL)
        mem_free(p);
    map_fini(&w->peers);
}
