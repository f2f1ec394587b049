/* Runs the scenarios one after the other; those that are short are here. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/fleet.h"

enum { GONE_LIMIT_MS = 30 * 1000 };

static double seconds(int64_t us)
{
    return (double)us / 1e6;
}

/* --- parts of reports --- */

static void report_wire(struct fleet *f, struct report *r, const struct fleet_start *s)
{
    report_u64(r, "map_messages", f->stats.messages, NULL);
    report_u64(r, "peer_records", f->stats.peer_records, "full node objects received");
    report_u64(r, "patches", f->stats.patches, NULL);
    report_f64(r, "wire_mb", (double)(f->wire.in - s->wire_in) / 1e6, "TCP payload received, all nodes");
    report_f64(r, "zstd_mb", (double)f->stats.zstd_bytes / 1e6, NULL);
    report_f64(r, "json_mb", (double)f->stats.json_bytes / 1e6, NULL);
}

static void report_complete(struct fleet *f, struct report *r, bool is_complete, bool is_settled)
{
    char note[64];
    snprintf(note, sizeof(note), "%u of %u nodes", f->complete, f->n);
    report_bool(r, "converged", is_complete, note);
    report_bool(r, "settled", is_settled, NULL);
}

static void report_generator(struct report *r, const struct fleet_start *s)
{
    fleet_report_generator(r, &s->self);
    report_f64(r, "generator_rss_mb", (double)proc_memory_self().peak_rss_bytes / 1e6, "peak");
}

/* --- join --- */

/* What was measured of a join or reconnect. */
struct measured {
    struct fleet_start start;
    bool is_complete, is_settled;
    double converge_s, server_up_s;
    struct proc_cpu until_complete, until_settled;
    int64_t rss_before;
};

static void measure(struct fleet *f, struct measured *m)
{
    m->is_complete = fleet_wait_complete(f, f->opts->timeout_ms);
    m->until_complete = fleet_cpu_since(f, &m->start.server);
    m->converge_s = seconds((m->is_complete ? f->last_complete_us : clock_mono_us()) - m->start.at_us);
    m->is_settled = m->is_complete && fleet_settle(f, f->opts->quiet_ms, f->opts->settle_ms);
    m->until_settled = fleet_cpu_since(f, &m->start.server);
}

static void report_join_times(struct fleet *f, struct report *r, const struct measured *m)
{
    report_f64(r, "converge_s", m->converge_s, "start until every node knew all its peers");
    if (f->last_endpoints_us > 0 && m->is_complete)
        report_f64(r, "endpoints_s", seconds(f->last_endpoints_us - m->start.at_us),
                   "until every node knew all peers' endpoints");
    report_f64(r, "joins_per_s", (double)f->stats.full_maps / m->converge_s, NULL);
    report_latency(r, "connect", &f->stats.connect, "TCP, upgrade, Noise, early payload");
    report_latency(r, "register", &f->stats.registered, NULL);
    report_latency(r, "first_map", &f->stats.first_map, "map request to first response");
    report_latency(r, "update", &f->stats.update, "first endpoint update to HTTP 200");
    report_u64(r, "visible_pairs", fleet_visible_pairs(f), NULL);
}

static enum rc report_join(struct fleet *f, const struct measured *m, struct err *err)
{
    struct report r;
    fleet_report_begin(f, &r, "join");
    report_u64(&r, "classes", f->class_n, NULL);
    report_u64(&r, "concurrency", f->opts->concurrency, NULL);
    report_f64(&r, "rate_per_s", f->opts->rate_per_s, NULL);
    report_complete(f, &r, m->is_complete, m->is_settled);
    report_join_times(f, &r, m);
    report_wire(f, &r, &m->start);
    if (f->stats.peer_records > 0)
        report_f64(&r, "json_bytes_per_peer", (double)f->stats.peer_bytes / (double)f->stats.peer_records, NULL);
    report_cpu(&r, "cpu_converge", &m->until_complete, "server, until converged");
    report_cpu(&r, "cpu", &m->until_settled, "server, until settled");
    report_f64(&r, "rss_start_mb", (double)m->rss_before / 1e6, NULL);
    fleet_report_peak(f, &r);
    report_generator(&r, &m->start);
    report_f64(&r, "loadgen_rss_mb", (double)proc_memory_self().peak_rss_bytes / 1e6, NULL);
    report_u64(&r, "pieces_read", f->frames.misses, "parts of map responses that were decompressed and scanned");
    report_u64(&r, "pieces_known", f->frames.hits, "parts that had been read before");
    fleet_report_health(f, &r);
    return fleet_report_emit(f, &r, err);
}

static enum rc join(struct fleet *f, int64_t rss_before, struct err *err)
{
    struct measured m = {.start = fleet_begin(f), .rss_before = rss_before};
    fleet_start(f);
    measure(f, &m);
    if (!m.is_complete || !f->opts->hides_join)
        TRY(report_join(f, &m, err));
    return m.is_complete ? RC_OK : err_set(err, RC_TIMEOUT, "the fleet did not converge: see the errors in the report");
}

/* --- idle, hold --- */

static enum rc idle(struct fleet *f, int64_t rss_before, struct err *err)
{
    struct report r;
    struct fleet_start s = fleet_begin(f);
    (void)fleet_wait(f, "idle", f->opts->idle_for_ms, NULL, NULL);
    double took_s = seconds(clock_mono_us() - s.at_us);
    struct proc_cpu cpu = fleet_cpu_since(f, &s.server);
    int64_t rss = fleet_server_rss(f);
    fleet_report_begin(f, &r, "idle");
    report_f64(&r, "seconds", took_s, NULL);
    report_cpu(&r, "cpu", &cpu, "server");
    report_f64(&r, "cpu_percent", 100 * (double)cpu.total_ns / 1e9 / took_s, "of one core");
    report_f64(&r, "rss_mb", (double)rss / 1e6, "at the end");
    fleet_report_peak(f, &r);
    report_f64(&r, "rss_per_node_kb", (double)(rss - rss_before) / 1e3 / f->n, "above the empty server");
    report_u64(&r, "keepalives", f->stats.keep_alives, NULL);
    report_u64(&r, "map_messages", f->stats.messages, NULL);
    report_u64(&r, "wire_bytes", f->wire.in - s.wire_in, NULL);
    fleet_report_generator(&r, &s.self);
    fleet_report_ends(f, &r);
    return fleet_report_emit(f, &r, err);
}

static enum rc hold(struct fleet *f, struct err *err)
{
    struct report r;
    (void)fleet_begin(f);
    (void)fleet_wait(f, "holding", f->opts->hold_for_ms, NULL, NULL);
    fleet_report_begin(f, &r, "hold");
    report_u64(&r, "map_messages", f->stats.messages, NULL);
    report_f64(&r, "rss_mb", (double)fleet_server_rss(f) / 1e6, NULL);
    fleet_report_health(f, &r);
    return fleet_report_emit(f, &r, err);
}

/* --- reconnect --- */

static void drop_all(struct fleet *f)
{
    fleet_close_gate(f);
    for (unsigned i = 0; i < f->n; i++)
        sim_drop(&f->sims[i]);
}

static enum rc break_all(struct fleet *f, bool is_restart, struct measured *m, struct err *err)
{
    if (!is_restart) {
        drop_all(f);
        m->start.at_us = f->converge_since_us = clock_mono_us();
        fleet_open_gate(f);
        return RC_OK;
    }
    TRY(fleet_restart_server(f, err));
    m->server_up_s = seconds(clock_mono_us() - m->start.at_us);
    fleet_reset_peak(f);
    m->start.server = (struct proc_cpu){0}; /* a new process: its CPU time counts from 0 */
    return RC_OK;
}

static void report_full_maps(struct fleet *f, struct report *r)
{
    double n = (double)f->stats.full_maps;
    report_u64(r, "full_maps", f->stats.full_maps, NULL);
    if (f->stats.full_maps == 0)
        return;
    report_f64(r, "full_map_peers", (double)f->stats.full_peers / n, "mean");
    report_f64(r, "full_map_json_bytes", (double)f->stats.full_json / n, "mean");
    report_f64(r, "full_map_zstd_bytes", (double)f->stats.full_zstd / n, "mean");
}

static enum rc report_reconnect(struct fleet *f, const char *mode, const struct measured *m, struct err *err)
{
    struct report r;
    fleet_report_begin(f, &r, "reconnect");
    report_text(&r, "mode", mode, NULL);
    report_u64(&r, "concurrency", f->opts->reconnect_concurrency, "0: all at once");
    report_complete(f, &r, m->is_complete, m->is_settled);
    report_f64(&r, "converge_s", m->converge_s, "until every node had a full map again");
    if (m->server_up_s > 0)
        report_f64(&r, "server_up_s", m->server_up_s, "of that, until the restart command returned");
    report_latency(&r, "node_converge", &f->stats.converge, "each node, from the drop");
    report_latency(&r, "connect", &f->stats.connect, NULL);
    report_latency(&r, "first_map", &f->stats.first_map, "map request to first response");
    report_full_maps(f, &r);
    report_wire(f, &r, &m->start);
    report_cpu(&r, "cpu_converge", &m->until_complete, "server, until converged");
    report_cpu(&r, "cpu", &m->until_settled, "server, until settled");
    fleet_report_peak(f, &r);
    report_generator(&r, &m->start);
    fleet_report_health(f, &r);
    return fleet_report_emit(f, &r, err);
}

static enum rc reconnect_once(struct fleet *f, bool is_restart, struct err *err)
{
    f->errors = (struct errors){0};
    f->last_complete_us = f->last_endpoints_us = 0;
    struct measured m = {.start = fleet_begin(f)};
    TRY(break_all(f, is_restart, &m, err));
    measure(f, &m);
    return report_reconnect(f, is_restart ? "restart" : "drop", &m, err);
}

static enum rc reconnect(struct fleet *f, const char *mode, struct err *err)
{
    bool is_restart = strcmp(mode, "restart") == 0;
    enum rc rc = RC_OK;
    if (is_restart && f->opts->restart_cmd == NULL)
        return err_set(err, RC_INVALID, "a restart needs --restart-cmd");
    f->concurrency = f->opts->reconnect_concurrency;
    for (unsigned i = 0; i < f->opts->reconnect_count && rc == RC_OK; i++)
        rc = reconnect_once(f, is_restart, err);
    f->concurrency = f->opts->concurrency;
    return rc;
}

/* --- policy --- */

struct reached {
    int64_t since_us, last_us;
    unsigned n;
};

static bool are_all_reached(struct fleet *f, void *ctx)
{
    struct reached *t = ctx;
    t->n = 0;
    for (unsigned i = 0; i < f->n; i++) {
        int64_t at = f->sims[i].last_map_us;
        t->n += at > t->since_us;
        t->last_us = at > t->last_us ? at : t->last_us;
    }
    return t->n == f->n;
}

static enum rc policy(struct fleet *f, struct err *err)
{
    struct report r;
    char note[64];
    if (f->opts->policy_cmd == NULL)
        return err_set(err, RC_INVALID, "policy needs --policy-cmd");
    struct fleet_start s = fleet_begin(f);
    struct reached reached = {.since_us = s.at_us};
    TRY(fleet_command(f, f->opts->policy_cmd, f->opts->timeout_ms, NULL, err));
    double command_s = seconds(clock_mono_us() - s.at_us);
    bool all = fleet_wait(f, "policy", f->opts->timeout_ms, are_all_reached, &reached);
    (void)fleet_settle(f, f->opts->quiet_ms, f->opts->settle_ms);
    (void)are_all_reached(f, &reached);
    struct proc_cpu cpu = fleet_cpu_since(f, &s.server);
    fleet_report_begin(f, &r, "policy");
    report_f64(&r, "command_s", command_s, NULL);
    snprintf(note, sizeof(note), "%u of %u nodes got a map response", reached.n, f->n);
    report_bool(&r, "all_told", all, note);
    if (reached.n > 0)
        report_f64(&r, "last_told_s", seconds(reached.last_us - s.at_us), "latest response of any node");
    report_wire(f, &r, &s);
    report_cpu(&r, "cpu", &cpu, "server, until settled");
    fleet_report_peak(f, &r);
    fleet_report_generator(&r, &s.self);
    fleet_report_verify(f, &r, "against the classes, which the new policy must not change");
    fleet_report_ends(f, &r);
    return fleet_report_emit(f, &r, err);
}

/* --- one after the other --- */

static enum rc run_step(struct fleet *f, struct str step, int64_t rss_before, struct err *err)
{
    if (step.len == 0 || str_eq_c(step, "join"))
        return RC_OK;
    if (str_eq_c(step, "idle"))
        return idle(f, rss_before, err);
    if (str_eq_c(step, "churn"))
        return fleet_churn(f, err);
    if (str_eq_c(step, "reconnect"))
        return reconnect(f, f->opts->mode, err);
    if (str_eq_c(step, "restart"))
        return reconnect(f, "restart", err);
    if (str_eq_c(step, "policy"))
        return policy(f, err);
    if (str_eq_c(step, "api"))
        return fleet_api(f, err);
    if (str_eq_c(step, "hold"))
        return hold(f, err);
    return fleet_soak(f, err);
}

static bool is_step(struct str word)
{
    static const char *const known[] = {"",        "join",   "idle", "churn", "reconnect",
                                        "restart", "policy", "api",  "hold",  "soak"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq_c(word, known[i]))
            return true;
    }
    return false;
}

static enum rc check(const struct bench_fleet_opts *o, struct err *err)
{
    struct str rest = str_c(o->steps), word;
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &word, &rest);
        if (!is_step(word))
            return err_set(err, RC_INVALID,
                           "there is no step \"%.*s\": steps are join, idle, churn, reconnect, restart, policy, api, "
                           "hold and soak",
                           STR_ARG(word));
        if (str_eq_c(word, "restart") && o->restart_cmd == NULL)
            return err_set(err, RC_INVALID, "a restart needs --restart-cmd");
        if (str_eq_c(word, "policy") && o->policy_cmd == NULL)
            return err_set(err, RC_INVALID, "policy needs --policy-cmd");
        if (str_eq_c(word, "api") && o->api_socket == NULL)
            return err_set(err, RC_INVALID, "api needs --api-socket");
    }
    if (o->join_updates > SIM_KNOWS_ALL)
        return err_set(err, RC_INVALID, "--join-updates is 0 to %d", SIM_KNOWS_ALL);
    return RC_OK;
}

static enum rc run_steps(struct fleet *f, int64_t rss_before, struct err *err)
{
    struct str rest = str_c(f->opts->steps), word;
    TRY(join(f, rss_before, err));
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &word, &rest);
        if (fleet_is_interrupted())
            return err_set(err, RC_CLOSED, "interrupted");
        if (!proc_is_alive(f->pid))
            return err_set(err, RC_CLOSED, "the server (process %d) has ended", f->pid);
        TRY(run_step(f, word, rss_before, err));
    }
    return RC_OK;
}

enum rc bench_fleet(const struct bench_fleet_opts *opts, const struct report_target *target, struct err *err)
{
    struct fleet *f = NULL;
    TRY(check(opts, err));
    TRY(fleet_create(opts, target, &f, err));
    enum rc rc = run_steps(f, fleet_server_rss(f), err);
    fleet_destroy(&f);
    return rc;
}
