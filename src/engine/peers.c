/* Which nodes are peers now. Readers in other threads use views. src: docs/protocol/policy.md 6.1 */
#include "engine/tables.h"

/* Whether they are peers by autogroup:self: they have the same owner, and one is a source of a rule with
 * autogroup:self. */
static bool are_own(const struct engine_node *a, const struct engine_node *b)
{
    return a->owner != NULL && a->owner == b->owner && (a->class->is_self_source || b->class->is_self_source);
}

bool engine_sees(const struct engine *e, uint64_t a, uint64_t b)
{
    const struct engine_node *x = engine_node_find(&e->nodes, a), *y = engine_node_find(&e->nodes, b);
    if (x == NULL || y == NULL || x == y)
        return false;
    return bit_get(x->class->row, y->class->index) || are_own(x, y);
}

void engine_peers(const struct engine *e, uint64_t id, void (*visit)(void *ctx, uint64_t peer), void *ctx)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n == NULL)
        return;
    BITS_EACH (i, n->class->row, bits_words(e->classes.cap)) {
        LIST_EACH (it, &e->classes.at[i]->nodes) {
            const struct engine_node *peer = LIST_ENTRY(it, struct engine_node, class_link);
            if (peer != n)
                visit(ctx, peer->id);
        }
    }
    if (n->owner == NULL || n->owner->self_sources == 0)
        return;
    LIST_EACH (it, &n->owner->nodes) {
        const struct engine_node *peer = LIST_ENTRY(it, struct engine_node, owner_link);
        if (peer != n && are_own(n, peer) && !bit_get(n->class->row, peer->class->index))
            visit(ctx, peer->id);
    }
}

size_t engine_peer_count(const struct engine *e, uint64_t id)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    size_t count = 0;
    if (n == NULL)
        return 0;
    BITS_EACH (i, n->class->row, bits_words(e->classes.cap))
        count += e->classes.at[i]->node_n;
    count -= bit_get(n->class->row, n->class->index);
    if (n->owner == NULL || n->owner->self_sources == 0)
        return count;
    LIST_EACH (it, &n->owner->nodes) {
        const struct engine_node *peer = LIST_ENTRY(it, struct engine_node, owner_link);
        count += peer != n && are_own(n, peer) && !bit_get(n->class->row, peer->class->index);
    }
    return count;
}
