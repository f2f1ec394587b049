#include "bench/report.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/time.h"

static double round3(double v)
{
    return round(v * 1000) / 1000;
}

static void add_row(struct report *r, const char *key, const char *text, const char *note)
{
    buf_printf(&r->table, "  %-28s %s", key, text);
    if (note != NULL && note[0] != '\0')
        buf_printf(&r->table, "   (%s)", note);
    buf_append_byte(&r->table, '\n');
}

/* The table shows a figure as the JSON does: copies what was written there from `from` on. */
static void add_row_from(struct report *r, const char *key, size_t from, const char *note)
{
    add_row(r, key, buf_cstr(&r->json) + from, note);
}

static size_t add_key(struct report *r, const char *key)
{
    json_w_key(&r->w, key);
    return buf_len(&r->json);
}

void report_init(struct report *r, const char *scenario, const char *label, int64_t now_ms)
{
    char time[TIME_TEXT_CAP];
    *r = (struct report){0};
    time_format(now_ms - now_ms % 1000, time);
    json_w_init(&r->w, &r->json);
    json_w_object(&r->w);
    json_w_kv_cstr(&r->w, "scenario", scenario);
    buf_printf(&r->table, "\n== %s ==\n", scenario);
    if (label != NULL && label[0] != '\0')
        report_text(r, "label", label, NULL);
    json_w_kv_cstr(&r->w, "time", time);
}

void report_fini(struct report *r)
{
    buf_fini(&r->json);
    buf_fini(&r->table);
}

void report_u64(struct report *r, const char *key, uint64_t v, const char *note)
{
    size_t from = add_key(r, key);
    json_w_u64(&r->w, v);
    add_row_from(r, key, from, note);
}

void report_i64(struct report *r, const char *key, int64_t v, const char *note)
{
    size_t from = add_key(r, key);
    json_w_i64(&r->w, v);
    add_row_from(r, key, from, note);
}

void report_f64(struct report *r, const char *key, double v, const char *note)
{
    size_t from = add_key(r, key);
    json_w_f64(&r->w, round3(v));
    add_row_from(r, key, from, note);
}

void report_bool(struct report *r, const char *key, bool v, const char *note)
{
    size_t from = add_key(r, key);
    json_w_bool(&r->w, v);
    add_row_from(r, key, from, note);
}

void report_text(struct report *r, const char *key, const char *v, const char *note)
{
    add_key(r, key);
    json_w_cstr(&r->w, v);
    add_row(r, key, v, note);
}

static void write_ms(struct report *r, const char *key, double ms)
{
    json_w_key(&r->w, key);
    json_w_f64(&r->w, round3(ms));
}

void report_latency(struct report *r, const char *key, const struct hist *h, const char *note)
{
    struct hist_summary s = hist_summarise(h);
    char text[160];
    add_key(r, key);
    json_w_object(&r->w);
    json_w_kv_u64(&r->w, "count", s.count);
    write_ms(r, "mean_ms", s.mean_ms);
    write_ms(r, "p50_ms", s.p50_ms);
    write_ms(r, "p90_ms", s.p90_ms);
    write_ms(r, "p99_ms", s.p99_ms);
    write_ms(r, "max_ms", s.max_ms);
    json_w_end_object(&r->w);
    snprintf(text, sizeof(text), "n=%llu p50=%.1f p90=%.1f p99=%.1f max=%.1f ms", (unsigned long long)s.count, s.p50_ms,
             s.p90_ms, s.p99_ms, s.max_ms);
    add_row(r, key, text, note);
}

static void add_seconds(struct report *r, const char *prefix, const char *suffix, int64_t ns, const char *note)
{
    char key[80];
    snprintf(key, sizeof(key), "%s%s", prefix, suffix);
    report_f64(r, key, (double)ns / 1e9, note);
}

void report_cpu(struct report *r, const char *prefix, const struct proc_cpu *cpu, const char *note)
{
    add_seconds(r, prefix, "_s", cpu->total_ns, note);
    add_seconds(r, prefix, "_user_s", cpu->user_ns, NULL);
    add_seconds(r, prefix, "_sys_s", cpu->total_ns - cpu->user_ns, NULL);
}

/* One line of both: "COUNT × TEXT". */
static void add_error(struct report *r, struct buf *text, uint64_t count, const char *what)
{
    char line[ERRORS_TEXT_CAP + 32];
    snprintf(line, sizeof(line), "%llu × %s", (unsigned long long)count, what);
    json_w_cstr(&r->w, line);
    buf_printf(text, "\n    %s", line);
}

void report_errors(struct report *r, const char *key, struct errors *e)
{
    struct buf text = {0};
    errors_sort(e);
    add_key(r, key);
    json_w_array(&r->w);
    for (unsigned i = 0; i < e->n; i++)
        add_error(r, &text, e->rows[i].count, e->rows[i].text);
    if (e->others > 0)
        add_error(r, &text, e->others, "others");
    json_w_end_array(&r->w);
    if (buf_len(&text) > 0)
        add_row(r, key, buf_cstr(&text), NULL);
    buf_fini(&text);
}

void report_raw(struct report *r, const char *key, struct str json, const char *text, const char *note)
{
    add_key(r, key);
    json_w_raw(&r->w, json);
    if (text != NULL)
        add_row(r, key, text, note);
}

static enum rc append_line(const char *path, struct str line, struct err *err)
{
    FILE *f = fopen(path, "ae");
    if (f == NULL)
        return err_set(err, errno == EACCES ? RC_DENIED : RC_IO, "cannot open %s: %s", path, strerror(errno));
    bool ok = fwrite(line.p, 1, line.len, f) == line.len;
    if (fclose(f) != 0 || !ok)
        return err_set(err, RC_IO, "cannot write %s: %s", path, strerror(errno));
    return RC_OK;
}

enum rc report_emit(struct report *r, const struct report_target *target, struct err *err)
{
    json_w_end_object(&r->w);
    buf_append_byte(&r->json, '\n');
    struct str line = buf_str(&r->json);
    fwrite(line.p, 1, line.len, target->json);
    fflush(target->json); /* so that a run of several scenarios can be followed */
    if (target->table != NULL)
        fwrite(buf_at(&r->table), 1, buf_len(&r->table), target->table);
    if (target->append_to == NULL || target->append_to[0] == '\0')
        return RC_OK;
    return append_line(target->append_to, line, err);
}
