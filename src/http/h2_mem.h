/* Memory for nghttp2 sessions. Private to http.
 *
 * Each session allocates a frame buffer of 16 KiB when it is made and keeps it for life, two thirds of all it needs.
 * The buffer holds something only while nghttp2_session_mem_send runs and until its result is copied: our data
 * callbacks send bodies without copying them there, and never answer "would block". So all sessions of a thread share
 * one.
 *
 * What a session allocates is chosen by its peer: names and values of headers of up to 64 KiB each, the table of the
 * decoder, streams, frames that wait. Beyond its budget it gets no large block, which ends the session. Small ones it
 * gets, and `is_over` is set: the session is to be ended before it reads on. (A queue that could not grow leaves the
 * library with a freed item in a stream.)
 * src: nghttp2 1.52 lib/nghttp2_session.c session_new, nghttp2_session_add_item; lib/nghttp2_buf.c
 * nghttp2_bufs_init3 */
#ifndef HTTP_H2_MEM_H
#define HTTP_H2_MEM_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/budget.h"

struct h2_mem {
    nghttp2_mem mem;       /* what the session gets */
    void *lent;            /* the thread's buffer, once the session has it */
    bool is_creating;      /* only the first large allocation of session_new is the frame buffer */
    struct budget *budget; /* what the session owns is charged here */
    bool is_over;          /* it owns more than the budget has room for */
};

/* `m` and `budget` stay in place as long as the session. Set is_creating around the session's creation. */
void h2_mem_init(struct h2_mem *m, struct budget *budget);

#endif
