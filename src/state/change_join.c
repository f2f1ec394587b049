/* Changes that follow each other, as one. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/refs.h"
#include "state/snapshot.h"

/* An item, and in which of the changes it is. */
struct part {
    const struct change_item *item;
    size_t at;
};

static int compare_parts(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    if (x->item->id != y->item->id)
        return x->item->id < y->item->id ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* What `n` items of one node, in order, come to. False: the node came and went. */
static bool join_items(const struct part *parts, size_t n, struct change_item *out)
{
    const struct change_item *first = parts[0].item, *last = parts[n - 1].item;
    if (first->before == NULL && last->after == NULL)
        return false;
    *out = (struct change_item){.id = first->id,
                                .before = first->before != NULL ? node_ref(first->before) : NULL,
                                .after = last->after != NULL ? node_ref(last->after) : NULL};
    for (size_t i = 0; i < n && out->before != NULL && out->after != NULL; i++)
        out->owner_differs |= parts[i].item->owner_differs;
    return true;
}

static void join_all_items(struct change *c, struct change *const *changes, size_t n, size_t item_n)
{
    struct part *parts = mem_zalloc(item_n, sizeof(*parts));
    size_t part_n = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < changes[i]->item_n; k++)
            parts[part_n++] = (struct part){&changes[i]->items[k], i};
    }
    qsort(parts, part_n, sizeof(*parts), compare_parts);
    c->items = mem_zalloc(item_n, sizeof(*c->items));
    for (size_t i = 0, end; i < part_n; i = end) {
        for (end = i + 1; end < part_n && parts[end].item->id == parts[i].item->id;)
            end++;
        c->item_n += join_items(&parts[i], end - i, &c->items[c->item_n]);
    }
    mem_free(parts);
}

/* While there was no policy, the changes did not look whose owner differs; one of them may have brought one since. */
static void look_at_owners(struct change *c)
{
    for (size_t i = 0; i < c->item_n; i++) {
        struct change_item *item = &c->items[i];
        if (item->before != NULL && item->after != NULL && (item->before != item->after || c->users_changed))
            item->owner_differs |= !user_looks_same(snapshot_owner(c->before, item->before),
                                                    snapshot_owner(c->after, item->after));
    }
}

struct change *change_join(struct change *const *changes, size_t n)
{
    if (n == 1)
        return change_ref(changes[0]);
    struct change *c = MEM_NEW(struct change);
    size_t item_n = 0;
    atomic_init(&c->refs, 1);
    c->before = snapshot_ref(changes[0]->before);
    c->after = snapshot_ref(changes[n - 1]->after);
    for (size_t i = 0; i < n; i++) {
        assert(i == 0 || changes[i]->before == changes[i - 1]->after);
        c->users_changed |= changes[i]->users_changed;
        c->kept_changed |= changes[i]->kept_changed;
        c->settings_changed |= changes[i]->settings_changed;
        c->policy_changed |= changes[i]->policy_changed;
        item_n += changes[i]->item_n;
    }
    if (item_n > 0)
        join_all_items(c, changes, n, item_n);
    if (c->policy_changed)
        look_at_owners(c);
    return c;
}
