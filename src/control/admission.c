#include "control/admission.h"

#include "base/mem.h"

/* Asks one tailnet after the other. When none knows the key at once, each is asked whether it is sure. */
struct admission {
    struct core_job job;
    node_key key;
    void (*answer)(void *ctx, bool is_allowed);
    void *ctx;
};

static void run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct admission *a = (struct admission *)job;
    (void)now_ms;
    if (state_key_is_active(st, &a->key)) {
        a->answer(a->ctx, true);
        job->done = NULL; /* that was all */
    } else if (job->kind == JOB_FRESH) {
        core_deny(job, RC_DENIED);
    }
}

static void done(struct core_job *job)
{
    struct admission *a = (struct admission *)job;
    struct core *core = job->tailnet->core;
    struct tailnet *next = core_tailnet(core, job->tailnet->index + 1);
    if (next == NULL && job->kind == JOB_LOCAL) {
        next = core_tailnet(core, 0);
        job->kind = JOB_FRESH;
    }
    if (next != NULL) {
        job->tailnet = next;
        core_post(core, job);
        return;
    }
    a->answer(a->ctx, false);
    mem_free(a);
}

void control_ask_admission(struct core *core, struct loop *home, const node_key *key,
                           void (*answer)(void *ctx, bool is_allowed), void *ctx)
{
    struct admission *a = MEM_NEW(struct admission);
    a->job = (struct core_job){
        .tailnet = core_tailnet(core, 0), .home = home, .kind = JOB_LOCAL, .run = run, .done = done};
    a->key = *key;
    a->answer = answer;
    a->ctx = ctx;
    core_post(core, &a->job);
}
