/* Sets of nodes and tables of seats that a writer changes while readers of older versions go on reading: what is
 * shared is copied before it is written, piece by piece. References are counted; versions may be let go in any
 * thread. */
#ifndef ENGINE_ROLLS_H
#define ENGINE_ROLLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_N = 64 };

/* --- sets of node ids --- */

struct roll_part {
    uint64_t word; /* id / 64 */
    uint64_t mask; /* never 0; bit id % 64 */
};

/* Null is the empty set. */
struct roll {
    atomic_uint refs;
    size_t n;
    struct roll_part v[]; /* ascending by word */
};

/* Adds what `r` holds to a set of bits by id; ids from 64 * words on are left out. */
void roll_mark(const struct roll *r, uint64_t *set, size_t words);

/* --- tables, in pages of 64 entries --- */

/* Each page begins with its count. Null: all its entries are empty. */
struct pages {
    size_t n;
    atomic_uint **at; /* owned array of references */
};

/* A version that stays as it is: for rolls and seats alike. */
struct pages pages_freeze(const struct pages *t);

/* A set of nodes for each number from 0. */
const struct roll *rolls_get(const struct pages *t, size_t number);
void rolls_add(struct pages *t, size_t number, uint64_t id);
void rolls_remove(struct pages *t, size_t number, uint64_t id);
void rolls_fini(struct pages *t);

struct seat {
    uint32_t class; /* ENGINE_NO_CLASS: no such node */
    uint32_t owner; /* number of its owner; 0: tagged */
};

/* The seat of each node, by id. */
struct seat seating_get(const struct pages *t, uint64_t id);
void seating_put(struct pages *t, uint64_t id, struct seat seat);
void seating_fini(struct pages *t);

#endif
