/* The mesh, outgoing: which links there are (mesh.c), and the names of neighbours (mesh_resolver.c). */
#ifndef RELAY_MESH_INTERNAL_H
#define RELAY_MESH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "net/stream.h"
#include "relay/mesh.h"
#include "relay/message_internal.h"

/* The ids of links and of connections share the worker pipes. */
static inline bool is_mesh_link_id(uint64_t id)
{
    return id >> 63 != 0;
}

struct mesh_resolver;

struct mesh {
    pthread_mutex_t lock;
    struct list entries;            /* locked: struct mesh_entry */
    uint64_t next_id;               /* locked */
    struct mesh_resolver *resolver; /* owned */
    atomic_uint link_n;             /* links that are up */
    /* For tests: makes the stream instead of dialling. Null refuses. */
    struct stream *(*test_dial)(void *ctx, struct loop *loop, const struct relay_neighbour *to);
    void *test_dial_ctx;
};

/* --- neighbour.c --- */

/* Copies the texts too; an absent one becomes "". */
void mesh_neighbour_copy(struct relay_neighbour *to, const struct relay_neighbour *from);
/* Frees the texts of a copy. */
void mesh_neighbour_fini(struct relay_neighbour *n);
/* Whether both are the same neighbour, reached in the same way. */
bool mesh_neighbour_equal(const struct relay_neighbour *a, const struct relay_neighbour *b);

enum { MESH_NAME_MAX_BYTES = 253 }; /* of a DNS name */

/* --- mesh_http.c --- */

/* Reads the answer to the request for an upgrade. 1: it is granted, `*used_out` bytes are the answer, DERP follows;
 * 0: more must come; negative enum rc: RC_TOO_LARGE, RC_INVALID, RC_UNSUPPORTED (another status than 101). Pure. */
int mesh_http_answer(const uint8_t *p, size_t n, size_t *used_out);

/* --- mesh_resolver.c --- */

/* Has no thread before the first question. */
struct mesh_resolver *mesh_resolver_create(void);
/* Does not wait for a name that is being looked up: the thread frees the resolver. No message is posted afterwards. */
void mesh_resolver_close(struct mesh_resolver **r);
/* Looks a name up on a thread of its own; a MSG_LINK_RESOLVED follows. When a link asks again while its
 * question waits, nothing happens. Any thread; does not block. */
void mesh_resolver_ask(struct mesh_resolver *r, const char *name, struct relay_worker *to, uint64_t link_id);

/* --- mesh.c --- */

/* There are no links yet. */
void mesh_init(struct mesh *mesh);
/* The loops have stopped, and the links are closed by worker_fini. */
void mesh_fini(struct mesh *mesh);
/* What the links' timers do, for relay_test_advance. On the worker's loop, as the following. */
void mesh_tick(struct relay_worker *w);
/* Ends the links of a worker. */
void mesh_close_links(struct relay_worker *w);
/* Message handlers. */
void mesh_on_link_start(struct relay_worker *w, struct message *m);
void mesh_on_link_stop(struct relay_worker *w, struct message *m);
void mesh_on_link_resolved(struct relay_worker *w, struct message *m);

#endif
