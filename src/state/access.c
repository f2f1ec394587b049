#include "state/access.h"

#include "base/mem.h"
#include "base/refs.h"

_Static_assert(GROUP_NODES == 64, "a word of bits is a group, in state/policy.c and netmap/");

static void slot_fini(struct rcbuf *_Atomic *slot)
{
    struct rcbuf *held = atomic_exchange_explicit(slot, NULL, memory_order_acquire);
    rcbuf_unref(&held);
}

struct cached_text *cached_text_create(struct str json)
{
    struct cached_text *t = MEM_NEW(struct cached_text);
    atomic_init(&t->refs, 1);
    t->json = rcbuf_create(json.p, json.len);
    return t;
}

struct cached_text *cached_text_ref(struct cached_text *t)
{
    refs_take(&t->refs);
    return t;
}

void cached_text_unref(struct cached_text **at)
{
    struct cached_text *t = *at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
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
    refs_take(&t->refs);
    return t;
}

void route_table_unref(struct route_table **at)
{
    struct route_table *t = *at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    prefix_list_unref(&t->prefixes);
    mem_free(t);
}

const uint64_t *route_table_row(const struct route_table *t, struct viewer_key viewer)
{
    return viewer.class_index < t->class_n ? &t->rows[viewer.class_index * t->words] : NULL;
}

struct node_access *node_access_create(void)
{
    struct node_access *r = MEM_NEW(struct node_access);
    atomic_init(&r->refs, 1);
    return r;
}

const struct node_access *node_access_ref(const struct node_access *r)
{
    refs_take(&r->refs);
    return r;
}

void node_access_unref(const struct node_access **at)
{
    struct node_access *r = (struct node_access *)*at;
    *at = NULL;
    if (r == NULL || !refs_drop(&r->refs))
        return;
    cached_text_unref(&r->filter);
    cached_text_unref(&r->ssh);
    rcbuf_unref(&r->caps);
    rcbuf_unref(&r->nextdns);
    route_table_unref(&r->routes);
    mem_free(r);
}

struct access *access_ref(struct access *r)
{
    refs_take(&r->refs);
    return r;
}

static void group_unref(struct access_group *g)
{
    if (g == NULL || !refs_drop(&g->refs))
        return;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_access_unref(&g->of[i]);
    mem_free(g);
}

void access_unref(struct access **at)
{
    struct access *r = *at;
    *at = NULL;
    if (r == NULL || !refs_drop(&r->refs))
        return;
    for (size_t i = 0; i < r->group_n; i++)
        group_unref(r->groups[i]);
    engine_view_unref(&r->view);
    mem_free(r);
}

const struct node_access *access_of_node(const struct access *r, node_id id)
{
    size_t group = id / GROUP_NODES;
    if (r == NULL || group >= r->group_n || r->groups[group] == NULL)
        return NULL;
    return r->groups[group]->of[id % GROUP_NODES];
}

void change_audiences_destroy(struct change_audiences **at)
{
    struct change_audiences *t = *at;
    *at = NULL;
    for (size_t i = 0; t != NULL && i < AUDIENCE_BUCKETS; i++) {
        struct change_audience *a = atomic_load_explicit(&t->audiences[i], memory_order_acquire);
        while (a != NULL) {
            struct change_audience *next = a->next;
            mem_free(a);
            a = next;
        }
        struct audience_message *s = atomic_load_explicit(&t->messages[i], memory_order_acquire);
        while (s != NULL) {
            struct audience_message *next = s->next;
            slot_fini(&s->frame[0]);
            slot_fini(&s->frame[1]);
            mem_free(s);
            s = next;
        }
    }
    mem_free(t);
}
