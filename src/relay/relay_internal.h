/* The relay, and the order of its files. From the bottom up; each file calls only those before it:
 *
 *   stats.c          counters
 *   frame_pool.c     buffers for frames
 *   frame_reader.c   bytes in, frames out
 *   frame_endpoint.c a stream, the reader of its frames, and the queues of frames that wait
 *   neighbour.c      a neighbour of the mesh as text
 *   mesh_http.c      a neighbour's answer to the request for DERP
 *   message.c        messages from worker to worker
 *   directory.c      which connections each key has, over all workers (the only lock that clients take)
 *   worker_pipe.c    packets from worker to worker
 *   peers.c          the directory as one worker knows it
 *   client_timers.c  when clients are due
 *   client_queue.c   frames to a client
 *   peer_gone.c      which clients get a PeerGone when a sender leaves
 *   rate.c           how much a client may send
 *   places.c         how many connections there may be
 *   mesh_resolver.c  names of neighbours to addresses
 *   mesh_link.c      one link to a neighbour
 *   packet.c         where a packet goes
 *   client.c         a client's life
 *   client_frames.c  what each frame of a client does
 *   watch.c          neighbours that watch which clients come and go
 *   mesh.c           which links there are
 *   worker.c         one per event loop: messages, timers
 *   relay.c          life, limits, new connections
 *
 * metacert.c, health.c and relay_http.c stand beside the relay and use what relay.h offers.
 *
 * A packet: client_frames.c reads a frame where the stream has it; packet.c finds the destination's route in
 * peers.c; the packet is copied once, into the queue of a client of this worker (client_queue.c), into a batch for
 * another worker (worker_pipe.c), or into the queue of a link (mesh_link.c); frame_endpoint.c writes it at the end
 * of the iteration. */
#ifndef RELAY_RELAY_INTERNAL_H
#define RELAY_RELAY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "relay/directory_internal.h"
#include "relay/mesh_internal.h"
#include "relay/message_internal.h"
#include "relay/relay.h"
#include "relay/worker_internal.h"

struct relay {
    private_key key;
    uint8_t public_key[KEY_BYTES];
    struct relay_opts opts; /* without the key; defaults filled in */
    struct relay_ops ops;
    struct relay_worker *workers; /* owned */
    unsigned worker_n;
    struct directory directory;
    struct messages messages;
    void (*on_batch)(struct relay_worker *w, const struct pipe_batch *batch); /* packets from another worker */
    struct mesh mesh;
    struct budget_places *guests; /* places of clients that are let in though the program does not know them */
    atomic_uint conn_n;           /* open, logins included */
    atomic_uint member_n;         /* that are let in, so that they no longer hold a stranger's place */
    atomic_uint client_n;         /* logged in */
    atomic_bool is_draining;
    bool is_ending; /* relay_destroy: no message is sent any more */
};

/* For tests: lets the clock of all workers jump, and handles what falls due. The loops must not be running. */
void relay_test_advance(struct relay *relay, int64_t ms);

#endif
