/* Makes map responses of snapshots and changes.
 *
 * A response is a list of references to pieces, in the order in which they go to the wire; the first piece begins with
 * the 4-byte length of all. What many nodes get is encoded and compressed once and kept in the slots of the model
 * (state/cache_slot.h). A full map is one small piece of the node's own, and shared pieces, one for each group of
 * peers: a message may be several zstd frames, one after the other.
 *
 * Viewers that the policy cannot tell apart (equal viewer keys before and after) are one audience of a change. What
 * the items of the change mean to an audience is worked out once, and audiences for which they mean the same share the
 * encoded messages. Without a policy all nodes are one audience. A node whose own viewer key changed (other tags,
 * another owner) is compared with every other node. A full map is made of the groups that the viewer sees; what is
 * encoded of a group is kept for each set of visible nodes.
 *
 * What a node that joins or changes costs beside what is sent to those who see it: a word for each group of 64 nodes,
 * and a look at each audience. When a policy lets all nodes see each other, at 10,000 nodes, its first change takes
 * 0.4 s.
 *
 * Without a policy a node gets the profiles of all users. Under a policy it gets those of the users whose nodes it
 * sees, with the first such node, and again when they change. No peer is ever UnsignedPeerAPIOnly: clients would throw
 * away a filter whose sources cover one (src: docs/protocol/control.md 6.9).
 *
 * Pure: no I/O, no clock. Any thread may call, with a netmap_ctx of its own. A call that finds a shared piece missing
 * makes it under a lock, so that a thread which needs the same piece waits for it; nothing else blocks.
 * src: docs/protocol/control.md 6.6-6.9, 10, 12.2 */
#ifndef NETMAP_NETMAP_H
#define NETMAP_NETMAP_H

#include "codec/zstd.h"
#include "engine/view.h"
#include "state/model.h"

/* Whether a client asked for compressed messages. */
enum netmap_coding { NETMAP_PLAIN, NETMAP_ZSTD };

/* Scratch memory of one thread. Zero-initialised is valid. */
struct netmap_ctx {
    struct zstd_ctx zstd;
    struct buf json;
    struct buf coded;
    uint64_t *visible; /* bits by node id, a word for each group */
    size_t visible_cap;
    uint64_t *owners; /* bits by a user's index in the table */
    size_t owners_cap;
};
/* Frees what the context holds. */
void netmap_ctx_fini(struct netmap_ctx *ctx);

/* Pieces of one or several messages. Zero-initialised is empty. */
struct netmap_pieces {
    struct rcbuf **items; /* owned array of references */
    size_t n;
    size_t cap;
    size_t bytes; /* of all pieces together */
};
/* Drops the references and keeps the array. */
void netmap_pieces_clear(struct netmap_pieces *p);
/* Drops the references and frees the array. */
void netmap_pieces_fini(struct netmap_pieces *p);

/* The complete map for the node `id`. `with_peers` false leaves the peers out. Appends one message to `out`.
 * RC_NOT_FOUND: the snapshot does not have the node; `out` is as it was. */
MUST_CHECK enum rc netmap_full(struct netmap_ctx *ctx, const struct snapshot *s, node_id id, enum netmap_coding coding,
                               bool with_peers, struct netmap_pieces *out);

/* Whether a full map for the node, with peers, would have any. */
bool netmap_has_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id id);

/* What a client that knows `c->before` has to get so that it knows `c->after`: appends no message, one or several, each
 * of one piece. A node that was removed gets a self node whose key has expired, and nothing else. */
void netmap_delta(struct netmap_ctx *ctx, struct change *c, node_id id, enum netmap_coding coding,
                  struct netmap_pieces *out);

/* The node's viewer key: nodes with equal keys see, and are seen, alike. Without a policy all keys are equal. A node
 * that the snapshot does not have gets ENGINE_NO_CLASS. */
struct viewer_key netmap_viewer_key(const struct snapshot *s, node_id id);

/* Whether what a node gets of others depends on its viewer key alone, so that netmap_concerns can be asked once for all
 * nodes with a key. False when policy, users or settings changed: then every node may get something. */
bool netmap_is_by_viewer_key(const struct change *c);

/* To be asked when netmap_is_by_viewer_key: whether viewers with the keys of `id`, before and after, get anything of
 * other nodes. Besides them, only the nodes that the change is about and those of netmap_next_access may get anything;
 * and of all nodes only those may have another viewer key after the change. */
bool netmap_concerns(struct change *c, node_id id);

/* To be asked when netmap_is_by_viewer_key: the next node above `after` whose access differs. 0: there is none. */
node_id netmap_next_access(const struct change *c, node_id after);

/* A message that makes a client with this node key log out: a self node whose key has expired. Any error instead would
 * be retried for ever. `now_ms`: Unix time. A new reference. src: docs/protocol/control.md 5.8 */
struct rcbuf *netmap_expired_self(struct netmap_ctx *ctx, const node_key *key, int64_t now_ms,
                                  enum netmap_coding coding);

/* A keep-alive. It is never exactly {"KeepAlive":true}, after which clients 1.90 to 1.104 would drop later frames of
 * the same length. A new reference to a shared piece. src: docs/protocol/control.md 6.6 */
struct rcbuf *netmap_keep_alive(struct netmap_ctx *ctx, enum netmap_coding coding);

/* A keep-alive with the time (Unix). Clients judge the expiry of peers' keys by the last time that they got, from the
 * next map on; 1.102 may apply what is in the same message too late for it. A new reference.
 * src: tailscale 1.102 ipn/ipnlocal/expiry.go, control/controlclient/direct.go */
struct rcbuf *netmap_time(struct netmap_ctx *ctx, int64_t now_ms, enum netmap_coding coding);

/* A keep-alive that asks the client to send a HEAD request to `url`, which must be another one each time. A new
 * reference. src: docs/protocol/control.md 6.15 */
struct rcbuf *netmap_ping(struct netmap_ctx *ctx, struct str url, enum netmap_coding coding);

#endif
