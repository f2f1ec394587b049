#include "control/control_internal.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json_write.h"

LOG_MODULE("control");
METRIC_COUNTER(odd_hostinfos, "fullscale_control_odd_hostinfos_total", "",
               "Requests whose Hostinfo had members of the wrong kind or size, which were left out.");

enum { OUTER_BODY_BYTES = 4096 }; /* nobody has more to say before the handshake */

/* --- routes --- */

/* A relay has whatever name its region's map gives it, which may be another server's map: what it answers is nobody's secret. Nodes
 * and relays elsewhere go on calling the server by the name of the day on which they joined; what they are told depends on keys,
 * which a page in a browser has not. */
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

/* The relay answers on this listener too: one port less where TLS ends in front of us. */
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
    {HTTP_POST, "/machine/update-health", control_handle_update_health, NODE_BODY_MAX_BYTES},
    {HTTP_POST, "/machine/feature/query", control_handle_feature_query, NODE_BODY_MAX_BYTES},
    {HTTP_POST, "/machine/audit-log", control_handle_audit_log, NODE_BODY_MAX_BYTES},
    {HTTP_GET, "/machine/whoami", control_handle_whoami, 0},
    {HTTP_GET, "/machine/ssh/action/{src}/to/{dst}", control_handle_ssh_action, 0},
};

/* --- pending requests --- */

static void pending_closed(void *ctx)
{
    struct pending *p = ctx;
    p->ex = NULL;
}

/* Strangers behind a proxy that names no clients are told apart by their keys. */
static struct wait_who who_asks(const struct http_request *req)
{
    const struct ts2021_conn *conn = req->conn_ctx;
    if (conn->is_known)
        return wait_who_key(WAIT_NODE, conn->machine.b, sizeof(conn->machine.b));
    if (conn->from.family != 0)
        return wait_who_address(&conn->from);
    return wait_who_key(WAIT_STRANGER, conn->machine.b, sizeof(conn->machine.b));
}

struct pending *pending_create(struct control_worker *w, struct http_exchange *ex, size_t size)
{
    static const struct http_events events = {.closed = pending_closed};
    const struct http_request *req = http_request(ex);
    struct pending *p = mem_zalloc(1, size);
    p->ex = ex;
    p->worker = w;
    p->job.home = w->loop;
    p->machine = ((const struct ts2021_conn *)req->conn_ctx)->machine;
    p->who = who_asks(req);
    http_set_events(ex, &events, p);
    return p;
}

static size_t report_bytes(const struct node_report *r)
{
    size_t n = 0;
    if (r->hostinfo != NULL)
        n += r->hostinfo->len;
    if (r->hostinfo_peers != NULL)
        n += r->hostinfo_peers->len;
    if (r->routes != NULL)
        n += r->routes->n * sizeof(r->routes->v[0]);
    return n;
}

bool pending_post(struct pending *p, size_t size, const struct node_report *report)
{
    size_t bytes = size + p->arena.held_bytes + (report != NULL ? report_bytes(report) : 0);
    return core_offer(p->worker->control->core, &p->job, &p->who, bytes);
}

void control_respond_busy(struct http_exchange *ex)
{
    http_set_header(ex, "Retry-After", STR(CORE_BUSY_RETRY_AFTER));
    http_respond_text(ex, 503, CORE_BUSY_TEXT);
}

void pending_free(struct pending *p)
{
    arena_fini(&p->arena);
    mem_free(p);
}

void control_report_fill(struct node_report *out, struct arena *a, int64_t version, const struct hostinfo *h)
{
    out->cap_version = version > 0 && version < INT32_MAX ? (uint32_t)version : 0;
    out->home_derp = h->preferred_derp;
    out->hostname = arena_str(a, h->hostname);
    const char *bad;
    out->hostinfo = hostinfo_for_store(h, &bad);
    if (bad != NULL) {
        metric_inc(&odd_hostinfos);
        log_limited(LOG_WARN, "a node's Hostinfo has a member of the wrong kind or size, which was left out",
                    LOG_STR("host", h->hostname), LOG_S("member", bad));
    }
    out->hostinfo_peers = hostinfo_for_peers(h);
    out->routes = prefix_list_create(h->routes, h->routes_n);
}

void control_report_fini(struct node_report *r)
{
    rcbuf_unref(&r->hostinfo);
    rcbuf_unref(&r->hostinfo_peers);
    prefix_list_unref(&r->routes);
}

/* --- workers --- */

static struct control_worker *worker_create(struct control *c, unsigned index, struct loop *loop)
{
    struct control_worker *w = MEM_NEW(struct control_worker);
    w->control = c;
    w->index = index;
    w->loop = loop;
    w->snapshot = snapshot_ref(core_first_snapshot(c->core));
    sessions_init(w);
    announcements_init(w);
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
    sessions_fini(w);
    netmap_pieces_fini(&w->pieces);
    netmap_ctx_fini(&w->netmap);
    snapshot_unref(&w->snapshot);
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

struct control *control_create(const struct control_options *options, struct core *core, struct store *store,
                               struct relay *relay, struct loop *const *loops, unsigned loop_n)
{
    struct control *c = MEM_NEW(struct control);
    c->options = *options;
    c->server_url = mem_strdup(options->server_url);
    c->core = core;
    c->store = store;
    c->relay_http = (struct relay_http){relay, options->names, options->names_n};
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    limiter_init(&c->limiter, seed);
    rng_bytes(seed, sizeof(seed));
    machines_init(&c->machines, seed, core_first_snapshot(core));
    private_key_public(&options->noise_key, c->public_key.b);
    c->key_json = make_key_json(&c->public_key);
    relay_desk_init(&c->desk, clock_wall_ms());
    rng_bytes(c->relay_seed, sizeof(c->relay_seed));
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
    machines_fini(&c->machines);
    mem_free(c->workers);
    mem_free(c->polls.places);
    mem_free(c->server_url);
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

/* --- messages to workers --- */

struct change_msg {
    struct loop_msg msg;
    struct control_worker *worker;
    struct change *change; /* reference; null: drain */
};

static void on_change(struct loop *loop, struct loop_msg *msg)
{
    struct change_msg *m = CONTAINER_OF(msg, struct change_msg, msg);
    (void)loop;
    if (m->change != NULL) {
        sessions_apply(m->worker, m->change);
    } else {
        http_server_drain(m->worker->outer);
        http_server_drain(m->worker->inner);
    }
    change_unref(&m->change);
    mem_free(m);
}

static void tell_workers(struct control *c, struct change *change)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct change_msg *m = MEM_NEW(struct change_msg);
        *m = (struct change_msg){
            .msg.run = on_change, .worker = c->workers[i], .change = change != NULL ? change_ref(change) : NULL};
        loop_post(c->workers[i]->loop, &m->msg);
    }
}

struct time_msg {
    struct loop_msg msg;
    struct control_worker *worker;
    int64_t now_ms;
};

static void on_time(struct loop *loop, struct loop_msg *msg)
{
    struct time_msg *m = CONTAINER_OF(msg, struct time_msg, msg);
    (void)loop;
    sessions_send_time(m->worker, m->now_ms);
    mem_free(m);
}

void control_clock_set(struct control *c, int64_t now_ms)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct time_msg *m = MEM_NEW(struct time_msg);
        *m = (struct time_msg){.msg.run = on_time, .worker = c->workers[i], .now_ms = now_ms};
        loop_post(c->workers[i]->loop, &m->msg);
    }
}

void control_published(void *ctx, struct change *change)
{
    struct control *c = ctx;
    machines_apply(&c->machines, change);
    tell_workers(c, change);
}

void control_drain(struct control *c)
{
    tell_workers(c, NULL);
}
