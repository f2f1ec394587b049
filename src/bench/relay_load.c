/* A relay's load: checks what is asked for, and runs one mode after the other. */
#include "bench/relay_load_internal.h"

#include "base/clock.h"

enum {
    SIZE_MAX_BYTES = 60 * 1024,
    PAIRS_MAX = 100 * 1000,
    CONNS_MAX = 1000 * 1000,
    OTHER_FILES = 256,
};

/* --- idle connections --- */

static int64_t server_rss(const struct bench_relay_load *load)
{
    struct proc_memory memory;
    return proc_memory_read(load->opts->server_pid, &memory) == RC_OK ? memory.rss_bytes : 0;
}

static double seconds_between(const struct bench_relay_load_reading *a, const struct bench_relay_load_reading *b)
{
    return (double)(b->at_us - a->at_us) / 1e6;
}

static enum rc run_idle(struct bench_relay_load *load, struct err *err)
{
    struct report r;
    int64_t rss_start = server_rss(load);
    struct bench_relay_load_reading start = bench_relay_load_read(load);
    TRY(bench_relay_load_connect(load, load->opts->idle_conns, err));
    struct bench_relay_load_reading up = bench_relay_load_read(load);
    bench_relay_load_run_for(load, load->opts->idle_for_ms);
    struct bench_relay_load_reading end = bench_relay_load_read(load);
    struct proc_cpu setup = proc_cpu_between(&start.server, &up.server),
                    cpu = proc_cpu_between(&up.server, &end.server);
    int64_t rss = server_rss(load);
    double conns = load->up_n > 0 ? load->up_n : 1;
    report_init(&r, "derp-idle", load->target->label, clock_wall_ms());
    report_u64(&r, "connections", load->up_n, NULL);
    report_bool(&r, "tls", load->at.is_tls, NULL);
    report_f64(&r, "connect_s", seconds_between(&start, &up), NULL);
    report_f64(&r, "connect_cpu_ms", (double)setup.total_ns / 1e6 / conns, "server CPU per connection set-up");
    report_cpu(&r, "cpu", &cpu, "server, while idle");
    report_f64(&r, "cpu_percent", (double)cpu.total_ns / 1e7 / seconds_between(&up, &end), "of one core");
    report_f64(&r, "rss_start_mb", (double)rss_start / 1e6, NULL);
    report_f64(&r, "rss_mb", (double)rss / 1e6, NULL);
    report_f64(&r, "rss_per_conn_kb", (double)(rss - rss_start) / 1e3 / conns, NULL);
    report_f64(&r, "loadgen_rss_mb", (double)proc_memory_self().rss_bytes / 1e6, NULL);
    report_errors(&r, "errors", &load->errors);
    enum rc rc = report_emit(&r, load->target, err);
    report_fini(&r);
    return rc;
}

/* --- the runs --- */

static enum rc run_mode(struct bench_relay_load *load, enum bench_relay_mode mode, struct err *err)
{
    bench_relay_load_open(load);
    enum rc rc = mode == BENCH_RELAY_IDLE ? run_idle(load, err) : bench_relay_traffic_run(load, mode, err);
    bench_relay_load_close(load);
    return rc;
}

static enum rc check_opts(const struct bench_relay_opts *o, struct err *err)
{
    struct proc_cpu cpu;
    if (o->size_bytes < 16 || o->size_bytes > SIZE_MAX_BYTES)
        return err_set(err, RC_INVALID, "the size of a packet must be between 16 and %d bytes", SIZE_MAX_BYTES);
    if (o->pairs < 1 || o->pairs > PAIRS_MAX || o->idle_conns < 1 || o->idle_conns > CONNS_MAX)
        return err_set(err, RC_INVALID, "pairs must be between 1 and %d, idle connections between 1 and %d", PAIRS_MAX,
                       CONNS_MAX);
    if (o->window < 1 || o->batch < 1 || o->duration_ms < 1 || o->idle_for_ms < 1 || o->rate_per_s <= 0)
        return err_set(err, RC_INVALID, "window, batch, duration and rate must be more than 0");
    if (proc_cpu_read(o->server_pid, &cpu) != RC_OK)
        return err_set(err, RC_NOT_FOUND, "there is no process %d", o->server_pid);
    return RC_OK;
}

static enum rc raise_limits(const struct bench_relay_opts *o, struct err *err)
{
    uint64_t conns = 0;
    if ((o->modes & (BENCH_RELAY_THROUGHPUT | BENCH_RELAY_LATENCY)) != 0)
        conns = 2 * o->pairs;
    if ((o->modes & BENCH_RELAY_IDLE) != 0 && o->idle_conns > conns)
        conns = o->idle_conns;
    uint64_t got = proc_raise_fd_limit(conns + OTHER_FILES);
    if (got < conns + OTHER_FILES)
        return err_set(err, RC_LIMIT, "%llu connections are more than the limit of open files (%llu) allows",
                       (unsigned long long)conns, (unsigned long long)got);
    return RC_OK;
}

enum rc bench_relay_load_run(const struct bench_relay_opts *opts, const struct bench_relay_load_hooks *hooks,
                             const struct report_target *target, struct err *err)
{
    static const enum bench_relay_mode modes[] = {BENCH_RELAY_THROUGHPUT, BENCH_RELAY_LATENCY, BENCH_RELAY_IDLE};
    struct bench_url at;
    TRY(bench_url_parse(opts->url, &at, err));
    TRY(check_opts(opts, err));
    TRY(raise_limits(opts, err));
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct bench_relay_load load = {.opts = opts, .target = target, .at = at, .hooks.drain_ms = 1000};
        if (hooks != NULL)
            load.hooks = *hooks;
        if ((opts->modes & modes[i]) != 0)
            TRY(run_mode(&load, modes[i], err));
    }
    return RC_OK;
}

enum rc bench_relay(const struct bench_relay_opts *opts, const struct report_target *target, struct err *err)
{
    crypto_init();
    proc_keep_heap();
    return bench_relay_load_run(opts, NULL, target, err);
}
