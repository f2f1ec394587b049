#include "state/node.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"
#include "state/model_internal.h"

struct node *node_create(unsigned endpoints_n)
{
    struct node *n = mem_zalloc(1, sizeof(*n) + endpoints_n * sizeof(n->endpoints[0]));
    atomic_init(&n->refs, 1);
    n->endpoints_n = endpoints_n;
    return n;
}

struct node *node_edit(const struct node *n, const struct addr *endpoints, unsigned endpoints_n)
{
    if (endpoints == NULL) {
        endpoints = n->endpoints;
        endpoints_n = n->endpoints_n;
    }
    struct node *copy = mem_alloc(sizeof(*copy) + endpoints_n * sizeof(copy->endpoints[0]));
    /* The cache is not copied either: other threads may be filling it meanwhile. */
    copy_members(copy, n, offsetof(struct node, id), offsetof(struct node, cache));
    atomic_init(&copy->refs, 1);
    cache_slot_init(&copy->cache);
    copy->endpoints_n = endpoints_n;
    memcpy(copy->endpoints, endpoints, endpoints_n * sizeof(copy->endpoints[0]));
    ref_or_null(copy->tags);
    ref_or_null(copy->hostinfo);
    ref_or_null(copy->hostinfo_peers);
    prefix_list_ref(copy->advertised);
    prefix_list_ref(copy->approved);
    prefix_list_ref(copy->primary);
    return copy;
}

const struct node *node_ref(const struct node *n)
{
    refs_take(&n->refs);
    return n;
}

void node_unref(const struct node **at)
{
    const struct row *row = *at != NULL ? &(*at)->row : NULL;
    *at = NULL;
    row_unref(&entity_node, &row);
}

bool node_serves_next(const struct node *n, size_t *pos, struct prefix *out)
{
    while (n->approved != NULL && n->advertised != NULL && *pos < n->advertised->n) {
        *out = n->advertised->v[(*pos)++];
        if (prefix_list_has(n->approved, out))
            return true;
    }
    return false;
}

bool node_has_endpoints(const struct node *n, const struct addr *endpoints, unsigned endpoints_n)
{
    if (n->endpoints_n != endpoints_n)
        return false;
    for (unsigned i = 0; i < endpoints_n; i++) {
        if (!addr_eq(&n->endpoints[i], &endpoints[i]))
            return false;
    }
    return true;
}

bool node_serves(const struct node *n)
{
    struct prefix p;
    size_t pos = 0;
    return node_serves_next(n, &pos, &p);
}

bool node_is_exit(const struct node *n)
{
    struct prefix p;
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (p.bits == 0)
            return true;
    }
    return false;
}

size_t node_tags_split(const struct rcbuf *tags, struct str out[TAGS_MAX])
{
    struct str rest = tags != NULL ? str_n(tags->data, tags->len) : STR_EMPTY, before, tag;
    size_t n = 0;
    /* A tag has no character that JSON would escape. */
    while (n < TAGS_MAX && str_cut(rest, '"', &before, &rest) && str_cut(rest, '"', &tag, &rest))
        out[n++] = tag;
    return n;
}

/* --- rows --- */

static void destroy(struct row *object)
{
    struct node *n = (struct node *)object;
    rcbuf_unref(&n->tags);
    rcbuf_unref(&n->hostinfo);
    rcbuf_unref(&n->hostinfo_peers);
    prefix_list_unref(&n->advertised);
    prefix_list_unref(&n->approved);
    prefix_list_unref(&n->primary);
    cache_slot_fini(&n->cache);
    mem_free(object);
}

static struct row *copy(const struct row *object)
{
    return &node_edit((const struct node *)object, NULL, 0)->row;
}

const struct entity entity_node = {
    .name = "node",
    .table = "nodes",
    .number = 6,
    .since = 1,
    .id_max = NODE_ID_MAX,
    .is_counted = true,
    .is_in_snapshot = true,
    .size = sizeof(struct node),
    .destroy = destroy,
    .copy = copy,
};
