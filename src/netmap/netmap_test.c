/* What nodes are told. The heart is a property test: random sequences of events, with commits and publications at random
 * moments, must leave every connected node with the same view by its deltas as a full map gives, and both must be what a
 * naive reading of the state says. Messages are decoded the way a client does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json.h"
#include "crypto/crypto.h"
#include "netmap/netmap.h"
#include "state/state.h"
#include "support/test_random.h"

enum { IDS_MAX = 700, VIEWERS_MAX = 40 };

/* --- a client's view --- */

struct peer_view {
    bool is_there;
    uint64_t user;
    char name[128];
    char key[KEY_TEXT_CAP];
    char disco[KEY_TEXT_CAP];
    char addresses[160];
    char allowed[400];
    char primary[200];
    char endpoints[400];
    char hostinfo[200];
    char key_expiry[TIME_TEXT_CAP];
    char last_seen[TIME_TEXT_CAP]; /* only told of those offline */
    uint64_t home_derp;
    uint64_t cap;
    bool is_online;
    bool is_expired;
    bool is_exit;
};

struct view {
    node_id self;
    node_key key;
    enum netmap_coding coding;
    bool is_gone; /* it was told that its key has expired because it was deleted */
    char self_name[128];
    char self_expiry[TIME_TEXT_CAP];
    char self_allowed[400];
    char self_primary[200];
    struct peer_view peers[IDS_MAX];
};

static struct netmap_ctx ctx;

/* Zeroed to the end, so that views compare as memory. */
static void copy(char *out, size_t cap, struct str s)
{
    assert_true(s.len < cap);
    memset(out, 0, cap);
    memcpy(out, s.p, s.len);
}

static void set_str(char *out, size_t cap, const struct json *node)
{
    struct str s;
    if (json_str(node, &s))
        copy(out, cap, s);
}

static void set_raw(char *out, size_t cap, const struct json *node)
{
    if (!json_is_null(node))
        copy(out, cap, json_raw(node));
}

static void set_time(char *out, const struct json *node)
{
    set_str(out, TIME_TEXT_CAP, node);
}

static struct peer_view *peer_of(struct view *v, uint64_t id)
{
    assert_true(id > 0 && id < IDS_MAX);
    assert_true(id != v->self); /* nobody is told of itself as a peer */
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
    p->is_exit = json_get(json_get(n, "CapMap"), "suggest-exit-node") != NULL;
    set_raw(p->endpoints, sizeof(p->endpoints), json_get(n, "Endpoints"));
    set_raw(p->hostinfo, sizeof(p->hostinfo), json_get(n, "Hostinfo"));
    set_time(p->key_expiry, json_get(n, "KeyExpiry"));
    set_time(p->last_seen, json_get(n, "LastSeen"));
    json_u64(json_get(n, "HomeDERP"), &p->home_derp);
    json_u64(json_get(n, "Cap"), &p->cap);
    json_bool(json_get(n, "Online"), &p->is_online);
    json_bool(json_get(n, "Expired"), &p->is_expired);
}

/* src: tailscale control/controlclient (patches), told in control.md 6.8 */
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
    set_str(v->self_name, sizeof(v->self_name), json_get(node, "Name"));
    set_time(v->self_expiry, json_get(node, "KeyExpiry"));
    memset(v->self_allowed, 0, sizeof(v->self_allowed));
    memset(v->self_primary, 0, sizeof(v->self_primary));
    set_raw(v->self_allowed, sizeof(v->self_allowed), json_get(node, "AllowedIPs"));
    set_raw(v->self_primary, sizeof(v->self_primary), json_get(node, "PrimaryRoutes"));
    bool authorised = false;
    assert_true(json_bool(json_get(node, "MachineAuthorized"), &authorised) && authorised);
}

static void apply_message(struct view *v, struct str message)
{
    struct arena a = {0};
    struct buf json = {0};
    const struct json *root;
    if (v->coding == NETMAP_ZSTD)
        assert_int_equal(zstd_decompress(&ctx.zstd, message.p, message.len, 16 << 20, &json), RC_OK);
    else
        buf_append_str(&json, message);
    struct err err;
    if (json_parse(&a, buf_str(&json), NULL, &root, &err) != RC_OK)
        fail_msg("%s in %.*s", err.text, STR_ARG(buf_str(&json)));
    apply_peers(v, root);
    apply_self(v, json_get(root, "Node"));
    buf_fini(&json);
    arena_fini(&a);
}

/* Splits what came over the stream into messages by their lengths, and empties `p`. */
static unsigned apply_stream(struct view *v, struct netmap_pieces *p)
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

/* --- the naive reference: reads the state node by node, knows nothing of snapshots, changes or caches --- */

/* What stands in AllowedIPs after the addresses, in brackets. */
static void reference_routes(const struct node *n, bool is_self, struct peer_view *p)
{
    struct buf allowed = {0}, primary = {0};
    char text[PREFIX_TEXT_CAP];
    buf_append(&allowed, p->addresses, strlen(p->addresses) - 1);
    for (size_t i = 0; n->advertised != NULL && i < n->advertised->n; i++) {
        const struct prefix *route = &n->advertised->v[i];
        bool is_primary = prefix_list_has(n->primary, route);
        prefix_format(route, text);
        if (!prefix_list_has(n->approved, route))
            continue;
        if (is_self || is_primary || route->bits == 0)
            buf_printf(&allowed, ",\"%s\"", text);
        if (is_primary)
            buf_printf(&primary, "%s\"%s\"", buf_len(&primary) == 0 ? "[" : ",", text);
        p->is_exit = p->is_exit || route->bits == 0;
    }
    buf_append_byte(&allowed, ']');
    if (buf_len(&primary) > 0)
        buf_append_byte(&primary, ']');
    copy(p->allowed, sizeof(p->allowed), buf_str(&allowed));
    copy(p->primary, sizeof(p->primary), buf_str(&primary));
    buf_fini(&allowed);
    buf_fini(&primary);
}

static void reference_peer(const struct node *n, struct peer_view *p)
{
    struct buf list = {0};
    char text[ADDR_TEXT_CAP];
    memset(p, 0, sizeof(*p));
    p->is_there = true;
    p->user = n->tags != NULL ? TAGGED_DEVICES_USER : n->user;
    snprintf(p->name, sizeof(p->name), "%s.example.net.", n->name);
    node_key_format(&n->key, p->key);
    if (!key_is_zero(n->disco.b))
        disco_key_format(&n->disco, p->disco);
    addr_format(&n->v4, false, text);
    buf_printf(&list, "[\"%s/32\",", text);
    addr_format(&n->v6, false, text);
    buf_printf(&list, "\"%s/128\"]", text);
    copy(p->addresses, sizeof(p->addresses), buf_str(&list));
    reference_routes(n, false, p);
    buf_clear(&list);
    for (unsigned i = 0; i < n->endpoints_n; i++) {
        addr_format(&n->endpoints[i], true, text);
        buf_printf(&list, "%s\"%s\"", i == 0 ? "[" : ",", text);
    }
    if (n->endpoints_n > 0)
        buf_append_byte(&list, ']');
    copy(p->endpoints, sizeof(p->endpoints), buf_str(&list));
    buf_fini(&list);
    if (n->hostinfo_peers != NULL)
        copy(p->hostinfo, sizeof(p->hostinfo), str_n(n->hostinfo_peers->data, n->hostinfo_peers->len));
    if (n->expires_ms != NO_EXPIRY)
        time_format(n->expires_ms, p->key_expiry);
    if (!n->is_online)
        time_format(n->last_seen_ms, p->last_seen);
    p->home_derp = n->home_derp;
    p->cap = n->cap_version;
    p->is_online = n->is_online;
    p->is_expired = n->is_expired;
}

/* "No endpoints" may be told as an absent list or as []. */
static void normalise(struct peer_view *p)
{
    if (strcmp(p->endpoints, "[]") == 0)
        memset(p->endpoints, 0, sizeof(p->endpoints));
}

static void assert_same_peer(node_id viewer, node_id id, const struct peer_view *have, const struct peer_view *want)
{
    struct peer_view a = *have, b = *want;
    normalise(&a);
    normalise(&b);
    if (memcmp(&a, &b, sizeof(a)) == 0)
        return;
    fail_msg(
        "node %llu sees %llu wrongly:\n have routes %s %s, want %s %s\n have %d %s %s %s %s %s %s exp=%s seen=%s derp=%llu cap=%llu on=%d ex=%d\n want %d %s %s "
        "%s %s %s %s exp=%s seen=%s derp=%llu cap=%llu on=%d ex=%d",
        (unsigned long long)viewer, (unsigned long long)id, a.allowed, a.primary, b.allowed, b.primary, a.is_there,
        a.name, a.key, a.disco, a.addresses, a.endpoints, a.hostinfo, a.key_expiry, a.last_seen,
        (unsigned long long)a.home_derp, (unsigned long long)a.cap, a.is_online, a.is_expired, b.is_there, b.name,
        b.key, b.disco, b.addresses, b.endpoints, b.hostinfo, b.key_expiry, b.last_seen,
        (unsigned long long)b.home_derp, (unsigned long long)b.cap, b.is_online, b.is_expired);
}

/* --- the world --- */

struct machine {
    machine_key machine;
    node_key key;
    node_id id; /* 0: not registered */
    unsigned polls;
};

struct world {
    struct test_random random;
    struct state *st;
    int64_t now_ms;
    struct machine machines[VIEWERS_MAX * 3];
    unsigned machine_n;
    char reusable[AUTH_KEY_TEXT_CAP];
    char ephemeral[AUTH_KEY_TEXT_CAP];
    struct view *views[VIEWERS_MAX]; /* null: free */
    struct row_batch *in_flight[8];
    unsigned in_flight_n;
    unsigned deltas, fulls, publications, routes_seen;
};

static uint32_t below(struct world *w, uint32_t n)
{
    return test_random_below(&w->random, n);
}

static void random_bytes(struct world *w, void *out, size_t n)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)test_random_u64(&w->random);
}

static struct tailnet_settings *make_settings(void)
{
    struct tailnet_settings *t = tailnet_settings_create();
    snprintf(t->domain, sizeof(t->domain), "example.net");
    t->derp_map_json = rcbuf_create("{\"Regions\":{}}", 14);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{}", 2);
    return t;
}

static void make_key(struct world *w, bool is_ephemeral, char *text)
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct auth_key_spec spec = {.user = 1, .is_reusable = true, .is_ephemeral = is_ephemeral};
    random_bytes(w, random, sizeof(random));
    assert_int_equal(state_key_create(w->st, &spec, random, w->now_ms, &k, text, NULL), RC_OK);
}

static void world_init(struct world *w, uint64_t seed)
{
    struct state_options options = {.v4_bits = 10,
                                    .v6_bits = 48,
                                    .node_expiry_ms = 3600 * 1000,
                                    .ephemeral_timeout_ms = 60000,
                                    .offline_grace_ms = 10000};
    const struct user *u;
    struct user_spec user = {.name = STR("anna")};
    memset(w, 0, sizeof(*w));
    w->random.state = seed;
    w->now_ms = 1800000000000;
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    options.random_addresses = below(w, 2) == 0;
    w->st = state_create(&options, make_settings());
    assert_int_equal(state_user_create(w->st, &user, w->now_ms, &u, NULL), RC_OK);
    make_key(w, false, w->reusable);
    make_key(w, true, w->ephemeral);
    w->machine_n = ARRAY_LEN(w->machines);
    for (unsigned i = 0; i < w->machine_n; i++)
        random_bytes(w, &w->machines[i].machine, sizeof(machine_key));
}

static void drop_revoked(struct world *w)
{
    node_key keys[16];
    while (state_take_revoked(w->st, keys, 16) > 0) {
    }
}

static void commit_one(struct world *w)
{
    if (w->in_flight_n == 0)
        return;
    state_committed(w->st, w->in_flight[0]->seq);
    row_batch_destroy(&w->in_flight[0]);
    w->in_flight_n--;
    memmove(w->in_flight, w->in_flight + 1, w->in_flight_n * sizeof(w->in_flight[0]));
}

static void seal(struct world *w)
{
    if (w->in_flight_n == ARRAY_LEN(w->in_flight))
        commit_one(w);
    struct row_batch *b = state_take_batch(w->st);
    if (b != NULL)
        w->in_flight[w->in_flight_n++] = b;
    drop_revoked(w);
}

static void view_drop(struct world *w, unsigned i)
{
    struct view *v = w->views[i];
    w->views[i] = NULL;
    if (v == NULL)
        return;
    state_poll_end(w->st, v->self, w->now_ms);
    mem_free(v);
}

static void world_fini(struct world *w)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++)
        view_drop(w, i);
    while (w->in_flight_n > 0)
        commit_one(w);
    state_destroy(&w->st);
}

/* --- events --- */

static struct rcbuf *random_hostinfo(struct world *w)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"OS\":\"linux\",\"OSVersion\":\"%u\"}", below(w, 3));
    return rcbuf_create(text, (size_t)n);
}

static size_t fill_routes(struct world *w, struct prefix out[4])
{
    static const struct str routes[] = {STR("10.0.0.0/8"), STR("fd00::/8"), STR("0.0.0.0/0"), STR("::/0")};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (below(w, 2) == 0)
            assert_int_equal(prefix_parse(routes[i], &out[n++], NULL), RC_OK);
    }
    return n;
}

static struct prefix_list *random_routes(struct world *w)
{
    struct prefix v[4];
    size_t n = below(w, 2) == 0 ? fill_routes(w, v) : 0;
    return prefix_list_create(v, n);
}

static void fill_report(struct world *w, struct node_report *r, struct addr *endpoints, disco_key *disco)
{
    static const char *const names[] = {"laptop", "Laptop", "web_1", "anna's phone", "", "x.y.z", "-- --"};
    memset(r, 0, sizeof(*r));
    if (below(w, 2) == 0) {
        r->endpoints_n = below(w, 4);
        for (unsigned i = 0; i < r->endpoints_n; i++)
            endpoints[i] = (struct addr){
                .family = 4, .port = (uint16_t)below(w, 5), .ip = {192, 0, 2, (uint8_t)below(w, 4)}};
        r->endpoints = endpoints;
    }
    if (below(w, 3) == 0)
        r->home_derp = (uint16_t)below(w, 4);
    if (below(w, 4) == 0) {
        memset(disco, 0, sizeof(*disco));
        disco->b[0] = (uint8_t)below(w, 5);
        r->disco = disco;
    }
    if (below(w, 5) == 0)
        r->hostname = str_c(names[below(w, ARRAY_LEN(names))]);
    if (below(w, 4) == 0)
        r->cap_version = 113 + below(w, 3);
    if (below(w, 4) == 0) {
        r->hostinfo = random_hostinfo(w);
        r->hostinfo_peers = below(w, 3) == 0 ? NULL : rcbuf_ref(r->hostinfo);
        r->routes = random_routes(w);
    }
}

static void report_drop(struct node_report *r)
{
    rcbuf_unref(&r->hostinfo);
    rcbuf_unref(&r->hostinfo_peers);
    prefix_list_unref(&r->routes);
}

static struct machine *random_machine(struct world *w)
{
    return &w->machines[below(w, w->machine_n)];
}

static void event_register(struct world *w)
{
    struct machine *m = random_machine(w);
    struct registration reg = {.machine = m->machine, .key = m->key, .old_key = m->key};
    struct register_result result;
    struct addr endpoints[4];
    disco_key disco;
    if (m->id == 0 || below(w, 3) == 0)
        random_bytes(w, &reg.key, sizeof(reg.key));
    if (below(w, 8) == 0)
        reg.expiry_ms = 1; /* logs out */
    reg.auth_key = str_c(below(w, 4) == 0 ? w->ephemeral : w->reusable);
    random_bytes(w, reg.random, sizeof(reg.random));
    fill_report(w, &reg.report, endpoints, &disco);
    state_register(w->st, &reg, w->now_ms, &result);
    report_drop(&reg.report);
    if (result.outcome == REGISTER_OK) {
        m->key = reg.key;
        m->id = result.node->id;
        assert_true(m->id < IDS_MAX);
    } else {
        assert_int_equal(result.outcome, REGISTER_KEY_EXPIRED);
    }
}

static void event_report(struct world *w)
{
    struct machine *m = random_machine(w);
    struct node_report r;
    const struct node *n;
    struct addr endpoints[4];
    disco_key disco;
    fill_report(w, &r, endpoints, &disco);
    enum rc rc = state_node_report(w->st, &m->key, &m->machine, &r, &n);
    assert_true(rc == RC_OK || state_node_by_key(w->st, &m->key) == NULL);
    report_drop(&r);
}

static void event_poll(struct world *w)
{
    static struct netmap_pieces pieces;
    struct machine *m = random_machine(w);
    unsigned slot = below(w, VIEWERS_MAX);
    struct node_report r;
    const struct node *n;
    struct addr endpoints[4];
    disco_key disco;
    view_drop(w, slot);
    /* As a session does: it attaches when the published snapshot shows the node with this key. */
    n = state_node_by_key(w->st, &m->key);
    const struct node *shown = n != NULL ? snapshot_node(state_snapshot(w->st), n->id) : NULL;
    if (shown == NULL || !keys_equal(shown->key.b, m->key.b))
        return;
    fill_report(w, &r, endpoints, &disco);
    assert_int_equal(state_poll_begin(w->st, &m->key, &m->machine, &r, w->now_ms, &n), RC_OK);
    report_drop(&r);
    struct view *v = MEM_NEW(struct view);
    v->self = n->id;
    v->key = n->key;
    v->coding = below(w, 4) == 0 ? NETMAP_PLAIN : NETMAP_ZSTD;
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), v->self, v->coding, true, &pieces), RC_OK);
    apply_stream(v, &pieces);
    netmap_pieces_fini(&pieces);
    w->views[slot] = v;
    w->fulls++;
}

static void event_admin(struct world *w)
{
    static const char *const names[] = {"web", "db", "laptop", "laptop-1", "router"};
    struct machine *m = random_machine(w);
    const struct node *n;
    struct prefix routes[4];
    const struct str tag = below(w, 2) == 0 ? STR("tag:a") : STR("tag:b");
    enum rc rc;
    switch (below(w, 9)) {
    case 0:
        rc = state_node_delete(w->st, m->id, NULL);
        if (rc == RC_OK)
            m->id = 0;
        break;
    case 1: rc = state_node_expire(w->st, m->id, below(w, 2) == 0 ? w->now_ms : NO_EXPIRY, w->now_ms, &n, NULL); break;
    case 2: rc = state_node_expire(w->st, m->id, w->now_ms + 5000, w->now_ms, &n, NULL); break;
    case 3:
    case 4: rc = state_node_approve_routes(w->st, m->id, routes, fill_routes(w, routes), &n, NULL); break;
    case 5: rc = state_node_set_tags(w->st, m->id, &tag, 1, &n, NULL); break;
    default: rc = state_node_rename(w->st, m->id, str_c(names[below(w, ARRAY_LEN(names))]), &n, NULL);
    }
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_EXISTS);
}

static void event_time(struct world *w)
{
    w->now_ms += below(w, 10) == 0 ? 30000 : below(w, 3000);
    state_tick(w->st, w->now_ms);
}

static void random_event(struct world *w)
{
    uint32_t dice = below(w, 100);
    if (dice < 14)
        event_register(w);
    else if (dice < 62)
        event_report(w);
    else if (dice < 72)
        event_poll(w);
    else if (dice < 78)
        view_drop(w, below(w, VIEWERS_MAX));
    else if (dice < 88)
        event_admin(w);
    else
        event_time(w);
}

/* --- publication and comparison --- */

static void told_of(struct world *w, struct view *v, struct change *c)
{
    static struct netmap_pieces pieces;
    if (v->is_gone)
        return;
    netmap_delta(&ctx, c, v->self, v->coding, &pieces);
    w->deltas += apply_stream(v, &pieces);
    netmap_pieces_fini(&pieces);
    const struct node *n = snapshot_node(c->after, v->self);
    if (n == NULL) {
        char now[TIME_TEXT_CAP];
        time_format(w->now_ms, now);
        assert_true(v->self_expiry[0] != '\0' && strcmp(v->self_expiry, now) < 0);
        v->is_gone = true;
    } else if (!keys_equal(n->key.b, v->key.b)) {
        v->is_gone = true; /* the stream ends: the node polls with its new key */
    }
}

static void publish(struct world *w)
{
    struct change *c = state_publish(w->st, w->now_ms);
    if (c == NULL)
        return;
    w->publications++;
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (w->views[i] != NULL)
            told_of(w, w->views[i], c);
    }
    change_unref(&c);
}

/* The view by deltas is the view by a full map of the same snapshot. */
static void compare_with_full(struct world *w, const struct view *v)
{
    struct netmap_pieces pieces = {0};
    struct view *fresh = MEM_NEW(struct view);
    fresh->self = v->self;
    fresh->coding = v->coding;
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), v->self, v->coding, true, &pieces), RC_OK);
    apply_stream(fresh, &pieces);
    netmap_pieces_fini(&pieces);
    for (node_id id = 1; id < IDS_MAX; id++)
        assert_same_peer(v->self, id, &v->peers[id], &fresh->peers[id]);
    assert_string_equal(v->self_name, fresh->self_name);
    assert_string_equal(v->self_expiry, fresh->self_expiry);
    assert_string_equal(v->self_allowed, fresh->self_allowed);
    assert_string_equal(v->self_primary, fresh->self_primary);
    mem_free(fresh);
}

static void compare_views(struct world *w)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (w->views[i] != NULL && !w->views[i]->is_gone)
            compare_with_full(w, w->views[i]);
    }
}

/* With everything committed and published, each view is what the state says node by node. */
static void compare_with_reference(struct world *w)
{
    seal(w);
    while (w->in_flight_n > 0)
        commit_one(w);
    publish(w);
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        const struct view *v = w->views[i];
        if (v == NULL || v->is_gone)
            continue;
        struct peer_view own = {0};
        reference_peer(state_node(w->st, v->self), &own);
        reference_routes(state_node(w->st, v->self), true, &own);
        assert_string_equal(v->self_allowed, own.allowed);
        assert_string_equal(v->self_primary, own.primary);
        w->routes_seen += own.primary[0] != '\0';
        for (node_id id = 1; id < IDS_MAX; id++) {
            const struct node *n = id != v->self ? state_node(w->st, id) : NULL;
            struct peer_view want = {0};
            if (n != NULL)
                reference_peer(n, &want);
            assert_same_peer(v->self, id, &v->peers[id], &want);
        }
    }
}

static void run_world(uint64_t seed, unsigned events)
{
    struct world *w = mem_zalloc(1, sizeof(*w));
    world_init(w, seed);
    for (unsigned i = 0; i < events; i++) {
        random_event(w);
        /* Now and then nothing is told for long, so that changes of many nodes come at once. */
        bool quiet = i / 200 % 5 == 4;
        if (below(w, 3) == 0)
            seal(w);
        if (below(w, 4) == 0)
            commit_one(w);
        if (!quiet && below(w, 3) == 0)
            publish(w);
        if (i % 100 == 99)
            compare_views(w);
        if (i % 400 == 399)
            compare_with_reference(w);
    }
    compare_with_reference(w);
    assert_true(w->deltas > events / 20);
    assert_true(w->publications > events / 20);
    assert_true(w->routes_seen > 0);
    world_fini(w);
    mem_free(w);
}

static void test_deltas_equal_full_maps(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_world(seed * 7919, 4000);
}

/* --- single facts --- */

static struct world *small_world(unsigned nodes)
{
    struct world *w = mem_zalloc(1, sizeof(*w));
    world_init(w, 42);
    for (unsigned i = 0; i < nodes; i++) {
        struct machine *m = &w->machines[i];
        struct registration reg = {.machine = m->machine, .auth_key = str_c(w->reusable)};
        struct register_result result;
        random_bytes(w, &reg.key, sizeof(reg.key));
        random_bytes(w, reg.random, sizeof(reg.random));
        reg.report.hostname = STR("host");
        state_register(w->st, &reg, w->now_ms, &result);
        assert_int_equal(result.outcome, REGISTER_OK);
        m->key = reg.key;
        m->id = result.node->id;
    }
    seal(w);
    while (w->in_flight_n > 0)
        commit_one(w);
    publish(w);
    return w;
}

static void world_drop(struct world *w)
{
    world_fini(w);
    mem_free(w);
}

/* Serialising and compressing happen once for everyone: a counter, not a belief. */
static void test_a_change_is_encoded_once(void **state)
{
    (void)state;
    struct world *w = small_world(100);
    struct node_report r = {.home_derp = 999};
    struct netmap_pieces pieces = {0};
    const struct node *n;
    assert_int_equal(state_node_report(w->st, &w->machines[7].key, &w->machines[7].machine, &r, &n), RC_OK);
    struct change *c = state_publish(w->st, w->now_ms);
    int64_t shared = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
    int64_t private_ = metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"");
    for (unsigned i = 0; i < 100; i++)
        netmap_delta(&ctx, c, w->machines[i].id, NETMAP_ZSTD, &pieces);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"") - shared, 1);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"") - private_, 0);
    assert_int_equal(pieces.n, 99); /* the node itself has nothing to learn */
    for (size_t i = 1; i < pieces.n; i++)
        assert_ptr_equal(pieces.items[i], pieces.items[0]);
    netmap_pieces_fini(&pieces);
    change_unref(&c);
    world_drop(w);
}

/* A full map costs its own piece and the groups that changed, not one for each peer. */
static void test_groups_are_encoded_once(void **state)
{
    (void)state;
    struct world *w = small_world(100);
    struct netmap_pieces pieces = {0};
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 100; i++)
            assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_ZSTD, true, &pieces),
                             RC_OK);
        netmap_pieces_clear(&pieces);
    }
    int64_t groups = metric_read("fullscale_netmap_encoded_total", "what=\"group\"");
    struct node_report r = {.home_derp = 5};
    const struct node *n;
    assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &r, &n), RC_OK);
    publish(w);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_ZSTD, true, &pieces),
                         RC_OK);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"group\"") - groups, 1);
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

static void test_keep_alive_is_not_the_hazardous_one(void **state)
{
    (void)state;
    for (int coding = NETMAP_PLAIN; coding <= NETMAP_ZSTD; coding++) {
        struct rcbuf *b = netmap_keep_alive(&ctx, (enum netmap_coding)coding);
        struct buf json = {0};
        if (coding == NETMAP_ZSTD)
            assert_int_equal(zstd_decompress(&ctx.zstd, b->data + 4, b->len - 4, 1000, &json), RC_OK);
        else
            buf_append(&json, b->data + 4, b->len - 4);
        assert_false(str_eq(buf_str(&json), STR("{\"KeepAlive\":true}")));
        assert_true(str_eq(str_trim(buf_str(&json)), STR("{\"KeepAlive\":true}")));
        buf_fini(&json);
        rcbuf_unref(&b);
    }
}

static void test_first_map_has_what_a_client_needs(void **state)
{
    (void)state;
    struct world *w = small_world(2);
    struct netmap_pieces pieces = {0};
    struct arena a = {0};
    struct buf wire = {0};
    const struct json *root;
    static const char *const needed[] = {"Node",      "DERPMap", "Peers",       "UserProfiles",    "PacketFilters",
                                         "DNSConfig", "Domain",  "ControlTime", "CollectServices", "Debug"};
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &pieces), RC_OK);
    for (size_t i = 0; i < pieces.n; i++)
        buf_append(&wire, pieces.items[i]->data, pieces.items[i]->len);
    buf_consume(&wire, 4);
    assert_int_equal(json_parse(&a, buf_str(&wire), NULL, &root, NULL), RC_OK);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        assert_non_null(json_get_exact(root, needed[i]));
    arena_fini(&a);
    buf_fini(&wire);
    netmap_pieces_clear(&pieces);
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 999, NETMAP_PLAIN, true, &pieces), RC_NOT_FOUND);
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

/* Clients before 1.82 cannot pin the relay's certificate: they get a DERP map of their own, also when it changes. */
static void test_old_clients_get_no_pins(void **state)
{
    (void)state;
    struct world *w = small_world(2);
    struct netmap_pieces pieces = {0};
    struct node_report old = {.cap_version = 113}, new = {.cap_version = 115};
    const struct node *n;
    for (unsigned round = 0; round < 2; round++) {
        struct tailnet_settings *t = make_settings();
        rcbuf_unref(&t->derp_map_json);
        t->derp_map_json = round == 0 ? rcbuf_create("\"pin0\"", 6) : rcbuf_create("\"pin1\"", 6);
        t->derp_map_unpinned_json = round == 0 ? rcbuf_create("\"any0\"", 6) : rcbuf_create("\"any1\"", 6);
        state_set_settings(w->st, t);
        if (round == 0) {
            assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &old, &n), RC_OK);
            assert_int_equal(state_node_report(w->st, &w->machines[1].key, &w->machines[1].machine, &new, &n), RC_OK);
            publish(w);
        }
        struct change *c = round == 0 ? NULL : state_publish(w->st, w->now_ms);
        for (unsigned i = 0; i < 2; i++) {
            if (c == NULL)
                assert_int_equal(
                    netmap_full(&ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_PLAIN, true, &pieces), RC_OK);
            else
                netmap_delta(&ctx, c, w->machines[i].id, NETMAP_PLAIN, &pieces);
            const char *want = i == 0 ? (round == 0 ? "any0" : "any1") : (round == 0 ? "pin0" : "pin1");
            assert_non_null(memmem(pieces.items[0]->data, pieces.items[0]->len, want, 4));
            assert_null(memmem(pieces.items[0]->data, pieces.items[0]->len, i == 0 ? "pin" : "any", 3));
            netmap_pieces_clear(&pieces);
        }
        change_unref(&c);
    }
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

/* A change of the DERP map alone is the DERP map alone, made once for each of both kinds of client. */
static void test_settings_change_says_no_more(void **state)
{
    (void)state;
    struct world *w = small_world(8);
    struct netmap_pieces pieces = {0};
    struct node_report old = {.cap_version = 113}, new = {.cap_version = 115};
    const struct node *n;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(
            state_node_report(w->st, &w->machines[i].key, &w->machines[i].machine, i < 4 ? &old : &new, &n), RC_OK);
    publish(w);
    for (unsigned round = 0; round < 3; round++) {
        /* Pinned and not; only the pin differs; as it was. */
        static const char *const pinned[] = {"[\"pin0\"]", "[\"pin1\"]", "[\"pin1\"]"};
        struct tailnet_settings *t = tailnet_settings_edit(state_settings(w->st));
        rcbuf_unref(&t->derp_map_json);
        rcbuf_unref(&t->derp_map_unpinned_json);
        t->derp_map_json = rcbuf_create(pinned[round], 8);
        t->derp_map_unpinned_json = rcbuf_create("[\"any\"]", 7);
        state_set_settings(w->st, t);
        struct change *c = state_publish(w->st, w->now_ms);
        int64_t shared = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
        for (unsigned i = 0; i < 8; i++) {
            const char *want = i < 4 ? (round == 0 ? "{\"DERPMap\":[\"any\"]}" : NULL)
                                     : (round == 0   ? "{\"DERPMap\":[\"pin0\"]}"
                                        : round == 1 ? "{\"DERPMap\":[\"pin1\"]}"
                                                     : NULL);
            netmap_delta(&ctx, c, w->machines[i].id, NETMAP_PLAIN, &pieces);
            assert_int_equal(pieces.n, want != NULL);
            if (want != NULL)
                assert_true(str_eq_c(str_n(pieces.items[0]->data + 4, pieces.items[0]->len - 4), want));
            netmap_pieces_clear(&pieces);
        }
        assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"") - shared, 2);
        change_unref(&c);
    }
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

static void test_alone_has_no_peers_key(void **state)
{
    (void)state;
    struct world *w = small_world(1);
    struct netmap_pieces pieces = {0};
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &pieces), RC_OK);
    assert_int_equal(pieces.n, 1);
    assert_null(memmem(pieces.items[0]->data, pieces.items[0]->len, "\"Peers\"", 7));
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

static int init_crypto(void **state)
{
    (void)state;
    crypto_init();
    return 0;
}

static int fini_ctx(void **state)
{
    (void)state;
    netmap_ctx_fini(&ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deltas_equal_full_maps),
        cmocka_unit_test(test_a_change_is_encoded_once),
        cmocka_unit_test(test_groups_are_encoded_once),
        cmocka_unit_test(test_keep_alive_is_not_the_hazardous_one),
        cmocka_unit_test(test_first_map_has_what_a_client_needs),
        cmocka_unit_test(test_old_clients_get_no_pins),
        cmocka_unit_test(test_settings_change_says_no_more),
        cmocka_unit_test(test_alone_has_no_peers_key),
    };
    return cmocka_run_group_tests_name("netmap", tests, init_crypto, fini_ctx);
}
