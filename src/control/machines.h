/* Which machine keys belong to nodes: a connection with one of them is known from its handshake on. Any thread; one
 * lock, taken once for each connection and once for each change. */
#ifndef CONTROL_MACHINES_H
#define CONTROL_MACHINES_H

#include <pthread.h>

#include "base/map.h"
#include "state/model.h"

struct machines {
    pthread_mutex_t lock;
    struct map by_key; /* locked */
};

/* With the nodes of `first`. `seed`: 16 secret bytes. */
void machines_init(struct machines *m, const uint8_t seed[16], const struct snapshot *first);
void machines_fini(struct machines *m);
/* In the order of the changes. */
void machines_apply(struct machines *m, const struct change *c);
bool machines_has(struct machines *m, const machine_key *key);

#endif
