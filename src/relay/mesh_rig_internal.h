/* Several relays in one process, on one or several loops of one thread, that reach each other over in-memory streams
 * and real HTTP: for the tests of the mesh. Relay number i is the neighbour "r<i>". */
#ifndef RELAY_MESH_RIG_INTERNAL_H
#define RELAY_MESH_RIG_INTERNAL_H

#include "relay/mesh_link_internal.h"
#include "relay/relay_http.h"
#include "relay/rig_internal.h"

enum { MESH_RIG_MAX = 3 };

/* The key of the mesh. */
extern const uint8_t mesh_rig_key[32];

struct mesh_rig {
    unsigned loop_n, relay_n;
    struct loop *loops[MESH_RIG_MAX];
    struct relay *relays[MESH_RIG_MAX];
    struct relay_http apps[MESH_RIG_MAX];
    struct http_server *https[MESH_RIG_MAX][MESH_RIG_MAX]; /* of relay, of loop */
    bool is_cut[MESH_RIG_MAX];                             /* connections to it fail */
};

/* Relays that do not know each other yet, each on all loops. */
void mesh_rig_start(struct mesh_rig *m, unsigned relay_n, unsigned loop_n);

void mesh_rig_stop(struct mesh_rig *m);
/* Runs the loops until everything that was started has come through, between the loops too. */
void mesh_rig_run(struct mesh_rig *m);

/* Relay number `i` as a rig, whose clients come to loop number `k`. */
struct rig mesh_rig_of(struct mesh_rig *m, unsigned i, unsigned k);

/* Gives all relays the same list of neighbours: all of them, themselves included. */
void mesh_rig_link(struct mesh_rig *m);

/* A client of relay `i` on loop `k` connects, logs in and reads the welcome. */
void mesh_rig_join(struct mesh_rig *m, struct rig_client *c, unsigned i, unsigned k, uint8_t number);

/* Connects and logs in with this mesh key. */
void rig_mesh_login(struct rig *r, struct rig_client *c, uint8_t number, const uint8_t mesh_key[32]);

/* Sends a ForwardPacket; expects a PeerPresent. */
void rig_forward(struct rig_client *c, const struct rig_client *src, const struct rig_client *dst, const void *packet,
                 size_t n);
void rig_expect_present(struct rig_client *c, const struct rig_client *who, uint8_t flags);

#endif
