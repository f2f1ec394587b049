/* What exchange.c, server.c, h1.c, h2.c and ws.c share. Loop thread only. */
#ifndef HTTP_HTTP_INTERNAL_H
#define HTTP_HTTP_INTERNAL_H

#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "http/http.h"

/* What a protocol implements. */
struct http_conn_ops {
    /* Status and headers of the answer are known: encode them now, their memory may go. */
    void (*start)(struct http_exchange *ex);
    /* The body has more to send, or has ended: see to it soon, in a deferred task. */
    void (*wake)(struct http_exchange *ex);
    /* The owner gives up: reset the stream or close the connection. The exchange is freed by the callee, soon. */
    void (*abort)(struct http_exchange *ex);
    /* As http_take_stream; null where it cannot be done. */
    void (*take)(struct http_exchange *ex, struct stream **out, struct buf *leftover);
    /* No further requests; close when the last exchange has ended. */
    void (*drain)(struct http_conn *conn);
    /* The turn is over, and the memory of answered requests is free again: read on. */
    void (*resume)(struct http_conn *conn);
    /* Called each second. May close the connection. */
    void (*sweep)(struct http_conn *conn, int64_t now_ms);
    /* The connection is dead and off the server's list: free it and what it holds beyond the common part. Called when
     * nothing of it is on the stack. */
    void (*free)(void *conn);
};

/* First in struct h1_conn and struct h2_session. */
struct http_conn {
    const struct http_conn_ops *ops;
    struct http_server *server;
    struct list entry;          /* in the server's list */
    struct stream *below;       /* owned; null once closed or taken */
    struct list exchanges;      /* all, also those whose owner is done */
    void *ctx;                  /* the attacher's */
    struct addr tcp_peer;       /* of the connection; the peer of its requests is another behind a proxy */
    struct budget budget;       /* below the server's for strangers or for known parties */
    size_t soft_bytes;          /* requests stop here: the rest of the budget is for refusing them */
    struct loop_msg resume_msg; /* on its way while the connection has used up its budget in this turn of the loop */
    bool is_resting;
    unsigned frees_n; /* what of it is freed at the end of the turn, and charged until then */
    bool is_freed;    /* as soon as that is done */
    bool is_known;    /* no stranger */
    bool is_dead;
    bool is_draining;
    size_t last_queued; /* for the stall limit, as of the last sweep */
    int64_t stalled_since_ms;
    struct http_exchange *in_handler; /* whose handler is running; nulled when the exchange is freed */
};

struct http_exchange {
    struct http_request req;
    struct http_conn *conn;
    struct list entry; /* in the connection's list */
    struct list todo;  /* HTTP/2: in the session's ready or gone list */
    const struct http_route *route;
    struct arena arena;
    struct buf body;
    size_t max_body_bytes;
    int64_t deadline_ms; /* for the request to be complete */

    const struct http_events *events;
    void *events_ctx;

    int status;                      /* of the answer; 0 until it starts */
    size_t content_length;           /* of the answer, unless is_streaming */
    struct http_header *res_headers; /* in the arena */
    size_t res_headers_n;
    size_t res_headers_cap;

    struct rcbuf **pieces; /* ring: the body still to be sent */
    size_t pieces_first;
    size_t pieces_n;
    size_t pieces_cap;
    size_t piece_sent; /* bytes of the first piece that have gone out */
    size_t queued_bytes;
    size_t charged_bytes; /* to the connection's budget */
    size_t sent_bytes;    /* of the answer's body, in all */
    size_t stall_mark;    /* sent_bytes when the stall limit began to run */
    int64_t stall_since_ms;

    int32_t stream_id;        /* HTTP/2 */
    int refuse_status;        /* HTTP/2: what to answer instead of asking a handler */
    bool is_deferred;         /* HTTP/2: the library waits to be told of more data */
    bool is_request_complete; /* with its body */
    bool is_dispatched;       /* a handler has seen it */
    bool is_streaming;        /* length not known beforehand */
    bool is_ended;            /* nothing will be added to the queue */
    bool is_owned;            /* a handler may still use the pointer */
    bool is_head;             /* no body is sent */
    bool was_high;            /* the queue exceeded STREAM_HIGH_WATER since the last `drained` */
};

/* --- exchange.c --- */
struct http_exchange *exchange_create(struct http_conn *conn);
/* Unlinks and frees, later this turn, without telling the owner. */
void exchange_free(struct http_exchange *ex);
/* Tells the owner, if there is one, that the peer is gone, and frees. */
void exchange_close(struct http_exchange *ex);
/* Finds the route and sets max_body_bytes. The status to refuse with, or 0. Sets Allow for 405. */
int exchange_route(struct http_exchange *ex);
/* Runs the handler of the route, which exchange_route found. */
void exchange_dispatch(struct http_exchange *ex);
/* Answers for the server: 404 and 405 by the hook, others as text. */
void exchange_refuse(struct http_exchange *ex, int status, const char *text);
/* Charges what the exchange holds by now, or gives back what it holds no more. False: there is no room for it; it is charged
 * all the same, and is to be refused. */
bool exchange_charge(struct http_exchange *ex);
/* RC_TOO_LARGE: more than the route takes. RC_LIMIT: more than all requests of a connection may hold. */
MUST_CHECK enum rc exchange_append_body(struct http_exchange *ex, const uint8_t *p, size_t n);
/* Takes up to `max` bytes that lie together at the front of the queue; 0 when it is empty. */
size_t exchange_peek(const struct http_exchange *ex, size_t max, const uint8_t **p_out);
void exchange_consume(struct http_exchange *ex, size_t n);
/* The peer has taken next to nothing of what waits for it. Call it each second. */
bool exchange_is_stalled(struct http_exchange *ex, int64_t now_ms);
/* The queue shrank: calls `drained` if it is due. The exchange may be gone afterwards. */
void exchange_check_drained(struct http_exchange *ex);

/* --- host.c --- */
/* Whether `authority` (a valid one, may be empty) is one of `hosts` (null: any). */
bool host_is_ours(const struct http_hosts *hosts, struct str authority);
/* Of a request that a proxy has forwarded: whom it comes from. False: it does not say. */
bool host_forwarded_for(const struct http_request *req, const struct http_server_opts *opts, struct addr *out);

/* --- router.c --- */
/* The first row that fits, with ex->req.params filled; or null, and what other methods the path has. */
const struct http_route *router_match(const struct http_route *routes, size_t n, struct http_exchange *ex,
                                      unsigned *allowed_out);
/* "GET, HEAD, POST". */
void router_allow_text(unsigned methods, char *out, size_t out_cap);
/* Undoes percent-encoding to arena memory. False for a bad escape or an encoded NUL. `plus`: '+' is a space. */
bool percent_decode(struct arena *arena, struct str in, bool plus, struct str *out);

/* --- server.c --- */
/* The memory of a request is freed at the end of the turn: conn_frees when that is settled, conn_freed when it is done. */
static inline void conn_frees(struct http_conn *conn)
{
    conn->frees_n++;
}
void conn_freed(struct http_conn *conn, size_t bytes);
/* Whether it holds half of what it may, though some only until the end of the turn: nothing more is to be read until `resume`. */
bool conn_must_rest(struct http_conn *conn);
/* Whether `n` more bytes may be held for requests of this connection; they are charged when they may. */
MUST_CHECK bool conn_hold(struct http_conn *conn, size_t n);
/* How long this peer may keep something waiting, or do nothing: `known_ms` if it is known. */
int64_t conn_patience_ms(const struct http_conn *conn, int64_t known_ms);
const struct http_server_opts *server_opts(const struct http_server *server);
bool server_is_draining(const struct http_server *server);
/* "Sun, 06 Nov 1994 08:49:37 GMT", made once a second. */
const char *server_date(struct http_server *server);
/* Before anything is charged to it. */
void conn_open_budget(struct http_conn *conn, struct http_server *server);
void conn_init(struct http_conn *conn, const struct http_conn_ops *ops, struct http_server *server,
               struct stream *below, const struct stream_events *events, void *ctx);
/* Ends the connection: exchanges get `closed`, the stream below is closed, the server told, memory freed later. Twice is
 * fine. */
void conn_die(struct http_conn *conn, bool flush);
static inline int64_t conn_now(const struct http_conn *conn)
{
    return loop_now_ms(server_opts(conn->server)->loop);
}
/* Too much waits below: go on in `drained`, which is certain to come. */
bool conn_is_full(struct http_conn *conn);
/* The peer has taken nothing for too long. */
bool conn_is_stalled(struct http_conn *conn, int64_t now_ms);
static inline bool status_has_no_body(int status)
{
    return status == 204 || status == 304;
}

/* Counts a refusal and logs it at debug. */
enum http_refusal {
    HTTP_REFUSED_HEAD,
    HTTP_REFUSED_BODY,
    HTTP_REFUSED_TIMEOUT,
    HTTP_REFUSED_FLOOD,
    HTTP_REFUSED_STALLED,
    HTTP_REFUSED_PROTOCOL,
};
void count_refusal(enum http_refusal why);
void count_request(int status);

#endif
