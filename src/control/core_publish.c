/* What follows from events: rows for the store, news for the hooks, publications, the next deadline. */
#include "base/clock.h"
#include "base/metric.h"
#include "control/core_internal.h"

METRIC_COUNTER(published_total, "fullscale_core_publications_total", "", "Snapshots published.");
METRIC_COUNTER(published_nodes, "fullscale_core_published_nodes_total", "", "Nodes in published changes.");
METRIC_COUNTER(events_dropped, "fullscale_events_dropped_total", "", "Events that came too fast to be told.");
METRIC_GAUGE(nodes_now, "fullscale_nodes", "", "Nodes in the tailnet.");
METRIC_GAUGE(version_now, "fullscale_snapshot_version", "", "Version of the current snapshot.");

enum {
    SPACING_FACTOR = 6,
    SPACING_MAX_MS = 1000, /* however much a fan-out costs: people wait */
    TICK_GRAIN_MS = 200,   /* least time between looks at the deadlines of nodes */
    TICK_MAX_MS = 60000,   /* a clock that is corrected gradually moves deadlines little by little */
    /* after the clock was set: clients get the time before they get the keys that expire by it */
    STEP_SETTLE_MS = 1000,
    REVOKED_BATCH = 64,
};

void core_publish(struct core *core)
{
    int64_t now_us = clock_mono_us();
    if (core->is_stopping || !state_is_dirty(core->state))
        return;
    if (now_us < core->next_publish_us) {
        loop_timer_start(core->publish_timer, (core->next_publish_us - now_us) / 1000 + 1, 0);
        return;
    }
    struct change *c = state_publish(core->state, clock_wall_ms());
    if (c == NULL)
        return;
    metric_inc(&published_total);
    metric_add(&published_nodes, (int64_t)c->item_n);
    metric_set(&nodes_now, (int64_t)c->after->node_n);
    metric_set(&version_now, (int64_t)c->after->version);
    core->hooks.published(core->hooks.ctx, c);
    change_unref(&c);
    int64_t rest_us = atomic_load_explicit(&core->fanout_us, memory_order_relaxed) * SPACING_FACTOR;
    core->next_publish_us = now_us + (rest_us < SPACING_MAX_MS * 1000 ? rest_us : SPACING_MAX_MS * 1000);
}

void core_fanout_took(struct core *core, int64_t cpu_us)
{
    atomic_store_explicit(&core->fanout_us, cpu_us, memory_order_relaxed);
}

static void report_revoked(struct core *core)
{
    node_key keys[REVOKED_BATCH];
    size_t n;
    while ((n = state_take_revoked(core->state, keys, REVOKED_BATCH)) > 0) {
        for (size_t i = 0; i < n; i++)
            core->hooks.key_revoked(core->hooks.ctx, &keys[i]);
    }
}

void core_hand_out_events(struct core *core)
{
    struct event_list *events;
    while ((events = state_take_events(core->state)) != NULL) {
        core->hooks.events(core->hooks.ctx, events);
        event_list_unref(&events);
    }
    metric_set(&events_dropped, (int64_t)state_events_dropped(core->state));
}

void core_set_tick(struct core *core)
{
    int64_t due_ms = state_next_tick_ms(core->state);
    if (due_ms == core->tick_due_ms)
        return;
    core->tick_due_ms = due_ms;
    if (due_ms == INT64_MAX) {
        loop_timer_stop(core->tick_timer);
        return;
    }
    int64_t now_ms = clock_wall_ms();
    int64_t least_ms = core->is_stepped ? STEP_SETTLE_MS : TICK_GRAIN_MS;
    int64_t wait_ms = due_ms < now_ms + least_ms ? least_ms : due_ms - now_ms;
    wait_ms = wait_ms > TICK_MAX_MS ? TICK_MAX_MS : wait_ms;
    loop_timer_start(core->tick_timer, wait_ms, 0);
}

/* Once per iteration, however many events it had: the rows of all of them are one batch, their effects one change. */
static void end_iteration(struct loop_task *task)
{
    struct core *core = CONTAINER_OF(task, struct core, end_of_iteration);
    struct row_batch *batch;
    /* While the store fails, presence waits. */
    while ((core->fault == RC_OK || core->is_over) && (batch = state_take_batch(core->state)) != NULL) {
        if (core->is_over)
            row_batch_destroy(&batch);
        else
            store_commit(core->store, batch);
    }
    report_revoked(core);
    if (state_take_relays_changed(core->state) && core->hooks.relays_changed != NULL && !core->is_stopping)
        core->hooks.relays_changed(core->hooks.ctx, core->state);
    if (state_take_policy_changed(core->state) && core->hooks.policy_changed != NULL && !core->is_stopping)
        core->hooks.policy_changed(core->hooks.ctx, core->state);
    core_hand_out_events(core);
    core_publish(core);
    core_set_tick(core);
}

void core_touch(struct core *core)
{
    loop_defer(core->loop, &core->end_of_iteration);
}

void core_publish_init(struct core *core)
{
    core->end_of_iteration.run = end_iteration;
    metric_set(&nodes_now, (int64_t)core->first->node_n);
}
