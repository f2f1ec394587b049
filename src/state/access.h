/* What the policy makes of the nodes of a snapshot: as immutable as the snapshot, counted, read by any thread without a lock.
 *
 * Kept in groups of 64 nodes as the nodes are: the next access copies the groups of which something differs. Texts that are
 * equal to those of the access before, or of another node of the class, are the same object: a pointer that differs means
 * that there is something to tell.
 *
 * Beside it the audiences of a change: viewers whom the policy cannot tell apart, before and after, are told the same,
 * which is worked out and encoded once. Filled by netmap/. */
#ifndef STATE_ACCESS_H
#define STATE_ACCESS_H

#include "engine/view.h"
#include "state/model.h"

/* Something that nodes are told, and its encoded forms. */
struct cached_text {
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

struct node_access {
    atomic_uint refs;
    uint64_t version;           /* engine_version that the texts were made at */
    struct cached_text *filter; /* JSON array of FilterRule */
    struct cached_text *ssh;    /* JSON object: SSHPolicy */
    struct rcbuf *caps;         /* JSON object: what nodeAttrs add to the node's own CapMap */
    struct rcbuf *nextdns;      /* the profile that nodeAttrs choose (nextdns:PROFILE); null: none */
    bool hides_device;          /* nextdns:no-device-info */
    bool hides_v4;
    struct route_table *routes; /* null: it serves none */
    uint64_t routes_version;    /* engine_routes_version that the rows were made at */
};

struct access_group {
    atomic_uint refs;
    uint64_t routers;                          /* bits of those that serve routes */
    const struct node_access *of[GROUP_NODES]; /* by id % GROUP_NODES; references; null: no such node */
};

struct access {
    atomic_uint refs;
    uint64_t serial; /* of the policy: another one means that classes have nothing to do with those before */
    uint64_t clock;  /* of the policy */
    struct engine_view *view;
    size_t group_n;
    struct access_group *groups[]; /* by id / GROUP_NODES; null: empty */
};

/* --- references; _unref nulls the pointer and accepts null --- */
struct cached_text *cached_text_create(struct str json);
struct cached_text *cached_text_ref(struct cached_text *t);
void cached_text_unref(struct cached_text **t);
struct route_table *route_table_create(size_t class_n, size_t words);
struct route_table *route_table_ref(struct route_table *t);
void route_table_unref(struct route_table **t);
struct node_access *node_access_create(void);
const struct node_access *node_access_ref(const struct node_access *r);
void node_access_unref(const struct node_access **r);
struct access *access_ref(struct access *r);
void access_unref(struct access **r);

/* Null when there is no access or no such node. Borrowed. */
const struct node_access *access_of_node(const struct access *r, node_id id);
/* The row of `viewer`'s class; null: no such class. */
const uint64_t *route_table_row(const struct route_table *t, struct viewer_key viewer);

/* --- a change, under a policy --- */

/* What an item of a change means to an audience; packed by netmap/. */
struct message_item {
    uint32_t index; /* in change->items */
    uint32_t code;
};

/* One message: what a chunk of the items means. Equal ones are one, whoever it is for. */
struct audience_message {
    struct audience_message *next;
    struct rcbuf *_Atomic frame[2];
    size_t n;
    struct message_item v[];
};

struct change_audience {
    struct change_audience *next;
    struct viewer_key before, after; /* whom it is for */
    size_t n;
    struct audience_message *messages[]; /* that say something, in the order of the items */
};

enum { AUDIENCE_BUCKETS = 64 };
struct change_audiences {
    struct change_audience *_Atomic audiences[AUDIENCE_BUCKETS];
    struct audience_message *_Atomic messages[AUDIENCE_BUCKETS];
};
void change_audiences_destroy(struct change_audiences **t);

#endif
