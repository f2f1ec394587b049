/* The scope of a change: which nodes it concerns because of the policy, although they did not change themselves. */
#include <assert.h>
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"
#include "base/vec.h"
#include "state/access.h"
#include "state/state_internal.h"

/* Compares the rows of the classes that are in both. */
static bool routes_differ(const struct route_table *a, const struct route_table *b)
{
    if (a == b || a == NULL || b == NULL || !prefix_list_eq(a->prefixes, b->prefixes))
        return a != b;
    size_t class_n = a->class_n < b->class_n ? a->class_n : b->class_n;
    return memcmp(a->rows, b->rows, class_n * a->words * sizeof(a->rows[0])) != 0;
}

/* Either node may be null. */
static bool owner_differs(const struct change *c, const struct node *before, const struct node *after)
{
    if (before == NULL || after == NULL || (before == after && !c->users_changed))
        return false;
    return !user_looks_same(snapshot_owner(c->before, before), snapshot_owner(c->after, after));
}

/* Viewers of a node get the profile of its owner, so a node whose owner differs is looked at. */
static void look_at_owned(const struct change *c, uint64_t *look)
{
    for (node_id id = 1; id < c->after->group_n * GROUP_NODES; id++) {
        if (owner_differs(c, snapshot_node(c->before, id), snapshot_node(c->after, id)))
            bit_put(look, id);
    }
}

/* Whether the change may concern which viewers see the node, which of its routes they get, or its owner's profile. */
static bool is_touched(const struct change *c, node_id id)
{
    const struct access *a = c->before->access, *b = c->after->access;
    if (c->policy_changed || owner_differs(c, snapshot_node(c->before, id), snapshot_node(c->after, id)))
        return true;
    if (a->view != b->view && !viewer_keys_equal(engine_view_key(a->view, id), engine_view_key(b->view, id)))
        return true;
    const struct node_access *x = access_of_node(a, id), *y = access_of_node(b, id);
    return x == NULL || y == NULL || routes_differ(x->routes, y->routes) || x->hides_v4 != y->hides_v4;
}

/* Makes items of nodes that did not change themselves, in the order of ids among the others. `look`: those that may
 * become items, and all items. */
static void add_touched(struct change *c, const uint64_t *look)
{
    struct change_item *all = NULL;
    size_t n = 0, cap = 0, next = 0;
    BITS_EACH (id, look, c->after->group_n) {
        const struct node *node = snapshot_node(c->after, id);
        bool is_item = next < c->item_n && c->items[next].id == id;
        if (!is_item && (node == NULL || !is_touched(c, id)))
            continue;
        VEC_ROOM(all, n, cap, 64);
        all[n] = is_item ? c->items[next++]
                         : (struct change_item){.id = id, .before = node_ref(node), .after = node_ref(node)};
        all[n].owner_differs = owner_differs(c, all[n].before, all[n].after);
        n++;
    }
    mem_free(c->items);
    c->items = all;
    c->item_n = n;
}

/* Under a policy each node that is present has an access: netmap relies on it. */
static void check_access(const struct change *c)
{
    for (size_t i = 0; i < c->item_n; i++)
        assert(c->items[i].after == NULL || access_of_node(c->after->access, c->items[i].id) != NULL);
}

static bool is_node_new(const struct change *c)
{
    for (size_t i = 0; i < c->item_n; i++) {
        if (c->items[i].before == NULL || c->items[i].after == NULL)
            return true;
    }
    return false;
}

void state_scope_change(struct state *st, struct change *c)
{
    struct access *last = c->before->access;
    if (st->policy == NULL && access_is_open(last)) {
        c->after->access = access_ref(last);
        return;
    }
    c->policy_changed = st->policy == NULL || last->serial != st->policy_serial;
    uint64_t *look = mem_zalloc(c->after->group_n, sizeof(*look));
    for (size_t i = 0; i < c->item_n; i++)
        bit_put(look, c->items[i].id);
    if (st->policy == NULL) {
        memset(look, 0xff, c->after->group_n * sizeof(*look));
        c->after->access = access_ref(st->open_access);
    } else if (state_policy_is_dirty(st) || is_node_new(c)) {
        c->after->access = state_build_access(st, c, look);
    } else {
        c->after->access = access_ref(last);
    }
    if (c->users_changed)
        look_at_owned(c, look);
    add_touched(c, look);
    check_access(c);
    mem_free(look);
}
