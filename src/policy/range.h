/* Address ranges and sets of them: the form of every address of a policy. Plain values. */
#ifndef POLICY_RANGE_H
#define POLICY_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/str.h"

typedef unsigned __int128 ip_number;

/* All addresses of one family from `lo` to `hi`, both included. */
struct range {
    ip_number lo;
    ip_number hi;
    uint8_t family; /* 4 or 6; 0: the empty range */
};

/* Owns its memory; zero-initialised is empty. A set is canonical when its ranges are sorted (IPv4 first) and neither
 * overlap nor touch. */
struct range_set {
    struct range *v;
    size_t n;
    size_t cap;
};

/* A range as bytes without padding, as a key for maps. */
struct range_key {
    uint8_t bytes[33];
};

/* The key of a range. */
static inline struct range_key range_key_of(const struct range *r)
{
    struct range_key k;
    memcpy(k.bytes, &r->lo, 16);
    memcpy(k.bytes + 16, &r->hi, 16);
    k.bytes[32] = r->family;
    return k;
}

/* Room for "A-B" of the longest addresses, and a terminator. */
enum { RANGE_TEXT_CAP = 96 };

/* The address as a number. */
ip_number range_number(const struct addr *a);
/* The range of one address; empty when `a` has family 0. */
struct range range_of_addr(const struct addr *a);
/* The range of a prefix; host bits of `a` are ignored. */
struct range range_of_prefix(const struct addr *a, unsigned bits);
/* Parses "A", "A/bits" or "A-B" (one family, A not above B). */
bool range_parse(struct str text, struct range *out);

/* Whether the range has one address only. */
static inline bool range_is_single(const struct range *r)
{
    return r->lo == r->hi;
}

/* Whether the address is in the range. */
static inline bool range_has(const struct range *r, uint8_t family, ip_number ip)
{
    return r->family == family && r->lo <= ip && ip <= r->hi;
}

/* Whether all of `inner` is in `outer`. */
static inline bool range_holds(const struct range *outer, const struct range *inner)
{
    return outer->family == inner->family && outer->lo <= inner->lo && inner->hi <= outer->hi;
}

/* Whether the two have an address in common. */
static inline bool range_meets(const struct range *a, const struct range *b)
{
    return a->family == b->family && a->lo <= b->hi && b->lo <= a->hi;
}

/* Whether the range is exactly one prefix, and the length of that prefix. */
bool range_prefix_bits(const struct range *r, unsigned *bits_out);
/* Writes the shortest form: "A", "A/bits", else "A-B", terminated. Returns the length. */
size_t range_format(const struct range *r, char out[RANGE_TEXT_CAP]);
/* Takes the largest prefix off the beginning of `rest`. False when `rest` is empty. */
bool range_take_prefix(struct range *rest, struct range *prefix_out);
/* Writes "A/bits" of a range that is a prefix, also of a single address. */
size_t range_format_prefix(const struct range *r, char out[RANGE_TEXT_CAP]);
/* Writes "A-B", whatever the range is. */
size_t range_format_pair(const struct range *r, char out[RANGE_TEXT_CAP]);

/* Frees the memory; the set is empty afterwards. */
void range_set_fini(struct range_set *s);
/* Adds a range, unless it is empty. Afterwards the set may be not canonical. */
void range_set_add(struct range_set *s, struct range r);
/* Makes the set canonical. */
void range_set_join(struct range_set *s);
/* Removes the addresses of `away`. Both must be canonical; so is the result. */
void range_set_subtract(struct range_set *s, const struct range_set *away);
/* Whether the set, which must be canonical, has the address; has an address of `r`; has all of `r`. */
bool range_set_has(const struct range_set *s, uint8_t family, ip_number ip);
bool range_set_meets(const struct range_set *s, const struct range *r);
bool range_set_holds(const struct range_set *s, const struct range *r);

/* The ranges of autogroup:internet. */
extern const struct range range_internet[];
extern const size_t range_internet_n;

#endif
