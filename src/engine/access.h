/* What the policy grants a node: packet filter, routes of peers, SSH policy, capabilities. Texts are JSON as the map
 * response has it, appended to `out`. An unknown id gets the empty answer. */
#ifndef ENGINE_ACCESS_H
#define ENGINE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/str.h"

struct engine;

/* A hash of what the node's filter, SSH policy and capabilities say. When two engines give the same number, the
 * node's access is the same: after a policy was replaced, only nodes with another number need new texts. Cheaper
 * than the texts, because sources are not written out. 0: no such node. */
uint64_t engine_fingerprint(struct engine *e, uint64_t id);

/* The packet filter: an array of FilterRule. src: docs/protocol/policy.md 4 */
void engine_filter(struct engine *e, uint64_t id, struct buf *out);

/* Which routes of `peer` (of its facts, in order) appear in its AllowedIPs for `viewer`: bit i % 64 of word i / 64
 * of `out`, which has room for bits_n bits. All of them when `viewer` is `peer`. src: docs/protocol/policy.md 5.5,
 * 6.2 */
void engine_routes(struct engine *e, uint64_t viewer, uint64_t peer, uint64_t *out, size_t bits_n);
/* The clock of the last write that may have changed which of the peer's routes the viewers of a class get, as long
 * as the class exists (engine_view_class_made); 0: no such node. */
uint64_t engine_routes_version(const struct engine *e, uint64_t peer);
/* The latest engine_routes_version of all nodes with routes, also of those that are gone. */
uint64_t engine_routes_clock(const struct engine *e);

/* The `rules` of the SSH policy: an array. `base_url` is that of this server, as in "https://host", without a slash
 * at the end. src: docs/protocol/policy.md 8 */
void engine_ssh(struct engine *e, uint64_t id, const char *base_url, struct buf *out);
/* How long, in seconds, a login from `src` to `dst` is valid after a check; 0: it is always checked; -1: no check
 * rule applies. src: docs/protocol/policy.md 8.4 */
int64_t engine_ssh_check_period_s(const struct engine *e, uint64_t src, uint64_t dst);

/* The node's own capabilities that come from the policy: an object. src: docs/protocol/policy.md 9 */
void engine_self_caps(struct engine *e, uint64_t id, struct buf *out);
/* Whether nodeAttrs give the node this attribute, e.g. "disable-ipv4", "nextdns:PROFILE". */
bool engine_has_attr(const struct engine *e, uint64_t id, struct str attr);
/* The profile of NextDNS that nodeAttrs choose for the node: that of the first nextdns:PROFILE, or empty.
 * `*hides_device_out`: queries do not say which node asks (nextdns:no-device-info). Borrowed from the document. */
struct str engine_nextdns(const struct engine *e, uint64_t id, bool *hides_device_out);
/* Whether the node has no IPv4 address in any map, its own included, and its map has no IPv4 addresses of others.
 * src: docs/protocol/policy.md 6.4 */
bool engine_hides_ipv4(const struct engine *e, uint64_t id);
/* The `index`th prefix ("100.80.0.0/16") from which the node's new addresses are drawn. False: there are no more. */
bool engine_ip_pool(const struct engine *e, uint64_t id, size_t index, struct addr *addr_out, uint8_t *bits_out);

#endif
