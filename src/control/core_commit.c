/* Answers of jobs: when what they did is on disk, or undone because it cannot be written. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/core_internal.h"

LOG_MODULE("core");
METRIC_COUNTER(refused_total, "fullscale_core_refused_jobs_total", "",
               "Events that were refused because they could not be written to the database.");

enum {
    RETRY_MIN_MS = 250, /* the first try after a failure; the time doubles with each */
    RETRY_MAX_MS = 4000,
};

static void job_home(struct loop *loop, struct loop_msg *msg)
{
    struct core_job *job = CONTAINER_OF(msg, struct core_job, msg);
    (void)loop;
    job->done(job);
}

void core_answer(struct core *core, struct core_job *job)
{
    waiting_leave(core->waiting, &job->ticket);
    if (job->done == NULL) {
        mem_free(job);
        return;
    }
    job->msg.run = job_home;
    loop_post(job->home, &job->msg);
}

/* While the store fails. True: there was something to undo. */
bool core_undo_if_failing(struct core *core)
{
    return core->fault != RC_OK && state_undo_pending(core->state, clock_wall_ms());
}

void core_refuse(struct core *core, struct core_job *job)
{
    job->refused = core->fault;
    metric_inc(&refused_total);
}

void core_answer_after_commit(struct core *core, struct core_job *job)
{
    job->next = NULL;
    if (core->waiting_last != NULL)
        core->waiting_last->next = job;
    else
        core->waiting_first = job;
    core->waiting_last = job;
}

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
            core_refuse(core, job);
        core_answer(core, job);
    }
}

static void recovered(struct core *core)
{
    log_limited(LOG_INFO, "changes are accepted again");
    core->fault = RC_OK;
    core->retry_ms = 0;
    state_repaired(core->state);
}

/* While the store fails, the only batch that can succeed is the repair. */
static void committed(struct core *core, uint64_t seq)
{
    core->settled_seq = seq;
    state_committed(core->state, seq);
    if (core->fault != RC_OK)
        recovered(core);
    core_hand_out_events(core);
    core_publish(core);
    core_touch(core); /* a policy that is in force now may have approved routes */
    answer_waiting(core, seq);
}

void core_retry_later(struct core *core)
{
    core->retry_ms = core->retry_ms == 0                 ? RETRY_MIN_MS
                     : core->retry_ms < RETRY_MAX_MS / 2 ? core->retry_ms * 2
                                                         : RETRY_MAX_MS;
    loop_timer_start(core->retry_timer, core->retry_ms, 0);
}

void core_on_retry(void *ctx)
{
    struct core *core = ctx;
    if (core->fault != RC_OK && !core->is_stopping)
        store_commit(core->store, state_take_repair(core->state));
}

/* Refuses the jobs whose events are undone, and those that saw such an event. */
static void failed(struct core *core, uint64_t seq, enum rc why)
{
    if (core->fault != RC_OK) { /* the batch was the repair */
        core->fault = why;
        core_retry_later(core);
        return;
    }
    if (!state_refused(core->state, seq, clock_wall_ms()))
        return; /* presence: the next flush has it again */
    log_limited(LOG_ERROR,
                "changes are refused until the database can be written again; relay, maps and presence go on",
                LOG_S("why", store_refusal_text(why)));
    core->fault = why;
    core_undo_if_failing(core); /* routes that a policy which is in force now has approved */
    core->settled_seq = core->ignored_seq = state_durable_seq(core->state);
    answer_waiting(core, core->settled_seq);
    core_publish(core);
    core_touch(core);
    core_retry_later(core);
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

void core_store_done(void *ctx, uint64_t seq, enum rc rc)
{
    struct core *core = ctx;
    struct commit_msg *m = MEM_NEW(struct commit_msg);
    *m = (struct commit_msg){.msg.run = on_committed, .core = core, .seq = seq, .rc = rc};
    loop_post(core->loop, &m->msg);
}
