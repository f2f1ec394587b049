#include "control/admission.h"

#include "base/mem.h"

/* Asks one tailnet after the other. When none knows the key at once, each is asked whether it is sure. */
struct admission {
    struct core_job job;
    node_key key;
    struct waiting_sender sender;
    bool is_undecided; /* a tailnet could not be sure */
    admission_fn *answer;
    void *ctx;
};

static void run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct admission *a = (struct admission *)job;
    (void)now_ms;
    if (state_key_is_active(st, &a->key)) {
        a->answer(a->ctx, ADMISSION_GRANTED);
        job->done = NULL; /* that was all */
    } else if (job->kind == JOB_FRESH) {
        core_deny(job, RC_DENIED);
    }
}

/* What memory can answer is not charged: it waits for nothing, and nodes that come back all at once are no
 * strangers. */
static void ask(struct core *core, struct admission *a)
{
    if (a->job.kind == JOB_LOCAL) {
        core_post(core, &a->job);
        return;
    }
    if (core_offer(core, &a->job, &a->sender, sizeof(*a)))
        return;
    a->answer(a->ctx, ADMISSION_PUT_OFF);
    mem_free(a);
}

static void done(struct core_job *job)
{
    struct admission *a = (struct admission *)job;
    struct core *core = job->tailnet->core;
    a->is_undecided |= job->refused != RC_OK;
    struct tailnet *next = core_tailnet(core, job->tailnet->index + 1);
    if (next == NULL && job->kind == JOB_LOCAL) {
        next = core_tailnet(core, 0);
        job->kind = JOB_FRESH;
    }
    if (next != NULL) {
        job->tailnet = next;
        ask(core, a);
        return;
    }
    a->answer(a->ctx, a->is_undecided ? ADMISSION_PUT_OFF : ADMISSION_DENIED);
    mem_free(a);
}

void control_ask_admission(struct core *core, struct loop *home, const node_key *key, const struct addr *from,
                           admission_fn *answer, void *ctx)
{
    struct admission *a = MEM_NEW(struct admission);
    a->job = (struct core_job){
        .tailnet = core_tailnet(core, 0), .home = home, .kind = JOB_LOCAL, .run = run, .done = done};
    a->key = *key;
    a->sender = from->family != 0 ? waiting_sender_address(from) : waiting_sender_key(WAIT_STRANGER, key->b, KEY_BYTES);
    a->answer = answer;
    a->ctx = ctx;
    ask(core, a);
}
