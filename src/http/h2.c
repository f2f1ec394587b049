/* HTTP/2 server sessions. The library's callbacks only take notes (ready, gone); handlers run after it has returned, so
 * nothing they do can find the library half-way through a frame. */
#include "http/h2.h"

#include <assert.h>
#include <stdio.h>

#include "base/fits.h"
#include "base/mem.h"
#include "http/h1_parse.h"
#include "http/h2_mem.h"
#include "http/http_internal.h"

LOG_MODULE("http");

enum {
    MAX_RESPONSE_FIELDS = 80,
    /* Frames that cost us and mean little: so many at once, and so many more each second. Clients before 1.90 cancel 18
     * requests in their first half second, each with a PING. */
    FLOOD_BURST = 500,
    FLOOD_PER_S = 100,
    GOAWAY_LINGER_MS = 5000,
    PIECE_BYTES = 4 * 1024,
    STRANGER_PIECE_BYTES = 256, /* what a stranger sends is looked at in such pieces, between which the answers leave */
};

struct h2_session {
    struct http_conn base;
    nghttp2_session *ng;
    struct h2_mem mem;
    struct loop_task task;
    struct list ready;     /* requests for their handlers */
    struct list gone;      /* streams that have closed */
    unsigned open_n;       /* streams */
    unsigned incomplete_n; /* of those, requests that are still coming in */
    int64_t idle_since_ms; /* when open_n became 0 */
    int64_t dies_at_ms;    /* after GOAWAY with no streams; 0: not yet */
    int64_t flood_at_ms;   /* when tokens were last added */
    int64_t flood_tokens;
    struct buf held; /* input for the next turn */
    bool has_preface;
    bool is_broken; /* the library had no memory left for something that must be */
    bool is_paused;
    bool has_sent_data; /* since drained was last looked after */
};

static nghttp2_nv field(struct str name, struct str value)
{
    return (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.len, value.len, NGHTTP2_NV_FLAG_NONE};
}

static struct http_exchange *exchange_of(struct h2_session *s, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(s->ng, stream_id);
}

/* What the library must remember and cannot, when the peer has used up its memory, would be lost: the session ends, soon. */
static void must(struct h2_session *s, int error)
{
    if (error != NGHTTP2_ERR_NOMEM)
        return;
    s->is_broken = true;
    loop_defer(s->base.below->loop, &s->task);
}

static void reset_stream(struct h2_session *s, int32_t stream_id, uint32_t error)
{
    must(s, nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, stream_id, error));
}

/* --- requests: callbacks of the library --- */

static void make_ready(struct h2_session *s, struct http_exchange *ex)
{
    if (!ex->is_dispatched && list_is_empty(&ex->todo))
        list_push_back(&s->ready, &ex->todo);
}

static void refuse(struct h2_session *s, struct http_exchange *ex, int status)
{
    if (ex->refuse_status != 0 || ex->is_dispatched)
        return;
    count_refusal(status == 413 || status == 429 ? HTTP_REFUSED_BODY : HTTP_REFUSED_HEAD);
    ex->refuse_status = status;
    make_ready(s, ex);
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    /* Not even an answer to it would fit: what was asked before has to end first. */
    if (!fits(budget_used(&s->base.budget), sizeof(struct http_exchange), s->base.soft_bytes)) {
        count_refusal(HTTP_REFUSED_HEAD);
        reset_stream(s, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    struct http_exchange *ex = exchange_create(&s->base);
    ex->stream_id = frame->hd.stream_id;
    ex->req.version = 20;
    ex->deadline_ms = conn_now(&s->base) + conn_patience_ms(&s->base, server_opts(s->base.server)->body_timeout_ms);
    s->open_n++;
    s->incomplete_n++;
    nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, ex);
    return 0;
}

static void add_header(struct http_exchange *ex, struct str name, struct str value)
{
    size_t n = ex->req.headers_n;
    struct http_header *headers = (struct http_header *)ex->req.headers;
    /* Room for 8, 16, 32, 64. */
    if (n == 0 || (n >= 8 && (n & (n - 1)) == 0)) {
        headers = arena_alloc(&ex->arena, (n == 0 ? 8 : 2 * n) * sizeof(*headers));
        if (n > 0)
            memcpy(headers, ex->req.headers, n * sizeof(*headers));
        ex->req.headers = headers;
    }
    headers[n] = (struct http_header){name, value};
    ex->req.headers_n++;
}

static void take_field(struct http_exchange *ex, struct str name, struct str value)
{
    if (str_eq_c(name, ":method")) {
        ex->req.method_name = value;
        ex->req.method = h1_method(value);
    } else if (str_eq_c(name, ":path")) {
        ex->req.path = value;
    } else if (str_eq_c(name, ":authority")) {
        ex->req.authority = value;
    } else if (name.len > 0 && name.p[0] != ':') {
        add_header(ex, name, value);
        if (str_eq_c(name, "host") && ex->req.authority.len == 0)
            ex->req.authority = value;
    }
}

/* A request that is refused by its head needs none. */
static void forget_head(struct http_exchange *ex, int status)
{
    ex->refuse_status = status;
    ex->req.headers = NULL;
    ex->req.headers_n = 0;
    ex->req.path = ex->req.query = ex->req.authority = ex->req.method_name = STR_EMPTY;
    arena_fini(&ex->arena);
    (void)exchange_charge(ex);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_session *s = user;
    (void)ng;
    (void)flags;
    struct http_exchange *ex = exchange_of(s, frame->hd.stream_id);
    /* Trailers are checked by the library and mean nothing to us. */
    if (ex == NULL || frame->headers.cat != NGHTTP2_HCAT_REQUEST || ex->refuse_status != 0)
        return 0;
    if (ex->req.headers_n == HTTP_MAX_HEADERS ||
        !fits(ex->arena.used_bytes, name_len + value_len, HTTP_MAX_HEAD_BYTES)) {
        forget_head(ex, 431);
        return 0;
    }
    take_field(ex, arena_str(&ex->arena, str_n(name, name_len)), arena_str(&ex->arena, str_n(value, value_len)));
    if (!exchange_charge(ex))
        forget_head(ex, 429);
    return 0;
}

/* The status to refuse with, or 0. */
static int check_head(struct http_exchange *ex)
{
    if (ex->refuse_status != 0)
        return ex->refuse_status;
    struct str target = ex->req.path;
    bool is_star = str_eq_c(target, "*") && ex->req.method == HTTP_OPTIONS;
    if (!is_star && !h1_split_target(target, &ex->req.path, &ex->req.query))
        return 400;
    if (ex->req.authority.len > 0 && !h1_is_authority(ex->req.authority))
        return 400;
    int status = exchange_route(ex);
    if (status != 0)
        return status;
    struct str text;
    uint64_t length;
    if (http_header(&ex->req, "content-length", &text) &&
        (str_to_u64(text, &length) != RC_OK || length > ex->max_body_bytes))
        return 413;
    return 0;
}

static void on_request_head(struct h2_session *s, struct http_exchange *ex)
{
    int status = check_head(ex);
    ex->refuse_status = 0;
    if (status == 404 || status == 405) {
        ex->refuse_status = status;
        make_ready(s, ex);
    } else if (status != 0) {
        refuse(s, ex, status);
    }
}

static void on_request_end(struct h2_session *s, struct http_exchange *ex)
{
    if (ex->is_request_complete)
        return;
    ex->is_request_complete = true;
    s->incomplete_n--;
    make_ready(s, ex);
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t stream_id, const uint8_t *p, size_t n, void *user)
{
    struct h2_session *s = user;
    (void)ng;
    (void)flags;
    struct http_exchange *ex = exchange_of(s, stream_id);
    if (ex == NULL || ex->refuse_status != 0 || ex->is_dispatched)
        return 0;
    enum rc rc = exchange_append_body(ex, p, n);
    if (rc != RC_OK)
        refuse(s, ex, rc_http_status(rc));
    return 0;
}

/* --- floods --- */

static void charge(struct h2_session *s, unsigned tokens)
{
    int64_t now_ms = conn_now(&s->base);
    int64_t earned = (now_ms - s->flood_at_ms) * FLOOD_PER_S / 1000;
    if (earned > 0) {
        s->flood_tokens = s->flood_tokens + earned < FLOOD_BURST ? s->flood_tokens + earned : FLOOD_BURST;
        s->flood_at_ms = now_ms;
    }
    bool was_fine = s->flood_tokens >= 0;
    s->flood_tokens -= tokens;
    if (s->flood_tokens >= 0 || !was_fine)
        return;
    count_refusal(HTTP_REFUSED_FLOOD);
    log_limited(LOG_WARN, "HTTP/2 session closed: too many frames that carry nothing");
    must(s, nghttp2_session_terminate_session(s->ng, NGHTTP2_ENHANCE_YOUR_CALM));
}

static bool is_costly(const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS: return (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0;
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_PRIORITY: return true;
    case NGHTTP2_DATA: return frame->hd.length == 0 && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0;
    default: return false;
    }
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    (void)ng;
    if (is_costly(frame))
        charge(s, 1);
    if (frame->hd.type == NGHTTP2_SETTINGS)
        s->has_preface = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct http_exchange *ex = exchange_of(s, frame->hd.stream_id);
    if (ex == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        on_request_head(s, ex);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        on_request_end(s, ex);
    return 0;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
    (void)ng;
    (void)frame;
    count_refusal(HTTP_REFUSED_PROTOCOL);
    log_limited(LOG_DEBUG, "invalid HTTP/2 frame", LOG_S("reason", nghttp2_strerror(error)));
    charge(user, 10);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t stream_id, uint32_t error, void *user)
{
    struct h2_session *s = user;
    (void)ng;
    (void)error;
    struct http_exchange *ex = exchange_of(s, stream_id);
    if (ex == NULL)
        return 0;
    if (!ex->is_request_complete)
        s->incomplete_n--;
    if (--s->open_n == 0)
        s->idle_since_ms = conn_now(&s->base);
    list_remove(&ex->todo);
    list_push_back(&s->gone, &ex->todo);
    return 0;
}

/* --- answers --- */

static ssize_t read_body(nghttp2_session *ng, int32_t stream_id, uint8_t *buf, size_t max, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct http_exchange *ex = source->ptr;
    (void)ng;
    (void)stream_id;
    (void)buf;
    (void)user;
    size_t n = ex->queued_bytes < max ? ex->queued_bytes : max;
    if (n == 0 && !ex->is_ended) {
        ex->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (ex->is_ended && n == ex->queued_bytes)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *frame_head, size_t n,
                     nghttp2_data_source *source, void *user)
{
    enum { FRAME_HEAD_BYTES = 9 };
    struct h2_session *s = user;
    struct http_exchange *ex = source->ptr;
    (void)ng;
    assert(frame->data.padlen == 0);
    (void)frame;
    stream_write(s->base.below, frame_head, FRAME_HEAD_BYTES);
    while (n > 0) {
        const uint8_t *p;
        size_t piece = exchange_peek(ex, n, &p);
        stream_write(s->base.below, p, piece);
        exchange_consume(ex, piece);
        n -= piece;
    }
    s->has_sent_data = true;
    return conn_is_full(&s->base) ? NGHTTP2_ERR_PAUSE : 0;
}

/* An answer that came before its request was whole: the client need not send the rest. src: RFC 9113 8.1 */
static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct http_exchange *ex = ends ? exchange_of(user, frame->hd.stream_id) : NULL;
    if (ex != NULL && !ex->is_request_complete)
        reset_stream(user, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static bool has_body(const struct http_exchange *ex)
{
    return !ex->is_head && !status_has_no_body(ex->status) && (ex->is_streaming || ex->content_length > 0);
}

static void ops_start(struct http_exchange *ex)
{
    struct h2_session *s = (struct h2_session *)ex->conn;
    if (s->base.is_dead)
        return;
    char status[8];
    char length[24];
    nghttp2_nv nv[MAX_RESPONSE_FIELDS];
    size_t n = 0;
    snprintf(status, sizeof(status), "%d", ex->status);
    nv[n++] = field(STR(":status"), str_c(status));
    nv[n++] = field(STR("date"), str_c(server_date(s->base.server)));
    if (!ex->is_streaming && !status_has_no_body(ex->status)) {
        snprintf(length, sizeof(length), "%zu", ex->content_length);
        nv[n++] = field(STR("content-length"), str_c(length));
    }
    for (size_t i = 0; i < ex->res_headers_n && n < MAX_RESPONSE_FIELDS; i++)
        nv[n++] = field(ex->res_headers[i].name, ex->res_headers[i].value);
    nghttp2_data_provider body = {.source.ptr = ex, .read_callback = read_body};
    int rv = nghttp2_submit_response(s->ng, ex->stream_id, nv, n, has_body(ex) ? &body : NULL);
    must(s, rv);
    if (rv != 0)
        reset_stream(s, ex->stream_id, NGHTTP2_INTERNAL_ERROR);
}

static void ops_wake(struct http_exchange *ex)
{
    struct h2_session *s = (struct h2_session *)ex->conn;
    if (s->base.is_dead)
        return;
    if (ex->is_deferred && (ex->queued_bytes > 0 || ex->is_ended)) {
        ex->is_deferred = false;
        must(s, nghttp2_session_resume_data(s->ng, ex->stream_id));
    }
    loop_defer(s->base.below->loop, &s->task);
}

static void ops_abort(struct http_exchange *ex)
{
    struct h2_session *s = (struct h2_session *)ex->conn;
    if (s->base.is_dead)
        return;
    reset_stream(s, ex->stream_id, NGHTTP2_INTERNAL_ERROR);
    loop_defer(s->base.below->loop, &s->task);
}

/* --- running --- */

static struct http_exchange *pop_todo(struct list *list)
{
    if (list_is_empty(list))
        return NULL;
    struct http_exchange *ex = LIST_ENTRY(list->next, struct http_exchange, todo);
    list_remove(&ex->todo);
    return ex;
}

/* Lets owners and handlers know what the library's callbacks noted. */
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
        exchange_check_drained(LIST_ENTRY(it, struct http_exchange, entry));
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
    while (!conn_is_full(&s->base)) {
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
        conn_die(&s->base, false);
        return;
    }
    settle(s);
    if (s->base.is_dead)
        return;
    look_after_drained(s);
    if (s->base.is_dead)
        return;
    set_paused(s, conn_is_full(&s->base) || buf_len(&s->held) > 0);
    if (!nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng))
        conn_die(&s->base, true);
}

static void run_task(struct loop_task *task)
{
    flush(CONTAINER_OF(task, struct h2_session, task));
}

/* The library can read no further; what is wrong is still told. */
static void give_up(struct h2_session *s, int error)
{
    bool is_flood = error == NGHTTP2_ERR_FLOODED;
    bool is_full = error == NGHTTP2_ERR_NOMEM; /* of its budget: what it would say has no place either */
    count_refusal(is_full ? HTTP_REFUSED_HEAD : is_flood ? HTTP_REFUSED_FLOOD : HTTP_REFUSED_PROTOCOL);
    log_limited(LOG_DEBUG, "HTTP/2 session closed", LOG_S("reason", nghttp2_strerror(error)),
                LOG_U("held", budget_used(&s->base.budget)), LOG_U("streams", s->open_n));
    if (is_full) {
        conn_die(&s->base, false);
        return;
    }
    nghttp2_session_terminate_session(s->ng, is_flood ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    conn_die(&s->base, send_output(s));
}

static bool is_over_soft_limit(const struct h2_session *s)
{
    return !fits(budget_used(&s->base.budget), 0, s->base.soft_bytes);
}

/* Refusals that wait for the end of the turn are memory too: who asks for many at once gets them at once. */
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

/* What cannot be read in this turn waits: not more than one call's worth, since the layer below is paused. */
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
        if (conn_must_rest(&s->base)) {
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
    conn_die(ctx, false);
}

/* --- the rest of the table --- */

/* GOAWAY with what was taken up so far; the library then wants no more as soon as the last stream is closed. */
static void say_goodbye(struct h2_session *s)
{
    must(s, nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(s->ng),
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
        struct http_exchange *ex = LIST_ENTRY(it, struct http_exchange, entry);
        if (ex->is_request_complete || ex->is_dispatched || ex->refuse_status != 0 || now_ms < ex->deadline_ms)
            continue;
        count_refusal(HTTP_REFUSED_TIMEOUT);
        ex->refuse_status = 408;
        make_ready(s, ex);
    }
    settle(s);
}

/* Streams whose window is closed: what waits for them would wait for ever. Strangers are not given another chance. */
static void sweep_stalled(struct h2_session *s, int64_t now_ms)
{
    LIST_EACH (it, &s->base.exchanges) {
        struct http_exchange *ex = LIST_ENTRY(it, struct http_exchange, entry);
        if (!exchange_is_stalled(ex, now_ms))
            continue;
        count_refusal(HTTP_REFUSED_STALLED);
        if (!s->base.is_known) {
            conn_die(&s->base, false);
            return;
        }
        log_limited(LOG_DEBUG, "HTTP/2 stream reset: its client takes nothing of the answer");
        ex->stall_since_ms = now_ms;
        reset_stream(s, ex->stream_id, NGHTTP2_CANCEL);
        loop_defer(s->base.below->loop, &s->task);
    }
}

static void ops_sweep(struct http_conn *conn, int64_t now_ms)
{
    struct h2_session *s = (struct h2_session *)conn;
    const struct http_server_opts *opts = server_opts(conn->server);
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
        conn_die(conn, true);
    } else if (s->dies_at_ms == 0 && idle_ms >= conn_patience_ms(conn, opts->h2_idle_timeout_ms)) {
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

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}

static void make_ng(struct h2_session *s)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    int rv = nghttp2_session_callbacks_new(&cb);
    assert(rv == 0);
    rv = nghttp2_option_new(&option);
    assert(rv == 0);
    set_callbacks(cb);
    /* Our few response headers gain nothing from a table, and a session would keep it for ever. */
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    /* Ours is met first, and counts it; the library's own, by whole seconds, would end the session without a word. */
    nghttp2_option_set_stream_reset_rate_limit(option, 2 * FLOOD_BURST, 2 * FLOOD_PER_S);
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
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server_opts(s->base.server)->h2_max_streams},
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
    static const struct http_conn_ops ops = {ops_start, ops_wake,   ops_abort, NULL, /* no stream to take */
                                             ops_drain, ops_resume, ops_sweep, ops_free};
    static const struct stream_events events = {on_data, on_drained, on_closed};
    struct h2_session *s = MEM_NEW(struct h2_session);
    s->task.run = run_task;
    list_init(&s->ready);
    list_init(&s->gone);
    s->flood_tokens = FLOOD_BURST;
    conn_open_budget(&s->base, server);
    make_ng(s);
    conn_init(&s->base, &ops, server, below, &events, conn_ctx);
    s->flood_at_ms = s->idle_since_ms = conn_now(&s->base);
    send_settings(s);
    if (server_is_draining(server))
        say_goodbye(s);
    return &s->base;
}
