/* Changes under a policy: who is told what is worked out for audiences, not for nodes. */
#include "netmap/netmap_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/access.h"

METRIC_COUNTER(encoded_share, "fullscale_netmap_encoded_total", "what=\"delta_share\"", "");
METRIC_COUNTER(encoded_own, "fullscale_netmap_encoded_total", "what=\"delta_own\"", "");
METRIC_COUNTER(encoded_filter, "fullscale_netmap_encoded_total", "what=\"filter\"", "");
METRIC_COUNTER(audiences_made, "fullscale_netmap_audiences_total", "",
               "Audiences for which the items of a change were looked at.");

/* --- what an item means to a viewer --- */

/* All that decides what a viewer is told, itself apart. */
struct watcher {
    struct viewer_key before, after;
    bool hid_v4, hides_v4;
};

/* In a code: the kind, two bits, then the class whose routes are shown, or none. With CODE_OWNER the owner's profile is told,
 * with a full node or alone. */
enum { CODE_KIND = 3, CODE_HIDES = 4, CODE_OWNER = 8, CODE_CLASS_SHIFT = 4 };

struct viewer_key netmap_viewer_key(const struct snapshot *s, node_id id)
{
    if (snapshot_node(s, id) == NULL)
        return (struct viewer_key){.class_index = ENGINE_NO_CLASS};
    return s->access != NULL ? engine_view_key(s->access->view, id) : (struct viewer_key){0};
}

static bool hides_in(const struct snapshot *s, node_id id)
{
    const struct node_access *r = access_of_node(s->access, id);
    return r != NULL && r->hides_v4;
}

static bool sees(const struct access *r, struct viewer_key viewer, node_id id)
{
    if (viewer.class_index == ENGINE_NO_CLASS)
        return false;
    return r == NULL || engine_view_keys_see(r->view, viewer, engine_view_key(r->view, id));
}

struct peer_shape shape_for(const struct access *r, struct viewer_key viewer, bool viewer_hides_v4, node_id id)
{
    const struct node_access *access = access_of_node(r, id);
    struct peer_shape shape = {.hides_v4 = viewer_hides_v4};
    if (access == NULL)
        return shape;
    shape.hides_v4 = viewer_hides_v4 || access->hides_v4;
    shape.routes = access->routes;
    if (shape.routes != NULL)
        shape.row = route_table_row(shape.routes, viewer);
    return shape;
}

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

static uint32_t code_of(const struct change *c, const struct watcher *v, const struct change_item *item)
{
    bool saw = node_as_peer(item->before) != NULL && sees(c->before->access, v->before, item->id);
    bool will = node_as_peer(item->after) != NULL && sees(c->after->access, v->after, item->id);
    if (!will)
        return saw ? ITEM_REMOVED : ITEM_NOTHING;
    struct peer_shape was = shape_for(c->before->access, v->before, v->hid_v4, item->id);
    struct peer_shape is = shape_for(c->after->access, v->after, v->hides_v4, item->id);
    enum item_kind kind = item_kind_of(item);
    bool is_full = !saw || kind == ITEM_FULL || !same_shape(&was, &is);
    bool tells_owner = (is_full || item->owner_differs) && snapshot_owner(c->after, item->after) != NULL;
    return (is_full ? code_of_shape(&is) : kind) | (tells_owner ? CODE_OWNER : 0u);
}

/* --- messages --- */

static void write_full(struct json_writer *w, const struct change *c, const struct node *n, uint32_t code)
{
    const struct node_access *access = access_of_node(c->after->access, n->id);
    struct peer_shape shape = {.hides_v4 = (code & CODE_HIDES) != 0, .routes = access != NULL ? access->routes : NULL};
    if (shape.routes != NULL && code >> CODE_CLASS_SHIFT != 0)
        shape.row = &shape.routes->rows[((code >> CODE_CLASS_SHIFT) - 1) * shape.routes->words];
    if (c->after->access == NULL || shape_is_plain(n, &shape)) {
        const struct rcbuf *peer = peer_json(n, c->after->settings);
        json_w_raw(w, str_n(peer->data, peer->len));
    } else {
        write_peer_shaped(w, n, c->after->settings, &shape);
    }
}

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

/* A user is told with the first node of hers at the latest. src: docs/protocol/control.md 6.7 */
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
                write_user_profile(w, owners[i]);
        }
        json_w_end_array(w);
    }
    mem_free(owners);
}

static struct rcbuf *encode_items(struct netmap_ctx *ctx, const struct change *c, const struct change_item *items,
                                  const struct message_item *v, size_t n, enum netmap_coding coding)
{
    struct json_writer w;
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    write_kind(&w, c, items, v, n, "PeersRemoved", ITEM_REMOVED);
    write_kind(&w, c, items, v, n, "PeersChanged", ITEM_FULL);
    write_kind(&w, c, items, v, n, "PeersChangedPatch", ITEM_PATCH);
    write_owners(&w, c, items, v, n);
    json_w_end_object(&w);
    return encode_message(ctx, coding, &ctx->json);
}

/* --- shares and audiences: found without a lock, made under it --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * UINT64_C(0x9e3779b97f4a7c15) ^ h >> 29;
}

static size_t share_bucket(const struct message_item *v, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = mix(h, (uint64_t)v[i].index << 32 | v[i].code);
    return (size_t)(h >> 32) % AUDIENCE_BUCKETS;
}

/* Under the lock. */
static struct audience_message *get_share(struct change_audiences *t, const struct message_item *v, size_t n)
{
    struct audience_message *_Atomic *bucket = &t->messages[share_bucket(v, n)];
    struct audience_message *first = atomic_load_explicit(bucket, memory_order_acquire);
    for (struct audience_message *s = first; s != NULL; s = s->next) {
        if (s->n == n && memcmp(s->v, v, n * sizeof(*v)) == 0)
            return s;
    }
    struct audience_message *made = mem_zalloc(1, sizeof(*made) + n * sizeof(*v));
    made->n = n;
    memcpy(made->v, v, n * sizeof(*v));
    made->next = first;
    atomic_store_explicit(bucket, made, memory_order_release);
    return made;
}

/* Where the items of a change are cut into messages: at the same places for all audiences, so that those who are told the same
 * have equal shares; but when few items of a chunk mean anything, they wait for the next. */
enum { SHARE_ITEMS_MIN = CHANGE_CHUNK_ITEMS / 2, SHARE_ITEMS_MAX = CHANGE_CHUNK_ITEMS + SHARE_ITEMS_MIN };

/* Under the lock. */
static struct change_audience *make_audience(struct change *c, const struct watcher *v)
{
    struct change_audience *a = mem_zalloc(1, sizeof(*a) + c->chunk_n * sizeof(a->messages[0]));
    a->before = v->before;
    a->after = v->after;
    metric_inc(&audiences_made);
    struct message_item items[SHARE_ITEMS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < c->item_n; i++) {
        uint32_t code = code_of(c, v, &c->items[i]);
        if (code != ITEM_NOTHING)
            items[n++] = (struct message_item){(uint32_t)i, code};
        bool is_last = i + 1 == c->item_n;
        bool is_chunk = (i + 1) % CHANGE_CHUNK_ITEMS == 0 && n >= SHARE_ITEMS_MIN;
        if (n > 0 && (is_last || is_chunk)) {
            a->messages[a->n++] = get_share(c->audiences, items, n);
            n = 0;
        }
    }
    return a;
}

static size_t audience_bucket(const struct watcher *v)
{
    uint64_t h = mix(v->before.class_index, v->before.owner);
    return (size_t)(mix(mix(h, v->after.class_index), v->after.owner) >> 32) % AUDIENCE_BUCKETS;
}

static struct change_audience *find_audience(struct change_audience *a, const struct watcher *v)
{
    while (a != NULL && !(viewer_keys_equal(a->before, v->before) && viewer_keys_equal(a->after, v->after)))
        a = a->next;
    return a;
}

static const struct change_audience *get_audience(struct change *c, const struct watcher *v)
{
    struct change_audience *_Atomic *bucket = &c->audiences->audiences[audience_bucket(v)];
    struct change_audience *a = find_audience(atomic_load_explicit(bucket, memory_order_acquire), v);
    if (a != NULL)
        return a;
    encode_once_lock();
    struct change_audience *first = atomic_load_explicit(bucket, memory_order_acquire);
    a = find_audience(first, v);
    if (a == NULL) {
        a = make_audience(c, v);
        a->next = first;
        atomic_store_explicit(bucket, a, memory_order_release);
    }
    encode_once_unlock();
    return a;
}

static struct rcbuf *share_frame(struct netmap_ctx *ctx, struct change *c, struct audience_message *s,
                                 enum netmap_coding coding)
{
    struct rcbuf *held = slot_begin(&s->frame[coding]);
    if (held == NULL) {
        held = slot_end(&s->frame[coding], encode_items(ctx, c, c->items, s->v, s->n, coding));
        metric_inc(&encoded_share);
    }
    return rcbuf_ref(held);
}

/* --- one node's share --- */

/* Its audience's, without what is said of the node itself. */
static void push_shares(struct netmap_ctx *ctx, struct change *c, const struct watcher *v,
                        const struct change_item *self, enum netmap_coding coding, struct netmap_pieces *out)
{
    const struct change_audience *a = get_audience(c, v);
    size_t own = self != NULL ? (size_t)(self - c->items) : SIZE_MAX;
    for (size_t i = 0; i < a->n; i++) {
        struct audience_message *s = a->messages[i];
        struct message_item rest[SHARE_ITEMS_MAX];
        size_t n = 0;
        if (s->v[0].index > own || s->v[s->n - 1].index < own) {
            pieces_push(out, share_frame(ctx, c, s, coding));
            continue;
        }
        for (size_t k = 0; k < s->n; k++) {
            if (s->v[k].index != own)
                rest[n++] = s->v[k];
        }
        if (n == s->n)
            pieces_push(out, share_frame(ctx, c, s, coding));
        else if (n > 0)
            pieces_push(out, encode_items(ctx, c, c->items, rest, n, coding));
        metric_add(&encoded_own, n > 0 && n < s->n);
    }
}

/* The node itself moved: what it sees of all others is compared. */
static void push_all(struct netmap_ctx *ctx, struct change *c, const struct watcher *v, node_id self,
                     enum netmap_coding coding, struct netmap_pieces *out)
{
    size_t cap = c->after->group_n * GROUP_NODES, n = 0;
    struct change_item *items = mem_zalloc(cap, sizeof(*items));
    struct message_item *shares = mem_zalloc(cap, sizeof(*shares));
    for (node_id id = 1; id < cap; id++) {
        const struct node *before = snapshot_node(c->before, id), *after = snapshot_node(c->after, id);
        items[id] = (struct change_item){.id = id, .before = before, .after = after};
        const struct change_item *item = find_item(c, id);
        items[id].owner_differs = item != NULL && item->owner_differs;
        uint32_t code = id != self ? code_of(c, v, &items[id]) : ITEM_NOTHING;
        if (code != ITEM_NOTHING)
            shares[n++] = (struct message_item){(uint32_t)id, code};
    }
    if (n > 0) {
        pieces_push(out, encode_items(ctx, c, items, shares, n, coding));
        metric_inc(&encoded_own);
    }
    mem_free(items);
    mem_free(shares);
}

/* What everyone is told: settings; and all users, when there is no policy any more. Of length 0 when that is nothing. */
static struct rcbuf *encode_common(struct netmap_ctx *ctx, const struct change *c, bool is_unpinned,
                                   enum netmap_coding coding)
{
    struct json_writer w;
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    if (c->after->access == NULL) {
        json_w_key(&w, "UserProfiles");
        write_profiles(&w, c->after->users, NULL);
    }
    if (c->settings_changed)
        write_new_settings(&w, c, is_unpinned);
    json_w_end_object(&w);
    return buf_len(&ctx->json) <= 2 ? rcbuf_create(NULL, 0) : encode_message(ctx, coding, &ctx->json);
}

static void push_common(struct netmap_ctx *ctx, struct change *c, const struct node *n, enum netmap_coding coding,
                        struct netmap_pieces *out)
{
    if (c->after->access != NULL && !c->settings_changed)
        return;
    bool is_unpinned = has_other_derp_map(c, n);
    struct rcbuf *_Atomic *slot = &c->chunks[0].frame[is_unpinned][coding];
    struct rcbuf *held = slot_begin(slot);
    if (held == NULL)
        held = slot_end(slot, encode_common(ctx, c, is_unpinned, coding));
    if (held->len > 0)
        pieces_push(out, rcbuf_ref(held));
}

/* The profile of the node's own owner, when that is another one now. `self`: null when the change is not about the node. */
static void push_own_profile(struct netmap_ctx *ctx, const struct change *c, const struct change_item *self,
                             enum netmap_coding coding, struct netmap_pieces *out)
{
    struct json_writer w;
    const struct user *owner = self != NULL ? snapshot_owner(c->after, self->after) : NULL;
    if (owner == NULL || !self->owner_differs)
        return;
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    json_w_key(&w, "UserProfiles");
    json_w_array(&w);
    write_user_profile(&w, owner);
    json_w_end_array(&w);
    json_w_end_object(&w);
    pieces_push(out, encode_message(ctx, coding, &ctx->json));
}

/* `text` as one message, kept with the text: nodes of a class often have the same. */
static void push_text(struct netmap_ctx *ctx, struct cached_text *text, const char *before, const char *after,
                      enum netmap_coding coding, struct netmap_pieces *out)
{
    struct rcbuf *held = atomic_load_explicit(&text->frame[coding], memory_order_acquire);
    if (held == NULL) {
        buf_clear(&ctx->json);
        buf_append_c(&ctx->json, before);
        buf_append(&ctx->json, text->json->data, text->json->len);
        buf_append_c(&ctx->json, after);
        metric_inc(&encoded_filter);
        held = rcbuf_slot_offer(&text->frame[coding], encode_message(ctx, coding, &ctx->json));
    }
    pieces_push(out, rcbuf_ref(held));
}

static void push_json(struct netmap_ctx *ctx, const char *json, enum netmap_coding coding, struct netmap_pieces *out)
{
    buf_clear(&ctx->json);
    buf_append_c(&ctx->json, json);
    pieces_push(out, encode_message(ctx, coding, &ctx->json));
}

/* An empty list is a filter that lets nothing in; null would mean "as before". src: docs/protocol/control.md 6.7 */
static void push_access(struct netmap_ctx *ctx, const struct node_access *was, const struct node_access *is,
                        enum netmap_coding coding, struct netmap_pieces *out)
{
    if (is == NULL && was == NULL)
        return;
    if (is == NULL) {
        push_json(ctx, "{\"PacketFilters\":{\"base\":" ALLOW_ALL_RULES "}}", coding, out);
        push_json(ctx, "{\"SSHPolicy\":" NO_SSH_RULES "}", coding, out);
        return;
    }
    if (was == NULL || was->filter != is->filter)
        push_text(ctx, is->filter, "{\"PacketFilters\":{\"base\":", "}}", coding, out);
    if (was == NULL || was->ssh != is->ssh)
        push_text(ctx, is->ssh, "{\"SSHPolicy\":", "}", coding, out);
}

static bool own_access_differs(const struct node_access *was, const struct node_access *is)
{
    static const struct node_access none;
    was = was != NULL ? was : &none;
    is = is != NULL ? is : &none;
    const struct prefix_list *a = was->routes != NULL ? was->routes->prefixes : NULL;
    const struct prefix_list *b = is->routes != NULL ? is->routes->prefixes : NULL;
    bool has_caps = was->caps != NULL && was->caps->len > 2, will = is->caps != NULL && is->caps->len > 2;
    return has_caps != will || (will && !rcbuf_eq(was->caps, is->caps)) || was->hides_v4 != is->hides_v4 ||
           !prefix_list_eq(a, b);
}

static struct watcher watcher_of(const struct change *c, node_id id)
{
    return (struct watcher){netmap_viewer_key(c->before, id), netmap_viewer_key(c->after, id), hides_in(c->before, id),
                            hides_in(c->after, id)};
}

bool netmap_is_by_viewer_key(const struct change *c)
{
    return c->before->access != NULL && c->after->access != NULL && !c->policy_changed && !c->users_changed &&
           !c->settings_changed;
}

static const struct access_group *access_group_at(const struct access *r, size_t i)
{
    return i < r->group_n ? r->groups[i] : NULL;
}

node_id netmap_next_access(const struct change *c, node_id after)
{
    const struct access *a = c->before->access, *b = c->after->access;
    if (a == b)
        return 0;
    for (node_id id = after + 1; id < b->group_n * GROUP_NODES; id++) {
        size_t i = id / GROUP_NODES;
        const struct access_group *was = access_group_at(a, i), *is = b->groups[i];
        if (was == is)
            id |= GROUP_NODES - 1; /* to the end of the group */
        else if ((was != NULL ? was->of[id % GROUP_NODES] : NULL) != (is != NULL ? is->of[id % GROUP_NODES] : NULL))
            return id;
    }
    return 0;
}

/* Neither before nor after. */
static bool sees_none_of(const struct change *c, const struct watcher *v)
{
    for (size_t i = 0; i < c->item_n; i++) {
        node_id id = c->items[i].id;
        if (sees(c->before->access, v->before, id) || sees(c->after->access, v->after, id))
            return false;
    }
    return true;
}

bool netmap_tells(struct change *c, node_id id)
{
    enum { FEW = 8 }; /* most changes are about one node, which most do not see: no audience is made for them */
    struct watcher v = watcher_of(c, id);
    if (c->item_n <= FEW && sees_none_of(c, &v))
        return false;
    return get_audience(c, &v)->n > 0;
}

void delta_ruled(struct netmap_ctx *ctx, struct change *c, node_id id, enum netmap_coding coding,
                 struct netmap_pieces *out)
{
    const struct node *before = snapshot_node(c->before, id), *after = snapshot_node(c->after, id);
    const struct node_access *was = access_of_node(c->before->access, id), *is = access_of_node(c->after->access, id);
    struct watcher v = watcher_of(c, id);
    if (after == NULL)
        return;
    const struct change_item *self = find_item(c, id);
    push_common(ctx, c, after, coding, out);
    push_other_derp_map(ctx, c, self, coding, out);
    if (c->policy_changed || viewer_keys_equal(v.before, v.after))
        push_shares(ctx, c, &v, self, coding, out);
    else
        push_all(ctx, c, &v, id, coding, out);
    push_access(ctx, was, is, coding, out);
    push_dns(ctx, c, id, coding, out);
    push_own_profile(ctx, c, self, coding, out);
    if (before != NULL && (self_differs(before, after) || own_access_differs(was, is) ||
                           !prefix_list_eq(before->primary, after->primary)))
        push_self(ctx, c, after, 0, coding, out);
}
