/* Messages: pieces and their codings, and those that say nothing of a snapshot. */
#include "netmap/netmap_internal.h"

#include <assert.h>

#include "base/mem.h"
#include "base/vec.h"

METRIC_COUNTER(encoded_keep_alive, "fullscale_netmap_encoded_total", "what=\"keep_alive\"",
               "Pieces of map responses serialised and compressed.");

void netmap_ctx_fini(struct netmap_ctx *ctx)
{
    zstd_ctx_fini(&ctx->zstd);
    buf_fini(&ctx->json);
    buf_fini(&ctx->coded);
    mem_free(ctx->visible);
    mem_free(ctx->owners);
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

void netmap_pieces_push(struct netmap_pieces *p, struct rcbuf *taken)
{
    VEC_ROOM(p->items, p->n, p->cap, 8);
    p->items[p->n++] = taken;
    p->bytes += taken->len;
}

/* --- coding --- */

enum { LENGTH_BYTES = 4 };

void netmap_set_length(struct rcbuf *first, size_t bytes)
{
    size_t n = bytes - LENGTH_BYTES;
    assert(n <= UINT32_MAX);
    for (int i = 0; i < LENGTH_BYTES; i++)
        first->data[i] = (uint8_t)(n >> (8 * i)); /* little-endian, unlike all of Noise */
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

struct rcbuf *netmap_encode_message(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json)
{
    static const uint8_t room[LENGTH_BYTES];
    buf_clear(&ctx->coded);
    buf_append(&ctx->coded, room, sizeof(room));
    code(ctx, coding, buf_str(json));
    struct rcbuf *made = rcbuf_create(buf_at(&ctx->coded), buf_len(&ctx->coded));
    netmap_set_length(made, made->len);
    return made;
}

struct rcbuf *netmap_encode_piece(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json)
{
    buf_clear(&ctx->coded);
    code(ctx, coding, buf_str(json));
    return rcbuf_create(buf_at(&ctx->coded), buf_len(&ctx->coded));
}

void netmap_object_begin(struct netmap_ctx *ctx, struct json_writer *w)
{
    buf_clear(&ctx->json);
    json_w_init(w, &ctx->json);
    json_w_object(w);
}

struct rcbuf *netmap_object_end(struct netmap_ctx *ctx, struct json_writer *w, enum netmap_coding coding)
{
    json_w_end_object(w);
    return netmap_encode_message(ctx, coding, &ctx->json);
}

/* --- messages that say nothing of a snapshot --- */

struct rcbuf *netmap_keep_alive(struct netmap_ctx *ctx, enum netmap_coding coding)
{
    static struct netmap_frames shared;
    struct rcbuf *held = atomic_load_explicit(&shared.of[coding], memory_order_acquire);
    if (held == NULL) {
        buf_clear(&ctx->json);
        buf_append_c(&ctx->json, "{\"KeepAlive\":true}\n");
        metric_inc(&encoded_keep_alive);
        held = rcbuf_slot_offer(&shared.of[coding], netmap_encode_message(ctx, coding, &ctx->json));
    }
    return rcbuf_ref(held);
}

struct rcbuf *netmap_expired_self(struct netmap_ctx *ctx, const node_key *key, int64_t now_ms,
                                  enum netmap_coding coding)
{
    struct json_writer w;
    char text[KEY_TEXT_CAP];
    node_key_format(key, text);
    netmap_object_begin(ctx, &w);
    json_w_key(&w, "Node");
    json_w_object(&w);
    /* Ids and names that no other node has: the client requires some. */
    json_w_kv_u64(&w, "ID", (1ull << 53) - 1);
    json_w_kv_cstr(&w, "StableID", "ngone");
    json_w_kv_cstr(&w, "Name", "logged-out.");
    json_w_kv_u64(&w, "User", TAGGED_DEVICES_USER);
    json_w_kv_cstr(&w, "Key", text);
    netmap_write_time(&w, "KeyExpiry", now_ms - 60000);
    json_w_kv_bool(&w, "MachineAuthorized", true);
    json_w_end_object(&w);
    netmap_write_time(&w, "ControlTime", now_ms);
    return netmap_object_end(ctx, &w, coding);
}

struct rcbuf *netmap_ping(struct netmap_ctx *ctx, struct str url, enum netmap_coding coding)
{
    struct json_writer w;
    netmap_object_begin(ctx, &w);
    json_w_key(&w, "PingRequest");
    json_w_object(&w);
    json_w_kv_str(&w, "URL", url);
    json_w_end_object(&w);
    json_w_kv_bool(&w, "KeepAlive", true);
    return netmap_object_end(ctx, &w, coding);
}

struct rcbuf *netmap_time(struct netmap_ctx *ctx, int64_t now_ms, enum netmap_coding coding)
{
    struct json_writer w;
    netmap_object_begin(ctx, &w);
    netmap_write_time(&w, "ControlTime", now_ms);
    json_w_kv_bool(&w, "KeepAlive", true);
    return netmap_object_end(ctx, &w, coding);
}
