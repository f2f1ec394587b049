/* What the engine keeps of each node, and the node's part in rules. */
#ifndef ENGINE_NODES_H
#define ENGINE_NODES_H

#include "base/bits.h"
#include "engine/classes.h"
#include "engine/owners.h"

enum { IP_TEXT_CAP = 48 };

struct engine_node;
struct route_holders;

/* The rule parts that concern a route of a router, a set for each way. Made when they are first asked for. */
struct route_parts {
    uint64_t *to;    /* the router's filter has a destination that overlaps the route */
    uint64_t *from;  /* sources overlap the route */
    uint64_t *via;   /* grants with `via` that choose a router for it */
    uint64_t *plain; /* grants and ACLs that reach it without `via` */
};

struct node_route {
    struct range range;
    bool is_exit;
    bool is_primary;
    struct route_holders *holders; /* null for an exit route */
    struct route_parts parts;      /* null pointers: not made yet. One block of memory, owned by `to` */
};

struct engine_node {
    uint64_t id;
    struct class *class;
    struct owner *owner; /* null: tagged */
    struct list class_link;
    struct list owner_link;
    struct list version_link;
    struct list stray_link; /* in route_index.strays, when one of its addresses is outside the tailnet's ranges */
    struct range v4, v6;    /* family 0: none */
    char text4[IP_TEXT_CAP];
    char text6[IP_TEXT_CAP];
    bool is_online;
    bool is_mac;
    bool has_old_ssh;
    int64_t created_ms;
    struct node_route *route; /* owned */
    size_t route_n;
    struct policy_attr *attr; /* owned, followed by its texts; null when the document has no postures */
    size_t attr_n;
    struct str *tag; /* owned, followed by its texts */
    size_t tag_n;
    struct str facts; /* all facts as bytes, owned: equal facts are no change */
    uint64_t version;
    uint64_t routes_version; /* engine_routes_version */
};

struct node_table {
    struct map by_id;
    struct list by_version; /* ascending */
    uint64_t *everyone;     /* selectors that hold every node; in the arena */
    uint64_t *tagged;       /* selectors that hold every tagged node; in the arena */
};

/* An empty table. */
void engine_nodes_init(struct node_table *t, const struct policy_doc *doc, struct arena *arena);
/* The facts as bytes, to compare; owned by the caller. */
struct str engine_node_facts(const struct engine_facts *f);
/* A node that is in no table yet and has no class. Takes the bytes of its facts. */
struct engine_node *engine_node_create(const struct policy_doc *doc, struct owner_table *owners,
                                       const struct engine_facts *f, struct str facts);
void engine_node_free(struct engine_node *n);
/* Null: there is none. */
struct engine_node *engine_node_find(const struct node_table *t, uint64_t id);

/* Whether the node is in the source list by itself, not by a route. */
static inline bool engine_node_in_list(const struct engine_node *n, uint32_t list)
{
    return bit_get(n->class->member, list);
}
/* Whether the selector holds the node. */
static inline bool engine_node_is(const struct engine_node *n, sel_id sel)
{
    return bit_get(n->class->in, sel);
}
/* Its address of this family, 4 or 6. */
static inline struct range engine_node_range(const struct engine_node *n, int family)
{
    return family == 4 ? n->v4 : n->v6;
}
/* Whether a range is a destination in the node's filter. src: docs/protocol/policy.md 4.5 */
bool engine_node_keeps(const struct engine_node *n, const struct sel_range *r);
/* Whether one of its routes, exit routes apart, overlaps the range. */
bool engine_node_routes_meet(const struct engine_node *n, const struct range *r);
/* Whether it has an exit route. */
bool engine_node_has_exit(const struct engine_node *n);

#endif
