/* The connections of one server on one loop: which they are, how long they may idle, what was refused. */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/fits.h"
#include "base/mem.h"
#include "base/metric.h"
#include "http/h1.h"
#include "http/h2.h"
#include "http/http_internal.h"
#include "tls/tls.h"

LOG_MODULE("http");
METRIC_GAUGE(open_conns, "fullscale_http_connections", "", "HTTP connections and HTTP/2 sessions open now.");
METRIC_COUNTER(requests_2xx, "fullscale_http_requests_total", "class=\"2xx\"",
               "Requests answered, by class of status.");
METRIC_COUNTER(requests_3xx, "fullscale_http_requests_total", "class=\"3xx\"", "");
METRIC_COUNTER(requests_4xx, "fullscale_http_requests_total", "class=\"4xx\"", "");
METRIC_COUNTER(requests_5xx, "fullscale_http_requests_total", "class=\"5xx\"", "");
METRIC_COUNTER(refused_head, "fullscale_http_refused_total", "reason=\"head\"",
               "Requests and connections refused before any handler saw them, by reason.");
METRIC_COUNTER(refused_body, "fullscale_http_refused_total", "reason=\"body\"", "");
METRIC_COUNTER(refused_timeout, "fullscale_http_refused_total", "reason=\"timeout\"", "");
METRIC_COUNTER(refused_flood, "fullscale_http_refused_total", "reason=\"flood\"", "");
METRIC_COUNTER(refused_stalled, "fullscale_http_refused_total", "reason=\"stalled\"", "");
METRIC_COUNTER(refused_protocol, "fullscale_http_refused_total", "reason=\"protocol\"", "");

enum {
    SWEEP_MS = 1000,
    DATE_CAP = 40,
    CONN_OWN_BYTES = 48 * 1024, /* what nodes send fits, and the pool's being full is nothing to them */
    POOL_BYTES = 64 * 1024 * 1024,
    STRANGERS_PART = 4,           /* of the pool: a quarter */
    CONN_BYTES = 6 * 1024 * 1024, /* of all requests of a connection that are not answered yet */
    HEADROOM_BYTES = 1024 * 1024, /* besides two bodies, where bodies are large */
    SOFT_PARTS = 4,               /* requests get three quarters of what a connection may hold */
};

struct http_server {
    struct http_server_opts opts;
    struct list conns;
    size_t conns_n;
    struct budget strangers; /* of all connections, besides what each may have anyway */
    struct budget known;
    size_t largest_body_bytes;  /* that any route takes */
    struct loop_timer *sweeper; /* runs while there are connections */
    bool is_draining;
    char date[DATE_CAP];
    int64_t date_s;
};

void count_refusal(enum http_refusal why)
{
    static struct metric *const counters[] = {
        [HTTP_REFUSED_HEAD] = &refused_head,       [HTTP_REFUSED_BODY] = &refused_body,
        [HTTP_REFUSED_TIMEOUT] = &refused_timeout, [HTTP_REFUSED_FLOOD] = &refused_flood,
        [HTTP_REFUSED_STALLED] = &refused_stalled, [HTTP_REFUSED_PROTOCOL] = &refused_protocol,
    };
    metric_inc(counters[why]);
}

void count_request(int status)
{
    static struct metric *const counters[] = {&requests_2xx, &requests_3xx, &requests_4xx, &requests_5xx};
    metric_inc(counters[status / 100 - 2]);
}

/* --- what connections hold --- */

static size_t conn_limit(const struct http_server *server, bool is_known)
{
    size_t large = 2 * server->largest_body_bytes + HEADROOM_BYTES;
    if (!is_known)
        return HTTP_STRANGER_BYTES;
    return large > CONN_BYTES ? large : CONN_BYTES;
}

static void set_soft_limit(struct http_conn *conn)
{
    conn->soft_bytes = conn->budget.limit_bytes / SOFT_PARTS * (SOFT_PARTS - 1);
}

bool conn_hold(struct http_conn *conn, size_t n)
{
    return fits(budget_used(&conn->budget), n, conn->soft_bytes) && budget_take(&conn->budget, n);
}

int64_t conn_patience_ms(const struct http_conn *conn, int64_t known_ms)
{
    int64_t strangers_ms = conn->server->opts.stranger_timeout_ms;
    return conn->is_known || known_ms < strangers_ms ? known_ms : strangers_ms;
}

void http_conn_know(struct http_conn *conn, const void *key, size_t key_len)
{
    if (conn->is_known || conn->is_dead || stream_know(conn->below, key, key_len) != BUDGET_OK)
        return;
    conn->is_known = true;
    budget_move(&conn->budget, &conn->server->known, CONN_OWN_BYTES, conn_limit(conn->server, true));
    set_soft_limit(conn);
}

/* --- connections --- */

/* Before conn_init, for layers that charge what they need from the start. */
void conn_open_budget(struct http_conn *conn, struct http_server *server)
{
    conn->is_known = !server->opts.has_strangers;
    budget_init(&conn->budget, conn->is_known ? &server->known : &server->strangers, CONN_OWN_BYTES,
                conn_limit(server, conn->is_known));
}

void conn_init(struct http_conn *conn, const struct http_conn_ops *ops, struct http_server *server,
               struct stream *below, const struct stream_events *events, void *ctx)
{
    conn->ops = ops;
    conn->server = server;
    conn->below = below;
    conn->ctx = ctx;
    conn->tcp_peer = below->peer;
    list_init(&conn->exchanges);
    list_push_back(&server->conns, &conn->entry);
    set_soft_limit(conn);
    stream_set_events(below, events, conn);
    metric_add(&open_conns, 1);
    if (server->conns_n++ == 0)
        loop_timer_start(server->sweeper, SWEEP_MS, SWEEP_MS);
}

static void conn_free(void *obj)
{
    struct http_conn *conn = obj;
    conn->is_freed = true;
    if (conn->frees_n == 0)
        conn->ops->free(conn);
}

void conn_freed(struct http_conn *conn, size_t bytes)
{
    budget_give(&conn->budget, bytes);
    if (--conn->frees_n == 0 && conn->is_freed)
        conn->ops->free(conn);
}

static void resume(struct loop *loop, struct loop_msg *msg)
{
    struct http_conn *conn = CONTAINER_OF(msg, struct http_conn, resume_msg);
    (void)loop;
    conn->is_resting = false;
    if (conn->is_dead) {
        conn_freed(conn, 0);
        return;
    }
    conn->frees_n--;
    conn->ops->resume(conn);
}

bool conn_must_rest(struct http_conn *conn)
{
    if (conn->is_resting || conn->frees_n == 0 || fits(budget_used(&conn->budget), 0, conn->soft_bytes / 2))
        return conn->is_resting;
    conn->is_resting = true;
    conn->resume_msg.run = resume;
    conn_frees(conn); /* it stays until the message has come */
    loop_post(conn->server->opts.loop, &conn->resume_msg);
    return true;
}

void conn_die(struct http_conn *conn, bool flush)
{
    struct http_server *server = conn->server;
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    list_remove(&conn->entry);
    metric_add(&open_conns, -1);
    if (--server->conns_n == 0)
        loop_timer_stop(server->sweeper);
    stream_close(&conn->below, flush);
    while (!list_is_empty(&conn->exchanges))
        exchange_close(LIST_ENTRY(conn->exchanges.next, struct http_exchange, entry));
    /* What is left is freed at the end of the turn, and the server may be gone by then. */
    budget_move(&conn->budget, NULL, 0, SIZE_MAX);
    if (server->opts.conn_gone != NULL && conn->ctx != NULL)
        server->opts.conn_gone(server->opts.app, conn->ctx);
    loop_free_later(server->opts.loop, conn, conn_free);
}

bool conn_is_full(struct http_conn *conn)
{
    if (stream_queued(conn->below) <= STREAM_HIGH_WATER)
        return false;
    /* Whoever stops here waits for `drained`, also when the layers below grew past the mark without a write of ours. */
    conn->below->was_high = true;
    return true;
}

bool conn_is_stalled(struct http_conn *conn, int64_t now_ms)
{
    size_t queued = stream_queued(conn->below);
    if (queued == 0 || queued < conn->last_queued || conn->stalled_since_ms == 0)
        conn->stalled_since_ms = now_ms;
    conn->last_queued = queued;
    return now_ms - conn->stalled_since_ms >= conn_patience_ms(conn, conn->server->opts.stall_timeout_ms);
}

void http_conn_close(struct http_conn *conn)
{
    conn_die(conn, false);
}

/* --- the server --- */

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

static void sweep_now(void *ctx)
{
    struct http_server *server = ctx;
    http_server_sweep(server, loop_now_ms(server->opts.loop));
}

static size_t largest_body(const struct http_server_opts *opts)
{
    size_t largest = opts->max_body_bytes;
    for (size_t i = 0; i < opts->routes_n; i++) {
        if (opts->routes[i].max_body_bytes > largest)
            largest = opts->routes[i].max_body_bytes;
    }
    return largest;
}

struct http_server *http_server_create(const struct http_server_opts *opts)
{
    struct http_server *server = MEM_NEW(struct http_server);
    server->opts = *opts;
    server->opts.head_timeout_ms = or_default(opts->head_timeout_ms, 10 * 1000);
    server->opts.body_timeout_ms = or_default(opts->body_timeout_ms, 30 * 1000);
    server->opts.idle_timeout_ms = or_default(opts->idle_timeout_ms, 30 * 1000);
    server->opts.h2_idle_timeout_ms = or_default(opts->h2_idle_timeout_ms, 5 * 60 * 1000);
    server->opts.stall_timeout_ms = or_default(opts->stall_timeout_ms, 2 * 60 * 1000);
    server->opts.stranger_timeout_ms = or_default(opts->stranger_timeout_ms, 15 * 1000);
    if (opts->max_body_bytes == 0)
        server->opts.max_body_bytes = HTTP_MAX_BODY_BYTES;
    if (opts->pool_bytes == 0)
        server->opts.pool_bytes = POOL_BYTES;
    server->largest_body_bytes = largest_body(&server->opts);
    if (server->opts.pool_bytes < 3 * server->largest_body_bytes)
        server->opts.pool_bytes = 3 * server->largest_body_bytes;
    budget_init(&server->strangers, NULL, 0, server->opts.pool_bytes / STRANGERS_PART);
    budget_init(&server->known, NULL, 0, server->opts.pool_bytes);
    if (opts->h2_max_streams == 0)
        server->opts.h2_max_streams = 250;
    list_init(&server->conns);
    server->sweeper = loop_timer_create(opts->loop, sweep_now, server);
    return server;
}

void http_server_accept(void *ctx, struct stream *s)
{
    struct http_server *server = ctx;
    if (str_eq_c(tls_stream_alpn(s), "h2"))
        h2_session_create(server, s, NULL);
    else
        h1_conn_create(server, s);
}

struct http_conn *http_server_attach_h2(struct http_server *server, struct stream *s, void *conn_ctx)
{
    return h2_session_create(server, s, conn_ctx);
}

/* A callback may close any connection, not only the one at hand: so each is looked up anew, by moving those that were
 * served to the end. */
static void each_conn(struct http_server *server, void (*visit)(struct http_conn *conn, int64_t arg), int64_t arg)
{
    for (size_t n = server->conns_n; n > 0 && !list_is_empty(&server->conns); n--) {
        struct http_conn *conn = LIST_ENTRY(server->conns.next, struct http_conn, entry);
        list_remove(&conn->entry);
        list_push_back(&server->conns, &conn->entry);
        visit(conn, arg);
    }
}

static void sweep_conn(struct http_conn *conn, int64_t now_ms)
{
    if (conn_is_stalled(conn, now_ms)) {
        count_refusal(HTTP_REFUSED_STALLED);
        conn_die(conn, false);
        return;
    }
    conn->ops->sweep(conn, now_ms);
}

void http_server_sweep(struct http_server *server, int64_t now_ms)
{
    each_conn(server, sweep_conn, now_ms);
}

static void drain_conn(struct http_conn *conn, int64_t arg)
{
    (void)arg;
    conn->is_draining = true;
    conn->ops->drain(conn);
}

void http_server_drain(struct http_server *server)
{
    server->is_draining = true;
    each_conn(server, drain_conn, 0);
}

size_t http_server_conns(const struct http_server *server)
{
    return server->conns_n;
}

static void server_free(void *obj)
{
    mem_free(obj);
}

void http_server_destroy(struct http_server **at)
{
    struct http_server *server = *at;
    *at = NULL;
    if (server == NULL)
        return;
    while (!list_is_empty(&server->conns))
        conn_die(LIST_ENTRY(server->conns.next, struct http_conn, entry), false);
    loop_timer_destroy(&server->sweeper);
    loop_free_later(server->opts.loop, server, server_free);
}

const struct http_server_opts *server_opts(const struct http_server *server)
{
    return &server->opts;
}

bool server_is_draining(const struct http_server *server)
{
    return server->is_draining;
}

const char *server_date(struct http_server *server)
{
    time_t now_s = (time_t)(clock_wall_ms() / 1000);
    if (server->date_s == now_s)
        return server->date;
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm t;
    gmtime_r(&now_s, &t);
    /* Not strftime: the names must not follow the locale. src: RFC 9110 5.6.7 */
    snprintf(server->date, sizeof(server->date), "%s, %02u %s %04u %02u:%02u:%02u GMT", days[t.tm_wday % 7],
             (unsigned)t.tm_mday % 100, months[t.tm_mon % 12], (unsigned)(t.tm_year + 1900) % 10000,
             (unsigned)t.tm_hour % 100, (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    server->date_s = now_s;
    return server->date;
}
