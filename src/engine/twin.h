/* The naive twin: computes what the policy of a random tailnet grants as the specification is written, filter by
 * filter, address by address, pair by pair. Shares nothing with the engine but the document. */
#ifndef ENGINE_TWIN_H
#define ENGINE_TWIN_H

#include "engine/random_tailnet.h"
#include "support/filter_set.h"

/* Whether the selector holds the node. */
bool twin_is(const struct random_tailnet *f, const struct engine_facts *n, const struct selector *s);
/* The node's address of a family; and one of its routes. */
struct range twin_range(const struct engine_facts *n, int family);
struct range twin_route(const struct engine_facts *n, size_t i);
/* Whether a route of the node overlaps the range; and whether it is an exit node. */
bool twin_routes_meet(const struct engine_facts *n, const struct range *r);
bool twin_is_exit(const struct engine_facts *n);
/* Whether the range is part of the internet. */
bool twin_in_internet(const struct range *r);
/* Whether the node, or what is behind its routes, is a source of the rule. */
bool twin_source_of(const struct random_tailnet *f, const struct rule *rule, const struct engine_facts *a);
/* Whether the rule has a destination that overlaps the route; for an exit route: the internet. */
bool twin_over(const struct random_tailnet *f, const struct rule *rule, const struct engine_facts *b, size_t route,
               bool with_star);
/* Whether the node has one of the rule's `via` tags. */
bool twin_has_via_tag(const struct engine_facts *n, const struct policy_doc *doc, const struct rule *rule);

/* The packet filter of a node, as a set. */
struct twin_filter {
    const struct random_tailnet *f;
    const struct engine_facts *n;
    struct filter_set set;
    struct buf what;
};
/* Computes it; and frees it. */
void twin_filter_of(const struct random_tailnet *f, const struct engine_facts *n, struct twin_filter *t);
void twin_filter_fini(struct twin_filter *t);
/* Whether a rule of the filter has a source with an address of `a`, or that overlaps a route of it. */
bool twin_reaches(const struct twin_filter *t, const struct engine_facts *a);
/* Whether a grant with `via` sends `a` to `b`. */
bool twin_steers(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b);
/* Whether the route of `b` is in its AllowedIPs for `a`. */
bool twin_shows(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b,
                size_t route);

/* How `src` may log in to `n`. */
enum answer { ANSWER_NONE, ANSWER_CHECK, ANSWER_ACCEPT };
/* The answer of the SSH policy of `n`. */
enum answer twin_ssh(const struct random_tailnet *f, const struct engine_facts *n, const struct engine_facts *src,
                     const char *login);

#endif
