/* What a simulated node knows of its peers: a bit for each known one, a bit for each whose endpoints are known, and
 * counters that show when that is complete. With `facts`, also what was last received of each. Plain values; not
 * thread-safe. */
#ifndef BENCH_VIEW_H
#define BENCH_VIEW_H

#include "bench/map_effect.h"

#include "base/bits.h"

/* What a node has last received of a peer, or what that peer has last sent. */
struct view_facts {
    uint32_t endpoints; /* digest, as in scan.h */
    uint32_t hostinfo_mark;
    uint16_t derp;
    uint8_t online; /* 0: unknown, 1: no, 2: yes */
};

/* What the nodes of one class must know. */
struct view_class {
    uint64_t *visible; /* owned: members that its nodes must know; their own bit may be set too */
    unsigned expected; /* how many they are, without the node itself */
};

struct view {
    uint64_t *known;          /* owned; over all indexes of the roster */
    uint64_t *endpoints;      /* owned */
    struct view_facts *facts; /* owned, one for each member; null: not kept */
    unsigned self;            /* index */
    unsigned known_n;         /* members that the node must know and knows */
    unsigned extra_n;         /* members that the node knows and must not know */
    unsigned endpoints_n;     /* of known_n */
};

/* Of member `self` of `members`. `with_facts`: keeps also what was last received of each. Ends with view_fini. */
void view_init(struct view *v, unsigned self, unsigned members, bool with_facts);
/* Frees the bitsets and facts. */
void view_fini(struct view *v);
/* Forgets all peers. `members`: as in view_init. */
void view_clear(struct view *v, unsigned members);
/* Applies what a piece of a map response says. Returns how often the node itself was among its peers, which is an
 * error of the server. */
unsigned view_apply(struct view *v, const struct map_effect *s, const struct view_class *class, unsigned members);

/* Whether it knows exactly the members that it must know. */
static inline bool view_is_complete(const struct view *v, const struct view_class *class)
{
    return v->known_n == class->expected;
}

/* The outcome of checking every node's peers. */
struct view_report {
    uint64_t pairs, missing, extra, foreign, without_endpoints;
    uint64_t differing; /* peers of which the node has something else than they have last sent */
};

/* What the truth is, for view_check. */
struct view_truth {
    const struct view_class *class;
    unsigned members;
    /* What each member has last sent; null: not compared. Only with view.facts. */
    const struct view_facts *stated;
    /* Called for each difference, with what is wrong, e.g. "does not know"; may be null. */
    void (*fault)(void *ctx, unsigned viewer, unsigned peer, const char *what);
    void *ctx;
};

/* Compares what a node knows with the truth, and adds the outcome to `r`. */
void view_check(const struct view *v, const struct view_truth *t, struct view_report *r);

#endif
