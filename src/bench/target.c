#include <stdio.h>

#include "base/mem.h"
#include "bench/fleet.h"
#include "codec/json.h"
#include "net/tcp.h"

enum { KEY_LIMIT_MS = 10 * 1000, KEY_MAX_BYTES = 64 * 1024 };

/* One GET on a connection of its own. */
struct get {
    struct stream *stream;
    struct buf in;
    bool is_over;
};

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct get *g = ctx;
    buf_append(&g->in, p, n);
    g->is_over = g->is_over || buf_len(&g->in) > KEY_MAX_BYTES;
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct get *)ctx)->is_over = true;
}

static bool is_over(struct fleet *f, void *ctx)
{
    (void)f;
    return ((struct get *)ctx)->is_over;
}

static enum rc get_key(struct fleet *f, struct get *g, struct err *err)
{
    static const struct stream_events events = {on_data, NULL, on_closed};
    struct buf request = {0};
    if (tcp_connect(f->loop, &f->url.addr, &g->stream) != RC_OK)
        return err_set(err, RC_IO, "no connection to %s", f->opts->server);
    stream_set_events(g->stream, &events, g);
    buf_printf(&request, "GET /key?v=%d HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", SIM_CAP_VERSION,
               f->url.authority);
    stream_write(g->stream, buf_at(&request), buf_len(&request));
    buf_fini(&request);
    if (!fleet_wait(f, NULL, KEY_LIMIT_MS, is_over, g))
        return err_set(err, RC_TIMEOUT, "%s does not answer", f->opts->server);
    return RC_OK;
}

static enum rc read_key(struct fleet *f, struct str reply, struct err *err)
{
    struct arena arena = {0};
    const struct json *root;
    struct str text = STR_EMPTY;
    const char *body = reply.len > 0 ? memmem(reply.p, reply.len, "\r\n\r\n", 4) : NULL;
    enum rc rc = RC_INVALID;
    if (reply.len == 0)
        return err_set(err, RC_IO, "nothing serves at %s", f->opts->server);
    if (body != NULL && str_starts(reply, STR("HTTP/1.1 200 "))) {
        struct str json = str_n(body + 4, reply.len - (size_t)(body + 4 - reply.p));
        rc = json_parse(&arena, json, NULL, &root, NULL);
        if (rc == RC_OK && json_str(json_get(root, "publicKey"), &text))
            rc = machine_key_parse(text, &f->server_key);
    }
    arena_fini(&arena);
    if (rc != RC_OK || text.len == 0 || key_is_zero(f->server_key.b))
        return err_set(err, RC_INVALID, "what answers at %s is no control server: /key gives no key", f->opts->server);
    return RC_OK;
}

enum rc fleet_fetch_key(struct fleet *f, struct err *err)
{
    struct get g = {0};
    enum rc rc = get_key(f, &g, err);
    if (rc == RC_OK)
        rc = read_key(f, buf_str(&g.in), err);
    stream_close(&g.stream, false);
    buf_fini(&g.in);
    return rc == RC_INVALID ? RC_IO : rc;
}
