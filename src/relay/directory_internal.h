/* Which connections each key has, over all workers, and which neighbours in the mesh have it. It changes only when a
 * client comes, goes, or takes over from a duplicate, so one lock is enough; packets are routed by the workers'
 * replicas instead. Each change is posted to every worker while the lock is held, so that all see the changes of a
 * key in the same order. */
#ifndef RELAY_DIRECTORY_INTERNAL_H
#define RELAY_DIRECTORY_INTERNAL_H

#include <pthread.h>

#include "base/map.h"
#include "relay/message_internal.h"

struct directory {
    pthread_mutex_t lock;
    struct map keys; /* locked: node key -> struct dir_key */
};

/* A connection in the directory; a neighbour that has a key. */
struct dir_conn;
struct dir_forwarder;

/* All of these may be called on any thread. */
void directory_init(struct directory *d);
void directory_fini(struct directory *d);
/* Enters a connection, which becomes the active one of its key. The client is in when its worker gets the message
 * about it. When the key has too many connections, the one that has been silent longest is evicted. */
struct dir_conn *directory_add(struct relay *relay, const node_key *key, unsigned worker, uint64_t conn_id,
                               const struct presence *presence);
/* A connection that was not the active one of its key has sent a frame, and becomes the active one. */
void directory_speak(struct relay *relay, struct dir_conn *conn);
/* The connection has closed. Frees it and nulls the pointer. */
void directory_remove(struct relay *relay, struct dir_conn **conn);
/* A neighbour has the key; packets for it go by this link while it has no connection here and no older link. */
struct dir_forwarder *directory_forward(struct relay *relay, const node_key *key, unsigned worker, uint64_t link_id);
/* The neighbour no longer has the key. Frees the forwarder and nulls the pointer. */
void directory_unforward(struct relay *relay, struct dir_forwarder **forwarder);
/* Valid as long as the forwarder. */
const node_key *directory_forwarder_key(const struct dir_forwarder *forwarder);
/* Posts the list of all connected keys to a watcher. The changes that its worker gets afterwards complete it. */
void directory_list(struct relay *relay, unsigned worker, uint64_t conn_id);

#endif
