/* What the files of the core share: core_clock.c, core_publish.c, core_commit.c, core.c; each calls only those before
 * it. Core's thread, unless a comment says otherwise. */
#ifndef CONTROL_CORE_INTERNAL_H
#define CONTROL_CORE_INTERNAL_H

#include <pthread.h>

#include "control/core.h"

struct core {
    struct loop *loop;
    pthread_t thread;
    struct state *state;
    struct store *store;
    struct core_hooks hooks;
    struct waiting *waiting;
    uint64_t settled_seq; /* up to here everything is on disk, or undone */
    uint64_t ignored_seq; /* up to here the store's failures are known */
    enum rc fault;        /* not RC_OK: nothing that must be written is accepted */
    int64_t retry_ms;     /* how long until the next try */
    struct loop_timer *retry_timer;
    bool is_stopping;                              /* publishes nothing any more */
    bool is_over;                                  /* the store is closed */
    struct core_job *waiting_first, *waiting_last; /* for the disk, ascending by seq */
    struct loop_task end_of_iteration;
    struct loop_timer *publish_timer;
    struct loop_timer *tick_timer;
    struct loop_timer *lazy_timer;
    int64_t next_publish_us;  /* monotonic */
    int64_t started_apart_ms; /* what Unix time was ahead of the monotonic clock when the state was loaded */
    bool is_stepped;          /* the clock was set, and no tick has looked at it yet */
    int64_t ahead_ms;         /* how far it was set ahead since then, when last looked at */
    int64_t tick_due_ms;      /* what the timer is set for; INT64_MAX: not set */
    _Atomic int64_t fanout_us;
    struct snapshot *first;
};

/* --- core_clock.c --- */
/* Unix time. The state gets how far the clock was set since the start, so that durations are not affected. */
int64_t core_look_at_clock(struct core *core);

/* --- core_publish.c --- */
/* At the start, when `first` is set. */
void core_publish_init(struct core *core);
/* Hands the change since the last publication to the workers, or sets the timer for when that may be. */
void core_publish(struct core *core);
/* Hands events to the hook. */
void core_hand_out_events(struct core *core);
/* Sets the timer for the next deadline in the state. */
void core_set_tick(struct core *core);
/* Something happened: what follows from it is done at the end of this iteration, once for all events: rows to the
 * store, news to the hooks, a publication. */
void core_touch(struct core *core);

/* --- core_commit.c --- */
/* Calls `done` on the job's loop; frees the job if it has none. */
void core_answer(struct core *core, struct core_job *job);
/* Notes that the job's event is undone. Only while the store fails. */
void core_refuse(struct core *core, struct core_job *job);
/* While the store fails: undoes what cannot be written. True: there was something to undo. */
bool core_undo_if_failing(struct core *core);
/* Answers the job when all that stood before it is on disk, or undone. */
void core_answer_after_commit(struct core *core, struct core_job *job);
/* A store_done_fn: the end of a commit, from the store's thread. */
void core_store_done(void *ctx, uint64_t seq, enum rc rc);
/* Tries to write again after a while: at first after RETRY_MIN_MS, then after twice as long each time. */
void core_retry_later(struct core *core);
/* The retry timer's function. */
void core_on_retry(void *ctx);

#endif
