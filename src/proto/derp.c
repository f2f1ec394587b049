#include "proto/derp.h"

#include <string.h>

#include "base/arena.h"
#include "codec/json.h"
#include "codec/json_write.h"

static const uint8_t server_key_magic[8] = {0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91}; /* "DERP" and a key */
static const uint8_t disco_magic[6] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};                  /* "TS" and a bubble */

/* A login has about six members; one with many more is refused. */
static const struct json_limits info_limits = {
    .max_bytes = DERP_CLIENT_INFO_MAX_BYTES, .max_depth = 16, .max_nodes = 200};

struct derp_header derp_header_parse(const uint8_t p[DERP_HEADER_BYTES])
{
    uint32_t len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    return (struct derp_header){.type = p[0], .len = len};
}

void derp_header_build(uint8_t type, uint32_t len, uint8_t out[DERP_HEADER_BYTES])
{
    out[0] = type;
    out[1] = (uint8_t)(len >> 24);
    out[2] = (uint8_t)(len >> 16);
    out[3] = (uint8_t)(len >> 8);
    out[4] = (uint8_t)len;
}

static enum rc check_len(uint32_t len, uint32_t min, uint32_t max)
{
    if (len < min)
        return RC_TRUNCATED;
    return len > max ? RC_TOO_LARGE : RC_OK;
}

/* src: docs/protocol/derp-stun.md 3, column "server rules" */
static enum rc check_len_of_type(struct derp_header h)
{
    switch (h.type) {
    case DERP_SEND_PACKET: return check_len(h.len, KEY_BYTES, KEY_BYTES + DERP_PACKET_MAX_BYTES);
    case DERP_FORWARD_PACKET: return check_len(h.len, 2 * KEY_BYTES, 2 * KEY_BYTES + DERP_PACKET_MAX_BYTES);
    case DERP_NOTE_PREFERRED: return check_len(h.len, 1, 1);
    case DERP_WATCH_CONNS: return check_len(h.len, 0, 0);
    case DERP_CLOSE_PEER: return check_len(h.len, KEY_BYTES, KEY_BYTES);
    case DERP_PING: return check_len(h.len, DERP_PING_BYTES, DERP_PING_MAX_BYTES);
    case DERP_PONG: /* we send pings; the reference does not, and skips the answers */
        return h.len == DERP_PING_BYTES ? RC_OK : RC_UNSUPPORTED;
    case DERP_CLIENT_INFO: return RC_INVALID;
    default: return RC_UNSUPPORTED;
    }
}

enum rc derp_header_check(struct derp_header h, bool is_login)
{
    if (!is_login)
        return check_len_of_type(h);
    if (h.type != DERP_CLIENT_INFO)
        return RC_INVALID;
    return check_len(h.len, DERP_CLIENT_INFO_MIN_BYTES, DERP_CLIENT_INFO_MAX_BYTES);
}

static void append_header(struct buf *out, uint8_t type, size_t len)
{
    derp_header_build(type, (uint32_t)len, buf_reserve(out, DERP_HEADER_BYTES));
    buf_commit(out, DERP_HEADER_BYTES);
}

void derp_append_frame(struct buf *out, uint8_t type, const void *payload, size_t n)
{
    append_header(out, type, n);
    buf_append(out, payload, n);
}

void derp_append_server_key(struct buf *out, const uint8_t server_public[KEY_BYTES])
{
    append_header(out, DERP_SERVER_KEY, sizeof(server_key_magic) + KEY_BYTES);
    buf_append(out, server_key_magic, sizeof(server_key_magic));
    buf_append(out, server_public, KEY_BYTES);
}

enum rc derp_server_key_parse(const uint8_t *payload, size_t n, uint8_t server_public_out[KEY_BYTES])
{
    if (n < sizeof(server_key_magic) + KEY_BYTES)
        return RC_TRUNCATED;
    if (memcmp(payload, server_key_magic, sizeof(server_key_magic)) != 0)
        return RC_INVALID;
    memcpy(server_public_out, payload + sizeof(server_key_magic), KEY_BYTES);
    return RC_OK;
}

static void append_packet(struct buf *out, uint8_t type, const node_key *key, const void *packet, size_t n)
{
    uint8_t *p = buf_reserve(out, DERP_HEADER_BYTES + KEY_BYTES + n);
    derp_header_build(type, (uint32_t)(KEY_BYTES + n), p);
    memcpy(p + DERP_HEADER_BYTES, key->b, KEY_BYTES);
    if (n > 0)
        memcpy(p + DERP_HEADER_BYTES + KEY_BYTES, packet, n);
    buf_commit(out, DERP_HEADER_BYTES + KEY_BYTES + n);
}

void derp_append_recv_packet(struct buf *out, const node_key *src, const void *packet, size_t n)
{
    append_packet(out, DERP_RECV_PACKET, src, packet, n);
}

void derp_append_send_packet(struct buf *out, const node_key *dst, const void *packet, size_t n)
{
    append_packet(out, DERP_SEND_PACKET, dst, packet, n);
}

void derp_append_peer_gone(struct buf *out, const node_key *key, enum derp_gone_reason reason)
{
    append_header(out, DERP_PEER_GONE, KEY_BYTES + 1);
    buf_append(out, key->b, KEY_BYTES);
    buf_append_byte(out, (uint8_t)reason);
}

void derp_append_peer_present(struct buf *out, const node_key *key, const uint8_t ip[16], uint16_t port, uint8_t flags)
{
    append_header(out, DERP_PEER_PRESENT, DERP_PEER_PRESENT_BYTES);
    buf_append(out, key->b, KEY_BYTES);
    buf_append(out, ip, 16);
    buf_append_u16be(out, port);
    buf_append_byte(out, flags);
}

void derp_append_health(struct buf *out, struct str text)
{
    derp_append_frame(out, DERP_HEALTH, text.p, text.len);
}

void derp_append_restarting(struct buf *out, uint32_t reconnect_in_ms, uint32_t try_for_ms)
{
    append_header(out, DERP_RESTARTING, 8);
    buf_append_u32be(out, reconnect_in_ms);
    buf_append_u32be(out, try_for_ms);
}

/* --- Login --- */

static enum rc read_mesh_key(const struct json *root, struct derp_client_info *info)
{
    const struct json *field = json_get(root, "meshKey");
    if (json_is_null(field))
        return RC_OK;
    struct str hex;
    if (!json_str(field, &hex))
        return RC_INVALID;
    if (hex.len == 0)
        return RC_OK;
    TRY(hex_decode(hex, info->mesh_key, sizeof(info->mesh_key)));
    info->has_mesh_key = !key_is_zero(info->mesh_key);
    return RC_OK;
}

static bool read_bool(const struct json *root, const char *key)
{
    bool v = false;
    json_bool(json_get(root, key), &v);
    return v;
}

static int64_t read_int(const struct json *root, const char *key)
{
    int64_t v = 0;
    json_i64(json_get(root, key), &v);
    return v;
}

/* For logs and statistics only, so what is not printable does not get in. */
static void read_app_name(const struct json *root, char out[64])
{
    struct str name = STR_EMPTY;
    json_str(json_get(root, "AppName"), &name);
    size_t n = 0;
    for (size_t i = 0; i < name.len && n < 63; i++)
        if (name.p[i] > ' ' && name.p[i] < 0x7f)
            out[n++] = name.p[i];
    out[n] = '\0';
}

static enum rc read_client_info(const struct json *root, struct derp_client_info *info)
{
    if (json_type_of(root) != JSON_OBJECT)
        return RC_INVALID;
    TRY(read_mesh_key(root, info));
    info->version = read_int(root, "version");
    info->can_ack_pings = read_bool(root, "CanAckPings");
    info->is_prober = read_bool(root, "IsProber");
    read_app_name(root, info->app_name);
    return RC_OK;
}

/* Opens the box and parses what it holds. The tree is in `a`. */
static enum rc open_json(const private_key *self, const uint8_t peer_public[KEY_BYTES], const uint8_t *box, size_t n,
                         struct arena *a, const struct json **root_out)
{
    if (n < BOX_OVERHEAD)
        return RC_TRUNCATED;
    size_t text_len = n - BOX_OVERHEAD;
    uint8_t *text = arena_alloc(a, text_len + 1);
    TRY(box_open(self->b, peer_public, box, n, text));
    return json_parse(a, str_n(text, text_len), &info_limits, root_out, NULL) == RC_OK ? RC_OK : RC_INVALID;
}

enum rc derp_client_info_open(const private_key *server, const uint8_t *payload, size_t n, struct derp_client_info *out)
{
    TRY(check_len((uint32_t)(n < UINT32_MAX ? n : UINT32_MAX), DERP_CLIENT_INFO_MIN_BYTES, DERP_CLIENT_INFO_MAX_BYTES));
    struct derp_client_info info = {0};
    memcpy(info.key.b, payload, KEY_BYTES);
    struct arena a = {0};
    const struct json *root = NULL;
    enum rc rc = open_json(server, info.key.b, payload + KEY_BYTES, n - KEY_BYTES, &a, &root);
    if (rc == RC_OK)
        rc = read_client_info(root, &info);
    arena_fini(&a);
    if (rc == RC_OK)
        *out = info;
    secret_wipe(&info, sizeof(info));
    return rc;
}

enum rc derp_server_info_open(const private_key *client, const uint8_t server_public[KEY_BYTES], const uint8_t *payload,
                              size_t n, struct derp_server_info *out)
{
    if (n > DERP_SERVER_INFO_MAX_BYTES + BOX_NONCE_BYTES)
        return RC_TOO_LARGE;
    struct arena a = {0};
    const struct json *root = NULL;
    enum rc rc = open_json(client, server_public, payload, n, &a, &root);
    if (rc == RC_OK && json_type_of(root) != JSON_OBJECT)
        rc = RC_INVALID;
    if (rc == RC_OK)
        *out = (struct derp_server_info){
            .version = read_int(root, "version"),
            .bucket_bytes_per_s = read_int(root, "TokenBucketBytesPerSecond"),
            .bucket_burst_bytes = read_int(root, "TokenBucketBytesBurst"),
        };
    arena_fini(&a);
    return rc;
}

/* Appends the box of `text` and what stands before it in the payload. On failure `out` is as before. */
static enum rc append_sealed(struct buf *out, uint8_t type, const uint8_t *prefix, size_t prefix_len,
                             const private_key *self, const uint8_t peer_public[KEY_BYTES],
                             const uint8_t nonce[BOX_NONCE_BYTES], const struct buf *text)
{
    size_t n = buf_len(text);
    size_t total = DERP_HEADER_BYTES + prefix_len + n + BOX_OVERHEAD;
    uint8_t *p = buf_reserve(out, total);
    derp_header_build(type, (uint32_t)(total - DERP_HEADER_BYTES), p);
    if (prefix_len > 0)
        memcpy(p + DERP_HEADER_BYTES, prefix, prefix_len);
    TRY(box_seal(self->b, peer_public, nonce, buf_at(text), n, p + DERP_HEADER_BYTES + prefix_len));
    buf_commit(out, total);
    return RC_OK;
}

/* Members in the order of the Go client, so that the bytes can be compared. */
static void write_client_info(const struct derp_client_info *info, struct buf *text)
{
    struct json_writer w;
    json_w_init(&w, text);
    json_w_object(&w);
    if (info->has_mesh_key) {
        char hex[2 * DERP_MESH_KEY_BYTES];
        hex_encode(info->mesh_key, sizeof(info->mesh_key), hex);
        json_w_kv_str(&w, "meshKey", str_n(hex, sizeof(hex)));
    }
    if (info->version != 0)
        json_w_kv_i64(&w, "version", info->version);
    json_w_kv_bool(&w, "CanAckPings", info->can_ack_pings);
    if (info->is_prober)
        json_w_kv_bool(&w, "IsProber", true);
    if (info->app_name[0] != '\0')
        json_w_kv_cstr(&w, "AppName", info->app_name);
    json_w_end_object(&w);
}

enum rc derp_append_client_info(struct buf *out, const private_key *client, const uint8_t server_public[KEY_BYTES],
                                const uint8_t nonce[BOX_NONCE_BYTES], const struct derp_client_info *info)
{
    struct buf text = {0};
    write_client_info(info, &text);
    enum rc rc = append_sealed(out, DERP_CLIENT_INFO, info->key.b, KEY_BYTES, client, server_public, nonce, &text);
    buf_fini(&text);
    return rc;
}

enum rc derp_append_server_info(struct buf *out, const private_key *server, const node_key *client,
                                const uint8_t nonce[BOX_NONCE_BYTES], const struct derp_server_info *info)
{
    struct buf text = {0};
    struct json_writer w;
    json_w_init(&w, &text);
    json_w_object(&w);
    json_w_kv_i64(&w, "version", info->version);
    if (info->bucket_bytes_per_s != 0)
        json_w_kv_i64(&w, "TokenBucketBytesPerSecond", info->bucket_bytes_per_s);
    if (info->bucket_burst_bytes != 0)
        json_w_kv_i64(&w, "TokenBucketBytesBurst", info->bucket_burst_bytes);
    json_w_end_object(&w);
    enum rc rc = append_sealed(out, DERP_SERVER_INFO, NULL, 0, server, client->b, nonce, &text);
    buf_fini(&text);
    return rc;
}

bool derp_is_disco(const uint8_t *packet, size_t n)
{
    return n >= sizeof(disco_magic) + KEY_BYTES + BOX_NONCE_BYTES &&
           memcmp(packet, disco_magic, sizeof(disco_magic)) == 0;
}
