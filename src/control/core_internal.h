/* What the files of the core share: core_clock.c, core_publish.c, core_commit.c, core.c; each calls only those before
 * it. Core's thread, unless a comment says otherwise. */
#ifndef CONTROL_CORE_INTERNAL_H
#define CONTROL_CORE_INTERNAL_H

#include <pthread.h>

#include "control/core.h"
#include "control/spacing.h"

struct core {
    struct loop *loop;
    pthread_t thread;
    struct store *store;
    struct core_hooks hooks;
    struct waiting *waiting;
    struct tailnet **tailnets; /* owned, as what they point to */
    size_t tailnet_n, tailnet_cap;
    struct list touched; /* tailnets in which something has happened in this iteration */
    bool is_stopping;    /* publishes nothing any more */
    bool is_over;        /* the store is closed */
    struct loop_task end_of_iteration;
    struct loop_timer *publish_timer;
    struct loop_timer *lazy_timer;
    struct spacing spacing;    /* of publications, and of sending them to nodes: for all tailnets together */
    bool is_publishing_later;  /* the timer will, for those that are dirty */
    int64_t last_fanout_us;    /* what sending cost the costlier worker the time before */
    int64_t started_apart_ms;  /* what Unix time was ahead of the monotonic clock when the states were loaded */
    int64_t ahead_ms;          /* how far it was set ahead since then, when last looked at */
    _Atomic int64_t fanout_us; /* the same of the last time; 0 while no worker is done with it */
};

/* --- core_clock.c --- */
/* Unix time. The tailnet's state gets how far the clock was set since the start, so that durations are not affected. */
int64_t core_look_at_clock(struct tailnet *t);

/* --- core_publish.c --- */
/* At the start. */
void core_publish_init(struct core *core);
/* Counts a tailnet that has come, with its first snapshot, or that goes. */
void core_publish_count(const struct tailnet *t, bool is_there);
/* Publishes what has changed, and has nodes sent what was published, or sets the timer for when that may be. */
void core_publish(struct tailnet *t);
/* Hands rows to the store. */
void core_commit(struct tailnet *t, struct row_batch *batch);
/* Hands events to the hook. */
void core_hand_out_events(struct tailnet *t);
/* Sets the timer for the next deadline in the state. */
void core_set_tick(struct tailnet *t);
/* Something happened in it: what follows from it is done at the end of this iteration, once for all events: rows to the
 * store, news to the hooks, a publication. */
void core_touch(struct tailnet *t);

/* --- core_commit.c --- */
/* Calls `done` on the job's loop; frees the job if it has none. */
void core_answer(struct core_job *job);
/* Notes that the job's event is undone. Only while the store fails. */
void core_refuse(struct core_job *job);
/* While the store fails: undoes what cannot be written. True: there was something to undo. */
bool core_undo_if_failing(struct tailnet *t);
/* Answers the job when all that stood before it is on disk, or undone. */
void core_answer_after_commit(struct core_job *job);
/* A store_done_fn: the end of a commit, from the store's thread. */
void core_store_done(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc);
/* Tries to write again after a while: at first after RETRY_MIN_MS, then after twice as long each time. */
void core_retry_later(struct tailnet *t);
/* The retry timer's function; `ctx` is a tailnet. */
void core_on_retry(void *ctx);

#endif
