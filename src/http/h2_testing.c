#include "http/h2_testing.h"

static void on_closed(void *ctx)
{
    ((struct app *)ctx)->closed_n++;
}

static void on_drained(void *ctx)
{
    ((struct app *)ctx)->drained_n++;
}

static const struct http_events events = {on_closed, on_drained};

static void echo(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    const struct http_request *req = http_request(ex);
    struct buf out = {0};
    a->handled_n++;
    assert_ptr_equal(req->conn_ctx, a);
    assert_int_equal(req->version, 20);
    int shown = req->body.len < 20 ? (int)req->body.len : 20;
    buf_printf(&out, "%.*s %.*s?%.*s %.*s [%zu:%.*s]", STR_ARG(req->method_name), STR_ARG(req->path),
               STR_ARG(req->query), STR_ARG(req->authority), req->body.len, shown, req->body.p);
    http_set_header(ex, "X-Thing", STR("1"));
    http_respond(ex, 200, "text/plain", buf_str(&out));
    buf_fini(&out);
}

static void later(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    a->handled_n++;
    assert_true(a->waiting_n < ARRAY_LEN(a->waiting));
    a->waiting[a->waiting_n++] = ex;
    http_set_events(ex, &events, a);
}

static void poll_stream(void *app, struct http_exchange *ex)
{
    later(app, ex);
    http_stream_start(ex, 200, "application/json");
}

static void close_conn(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    (void)ex;
    a->handled_n++;
    http_conn_close(a->conn);
}

static void no_take(void *app, struct http_exchange *ex)
{
    struct stream *s;
    struct buf leftover = {0};
    (void)app;
    assert_int_equal(http_take_stream(ex, &s, &leftover), RC_UNSUPPORTED);
    http_respond_rc(ex, RC_UNSUPPORTED);
}

static void refuse(void *app, struct http_exchange *ex)
{
    (void)app;
    http_abort(ex);
}

static void conn_gone(void *app, void *conn_ctx)
{
    struct app *a = app;
    assert_ptr_equal(app, conn_ctx);
    a->conn_gone_n++;
    a->conn = NULL;
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/echo", echo, 0}, {HTTP_POST, "/small", echo, 100},
    {HTTP_POST, "/later", later, 0},          {HTTP_GET | HTTP_POST, "/poll", poll_stream, 0},
    {HTTP_GET, "/close", close_conn, 0},      {HTTP_GET, "/take", no_take, 0},
    {HTTP_GET, "/refuse", refuse, 0},
};

struct reply *h2_app_reply_of(struct app *a, int32_t id)
{
    assert_true(id > 0 && id / 2 < MAX_REPLIES);
    return &a->replies[id / 2];
}

static void on_response(void *ctx, int32_t id, int status)
{
    h2_app_reply_of(ctx, id)->status = status;
}

static void on_data(void *ctx, int32_t id, const uint8_t *p, size_t n)
{
    struct reply *r = h2_app_reply_of(ctx, id);
    for (size_t i = 0; i < n && r->bytes + i < sizeof(r->text) - 1; i++)
        r->text[r->bytes + i] = (char)p[i];
    r->bytes += (unsigned)n;
    r->last_byte = n > 0 ? p[n - 1] : r->last_byte;
}

static void on_ended(void *ctx, int32_t id, uint32_t error)
{
    struct reply *r = h2_app_reply_of(ctx, id);
    r->is_ended = true;
    r->error = error;
}

static void on_goaway(void *ctx, uint32_t error)
{
    struct app *a = ctx;
    a->has_goaway = true;
    a->goaway_error = error;
}

static void on_client_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct app *)ctx)->is_client_closed = true;
}

const struct h2_client_events h2_app_events = {
    .response = on_response,
    .data = on_data,
    .ended = on_ended,
    .goaway = on_goaway,
    .closed = on_client_closed,
};

size_t h2_app_pool_bytes; /* of the next server; 0: default */

static struct app *open_apps;

struct stream *h2_app_open_server(struct app *a, size_t chunk)
{
    struct stream *server_end;
    struct stream *client_end;
    a->next_open = open_apps;
    open_apps = a;
    a->loop = loop_create(0);
    struct http_server_opts opts = {
        .loop = a->loop, .routes = routes, .routes_n = ARRAY_LEN(routes), .app = a, .conn_gone = conn_gone};
    opts.pool_bytes = h2_app_pool_bytes;
    a->server = http_server_create(&opts);
    stream_pair_create(a->loop, chunk, &server_end, &client_end);
    a->conn = http_server_attach_h2(a->server, server_end, a);
    return client_end;
}

struct app *h2_app_open(size_t chunk, bool manual_window)
{
    struct app *a = MEM_NEW(struct app);
    struct stream *end = h2_app_open_server(a, chunk);
    a->client = h2_client_create(end, manual_window, &h2_app_events, a);
    run_due(a->loop);
    return a;
}

void h2_app_close(struct app *a)
{
    struct app **at = &open_apps;
    while (*at != a)
        at = &(*at)->next_open;
    *at = a->next_open;
    stream_close(&a->raw_end, false);
    h2_client_destroy(&a->client);
    http_server_destroy(&a->server);
    run_due(a->loop);
    unsigned gone_n = a->conn_gone_n;
    loop_destroy(&a->loop);
    buf_fini(&a->raw);
    mem_free(a);
    assert_int_equal(gone_n, 1);
}

int h2_app_tear_down(void **state)
{
    (void)state;
    h2_app_pool_bytes = 0;
    while (open_apps != NULL)
        h2_app_close(open_apps);
    return 0;
}

int32_t h2_app_ask(struct app *a, const char *method, const char *path, struct str body)
{
    int32_t id = h2_client_request(a->client, method, "host:1", path, body);
    run_due(a->loop);
    return id;
}

void h2_app_push(struct http_exchange *ex, char fill, size_t n)
{
    struct rcbuf *piece = rcbuf_create(NULL, n);
    memset(piece->data, fill, n);
    http_stream_push(ex, piece);
}

uint32_t h2_app_goaway_error(struct app *a)
{
    const uint8_t *p = buf_at(&a->raw);
    size_t left = buf_len(&a->raw);
    uint32_t error = UINT32_MAX;
    while (left >= 9) {
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        assert_true(left >= 9 + n);
        if (p[3] == NGHTTP2_GOAWAY)
            error = (uint32_t)p[13] << 24 | (uint32_t)p[14] << 16 | (uint32_t)p[15] << 8 | p[16];
        p += 9 + n;
        left -= 9 + n;
    }
    return error;
}
