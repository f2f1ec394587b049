/* For the tests of map sessions: nodes without clients, which change all at once. */
#ifndef CONTROL_TESTING_CROWD_H
#define CONTROL_TESTING_CROWD_H

#include "control/testing.h"

struct crowd {
    const char *auth_key;
    machine_key machine;
    node_key keys[256]; /* the first of them in `n` */
    size_t n;
    uint16_t round; /* the port of all endpoints */
};

/* A crowd of `n` nodes, which have not joined yet. */
void crowd_init(struct crowd *crowd, size_t n);
/* Calls for control_rig_on_core, whose `ctx` is a crowd: its nodes join, say that they have moved, are deleted. */
void crowd_join(struct state *st, int64_t now_ms, void *ctx);
void crowd_move(struct state *st, int64_t now_ms, void *ctx);
void crowd_leave(struct state *st, int64_t now_ms, void *ctx);
/* They have moved; returns when every worker has sent what nodes were not sent before. */
void crowd_move_and_send(struct crowd *crowd);
/* The same, but returns when every worker has the snapshot. */
void crowd_move_and_publish(struct crowd *crowd);

#endif
