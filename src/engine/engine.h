/* The policy engine: turns a policy document, with the users and nodes there are, into what the policy grants each
 * node: packet filter, peers, routes, SSH policy, capabilities. src: docs/protocol/policy.md
 *
 *     e = engine_create(doc, users, user_n, NULL)  when the users or the document change: make a new engine
 *     engine_put_node(e, &facts)                   for every node, and again whenever its facts change
 *     engine_filter(e, id, &out), ...              what a node is granted: engine/access.h
 *     engine_view_get(e)                           which nodes see which, for readers in other threads: engine/view.h
 *     engine_may_approve_route(e, id, ...)         what needs no person's approval: engine/approval.h
 *     engine_version(e, id)                        after events: whether a node's access may have changed
 *     engine_fingerprint(e, id)                    after a new policy: whether a node's access differs
 *
 * How it is computed: never for pairs of nodes. Nodes that the policy cannot tell apart form a class. Which parts of
 * rules a class is a source of and a destination of are two sets of bits, and two classes see each other when these
 * intersect. A node that joins an existing class costs a few look-ups. Only autogroup:self depends on the user, and
 * is computed for each user.
 *
 * Threads: one writer. Calls that take a const engine may run in several threads at once as long as no call writes.
 * A call that takes a plain pointer is a write: it may fill a cache.
 *
 * Pure: no I/O, no clock, no randomness, no global state. Nothing blocks. Out of memory ends the process
 * (base/mem.h). */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/str.h"
#include "policy/policy.h"

/* --- facts: what the engine knows of users and nodes --- */

struct engine_user {
    uint64_t id; /* not 0 */
    struct str name;
    struct str email;       /* may be empty */
    struct str provider_id; /* may be empty */
    enum policy_role role;
};

/* An approved route. An exit route has 0 bits. */
struct engine_route {
    struct addr addr; /* host bits zero */
    uint8_t bits;
    /* Of all nodes with this prefix, this one serves it; without meaning for exit routes.
     * src: docs/protocol/policy.md 6.3 */
    bool is_primary;
};

enum { ENGINE_ROUTES_MAX = 1024 };

/* All that the policy asks of a node. Everything pointed to is borrowed for the call. */
struct engine_facts {
    uint64_t id;            /* not 0; small: tables are indexed by id, and ids of removed nodes count */
    uint64_t user;          /* owner; ignored when there are tags */
    const struct str *tags; /* "tag:x" */
    size_t tag_n;
    struct addr v4; /* family 0: none */
    struct addr v6;
    const struct engine_route *routes; /* no prefix twice; those above ENGINE_ROUTES_MAX are ignored */
    size_t route_n;
    const struct policy_attr *attrs;
    size_t attr_n;
    int64_t created_ms; /* of the wall clock; the oldest router of a `via` grant is chosen */
    bool is_online;     /* and able to serve: its key is valid, and it answers */
    bool has_old_ssh;   /* its client takes numbers and options for login names (before 1.98.10) */
};

/* The address ranges of the tailnet, for `*`. A family of 0 means the usual range: 100.64.0.0/10 without
 * 100.115.92.0/23, fd7a:115c:a1e0::/48. */
struct engine_ranges {
    struct addr v4, v6;
    uint8_t v4_bits, v6_bits;
};

/* --- the engine --- */

struct engine;

/* An engine without nodes. Takes a reference to `doc` and copies `users`; `ranges` may be null (the usual ones).
 * Never null. Freed with engine_destroy, which accepts null and nulls the pointer. */
struct engine *engine_create(struct policy_doc *doc, const struct engine_user *users, size_t user_n,
                             const struct engine_ranges *ranges);
void engine_destroy(struct engine **e);
/* Borrowed. */
const struct policy_doc *engine_doc(const struct engine *e);

/* What may be a mistake in an accepted policy, given these users: selectors that match no user, or several (such a
 * selector is empty), and what this server does not act on. Appended to `out`. */
void engine_warnings(const struct engine *e, struct policy_errors *out);

/* Adds a node, or replaces what is known of it. The work is that of one node, and now and then of one new class.
 * Equal facts change nothing, not even the clock. */
void engine_put_node(struct engine *e, const struct engine_facts *node);
/* Unknown ids are ignored. */
void engine_remove_node(struct engine *e, uint64_t id);
/* How many nodes were put and not removed. */
size_t engine_node_count(const struct engine *e);
/* How many classes there are: each has a node at least, and its index may be larger than this count. */
size_t engine_class_count(const struct engine *e);
/* A node of the class other than `except`; 0: there is none. */
uint64_t engine_class_member(const struct engine *e, size_t class_index, uint64_t except);

/* Counts writes: while it has not changed, every answer is the same. */
uint64_t engine_clock(const struct engine *e);
/* The clock of the last write that may have changed the node's filter or SSH policy; 0: no such node. Costs a look
 * at the node's class. */
uint64_t engine_version(const struct engine *e, uint64_t id);
/* The same for many nodes between two writes. `by_class` has engine_view_class_cap entries, zeroed before the first
 * call, and caches what nodes of a class share. */
uint64_t engine_version_of_many(const struct engine *e, uint64_t id, uint64_t *by_class);
/* Adds to `set`, bits by id, all nodes whose version may be above `since` (a value of engine_clock); ids from 64 *
 * words on are left out. Costs a look at each class, and the nodes that it adds. */
void engine_mark_moved(const struct engine *e, uint64_t since, uint64_t *set, size_t words);

/* Whether `a` and `b` are peers. A node is not its own peer. src: docs/protocol/policy.md 6.1 */
bool engine_sees(const struct engine *e, uint64_t a, uint64_t b);
/* Calls `visit` for each peer of the node, in no particular order. */
void engine_peers(const struct engine *e, uint64_t id, void (*visit)(void *ctx, uint64_t peer), void *ctx);
size_t engine_peer_count(const struct engine *e, uint64_t id);

#endif
