/* What the policy makes of the nodes of a snapshot: as immutable as the snapshot, counted, read by any thread without a lock.
 *
 * Kept in groups of 64 nodes as the nodes are: the next ruling copies the groups of which something differs. Texts that are
 * equal to those of the ruling before, or of another node of the class, are the same object: a pointer that differs means
 * that there is something to tell.
 *
 * Beside it the audiences of a change: viewers whom the policy cannot tell apart, before and after, are told the same,
 * which is worked out and encoded once. Filled by netmap/. */
#ifndef STATE_RULING_H
#define STATE_RULING_H

#include "policy/policy.h"
#include "state/model.h"

/* Something that nodes are told, and its encoded forms. */
struct told_text {
    atomic_uint refs;
    struct rcbuf *json;
    struct rcbuf *_Atomic frame[2]; /* caches of netmap/: plain, compressed */
};

/* The routes of a router, and which of them each class of viewers is told. */
struct route_table {
    atomic_uint refs;
    struct prefix_list *prefixes; /* what it serves */
    size_t words;                 /* of a row */
    size_t class_n;
    uint64_t rows[]; /* by class: bits of prefixes */
};

struct node_rights {
    atomic_uint refs;
    uint64_t version;         /* policy_version that the texts were made at */
    struct told_text *filter; /* JSON array of FilterRule */
    struct told_text *ssh;    /* JSON object: SSHPolicy */
    struct rcbuf *caps;       /* JSON object: what nodeAttrs add to the node's own CapMap */
    struct rcbuf *nextdns;    /* the profile that nodeAttrs choose (nextdns:PROFILE); null: none */
    bool hides_device;        /* nextdns:no-device-info */
    bool hides_v4;
    struct route_table *routes; /* null: it serves none */
    uint64_t routes_version;    /* policy_routes_version that the rows were made at */
};

struct rights_group {
    atomic_uint refs;
    uint64_t routers;                          /* bits of those that serve routes */
    const struct node_rights *of[GROUP_NODES]; /* by id % GROUP_NODES; references; null: no such node */
};

struct ruling {
    atomic_uint refs;
    uint64_t serial; /* of the policy: another one means that classes have nothing to do with those before */
    uint64_t clock;  /* of the policy */
    struct policy_view *view;
    size_t group_n;
    struct rights_group *groups[]; /* by id / GROUP_NODES; null: empty */
};

/* --- references; _unref nulls the pointer and accepts null --- */
struct told_text *told_text_create(struct str json);
struct told_text *told_text_ref(struct told_text *t);
void told_text_unref(struct told_text **t);
struct route_table *route_table_create(size_t class_n, size_t words);
struct route_table *route_table_ref(struct route_table *t);
void route_table_unref(struct route_table **t);
struct node_rights *node_rights_create(void);
const struct node_rights *node_rights_ref(const struct node_rights *r);
void node_rights_unref(const struct node_rights **r);
struct ruling *ruling_ref(struct ruling *r);
void ruling_unref(struct ruling **r);

/* Null when there is no ruling or no such node. Borrowed. */
const struct node_rights *ruling_rights(const struct ruling *r, node_id id);
/* The row of `viewer`'s class; null: no such class. */
const uint64_t *route_table_row(const struct route_table *t, struct policy_seat viewer);

/* --- a change, under a policy --- */

/* What an item of a change means to an audience; packed by netmap/. */
struct share_item {
    uint32_t index; /* in change->items */
    uint32_t code;
};

/* One message: what a chunk of the items means. Equal ones are one, whoever it is for. */
struct change_share {
    struct change_share *next;
    struct rcbuf *_Atomic frame[2];
    size_t n;
    struct share_item v[];
};

struct change_audience {
    struct change_audience *next;
    struct policy_seat before, after; /* whom it is for */
    size_t n;
    struct change_share *shares[]; /* that say something, in the order of the items */
};

enum { TOLD_BUCKETS = 64 };
struct change_told {
    struct change_audience *_Atomic audiences[TOLD_BUCKETS];
    struct change_share *_Atomic shares[TOLD_BUCKETS];
};
void change_told_destroy(struct change_told **t);

#endif
