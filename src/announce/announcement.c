#include "announce/announcement.h"

#include <stdio.h>

#include "codec/json.h"
#include "codec/json_write.h"

enum {
    REPLY_MAX_BYTES = 1024 * 1024,
    REVOKED_MAX = 8192,
    NEIGHBOURS_MAX = 256,
};

void announcement_write(const struct announcement *a, struct buf *out)
{
    struct json_writer w;
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "hostname", a->hostname);
    json_w_kv_cstr(&w, "localIP", a->local_ip);
    json_w_kv_cstr(&w, "ipv4", a->ipv4);
    json_w_kv_cstr(&w, "ipv6", a->ipv6);
    json_w_kv_cstr(&w, "certName", a->cert_name);
    json_w_kv_u64(&w, "derpPort", a->derp_port);
    json_w_kv_u64(&w, "stunPort", a->stun_port);
    json_w_kv_u64(&w, "news", a->news);
    json_w_kv_u64(&w, "started", a->started_ms);
    json_w_kv_u64(&w, "turn", a->number); /* the name on the wire */
    json_w_kv_bool(&w, "starting", a->is_starting);
    json_w_kv_bool(&w, "draining", a->is_draining);
    json_w_end_object(&w);
}

void announcement_verify_request_write(const node_key *key, const char *source, struct buf *out)
{
    char text[KEY_TEXT_CAP];
    struct json_writer w;
    node_key_format(key, text);
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "NodePublic", text);
    json_w_kv_cstr(&w, "Source", source);
    json_w_end_object(&w);
}

enum rc announcement_verify_reply_parse(struct str json, bool *is_allowed_out)
{
    static const struct json_limits limits = {.max_bytes = 4096, .max_depth = 8, .max_nodes = 256};
    struct arena a = {0};
    const struct json *root;
    enum rc rc = json_parse(&a, json, &limits, &root, NULL);
    if (rc == RC_OK && !json_bool(json_get(root, "Allow"), is_allowed_out))
        rc = RC_INVALID;
    arena_fini(&a);
    return rc;
}

/* --- the reply --- */

static bool read_name(const struct json *obj, const char *key, char out[ANNOUNCEMENT_NAME_CAP])
{
    struct str s;
    if (!json_str(json_get(obj, key), &s) || s.len >= ANNOUNCEMENT_NAME_CAP || memchr(s.p, '\0', s.len) != NULL)
        return false;
    snprintf(out, ANNOUNCEMENT_NAME_CAP, "%.*s", STR_ARG(s));
    return true;
}

static bool read_number(const struct json *obj, const char *key, uint64_t max, uint64_t *out)
{
    return json_u64(json_get(obj, key), out) && *out <= max;
}

static bool read_mesh_key(const struct json *obj, uint8_t out[DERP_MESH_KEY_BYTES])
{
    struct str s;
    return json_str(json_get(obj, "meshKey"), &s) && hex_decode(s, out, DERP_MESH_KEY_BYTES) == RC_OK;
}

static bool read_revoked(struct arena *a, const struct json *list, struct announcement_reply *out)
{
    size_t n = json_len(list);
    if (json_type_of(list) != JSON_ARRAY || n > REVOKED_MAX)
        return false;
    node_key *keys = arena_zalloc(a, n + 1, sizeof(*keys));
    JSON_EACH (it, list) {
        struct str s;
        if (!json_str(it, &s) || node_key_parse(s, &keys[out->revoked_n]) != RC_OK)
            return false;
        out->revoked_n++;
    }
    out->revoked = keys;
    return true;
}

/* A terminated copy; null: it is not a text. */
static const char *text_of(struct arena *a, const struct json *obj, const char *key)
{
    struct str s;
    if (!json_str(json_get(obj, key), &s) || s.len > 255 || memchr(s.p, '\0', s.len) != NULL)
        return NULL;
    return arena_str(a, s).p;
}

static bool is_fingerprint(struct str hex)
{
    uint8_t hash[32];
    return hex_decode(hex, hash, sizeof(hash)) == RC_OK;
}

/* A pinned certificate is checked by its hash. Otherwise `certName` is the name to ask for and to check. */
static bool read_neighbour(struct arena *a, const struct json *obj, struct relay_neighbour *out)
{
    static const struct str pin = {"sha256-raw:", 11};
    const char *host = text_of(a, obj, "hostname"), *ip = text_of(a, obj, "ip"), *cert = text_of(a, obj, "certName");
    uint64_t port;
    if (host == NULL || ip == NULL || cert == NULL || host[0] == '\0' ||
        !read_number(obj, "derpPort", UINT16_MAX, &port))
        return false;
    *out = (struct relay_neighbour){.host = host, .dial = ip[0] != '\0' ? ip : host, .port = (uint16_t)port};
    if (str_starts(str_c(cert), pin)) {
        out->fingerprint = cert + pin.len;
        return is_fingerprint(str_c(out->fingerprint));
    }
    if (cert[0] != '\0')
        out->host = cert;
    return true;
}

static bool read_neighbours(struct arena *a, const struct json *list, struct announcement_reply *out)
{
    size_t n = json_len(list);
    if (json_type_of(list) != JSON_ARRAY || n > NEIGHBOURS_MAX)
        return false;
    struct relay_neighbour *all = arena_zalloc(a, n + 1, sizeof(*all));
    JSON_EACH (it, list) {
        if (!read_neighbour(a, it, &all[out->neighbour_n]))
            return false;
        out->neighbour_n++;
    }
    out->neighbours = all;
    return true;
}

static bool read_reply(struct arena *a, const struct json *root, struct announcement_reply *out)
{
    uint64_t region;
    if (!read_name(root, "name", out->name) || !read_name(root, "regionName", out->region_name) ||
        !read_number(root, "regionId", UINT16_MAX, &region) || !read_mesh_key(root, out->mesh_key))
        return false;
    out->region_id = (uint16_t)region;
    return read_number(root, "news", UINT64_MAX, &out->news) && json_bool(json_get(root, "resync"), &out->resync) &&
           read_revoked(a, json_get(root, "revoked"), out) && read_neighbours(a, json_get(root, "neighbours"), out);
}

enum rc announcement_reply_parse(struct arena *a, struct str json, struct announcement_reply *out, struct err *err)
{
    static const struct json_limits limits = {.max_bytes = REPLY_MAX_BYTES, .max_depth = 8, .max_nodes = 32 * 1024};
    const struct json *root;
    *out = (struct announcement_reply){0};
    if (json_parse(a, json, &limits, &root, NULL) == RC_OK && json_type_of(root) == JSON_OBJECT) {
        out->is_empty = json_len(root) == 0;
        if (out->is_empty || read_reply(a, root, out))
            return RC_OK;
    }
    *out = (struct announcement_reply){0};
    return err_set(err, RC_INVALID,
                   "what answers there is no Fullscale server, or one of another version (is --server its URL?)");
}
