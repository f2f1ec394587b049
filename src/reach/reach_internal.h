/* Single addresses judged by the whole policy: for tests, and for people who ask why. src: docs/protocol/policy.md
 * 12 */
#ifndef REACH_REACH_INTERNAL_H
#define REACH_REACH_INTERNAL_H

#include "engine/tables.h"
#include "reach/reach.h"

/* An address, and the node that has it (null: none). */
struct probe {
    struct range at;
    const struct engine_node *node;
};

/* Heap memory. */
struct probes {
    struct probe *v;
    size_t n, cap;
};

/* The addresses that `text` names: nodes' addresses for identities, else the address itself. False: it names
 * nothing, or a prefix or range where one address is wanted. `self_of`: whose nodes autogroup:self is; null:
 * nobody's. */
bool reach_probes_find(const struct engine *p, struct str text, const struct owner *self_of, struct probes *out);
void reach_probes_fini(struct probes *s);
/* Why reach_probes_find found nothing, as the end of a sentence. Borrowed from nothing. */
const char *reach_probes_none_reason(const struct engine *p, struct str text);
/* Leaves one of those that no rule can tell apart, when they have the attributes `more` besides their own. */
void reach_probes_reduce(struct engine *p, struct probes *s, const struct policy_attr *more, size_t more_n);

/* Sets the bits of the selectors that hold an address, of a node or (null) of none: identities by the node, others
 * by the address. */
void reach_selectors_at(struct engine *p, const struct engine_node *n, const struct range *at, uint64_t *in);

/* What of a rule fits. `attrs`: taken to be the source's, may be null. */
struct rule_match {
    bool source;
    bool destination;
    bool port;
};
struct rule_match reach_match_rule(const struct engine *p, const struct rule *rule, const struct probe *src,
                                   const struct probe *dst, int proto, int port, const struct attr_view *attrs);

/* --- sent.c --- */
enum sent {
    SENT_NOTHING, /* the destination is no node's, and no router or exit node takes packets for it */
    SENT_DENIED,
    SENT_ALLOWED,
};
/* Whether a packet from one of the addresses `src` gets through to `dst` by the filters that are sent; by that of
 * some router, when several serve it. */
enum sent reach_sent(struct engine *p, const struct probes *src, const struct probe *dst, int proto, int port);

#endif
