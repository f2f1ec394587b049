#include "proto/tailcfg.h"

#include <string.h>

#include "base/time.h"
#include "codec/json.h"

/* --- members: absent and null leave the zero value, another type is an error, as in Go --- */

struct reader {
    const struct json *obj;
    struct str text;
    struct err *err;
    enum rc rc; /* sticky */
};

static void fail(struct reader *r, const struct json *node, const char *key, const char *want)
{
    int line, col;
    if (r->rc != RC_OK)
        return;
    json_pos(node, r->text, &line, &col);
    r->rc = err_set_at(r->err, RC_INVALID, NULL, line, col, "\"%s\" is not %s", key, want);
}

static const struct json *member(struct reader *r, const char *key)
{
    const struct json *node = r->rc == RC_OK ? json_get(r->obj, key) : NULL;
    return json_is_null(node) ? NULL : node;
}

static struct str get_str(struct reader *r, const char *key)
{
    struct str out = STR_EMPTY;
    const struct json *node = member(r, key);
    if (node != NULL && !json_str(node, &out))
        fail(r, node, key, "a string");
    return out;
}

static bool get_bool(struct reader *r, const char *key)
{
    bool out = false;
    const struct json *node = member(r, key);
    if (node != NULL && !json_bool(node, &out))
        fail(r, node, key, "true or false");
    return out;
}

static int64_t get_int(struct reader *r, const char *key)
{
    int64_t out = 0;
    const struct json *node = member(r, key);
    if (node != NULL && !json_i64(node, &out))
        fail(r, node, key, "an integer");
    return out;
}

static int64_t get_time(struct reader *r, const char *key)
{
    int64_t out = 0;
    struct str text;
    const struct json *node = member(r, key);
    if (node != NULL && (!json_str(node, &text) || time_parse(text, &out) != RC_OK))
        fail(r, node, key, "a time");
    return out;
}

#define GET_KEY(r, name, parse, out)                                                                                   \
    do {                                                                                                               \
        struct str key_text_;                                                                                          \
        const struct json *key_node_ = member((r), (name));                                                            \
        if (key_node_ != NULL && (!json_str(key_node_, &key_text_) || parse(key_text_, (out)) != RC_OK))               \
            fail((r), key_node_, (name), "a key of its kind");                                                         \
    } while (0)

/* --- Hostinfo: what is wrong in it costs the node that member and nothing else, or an odd client would be kept offline
 * --- */

/* The member, or null: absent, or of another type, which is noted. */
static const struct json *typed(struct hostinfo *h, const struct json *obj, const char *key, enum json_type type)
{
    const struct json *node = json_get(obj, key);
    if (json_is_null(node) || json_type_of(node) == type)
        return json_is_null(node) ? NULL : node;
    if (h->bad == NULL)
        h->bad = key;
    return NULL;
}

/* "" is Go's zero prefix: no prefix */
static void get_routes(struct arena *a, struct hostinfo *out)
{
    const struct json *list = typed(out, out->json, "RoutableIPs", JSON_ARRAY);
    size_t n = json_len(list) < TAILCFG_ROUTES_MAX ? json_len(list) : TAILCFG_ROUTES_MAX;
    if (n == 0)
        return;
    out->routes = arena_zalloc(a, n, sizeof(*out->routes));
    JSON_EACH (item, list) {
        struct str text;
        if (out->routes_n < n && json_str(item, &text) &&
            prefix_parse(text, &out->routes[out->routes_n], NULL) == RC_OK)
            out->routes_n++;
    }
}

/* Tags decide which owner the node has: a request with anything but tags is refused. */
static void get_tags(struct arena *a, struct reader *r, struct hostinfo *out)
{
    const struct json *list = json_get(out->json, "RequestTags");
    if (json_is_null(list))
        return;
    size_t n = json_len(list);
    if (json_type_of(list) != JSON_ARRAY || n > TAILCFG_TAGS_MAX)
        fail(r, list, "RequestTags", "a list of at most 64 tags");
    if (n == 0 || r->rc != RC_OK)
        return;
    out->tags = arena_zalloc(a, n, sizeof(*out->tags));
    JSON_EACH (item, list) {
        if (!json_str(item, &out->tags[out->tags_n++])) {
            fail(r, item, "RequestTags", "a list of tags");
            return;
        }
    }
}

static void get_hostinfo(struct arena *a, struct reader *r, struct hostinfo *out)
{
    int64_t region = 0;
    const struct json *node = member(r, "Hostinfo");
    if (node == NULL)
        return;
    if (json_type_of(node) != JSON_OBJECT) {
        fail(r, node, "Hostinfo", "an object");
        return;
    }
    out->is_present = true;
    out->json = node;
    const struct json *name = typed(out, node, "Hostname", JSON_STRING);
    if (json_str(name, &out->hostname))
        out->hostname = hostinfo_text(a, out->hostname, TAILCFG_HOSTNAME_MAX_BYTES);
    const struct json *net = typed(out, node, "NetInfo", JSON_OBJECT);
    const struct json *home = typed(out, net, "PreferredDERP", JSON_NUMBER);
    if (json_i64(home, &region) && region > 0 && region <= UINT16_MAX)
        out->preferred_derp = (uint16_t)region;
    get_routes(a, out);
    get_tags(a, r, out);
}

static enum rc open_body(struct arena *a, struct str body, struct reader *r, struct err *err)
{
    const struct json *root;
    TRY(json_parse(a, body, NULL, &root, err));
    if (json_type_of(root) != JSON_OBJECT)
        return err_set(err, RC_INVALID, "the body is not a JSON object");
    *r = (struct reader){.obj = root, .text = body, .err = err};
    return RC_OK;
}

enum rc tailcfg_register_request_parse(struct arena *a, struct str body, struct register_request *out, struct err *err)
{
    struct reader r;
    *out = (struct register_request){0};
    TRY(open_body(a, body, &r, err));
    out->version = get_int(&r, "Version");
    GET_KEY(&r, "NodeKey", node_key_parse, &out->key);
    GET_KEY(&r, "OldNodeKey", node_key_parse, &out->old_key);
    GET_KEY(&r, "NLKey", nl_key_parse, &out->nl);
    out->followup = get_str(&r, "Followup");
    out->expiry_ms = get_time(&r, "Expiry");
    out->is_ephemeral = get_bool(&r, "Ephemeral");
    get_hostinfo(a, &r, &out->hostinfo);
    const struct json *auth = member(&r, "Auth");
    if (auth != NULL && json_type_of(auth) != JSON_OBJECT)
        fail(&r, auth, "Auth", "an object");
    if (auth != NULL && r.rc == RC_OK) {
        struct reader inner = {.obj = auth, .text = body, .err = err};
        out->auth_key = str_trim(get_str(&inner, "AuthKey"));
        r.rc = inner.rc;
    }
    return r.rc;
}

/* An endpoint that is no IP:port is left out: it may be of a kind that is not known here. */
static void get_endpoints(struct arena *a, struct reader *r, struct map_request *out)
{
    const struct json *list = member(r, "Endpoints");
    if (list == NULL || json_type_of(list) != JSON_ARRAY)
        return;
    size_t n = json_len(list) < TAILCFG_ENDPOINTS_MAX ? json_len(list) : TAILCFG_ENDPOINTS_MAX;
    out->has_endpoints = true;
    out->endpoints = arena_zalloc(a, n > 0 ? n : 1, sizeof(*out->endpoints));
    JSON_EACH (item, list) {
        struct str text;
        if (out->endpoints_n < n && json_str(item, &text) &&
            addr_parse(text, &out->endpoints[out->endpoints_n]) == RC_OK)
            out->endpoints_n++;
    }
}

enum rc tailcfg_map_request_parse(struct arena *a, struct str body, struct map_request *out, struct err *err)
{
    struct reader r;
    *out = (struct map_request){0};
    TRY(open_body(a, body, &r, err));
    out->version = get_int(&r, "Version");
    out->wants_zstd = str_eq(get_str(&r, "Compress"), STR("zstd"));
    out->is_stream = get_bool(&r, "Stream");
    out->omit_peers = get_bool(&r, "OmitPeers");
    out->is_read_only = get_bool(&r, "ReadOnly");
    GET_KEY(&r, "NodeKey", node_key_parse, &out->key);
    GET_KEY(&r, "DiscoKey", disco_key_parse, &out->disco);
    get_endpoints(a, &r, out);
    get_hostinfo(a, &r, &out->hostinfo);
    return r.rc;
}
