/* The records of nodes in the working state: their indexes, and what follows from a new version of a node, such as
 * another primary of a route. */
#include <assert.h>

#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

/* --- indexes --- */

static void index_addr(struct state *st, const struct addr *a, struct node_record *e)
{
    size_t len;
    const void *key = addresses_map_key(a, &len);
    if (a->family != 0)
        map_put(&st->by_addr, key, len, e);
}

/* A machine may have several nodes with one owner, if an admin has tagged them: a look-up finds the first by id. */
static void link_owner(struct state *st, struct node_record *e)
{
    e->owner = (struct machine_user){e->node->machine, e->node->tags != NULL ? TAGGED_DEVICES_USER : e->node->user};
    struct node_record *first = map_get(&st->by_machine, &e->owner, sizeof(e->owner)), **at = &first;
    while (*at != NULL && (*at)->id < e->id)
        at = &(*at)->next_of_owner;
    e->next_of_owner = *at;
    *at = e;
    map_put(&st->by_machine, &first->owner, sizeof(first->owner), first);
}

static void unlink_owner(struct state *st, struct node_record *e)
{
    struct node_record *first = map_get(&st->by_machine, &e->owner, sizeof(e->owner)), **at = &first;
    while (*at != e)
        at = &(*at)->next_of_owner;
    *at = e->next_of_owner;
    e->next_of_owner = NULL;
    map_remove(&st->by_machine, &e->owner, sizeof(e->owner));
    if (first != NULL)
        map_put(&st->by_machine, &first->owner, sizeof(first->owner), first);
}

/* Map keys point into the node, so each new version is indexed anew. */
static void index_node(struct state *st, struct node_record *e)
{
    const struct node *n = e->node;
    map_put(&st->by_key, n->key.b, KEY_BYTES, e);
    link_owner(st, e);
    map_put(&st->by_name, n->name, strlen(n->name), e);
    index_addr(st, &n->v4, e);
    index_addr(st, &n->v6, e);
}

static void remove_if_mine(struct map *m, const void *key, size_t len, const struct node_record *e)
{
    if (map_get(m, key, len) == e)
        map_remove(m, key, len);
}

static void unindex_node(struct state *st, struct node_record *e)
{
    const struct node *n = e->node;
    size_t len;
    remove_if_mine(&st->by_key, n->key.b, KEY_BYTES, e);
    unlink_owner(st, e);
    remove_if_mine(&st->by_name, n->name, strlen(n->name), e);
    const void *key = addresses_map_key(&n->v4, &len);
    if (n->v4.family != 0)
        remove_if_mine(&st->by_addr, key, len, e);
    key = addresses_map_key(&n->v6, &len);
    if (n->v6.family != 0)
        remove_if_mine(&st->by_addr, key, len, e);
}

/* --- marks --- */

void node_record_mark_dirty(struct state *st, struct node_record *e)
{
    if (e->is_dirty)
        return;
    e->is_dirty = true;
    id_list_push(&st->dirty, e->id);
}

void node_record_mark_stale(struct state *st, struct node_record *e)
{
    e->is_stale_on_disk = true;
    if (e->is_in_stale)
        return;
    e->is_in_stale = true;
    id_list_push(&st->stale, e->id);
}

void node_record_flag(struct state *st, struct node_record *e, unsigned bits)
{
    e->unsettled = (uint8_t)(e->unsettled | bits);
    if (bits == 0 || e->is_in_unsettled)
        return;
    e->is_in_unsettled = true;
    id_list_push(&st->unsettled, e->id);
}

void node_record_put_row(struct state *st, struct node_record *e)
{
    row_put(st, &entity_node, e->id, &e->node->row);
    e->unsettled &= (uint8_t)~SETTLE_PRIMARY;
    e->is_stale_on_disk = false;
    e->written_seq = st->next_seq;
}

void node_record_mark_durable(struct state *st, struct node_record *e)
{
    e->visible_seq = st->next_seq;
    undo_end_node(st, e);
}

/* --- versions --- */

static void follow_routes(struct state *st, struct node_record *e);

void node_record_replace(struct state *st, struct node_record *e, const struct node *next)
{
    events_follow_node(st, e, next);
    unindex_node(st, e);
    state_policy_put_node(st, e->node, next);
    node_unref(&e->node);
    e->node = next;
    index_node(st, e);
    node_record_mark_dirty(st, e);
    follow_routes(st, e);
}

static bool loses(const struct prefix_list *before, const struct prefix_list *after)
{
    for (size_t i = 0; before != NULL && i < before->n; i++) {
        if (!prefix_list_has(after, &before->v[i]))
            return true;
    }
    return false;
}

/* Writes into the node which routes it is the primary of. */
static void write_primary(struct state *st, node_id id)
{
    struct node_record *e = node_record_of(st, id);
    if (e == NULL)
        return;
    struct prefix_list *list = routes_list_primary(st, e);
    if (prefix_list_eq(list, e->node->primary)) {
        prefix_list_unref(&list);
        return;
    }
    if (!st->is_installing && loses(e->node->primary, list))
        prefix_list_unref(&e->claims);
    struct node *next = node_edit(e->node, NULL, 0);
    prefix_list_unref(&next->primary);
    next->primary = list;
    node_record_replace(st, e, next);
    node_record_flag(st, e, SETTLE_PRIMARY);
}

/* Called after any change of the node or its record. It recurses through node_record_replace; that ends because the
 * record has been counted before the primaries are written, and counting it again changes nothing. */
static void follow_routes(struct state *st, struct node_record *e)
{
    struct id_list changed = {0};
    routes_recount(st, e, &changed);
    for (size_t i = 0; i < changed.n; i++)
        write_primary(st, changed.ids[i]);
    mem_free(changed.ids);
}

void node_record_claim_routes(struct state *st, struct node_record *e, const struct prefix_list *primary, bool by_row)
{
    for (size_t i = 0; primary != NULL && i < primary->n; i++) {
        node_id other = routes_claim(st, e, &primary->v[i], by_row);
        if (other == 0)
            continue;
        write_primary(st, other);
        write_primary(st, e->id);
    }
}

struct node_record *node_record_make(struct state *st, node_id id)
{
    VEC_COVER(st->records, st->records_cap, id, 64);
    assert(st->records[id] == NULL);
    struct node_record *e = MEM_NEW(struct node_record);
    e->id = id;
    st->records[id] = e;
    return e;
}

struct node_record *node_record_add(struct state *st, const struct node *n)
{
    struct node_record *e = node_record_make(st, n->id);
    e->node = n;
    st->node_n++;
    index_node(st, e);
    state_policy_put_node(st, NULL, n);
    node_record_mark_dirty(st, e);
    if (n->expires_ms != NO_EXPIRY && !n->is_expired)
        state_date_at(st, n->expires_ms);
    follow_routes(st, e);
    return e;
}

void node_record_leave(struct state *st, struct node_record *e)
{
    unindex_node(st, e);
}

void node_record_enter(struct state *st, struct node_record *e, const struct node *n)
{
    const struct node *before = e->node;
    if (n != NULL && before != NULL)
        events_follow_node(st, e, n);
    st->node_n += n != NULL;
    st->node_n -= before != NULL;
    e->node = n;
    if (n != NULL) {
        index_node(st, e);
        state_policy_put_node(st, before, n);
    }
    node_unref(&before);
    node_record_mark_dirty(st, e);
}

void node_record_recount(struct state *st, struct node_record *e)
{
    follow_routes(st, e);
}

void node_record_remove(struct state *st, struct node_record *e)
{
    undo_begin_node(st, e, UNDO_EVENT);
    unindex_node(st, e);
    state_revoke_key_durably(st, &e->node->key);
    node_unref(&e->node);
    st->node_n--;
    row_put(st, &entity_node, e->id, NULL);
    event_note_node(st, EVENT_NODE_DELETED, e);
    node_record_mark_dirty(st, e);
    node_record_mark_durable(st, e);
    follow_routes(st, e);
}

void node_record_forget(struct state *st, struct node_record *e)
{
    unindex_node(st, e);
    state_policy_forget_node(st, e->id);
    node_unref(&e->node);
    st->node_n--;
    follow_routes(st, e);
    st->records[e->id] = NULL;
    routes_forget(e);
    mem_free(e);
}

void node_record_bring_back(struct state *st, struct node_record *e, const struct node *n)
{
    e->node = n;
    st->node_n++;
    index_node(st, e);
    state_policy_put_node(st, NULL, n);
    node_record_mark_dirty(st, e);
    follow_routes(st, e);
}

enum rc node_not_found(node_id id, struct err *err)
{
    return err_set(err, RC_NOT_FOUND, "there is no node with id %llu (list them: nodes list)", (unsigned long long)id);
}
