/* The life of a request and its answer, apart from how they look on the wire. */
#include <assert.h>
#include <stdio.h>

#include "base/fits.h"
#include "base/mem.h"
#include "http/http_internal.h"

LOG_MODULE("http");

enum {
    KEEP_PIECES = 8,        /* slots that an idle stream keeps */
    STALL_BYTES = 4 * 1024, /* the peer must take this much within the stall limit, or all that waits */
    MAX_RESPONSE_HEADERS = 64,
};

/* --- life --- */

static bool is_listed_proxy(const struct http_conn *conn)
{
    const struct http_server_opts *opts = http_server_options(conn->server);
    return opts->is_proxy != NULL && opts->is_proxy(opts->proxy_ctx, &conn->tcp_peer);
}

struct http_exchange *exchange_create(struct http_conn *conn)
{
    struct http_exchange *ex = MEM_NEW(struct http_exchange);
    ex->conn = conn;
    ex->max_body_bytes = http_server_options(conn->server)->max_body_bytes;
    (void)exchange_charge(ex); /* a caller that makes many at once looks at the budget first */
    ex->req.peer = conn->tcp_peer;
    ex->req.is_peer_sure = !is_listed_proxy(conn);
    ex->req.local = conn->below->local;
    ex->req.is_tls = conn->below->is_tls;
    ex->req.conn_ctx = conn->ctx;
    ex->req.path = ex->req.query = ex->req.authority = ex->req.body = STR_EMPTY;
    list_init(&ex->todo);
    list_push_back(&conn->exchanges, &ex->link);
    return ex;
}

static void free_now(void *obj)
{
    struct http_exchange *ex = obj;
    while (ex->pieces_n > 0)
        exchange_consume(ex, ex->pieces[ex->pieces_first]->len - ex->piece_sent);
    mem_free(ex->pieces);
    buf_fini(&ex->body);
    arena_fini(&ex->arena);
    http_conn_freed(ex->conn, ex->charged_bytes);
    mem_free(ex);
}

void exchange_free(struct http_exchange *ex)
{
    struct http_conn *conn = ex->conn;
    if (conn->in_handler == ex)
        conn->in_handler = NULL;
    list_remove(&ex->link);
    list_remove(&ex->todo);
    http_conn_frees(conn);
    ex->is_owned = false;
    loop_free_later(http_server_options(conn->server)->loop, ex, free_now);
}

void exchange_close(struct http_exchange *ex)
{
    const struct http_events *events = ex->is_owned ? ex->events : NULL;
    void *ctx = ex->events_ctx;
    exchange_free(ex);
    if (events != NULL)
        events->closed(ctx);
}

/* --- what it holds --- */

static size_t held_bytes(const struct http_exchange *ex)
{
    size_t held = sizeof(*ex) + ex->arena.held_bytes + ex->body.cap + ex->pieces_cap * sizeof(*ex->pieces);
    /* What is queued for known parties is shared by many, and bounded by its owner. */
    return ex->conn->is_known ? held : held + ex->queued_bytes;
}

bool exchange_charge(struct http_exchange *ex)
{
    size_t held = held_bytes(ex), charged = ex->charged_bytes;
    ex->charged_bytes = held;
    if (held <= charged) {
        budget_give(&ex->conn->budget, charged - held);
        return true;
    }
    if (http_conn_hold(ex->conn, held - charged))
        return true;
    budget_force(&ex->conn->budget, held - charged);
    return false;
}

bool exchange_is_stalled(struct http_exchange *ex, int64_t now_ms)
{
    bool moves = ex->queued_bytes == 0 || ex->stall_since_ms == 0 || ex->sent_bytes - ex->stall_mark >= STALL_BYTES;
    if (moves) {
        ex->stall_since_ms = now_ms;
        ex->stall_mark = ex->sent_bytes;
    }
    return now_ms - ex->stall_since_ms >=
           http_conn_patience_ms(ex->conn, http_server_options(ex->conn->server)->stall_timeout_ms);
}

/* The memory of the request is freed, but later: the handler may still be looking at it. */
struct request_memory {
    struct http_conn *conn;
    size_t charged_bytes;
    struct arena arena;
    struct buf body;
};

static void free_request_memory(void *obj)
{
    struct request_memory *m = obj;
    arena_fini(&m->arena);
    buf_fini(&m->body);
    http_conn_freed(m->conn, m->charged_bytes);
    mem_free(m);
}

static void drop_request(struct http_exchange *ex)
{
    struct request_memory *m = MEM_NEW(struct request_memory);
    m->conn = ex->conn;
    m->charged_bytes = ex->arena.held_bytes + ex->body.cap; /* charged until then */
    (void)exchange_charge(ex);
    ex->charged_bytes -= m->charged_bytes;
    http_conn_frees(ex->conn);
    m->arena = ex->arena;
    ex->arena = (struct arena){0};
    buf_move(&m->body, &ex->body);
    loop_free_later(http_server_options(ex->conn->server)->loop, m, free_request_memory);
    ex->res_headers = NULL;
    ex->res_headers_n = ex->res_headers_cap = 0;
}

/* --- the request --- */

void http_know(struct http_exchange *ex, const void *key, size_t key_len)
{
    if (!is_listed_proxy(ex->conn) && !addr_is_loopback(&ex->conn->tcp_peer))
        http_conn_know(ex->conn, key, key_len);
}

/* Finds the client behind a proxy, to which the limits apply. False: the client holds as many places as it may. */
static bool see_through_proxy(struct http_exchange *ex)
{
    const struct http_server_opts *opts = http_server_options(ex->conn->server);
    bool is_listed = is_listed_proxy(ex->conn);
    bool is_inner = ex->conn->ctx != NULL; /* a proxy connects outside the handshake, the client inside */
    struct addr client;
    if (is_inner || !(is_listed || addr_is_loopback(&ex->conn->tcp_peer)) ||
        !http_host_forwarded_for(&ex->req, opts, &client))
        return true;
    ex->req.peer = client;
    ex->req.is_peer_sure = is_listed;
    return stream_comes_from(ex->conn->below, &client) == BUDGET_OK;
}

int exchange_route(struct http_exchange *ex)
{
    const struct http_server_opts *opts = http_server_options(ex->conn->server);
    unsigned allowed = 0;
    ex->is_head = ex->req.method == HTTP_HEAD;
    if (!see_through_proxy(ex))
        return 429;
    (void)router_match(ex->conn->server, ex, &allowed);
    if ((ex->route == NULL || !ex->route->any_host) && !http_host_is_ours(opts->hosts, ex->req.authority))
        return 421;
    if (ex->route != NULL) {
        if (ex->route->max_body_bytes > 0)
            ex->max_body_bytes = ex->route->max_body_bytes;
        if (!ex->conn->is_known && ex->max_body_bytes > HTTP_STRANGER_BODY_BYTES)
            ex->max_body_bytes = HTTP_STRANGER_BODY_BYTES;
        return 0;
    }
    if (allowed == 0)
        return 404;
    char text[64];
    router_allow_text(allowed, text, sizeof(text));
    http_set_header(ex, "allow", str_c(text));
    return 405;
}

static void run_handler(struct http_exchange *ex, http_handler handle, void *app)
{
    struct http_conn *conn = ex->conn;
    ex->is_dispatched = true;
    ex->is_owned = true;
    ex->req.body = buf_str(&ex->body);
    conn->in_handler = ex;
    handle(app, ex);
    bool is_here = conn->in_handler == ex;
    conn->in_handler = NULL;
    if (!is_here || !ex->is_owned || ex->events != NULL)
        return;
    log_error("a handler returned without an answer", LOG_STR("path", ex->req.path));
    if (ex->status == 0)
        http_respond_text(ex, 500, NULL);
    else
        http_stream_end(ex);
}

void exchange_dispatch(struct http_exchange *ex)
{
    run_handler(ex, ex->route->handle, ex->app);
}

static void answer_404(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond_text(ex, 404, NULL);
}

static void answer_unmatched_404(void *app, struct http_exchange *ex)
{
    http_server_options(ex->conn->server)->unmatched(app, ex, 404);
}

static void answer_unmatched_405(void *app, struct http_exchange *ex)
{
    http_server_options(ex->conn->server)->unmatched(app, ex, 405);
}

static void answer_405(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond_text(ex, 405, NULL);
}

void exchange_refuse(struct http_exchange *ex, int status, const char *text)
{
    const struct http_server_opts *opts = http_server_options(ex->conn->server);
    if (status == 404 && text == NULL) {
        run_handler(ex, opts->unmatched != NULL ? answer_unmatched_404 : answer_404, opts->app);
        return;
    }
    if (status == 405 && text == NULL) {
        run_handler(ex, opts->unmatched != NULL ? answer_unmatched_405 : answer_405, opts->app);
        return;
    }
    ex->is_dispatched = true;
    ex->is_owned = true;
    if (status == 421 && text == NULL)
        text = "this server is not called that: it answers to the host of its server_url, to addresses, and to the "
               "names in allowed_hosts of its configuration";
    http_respond_text(ex, status, text);
}

enum rc exchange_append_body(struct http_exchange *ex, const uint8_t *p, size_t n)
{
    if (!fits(buf_len(&ex->body), n, ex->max_body_bytes))
        return RC_TOO_LARGE;
    size_t more = buf_cap_with(&ex->body, n) - ex->body.cap;
    if (!http_conn_hold(ex->conn, more))
        return RC_LIMIT;
    ex->charged_bytes += more;
    buf_append(&ex->body, p, n);
    return RC_OK;
}

/* --- the queue of the answer's body --- */

static struct rcbuf **piece_slot(const struct http_exchange *ex, size_t i)
{
    return &ex->pieces[(ex->pieces_first + i) % ex->pieces_cap];
}

static void grow_pieces(struct http_exchange *ex)
{
    size_t cap = ex->pieces_cap > 0 ? 2 * ex->pieces_cap : KEEP_PIECES / 2;
    struct rcbuf **pieces = mem_zalloc(cap, sizeof(struct rcbuf *));
    for (size_t i = 0; i < ex->pieces_n; i++)
        pieces[i] = *piece_slot(ex, i);
    mem_free(ex->pieces);
    ex->pieces = pieces;
    ex->pieces_cap = cap;
    ex->pieces_first = 0;
}

static void push_piece(struct http_exchange *ex, struct rcbuf *piece)
{
    if (piece->len == 0 || ex->is_head) {
        rcbuf_unref(&piece);
        return;
    }
    if (ex->pieces_n == ex->pieces_cap)
        grow_pieces(ex);
    ex->pieces_n++;
    *piece_slot(ex, ex->pieces_n - 1) = piece;
    ex->queued_bytes += piece->len;
    if (ex->queued_bytes > STREAM_HIGH_WATER)
        ex->was_high = true;
}

size_t exchange_peek(const struct http_exchange *ex, size_t max, const uint8_t **p_out)
{
    if (ex->pieces_n == 0)
        return 0;
    const struct rcbuf *piece = *piece_slot(ex, 0);
    size_t n = piece->len - ex->piece_sent;
    *p_out = piece->data + ex->piece_sent;
    return n < max ? n : max;
}

void exchange_consume(struct http_exchange *ex, size_t n)
{
    while (n > 0) {
        struct rcbuf **piece = piece_slot(ex, 0);
        size_t left = (*piece)->len - ex->piece_sent;
        size_t take = n < left ? n : left;
        ex->piece_sent += take;
        ex->queued_bytes -= take;
        ex->sent_bytes += take;
        n -= take;
        if (take < left)
            return;
        rcbuf_unref(piece);
        ex->pieces_first = (ex->pieces_first + 1) % ex->pieces_cap;
        ex->pieces_n--;
        ex->piece_sent = 0;
    }
    if (ex->pieces_n == 0 && ex->pieces_cap > KEEP_PIECES) {
        mem_free(ex->pieces);
        ex->pieces = NULL;
        ex->pieces_cap = ex->pieces_first = 0;
    }
}

void exchange_check_drained(struct http_exchange *ex)
{
    if (!ex->was_high || ex->queued_bytes > STREAM_HIGH_WATER / 2)
        return;
    ex->was_high = false;
    if (ex->is_owned && ex->events != NULL && ex->events->drained != NULL)
        ex->events->drained(ex->events_ctx);
}

/* --- what handlers call --- */

void http_set_events(struct http_exchange *ex, const struct http_events *events, void *ctx)
{
    assert(ex->is_owned && events->closed != NULL);
    ex->events = events;
    ex->events_ctx = ctx;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

void http_set_header(struct http_exchange *ex, const char *name, struct str value)
{
    assert(ex->status == 0 && ex->res_headers_n < MAX_RESPONSE_HEADERS);
    if (ex->res_headers_n == ex->res_headers_cap) {
        size_t cap = ex->res_headers_cap > 0 ? 2 * ex->res_headers_cap : 8;
        struct http_header *bigger = arena_zalloc(&ex->arena, cap, sizeof(*bigger));
        if (ex->res_headers_n > 0)
            memcpy(bigger, ex->res_headers, ex->res_headers_n * sizeof(*bigger));
        ex->res_headers = bigger;
        ex->res_headers_cap = cap;
    }
    struct http_header *h = &ex->res_headers[ex->res_headers_n++];
    h->name = arena_str(&ex->arena, str_c(name));
    h->value = arena_str(&ex->arena, value);
    for (char *p = (char *)h->name.p; *p != '\0'; p++)
        *p = lower(*p);
    for (char *p = (char *)h->value.p; p < h->value.p + h->value.len; p++) {
        if (*p == '\r' || *p == '\n' || *p == '\0')
            *p = ' ';
    }
}

void http_set_browser_headers(struct http_exchange *ex)
{
    http_set_header(
        ex, "content-security-policy",
        STR("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"));
    http_set_header(ex, "x-frame-options", STR("DENY"));
    http_set_header(ex, "x-content-type-options", STR("nosniff"));
    http_set_header(ex, "referrer-policy", STR("no-referrer"));
    if (ex->req.is_tls)
        http_set_header(ex, "strict-transport-security", STR("max-age=63072000"));
}

static void start(struct http_exchange *ex, int status, const char *content_type)
{
    assert(ex->is_owned && ex->status == 0 && status >= 200 && status <= 599);
    if (content_type != NULL)
        http_set_header(ex, "content-type", str_c(content_type));
    ex->status = status;
    http_count_request(status);
}

void http_respond_ref(struct http_exchange *ex, int status, const char *content_type, struct rcbuf *body)
{
    start(ex, status, content_type);
    ex->content_length = body->len;
    push_piece(ex, body);
    ex->is_ended = true;
    ex->is_owned = false;
    ex->conn->ops->start(ex);
    ex->conn->ops->wake(ex);
    drop_request(ex);
}

void http_respond(struct http_exchange *ex, int status, const char *content_type, struct str body)
{
    http_respond_ref(ex, status, content_type, rcbuf_create(body.p, body.len));
}

void http_respond_text(struct http_exchange *ex, int status, const char *text)
{
    char line[1024];
    int n = text != NULL ? snprintf(line, sizeof(line), "%s\n", text)
                         : snprintf(line, sizeof(line), "%d %s\n", status, http_status_text(status));
    size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;
    http_respond(ex, status, "text/plain; charset=utf-8", str_n(line, len));
}

void http_respond_rc(struct http_exchange *ex, enum rc rc)
{
    http_respond_text(ex, rc_http_status(rc), rc_text(rc));
}

void http_abort(struct http_exchange *ex)
{
    assert(ex->is_owned);
    ex->is_owned = false;
    ex->conn->ops->abort(ex);
}

void http_stream_start(struct http_exchange *ex, int status, const char *content_type)
{
    start(ex, status, content_type);
    ex->is_streaming = true;
    ex->conn->ops->start(ex);
    ex->conn->ops->wake(ex);
    drop_request(ex);
}

void http_stream_push(struct http_exchange *ex, struct rcbuf *piece)
{
    assert(ex->is_owned && ex->is_streaming);
    push_piece(ex, piece);
    if (!ex->conn->is_known)
        (void)exchange_charge(ex);
    ex->conn->ops->wake(ex);
}

size_t http_stream_queued(const struct http_exchange *ex)
{
    return ex->queued_bytes;
}

size_t http_stream_drop_queued(struct http_exchange *ex)
{
    size_t keep = ex->piece_sent > 0 ? 1 : 0;
    size_t before = ex->queued_bytes;
    while (ex->pieces_n > keep) {
        struct rcbuf **piece = piece_slot(ex, --ex->pieces_n);
        ex->queued_bytes -= (*piece)->len;
        rcbuf_unref(piece);
    }
    return before - ex->queued_bytes;
}

void http_stream_end(struct http_exchange *ex)
{
    assert(ex->is_owned && ex->is_streaming);
    ex->is_ended = true;
    ex->is_owned = false;
    ex->conn->ops->wake(ex);
}

enum rc http_take_stream(struct http_exchange *ex, struct stream **out, struct buf *leftover)
{
    assert(ex->is_owned && ex->status == 0);
    if (ex->conn->ops->take == NULL)
        return RC_UNSUPPORTED;
    ex->is_owned = false;
    ex->conn->ops->take(ex, out, leftover);
    return RC_OK;
}
