#include "netmap/netmap_internal.h"

#include <assert.h>
#include <pthread.h>

#include "base/mem.h"

METRIC_COUNTER(encoded_group, "fullscale_netmap_encoded_total", "what=\"group\"",
               "Pieces of map responses serialised and compressed.");
METRIC_COUNTER(encoded_full, "fullscale_netmap_encoded_total", "what=\"full_map_head\"", "");
METRIC_COUNTER(encoded_keep_alive, "fullscale_netmap_encoded_total", "what=\"keep_alive\"", "");

void netmap_ctx_fini(struct netmap_ctx *ctx)
{
    zstd_ctx_fini(&ctx->zstd);
    buf_fini(&ctx->json);
    buf_fini(&ctx->coded);
}

void netmap_pieces_clear(struct netmap_pieces *p)
{
    for (size_t i = 0; i < p->n; i++)
        rcbuf_unref(&p->items[i]);
    p->n = 0;
    p->bytes = 0;
}

void netmap_pieces_fini(struct netmap_pieces *p)
{
    netmap_pieces_clear(p);
    mem_free(p->items);
    *p = (struct netmap_pieces){0};
}

void pieces_push(struct netmap_pieces *p, struct rcbuf *taken)
{
    if (p->n == p->cap) {
        p->cap = p->cap > 0 ? p->cap * 2 : 8;
        p->items = mem_realloc_array(p->items, p->cap, sizeof(*p->items));
    }
    p->items[p->n++] = taken;
    p->bytes += taken->len;
}

/* Taken only by whoever finds a slot empty: workers wake for the same change at the same moment, and one of them shall do
 * the work. Readers of a filled slot take nothing. */
static pthread_mutex_t encode_once = PTHREAD_MUTEX_INITIALIZER;

void encode_once_lock(void)
{
    pthread_mutex_lock(&encode_once);
}

void encode_once_unlock(void)
{
    pthread_mutex_unlock(&encode_once);
}

/* --- coding --- */

static void put_length(uint8_t *at, size_t n)
{
    assert(n <= UINT32_MAX);
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(n >> (8 * i)); /* little-endian, unlike all of Noise */
}

/* Appends the coded form of `json` to ctx->coded. */
static void code(struct netmap_ctx *ctx, enum netmap_coding coding, struct str json)
{
    if (coding == NETMAP_PLAIN) {
        buf_append_str(&ctx->coded, json);
        return;
    }
    /* Fails only when the library's own memory is out. */
    if (zstd_compress(&ctx->zstd, ZSTD_LEVEL_DEFAULT, json.p, json.len, &ctx->coded) != RC_OK)
        zstd_append_raw(&ctx->coded, json.p, json.len);
}

struct rcbuf *encode_message(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json)
{
    static const uint8_t room[4];
    buf_clear(&ctx->coded);
    buf_append(&ctx->coded, room, sizeof(room));
    code(ctx, coding, buf_str(json));
    put_length(buf_at(&ctx->coded), buf_len(&ctx->coded) - 4);
    return rcbuf_create(buf_at(&ctx->coded), buf_len(&ctx->coded));
}

static struct rcbuf *encode_piece(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json)
{
    buf_clear(&ctx->coded);
    code(ctx, coding, buf_str(json));
    return rcbuf_create(buf_at(&ctx->coded), buf_len(&ctx->coded));
}

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

struct rcbuf *netmap_keep_alive(struct netmap_ctx *ctx, enum netmap_coding coding)
{
    static struct rcbuf *_Atomic shared[2];
    struct rcbuf *held = atomic_load_explicit(&shared[coding], memory_order_acquire);
    if (held == NULL) {
        buf_clear(&ctx->json);
        buf_append_c(&ctx->json, "{\"KeepAlive\":true}\n");
        metric_inc(&encoded_keep_alive);
        held = rcbuf_slot_offer(&shared[coding], encode_message(ctx, coding, &ctx->json));
    }
    return rcbuf_ref(held);
}

/* --- groups of peers: {..},{..} --- */

static void write_group(struct netmap_ctx *ctx, const struct node_group *g, const struct tailnet_settings *settings,
                        node_id except)
{
    buf_clear(&ctx->json);
    for (size_t i = 0; i < GROUP_NODES; i++) {
        if (g->nodes[i] == NULL || g->nodes[i]->id == except)
            continue;
        const struct rcbuf *peer = peer_json(g->nodes[i], settings);
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

static void push_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id self, enum netmap_coding coding,
                       struct netmap_pieces *out)
{
    bool first = true;
    for (size_t i = 0; i < s->group_n; i++) {
        const struct node_group *g = s->groups[i];
        bool own = i == self / GROUP_NODES;
        if (g == NULL || g->n == (own ? 1u : 0u))
            continue;
        if (!first)
            pieces_push(out, rcbuf_ref(shared_comma[coding]));
        first = false;
        if (own) {
            write_group(ctx, g, s->settings, self);
            pieces_push(out, encode_piece(ctx, coding, &ctx->json));
        } else {
            pieces_push(out, group_piece(ctx, g, s->settings, coding));
        }
    }
    pieces_push(out, rcbuf_ref(shared_end[coding]));
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

/* src: "sha256-raw:" in CertName is understood from 1.82 on (capability version 115; derp/derphttp of both releases). */
bool needs_unpinned(const struct node *n, const struct tailnet_settings *settings)
{
    enum { CAP_PINNED_CERT = 115 };
    return settings->derp_map_unpinned_json != NULL && n->cap_version != 0 && n->cap_version < CAP_PINNED_CERT;
}

const struct rcbuf *derp_map_of(const struct tailnet_settings *settings, bool is_unpinned)
{
    return is_unpinned && settings->derp_map_unpinned_json != NULL ? settings->derp_map_unpinned_json
                                                                   : settings->derp_map_json;
}

/* Everything of a first map but its peers; the object stays open. src: control.md 6.7 */
static void write_head(struct json_writer *w, const struct snapshot *s, const struct node *self)
{
    const struct tailnet_settings *settings = s->settings;
    json_w_object(w);
    json_w_key(w, "Node");
    write_self(w, self, settings, 0);
    write_raw(w, "DERPMap", derp_map_of(settings, needs_unpinned(self, settings)));
    write_raw(w, "DNSConfig", settings->dns_config_json);
    json_w_kv_cstr(w, "Domain", settings->domain);
    json_w_kv_bool(w, "CollectServices", false);
    write_raw(w, "UserProfiles", profiles_json(s->users));
    json_w_key(w, "PacketFilters");
    json_w_raw(
        w,
        STR("{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]}"));
    if (!settings->collect_logs) {
        json_w_key(w, "Debug");
        json_w_raw(w, STR("{\"DisableLogTail\":true}"));
    }
    write_time(w, "ControlTime", s->made_ms);
}

enum rc netmap_full(struct netmap_ctx *ctx, const struct snapshot *s, node_id id, enum netmap_coding coding,
                    bool with_peers, struct netmap_pieces *out)
{
    static const uint8_t room[4];
    struct json_writer w;
    const struct node *self = snapshot_node(s, id);
    if (self == NULL)
        return RC_NOT_FOUND;
    pthread_once(&shared_once, make_shared);
    bool has_peers = with_peers && s->node_n > 1;
    /* The head goes first but holds the length of all: keep its place. */
    size_t head_at = out->n;
    size_t bytes_before = out->bytes;
    pieces_push(out, rcbuf_create(NULL, 0));
    if (has_peers)
        push_peers(ctx, s, id, coding, out);
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    write_head(&w, s, self);
    buf_append_c(&ctx->json, has_peers ? ",\"Peers\":[" : "}");
    buf_clear(&ctx->coded);
    buf_append(&ctx->coded, room, sizeof(room));
    code(ctx, coding, buf_str(&ctx->json));
    put_length(buf_at(&ctx->coded), out->bytes - bytes_before + buf_len(&ctx->coded) - 4);
    rcbuf_unref(&out->items[head_at]);
    out->items[head_at] = rcbuf_create(buf_at(&ctx->coded), buf_len(&ctx->coded));
    out->bytes += buf_len(&ctx->coded);
    metric_inc(&encoded_full);
    return RC_OK;
}

struct rcbuf *netmap_expired_self(struct netmap_ctx *ctx, const node_key *key, int64_t now_ms,
                                  enum netmap_coding coding)
{
    struct json_writer w;
    char text[KEY_TEXT_CAP];
    node_key_format(key, text);
    buf_clear(&ctx->json);
    json_w_init(&w, &ctx->json);
    json_w_object(&w);
    json_w_key(&w, "Node");
    json_w_object(&w);
    /* Ids and names that no other node has: the client wants some. */
    json_w_kv_u64(&w, "ID", (1ull << 53) - 1);
    json_w_kv_cstr(&w, "StableID", "ngone");
    json_w_kv_cstr(&w, "Name", "logged-out.");
    json_w_kv_u64(&w, "User", TAGGED_DEVICES_USER);
    json_w_kv_cstr(&w, "Key", text);
    write_time(&w, "KeyExpiry", now_ms - 60000);
    json_w_kv_bool(&w, "MachineAuthorized", true);
    json_w_end_object(&w);
    write_time(&w, "ControlTime", now_ms);
    json_w_end_object(&w);
    return encode_message(ctx, coding, &ctx->json);
}
