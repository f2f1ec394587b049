/* The queue for full maps of one worker.
 *
 * When all clients come back at once, their full maps together are far more than memory should hold and the network
 * can carry. So only MAP_QUEUE_AT_ONCE are sent at a time; the next begins when one has gone out. There are two
 * lines, first come, first served, and they alternate, so that newcomers do not wait behind all clients that return.
 *
 * A slow reader counts as sending for MAP_QUEUE_HOLD_MS at most; then it goes on at its own pace and the next one
 * begins.
 *
 * Pure: the clock is the caller's. One thread. */
#ifndef CONTROL_MAP_QUEUE_H
#define CONTROL_MAP_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum {
    MAP_QUEUE_AT_ONCE = 64,  /* full maps of a worker that are being sent: some 10 MB of output */
    MAP_QUEUE_HOLD_MS = 200, /* with MAP_QUEUE_AT_ONCE: 320 a second begin even when all readers are slow */
};

enum map_queue_line { MAP_QUEUE_NEWCOMERS, MAP_QUEUE_RETURNING, MAP_QUEUE_LINES };

/* Embedded in each object that waits for a full map. */
struct map_waiter {
    struct list link;
    int64_t began_ms; /* when it began to send */
    bool is_sending;
};

struct map_queue {
    struct list waiting[MAP_QUEUE_LINES];
    unsigned next_line;
    struct list sending; /* the earliest first */
    unsigned sending_n;
};

/* Makes a queue whose lines are both empty. */
void map_queue_init(struct map_queue *queue);
/* Makes a waiter that is in no line. */
void map_waiter_init(struct map_waiter *waiter);
/* Puts it at the end of `line`, unless it waits already. One that is sending stops counting as that. */
void map_queue_join(struct map_queue *queue, struct map_waiter *waiter, enum map_queue_line line);
/* The next that may begin, which counts as sending from `now_ms` on; null when none waits or too many are sending. */
struct map_waiter *map_queue_next(struct map_queue *queue, int64_t now_ms);
/* The waiter neither waits nor counts as sending any more. Harmless when that is so already. */
void map_queue_leave(struct map_queue *queue, struct map_waiter *waiter);
/* Those that have been sending for MAP_QUEUE_HOLD_MS do not count any more. */
void map_queue_expire(struct map_queue *queue, int64_t now_ms);
/* Whether any wait. */
bool map_queue_has_waiters(const struct map_queue *queue);
/* Whether map_queue_next would give one. */
bool map_queue_can_begin(const struct map_queue *queue);

#endif
