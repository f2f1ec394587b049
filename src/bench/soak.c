/* Everything at random for a long time: connections drop, nodes change, log out and in, the policy changes, the
 * server is restarted. At quiet points what each node knows of all others is compared with what those have sent. All
 * restarts are in the first part, so that one process is watched for growing memory and open files after that. */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/fleet.h"

enum {
    SAMPLE_MS = 5000,
    QUIET_MS = 1500,       /* without a map response */
    SECOND_LOOK_MS = 5000, /* wait before a difference counts */
    WARM_UP_MS = 5 * 60 * 1000,
    DROP_EVERY_MS = 4000, /* on average, as the next two */
    LOG_OUT_EVERY_MS = 3000,
    LOG_IN_AFTER_MS = 6000,
    POLICY_EVERY_MS = 20 * 1000,
    COMMANDS_MAX = 8,
    RESTARTS_MAX = 2,
    WINDOWS = 10,
    GROWTH_PERCENT = 10, /* of memory that are too much: this part, or at least */
    GROWTH_BYTES = 8 * 1024 * 1024,
    JUDGED_MS = 2 * 60 * 1000, /* over a shorter time, growth is reported and not judged */
    FDS_SPARE = 8,
};

struct sample {
    int64_t at_ms; /* since the start */
    int64_t rss;
    unsigned fds;
    bool is_quiet; /* taken at a check: nothing was under way */
};

struct soak {
    struct fleet *fleet;
    uint64_t random;
    int64_t start_ms, end_ms, check_ms, sample_ms;
    int64_t change_since_ms;
    uint64_t change_n; /* since then */
    int64_t drop_ms, log_out_ms, policy_ms;
    int64_t *log_in_ms; /* owned; of each node, 0: it is not logged out */
    int64_t restart_at_ms[RESTARTS_MAX];
    bool is_noisy;
    char *commands[COMMANDS_MAX]; /* owned */
    unsigned command_n, command;  /* `command`: index of the last that was run */

    uint64_t changes, drops, dropped, log_outs, policies, restarts, checks, failed_checks, lost, expected_losses;
    int64_t watched_since_ms; /* when the server that runs now was started */
    struct buf samples;       /* struct sample */
    unsigned fds_base, fds_end, fds_max;
    struct errors faults;
};

static int64_t now_of(const struct soak *k)
{
    return clock_mono_ms() - k->start_ms;
}

static unsigned pick(struct soak *k, unsigned n)
{
    return (unsigned)(fleet_random(&k->random) % n);
}

/* A random time from half of `mean_ms` to one and a half of it after `now`. */
static int64_t next_time(struct soak *k, int64_t now, int64_t mean_ms)
{
    return now + mean_ms / 2 + pick(k, (unsigned)mean_ms + 1);
}

/* Null: there is none yet. */
static const struct sample *last_sample(const struct soak *k)
{
    size_t n = buf_len(&k->samples) / sizeof(struct sample);
    return n > 0 ? (const struct sample *)k->samples.data + n - 1 : NULL;
}

/* --- noise --- */

static void change_one(struct soak *k)
{
    struct fleet *f = k->fleet;
    struct sim *s = &f->sims[pick(k, f->n)];
    if (s->state != SIM_UP)
        return;
    f->seq++;
    if (pick(k, 4) == 0)
        s->hostinfo_seq = f->seq;
    else
        s->endpoints_seq = f->seq;
    k->changes++;
    sim_update(s);
}

static void change_due(struct soak *k, int64_t now)
{
    double due = (double)(now - k->change_since_ms) / 1000 * k->fleet->opts->churn_rate_per_s;
    for (; (double)k->change_n < due; k->change_n++)
        change_one(k);
}

/* Mostly a few connections, sometimes half of all. */
static void drop_due(struct soak *k, int64_t now)
{
    struct fleet *f = k->fleet;
    if (now < k->drop_ms)
        return;
    k->drop_ms = next_time(k, now, DROP_EVERY_MS);
    unsigned percent = pick(k, 20) == 0 ? 50 : 1 + pick(k, 5);
    for (unsigned i = 0; i < f->n; i++) {
        struct sim *s = &f->sims[i];
        if (s->state != SIM_UP || s->is_paused || pick(k, 100) >= percent)
            continue;
        sim_drop(s);
        k->dropped++;
    }
    k->drops++;
}

static void log_in_due(struct soak *k, int64_t now)
{
    struct fleet *f = k->fleet;
    for (unsigned i = 0; i < f->n; i++) {
        if (k->log_in_ms[i] == 0 || now < k->log_in_ms[i] || f->sims[i].is_logging_out)
            continue;
        k->log_in_ms[i] = 0;
        sim_log_in(&f->sims[i]);
    }
}

static void log_out_due(struct soak *k, int64_t now)
{
    struct fleet *f = k->fleet;
    if (now < k->log_out_ms)
        return;
    k->log_out_ms = next_time(k, now, LOG_OUT_EVERY_MS);
    for (unsigned n = 1 + pick(k, 3); n > 0; n--) {
        unsigned i = pick(k, f->n);
        if (k->log_in_ms[i] != 0 || !sim_log_out(&f->sims[i]))
            continue;
        k->log_in_ms[i] = next_time(k, now, LOG_IN_AFTER_MS);
        k->log_outs++;
    }
}

static void take_sample(struct soak *k, bool is_quiet)
{
    struct sample s = {now_of(k), fleet_server_rss(k->fleet), 0, is_quiet};
    if (s.rss == 0 || proc_fds_count(k->fleet->pid, &s.fds) != RC_OK)
        return; /* between the end of one server and the start of the next */
    k->fds_max = s.fds > k->fds_max ? s.fds : k->fds_max;
    buf_append(&k->samples, &s, sizeof(s));
}

static void on_tick(struct fleet *f, void *ctx)
{
    struct soak *k = ctx;
    int64_t now = now_of(k);
    (void)f;
    if (now >= k->sample_ms) {
        k->sample_ms = now + SAMPLE_MS;
        take_sample(k, false);
    }
    log_in_due(k, now);
    if (!k->is_noisy)
        return;
    change_due(k, now);
    drop_due(k, now);
    log_out_due(k, now);
}

static void set_noise(struct soak *k, bool is_noisy)
{
    int64_t now = now_of(k);
    k->is_noisy = is_noisy;
    k->change_since_ms = now;
    k->change_n = 0;
    if (is_noisy)
        return;
    for (unsigned i = 0; i < k->fleet->n; i++) {
        if (k->log_in_ms[i] != 0)
            k->log_in_ms[i] = 1; /* as soon as it has logged out */
    }
}

/* --- quiet points --- */

static bool is_quiet(struct fleet *f, void *ctx)
{
    (void)ctx;
    if (f->complete != f->n || clock_mono_us() - f->last_data_us < (int64_t)QUIET_MS * 1000)
        return false;
    for (unsigned i = 0; i < f->n; i++) {
        const struct sim *s = &f->sims[i];
        if (s->state != SIM_UP || s->is_updating || s->is_logging_out || s->is_paused)
            return false;
    }
    return true;
}

static uint64_t count_faults(const struct view_report *r)
{
    return r->missing + r->extra + r->differing;
}

static void report_check(struct soak *k, bool was_quiet, uint64_t faults)
{
    FILE *out = k->fleet->target->table;
    const struct sample *last = last_sample(k);
    if (out == NULL || last == NULL)
        return;
    fprintf(out,
            "%4llds  check %llu: %s; RSS %.1f MB, %u files; %llu changes, %llu drops, %llu logouts, %llu policies\n",
            (long long)now_of(k) / 1000, (unsigned long long)k->checks,
            !was_quiet   ? "did not become quiet"
            : faults > 0 ? "NOT as it should be"
                         : "ok",
            (double)last->rss / 1e6, last->fds, (unsigned long long)k->changes, (unsigned long long)k->dropped,
            (unsigned long long)k->log_outs, (unsigned long long)k->policies);
    fflush(out);
}

static enum rc run_policy(struct soak *k, unsigned i, struct err *err)
{
    k->command = i;
    k->policies++;
    return fleet_command(k->fleet, k->commands[i], k->fleet->opts->timeout_ms, NULL, err);
}

/* Stops the noise, waits until all changes have arrived everywhere, and compares. */
static enum rc check(struct soak *k, struct err *err)
{
    struct fleet *f = k->fleet;
    struct view_report r = {0};
    struct errors *none = MEM_NEW(struct errors);
    set_noise(k, false);
    /* The first policy is the one that the classes describe. */
    enum rc rc = k->command_n > 0 && k->command != 0 ? run_policy(k, 0, err) : RC_OK;
    bool was_quiet = fleet_wait(f, "becoming quiet", f->opts->timeout_ms, is_quiet, NULL);
    fleet_verify(f, &r, none);
    if (was_quiet && count_faults(&r) > 0) {
        (void)fleet_wait(f, "second look", SECOND_LOOK_MS, NULL, NULL);
        fleet_verify(f, &r, &k->faults);
    } else if (!was_quiet) {
        fleet_verify(f, &r, &k->faults);
    }
    k->checks++;
    k->lost += count_faults(&r);
    k->failed_checks += !was_quiet || count_faults(&r) > 0;
    take_sample(k, true);
    const struct sample *last = last_sample(k);
    if (last != NULL && k->fds_base == 0)
        k->fds_base = last->fds;
    k->fds_end = last != NULL ? last->fds : 0;
    report_check(k, was_quiet, count_faults(&r));
    mem_free(none);
    return rc;
}

/* --- the server --- */

static bool all_complete(struct fleet *f, void *ctx)
{
    (void)ctx;
    return f->complete == f->n;
}

/* A restart loses every session and makes attempts fail: none of these count as errors. */
static enum rc restart(struct soak *k, struct err *err)
{
    struct fleet *f = k->fleet;
    uint64_t before = f->stats.sessions_lost;
    set_noise(k, false);
    TRY(fleet_restart_server(f, err));
    k->restarts++;
    (void)fleet_wait(f, "coming back", f->opts->timeout_ms, all_complete, NULL);
    k->expected_losses += f->stats.sessions_lost - before;
    k->watched_since_ms = now_of(k);
    k->fds_base = 0;
    return RC_OK;
}

/* --- judgement --- */

/* Least squares over the quiet points of the server that ran last, once it was warm. */
struct line {
    unsigned n;
    double first_ms, last_ms, slope_per_ms, mean;
};

static bool counts(const struct soak *k, const struct sample *s)
{
    int64_t warm_up = (k->end_ms - k->watched_since_ms) / 3;
    return s->at_ms >= k->watched_since_ms + (warm_up < WARM_UP_MS ? warm_up : WARM_UP_MS);
}

static struct line fit(const struct soak *k)
{
    const struct sample *all = (const struct sample *)k->samples.data;
    size_t total = buf_len(&k->samples) / sizeof(*all);
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    struct line l = {0};
    for (size_t i = 0; i < total; i++) {
        double at = (double)all[i].at_ms, rss = (double)all[i].rss;
        if (!all[i].is_quiet || !counts(k, &all[i]))
            continue;
        l.first_ms = n > 0 ? l.first_ms : at;
        l.last_ms = at;
        n++;
        x += at;
        y += rss;
        xx += at * at;
        xy += at * rss;
    }
    double spread = n * xx - x * x;
    l.n = (unsigned)n;
    l.mean = n > 0 ? y / n : 0;
    l.slope_per_ms = spread > 0 ? (n * xy - x * y) / spread : 0;
    return l;
}

static void write_window(const struct soak *k, struct json_writer *w, unsigned window)
{
    const struct sample *all = (const struct sample *)k->samples.data;
    size_t total = buf_len(&k->samples) / sizeof(*all);
    int64_t from = k->end_ms * window / WINDOWS, to = k->end_ms * (window + 1) / WINDOWS, max = 0, min = INT64_MAX;
    unsigned fds = 0;
    for (size_t i = 0; i < total; i++) {
        if (all[i].at_ms < from || all[i].at_ms >= to)
            continue;
        max = all[i].rss > max ? all[i].rss : max;
        min = all[i].rss < min ? all[i].rss : min;
        fds = all[i].fds > fds ? all[i].fds : fds;
    }
    json_w_object(w);
    json_w_kv_u64(w, "until_s", (uint64_t)to / 1000);
    json_w_kv_u64(w, "rss_min_kb", max > 0 ? (uint64_t)min / 1000 : 0);
    json_w_kv_u64(w, "rss_max_kb", (uint64_t)max / 1000);
    json_w_kv_u64(w, "fds_max", fds);
    json_w_end_object(w);
}

static void report_windows(const struct soak *k, struct report *r)
{
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    json_w_array(&w);
    for (unsigned i = 0; i < WINDOWS; i++)
        write_window(k, &w, i);
    json_w_end_array(&w);
    report_raw(r, "windows", buf_str(&json), NULL, NULL);
    buf_fini(&json);
}

static void report_noise(const struct soak *k, struct report *r)
{
    report_f64(r, "seconds", (double)now_of(k) / 1000, NULL);
    report_u64(r, "seed", k->fleet->opts->seed, NULL);
    report_u64(r, "changes", k->changes, "of endpoints and Hostinfo");
    report_u64(r, "drops", k->dropped, "connections broken");
    report_u64(r, "logouts", k->log_outs, "and logins with a new key");
    report_u64(r, "policy_changes", k->policies, NULL);
    report_u64(r, "restarts", k->restarts, "of the server");
    report_u64(r, "checks", k->checks, "quiet points");
    report_u64(r, "failed_checks", k->failed_checks, NULL);
    report_u64(r, "lost_updates", k->lost, "pairs of which one last received something else than the other last sent");
}

static bool report_memory(const struct soak *k, struct report *r)
{
    struct line l = fit(k);
    double growth = l.slope_per_ms * (l.last_ms - l.first_ms);
    double part = l.mean * (double)GROWTH_PERCENT / 100;
    double limit = part > (double)GROWTH_BYTES ? part : (double)GROWTH_BYTES;
    bool is_judged = l.last_ms - l.first_ms >= (double)JUDGED_MS;
    bool is_ok = (!is_judged || growth <= limit) && k->fds_end <= k->fds_base + FDS_SPARE;
    report_u64(r, "quiet_points_fitted", l.n, "of the server that ran last, once warm");
    report_f64(r, "rss_mean_mb", l.mean / 1e6, "at those");
    report_f64(r, "rss_slope_mb_per_h", l.slope_per_ms * 3600e3 / 1e6, NULL);
    report_f64(r, "rss_growth_mb", growth / 1e6, "by that slope, from first to last");
    report_f64(r, "rss_growth_limit_mb", limit / 1e6, NULL);
    report_bool(r, "rss_judged", is_judged, "only when that is long enough");
    report_u64(r, "fds_start", k->fds_base, "at the first quiet point of the server that ran last");
    report_u64(r, "fds_end", k->fds_end, NULL);
    report_u64(r, "fds_max", k->fds_max, NULL);
    report_windows(k, r);
    return is_ok;
}

static enum rc judge(struct soak *k, const struct fleet_start *start, struct err *err)
{
    struct fleet *f = k->fleet;
    const struct fleet_stats *st = &f->stats;
    struct report r;
    fleet_report_begin(f, &r, "soak");
    report_noise(k, &r);
    bool is_ok = report_memory(k, &r);
    fleet_report_peak(f, &r);
    uint64_t unexpected = st->sessions_lost - k->expected_losses;
    report_u64(&r, "map_messages", st->messages, NULL);
    report_u64(&r, "unexpected_losses", unexpected, "sessions that ended without a drop or restart");
    is_ok = is_ok && k->checks > 0 && k->failed_checks == 0 && unexpected == 0 && st->decode_errors == 0 &&
            st->wrong_records == 0 && st->first_without_node == 0 && st->self_as_peer == 0;
    report_bool(&r, "ok", is_ok, NULL);
    fleet_report_generator(&r, &start->self);
    report_errors(&r, "faults", &k->faults);
    fleet_report_health(f, &r);
    TRY(fleet_report_emit(f, &r, err));
    return is_ok ? RC_OK : err_set(err, RC_IO, "the soak failed: see its report");
}

/* --- the scenario --- */

static bool is_due(struct fleet *f, void *ctx)
{
    const struct soak *k = ctx;
    int64_t now = now_of(k);
    (void)f;
    return now >= k->check_ms || now >= k->end_ms || (k->command_n > 0 && now >= k->policy_ms) ||
           (k->restarts < RESTARTS_MAX && now >= k->restart_at_ms[k->restarts]);
}

static enum rc go_on(struct soak *k, struct err *err)
{
    struct fleet *f = k->fleet;
    int64_t now = now_of(k);
    if (k->restarts < RESTARTS_MAX && now >= k->restart_at_ms[k->restarts]) {
        TRY(restart(k, err));
    } else if (k->command_n > 0 && now >= k->policy_ms && now < k->check_ms) {
        TRY(run_policy(k, (k->command + 1) % k->command_n, err));
        k->policy_ms = next_time(k, now_of(k), POLICY_EVERY_MS);
    } else if (now >= k->check_ms) {
        TRY(check(k, err));
        k->check_ms = now_of(k) + f->opts->soak_check_every_ms;
    }
    set_noise(k, true);
    return RC_OK;
}

static enum rc run(struct soak *k, struct err *err)
{
    struct fleet *f = k->fleet;
    TRY(check(k, err));
    set_noise(k, true);
    while (now_of(k) < k->end_ms && !fleet_is_interrupted()) {
        (void)fleet_wait(f, "soak", k->end_ms, is_due, k);
        if (!proc_is_alive(f->pid))
            return err_set(err, RC_CLOSED, "the server (process %d) has ended", f->pid);
        if (now_of(k) < k->end_ms)
            TRY(go_on(k, err));
    }
    return check(k, err);
}

static void split_commands(struct soak *k)
{
    const char *at = k->fleet->opts->policy_cmd;
    while (at != NULL && k->command_n < COMMANDS_MAX) {
        const char *end = strstr(at, ";;");
        k->commands[k->command_n++] = end != NULL ? mem_strndup(at, (size_t)(end - at)) : mem_strdup(at);
        at = end != NULL ? end + 2 : NULL;
    }
}

static void begin(struct soak *k, struct fleet *f)
{
    const struct bench_fleet_opts *o = f->opts;
    k->fleet = f;
    k->random = (uint64_t)o->seed * 0x9e3779b97f4a7c15u + 1;
    k->start_ms = clock_mono_ms();
    k->end_ms = o->soak_for_ms;
    k->check_ms = o->soak_check_every_ms;
    k->policy_ms = POLICY_EVERY_MS / 2;
    for (unsigned i = 0; i < RESTARTS_MAX; i++)
        k->restart_at_ms[i] = o->restart_cmd != NULL ? k->end_ms * (i + 1) / 8 : INT64_MAX;
    k->log_in_ms = mem_zalloc(f->n, sizeof(*k->log_in_ms));
    split_commands(k);
    f->on_tick = on_tick;
    f->on_tick_ctx = k;
}

static void end(struct soak *k)
{
    k->fleet->on_tick = NULL;
    for (unsigned i = 0; i < k->command_n; i++)
        mem_free(k->commands[i]);
    mem_free(k->log_in_ms);
    buf_fini(&k->samples);
    mem_free(k);
}

enum rc fleet_soak(struct fleet *f, struct err *err)
{
    struct soak *k = MEM_NEW(struct soak);
    f->errors = (struct errors){0};
    struct fleet_start start = fleet_begin(f);
    begin(k, f);
    enum rc rc = run(k, err);
    if (rc == RC_OK)
        rc = judge(k, &start, err);
    end(k);
    return rc;
}
