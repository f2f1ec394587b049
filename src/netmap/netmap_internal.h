#ifndef NETMAP_NETMAP_INTERNAL_H
#define NETMAP_NETMAP_INTERNAL_H

#include "base/metric.h"
#include "codec/json_write.h"
#include "netmap/netmap.h"
#include "state/access.h"

/* --- node_json.c: model to JSON --- */
/* The node as peers see it. Borrowed from the node's slot. */
struct rcbuf *peer_json(const struct node *n, const struct tailnet_settings *settings);
/* How a policy shows a node to a viewer, as far as it differs from what everyone is told. */
struct peer_shape {
    bool hides_v4;
    const struct route_table *routes; /* null: a node that serves none */
    const uint64_t *row;              /* which of the routes */
};
/* It is shown as to everyone: peer_json will do. */
bool shape_is_plain(const struct node *n, const struct peer_shape *shape);
void write_peer_shaped(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                       const struct peer_shape *shape);
/* The node as it sees itself. `access`: null without a policy. `expired_ms` not 0: with that key expiry, whatever the node
 * says. */
void write_self(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                const struct node_access *access, int64_t expired_ms);
void write_user_profile(struct json_writer *w, const struct user *u);
/* A list of those whose bits are set, by their places in the table (null: all), and of the owner that tagged nodes show. */
void write_profiles(struct json_writer *w, const struct user_table *users, const uint64_t *which);
/* Nothing for null. */
void write_raw(struct json_writer *w, const char *key, const struct rcbuf *raw);
void write_time(struct json_writer *w, const char *key, int64_t unix_ms);
void write_endpoints(struct json_writer *w, const struct node *n);
/* What of a self node is visible in its own map differs. */
bool self_differs(const struct node *a, const struct node *b);

/* --- delta.c --- */
enum item_kind { ITEM_NOTHING, ITEM_FULL, ITEM_PATCH, ITEM_REMOVED };
/* What it means to those who see the node before and after. */
enum item_kind item_kind_of(const struct change_item *item);
void write_patch(struct json_writer *w, const struct change_item *item);
/* What the change says of the DERP map is for this node the one without pinned certificates. */
bool has_other_derp_map(const struct change *c, const struct node *n);
void write_new_settings(struct json_writer *w, const struct change *c, bool is_unpinned);
/* Where `id` stands in the change, or null. */
const struct change_item *find_item(const struct change *c, node_id id);
/* A self node stands in a message of its own: it makes the client rebuild everything, the rest does not. */
void push_self(struct netmap_ctx *ctx, const struct change *c, const struct node *n, int64_t expired_ms,
               enum netmap_coding coding, struct netmap_pieces *out);
/* The DERP map, when the node's client is another version that needs another. */
void push_other_derp_map(struct netmap_ctx *ctx, const struct change *c, const struct change_item *self,
                         enum netmap_coding coding, struct netmap_pieces *out);

/* --- dns.c --- */
/* Each node has a DNS configuration of its own: push_dns tells it, and not what is told to all. */
bool dns_is_own(const struct tailnet_settings *s);
/* The member DNSConfig. `r`: null without a policy. */
void write_dns(struct json_writer *w, const struct tailnet_settings *s, const struct node *n,
               const struct node_access *r);
/* The node's own DNS configuration, when it is another now. */
void push_dns(struct netmap_ctx *ctx, const struct change *c, node_id id, enum netmap_coding coding,
              struct netmap_pieces *out);

/* --- ruled.c: under a policy --- */
/* Like netmap_delta, for a node that is still there, when a policy is at work before or after. */
void delta_ruled(struct netmap_ctx *ctx, struct change *c, node_id id, enum netmap_coding coding,
                 struct netmap_pieces *out);
/* How the viewer in this seat is shown a node. */
struct peer_shape shape_for(const struct access *r, struct viewer_key viewer, bool viewer_hides_v4, node_id id);

/* --- netmap.c --- */
/* Everything may be sent to everyone, on every port. */
#define ALLOW_ALL_RULES "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]"
#define NO_SSH_RULES "{\"rules\":[]}"
/* Codes `json` as a piece of a message. A new reference, here and below. */
struct rcbuf *encode_piece(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json);
/* Codes it as a message, with its length in front. */
struct rcbuf *encode_message(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json);
/* Makes a message of nobody else's yet the first piece of one whose pieces have `bytes` together. */
void set_length(struct rcbuf *first, size_t bytes);
/* This node's DERP map is the one without pinned certificates. */
bool needs_unpinned(const struct node *n, const struct tailnet_settings *settings);
/* The one or the other; the only one where both are the same. Borrowed. */
const struct rcbuf *derp_map_of(const struct tailnet_settings *settings, bool is_unpinned);
/* Around filling a shared slot. */
void encode_once_lock(void);
void encode_once_unlock(void);
/* The same for one buffer: what is in the slot, borrowed; or null, and then the lock is held until slot_end has put it there, which
 * takes the reference and gives what is in the slot. */
struct rcbuf *slot_begin(struct rcbuf *_Atomic *slot);
struct rcbuf *slot_end(struct rcbuf *_Atomic *slot, struct rcbuf *taken);
void pieces_push(struct netmap_pieces *p, struct rcbuf *taken);

#endif
