/* A histogram of latencies: 32 linear buckets for each power of two of microseconds, so that a quantile is at most
 * 3.2 % off. A plain value of 9 KiB that allocates nothing; empty when zero-initialised. Not thread-safe: each
 * thread has its own, and hist_merge adds them up at the end. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

enum { HIST_BUCKETS = 37 * 32 }; /* up to 2^41 us, 25 days; longer latencies are counted in the last bucket */

struct hist {
    uint64_t n;
    uint64_t sum_us;
    uint64_t max_us;
    uint64_t buckets[HIST_BUCKETS];
};

/* Negative latencies (the clock of another machine) count as 0. */
void hist_add(struct hist *h, int64_t us);
/* Adds the samples of `from` to `to`. */
void hist_merge(struct hist *to, const struct hist *from);
/* The latency that the part `q` (0 to 1) of the samples does not exceed, in milliseconds; 0 without samples. */
double hist_quantile_ms(const struct hist *h, double q);

/* What reports show of a histogram; 0 without samples. */
struct hist_summary {
    uint64_t count;
    double mean_ms, p50_ms, p90_ms, p99_ms, max_ms;
};
/* Computes all of them. */
struct hist_summary hist_summarise(const struct hist *h);

#endif
