#ifndef NETMAP_NETMAP_INTERNAL_H
#define NETMAP_NETMAP_INTERNAL_H

#include "base/metric.h"
#include "codec/json_write.h"
#include "netmap/netmap.h"

/* --- node_json.c: model to JSON --- */
/* The node as peers see it. Borrowed from the node's slot. */
struct rcbuf *peer_json(const struct node *n, const struct tailnet_settings *settings);
/* The node as it sees itself. `expired_ms` not 0: with that key expiry, whatever the node says. */
void write_self(struct json_writer *w, const struct node *n, const struct tailnet_settings *settings,
                int64_t expired_ms);
void write_user_profile(struct json_writer *w, const struct user *u);
void write_tagged_profile(struct json_writer *w);
/* Nothing for null. */
void write_raw(struct json_writer *w, const char *key, const struct rcbuf *raw);
void write_time(struct json_writer *w, const char *key, int64_t unix_ms);
void write_endpoints(struct json_writer *w, const struct node *n);
/* What of a self node is visible in its own map differs. */
bool self_differs(const struct node *a, const struct node *b);

/* --- netmap.c --- */
/* Codes `json` as one message with its length in front. A new reference. */
struct rcbuf *encode_message(struct netmap_ctx *ctx, enum netmap_coding coding, const struct buf *json);
/* This node's DERP map is the one without pinned certificates. */
bool needs_unpinned(const struct node *n, const struct tailnet_settings *settings);
/* The one or the other; the only one where both are the same. Borrowed. */
const struct rcbuf *derp_map_of(const struct tailnet_settings *settings, bool is_unpinned);
/* Around filling a shared slot. */
void encode_once_lock(void);
void encode_once_unlock(void);
void pieces_push(struct netmap_pieces *p, struct rcbuf *taken);

#endif
