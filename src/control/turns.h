/* Whose turn it is to get a full map. When everybody comes back at once, all full maps together are much more than memory
 * should hold and the network can carry: so many are on their way at a time, first come, first served, and each begins when
 * another has gone out. Two lanes take turns, so that newcomers need not wait for all who come back.
 *
 * A reader that is slow gives its place away after TURN_MS and goes on at its own pace: it holds nobody up. A full map that
 * fits into the queue of a connection takes no place at all.
 *
 * Pure; one thread. */
#ifndef CONTROL_TURNS_H
#define CONTROL_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum {
    TURNS_AT_ONCE = 64, /* of a worker: some 10 MB of output */
    TURN_MS = 200,      /* with TURNS_AT_ONCE: 320 a second begin even when all readers are slow */
};

enum turns_lane { TURNS_NEWCOMERS, TURNS_RETURNING, TURNS_LANES };

/* Embedded in whoever waits. */
struct turn {
    struct list entry;
    int64_t began_ms;
    bool is_running;
};

struct turns {
    struct list waiting[TURNS_LANES];
    unsigned next_lane;
    struct list running; /* the earliest first */
    unsigned running_n;
};

void turns_init(struct turns *t);
void turn_init(struct turn *turn);
/* Gets in line, unless it is already. */
void turns_ask(struct turns *t, struct turn *turn, enum turns_lane lane);
/* The next to begin, which takes a place; null when none waits or all places are taken. */
struct turn *turns_next(struct turns *t, int64_t now_ms);
/* Out of line, or off its place; harmless when it is neither. */
void turns_leave(struct turns *t, struct turn *turn);
/* Takes the places of those who have had theirs for TURN_MS. */
void turns_expire(struct turns *t, int64_t now_ms);
/* Some are in line. */
bool turns_wait(const struct turns *t);
/* Some are in line and there is a place: turns_next would give one. */
bool turns_can_begin(const struct turns *t);

#endif
