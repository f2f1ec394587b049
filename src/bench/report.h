/* The outcome of a scenario: named figures in the order in which they are given, as one line of JSON for programs
 * and as a table for people. Figures are rounded to three digits after the point. Notes stand in the table only.
 *
 *     struct report r;
 *     report_init(&r, "stun", target->label, clock_wall_ms());
 *     report_u64(&r, "answers", n, "with the right transaction and mapped address");
 *     enum rc rc = report_emit(&r, target, err);
 *     report_fini(&r); */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "bench/errors.h"
#include "bench/hist.h"
#include "bench/proc.h"
#include "codec/json_write.h"

/* Where reports go; all borrowed. */
struct report_target {
    FILE *json;            /* a line for each report */
    FILE *table;           /* null: none */
    const char *append_to; /* file to which the line is appended as well; null: none */
    const char *label;     /* tags the reports; null: none */
};

struct report {
    struct buf json;
    struct buf table;
    struct json_writer w;
};

/* `label` may be null. Starts with "scenario", "label" and "time". */
void report_init(struct report *r, const char *scenario, const char *label, int64_t now_ms);
/* Frees the report, emitted or not. */
void report_fini(struct report *r);

/* Each adds a member to the JSON line and a row to the table; `note` stands behind the value there, and may be null. */
void report_u64(struct report *r, const char *key, uint64_t v, const char *note);
void report_i64(struct report *r, const char *key, int64_t v, const char *note);
void report_f64(struct report *r, const char *key, double v, const char *note);
void report_bool(struct report *r, const char *key, bool v, const char *note);
void report_text(struct report *r, const char *key, const char *v, const char *note);
/* An object: count, mean_ms, p50_ms, p90_ms, p99_ms, max_ms. */
void report_latency(struct report *r, const char *key, const struct hist *h, const char *note);
/* PREFIX_s, PREFIX_user_s, PREFIX_sys_s. */
void report_cpu(struct report *r, const char *prefix, const struct proc_cpu *cpu, const char *note);
/* An array of "COUNT × TEXT", the commonest first; no line in the table when there is none. */
void report_errors(struct report *r, const char *key, struct errors *e);
/* Anything else: `json` is one value, `text` what stands for it in the table (null: no line). */
void report_raw(struct report *r, const char *key, struct str json, const char *text, const char *note);

/* Ends the report and writes it, once. RC_DENIED or RC_IO with a sentence in `err` when `append_to` cannot be
 * written. */
MUST_CHECK enum rc report_emit(struct report *r, const struct report_target *target, struct err *err);

#endif
