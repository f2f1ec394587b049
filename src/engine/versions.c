/* The clock of the last change of what a node is granted, so that only texts that may differ are made again. */
#include "engine/sources.h"
#include "engine/tables.h"

uint64_t engine_clock(const struct engine *e)
{
    return e->clock;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t class_version(const struct engine *e, const struct class *c)
{
    uint64_t v = c->version;
    BITS_EACH (u, c->dst, e->rules.words)
        v = later(v, sources_version(e, &e->sources.list[e->rules.part[u].list]));
    for (size_t i = 0; i < e->doc->ssh_n; i++)
        v = later(v, later(e->sources.list[e->rules.ssh_list[i]].version,
                           e->sources.list[e->rules.recorder_list[i]].version));
    return v;
}

uint64_t engine_version_of_many(const struct engine *e, uint64_t id, uint64_t *by_class)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n == NULL)
        return 0;
    uint64_t *v = &by_class[n->class->index];
    if (*v == 0)
        *v = class_version(e, n->class);
    return later(later(n->version, *v), n->owner != NULL ? n->owner->version : 0);
}

uint64_t engine_version(const struct engine *e, uint64_t id)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n == NULL)
        return 0;
    uint64_t own = later(n->version, n->owner != NULL ? n->owner->version : 0);
    return later(own, class_version(e, n->class));
}

void engine_mark_moved(const struct engine *e, uint64_t since, uint64_t *set, size_t words)
{
    CLASS_EACH (c, e) {
        if (class_version(e, c) > since)
            id_set_mark(cow_sets_get(&e->views.in_class, c->index), set, words);
    }
    for (const struct list *it = e->owners.by_version.prev; it != &e->owners.by_version; it = it->prev) {
        const struct owner *o = LIST_ENTRY(it, struct owner, version_link);
        if (o->version <= since)
            break;
        id_set_mark(cow_sets_get(&e->views.of_owner, o->number), set, words);
    }
    for (const struct list *it = e->nodes.by_version.prev; it != &e->nodes.by_version; it = it->prev) {
        const struct engine_node *n = LIST_ENTRY(it, struct engine_node, version_link);
        if (n->version <= since)
            break;
        if (n->id / 64 < words)
            bit_put(set, n->id);
    }
}

uint64_t engine_class_member(const struct engine *e, size_t class_index, uint64_t except)
{
    const struct class *c = class_index < e->classes.cap ? e->classes.at[class_index] : NULL;
    if (c == NULL)
        return 0;
    LIST_EACH (it, &c->nodes) {
        const struct engine_node *n = LIST_ENTRY(it, struct engine_node, class_link);
        if (n->id != except)
            return n->id;
    }
    return 0;
}
