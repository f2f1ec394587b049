/* What is read at the start of a scenario, and what several reports have in common. */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/fleet.h"

void fleet_reset_stats(struct fleet *f)
{
    f->stats = (struct fleet_stats){0};
    f->converge_since_us = clock_mono_us();
}

struct fleet_start fleet_begin(struct fleet *f)
{
    fleet_reset_stats(f);
    fleet_reset_peak(f);
    return (struct fleet_start){fleet_server_cpu(f), proc_cpu_self(), f->wire.in, clock_mono_us()};
}

struct proc_cpu fleet_cpu_since(const struct fleet *f, const struct proc_cpu *before)
{
    struct proc_cpu now = fleet_server_cpu(f);
    return proc_cpu_between(before, &now);
}

/* --- parts of reports --- */

void fleet_report_generator(struct report *r, const struct proc_cpu *since)
{
    struct proc_cpu now = proc_cpu_self();
    double used = (double)proc_cpu_between(since, &now).total_ns / 1e9;
    report_f64(r, "generator_cpu_s", used, "of this program");
    report_f64(r, "loadgen_cpu_s", used, NULL);
}

static void write_verify(struct json_writer *w, const struct view_report *v, uint64_t deep, struct errors *examples)
{
    json_w_object(w);
    json_w_kv_bool(w, "ok", v->missing == 0 && v->extra == 0 && deep == 0);
    json_w_kv_u64(w, "pairs_checked", v->pairs);
    json_w_kv_u64(w, "missing", v->missing);
    json_w_kv_u64(w, "extra", v->extra);
    json_w_kv_u64(w, "foreign", v->foreign);
    json_w_kv_u64(w, "without_endpoints", v->without_endpoints);
    json_w_kv_u64(w, "deep_diffs", deep);
    if (examples->n > 0) {
        json_w_key(w, "examples");
        json_w_array(w);
        for (unsigned i = 0; i < examples->n; i++)
            json_w_cstr(w, examples->rows[i].text);
        json_w_end_array(w);
    }
    json_w_end_object(w);
}

void fleet_report_verify(struct fleet *f, struct report *r, const char *note)
{
    struct view_report v;
    struct errors *examples = MEM_NEW(struct errors);
    struct buf json = {0}, text = {0};
    struct json_writer w;
    fleet_verify(f, &v, examples);
    uint64_t deep = v.differing + f->stats.wrong_records;
    json_w_init(&w, &json);
    write_verify(&w, &v, deep, examples);
    buf_printf(&text, "ok=%s pairs=%llu missing=%llu extra=%llu foreign=%llu without-endpoints=%llu deep-diffs=%llu",
               v.missing == 0 && v.extra == 0 && deep == 0 ? "true" : "false", (unsigned long long)v.pairs,
               (unsigned long long)v.missing, (unsigned long long)v.extra, (unsigned long long)v.foreign,
               (unsigned long long)v.without_endpoints, (unsigned long long)deep);
    for (unsigned i = 0; i < examples->n; i++)
        buf_printf(&text, "\n    %s", examples->rows[i].text);
    report_raw(r, "verify", buf_str(&json), buf_cstr(&text), note);
    buf_fini(&json);
    buf_fini(&text);
    mem_free(examples);
}

void fleet_report_ends(struct fleet *f, struct report *r)
{
    report_u64(r, "sessions_lost", f->stats.sessions_lost, "ended after their first map, not on purpose");
    report_u64(r, "failed_starts", f->stats.failed_starts, "attempts that ended before the first map");
}

void fleet_report_health(struct fleet *f, struct report *r)
{
    fleet_report_verify(f, r, NULL);
    fleet_report_ends(f, r);
    report_u64(r, "register_errors", f->stats.register_errors, NULL);
    report_u64(r, "update_errors", f->stats.update_errors, NULL);
    report_u64(r, "decode_errors", f->stats.decode_errors, NULL);
    report_u64(r, "first_without_node", f->stats.first_without_node, "streams whose first response had no Node");
    report_u64(r, "self_as_peer", f->stats.self_as_peer, "nodes that were sent themselves as a peer");
}

void fleet_report_peak(struct fleet *f, struct report *r)
{
    report_f64(r, "rss_peak_mb", (double)f->peak_rss_bytes / 1e6, NULL);
}

void fleet_report_begin(struct fleet *f, struct report *r, const char *scenario)
{
    report_init(r, scenario, f->target->label, clock_wall_ms());
    report_u64(r, "n", f->n, NULL);
}

enum rc fleet_report_emit(struct fleet *f, struct report *r, struct err *err)
{
    report_errors(r, "errors", &f->errors);
    f->errors = (struct errors){0};
    enum rc rc = report_emit(r, f->target, err);
    report_fini(r);
    return rc;
}
