/* The life of an HTTP/2 session: reading, writing, running handlers, timeouts, creation. src: RFC 9113 */
#include "http/h2.h"

#include <assert.h>

#include "base/fits.h"
#include "base/mem.h"
#include "http/h2_internal.h"

LOG_MODULE("http");

enum {
    GOAWAY_LINGER_MS = 5000,
    PIECE_BYTES = 4 * 1024,
    STRANGER_PIECE_BYTES = 256, /* what a stranger sends is processed in such pieces, between which the answers leave */
};

/* --- running --- */

static struct http_exchange *pop_todo(struct list *list)
{
    if (list_is_empty(list))
        return NULL;
    struct http_exchange *ex = LIST_ENTRY(list->next, struct http_exchange, todo);
    list_remove(&ex->todo);
    return ex;
}

/* Calls owners and handlers for what the library's callbacks noted. */
static void settle(struct h2_session *s)
{
    while (!s->base.is_dead) {
        struct http_exchange *ex = pop_todo(&s->gone);
        if (ex != NULL) {
            exchange_close(ex);
            continue;
        }
        ex = pop_todo(&s->ready);
        if (ex == NULL)
            return;
        if (ex->refuse_status != 0)
            exchange_refuse(ex, ex->refuse_status, NULL);
        else
            exchange_dispatch(ex);
    }
}

static void look_after_drained(struct h2_session *s)
{
    if (!s->has_sent_data)
        return;
    s->has_sent_data = false;
    LIST_EACH_SAFE (it, &s->base.exchanges) {
        exchange_check_drained(LIST_ENTRY(it, struct http_exchange, link));
        if (s->base.is_dead)
            return;
    }
}

static void set_paused(struct h2_session *s, bool paused)
{
    if (s->is_paused == paused || s->base.is_dead)
        return;
    s->is_paused = paused;
    stream_pause(s->base.below, paused);
}

static bool send_output(struct h2_session *s)
{
    while (!http_conn_is_full(&s->base)) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(s->ng, &p);
        if (n < 0)
            return false;
        if (n == 0)
            return true;
        stream_write(s->base.below, p, (size_t)n);
    }
    return true;
}

/* Sends what there is room for, and ends a session that has nothing left to do. A peer that does not read is not read
 * from either: its requests make output. */
static void flush(struct h2_session *s)
{
    if (s->base.is_dead)
        return;
    if (s->is_broken || s->mem.is_over || !send_output(s)) {
        http_conn_die(&s->base, false);
        return;
    }
    settle(s);
    if (s->base.is_dead)
        return;
    look_after_drained(s);
    if (s->base.is_dead)
        return;
    set_paused(s, http_conn_is_full(&s->base) || buf_len(&s->held) > 0);
    if (!nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng))
        http_conn_die(&s->base, true);
}

static void run_task(struct loop_task *task)
{
    flush(CONTAINER_OF(task, struct h2_session, task));
}

/* The library can read no further. The peer still gets the error. */
static void give_up(struct h2_session *s, int error)
{
    bool is_flood = error == NGHTTP2_ERR_FLOODED;
    bool is_full = error == NGHTTP2_ERR_NOMEM; /* its budget is used up: the error would not fit either */
    http_count_refusal(is_full ? HTTP_REFUSED_HEAD : is_flood ? HTTP_REFUSED_FLOOD : HTTP_REFUSED_PROTOCOL);
    log_limited(LOG_DEBUG, "HTTP/2 session closed", LOG_S("reason", nghttp2_strerror(error)),
                LOG_U("held", budget_used(&s->base.budget)), LOG_U("streams", s->open_n));
    if (is_full) {
        http_conn_die(&s->base, false);
        return;
    }
    nghttp2_session_terminate_session(s->ng, is_flood ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    http_conn_die(&s->base, send_output(s));
}

static bool is_over_soft_limit(const struct h2_session *s)
{
    return !fits(budget_used(&s->base.budget), 0, s->base.soft_bytes);
}

/* Refusals that wait for the end of the iteration take memory too: a peer that causes many gets them at once. */
static void read_piece(struct h2_session *s, const uint8_t *p, size_t n)
{
    ssize_t used = nghttp2_session_mem_recv(s->ng, p, n);
    if (used < 0 || s->mem.is_over) {
        give_up(s, used < 0 ? (int)used : NGHTTP2_ERR_NOMEM);
        return;
    }
    settle(s);
    if (!s->base.is_dead && is_over_soft_limit(s))
        flush(s);
}

/* Input that cannot be read in this iteration waits: not more than one call's worth, since the layer below is
 * paused. */
static void hold(struct h2_session *s, const uint8_t *p, size_t n)
{
    size_t before = s->held.cap;
    buf_append(&s->held, p, n);
    budget_force(&s->base.budget, s->held.cap - before);
    set_paused(s, true);
}

static void read_some(struct h2_session *s, const uint8_t *p, size_t n)
{
    while (n > 0 && !s->base.is_dead) {
        size_t most = s->base.is_known ? PIECE_BYTES : STRANGER_PIECE_BYTES;
        size_t piece = n < most ? n : most;
        if (http_conn_must_rest(&s->base)) {
            hold(s, p, n);
            break;
        }
        read_piece(s, p, piece);
        p += piece;
        n -= piece;
    }
    if (!s->base.is_dead)
        loop_defer(s->base.below->loop, &s->task);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct h2_session *s = ctx;
    if (buf_len(&s->held) > 0)
        hold(s, p, n);
    else
        read_some(s, p, n);
}

static void ops_resume(struct http_conn *conn)
{
    struct h2_session *s = (struct h2_session *)conn;
    struct buf held = {0};
    size_t charged = s->held.cap;
    buf_move(&held, &s->held);
    read_some(s, buf_at(&held), buf_len(&held));
    budget_give(&conn->budget, charged);
    buf_fini(&held);
}

static void on_drained(void *ctx)
{
    flush(ctx);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    http_conn_die(ctx, false);
}

/* --- the rest of the table --- */

/* Sends GOAWAY for all streams after the last that was accepted; the library wants to read no more once that is
 * closed. */
static void say_goodbye(struct h2_session *s)
{
    h2_must(s, nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(s->ng),
                                     NGHTTP2_NO_ERROR, NULL, 0));
    loop_defer(s->base.below->loop, &s->task);
}

static void ops_drain(struct http_conn *conn)
{
    say_goodbye((struct h2_session *)conn);
}

static void sweep_incomplete(struct h2_session *s, int64_t now_ms)
{
    LIST_EACH (it, &s->base.exchanges) {
        struct http_exchange *ex = LIST_ENTRY(it, struct http_exchange, link);
        if (ex->is_request_complete || ex->is_dispatched || ex->refuse_status != 0 || now_ms < ex->deadline_ms)
            continue;
        http_count_refusal(HTTP_REFUSED_TIMEOUT);
        ex->refuse_status = 408;
        h2_make_ready(s, ex);
    }
    settle(s);
}

/* Resets streams whose window is closed: what is queued for them would wait for ever. A stranger's whole session
 * ends. */
static void sweep_stalled(struct h2_session *s, int64_t now_ms)
{
    LIST_EACH (it, &s->base.exchanges) {
        struct http_exchange *ex = LIST_ENTRY(it, struct http_exchange, link);
        if (!exchange_is_stalled(ex, now_ms))
            continue;
        http_count_refusal(HTTP_REFUSED_STALLED);
        if (!s->base.is_known) {
            http_conn_die(&s->base, false);
            return;
        }
        log_limited(LOG_DEBUG, "HTTP/2 stream reset: its client takes nothing of the answer");
        ex->stall_since_ms = now_ms;
        h2_reset_stream(s, ex->stream_id, NGHTTP2_CANCEL);
        loop_defer(s->base.below->loop, &s->task);
    }
}

static void ops_sweep(struct http_conn *conn, int64_t now_ms)
{
    struct h2_session *s = (struct h2_session *)conn;
    const struct http_server_opts *opts = http_server_options(conn->server);
    if (s->open_n > 0)
        sweep_stalled(s, now_ms);
    if (conn->is_dead)
        return;
    if (s->incomplete_n > 0) {
        sweep_incomplete(s, now_ms);
        return;
    }
    if (s->open_n > 0)
        return;
    int64_t idle_ms = now_ms - s->idle_since_ms;
    if (s->dies_at_ms != 0 ? now_ms >= s->dies_at_ms : !s->has_preface && idle_ms >= opts->head_timeout_ms) {
        http_conn_die(conn, true);
    } else if (s->dies_at_ms == 0 && idle_ms >= http_conn_patience_ms(conn, opts->h2_idle_timeout_ms)) {
        s->dies_at_ms = now_ms + GOAWAY_LINGER_MS;
        say_goodbye(s);
    }
}

static void ops_free(void *obj)
{
    struct h2_session *s = obj;
    loop_defer_cancel(&s->task);
    buf_fini(&s->held);
    nghttp2_session_del(s->ng);
    mem_free(s);
}

/* --- creation --- */

static void make_ng(struct h2_session *s)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    int rv = nghttp2_session_callbacks_new(&cb);
    assert(rv == 0);
    rv = nghttp2_option_new(&option);
    assert(rv == 0);
    h2_request_set_callbacks(cb);
    h2_answer_set_callbacks(cb);
    /* Our few response headers gain nothing from a table, and a session would keep it for ever. */
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    /* Our own limit is reached first and counted; the library's, in whole seconds, would end the session silently. */
    nghttp2_option_set_stream_reset_rate_limit(option, 2 * H2_FLOOD_BURST, 2 * H2_FLOOD_PER_S);
    h2_mem_init(&s->mem, &s->base.budget);
    s->mem.is_creating = true;
    rv = nghttp2_session_server_new3(&s->ng, cb, s, option, &s->mem.mem);
    s->mem.is_creating = false;
    assert(rv == 0);
    (void)rv;
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
}

static void send_settings(struct h2_session *s)
{
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, http_server_options(s->base.server)->h2_max_streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_MAX_HEAD_BYTES},
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    int rv = nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, entries, ARRAY_LEN(entries));
    assert(rv == 0);
    (void)rv;
    loop_defer(s->base.below->loop, &s->task);
}

struct http_conn *h2_session_create(struct http_server *server, struct stream *below, void *conn_ctx)
{
    static const struct http_conn_ops ops = {
        h2_answer_start, h2_answer_wake, h2_answer_abort, NULL, /* no stream to take */
        ops_drain,       ops_resume,     ops_sweep,       ops_free};
    static const struct stream_events events = {on_data, on_drained, on_closed};
    struct h2_session *s = MEM_NEW(struct h2_session);
    s->task.run = run_task;
    list_init(&s->ready);
    list_init(&s->gone);
    s->flood_tokens = H2_FLOOD_BURST;
    http_conn_open_budget(&s->base, server);
    make_ng(s);
    http_conn_init(&s->base, &ops, server, below, &events, conn_ctx);
    s->flood_at_ms = s->idle_since_ms = http_conn_now(&s->base);
    send_settings(s);
    if (server->is_draining)
        say_goodbye(s);
    return &s->base;
}
