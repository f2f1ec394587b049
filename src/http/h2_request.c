/* What comes in on an HTTP/2 session: heads and bodies of requests, and frames that flood. src: RFC 9113 */
#include "base/fits.h"
#include "http/h1_parse.h"
#include "http/h2_internal.h"

LOG_MODULE("http");

static void refuse(struct h2_session *s, struct http_exchange *ex, int status)
{
    if (ex->refuse_status != 0 || ex->is_dispatched)
        return;
    http_count_refusal(status == 413 || status == 429 ? HTTP_REFUSED_BODY : HTTP_REFUSED_HEAD);
    ex->refuse_status = status;
    h2_make_ready(s, ex);
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    /* Not even an answer would fit: earlier requests have to end first. */
    if (!fits(budget_used(&s->base.budget), sizeof(struct http_exchange), s->base.soft_bytes)) {
        http_count_refusal(HTTP_REFUSED_HEAD);
        h2_reset_stream(s, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    struct http_exchange *ex = exchange_create(&s->base);
    ex->stream_id = frame->hd.stream_id;
    ex->req.version = 20;
    ex->deadline_ms = http_conn_now(&s->base) +
                      http_conn_patience_ms(&s->base, http_server_options(s->base.server)->body_timeout_ms);
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

/* A request that is refused because of its head does not need it any more. */
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
    struct http_exchange *ex = h2_exchange(s, frame->hd.stream_id);
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
        h2_make_ready(s, ex);
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
    h2_make_ready(s, ex);
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t stream_id, const uint8_t *p, size_t n, void *user)
{
    struct h2_session *s = user;
    (void)ng;
    (void)flags;
    struct http_exchange *ex = h2_exchange(s, stream_id);
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
    int64_t now_ms = http_conn_now(&s->base);
    int64_t earned = (now_ms - s->flood_at_ms) * H2_FLOOD_PER_S / 1000;
    if (earned > 0) {
        s->flood_tokens = s->flood_tokens + earned < H2_FLOOD_BURST ? s->flood_tokens + earned : H2_FLOOD_BURST;
        s->flood_at_ms = now_ms;
    }
    bool was_fine = s->flood_tokens >= 0;
    s->flood_tokens -= tokens;
    if (s->flood_tokens >= 0 || !was_fine)
        return;
    http_count_refusal(HTTP_REFUSED_FLOOD);
    log_limited(LOG_WARN, "HTTP/2 session closed: too many frames that carry nothing");
    h2_must(s, nghttp2_session_terminate_session(s->ng, NGHTTP2_ENHANCE_YOUR_CALM));
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
    struct http_exchange *ex = h2_exchange(s, frame->hd.stream_id);
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
    http_count_refusal(HTTP_REFUSED_PROTOCOL);
    log_limited(LOG_DEBUG, "invalid HTTP/2 frame", LOG_S("reason", nghttp2_strerror(error)));
    charge(user, 10);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t stream_id, uint32_t error, void *user)
{
    struct h2_session *s = user;
    (void)ng;
    (void)error;
    struct http_exchange *ex = h2_exchange(s, stream_id);
    if (ex == NULL)
        return 0;
    if (!ex->is_request_complete)
        s->incomplete_n--;
    if (--s->open_n == 0)
        s->idle_since_ms = http_conn_now(&s->base);
    list_remove(&ex->todo);
    list_push_back(&s->gone, &ex->todo);
    return 0;
}

void h2_request_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
