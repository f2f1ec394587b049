/* Changes to messages: what one chunk of a change says is encoded once for everyone whom it is not about. */
#include "netmap/netmap_internal.h"

#include "base/mem.h"

METRIC_COUNTER(encoded_shared, "fullscale_netmap_encoded_total", "what=\"delta_shared\"", "");
METRIC_COUNTER(encoded_private, "fullscale_netmap_encoded_total", "what=\"delta_private\"", "");
METRIC_COUNTER(shared_bytes, "fullscale_netmap_delta_shared_bytes_total", "",
               "Bytes of shared delta messages as encoded, each counted once.");

/* --- one node --- */

static bool same_endpoints(const struct node *a, const struct node *b)
{
    if (a->endpoints_n != b->endpoints_n)
        return false;
    for (unsigned i = 0; i < a->endpoints_n; i++) {
        if (!addr_eq(&a->endpoints[i], &b->endpoints[i]))
            return false;
    }
    return true;
}

/* What peers see of both can be told apart by a patch only if this is the same.
 * src: docs/protocol/control.md 6.8. Key and KeyExpiry could be patched too, at the same cost to the client as a whole
 * node. */
static bool needs_full(const struct node *a, const struct node *b)
{
    bool disco_differs = !keys_equal(a->disco.b, b->disco.b);
    return self_differs(a, b) || a->is_expired != b->is_expired || a->created_ms != b->created_ms ||
           !rcbuf_eq(a->hostinfo_peers, b->hostinfo_peers) || (a->home_derp != b->home_derp && b->home_derp == 0) ||
           (a->cap_version != b->cap_version && b->cap_version == 0) ||
           /* A patch with a new disco key and Online:false may be discarded by 1.98-1.103. */
           (disco_differs && (!b->is_online || key_is_zero(b->disco.b)));
}

static bool patch_is_empty(const struct node *a, const struct node *b)
{
    return a->home_derp == b->home_derp && a->cap_version == b->cap_version && a->is_online == b->is_online &&
           keys_equal(a->disco.b, b->disco.b) && same_endpoints(a, b) &&
           (b->is_online || a->last_seen_ms == b->last_seen_ms);
}

enum item_kind item_kind_of(const struct change_item *item)
{
    const struct node *before = node_as_peer(item->before), *after = node_as_peer(item->after);
    if (after == NULL)
        return before == NULL ? ITEM_NOTHING : ITEM_REMOVED;
    if (before == NULL || needs_full(before, after))
        return ITEM_FULL;
    return patch_is_empty(before, after) ? ITEM_NOTHING : ITEM_PATCH;
}

void write_patch(struct json_writer *w, const struct change_item *item)
{
    const struct node *a = item->before, *b = item->after;
    bool disco_differs = !keys_equal(a->disco.b, b->disco.b);
    json_w_object(w);
    json_w_kv_u64(w, "NodeID", b->id);
    if (a->home_derp != b->home_derp)
        json_w_kv_u64(w, "DERPRegion", b->home_derp);
    if (a->cap_version != b->cap_version)
        json_w_kv_u64(w, "Cap", b->cap_version);
    if (!same_endpoints(a, b))
        write_endpoints(w, b);
    if (disco_differs) {
        char text[KEY_TEXT_CAP];
        disco_key_format(&b->disco, text);
        json_w_kv_cstr(w, "DiscoKey", text);
    }
    if (a->is_online != b->is_online || disco_differs)
        json_w_kv_bool(w, "Online", b->is_online);
    if (!b->is_online)
        write_time(w, "LastSeen", b->last_seen_ms);
    json_w_end_object(w);
}

/* --- one chunk --- */

/* For whom a chunk is encoded. */
struct audience {
    node_id except;   /* this one is not told of itself; 0: nobody */
    bool is_unpinned; /* with the DERP map for old clients */
};

struct chunk_view {
    const struct change_item *items;
    size_t n;
    struct audience audience;
};

static struct chunk_view view_of(const struct change *c, size_t chunk, struct audience a)
{
    size_t first = chunk * CHANGE_CHUNK_ITEMS;
    size_t n = c->item_n > first ? c->item_n - first : 0;
    return (struct chunk_view){c->items + first, n < CHANGE_CHUNK_ITEMS ? n : CHANGE_CHUNK_ITEMS, a};
}

/* Writes the list `key` of all items of one kind; nothing when there is none: null and [] mean other things. */
static void write_items(struct json_writer *w, const struct change *c, struct chunk_view v, const char *key,
                        enum item_kind kind)
{
    bool open = false;
    for (size_t i = 0; i < v.n; i++) {
        const struct change_item *item = &v.items[i];
        if (item->id == v.audience.except || item_kind_of(item) != kind)
            continue;
        if (!open) {
            json_w_key(w, key);
            json_w_array(w);
            open = true;
        }
        if (kind == ITEM_FULL) {
            const struct rcbuf *peer = peer_json(item->after, c->after->settings);
            json_w_raw(w, str_n(peer->data, peer->len));
        } else if (kind == ITEM_PATCH) {
            write_patch(w, item);
        } else {
            json_w_u64(w, item->id);
        }
    }
    if (open)
        json_w_end_array(w);
}

/* Profiles that are new or differ; both tables are sorted. */
static void write_changed_users(struct json_writer *w, const struct change *c)
{
    const struct user_table *old = c->before->users, *new = c->after->users;
    bool open = false;
    for (size_t i = 0, k = 0; i < new->n; i++) {
        while (k < old->n && old->users[k]->id < new->users[i]->id)
            k++;
        if (k < old->n && old->users[k] == new->users[i])
            continue;
        if (!open) {
            json_w_key(w, "UserProfiles");
            json_w_array(w);
            open = true;
        }
        write_user_profile(w, new->users[i]);
    }
    if (open)
        json_w_end_array(w);
}

static void write_raw_if_new(struct json_writer *w, const char *key, const struct rcbuf *old, const struct rcbuf *new)
{
    if (!rcbuf_eq(old, new))
        write_raw(w, key, new);
}

/* Also when it had another map before, and all have the same now. */
bool has_other_derp_map(const struct change *c, const struct node *n)
{
    return c->settings_changed && (needs_unpinned(n, c->before->settings) || needs_unpinned(n, c->after->settings));
}

void write_new_settings(struct json_writer *w, const struct change *c, bool is_unpinned)
{
    const struct tailnet_settings *old = c->before->settings, *new = c->after->settings;
    write_raw_if_new(w, "DERPMap", derp_map_of(old, is_unpinned), derp_map_of(new, is_unpinned));
    if (!dns_is_own(new))
        write_raw_if_new(w, "DNSConfig", old->dns_config_json, new->dns_config_json);
}

static void write_chunk(struct netmap_ctx *ctx, const struct change *c, size_t chunk, struct audience a)
{
    struct chunk_view v = view_of(c, chunk, a);
    struct json_writer w;
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    if (chunk == 0 && c->users_changed)
        write_changed_users(&w, c);
    if (chunk == 0 && c->settings_changed)
        write_new_settings(&w, c, a.is_unpinned);
    write_items(&w, c, v, "PeersRemoved", ITEM_REMOVED);
    write_items(&w, c, v, "PeersChanged", ITEM_FULL);
    write_items(&w, c, v, "PeersChangedPatch", ITEM_PATCH);
    json_w_end_object(&w);
}

/* The chunk as one message; of length 0 when it says nothing. */
static struct rcbuf *encode_chunk(struct netmap_ctx *ctx, const struct change *c, size_t chunk, struct audience a,
                                  enum netmap_coding coding)
{
    write_chunk(ctx, c, chunk, a);
    if (buf_len(&ctx->json) <= 2)
        return rcbuf_create(NULL, 0);
    return encode_message(ctx, coding, &ctx->json);
}

/* Borrowed from the chunk's slot. */
static struct rcbuf *shared_chunk(struct netmap_ctx *ctx, struct change *c, size_t chunk, struct audience a,
                                  enum netmap_coding coding)
{
    struct rcbuf *_Atomic *slot = &c->chunks[chunk].frame[a.is_unpinned][coding];
    struct rcbuf *held = slot_begin(slot);
    if (held == NULL) {
        held = slot_end(slot, encode_chunk(ctx, c, chunk, a, coding));
        metric_inc(&encoded_shared);
        metric_add(&shared_bytes, (int64_t)held->len);
    }
    return held;
}

/* --- one node's share --- */

const struct change_item *find_item(const struct change *c, node_id id)
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

void push_self(struct netmap_ctx *ctx, const struct change *c, const struct node *n, int64_t expired_ms,
               enum netmap_coding coding, struct netmap_pieces *out)
{
    struct json_writer w;
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    json_w_key(&w, "Node");
    write_self(&w, n, c->after->settings, access_of_node(c->after->access, n->id), expired_ms);
    json_w_end_object(&w);
    metric_inc(&encoded_private);
    pieces_push(out, encode_message(ctx, coding, &ctx->json));
}

/* A client that is another version now gets the other DERP map; what is told to all is for those who stay what they are. */
void push_other_derp_map(struct netmap_ctx *ctx, const struct change *c, const struct change_item *self,
                         enum netmap_coding coding, struct netmap_pieces *out)
{
    struct json_writer w;
    if (self == NULL || self->before == NULL || self->after == NULL)
        return;
    bool was_unpinned = needs_unpinned(self->before, c->before->settings);
    bool is_unpinned = needs_unpinned(self->after, c->after->settings);
    const struct rcbuf *now = derp_map_of(c->after->settings, is_unpinned);
    if (self->before->cap_version == self->after->cap_version ||
        rcbuf_eq(derp_map_of(c->before->settings, was_unpinned), now))
        return;
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    write_raw(&w, "DERPMap", now);
    json_w_end_object(&w);
    pieces_push(out, encode_message(ctx, coding, &ctx->json));
}

void netmap_delta(struct netmap_ctx *ctx, struct change *c, node_id id, enum netmap_coding coding,
                  struct netmap_pieces *out)
{
    const struct change_item *self = find_item(c, id);
    size_t own_chunk = self != NULL ? (size_t)(self - c->items) / CHANGE_CHUNK_ITEMS : SIZE_MAX;
    if (self != NULL && self->after == NULL) {
        if (self->before != NULL)
            push_self(ctx, c, self->before, c->after->made_ms - 60000, coding, out);
        return;
    }
    if (c->audiences != NULL) {
        delta_ruled(ctx, c, id, coding, out);
        return;
    }
    const struct node *n = snapshot_node(c->after, id);
    bool is_unpinned = n != NULL && has_other_derp_map(c, n);
    for (size_t i = 0; i < c->chunk_n; i++) {
        struct rcbuf *piece;
        /* Only the first chunk tells of settings. */
        struct audience a = {.except = i == own_chunk ? id : 0, .is_unpinned = is_unpinned && i == 0};
        if (i == own_chunk) {
            piece = encode_chunk(ctx, c, i, a, coding);
            metric_add(&encoded_private, piece->len > 0);
        } else {
            piece = rcbuf_ref(shared_chunk(ctx, c, i, a, coding));
        }
        if (piece->len > 0)
            pieces_push(out, piece);
        else
            rcbuf_unref(&piece);
    }
    push_other_derp_map(ctx, c, self, coding, out);
    push_dns(ctx, c, id, coding, out);
    if (self != NULL && self->before != NULL && self_differs(self->before, self->after))
        push_self(ctx, c, self->after, 0, coding, out);
}
