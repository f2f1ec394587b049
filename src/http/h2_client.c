#include "http/h2_client.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "http/h2_mem.h"

struct client_stream {
    struct list link;
    struct buf body;
    int32_t id;
    int status;
    bool stays_open; /* no END_STREAM after the body */
};

struct h2_client {
    struct loop *loop;
    struct stream *below; /* owned; null once closed */
    nghttp2_session *ng;
    struct budget budget; /* no limit: the server is the one that was asked for */
    struct h2_mem mem;    /* thousands of clients share one frame buffer */
    struct loop_task task;
    struct list streams;
    const struct h2_client_events *events;
    void *ctx;
};

static struct client_stream *stream_of(struct h2_client *c, int32_t id)
{
    return nghttp2_session_get_stream_user_data(c->ng, id);
}

static void stream_free(struct client_stream *cs)
{
    list_remove(&cs->link);
    buf_fini(&cs->body);
    mem_free(cs);
}

/* --- callbacks of the library --- */

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_client *c = user;
    (void)ng;
    (void)flags;
    struct client_stream *cs = stream_of(c, frame->hd.stream_id);
    uint64_t status;
    if (cs != NULL && str_eq_c(str_n(name, name_len), ":status") &&
        str_to_u64(str_n(value, value_len), &status) == RC_OK)
        cs->status = (int)status;
    else if (c->events->header != NULL)
        c->events->header(c->ctx, frame->hd.stream_id, str_n(name, name_len), str_n(value, value_len));
    return 0;
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_client *c = user;
    (void)ng;
    struct client_stream *cs = stream_of(c, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_HEADERS && cs != NULL && c->events->response != NULL)
        c->events->response(c->ctx, frame->hd.stream_id, cs->status);
    if (frame->hd.type == NGHTTP2_GOAWAY && c->events->goaway != NULL)
        c->events->goaway(c->ctx, frame->goaway.error_code);
    return 0;
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *user)
{
    struct h2_client *c = user;
    (void)ng;
    (void)flags;
    if (c->events->data != NULL)
        c->events->data(c->ctx, id, p, n);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error, void *user)
{
    struct h2_client *c = user;
    (void)ng;
    struct client_stream *cs = stream_of(c, id);
    if (cs != NULL)
        stream_free(cs);
    if (c->events->ended != NULL)
        c->events->ended(c->ctx, id, error);
    return 0;
}

static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *out, size_t max, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct client_stream *cs = source->ptr;
    (void)ng;
    (void)id;
    (void)user;
    size_t n = buf_len(&cs->body) < max ? buf_len(&cs->body) : max;
    if (n == 0 && cs->stays_open)
        return NGHTTP2_ERR_DEFERRED;
    if (n > 0)
        memcpy(out, buf_at(&cs->body), n);
    buf_consume(&cs->body, n);
    if (buf_len(&cs->body) == 0 && !cs->stays_open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* --- the stream below --- */

static void wake(struct h2_client *c)
{
    if (c->below != NULL)
        loop_defer(c->below->loop, &c->task);
}

static void end(struct h2_client *c, enum rc why)
{
    stream_close(&c->below, false);
    while (!list_is_empty(&c->streams)) {
        struct client_stream *cs = LIST_ENTRY(c->streams.next, struct client_stream, link);
        int32_t id = cs->id;
        stream_free(cs);
        if (c->events->ended != NULL)
            c->events->ended(c->ctx, id, NGHTTP2_INTERNAL_ERROR);
    }
    if (c->events->closed != NULL)
        c->events->closed(c->ctx, why);
}

static void run_task(struct loop_task *task)
{
    struct h2_client *c = CONTAINER_OF(task, struct h2_client, task);
    const uint8_t *p;
    ssize_t n;
    while (c->below != NULL && (n = nghttp2_session_mem_send(c->ng, &p)) > 0)
        stream_write(c->below, p, (size_t)n);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct h2_client *c = ctx;
    if (nghttp2_session_mem_recv(c->ng, p, n) < 0)
        end(c, RC_INVALID);
    else
        wake(c);
}

static void on_closed(void *ctx, enum rc why)
{
    end(ctx, why);
}

/* --- calls --- */

struct h2_client *h2_client_create(struct stream *s, bool manual_window, const struct h2_client_events *events,
                                   void *ctx)
{
    static const struct stream_events stream_events = {on_data, NULL, on_closed};
    struct h2_client *c = MEM_NEW(struct h2_client);
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    int rv = nghttp2_session_callbacks_new(&cb);
    rv |= nghttp2_option_new(&option);
    assert(rv == 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, manual_window);
    nghttp2_option_set_no_closed_streams(option, 1);
    budget_init(&c->budget, NULL, 0, SIZE_MAX);
    h2_mem_init(&c->mem, &c->budget);
    c->mem.is_creating = true;
    rv = nghttp2_session_client_new3(&c->ng, cb, c, option, &c->mem.mem);
    c->mem.is_creating = false;
    assert(rv == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    /* As official clients do. */
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 4 * 1024 * 1024}};
    rv = nghttp2_submit_settings(c->ng, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    rv |= nghttp2_session_set_local_window_size(c->ng, NGHTTP2_FLAG_NONE, 0, 1 << 30);
    assert(rv == 0);
    (void)rv;
    list_init(&c->streams);
    c->loop = s->loop;
    c->below = s;
    c->events = events;
    c->ctx = ctx;
    c->task.run = run_task;
    stream_set_events(s, &stream_events, c);
    /* At once: the library has put the client's preface into the frame buffer that all sessions share. */
    run_task(&c->task);
    return c;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static int32_t request(struct h2_client *c, const char *method, const char *authority, const char *path,
                       struct str body, bool stays_open)
{
    struct client_stream *cs = MEM_NEW(struct client_stream);
    list_push_back(&c->streams, &cs->link);
    buf_append_str(&cs->body, body);
    cs->stays_open = stays_open;
    const nghttp2_nv nv[] = {field(":method", method), field(":scheme", "https"), field(":authority", authority),
                             field(":path", path), field("user-agent", "Go-http-client/2.0")};
    nghttp2_data_provider provider = {.source.ptr = cs, .read_callback = read_body};
    bool has_body = body.len > 0 || stays_open;
    cs->id = nghttp2_submit_request(c->ng, NULL, nv, ARRAY_LEN(nv), has_body ? &provider : NULL, cs);
    int32_t id = cs->id;
    if (id < 0)
        stream_free(cs);
    wake(c);
    return id;
}

int32_t h2_client_request(struct h2_client *c, const char *method, const char *authority, const char *path,
                          struct str body)
{
    return request(c, method, authority, path, body, false);
}

int32_t h2_client_request_open(struct h2_client *c, const char *method, const char *authority, const char *path,
                               struct str body)
{
    return request(c, method, authority, path, body, true);
}

void h2_client_cancel(struct h2_client *c, int32_t id)
{
    nghttp2_submit_rst_stream(c->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    wake(c);
}

void h2_client_ping(struct h2_client *c)
{
    nghttp2_submit_ping(c->ng, NGHTTP2_FLAG_NONE, NULL);
    wake(c);
}

void h2_client_consume(struct h2_client *c, int32_t id, size_t n)
{
    nghttp2_session_consume(c->ng, id, n);
    wake(c);
}

void h2_client_grant(struct h2_client *c, int32_t id, size_t n)
{
    nghttp2_submit_window_update(c->ng, NGHTTP2_FLAG_NONE, id, (int32_t)n);
    nghttp2_submit_window_update(c->ng, NGHTTP2_FLAG_NONE, 0, (int32_t)n);
    wake(c);
}

static void client_free(void *obj)
{
    struct h2_client *c = obj;
    loop_defer_cancel(&c->task);
    nghttp2_session_del(c->ng);
    mem_free(c);
}

void h2_client_destroy(struct h2_client **at)
{
    static const struct h2_client_events silence = {0};
    struct h2_client *c = *at;
    *at = NULL;
    if (c == NULL)
        return;
    stream_close(&c->below, false);
    while (!list_is_empty(&c->streams)) {
        struct client_stream *cs = LIST_ENTRY(c->streams.next, struct client_stream, link);
        nghttp2_session_set_stream_user_data(c->ng, cs->id, NULL);
        stream_free(cs);
    }
    /* May be called from one of the events: the library is on the stack then. */
    c->events = &silence;
    loop_free_later(c->loop, c, client_free);
}
