/* What a client knows after the messages that it was sent, decoded the way a client does it. */
#include "netmap/world_internal.h"

#include <string.h>

#include "base/arena.h"
#include "codec/json.h"

void view_copy(char *out, size_t cap, struct str s)
{
    assert_true(s.len < cap);
    memset(out, 0, cap);
    memcpy(out, s.p, s.len);
}

static void set_str(char *out, size_t cap, const struct json *node)
{
    struct str s;
    if (json_str(node, &s))
        view_copy(out, cap, s);
}

static void set_raw(char *out, size_t cap, const struct json *node)
{
    if (!json_is_null(node))
        view_copy(out, cap, json_raw(node));
}

static void set_time(char *out, const struct json *node)
{
    set_str(out, TIME_TEXT_CAP, node);
}

static struct peer_view *peer_of(struct view *v, uint64_t id)
{
    assert_true(id > 0 && id < IDS_MAX);
    assert_true(id != v->self); /* no node gets itself as a peer */
    return &v->peers[id];
}

static void apply_node(struct view *v, const struct json *n)
{
    uint64_t id;
    assert_int_equal(json_type_of(n), JSON_OBJECT); /* a null here crashes clients */
    assert_true(json_u64(json_get(n, "ID"), &id));
    struct peer_view *p = peer_of(v, id);
    memset(p, 0, sizeof(*p));
    p->is_there = true;
    assert_true(json_u64(json_get(n, "User"), &p->user));
    set_str(p->name, sizeof(p->name), json_get(n, "Name"));
    set_str(p->key, sizeof(p->key), json_get(n, "Key"));
    set_str(p->disco, sizeof(p->disco), json_get(n, "DiscoKey"));
    set_raw(p->addresses, sizeof(p->addresses), json_get(n, "Addresses"));
    set_raw(p->allowed, sizeof(p->allowed), json_get(n, "AllowedIPs"));
    set_raw(p->primary, sizeof(p->primary), json_get(n, "PrimaryRoutes"));
    set_raw(p->caps, sizeof(p->caps), json_get(n, "CapMap"));
    set_raw(p->endpoints, sizeof(p->endpoints), json_get(n, "Endpoints"));
    set_raw(p->hostinfo, sizeof(p->hostinfo), json_get(n, "Hostinfo"));
    set_time(p->key_expiry, json_get(n, "KeyExpiry"));
    set_time(p->last_seen, json_get(n, "LastSeen"));
    json_u64(json_get(n, "HomeDERP"), &p->home_derp);
    json_u64(json_get(n, "Cap"), &p->cap);
    json_bool(json_get(n, "Online"), &p->is_online);
    json_bool(json_get(n, "Expired"), &p->is_expired);
}

/* src: tailscale 1.102 control/controlclient (patches); docs/protocol/control.md 6.8 */
static void apply_patch(struct view *v, const struct json *c)
{
    uint64_t id;
    bool online = true;
    assert_true(json_u64(json_get(c, "NodeID"), &id));
    struct peer_view *p = peer_of(v, id);
    if (!p->is_there)
        return;
    /* The patch that clients 1.98-1.103 may discard must never be sent. */
    if (json_bool(json_get(c, "Online"), &online) && !online)
        assert_null(json_get(c, "DiscoKey"));
    json_u64(json_get(c, "DERPRegion"), &p->home_derp);
    json_u64(json_get(c, "Cap"), &p->cap);
    set_raw(p->endpoints, sizeof(p->endpoints), json_get(c, "Endpoints"));
    set_str(p->disco, sizeof(p->disco), json_get(c, "DiscoKey"));
    set_time(p->last_seen, json_get(c, "LastSeen"));
    json_bool(json_get(c, "Online"), &p->is_online);
    if (p->is_online)
        memset(p->last_seen, 0, sizeof(p->last_seen));
}

static void apply_peers(struct view *v, const struct json *root)
{
    const struct json *full = json_get(root, "Peers");
    uint64_t last = 0, id;
    assert_true(full == NULL || json_len(full) > 0); /* [] means different things to different clients */
    if (full != NULL)
        memset(v->peers, 0, sizeof(v->peers));
    JSON_EACH (n, full) {
        assert_true(json_u64(json_get(n, "ID"), &id) && id > last);
        last = id;
        apply_node(v, n);
    }
    JSON_EACH (n, json_get(root, "PeersRemoved")) {
        assert_true(json_u64(n, &id));
        memset(peer_of(v, id), 0, sizeof(struct peer_view));
    }
    JSON_EACH (n, json_get(root, "PeersChanged")) {
        apply_node(v, n);
    }
    JSON_EACH (n, json_get(root, "PeersChangedPatch")) {
        apply_patch(v, n);
    }
}

static void apply_self(struct view *v, const struct json *node)
{
    uint64_t id;
    if (node == NULL)
        return;
    assert_true(json_u64(json_get(node, "ID"), &id));
    assert_int_equal(id, v->self);
    v->self_expiry[0] = '\0';
    memset(v->self_primary, 0, sizeof(v->self_primary));
    set_raw(v->self_allowed, sizeof(v->self_allowed), json_get(node, "AllowedIPs"));
    set_raw(v->self_primary, sizeof(v->self_primary), json_get(node, "PrimaryRoutes"));
    set_raw(v->self_caps, sizeof(v->self_caps), json_get(node, "CapMap"));
    set_str(v->self_name, sizeof(v->self_name), json_get(node, "Name"));
    set_time(v->self_expiry, json_get(node, "KeyExpiry"));
    bool authorised = false;
    assert_true(json_bool(json_get(node, "MachineAuthorized"), &authorised) && authorised);
    assert_true(json_u64(json_get(node, "User"), &v->self_user));
}

/* src: docs/protocol/control.md 6.7: added by id, never taken away */
static void apply_users(struct view *v, const struct json *profiles)
{
    uint64_t id;
    assert_true(profiles == NULL || json_type_of(profiles) == JSON_ARRAY);
    JSON_EACH (it, profiles) {
        assert_true(json_u64(json_get(it, "ID"), &id));
        v->knows_tagged = v->knows_tagged || id == TAGGED_DEVICES_USER;
        assert_true(id < USERS_MAX || id == TAGGED_DEVICES_USER);
        if (id < USERS_MAX)
            set_raw(v->users[id], sizeof(v->users[id]), it);
    }
}

static bool knows_user(const struct view *v, uint64_t id)
{
    return id == TAGGED_DEVICES_USER ? v->knows_tagged : id < USERS_MAX && v->users[id][0] != '\0';
}

static void check_owners(const struct view *v)
{
    assert_true(knows_user(v, v->self_user));
    for (node_id id = 1; id < IDS_MAX; id++)
        assert_true(!v->peers[id].is_there || knows_user(v, v->peers[id].user));
}

static void apply_message(struct view *v, struct str message)
{
    struct arena a = {0};
    struct buf json = {0};
    const struct json *root;
    if (v->coding == NETMAP_ZSTD)
        assert_int_equal(zstd_decompress(&world_ctx.zstd, message.p, message.len, 16 << 20, &json), RC_OK);
    else
        buf_append_str(&json, message);
    struct err err;
    if (json_parse(&a, buf_str(&json), NULL, &root, &err) != RC_OK)
        fail_msg("%s in %.*s", err.text, STR_ARG(buf_str(&json)));
    apply_peers(v, root);
    apply_self(v, json_get(root, "Node"));
    apply_users(v, json_get(root, "UserProfiles"));
    check_owners(v);
    const struct json *filters = json_get(root, "PacketFilters");
    assert_true(filters == NULL || json_type_of(json_get(filters, "base")) == JSON_ARRAY); /* null: as before */
    set_raw(v->filter, sizeof(v->filter), json_get(filters, "base"));
    set_raw(v->ssh, sizeof(v->ssh), json_get(root, "SSHPolicy"));
    set_raw(v->dns, sizeof(v->dns), json_get(root, "DNSConfig"));
    buf_fini(&json);
    arena_fini(&a);
}

/* Splits what came over the stream into messages by their lengths, and empties `p`. */
unsigned view_apply(struct view *v, struct netmap_pieces *p)
{
    struct buf wire = {0};
    unsigned n = 0;
    for (size_t i = 0; i < p->n; i++)
        buf_append(&wire, p->items[i]->data, p->items[i]->len);
    assert_int_equal(buf_len(&wire), p->bytes);
    for (; buf_len(&wire) > 0; n++) {
        const uint8_t *at = buf_at(&wire);
        assert_true(buf_len(&wire) >= 4);
        size_t len = (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
        assert_true(len > 0 && len <= buf_len(&wire) - 4);
        apply_message(v, str_n(at + 4, len));
        buf_consume(&wire, len + 4);
    }
    buf_fini(&wire);
    netmap_pieces_clear(p);
    return n;
}

/* "No endpoints" may be an absent list or []. */
static void normalise(struct peer_view *p)
{
    if (strcmp(p->endpoints, "[]") == 0)
        memset(p->endpoints, 0, sizeof(p->endpoints));
}

void view_assert_peer(node_id viewer, node_id id, const struct peer_view *have, const struct peer_view *want)
{
    if (memcmp(have, want, sizeof(*have)) == 0)
        return;
    struct peer_view a = *have, b = *want;
    normalise(&a);
    normalise(&b);
    if (memcmp(&a, &b, sizeof(a)) == 0)
        return;
    if (strcmp(a.allowed, b.allowed) != 0 || strcmp(a.primary, b.primary) != 0 || strcmp(a.caps, b.caps) != 0)
        fail_msg("node %llu sees routes of %llu wrongly:\n have %d %s %s %s\n want %d %s %s %s",
                 (unsigned long long)viewer, (unsigned long long)id, a.is_there, a.allowed, a.primary, a.caps,
                 b.is_there, b.allowed, b.primary, b.caps);
    fail_msg("node %llu sees %llu wrongly:\n have routes %s %s, want %s %s\n"
             " have %d %s %s %s %s %s %s exp=%s seen=%s derp=%llu cap=%llu on=%d ex=%d\n"
             " want %d %s %s %s %s %s %s exp=%s seen=%s derp=%llu cap=%llu on=%d ex=%d",
             (unsigned long long)viewer, (unsigned long long)id, a.allowed, a.primary, b.allowed, b.primary, a.is_there,
             a.name, a.key, a.disco, a.addresses, a.endpoints, a.hostinfo, a.key_expiry, a.last_seen,
             (unsigned long long)a.home_derp, (unsigned long long)a.cap, a.is_online, a.is_expired, b.is_there, b.name,
             b.key, b.disco, b.addresses, b.endpoints, b.hostinfo, b.key_expiry, b.last_seen,
             (unsigned long long)b.home_derp, (unsigned long long)b.cap, b.is_online, b.is_expired);
}
