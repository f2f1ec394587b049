/* Full maps: a head of each node's own, and pieces that are shared. */
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

/* Without this the leak checker calls them lost at exit. */
__attribute__((destructor)) static void drop_shared(void)
{
    for (size_t i = 0; i < GLUES_N; i++) {
        rcbuf_unref(&shared_glue[i][NETMAP_PLAIN]);
        rcbuf_unref(&shared_glue[i][NETMAP_ZSTD]);
    }
}

static void push_glue(struct netmap_pieces *out, enum glue which, enum netmap_coding coding)
{
    pieces_push(out, rcbuf_ref(shared_glue[which][coding]));
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
    struct rcbuf *held = slot_begin(slot);
    if (held == NULL) {
        write_group(ctx, g, settings, 0);
        metric_inc(&encoded_group);
        held = slot_end(slot, encode_piece(ctx, coding, &ctx->json));
    }
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
        push_glue(pw->out, GLUE_COMMA, pw->coding);
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
}

/* --- the same under a policy: those of a group whom the viewer sees --- */

enum { PARTS_MAX = 64 }; /* of a group: more kinds of viewers than that get pieces of their own */

struct viewer {
    const struct snapshot *s;
    node_id id;
    struct viewer_key seat; /* in the policy, if there is one */
    bool hides_v4;
};

/* `n` words of zeros in a scratch. */
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

/* Those of a group, which may be null, who are shown, of `mask`. */
static uint64_t shown_of(const struct viewer *v, const struct node_group *g, uint64_t mask)
{
    uint64_t shown = 0;
    for (uint64_t left = mask; g != NULL && left != 0; left &= left - 1) {
        const struct node *n = node_as_peer(g->nodes[__builtin_ctzll(left)]);
        if (n != NULL && n->id != v->id)
            shown |= left & -left;
    }
    return shown;
}

/* Finds whom the viewer is shown, in ctx->visible. False: nobody. */
static bool find_visible(struct netmap_ctx *ctx, const struct viewer *v)
{
    size_t n = v->s->group_n;
    uint64_t any = 0, *visible = zeros(&ctx->visible, &ctx->visible_cap, n);
    engine_view_mark(v->s->access->view, v->seat, visible, n);
    for (size_t i = 0; i < n; i++) {
        visible[i] = shown_of(v, v->s->groups[i], visible[i]);
        any |= visible[i];
    }
    return any != 0;
}

/* They are shown as to everyone. */
static bool is_plain_part(const struct viewer *v, const struct node_group *g, uint64_t mask)
{
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const struct node *n = g->nodes[__builtin_ctzll(left)];
        struct peer_shape shape = shape_for(v->s->access, v->seat, v->hides_v4, n->id);
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
        struct peer_shape shape = shape_for(v->s->access, v->seat, v->hides_v4, n->id);
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

static void push_visible(struct netmap_ctx *ctx, const struct viewer *v, enum netmap_coding coding,
                         struct netmap_pieces *out)
{
    struct peers_writer pw = {.coding = coding, .out = out};
    buf_clear(&ctx->json);
    for (size_t i = 0; i < v->s->group_n; i++) {
        if (ctx->visible[i] != 0)
            put_visible(ctx, v, i, ctx->visible[i], &pw);
    }
    put_gathered(ctx, &pw);
}

static struct viewer viewer_of(const struct snapshot *s, node_id id)
{
    const struct node_access *access = access_of_node(s->access, id);
    return (struct viewer){s, id, netmap_viewer_key(s, id), access != NULL && access->hides_v4};
}

/* Under a policy whom the viewer is shown is in ctx->visible then. False: nobody. */
static bool find_peers(struct netmap_ctx *ctx, const struct viewer *v)
{
    const struct snapshot *s = v->s;
    if (s->access != NULL)
        return find_visible(ctx, v);
    return count_peers(s->node_n, s->newcomer_n, snapshot_node(s, v->id)) > 0;
}

bool netmap_has_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id id)
{
    struct viewer v = viewer_of(s, id);
    return find_peers(ctx, &v);
}

/* --- profiles of users --- */

/* A new reference to that of all. */
static struct rcbuf *profiles_piece(struct netmap_ctx *ctx, const struct user_table *users, enum netmap_coding coding)
{
    struct rcbuf *_Atomic *slot = (struct rcbuf * _Atomic *)&users->profiles_frame[coding];
    struct rcbuf *held = slot_begin(slot);
    if (held == NULL) {
        struct json_writer w;
        buf_clear(&ctx->json);
        json_w_init(&w, &ctx->json);
        write_profiles(&w, users, NULL);
        metric_inc(&encoded_profiles);
        held = slot_end(slot, encode_piece(ctx, coding, &ctx->json));
    }
    return rcbuf_ref(held);
}

/* How many more are marked now. */
static size_t mark_owner(const struct snapshot *s, const struct node *n, uint64_t *owners)
{
    size_t i = n->tags == NULL ? user_table_find(s->users, n->user) : s->users->n;
    if (i == s->users->n || bit_get(owners, i))
        return 0;
    bit_put(owners, i);
    return 1;
}

/* Finds who owns what the viewer is shown (if it is shown anything) and the viewer, in ctx->owners. False: that is everyone. */
static bool find_owners(struct netmap_ctx *ctx, const struct viewer *v, bool has_peers)
{
    const struct snapshot *s = v->s;
    uint64_t *owners = zeros(&ctx->owners, &ctx->owners_cap, (s->users->n + 63) / 64);
    size_t n = mark_owner(s, snapshot_node(s, v->id), owners);
    user_id last = 0; /* nodes of one user often come together */
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
    /* Ended by a clock that was ahead: clients go by the date. */
    bool is_late = self->is_ended && self->expires_ms > s->made_ms;
    write_self(w, self, settings, access, is_late ? s->made_ms - 60000 : 0);
    write_raw(w, "DERPMap", derp_map_of(settings, needs_unpinned(self, settings)));
    write_dns(w, settings, self, access);
    json_w_kv_cstr(w, "Domain", settings->domain);
    json_w_kv_bool(w, "CollectServices", false);
    json_w_key(w, "PacketFilters");
    json_w_object(w);
    json_w_key(w, "base");
    if (access == NULL)
        json_w_raw(w, STR(ALLOW_ALL_RULES));
    else
        json_w_raw(w, str_n(access->filter->json->data, access->filter->json->len));
    json_w_end_object(w);
    /* Always: a slow reader that knew a policy may get this one after it is gone, and keeps what is not there. */
    json_w_key(w, "SSHPolicy");
    if (access == NULL)
        json_w_raw(w, STR(NO_SSH_RULES));
    else
        json_w_raw(w, str_n(access->ssh->json->data, access->ssh->json->len));
    if (!settings->collect_logs) {
        json_w_key(w, "Debug");
        json_w_raw(w, STR("{\"DisableLogTail\":true}"));
    }
    write_time(w, "ControlTime", s->made_ms);
}

/* The first piece, and what comes before the peers. Profiles stand last, so that they can be a piece that all share. */
static void push_head(struct netmap_ctx *ctx, const struct viewer *v, bool has_peers, enum netmap_coding coding,
                      struct netmap_pieces *out)
{
    struct json_writer w;
    enum glue next = has_peers ? GLUE_PEERS : GLUE_END;
    bool has_own_profiles = v->s->access != NULL && find_owners(ctx, v, has_peers);
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    write_head(&w, v->s, snapshot_node(v->s, v->id));
    json_w_key(&w, "UserProfiles");
    if (has_own_profiles) {
        write_profiles(&w, v->s->users, ctx->owners);
        buf_append_c(&ctx->json, glue_texts[next]);
    }
    metric_inc(&encoded_full);
    pieces_push(out, encode_message(ctx, coding, &ctx->json));
    if (has_own_profiles)
        return;
    pieces_push(out, profiles_piece(ctx, v->s->users, coding));
    push_glue(out, next, coding);
}

enum rc netmap_full(struct netmap_ctx *ctx, const struct snapshot *s, node_id id, enum netmap_coding coding,
                    bool with_peers, struct netmap_pieces *out)
{
    const struct node *self = snapshot_node(s, id);
    if (self == NULL)
        return RC_NOT_FOUND;
    pthread_once(&shared_once, make_shared);
    struct viewer viewer = viewer_of(s, id);
    bool has_peers = with_peers && find_peers(ctx, &viewer);
    size_t head_at = out->n, bytes_before = out->bytes;
    push_head(ctx, &viewer, has_peers, coding, out);
    if (has_peers && s->access != NULL)
        push_visible(ctx, &viewer, coding, out);
    else if (has_peers)
        push_peers(ctx, s, id, coding, out);
    if (has_peers)
        push_glue(out, GLUE_PEERS_END, coding);
    set_length(out->items[head_at], out->bytes - bytes_before);
    return RC_OK;
}
