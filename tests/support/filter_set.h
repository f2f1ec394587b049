/* A packet filter as a set, to compare filters that are written differently: what is allowed (protocol, destination and
 * ports, or a capability at a destination), each with the source addresses that it is allowed to. */
#ifndef TESTS_FILTER_SET_H
#define TESTS_FILTER_SET_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "codec/json.h"

typedef unsigned __int128 filter_ip;

/* All addresses from `lo` to `hi`. */
struct filter_span {
    int family;
    filter_ip lo, hi;
};

struct filter_allowed {
    struct str what;
    struct filter_span *v; /* heap */
    size_t n, cap;
};

struct filter_set {
    struct arena arena;
    struct map by_what; /* struct filter_allowed * */
    bool is_joined;
};

/* Empty; ends with filter_set_fini. */
void filter_set_init(struct filter_set *set);
void filter_set_fini(struct filter_set *set);
/* The address as a number. */
filter_ip filter_ip_of(const struct addr *a);
/* "A", "A/bits" or "A-B". Ends the program when it is none of them. */
struct filter_span filter_span_of(struct str text);
/* The entry of `what`, which is copied; a new one has no sources. */
struct filter_allowed *filter_set_what(struct filter_set *set, struct str what);
/* Adds the addresses `s` to the sources of `what`, which is copied. */
void filter_set_allow(struct filter_set *set, struct str what, struct filter_span s);
/* Replaces `out` by the name of what is allowed: ports `first` to `last` of an address, span or "*". `proto` 0: the
 * default set. */
void filter_what_ip(struct buf *out, unsigned proto, struct str ip, unsigned first, unsigned last);
/* The same for a capability at a destination. Spaces in `value` do not count. */
void filter_what_cap(struct buf *out, struct str dst, struct str name, struct str value);
/* Adds all that a JSON array of FilterRule allows. */
void filter_set_add_json(struct filter_set *set, const struct json *filter);
/* Sorts the sources of everything and joins those that touch. */
void filter_set_join(struct filter_set *set);
/* Whether `b` allows to the same addresses all that `a` allows: null if so, else the first that differs. An entry
 * without a source allows nothing. */
const struct filter_allowed *filter_set_differs(struct filter_set *a, struct filter_set *b);
/* Both ways. */
bool filter_sets_equal(struct filter_set *a, struct filter_set *b);

#endif
