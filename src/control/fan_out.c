/* What the core hands to all workers: changes, the time after the clock was set, the end. */
#include "base/mem.h"
#include "control/control_internal.h"

struct change_msg {
    struct loop_msg msg;
    struct control_worker *worker;
    struct change *change; /* reference; null: end politely */
};

static void on_change(struct loop *loop, struct loop_msg *msg)
{
    struct change_msg *m = CONTAINER_OF(msg, struct change_msg, msg);
    (void)loop;
    if (m->change != NULL) {
        sessions_apply(m->worker, m->change);
    } else {
        m->worker->is_draining = true;
        http_server_drain(m->worker->outer);
        http_server_drain(m->worker->inner);
    }
    change_unref(&m->change);
    mem_free(m);
}

static void post_to_workers(struct control *c, struct change *change)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct change_msg *m = MEM_NEW(struct change_msg);
        *m = (struct change_msg){
            .msg.run = on_change, .worker = c->workers[i], .change = change != NULL ? change_ref(change) : NULL};
        loop_post(c->workers[i]->loop, &m->msg);
    }
}

struct time_msg {
    struct loop_msg msg;
    struct control_worker *worker;
    int64_t now_ms;
};

static void on_time(struct loop *loop, struct loop_msg *msg)
{
    struct time_msg *m = CONTAINER_OF(msg, struct time_msg, msg);
    (void)loop;
    sessions_send_time(m->worker, m->now_ms);
    mem_free(m);
}

void control_clock_set(struct control *c, int64_t now_ms)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct time_msg *m = MEM_NEW(struct time_msg);
        *m = (struct time_msg){.msg.run = on_time, .worker = c->workers[i], .now_ms = now_ms};
        loop_post(c->workers[i]->loop, &m->msg);
    }
}

void control_published(void *ctx, struct tailnet *t, struct change *change)
{
    struct control *c = ctx;
    machines_apply(&t->machines, change);
    post_to_workers(c, change);
}

void control_drain(struct control *c)
{
    post_to_workers(c, NULL);
}
