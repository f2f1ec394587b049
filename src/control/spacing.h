/* When a snapshot may be published, and when nodes are sent what has changed.
 *
 * Sending costs: each change is sent to all who see it. So it is spaced by what it cost the last time, not by a fixed
 * delay. After a quiet time a change is sent at once. While changes keep coming, the next are sent when the workers
 * have rested SPACING_FACTOR times as long as sending took; and the more nodes have changed meanwhile, the longer: up
 * to SPACING_STORM_FACTOR times, but SPACING_MAX_US at most, as people wait, or until nothing more comes. So sending
 * takes a seventh of the workers' time at most, and a sixtieth in a storm, however long clients make it last.
 *
 * Nodes that have just registered wait for a snapshot. A light one is published before nodes are sent it,
 * SPACING_ALONE_MAX_US after the last one at the latest; all since the last sending stay in memory, some twenty at
 * most. Others are published only when nodes can be sent them as well.
 *
 * Pure: the clock, monotonic, is the caller's. Zero-initialised is valid. One thread. */
#ifndef CONTROL_SPACING_H
#define CONTROL_SPACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SPACING_FACTOR = 6,
    SPACING_FACTOR_A_NODE = 2, /* for each node more that has changed since */
    SPACING_STORM_FACTOR = 60,
    SPACING_MAX_US = 1000 * 1000,
    SPACING_ALONE_MAX_US = 50 * 1000, /* between publications */
};

struct spacing {
    int64_t published_us; /* the last time */
    int64_t sent_us;
    size_t node_n;  /* that have changed since then */
    bool is_unsent; /* something was published since then */
    bool is_light;  /* what was published last */
};

/* From when on the next snapshot may be published; `cost_us`: what sending took one worker the last time. */
int64_t spacing_publish_us(const struct spacing *spacing, int64_t cost_us);
/* From when on nodes are sent what was published since the last time. INT64_MAX: nothing was. */
int64_t spacing_send_us(const struct spacing *spacing, int64_t cost_us);
/* A snapshot was published, in which so many nodes have changed. `is_light`: it shares nearly all memory with the one
 * before. */
void spacing_published(struct spacing *spacing, size_t node_n, bool is_light, int64_t now_us);
/* Nodes were sent all that was published. */
void spacing_sent(struct spacing *spacing, int64_t now_us);

#endif
