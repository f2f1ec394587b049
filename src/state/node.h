/* Nodes: immutable rows. The functions that make new versions of them are in state/state.h. */
#ifndef STATE_NODE_H
#define STATE_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/prefix_list.h"
#include "base/rcbuf.h"
#include "base/str.h"
#include "crypto/keys.h"
#include "state/cache_slot.h"
#include "state/ids.h"
#include "state/row.h"

enum {
    ENDPOINTS_MAX = 32, /* further ones are dropped: no client sends more than some ten */
    ROUTES_MAX = 1024,  /* each of advertised and approved; as many as the policy looks at */
};

struct node {
    ROW_HEAD;
    /* Three kinds of members. Durable: rules and admins decide, every server agrees, an event waits for the disk.
     * Presence (COLUMN_PRESENCE in node.c): disco, endpoints, home_derp, cap_version, hostname, hostinfo,
     * hostinfo_peers, advertised, last_seen_ms; the node says it to the server that it is connected to, and nothing
     * waits for it. Never stored: is_expired, is_online, is_away, is_newcomer. Copies that tell them apart go by the
     * columns (state/presence_internal.h). */
    char stable_id[24]; /* opaque to clients, terminated */
    user_id user;
    machine_key machine;
    node_key key;
    disco_key disco; /* zero: not reported yet */
    nl_key nl;       /* zero: none */
    struct addr v4;  /* family 0: none */
    struct addr v6;
    char name[NAME_CAP];         /* MagicDNS label, unique in the tailnet */
    char hostname[HOSTNAME_CAP]; /* as the machine last reported it */
    bool is_renamed;             /* an admin chose the name: it does not follow the host name */
    bool is_ephemeral;
    /* The node logged out, or an admin ended its key: until it registers anew or gets another date, whatever the clock
     * says. */
    bool is_ended;
    /* is_ended, or the date of the key has passed as of the last tick: a clock that is set back makes it false again.
     * Never stored. */
    bool is_expired;
    bool is_online;
    /* Other routers carry its routes if they can: it serves some, and has had no poll for some seconds or answers no
     * pings. Never stored. */
    bool is_away;
    /* It has registered but not reported yet where it can be reached: it gets maps, but its peers do not get it, for
     * state_options.newcomer_ms at most. A client reports that in its first second, in several requests: its peers get
     * one announcement instead of several. */
    bool is_newcomer;
    uint32_t cap_version; /* of the client */
    uint16_t home_derp;   /* region; 0: none yet */
    uint64_t auth_key;    /* id of the key that it registered with; 0: none */
    int64_t created_ms;
    int64_t expires_ms;           /* of the node key; NO_EXPIRY = never */
    int64_t last_seen_ms;         /* when it last went offline or, while online, came online */
    struct rcbuf *tags;           /* JSON array of strings; null: none */
    struct rcbuf *hostinfo;       /* as the node sent it, without NetInfo: JSON object; null: not reported yet */
    struct rcbuf *hostinfo_peers; /* the part that peers get: JSON object; null: none */
    /* The node serves the routes that are in both lists (node_serves_next). 0 bits: an exit route. */
    struct prefix_list *advertised; /* Hostinfo.RoutableIPs; null: none */
    struct prefix_list *approved;   /* null: none */
    /* Those of the routes that it serves, without exit routes, of which it is the primary now: of several nodes that
     * serve the same prefix the first by id that can serve (node_can_serve), until it cannot. Kept by
     * state/elections.c; null: none. Durable, but an election takes effect before its row is written, as it must while
     * the disk is full. */
    struct prefix_list *primary;
    unsigned endpoints_n;
    struct cache_slot cache;
    struct addr endpoints[];
};

/* Zeroed, with room for `endpoints_n` endpoints; the caller owns the one reference. */
struct node *node_create(unsigned endpoints_n);
/* A copy to change before it is shared, with the same endpoints, or with these if `endpoints` is not null. Its cache is
 * empty. The caller owns the one reference. */
struct node *node_edit(const struct node *n, const struct addr *endpoints, unsigned endpoints_n);
/* Another reference to the node: the same pointer. */
const struct node *node_ref(const struct node *n);
/* Drops a reference and nulls the pointer; null is fine. */
void node_unref(const struct node **n);

/* Walks the routes that the node serves (advertised and approved), ascending: start with *pos = 0. False at the end. */
bool node_serves_next(const struct node *n, size_t *pos, struct prefix *out);
/* Whether the endpoints of the node are exactly these, in this order. */
bool node_has_endpoints(const struct node *n, const struct addr *endpoints, unsigned endpoints_n);
/* Whether the node serves any route. */
bool node_serves(const struct node *n);
/* Whether the node serves an exit route. */
bool node_is_exit(const struct node *n);
/* Whether traffic may be routed through the node: it is connected, its key is valid, and it answers pings. */
static inline bool node_can_serve(const struct node *n)
{
    return n->is_online && !n->is_expired && !n->is_away;
}
/* The node as its peers may get it: `n`, or null for a newcomer and for null. */
static inline const struct node *node_as_peer(const struct node *n)
{
    return n != NULL && !n->is_newcomer ? n : NULL;
}
/* The tags of a node or key, borrowed from `tags`; returns how many, at most TAGS_MAX. Null: none. */
size_t node_tags_split(const struct rcbuf *tags, struct str out[TAGS_MAX]);

#endif
