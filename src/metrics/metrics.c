#include "metrics/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metric.h"

static int64_t started_ms;

__attribute__((constructor)) static void note_start(void)
{
    started_ms = clock_wall_ms();
}

static const char *kind_name(const struct metric *m)
{
    return m->kind == METRIC_KIND_COUNTER ? "counter" : "gauge";
}

/* The help of a family: that of its first row that has one. */
static const char *help_of(const struct metric *first)
{
    for (const struct metric *m = first; m != NULL && strcmp(m->name, first->name) == 0; m = metric_next(m)) {
        if (m->help[0] != '\0')
            return m->help;
    }
    return "";
}

static void write_registry(struct buf *out)
{
    const char *family = "";
    for (const struct metric *m = metric_next(NULL); m != NULL; m = metric_next(m)) {
        if (strcmp(m->name, family) != 0) {
            family = m->name;
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family, help_of(m), family, kind_name(m));
        }
        if (m->labels[0] != '\0')
            buf_printf(out, "%s{%s} %lld\n", m->name, m->labels, (long long)metric_get(m));
        else
            buf_printf(out, "%s %lld\n", m->name, (long long)metric_get(m));
    }
}

static void write_histograms(struct buf *out)
{
    for (const struct metric_histogram *h = metric_histogram_next(NULL); h != NULL; h = metric_histogram_next(h)) {
        long long total = 0;
        buf_printf(out, "# HELP %s %s\n# TYPE %s histogram\n", h->name, h->help, h->name);
        for (unsigned i = 0; i <= h->bound_n; i++) {
            total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
            if (i < h->bound_n)
                buf_printf(out, "%s_bucket{le=\"%g\"} %lld\n", h->name, (double)h->bounds_ms[i] / 1000, total);
        }
        buf_printf(out, "%s_bucket{le=\"+Inf\"} %lld\n%s_sum %.3f\n%s_count %lld\n", h->name, total, h->name,
                   (double)atomic_load_explicit(&h->sum_ms, memory_order_relaxed) / 1000, h->name, total);
    }
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static long resident_pages(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%ld %ld", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident;
}

static void write_process(struct buf *out)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    buf_printf(out,
               "# HELP process_cpu_seconds_total User and system CPU time.\n# TYPE process_cpu_seconds_total counter\n"
               "process_cpu_seconds_total %.6f\n",
               cpu_s);
    buf_printf(out,
               "# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes gauge\n"
               "process_resident_memory_bytes %lld\n",
               (long long)resident_pages() * sysconf(_SC_PAGESIZE));
    buf_printf(out,
               "# HELP process_open_fds Open file descriptors.\n# TYPE process_open_fds gauge\nprocess_open_fds %u\n",
               count_fds());
    buf_printf(out,
               "# HELP process_start_time_seconds Start, Unix time.\n# TYPE process_start_time_seconds gauge\n"
               "process_start_time_seconds %.3f\n",
               (double)started_ms / 1000);
}

void metrics_write(struct buf *out, const char *version)
{
    write_registry(out);
    write_histograms(out);
    write_process(out);
    buf_printf(out,
               "# HELP fullscale_build_info The version that runs.\n# TYPE fullscale_build_info gauge\n"
               "fullscale_build_info{version=\"%s\"} 1\n",
               version);
}

void metrics_handle(void *app, struct http_exchange *ex)
{
    struct buf out = {0};
    metrics_write(&out, app);
    http_respond(ex, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&out));
    buf_fini(&out);
}
