/* A server on one loop: its routes, its connections, and the sweep of each second. */
#include <assert.h>

#include "base/mem.h"
#include "http/h1.h"
#include "http/h2.h"
#include "http/http_internal.h"
#include "tls/tls.h"

enum {
    POOL_BYTES = 64 * 1024 * 1024,
    STRANGERS_PART = 4, /* of the pool: a quarter */
};

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

static void sweep_now(void *ctx)
{
    struct http_server *server = ctx;
    http_server_sweep(server, loop_now_ms(server->opts.loop));
}

/* The pool has room for three of the largest bodies. Before anything is charged to it. */
static void set_largest_body(struct http_server *server, size_t bytes)
{
    server->largest_body_bytes = bytes;
    if (server->opts.pool_bytes < 3 * bytes)
        server->opts.pool_bytes = 3 * bytes;
    budget_init(&server->strangers, NULL, 0, server->opts.pool_bytes / STRANGERS_PART);
    budget_init(&server->known, NULL, 0, server->opts.pool_bytes);
}

void http_server_mount(struct http_server *server, const struct http_route *rows, size_t n, void *app)
{
    assert(server->conns_n == 0);
    struct http_table *table = MEM_NEW(struct http_table);
    *table = (struct http_table){.rows = rows, .n = n, .app = app};
    list_push_back(&server->tables, &table->link);
    size_t largest = server->largest_body_bytes;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].max_body_bytes > largest)
            largest = rows[i].max_body_bytes;
    }
    if (largest > server->largest_body_bytes)
        set_largest_body(server, largest);
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
    set_largest_body(server, server->opts.max_body_bytes);
    if (opts->h2_max_streams == 0)
        server->opts.h2_max_streams = 250;
    list_init(&server->conns);
    list_init(&server->tables);
    if (opts->routes_n > 0)
        http_server_mount(server, opts->routes, opts->routes_n, opts->app);
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
        struct http_conn *conn = LIST_ENTRY(server->conns.next, struct http_conn, link);
        list_remove(&conn->link);
        list_push_back(&server->conns, &conn->link);
        visit(conn, arg);
    }
}

static void sweep_conn(struct http_conn *conn, int64_t now_ms)
{
    if (http_conn_is_stalled(conn, now_ms)) {
        http_count_refusal(HTTP_REFUSED_STALLED);
        http_conn_die(conn, false);
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
    struct http_server *server = obj;
    while (!list_is_empty(&server->tables)) {
        struct http_table *table = LIST_ENTRY(server->tables.next, struct http_table, link);
        list_remove(&table->link);
        mem_free(table);
    }
    mem_free(server);
}

void http_server_destroy(struct http_server **at)
{
    struct http_server *server = *at;
    *at = NULL;
    if (server == NULL)
        return;
    while (!list_is_empty(&server->conns))
        http_conn_die(LIST_ENTRY(server->conns.next, struct http_conn, link), false);
    loop_timer_destroy(&server->sweeper);
    loop_free_later(server->opts.loop, server, server_free);
}
