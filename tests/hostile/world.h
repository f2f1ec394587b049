/* A small tailnet for programs that feed it hostile input: users, keys, nodes, and the maps that nodes get. */
#ifndef TESTS_HOSTILE_WORLD_H
#define TESTS_HOSTILE_WORLD_H

#include "netmap/netmap.h"
#include "proto/tailcfg.h"
#include "state/state.h"

enum { WORLD_NODES = 16 };
static const int64_t WORLD_NOW_MS = 1700000000000;

/* Aborts with `what` unless it is so. */
void world_check(bool is_so, const char *what);
#define CHECK(condition) world_check((condition), #condition)
/* A new empty state with settings. */
struct state *world_state(void);
/* The node key and the machine key of node `i`. */
void world_key(unsigned i, node_key *out);
void world_machine(unsigned i, machine_key *out);
/* The report of a client with this version and Hostinfo; texts are borrowed from `h`. End it with world_report_fini. */
void world_report(struct node_report *out, int64_t version, const struct hostinfo *h);
void world_report_fini(struct node_report *r);
/* Registers node `i` with the key; null when it is refused. */
const struct node *world_join(struct state *st, unsigned i, const char *auth_key);
/* Creates users 1 and 2 with a reusable auth key each, and a key with a tag; `keys` gets their texts. */
void world_people(struct state *st, char keys[3][AUTH_KEY_TEXT_CAP]);
/* Appends the plain text of the messages, one line for each. */
void world_lines(const struct netmap_pieces *p, bool is_one, struct buf *out);
/* Appends the node's full map as one line. */
void world_map(struct netmap_ctx *ctx, const struct state *st, node_id id, struct buf *out);

#endif
