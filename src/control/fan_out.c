/* What the core hands to all workers: changes, when to send them, the time after the clock was set, the end. */
#include "base/mem.h"
#include "base/vec.h"
#include "control/control_internal.h"

struct change_msg {
    struct loop_msg msg;
    struct tailnet_part *part;
    struct change *change; /* reference */
};

static void on_change(struct loop *loop, struct loop_msg *msg)
{
    struct change_msg *m = CONTAINER_OF(msg, struct change_msg, msg);
    (void)loop;
    sessions_follow(m->part, m->change);
    change_unref(&m->change);
    mem_free(m);
}

static void on_send(struct loop *loop, struct loop_msg *msg)
{
    struct change_msg *m = CONTAINER_OF(msg, struct change_msg, msg);
    (void)loop;
    sessions_send(m->part, m->change);
    change_unref(&m->change);
    mem_free(m);
}

static void post_change(struct control *c, const struct tailnet *t,
                        void (*run)(struct loop *loop, struct loop_msg *msg), struct change *change)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct change_msg *m = MEM_NEW(struct change_msg);
        *m = (struct change_msg){.msg.run = run, .part = control_part(c->workers[i], t), .change = change_ref(change)};
        loop_post(c->workers[i]->loop, &m->msg);
    }
}

void control_published(void *ctx, struct tailnet *t, struct change *change)
{
    machines_apply(&t->machines, change);
    VEC_PUSH(t->unsent, t->unsent_n, t->unsent_cap, change_ref(change));
    post_change(ctx, t, on_change, change);
}

void control_forget_unsent(struct tailnet *t)
{
    for (size_t i = 0; i < t->unsent_n; i++)
        change_unref(&t->unsent[i]);
    t->unsent_n = 0;
}

void control_send(void *ctx, struct tailnet *t)
{
    if (t->unsent_n == 0)
        return;
    struct change *all = change_join(t->unsent, t->unsent_n);
    post_change(ctx, t, on_send, all);
    change_unref(&all);
    control_forget_unsent(t);
}

struct worker_msg {
    struct loop_msg msg;
    struct control_worker *worker;
    int64_t now_ms; /* of on_time */
};

static void post_to_workers(struct control *c, void (*run)(struct loop *loop, struct loop_msg *msg), int64_t now_ms)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct worker_msg *m = MEM_NEW(struct worker_msg);
        *m = (struct worker_msg){.msg.run = run, .worker = c->workers[i], .now_ms = now_ms};
        loop_post(c->workers[i]->loop, &m->msg);
    }
}

static void on_time(struct loop *loop, struct loop_msg *msg)
{
    struct worker_msg *m = CONTAINER_OF(msg, struct worker_msg, msg);
    (void)loop;
    sessions_send_time(m->worker, m->now_ms);
    mem_free(m);
}

void control_clock_set(struct control *c, int64_t now_ms)
{
    post_to_workers(c, on_time, now_ms);
}

static void on_drain(struct loop *loop, struct loop_msg *msg)
{
    struct worker_msg *m = CONTAINER_OF(msg, struct worker_msg, msg);
    (void)loop;
    m->worker->is_draining = true;
    http_server_drain(m->worker->outer);
    http_server_drain(m->worker->inner);
    mem_free(m);
}

void control_drain(struct control *c)
{
    post_to_workers(c, on_drain, 0);
}
