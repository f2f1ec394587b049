/* Snapshots and changes to the bytes of map responses.
 *
 * A response is a list of references to shared pieces, in the order in which they go to the wire; the first begins with
 * the 4-byte length of all. What many nodes are told is encoded and compressed once and kept in the slots of the model
 * (model.h); a full map is assembled from one small piece of its own and the shared pieces of all groups of peers, which
 * works because a message may be several concatenated zstd frames.
 *
 * Without a policy everyone sees everyone: the audience of a change is all nodes but those it is about. Under a policy a
 * snapshot has a access (state/access.h), and those are one audience whom it cannot tell apart: what the items of a change
 * mean to them is worked out once (items x audiences), and messages that say the same are encoded once, whoever they are for.
 * A node that moved itself (tags, owner) is compared with every other, alone. A full map looks at the nodes that are seen and is
 * put together from groups of peers, kept for each set of visible ones.
 *
 * What grows with the tailnet, when a node joins or changes: a word for each group of 64 in snapshot and view, and a look at each kind
 * of viewers. All else goes with those who see it. An endpoint update costs nothing but what those are told who see the node
 * (netmap_is_by_viewer_key). When everybody comes to see everybody, at 10,000 nodes, that takes 0.4 s.
 *
 * Without a policy everyone is told the profiles of all users, and changes of them. Under a policy a node is told those of the users
 * whose nodes it sees, with the first of them, and again when they change. There are no peers that are UnsignedPeerAPIOnly: a filter
 * whose sources cover one would be thrown away by clients (src: docs/protocol/control.md 6.9).
 *
 * Pure; any thread, one netmap_ctx per thread. src: docs/protocol/control.md 6.6-6.9, 10, 12.2 */
#ifndef NETMAP_NETMAP_H
#define NETMAP_NETMAP_H

#include "codec/zstd.h"
#include "engine/view.h"
#include "state/model.h"

enum netmap_coding { NETMAP_PLAIN, NETMAP_ZSTD };

struct netmap_ctx {
    struct zstd_ctx zstd;
    struct buf json; /* scratch */
    struct buf coded;
    uint64_t *visible; /* scratch: bits by node id, a word for each group */
    size_t visible_cap;
    uint64_t *owners; /* scratch: bits by a user's place in the table */
    size_t owners_cap;
};
/* Zero-initialised is valid. */
void netmap_ctx_fini(struct netmap_ctx *ctx);

/* References, owned by the holder. */
struct netmap_pieces {
    struct rcbuf **items;
    size_t n;
    size_t cap;
    size_t bytes;
};
void netmap_pieces_clear(struct netmap_pieces *p); /* drops the references, keeps the array */
void netmap_pieces_fini(struct netmap_pieces *p);

/* The complete map for a node that is in `s`. `with_peers` false leaves the peers out. Appends one message.
 * RC_NOT_FOUND when the node is not there. */
MUST_CHECK enum rc netmap_full(struct netmap_ctx *ctx, const struct snapshot *s, node_id id, enum netmap_coding coding,
                               bool with_peers, struct netmap_pieces *out);

/* Whether a full map for the node, with peers, would have any. */
bool netmap_has_peers(struct netmap_ctx *ctx, const struct snapshot *s, node_id id);

/* What a node that knows `c->before` must be told to know `c->after`: nothing, one or several messages, one piece each. A
 * node that was removed is told that its key has expired, and nothing else. */
void netmap_delta(struct netmap_ctx *ctx, struct change *c, node_id id, enum netmap_coding coding,
                  struct netmap_pieces *out);

/* Where a node sits in the policy at work; all sit in one place when there is none. */
struct viewer_key netmap_viewer_key(const struct snapshot *s, node_id id);
/* The policy is the same before and after, so that what a node is told of others depends on its seat alone (struct viewer_key),
 * and is nothing for most: ask netmap_tells. False without a policy: everyone is told. */
bool netmap_is_by_viewer_key(const struct change *c);
/* When it is by seat: whether those who sit where `id` sits, before and after, are told anything of others. Those whom the
 * change is about, and only they may move to another seat, and those whose access differ may be told something in any case. */
bool netmap_tells(struct change *c, node_id id);
/* When it is by seat: the next node above `after` whose access differ; 0: there is none. */
node_id netmap_next_access(const struct change *c, node_id after);

/* The message that makes a client with this key log out: a self node whose key has expired.
 * src: docs/protocol/control.md 5.8: any error would be retried for ever. `now_ms`: Unix. A new reference. */
struct rcbuf *netmap_expired_self(struct netmap_ctx *ctx, const node_key *key, int64_t now_ms,
                                  enum netmap_coding coding);

/* A keep-alive, never exactly {"KeepAlive":true}: clients 1.90 to 1.104 would drop later frames of the same length
 * (src: docs/protocol/control.md 6.6). A new reference to a shared piece. */
struct rcbuf *netmap_keep_alive(struct netmap_ctx *ctx, enum netmap_coding coding);

/* A keep-alive that tells the time (Unix). Clients judge peers' keys by the last that they heard, from the next map on; 1.102 may
 * take what stands in the same message too late for it. A new reference.
 * src: tailscale 1.102 ipn/ipnlocal/expiry.go, control/controlclient/direct.go */
struct rcbuf *netmap_time(struct netmap_ctx *ctx, int64_t now_ms, enum netmap_coding coding);

/* Asks the client to call `url` (HEAD), which must be another one each time; a keep-alive as well. A new reference.
 * src: docs/protocol/control.md 6.15 */
struct rcbuf *netmap_ping(struct netmap_ctx *ctx, struct str url, enum netmap_coding coding);

#endif
