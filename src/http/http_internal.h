/* What the files of http/ share. Loop thread only. Upwards, each file calls only those before it: counters,
 * answer_head, request, host, router, conn_budget, exchange, conn, then the protocols (h1, h2_*), server.c. */
#ifndef HTTP_HTTP_INTERNAL_H
#define HTTP_HTTP_INTERNAL_H

#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "http/http.h"

/* What a protocol implements. */
struct http_conn_ops {
    /* Status and headers of the answer are set: encodes them now, as their memory may go afterwards. */
    void (*start)(struct http_exchange *ex);
    /* The body has more to send, or has ended: sends it in a deferred task. */
    void (*wake)(struct http_exchange *ex);
    /* The owner gives up: resets the stream or closes the connection. Frees the exchange, soon. */
    void (*abort)(struct http_exchange *ex);
    /* As http_take_stream; null where it is not possible. */
    void (*take)(struct http_exchange *ex, struct stream **out, struct buf *leftover);
    /* Takes no further requests, and closes when the last exchange has ended. */
    void (*drain)(struct http_conn *conn);
    /* After http_conn_must_rest: the iteration is over, and the memory of answered requests is free again. Reads on. */
    void (*resume)(struct http_conn *conn);
    /* Called each second. May close the connection. */
    void (*sweep)(struct http_conn *conn, int64_t now_ms);
    /* The connection is dead and off the server's list: frees it, and what it holds beyond the common part. Called when
     * no function of it is running. */
    void (*free)(void *conn);
};

/* Rows of routes, and what their handlers get. */
struct http_table {
    struct list link; /* in server->tables */
    const struct http_route *rows;
    size_t n;
    void *app;
};

struct http_server {
    struct http_server_opts opts; /* with the defaults filled in */
    struct list tables;           /* struct http_table, in the order in which they are searched */
    struct list conns;            /* struct http_conn */
    size_t conns_n;
    struct budget strangers; /* of all connections together, besides what each may have anyway */
    struct budget known;
    size_t largest_body_bytes;  /* that any route takes */
    struct loop_timer *sweeper; /* runs while there are connections */
    bool is_draining;
    char date[40]; /* http_server_date, as of the second `date_s` */
    int64_t date_s;
};

/* First in struct h1_conn and struct h2_session. */
struct http_conn {
    const struct http_conn_ops *ops;
    struct http_server *server;
    struct list link;           /* in server->conns */
    struct stream *below;       /* owned; null once closed or taken */
    struct list exchanges;      /* all, also those that their owner has answered */
    void *ctx;                  /* of http_server_attach_h2 */
    struct addr tcp_peer;       /* of the connection; behind a proxy the peers of its requests are others */
    struct budget budget;       /* part of the server's for strangers or for known parties */
    size_t soft_bytes;          /* requests are refused beyond this: the rest of the budget is for the refusals */
    struct loop_msg resume_msg; /* posted while the connection rests: http_conn_must_rest */
    bool is_resting;
    unsigned frees_n;   /* parts that will be freed at the end of the iteration, and are charged until then */
    bool is_freed;      /* the connection itself is freed when frees_n is 0 */
    bool is_known;      /* no stranger */
    bool is_dead;       /* see http_conn_die */
    bool is_draining;   /* takes no further requests */
    size_t last_queued; /* for the stall limit, as of the last sweep */
    int64_t stalled_since_ms;
    struct http_exchange *in_handler; /* the one whose handler is running; null once that exchange is freed */
};

struct http_exchange {
    struct http_request req;
    struct http_conn *conn;
    struct list link;               /* in conn->exchanges */
    struct list todo;               /* HTTP/2: in the session's `ready` or `gone` */
    const struct http_route *route; /* null until one matches */
    void *app;                      /* of the route's table */
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
    int refuse_status;        /* HTTP/2: the answer without asking a handler; 0: none */
    bool is_deferred;         /* HTTP/2: the library has to be resumed when there is more data */
    bool is_request_complete; /* with its body */
    bool is_dispatched;       /* to a handler, or refused */
    bool is_streaming;        /* the length is not known beforehand */
    bool is_ended;            /* nothing will be added to the queue */
    bool is_owned;            /* a handler may still use the pointer */
    bool is_head;             /* no body is sent */
    bool was_high;            /* the queue exceeded STREAM_HIGH_WATER since the last `drained` */
};

static inline const struct http_server_opts *http_server_options(const struct http_server *server)
{
    return &server->opts;
}

static inline int64_t http_conn_now(const struct http_conn *conn)
{
    return loop_now_ms(conn->server->opts.loop);
}

static inline bool http_status_has_no_body(int status)
{
    return status == 204 || status == 304;
}

/* --- counters.c --- */

enum http_refusal {
    HTTP_REFUSED_HEAD,
    HTTP_REFUSED_BODY,
    HTTP_REFUSED_TIMEOUT,
    HTTP_REFUSED_FLOOD,
    HTTP_REFUSED_STALLED,
    HTTP_REFUSED_PROTOCOL,
};
/* A request or connection that is refused before any handler sees it. */
void http_count_refusal(enum http_refusal why);
/* An answer; `status` is 200 to 599. */
void http_count_request(int status);

/* --- answer_head.c --- */
/* "Sun, 06 Nov 1994 08:49:37 GMT", made once a second. Borrowed. */
const char *http_server_date(struct http_server *server);

/* --- request.c --- */
/* Decodes percent-encoding; `out` is in the arena. False for a bad escape or an encoded NUL. `plus`: '+' is a space. */
bool http_percent_decode(struct arena *arena, struct str in, bool plus, struct str *out);

/* --- host.c --- */
/* Whether `authority` (a valid one, may be empty) is one of `hosts` (null: any). */
bool http_host_is_ours(const struct http_hosts *hosts, struct str authority);
/* The client of a request that a proxy has forwarded. False: the request does not say. */
bool http_host_forwarded_for(const struct http_request *req, const struct http_server_opts *opts, struct addr *out);

/* --- router.c --- */
/* Finds the first row that matches; sets ex->route, ex->app and ex->req.params. False: none does, and `*allowed_out`
 * has the other methods of the path, or 0. */
bool router_match(const struct http_server *server, struct http_exchange *ex, unsigned *allowed_out);
/* "GET, HEAD, POST", for the header Allow. */
void router_allow_text(unsigned methods, char *out, size_t out_cap);

/* --- conn_budget.c --- */
/* First of all, before anything is charged to the connection; http_conn_init follows. */
void http_conn_open_budget(struct http_conn *conn, struct http_server *server);
/* Charges `n` more bytes for requests of this connection. False: it may not hold them, and nothing is charged. */
MUST_CHECK bool http_conn_hold(struct http_conn *conn, size_t n);
/* The memory of a request is freed at the end of the iteration: http_conn_frees when that is certain, http_conn_freed
 * when it is done, with the bytes that were charged for it. The connection outlives both. */
static inline void http_conn_frees(struct http_conn *conn)
{
    conn->frees_n++;
}
void http_conn_freed(struct http_conn *conn, size_t bytes);
/* Whether it holds half of what it may, a part of which is freed at the end of the iteration: then nothing more is to
 * be read until `resume`. */
bool http_conn_must_rest(struct http_conn *conn);
/* How long this peer may keep us waiting, or be idle: `known_ms`, or less if it is a stranger. */
int64_t http_conn_patience_ms(const struct http_conn *conn, int64_t known_ms);

/* --- exchange.c --- */
/* For a request that begins. */
struct http_exchange *exchange_create(struct http_conn *conn);
/* Unlinks it, and frees it at the end of the iteration, without an event for its owner. */
void exchange_free(struct http_exchange *ex);
/* The peer is gone: frees it, with `closed` for its owner if there is one. */
void exchange_close(struct http_exchange *ex);
/* Finds the route and sets max_body_bytes. The status to refuse with, or 0. Sets Allow for 405. */
int exchange_route(struct http_exchange *ex);
/* Runs the handler of the route, which exchange_route found. */
void exchange_dispatch(struct http_exchange *ex);
/* Answers for the server: 404 and 405 by the hook, others as text. */
void exchange_refuse(struct http_exchange *ex, int status, const char *text);
/* Charges what the exchange holds by now, or gives back what it does not hold any more. False: it holds more than it
 * may; it is charged all the same, and is to be refused. */
bool exchange_charge(struct http_exchange *ex);
/* RC_TOO_LARGE: more than the route takes. RC_LIMIT: more than all requests of a connection may hold. */
MUST_CHECK enum rc exchange_append_body(struct http_exchange *ex, const uint8_t *p, size_t n);
/* Finds up to `max` bytes that lie together at the front of the queue; returns how many, 0 when it is empty. */
size_t exchange_peek(const struct http_exchange *ex, size_t max, const uint8_t **p_out);
/* Drops `n` bytes from the front of the queue. */
void exchange_consume(struct http_exchange *ex, size_t n);
/* Whether the peer has taken next to nothing of what is queued for it, for too long. Call it each second. */
bool exchange_is_stalled(struct http_exchange *ex, int64_t now_ms);
/* The queue shrank: calls `drained` if it is due. The exchange may be gone afterwards. */
void exchange_check_drained(struct http_exchange *ex);

/* --- conn.c --- */
/* Puts the connection on the server's list and takes over `below` with its events. */
void http_conn_init(struct http_conn *conn, const struct http_conn_ops *ops, struct http_server *server,
                    struct stream *below, const struct stream_events *events, void *ctx);
/* Ends the connection: exchanges get `closed`, the stream below is closed (after its output with `flush`), `conn_gone`
 * of the server is called, and memory is freed later. Twice is fine. */
void http_conn_die(struct http_conn *conn, bool flush);
/* Whether so much output waits below that no more should be made: go on in `drained`, which is certain to come. */
bool http_conn_is_full(struct http_conn *conn);
/* Whether the peer has taken nothing for too long. Call it each second. */
bool http_conn_is_stalled(struct http_conn *conn, int64_t now_ms);

#endif
