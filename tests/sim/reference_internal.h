/* Inside the reference: what its files share. */
#ifndef SIM_REFERENCE_INTERNAL_H
#define SIM_REFERENCE_INTERNAL_H

#include <stdio.h>
#include <string.h>

#include "sim/sim.h"
#include "support/filter_set.h"

enum { WORDS = PLAN_RULES_MAX / 64, ROUTES_HERE = 8, TEXT_CAP = 128 };

/* Rules. */
struct bits {
    uint64_t w[WORDS];
};

struct served {
    struct prefix prefix;
    struct filter_span span;
    bool is_primary;
    struct bits over;     /* rules without via that have a destination over it */
    struct bits via_over; /* those with */
    struct bits from;     /* that have a source over it */
};

/* What decides which nodes see each other: few bytes for each node, since a hundred million pairs are compared. */
struct reach {
    struct bits source, destination;
    uint64_t owner; /* 0: it has tags, or there is no such node */
    bool is_self_source;
};

/* What the definitions ask of a node. */
struct fact {
    const struct node *n; /* null: no such node */
    const struct user *user;
    int named, mailed; /* which user of the plans its owner's names are those of; -1: none */
    struct filter_span v4, v6;
    uint64_t tags; /* bits of the plans' tags */
    bool has_tags, is_fit, is_exit, hides_v4;
    size_t route_n;
    struct served *routes; /* heap */
    struct reach *reach;
    struct bits via;  /* those whose tag it carries */
    struct look bare; /* as a peer, without addresses and routes */
    look_id looks[2]; /* without routes: with and without IPv4 */
};

struct facts {
    struct sim *s;
    const struct plan *plan; /* null: none */
    struct fact *v;          /* by id */
    struct reach *reach;     /* the same */
    size_t n;
    struct machine **machines; /* by id; that poll */
    struct fact **routers;
    size_t router_n;
    struct filter_set sources[PLAN_RULES_MAX]; /* the sources of each rule, under one name; made when asked for */
    bool has_sources[PLAN_RULES_MAX];
};
static inline bool meets(const struct bits *a, const struct bits *b)
{
    uint64_t any = 0;
    for (size_t i = 0; i < WORDS; i++)
        any |= a->w[i] & b->w[i];
    return any != 0;
}

static inline bool meets_both(const struct bits *a, const struct bits *b, const struct bits *c)
{
    uint64_t any = 0;
    for (size_t i = 0; i < WORDS; i++)
        any |= a->w[i] & b->w[i] & c->w[i];
    return any != 0;
}

static inline void put(struct bits *b, size_t i, bool is)
{
    b->w[i / 64] |= (uint64_t)is << (i % 64);
}

static inline bool get(const struct bits *b, size_t i)
{
    return (b->w[i / 64] >> (i % 64) & 1) != 0;
}

/* --- reference_facts.c --- */

/* One prefix; one address. */
struct filter_span span_of_prefix(const struct prefix *p);
struct filter_span span_of_addr(const struct addr *a);
/* Bits of the plan's tags. */
uint64_t plan_tags_of(const struct node *n);
/* The user of the plans that has the name; -1: none. */
int plan_user_of_name(const char *name, void (*format)(unsigned user, char out[32]));
/* Whether the selector holds the node by its identity, not by its addresses. src: docs/protocol/policy.md 2.6 */
bool fact_is_in(const struct plan *p, const struct fact *f, const struct pick *s);
/* Whether the selector names an address of the node. */
bool fact_has_address(const struct fact *f, const struct pick *s);
/* Whether the selector overlaps a route of the node. */
bool fact_is_over_some(const struct pick *s, const struct fact *f);
/* Not by its routes. */
bool fact_is_source_itself(const struct plan *p, const struct fact *f, const struct plan_rule *r);
/* Whether the rule has autogroup:self. */
bool plan_rule_has_self(const struct plan_rule *r);
/* Which rules the node is a source and a destination of. */
void fact_judge(const struct plan *p, struct fact *f);

/* --- reference_looks.c --- */

/* 0 for null. */
text_id text_raw(const struct rcbuf *b);
/* As a peer, without addresses and routes. */
struct look look_bare(const struct node *n);
/* `shown`: of its routes. src: docs/protocol/policy.md 6.2, 6.4 */
look_id look_shaped(const struct fact *f, uint64_t shown, bool hides_v4);
/* As it sees itself. */
look_id look_self(const struct facts *facts, const struct fact *f);

/* --- reference_filters.c --- */

/* Fail unless the client has the filter, and the SSH policy, that it should have. */
void reference_compare_filter(struct facts *facts, const struct fact *f, const struct client *c);
void reference_compare_ssh(const struct facts *facts, const struct fact *f, const struct client *c);

#endif
