#include "state/access.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"

_Static_assert(GROUP_NODES == 64, "a word of bits is a group");

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
    cache_slot_fini(&t->cache);
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

/* Every port of every address. Clients keep an SSH policy until they get another one, so those that had a policy
 * before need the empty one. */
#define EVERYTHING "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]"
#define NO_SSH "{\"rules\":[]}"

struct access *access_create_open(void)
{
    struct access *a = MEM_NEW(struct access);
    struct node_access *everyone = node_access_create();
    atomic_init(&a->refs, 1);
    everyone->filter = cached_text_create(STR(EVERYTHING));
    everyone->ssh = cached_text_create(STR(NO_SSH));
    everyone->caps = rcbuf_create("{}", 2);
    a->everyone = everyone;
    return a;
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
    node_access_unref(&r->everyone);
    mem_free(r);
}

/* Null: the access has no such group, or is open. */
static const struct access_group *find_group(const struct access *a, size_t group)
{
    return group < a->group_n ? a->groups[group] : NULL;
}

const struct node_access *access_of_node(const struct access *a, node_id id)
{
    const struct access_group *g = find_group(a, id / GROUP_NODES);
    return g != NULL ? g->of[id % GROUP_NODES] : a->everyone;
}

bool access_same_group(const struct access *a, const struct access *b, size_t group)
{
    return find_group(a, group) == find_group(b, group);
}

struct viewer_key access_viewer_key(const struct access *a, node_id id)
{
    return access_is_open(a) ? (struct viewer_key){0} : engine_view_key(a->view, id);
}

bool access_sees(const struct access *a, struct viewer_key viewer, node_id id)
{
    return access_is_open(a) || engine_view_keys_see(a->view, viewer, engine_view_key(a->view, id));
}

void access_mark_seen(const struct access *a, struct viewer_key viewer, uint64_t *set, size_t groups)
{
    if (access_is_open(a))
        memset(set, 0xff, groups * sizeof(*set));
    else
        engine_view_mark(a->view, viewer, set, groups);
}

uint64_t access_without_v4(const struct access *a, size_t group)
{
    const struct access_group *g = find_group(a, group);
    return g != NULL ? g->without_v4 : 0;
}
