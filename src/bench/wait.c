/* Running the loop until something is done, with a line of progress, an eye on the server's memory, and an end by
 * Ctrl-C. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/fleet.h"

enum {
    TICK_MS = 5,
    SWEEP_MS = 1000,
    PEAK_MS = 100,
    PROGRESS_TTY_MS = 500,
    PROGRESS_MS = 10 * 1000,
    BUSY_NS_PER_S = 30 * 1000 * 1000,
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool fleet_is_interrupted(void)
{
    return interrupted != 0;
}

/* --- the server's process --- */

struct proc_cpu fleet_server_cpu(const struct fleet *f)
{
    struct proc_cpu cpu;
    return proc_cpu_read(f->pid, &cpu) == RC_OK ? cpu : (struct proc_cpu){0};
}

int64_t fleet_server_rss(const struct fleet *f)
{
    struct proc_memory memory;
    return proc_memory_read(f->pid, &memory) == RC_OK ? memory.rss_bytes : 0;
}

void fleet_reset_peak(struct fleet *f)
{
    f->peak_rss_bytes = fleet_server_rss(f);
}

static void watch_peak(struct fleet *f)
{
    int64_t rss = fleet_server_rss(f);
    if (rss > f->peak_rss_bytes)
        f->peak_rss_bytes = rss;
}

/* --- waiting --- */

static void say_progress(struct fleet *f)
{
    bool is_tty = f->target->table != NULL && isatty(fileno(f->target->table));
    int64_t now = loop_now_ms(f->loop);
    if (f->target->table == NULL || f->doing == NULL ||
        now - f->progress_at_ms < (is_tty ? PROGRESS_TTY_MS : PROGRESS_MS))
        return;
    f->progress_at_ms = now;
    f->has_progress = is_tty;
    fprintf(f->target->table, "%s%s: %u of %u nodes connected, %u know all their peers, %.0f MB received%s",
            is_tty ? "\r" : "", f->doing, f->connected, f->n, f->complete, (double)f->wire.in / 1e6,
            is_tty ? "\033[K" : "\n");
    fflush(f->target->table);
}

static void clear_progress(struct fleet *f)
{
    if (f->has_progress)
        fputs("\r\033[K", f->target->table);
    f->has_progress = false;
}

static void run_tick(void *ctx)
{
    struct fleet *f = ctx;
    int64_t now = loop_now_ms(f->loop);
    LIST_EACH_SAFE (it, &f->waiting) {
        struct sim *s = LIST_ENTRY(it, struct sim, link);
        if (s->due_ms <= now)
            fleet_ready(f, s);
    }
    if (now - f->swept_at_ms >= SWEEP_MS) {
        f->swept_at_ms = now;
        for (unsigned i = 0; f->sims != NULL && i < f->n; i++)
            f->sweep(&f->sims[i], now);
    }
    if (now - f->peak_at_ms >= PEAK_MS) {
        f->peak_at_ms = now;
        watch_peak(f);
    }
    if (f->on_tick != NULL)
        f->on_tick(f, f->on_tick_ctx);
    fleet_wake_starter(f);
    say_progress(f);
    loop_stop(f->loop);
}

void fleet_wait_init(struct fleet *f, void (*sweep)(struct sim *s, int64_t now_ms))
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    f->sweep = sweep;
    f->tick = loop_timer_create(f->loop, run_tick, f);
    loop_timer_start(f->tick, TICK_MS, TICK_MS);
}

bool fleet_wait(struct fleet *f, const char *doing, int64_t limit_ms, bool (*is_done)(struct fleet *f, void *ctx),
                void *ctx)
{
    int64_t end = clock_mono_ms() + limit_ms;
    bool done = false;
    f->doing = doing;
    f->progress_at_ms = loop_now_ms(f->loop);
    while (!(done = is_done != NULL && is_done(f, ctx)) && clock_mono_ms() < end && !fleet_is_interrupted() &&
           proc_is_alive(f->pid))
        loop_run(f->loop);
    clear_progress(f);
    f->doing = NULL;
    return done;
}

static bool is_complete(struct fleet *f, void *ctx)
{
    (void)ctx;
    return f->complete == f->n;
}

bool fleet_wait_complete(struct fleet *f, int64_t limit_ms)
{
    return fleet_wait(f, "waiting", limit_ms, is_complete, NULL);
}

bool fleet_settle(struct fleet *f, int64_t quiet_ms, int64_t limit_ms)
{
    int64_t end = clock_mono_ms() + limit_ms;
    struct proc_cpu last = fleet_server_cpu(f);
    while (clock_mono_ms() < end && !fleet_is_interrupted() && proc_is_alive(f->pid)) {
        (void)fleet_wait(f, "settling", 1000, NULL, NULL);
        struct proc_cpu cpu = fleet_server_cpu(f);
        bool is_busy = proc_cpu_between(&last, &cpu).total_ns >= BUSY_NS_PER_S;
        last = cpu;
        if (!is_busy && clock_mono_us() - f->last_data_us >= quiet_ms * 1000)
            return true;
    }
    return false;
}
