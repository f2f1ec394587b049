/* Packets from one worker to another. They are copied into a batch, which is posted at the end of the sender's
 * iteration (or when it is full) and returned when the receiver has read it. Batches are reused: no allocation per
 * packet.
 *
 * The receiver handles a batch with the function that the relay was given for it (`on_batch`), by pipe_batch_next. */
#ifndef RELAY_WORKER_PIPE_INTERNAL_H
#define RELAY_WORKER_PIPE_INTERNAL_H

#include <stdatomic.h>

#include "base/list.h"
#include "net/loop.h"
#include "relay/packet_internal.h"

enum {
    PIPE_BATCH_BYTES = 160 * 1024,
    /* The limit of bytes on their way to one worker. It is high, since a worker may get no CPU for a while. */
    PIPE_IN_FLIGHT_MAX_BYTES = 16 * PIPE_BATCH_BYTES,
    PIPE_FREE_MAX_BYTES = 4 * PIPE_BATCH_BYTES,
};

struct pipe_batch {
    struct loop_msg msg;
    struct relay_worker *from;
    struct relay_worker *to;
    struct pipe_batch *next; /* among those returned, or the free ones */
    struct list link;        /* of from->pipes.batches */
    size_t len;
    size_t cap;
    uint8_t *data; /* owned: records */
};

/* To one other worker; touched by the sender only, except `in_flight`. */
struct worker_pipe {
    struct pipe_batch *open; /* being filled; null: none */
    atomic_size_t in_flight; /* bytes posted and not returned */
};

/* All pipes that begin at one worker, and its batches. */
struct worker_pipes {
    struct worker_pipe *to; /* owned; one for each worker */
    struct list batches;    /* all that were allocated: struct pipe_batch.link */
    struct pipe_batch *free;
    size_t free_bytes;
    _Atomic(struct pipe_batch *) returned; /* pushed by the receivers */
};

void worker_pipes_init(struct relay_worker *w);
/* Frees all batches; none is under way any more. */
void worker_pipes_fini(struct relay_worker *w);
/* Copies the packet, for the connection or link `id` of worker `to`. The destination's key travels only to a link,
 * which needs it. False: too much is under way to that worker. */
bool worker_pipe_append(struct relay_worker *w, unsigned to, uint64_t id, const struct packet *p);
/* Posts what was appended to the pipes of this worker. */
void worker_pipes_post(struct relay_worker *w);

/* Reads the next packet of a batch, from `*at`, which is 0 at first. `out->dst` is null when `*id_out` is no link's.
 * What `out` points to is valid until the batch is returned. False: there is no other. */
bool pipe_batch_next(const struct pipe_batch *b, size_t *at, uint64_t *id_out, struct packet *out);

#endif
