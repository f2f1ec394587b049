/* What nodes are told. The heart is a property test: random sequences of events, with commits and publications at
 * random moments, must leave every connected node with the same view by its deltas as a full map gives, and both must
 * be what a naive reading of the state says. Messages are decoded the way a client does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/bits.h"
#include "base/time.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json.h"
#include "crypto/crypto.h"
#include "netmap/netmap.h"
#include "engine/access.h"
#include "state/access.h"
#include "state/state.h"
#include "support/test_random.h"

enum { IDS_MAX = 700, USERS_MAX = 16, VIEWERS_MAX = 40 };

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
    char caps[60];
    char endpoints[400];
    char hostinfo[200];
    char key_expiry[TIME_TEXT_CAP];
    char last_seen[TIME_TEXT_CAP]; /* only told of those offline */
    uint64_t home_derp;
    uint64_t cap;
    bool is_online;
    bool is_expired;
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
    char self_caps[300];
    char filter[16384];
    char ssh[8192];
    char dns[800];
    uint64_t self_user;
    char users[USERS_MAX][160]; /* profiles, as they stand on the wire */
    bool knows_tagged;
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
        assert_int_equal(zstd_decompress(&ctx.zstd, message.p, message.len, 16 << 20, &json), RC_OK);
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

/* A list of prefixes in the making: "[" and what follows. */
static void list_add(struct buf *list, const struct addr *ip, unsigned bits)
{
    char text[ADDR_TEXT_CAP];
    addr_format(ip, false, text);
    buf_printf(list, "%s\"%s/%u\"", buf_len(list) == 0 ? "[" : ",", text, bits);
}

static void list_take(struct buf *list, char *out, size_t cap)
{
    if (buf_len(list) > 0)
        buf_append_byte(list, ']');
    copy(out, cap, buf_str(list));
    buf_clear(list);
}

/* Addresses and routes as a policy shows them. `p` null: there is none. */
static void reference_routes(struct engine *p, node_id viewer, const struct node *n, struct peer_view *out)
{
    struct buf allowed = {0}, primary = {0};
    struct prefix route;
    uint64_t bits[ROUTES_MAX / 64] = {0};
    size_t i = 0;
    bool has_exit = false;
    bool hides = p != NULL && (engine_hides_ipv4(p, viewer) || engine_hides_ipv4(p, n->id));
    if (!hides)
        list_add(&allowed, &n->v4, 32);
    list_add(&allowed, &n->v6, 128);
    buf_append_str(&primary, buf_str(&allowed));
    list_take(&primary, out->addresses, sizeof(out->addresses));
    if (p != NULL)
        engine_routes(p, viewer, n->id, bits, ROUTES_MAX);
    for (size_t pos = 0; node_serves_next(n, &pos, &route); i++) {
        bool is_primary = prefix_list_has(n->primary, &route);
        bool is_shown = p != NULL ? bit_get(bits, i) : is_primary || route.bits == 0 || viewer == n->id;
        if (!is_shown)
            continue;
        list_add(&allowed, &route.ip, route.bits);
        has_exit = has_exit || route.bits == 0;
        if (route.bits != 0 && (viewer != n->id || is_primary))
            list_add(&primary, &route.ip, route.bits);
    }
    list_take(&allowed, out->allowed, sizeof(out->allowed));
    list_take(&primary, out->primary, sizeof(out->primary));
    if (has_exit)
        copy(out->caps, sizeof(out->caps), STR("{\"suggest-exit-node\":null}"));
    buf_fini(&allowed);
    buf_fini(&primary);
}

static void reference_peer(struct engine *policy, node_id viewer, const struct node *n, struct peer_view *p)
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
    reference_routes(policy, viewer, n, p);
    for (unsigned i = 0; i < n->endpoints_n; i++) {
        addr_format(&n->endpoints[i], true, text);
        buf_printf(&list, "%s\"%s\"", i == 0 ? "[" : ",", text);
    }
    if (n->endpoints_n > 0)
        buf_append_byte(&list, ']');
    copy(p->endpoints, sizeof(p->endpoints), buf_str(&list));
    buf_fini(&list);
    copy(p->hostinfo, sizeof(p->hostinfo),
         n->hostinfo_peers != NULL ? str_n(n->hostinfo_peers->data, n->hostinfo_peers->len) : STR("{}"));
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
    bool has_policies;
    char tagged[3][AUTH_KEY_TEXT_CAP]; /* keys with tag:a, tag:b, both */
    char others[3][AUTH_KEY_TEXT_CAP]; /* keys of other users */
    unsigned policies, pairs_hidden, users_hidden, routes_shown, filters_empty, ssh_told;
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
    t->self_caps_json = rcbuf_create("{\"base\":[]}", 11);
    snprintf(t->server_url, sizeof(t->server_url), "https://control.example");
    return t;
}

static void make_key(struct world *w, user_id user, const struct str *tags, size_t tag_n, bool is_ephemeral, char *text)
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct auth_key_spec spec = {
        .user = user, .is_reusable = true, .is_ephemeral = is_ephemeral, .tags = tags, .tag_n = tag_n};
    random_bytes(w, random, sizeof(random));
    assert_int_equal(state_key_create(w->st, &spec, random, w->now_ms, &k, text, NULL), RC_OK);
}

static void world_init_with(struct world *w, uint64_t seed, int64_t newcomer_ms)
{
    struct state_options options = {.v4_bits = 10,
                                    .v6_bits = 48,
                                    .node_expiry_ms = 3600 * 1000,
                                    .ephemeral_timeout_ms = 60000,
                                    .offline_grace_ms = 10000,
                                    .newcomer_ms = newcomer_ms};
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
    make_key(w, 1, NULL, 0, false, w->reusable);
    make_key(w, 1, NULL, 0, true, w->ephemeral);
    w->machine_n = ARRAY_LEN(w->machines);
    for (unsigned i = 0; i < w->machine_n; i++)
        random_bytes(w, &w->machines[i].machine, sizeof(machine_key));
}

static void world_init(struct world *w, uint64_t seed)
{
    world_init_with(w, seed, 0);
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
    /* The first are routers, if there are policies. */
    return &w->machines[below(w, w->has_policies && below(w, 4) == 0 ? 8 : w->machine_n)];
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
    if (w->has_policies && below(w, 2) == 0)
        reg.auth_key = str_c(below(w, 2) == 0 ? w->tagged[below(w, 3)] : w->others[below(w, 3)]);
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

/* --- policies --- */

static void load_router(struct world *w, unsigned i)
{
    static const char *const routes[][3] = {{"10.1.0.0/16", "10.2.0.0/16", NULL},
                                            {"10.1.0.0/16", NULL, NULL},
                                            {"0.0.0.0/0", "::/0", "10.3.0.0/24"},
                                            {"10.2.0.0/16", "0.0.0.0/0", "::/0"},
                                            {"10.1.0.0/16", "8.8.8.0/24", NULL}};
    struct machine *m = &w->machines[i];
    struct node *n = node_create(0);
    struct prefix v[3];
    size_t route_n = 0;
    random_bytes(w, &m->key, sizeof(m->key));
    m->id = n->id = i + 1;
    snprintf(n->stable_id, sizeof(n->stable_id), "nrouter%u", i);
    snprintf(n->name, sizeof(n->name), "router%u", i);
    n->user = 1;
    n->machine = m->machine;
    n->key = m->key;
    n->v4 = (struct addr){.family = 4, .ip = {100, 64, 200, (uint8_t)(i + 1)}};
    n->v6 = (struct addr){.family = 6, .ip = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = (uint8_t)(200 + i)}};
    n->created_ms = w->now_ms - 1000 * (int64_t)below(w, 3);
    if (i % 2 == 0)
        n->tags = rcbuf_create("[\"tag:a\"]", 9);
    for (; route_n < 3 && routes[i % 5][route_n] != NULL; route_n++)
        assert_int_equal(prefix_parse(str_c(routes[i % 5][route_n]), &v[route_n], NULL), RC_OK);
    n->advertised = prefix_list_create(v, route_n);
    n->approved = prefix_list_create(v, route_n);
    /* The first router of each prefix. */
    size_t primary_n = 0;
    for (size_t k = 0; k < route_n; k++) {
        bool first = v[k].bits != 0 && (i == 0 || i == 2 || (i == 4 && v[k].bits == 24));
        if (first)
            v[primary_n++] = v[k];
    }
    n->primary = prefix_list_create(v, primary_n);
    assert_int_equal(state_load_node(w->st, n, NULL), RC_OK);
}

static void add_policies(struct world *w)
{
    static const char *const names[] = {"bert", "carl", "dora"};
    const struct str tags[] = {STR("tag:a"), STR("tag:b")};
    const struct user *u;
    w->has_policies = true;
    for (unsigned i = 0; i < 3; i++) {
        struct user_spec spec = {.name = str_c(names[i])};
        assert_int_equal(state_user_create(w->st, &spec, w->now_ms, &u, NULL), RC_OK);
        make_key(w, u->id, NULL, 0, below(w, 4) == 0, w->others[i]);
    }
    make_key(w, 1, tags, 1, false, w->tagged[0]);
    make_key(w, 2, tags + 1, 1, false, w->tagged[1]);
    make_key(w, 1, tags, 2, false, w->tagged[2]);
    for (unsigned i = 0; i < 8; i++)
        load_router(w, i);
    struct row_counters counters = {.next_node = 9};
    state_load_done(w->st, &counters, w->now_ms);
}

static const char *pick(struct world *w, const char *const *list, size_t n)
{
    return list[below(w, (uint32_t)n)];
}
#define PICK(w, list) pick(w, list, ARRAY_LEN(list))

static void add_rule(struct world *w, struct buf *b)
{
    static const char *const src[] = {"tag:a",
                                      "tag:b",
                                      "anna@",
                                      "bert@",
                                      "group:g",
                                      "group:h",
                                      "autogroup:member",
                                      "autogroup:tagged",
                                      "*",
                                      "100.64.0.0/29",
                                      "net",
                                      "10.1.0.0/16",
                                      "autogroup:danger-all"};
    static const char *const dst[] = {"tag:a",
                                      "tag:b",
                                      "anna@",
                                      "carl@",
                                      "group:g",
                                      "autogroup:member",
                                      "*",
                                      "net",
                                      "10.1.0.0/16",
                                      "10.2.3.0/24",
                                      "autogroup:internet",
                                      "100.64.0.4"};
    static const char *const people[] = {"anna@", "group:g", "autogroup:member", "dora@"};
    static const char *const posture[] = {"", "", "", ",\"srcPosture\":[\"posture:p\"]"};
    switch (below(w, 8)) {
    case 0: buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]},", PICK(w, people)); break;
    case 1:
        buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"%s\"],\"ip\":[\"tcp:80\"],\"via\":[\"tag:%s\"]},", PICK(w, src),
                   below(w, 2) == 0 ? "10.1.0.0/16" : "autogroup:internet", below(w, 2) == 0 ? "a" : "b");
        break;
    case 2:
        buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"%s\"],\"app\":{\"x.example/cap\":[{\"n\":1}]}},", PICK(w, people),
                   below(w, 2) == 0 ? "tag:a" : "carl@");
        break;
    default:
        buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"%s\"],\"ip\":[\"%s\"]%s},", PICK(w, src), PICK(w, dst),
                   below(w, 2) == 0 ? "*" : "22", PICK(w, posture));
    }
}

static void random_policy(struct world *w, struct buf *b)
{
    static const char *const targets[] = {"tag:a", "anna@", "autogroup:member", "*", "100.64.0.0/30"};
    buf_append_c(b, "{\"groups\":{\"group:g\":[\"anna@\",\"bert@\"],\"group:h\":[\"dora@\"]},"
                    "\"tagOwners\":{\"tag:a\":[\"anna@\"],\"tag:b\":[]},\"hosts\":{\"net\":\"10.0.0.0/8\"},"
                    "\"postures\":{\"posture:p\":[\"node:osVersion == '1'\"]},\"grants\":[");
    for (uint32_t n = below(w, 6); n > 0; n--)
        add_rule(w, b);
    buf_append_c(b, "],\"nodeAttrs\":[");
    if (below(w, 3) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"x:%u\"]},", PICK(w, targets), below(w, 3));
    if (below(w, 4) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"disable-ipv4\"]},", PICK(w, targets));
    if (below(w, 3) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"nextdns:p%u\"]},", PICK(w, targets), below(w, 3));
    if (below(w, 3) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"nextdns:no-device-info\"]},", PICK(w, targets));
    buf_printf(b, "],\"disableIPv4\":%s,\"ssh\":[", below(w, 6) == 0 ? "true" : "false");
    if (below(w, 2) == 0)
        buf_printf(b, "{\"action\":\"%s\",\"src\":[\"%s\"],\"dst\":[\"tag:a\"],\"users\":[\"root\"]},",
                   below(w, 2) == 0 ? "accept" : "check", below(w, 2) == 0 ? "anna@" : "autogroup:member");
    buf_append_c(b, "]}");
}

static void event_policy(struct world *w)
{
    struct buf text = {0};
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (below(w, 6) == 0) {
        state_set_policy(w->st, NULL, w->now_ms);
        return;
    }
    random_policy(w, &text);
    if (policy_parse(buf_str(&text), NULL, &doc, &errors) != RC_OK)
        fail_msg("%s in %s", errors.v[0].text, buf_cstr(&text));
    policy_errors_fini(&errors);
    state_set_policy(w->st, doc, w->now_ms);
    w->policies++;
    buf_fini(&text);
}

/* With resolvers of which each node has its own, when `addr` is not null. */
static void set_dns(struct world *w, const char *addr)
{
    struct tailnet_settings *t = tailnet_settings_edit(state_settings(w->st));
    struct buf json = {0};
    buf_printf(&json, "{\"Proxied\":true");
    t->dns_hole_n = 0;
    if (addr != NULL) {
        buf_append_c(&json, ",\"Resolvers\":[{\"Addr\":\"");
        t->dns_hole[t->dns_hole_n++] = (struct dns_hole){(uint32_t)buf_len(&json), (uint32_t)strlen(addr)};
        buf_printf(&json, "%s\"},{\"Addr\":\"9.9.9.9\"}]", addr);
    }
    buf_append_c(&json, "}");
    rcbuf_unref(&t->dns_config_json);
    t->dns_config_json = rcbuf_create(buf_at(&json), buf_len(&json));
    buf_fini(&json);
    state_set_settings(w->st, t);
}

static void event_dns(struct world *w)
{
    static const char *const addrs[] = {NULL, "https://dns.nextdns.io/abc", "https://dns.nextdns.io/abc?x=1"};
    set_dns(w, PICK(w, addrs));
}

static void event_user(struct world *w)
{
    static const char *const names[] = {"anna", "bert", "carl", "dora", "emil", "fips", "gerd", "hugo"};
    const struct user *u;
    enum rc rc = state_user_rename(w->st, 1 + below(w, 4), str_c(PICK(w, names)), &u, NULL);
    assert_true(rc == RC_OK || rc == RC_EXISTS);
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

static bool is_owner_in(const struct view *v, uint64_t user)
{
    bool is = v->self_user == user;
    for (node_id id = 1; id < IDS_MAX; id++)
        is = is || (v->peers[id].is_there && v->peers[id].user == user);
    return is;
}

/* A full map has the profiles of those whose nodes it has, and under a policy no others; deltas leave none of them
 * behind. */
static void compare_users(struct world *w, const struct view *v, const struct view *fresh)
{
    bool is_ruled = !access_is_open(state_snapshot(w->st)->access);
    for (uint64_t id = 1; id < USERS_MAX; id++) {
        bool is_told = fresh->users[id][0] != '\0';
        if (is_told)
            assert_string_equal(v->users[id], fresh->users[id]);
        if (is_ruled)
            assert_int_equal(is_told, is_owner_in(fresh, id));
        w->users_hidden += is_ruled && !is_told && state_user(w->st, id) != NULL;
    }
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
    assert_string_equal(v->self_caps, fresh->self_caps);
    assert_string_equal(v->filter, fresh->filter);
    assert_string_equal(v->ssh, fresh->ssh);
    assert_string_equal(v->dns, fresh->dns);
    compare_users(w, v, fresh);
    mem_free(fresh);
}

static void compare_views(struct world *w)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (w->views[i] != NULL && !w->views[i]->is_gone)
            compare_with_full(w, w->views[i]);
    }
}

/* What the policy says of the viewer itself. */
static void compare_access(struct world *w, struct engine *p, const struct view *v)
{
    static const char allow_all[] =
        "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]";
    struct buf text = {0};
    struct peer_view self = {0};
    reference_routes(p, v->self, state_node(w->st, v->self), &self);
    assert_string_equal(v->self_allowed, self.allowed);
    assert_string_equal(v->self_primary, self.primary);
    w->routes_seen += self.primary[0] != '\0';
    if (p == NULL) {
        assert_string_equal(v->filter, allow_all);
        assert_string_equal(v->ssh, "{\"rules\":[]}");
        assert_string_equal(v->self_caps, "{\"base\":[]}");
        return;
    }
    engine_filter(p, v->self, &text);
    assert_true(str_eq_c(buf_str(&text), v->filter));
    buf_clear(&text);
    buf_append_c(&text, "{\"rules\":");
    engine_ssh(p, v->self, "https://control.example", &text);
    buf_append_byte(&text, '}');
    assert_true(str_eq_c(buf_str(&text), v->ssh));
    buf_clear(&text);
    engine_self_caps(p, v->self, &text);
    if (buf_len(&text) > 2)
        assert_non_null(strstr(v->self_caps, buf_cstr(&text) + 1));
    else
        assert_string_equal(v->self_caps, "{\"base\":[]}");
    w->filters_empty += strcmp(v->filter, "[]") == 0;
    w->ssh_told += strcmp(v->ssh, "{\"rules\":[]}") != 0;
    buf_fini(&text);
}

/* With everything committed and published, each view is what the state says node by node. */
static void compare_with_reference(struct world *w)
{
    seal(w);
    while (w->in_flight_n > 0)
        commit_one(w);
    publish(w);
    /* Made anew, of all users and nodes as they are. */
    const struct engine *at_work = state_policy(w->st);
    struct engine *p = NULL;
    if (at_work != NULL)
        p = state_policy_try(w->st, (struct policy_doc *)engine_doc(at_work));
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        const struct view *v = w->views[i];
        if (v == NULL || v->is_gone)
            continue;
        for (node_id id = 1; id < IDS_MAX; id++) {
            const struct node *n = id != v->self ? node_as_peer(state_node(w->st, id)) : NULL;
            struct peer_view want = {0};
            if (n != NULL && (p == NULL || engine_sees(p, v->self, id)))
                reference_peer(p, v->self, n, &want);
            assert_same_peer(v->self, id, &v->peers[id], &want);
            w->pairs_hidden += n != NULL && !want.is_there;
            w->routes_shown += want.primary[0] != '\0';
        }
        compare_access(w, p, v);
    }
    engine_destroy(&p);
}

static void run_world(uint64_t seed, unsigned events, bool has_policies)
{
    struct world *w = mem_zalloc(1, sizeof(*w));
    world_init_with(w, seed, seed % 2 == 0 ? 3000 : 0);
    if (has_policies)
        add_policies(w);
    for (unsigned i = 0; i < events; i++) {
        random_event(w);
        if (has_policies && below(w, 30) == 0)
            event_policy(w);
        if (has_policies && below(w, 40) == 0)
            event_user(w);
        if (below(w, 60) == 0)
            event_dns(w);
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
        if (i % 400 == 399 || (has_policies && i % 50 == 49))
            compare_with_reference(w);
    }
    compare_with_reference(w);
    assert_true(w->deltas > events / 20);
    assert_true(w->publications > events / 20);
    if (has_policies)
        assert_true(w->policies > 20 && w->pairs_hidden > 500 && w->routes_shown > 10 && w->filters_empty > 0 &&
                    w->ssh_told > 0 && w->users_hidden > 0);
    assert_true(w->routes_seen > 0);
    world_fini(w);
    mem_free(w);
}

static void test_deltas_equal_full_maps(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_world(seed * 7919, 4000, false);
}

static void test_policies_are_told_live(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_world(seed * 104729, 4000, true);
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

static void put_policy(struct world *w, const char *text)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (policy_parse(str_c(text), NULL, &doc, &errors) != RC_OK)
        fail_msg("%s in %s", errors.v[0].text, text);
    policy_errors_fini(&errors);
    state_set_policy(w->st, doc, w->now_ms);
}

/* 100 nodes of anna and 20 with tag:a, whom only she sees. */
static struct world *ruled_world(void)
{
    static const struct str tag = STR("tag:a");
    struct world *w = small_world(100);
    make_key(w, 1, &tag, 1, false, w->reusable);
    for (unsigned i = 100; i < 120; i++) {
        struct machine *m = &w->machines[i];
        struct registration reg = {.machine = m->machine, .auth_key = str_c(w->reusable)};
        struct register_result result;
        random_bytes(w, &reg.key, sizeof(reg.key));
        random_bytes(w, reg.random, sizeof(reg.random));
        reg.report.hostname = STR("server");
        state_register(w->st, &reg, w->now_ms, &result);
        assert_int_equal(result.outcome, REGISTER_OK);
        m->key = reg.key;
        m->id = result.node->id;
    }
    seal(w);
    while (w->in_flight_n > 0)
        commit_one(w);
    put_policy(w, "{\"tagOwners\":{\"tag:a\":[]},\"acls\":[{\"action\":\"accept\",\"src\":[\"anna@\"],"
                  "\"dst\":[\"tag:a:*\"]}]}");
    publish(w);
    return w;
}

/* Few nodes that mean something, scattered over a change of all, are told in one message. */
static void test_few_of_many_items_are_one_message(void **state)
{
    (void)state;
    static const struct str tag = STR("tag:b");
    struct world *w = ruled_world();
    struct netmap_pieces told = {0};
    const struct node *n;
    size_t messages = 0, peers = 0;
    put_policy(w, "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[]},\"acls\":[]}");
    publish(w);
    for (node_id id = 8; id <= 96; id += 8)
        assert_int_equal(state_node_set_tags(w->st, id, &tag, 1, &n, NULL), RC_OK);
    put_policy(w, "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[]},\"grants\":[{\"src\":[\"tag:a\"],"
                  "\"dst\":[\"tag:b\"],\"ip\":[\"*\"]}]}");
    seal(w);
    commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&ctx, c, 101, NETMAP_PLAIN, &told);
    for (size_t i = 0; i < told.n; i++) {
        struct str rest = str_n(told.items[i]->data, told.items[i]->len);
        messages += memmem(rest.p, rest.len, "\"PeersChanged\"", 14) != NULL;
        for (const char *at; (at = memmem(rest.p, rest.len, "\"StableID\"", 10)) != NULL; peers++)
            rest = str_n(at + 1, rest.len - (size_t)(at + 1 - rest.p));
    }
    assert_int_equal(messages, 1);
    assert_int_equal(peers, 12);
    change_unref(&c);
    netmap_pieces_fini(&told);
    world_drop(w);
}

/* Under a policy: looked at for each of the two kinds of viewers, encoded for the one that is told. */
static void test_audiences_share_what_they_are_told(void **state)
{
    (void)state;
    struct world *w = ruled_world();
    struct node_report r = {.home_derp = 999};
    struct netmap_pieces pieces = {0};
    const struct node *n;
    assert_int_equal(state_node_report(w->st, &w->machines[107].key, &w->machines[107].machine, &r, &n), RC_OK);
    struct change *c = state_publish(w->st, w->now_ms);
    assert_ptr_equal(c->before->access, c->after->access); /* nothing that the policy cares about */
    int64_t shares = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
    int64_t own = metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"");
    int64_t audiences = metric_read("fullscale_netmap_audiences_total", "");
    for (unsigned i = 0; i < 120; i++)
        netmap_delta(&ctx, c, w->machines[i].id, NETMAP_ZSTD, &pieces);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"") - shares, 1);
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_private\"") - own, 0);
    assert_int_equal(metric_read("fullscale_netmap_audiences_total", "") - audiences, 2);
    assert_int_equal(pieces.n, 100);
    for (size_t i = 1; i < pieces.n; i++)
        assert_ptr_equal(pieces.items[i], pieces.items[0]);
    netmap_pieces_fini(&pieces);
    change_unref(&c);
    world_drop(w);
}

/* A policy that says the same in other words tells nobody anything. */
static void test_the_same_policy_says_nothing(void **state)
{
    (void)state;
    struct world *w = ruled_world();
    struct netmap_pieces pieces = {0};
    put_policy(w, "{\"tagOwners\":{\"tag:a\":[]},\"groups\":{\"group:g\":[\"anna@\"]},\"grants\":[{\"src\":"
                  "[\"group:g\"],\"dst\":[\"tag:a\"],\"ip\":[\"*\"]}]}");
    struct change *c = state_publish(w->st, w->now_ms);
    assert_non_null(c);
    for (unsigned i = 0; i < 120; i++)
        netmap_delta(&ctx, c, w->machines[i].id, NETMAP_ZSTD, &pieces);
    assert_int_equal(pieces.n, 0);
    change_unref(&c);
    world_drop(w);
}

static bool names(const struct netmap_pieces *p, const char *text)
{
    for (size_t i = 0; i < p->n; i++) {
        if (memmem(p->items[i]->data, p->items[i]->len, text, strlen(text)) != NULL)
            return true;
    }
    return false;
}

/* Full maps under a policy: the groups that a kind of viewers sees are encoded once. */
static void test_parts_of_groups_are_encoded_once(void **state)
{
    (void)state;
    struct world *w = ruled_world();
    struct netmap_pieces pieces = {0};
    int64_t parts = metric_read("fullscale_netmap_encoded_total", "what=\"group_part\"");
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_ZSTD, true, &pieces),
                         RC_OK);
    /* tag:a is 101 to 120, in the group of 64 to 127. */
    assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"group_part\"") - parts, 1);
    netmap_pieces_clear(&pieces);
    assert_true(netmap_has_peers(&ctx, state_snapshot(w->st), 1));
    put_policy(w, "{\"grants\":[]}");
    publish(w);
    assert_false(netmap_has_peers(&ctx, state_snapshot(w->st), 1));
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &pieces), RC_OK);
    assert_false(names(&pieces, "\"Peers\""));
    assert_true(names(&pieces, "\"PacketFilters\":{\"base\":[]}"));
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

/* --- several workers tell of the same change --- */

struct teller {
    pthread_t thread;
    struct world *w;
    struct change *c;
    unsigned first;
    uint64_t sum; /* of all bytes */
};

static void *tell_all(void *arg)
{
    struct teller *t = arg;
    struct netmap_ctx own = {0};
    struct netmap_pieces pieces = {0};
    for (unsigned i = 0; i < 120; i++) {
        node_id id = t->w->machines[(i + t->first) % 120].id;
        netmap_delta(&own, t->c, id, NETMAP_PLAIN, &pieces);
        assert_int_equal(netmap_full(&own, t->c->after, id, NETMAP_PLAIN, true, &pieces), RC_OK);
        for (size_t k = 0; k < pieces.n; k++)
            t->sum += pieces.items[k]->len * (1 + (uint64_t)pieces.items[k]->data[pieces.items[k]->len / 2]);
        netmap_pieces_clear(&pieces);
    }
    netmap_pieces_fini(&pieces);
    netmap_ctx_fini(&own);
    return NULL;
}

static void test_workers_share_a_change(void **state)
{
    (void)state;
    struct world *w = ruled_world();
    struct teller tellers[4] = {0};
    put_policy(w, "{\"tagOwners\":{\"tag:a\":[]},\"grants\":[{\"src\":[\"tag:a\"],\"dst\":[\"tag:a\"],\"ip\":[\"22\"]},"
                  "{\"src\":[\"anna@\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]}]}");
    struct change *c = state_publish(w->st, w->now_ms);
    for (unsigned i = 0; i < ARRAY_LEN(tellers); i++) {
        tellers[i] = (struct teller){.w = w, .c = c, .first = i * 7};
        assert_int_equal(pthread_create(&tellers[i].thread, NULL, tell_all, &tellers[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(tellers); i++)
        assert_int_equal(pthread_join(tellers[i].thread, NULL), 0);
    for (unsigned i = 1; i < ARRAY_LEN(tellers); i++)
        assert_true(tellers[i].sum == tellers[0].sum);
    change_unref(&c);
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
    static const char *const needed[] = {"Node",          "DERPMap",         "Peers",     "UserProfiles",
                                         "PacketFilters", "SSHPolicy",       "DNSConfig", "Domain",
                                         "ControlTime",   "CollectServices", "Debug"};
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

/* A client that was downgraded may poll before its new version is published. */
static void test_another_version_gets_its_derp_map(void **state)
{
    (void)state;
    for (unsigned has_policy = 0; has_policy < 2; has_policy++) {
        struct world *w = small_world(2);
        struct tailnet_settings *t = make_settings();
        struct netmap_pieces pieces = {0};
        const struct node *n;
        rcbuf_unref(&t->derp_map_json);
        t->derp_map_json = rcbuf_create("\"pin\"", 5);
        t->derp_map_unpinned_json = rcbuf_create("\"any\"", 5);
        state_set_settings(w->st, t);
        if (has_policy == 1)
            put_policy(w, "{\"grants\":[]}");
        publish(w);
        for (uint32_t version = 113; version <= 116; version++) {
            struct node_report r = {.cap_version = version};
            const char *want = version == 113   ? "{\"DERPMap\":\"any\"}"
                               : version == 115 ? "{\"DERPMap\":\"pin\"}"
                                                : NULL;
            assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &r, &n), RC_OK);
            struct change *c = state_publish(w->st, w->now_ms);
            netmap_delta(&ctx, c, w->machines[0].id, NETMAP_PLAIN, &pieces);
            assert_int_equal(pieces.n, want != NULL);
            if (want != NULL)
                assert_true(str_eq_c(str_n(pieces.items[0]->data + 4, pieces.items[0]->len - 4), want));
            netmap_pieces_clear(&pieces);
            change_unref(&c);
        }
        netmap_pieces_fini(&pieces);
        world_drop(w);
    }
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
    for (unsigned round = 0; round < 4; round++) {
        /* Pinned and not; only the pin differs; as it was; all get the same. */
        static const char *const pinned[] = {"[\"pin0\"]", "[\"pin1\"]", "[\"pin1\"]", "[\"pin1\"]"};
        struct tailnet_settings *t = tailnet_settings_edit(state_settings(w->st));
        rcbuf_unref(&t->derp_map_json);
        rcbuf_unref(&t->derp_map_unpinned_json);
        t->derp_map_json = rcbuf_create(pinned[round], 8);
        t->derp_map_unpinned_json = round < 3 ? rcbuf_create("[\"any\"]", 7) : NULL;
        state_set_settings(w->st, t);
        struct change *c = state_publish(w->st, w->now_ms);
        int64_t shared = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
        for (unsigned i = 0; i < 8; i++) {
            const char *want = i < 4 ? (round == 0   ? "{\"DERPMap\":[\"any\"]}"
                                        : round == 3 ? "{\"DERPMap\":[\"pin1\"]}"
                                                     : NULL)
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

/* What node `id` is told of what has happened since the last publication, the disk included. */
static void tell(struct world *w, node_id id, struct netmap_pieces *told)
{
    netmap_pieces_clear(told);
    seal(w);
    while (w->in_flight_n > 0)
        commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    assert_non_null(c);
    netmap_delta(&ctx, c, id, NETMAP_PLAIN, told);
    change_unref(&c);
}

static struct rcbuf *hostinfo_of(const char *os)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"OS\":\"%s\"}", os);
    return rcbuf_create(text, (size_t)n);
}

/* What a full map says of the resolvers; borrowed until the next call. */
static const char *resolver_of(struct world *w, node_id id)
{
    static char text[800];
    struct netmap_pieces pieces = {0};
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), id, NETMAP_PLAIN, false, &pieces), RC_OK);
    struct str head = str_n(pieces.items[0]->data, pieces.items[0]->len);
    const char *at = memmem(head.p, head.len, "\"Addr\":\"", 8);
    assert_non_null(at);
    size_t n = (size_t)(head.p + head.len - at);
    at += 8;
    const char *end = memchr(at, '"', n - 8);
    snprintf(text, sizeof(text), "%.*s", (int)(end - at), at);
    netmap_pieces_fini(&pieces);
    return text;
}

/* nextdns:PROFILE is the node's own resolver, which is told who asks unless the policy says not to; live. */
static void test_nextdns_is_each_nodes_own(void **state)
{
    (void)state;
    struct world *w = ruled_world();
    struct netmap_pieces told = {0};
    node_id anna = w->machines[0].id, server = w->machines[100].id;
    struct node_report report = {.hostname = STR("my box"), .hostinfo = hostinfo_of("linux&x=\\\"")};
    const struct node *n;
    set_dns(w, "https://dns.nextdns.io/abc123");
    tell(w, server, &told);
    assert_true(names(&told, "https://dns.nextdns.io/abc123?device_ip=100."));
    assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &report, &n), RC_OK);
    rcbuf_unref(&report.hostinfo);
    char want[200], ip[ADDR_TEXT_CAP];
    addr_format(&n->v4, false, ip);
    snprintf(want, sizeof(want),
             "https://dns.nextdns.io/abc123?device_ip=%s&device_model=linux%%26x%%3D%%22&device_name=my%%20box", ip);
    tell(w, anna, &told);
    assert_true(names(&told, want));
    assert_string_equal(resolver_of(w, anna), want);

#define KIDS(attrs)                                                                                                    \
    "{\"tagOwners\":{\"tag:a\":[]},\"acls\":[{\"action\":\"accept\",\"src\":[\"anna@\"],\"dst\":[\"tag:a:*\"]}],"      \
    "\"nodeAttrs\":[{\"target\":[\"tag:a\"],\"attr\":[" attrs "]}]}"
    put_policy(w, KIDS("\"nextdns:fedcba\",\"nextdns:no-device-info\""));
    tell(w, server, &told);
    assert_true(names(&told, "\"Addr\":\"https://dns.nextdns.io/fedcba\""));
    assert_true(names(&told, "\"nextdns:fedcba\":null"));
    assert_string_equal(resolver_of(w, server), "https://dns.nextdns.io/fedcba");
    assert_string_equal(resolver_of(w, anna), want);
    put_policy(w, KIDS("\"nextdns:a/b?c\""));
    tell(w, anna, &told);
    assert_false(names(&told, "DNSConfig"));
    assert_non_null(strstr(resolver_of(w, server), "https://dns.nextdns.io/a%2Fb%3Fc?device_ip="));
    /* Without a resolver of NextDNS there is none to choose a profile of. */
    set_dns(w, NULL);
    tell(w, server, &told);
    assert_true(names(&told, "\"DNSConfig\":{\"Proxied\":true}"));
    netmap_pieces_fini(&told);
    world_drop(w);
}

static void test_alone_has_no_peers_key(void **state)
{
    (void)state;
    struct world *w = small_world(1);
    struct netmap_pieces pieces = {0};
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &pieces), RC_OK);
    assert_false(names(&pieces, "\"Peers\""));
    netmap_pieces_fini(&pieces);
    world_drop(w);
}

/* A machine that nobody knows registers. */
static node_id join_as(struct world *w, const char *key, const char *name, struct machine *m)
{
    struct registration reg = {.auth_key = str_c(key), .report.hostname = str_c(name)};
    struct register_result result;
    random_bytes(w, &reg.machine, sizeof(reg.machine));
    random_bytes(w, &reg.key, sizeof(reg.key));
    random_bytes(w, reg.random, sizeof(reg.random));
    state_register(w->st, &reg, w->now_ms, &result);
    assert_int_equal(result.outcome, REGISTER_OK);
    m->machine = reg.machine;
    m->key = reg.key;
    return result.node->id;
}

/* Registers one more and gives what the first node is told of it. */
static node_id newcomer_joins(struct world *w, const char *name, struct netmap_pieces *told)
{
    node_id id = join_as(w, w->reusable, name, &w->machines[1]);
    seal(w);
    commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&ctx, c, 1, NETMAP_PLAIN, told);
    change_unref(&c);
    return id;
}

/* Others hear of it once it has said where it can be reached, all at once; it hears of them from the start. */
static void test_newcomers_are_announced_when_they_can_be_reached(void **state)
{
    (void)state;
    struct world *w = mem_zalloc(1, sizeof(*w));
    struct netmap_pieces told = {0};
    struct node_report report = {.home_derp = 7};
    const struct node *n;
    world_init_with(w, 3, 2000);
    newcomer_joins(w, "first", &told);
    netmap_pieces_clear(&told);
    w->now_ms += 2000;
    state_tick(w->st, w->now_ms);
    node_id id = newcomer_joins(w, "second", &told);
    assert_int_equal(told.n, 0);
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &told), RC_OK);
    assert_false(names(&told, "second."));
    assert_false(netmap_has_peers(&ctx, state_snapshot(w->st), 1));
    netmap_pieces_clear(&told);
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), id, NETMAP_PLAIN, true, &told), RC_OK);
    assert_true(names(&told, "first.") && names(&told, "second."));
    assert_true(netmap_has_peers(&ctx, state_snapshot(w->st), id));
    netmap_pieces_clear(&told);
    assert_int_equal(state_node_report(w->st, &w->machines[1].key, &w->machines[1].machine, &report, &n), RC_OK);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&ctx, c, 1, NETMAP_PLAIN, &told);
    assert_int_equal(told.n, 1);
    assert_true(names(&told, "PeersChanged\":[") && names(&told, "second.") && names(&told, "\"HomeDERP\":7"));
    change_unref(&c);
    netmap_pieces_fini(&told);
    world_drop(w);
}

/* One that never says so is announced all the same; one that is deleted before is never heard of. */
static void test_newcomers_do_not_stay_hidden(void **state)
{
    (void)state;
    struct world *w = mem_zalloc(1, sizeof(*w));
    struct netmap_pieces told = {0};
    world_init_with(w, 4, 2000);
    newcomer_joins(w, "first", &told);
    netmap_pieces_clear(&told);
    newcomer_joins(w, "silent", &told);
    node_id ghost = newcomer_joins(w, "ghost", &told);
    assert_int_equal(told.n, 0);
    assert_int_equal(state_node_delete(w->st, ghost, NULL), RC_OK);
    w->now_ms += 1999;
    state_tick(w->st, w->now_ms);
    assert_int_equal(state_next_tick_ms(w->st), w->now_ms + 1);
    w->now_ms += 1;
    state_tick(w->st, w->now_ms);
    seal(w);
    commit_one(w);
    struct change *c = state_publish(w->st, w->now_ms);
    netmap_delta(&ctx, c, 1, NETMAP_PLAIN, &told);
    assert_true(names(&told, "silent."));
    assert_false(names(&told, "ghost.") || names(&told, "PeersRemoved"));
    change_unref(&c);
    netmap_pieces_fini(&told);
    world_drop(w);
}

/* --- profiles of users under a policy --- */

/* What node 1 is told when the user gets another role, of which no profile speaks. */
static void tell_role(struct world *w, user_id id, struct netmap_pieces *told)
{
    const struct user *u;
    assert_int_equal(state_user_set_role(w->st, id, USER_AUDITOR, &u, NULL), RC_OK);
    tell(w, 1, told);
}

/* A node hears of those users whose nodes it sees, and of what they are called now; without a policy of all. */
static void test_profiles_go_with_nodes(void **state)
{
    (void)state;
    struct world *w = small_world(2);
    struct netmap_pieces told = {0};
    static const char *const user_names[] = {"berta", "clara"};
    static const char own[] =
        "{\"grants\":[{\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]}]}";
    const struct user *u[2];
    const struct node *n;
    for (int i = 0; i < 2; i++) {
        struct user_spec spec = {.name = str_c(user_names[i])};
        assert_int_equal(state_user_create(w->st, &spec, w->now_ms, &u[i], NULL), RC_OK);
    }
    make_key(w, u[0]->id, NULL, 0, false, w->others[0]);
    node_id bertas = join_as(w, w->others[0], "other", &w->machines[2]);
    put_policy(w, own);
    tell(w, 1, &told);
    assert_false(names(&told, "berta") || names(&told, "clara"));
    netmap_pieces_clear(&told);
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), 1, NETMAP_PLAIN, true, &told), RC_OK);
    assert_true(names(&told, "anna") && names(&told, "tagged-devices"));
    assert_false(names(&told, "berta") || names(&told, "clara"));
    /* Another name: her own nodes are told, others not. */
    assert_int_equal(state_user_rename(w->st, u[0]->id, STR("bertha"), &u[0], NULL), RC_OK);
    tell(w, bertas, &told);
    assert_true(names(&told, "\"UserProfiles\":[{") && names(&told, "bertha"));
    assert_int_equal(state_user_rename(w->st, u[0]->id, STR("bertrand"), &u[0], NULL), RC_OK);
    tell(w, 1, &told);
    assert_false(names(&told, "bertrand"));
    /* Whoever comes to see her nodes is told; the next name as well. */
    put_policy(w, "{\"grants\":[{\"src\":[\"*\"],\"dst\":[\"*\"],\"ip\":[\"*\"]}]}");
    tell(w, 1, &told);
    assert_true(names(&told, "bertrand"));
    assert_false(names(&told, "clara"));
    assert_int_equal(state_user_rename(w->st, u[0]->id, STR("bertold"), &u[0], NULL), RC_OK);
    tell(w, 1, &told);
    assert_true(names(&told, "bertold"));
    assert_false(names(&told, "PeersChanged")); /* the profile, and no node */
    tell_role(w, u[0]->id, &told);
    assert_int_equal(told.n, 0);
    /* Who has no nodes is told to nobody, until there is no policy. */
    state_set_policy(w->st, NULL, w->now_ms);
    tell(w, 1, &told);
    assert_true(names(&told, "clara"));
    /* A node with tags belongs to nobody. */
    const struct str tag = STR("tag:x");
    put_policy(w, "{\"tagOwners\":{\"tag:x\":[]},\"grants\":[]}");
    assert_int_equal(state_node_set_tags(w->st, bertas, &tag, 1, &n, NULL), RC_OK);
    tell(w, bertas, &told);
    netmap_pieces_clear(&told);
    assert_int_equal(netmap_full(&ctx, state_snapshot(w->st), bertas, NETMAP_PLAIN, true, &told), RC_OK);
    assert_false(names(&told, "bertold"));
    netmap_pieces_fini(&told);
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
        cmocka_unit_test(test_policies_are_told_live),
        cmocka_unit_test(test_a_change_is_encoded_once),
        cmocka_unit_test(test_groups_are_encoded_once),
        cmocka_unit_test(test_audiences_share_what_they_are_told),
        cmocka_unit_test(test_few_of_many_items_are_one_message),
        cmocka_unit_test(test_the_same_policy_says_nothing),
        cmocka_unit_test(test_parts_of_groups_are_encoded_once),
        cmocka_unit_test(test_workers_share_a_change),
        cmocka_unit_test(test_keep_alive_is_not_the_hazardous_one),
        cmocka_unit_test(test_first_map_has_what_a_client_needs),
        cmocka_unit_test(test_old_clients_get_no_pins),
        cmocka_unit_test(test_another_version_gets_its_derp_map),
        cmocka_unit_test(test_settings_change_says_no_more),
        cmocka_unit_test(test_nextdns_is_each_nodes_own),
        cmocka_unit_test(test_alone_has_no_peers_key),
        cmocka_unit_test(test_newcomers_are_announced_when_they_can_be_reached),
        cmocka_unit_test(test_newcomers_do_not_stay_hidden),
        cmocka_unit_test(test_profiles_go_with_nodes),
    };
    return cmocka_run_group_tests_name("netmap", tests, init_crypto, fini_ctx);
}
