/* Address ranges and sets of them: what every address of a policy is turned into. Plain values; pure. */
#ifndef POLICY_RANGE_H
#define POLICY_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/str.h"

typedef unsigned __int128 ip_number;

/* All addresses from `lo` to `hi`, both of them included, of one family. */
struct range {
    ip_number lo;
    ip_number hi;
    uint8_t family; /* 4 or 6; 0: no range */
};

/* Owned memory. A set is canonical when its ranges are sorted (IPv4 first), apart and not neighbours. */
struct range_set {
    struct range *v;
    size_t n;
    size_t cap;
};

/* A range as bytes, without padding: a key for maps. */
struct range_key {
    uint8_t bytes[33];
};

static inline struct range_key range_key_of(const struct range *r)
{
    struct range_key k;
    memcpy(k.bytes, &r->lo, 16);
    memcpy(k.bytes + 16, &r->hi, 16);
    k.bytes[32] = r->family;
    return k;
}

/* "A-B" of the longest addresses, and a terminator. */
enum { RANGE_TEXT_CAP = 96 };

ip_number ip_number_of(const struct addr *a);
/* The one address; family 0 for none. */
struct range range_of_addr(const struct addr *a);
/* Host bits are masked away. */
struct range range_of_prefix(const struct addr *a, unsigned bits);
/* "A", "A/bits" or "A-B" (one family, A not above B). */
bool range_parse(struct str text, struct range *out);

static inline bool range_is_single(const struct range *r)
{
    return r->lo == r->hi;
}

static inline bool range_has(const struct range *r, uint8_t family, ip_number ip)
{
    return r->family == family && r->lo <= ip && ip <= r->hi;
}

static inline bool range_holds(const struct range *outer, const struct range *inner)
{
    return outer->family == inner->family && outer->lo <= inner->lo && inner->hi <= outer->hi;
}

static inline bool range_meets(const struct range *a, const struct range *b)
{
    return a->family == b->family && a->lo <= b->hi && b->lo <= a->hi;
}

/* Whether it is exactly one prefix, and of which length. */
bool range_prefix_bits(const struct range *r, unsigned *bits_out);
/* The shortest form: "A", "A/bits", else "A-B". Returns the length; terminated. */
size_t range_format(const struct range *r, char out[RANGE_TEXT_CAP]);
/* Takes the largest prefix that `rest` begins with away from it; false when nothing is left. */
bool range_take_prefix(struct range *rest, struct range *prefix_out);
/* "A/bits" of a range that is a prefix, also for a single address. */
size_t range_format_prefix(const struct range *r, char out[RANGE_TEXT_CAP]);
/* "A-B", whatever it is. */
size_t range_format_pair(const struct range *r, char out[RANGE_TEXT_CAP]);

void range_set_fini(struct range_set *s);
void range_set_add(struct range_set *s, struct range r);
/* Sorts and joins what overlaps or touches. */
void range_set_join(struct range_set *s);
/* Both canonical; so is the result. */
void range_set_subtract(struct range_set *s, const struct range_set *away);
/* `s` is canonical. */
bool range_set_has(const struct range_set *s, uint8_t family, ip_number ip);
bool range_set_meets(const struct range_set *s, const struct range *r);
bool range_set_holds(const struct range_set *s, const struct range *r);

/* What autogroup:internet means. */
extern const struct range range_internet[];
extern const size_t range_internet_n;

#endif
