/* Wires control: routes to handlers, servers and timers to workers. */
#include "control/control_internal.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { OUTER_BODY_BYTES = 4096 }; /* before the handshake no request needs more */

/* --- routes --- */

/* Rows with any_host answer by whatever name the server is called: a relay has the name that its region's map gives it,
 * which may be another server's map, and nodes and relays elsewhere go on using the name that the server had when they
 * joined. What they get depends on keys, which a page in a browser does not have; the answers of the relay are no
 * secret. */
static const struct http_route outer_routes[] = {
    {HTTP_GET, "/key", control_handle_key, 0, .any_host = true},
    {HTTP_POST, "/ts2021", control_handle_ts2021_post, 0, .any_host = true},
    {HTTP_GET, "/ts2021", control_handle_ts2021_websocket, 0, .any_host = true},
    {HTTP_GET, "/health", control_handle_health, 0},
    {HTTP_GET, "/version", control_handle_version, 0},
    {HTTP_GET, "/robots.txt", control_handle_robots, 0},
    {HTTP_GET, "/derpmap/default", control_handle_derpmap, 0},
    {HTTP_POST, "/verify", control_handle_verify, 4096, .any_host = true},
    {HTTP_POST, "/verify/{key}", control_handle_verify_path, 4096, .any_host = true},
    {HTTP_POST, "/relay/announce", control_handle_announce, 4096, .any_host = true},
    {HTTP_GET, "/machine/ping/{id}", control_handle_ping, 0, .any_host = true},
    {HTTP_GET, "/", control_handle_home, 0},
};

/* The relay answers on this listener too, so that one port is enough where TLS ends at a proxy. */
static const struct http_route relay_routes[] = {
    {HTTP_GET, "/derp", relay_http_derp, 0, .any_host = true},
    {HTTP_GET, "/derp/probe", relay_http_probe, 0, .any_host = true},
    {HTTP_GET, "/derp/latency-check", relay_http_probe, 0, .any_host = true},
    {HTTP_GET, "/generate_204", relay_http_generate_204, 0, .any_host = true},
    {HTTP_GET, "/bootstrap-dns", relay_http_bootstrap_dns, 0, .any_host = true},
};

static const struct http_route inner_routes[] = {
    {HTTP_POST, "/machine/register", control_handle_register, 0},
    {HTTP_POST, "/machine/map", control_handle_map, 0},
    {HTTP_POST, "/machine/update-health", control_handle_node_request, NODE_BODY_MAX_BYTES,
     .arg = &control_answer_update_health},
    {HTTP_POST, "/machine/feature/query", control_handle_node_request, NODE_BODY_MAX_BYTES,
     .arg = &control_answer_feature_query},
    {HTTP_POST, "/machine/audit-log", control_handle_node_request, NODE_BODY_MAX_BYTES,
     .arg = &control_answer_audit_log},
    {HTTP_GET, "/machine/whoami", control_handle_whoami, 0},
    {HTTP_GET, "/machine/ssh/action/{src}/to/{dst}", control_handle_ssh_action, 0},
};

/* --- workers --- */

static void on_second(void *ctx)
{
    struct control_worker *w = ctx;
    sessions_tick(w, loop_now_ms(w->loop) / 1000);
    for (size_t i = 0; i < w->part_n; i++)
        relays_announcements_tick(&w->parts[i]);
}

static void part_init(struct tailnet_part *part, struct control_worker *w, struct tailnet *t)
{
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    part->worker = w;
    part->tailnet = t;
    part->snapshot = snapshot_ref(t->first);
    part->sent = snapshot_ref(t->first);
    list_init(&part->sessions);
    list_init(&part->waiting);
    list_init(&part->newer);
    viewer_groups_init(&part->viewer_groups, seed);
    relays_announcements_init(part);
}

static void part_fini(struct tailnet_part *part)
{
    viewer_groups_fini(&part->viewer_groups);
    for (size_t i = 0; i < part->unsent_n; i++)
        change_unref(&part->unsent[i]);
    mem_free(part->unsent);
    snapshot_unref(&part->sent);
    snapshot_unref(&part->snapshot);
}

static void make_parts(struct control_worker *w)
{
    struct tailnet *t;
    while (core_tailnet(w->control->core, (unsigned)w->part_n) != NULL)
        w->part_n++;
    w->parts = mem_zalloc(w->part_n, sizeof(*w->parts));
    for (unsigned i = 0; (t = core_tailnet(w->control->core, i)) != NULL; i++)
        part_init(&w->parts[i], w, t);
}

static struct control_worker *worker_create(struct control *c, unsigned index, struct loop *loop)
{
    struct control_worker *w = MEM_NEW(struct control_worker);
    w->control = c;
    w->index = index;
    w->loop = loop;
    make_parts(w);
    sessions_init(w);
    w->second_timer = loop_timer_create(w->loop, on_second, w);
    loop_timer_start(w->second_timer, 1000, 1000);
    w->outer = http_server_create(&(struct http_server_opts){
        .loop = loop,
        .routes = outer_routes,
        .routes_n = ARRAY_LEN(outer_routes),
        .app = w,
        .head_timeout_ms = c->options.handshake_timeout_ms,
        .max_body_bytes = OUTER_BODY_BYTES,
        .has_strangers = true,
        .is_proxy = c->options.is_trusted,
        .proxy_ctx = c->options.trusted_ctx,
        .hosts = c->options.hosts,
    });
    http_server_mount(w->outer, relay_routes, ARRAY_LEN(relay_routes), &c->relay_http);
    w->inner = http_server_create(&(struct http_server_opts){
        .loop = loop,
        .routes = inner_routes,
        .routes_n = ARRAY_LEN(inner_routes),
        .app = w,
        .unmatched = control_handle_inner_unmatched,
        .conn_gone = ts2021_conn_gone,
        .h2_idle_timeout_ms = c->options.idle_timeout_ms,
        .max_body_bytes = c->options.max_body_bytes,
        .has_strangers = true,
    });
    return w;
}

static void worker_destroy(struct control_worker *w)
{
    http_server_destroy(&w->outer);
    http_server_destroy(&w->inner);
    loop_timer_destroy(&w->second_timer);
    sessions_fini(w);
    netmap_pieces_fini(&w->pieces);
    netmap_ctx_fini(&w->netmap);
    for (size_t i = 0; i < w->part_n; i++)
        part_fini(&w->parts[i]);
    mem_free(w->parts);
    mem_free(w);
}

/* --- life --- */

static struct rcbuf *make_key_json(const machine_key *key)
{
    struct buf out = {0};
    char text[KEY_TEXT_CAP];
    machine_key zero = {{0}};
    machine_key_format(&zero, text);
    buf_printf(&out, "{\"legacyPublicKey\":\"%s\"", text);
    machine_key_format(key, text);
    buf_printf(&out, ",\"publicKey\":\"%s\"}", text);
    struct rcbuf *made = rcbuf_create(buf_at(&out), buf_len(&out));
    buf_fini(&out);
    return made;
}

static void tailnets_init(struct control *c)
{
    struct tailnet *t;
    uint8_t seed[16];
    for (unsigned i = 0; (t = core_tailnet(c->core, i)) != NULL; i++) {
        rng_bytes(seed, sizeof(seed));
        machines_init(&t->machines, seed, t->first);
        relays_news_init(&t->news, clock_wall_ms());
    }
}

static void tailnets_fini(struct control *c)
{
    struct tailnet *t;
    for (unsigned i = 0; (t = core_tailnet(c->core, i)) != NULL; i++) {
        machines_fini(&t->machines);
        relays_news_fini(&t->news);
        newest_polls_fini(&t->polls);
        control_forget_unsent(t);
        mem_free(t->unsent);
    }
}

struct control *control_create(const struct control_options *options, struct core *core, struct store *store,
                               struct relay *relay, struct loop *const *loops, unsigned loop_n)
{
    struct control *c = MEM_NEW(struct control);
    c->options = *options;
    c->core = core;
    c->store = store;
    c->relay_http = (struct relay_http){relay, options->names, options->names_n};
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    limiter_init(&c->limiter, seed);
    private_key_public(&options->noise_key, c->public_key.b);
    c->key_json = make_key_json(&c->public_key);
    rng_bytes(c->relay_seed, sizeof(c->relay_seed));
    tailnets_init(c);
    c->worker_n = loop_n;
    c->workers = mem_zalloc(loop_n, sizeof(*c->workers));
    for (unsigned i = 0; i < loop_n; i++)
        c->workers[i] = worker_create(c, i, loops[i]);
    pings_init(c);
    return c;
}

void control_destroy(struct control **at)
{
    struct control *c = *at;
    *at = NULL;
    if (c == NULL)
        return;
    pings_fini(c);
    for (unsigned i = 0; i < c->worker_n; i++)
        worker_destroy(c->workers[i]);
    limiter_fini(&c->limiter);
    tailnets_fini(c);
    mem_free(c->workers);
    rcbuf_unref(&c->key_json);
    explicit_bzero(&c->options.noise_key, sizeof(c->options.noise_key));
    explicit_bzero(c->options.own_mesh_key, sizeof(c->options.own_mesh_key));
    mem_free(c);
}

struct http_server *control_http(struct control *c, unsigned i)
{
    return c->workers[i]->outer;
}

void control_public_key(const struct control *c, machine_key *out)
{
    *out = c->public_key;
}
