#include "api/rows.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/time.h"
#include "codec/json.h"

void api_write_id(struct json_writer *w, const char *key, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, id);
    json_w_kv_cstr(w, key, text);
}

void api_write_time(struct json_writer *w, const char *key, int64_t ms)
{
    char text[TIME_TEXT_CAP];
    json_w_key(w, key);
    if (ms == 0) {
        json_w_null(w);
        return;
    }
    time_format(ms, text);
    json_w_cstr(w, text);
}

/* JSON that the row holds already, or []. */
static void write_array(struct json_writer *w, const char *key, const struct rcbuf *json)
{
    json_w_key(w, key);
    json_w_raw(w, json != NULL && json->len > 0 ? str_n(json->data, json->len) : STR("[]"));
}

void api_write_user(struct json_writer *w, const struct user *u)
{
    if (u == NULL) {
        json_w_null(w);
        return;
    }
    json_w_object(w);
    api_write_id(w, "id", u->id);
    json_w_kv_cstr(w, "name", u->name);
    api_write_time(w, "createdAt", u->created_ms);
    json_w_kv_cstr(w, "displayName", u->display_name);
    json_w_kv_cstr(w, "email", u->email);
    json_w_kv_cstr(w, "providerId", "");
    json_w_kv_cstr(w, "provider", "");
    json_w_kv_cstr(w, "profilePicUrl", u->picture_url);
    json_w_kv_cstr(w, "role", user_role_name(u->role));
    json_w_end_object(w);
}

/* The owner that tagged nodes show. */
static void write_tagged_devices(struct json_writer *w)
{
    static const struct user tagged = {
        .id = TAGGED_DEVICES_USER, .name = "tagged-devices", .display_name = "Tagged Devices"};
    api_write_user(w, &tagged);
}

/* The whole key when it is shown this once, else only how it begins. */
static void write_secret(struct json_writer *w, const char *prefix, const char *text)
{
    char shown[KEY_PREFIX_CAP + 8];
    snprintf(shown, sizeof(shown), "%s-***", prefix);
    json_w_kv_cstr(w, "key", text != NULL ? text : shown);
}

static void write_prefix(struct json_writer *w, const struct prefix *p)
{
    char text[PREFIX_TEXT_CAP];
    prefix_format(p, text);
    json_w_cstr(w, text);
}

static void write_prefixes(struct json_writer *w, const char *key, const struct prefix_list *l)
{
    json_w_key(w, key);
    json_w_array(w);
    for (size_t i = 0; l != NULL && i < l->n; i++)
        write_prefix(w, &l->v[i]);
    json_w_end_array(w);
}

void api_write_key(struct json_writer *w, const struct auth_key *k, const struct user *owner, const char *text)
{
    json_w_object(w);
    json_w_key(w, "user");
    api_write_user(w, owner);
    api_write_id(w, "id", k->id);
    write_secret(w, k->prefix, text);
    json_w_kv_bool(w, "reusable", k->is_reusable);
    json_w_kv_bool(w, "ephemeral", k->is_ephemeral);
    json_w_kv_bool(w, "used", k->is_used);
    api_write_time(w, "expiration", k->expires_ms);
    api_write_time(w, "createdAt", k->created_ms);
    write_array(w, "aclTags", k->tags);
    json_w_kv_u64(w, "maxNodes", k->max_nodes);
    json_w_kv_u64(w, "joined", k->joined_n);
    write_prefixes(w, "sources", k->sources);
    json_w_end_object(w);
}

static void write_addresses(struct json_writer *w, const struct addr *v4, const struct addr *v6)
{
    char text[ADDR_TEXT_CAP];
    const struct addr *const both[] = {v4, v6};
    json_w_key(w, "ipAddresses");
    json_w_array(w);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        if (both[i]->family == 0)
            continue;
        addr_format(both[i], false, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

void api_write_relay(struct json_writer *w, const struct relay_host *r, const char *text)
{
    json_w_object(w);
    api_write_id(w, "id", r->id);
    json_w_kv_cstr(w, "name", r->name);
    write_secret(w, r->prefix, text);
    json_w_kv_i64(w, "regionId", r->region_id);
    json_w_kv_cstr(w, "regionCode", r->region_code);
    json_w_kv_cstr(w, "regionName", r->region_name);
    json_w_kv_bool(w, "up", r->is_up);
    json_w_kv_cstr(w, "hostname", r->report.host_name);
    write_addresses(w, &r->report.ipv4, &r->report.ipv6);
    json_w_kv_i64(w, "derpPort", r->report.derp_port);
    json_w_kv_i64(w, "stunPort", r->report.stun_port);
    json_w_kv_cstr(w, "certName", r->report.cert_name);
    api_write_time(w, "lastSeen", r->last_seen_ms);
    api_write_time(w, "createdAt", r->created_ms);
    json_w_end_object(w);
}

/* Members that Headscale's API lacks. */
static void write_host(struct json_writer *w, const struct node *n, struct arena *scratch)
{
    const struct json *host = NULL;
    struct str os = STR_EMPTY;
    struct str version = STR_EMPTY;
    if (n->hostinfo != NULL &&
        json_parse(scratch, str_n(n->hostinfo->data, n->hostinfo->len), NULL, &host, NULL) == RC_OK) {
        (void)json_str(json_get(host, "OS"), &os);
        (void)json_str(json_get(host, "IPNVersion"), &version);
    }
    json_w_kv_str(w, "os", os);
    json_w_kv_str(w, "clientVersion", version);
}

static void write_keys(struct json_writer *w, const struct node *n)
{
    char text[KEY_TEXT_CAP];
    machine_key_format(&n->machine, text);
    json_w_kv_cstr(w, "machineKey", text);
    node_key_format(&n->key, text);
    json_w_kv_cstr(w, "nodeKey", text);
    disco_key_format(&n->disco, text);
    json_w_kv_cstr(w, "discoKey", text);
}

/* The routes whose traffic other nodes send to it now: those whose primary it is, and exit routes.
 * src: Headscale 0.30-dev REST API v1 */
static void write_served(struct json_writer *w, const struct node *n)
{
    struct prefix p;
    json_w_key(w, "subnetRoutes");
    json_w_array(w);
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (p.bits == 0 || prefix_list_has(n->primary, &p))
            write_prefix(w, &p);
    }
    json_w_end_array(w);
}

void api_write_node(struct json_writer *w, const struct node *n, const struct user *owner, const struct auth_key *key,
                    struct arena *scratch)
{
    json_w_object(w);
    api_write_id(w, "id", n->id);
    write_keys(w, n);
    write_addresses(w, &n->v4, &n->v6);
    json_w_kv_cstr(w, "name", n->hostname);
    json_w_key(w, "user");
    if (n->tags != NULL)
        write_tagged_devices(w);
    else
        api_write_user(w, owner);
    api_write_time(w, "lastSeen", n->last_seen_ms);
    api_write_time(w, "expiry", n->expires_ms);
    json_w_key(w, "preAuthKey");
    if (key != NULL)
        api_write_key(w, key, key->user == n->user ? owner : NULL, NULL);
    else
        json_w_null(w);
    api_write_time(w, "createdAt", n->created_ms);
    json_w_kv_cstr(w, "registerMethod", "REGISTER_METHOD_AUTH_KEY");
    json_w_kv_cstr(w, "givenName", n->name);
    json_w_kv_bool(w, "online", n->is_online);
    write_prefixes(w, "approvedRoutes", n->approved);
    write_prefixes(w, "availableRoutes", n->advertised);
    write_served(w, n);
    write_array(w, "tags", n->tags);
    json_w_kv_bool(w, "expired", n->is_expired);
    json_w_kv_bool(w, "ephemeral", n->is_ephemeral);
    write_host(w, n, scratch);
    json_w_end_object(w);
}

void api_write_policy_errors(struct json_writer *w, const struct policy_errors *errors)
{
    json_w_array(w);
    for (size_t i = 0; i < errors->n; i++) {
        const struct policy_error *e = &errors->v[i];
        char position[48] = "policy";
        if (e->line > 0)
            snprintf(position, sizeof(position), "policy:%d:%d", e->line, e->col);
        json_w_object(w);
        json_w_kv_cstr(w, "message", e->text);
        json_w_kv_cstr(w, "location", position);
        json_w_kv_i64(w, "line", e->line);
        json_w_kv_i64(w, "column", e->col);
        json_w_end_object(w);
    }
    json_w_end_array(w);
}
