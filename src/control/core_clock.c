/* The core's clocks: Unix time, and what follows when it is set. */
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "control/core_internal.h"

LOG_MODULE("core");
METRIC_COUNTER(clock_set, "fullscale_clock_steps_total", "", "Times the machine's clock was set by a second or more.");

enum {
    CLOCK_STEP_MS = 1000,
};

int64_t core_clocks_apart_ms(void)
{
    return clock_wall_ms() - clock_mono_ms();
}

static void log_step(int64_t by_ms)
{
    metric_inc(&clock_set);
    if (by_ms > 0)
        log_warn("the machine's clock was set ahead: what expires by date is looked at anew",
                 LOG_I("by_s", by_ms / 1000));
    else
        log_warn("the machine's clock was set back: keys that had expired may hold again", LOG_I("by_s", by_ms / 1000));
}

/* How far the clock was set ahead since the start. */
static int64_t read_clocks(const struct core *core, int64_t *wall_ms_out)
{
    *wall_ms_out = clock_wall_ms();
    return *wall_ms_out - clock_mono_ms() - core->started_apart_ms;
}

static bool is_step(int64_t by_ms)
{
    return by_ms >= CLOCK_STEP_MS || by_ms <= -CLOCK_STEP_MS;
}

static void note_step(struct core *core, int64_t by_ms, int64_t wall_ms)
{
    log_step(by_ms);
    for (size_t i = 0; i < core->tailnet_n; i++) {
        struct tailnet *t = core->tailnets[i];
        t->is_stepped = true;
        state_set_clock(t->state, core->ahead_ms);
        core_touch(t);
    }
    if (core->hooks.clock_set != NULL && !core->is_stopping)
        core->hooks.clock_set(core->hooks.ctx, wall_ms);
}

int64_t core_look_at_clock(struct tailnet *t)
{
    struct core *core = t->core;
    int64_t wall_ms;
    int64_t ahead_ms = read_clocks(core, &wall_ms);
    if (is_step(ahead_ms - core->ahead_ms))
        ahead_ms = read_clocks(core, &wall_ms); /* the thread may have been interrupted between the two readings */
    int64_t by_ms = ahead_ms - core->ahead_ms;
    core->ahead_ms = ahead_ms;
    state_set_clock(t->state, ahead_ms);
    state_set_actor(t->state, NULL, wall_ms);
    if (is_step(by_ms))
        note_step(core, by_ms, wall_ms);
    return wall_ms;
}
