/* Inside netmap. Files from the bottom up, each calling only those before it:
 *
 *   cache.c      encoded forms in the slots of the model
 *   message.c    pieces, codings, messages that say nothing of a snapshot
 *   node_json.c  nodes and users as JSON
 *   settings.c   what all nodes get alike: the DERP map; and each node's DNS configuration (dns.c)
 *   items.c      what one item of a change means to a viewer; several items as one message
 *   audiences.c  viewers for which all items of a change mean the same, and their messages
 *   delta.c      what one node gets of a change
 *   full.c       full maps
 *
 * Functions that write JSON append to the writer that they are given. "A new reference" is the caller's. */
#ifndef NETMAP_NETMAP_INTERNAL_H
#define NETMAP_NETMAP_INTERNAL_H

#include "base/metric.h"
#include "codec/json_write.h"
#include "netmap/netmap.h"
#include "state/access.h"

enum { NETMAP_CODINGS_N = NETMAP_ZSTD + 1 };

/* --- cache.c --- */

/* The same message or piece in each coding; null: not encoded yet. */
struct netmap_frames {
    struct rcbuf *_Atomic of[NETMAP_CODINGS_N]; /* references */
};
/* The frames that the slot holds, borrowed; empty ones when it was empty. */
struct netmap_frames *netmap_frames_in(const struct cache_slot *slot);
/* Drops the references. */
void netmap_frames_fini(struct netmap_frames *f);
/* Held while a thread fills what others read without a lock, so that one thread does the work and those that need the
 * same wait for it. */
void netmap_fill_lock(void);
void netmap_fill_unlock(void);
/* The same for one frame. Begin returns what is there, borrowed; or null, and then the caller holds the lock until it
 * calls end, which puts `taken` there (a reference, which it takes), releases the lock and returns the frame,
 * borrowed. */
struct rcbuf *netmap_frame_begin(struct rcbuf *_Atomic *frame);
struct rcbuf *netmap_frame_end(struct rcbuf *_Atomic *frame, struct rcbuf *taken);

/* --- message.c --- */

/* Takes the reference. */
void netmap_pieces_push(struct netmap_pieces *p, struct rcbuf *taken);
/* `json` as a piece of a message. A new reference. */
struct rcbuf *netmap_encode_piece(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json);
/* `json` as a whole message, with its length in front. A new reference. */
struct rcbuf *netmap_encode_message(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json);
/* Writes the length of a message at the start of `first`, its first piece; `bytes`: of all pieces together. No other
 * thread may have seen `first`. */
void netmap_set_length(struct rcbuf *first, size_t bytes);
/* A message that is one JSON object, made in ctx->json: begins it; ends it and encodes it. A new reference. */
void netmap_object_begin(struct netmap_ctx *ctx, struct json_writer *w);
struct rcbuf *netmap_object_end(struct netmap_ctx *ctx, struct json_writer *w, enum netmap_coding coding);

/* --- node_json.c --- */

/* How a node is shown to a viewer. All zero is "plainly", as without a policy: with its IPv4 address, its exit routes,
 * and the routes that it is the primary of. */
struct peer_shape {
    bool hides_v4;
    bool has_policy;                  /* the policy says which routes are shown: */
    const struct route_table *routes; /* null: none */
    const uint64_t *row;              /* which of them; null: none */
};
/* Whether the node is shown plainly, so that netmap_peer_json is what the viewer gets. */
bool netmap_shape_is_plain(const struct node *n, const struct peer_shape *shape);
/* The node as a peer that is shown plainly. Made once; borrowed from the node. */
struct rcbuf *netmap_peer_json(const struct node *n, const struct tailnet_settings *settings);
/* The node as a peer. */
void netmap_write_peer(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                       const struct peer_shape *shape);
/* The node as it sees itself. `expired_ms` not 0: with that key expiry, whatever the node says. */
void netmap_write_self(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                       const struct node_access *access, int64_t expired_ms);
/* Whether the two versions of a node differ in what its own map shows. */
bool netmap_self_differs(const struct node *a, const struct node *b);
/* One UserProfile. */
void netmap_write_profile(struct json_writer *w, const struct user *u);
/* A list of the users whose bits are set, by their index in the table (null: all users), and of the owner that tagged
 * nodes show. */
void netmap_write_profiles(struct json_writer *w, const struct user_table *users, const uint64_t *which);
/* The member `key`; null: nothing. */
void netmap_write_raw(struct json_writer *w, const char *key, const struct rcbuf *raw);
/* The member `key`, as clients read times. */
void netmap_write_time(struct json_writer *w, const char *key, int64_t unix_ms);
/* The member Endpoints. */
void netmap_write_endpoints(struct json_writer *w, const struct node *n);

/* --- settings.c --- */

/* The member DERPMap for the node. */
void netmap_write_derp_map(struct json_writer *w, const struct tailnet_settings *settings, const struct node *n);
/* Whether the node's client cannot pin certificates, and the change concerns the DERP map for such clients. */
bool netmap_wants_unpinned(const struct change *c, const struct node *n);
/* The changed settings that are the same for all nodes, or for all whose clients cannot pin certificates. */
void netmap_write_new_settings(struct json_writer *w, const struct change *c, bool is_unpinned);
/* The DERP map, when the node's client is another version that needs another. `self`: the node's item, or null. */
void netmap_push_other_derp_map(struct netmap_ctx *ctx, const struct change *c, const struct change_item *self,
                                enum netmap_coding coding, struct netmap_pieces *out);

/* --- dns.c --- */

/* Each node has a DNS configuration of its own, so that it is no part of what all get alike. */
bool netmap_dns_is_own(const struct tailnet_settings *s);
/* The member DNSConfig. */
void netmap_write_dns(struct json_writer *w, const struct tailnet_settings *s, const struct node *n,
                      const struct node_access *access);
/* The node's own DNS configuration, if it has changed. */
void netmap_push_dns(struct netmap_ctx *ctx, const struct change *c, node_id id, enum netmap_coding coding,
                     struct netmap_pieces *out);

/* --- items.c --- */

/* Everything that decides what a node is shown of others, at one moment. */
struct viewer {
    struct viewer_key key;
    bool hides_v4; /* it is shown no IPv4 addresses */
};
/* The node as a viewer. A node that the snapshot does not have sees nothing. */
struct viewer netmap_viewer(const struct snapshot *s, node_id id);
/* How the viewer is shown the node. */
struct peer_shape netmap_shape(const struct access *a, const struct viewer *v, node_id id);
/* Whether the node is a peer of the viewer, which is not that node. */
bool netmap_sees(const struct snapshot *s, const struct viewer *v, node_id id);

/* The viewer of a change. */
struct watcher {
    struct viewer before, after;
};
/* An item of a change that means something to a viewer. `code` packs what it means, so that equal messages are equal
 * memory. */
struct message_item {
    uint32_t index; /* in the items */
    uint32_t code;
};
/* What the item means to a viewer other than its own node. 0: nothing. */
uint32_t netmap_item_code(const struct change *c, const struct watcher *v, const struct change_item *item);
/* One message. `items`: what the indexes of `v` stand for. A new reference. */
struct rcbuf *netmap_encode_items(struct netmap_ctx *ctx, const struct change *c, const struct change_item *items,
                                  const struct message_item *v, size_t n, enum netmap_coding coding);
/* The node's own item, or null. */
const struct change_item *netmap_find_item(const struct change *c, node_id id);

/* --- audiences.c --- */

/* Message items are cut into messages near each 32nd item of the change: at the same items for all audiences, so that
 * audiences that get the same have equal messages; but a cut that would leave a message too short is not made. */
enum {
    MESSAGE_ITEMS = 32,
    MESSAGE_ITEMS_MIN = MESSAGE_ITEMS / 2,
    MESSAGE_ITEMS_MAX = MESSAGE_ITEMS + MESSAGE_ITEMS_MIN
};

/* One message. Equal ones are one, whichever audiences get it. */
struct audience_message {
    struct audience_message *next;
    struct netmap_frames frames;
    size_t n; /* at most MESSAGE_ITEMS_MAX */
    struct message_item v[];
};
/* Viewers with these keys, for which the items of the change mean the same. */
struct change_audience {
    struct change_audience *next;
    struct viewer_key before, after;
    size_t n;                            /* 0: the change means nothing to them */
    struct audience_message *messages[]; /* in the order of the items */
};
/* The audience of the watcher, made when there is none. Borrowed from the change. */
const struct change_audience *netmap_audience(struct change *c, const struct watcher *v);
/* The encoded message, made once. A new reference. */
struct rcbuf *netmap_message_frame(struct netmap_ctx *ctx, struct change *c, struct audience_message *m,
                                   enum netmap_coding coding);
/* What every node gets, or every node whose client cannot pin certificates: settings that changed, and the profiles of
 * users when there is no policy. A new reference; null: there is no such message. */
struct rcbuf *netmap_common_frame(struct netmap_ctx *ctx, struct change *c, bool is_unpinned,
                                  enum netmap_coding coding);

#endif
