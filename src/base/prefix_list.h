/* Sorted sets of prefixes, such as the routes of a node. Immutable once made, and shared by counted references: any
 * thread may read a list that it holds a reference to. The empty list is null, which every function accepts. Pure. */
#ifndef BASE_PREFIX_LIST_H
#define BASE_PREFIX_LIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

struct prefix_list {
    atomic_uint refs;
    size_t n;
    struct prefix v[]; /* ascending by prefix_compare, each once */
};

/* Sorts `v`, which stays the caller's, and copies it without duplicates. Null when `n` is 0. */
struct prefix_list *prefix_list_create(struct prefix *v, size_t n);
/* Another reference to the list: the same pointer. */
struct prefix_list *prefix_list_ref(struct prefix_list *l);
/* Drops a reference and nulls the pointer; the last one frees the list. */
void prefix_list_unref(struct prefix_list **l);
/* Both hold the same prefixes. */
bool prefix_list_eq(const struct prefix_list *a, const struct prefix_list *b);
/* The list holds exactly this prefix; a wider one does not count. */
bool prefix_list_has(const struct prefix_list *l, const struct prefix *p);

#endif
