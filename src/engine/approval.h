/* What the policy approves without a person: routes and services (autoApprovers), and tags (tagOwners). */
#ifndef ENGINE_APPROVAL_H
#define ENGINE_APPROVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/str.h"

struct engine;

/* Whether a route that the node advertises is approved; 0 bits: an exit route. src: docs/protocol/policy.md 10 */
bool engine_may_approve_route(const struct engine *e, uint64_t id, const struct addr *addr, uint8_t bits);
/* Whether a service that the node offers is approved; `service` is "svc:NAME". */
bool engine_may_approve_service(const struct engine *e, uint64_t id, struct str service);
/* Whether the user may apply the tag. src: docs/protocol/policy.md 11 */
bool engine_user_may_tag(const struct engine *e, uint64_t user, struct str tag);
/* Whether a node or key that has `tags` may apply the tag. */
bool engine_tags_may_tag(const struct engine *e, const struct str *tags, size_t tag_n, struct str tag);
/* Whether tagOwners has the tag. */
bool engine_knows_tag(const struct engine *e, struct str tag);

#endif
