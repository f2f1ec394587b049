/* A tailnet as a value: its users, nodes, keys, policy and settings, and all that this process knows of it.
 *
 * One process may serve several. They share threads, listeners and the database; nothing of one is seen in another,
 * and ids, names and addresses of two may be equal. `serve` makes one, called "default".
 *
 * core_add_tailnet makes it, core_destroy frees it. Each group of members says which thread may use it; each worker has
 * what it needs of a tailnet for itself (struct tailnet_part). */
#ifndef CONTROL_TAILNET_H
#define CONTROL_TAILNET_H

#include "base/list.h"
#include "control/machines.h"
#include "control/newest_polls.h"
#include "control/relays_news.h"
#include "net/loop.h"
#include "state/state.h"

struct core;
struct core_job;

enum { TAILNET_NAME_CAP = 64 };

/* Where a tailnet's policy comes from. */
struct policy_source {
    const char *path; /* policy.mode file: the file, "" none. Null: the database. Borrowed; does not change */
    struct buf fault; /* why the file as it is now is not in force: lines "FILE:LINE:COL: TEXT"; empty: it is */
};

struct tailnet {
    /* Any thread: they do not change. */
    struct core *core;
    uint64_t id;                 /* of its rows in the database, from 1 */
    unsigned index;              /* among those of this process: of its part in each worker */
    char name[TAILNET_NAME_CAP]; /* for people */
    char *server_url;            /* where its clients come; "https://host:port", no slash at the end */
    struct snapshot *first;      /* that of the start; reference */

    /* Any thread, locked inside. */
    struct machines machines;

    /* The core's thread, once that runs. */
    struct state *state;
    struct policy_source policy;
    struct newest_polls polls;
    struct relays_news news;
    struct ping_round *pings; /* owned */
    struct change **unsent;   /* owned array of references: what was published and nodes were not sent yet */
    size_t unsent_n, unsent_cap;

    /* The core's own. */
    struct list touched;  /* in core->touched: something has happened in this iteration */
    uint64_t settled_seq; /* up to here everything is on disk, or undone */
    uint64_t ignored_seq; /* up to here the store's failures are known */
    enum rc fault;        /* not RC_OK: nothing that must be written is accepted */
    int64_t retry_ms;     /* how long until the next try */
    struct loop_timer *retry_timer;
    struct core_job *waiting_first, *waiting_last; /* for the disk, ascending by seq */
    struct loop_timer *tick_timer;
    int64_t tick_due_ms;     /* what it is set for; INT64_MAX: not set */
    uint64_t events_dropped; /* of its state, as the metric has them */
    bool is_stepped;         /* the clock was set, and no tick has looked at it yet */
};

#endif
