#include "engine/approval.h"

#include "base/mem.h"
#include "engine/tables.h"

/* --- approvers. src: docs/protocol/policy.md 10 --- */

static bool is_approver(const struct engine_node *n, const struct sel_list *by)
{
    for (size_t i = 0; i < by->n; i++) {
        if (engine_node_is(n, by->v[i]))
            return true;
    }
    return false;
}

bool engine_may_approve_route(const struct engine *e, uint64_t id, const struct addr *addr, uint8_t bits)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n == NULL)
        return false;
    if (bits == 0)
        return is_approver(n, &e->doc->exit_approver);
    struct range route = range_of_prefix(addr, bits);
    for (size_t i = 0; i < e->doc->route_approver_n; i++) {
        const struct approver *a = &e->doc->route_approver[i];
        if (range_holds(&a->route, &route) && is_approver(n, &a->by))
            return true;
    }
    return false;
}

bool engine_may_approve_service(const struct engine *e, uint64_t id, struct str service)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    for (size_t i = 0; n != NULL && i < e->doc->service_approver_n; i++) {
        const struct approver *a = &e->doc->service_approver[i];
        if (str_eq(a->name, service) && is_approver(n, &a->by))
            return true;
    }
    return false;
}

/* --- tags. src: docs/protocol/policy.md 11 --- */

/* Marks `t` and the tags that own it, directly or through other tags. Cycles are harmless. */
static void mark_owning(const struct policy_doc *doc, const struct tag *t, uint64_t *marks)
{
    const struct tag **todo = mem_zalloc(doc->tag_n + 1, sizeof(*todo));
    size_t n = 0;
    todo[n++] = t;
    bit_put(marks, (size_t)(t - doc->tag));
    while (n > 0) {
        t = todo[--n];
        for (size_t i = 0; i < t->owner.n; i++) {
            const struct selector *s = &doc->sel[t->owner.v[i]];
            const struct tag *owner = s->kind == SEL_TAG ? map_get(&doc->tag_by_name, s->text.p, s->text.len) : NULL;
            if (owner == NULL || bit_get(marks, (size_t)(owner - doc->tag)))
                continue;
            bit_put(marks, (size_t)(owner - doc->tag));
            todo[n++] = owner;
        }
    }
    mem_free(todo);
}

static bool owns_directly(const struct engine *e, const struct owner *o, const struct tag *t)
{
    for (size_t i = 0; i < t->owner.n; i++) {
        if (e->doc->sel[t->owner.v[i]].kind != SEL_TAG && bit_get(o->in, t->owner.v[i]))
            return true;
    }
    return false;
}

bool engine_user_may_tag(const struct engine *e, uint64_t user, struct str tag)
{
    const struct tag *t = map_get(&e->doc->tag_by_name, tag.p, tag.len);
    const struct owner *o = map_get(&e->owners.by_id, &user, sizeof(user));
    if (t == NULL || o == NULL)
        return false;
    if (o->role == POLICY_OWNER || o->role == POLICY_ADMIN || o->role == POLICY_NETWORK_ADMIN)
        return true;
    uint64_t *marks = mem_zalloc(bits_words(e->doc->tag_n), sizeof(*marks));
    bool may = false;
    mark_owning(e->doc, t, marks);
    BITS_EACH (i, marks, bits_words(e->doc->tag_n))
        may = may || owns_directly(e, o, &e->doc->tag[i]);
    mem_free(marks);
    return may;
}

bool engine_tags_may_tag(const struct engine *e, const struct str *tags, size_t tag_n, struct str tag)
{
    const struct tag *t = map_get(&e->doc->tag_by_name, tag.p, tag.len);
    if (t == NULL)
        return false;
    uint64_t *marks = mem_zalloc(bits_words(e->doc->tag_n), sizeof(*marks));
    bool may = false;
    mark_owning(e->doc, t, marks);
    for (size_t i = 0; i < tag_n; i++) {
        const struct tag *mine = map_get(&e->doc->tag_by_name, tags[i].p, tags[i].len);
        may = may || (mine != NULL && bit_get(marks, (size_t)(mine - e->doc->tag)));
    }
    mem_free(marks);
    return may;
}

bool engine_knows_tag(const struct engine *e, struct str tag)
{
    return map_get(&e->doc->tag_by_name, tag.p, tag.len) != NULL;
}
