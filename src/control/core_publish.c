/* What follows from events: rows for the store, news for the hooks, publications, the next deadline. */
#include "base/clock.h"
#include "base/metric.h"
#include "control/core_internal.h"
#include "state/access.h"

METRIC_COUNTER(published_total, "fullscale_core_publications_total", "", "Snapshots published.");
METRIC_COUNTER(published_nodes, "fullscale_core_published_nodes_total", "", "Nodes in published changes.");
METRIC_COUNTER(fanouts_total, "fullscale_core_fanouts_total", "", "Times that nodes were sent what was published.");
METRIC_COUNTER(events_dropped, "fullscale_events_dropped_total", "", "Events that came faster than they were taken.");
METRIC_GAUGE(nodes_now, "fullscale_nodes", "", "Nodes of all tailnets.");
METRIC_GAUGE(version_now, "fullscale_snapshot_version", "",
             "Version of the current snapshot; of several tailnets, the sum.");

enum {
    TICK_GRAIN_MS = 200, /* least time between looks at the deadlines of nodes */
    TICK_MAX_MS = 60000, /* a clock that is corrected gradually moves deadlines little by little */
    /* after the clock was set: clients get the time before they get the keys that expire by it */
    STEP_SETTLE_MS = 1000,
    REVOKED_BATCH = 64,
};

/* A policy, a user or a setting that changes is one event, however many nodes it concerns. */
static bool is_one_event(const struct change *c)
{
    return c->policy_changed || c->users_changed || c->settings_changed;
}

static void publish_now(struct tailnet *t, int64_t now_us)
{
    struct core *core = t->core;
    struct change *c = state_publish(t->state, clock_wall_ms());
    if (c == NULL)
        return;
    metric_inc(&published_total);
    metric_add(&published_nodes, (int64_t)c->item_n);
    metric_add(&nodes_now, (int64_t)c->after->node_n - (int64_t)c->before->node_n);
    metric_add(&version_now, (int64_t)c->after->version - (int64_t)c->before->version);
    core->hooks.published(core->hooks.ctx, t, c);
    /* Under a policy each snapshot has what is granted to all nodes that may see one of those that changed. */
    bool is_light = access_is_open(c->after->access);
    spacing_published(&core->spacing, is_one_event(c) ? 1 : c->item_n, is_light, now_us);
    change_unref(&c);
}

/* What sending cost the costlier worker the last time, or the time before while no worker is done. */
static int64_t fanout_cost_us(const struct core *core)
{
    int64_t newest_us = atomic_load_explicit(&core->fanout_us, memory_order_relaxed);
    return newest_us > 0 ? newest_us : core->last_fanout_us;
}

static void send_now(struct core *core, int64_t now_us)
{
    for (size_t i = 0; i < core->tailnet_n && core->hooks.send != NULL; i++)
        core->hooks.send(core->hooks.ctx, core->tailnets[i]);
    metric_inc(&fanouts_total);
    spacing_sent(&core->spacing, now_us);
    core->last_fanout_us = fanout_cost_us(core);
    atomic_store_explicit(&core->fanout_us, 0, memory_order_relaxed);
}

/* Tells when it is time, and sets the timer for what comes next. */
static void send_or_wait(struct core *core, int64_t now_us, int64_t cost_us)
{
    if (now_us >= spacing_send_us(&core->spacing, cost_us))
        send_now(core, now_us);
    int64_t next_us = spacing_send_us(&core->spacing, cost_us);
    int64_t publish_us = spacing_publish_us(&core->spacing, cost_us);
    if (core->is_publishing_later && publish_us < next_us)
        next_us = publish_us;
    if (next_us != INT64_MAX)
        loop_timer_start(core->publish_timer, next_us > now_us ? (next_us - now_us) / 1000 + 1 : 1, 0);
}

void core_publish(struct tailnet *t)
{
    struct core *core = t->core;
    if (core->is_stopping)
        return;
    int64_t now_us = clock_mono_us(), cost_us = fanout_cost_us(core);
    bool is_early = now_us < spacing_publish_us(&core->spacing, cost_us);
    if (state_is_dirty(t->state) && is_early)
        core->is_publishing_later = true;
    else if (state_is_dirty(t->state))
        publish_now(t, now_us);
    send_or_wait(core, now_us, cost_us);
}

/* All that wait, so that none comes short when others change all the time. */
static void on_publish_timer(void *ctx)
{
    struct core *core = ctx;
    if (core->is_stopping)
        return;
    int64_t now_us = clock_mono_us(), cost_us = fanout_cost_us(core);
    bool is_early = now_us < spacing_publish_us(&core->spacing, cost_us);
    for (size_t i = 0; i < core->tailnet_n && !is_early; i++) {
        struct tailnet *t = core->tailnets[i];
        if (!state_is_dirty(t->state))
            continue;
        publish_now(t, now_us);
        core_touch(t);
    }
    core->is_publishing_later &= is_early;
    send_or_wait(core, now_us, cost_us);
}

void core_fanout_took(struct core *core, int64_t cpu_us)
{
    int64_t most_us = atomic_load_explicit(&core->fanout_us, memory_order_relaxed);
    while (cpu_us > most_us && !atomic_compare_exchange_weak_explicit(&core->fanout_us, &most_us, cpu_us,
                                                                      memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void report_revoked(struct tailnet *t)
{
    const struct core_hooks *hooks = &t->core->hooks;
    node_key keys[REVOKED_BATCH];
    size_t n;
    while ((n = state_take_revoked(t->state, keys, REVOKED_BATCH)) > 0) {
        for (size_t i = 0; i < n; i++)
            hooks->key_revoked(hooks->ctx, t, &keys[i]);
    }
}

void core_hand_out_events(struct tailnet *t)
{
    const struct core_hooks *hooks = &t->core->hooks;
    struct event_list *events;
    while ((events = state_take_events(t->state)) != NULL) {
        hooks->events(hooks->ctx, t, events);
        event_list_unref(&events);
    }
    uint64_t dropped = state_events_dropped(t->state);
    metric_add(&events_dropped, (int64_t)(dropped - t->events_dropped));
    t->events_dropped = dropped;
}

void core_set_tick(struct tailnet *t)
{
    int64_t due_ms = state_next_tick_ms(t->state);
    if (due_ms == t->tick_due_ms)
        return;
    t->tick_due_ms = due_ms;
    if (due_ms == INT64_MAX) {
        loop_timer_stop(t->tick_timer);
        return;
    }
    int64_t now_ms = clock_wall_ms();
    int64_t least_ms = t->is_stepped ? STEP_SETTLE_MS : TICK_GRAIN_MS;
    int64_t wait_ms = due_ms < now_ms + least_ms ? least_ms : due_ms - now_ms;
    wait_ms = wait_ms > TICK_MAX_MS ? TICK_MAX_MS : wait_ms;
    loop_timer_start(t->tick_timer, wait_ms, 0);
}

void core_commit(struct tailnet *t, struct row_batch *batch)
{
    batch->tailnet = t->id;
    store_commit(t->core->store, batch);
}

static void write_rows(struct tailnet *t)
{
    struct core *core = t->core;
    struct row_batch *batch;
    if (!core->is_over && t->fault == RC_OK && store_is_sole(core->store))
        state_settle(t->state, clock_wall_ms());
    /* While the store fails, presence waits. */
    while ((t->fault == RC_OK || core->is_over) && (batch = state_take_batch(t->state)) != NULL) {
        if (core->is_over)
            row_batch_destroy(&batch);
        else
            core_commit(t, batch);
    }
}

static void report_news(struct tailnet *t)
{
    const struct core_hooks *hooks = &t->core->hooks;
    bool is_stopping = t->core->is_stopping;
    report_revoked(t);
    if (state_take_relays_changed(t->state) && hooks->relays_changed != NULL && !is_stopping)
        hooks->relays_changed(hooks->ctx, t);
    if (state_take_policy_changed(t->state) && hooks->policy_changed != NULL && !is_stopping)
        hooks->policy_changed(hooks->ctx, t);
    core_hand_out_events(t);
}

/* Once per iteration, however many events it had: the rows of all of them are one batch, their effects one change. */
static void end_iteration(struct loop_task *task)
{
    struct core *core = CONTAINER_OF(task, struct core, end_of_iteration);
    while (!list_is_empty(&core->touched)) {
        struct tailnet *t = LIST_ENTRY(core->touched.next, struct tailnet, touched);
        list_remove(&t->touched);
        write_rows(t);
        report_news(t);
        core_publish(t);
        core_set_tick(t);
    }
}

void core_touch(struct tailnet *t)
{
    if (list_is_empty(&t->touched))
        list_push_back(&t->core->touched, &t->touched);
    loop_defer(t->core->loop, &t->core->end_of_iteration);
}

void core_publish_init(struct core *core)
{
    list_init(&core->touched);
    core->end_of_iteration.run = end_iteration;
    core->publish_timer = loop_timer_create(core->loop, on_publish_timer, core);
}

void core_publish_count(const struct tailnet *t, bool is_there)
{
    const struct snapshot *s = is_there ? t->first : state_snapshot(t->state);
    metric_add(&nodes_now, is_there ? (int64_t)s->node_n : -(int64_t)s->node_n);
    metric_add(&version_now, is_there ? (int64_t)s->version : -(int64_t)s->version);
}
