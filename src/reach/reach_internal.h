/* Single addresses judged by the whole policy: for tests, and for people who ask why. src: docs/protocol/policy.md
 * 12 */
#ifndef REACH_REACH_INTERNAL_H
#define REACH_REACH_INTERNAL_H

#include "engine/parts.h"
#include "reach/reach.h"

/* An address, and the node that has it (null: none). */
struct spot {
    struct range at;
    const struct engine_node *node;
};

/* Heap memory. */
struct spots {
    struct spot *v;
    size_t n, cap;
};

/* The addresses that `text` names: nodes' addresses for identities, else the address itself. False: it names
 * nothing, or a prefix or range where one address is wanted. `self_of`: whose nodes autogroup:self is; null:
 * nobody's. */
bool spots_find(const struct engine *p, struct str text, const struct owner *self_of, struct spots *out);
void spots_fini(struct spots *s);
/* Why spots_find found nothing, as the end of a sentence. Borrowed from nothing. */
const char *spots_none_reason(const struct engine *p, struct str text);
/* Leaves one of those that no rule can tell apart, when they have the attributes `more` besides their own. */
void spots_reduce(struct engine *p, struct spots *s, const struct policy_attr *more, size_t more_n);

/* What of a rule fits. `attrs`: taken to be the source's, may be null. */
struct fit {
    bool source;
    bool destination;
    bool port;
};
struct fit rule_fits(const struct engine *p, const struct rule *rule, const struct spot *src, const struct spot *dst,
                     int proto, int port, const struct attr_view *attrs);

/* --- sent.c --- */
enum sent {
    SENT_NOTHING, /* the destination is no node's, and no router or exit node takes packets for it */
    SENT_DENIED,
    SENT_ALLOWED,
};
/* Whether a packet from one of the addresses `src` gets through to `dst` by the filters that are sent; by that of
 * some router, when several serve it. */
enum sent sent_allows(struct engine *p, const struct spots *src, const struct spot *dst, int proto, int port);

#endif
