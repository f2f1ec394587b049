/* A link to a neighbour. On its worker's loop. */
#ifndef RELAY_MESH_LINK_INTERNAL_H
#define RELAY_MESH_LINK_INTERNAL_H

#include "base/map.h"
#include "relay/frame_endpoint.h"
#include "relay/mesh_internal.h"
#include "relay/packet_internal.h"

enum {
    MESH_RETRY_MS = 5 * 1000,
    MESH_LOGIN_MS = 10 * 1000,   /* from the name to ServerInfo */
    MESH_WRITE_MS = 5 * 1000,    /* within which some of what waits has to go */
    MESH_PING_MS = 30 * 1000,    /* since something was last heard */
    MESH_SILENCE_MS = 90 * 1000, /* after which the neighbour is taken for dead */
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

struct mesh_link {
    struct list of_worker; /* of worker->mesh_links */
    struct relay_worker *worker;
    uint64_t id;               /* with the highest bit set */
    struct relay_neighbour at; /* owned */
    enum mesh_link_phase phase;
    struct frame_endpoint endpoint; /* closed in WAITING, RESOLVING and SELF */
    struct loop_timer *timer;
    struct addr addrs[MESH_ADDRS_MAX];
    unsigned addr_n, addr_i; /* addr_i: the one to dial next */
    uint8_t server_key[KEY_BYTES];
    struct map keys;   /* the neighbour's: node key -> struct dir_forwarder */
    struct buf answer; /* the HTTP answer, until it is complete */
    bool is_paused;    /* reading is paused, because the workers have not caught up with what the neighbour sent */
    int64_t due_ms;    /* WAITING: when to dial. Up to LOGIN: when to give up */
    int64_t heard_ms, pinged_ms;
};

/* Copies `at`. The link dials at its first tick. */
struct mesh_link *mesh_link_create(struct relay_worker *w, uint64_t id, const struct relay_neighbour *at);
/* Closes it and nulls the pointer; the memory is freed at the end of the iteration. */
void mesh_link_destroy(struct mesh_link **link);
/* Null: it has ended. */
struct mesh_link *mesh_link_find(struct relay_worker *w, uint64_t id);
/* Queues a packet for a client of the neighbour, or drops it when the link is not up. */
void mesh_link_forward(struct mesh_link *l, const struct packet *p);
/* The addresses of its name; 0: there is no such name. */
void mesh_link_resolved(struct mesh_link *l, const struct addr *addrs, unsigned n);
/* Does what is due. */
void mesh_link_tick(struct mesh_link *l, int64_t now_ms);

#endif
