/* Which node keys may use the relay inside: those of the nodes of all tailnets. */
#ifndef CONTROL_ADMISSION_H
#define CONTROL_ADMISSION_H

#include "control/core.h"

/* Asks whether a node of any tailnet has this key and may use the relay. One that may is admitted without waiting for
 * the disk; that none may is said when it is on disk. Calls `answer` once, on the core's thread or on `home`. Any
 * thread. */
void control_ask_admission(struct core *core, struct loop *home, const node_key *key,
                           void (*answer)(void *ctx, bool is_allowed), void *ctx);

#endif
