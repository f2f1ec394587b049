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

/* "192.0.2.1:41641 [2001:db8::1]:41641" */
static void write_endpoints(const struct row *object, struct buf *out)
{
    const struct node *n = (const struct node *)object;
    for (unsigned i = 0; i < n->endpoints_n; i++) {
        char one[ADDR_TEXT_CAP];
        addr_format(&n->endpoints[i], true, one);
        buf_append_c(out, i > 0 ? " " : "");
        buf_append_c(out, one);
    }
}

static enum rc read_endpoints(struct row **object, struct str rest)
{
    struct addr v[ENDPOINTS_MAX] = {0};
    struct str one;
    unsigned n = 0;
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        if (n == ENDPOINTS_MAX || addr_parse(one, &v[n]) != RC_OK)
            return RC_INVALID;
        n++;
    }
    const struct row *without = *object;
    *object = &node_edit((const struct node *)without, v, n)->row;
    row_unref(&entity_node, &without);
    return RC_OK;
}

_Static_assert((int)COLUMN_PREFIXES_MAX >= (int)ROUTES_MAX, "all routes of a node can be read");

static const struct column columns[] = {
    {COLUMN_OF("stable_id", COLUMN_TEXT, struct node, stable_id)},
    {COLUMN_OF("user_id", COLUMN_INT, struct node, user), COLUMN_IS_ID, .flags = COLUMN_NULL_IF_ZERO},
    {COLUMN_OF("machine_key", COLUMN_BYTES, struct node, machine)},
    {COLUMN_OF("node_key", COLUMN_BYTES, struct node, key), .flags = COLUMN_UNIQUE},
    {COLUMN_OF("disco_key", COLUMN_BYTES, struct node, disco), .flags = COLUMN_NULL_IF_ZERO | COLUMN_PRESENCE},
    {COLUMN_OF("nl_key", COLUMN_BYTES, struct node, nl), .flags = COLUMN_NULL_IF_ZERO},
    {COLUMN_OF("ipv4", COLUMN_IP, struct node, v4), .max = 4, .flags = COLUMN_UNIQUE},
    {COLUMN_OF("ipv6", COLUMN_IP, struct node, v6), .max = 6, .flags = COLUMN_UNIQUE},
    {COLUMN_OF("name", COLUMN_TEXT, struct node, name), .flags = COLUMN_UNIQUE},
    {COLUMN_OF("hostname", COLUMN_TEXT, struct node, hostname), .flags = COLUMN_PRESENCE},
    {COLUMN_OF("is_renamed", COLUMN_BOOL, struct node, is_renamed)},
    {COLUMN_OF("is_ephemeral", COLUMN_BOOL, struct node, is_ephemeral)},
    {COLUMN_OF("is_expired", COLUMN_BOOL, struct node, is_ended)},
    {COLUMN_OF("cap_version", COLUMN_INT, struct node, cap_version), .max = UINT32_MAX, .flags = COLUMN_PRESENCE},
    {COLUMN_OF("home_derp", COLUMN_INT, struct node, home_derp), .max = UINT16_MAX,
     .flags = COLUMN_NULL_IF_ZERO | COLUMN_PRESENCE},
    {COLUMN_OF("auth_key", COLUMN_INT, struct node, auth_key), COLUMN_IS_ID, .flags = COLUMN_NULL_IF_ZERO},
    {COLUMN_OF("created_ms", COLUMN_INT, struct node, created_ms)},
    {COLUMN_OF("expires_ms", COLUMN_INT, struct node, expires_ms), .flags = COLUMN_NULL_IF_ZERO},
    {COLUMN_OF("last_seen_ms", COLUMN_INT, struct node, last_seen_ms), .flags = COLUMN_NULL_IF_ZERO | COLUMN_PRESENCE},
    {COLUMN_OF("tags", COLUMN_JSON, struct node, tags)},
    {COLUMN_OF("hostinfo", COLUMN_JSON, struct node, hostinfo), .flags = COLUMN_PRESENCE},
    {COLUMN_OF("hostinfo_peers", COLUMN_JSON, struct node, hostinfo_peers), .flags = COLUMN_PRESENCE},
    {.name = "endpoints",
     .type = COLUMN_HOOK,
     .write = write_endpoints,
     .read = read_endpoints,
     .flags = COLUMN_PRESENCE},
    {COLUMN_OF("advertised", COLUMN_PREFIXES, struct node, advertised), .flags = COLUMN_LENIENT | COLUMN_PRESENCE,
     .since = 3},
    {COLUMN_OF("approved", COLUMN_PREFIXES, struct node, approved), .since = 3},
    {COLUMN_OF("primary_routes", COLUMN_PREFIXES, struct node, primary), .flags = COLUMN_LENIENT, .since = 7},
};

const struct entity entity_node = {
    .name = "node",
    .table = "nodes",
    .number = 6,
    .since = 1,
    .id_max = NODE_ID_MAX,
    .is_counted = true,
    .is_in_snapshot = true,
    .size = sizeof(struct node),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
    .destroy = destroy,
    .copy = copy,
};
