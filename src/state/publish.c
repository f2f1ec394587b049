/* The next snapshot, and the change that leads to it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "state/state_internal.h"

bool state_is_dirty(const struct state *st)
{
    return st->dirty.n > 0 || st->users_dirty || st->kept_dirty || st->sealed_n > 0 || st->settings_dirty ||
           state_policy_is_dirty(st);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A private copy of the group that holds `id`, to be changed before the snapshot is shared. */
static struct node_group *own_group(struct snapshot *s, node_id id, const struct snapshot *before)
{
    size_t i = id / GROUP_NODES;
    struct node_group *old = s->groups[i];
    /* Already copied for this snapshot: it is not the one of the snapshot before. */
    if (old != NULL && (i >= before->group_n || old != before->groups[i]))
        return old;
    struct node_group *g = MEM_NEW(struct node_group);
    atomic_init(&g->refs, 1);
    if (old != NULL) {
        g->peers = old->peers;
        g->routers = old->routers;
        for (size_t k = 0; k < GROUP_NODES; k++)
            g->nodes[k] = old->nodes[k] != NULL ? node_ref(old->nodes[k]) : NULL;
        (void)refs_drop(&old->refs); /* the snapshot before still holds it */
    }
    s->groups[i] = g;
    return g;
}

static void place_node(struct snapshot *s, const struct snapshot *before, node_id id, const struct node *n)
{
    struct node_group *g = own_group(s, id, before);
    const struct node **slot = &g->nodes[id % GROUP_NODES];
    uint64_t bit = UINT64_C(1) << (id % GROUP_NODES);
    s->node_n += n != NULL;
    s->node_n -= *slot != NULL;
    node_unref(slot);
    *slot = n != NULL ? node_ref(n) : NULL;
    g->peers = node_as_peer(n) != NULL ? g->peers | bit : g->peers & ~bit;
    g->routers = n != NULL && node_serves(n) ? g->routers | bit : g->routers & ~bit;
}

static struct snapshot *next_snapshot(struct state *st, int64_t now_ms)
{
    const struct snapshot *old = st->snapshot;
    size_t group_n = st->counters.next[entity_node.number] / GROUP_NODES + 1;
    if (group_n < old->group_n)
        group_n = old->group_n;
    struct snapshot *s = mem_zalloc(1, sizeof(*s) + group_n * sizeof(s->groups[0]));
    atomic_init(&s->refs, 1);
    s->version = old->version + 1;
    s->made_ms = now_ms;
    s->node_n = old->node_n;
    s->group_n = group_n;
    for (size_t i = 0; i < old->group_n; i++) {
        s->groups[i] = old->groups[i];
        if (s->groups[i] != NULL)
            refs_take(&s->groups[i]->refs);
    }
    return s;
}

/* Frees the record of a deleted node once its removal is published. */
static void reap_entry(struct state *st, node_id id)
{
    struct node_record *e = st->records[id];
    if (e->node != NULL || e->is_dirty)
        return;
    st->records[id] = NULL;
    routes_forget(e);
    mem_free(e);
}

/* Makes items of the dirty nodes whose effects may be visible; those that wait for the disk stay dirty. */
static void collect_items(struct state *st, struct change *c)
{
    size_t kept = 0;
    if (st->dirty.n == 0)
        return;
    qsort(st->dirty.ids, st->dirty.n, sizeof(*st->dirty.ids), compare_ids);
    c->items = mem_zalloc(st->dirty.n, sizeof(*c->items));
    for (size_t i = 0; i < st->dirty.n; i++) {
        struct node_record *e = st->records[st->dirty.ids[i]];
        if (e->visible_seq > st->committed_seq) {
            st->dirty.ids[kept++] = e->id;
            continue;
        }
        e->is_dirty = false;
        if (e->node == NULL)
            state_policy_forget_node(st, e->id);
        const struct node *before = snapshot_node(st->snapshot, e->id);
        if (before != e->node) {
            struct change_item *item = &c->items[c->item_n++];
            item->id = e->id;
            item->before = before != NULL ? node_ref(before) : NULL;
            item->after = e->node != NULL ? node_ref(e->node) : NULL;
        }
        reap_entry(st, e->id);
    }
    st->dirty.n = kept;
}

struct change *state_publish(struct state *st, int64_t now_ms)
{
    struct change *c = MEM_NEW(struct change);
    atomic_init(&c->refs, 1);
    state_policy(st);
    struct sealed sealed = state_take_sealed(st);
    c->users_changed = sealed.users != NULL;
    c->kept_changed = sealed.kept != NULL;
    c->settings_changed = st->settings_dirty;
    collect_items(st, c);
    if (c->item_n == 0 && !c->users_changed && !c->kept_changed && !c->settings_changed && !state_policy_is_dirty(st)) {
        change_unref(&c);
        return NULL;
    }
    struct snapshot *s = next_snapshot(st, now_ms);
    for (size_t i = 0; i < c->item_n; i++)
        place_node(s, st->snapshot, c->items[i].id, c->items[i].after);
    s->users = sealed.users != NULL ? sealed.users : user_table_ref(st->snapshot->users);
    s->kept = sealed.kept != NULL ? sealed.kept : row_set_ref(st->snapshot->kept);
    s->settings = tailnet_settings_ref(st->settings);
    st->settings_dirty = false;
    c->before = st->snapshot;
    c->after = snapshot_ref(s);
    state_scope_change(st, c);
    st->snapshot = s;
    return c;
}
