/* Map sessions grouped by viewer key (struct viewer_key). All sessions of a group see other nodes alike, so a change
 * that does not concern them is skipped once for the whole group. Intrusive: nothing is allocated per member. One
 * thread. */
#ifndef CONTROL_VIEWER_GROUPS_H
#define CONTROL_VIEWER_GROUPS_H

#include "base/list.h"
#include "base/map.h"
#include "engine/view.h"

struct viewer_group {
    struct viewer_key key; /* of all its members; no padding, as it is hashed */
    struct list link;      /* in viewer_groups->groups */
    struct list members;   /* struct viewer_group_member */
    bool is_touched;       /* for the caller's use */
};

struct viewer_groups {
    struct map by_key;  /* struct viewer_group by its key */
    struct list groups; /* the same */
};

/* Embedded in each member. */
struct viewer_group_member {
    struct list link;           /* in the group's members */
    struct viewer_group *group; /* null: in none */
};

/* `seed`: 16 secret bytes for the hash, copied. */
void viewer_groups_init(struct viewer_groups *groups, const uint8_t seed[16]);
/* All members must have left. */
void viewer_groups_fini(struct viewer_groups *groups);
/* A member of no group. */
void viewer_group_member_init(struct viewer_group_member *member);
/* Moves the member to the group with this key, which is made if there is none. */
void viewer_groups_put(struct viewer_groups *groups, struct viewer_group_member *member, struct viewer_key key);
/* Harmless if it is in no group. A group without members stays until viewer_groups_sweep. */
void viewer_groups_leave(struct viewer_group_member *member);
/* Null if there is no such group. Borrowed, until the next viewer_groups_sweep. */
struct viewer_group *viewer_groups_find(const struct viewer_groups *groups, struct viewer_key key);
/* Frees the groups without members. */
void viewer_groups_sweep(struct viewer_groups *groups);

#endif
