/* The core: its jobs, its timers, its life. */
#include <assert.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/core_internal.h"
#include "crypto/crypto.h"

METRIC_COUNTER(local_jobs, "fullscale_core_jobs_total", "kind=\"local\"",
               "Events that the core applied, by what their answers waited for.");
METRIC_COUNTER(fresh_jobs, "fullscale_core_jobs_total", "kind=\"fresh\"", "");
METRIC_COUNTER(pen_jobs, "fullscale_core_jobs_total", "kind=\"pen\"", "");
METRIC_COUNTER(wrong_kind, "fullscale_core_wrong_kind_jobs_total", "",
               "Events that changed what they were only meant to read: errors of the program.");

LOG_MODULE("core");

enum {
    LAZY_FLUSH_MS = 2000, /* between writes of presence: after a crash peers must still find each other */
    LAZY_FLUSH_ROWS = 2000,
};

static void on_publish_timer(void *ctx)
{
    core_touch(ctx);
}

static void on_tick(void *ctx)
{
    struct core *core = ctx;
    bool was_stepped = core->is_stepped;
    int64_t now_ms = core_look_at_clock(core);
    core->tick_due_ms = INT64_MAX;
    core_touch(core);
    if (core->is_stepped && !was_stepped)
        return; /* the step was noticed just now: the next tick looks at deadlines, STEP_SETTLE_MS later */
    core->is_stepped = false;
    state_tick(core->state, now_ms);
    core_undo_if_failing(core);
}

static void on_lazy(void *ctx)
{
    struct core *core = ctx;
    core_look_at_clock(core);
    bool has_rows = core->fault == RC_OK && state_flush_lazy(core->state, LAZY_FLUSH_ROWS) > 0;
    if (has_rows || state_next_tick_ms(core->state) != core->tick_due_ms)
        core_touch(core);
}

/* --- jobs --- */

void core_run_as(struct core_job *job, enum job_kind kind)
{
    job->wanted = kind;
}

void core_deny(struct core_job *job, enum rc why)
{
    job->denied = why;
    if (job->kind < JOB_FRESH)
        core_run_as(job, JOB_FRESH);
}

/* A job that must not write has written: from now on it is treated as one that may. */
static void mend_kind(struct core_job *job)
{
    metric_inc(&wrong_kind);
    log_limited(LOG_ERROR, "an event that should only read has changed something: please report this");
    job->kind = JOB_PEN;
}

static void run_once(struct core *core, struct core_job *job)
{
    size_t rows_before = state_pending_rows(core->state);
    job->wanted = job->kind;
    job->is_firm = false;
    job->denied = job->refused = RC_OK;
    job->run(job, core->state, core_look_at_clock(core));
    if (job->kind == JOB_FRESH && state_pending_rows(core->state) != rows_before)
        mend_kind(job);
}

/* Returns when the state is as new as the database: at once, since only this server writes it. */
static void core_barrier(struct core *core)
{
    assert(store_is_sole(core->store));
}

static void run_as_needed(struct core *core, struct core_job *job)
{
    run_once(core, job);
    while (core_runs_again(job)) {
        job->kind = job->wanted;
        core_barrier(core);
        run_once(core, job);
    }
}

static void count_job(const struct core_job *job)
{
    static struct metric *const by_kind[JOB_KINDS] = {
        [JOB_LOCAL] = &local_jobs, [JOB_FRESH] = &fresh_jobs, [JOB_PEN] = &pen_jobs};
    metric_inc(by_kind[job->kind]);
}

static void run_job(struct loop *loop, struct loop_msg *msg)
{
    struct core_job *job = CONTAINER_OF(msg, struct core_job, msg);
    struct core *core = job->core;
    (void)loop;
    run_as_needed(core, job);
    count_job(job);
    core_touch(core);
    bool is_undone = core_undo_if_failing(core);
    if (job->kind != JOB_LOCAL && (is_undone || (job->denied != RC_OK && core->fault != RC_OK)))
        core_refuse(core, job);
    job->seq = state_durable_seq(core->state);
    if (job->kind == JOB_LOCAL || job->is_firm || job->seq <= core->settled_seq) {
        core_answer(core, job);
        return;
    }
    core_answer_after_commit(core, job);
}

void core_post(struct core *core, struct core_job *job)
{
    assert(job->kind != 0);
    job->core = core;
    job->msg.run = run_job;
    loop_post(core->loop, &job->msg);
}

bool core_offer(struct core *core, struct core_job *job, const struct waiting_sender *sender, size_t bytes)
{
    if (!waiting_take(core->waiting, sender, bytes, &job->ticket))
        return false;
    core_post(core, job);
    return true;
}

struct waiting *core_waiting(struct core *core)
{
    return core->waiting;
}

/* --- life --- */

static void *core_main(void *arg)
{
    struct core *core = arg;
    pthread_setname_np(pthread_self(), "core");
    core_set_tick(core);
    loop_run(core->loop);
    return NULL;
}

struct core *core_create(struct state *st, struct store *store, int64_t apart_ms, const struct core_hooks *hooks)
{
    struct core *core = MEM_NEW(struct core);
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    core->waiting = waiting_create(seed);
    core->loop = loop_create(UINT32_MAX);
    core->state = st;
    core->store = store;
    core->hooks = *hooks;
    core->tick_due_ms = INT64_MAX;
    core->started_apart_ms = apart_ms;
    core->publish_timer = loop_timer_create(core->loop, on_publish_timer, core);
    core->tick_timer = loop_timer_create(core->loop, on_tick, core);
    core->lazy_timer = loop_timer_create(core->loop, on_lazy, core);
    loop_timer_start(core->lazy_timer, LAZY_FLUSH_MS, LAZY_FLUSH_MS);
    core->retry_timer = loop_timer_create(core->loop, core_on_retry, core);
    core->fault = store_fault(store);
    if (core->fault != RC_OK)
        core_retry_later(core);
    core->first = snapshot_ref(state_snapshot(st));
    state_want_events(st, hooks->events != NULL);
    core_publish_init(core);
    core_touch(core);
    return core;
}

void core_start(struct core *core)
{
    store_start(core->store, core_store_done, core);
    pthread_create(&core->thread, NULL, core_main, core);
}

enum rc core_fault(struct core *core)
{
    return store_fault(core->store);
}

struct snapshot *core_first_snapshot(const struct core *core)
{
    return core->first;
}

struct stop_msg {
    struct loop_msg msg;
    struct core *core;
};

static void on_stop(struct loop *loop, struct loop_msg *msg)
{
    struct stop_msg *m = CONTAINER_OF(msg, struct stop_msg, msg);
    m->core->is_stopping = true;
    if (m->core->fault == RC_OK)
        state_flush_lazy(m->core->state, SIZE_MAX);
    core_touch(m->core);
    loop_stop(loop);
    mem_free(m);
}

void core_stop(struct core *core)
{
    struct stop_msg *m = MEM_NEW(struct stop_msg);
    *m = (struct stop_msg){.msg.run = on_stop, .core = core};
    loop_post(core->loop, &m->msg);
    pthread_join(core->thread, NULL);
}

/* The last results of the store, and jobs that will not be answered any more. */
static void drop_rest(struct core *core)
{
    core->is_stopping = true;
    core->is_over = true;
    loop_stop(core->loop);
    loop_run(core->loop);
    while (core->waiting_first != NULL) {
        struct core_job *job = core->waiting_first;
        core->waiting_first = job->next;
        mem_free(job);
    }
}

void core_destroy(struct core **at)
{
    struct core *core = *at;
    *at = NULL;
    if (core == NULL)
        return;
    drop_rest(core);
    loop_timer_destroy(&core->publish_timer);
    loop_timer_destroy(&core->tick_timer);
    loop_timer_destroy(&core->lazy_timer);
    loop_timer_destroy(&core->retry_timer);
    loop_destroy(&core->loop);
    waiting_destroy(&core->waiting);
    snapshot_unref(&core->first);
    state_destroy(&core->state);
    mem_free(core);
}
