/* What the policy grants the nodes of a snapshot: as immutable as the snapshot, counted, read by any thread without a
 * lock.
 *
 * No policy is a policy too: it grants everything to all. Its access, the *open* one, is a single object without
 * anything for each node. Otherwise an access is kept in groups of 64 nodes as the nodes are: the next access copies
 * the groups in which something differs. Texts that are equal to those of the access before, or of another node of the
 * class, are the same object: a pointer that differs means that there is something to send. */
#ifndef STATE_ACCESS_H
#define STATE_ACCESS_H

#include "engine/view.h"
#include "state/cache_slot.h"
#include "state/model.h"

/* A part of a message that several nodes may have in common. */
struct cached_text {
    atomic_uint refs;
    struct rcbuf *json;
    struct cache_slot cache;
};

/* The routes of a router, and which of them each class of viewers gets. */
struct route_table {
    atomic_uint refs;
    struct prefix_list *prefixes; /* what it serves */
    size_t words;                 /* of a row */
    size_t class_n;
    uint64_t rows[]; /* by class: bits of prefixes */
};

struct node_access {
    atomic_uint refs;
    uint64_t version;           /* engine_version that the texts were made at */
    struct cached_text *filter; /* JSON array of FilterRule */
    struct cached_text *ssh;    /* JSON object: SSHPolicy */
    struct rcbuf *caps;         /* JSON object: what nodeAttrs add to the node's own CapMap */
    struct rcbuf *nextdns;      /* the profile that nodeAttrs choose (nextdns:PROFILE); null: none */
    bool hides_device;          /* nextdns:no-device-info */
    bool hides_v4;
    /* Null: it serves none; or the access is open, and all nodes get the same routes of a router. */
    struct route_table *routes;
    uint64_t routes_version; /* engine_routes_version that the rows were made at */
};

struct access_group {
    atomic_uint refs;
    uint64_t routers;                          /* bits of those that serve routes */
    uint64_t without_v4;                       /* bits of those with hides_v4 */
    const struct node_access *of[GROUP_NODES]; /* by id % GROUP_NODES; references; null: no such node */
};

struct access {
    atomic_uint refs;
    uint64_t serial; /* of the policy: another one means that classes have nothing to do with those before. 0: open */
    uint64_t clock;  /* of the policy */
    struct engine_view *view;           /* which nodes see which; null: open, every node sees every other */
    const struct node_access *everyone; /* reference; of each node, if it is open; else null */
    size_t group_n;                     /* 0 if it is open */
    struct access_group *groups[];      /* by id / GROUP_NODES; null: empty */
};

/* --- making: one reference for the caller --- */

/* Without a policy: every node sees and reaches every other, and gets the profiles of all users. */
struct access *access_create_open(void);
/* With a copy of `json`. */
struct cached_text *cached_text_create(struct str json);
/* Zeroed. */
struct node_access *node_access_create(void);
/* Rows of zeros. */
struct route_table *route_table_create(size_t class_n, size_t words);

/* --- references --- */

/* One more reference, which is returned. */
struct cached_text *cached_text_ref(struct cached_text *t);
struct route_table *route_table_ref(struct route_table *t);
const struct node_access *node_access_ref(const struct node_access *r);
struct access *access_ref(struct access *r);

/* Drops a reference and nulls the pointer, which may be null; the last one frees the object. */
void cached_text_unref(struct cached_text **t);
void route_table_unref(struct route_table **t);
void node_access_unref(const struct node_access **r);
void access_unref(struct access **r);

/* --- reading: any thread, never blocks; results are borrowed from the access --- */

/* Whether there is no policy: all nodes see and reach each other. */
static inline bool access_is_open(const struct access *a)
{
    return a->view == NULL;
}
/* Null: no such node. An open access has no list of nodes: it gives the same for every id. */
const struct node_access *access_of_node(const struct access *a, node_id id);
/* Whether every node of the group has the same access in `a` and in `b`. */
bool access_same_group(const struct access *a, const struct access *b, size_t group);
/* All that decides which nodes an existing node sees, and which see it. An open access has one class. */
struct viewer_key access_viewer_key(const struct access *a, node_id id);
/* Whether a viewer with this key and another node that exists are peers. */
bool access_sees(const struct access *a, struct viewer_key viewer, node_id id);
/* Adds to `set`, a word of bits for each of the first `groups` groups of nodes, all ids that a viewer with this key
 * sees, and perhaps its own. An open access adds ids of which there is no node. */
void access_mark_seen(const struct access *a, struct viewer_key viewer, uint64_t *set, size_t groups);
/* Bits of those in the group that are shown without their IPv4 address. */
uint64_t access_without_v4(const struct access *a, size_t group);
/* The row of the viewer's class; null: no such class. */
const uint64_t *route_table_row(const struct route_table *t, struct viewer_key viewer);

#endif
