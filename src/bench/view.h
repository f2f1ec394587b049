/* What a simulated node knows of its peers: a bit for each, and for each whose endpoints it was told; counters tell when it is
 * complete. With `facts`, also what it was told last of each. Plain values; not thread-safe. */
#ifndef BENCH_VIEW_H
#define BENCH_VIEW_H

#include "bench/map_effect.h"

#include "base/bits.h"

/* What a node was told last of a peer. */
struct view_facts {
    uint32_t endpoints; /* digest, as in scan.h */
    uint32_t hostinfo_mark;
    uint16_t derp;
    uint8_t online; /* 0: not said, 1: no, 2: yes */
};

/* Of all nodes whom the policy treats alike. */
struct view_class {
    uint64_t *visible; /* owned: members whom its nodes must know; their own bit may be set too */
    unsigned expected; /* how many, without the node itself */
};

struct view {
    uint64_t *known;          /* owned; over all indexes of the roster */
    uint64_t *endpoints;      /* owned */
    struct view_facts *facts; /* owned, one for each member; null: not kept */
    unsigned self;            /* index */
    unsigned known_n;         /* members that it must know, and does */
    unsigned extra_n;         /* members that it knows, and must not */
    unsigned endpoints_n;     /* of known_n */
};

void view_init(struct view *v, unsigned self, unsigned members, bool with_facts);
void view_fini(struct view *v);
/* Knows nobody. */
void view_clear(struct view *v, unsigned members);
/* Returns how often the node itself was among its peers, which is an error of the server. */
unsigned view_apply(struct view *v, const struct map_effect *s, const struct view_class *class, unsigned members);

static inline bool view_is_complete(const struct view *v, const struct view_class *class)
{
    return v->known_n == class->expected;
}

/* The outcome of checking every node's peers. */
struct view_report {
    uint64_t pairs, missing, extra, foreign, without_endpoints;
    uint64_t differing; /* peers of whom it was last told something else than they said last */
};

/* What the truth is, for view_check. */
struct view_truth {
    const struct view_class *class;
    unsigned members;
    /* May be null: the same of each member, as it said last. Only with view.facts. */
    const struct view_facts *stated;
    /* Called for what is wrong, e.g. "does not know"; may be null. */
    void (*fault)(void *ctx, unsigned viewer, unsigned peer, const char *what);
    void *ctx;
};

/* Adds to `r`. */
void view_check(const struct view *v, const struct view_truth *t, struct view_report *r);

#endif
