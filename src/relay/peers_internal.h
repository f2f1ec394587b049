/* The keys that a worker knows: its replica of the directory, and which clients have had packets from which key, so
 * that they get a PeerGone when it leaves (peer_gone.c). On the worker's loop. */
#ifndef RELAY_PEERS_INTERNAL_H
#define RELAY_PEERS_INTERNAL_H

#include "base/list.h"
#include "relay/message_internal.h"

struct client;

/* What one worker knows of a key. Freed when the route is empty and both lists are. */
struct peer {
    node_key key;
    struct route route;
    struct client *local;  /* the active connection, when it is of this worker and open */
    struct list clients;   /* struct client.of_peer: all of this worker, logins included */
    struct list receivers; /* struct peer_gone_link.of_source */
};

/* Null: the worker does not know the key. */
struct peer *peers_get(struct relay_worker *w, const node_key *key);
struct peer *peers_get_or_create(struct relay_worker *w, const node_key *key);
/* To be called when a part of the peer was emptied: may free it. */
void peers_tidy(struct relay_worker *w, struct peer *peer);
/* Frees all. */
void peers_fini(struct relay_worker *w);

/* --- peer_gone.c --- */

/* "`client` has had a packet from `source`." */
struct peer_gone_link {
    uint64_t id[2]; /* key of the map: address of the source, id of the client */
    struct peer *source;
    struct client *client;
    struct list of_source;
    struct list of_client; /* oldest first */
};

/* A packet from `source` is delivered to `c`. */
void peer_gone_remember(struct relay_worker *w, struct peer *source, struct client *c);
/* The source has left: every client that had a packet from it gets a PeerGone. */
void peer_gone_announce(struct relay_worker *w, struct peer *source);
/* The client has closed. */
void peer_gone_forget_client(struct relay_worker *w, struct client *c);

#endif
