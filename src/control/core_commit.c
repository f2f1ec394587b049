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

void core_answer(struct core_job *job)
{
    waiting_leave(job->tailnet->core->waiting, &job->ticket);
    if (job->done == NULL) {
        mem_free(job);
        return;
    }
    job->msg.run = job_home;
    loop_post(job->home, &job->msg);
}

/* While the store fails. True: there was something to undo. */
bool core_undo_if_failing(struct tailnet *t)
{
    return t->fault != RC_OK && state_undo_pending(t->state, clock_wall_ms());
}

void core_refuse(struct core_job *job)
{
    job->refused = job->tailnet->fault;
    metric_inc(&refused_total);
}

void core_answer_after_commit(struct core_job *job)
{
    struct tailnet *t = job->tailnet;
    job->next = NULL;
    if (t->waiting_last != NULL)
        t->waiting_last->next = job;
    else
        t->waiting_first = job;
    t->waiting_last = job;
}

struct commit_msg {
    struct loop_msg msg;
    struct tailnet *tailnet;
    uint64_t seq;
    enum rc rc;
};

static void answer_waiting(struct tailnet *t, uint64_t seq)
{
    while (t->waiting_first != NULL && t->waiting_first->seq <= seq) {
        struct core_job *job = t->waiting_first;
        t->waiting_first = job->next;
        if (t->waiting_first == NULL)
            t->waiting_last = NULL;
        if (t->fault != RC_OK)
            core_refuse(job);
        core_answer(job);
    }
}

static void recovered(struct tailnet *t)
{
    log_limited(LOG_INFO, "changes are accepted again");
    t->fault = RC_OK;
    t->retry_ms = 0;
    state_repaired(t->state);
}

/* While the store fails, the only batch that can succeed is the repair. */
static void committed(struct tailnet *t, uint64_t seq)
{
    t->settled_seq = seq;
    state_committed(t->state, seq);
    if (t->fault != RC_OK)
        recovered(t);
    core_hand_out_events(t);
    core_publish(t);
    core_touch(t); /* a policy that is in force now may have approved routes */
    answer_waiting(t, seq);
}

void core_retry_later(struct tailnet *t)
{
    t->retry_ms = t->retry_ms == 0 ? RETRY_MIN_MS : t->retry_ms < RETRY_MAX_MS / 2 ? t->retry_ms * 2 : RETRY_MAX_MS;
    loop_timer_start(t->retry_timer, t->retry_ms, 0);
}

void core_on_retry(void *ctx)
{
    struct tailnet *t = ctx;
    if (t->fault != RC_OK && !t->core->is_stopping)
        core_commit(t, state_take_repair(t->state));
}

/* Refuses the jobs whose events are undone, and those that saw such an event. */
static void failed(struct tailnet *t, uint64_t seq, enum rc why)
{
    if (t->fault != RC_OK) { /* the batch was the repair */
        t->fault = why;
        core_retry_later(t);
        return;
    }
    if (!state_refused(t->state, seq, clock_wall_ms()))
        return; /* presence: the next flush has it again */
    log_limited(LOG_ERROR,
                "changes are refused until the database can be written again; relay, maps and presence go on",
                LOG_S("why", store_refusal_text(why)));
    t->fault = why;
    core_undo_if_failing(t); /* routes that a policy which is in force now has approved */
    t->settled_seq = t->ignored_seq = state_durable_seq(t->state);
    answer_waiting(t, t->settled_seq);
    core_publish(t);
    core_touch(t);
    core_retry_later(t);
}

static void on_committed(struct loop *loop, struct loop_msg *msg)
{
    struct commit_msg *m = CONTAINER_OF(msg, struct commit_msg, msg);
    (void)loop;
    if (m->rc == RC_OK)
        committed(m->tailnet, m->seq);
    else if (m->seq > m->tailnet->ignored_seq)
        failed(m->tailnet, m->seq, m->rc);
    mem_free(m);
}

static struct tailnet *tailnet_with_id(const struct core *core, uint64_t id)
{
    size_t i = 0;
    while (core->tailnets[i]->id != id)
        i++;
    return core->tailnets[i];
}

void core_store_done(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc)
{
    struct core *core = ctx;
    struct commit_msg *m = MEM_NEW(struct commit_msg);
    *m = (struct commit_msg){.msg.run = on_committed, .tailnet = tailnet_with_id(core, tailnet), .seq = seq, .rc = rc};
    loop_post(core->loop, &m->msg);
}
