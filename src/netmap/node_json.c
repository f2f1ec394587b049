/* Nodes and users as JSON. Key names and rules: docs/protocol/control.md 6.9, 6.14. */
#include "netmap/netmap_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/time.h"

/* Suffixes of "name." + domain + "." */
static void write_name(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings)
{
    char fqdn[NAME_CAP + HOSTNAME_CAP + 2];
    int len = settings->domain[0] != '\0' ? snprintf(fqdn, sizeof(fqdn), "%s.%s.", n->name, settings->domain)
                                          : snprintf(fqdn, sizeof(fqdn), "%s.", n->name);
    json_w_kv_str(w, "Name", str_n(fqdn, (size_t)len));
}

void netmap_write_time(struct json_writer *w, const char *key, int64_t unix_ms)
{
    char text[TIME_TEXT_CAP];
    time_format(unix_ms, text);
    json_w_kv_cstr(w, key, text);
}

static void write_address(struct json_writer *w, const struct addr *a)
{
    char text[ADDR_TEXT_CAP + 4];
    if (a->family == 0)
        return;
    addr_format(a, false, text);
    size_t len = strlen(text);
    snprintf(text + len, sizeof(text) - len, a->family == 4 ? "/32" : "/128");
    json_w_cstr(w, text);
}

static int compare_prefixes(const void *a, const void *b)
{
    return prefix_compare(a, b);
}

static bool is_granted(const struct peer_shape *shape, const struct prefix *p)
{
    if (shape->routes == NULL || shape->row == NULL)
        return false;
    const struct prefix_list *l = shape->routes->prefixes;
    const struct prefix *found = bsearch(p, l->v, l->n, sizeof(l->v[0]), compare_prefixes);
    size_t i = found != NULL ? (size_t)(found - l->v) : 0;
    return found != NULL && bit_get(shape->row, i);
}

static void write_addresses(struct json_writer *w, const struct node *n, const struct peer_shape *shape)
{
    json_w_key(w, "Addresses");
    json_w_array(w);
    if (!shape->hides_v4)
        write_address(w, &n->v4);
    write_address(w, &n->v6);
    json_w_end_array(w);
}

static void write_prefix(struct json_writer *w, const struct prefix *p)
{
    char text[PREFIX_TEXT_CAP];
    prefix_format(p, text);
    json_w_cstr(w, text);
}

/* What peers are shown without a policy. src: docs/protocol/policy.md 6.2 */
static bool is_plain_route(const struct node *n, const struct prefix *p)
{
    return p->bits == 0 || prefix_list_has(n->primary, p);
}

/* Whether a route that the node serves is shown to a peer. */
static bool is_shown(const struct node *n, const struct peer_shape *shape, const struct prefix *p)
{
    return shape->has_policy ? is_granted(shape, p) : is_plain_route(n, p);
}

/* Clients from capability version 112 could do without when there are no routes. */
static void write_allowed_ips(struct json_writer *w, const struct node *n, const struct peer_shape *shape, bool is_self)
{
    struct prefix p;
    json_w_key(w, "AllowedIPs");
    json_w_array(w);
    if (!shape->hides_v4)
        write_address(w, &n->v4);
    write_address(w, &n->v6);
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (is_self || is_shown(n, shape, &p))
            write_prefix(w, &p);
    }
    json_w_end_array(w);
}

/* To itself a node is shown with the routes that it is the primary of; to a peer, with those in its AllowedIPs. */
static void write_primary_routes(struct json_writer *w, const struct node *n, const struct peer_shape *shape,
                                 bool is_self)
{
    struct prefix p;
    bool open = false;
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        bool is_one = is_self ? prefix_list_has(n->primary, &p) : is_shown(n, shape, &p);
        if (p.bits == 0 || !is_one)
            continue;
        if (!open) {
            json_w_key(w, "PrimaryRoutes");
            json_w_array(w);
            open = true;
        }
        write_prefix(w, &p);
    }
    if (open)
        json_w_end_array(w);
}

void netmap_write_endpoints(struct json_writer *w, const struct node *n)
{
    json_w_key(w, "Endpoints");
    json_w_array(w);
    for (unsigned i = 0; i < n->endpoints_n; i++) {
        char text[ADDR_TEXT_CAP];
        addr_format(&n->endpoints[i], true, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

void netmap_write_raw(struct json_writer *w, const char *key, const struct rcbuf *raw)
{
    if (raw == NULL)
        return;
    json_w_key(w, key);
    json_w_raw(w, str_n(raw->data, raw->len));
}

/* What a node and its peers are shown alike. */
static void write_common(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                         const struct peer_shape *shape, bool is_self)
{
    char key[KEY_TEXT_CAP];
    json_w_kv_u64(w, "ID", n->id);
    json_w_kv_cstr(w, "StableID", n->stable_id);
    write_name(w, n, settings);
    json_w_kv_u64(w, "User", n->tags != NULL ? TAGGED_DEVICES_USER : n->user);
    node_key_format(&n->key, key);
    json_w_kv_cstr(w, "Key", key);
    if (is_self) {
        /* No client needs those of peers, and random digits do not compress: a quarter of a peer.
         * src: docs/protocol/control.md 6.9 */
        machine_key_format(&n->machine, key);
        json_w_kv_cstr(w, "Machine", key);
    }
    write_addresses(w, n, shape);
    write_allowed_ips(w, n, shape, is_self);
    write_primary_routes(w, n, shape, is_self);
    netmap_write_time(w, "Created", n->created_ms);
    /* On the self node: without it the client waits for approval for ever (src: docs/protocol/control.md 6.9). */
    json_w_kv_bool(w, "MachineAuthorized", true);
    netmap_write_raw(w, "Tags", n->tags);
}

bool netmap_shape_is_plain(const struct node *n, const struct peer_shape *shape)
{
    struct prefix p;
    if (shape->hides_v4)
        return false;
    for (size_t pos = 0; shape->has_policy && node_serves_next(n, &pos, &p);) {
        if (is_granted(shape, &p) != is_plain_route(n, &p))
            return false;
    }
    return true;
}

static bool shows_exit(const struct node *n, const struct peer_shape *shape)
{
    struct prefix p;
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (p.bits == 0 && is_shown(n, shape, &p))
            return true;
    }
    return false;
}

void netmap_write_peer(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                       const struct peer_shape *shape)
{
    char disco[KEY_TEXT_CAP];
    json_w_object(w);
    write_common(w, n, settings, shape, false);
    if (n->expires_ms != NO_EXPIRY)
        netmap_write_time(w, "KeyExpiry", n->expires_ms);
    if (!key_is_zero(n->disco.b)) {
        disco_key_format(&n->disco, disco);
        json_w_kv_cstr(w, "DiscoKey", disco);
    }
    if (n->endpoints_n > 0)
        netmap_write_endpoints(w, n);
    if (n->home_derp != 0)
        json_w_kv_u64(w, "HomeDERP", n->home_derp);
    /* Clients of 1.102 die of a peer without one when they are asked for their status.
     * src: tailscale 1.102.5 feature/taildrop/ext.go, taildropTargetStatus */
    json_w_key(w, "Hostinfo");
    json_w_raw(w, n->hostinfo_peers != NULL ? str_n(n->hostinfo_peers->data, n->hostinfo_peers->len) : STR("{}"));
    if (n->cap_version != 0)
        json_w_kv_u64(w, "Cap", n->cap_version);
    if (!n->is_online)
        netmap_write_time(w, "LastSeen", n->last_seen_ms);
    json_w_kv_bool(w, "Online", n->is_online);
    if (n->is_expired)
        json_w_kv_bool(w, "Expired", true);
    /* src: docs/protocol/policy.md 9: exactly when AllowedIPs has exit routes */
    if (shows_exit(n, shape)) {
        json_w_key(w, "CapMap");
        json_w_raw(w, STR("{\"suggest-exit-node\":null}"));
    }
    json_w_end_object(w);
}

METRIC_COUNTER(encoded_peer, "fullscale_netmap_encoded_total", "what=\"peer\"", "");

static void drop_rcbuf(void *held)
{
    struct rcbuf *b = held;
    rcbuf_unref(&b);
}

struct rcbuf *netmap_peer_json(const struct node *n, const struct tailnet_settings *settings)
{
    static const struct peer_shape plain;
    struct rcbuf *held = cache_slot_get(&n->cache);
    if (held != NULL)
        return held;
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    netmap_write_peer(&w, n, settings, &plain);
    metric_inc(&encoded_peer);
    held = cache_slot_offer(&n->cache, rcbuf_create(buf_at(&json), buf_len(&json)), drop_rcbuf);
    buf_fini(&json);
    return held;
}

/* Writes two JSON objects as one. */
static void write_caps(struct json_writer *w, const struct rcbuf *base, const struct rcbuf *more)
{
    struct buf both = {0};
    json_w_key(w, "CapMap");
    if (more->len <= 2 || base->len <= 2) {
        const struct rcbuf *only = more->len <= 2 ? base : more;
        json_w_raw(w, str_n(only->data, only->len));
        return;
    }
    buf_append(&both, base->data, base->len - 1);
    buf_append_byte(&both, ',');
    buf_append(&both, more->data + 1, more->len - 1);
    json_w_raw(w, buf_str(&both));
    buf_fini(&both);
}

/* Without what changes by the minute and what the node knows better itself: endpoints, home relay, Hostinfo. A node
 * gets all routes that it serves. src: docs/protocol/policy.md 6.2 */
void netmap_write_self(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                       const struct node_access *access, int64_t expired_ms)
{
    const struct peer_shape shape = {.hides_v4 = access->hides_v4};
    int64_t expires_ms = expired_ms != 0 ? expired_ms : n->expires_ms;
    json_w_object(w);
    write_common(w, n, settings, &shape, true);
    if (expires_ms != NO_EXPIRY)
        netmap_write_time(w, "KeyExpiry", expires_ms);
    write_caps(w, settings->self_caps_json, access->caps);
    json_w_end_object(w);
}

static bool routes_differ(const struct node *a, const struct node *b)
{
    struct prefix p, q;
    bool has_p, has_q;
    if (a->advertised == b->advertised && a->approved == b->approved)
        return !prefix_list_eq(a->primary, b->primary);
    for (size_t at_a = 0, at_b = 0;;) {
        has_p = node_serves_next(a, &at_a, &p);
        has_q = node_serves_next(b, &at_b, &q);
        if (!has_p || !has_q || prefix_compare(&p, &q) != 0)
            break;
    }
    return has_p || has_q || !prefix_list_eq(a->primary, b->primary);
}

bool netmap_self_differs(const struct node *a, const struct node *b)
{
    return routes_differ(a, b) || a->user != b->user || strcmp(a->name, b->name) != 0 ||
           !keys_equal(a->key.b, b->key.b) || !keys_equal(a->machine.b, b->machine.b) ||
           a->expires_ms != b->expires_ms || !addr_eq(&a->v4, &b->v4) || !addr_eq(&a->v6, &b->v6) ||
           !rcbuf_eq(a->tags, b->tags);
}

void netmap_write_profile(struct json_writer *w, const struct user *u)
{
    json_w_object(w);
    json_w_kv_u64(w, "ID", u->id);
    /* SSH rules and identity features match it, and expect the shape of an address. */
    json_w_kv_cstr(w, "LoginName", u->email[0] != '\0' ? u->email : u->name);
    json_w_kv_cstr(w, "DisplayName", u->display_name[0] != '\0' ? u->display_name : u->name);
    if (u->picture_url[0] != '\0')
        json_w_kv_cstr(w, "ProfilePicURL", u->picture_url);
    json_w_end_object(w);
}

static void write_tagged_profile(struct json_writer *w)
{
    json_w_object(w);
    json_w_kv_u64(w, "ID", TAGGED_DEVICES_USER);
    json_w_kv_cstr(w, "LoginName", "tagged-devices");
    json_w_kv_cstr(w, "DisplayName", "Tagged Devices");
    json_w_end_object(w);
}

void netmap_write_profiles(struct json_writer *w, const struct user_table *users, const uint64_t *which)
{
    json_w_array(w);
    for (size_t i = 0; i < users->n; i++) {
        if (which == NULL || bit_get(which, i))
            netmap_write_profile(w, users->users[i]);
    }
    write_tagged_profile(w);
    json_w_end_array(w);
}
