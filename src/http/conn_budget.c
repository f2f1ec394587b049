/* What a connection may hold in memory, and how long its peer may take: strangers get less than known peers. */
#include "base/fits.h"
#include "http/http_internal.h"

enum {
    CONN_OWN_BYTES = 48 *
                     1024, /* a connection may always have these, even when the pool is used up: enough for nodes */
    CONN_BYTES = 6 * 1024 * 1024, /* of all requests of a connection that are not answered yet */
    HEADROOM_BYTES = 1024 * 1024, /* above two bodies of the largest size */
    SOFT_PARTS = 4,               /* requests get three quarters of what a connection may hold */
};

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

bool http_conn_hold(struct http_conn *conn, size_t n)
{
    return fits(budget_used(&conn->budget), n, conn->soft_bytes) && budget_take(&conn->budget, n);
}

int64_t http_conn_patience_ms(const struct http_conn *conn, int64_t known_ms)
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

void http_conn_open_budget(struct http_conn *conn, struct http_server *server)
{
    conn->is_known = !server->opts.has_strangers;
    budget_init(&conn->budget, conn->is_known ? &server->known : &server->strangers, CONN_OWN_BYTES,
                conn_limit(server, conn->is_known));
    set_soft_limit(conn);
}

void http_conn_freed(struct http_conn *conn, size_t bytes)
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
        http_conn_freed(conn, 0);
        return;
    }
    conn->frees_n--;
    conn->ops->resume(conn);
}

bool http_conn_must_rest(struct http_conn *conn)
{
    if (conn->is_resting || conn->frees_n == 0 || fits(budget_used(&conn->budget), 0, conn->soft_bytes / 2))
        return conn->is_resting;
    conn->is_resting = true;
    conn->resume_msg.run = resume;
    http_conn_frees(conn); /* it stays until the message has come */
    loop_post(conn->server->opts.loop, &conn->resume_msg);
    return true;
}
