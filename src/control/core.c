/* The core: its jobs, its timers, its life. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "control/core_internal.h"
#include "crypto/crypto.h"
#include "http/http.h"

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

static void on_tick(void *ctx)
{
    struct tailnet *t = ctx;
    bool was_stepped = t->is_stepped;
    int64_t now_ms = core_look_at_clock(t);
    t->tick_due_ms = INT64_MAX;
    core_touch(t);
    if (t->is_stepped && !was_stepped)
        return; /* the step was noticed just now: the next tick looks at deadlines, STEP_SETTLE_MS later */
    t->is_stepped = false;
    state_tick(t->state, now_ms);
    core_undo_if_failing(t);
}

static void on_lazy(void *ctx)
{
    struct core *core = ctx;
    for (size_t i = 0; i < core->tailnet_n; i++) {
        struct tailnet *t = core->tailnets[i];
        core_look_at_clock(t);
        bool has_rows = t->fault == RC_OK && state_flush_lazy(t->state, LAZY_FLUSH_ROWS) > 0;
        if (has_rows || state_next_tick_ms(t->state) != t->tick_due_ms)
            core_touch(t);
    }
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

static void run_once(struct core_job *job)
{
    struct tailnet *t = job->tailnet;
    size_t rows_before = state_pending_rows(t->state);
    job->wanted = job->kind;
    job->is_firm = false;
    job->denied = job->refused = RC_OK;
    job->run(job, t->state, core_look_at_clock(t));
    if (job->kind < JOB_PEN && state_pending_rows(t->state) != rows_before)
        mend_kind(job);
}

/* Returns when the state is as new as the database: at once, since only this server writes it. */
static void core_barrier(struct tailnet *t)
{
    assert(store_is_sole(t->core->store));
}

static void run_as_needed(struct core_job *job)
{
    run_once(job);
    while (core_runs_again(job)) {
        job->kind = job->wanted;
        core_barrier(job->tailnet);
        run_once(job);
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
    struct tailnet *t = job->tailnet;
    (void)loop;
    run_as_needed(job);
    count_job(job);
    core_touch(t);
    bool is_undone = core_undo_if_failing(t);
    if (job->kind != JOB_LOCAL && (is_undone || (job->denied != RC_OK && t->fault != RC_OK)))
        core_refuse(job);
    job->seq = state_durable_seq(t->state);
    if (job->kind == JOB_LOCAL || job->is_firm || job->seq <= t->settled_seq)
        core_answer(job);
    else
        core_answer_after_commit(job);
}

void core_post(struct core *core, struct core_job *job)
{
    assert(job->kind != 0 && job->tailnet != NULL && job->tailnet->core == core);
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

/* --- tailnets --- */

struct tailnet *core_add_tailnet(struct core *core, const struct tailnet_options *options, struct state *st)
{
    struct tailnet *t = MEM_NEW(struct tailnet);
    t->core = core;
    t->id = options->id;
    t->index = (unsigned)core->tailnet_n;
    snprintf(t->name, sizeof(t->name), "%s", options->name);
    t->server_url = mem_strdup(options->server_url);
    t->state = st;
    t->policy.path = options->policy_path;
    t->first = snapshot_ref(state_snapshot(st));
    t->tick_due_ms = INT64_MAX;
    t->tick_timer = loop_timer_create(core->loop, on_tick, t);
    t->retry_timer = loop_timer_create(core->loop, core_on_retry, t);
    t->fault = store_fault(core->store);
    if (t->fault != RC_OK)
        core_retry_later(t);
    list_init(&t->touched);
    state_want_events(st, core->hooks.events != NULL);
    VEC_ROOM(core->tailnets, core->tailnet_n, core->tailnet_cap, 1);
    core->tailnets[core->tailnet_n++] = t;
    core_publish_count(t, true);
    core_touch(t);
    return t;
}

static void drop_waiting(struct tailnet *t)
{
    while (t->waiting_first != NULL) {
        struct core_job *job = t->waiting_first;
        t->waiting_first = job->next;
        mem_free(job);
    }
}

static void tailnet_destroy(struct tailnet *t)
{
    core_publish_count(t, false);
    loop_timer_destroy(&t->tick_timer);
    loop_timer_destroy(&t->retry_timer);
    snapshot_unref(&t->first);
    state_destroy(&t->state);
    buf_fini(&t->policy.fault);
    mem_free(t->server_url);
    mem_free(t);
}

struct tailnet *core_tailnet(const struct core *core, unsigned index)
{
    return index < core->tailnet_n ? core->tailnets[index] : NULL;
}

static struct str host_of_url(const char *url)
{
    const char *scheme_end = strstr(url, "://");
    struct str host, path;
    str_cut(str_c(scheme_end != NULL ? scheme_end + 3 : url), '/', &host, &path);
    return http_host_of(host);
}

struct tailnet *core_tailnet_of_host(const struct core *core, struct str authority)
{
    struct str host = http_host_of(authority);
    for (size_t i = 1; i < core->tailnet_n; i++) {
        if (host.len > 0 && str_eq_ci(host, host_of_url(core->tailnets[i]->server_url)))
            return core->tailnets[i];
    }
    return core->tailnets[0];
}

/* --- life --- */

static void *core_main(void *arg)
{
    struct core *core = arg;
    pthread_setname_np(pthread_self(), "core");
    for (size_t i = 0; i < core->tailnet_n; i++)
        core_set_tick(core->tailnets[i]);
    loop_run(core->loop);
    return NULL;
}

struct core *core_create(struct store *store, int64_t apart_ms, const struct core_hooks *hooks)
{
    struct core *core = MEM_NEW(struct core);
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    core->waiting = waiting_create(seed);
    core->loop = loop_create(UINT32_MAX);
    core->store = store;
    core->hooks = *hooks;
    core->started_apart_ms = apart_ms;
    core->lazy_timer = loop_timer_create(core->loop, on_lazy, core);
    loop_timer_start(core->lazy_timer, LAZY_FLUSH_MS, LAZY_FLUSH_MS);
    core_publish_init(core);
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

struct stop_msg {
    struct loop_msg msg;
    struct core *core;
};

static void on_stop(struct loop *loop, struct loop_msg *msg)
{
    struct core *core = CONTAINER_OF(msg, struct stop_msg, msg)->core;
    core->is_stopping = true;
    for (size_t i = 0; i < core->tailnet_n; i++) {
        struct tailnet *t = core->tailnets[i];
        if (t->fault == RC_OK)
            state_flush_lazy(t->state, SIZE_MAX);
        core_touch(t);
    }
    loop_stop(loop);
    mem_free(msg);
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
    for (size_t i = 0; i < core->tailnet_n; i++)
        drop_waiting(core->tailnets[i]);
}

void core_destroy(struct core **at)
{
    struct core *core = *at;
    *at = NULL;
    if (core == NULL)
        return;
    drop_rest(core);
    loop_timer_destroy(&core->publish_timer);
    loop_timer_destroy(&core->lazy_timer);
    for (size_t i = 0; i < core->tailnet_n; i++)
        tailnet_destroy(core->tailnets[i]);
    loop_destroy(&core->loop);
    waiting_destroy(&core->waiting);
    mem_free(core->tailnets);
    mem_free(core);
}
