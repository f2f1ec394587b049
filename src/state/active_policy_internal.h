/* The active policy and what follows from it; only for this folder. */
#ifndef STATE_ACTIVE_POLICY_INTERNAL_H
#define STATE_ACTIVE_POLICY_INTERNAL_H

#include "state/state.h"

/* --- policy_facts.c --- */
/* Puts a node into a policy, or replaces its former version there. */
void state_policy_put_facts(struct engine *p, const struct node *n);
/* Whether no policy can tell these two versions of a node apart. */
bool state_policy_same_facts(const struct node *a, const struct node *b);

/* --- active_policy.c --- */
/* The active policy gets a node that is new (`before` null) or changed. */
void state_policy_put_node(struct state *st, const struct node *before, const struct node *after);
/* The node leaves the active policy. */
void state_policy_forget_node(struct state *st, node_id id);
/* An IPv4 address for a node that is about to be added, from the pools that the policy's nodeAttrs give it.
 * RC_NOT_FOUND: they give it none. RC_LIMIT: the pools are full. */
MUST_CHECK enum rc state_policy_pool_address(struct state *st, const struct node *n, struct addr *out);
/* Users came, went or changed: the policy is made anew before it is asked the next time. */
void state_policy_users_changed(struct state *st);
/* The access tables of the snapshot are not those that the policy would give now. */
bool state_policy_is_dirty(const struct state *st);
/* Makes the document the active policy (a reference is taken over); null: there is none. */
void state_policy_install(struct state *st, struct policy_doc *doc);
/* Frees the active policy. */
void state_policy_fini(struct state *st);

/* --- policy_access.c --- */
/* The access tables for c->after. `look`, a bit for each node id: comes with the items of the change, returns with all
 * nodes whose access was made anew as well. The caller owns the reference. */
struct access *state_build_access(struct state *st, const struct change *c, uint64_t *look);

/* --- policy_scope.c --- */
/* Gives c->after its access tables, and makes items of the nodes that the policy shows differently from before. */
void state_scope_change(struct state *st, struct change *c);

/* --- policy_texts.c --- */
/* A batch is on disk: if it holds the next policy, that becomes the active one. */
void state_policy_texts_committed(struct state *st);
/* Frees the stored versions. */
void state_policy_texts_fini(struct state *st);

#endif
