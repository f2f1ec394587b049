/* For the tests of this module: a loop without sockets, and the far end of a stream as a script sees it. */
#ifndef HTTP_TESTING_H
#define HTTP_TESTING_H

#include "base/log.h"
#include "base/metric.h"
#include "http/http.h"

/* Runs everything that is due without waiting: posted bytes, deferred tasks, frees, and what was put off to the next
 * iteration. */
static inline void run_due(struct loop *loop)
{
    for (int i = 0; i < 16; i++) {
        loop_stop(loop);
        loop_run(loop);
    }
}

/* The client's end. */
struct peer {
    struct stream *s;
    struct buf in;
    bool is_closed;
};

/* Events of the client's end. */
static inline void peer_data(void *ctx, const uint8_t *p, size_t n)
{
    buf_append(&((struct peer *)ctx)->in, p, n);
}

/* The same. */
static inline void peer_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct peer *)ctx)->is_closed = true;
}

/* Takes the client's end of a stream. */
static inline void peer_open(struct peer *p, struct stream *s)
{
    static const struct stream_events events = {peer_data, NULL, peer_closed};
    *p = (struct peer){.s = s};
    stream_set_events(s, &events, p);
}

/* Closes it and forgets what came in. */
static inline void peer_close(struct peer *p)
{
    stream_close(&p->s, false);
    buf_fini(&p->in);
}

/* The counter of refusals: labels such as reason="head". */
static inline int64_t http_refused(const char *labels)
{
    return metric_read("fullscale_http_refused_total", labels);
}

#endif
