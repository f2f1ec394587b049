/* Single addresses as sources and destinations of rules, for tests and for reach_why.
 * src: docs/protocol/policy.md 12 */
#ifndef REACH_REACH_INTERNAL_H
#define REACH_REACH_INTERNAL_H

#include "engine/tables.h"
#include "reach/reach.h"

/* An address to ask about, and the node that has it (null: none). */
struct probe {
    struct range at;
    const struct engine_node *node;
};

/* Owns its memory; zero-initialised is empty. */
struct probes {
    struct probe *v;
    size_t n, cap;
};

/* Finds the addresses that `text` names: those of its nodes for an identity, else the address itself. `self_of`: the
 * owner whose nodes autogroup:self means; null: none. False: the text names nothing, or a prefix or range where one
 * address is needed. */
bool reach_probes_find(const struct engine *e, struct str text, const struct owner *self_of, struct probes *out);
void reach_probes_fini(struct probes *s);
/* Why reach_probes_find found nothing, as the end of a sentence; a constant. */
const char *reach_probes_none_reason(const struct engine *e, struct str text);
/* Keeps one of those that no rule can distinguish, when they have the attributes `more` besides their own. */
void reach_probes_reduce(struct engine *e, struct probes *s, const struct policy_attr *more, size_t more_n);

/* Sets the bits of the selectors that hold an address: identities by its node (null: none), others by the address
 * itself. */
void reach_selectors_at(struct engine *e, const struct engine_node *n, const struct range *at, uint64_t *in);

/* Which parts of a rule match a source, a destination and a port. `attrs` are used instead of the source's own; may be
 * null. */
struct rule_match {
    bool source;
    bool destination;
    bool port;
};
struct rule_match reach_match_rule(const struct engine *e, const struct rule *rule, const struct probe *src,
                                   const struct probe *dst, int proto, int port, const struct attr_view *attrs);

enum sent {
    SENT_NOTHING, /* no node has the destination, and no router or exit node takes packets for it */
    SENT_DENIED,
    SENT_ALLOWED,
};
/* Whether the filters that are sent let a packet from any of the addresses `src` through to `dst`. When several
 * routers serve `dst`, one of their filters is enough. */
enum sent reach_sent(struct engine *e, const struct probes *src, const struct probe *dst, int proto, int port);

#endif
