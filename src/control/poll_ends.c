/* Posts to the core that a streaming poll of a node has ended. */
#include "base/mem.h"
#include "control/control_internal.h"

struct poll_end_job {
    struct core_job job;
    node_id node;
};

static void run_poll_end(struct core_job *job, struct state *st, int64_t now_ms)
{
    state_poll_end(st, ((struct poll_end_job *)job)->node, now_ms);
}

void poll_ends_post(struct tailnet_part *part, node_id id)
{
    struct poll_end_job *e = MEM_NEW(struct poll_end_job);
    *e = (struct poll_end_job){
        .job = {.tailnet = part->tailnet, .home = part->worker->loop, .kind = JOB_LOCAL, .run = run_poll_end},
        .node = id};
    core_post(part->worker->control->core, &e->job);
}
