/* Which node keys may use the relay inside: those of the nodes of all tailnets. */
#ifndef CONTROL_ADMISSION_H
#define CONTROL_ADMISSION_H

#include "control/core.h"

enum admission_answer {
    ADMISSION_DENIED,
    ADMISSION_GRANTED,
    ADMISSION_PUT_OFF, /* it cannot be decided now: the database fails, or too many wait */
};

typedef void admission_fn(void *ctx, enum admission_answer answer);

/* Asks whether a node of any tailnet has this key and may use the relay. One that may is admitted without waiting for
 * the disk; that none may is said when it is on disk. What waits for the disk is charged to `from`, the client's
 * address, as that of any stranger. Calls `answer` once: on the core's thread, on `home`, or at once. Any thread. */
void control_ask_admission(struct core *core, struct loop *home, const node_key *key, const struct addr *from,
                           admission_fn *answer, void *ctx);

#endif
