#include "relay/relay_http.h"

#include "base/arena.h"
#include "base/metric.h"
#include "codec/json_write.h"
#include "http/ws.h"
#include "proto/derp.h"

METRIC_COUNTER(websocket_accepts, "fullscale_derp_websocket_accepts_total", "", "DERP connections inside WebSocket.");

enum { CHALLENGE_MAX = 64, ANY_METHOD = 0xff };

/* --- /derp --- */

/* Whether the client wanted another node of the region, which the header names.
 * src: tailscale 1.102 derp/derpserver/handler.go; docs/protocol/derp-stun.md 1.1 */
static bool wished_for_another(const struct http_request *req)
{
    struct str node;
    return http_header(req, "ideal-node", &node) && node.len > 0;
}

static void attach_websocket(struct relay *relay, struct http_exchange *ex)
{
    static const struct ws_opts opts = {.subprotocol = "derp"};
    bool is_not_ideal = wished_for_another(http_request(ex));
    struct stream *s = NULL;
    if (ws_accept(ex, &opts, &s) != RC_OK)
        return; /* it has been answered */
    metric_inc(&websocket_accepts);
    stream_uncount(s); /* the relay does */
    relay_attach(relay, s, NULL, 0, is_not_ideal);
}

static void write_switching(struct relay *relay, struct stream *s)
{
    char key[2 * KEY_BYTES];
    struct buf head = {0};
    hex_encode(relay_public_key(relay), KEY_BYTES, key);
    buf_printf(&head,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: %d\r\n"
               "Derp-Public-Key: %.*s\r\n\r\n",
               DERP_VERSION, (int)sizeof(key), key);
    stream_write(s, buf_at(&head), buf_len(&head));
    buf_fini(&head);
}

/* In fast start the client has the key from the metacert, and its login is on the way already. */
static bool is_fast_start(const struct http_request *req)
{
    struct str value;
    return http_header(req, "derp-fast-start", &value) && str_eq_c(value, "1");
}

static void attach_upgrade(struct relay *relay, struct http_exchange *ex)
{
    bool is_fast = is_fast_start(http_request(ex));
    bool is_not_ideal = wished_for_another(http_request(ex));
    struct stream *s = NULL;
    struct buf leftover = {0};
    if (http_take_stream(ex, &s, &leftover) != RC_OK) {
        http_respond_text(ex, 426, "DERP is spoken over HTTP/1.1 here");
        return;
    }
    stream_uncount(s); /* the relay does */
    if (!is_fast)
        write_switching(relay, s);
    relay_attach(relay, s, buf_at(&leftover), buf_len(&leftover), is_not_ideal);
    buf_fini(&leftover);
}

/* In fast start a client reads frames from the first byte on, and would take an HTTP answer for one. */
static void refuse_draining(struct http_exchange *ex)
{
    if (is_fast_start(http_request(ex)))
        http_abort(ex);
    else
        http_respond_text(ex, 503, "this relay is going down");
}

void relay_http_derp(void *app, struct http_exchange *ex)
{
    const struct relay_http *h = app;
    const struct http_request *req = http_request(ex);
    bool is_websocket = ws_is_upgrade(req);
    if (h->relay == NULL)
        http_respond_text(ex, 404, "no DERP server here");
    else if (req->method != HTTP_GET || (!is_websocket && !http_header_has_token(req, "upgrade", "derp")))
        http_respond_text(ex, 426, "DERP requires connection upgrade");
    else if (relay_is_draining(h->relay))
        refuse_draining(ex);
    else if (is_websocket && ws_offers(req, "derp"))
        attach_websocket(h->relay, ex);
    else /* very old clients ask for a WebSocket, but speak plain DERP */
        attach_upgrade(h->relay, ex);
}

/* --- Probes --- */

void relay_http_probe(void *app, struct http_exchange *ex)
{
    const struct relay_http *h = app;
    enum http_method method = http_request(ex)->method;
    if (method != HTTP_GET && method != HTTP_HEAD) {
        http_respond_text(ex, 405, "bogus probe method");
        return;
    }
    bool is_usable = h->relay != NULL && relay_has_room(h->relay);
    http_set_header(ex, "Access-Control-Allow-Origin", STR("*")); /* clients in browsers ask too */
    http_respond(ex, is_usable ? 200 : 503, NULL, STR_EMPTY);
}

static bool is_challenge(struct str s)
{
    if (s.len == 0 || s.len > CHALLENGE_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '-' || c == '_' || c == ':';
        if (!is_fit)
            return false;
    }
    return true;
}

void relay_http_generate_204(void *app, struct http_exchange *ex)
{
    struct str challenge;
    (void)app;
    if (http_header(http_request(ex), "x-tailscale-challenge", &challenge) && is_challenge(challenge))
        http_set_header(ex, "X-Tailscale-Response",
                        str_c(arena_printf(http_arena(ex), "response %.*s", STR_ARG(challenge))));
    http_set_header(ex, "Cache-Control", STR("no-cache, no-store, must-revalidate, no-transform, max-age=0"));
    http_respond(ex, 204, NULL, STR_EMPTY);
}

/* --- /bootstrap-dns --- */

static void write_name(struct json_writer *w, const struct relay_http_name *name, const struct addr *reached_at)
{
    char text[ADDR_TEXT_CAP];
    json_w_key(w, name->name);
    json_w_array(w);
    for (size_t i = 0; i < name->addrs_n; i++)
        json_w_cstr(w, name->addrs[i]);
    if (name->addrs_n == 0 && reached_at->family != 0) {
        addr_format(reached_at, false, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

static const struct relay_http_name *find_name(const struct relay_http *h, struct str name)
{
    for (size_t i = 0; i < h->names_n; i++)
        if (str_eq_ci(name, str_c(h->names[i].name)))
            return &h->names[i];
    return NULL;
}

void relay_http_bootstrap_dns(void *app, struct http_exchange *ex)
{
    const struct relay_http *h = app;
    struct str asked = STR_EMPTY;
    const struct relay_http_name *one = http_query(ex, "q", &asked) ? find_name(h, asked) : NULL;
    struct buf body = {0};
    struct json_writer w;
    json_w_init(&w, &body);
    json_w_object(&w);
    if (one != NULL)
        write_name(&w, one, &http_request(ex)->local);
    for (size_t i = 0; i < h->names_n && one == NULL; i++)
        if (!h->names[i].is_unlisted)
            write_name(&w, &h->names[i], &http_request(ex)->local);
    json_w_end_object(&w);
    http_respond(ex, 200, "application/json", buf_str(&body));
    buf_fini(&body);
}

static void answer_home(void *app, struct http_exchange *ex)
{
    (void)app;
    http_set_browser_headers(ex);
    http_respond(
        ex, 200, "text/html; charset=utf-8",
        STR("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Fullscale relay</title></head>\n"
            "<body><h1>This is a Fullscale relay</h1>\n<p>It passes encrypted packets (DERP) between devices of a "
            "private network that cannot reach each other directly. There is nothing to see here.</p>\n"
            "</body></html>\n"));
}

static void answer_robots(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "text/plain; charset=utf-8", STR("User-agent: *\nDisallow: /\n"));
}

/* --- Routes --- */

/* `any_host`: the DERP map of another server may give the relay any name. */
const struct http_route relay_http_routes[] = {
    {ANY_METHOD, "/derp", relay_http_derp, 1024, .any_host = true},
    {ANY_METHOD, "/derp/probe", relay_http_probe, 1024, .any_host = true},
    {ANY_METHOD, "/derp/latency-check", relay_http_probe, 1024, .any_host = true},
    {HTTP_GET, "/generate_204", relay_http_generate_204, 1024, .any_host = true},
    {HTTP_GET, "/bootstrap-dns", relay_http_bootstrap_dns, 1024, .any_host = true},
    {HTTP_GET, "/robots.txt", answer_robots, 1024},
    {HTTP_GET, "/", answer_home, 1024},
};
const size_t relay_http_routes_n = ARRAY_LEN(relay_http_routes);
