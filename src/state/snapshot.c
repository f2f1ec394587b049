#include "state/snapshot.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/access.h"

static void group_unref(struct node_group *g)
{
    if (g == NULL || !refs_drop(&g->refs))
        return;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_unref(&g->nodes[i]);
    cache_slot_fini(&g->cache);
    mem_free(g);
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    refs_take(&s->refs);
    return s;
}

void snapshot_unref(struct snapshot **at)
{
    struct snapshot *s = *at;
    *at = NULL;
    if (s == NULL || !refs_drop(&s->refs))
        return;
    for (size_t i = 0; i < s->group_n; i++)
        group_unref(s->groups[i]);
    user_table_unref(&s->users);
    row_set_unref(&s->kept);
    tailnet_settings_unref(&s->settings);
    access_unref(&s->access);
    mem_free(s);
}

const struct node *snapshot_node(const struct snapshot *s, node_id id)
{
    size_t group = id / GROUP_NODES;
    if (group >= s->group_n || s->groups[group] == NULL)
        return NULL;
    return s->groups[group]->nodes[id % GROUP_NODES];
}

const struct user *snapshot_owner(const struct snapshot *s, const struct node *n)
{
    size_t i = n->tags == NULL ? user_table_find(s->users, n->user) : s->users->n;
    return i < s->users->n ? s->users->users[i] : NULL;
}

struct change *change_ref(struct change *c)
{
    refs_take(&c->refs);
    return c;
}

void change_unref(struct change **at)
{
    struct change *c = *at;
    *at = NULL;
    if (c == NULL || !refs_drop(&c->refs))
        return;
    for (size_t i = 0; i < c->item_n; i++) {
        node_unref(&c->items[i].before);
        node_unref(&c->items[i].after);
    }
    snapshot_unref(&c->before);
    snapshot_unref(&c->after);
    cache_slot_fini(&c->cache);
    mem_free(c->items);
    mem_free(c);
}
