#include "control/newest_polls.h"

#include "base/mem.h"
#include "base/vec.h"
#include "control/control_internal.h"

struct supersede_msg {
    struct loop_msg msg;
    struct newest_poll poll;
};

static void on_supersede(struct loop *loop, struct loop_msg *msg)
{
    struct supersede_msg *m = CONTAINER_OF(msg, struct supersede_msg, msg);
    (void)loop;
    sessions_supersede(m->poll.worker, m->poll.session);
    mem_free(m);
}

void newest_polls_put(struct newest_polls *polls, node_id id, struct newest_poll poll)
{
    VEC_COVER(polls->by_node, polls->cap, id, 256);
    struct newest_poll before = polls->by_node[id];
    polls->by_node[id] = poll;
    if (before.worker == NULL)
        return;
    struct supersede_msg *m = MEM_NEW(struct supersede_msg);
    *m = (struct supersede_msg){.msg.run = on_supersede, .poll = before};
    loop_post(before.worker->loop, &m->msg);
}

const struct newest_poll *newest_polls_get(const struct newest_polls *polls, node_id id)
{
    return id < polls->cap && polls->by_node[id].worker != NULL ? &polls->by_node[id] : NULL;
}

void newest_polls_fini(struct newest_polls *polls)
{
    mem_free(polls->by_node);
}
