/* What the files of HTTP/2 sessions share: h2.c (the life of a session), h2_request.c and h2_answer.c (the library's
 * callbacks for what comes in and what goes out). The callbacks only note what happened (ready, gone); handlers run
 * after the library has returned, so nothing they do can find it half-way through a frame. Loop thread only. */
#ifndef HTTP_H2_INTERNAL_H
#define HTTP_H2_INTERNAL_H

#include "http/h2_mem.h"
#include "http/http_internal.h"

enum {
    /* Frames that cost us and mean little: so many at once, and so many more each second. Clients before 1.90 cancel 18
     * requests in their first half second, each with a PING. */
    H2_FLOOD_BURST = 500,
    H2_FLOOD_PER_S = 100,
};

struct h2_session {
    struct http_conn base;
    nghttp2_session *ng;
    struct h2_mem mem;
    struct loop_task task;
    struct list ready;     /* requests for their handlers */
    struct list gone;      /* streams that have closed */
    unsigned open_n;       /* streams */
    unsigned incomplete_n; /* of those, requests that are still coming in */
    int64_t idle_since_ms; /* when open_n became 0 */
    int64_t dies_at_ms;    /* after GOAWAY with no streams; 0: not yet */
    int64_t flood_at_ms;   /* when tokens were last added */
    int64_t flood_tokens;
    struct buf held; /* input for the next iteration of the loop */
    bool has_preface;
    bool is_broken; /* the library had no memory left for something that must be */
    bool is_paused;
    bool has_sent_data; /* since drained was last looked after */
};

static inline struct http_exchange *h2_exchange(const struct h2_session *s, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(s->ng, stream_id);
}

/* Looks at the result of a call that gives the library something which must not get lost. When it had no memory left
 * for it because the peer has used up its budget, the session ends, soon. */
static inline void h2_must(struct h2_session *s, int error)
{
    if (error != NGHTTP2_ERR_NOMEM)
        return;
    s->is_broken = true;
    loop_defer(s->base.below->loop, &s->task);
}

static inline void h2_reset_stream(struct h2_session *s, int32_t stream_id, uint32_t error)
{
    h2_must(s, nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, stream_id, error));
}

/* The request is complete, or is to be refused: h2.c sees to it after the library has returned. */
static inline void h2_make_ready(struct h2_session *s, struct http_exchange *ex)
{
    if (!ex->is_dispatched && list_is_empty(&ex->todo))
        list_push_back(&s->ready, &ex->todo);
}

/* --- h2_request.c --- */
/* The callbacks for what comes in. */
void h2_request_set_callbacks(nghttp2_session_callbacks *callbacks);

/* --- h2_answer.c --- */
/* The callbacks for what goes out. */
void h2_answer_set_callbacks(nghttp2_session_callbacks *callbacks);
/* http_conn_ops of the same names. */
void h2_answer_start(struct http_exchange *ex);
void h2_answer_wake(struct http_exchange *ex);
void h2_answer_abort(struct http_exchange *ex);

#endif
