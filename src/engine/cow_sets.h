/* Sets of nodes and tables of seats that a writer changes while readers of older versions go on reading: what is
 * shared is copied before it is written, fragment by fragment. References are counted; versions may be let go in any
 * thread. */
#ifndef ENGINE_COW_SETS_H
#define ENGINE_COW_SETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_N = 64 };

/* --- sets of node ids --- */

struct id_set_word {
    uint64_t word; /* id / 64 */
    uint64_t mask; /* never 0; bit id % 64 */
};

/* Null is the empty set. */
struct id_set {
    atomic_uint refs;
    size_t n;
    struct id_set_word v[]; /* ascending by word */
};

/* Adds what `r` holds to a set of bits by id; ids from 64 * words on are left out. */
void id_set_mark(const struct id_set *r, uint64_t *set, size_t words);

/* --- tables, in cow_table of 64 entries --- */

/* Each page begins with its count. Null: all its entries are empty. */
struct cow_table {
    size_t n;
    atomic_uint **at; /* owned array of references */
};

/* A version that stays as it is: for rolls and seats alike. */
struct cow_table cow_table_freeze(const struct cow_table *t);

/* A set of nodes for each number from 0. */
const struct id_set *cow_sets_get(const struct cow_table *t, size_t number);
void cow_sets_add(struct cow_table *t, size_t number, uint64_t id);
void cow_sets_remove(struct cow_table *t, size_t number, uint64_t id);
void cow_sets_fini(struct cow_table *t);

struct membership {
    uint32_t class; /* ENGINE_NO_CLASS: no such node */
    uint32_t owner; /* number of its owner; 0: tagged */
};

/* The membership of each node, by id. */
struct membership memberships_get(const struct cow_table *t, uint64_t id);
void memberships_put(struct cow_table *t, uint64_t id, struct membership membership);
void memberships_fini(struct cow_table *t);

#endif
