/* Sessions by where their nodes sit in the policy (struct viewer_key): those of one group are told the same of others, so
 * a change that is nothing to them is passed over once for the group. Intrusive; one thread. */
#ifndef CONTROL_SEATS_H
#define CONTROL_SEATS_H

#include "base/list.h"
#include "base/map.h"
#include "policy/policy.h"

struct seat_group {
    struct viewer_key seat; /* its key; no padding */
    struct list entry;      /* in seats->groups */
    struct list members;    /* struct seated */
    bool is_touched;        /* for the caller */
};

struct seats {
    struct map by_seat;
    struct list groups;
};

/* Embedded in whoever sits. */
struct seated {
    struct list entry;
    struct seat_group *group; /* null: in none */
};

void seats_init(struct seats *s, const uint8_t seed[16]);
/* All have left. */
void seats_fini(struct seats *s);
void seated_init(struct seated *who);
/* Sits down there, from wherever it sat. */
void seats_put(struct seats *s, struct seated *who, struct viewer_key seat);
/* Its group stays, even when nobody is left, until seats_sweep. */
void seats_leave(struct seated *who);
/* Null: nobody ever sat there. */
struct seat_group *seats_find(const struct seats *s, struct viewer_key seat);
/* Drops groups that are empty. */
void seats_sweep(struct seats *s);

#endif
