/* Which addresses the tailnet has: its ranges, the approved routes with the nodes that hold them, and stray
 * addresses, which nodes have from the time when the ranges were others. Together they are what `*` means as a
 * source. */
#ifndef ENGINE_ROUTE_INDEX_H
#define ENGINE_ROUTE_INDEX_H

#include "engine/nodes.h"

/* The nodes that hold a route. */
struct route_holders {
    struct range_key key;
    struct range range;
    struct engine_node **v; /* heap */
    size_t n, cap;
};

struct route_index {
    struct range_set tailnet; /* canonical */
    struct map by_range;      /* struct route_holders *; exit routes apart */
    struct list strays;       /* engine_node.stray_link */
    uint64_t star_hash;       /* of the routes and stray addresses: a sum */
    uint64_t star_version;    /* clock of the last change of that */
    uint64_t touched;         /* clock of the last write of a node with routes */
};

/* `ranges` may be null. */
void route_index_init(struct route_index *r, const struct policy_doc *doc, const struct engine_ranges *ranges);
/* All nodes must have been removed. */
void route_index_fini(struct route_index *r);
/* Adds the node to the holders of its routes, or removes it from them. */
void route_index_hold(struct route_index *r, struct engine_node *n, uint64_t clock);
void route_index_release(struct route_index *r, struct engine_node *n, uint64_t clock);
/* Sets the routes_version of all nodes whose routes may be shown to others than before, because `n`, which has its
 * class, comes or goes. */
void route_index_touch(struct route_index *r, struct engine_node *n, uint64_t clock);
/* Whether an approved route has all of the range. */
bool route_index_holds(const struct route_index *r, const struct range *range);

/* Whether the node has a stray address; and adds its stray addresses to `out`. */
bool route_index_is_stray(const struct route_index *r, const struct engine_node *n);
void route_index_add_strays(const struct route_index *r, const struct engine_node *n, struct range_set *out);
/* Counts the node's stray addresses in (`delta` 1) or out (-1). */
void route_index_count_strays(struct route_index *r, const struct engine_node *n, int delta, uint64_t clock);

#endif
