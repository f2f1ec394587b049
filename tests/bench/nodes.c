/* Makes a database of many nodes, as it would be had they joined by themselves: for measuring how a server starts
 * with it. The nodes come from the parser of registrations and the model, so that every row is one that the server
 * would have written.
 *
 * usage: make_nodes DATABASE NODES
 *
 * Twenty users with a reusable key each, a fifth of the nodes tagged, one in fifty with a route that is approved. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "codec/json_write.h"
#include "crypto/crypto.h"
#include "proto/tailcfg.h"
#include "store/store.h"

enum { USERS = 20, NODES_MAX = 1000 * 1000, BATCH_NODES = 1000, HOME_REGION = 999, ENDPOINTS = 3 };

struct generator {
    struct state *state;
    struct store *store;
    int64_t now_ms;
    char keys[USERS][AUTH_KEY_TEXT_CAP];     /* of the user's own nodes */
    char tag_keys[USERS][AUTH_KEY_TEXT_CAP]; /* of tagged ones */
    uint64_t failures;                       /* written by the store's thread, read when it has ended */
};

static NORETURN void die(const char *what, const char *why)
{
    fprintf(stderr, "make_nodes: %s: %s\n", what, why);
    exit(1);
}

static void on_done(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc)
{
    struct generator *g = ctx;
    (void)tailnet;
    (void)seq;
    g->failures += rc != RC_OK;
}

static void commit(struct generator *g)
{
    state_settle(g->state, g->now_ms);
    struct row_batch *batch = state_take_batch(g->state);
    if (batch == NULL)
        return;
    uint64_t seq = batch->seq;
    batch->tailnet = 1;
    store_commit(g->store, batch);
    state_committed(g->state, seq);
    struct change *change = state_publish(g->state, g->now_ms);
    change_unref(&change);
}

/* --- users and keys --- */

static void make_key(struct generator *g, user_id user, const struct str *tag, char text[AUTH_KEY_TEXT_CAP])
{
    struct auth_key_spec spec = {
        .user = user, .is_reusable = true, .expires_ms = NO_EXPIRY, .tags = tag, .tag_n = tag != NULL};
    const struct auth_key *key;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    struct err err = {0};
    rng_bytes(random, sizeof(random));
    if (state_key_create(g->state, &spec, random, g->now_ms, &key, text, &err) != RC_OK)
        die("key", err.text);
}

static void make_users(struct generator *g)
{
    for (unsigned i = 0; i < USERS; i++) {
        char name[32], email[64], tag[32];
        const struct user *user;
        struct err err = {0};
        snprintf(name, sizeof(name), "user%u", i);
        snprintf(email, sizeof(email), "user%u@example.com", i);
        snprintf(tag, sizeof(tag), "tag:t%u", i);
        struct user_spec spec = {.name = str_c(name), .display_name = str_c(name), .email = str_c(email)};
        if (state_user_create(g->state, &spec, g->now_ms, &user, &err) != RC_OK)
            die("user", err.text);
        make_key(g, user->id, NULL, g->keys[i]);
        make_key(g, user->id, &(struct str){tag, strlen(tag)}, g->tag_keys[i]);
    }
}

/* --- nodes --- */

static void random_key(uint8_t out[KEY_BYTES])
{
    private_key key;
    uint8_t random[KEY_BYTES];
    rng_bytes(random, sizeof(random));
    private_key_from_bytes(random, &key);
    private_key_public(&key, out);
}

/* What a Linux client of 1.102 sends of itself. src: tests/vectors/captured_requests.json */
static void write_hostinfo(struct json_writer *w, unsigned i)
{
    uint8_t id[32];
    char name[64], id_text[65] = "";
    snprintf(name, sizeof(name), "machine-%05u", i);
    sha256(name, strlen(name), id);
    hex_encode(id, sizeof(id), id_text);
    json_w_object(w);
    json_w_kv_cstr(w, "IPNVersion", "1.102.5-tde9ec7ee2-g5afc9f4c1");
    json_w_kv_cstr(w, "BackendLogID", id_text);
    json_w_kv_cstr(w, "OS", "linux");
    json_w_kv_cstr(w, "OSVersion", "6.12.48-1-cloud-amd64");
    json_w_kv_bool(w, "Container", false);
    json_w_kv_cstr(w, "Distro", "debian");
    json_w_kv_cstr(w, "DistroVersion", "13.1");
    json_w_kv_cstr(w, "DistroCodeName", "trixie");
    json_w_kv_bool(w, "Desktop", false);
    json_w_kv_cstr(w, "Hostname", name);
    json_w_kv_cstr(w, "Machine", "x86_64");
    json_w_kv_cstr(w, "GoArch", "amd64");
    json_w_kv_cstr(w, "GoArchVar", "v1");
    json_w_kv_cstr(w, "GoVersion", "go1.26.8");
    json_w_key(w, "Services");
    json_w_raw(w, STR("[{\"Proto\":\"peerapi4\",\"Port\":40001},{\"Proto\":\"peerapi6\",\"Port\":40001}]"));
    if (i % 50 == 0) {
        char route[32];
        snprintf(route, sizeof(route), "10.%u.%u.0/24", i / 50 / 256 % 256, i / 50 % 256);
        json_w_key(w, "RoutableIPs");
        json_w_array(w);
        json_w_cstr(w, route);
        json_w_end_array(w);
    }
    json_w_key(w, "NetInfo");
    json_w_raw(w, STR("{\"WorkingUDP\":true,\"PreferredDERP\":999,\"DERPLatency\":{\"999-v4\":0.0123}}"));
    json_w_end_object(w);
}

/* As it comes over the wire. */
static void write_request(struct buf *out, unsigned i, const char *auth_key)
{
    struct json_writer w;
    node_key key;
    nl_key nl;
    char text[KEY_TEXT_CAP];
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_key(&w, "Version");
    json_w_u64(&w, 131);
    random_key(key.b);
    node_key_format(&key, text);
    json_w_kv_cstr(&w, "NodeKey", text);
    random_key(nl.b);
    nl_key_format(&nl, text);
    json_w_kv_cstr(&w, "NLKey", text);
    json_w_key(&w, "Auth");
    json_w_object(&w);
    json_w_kv_cstr(&w, "AuthKey", auth_key);
    json_w_end_object(&w);
    json_w_key(&w, "Hostinfo");
    write_hostinfo(&w, i);
    json_w_end_object(&w);
}

static void drop_report(struct node_report *r)
{
    rcbuf_unref(&r->hostinfo);
    rcbuf_unref(&r->hostinfo_peers);
    prefix_list_unref(&r->routes);
}

/* What a client reports as soon as it has found it out. */
static void report_endpoints(struct generator *g, const node_key *key, const machine_key *machine, unsigned i)
{
    disco_key disco;
    const struct node *node;
    const struct addr endpoints[ENDPOINTS] = {
        {.family = 4, .port = 41641, .ip = {192, 168, (uint8_t)(i >> 8), (uint8_t)i}},
        {.family = 4, .port = (uint16_t)(1024 + i % 60000), .ip = {203, 0, 113, (uint8_t)i}},
        {.family = 6, .port = 41641, .ip = {0x20, 1, 0xd, 0xb8, (uint8_t)(i >> 8), (uint8_t)i, [15] = 1}},
    };
    random_key(disco.b);
    struct node_report report = {
        .disco = &disco, .endpoints = endpoints, .endpoints_n = ENDPOINTS, .home_derp = HOME_REGION};
    if (state_node_report(g->state, key, machine, &report, &node) != RC_OK)
        die("node", "its report is refused");
}

static void approve_routes(struct generator *g, const struct node *node)
{
    struct err err = {0};
    if (node->advertised != NULL &&
        state_node_approve_routes(g->state, node->id, node->advertised->v, node->advertised->n, &node, &err) != RC_OK)
        die("routes", err.text);
}

static void make_node(struct generator *g, unsigned i)
{
    struct arena arena = {0};
    struct buf body = {0};
    struct register_request req;
    struct register_result result;
    struct registration reg = {0};
    struct err err = {0};
    write_request(&body, i, i % 5 == 0 ? g->tag_keys[i % USERS] : g->keys[i % USERS]);
    if (tailcfg_register_request_parse(&arena, buf_str(&body), &req, &err) != RC_OK)
        die("request", err.text);
    random_key(reg.machine.b);
    rng_bytes(reg.random, sizeof(reg.random));
    reg.key = req.key;
    reg.nl = req.nl;
    reg.auth_key = req.auth_key;
    reg.report = (struct node_report){.cap_version = (uint32_t)req.version,
                                      .home_derp = req.hostinfo.preferred_derp,
                                      .hostname = req.hostinfo.hostname,
                                      .hostinfo = hostinfo_for_store(&req.hostinfo, NULL),
                                      .hostinfo_peers = hostinfo_for_peers(&req.hostinfo),
                                      .routes = prefix_list_create(req.hostinfo.routes, req.hostinfo.routes_n)};
    state_register(g->state, &reg, g->now_ms, &result);
    drop_report(&reg.report);
    if (result.outcome != REGISTER_OK)
        die("registration", result.err.text);
    approve_routes(g, result.node);
    report_endpoints(g, &reg.key, &reg.machine, i);
    buf_fini(&body);
    arena_fini(&arena);
}

/* --- the database --- */

static void open_database(struct generator *g, const char *path)
{
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}},
                                    .v4_bits = 10,
                                    .v6_prefix = {.family = 6, .ip = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0}},
                                    .v6_bits = 48};
    struct store_options store = {.sqlite_path = path, .wal_autocheckpoint_pages = 1000};
    struct tailnet_settings *settings = tailnet_settings_create();
    settings->derp_map_json = rcbuf_create("{}", 2);
    settings->dns_config_json = rcbuf_create("{}", 2);
    settings->self_caps_json = rcbuf_create("{}", 2);
    rng_bytes(options.seed, sizeof(options.seed));
    g->state = state_create(&options, settings);
    if (store_open_sqlite(&store, &g->store, &err) != RC_OK ||
        store_load(g->store, 1, g->state, g->now_ms, &err) != RC_OK)
        die(path, err.text);
    store_start(g->store, on_done, g);
}

int main(int argc, char **argv)
{
    struct generator g = {.now_ms = clock_wall_ms()};
    uint64_t n = 0;
    if (argc != 3 || str_to_u64(str_c(argv[2]), &n) != RC_OK || n > NODES_MAX)
        die("usage", "make_nodes DATABASE NODES");
    crypto_init();
    open_database(&g, argv[1]);
    make_users(&g);
    for (unsigned i = 0; i < n; i++) {
        make_node(&g, i);
        if (i % BATCH_NODES == 0)
            commit(&g);
    }
    commit(&g);
    while (state_flush_lazy(g.state, BATCH_NODES) > 0)
        commit(&g);
    store_close(&g.store);
    state_destroy(&g.state);
    if (g.failures > 0)
        die(argv[1], "not everything could be written");
    return 0;
}
