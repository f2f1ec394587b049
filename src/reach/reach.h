/* Questions about which nodes reach which under a policy: whether its own tests pass, which rules allow a connection,
 * and what one policy lets through that another does not. The answers are for people; nothing here is part of a map.
 *
 * Pure, like the engine; a call counts as a write of the engine (it may fill its caches). */
#ifndef REACH_REACH_H
#define REACH_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"
#include "base/str.h"
#include "policy/errors.h"

struct engine;

/* Runs `tests` and `sshTests` of the policy. RC_OK: all passed. RC_INVALID: the first entry of `errors` (which must
 * be empty before) is "test(s) failed", then one follows for each failure. To be called before a new policy is
 * applied, not when a stored one is loaded. src: docs/protocol/policy.md 12 */
MUST_CHECK enum rc reach_run_tests(struct engine *e, struct policy_errors *errors);

/* One answer of reach_why: a rule by its position. */
struct reach_reason {
    int line;
    const char *section; /* "acls", "grants", or "" for the default rule of a policy without rules */
    size_t index;        /* in its section, from 0 */
    bool is_allowed;
    /* What the rule matches; when it does not allow, one of them is false. */
    bool has_source, has_destination, has_port;
};

/* Which rules let `src` reach `dst` on that port. Both are written as in `tests`: users, tags, addresses... `proto`
 * 0: any of TCP, UDP, ICMP, ICMPv6. Port -1: any port. Rules that allow it come first in `out` (at most `cap`, their
 * number in `*n_out`); when there is none, the rule that comes closest. Whether it is allowed is read from the
 * filters, as they are sent, of the nodes that have or serve the address; the rules explain it. RC_NOT_FOUND: `src`
 * or `dst` names nothing that has an address. */
MUST_CHECK enum rc reach_why(struct engine *e, struct str src, struct str dst, int proto, int port,
                             struct reach_reason *out, size_t cap, size_t *n_out);

/* One difference in what reaches what. `source` and `destination`: addresses, prefixes and ranges of one family,
 * separated by ", "; borrowed for the call. `proto` 1-255. */
struct reach_difference {
    bool is_gained; /* else lost */
    struct str source;
    struct str destination;
    uint8_t proto;
    uint16_t first_port;
    uint16_t last_port;
};

/* Calls `emit` for what `after` lets through and `before` does not, and the other way round: exact, over all
 * addresses, whether or not a node has them. Both engines hold the same nodes. Grants with `via` count as if
 * without; capabilities and SSH are ignored. */
void reach_diff(struct engine *before, struct engine *after,
                void (*emit)(void *ctx, const struct reach_difference *difference), void *ctx);

#endif
