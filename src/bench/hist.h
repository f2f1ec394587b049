/* A histogram of latencies: 32 linear buckets for each power of two of microseconds, so that a quantile is at most 3.2 % off.
 * A plain value of 9 KiB: zero-initialised is empty, nothing is ever allocated. Not thread-safe: one for each thread, and
 * hist_merge at the end. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

enum { HIST_BUCKETS = 37 * 32 }; /* up to 2^41 us, 25 days; what is longer counts in the last */

struct hist {
    uint64_t n;
    uint64_t sum_us;
    uint64_t max_us;
    uint64_t buckets[HIST_BUCKETS];
};

/* Negative latencies (the clock of another machine) count as 0. */
void hist_add(struct hist *h, int64_t us);
/* `to` becomes what it would be had it got the samples of both. */
void hist_merge(struct hist *to, const struct hist *from);
/* The latency that the part `q` (0 to 1) of the samples does not exceed, in milliseconds; 0 without samples. */
double hist_quantile_ms(const struct hist *h, double q);

/* What is told of a histogram; all but `count` are 0 without samples. */
struct hist_summary {
    uint64_t count;
    double mean_ms, p50_ms, p90_ms, p99_ms, max_ms;
};
struct hist_summary hist_summarise(const struct hist *h);

#endif
