/* What one item of a change means to a viewer, and messages made of such items. */
#include "netmap/netmap_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* --- what a viewer sees at one moment --- */

struct viewer_key netmap_viewer_key(const struct snapshot *s, node_id id)
{
    return snapshot_node(s, id) != NULL ? access_viewer_key(s->access, id)
                                        : (struct viewer_key){.class_index = ENGINE_NO_CLASS};
}

struct viewer netmap_viewer(const struct snapshot *s, node_id id)
{
    const struct node_access *own = access_of_node(s->access, id);
    return (struct viewer){netmap_viewer_key(s, id), own != NULL && own->hides_v4};
}

bool netmap_sees(const struct snapshot *s, const struct viewer *v, node_id id)
{
    return v->key.class_index != ENGINE_NO_CLASS && access_sees(s->access, v->key, id);
}

struct peer_shape netmap_shape(const struct access *a, const struct viewer *v, node_id id)
{
    const struct node_access *of_peer = access_of_node(a, id);
    struct peer_shape shape = {.hides_v4 = v->hides_v4, .has_policy = !access_is_open(a)};
    if (of_peer == NULL)
        return shape;
    shape.hides_v4 = v->hides_v4 || of_peer->hides_v4;
    shape.routes = of_peer->routes;
    if (shape.routes != NULL)
        shape.row = route_table_row(shape.routes, v->key);
    return shape;
}

/* --- what differs of a node --- */

enum item_kind { ITEM_NOTHING, ITEM_FULL, ITEM_PATCH, ITEM_REMOVED };

/* Whether something differs that a patch cannot express. Key and KeyExpiry could be patched too, but the client does
 * as much work for that as for a whole node. src: docs/protocol/control.md 6.8 */
static bool needs_full(const struct node *a, const struct node *b)
{
    bool disco_differs = !keys_equal(a->disco.b, b->disco.b);
    return netmap_self_differs(a, b) || a->is_expired != b->is_expired || a->created_ms != b->created_ms ||
           !rcbuf_eq(a->hostinfo_peers, b->hostinfo_peers) || (a->home_derp != b->home_derp && b->home_derp == 0) ||
           (a->cap_version != b->cap_version && b->cap_version == 0) ||
           /* A patch with a new disco key and Online:false may be discarded by 1.98-1.103. */
           (disco_differs && (!b->is_online || key_is_zero(b->disco.b)));
}

static bool patch_is_empty(const struct node *a, const struct node *b)
{
    return a->home_derp == b->home_derp && a->cap_version == b->cap_version && a->is_online == b->is_online &&
           keys_equal(a->disco.b, b->disco.b) && node_has_endpoints(a, b->endpoints, b->endpoints_n) &&
           (b->is_online || a->last_seen_ms == b->last_seen_ms);
}

/* What the item means to a viewer that sees the node before and after. */
static enum item_kind kind_of(const struct change_item *item)
{
    const struct node *before = node_as_peer(item->before), *after = node_as_peer(item->after);
    if (after == NULL)
        return before == NULL ? ITEM_NOTHING : ITEM_REMOVED;
    if (before == NULL || needs_full(before, after))
        return ITEM_FULL;
    return patch_is_empty(before, after) ? ITEM_NOTHING : ITEM_PATCH;
}

static void write_patch(struct json_writer *w, const struct change_item *item)
{
    const struct node *a = item->before, *b = item->after;
    bool disco_differs = !keys_equal(a->disco.b, b->disco.b);
    json_w_object(w);
    json_w_kv_u64(w, "NodeID", b->id);
    if (a->home_derp != b->home_derp)
        json_w_kv_u64(w, "DERPRegion", b->home_derp);
    if (a->cap_version != b->cap_version)
        json_w_kv_u64(w, "Cap", b->cap_version);
    if (!node_has_endpoints(a, b->endpoints, b->endpoints_n))
        netmap_write_endpoints(w, b);
    if (disco_differs) {
        char text[KEY_TEXT_CAP];
        disco_key_format(&b->disco, text);
        json_w_kv_cstr(w, "DiscoKey", text);
    }
    if (a->is_online != b->is_online || disco_differs)
        json_w_kv_bool(w, "Online", b->is_online);
    if (!b->is_online)
        netmap_write_time(w, "LastSeen", b->last_seen_ms);
    json_w_end_object(w);
}

/* --- codes --- */

/* In a code: the kind, two bits; whether the node is shown without its IPv4 address; whether the message has the
 * owner's profile, with a full node or alone; then one more than the class whose routes are shown, or 0 when none are.
 */
enum { CODE_KIND = 3, CODE_HIDES = 4, CODE_OWNER = 8, CODE_CLASS_SHIFT = 4 };

static bool same_shape(const struct peer_shape *a, const struct peer_shape *b)
{
    if (a->hides_v4 != b->hides_v4 || (a->routes == NULL) != (b->routes == NULL))
        return false;
    if (a->routes == NULL)
        return true;
    return prefix_list_eq(a->routes->prefixes, b->routes->prefixes) && a->row != NULL && b->row != NULL &&
           memcmp(a->row, b->row, a->routes->words * sizeof(*a->row)) == 0;
}

/* The first class that is shown the same routes, so that equal messages have equal codes. */
static uint32_t like_class(const struct peer_shape *shape)
{
    const struct route_table *t = shape->routes;
    uint32_t i = 0;
    while (memcmp(&t->rows[i * t->words], shape->row, t->words * sizeof(*shape->row)) != 0)
        i++;
    return i;
}

static uint32_t code_of_shape(const struct peer_shape *shape)
{
    uint32_t code = ITEM_FULL | (shape->hides_v4 ? CODE_HIDES : 0u);
    if (shape->routes != NULL && shape->row != NULL)
        code |= (like_class(shape) + 1) << CODE_CLASS_SHIFT;
    return code;
}

/* In the opposite direction, for the item's node as it is after the change. */
static struct peer_shape shape_of_code(const struct access *a, node_id id, uint32_t code)
{
    const struct route_table *routes = access_of_node(a, id)->routes;
    struct peer_shape shape = {
        .hides_v4 = (code & CODE_HIDES) != 0, .has_policy = !access_is_open(a), .routes = routes};
    if (routes != NULL && code >> CODE_CLASS_SHIFT != 0)
        shape.row = &routes->rows[((code >> CODE_CLASS_SHIFT) - 1) * routes->words];
    return shape;
}

/* Without a policy all profiles are in the common message. */
static bool has_profile(const struct change *c, const struct change_item *item, bool is_full)
{
    return !access_is_open(c->after->access) && (is_full || item->owner_differs) &&
           snapshot_owner(c->after, item->after) != NULL;
}

uint32_t netmap_item_code(const struct change *c, const struct watcher *v, const struct change_item *item)
{
    bool saw = node_as_peer(item->before) != NULL && netmap_sees(c->before, &v->before, item->id);
    bool will_see = node_as_peer(item->after) != NULL && netmap_sees(c->after, &v->after, item->id);
    if (!will_see)
        return saw ? ITEM_REMOVED : ITEM_NOTHING;
    struct peer_shape was = netmap_shape(c->before->access, &v->before, item->id);
    struct peer_shape is = netmap_shape(c->after->access, &v->after, item->id);
    enum item_kind kind = kind_of(item);
    bool is_full = !saw || kind == ITEM_FULL || !same_shape(&was, &is);
    return (is_full ? code_of_shape(&is) : kind) | (has_profile(c, item, is_full) ? CODE_OWNER : 0u);
}

/* --- messages --- */

static void write_full(struct json_writer *w, const struct change *c, const struct node *n, uint32_t code)
{
    struct peer_shape shape = shape_of_code(c->after->access, n->id, code);
    if (netmap_shape_is_plain(n, &shape)) {
        const struct rcbuf *peer = netmap_peer_json(n, c->after->settings);
        json_w_raw(w, str_n(peer->data, peer->len));
    } else {
        netmap_write_peer(w, n, c->after->settings, &shape);
    }
}

/* The list `key` of all items of one kind; nothing when there is none: null and [] mean other things. */
static void write_kind(struct json_writer *w, const struct change *c, const struct change_item *items,
                       const struct message_item *v, size_t n, const char *key, enum item_kind kind)
{
    bool open = false;
    for (size_t i = 0; i < n; i++) {
        const struct change_item *item = &items[v[i].index];
        if ((v[i].code & CODE_KIND) != (uint32_t)kind)
            continue;
        if (!open) {
            json_w_key(w, key);
            json_w_array(w);
            open = true;
        }
        if (kind == ITEM_FULL)
            write_full(w, c, item->after, v[i].code);
        else if (kind == ITEM_PATCH)
            write_patch(w, item);
        else
            json_w_u64(w, item->id);
    }
    if (open)
        json_w_end_array(w);
}

static int compare_users(const void *a, const void *b)
{
    const struct user *x = *(const struct user *const *)a, *y = *(const struct user *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Clients must have a user's profile when they get the first node of that user. src: docs/protocol/control.md 6.7 */
static void write_owners(struct json_writer *w, const struct change *c, const struct change_item *items,
                         const struct message_item *v, size_t n)
{
    const struct user **owners = mem_zalloc(n, sizeof(struct user *));
    size_t owner_n = 0;
    for (size_t i = 0; i < n; i++) {
        if ((v[i].code & CODE_OWNER) != 0)
            owners[owner_n++] = snapshot_owner(c->after, items[v[i].index].after);
    }
    if (owner_n > 0) {
        qsort(owners, owner_n, sizeof(struct user *), compare_users);
        json_w_key(w, "UserProfiles");
        json_w_array(w);
        for (size_t i = 0; i < owner_n; i++) {
            if (i == 0 || owners[i] != owners[i - 1])
                netmap_write_profile(w, owners[i]);
        }
        json_w_end_array(w);
    }
    mem_free(owners);
}

struct rcbuf *netmap_encode_items(struct netmap_ctx *ctx, const struct change *c, const struct change_item *items,
                                  const struct message_item *v, size_t n, enum netmap_coding coding)
{
    struct json_writer w;
    netmap_object_begin(ctx, &w);
    write_kind(&w, c, items, v, n, "PeersRemoved", ITEM_REMOVED);
    write_kind(&w, c, items, v, n, "PeersChanged", ITEM_FULL);
    write_kind(&w, c, items, v, n, "PeersChangedPatch", ITEM_PATCH);
    write_owners(&w, c, items, v, n);
    return netmap_object_end(ctx, &w, coding);
}

const struct change_item *netmap_find_item(const struct change *c, node_id id)
{
    size_t low = 0, high = c->item_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->items[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < c->item_n && c->items[low].id == id ? &c->items[low] : NULL;
}
