/* Inside the simulated tailnet: what its files share. */
#ifndef SIM_WORLD_INTERNAL_H
#define SIM_WORLD_INTERNAL_H

#include "sim/sim.h"

/* --- world.c --- */

/* Fills `out`. */
void sim_random_bytes(struct sim *s, void *out, size_t n);
/* Marks a node that has changed. */
void sim_mark_hot(struct sim *s, node_id id);
void sim_commit_one(struct sim *s);
void sim_seal(struct sim *s);
void sim_commit_all(struct sim *s);
void sim_poll_end(struct sim *s, struct machine *m);
void sim_try_attach(struct sim *s, struct machine *m);
void sim_publish(struct sim *s);

/* --- events.c --- */

/* `is_rekeyed`: with a new node key. */
void sim_join(struct sim *s, struct machine *m, bool is_rekeyed, int64_t expiry_ms);
void sim_poll_begin(struct sim *s, struct machine *m);
void sim_approve(struct sim *s, struct machine *m);
void sim_make_key(struct sim *s, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP]);
void sim_make_user(struct sim *s, unsigned slot);
struct tailnet_settings *sim_make_settings(struct sim *s);

#endif
