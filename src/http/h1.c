/* HTTP/1.1 connections: bytes to exchanges and back. Everything happens in advance(), which runs from the stream's
 * events and from a deferred task, never from a handler's call. */
#include "http/h1.h"

#include <stdio.h>

#include "base/mem.h"
#include "http/h1_parse.h"
#include "http/http_internal.h"

LOG_MODULE("http");

enum {
    /* Pipelined input kept while an answer is made; more stays with the kernel. */
    MAX_AHEAD_BYTES = HTTP_MAX_HEAD_BYTES,
    /* After a refusal the peer may still be sending; a close with unread input would destroy the answer on its way. */
    LINGER_MS = 2000,
    PIECE_BYTES = 16 * 1024,
};

struct h1_conn {
    struct http_conn base;
    enum {
        H1_HEAD,   /* waiting for a request, or inside its head */
        H1_BODY,   /* inside its body */
        H1_ANSWER, /* a handler has it */
        H1_LINGER, /* the last answer is out; input is dropped until the peer closes */
    } state;
    struct http_exchange *ex; /* in H1_BODY and H1_ANSWER */
    struct buf in;
    struct h1_scan scan;
    struct h1_chunked chunked;
    uint64_t body_left;
    struct loop_task task;
    int64_t deadline_ms; /* of H1_HEAD, H1_BODY and H1_LINGER */
    bool body_is_chunked;
    bool body_is_unread; /* refused before its body was read: the connection cannot go on */
    bool answer_is_chunked;
    bool keep_alive; /* after the current exchange */
    bool is_paused;
    size_t input_charged; /* of `in`, to the connection's budget */
};

static void set_deadline(struct h1_conn *c, int64_t ms)
{
    c->deadline_ms = http_conn_now(&c->base) + ms;
}

static void set_paused(struct h1_conn *c, bool paused)
{
    if (c->is_paused == paused)
        return;
    c->is_paused = paused;
    stream_pause(c->base.below, paused);
}

/* The input is in memory already: beyond the budget it is charged all the same, and nothing more is read. */
static void charge_input(struct h1_conn *c)
{
    size_t held = c->in.cap;
    if (held > c->input_charged)
        budget_force(&c->base.budget, held - c->input_charged);
    else
        budget_give(&c->base.budget, c->input_charged - held);
    c->input_charged = held;
}

static void await_head(struct h1_conn *c)
{
    const struct http_server_opts *opts = http_server_options(c->base.server);
    c->state = H1_HEAD;
    c->ex = NULL;
    c->scan = (struct h1_scan){0};
    set_deadline(c, buf_len(&c->in) > 0 ? opts->head_timeout_ms : opts->idle_timeout_ms);
}

static void linger(struct h1_conn *c)
{
    c->state = H1_LINGER;
    c->ex = NULL;
    buf_fini(&c->in);
    set_paused(c, false);
    set_deadline(c, LINGER_MS);
}

/* An answer for bytes that never became a request. */
static void refuse_connection(struct h1_conn *c, int status, const char *text)
{
    struct http_exchange *ex = c->ex != NULL ? c->ex : exchange_create(&c->base);
    c->ex = ex;
    c->state = H1_ANSWER;
    c->body_is_unread = true;
    exchange_refuse(ex, status, text);
}

/* --- answers --- */

static void ops_start(struct http_exchange *ex)
{
    struct h1_conn *c = (struct h1_conn *)ex->conn;
    if (c->base.is_dead)
        return;
    bool until_close = ex->is_streaming && ex->req.version < 11;
    if (until_close || c->body_is_unread || c->base.is_draining || c->base.server->is_draining)
        c->keep_alive = false;
    c->answer_is_chunked = ex->is_streaming && !until_close && !ex->is_head && !http_status_has_no_body(ex->status);

    struct buf head = {0};
    buf_printf(&head, "HTTP/1.1 %d %s\r\ndate: %s\r\n", ex->status, http_status_text(ex->status),
               http_server_date(c->base.server));
    for (size_t i = 0; i < ex->res_headers_n; i++)
        buf_printf(&head, "%.*s: %.*s\r\n", STR_ARG(ex->res_headers[i].name), STR_ARG(ex->res_headers[i].value));
    if (!ex->is_streaming && !http_status_has_no_body(ex->status))
        buf_printf(&head, "content-length: %zu\r\n", ex->content_length);
    if (c->answer_is_chunked)
        buf_append_c(&head, "transfer-encoding: chunked\r\n");
    if (!c->keep_alive)
        buf_append_c(&head, "connection: close\r\n");
    else if (ex->req.version == 10)
        buf_append_c(&head, "connection: keep-alive\r\n");
    buf_append_c(&head, "\r\n");
    stream_write(c->base.below, buf_at(&head), buf_len(&head));
    buf_fini(&head);
}

static void ops_wake(struct http_exchange *ex)
{
    struct h1_conn *c = (struct h1_conn *)ex->conn;
    if (!c->base.is_dead)
        loop_defer(c->base.below->loop, &c->task);
}

static void write_piece(struct h1_conn *c, const uint8_t *p, size_t n)
{
    char size[32];
    if (c->answer_is_chunked)
        stream_write(c->base.below, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", n));
    stream_write(c->base.below, p, n);
    if (c->answer_is_chunked)
        stream_write(c->base.below, "\r\n", 2);
}

/* Writes what there is room for. True when the answer is complete. */
static bool write_answer(struct h1_conn *c)
{
    struct http_exchange *ex = c->ex;
    const uint8_t *p;
    size_t n;
    while (!http_conn_is_full(&c->base) && (n = exchange_peek(ex, PIECE_BYTES, &p)) > 0) {
        if (!http_status_has_no_body(ex->status))
            write_piece(c, p, n);
        exchange_consume(ex, n);
    }
    exchange_check_drained(ex);
    if (c->base.is_dead || !ex->is_ended || ex->queued_bytes > 0)
        return false;
    if (c->answer_is_chunked)
        stream_write(c->base.below, "0\r\n\r\n", 5);
    return true;
}

static void finish_answer(struct h1_conn *c)
{
    exchange_free(c->ex);
    c->ex = NULL;
    if (c->body_is_unread)
        linger(c);
    else if (!c->keep_alive || c->base.is_draining)
        http_conn_die(&c->base, true);
    else
        await_head(c);
}

/* --- requests --- */

static void dispatch(struct h1_conn *c)
{
    c->state = H1_ANSWER;
    exchange_dispatch(c->ex);
}

static void fill_request(struct http_exchange *ex, const struct h1_head *head)
{
    ex->req.method = head->method;
    ex->req.method_name = head->method_name;
    ex->req.path = head->path;
    ex->req.query = head->query;
    ex->req.authority = head->authority;
    ex->req.version = head->version;
    ex->req.headers_n = head->headers_n;
    struct http_header *headers = arena_zalloc(&ex->arena, head->headers_n + 1, sizeof(*headers));
    memcpy(headers, head->headers, head->headers_n * sizeof(*headers));
    ex->req.headers = headers;
}

/* The head is good and routed: read the body, if there is one, or hand over. */
static void begin_body(struct h1_conn *c, const struct h1_head *head)
{
    c->body_is_chunked = head->is_chunked;
    c->body_left = head->content_length;
    c->chunked = (struct h1_chunked){0};
    if (!head->is_chunked && head->content_length == 0) {
        dispatch(c);
        return;
    }
    if (head->content_length > c->ex->max_body_bytes) {
        http_count_refusal(HTTP_REFUSED_BODY);
        refuse_connection(c, 413, NULL);
        return;
    }
    c->state = H1_BODY;
    set_deadline(c, http_server_options(c->base.server)->body_timeout_ms);
    if (head->expects_continue && buf_len(&c->in) == 0)
        stream_write(c->base.below, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static void begin_request(struct h1_conn *c, size_t head_len)
{
    struct http_exchange *ex = c->ex = exchange_create(&c->base);
    struct str text = arena_str(&ex->arena, str_n(buf_at(&c->in), head_len));
    buf_consume(&c->in, head_len);
    struct h1_head head;
    enum h1_refusal why = h1_parse_head((char *)text.p, text.len, &head);
    if (why != H1_OK) {
        http_count_refusal(HTTP_REFUSED_HEAD);
        log_limited(LOG_DEBUG, "request refused", LOG_S("reason", h1_refusal_text(why)));
        ex->req.version = 11;
        refuse_connection(c, h1_refusal_status(why), h1_refusal_text(why));
        return;
    }
    fill_request(ex, &head);
    c->keep_alive = head.keep_alive;
    int status = exchange_route(ex);
    if (status == 0) {
        begin_body(c, &head);
        return;
    }
    c->state = H1_ANSWER;
    c->body_is_unread = head.is_chunked || head.content_length > 0;
    exchange_refuse(ex, status, NULL);
}

static bool read_head(struct h1_conn *c)
{
    set_paused(c, http_conn_is_full(&c->base) || http_conn_must_rest(&c->base));
    if (buf_len(&c->in) == 0 || c->is_paused)
        return false;
    size_t head_len;
    enum h1_refusal why;
    int got = h1_scan_head(&c->scan, buf_at(&c->in), buf_len(&c->in), &head_len, &why);
    if (got < 0) {
        http_count_refusal(HTTP_REFUSED_HEAD);
        log_limited(LOG_DEBUG, "request refused", LOG_S("reason", h1_refusal_text(why)));
        refuse_connection(c, h1_refusal_status(why), h1_refusal_text(why));
    } else if (got > 0) {
        begin_request(c, head_len);
    }
    return got != 0;
}

static void refuse_body(struct h1_conn *c, int status, const char *text)
{
    http_count_refusal(HTTP_REFUSED_BODY);
    refuse_connection(c, status, text);
}

static bool read_plain_body(struct h1_conn *c)
{
    size_t n = buf_len(&c->in) < c->body_left ? buf_len(&c->in) : (size_t)c->body_left;
    enum rc rc = exchange_append_body(c->ex, buf_at(&c->in), n);
    if (rc != RC_OK) {
        refuse_body(c, rc_http_status(rc), NULL);
        return true;
    }
    buf_consume(&c->in, n);
    c->body_left -= n;
    if (c->body_left > 0)
        return false;
    dispatch(c);
    return true;
}

static bool read_chunked_body(struct h1_conn *c)
{
    while (c->chunked.state != H1_CHUNK_DONE) {
        size_t used;
        struct str data;
        enum h1_refusal why = h1_chunked_next(&c->chunked, buf_at(&c->in), buf_len(&c->in), &used, &data);
        if (why != H1_OK) {
            refuse_body(c, h1_refusal_status(why), h1_refusal_text(why));
            return true;
        }
        if (used == 0)
            return false;
        enum rc rc = exchange_append_body(c->ex, (const uint8_t *)data.p, data.len);
        if (rc != RC_OK) {
            refuse_body(c, rc_http_status(rc), NULL);
            return true;
        }
        buf_consume(&c->in, used);
    }
    dispatch(c);
    return true;
}

/* Does what can be done now. Each step returns whether another may follow. */
static void advance(struct h1_conn *c)
{
    bool more = true;
    while (more && !c->base.is_dead) {
        switch (c->state) {
        case H1_HEAD: more = read_head(c); break;
        case H1_BODY:
            more = buf_len(&c->in) > 0 && (c->body_is_chunked ? read_chunked_body(c) : read_plain_body(c));
            break;
        case H1_ANSWER:
            more = write_answer(c);
            if (more)
                finish_answer(c);
            break;
        case H1_LINGER: more = false; break;
        }
    }
    if (!c->base.is_dead && buf_len(&c->in) == 0)
        buf_reset(&c->in, 0);
    if (!c->base.is_dead)
        charge_input(c);
}

static void run_task(struct loop_task *task)
{
    advance(CONTAINER_OF(task, struct h1_conn, task));
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct h1_conn *c = ctx;
    if (c->state == H1_LINGER)
        return;
    if (c->state == H1_HEAD && buf_len(&c->in) == 0)
        set_deadline(c, http_server_options(c->base.server)->head_timeout_ms);
    buf_append(&c->in, p, n);
    charge_input(c);
    advance(c);
    if (!c->base.is_dead && c->state == H1_ANSWER && buf_len(&c->in) >= MAX_AHEAD_BYTES)
        set_paused(c, true);
}

static void on_drained(void *ctx)
{
    advance(ctx);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    http_conn_die(ctx, false);
}

/* --- the rest of the table --- */

static void ops_resume(struct http_conn *conn)
{
    advance((struct h1_conn *)conn);
}

static void ops_abort(struct http_exchange *ex)
{
    http_conn_die(ex->conn, false);
}

static void ops_take(struct http_exchange *ex, struct stream **out, struct buf *leftover)
{
    struct h1_conn *c = (struct h1_conn *)ex->conn;
    set_paused(c, false);
    *out = c->base.below;
    c->base.below = NULL;
    stream_set_events(*out, NULL, NULL);
    *leftover = c->in;
    c->in = (struct buf){0};
    http_conn_die(&c->base, false);
}

static void ops_drain(struct http_conn *conn)
{
    struct h1_conn *c = (struct h1_conn *)conn;
    if (c->state == H1_HEAD && buf_len(&c->in) == 0)
        http_conn_die(conn, true);
}

static void time_out(struct h1_conn *c)
{
    bool says_so = (c->state == H1_HEAD && buf_len(&c->in) > 0) || c->state == H1_BODY;
    if (!says_so) {
        http_conn_die(&c->base, true);
        return;
    }
    http_count_refusal(HTTP_REFUSED_TIMEOUT);
    refuse_connection(c, 408, NULL);
}

static void ops_sweep(struct http_conn *conn, int64_t now_ms)
{
    struct h1_conn *c = (struct h1_conn *)conn;
    if (c->state != H1_ANSWER && now_ms >= c->deadline_ms) {
        time_out(c);
    } else if (c->state == H1_ANSWER && c->ex != NULL && exchange_is_stalled(c->ex, now_ms)) {
        http_count_refusal(HTTP_REFUSED_STALLED);
        http_conn_die(conn, false);
    }
}

static void ops_free(void *obj)
{
    struct h1_conn *c = obj;
    loop_defer_cancel(&c->task);
    buf_fini(&c->in);
    mem_free(c);
}

struct http_conn *h1_conn_create(struct http_server *server, struct stream *s)
{
    static const struct http_conn_ops ops = {ops_start, ops_wake,   ops_abort, ops_take,
                                             ops_drain, ops_resume, ops_sweep, ops_free};
    static const struct stream_events events = {on_data, on_drained, on_closed};
    struct h1_conn *c = MEM_NEW(struct h1_conn);
    c->task.run = run_task;
    http_conn_open_budget(&c->base, server);
    http_conn_init(&c->base, &ops, server, s, &events, NULL);
    await_head(c);
    set_deadline(c, http_server_options(server)->head_timeout_ms);
    return &c->base;
}
