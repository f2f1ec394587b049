/* Which nodes may connect, and when: so many at once, so many a second, after a back-off, and only while the gate is
 * open. */
#include "bench/fleet.h"

/* A handshake begins with 0.1 ms of cryptography: what else is due on the loop comes in between. */
enum { STARTS_PER_ITERATION = 32 };

static bool may_start(const struct fleet *f)
{
    if (!f->is_gate_open || list_is_empty(&f->ready) || (f->concurrency > 0 && f->starting >= f->concurrency))
        return false;
    if (f->opts->rate_per_s <= 0)
        return true;
    double since_s = (double)(loop_now_ms(f->loop) - f->rate_since_ms) / 1000;
    return (double)f->rate_started < since_s * f->opts->rate_per_s;
}

void fleet_wake_starter(struct fleet *f)
{
    if (f->is_starter_on || !may_start(f))
        return;
    f->is_starter_on = true;
    loop_timer_start(f->starter, 0, 0);
}

static void run_starter(void *ctx)
{
    struct fleet *f = ctx;
    f->is_starter_on = false;
    for (unsigned i = 0; i < STARTS_PER_ITERATION && may_start(f); i++) {
        struct sim *s = LIST_ENTRY(f->ready.next, struct sim, link);
        list_remove(&s->link);
        s->holds_slot = true;
        f->starting++;
        f->rate_started++;
        f->connect(s);
    }
    fleet_wake_starter(f);
}

void fleet_gate_init(struct fleet *f, void (*connect)(struct sim *s))
{
    f->connect = connect;
    f->concurrency = f->opts->concurrency;
    list_init(&f->waiting);
    list_init(&f->ready);
    f->starter = loop_timer_create(f->loop, run_starter, f);
}

void fleet_ready(struct fleet *f, struct sim *s)
{
    list_remove(&s->link);
    s->state = SIM_READY;
    list_push_back(&f->ready, &s->link);
    fleet_wake_starter(f);
}

void fleet_wait_until(struct fleet *f, struct sim *s, int64_t due_ms)
{
    list_remove(&s->link);
    s->state = SIM_WAITING;
    s->due_ms = due_ms;
    list_push_back(&f->waiting, &s->link);
}

void fleet_release_slot(struct fleet *f, struct sim *s)
{
    if (!s->holds_slot)
        return;
    s->holds_slot = false;
    f->starting--;
    fleet_wake_starter(f);
}

void fleet_open_gate(struct fleet *f)
{
    f->is_gate_open = true;
    fleet_wake_starter(f);
}

void fleet_close_gate(struct fleet *f)
{
    f->is_gate_open = false;
}

void fleet_start(struct fleet *f)
{
    f->rate_since_ms = loop_now_ms(f->loop);
    f->rate_started = 0;
    for (unsigned i = 0; i < f->n; i++)
        fleet_ready(f, &f->sims[i]);
    fleet_open_gate(f);
}
