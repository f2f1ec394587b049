/* Full maps: a head of each node's own, and pieces that are shared. */
#include "netmap/netmap_internal.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

METRIC_COUNTER(encoded_group, "fullscale_netmap_encoded_total", "what=\"group\"", "");
METRIC_COUNTER(encoded_part, "fullscale_netmap_encoded_total", "what=\"group_part\"", "");
METRIC_COUNTER(encoded_full, "fullscale_netmap_encoded_total", "what=\"full_map_head\"", "");

/* --- pieces that everyone shares --- */

static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static struct rcbuf *shared_comma[2], *shared_end[2];

static struct rcbuf *glue(enum netmap_coding coding, const char *text)
{
    struct buf b = {0};
    if (coding == NETMAP_PLAIN)
        buf_append_c(&b, text);
    else
        zstd_append_raw(&b, text, strlen(text));
    struct rcbuf *made = rcbuf_create(buf_at(&b), buf_len(&b));
    buf_fini(&b);
    return made;
}

static void make_shared(void)
{
    for (int i = 0; i < 2; i++) {
        shared_comma[i] = glue((enum netmap_coding)i, ",");
        shared_end[i] = glue((enum netmap_coding)i, "]}");
    }
}

/* Without this the leak checker calls them lost at exit. */
__attribute__((destructor)) static void drop_shared(void)
{
    for (int i = 0; i < 2; i++) {
        rcbuf_unref(&shared_comma[i]);
        rcbuf_unref(&shared_end[i]);
    }
}

/* --- groups of peers: {..},{..} --- */

static void write_group(struct netmap_ctx *ctx, const struct node_group *g, const struct tailnet_settings *settings,
                        node_id except)
{
    buf_clear(&ctx->json);
    for (size_t i = 0; i < GROUP_NODES; i++) {
        const struct node *n = node_as_peer(g->nodes[i]);
        if (n == NULL || n->id == except)
            continue;
        const struct rcbuf *peer = peer_json(n, settings);
        if (buf_len(&ctx->json) > 0)
            buf_append_byte(&ctx->json, ',');
        buf_append(&ctx->json, peer->data, peer->len);
    }
}

/* A new reference to the group's shared piece. */
static struct rcbuf *group_piece(struct netmap_ctx *ctx, const struct node_group *g,
                                 const struct tailnet_settings *settings, enum netmap_coding coding)
{
    struct rcbuf *_Atomic *slot = (struct rcbuf * _Atomic *)&g->peers_frame[coding];
    struct rcbuf *held = atomic_load_explicit(slot, memory_order_acquire);
    if (held != NULL)
        return rcbuf_ref(held);
    encode_once_lock();
    held = atomic_load_explicit(slot, memory_order_acquire);
    if (held == NULL) {
        write_group(ctx, g, settings, 0);
        metric_inc(&encoded_group);
        held = rcbuf_slot_offer(slot, encode_piece(ctx, coding, &ctx->json));
    }
    encode_once_unlock();
    return rcbuf_ref(held);
}

/* How many others the viewer would be told of, of `n` nodes with `newcomer_n` newcomers; `self`: it is among them, or null. */
static size_t count_peers(size_t n, size_t newcomer_n, const struct node *self)
{
    return n - newcomer_n - (node_as_peer(self) != NULL);
}

/* Peers of a full map, in the order of ids. */
struct peers_writer {
    enum netmap_coding coding;
    struct netmap_pieces *out;
    bool is_begun; /* there is a piece */
};

static void put_piece(struct peers_writer *pw, struct rcbuf *taken)
{
    if (pw->is_begun)
        pieces_push(pw->out, rcbuf_ref(shared_comma[pw->coding]));
    pw->is_begun = true;
    pieces_push(pw->out, taken);
}

static void push_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id self, enum netmap_coding coding,
                       struct netmap_pieces *out)
{
    struct peers_writer pw = {.coding = coding, .out = out};
    for (size_t i = 0; i < s->group_n; i++) {
        const struct node_group *g = s->groups[i];
        const struct node *own = i == self / GROUP_NODES ? snapshot_node(s, self) : NULL;
        if (g == NULL || count_peers(g->n, g->newcomer_n, own) == 0)
            continue;
        if (own != NULL) {
            write_group(ctx, g, s->settings, self);
            put_piece(&pw, encode_piece(ctx, coding, &ctx->json));
        } else {
            put_piece(&pw, group_piece(ctx, g, s->settings, coding));
        }
    }
    pieces_push(out, rcbuf_ref(shared_end[coding]));
}

/* --- the same under a policy: those of a group whom the viewer sees --- */

enum { PARTS_MAX = 64 }; /* of a group: more kinds of viewers than that get pieces of their own */

struct viewer {
    const struct snapshot *s;
    node_id id;
    struct policy_seat seat;
    bool hides_v4;
};

/* The nodes that the viewer sees, itself and those who cannot be shown yet perhaps among them. Borrowed until the next call. */
static const uint64_t *find_visible(struct netmap_ctx *ctx, const struct viewer *v)
{
    size_t n = v->s->group_n;
    if (ctx->visible_cap < n) {
        ctx->visible = mem_realloc_array(ctx->visible, n, sizeof(*ctx->visible));
        ctx->visible_cap = n;
    }
    memset(ctx->visible, 0, n * sizeof(*ctx->visible));
    policy_view_mark(v->s->ruling->view, v->seat, ctx->visible, n);
    return ctx->visible;
}

/* Those of a group who are shown, of `mask`. */
static uint64_t shown_of(const struct viewer *v, const struct node_group *g, uint64_t mask)
{
    uint64_t shown = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const struct node *n = node_as_peer(g->nodes[__builtin_ctzll(left)]);
        if (n != NULL && n->id != v->id)
            shown |= left & -left;
    }
    return shown;
}

/* They are shown as to everyone. */
static bool is_plain_part(const struct viewer *v, const struct node_group *g, uint64_t mask)
{
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const struct node *n = g->nodes[__builtin_ctzll(left)];
        struct peer_shape shape = shape_for(v->s->ruling, v->seat, v->hides_v4, n->id);
        if (!shape_is_plain(n, &shape))
            return false;
    }
    return true;
}

/* Appends to ctx->json. */
static void write_part(struct netmap_ctx *ctx, const struct viewer *v, const struct node_group *g, uint64_t mask)
{
    struct json_writer w;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const struct node *n = g->nodes[__builtin_ctzll(left)];
        struct peer_shape shape = shape_for(v->s->ruling, v->seat, v->hides_v4, n->id);
        if (buf_len(&ctx->json) > 0)
            buf_append_byte(&ctx->json, ',');
        if (shape_is_plain(n, &shape)) {
            const struct rcbuf *peer = peer_json(n, v->s->settings);
            buf_append(&ctx->json, peer->data, peer->len);
        } else {
            json_w_init(&w, &ctx->json);
            write_peer_shaped(&w, n, v->s->settings, &shape);
        }
    }
}

/* The part of the group that is kept, made when there is none; null when there are too many. */
static struct group_part *find_part(struct node_group *g, uint64_t mask)
{
    size_t n = 0;
    for (struct group_part *p = atomic_load_explicit(&g->parts, memory_order_acquire); p != NULL; p = p->next, n++) {
        if (p->mask == mask)
            return p;
    }
    if (n >= PARTS_MAX)
        return NULL;
    struct group_part *made = MEM_NEW(struct group_part);
    made->mask = mask;
    made->next = atomic_load_explicit(&g->parts, memory_order_acquire);
    while (!atomic_compare_exchange_weak_explicit(&g->parts, &made->next, made, memory_order_acq_rel,
                                                  memory_order_acquire)) {
    }
    return made; /* two threads at once may make two: no harm */
}

static struct rcbuf *part_piece(struct netmap_ctx *ctx, const struct viewer *v, const struct node_group *g,
                                uint64_t mask, enum netmap_coding coding)
{
    struct group_part *part = find_part((struct node_group *)g, mask);
    struct rcbuf *held = part != NULL ? atomic_load_explicit(&part->frame[coding], memory_order_acquire) : NULL;
    if (held != NULL)
        return rcbuf_ref(held);
    buf_clear(&ctx->json);
    write_part(ctx, v, g, mask);
    metric_inc(&encoded_part);
    struct rcbuf *made = encode_piece(ctx, coding, &ctx->json);
    return part != NULL ? rcbuf_ref(rcbuf_slot_offer(&part->frame[coding], made)) : made;
}

/* What has gathered in ctx->json becomes a piece. */
static void put_gathered(struct netmap_ctx *ctx, struct peers_writer *pw)
{
    if (buf_len(&ctx->json) == 0)
        return;
    put_piece(pw, encode_piece(ctx, pw->coding, &ctx->json));
    buf_clear(&ctx->json);
}

/* Few of a group are not worth a piece of their own: what is scattered over many groups goes to the wire together. */
static void put_visible(struct netmap_ctx *ctx, const struct viewer *v, size_t index, uint64_t mask,
                        struct peers_writer *pw)
{
    enum { FEW = 16, GATHERED_MAX_BYTES = 64 * 1024 };
    const struct node_group *g = v->s->groups[index];
    unsigned n = (unsigned)__builtin_popcountll(mask);
    bool is_own = v->id / GROUP_NODES == index;
    bool is_whole = n == g->n - g->newcomer_n;
    if (!is_own && (is_whole || n >= FEW) && is_plain_part(v, g, mask)) {
        put_gathered(ctx, pw);
        put_piece(pw,
                  is_whole ? group_piece(ctx, g, v->s->settings, pw->coding) : part_piece(ctx, v, g, mask, pw->coding));
        buf_clear(&ctx->json);
        return;
    }
    write_part(ctx, v, g, mask);
    if (buf_len(&ctx->json) > GATHERED_MAX_BYTES)
        put_gathered(ctx, pw);
}

/* False, and nothing appended, when it sees nobody. */
static bool push_visible(struct netmap_ctx *ctx, const struct viewer *v, enum netmap_coding coding,
                         struct netmap_pieces *out)
{
    struct peers_writer pw = {.coding = coding, .out = out};
    const uint64_t *visible = find_visible(ctx, v);
    buf_clear(&ctx->json);
    for (size_t i = 0; i < v->s->group_n; i++) {
        uint64_t mask = v->s->groups[i] != NULL ? shown_of(v, v->s->groups[i], visible[i]) : 0;
        if (mask != 0)
            put_visible(ctx, v, i, mask, &pw);
    }
    put_gathered(ctx, &pw);
    if (pw.is_begun)
        pieces_push(out, rcbuf_ref(shared_end[coding]));
    return pw.is_begun;
}

static struct viewer viewer_of(const struct snapshot *s, node_id id)
{
    const struct node_rights *rights = ruling_rights(s->ruling, id);
    return (struct viewer){s, id, policy_view_seat(s->ruling->view, id), rights != NULL && rights->hides_v4};
}

bool netmap_has_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id id)
{
    if (s->ruling == NULL)
        return count_peers(s->node_n, s->newcomer_n, snapshot_node(s, id)) > 0;
    struct viewer v = viewer_of(s, id);
    const uint64_t *visible = find_visible(ctx, &v);
    for (size_t i = 0; i < s->group_n; i++) {
        if (s->groups[i] != NULL && shown_of(&v, s->groups[i], visible[i]) != 0)
            return true;
    }
    return false;
}

/* --- full maps --- */

static const struct rcbuf *profiles_json(const struct user_table *users)
{
    struct rcbuf *_Atomic *slot = (struct rcbuf * _Atomic *)&users->profiles_json;
    struct rcbuf *held = atomic_load_explicit(slot, memory_order_acquire);
    if (held != NULL)
        return held;
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    json_w_array(&w);
    for (size_t i = 0; i < users->n; i++)
        write_user_profile(&w, users->users[i]);
    write_tagged_profile(&w);
    json_w_end_array(&w);
    held = rcbuf_slot_offer(slot, rcbuf_create(buf_at(&json), buf_len(&json)));
    buf_fini(&json);
    return held;
}

/* Everything of a first map but its peers; the object stays open. src: control.md 6.7 */
static void write_head(struct json_writer *w, const struct snapshot *s, const struct node *self)
{
    const struct tailnet_settings *settings = s->settings;
    const struct node_rights *rights = ruling_rights(s->ruling, self->id);
    json_w_object(w);
    json_w_key(w, "Node");
    write_self(w, self, settings, rights, 0);
    write_raw(w, "DERPMap", derp_map_of(settings, needs_unpinned(self, settings)));
    write_raw(w, "DNSConfig", settings->dns_config_json);
    json_w_kv_cstr(w, "Domain", settings->domain);
    json_w_kv_bool(w, "CollectServices", false);
    write_raw(w, "UserProfiles", profiles_json(s->users));
    json_w_key(w, "PacketFilters");
    json_w_object(w);
    json_w_key(w, "base");
    if (rights == NULL)
        json_w_raw(w, STR(ALLOW_ALL_RULES));
    else
        json_w_raw(w, str_n(rights->filter->json->data, rights->filter->json->len));
    json_w_end_object(w);
    /* Always: a slow reader that knew a policy may get this one after it is gone, and keeps what is not there. */
    json_w_key(w, "SSHPolicy");
    if (rights == NULL)
        json_w_raw(w, STR(NO_SSH_RULES));
    else
        json_w_raw(w, str_n(rights->ssh->json->data, rights->ssh->json->len));
    if (!settings->collect_logs) {
        json_w_key(w, "Debug");
        json_w_raw(w, STR("{\"DisableLogTail\":true}"));
    }
    write_time(w, "ControlTime", s->made_ms);
}

enum rc netmap_full(struct netmap_ctx *ctx, const struct snapshot *s, node_id id, enum netmap_coding coding,
                    bool with_peers, struct netmap_pieces *out)
{
    struct json_writer w;
    const struct node *self = snapshot_node(s, id);
    if (self == NULL)
        return RC_NOT_FOUND;
    pthread_once(&shared_once, make_shared);
    bool has_peers = with_peers && count_peers(s->node_n, s->newcomer_n, self) > 0;
    struct viewer viewer = {0};
    /* The head goes first but holds the length of all: keep its place. */
    size_t head_at = out->n;
    size_t bytes_before = out->bytes;
    pieces_push(out, rcbuf_create(NULL, 0));
    if (has_peers && s->ruling != NULL) {
        viewer = viewer_of(s, id);
        has_peers = push_visible(ctx, &viewer, coding, out);
    } else if (has_peers) {
        push_peers(ctx, s, id, coding, out);
    }
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    write_head(&w, s, self);
    buf_append_c(&ctx->json, has_peers ? ",\"Peers\":[" : "}");
    rcbuf_unref(&out->items[head_at]);
    out->items[head_at] = encode_head(ctx, coding, &ctx->json, out->bytes - bytes_before);
    out->bytes += out->items[head_at]->len;
    metric_inc(&encoded_full);
    return RC_OK;
}
