#ifndef FULLSCALE_NO_WEBSOCKET /* else ws_absent.c */

#include "http/ws.h"

#include <assert.h>
#include <wslay/wslay.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"

LOG_MODULE("ws");
METRIC_COUNTER(accepted, "fullscale_websocket_accepted_total", "", "WebSocket connections taken up.");
METRIC_COUNTER(refused, "fullscale_websocket_refused_total", "", "WebSocket handshakes refused.");
METRIC_COUNTER(failed, "fullscale_websocket_failed_total", "", "WebSocket connections ended by a violation.");

enum {
    DEFAULT_MAX_MESSAGE_BYTES = 64 * 1024,
    /* Clients of tailscale's DERP read messages of up to 32 KiB. src: github.com/coder/websocket, read limit */
    SEND_MESSAGE_BYTES = 16 * 1024,
    SHA1_BYTES = 20,
    KEY_BYTES = 16,
};

struct ws_stream {
    struct stream s;
    struct stream *below; /* owned; null once closed */
    wslay_event_context_ptr ws;
    struct loop_task task;
    struct buf out;   /* written by the owner in this iteration */
    struct buf in;    /* came with the handshake; handed on in the first task */
    const uint8_t *p; /* the bytes being read, borrowed */
    size_t n;
    uint16_t text_close_code;
    uint64_t max_message_bytes;
    uint64_t message_bytes; /* of the message being read, all fragments so far */
    bool is_data_frame;     /* the frame being read */
    bool is_failed;         /* the peer broke the protocol; nothing more is handed up */
    bool is_paused;         /* by the owner */
    bool is_below_paused;
};

/* --- the handshake --- */

bool ws_is_upgrade(const struct http_request *req)
{
    return http_header_has_token(req, "upgrade", "websocket");
}

bool ws_offers(const struct http_request *req, const char *subprotocol)
{
    return http_header_has_token(req, "sec-websocket-protocol", subprotocol);
}

/* src: RFC 6455 4.2.2 item 5.4 */
static void accept_value(struct str key, char out[BASE64_CAP(SHA1_BYTES)])
{
    struct buf text = {0};
    uint8_t digest[SHA1_BYTES];
    buf_append_str(&text, key);
    buf_append_c(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1(buf_at(&text), buf_len(&text), digest);
    base64_encode(digest, sizeof(digest), out);
    buf_fini(&text);
}

static bool is_key(struct str key)
{
    uint8_t bytes[KEY_BYTES];
    size_t n;
    return key.len == BASE64_CAP(KEY_BYTES) - 1 &&
           base64_decode(key.p, key.len, false, bytes, sizeof(bytes), &n) == RC_OK && n == KEY_BYTES;
}

/* Answers and returns RC_INVALID unless the request is a handshake. src: RFC 6455 4.2.1 */
static enum rc check_handshake(struct http_exchange *ex, struct str *key)
{
    const struct http_request *req = http_request(ex);
    struct str version;
    if (req->version == 20) {
        http_respond_text(ex, 400, "WebSocket is spoken over HTTP/1.1 here");
        return RC_UNSUPPORTED;
    }
    if (!http_header(req, "sec-websocket-version", &version) || !str_eq_c(version, "13")) {
        http_set_header(ex, "sec-websocket-version", STR("13"));
        http_respond_text(ex, 426, "WebSocket version 13 is required");
        return RC_INVALID;
    }
    bool is_good = req->method == HTTP_GET && req->version == 11 && req->body.len == 0 && ws_is_upgrade(req) &&
                   http_header_has_token(req, "connection", "upgrade") && http_header(req, "sec-websocket-key", key) &&
                   is_key(*key);
    if (is_good)
        return RC_OK;
    http_respond_text(ex, 400, "malformed WebSocket handshake");
    return RC_INVALID;
}

/* --- reading --- */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t max, int flags, void *user)
{
    struct ws_stream *w = user;
    (void)flags;
    if (w->n == 0 || w->s.is_dead) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = w->n < max ? w->n : max;
    memcpy(buf, w->p, n);
    w->p += n;
    w->n -= n;
    return (ssize_t)n;
}

/* Answers a violation of the protocol with a close frame, and reads nothing more. */
static void fail(struct ws_stream *w, uint16_t code)
{
    w->is_failed = true;
    wslay_event_shutdown_read(w->ws);
    (void)wslay_event_queue_close(w->ws, code, NULL, 0);
}

static void on_frame_start(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *arg,
                           void *user)
{
    struct ws_stream *w = user;
    (void)ctx;
    w->is_data_frame = !wslay_is_ctrl_frame(arg->opcode);
    if (!w->is_data_frame)
        return;
    if (arg->opcode == WSLAY_TEXT_FRAME) {
        fail(w, w->text_close_code);
        return;
    }
    if (arg->opcode != WSLAY_CONTINUATION_FRAME)
        w->message_bytes = 0;
    /* The library knows only the length of each fragment when it does not buffer. */
    w->message_bytes += arg->payload_length;
    if (w->message_bytes > w->max_message_bytes)
        fail(w, WSLAY_CODE_MESSAGE_TOO_BIG);
}

static void on_frame_chunk(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_chunk_arg *arg,
                           void *user)
{
    struct ws_stream *w = user;
    (void)ctx;
    if (w->is_data_frame && !w->is_failed && !w->s.is_dead && arg->data_length > 0)
        stream_emit_data(&w->s, arg->data, arg->data_length);
}

static void read_bytes(struct ws_stream *w, const uint8_t *p, size_t n)
{
    if (!wslay_event_want_read(w->ws))
        return;
    w->p = p;
    w->n = n;
    int rv = wslay_event_recv(w->ws);
    w->p = NULL;
    w->n = 0;
    if (w->s.is_dead)
        return;
    /* The library asks for closes of its own for what breaks the protocol. */
    bool by_peer = wslay_event_get_close_received(w->ws) != 0;
    if (!by_peer && (rv != 0 || !wslay_event_want_read(w->ws)))
        metric_inc(&failed);
    loop_defer(w->s.loop, &w->task);
}

/* --- writing --- */

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *user)
{
    struct ws_stream *w = user;
    (void)ctx;
    (void)flags;
    stream_write(w->below, p, n);
    return (ssize_t)n;
}

static void queue_messages(struct ws_stream *w)
{
    while (buf_len(&w->out) > 0) {
        size_t n = buf_len(&w->out) < SEND_MESSAGE_BYTES ? buf_len(&w->out) : SEND_MESSAGE_BYTES;
        struct wslay_event_msg msg = {WSLAY_BINARY_FRAME, buf_at(&w->out), n};
        if (wslay_event_queue_msg(w->ws, &msg) != 0)
            break; /* a close was queued already */
        buf_consume(&w->out, n);
    }
    buf_reset(&w->out, 0);
}

static void pause_below(struct ws_stream *w)
{
    /* Each ping causes a pong, so a peer that does not read is not read from. */
    bool is_full = stream_queued(w->below) > STREAM_HIGH_WATER;
    bool paused = w->is_paused || is_full;
    if (is_full)
        w->below->was_high = true;
    if (paused == w->is_below_paused)
        return;
    w->is_below_paused = paused;
    stream_pause(w->below, paused);
}

static void flush(struct ws_stream *w)
{
    queue_messages(w);
    int rv = wslay_event_send(w->ws);
    bool is_over = !wslay_event_want_read(w->ws) && !wslay_event_want_write(w->ws);
    if (rv != 0 || is_over) {
        stream_close(&w->below, true);
        stream_emit_closed(&w->s, RC_CLOSED);
        return;
    }
    pause_below(w);
    stream_check_drained(&w->s);
}

static void run_task(struct loop_task *task)
{
    struct ws_stream *w = CONTAINER_OF(task, struct ws_stream, task);
    if (w->s.is_dead)
        return;
    if (buf_len(&w->in) > 0) {
        struct buf in = {0};
        buf_move(&in, &w->in);
        read_bytes(w, buf_at(&in), buf_len(&in));
        buf_fini(&in);
    }
    if (!w->s.is_dead)
        flush(w);
}

/* --- the stream --- */

static void below_data(void *ctx, const uint8_t *p, size_t n)
{
    struct ws_stream *w = ctx;
    if (buf_len(&w->in) > 0)
        buf_append(&w->in, p, n);
    else
        read_bytes(w, p, n);
}

static void below_drained(void *ctx)
{
    struct ws_stream *w = ctx;
    pause_below(w);
    stream_check_drained(&w->s);
}

static void below_closed(void *ctx, enum rc why)
{
    struct ws_stream *w = ctx;
    stream_close(&w->below, false);
    stream_emit_closed(&w->s, why);
}

static void ops_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct ws_stream *w = (struct ws_stream *)s;
    buf_append(&w->out, p, n);
    loop_defer(s->loop, &w->task);
}

static size_t ops_queued(const struct stream *s)
{
    const struct ws_stream *w = (const struct ws_stream *)s;
    return buf_len(&w->out) + (w->below != NULL ? stream_queued(w->below) : 0);
}

static void ops_pause(struct stream *s, bool paused)
{
    struct ws_stream *w = (struct ws_stream *)s;
    w->is_paused = paused;
    pause_below(w);
}

static void free_now(void *obj)
{
    struct ws_stream *w = obj;
    loop_defer_cancel(&w->task);
    wslay_event_context_free(w->ws);
    buf_fini(&w->out);
    buf_fini(&w->in);
    mem_free(w);
}

static void ops_close(struct stream *s, bool polite)
{
    struct ws_stream *w = (struct ws_stream *)s;
    if (polite && w->below != NULL) {
        queue_messages(w);
        (void)wslay_event_send(w->ws); /* a close would overtake what is queued */
        (void)wslay_event_queue_close(w->ws, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
        (void)wslay_event_send(w->ws);
    }
    stream_close(&w->below, polite);
    loop_free_later(s->loop, w, free_now);
}

static struct stream *create(struct stream *below, const struct ws_opts *opts)
{
    static const struct stream_ops ops = {ops_write, ops_queued, ops_pause, ops_close};
    static const struct stream_events events = {below_data, below_drained, below_closed};
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame_start,
        .on_frame_recv_chunk_callback = on_frame_chunk,
    };
    struct ws_stream *w = MEM_NEW(struct ws_stream);
    stream_init(&w->s, &ops, below->loop, below);
    w->below = below;
    w->task.run = run_task;
    w->text_close_code = opts->text_close_code != 0 ? opts->text_close_code : WSLAY_CODE_UNSUPPORTED_DATA;
    w->max_message_bytes = opts->max_message_bytes > 0 ? opts->max_message_bytes : DEFAULT_MAX_MESSAGE_BYTES;
    int rv = wslay_event_context_server_init(&w->ws, &callbacks, w);
    assert(rv == 0); /* only memory can be short */
    (void)rv;
    wslay_event_config_set_no_buffering(w->ws, 1);
    wslay_event_config_set_max_recv_msg_length(w->ws, w->max_message_bytes);
    stream_set_events(below, &events, w);
    return &w->s;
}

/* The handshake is answered only to give the reason: the sub-protocol is missing. src: RFC 6455 5.5.1, 7.4.1 */
static void close_1008(struct stream *below)
{
    static const uint8_t frame[] = {0x88, 2, 1008 >> 8, 1008 & 0xff};
    stream_write(below, frame, sizeof(frame));
    stream_close(&below, true);
}

enum rc ws_accept(struct http_exchange *ex, const struct ws_opts *opts, struct stream **out)
{
    struct str key;
    char accept[BASE64_CAP(SHA1_BYTES)];
    *out = NULL;
    enum rc rc = check_handshake(ex, &key);
    if (rc != RC_OK) {
        metric_inc(&refused);
        return rc;
    }
    accept_value(key, accept);
    bool is_offered = ws_offers(http_request(ex), opts->subprotocol);
    struct stream *below;
    struct buf leftover = {0};
    rc = http_take_stream(ex, &below, &leftover);
    if (rc != RC_OK)
        return rc;
    struct buf head = {0};
    buf_printf(&head,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n",
               accept);
    if (is_offered)
        buf_printf(&head, "Sec-WebSocket-Protocol: %s\r\n", opts->subprotocol);
    buf_append_c(&head, "\r\n");
    stream_write(below, buf_at(&head), buf_len(&head));
    buf_fini(&head);
    if (!is_offered) {
        metric_inc(&refused);
        log_limited(LOG_DEBUG, "WebSocket without the sub-protocol", LOG_S("wanted", opts->subprotocol));
        buf_fini(&leftover);
        close_1008(below);
        return RC_DENIED;
    }
    metric_inc(&accepted);
    *out = create(below, opts);
    struct ws_stream *w = (struct ws_stream *)*out;
    w->in = leftover;
    if (buf_len(&w->in) > 0)
        loop_defer(w->s.loop, &w->task);
    return RC_OK;
}

#endif
