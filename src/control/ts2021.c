/* From HTTP to HTTP/2 inside Noise. src: docs/protocol/control.md 2.2, 3 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/control_internal.h"
#include "control/ts2021_stream.h"
#include "http/ws.h"

LOG_MODULE("ts2021");
METRIC_COUNTER(conns_total, "fullscale_noise_connections_total", "", "Noise connections made.");
METRIC_COUNTER(refused_rate, "fullscale_noise_refused_total", "reason=\"rate\"", "Handshakes refused, by reason.");
METRIC_COUNTER(refused_ending, "fullscale_noise_refused_total", "reason=\"ending\"", "");
METRIC_COUNTER(refused_malformed, "fullscale_noise_refused_total", "reason=\"malformed\"", "");
METRIC_COUNTER(refused_crypto, "fullscale_noise_refused_total", "reason=\"crypto\"", "");

void control_handle_key(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    struct str version;
    if (!http_query(ex, "v", &version)) {
        http_respond_text(ex, 400,
                          "this is where Tailscale clients fetch the server's key (they add ?v=VERSION); "
                          "point a client here with: tailscale up --login-server URL");
        return;
    }
    http_respond_ref(ex, 200, "application/json", rcbuf_ref(w->control->key_json));
}

/* --- the connection --- */

void ts2021_conn_know(struct http_exchange *ex)
{
    struct ts2021_conn *conn = http_request(ex)->conn_ctx;
    conn->is_known = true;
    http_conn_know(conn->http, conn->machine.b, sizeof(conn->machine.b));
}

void ts2021_conn_gone(void *app, void *conn_ctx)
{
    (void)app;
    mem_free(conn_ctx);
}

/* No client answers the challenge yet, but they expect it. src: docs/protocol/control.md 3.7 */
static void write_early_payload(struct stream *s)
{
    challenge_key challenge;
    char text[KEY_TEXT_CAP];
    private_key secret;
    uint8_t random[KEY_BYTES];
    struct buf out = {0};
    rng_bytes(random, sizeof(random));
    private_key_from_bytes(random, &secret);
    private_key_public(&secret, challenge.b);
    challenge_key_format(&challenge, text);
    buf_append(&out, "\xff\xff\xffTS", 5);
    buf_append_u32be(&out, (uint32_t)(strlen("{\"nodeKeyChallenge\":\"\"}") + strlen(text)));
    buf_printf(&out, "{\"nodeKeyChallenge\":\"%s\"}", text);
    stream_write(s, buf_at(&out), buf_len(&out));
    buf_fini(&out);
}

/* The client's address; family 0 where only the client itself, or a proxy that is not ours, says so. */
static struct addr known_address(const struct http_request *req)
{
    return req->is_peer_sure ? req->peer : (struct addr){0};
}

/* What is known of a client before its handshake. */
struct visitor {
    struct tailnet *tailnet;
    struct addr from;
};

static struct visitor visitor_of(const struct control_worker *w, const struct http_request *req)
{
    return (struct visitor){core_tailnet_of_host(w->control->core, req->authority), known_address(req)};
}

/* `below` is taken over; message 2 goes out first. */
static void start(struct control_worker *w, struct stream *below, struct noise_result *keys, const struct buf *leftover,
                  const struct visitor *client)
{
    struct ts2021_conn *conn = MEM_NEW(struct ts2021_conn);
    struct stream *s;
    conn->worker = w;
    conn->machine = keys->peer;
    conn->version = keys->version;
    conn->tailnet = client->tailnet;
    conn->from = client->from;
    stream_write(below, keys->response, sizeof(keys->response));
    ts2021_stream_server(below, keys, leftover != NULL ? buf_at(leftover) : NULL,
                         leftover != NULL ? buf_len(leftover) : 0, &s);
    write_early_payload(s);
    metric_inc(&conns_total);
    conn->http = http_server_attach_h2(w->inner, s, conn);
    conn->is_known = machines_has(&conn->tailnet->machines, &conn->machine);
    if (conn->is_known)
        http_conn_know(conn->http, conn->machine.b, sizeof(conn->machine.b));
}

static bool is_over_limit(struct control_worker *w, const struct addr *from)
{
    const struct control_options *o = &w->control->options;
    if (o->is_trusted != NULL && o->is_trusted(o->trusted_ctx, from))
        return false;
    return !limiter_take_from_afar(&w->control->limiter, from, o->handshakes_per_address, loop_now_ms(w->loop));
}

/* A server that is about to end makes no new connection, only to close it at once: clients up to 1.80 may go on using
 * one that was closed before its first request, and stay cut off until they are restarted.
 * src: tailscale 1.80 control/controlclient/noise.go (getConn); golang.org/x/net 0.35 http2/transport.go */
static void refuse_at_the_end(struct http_exchange *ex)
{
    metric_inc(&refused_ending);
    http_set_header(ex, "Retry-After", STR("1"));
    http_respond_text(ex, 503, "the server is going down; try again in a moment");
}

/* Returns 1 with `keys`, or 0 when the exchange has been answered or has ended. */
static int handshake(struct control_worker *w, struct http_exchange *ex, struct str initiation_base64,
                     struct noise_result *keys)
{
    const struct http_request *req = http_request(ex);
    uint8_t initiation[NOISE_INITIATION_BYTES + 3], ephemeral[32];
    size_t len;
    if (w->is_draining) {
        refuse_at_the_end(ex);
        return 0;
    }
    if (is_over_limit(w, &req->peer)) {
        char from[ADDR_TEXT_CAP];
        addr_format(&req->peer, false, from);
        metric_inc(&refused_rate);
        log_limited(LOG_WARN, "too many handshakes from one address (a reverse proxy belongs into trusted_proxies)",
                    LOG_S("from", from));
        http_set_header(ex, "Retry-After", STR("10"));
        http_respond_text(ex, 429, "too many connections from your address; try again in ten seconds");
        return 0;
    }
    if (base64_decode(initiation_base64.p, initiation_base64.len, false, initiation, sizeof(initiation), &len) !=
        RC_OK) {
        metric_inc(&refused_malformed);
        http_respond_text(ex, 400, "X-Tailscale-Handshake is not the base64 of a handshake message");
        return 0;
    }
    rng_bytes(ephemeral, sizeof(ephemeral));
    enum rc rc = noise_respond(&w->control->options.noise_key, ephemeral, initiation, len, keys);
    secret_wipe(ephemeral, sizeof(ephemeral));
    if (rc == RC_INVALID) {
        metric_inc(&refused_malformed);
        http_respond_text(ex, 400, "the handshake message is malformed");
        return 0;
    }
    if (rc != RC_OK) {
        /* The message was made for another key: the server's key has changed since the client was here, or the client
         * is meant for another server. */
        metric_inc(&refused_crypto);
        log_limited(LOG_INFO, "handshake for another server key, or a damaged one");
        http_respond_text(
            ex, 400, "the handshake does not fit this server's key; restart the client if the server is a new one");
        return 0;
    }
    return 1;
}

void control_handle_ts2021_post(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    const struct http_request *req = http_request(ex);
    const struct visitor client = visitor_of(w, req);
    struct str initiation;
    struct noise_result keys;
    struct stream *s;
    struct buf leftover = {0};
    if (!http_header_has_token(req, "upgrade", "tailscale-control-protocol")) {
        log_limited(LOG_WARN, "ts2021 request without Upgrade header: does a reverse proxy in front strip upgrades?");
        http_respond_text(
            ex, 400,
            "missing 'Upgrade: tailscale-control-protocol'; if there is a reverse proxy in front, it must "
            "pass upgrades (WebSocket support) to this server");
        return;
    }
    if (!http_header(req, "x-tailscale-handshake", &initiation)) {
        metric_inc(&refused_malformed);
        http_respond_text(ex, 400, "missing X-Tailscale-Handshake");
        return;
    }
    if (!handshake(w, ex, initiation, &keys))
        return;
    if (http_take_stream(ex, &s, &leftover) != RC_OK) {
        noise_result_wipe(&keys);
        http_respond_text(ex, 400, "ts2021 needs HTTP/1.1");
        return;
    }
    /* The client compares the spelling of the Upgrade value. Head, message 2 and early payload leave in one write. */
    static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
                               "Connection: upgrade\r\n\r\n";
    stream_write(s, head, sizeof(head) - 1);
    start(w, s, &keys, &leftover, &client);
    noise_result_wipe(&keys);
    buf_fini(&leftover);
}

void control_handle_ts2021_websocket(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    const struct visitor client = visitor_of(w, http_request(ex));
    struct str initiation;
    struct noise_result keys;
    struct stream *s;
    if (!ws_is_upgrade(http_request(ex))) {
        http_respond_text(ex, 400, "this path is for Tailscale clients: POST with an upgrade, or a WebSocket");
        return;
    }
    if (!http_query(ex, "X-Tailscale-Handshake", &initiation)) {
        metric_inc(&refused_malformed);
        http_respond_text(ex, 400, "missing X-Tailscale-Handshake");
        return;
    }
    if (!handshake(w, ex, initiation, &keys))
        return;
    struct ws_opts opts = {.subprotocol = "tailscale-control-protocol", .text_close_code = 1002};
    if (ws_accept(ex, &opts, &s) == RC_OK)
        start(w, s, &keys, NULL, &client);
    noise_result_wipe(&keys);
}
