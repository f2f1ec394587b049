/* The life of a connection, apart from its protocol: on the server's list, stalled, dead. */
#include "base/mem.h"
#include "base/metric.h"
#include "http/http_internal.h"

METRIC_GAUGE(open_conns, "fullscale_http_connections", "", "HTTP connections and HTTP/2 sessions open now.");

enum { SWEEP_MS = 1000 };

void http_conn_init(struct http_conn *conn, const struct http_conn_ops *ops, struct http_server *server,
                    struct stream *below, const struct stream_events *events, void *ctx)
{
    conn->ops = ops;
    conn->server = server;
    conn->below = below;
    conn->ctx = ctx;
    conn->tcp_peer = below->peer;
    list_init(&conn->exchanges);
    list_push_back(&server->conns, &conn->link);
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

void http_conn_die(struct http_conn *conn, bool flush)
{
    struct http_server *server = conn->server;
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    list_remove(&conn->link);
    metric_add(&open_conns, -1);
    if (--server->conns_n == 0)
        loop_timer_stop(server->sweeper);
    stream_close(&conn->below, flush);
    while (!list_is_empty(&conn->exchanges))
        exchange_close(LIST_ENTRY(conn->exchanges.next, struct http_exchange, link));
    /* The rest is freed at the end of the iteration, when the server may be gone. */
    budget_move(&conn->budget, NULL, 0, SIZE_MAX);
    if (server->opts.conn_gone != NULL && conn->ctx != NULL)
        server->opts.conn_gone(server->opts.app, conn->ctx);
    loop_free_later(server->opts.loop, conn, conn_free);
}

bool http_conn_is_full(struct http_conn *conn)
{
    if (stream_queued(conn->below) <= STREAM_HIGH_WATER)
        return false;
    /* The caller waits for `drained`, which must come also when the layers below passed the mark without a write of
     * ours. */
    conn->below->was_high = true;
    return true;
}

bool http_conn_is_stalled(struct http_conn *conn, int64_t now_ms)
{
    size_t queued = stream_queued(conn->below);
    if (queued == 0 || queued < conn->last_queued || conn->stalled_since_ms == 0)
        conn->stalled_since_ms = now_ms;
    conn->last_queued = queued;
    return now_ms - conn->stalled_since_ms >= http_conn_patience_ms(conn, conn->server->opts.stall_timeout_ms);
}

void http_conn_close(struct http_conn *conn)
{
    http_conn_die(conn, false);
}
