/* Loading. What the database holds is checked like anything from outside: disks fail, people edit. A row that cannot
 * be used is refused with the reason, and none of its values is sent to a client. */
#include "codec/json.h"
#include "proto/tailcfg.h"
#include "state/state_internal.h"

/* Parsed and written anew, as when a node sends it; null when it is no Hostinfo. */
static void clean_hostinfo(struct rcbuf **at, bool for_peers, struct err *odd)
{
    struct arena a = {0};
    struct hostinfo h;
    struct rcbuf *made = NULL;
    if (*at == NULL)
        return;
    if (hostinfo_read(&a, str_n((*at)->data, (*at)->len), &h) == RC_OK)
        made = for_peers ? hostinfo_for_peers(&h) : hostinfo_for_store(&h, NULL);
    else
        err_set(odd, RC_INVALID, "column %s is no Hostinfo: left out until the node says it again",
                for_peers ? "hostinfo_peers" : "hostinfo");
    arena_fini(&a);
    rcbuf_unref(at);
    *at = made;
}

static bool is_held(const struct map *by_addr, const struct addr *a)
{
    size_t len;
    const void *key = addresses_map_key(a, &len);
    return a->family != 0 && map_get(by_addr, key, len) != NULL;
}

static enum rc check_node(const struct state *st, const struct node *n, struct err *err)
{
    if (n->id == 0 || n->id > NODE_ID_MAX)
        return err_set(err, RC_INVALID, "its id is none that this server gives");
    if (n->id < st->records_cap && st->records[n->id] != NULL)
        return err_set(err, RC_INVALID, "another row has the same id");
    if (!node_name_is_label(str_c(n->name)))
        return err_set(err, RC_INVALID, "column name is no DNS label");
    if (map_get(&st->by_key, n->key.b, KEY_BYTES) != NULL)
        return err_set(err, RC_INVALID, "another row has the same node_key");
    if (map_get(&st->by_name, n->name, strlen(n->name)) != NULL)
        return err_set(err, RC_INVALID, "another row has the same name");
    if (is_held(&st->by_addr, &n->v4) || is_held(&st->by_addr, &n->v6))
        return err_set(err, RC_INVALID, "another row has the same address");
    return state_load_check_tags(n->tags, err);
}

enum rc state_load_node(struct state *st, struct node *n, struct err *err)
{
    enum rc rc = check_node(st, n, err);
    if (rc != RC_OK) {
        const struct node *dropped = n;
        node_unref(&dropped);
        return rc;
    }
    clean_hostinfo(&n->hostinfo, false, err);
    clean_hostinfo(&n->hostinfo_peers, true, err);
    state_load_fit_time(&n->created_ms);
    state_load_fit_time(&n->last_seen_ms);
    state_load_fit_expiry(&n->expires_ms);
    if (n->cap_version > INT32_MAX) /* Go's int on small clients */
        n->cap_version = 0;
    n->is_online = false;
    n->is_away = false;
    n->is_expired = n->is_ended; /* state_load_done looks at the date */
    struct node_record *e = node_record_add(st, n);
    e->is_from_disk = true;
    node_id id = e->id;
    if (id >= st->counters.next_node)
        st->counters.next_node = id + 1;
    return RC_OK;
}

/* A counter out of range is ignored: the ids of the rows say where to go on. */
static void take_counter(uint64_t *own, uint64_t stored, uint64_t max)
{
    if (stored > *own && stored <= max)
        *own = stored;
}

static void load_counters(struct row_counters *own, const struct row_counters *stored)
{
    const uint64_t most = (uint64_t)1 << ROW_ID_BITS;
    take_counter(&own->next_node, stored->next_node, NODE_ID_MAX + 1);
    take_counter(&own->next_user, stored->next_user, most);
    take_counter(&own->next_key, stored->next_key, most);
    take_counter(&own->next_relay, stored->next_relay, most);
}

static void later(struct addr *last, const struct addr *a)
{
    if (a->family != 0 && (last->family == 0 || memcmp(a->ip, last->ip, 16) > 0))
        *last = *a;
}

void state_load_done(struct state *st, const struct row_counters *counters, int64_t now_ms)
{
    load_counters(&st->counters, counters);
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e == NULL)
            continue;
        later(&st->last_v4, &e->node->v4);
        later(&st->last_v6, &e->node->v6);
        /* No node is connected to a server that starts: ephemeral nodes get their time to come back. */
        if (e->node->is_ephemeral) {
            e->remove_at_ms = state_steady_ms(st, now_ms) + st->options.ephemeral_timeout_ms;
            state_due_at(st, e->remove_at_ms);
        }
    }
    state_relays_load_done(st, now_ms);
    undo_begin_batch(st);
    state_tick(st, now_ms);
    st->users_dirty = true;
    state_seal_users(st, 0);
    struct change *c = state_publish(st, now_ms);
    change_unref(&c);
}
