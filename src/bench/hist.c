#include "bench/hist.h"

#include <math.h>

enum { LINEAR_BITS = 6 }; /* values below 2^6 us have a bucket each */

static unsigned bucket_of(uint64_t us)
{
    if (us < 1u << LINEAR_BITS)
        return (unsigned)us;
    unsigned shift = 64u - (unsigned)__builtin_clzll(us) - LINEAR_BITS;
    uint64_t i = 32u * shift + (us >> shift);
    return i < HIST_BUCKETS ? (unsigned)i : HIST_BUCKETS - 1;
}

static double middle_us(unsigned bucket)
{
    if (bucket < 1u << LINEAR_BITS)
        return bucket;
    unsigned shift = bucket / 32 - 1;
    return (double)((uint64_t)(bucket - 32 * shift) << shift) + (double)(UINT64_C(1) << shift) / 2;
}

void hist_add(struct hist *h, int64_t us)
{
    uint64_t v = us > 0 ? (uint64_t)us : 0;
    h->n++;
    h->sum_us += v;
    h->buckets[bucket_of(v)]++;
    if (v > h->max_us)
        h->max_us = v;
}

void hist_merge(struct hist *to, const struct hist *from)
{
    to->n += from->n;
    to->sum_us += from->sum_us;
    if (from->max_us > to->max_us)
        to->max_us = from->max_us;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

double hist_quantile_ms(const struct hist *h, double q)
{
    double want = ceil(q * (double)h->n), max_us = (double)h->max_us;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > 0 && (double)seen >= want)
            return (middle_us(i) < max_us ? middle_us(i) : max_us) / 1000;
    }
    return max_us / 1000;
}

struct hist_summary hist_summarise(const struct hist *h)
{
    struct hist_summary s = {.count = h->n};
    if (h->n == 0)
        return s;
    s.mean_ms = (double)h->sum_us / (double)h->n / 1000;
    s.p50_ms = hist_quantile_ms(h, 0.50);
    s.p90_ms = hist_quantile_ms(h, 0.90);
    s.p99_ms = hist_quantile_ms(h, 0.99);
    s.max_ms = (double)h->max_us / 1000;
    return s;
}
