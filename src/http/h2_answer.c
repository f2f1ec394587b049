/* What goes out on an HTTP/2 session: heads of answers, and their bodies without copying them. src: RFC 9113 */
#include <assert.h>
#include <stdio.h>

#include "http/h2_internal.h"

enum { MAX_RESPONSE_FIELDS = 80 };

static nghttp2_nv field(struct str name, struct str value)
{
    return (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.len, value.len, NGHTTP2_NV_FLAG_NONE};
}

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
    return http_conn_is_full(&s->base) ? NGHTTP2_ERR_PAUSE : 0;
}

/* An answer that came before its request was whole: the client need not send the rest. src: RFC 9113 8.1 */
static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct http_exchange *ex = ends ? h2_exchange(user, frame->hd.stream_id) : NULL;
    if (ex != NULL && !ex->is_request_complete)
        h2_reset_stream(user, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static bool has_body(const struct http_exchange *ex)
{
    return !ex->is_head && !http_status_has_no_body(ex->status) && (ex->is_streaming || ex->content_length > 0);
}

void h2_answer_start(struct http_exchange *ex)
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
    nv[n++] = field(STR("date"), str_c(http_server_date(s->base.server)));
    if (!ex->is_streaming && !http_status_has_no_body(ex->status)) {
        snprintf(length, sizeof(length), "%zu", ex->content_length);
        nv[n++] = field(STR("content-length"), str_c(length));
    }
    for (size_t i = 0; i < ex->res_headers_n && n < MAX_RESPONSE_FIELDS; i++)
        nv[n++] = field(ex->res_headers[i].name, ex->res_headers[i].value);
    nghttp2_data_provider body = {.source.ptr = ex, .read_callback = read_body};
    int rv = nghttp2_submit_response(s->ng, ex->stream_id, nv, n, has_body(ex) ? &body : NULL);
    h2_must(s, rv);
    if (rv != 0)
        h2_reset_stream(s, ex->stream_id, NGHTTP2_INTERNAL_ERROR);
}

void h2_answer_wake(struct http_exchange *ex)
{
    struct h2_session *s = (struct h2_session *)ex->conn;
    if (s->base.is_dead)
        return;
    if (ex->is_deferred && (ex->queued_bytes > 0 || ex->is_ended)) {
        ex->is_deferred = false;
        h2_must(s, nghttp2_session_resume_data(s->ng, ex->stream_id));
    }
    loop_defer(s->base.below->loop, &s->task);
}

void h2_answer_abort(struct http_exchange *ex)
{
    struct h2_session *s = (struct h2_session *)ex->conn;
    if (s->base.is_dead)
        return;
    h2_reset_stream(s, ex->stream_id, NGHTTP2_INTERNAL_ERROR);
    loop_defer(s->base.below->loop, &s->task);
}

void h2_answer_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
}
