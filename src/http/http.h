/* HTTP for handlers: one request and answer model over HTTP/1.1 (h1.h) and HTTP/2 (h2.h), and the router.
 *
 * A handler gets a `struct http_exchange`: the request, complete with its body, and the duty to do exactly one of
 *   - http_respond (or a variant), at once or later from any callback of the same loop;
 *   - http_stream_start, then http_stream_push any number of times, then http_stream_end;
 *   - http_take_stream: the connection is the handler's from then on (HTTP/1.1 only);
 *   - http_abort.
 * Life of an exchange: it is gone when http_respond*, http_stream_end, http_take_stream or http_abort return. Until
 * then the peer may go away: then `closed` of the events is called, once, and the exchange is gone when that returns.
 * So a handler that answers later or streams must call http_set_events before it returns; an exchange that has neither
 * an answer nor events when its handler returns gets a 500 (and a log line, as it is a bug of ours).
 * `closed` is never called after the exchange was ended by its owner, nor from inside a call on that same exchange.
 *
 * The strings of the request live until it is answered, or http_stream_start is called, and then to the end of that
 * iteration of the loop: an exchange that streams to a slow peer holds its queue and little else.
 *
 * Loop thread only; nothing blocks. src: RFC 9110, RFC 9112, RFC 9113. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/rcbuf.h"
#include "base/str.h"
#include "net/stream.h"

struct http_exchange;
struct http_conn; /* one HTTP/1.1 connection or one HTTP/2 session */

/* Bits, so that a route can allow several. */
enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_PATCH = 16,
    HTTP_DELETE = 32,
    HTTP_OPTIONS = 64,
    HTTP_OTHER = 128, /* a valid token that is none of these */
};

struct http_header {
    struct str name; /* in lower case */
    struct str value;
};

enum {
    HTTP_MAX_HEADERS = 64,
    HTTP_MAX_HEAD_BYTES = 16 * 1024,
    HTTP_MAX_PARAMS = 4,
    HTTP_MAX_BODY_BYTES = 1024 * 1024,
    /* What a connection of a stranger may hold: heads, bodies, answers, and the memory of HTTP/2 with its tables.
     * Together with the layers below (TLS, Noise, queued output) it is less than 256 KiB. */
    HTTP_STRANGER_BYTES = 128 * 1024,
    HTTP_STRANGER_BODY_BYTES = 60 * 1024,
};

struct http_request {
    enum http_method method;
    struct str method_name;
    struct str path;      /* as sent (percent-encoded), without the query; begins with '/' (or is "*" for OPTIONS) */
    struct str query;     /* as sent, without the '?'; may be empty */
    struct str authority; /* Host or :authority; empty only for HTTP/1.0 and HTTP/2 clients that send none */
    const struct http_header *headers;
    size_t headers_n;
    struct str body; /* whole; also of GET */
    /* The {name} segments and the rest of a prefix route in order, percent-decoded. */
    struct str params[HTTP_MAX_PARAMS];
    unsigned version; /* 10, 11 or 20 */
    bool is_tls;
    struct addr peer;  /* the client's, as far as known: behind a proxy, what the proxy says */
    bool is_peer_sure; /* `peer` is the client's own address, or from a listed proxy; else anyone may have chosen it */
    struct addr local;
    void *conn_ctx; /* what the connection was attached with: http_server_attach_h2; null for outer connections */
};

/* --- looking at a request --- */

/* Borrowed; what it points to lives until the answer (see above). */
const struct http_request *http_request(const struct http_exchange *ex);
/* The first header of that name (case-insensitive); false when there is none. `out` may be null. */
bool http_header(const struct http_request *req, const char *name, struct str *out);
/* Whether a comma-separated header holds `token` (case-insensitive): Connection, Upgrade, Sec-WebSocket-Protocol... */
bool http_header_has_token(const struct http_request *req, const char *name, const char *token);
/* The first query parameter of that name, decoded ('+' is a space); lives as the request does. False when it is absent
 * or wrongly escaped. */
bool http_query(struct http_exchange *ex, const char *name, struct str *out);
/* Memory that lives as long as the request's strings, for what a handler derives from them. Borrowed. */
struct arena *http_arena(struct http_exchange *ex);
/* `arg` of the route by which the request came. Borrowed. */
const void *http_route_arg(const struct http_exchange *ex);
/* The loop that the exchange belongs to. Borrowed. */
struct loop *http_loop(const struct http_exchange *ex);

/* --- answering --- */

struct http_events {
    /* The peer reset the stream or the connection is gone. The exchange is gone when this returns. Needed. */
    void (*closed)(void *ctx);
    /* A streamed body's queue, having been above STREAM_HIGH_WATER, is below half of it. May be null. */
    void (*drained)(void *ctx);
};
/* `events` is borrowed for the life of the exchange (a static const). May be called again to change the owner. */
void http_set_events(struct http_exchange *ex, const struct http_events *events, void *ctx);

/* Adds a response header; both strings are copied. Before the answer starts. Names that frame the message
 * (Content-Length, Transfer-Encoding, Connection, Date) are ours and may not be set. CR, LF and NUL in a value become
 * spaces. */
void http_set_header(struct http_exchange *ex, const char *name, struct str value);
/* Headers for pages shown to browsers: CSP (scripts and styles of our own only), no framing, no sniffing, no referrer;
 * HSTS when the connection is TLS. */
void http_set_browser_headers(struct http_exchange *ex);

/* Answers. `content_type` may be null (then none is sent). The body is copied; for HEAD only its length is sent. */
void http_respond(struct http_exchange *ex, int status, const char *content_type, struct str body);
/* The same; takes over the reference instead of copying. */
void http_respond_ref(struct http_exchange *ex, int status, const char *content_type, struct rcbuf *body);
/* text/plain with a newline; "404 not found" when `text` is null. */
void http_respond_text(struct http_exchange *ex, int status, const char *text);
/* The status and sentence of `rc` as text/plain. */
void http_respond_rc(struct http_exchange *ex, enum rc rc);
/* Resets the stream, or closes the HTTP/1.1 connection, without an answer. */
void http_abort(struct http_exchange *ex);

/* Sends the head; the body follows in pieces: DATA frames in HTTP/2, chunked in HTTP/1.1, until close in 1.0. */
void http_stream_start(struct http_exchange *ex, int status, const char *content_type);
/* Queues `piece` and takes over the reference; nothing is copied until it goes to the wire. An empty piece is dropped.
 * Never fails and never calls back. The owner bounds the queue by looking at http_stream_queued. */
void http_stream_push(struct http_exchange *ex, struct rcbuf *piece);
/* Bytes pushed that have not gone into the connection's output yet. */
size_t http_stream_queued(const struct http_exchange *ex);
/* Drops what was pushed and has not begun to go out: a piece is sent whole or not at all. Returns the bytes dropped. */
size_t http_stream_drop_queued(struct http_exchange *ex);
/* Ends the body after what is queued. */
void http_stream_end(struct http_exchange *ex);

/* Hands over the byte stream under an HTTP/1.1 exchange (Upgrade, or DERP's fast start): nothing has been written to
 * it, and `leftover` (an empty buf, the caller's from then on: buf_fini) gets what arrived after the request. The
 * exchange and its connection are gone. Set events on the stream before returning to the loop. RC_UNSUPPORTED for
 * HTTP/2: the exchange is still there. */
MUST_CHECK enum rc http_take_stream(struct http_exchange *ex, struct stream **out, struct buf *leftover);

/* The reason phrase ("Not Found"); never null. */
const char *http_status_text(int status);

/* --- routes and servers --- */

/* `app` is that of the routes' table: of http_server_opts or http_server_mount. */
typedef void (*http_handler)(void *app, struct http_exchange *ex);

struct http_route {
    unsigned methods; /* bits of enum http_method; GET allows HEAD as well, answered as GET without its body */
    /* "/machine/map" exact; "/a/{id}" one segment (not empty) each; "/assets/" + "*" any rest, even empty. The first
     * row that matches wins. Query and trailing slashes are not ignored. */
    const char *path;
    http_handler handle;
    size_t max_body_bytes; /* larger ones get 413, if possible before they are sent. 0: the server's default */
    bool any_host;         /* by whatever name the client calls the server: see `hosts` of http_server_opts */
    const void *arg;       /* for the handler: http_route_arg. Static, or it outlives the server */
};

struct http_server_opts {
    struct loop *loop;
    const struct http_route *routes; /* static; http_server_mount adds more */
    size_t routes_n;
    void *app; /* for the handlers of these routes, `unmatched` and `conn_gone` */
    /* For requests that no route matches; null: 404 as text. `status` is 404 or 405 (Allow is set already). */
    void (*unmatched)(void *app, struct http_exchange *ex, int status);
    /* An attached connection is gone; its exchanges have been closed before. `conn_ctx` is that of
     * http_server_attach_h2. May be null. */
    void (*conn_gone)(void *app, void *conn_ctx);
    /* All in ms; 0 takes the default in brackets. */
    int64_t head_timeout_ms;    /* from the first byte, or the accept, to the end of the headers (10 s) */
    int64_t body_timeout_ms;    /* from the end of the headers to the end of the body (30 s) */
    int64_t idle_timeout_ms;    /* HTTP/1.1 keep-alive between requests (30 s) */
    int64_t h2_idle_timeout_ms; /* HTTP/2 session without an open stream (5 min) */
    int64_t stall_timeout_ms;   /* the peer takes next to nothing of what is queued, in all or of one stream (2 min) */
    unsigned h2_max_streams;    /* at once, per session (250) */
    size_t max_body_bytes;      /* of routes that have no limit of their own (HTTP_MAX_BODY_BYTES) */
    /* Heads, bodies and HTTP/2 memory of all connections together, besides 48 KiB of each (64 MiB); requests beyond it
     * get 429. At least three times the largest body. Strangers have a quarter as much besides, for them alone. */
    size_t pool_bytes;
    /* Connections belong to strangers until http_conn_know: they hold HTTP_STRANGER_BYTES at most, and may wait and be
     * idle no longer than stranger_timeout_ms (15 s) instead of the times above. False: all are known. */
    bool has_strangers;
    int64_t stranger_timeout_ms;
    /* Whether an address is one of our reverse proxies: the peer of a request that comes through them is the last
     * address in X-Forwarded-For that is no proxy. A request from loopback with that header is taken for a proxy's. May
     * be null. */
    bool (*is_proxy)(const void *ctx, const struct addr *from);
    const void *proxy_ctx;
    /* The names that this server answers to besides addresses and localhost; requests for others get 421, so that a
     * page of another site whose name resolves to us (DNS rebinding) gets nothing. Borrowed. Null: any. */
    const struct http_hosts *hosts;
};

struct http_hosts {
    const char *const *names;
    size_t n;
};
/* The host of an authority ("example.com:443"): without port and brackets, and without the dot that ends a full name.
 * Points into `authority`. */
struct str http_host_of(struct str authority);

struct http_server;

/* One per loop and purpose: the outer one for TCP and TLS, an inner one for Noise. The caller's:
 * http_server_destroy. */
struct http_server *http_server_create(const struct http_server_opts *opts);
/* Adds `n` routes after those that the server has; their handlers get `app`, which outlives the server. `rows` is
 * static. Before the first connection. */
void http_server_mount(struct http_server *server, const struct http_route *rows, size_t n, void *app);
/* Takes over an accepted connection: HTTP/2 when TLS agreed on it by ALPN, else HTTP/1.1. A tcp_accept_fn and the
 * `ready` of a tls_acceptor; `server` is a struct http_server. */
void http_server_accept(void *server, struct stream *s);
/* Takes over `s` and speaks HTTP/2 with prior knowledge (RFC 9113 3.3), as inside Noise. `conn_ctx` shows up in each
 * request. The result is borrowed and valid until `conn_gone`. */
struct http_conn *http_server_attach_h2(struct http_server *server, struct stream *s, void *conn_ctx);
/* The peer has proved that it holds `key` (at most 32 bytes), which is known here: from now on the connection has the
 * limits of known parties and one of their places (net/stream.h). If all of those are taken it goes on as a stranger.
 * Twice is fine. */
void http_conn_know(struct http_conn *conn, const void *key, size_t key_len);
/* The same for the connection by which a request came; nothing if that is a proxy's, which may carry many clients. */
void http_know(struct http_exchange *ex, const void *key, size_t key_len);
/* Closes a connection at once; its exchanges get `closed`. */
void http_conn_close(struct http_conn *conn);
/* Refuses further requests politely (GOAWAY, Connection: close) and closes each connection as its last exchange
 * ends. */
void http_server_drain(struct http_server *server);
/* Connections and HTTP/2 sessions now. */
size_t http_server_conns(const struct http_server *server);
/* Closes all connections and frees it, some of it at the end of the iteration. Null is fine; nulls the pointer. */
void http_server_destroy(struct http_server **server);
/* What the server's timer does each second; public for tests, which choose the time. */
void http_server_sweep(struct http_server *server, int64_t now_ms);

#endif
