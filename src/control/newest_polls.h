/* Which streaming poll of each node is the newest: when a node begins another, the one before is ended, and pings to a
 * router go to its newest. Core's thread only. */
#ifndef CONTROL_NEWEST_POLLS_H
#define CONTROL_NEWEST_POLLS_H

#include "state/model.h"

struct control_worker;

struct newest_poll {
    struct control_worker *worker; /* null: none */
    uint64_t session;              /* its number there */
};

/* A zero-initialised one is empty. */
struct newest_polls {
    struct newest_poll *by_node; /* by node id */
    size_t cap;
};

/* Frees it. */
void newest_polls_fini(struct newest_polls *polls);
/* This is the node's newest poll now; the one before gets a message that ends it. */
void newest_polls_put(struct newest_polls *polls, node_id id, struct newest_poll poll);
/* Null: it has had none. It may have ended since. Borrowed until the next put. */
const struct newest_poll *newest_polls_get(const struct newest_polls *polls, node_id id);

#endif
