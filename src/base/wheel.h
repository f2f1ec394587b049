/* A timer wheel: many deadlines, most of which are put off before they come, at one list operation each. Time is
 * counted in whole ticks (seconds, for connections) that the owner's own timer hands in: no clock here. What waits is a
 * `struct list` inside the caller's object, at most once in the wheel; list_remove() takes it off. Not thread-safe.
 *
 *     struct list due;
 *     wheel_advance(&w->wheel, now_s, &due);
 *     while (!list_is_empty(&due)) {
 *         struct client *c = LIST_ENTRY(due.next, struct client, in_wheel);
 *         list_remove(&c->in_wheel);
 *         ...                                look at its deadlines; wheel_put() it for the next one, or free it
 *     } */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdint.h>

#include "base/list.h"

enum { WHEEL_SLOTS = 128 };

struct wheel {
    struct list slots[WHEEL_SLOTS]; /* by tick modulo WHEEL_SLOTS */
    int64_t now;                    /* the last tick that was served */
};

/* An empty wheel. Ticks up to `now` count as served. */
void wheel_init(struct wheel *w, int64_t now);

/* Puts `link` (initialised; may be in the wheel, or in a list of what is due) where it becomes due at tick `due`. A
 * tick that was served already becomes the next one; one that is WHEEL_SLOTS or more ticks away becomes due earlier,
 * and its owner puts it off again. */
void wheel_put(struct wheel *w, struct list *link, int64_t due);

/* Goes on to tick `now` and moves all that is due until then to `due_out`, earlier ticks first, which is initialised
 * here. After a pause longer than the wheel each slot is served once. Going back does nothing. */
void wheel_advance(struct wheel *w, int64_t now, struct list *due_out);

#endif
