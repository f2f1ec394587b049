/* A client of the simulation: knows nothing but the bytes that it was sent, and does with them what the official client
 * does. src: docs/protocol/control.md 6.6-6.8
 *
 * Bytes that many clients are sent are read once: the same buffer, the same meaning. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "netmap/netmap.h"
#include "sim/look.h"

struct client_peer {
    uint32_t id;
    look_id look;
};

/* What a client has. */
struct client {
    node_id id;
    node_key key; /* that it polls with */
    enum netmap_coding coding;
    struct client_peer *peers; /* heap; ascending */
    size_t peer_n, peer_cap;
    look_id self;
    text_id derp_map, dns, ssh, domain;
    text_id profiles;     /* opaque: client_profile */
    struct rcbuf *filter; /* JSON; null: it never got one */
};

/* Counts of all clients. */
struct client_counts {
    uint64_t messages, full_maps, read_once, read_again, idle_patches, idle_removals, peer_ops;
};
extern struct client_counts client_counts;

/* Forgets everything but its identity. */
void client_clear(struct client *c);
/* What came over the stream. Empties `p`. */
void client_take(struct client *c, struct netmap_pieces *p);
/* The look of a peer; 0: it has no such peer. */
look_id client_peer(const struct client *c, node_id id);
/* The profile of a user as it stands on the wire, in JSON; 0: it knows no such user. */
text_id client_profile(const struct client *c, uint64_t user);
/* After a change: forgets buffers to which there is no other reference. */
void client_sweep(void);
/* Frees what all clients share. */
void client_fini(void);

#endif
