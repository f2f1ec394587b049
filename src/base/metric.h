/* Counters and gauges that any module declares and `metrics/` prints (Prometheus text format).
 * Updates are one relaxed atomic add; any thread. Declared statically, registered before main:
 *     METRIC_COUNTER(noise_failed, "fullscale_noise_handshake_failures_total", "reason=\"aead\"", "Handshakes ...");
 * `labels` may be "". Rows with the same name and different labels stand together; only one needs the help text. */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdatomic.h>
#include <stdint.h>

struct metric {
    const char *name;
    const char *labels;
    const char *help;
    enum metric_kind { METRIC_KIND_COUNTER, METRIC_KIND_GAUGE } kind;
    _Atomic int64_t value;
    struct metric *next;
};

/* Durations by size. `bounds_ms` ascend; longer ones are counted in one more bucket. Printed in seconds. */
enum { METRIC_BUCKETS_MAX = 15 };
struct metric_histogram {
    const char *name;
    const char *help;
    const int64_t *bounds_ms;
    unsigned bound_n;
    _Atomic int64_t counts[METRIC_BUCKETS_MAX + 1]; /* not cumulative */
    _Atomic int64_t sum_ms;
    struct metric_histogram *next;
};

/* For METRIC_HISTOGRAM. */
void metric_histogram_register(struct metric_histogram *h);
/* Walks all histograms: null gives the first. */
const struct metric_histogram *metric_histogram_next(const struct metric_histogram *h);
/* How many durations a histogram has counted; 0 when there is none of that name. For tests. */
int64_t metric_histogram_count(const char *name);
/* Counts one duration. Any thread. */
void metric_observe_ms(struct metric_histogram *h, int64_t ms);

/* For METRIC_COUNTER and METRIC_GAUGE. */
void metric_register(struct metric *m);
/* Walks all metrics, those of one name one after the other: null gives the first. */
const struct metric *metric_next(const struct metric *m);

#define METRIC_DEFINE_(var, kind_, name_, labels_, help_)                                                              \
    static struct metric var = {.name = (name_), .labels = (labels_), .help = (help_), .kind = (kind_)};               \
    __attribute__((constructor)) static void metric_register_##var(void)                                               \
    {                                                                                                                  \
        metric_register(&var);                                                                                         \
    }                                                                                                                  \
    _Static_assert(1, "")

/* METRIC_HISTOGRAM(rtt, "fullscale_derp_ping_rtt_seconds", "...", 10, 20, 50); */
#define METRIC_HISTOGRAM(var, name_, help_, ...)                                                                       \
    static const int64_t var##_bounds[] = {__VA_ARGS__};                                                               \
    _Static_assert(sizeof(var##_bounds) / sizeof(int64_t) <= METRIC_BUCKETS_MAX, "too many buckets");                  \
    static struct metric_histogram var = {.name = (name_),                                                             \
                                          .help = (help_),                                                             \
                                          .bounds_ms = var##_bounds,                                                   \
                                          .bound_n = sizeof(var##_bounds) / sizeof(int64_t)};                          \
    __attribute__((constructor)) static void metric_register_##var(void)                                               \
    {                                                                                                                  \
        metric_histogram_register(&var);                                                                               \
    }                                                                                                                  \
    _Static_assert(1, "")

#define METRIC_COUNTER(var, name_, labels_, help_) METRIC_DEFINE_(var, METRIC_KIND_COUNTER, name_, labels_, help_)
#define METRIC_GAUGE(var, name_, labels_, help_) METRIC_DEFINE_(var, METRIC_KIND_GAUGE, name_, labels_, help_)

/* Adds to a counter (`n` >= 0) or gauge. Any thread. */
static inline void metric_add(struct metric *m, int64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

/* Adds one. Any thread. */
static inline void metric_inc(struct metric *m)
{
    metric_add(m, 1);
}

/* Sets a gauge. Any thread. */
static inline void metric_set(struct metric *m, int64_t v)
{
    atomic_store_explicit(&m->value, v, memory_order_relaxed);
}

/* The value now. Any thread. */
static inline int64_t metric_get(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

/* The value of the metric with this name and labels, 0 when there is none; for tests. */
int64_t metric_read(const char *name, const char *labels);

#endif
