/* Full maps: a head of the node's own, and shared pieces: the profiles of users, and groups of peers. */
#include "netmap/netmap_internal.h"

#include <pthread.h>
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"
#include "engine/access.h"

METRIC_COUNTER(encoded_group, "fullscale_netmap_encoded_total", "what=\"group\"", "");
METRIC_COUNTER(encoded_part, "fullscale_netmap_encoded_total", "what=\"group_part\"", "");
METRIC_COUNTER(encoded_profiles, "fullscale_netmap_encoded_total", "what=\"profiles\"", "");
METRIC_COUNTER(encoded_full, "fullscale_netmap_encoded_total", "what=\"full_map_head\"", "");

/* --- pieces that everyone shares --- */

enum glue { GLUE_COMMA, GLUE_PEERS, GLUE_END, GLUE_PEERS_END, GLUES_N };
static const char *const glue_texts[GLUES_N] = {",", ",\"Peers\":[", "}", "]}"};

static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static struct rcbuf *shared_glue[GLUES_N][2];

static void make_shared(void)
{
    struct buf b = {0};
    for (size_t i = 0; i < GLUES_N; i++) {
        shared_glue[i][NETMAP_PLAIN] = rcbuf_create(glue_texts[i], strlen(glue_texts[i]));
        buf_clear(&b);
        zstd_append_raw(&b, glue_texts[i], strlen(glue_texts[i]));
        shared_glue[i][NETMAP_ZSTD] = rcbuf_create(buf_at(&b), buf_len(&b));
    }
    buf_fini(&b);
}

/* Otherwise the leak checker reports them at exit. */
__attribute__((destructor)) static void drop_shared(void)
{
    for (size_t i = 0; i < GLUES_N; i++) {
        rcbuf_unref(&shared_glue[i][NETMAP_PLAIN]);
        rcbuf_unref(&shared_glue[i][NETMAP_ZSTD]);
    }
}

static void push_glue(struct netmap_pieces *out, enum glue which, enum netmap_coding coding)
{
    netmap_pieces_push(out, rcbuf_ref(shared_glue[which][coding]));
}

/* --- groups of peers: {..},{..} --- */

enum { PARTS_MAX = 64 }; /* of a group: more kinds of viewers than that get pieces that are not kept */

/* Those nodes of a group whose bits are in `mask`, as peers that are shown plainly. */
struct group_part {
    struct group_part *next;
    uint64_t mask;
    struct netmap_frames frames;
};

/* What is kept of a group. */
struct group_cache {
    struct netmap_frames whole; /* all of its peers, shown plainly */
    struct group_part *_Atomic parts;
};

static void group_cache_destroy(void *held)
{
    struct group_cache *c = held;
    struct group_part *p = atomic_load_explicit(&c->parts, memory_order_acquire);
    while (p != NULL) {
        struct group_part *next = p->next;
        netmap_frames_fini(&p->frames);
        mem_free(p);
        p = next;
    }
    netmap_frames_fini(&c->whole);
    mem_free(c);
}

static struct group_cache *cache_of(const struct node_group *g)
{
    struct group_cache *found = cache_slot_get(&g->cache);
    return found != NULL ? found : cache_slot_offer(&g->cache, MEM_NEW(struct group_cache), group_cache_destroy);
}

struct map_viewer {
    const struct snapshot *s;
    node_id id;
    struct viewer as;
};

/* Writes the list of peers. Borrowed. */
struct peers_writer {
    struct netmap_ctx *ctx;
    const struct map_viewer *v;
    enum netmap_coding coding;
    struct netmap_pieces *out;
    bool is_begun; /* there is a piece */
};

/* Grows the scratch array `*at` to `n` words, all zero. */
static uint64_t *zeros(uint64_t **at, size_t *cap, size_t n)
{
    if (*cap < n) {
        *at = mem_realloc_array(*at, n, sizeof(**at));
        *cap = n;
    }
    if (n > 0)
        memset(*at, 0, n * sizeof(**at));
    return *at;
}

/* Finds the peers that the viewer is shown, in ctx->visible. False: there are none. */
static bool find_visible(struct netmap_ctx *ctx, const struct map_viewer *v)
{
    const struct snapshot *s = v->s;
    uint64_t any = 0, *visible = zeros(&ctx->visible, &ctx->visible_cap, s->group_n);
    if (v->as.key.class_index != ENGINE_NO_CLASS)
        access_mark_seen(s->access, v->as.key, visible, s->group_n);
    for (size_t i = 0; i < s->group_n; i++) {
        visible[i] &= s->groups[i] != NULL ? s->groups[i]->peers : 0;
        if (i == v->id / GROUP_NODES)
            visible[i] &= ~(UINT64_C(1) << (v->id % GROUP_NODES));
        any |= visible[i];
    }
    return any != 0;
}

/* Whether all nodes of the group that are in `mask` are shown plainly to the viewer. */
static bool is_plain_part(const struct map_viewer *v, size_t index, uint64_t mask)
{
    const struct access *access = v->s->access;
    const struct node_group *g = v->s->groups[index];
    if (access_is_open(access))
        return true;
    if (v->as.hides_v4 || (access_without_v4(access, index) & mask) != 0)
        return false;
    for (uint64_t left = g->routers & mask; left != 0; left &= left - 1) {
        const struct node *n = g->nodes[__builtin_ctzll(left)];
        struct peer_shape shape = netmap_shape(access, &v->as, n->id);
        if (!netmap_shape_is_plain(n, &shape))
            return false;
    }
    return true;
}

/* Appends to ctx->json. */
static void write_part(const struct peers_writer *pw, const struct node_group *g, uint64_t mask)
{
    struct json_writer w;
    struct buf *json = &pw->ctx->json;
    const struct map_viewer *v = pw->v;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const struct node *n = g->nodes[__builtin_ctzll(left)];
        struct peer_shape shape = netmap_shape(v->s->access, &v->as, n->id);
        if (buf_len(json) > 0)
            buf_append_byte(json, ',');
        if (netmap_shape_is_plain(n, &shape)) {
            const struct rcbuf *peer = netmap_peer_json(n, v->s->settings);
            buf_append(json, peer->data, peer->len);
        } else {
            json_w_init(&w, json);
            netmap_write_peer(&w, n, v->s->settings, &shape);
        }
    }
}

/* A new reference to the piece that is kept of the whole group, which is shown plainly. */
static struct rcbuf *group_piece(const struct peers_writer *pw, const struct node_group *g)
{
    struct rcbuf *_Atomic *frame = &cache_of(g)->whole.of[pw->coding];
    struct rcbuf *held = netmap_frame_begin(frame);
    if (held == NULL) {
        buf_clear(&pw->ctx->json);
        write_part(pw, g, g->peers);
        metric_inc(&encoded_group);
        held = netmap_frame_end(frame, netmap_encode_piece(pw->ctx, pw->coding, &pw->ctx->json));
    }
    return rcbuf_ref(held);
}

/* The part of the group that is kept, made when there is none; null when there are too many. */
static struct group_part *find_part(struct group_cache *c, uint64_t mask)
{
    size_t n = 0;
    for (struct group_part *p = atomic_load_explicit(&c->parts, memory_order_acquire); p != NULL; p = p->next, n++) {
        if (p->mask == mask)
            return p;
    }
    if (n >= PARTS_MAX)
        return NULL;
    struct group_part *made = MEM_NEW(struct group_part);
    made->mask = mask;
    made->next = atomic_load_explicit(&c->parts, memory_order_acquire);
    while (!atomic_compare_exchange_weak_explicit(&c->parts, &made->next, made, memory_order_acq_rel,
                                                  memory_order_acquire)) {
    }
    return made; /* two threads at once may make two: no harm */
}

/* A new reference to the piece for these nodes of the group, which are shown plainly. */
static struct rcbuf *part_piece(const struct peers_writer *pw, const struct node_group *g, uint64_t mask)
{
    struct group_part *part = find_part(cache_of(g), mask);
    struct rcbuf *held = part != NULL ? atomic_load_explicit(&part->frames.of[pw->coding], memory_order_acquire) : NULL;
    if (held != NULL)
        return rcbuf_ref(held);
    buf_clear(&pw->ctx->json);
    write_part(pw, g, mask);
    metric_inc(&encoded_part);
    struct rcbuf *made = netmap_encode_piece(pw->ctx, pw->coding, &pw->ctx->json);
    return part != NULL ? rcbuf_ref(rcbuf_slot_offer(&part->frames.of[pw->coding], made)) : made;
}

/* --- the list of peers, in the order of ids --- */

static void put_piece(struct peers_writer *pw, struct rcbuf *taken)
{
    if (pw->is_begun)
        push_glue(pw->out, GLUE_COMMA, pw->coding);
    pw->is_begun = true;
    netmap_pieces_push(pw->out, taken);
}

/* Makes a piece of what has gathered in ctx->json. */
static void put_gathered(struct peers_writer *pw)
{
    struct buf *json = &pw->ctx->json;
    if (buf_len(json) == 0)
        return;
    put_piece(pw, netmap_encode_piece(pw->ctx, pw->coding, json));
    buf_clear(json);
}

/* A few peers of a group are not worth a piece of their own: those of many groups are put into one piece. */
static void push_visible(struct netmap_ctx *ctx, const struct map_viewer *v, enum netmap_coding coding,
                         struct netmap_pieces *out)
{
    enum { FEW = 16, GATHERED_MAX_BYTES = 64 * 1024 };
    struct peers_writer pw = {.ctx = ctx, .v = v, .coding = coding, .out = out};
    buf_clear(&ctx->json);
    for (size_t i = 0; i < v->s->group_n; i++) {
        const struct node_group *g = v->s->groups[i];
        uint64_t mask = ctx->visible[i];
        if (mask == 0)
            continue;
        bool is_whole = mask == g->peers, is_own = v->id / GROUP_NODES == i;
        if (!is_own && (is_whole || __builtin_popcountll(mask) >= FEW) && is_plain_part(v, i, mask)) {
            put_gathered(&pw);
            put_piece(&pw, is_whole ? group_piece(&pw, g) : part_piece(&pw, g, mask));
            buf_clear(&ctx->json);
            continue;
        }
        write_part(&pw, g, mask);
        if (buf_len(&ctx->json) > GATHERED_MAX_BYTES)
            put_gathered(&pw);
    }
    put_gathered(&pw);
}

static struct map_viewer viewer_of(const struct snapshot *s, node_id id)
{
    return (struct map_viewer){s, id, netmap_viewer(s, id)};
}

bool netmap_has_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id id)
{
    struct map_viewer v = viewer_of(s, id);
    return find_visible(ctx, &v);
}

/* --- profiles of users --- */

/* The profiles of all users, encoded once. A new reference. */
static struct rcbuf *profiles_piece(struct netmap_ctx *ctx, const struct user_table *users, enum netmap_coding coding)
{
    struct rcbuf *_Atomic *frame = &netmap_frames_in(&users->cache)->of[coding];
    struct rcbuf *held = netmap_frame_begin(frame);
    if (held == NULL) {
        struct json_writer w;
        buf_clear(&ctx->json);
        json_w_init(&w, &ctx->json);
        netmap_write_profiles(&w, users, NULL);
        metric_inc(&encoded_profiles);
        held = netmap_frame_end(frame, netmap_encode_piece(ctx, coding, &ctx->json));
    }
    return rcbuf_ref(held);
}

/* Marks the owner of the node. Returns how many more owners are marked now: 0 or 1. */
static size_t mark_owner(const struct snapshot *s, const struct node *n, uint64_t *owners)
{
    size_t i = n->tags == NULL ? user_table_find(s->users, n->user) : s->users->n;
    if (i == s->users->n || bit_get(owners, i))
        return 0;
    bit_put(owners, i);
    return 1;
}

/* Marks in ctx->owners the owners of what the viewer is shown and of the viewer itself. `has_peers`: ctx->visible
 * holds the peers. False: all users are marked. */
static bool find_owners(struct netmap_ctx *ctx, const struct map_viewer *v, bool has_peers)
{
    const struct snapshot *s = v->s;
    uint64_t *owners = zeros(&ctx->owners, &ctx->owners_cap, bits_words(s->users->n));
    size_t n = mark_owner(s, snapshot_node(s, v->id), owners);
    user_id last = 0; /* of the node before: nodes of one user are often neighbours */
    for (size_t i = 0; has_peers && i < s->group_n && n < s->users->n; i++) {
        for (uint64_t left = ctx->visible[i]; left != 0; left &= left - 1) {
            const struct node *peer = s->groups[i]->nodes[__builtin_ctzll(left)];
            if (peer->tags == NULL && peer->user != last)
                n += mark_owner(s, peer, owners);
            last = peer->tags == NULL ? peer->user : last;
        }
    }
    return n < s->users->n;
}

/* --- full maps --- */

/* Everything of a first map but peers and profiles; the object stays open. src: docs/protocol/control.md 6.7 */
static void write_head(struct json_writer *w, const struct snapshot *s, const struct node *self)
{
    const struct tailnet_settings *settings = s->settings;
    const struct node_access *access = access_of_node(s->access, self->id);
    json_w_object(w);
    json_w_key(w, "Node");
    /* The key was ended by a clock that was ahead, so its date has not come; clients look at the date only. */
    bool is_late = self->is_ended && self->expires_ms > s->made_ms;
    netmap_write_self(w, self, settings, access, is_late ? s->made_ms - 60000 : 0);
    netmap_write_derp_map(w, settings, self);
    netmap_write_dns(w, settings, self, access);
    json_w_kv_cstr(w, "Domain", settings->domain);
    json_w_kv_bool(w, "CollectServices", false);
    json_w_key(w, "PacketFilters");
    json_w_object(w);
    netmap_write_raw(w, "base", access->filter->json);
    json_w_end_object(w);
    /* Always, even if it says nothing: a client keeps the SSH policy that it had when the next map has none. */
    netmap_write_raw(w, "SSHPolicy", access->ssh->json);
    if (!settings->collect_logs) {
        json_w_key(w, "Debug");
        json_w_raw(w, STR("{\"DisableLogTail\":true}"));
    }
    netmap_write_time(w, "ControlTime", s->made_ms);
}

/* The first piece, and what comes before the peers. Profiles come last, so that they can be a shared piece. */
static void push_head(struct netmap_ctx *ctx, const struct map_viewer *v, bool has_peers, enum netmap_coding coding,
                      struct netmap_pieces *out)
{
    struct json_writer w;
    enum glue next = has_peers ? GLUE_PEERS : GLUE_END;
    bool has_own_profiles = !access_is_open(v->s->access) && find_owners(ctx, v, has_peers);
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    write_head(&w, v->s, snapshot_node(v->s, v->id));
    json_w_key(&w, "UserProfiles");
    if (has_own_profiles) {
        netmap_write_profiles(&w, v->s->users, ctx->owners);
        buf_append_c(&ctx->json, glue_texts[next]);
    }
    metric_inc(&encoded_full);
    netmap_pieces_push(out, netmap_encode_message(ctx, coding, &ctx->json));
    if (has_own_profiles)
        return;
    netmap_pieces_push(out, profiles_piece(ctx, v->s->users, coding));
    push_glue(out, next, coding);
}

enum rc netmap_full(struct netmap_ctx *ctx, const struct snapshot *s, node_id id, enum netmap_coding coding,
                    bool with_peers, struct netmap_pieces *out)
{
    const struct node *self = snapshot_node(s, id);
    if (self == NULL)
        return RC_NOT_FOUND;
    pthread_once(&shared_once, make_shared);
    struct map_viewer viewer = viewer_of(s, id);
    bool has_peers = with_peers && find_visible(ctx, &viewer);
    size_t head_at = out->n, bytes_before = out->bytes;
    push_head(ctx, &viewer, has_peers, coding, out);
    if (has_peers) {
        push_visible(ctx, &viewer, coding, out);
        push_glue(out, GLUE_PEERS_END, coding);
    }
    netmap_set_length(out->items[head_at], out->bytes - bytes_before);
    return RC_OK;
}
