/* The life of an engine: creation, nodes that come and go, destruction. */
#include "base/mem.h"
#include "engine/sources.h"
#include "engine/tables.h"

struct engine *engine_create(struct policy_doc *doc, const struct engine_user *users, size_t user_n,
                             const struct engine_ranges *ranges)
{
    struct engine *p = MEM_NEW(struct engine);
    p->doc = policy_doc_ref(doc);
    p->clock = 1;
    p->sel_words = bits_words(doc->sel_n);
    owners_init(&p->owners, doc, &p->arena, users, user_n);
    source_table_init(&p->sources, doc, &p->arena);
    rule_index_init(&p->rules, doc, &p->sources);
    engine_nodes_init(&p->nodes, doc, &p->arena);
    route_index_init(&p->routes, doc, ranges);
    map_init(&p->classes.by_key, NULL);
    p->addresses = address_index_create(doc);
    return p;
}

const struct policy_doc *engine_doc(const struct engine *p)
{
    return p->doc;
}

static void owner_count(struct engine *p, struct engine_node *n, int delta)
{
    struct owner *o = n->owner;
    if (o == NULL || !p->rules.has_own)
        return;
    o->self_sources += n->class->is_self_source ? (size_t)delta : 0;
    o->version = p->clock;
    list_remove(&o->by_version);
    list_push_back(&p->owners.by_version, &o->by_version);
}

/* Links the node into the lists of its class and owner. */
static void node_link(struct engine *p, struct engine_node *n)
{
    if (route_index_is_stray(&p->routes, n))
        list_push_back(&p->routes.strays, &n->of_strays);
    list_push_back(&n->class->nodes, &n->of_class);
    n->class->node_n++;
    if (n->owner != NULL)
        list_push_back(&n->owner->nodes, &n->of_owner);
}

static void node_unlink(struct engine *p, struct engine_node *n)
{
    list_remove(&n->of_class);
    list_remove(&n->of_owner);
    list_remove(&n->by_version);
    list_remove(&n->of_strays);
    if (--n->class->node_n == 0)
        class_drop(p, n->class);
}

static bool same_range(const struct range *a, const struct range *b)
{
    return a->family == b->family && a->lo == b->lo;
}

/* Whether nothing that others are granted depends on the difference. */
static bool is_same_to_others(const struct engine_node *a, const struct engine_node *b)
{
    return a->class == b->class && a->owner == b->owner && same_range(&a->v4, &b->v4) && same_range(&a->v6, &b->v6);
}

void engine_put_node(struct engine *p, const struct engine_facts *f)
{
    struct engine_node *old = engine_node_find(&p->nodes, f->id);
    struct str facts = engine_node_facts(f);
    if (old != NULL && str_eq(old->facts, facts)) {
        mem_free((void *)facts.p);
        return;
    }
    p->clock++;
    struct engine_node *n = engine_node_create(p->doc, &p->owners, f, facts);
    n->class = class_get(p, n, f);
    n->version = p->clock;
    route_index_hold(&p->routes, n, p->clock);
    route_index_touch(&p->routes, n, p->clock);
    node_link(p, n);
    if (old != NULL && is_same_to_others(old, n)) {
        /* Its capabilities depend on the operating system, login names on the version of its client. */
        bool is_same_to_itself = old->is_mac == n->is_mac && old->has_old_ssh == n->has_old_ssh;
        n->version = is_same_to_itself ? old->version : p->clock;
        list_push_back(is_same_to_itself ? &old->by_version : &p->nodes.by_version, &n->by_version);
    } else {
        view_builder_forget_view(&p->views);
        sources_count(p, n, 1);
        route_index_count_strays(&p->routes, n, 1, p->clock);
        owner_count(p, n, 1);
        if (old != NULL) {
            sources_count(p, old, -1);
            route_index_count_strays(&p->routes, old, -1, p->clock);
            owner_count(p, old, -1);
            view_builder_remove(&p->views, old, p->rules.has_own);
        }
        view_builder_add(&p->views, n, p->rules.has_own);
        list_push_back(&p->nodes.by_version, &n->by_version);
    }
    map_put(&p->nodes.by_id, &n->id, sizeof(n->id), n);
    if (old != NULL) {
        route_index_touch(&p->routes, old, p->clock);
        route_index_release(&p->routes, old, p->clock);
        node_unlink(p, old);
        engine_node_free(old);
    }
}

void engine_remove_node(struct engine *p, uint64_t id)
{
    struct engine_node *n = engine_node_find(&p->nodes, id);
    if (n == NULL)
        return;
    p->clock++;
    view_builder_forget_view(&p->views);
    sources_count(p, n, -1);
    route_index_count_strays(&p->routes, n, -1, p->clock);
    owner_count(p, n, -1);
    view_builder_remove(&p->views, n, p->rules.has_own);
    route_index_touch(&p->routes, n, p->clock);
    route_index_release(&p->routes, n, p->clock);
    map_remove(&p->nodes.by_id, &n->id, sizeof(n->id));
    node_unlink(p, n);
    engine_node_free(n);
}

void engine_destroy(struct engine **p_ptr)
{
    struct engine *p = *p_ptr;
    *p_ptr = NULL;
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->nodes.by_id.cap; i++) {
        struct engine_node *n = p->nodes.by_id.slots[i].value;
        if (n == NULL)
            continue;
        route_index_release(&p->routes, n, p->clock);
        node_unlink(p, n);
        engine_node_free(n);
    }
    map_fini(&p->nodes.by_id);
    view_builder_fini(&p->views);
    map_fini(&p->classes.by_key);
    mem_free(p->classes.at);
    mem_free(p->merges.slot);
    route_index_fini(&p->routes);
    address_index_destroy(&p->addresses);
    rule_index_fini(&p->rules);
    source_table_fini(&p->sources);
    owners_fini(&p->owners);
    policy_doc_unref(&p->doc);
    arena_fini(&p->arena);
    mem_free(p);
}

size_t engine_node_count(const struct engine *p)
{
    return p->nodes.by_id.n;
}

size_t engine_class_count(const struct engine *p)
{
    return p->classes.n;
}
