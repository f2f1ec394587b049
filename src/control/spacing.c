#include "control/spacing.h"

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t spacing_publish_us(const struct spacing *spacing, int64_t cost_us)
{
    return spacing->published_us + lesser(cost_us, SPACING_ALONE_MAX_US);
}

int64_t spacing_tell_us(const struct spacing *spacing, int64_t cost_us)
{
    enum { MORE_MAX = (SPACING_STORM_FACTOR - SPACING_FACTOR) / SPACING_FACTOR_A_NODE };
    if (!spacing->is_untold)
        return INT64_MAX;
    size_t more = spacing->node_n > 1 ? spacing->node_n - 1 : 0;
    int64_t factor = SPACING_FACTOR + (int64_t)(more < MORE_MAX ? more : MORE_MAX) * SPACING_FACTOR_A_NODE;
    int64_t least_us = lesser(cost_us * SPACING_FACTOR, SPACING_MAX_US);
    int64_t due_us = spacing->told_us + least_us;
    int64_t paused_us = spacing->published_us + least_us; /* nothing has come for as long */
    return lesser(spacing->told_us + lesser(cost_us * factor, SPACING_MAX_US), paused_us > due_us ? paused_us : due_us);
}

void spacing_published(struct spacing *spacing, size_t node_n, int64_t now_us)
{
    spacing->published_us = now_us;
    spacing->node_n += node_n;
    spacing->is_untold = true;
}

void spacing_told(struct spacing *spacing, int64_t now_us)
{
    spacing->told_us = now_us;
    spacing->node_n = 0;
    spacing->is_untold = false;
}
