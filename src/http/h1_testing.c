#include "http/h1_testing.h"

static void on_closed(void *ctx)
{
    struct app *a = ctx;
    a->closed_n++;
    a->waiting = NULL;
}

static void on_drained(void *ctx)
{
    ((struct app *)ctx)->drained_n++;
}

static const struct http_events events = {on_closed, on_drained};

/* Answers with the parts of the request. */
static void echo(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    const struct http_request *req = http_request(ex);
    struct buf out = {0};
    a->handled_n++;
    buf_printf(&out, "%.*s %.*s?%.*s %.*s [%.*s]", STR_ARG(req->method_name), STR_ARG(req->path), STR_ARG(req->query),
               STR_ARG(req->authority), STR_ARG(req->body));
    http_respond(ex, 200, "text/plain", buf_str(&out));
    buf_fini(&out);
}

static void param(void *app, struct http_exchange *ex)
{
    (void)app;
    struct str v = STR_EMPTY;
    bool has = http_query(ex, "v", &v);
    struct buf out = {0};
    buf_printf(&out, "<%.*s><%.*s>%s%.*s", STR_ARG(http_request(ex)->params[0]), STR_ARG(http_request(ex)->params[1]),
               has ? "v=" : "-", STR_ARG(v));
    http_respond(ex, 200, NULL, buf_str(&out));
    buf_fini(&out);
}

static void later(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    a->waiting = ex;
    http_set_events(ex, &events, a);
}

static void stream_out(void *app, struct http_exchange *ex)
{
    later(app, ex);
    http_stream_start(ex, 200, "application/x");
}

static void forgetful(void *app, struct http_exchange *ex)
{
    (void)app;
    (void)ex;
}

static void taken_data(void *app, const uint8_t *p, size_t n)
{
    struct app *a = app;
    buf_append(&a->leftover, p, n);
}

static void taken_closed(void *app, enum rc why)
{
    (void)app;
    (void)why;
}

static void take(void *app, struct http_exchange *ex)
{
    struct app *a = app;
    assert_int_equal(http_take_stream(ex, &a->taken, &a->leftover), RC_OK);
    static const struct stream_events taken_events = {taken_data, NULL, taken_closed};
    stream_set_events(a->taken, &taken_events, a);
    stream_write(a->taken, "raw!", 4);
}

static void gone(void *app, struct http_exchange *ex)
{
    (void)app;
    http_abort(ex);
}

static void no_content(void *app, struct http_exchange *ex)
{
    (void)app;
    http_set_header(ex, "X-Evil", STR("a\r\nSet-Cookie: b"));
    http_set_browser_headers(ex);
    http_respond(ex, 204, NULL, STR("not sent"));
}

static const struct http_route routes[] = {
    {HTTP_GET | HTTP_POST, "/echo", echo, 64},
    {HTTP_POST, "/big", echo, 0},
    {HTTP_GET, "/a/{id}/b/{name}", param, 0},
    {HTTP_GET, "/static/*", param, 0},
    {HTTP_GET, "/later", later, 0},
    {HTTP_GET, "/stream", stream_out, 0},
    {HTTP_GET, "/forgetful", forgetful, 0},
    {HTTP_POST | HTTP_GET, "/take", take, 0},
    {HTTP_GET, "/gone", gone, 0},
    {HTTP_GET, "/none", no_content, 0},
};

void h1_app_connect(struct app *a)
{
    struct stream *server_end;
    struct stream *client_end;
    stream_pair_create(a->loop, a->chunk, &server_end, &client_end);
    peer_open(&a->peer, client_end);
    http_server_accept(a->server, server_end);
}

void h1_app_open(struct app *a, size_t chunk)
{
    *a = (struct app){.chunk = chunk};
    a->loop = loop_create(0);
    struct http_server_opts opts = {.loop = a->loop, .routes = routes, .routes_n = ARRAY_LEN(routes), .app = a};
    a->server = http_server_create(&opts);
    h1_app_connect(a);
}

void h1_app_close(struct app *a)
{
    peer_close(&a->peer);
    stream_close(&a->taken, false);
    buf_fini(&a->leftover);
    http_server_destroy(&a->server);
    run_due(a->loop);
    loop_destroy(&a->loop);
}

void h1_app_say(struct app *a, const char *text)
{
    stream_write(a->peer.s, text, strlen(text));
    run_due(a->loop);
}

bool h1_app_heard(struct app *a, const char *text)
{
    return strstr(buf_cstr(&a->peer.in), text) != NULL;
}

void h1_app_push(struct app *a, char fill, size_t n)
{
    struct rcbuf *piece = rcbuf_create(NULL, n);
    memset(piece->data, fill, n);
    http_stream_push(a->waiting, piece);
}
