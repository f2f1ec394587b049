/* Inside the simulated tailnet: what its files share. */
#ifndef SIM_WORLD_INTERNAL_H
#define SIM_WORLD_INTERNAL_H

#include "sim/sim.h"

/* --- world.c --- */

/* Fills `out`. */
void sim_random_bytes(struct sim *s, void *out, size_t n);
/* Marks a node that has changed. */
void sim_mark_hot(struct sim *s, node_id id);
/* The oldest batch that is in flight reaches the disk. */
void sim_commit_one(struct sim *s);
/* Takes what has changed as a batch that is in flight. */
void sim_seal(struct sim *s);
/* Everything that has changed reaches the disk. */
void sim_commit_all(struct sim *s);
/* Ends the poll of the machine, if it has one. */
void sim_poll_end(struct sim *s, struct machine *m);
/* Sends the full map if the snapshot has the node with the key that it polls with. */
void sim_try_attach(struct sim *s, struct machine *m);
/* Publishes what is committed, and sends each client its messages. */
void sim_publish(struct sim *s);

/* --- events.c --- */

/* `is_rekeyed`: with a new node key. */
void sim_join(struct sim *s, struct machine *m, bool is_rekeyed, int64_t expiry_ms);
/* Begins a poll, in place of one that is under way, with a report of everything. */
void sim_poll_begin(struct sim *s, struct machine *m);
/* Approves most of the routes that the node advertises. */
void sim_approve(struct sim *s, struct machine *m);
/* Creates a reusable auth key; `tag` may be null. */
void sim_make_key(struct sim *s, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP]);
/* Creates the user of the slot, unless its name is taken. */
void sim_make_user(struct sim *s, unsigned slot);
/* New settings, other ones at each call. */
struct tailnet_settings *sim_make_settings(struct sim *s);

#endif
