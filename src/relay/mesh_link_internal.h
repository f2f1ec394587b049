/* A link to a neighbour, for mesh.c, mesh_link.c and their tests. */
#ifndef RELAY_MESH_LINK_INTERNAL_H
#define RELAY_MESH_LINK_INTERNAL_H

#include "relay/relay_internal.h"

enum {
    MESH_ADDRS_MAX = 8,
    MESH_RETRY_MS = 5 * 1000,
    MESH_LOGIN_MS = 10 * 1000,   /* from the name to ServerInfo */
    MESH_WRITE_MS = 5 * 1000,    /* in which some of what waits has to go */
    MESH_PING_MS = 30 * 1000,    /* since what was last heard */
    MESH_SILENCE_MS = 90 * 1000, /* then the neighbour is taken for dead */
    MESH_FRAME_MAX_BYTES = 1024 * 1024,
    MESH_INFO_MAX_BYTES = 64 * 1024,
    MESH_KEY_FRAME_MAX_BYTES = 1024,
};

enum mesh_link_phase {
    MESH_WAITING,   /* for `due_ms`: then it dials */
    MESH_RESOLVING, /* the name is looked up */
    MESH_UPGRADING, /* connects, shakes hands, and reads the answer of HTTP */
    MESH_GREETING,  /* ServerKey is due */
    MESH_LOGIN,     /* ServerInfo is due */
    MESH_UP,
    MESH_SELF, /* the neighbour is this relay */
};

enum { MESH_QUEUE_CONTROL, MESH_QUEUE_DISCO, MESH_QUEUE_DATA, MESH_QUEUE_N };

struct mesh_link {
    struct list entry; /* of worker->mesh_links */
    struct relay_worker *worker;
    uint64_t id;               /* with the highest bit set */
    struct relay_neighbour at; /* owned */
    enum mesh_link_phase phase;
    struct stream *stream; /* owned; null in WAITING, RESOLVING and SELF */
    struct loop_timer *timer;
    struct loop_task task; /* writes what the turn gathered */
    struct addr addrs[MESH_ADDRS_MAX];
    unsigned addr_n, addr_i; /* addr_i: the one to dial next */
    uint8_t server_key[KEY_BYTES];
    struct map keys; /* the neighbour's: node key -> struct dir_forwarder */
    struct buf in;   /* an answer or a frame that has not come whole */
    size_t skip;     /* bytes left of a frame that is not read */
    struct buf out[MESH_QUEUE_N];
    bool is_paused; /* the workers have not caught up with what it told */
    int64_t due_ms; /* WAITING: when to dial. Up to LOGIN: when to give up */
    int64_t heard_ms, pinged_ms;
    int64_t write_due_ms; /* 0: nothing waits */
    int64_t written_bytes, progress_bytes;
};

void mesh_neighbour_copy(struct relay_neighbour *to, const struct relay_neighbour *from);
void mesh_neighbour_fini(struct relay_neighbour *n);

#endif
