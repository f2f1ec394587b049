#include "base/metric.h"

#include <stddef.h>
#include <string.h>

static struct metric *metrics;

/* Kept sorted by name, so that the rows of one family stand together as the text format requires. */
void metric_register(struct metric *m)
{
    struct metric **at = &metrics;
    while (*at != NULL && strcmp((*at)->name, m->name) <= 0)
        at = &(*at)->next;
    m->next = *at;
    *at = m;
}

const struct metric *metric_next(const struct metric *m)
{
    return m == NULL ? metrics : m->next;
}

static struct metric_histogram *histograms;

void metric_histogram_register(struct metric_histogram *h)
{
    h->next = histograms;
    histograms = h;
}

const struct metric_histogram *metric_histogram_next(const struct metric_histogram *h)
{
    return h == NULL ? histograms : h->next;
}

int64_t metric_histogram_count(const char *name)
{
    int64_t n = 0;
    for (const struct metric_histogram *h = histograms; h != NULL; h = h->next) {
        for (unsigned i = 0; i <= h->bound_n && strcmp(h->name, name) == 0; i++)
            n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    }
    return n;
}

void metric_observe_ms(struct metric_histogram *h, int64_t ms)
{
    unsigned i = 0;
    while (i < h->bound_n && ms > h->bounds_ms[i])
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ms, ms, memory_order_relaxed);
}

int64_t metric_read(const char *name, const char *labels)
{
    for (const struct metric *m = metrics; m != NULL; m = m->next) {
        if (strcmp(m->name, name) == 0 && strcmp(m->labels, labels) == 0)
            return metric_get(m);
    }
    return 0;
}
