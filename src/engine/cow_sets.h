/* Sets of nodes, and tables of them, of which immutable versions are kept while a writer goes on: a page or set that
 * a version shares is copied before it is written. References are counted; a version may be freed in any thread. */
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

/* Adds the ids of `r`, which may be null, to a set of bits; ids from 64 * words on are left out. */
void id_set_mark(const struct id_set *r, uint64_t *set, size_t words);

/* --- tables of pages with PAGE_N elements each --- */

/* Each page begins with its count of references. A null page is empty. The elements are either sets or memberships. */
struct cow_table {
    size_t n;
    atomic_uint **at; /* owned array of references */
};

/* A version of the table, which no later write changes. Freed like the table. */
struct cow_table cow_table_freeze(const struct cow_table *t);

/* A table of sets of node ids, indexed by a number from 0: the set of a number (borrowed; null: empty); adding an
 * id, which must not be in it, and removing one; freeing the table. */
const struct id_set *cow_sets_get(const struct cow_table *t, size_t number);
void cow_sets_add(struct cow_table *t, size_t number, uint64_t id);
void cow_sets_remove(struct cow_table *t, size_t number, uint64_t id);
void cow_sets_fini(struct cow_table *t);

struct membership {
    uint32_t class; /* ENGINE_NO_CLASS: there is no such node */
    uint32_t owner; /* number of its owner; 0: tagged */
};

/* A table of memberships, indexed by node id. */
struct membership memberships_get(const struct cow_table *t, uint64_t id);
void memberships_put(struct cow_table *t, uint64_t id, struct membership membership);
void memberships_fini(struct cow_table *t);

#endif
