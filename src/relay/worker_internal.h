/* One worker of the relay: what belongs to one event loop. Everything here is touched on that loop only, except
 * `pipes.returned` and `places`. */
#ifndef RELAY_WORKER_INTERNAL_H
#define RELAY_WORKER_INTERNAL_H

#include "base/budget.h"
#include "base/list.h"
#include "base/map.h"
#include "base/wheel.h"
#include "relay/frame_endpoint.h"
#include "relay/message_internal.h"
#include "relay/stats_internal.h"
#include "relay/worker_pipe_internal.h"

struct relay_worker {
    struct relay *relay;
    struct loop *loop; /* borrowed */
    unsigned index;
    uint64_t next_id;
    struct map peers;             /* node key -> struct peer */
    struct map clients;           /* connection id -> struct client */
    struct map gone_links;        /* struct peer_gone_link.id -> struct peer_gone_link */
    struct frame_hub frames;      /* its task runs at the end of each iteration in which something happened */
    struct budget_places *places; /* of connections that have not logged in, and of clients that the program knows */
    struct list logins;           /* struct client.in_logins, oldest first */
    size_t held_bytes;            /* of all clients that wait for admission: struct client.held */
    struct list watchers;         /* struct client.in_watchers */
    struct list mesh_links;       /* struct mesh_link.of_worker */
    struct relay_stats stats;
    struct worker_pipes pipes;

    struct list held_back;         /* struct client.in_held_back: they are not read for now */
    struct loop_timer *rate_timer; /* runs while there are such */

    struct loop_timer *timer; /* runs while there are clients */
    struct wheel wheel;       /* of clients, in seconds */
    int64_t test_skew_ms;
};

/* The loop's clock, which relay_test_advance can move. */
static inline int64_t worker_now_ms(const struct relay_worker *w)
{
    return loop_now_ms(w->loop) + w->test_skew_ms;
}

/* Something happened: what was gathered is sent and counted at the end of the iteration. */
static inline void worker_touch(struct relay_worker *w)
{
    loop_defer(w->loop, &w->frames.task);
}

/* --- worker.c --- */

/* `index`: among relay->workers. */
void worker_init(struct relay_worker *w, struct relay *relay, struct loop *loop, unsigned index);
/* Closes all connections and links. The loops have stopped. */
void worker_fini(struct relay_worker *w);
/* Handles what has fallen due. */
void worker_tick(struct relay_worker *w);
/* What a worker does with each kind of message. */
extern message_handler *const worker_message_handlers[MSG_KIND_N];

#endif
