#include "control/core.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

LOG_MODULE("core");
METRIC_COUNTER(jobs_run, "fullscale_core_jobs_total", "", "Events that the core applied.");
METRIC_COUNTER(published_total, "fullscale_core_publications_total", "", "Snapshots published.");
METRIC_COUNTER(published_nodes, "fullscale_core_published_nodes_total", "", "Nodes in published changes.");
METRIC_COUNTER(refused_total, "fullscale_core_refused_jobs_total", "",
               "Events that were refused because they could not be written to the database.");
METRIC_GAUGE(nodes_now, "fullscale_nodes", "", "Nodes in the tailnet.");
METRIC_COUNTER(clock_set, "fullscale_clock_steps_total", "", "Times the machine's clock was set by a second or more.");
METRIC_GAUGE(version_now, "fullscale_snapshot_version", "", "Version of the current snapshot.");

enum {
    SPACING_FACTOR = 6,
    SPACING_MAX_MS = 1000, /* whatever it costs: people wait */
    TICK_GRAIN_MS = 200,   /* deadlines of nodes are looked at so often at most */
    TICK_MAX_MS = 60000,   /* a clock that is slewed moves dates little by little */
    CLOCK_STEP_MS = 1000,
    STEP_SETTLE_MS = 1000, /* clients learn the time before they hear whose key holds by it */
    LAZY_FLUSH_MS = 2000,  /* presence reaches the disk so often: after a crash peers must still find each other */
    LAZY_FLUSH_ROWS = 2000,
    REVOKED_BATCH = 64,
    RETRY_MIN_MS = 250, /* whether the store can write again: after so long first, then after twice as long each time */
    RETRY_MAX_MS = 4000,
};

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
    struct loop_task end_of_turn;
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

static void job_home(struct loop *loop, struct loop_msg *msg)
{
    struct core_job *job = CONTAINER_OF(msg, struct core_job, msg);
    (void)loop;
    job->done(job);
}

static void answer(struct core *core, struct core_job *job)
{
    waiting_leave(core->waiting, &job->ticket);
    if (job->done == NULL) {
        mem_free(job);
        return;
    }
    job->msg.run = job_home;
    loop_post(job->home, &job->msg);
}

/* --- time --- */

static void log_step(int64_t by_ms)
{
    metric_inc(&clock_set);
    if (by_ms > 0)
        log_warn("the machine's clock was set ahead: what expires by date is looked at anew",
                 LOG_I("by_s", by_ms / 1000));
    else
        log_warn("the machine's clock was set back: keys that had expired may hold again", LOG_I("by_s", by_ms / 1000));
}

/* How far the clock was set ahead since the start. */
static int64_t read_clocks(const struct core *core, int64_t *wall_ms_out)
{
    *wall_ms_out = clock_wall_ms();
    return *wall_ms_out - clock_mono_ms() - core->started_apart_ms;
}

static bool is_step(int64_t by_ms)
{
    return by_ms >= CLOCK_STEP_MS || by_ms <= -CLOCK_STEP_MS;
}

/* Unix time. The state hears how far it was set since the start, so that durations go on as if nothing had happened. */
static int64_t look_at_clock(struct core *core)
{
    int64_t wall_ms;
    int64_t ahead_ms = read_clocks(core, &wall_ms);
    if (is_step(ahead_ms - core->ahead_ms))
        ahead_ms = read_clocks(core, &wall_ms); /* the thread may have slept between the two */
    int64_t by_ms = ahead_ms - core->ahead_ms;
    core->ahead_ms = ahead_ms;
    state_set_clock(core->state, ahead_ms);
    if (!is_step(by_ms))
        return wall_ms;
    log_step(by_ms);
    core->is_stepped = true;
    if (core->hooks.clock_set != NULL && !core->is_stopping)
        core->hooks.clock_set(core->hooks.ctx, wall_ms);
    return wall_ms;
}

/* --- publishing --- */

static void publish(struct core *core)
{
    int64_t now_us = clock_mono_us();
    if (core->is_stopping || !state_is_dirty(core->state))
        return;
    if (now_us < core->next_publish_us) {
        loop_timer_start(core->publish_timer, (core->next_publish_us - now_us) / 1000 + 1, 0);
        return;
    }
    struct change *c = state_publish(core->state, clock_wall_ms());
    if (c == NULL)
        return;
    metric_inc(&published_total);
    metric_add(&published_nodes, (int64_t)c->item_n);
    metric_set(&nodes_now, (int64_t)c->after->node_n);
    metric_set(&version_now, (int64_t)c->after->version);
    core->hooks.published(core->hooks.ctx, c);
    change_unref(&c);
    int64_t rest_us = atomic_load_explicit(&core->fanout_us, memory_order_relaxed) * SPACING_FACTOR;
    core->next_publish_us = now_us + (rest_us < SPACING_MAX_MS * 1000 ? rest_us : SPACING_MAX_MS * 1000);
}

void core_fanout_took(struct core *core, int64_t cpu_us)
{
    atomic_store_explicit(&core->fanout_us, cpu_us, memory_order_relaxed);
}

static void tell_revoked(struct core *core)
{
    node_key keys[REVOKED_BATCH];
    size_t n;
    while ((n = state_take_revoked(core->state, keys, REVOKED_BATCH)) > 0) {
        for (size_t i = 0; i < n; i++)
            core->hooks.key_revoked(core->hooks.ctx, &keys[i]);
    }
}

static void set_tick(struct core *core)
{
    int64_t due_ms = state_next_tick_ms(core->state);
    if (due_ms == core->tick_due_ms)
        return;
    core->tick_due_ms = due_ms;
    if (due_ms == INT64_MAX) {
        loop_timer_stop(core->tick_timer);
        return;
    }
    int64_t now_ms = clock_wall_ms();
    int64_t least_ms = core->is_stepped ? STEP_SETTLE_MS : TICK_GRAIN_MS;
    int64_t wait_ms = due_ms < now_ms + least_ms ? least_ms : due_ms - now_ms;
    wait_ms = wait_ms > TICK_MAX_MS ? TICK_MAX_MS : wait_ms;
    loop_timer_start(core->tick_timer, wait_ms, 0);
}

/* Once per iteration, however many events it had: the rows of all of them are one batch, their effects one change. */
static void end_turn(struct loop_task *task)
{
    struct core *core = CONTAINER_OF(task, struct core, end_of_turn);
    struct row_batch *batch;
    /* While nothing can be written, presence waits. */
    while ((core->fault == RC_OK || core->is_over) && (batch = state_take_batch(core->state)) != NULL) {
        if (core->is_over)
            row_batch_destroy(&batch);
        else
            store_commit(core->store, batch);
    }
    tell_revoked(core);
    if (state_take_relays_changed(core->state) && core->hooks.relays_changed != NULL && !core->is_stopping)
        core->hooks.relays_changed(core->hooks.ctx, core->state);
    if (state_take_policy_changed(core->state) && core->hooks.policy_changed != NULL && !core->is_stopping)
        core->hooks.policy_changed(core->hooks.ctx, core->state);
    publish(core);
    set_tick(core);
}

static void touch(struct core *core)
{
    loop_defer(core->loop, &core->end_of_turn);
}

/* While nothing can be written. True: there was something to undo. */
static bool undo_if_failing(struct core *core)
{
    return core->fault != RC_OK && state_undo_pending(core->state, clock_wall_ms());
}

static void on_publish_timer(void *ctx)
{
    touch(ctx);
}

static void on_tick(void *ctx)
{
    struct core *core = ctx;
    bool was_stepped = core->is_stepped;
    int64_t now_ms = look_at_clock(core);
    core->tick_due_ms = INT64_MAX;
    touch(core);
    if (core->is_stepped && !was_stepped)
        return; /* seen just now */
    core->is_stepped = false;
    state_tick(core->state, now_ms);
    undo_if_failing(core);
}

static void on_lazy(void *ctx)
{
    struct core *core = ctx;
    look_at_clock(core);
    bool has_rows = core->fault == RC_OK && state_flush_lazy(core->state, LAZY_FLUSH_ROWS) > 0;
    if (has_rows || state_next_tick_ms(core->state) != core->tick_due_ms)
        touch(core);
}

/* --- jobs --- */

static void refuse(struct core *core, struct core_job *job)
{
    job->refused = core->fault;
    metric_inc(&refused_total);
}

static void run_job(struct loop *loop, struct loop_msg *msg)
{
    struct core_job *job = CONTAINER_OF(msg, struct core_job, msg);
    struct core *core = job->core;
    (void)loop;
    job->run(job, core->state, look_at_clock(core));
    metric_inc(&jobs_run);
    touch(core);
    if (undo_if_failing(core) && !job->is_presence)
        refuse(core, job);
    job->seq = state_durable_seq(core->state);
    if (job->is_presence || job->seq <= core->settled_seq) {
        answer(core, job);
        return;
    }
    job->next = NULL;
    if (core->waiting_last != NULL)
        core->waiting_last->next = job;
    else
        core->waiting_first = job;
    core->waiting_last = job;
}

void core_post(struct core *core, struct core_job *job)
{
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

/* --- what the store says --- */

struct commit_msg {
    struct loop_msg msg;
    struct core *core;
    uint64_t seq;
    enum rc rc;
};

static void answer_waiting(struct core *core, uint64_t seq)
{
    while (core->waiting_first != NULL && core->waiting_first->seq <= seq) {
        struct core_job *job = core->waiting_first;
        core->waiting_first = job->next;
        if (core->waiting_first == NULL)
            core->waiting_last = NULL;
        if (core->fault != RC_OK)
            refuse(core, job);
        answer(core, job);
    }
}

static void recovered(struct core *core)
{
    log_limited(LOG_INFO, "changes are accepted again");
    core->fault = RC_OK;
    core->retry_ms = 0;
    state_repaired(core->state);
}

/* While failing the only batch that can succeed is the repair. */
static void committed(struct core *core, uint64_t seq)
{
    core->settled_seq = seq;
    state_committed(core->state, seq);
    if (core->fault != RC_OK)
        recovered(core);
    publish(core);
    touch(core); /* a policy that is at work now may have approved routes */
    answer_waiting(core, seq);
}

static void retry_later(struct core *core)
{
    core->retry_ms = core->retry_ms == 0                 ? RETRY_MIN_MS
                     : core->retry_ms < RETRY_MAX_MS / 2 ? core->retry_ms * 2
                                                         : RETRY_MAX_MS;
    loop_timer_start(core->retry_timer, core->retry_ms, 0);
}

static void on_retry(void *ctx)
{
    struct core *core = ctx;
    if (core->fault != RC_OK && !core->is_stopping)
        store_commit(core->store, state_take_repair(core->state));
}

/* Everybody whose event is undone is told so, and who saw such an event. */
static void failed(struct core *core, uint64_t seq, enum rc why)
{
    if (core->fault != RC_OK) { /* the repair */
        core->fault = why;
        retry_later(core);
        return;
    }
    if (!state_refused(core->state, seq, clock_wall_ms()))
        return; /* presence: the next flush has it again */
    log_limited(LOG_ERROR,
                "changes are refused until the database can be written again; relay, maps and presence go on",
                LOG_S("why", store_refusal_text(why)));
    core->fault = why;
    undo_if_failing(core); /* what a policy that is at work now has approved */
    core->settled_seq = core->ignored_seq = state_durable_seq(core->state);
    answer_waiting(core, core->settled_seq);
    publish(core);
    touch(core);
    retry_later(core);
}

static void on_committed(struct loop *loop, struct loop_msg *msg)
{
    struct commit_msg *m = CONTAINER_OF(msg, struct commit_msg, msg);
    struct core *core = m->core;
    (void)loop;
    if (m->rc == RC_OK)
        committed(core, m->seq);
    else if (m->seq > core->ignored_seq)
        failed(core, m->seq, m->rc);
    mem_free(m);
}

static void store_done(void *ctx, uint64_t seq, enum rc rc)
{
    struct core *core = ctx;
    struct commit_msg *m = MEM_NEW(struct commit_msg);
    *m = (struct commit_msg){.msg.run = on_committed, .core = core, .seq = seq, .rc = rc};
    loop_post(core->loop, &m->msg);
}

/* --- life --- */

static void *core_main(void *arg)
{
    struct core *core = arg;
    pthread_setname_np(pthread_self(), "core");
    set_tick(core);
    loop_run(core->loop);
    return NULL;
}

int64_t core_clocks_apart_ms(void)
{
    return clock_wall_ms() - clock_mono_ms();
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
    core->end_of_turn.run = end_turn;
    core->publish_timer = loop_timer_create(core->loop, on_publish_timer, core);
    core->tick_timer = loop_timer_create(core->loop, on_tick, core);
    core->lazy_timer = loop_timer_create(core->loop, on_lazy, core);
    loop_timer_start(core->lazy_timer, LAZY_FLUSH_MS, LAZY_FLUSH_MS);
    core->retry_timer = loop_timer_create(core->loop, on_retry, core);
    core->fault = store_fault(store);
    if (core->fault != RC_OK)
        retry_later(core);
    core->first = snapshot_ref(state_snapshot(st));
    metric_set(&nodes_now, (int64_t)core->first->node_n);
    touch(core);
    return core;
}

void core_start(struct core *core)
{
    store_start(core->store, store_done, core);
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
    touch(m->core);
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

/* What the store said last, and jobs whose answer nobody will take any more. */
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
