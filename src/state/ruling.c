#include "state/ruling.h"

#include "base/mem.h"

_Static_assert(GROUP_NODES == 64, "a word of bits is a group, in state/policy.c and netmap/");

static bool drop(const atomic_uint *refs)
{
    return atomic_fetch_sub_explicit((atomic_uint *)refs, 1, memory_order_acq_rel) == 1;
}

static void take(const atomic_uint *refs)
{
    atomic_fetch_add_explicit((atomic_uint *)refs, 1, memory_order_relaxed);
}

static void slot_fini(struct rcbuf *_Atomic *slot)
{
    struct rcbuf *held = atomic_exchange_explicit(slot, NULL, memory_order_acquire);
    rcbuf_unref(&held);
}

struct told_text *told_text_create(struct str json)
{
    struct told_text *t = MEM_NEW(struct told_text);
    atomic_init(&t->refs, 1);
    t->json = rcbuf_create(json.p, json.len);
    return t;
}

struct told_text *told_text_ref(struct told_text *t)
{
    take(&t->refs);
    return t;
}

void told_text_unref(struct told_text **at)
{
    struct told_text *t = *at;
    *at = NULL;
    if (t == NULL || !drop(&t->refs))
        return;
    rcbuf_unref(&t->json);
    slot_fini(&t->frame[0]);
    slot_fini(&t->frame[1]);
    mem_free(t);
}

struct route_table *route_table_create(size_t class_n, size_t words)
{
    struct route_table *t = mem_zalloc(1, sizeof(*t) + class_n * words * sizeof(t->rows[0]));
    atomic_init(&t->refs, 1);
    t->class_n = class_n;
    t->words = words;
    return t;
}

struct route_table *route_table_ref(struct route_table *t)
{
    take(&t->refs);
    return t;
}

void route_table_unref(struct route_table **at)
{
    struct route_table *t = *at;
    *at = NULL;
    if (t == NULL || !drop(&t->refs))
        return;
    prefix_list_unref(&t->prefixes);
    mem_free(t);
}

const uint64_t *route_table_row(const struct route_table *t, struct policy_seat viewer)
{
    return viewer.class_index < t->class_n ? &t->rows[viewer.class_index * t->words] : NULL;
}

struct node_rights *node_rights_create(void)
{
    struct node_rights *r = MEM_NEW(struct node_rights);
    atomic_init(&r->refs, 1);
    return r;
}

const struct node_rights *node_rights_ref(const struct node_rights *r)
{
    take(&r->refs);
    return r;
}

void node_rights_unref(const struct node_rights **at)
{
    struct node_rights *r = (struct node_rights *)*at;
    *at = NULL;
    if (r == NULL || !drop(&r->refs))
        return;
    told_text_unref(&r->filter);
    told_text_unref(&r->ssh);
    rcbuf_unref(&r->caps);
    rcbuf_unref(&r->nextdns);
    route_table_unref(&r->routes);
    mem_free(r);
}

struct ruling *ruling_ref(struct ruling *r)
{
    take(&r->refs);
    return r;
}

static void group_unref(struct rights_group *g)
{
    if (g == NULL || !drop(&g->refs))
        return;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_rights_unref(&g->of[i]);
    mem_free(g);
}

void ruling_unref(struct ruling **at)
{
    struct ruling *r = *at;
    *at = NULL;
    if (r == NULL || !drop(&r->refs))
        return;
    for (size_t i = 0; i < r->group_n; i++)
        group_unref(r->groups[i]);
    policy_view_unref(&r->view);
    mem_free(r);
}

const struct node_rights *ruling_rights(const struct ruling *r, node_id id)
{
    size_t group = id / GROUP_NODES;
    if (r == NULL || group >= r->group_n || r->groups[group] == NULL)
        return NULL;
    return r->groups[group]->of[id % GROUP_NODES];
}

void change_told_destroy(struct change_told **at)
{
    struct change_told *t = *at;
    *at = NULL;
    for (size_t i = 0; t != NULL && i < TOLD_BUCKETS; i++) {
        struct change_audience *a = atomic_load_explicit(&t->audiences[i], memory_order_acquire);
        while (a != NULL) {
            struct change_audience *next = a->next;
            mem_free(a);
            a = next;
        }
        struct change_share *s = atomic_load_explicit(&t->shares[i], memory_order_acquire);
        while (s != NULL) {
            struct change_share *next = s->next;
            slot_fini(&s->frame[0]);
            slot_fini(&s->frame[1]);
            mem_free(s);
            s = next;
        }
    }
    mem_free(t);
}
