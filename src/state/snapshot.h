/* Snapshots, and the changes that lead from each to the next.
 *
 * A snapshot keeps its nodes in groups of 64 consecutive ids; the next one copies only the groups that changed, so a
 * change costs the same in a tailnet of ten and of ten thousand nodes. Node, group, user table and change have a slot
 * in which netmap keeps their encoded form: encoded once, sent to all who get the same. */
#ifndef STATE_SNAPSHOT_H
#define STATE_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/cache_slot.h"
#include "state/node.h"
#include "state/row_set.h"
#include "state/settings.h"
#include "state/user.h"

enum { GROUP_NODES = 64 };

struct node_group {
    atomic_uint refs;
    /* Bits by id % GROUP_NODES: */
    uint64_t peers;   /* nodes that others may get: all but newcomers */
    uint64_t routers; /* nodes that serve routes */
    struct cache_slot cache;
    const struct node *nodes[GROUP_NODES]; /* by id % GROUP_NODES; null: no such node. References */
};

struct access; /* state/access.h */

/* Members are references. */
struct snapshot {
    atomic_uint refs;
    uint64_t version; /* counts up from 1 */
    int64_t made_ms;  /* Unix time, for ControlTime */
    size_t node_n;
    struct user_table *users;
    struct row_set *kept; /* rows of other entities */
    struct tailnet_settings *settings;
    struct access *access; /* what the policy grants them; never null: without a policy it grants everything to all */
    size_t group_n;
    struct node_group *groups[]; /* by id / GROUP_NODES; null: empty. References */
};

/* One node in a change. `before` null: added; `after` null: removed; both the same: which viewers see it may differ, or
 * the profile of its owner. */
struct change_item {
    node_id id;
    const struct node *before; /* references */
    const struct node *after;
    bool owner_differs; /* it has another owner, or its owner another profile; only under a policy */
};

/* What happened between two snapshots: those that were published one after the other, or by change_join others. */
struct change {
    atomic_uint refs;
    struct snapshot *before; /* references */
    struct snapshot *after;
    bool users_changed;
    bool kept_changed; /* rows of other entities */
    bool settings_changed;
    bool policy_changed; /* another policy, or none: all that it grants may differ, and every node is an item */
    size_t item_n;
    struct change_item *items; /* owned; ascending by id */
    struct cache_slot cache;
};

/* Another reference to the snapshot: the same pointer. */
struct snapshot *snapshot_ref(struct snapshot *s);
/* Drops a reference and nulls the pointer; null is fine. */
void snapshot_unref(struct snapshot **s);
/* Borrowed from the snapshot; null: no such node. */
const struct node *snapshot_node(const struct snapshot *s, node_id id);
/* The user that the node is shown to belong to, borrowed from the snapshot. Null: it is tagged. */
const struct user *snapshot_owner(const struct snapshot *s, const struct node *n);

/* Another reference to the change: the same pointer. */
struct change *change_ref(struct change *c);
/* One change that leads from what was before the first of `n` changes to what is after the last: changes that were
 * published one after the other, at least one. A node that came and went between is no item. A new reference. */
struct change *change_join(struct change *const *changes, size_t n);
/* Drops a reference and nulls the pointer; null is fine. */
void change_unref(struct change **c);

#endif
