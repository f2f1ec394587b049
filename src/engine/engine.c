/* The life of an engine: creation, nodes that come and go, destruction. */
#include "base/mem.h"
#include "engine/sources.h"
#include "engine/tables.h"

struct engine *engine_create(struct policy_doc *doc, const struct engine_user *users, size_t user_n,
                             const struct engine_ranges *ranges)
{
    struct engine *e = MEM_NEW(struct engine);
    e->doc = policy_doc_ref(doc);
    e->clock = 1;
    e->sel_words = bits_words(doc->sel_n);
    owners_init(&e->owners, doc, &e->arena, users, user_n);
    source_table_init(&e->sources, doc, &e->arena);
    rule_index_init(&e->rules, doc, &e->sources);
    engine_nodes_init(&e->nodes, doc, &e->arena);
    route_index_init(&e->routes, doc, ranges);
    map_init(&e->classes.by_key, NULL);
    e->addresses = address_index_create(doc);
    return e;
}

const struct policy_doc *engine_doc(const struct engine *e)
{
    return e->doc;
}

static void owner_count(struct engine *e, struct engine_node *n, int delta)
{
    struct owner *o = n->owner;
    if (o == NULL || !e->rules.has_own)
        return;
    o->self_sources += n->class->is_self_source ? (size_t)delta : 0;
    o->version = e->clock;
    list_remove(&o->version_link);
    list_push_back(&e->owners.by_version, &o->version_link);
}

/* Links the node into the lists of its class and owner. */
static void node_link(struct engine *e, struct engine_node *n)
{
    if (route_index_is_stray(&e->routes, n))
        list_push_back(&e->routes.strays, &n->stray_link);
    list_push_back(&n->class->nodes, &n->class_link);
    n->class->node_n++;
    if (n->owner != NULL)
        list_push_back(&n->owner->nodes, &n->owner_link);
}

static void node_unlink(struct engine *e, struct engine_node *n)
{
    list_remove(&n->class_link);
    list_remove(&n->owner_link);
    list_remove(&n->version_link);
    list_remove(&n->stray_link);
    if (--n->class->node_n == 0)
        class_drop(e, n->class);
}

static bool same_range(const struct range *a, const struct range *b)
{
    return a->family == b->family && a->lo == b->lo;
}

/* Whether no access of other nodes depends on the difference between the two. */
static bool is_same_to_others(const struct engine_node *a, const struct engine_node *b)
{
    return a->class == b->class && a->owner == b->owner && same_range(&a->v4, &b->v4) && same_range(&a->v6, &b->v6);
}

void engine_put_node(struct engine *e, const struct engine_facts *f)
{
    struct engine_node *old = engine_node_find(&e->nodes, f->id);
    struct str facts = engine_node_facts(f);
    if (old != NULL && str_eq(old->facts, facts)) {
        mem_free((void *)facts.p);
        return;
    }
    e->clock++;
    struct engine_node *n = engine_node_create(e->doc, &e->owners, f, facts);
    n->class = class_get(e, n, f);
    n->version = e->clock;
    route_index_hold(&e->routes, n, e->clock);
    route_index_touch(&e->routes, n, e->clock);
    node_link(e, n);
    if (old != NULL && is_same_to_others(old, n)) {
        /* Its capabilities depend on the operating system, login names on the version of its client. */
        bool is_same_to_itself = old->is_mac == n->is_mac && old->has_old_ssh == n->has_old_ssh;
        n->version = is_same_to_itself ? old->version : e->clock;
        list_push_back(is_same_to_itself ? &old->version_link : &e->nodes.by_version, &n->version_link);
    } else {
        view_builder_forget_view(&e->views);
        sources_count(e, n, 1);
        route_index_count_strays(&e->routes, n, 1, e->clock);
        owner_count(e, n, 1);
        if (old != NULL) {
            sources_count(e, old, -1);
            route_index_count_strays(&e->routes, old, -1, e->clock);
            owner_count(e, old, -1);
            view_builder_remove(&e->views, old, e->rules.has_own);
        }
        view_builder_add(&e->views, n, e->rules.has_own);
        list_push_back(&e->nodes.by_version, &n->version_link);
    }
    map_put(&e->nodes.by_id, &n->id, sizeof(n->id), n);
    if (old != NULL) {
        route_index_touch(&e->routes, old, e->clock);
        route_index_release(&e->routes, old, e->clock);
        node_unlink(e, old);
        engine_node_free(old);
    }
}

void engine_remove_node(struct engine *e, uint64_t id)
{
    struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n == NULL)
        return;
    e->clock++;
    view_builder_forget_view(&e->views);
    sources_count(e, n, -1);
    route_index_count_strays(&e->routes, n, -1, e->clock);
    owner_count(e, n, -1);
    view_builder_remove(&e->views, n, e->rules.has_own);
    route_index_touch(&e->routes, n, e->clock);
    route_index_release(&e->routes, n, e->clock);
    map_remove(&e->nodes.by_id, &n->id, sizeof(n->id));
    node_unlink(e, n);
    engine_node_free(n);
}

void engine_destroy(struct engine **e_ptr)
{
    struct engine *e = *e_ptr;
    *e_ptr = NULL;
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->nodes.by_id.cap; i++) {
        struct engine_node *n = e->nodes.by_id.slots[i].value;
        if (n == NULL)
            continue;
        route_index_release(&e->routes, n, e->clock);
        node_unlink(e, n);
        engine_node_free(n);
    }
    map_fini(&e->nodes.by_id);
    view_builder_fini(&e->views);
    map_fini(&e->classes.by_key);
    mem_free(e->classes.at);
    mem_free(e->merges.slot);
    route_index_fini(&e->routes);
    address_index_destroy(&e->addresses);
    rule_index_fini(&e->rules);
    source_table_fini(&e->sources);
    owners_fini(&e->owners);
    policy_doc_unref(&e->doc);
    arena_fini(&e->arena);
    mem_free(e);
}

size_t engine_node_count(const struct engine *e)
{
    return e->nodes.by_id.n;
}

size_t engine_class_count(const struct engine *e)
{
    return e->classes.n;
}
