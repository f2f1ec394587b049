#include "base/metric.h"

#include <stddef.h>
#include <string.h>

static struct metric *metrics;

/* Kept sorted by name, so that the rows of one family stand together as the text format wants. */
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

int64_t metric_read(const char *name, const char *labels)
{
    for (const struct metric *m = metrics; m != NULL; m = m->next) {
        if (strcmp(m->name, name) == 0 && strcmp(m->labels, labels) == 0)
            return metric_get(m);
    }
    return 0;
}
