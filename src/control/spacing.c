#include "control/spacing.h"

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t least_rest_us(int64_t cost_us)
{
    return lesser(cost_us * SPACING_FACTOR, SPACING_MAX_US);
}

int64_t spacing_publish_us(const struct spacing *spacing, int64_t cost_us)
{
    int64_t least_us = least_rest_us(cost_us);
    if (!spacing->is_light)
        return spacing->sent_us + least_us;
    return spacing->published_us + lesser(least_us, SPACING_ALONE_MAX_US);
}

/* For how many times the cost the workers rest when so many nodes have changed. */
static int64_t factor(size_t node_n)
{
    enum { MORE_MAX = (SPACING_STORM_FACTOR - SPACING_FACTOR) / SPACING_FACTOR_A_NODE };
    size_t more = node_n > 1 ? node_n - 1 : 0;
    return SPACING_FACTOR + (int64_t)(more < MORE_MAX ? more : MORE_MAX) * SPACING_FACTOR_A_NODE;
}

int64_t spacing_send_us(const struct spacing *spacing, int64_t cost_us)
{
    if (!spacing->is_unsent)
        return INT64_MAX;
    int64_t least_us = least_rest_us(cost_us);
    int64_t earliest_us = spacing->sent_us + least_us;
    int64_t paused_us = spacing->published_us + least_us; /* nothing has come for as long */
    if (!spacing->is_light || paused_us < earliest_us)
        return earliest_us;
    return lesser(spacing->sent_us + lesser(cost_us * factor(spacing->node_n), SPACING_MAX_US), paused_us);
}

void spacing_published(struct spacing *spacing, size_t node_n, bool is_light, int64_t now_us)
{
    spacing->is_light = is_light;
    spacing->published_us = now_us;
    spacing->node_n += node_n;
    spacing->is_unsent = true;
}

void spacing_sent(struct spacing *spacing, int64_t now_us)
{
    spacing->sent_us = now_us;
    spacing->node_n = 0;
    spacing->is_unsent = false;
}
