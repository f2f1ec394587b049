/* The core: one thread that owns the states of all tailnets. All other threads post jobs to it and get snapshots from
 * it.
 *
 * A job is one tailnet's. It runs on the core's thread with that tailnet's state, and is answered on the loop that
 * posted it: at once, or after the store has committed everything up to it, as its kind demands (control/job_kind.h).
 * What may be answered at once in most cases begins as LOCAL; when `run` finds that this is not one of them, it asks to
 * be run again as a higher kind. Each published change is handed to every worker in order, before the answers that were
 * waiting for the same commit.
 *
 * When the store cannot write, the events that wait for it are undone (state_refused) and their jobs are answered with
 * a refusal. From then on each job whose event would have to be written is undone and refused at once, until the store
 * can write again, which is tried every few seconds. Reading, presence and maps go on; but nobody is denied anything on
 * the strength of a database that fails: such jobs are refused as well.
 *
 * How much may wait is bounded (control/waiting.h).
 *
 * Publications, and sending them to nodes, are spaced by load, not by a fixed delay (control/spacing.h): after a quiet
 * time a change leaves at once; in a storm what has piled up is sent together. */
#ifndef CONTROL_CORE_H
#define CONTROL_CORE_H

#include "control/job_kind.h"
#include "control/tailnet.h"
#include "control/waiting.h"
#include "net/loop.h"
#include "state/state.h"
#include "store/store.h"

struct core;

struct core_job {
    struct loop_msg msg;          /* private */
    struct core *core;            /* private */
    struct core_job *next;        /* private */
    uint64_t seq;                 /* private */
    struct waiting_ticket ticket; /* private */
    enum job_kind wanted;         /* private: as what `run` asks to be called again */
    struct tailnet *tailnet;      /* whose state `run` gets */
    struct loop *home;            /* where `done` is called */
    enum job_kind kind;           /* as which it begins, and as which it was run at last */
    bool is_firm;                 /* `run` may set it: no commit can change the answer, so that it waits for none */
    enum rc denied;               /* for `done`: RC_OK, or what core_deny was given */
    enum rc refused; /* for `done`: RC_OK, or why its event was undone, or what it saw was: store_refusal_text */
    /* On the core's thread. Called again, as FRESH or PEN, when it asks for that: core_deny, core_run_as. */
    void (*run)(struct core_job *job, struct state *st, int64_t now_ms);
    /* On `home`; owns the job. Null: the job is mem_free'd after `run`, on the core's thread; `run` may set that. */
    void (*done)(struct core_job *job);
};

/* For `run`: the answer denies something, for the reason `why`, not RC_OK. A LOCAL job may not say so: it is run again
 * as FRESH, after `run` has returned. The only way to `denied`, which is RC_OK each time that `run` begins. */
void core_deny(struct core_job *job, enum rc why);
/* For `run`, before it has changed anything: as a job of its kind it may not do what it has to. It is called again, as
 * one of this higher kind. */
void core_run_as(struct core_job *job, enum job_kind kind);
/* Whether `run` will be called again: what it needs for that must stay. */
static inline bool core_runs_again(const struct core_job *job)
{
    return job->wanted > job->kind;
}

/* Each on the core's thread, for one tailnet. */
struct core_hooks {
    void *ctx;
    /* A change; called for each of a tailnet in order. The callee takes a reference if it keeps it. */
    void (*published)(void *ctx, struct tailnet *t, struct change *c);
    /* Nodes are to be sent the changes that were published since the last call, of which there may be none. May be
     * null. */
    void (*send)(void *ctx, struct tailnet *t);
    /* This node key may not use the relay any more. */
    void (*key_revoked)(void *ctx, struct tailnet *t, const node_key *key);
    /* Relays on other machines came, went or changed; walk them with state_relay_next. May be null. */
    void (*relays_changed)(void *ctx, struct tailnet *t);
    /* Another policy is in force, or none. May be null. */
    void (*policy_changed)(void *ctx, struct tailnet *t);
    /* What has happened: what is durable after its commit, before the answers that wait for it. The callee takes a
     * reference if it keeps the list. Null: no events are recorded. */
    void (*events)(void *ctx, struct tailnet *t, struct event_list *events);
    /* The machine's clock was set, to `now_ms`; what follows from it is published a second later. For all tailnets. May
     * be null. */
    void (*clock_set)(void *ctx, int64_t now_ms);
};

/* How far Unix time is ahead of the monotonic clock, for core_create. */
int64_t core_clocks_apart_ms(void);
/* A core without tailnets. It borrows `store`, which is not started yet. `apart_ms` is core_clocks_apart_ms of before
 * the first state was loaded: the deadlines in them hold even if the clock was set since. */
struct core *core_create(struct store *store, int64_t apart_ms, const struct core_hooks *hooks);

struct tailnet_options {
    uint64_t id;             /* of its rows, from 1 */
    const char *name;        /* shorter than TAILNET_NAME_CAP; copied */
    const char *server_url;  /* copied; the first tailnet with its host name gets the requests for that */
    const char *policy_path; /* for struct policy_source */
};
/* Adds a tailnet, and takes over its state, which is loaded. Before anything uses the core. Borrowed. */
struct tailnet *core_add_tailnet(struct core *core, const struct tailnet_options *options, struct state *st);
/* The tailnet number `index`; null past the last. Any thread. */
struct tailnet *core_tailnet(const struct core *core, unsigned index);
/* The tailnet that a request to this host is for ("Host", :authority): the one that has it in its server_url, or the
 * first, which also gets those without a name. Any thread. */
struct tailnet *core_tailnet_of_host(const struct core *core, struct str authority);
/* Starts the store's thread and its own: the hooks are called from now on. */
void core_start(struct core *core);
/* Posts a job of this program's own, of which there are few. Any thread. */
void core_post(struct core *core, struct core_job *job);
/* Posts a job for a request: it is charged to `sender`, with the memory that it holds, until it is answered. False: too
 * much waits already, and the job remains the caller's, which answers CORE_BUSY_TEXT at once. Any thread. */
MUST_CHECK bool core_offer(struct core *core, struct core_job *job, const struct waiting_sender *sender, size_t bytes);
/* The jobs that wait. Borrowed. */
struct waiting *core_waiting(struct core *core);
#define CORE_BUSY_TEXT "the server is busy, try again"
#define CORE_BUSY_RETRY_AFTER "5" /* seconds */
/* RC_OK, or why the database cannot be written now: store_refusal_text. Any thread. */
enum rc core_fault(struct core *core);
/* How much CPU time the last change cost a worker, for the spacing. Any thread. */
void core_fanout_took(struct core *core, int64_t cpu_us);
/* Runs what was posted, hands presence to the store, ends the thread. The caller then closes the store, which
 * commits what it has. The worker loops have stopped before. */
void core_stop(struct core *core);
/* Frees the core and its tailnets. After core_stop and store_close, or without core_start. Null is fine; nulls the
 * pointer. */
void core_destroy(struct core **core);

#endif
