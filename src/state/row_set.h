/* The rows that a snapshot shows besides users and nodes: those of the entities that the state keeps as they are
 * (entity.is_in_snapshot), in one array. Immutable; any thread that holds a reference may read it. */
#ifndef STATE_ROW_SET_H
#define STATE_ROW_SET_H

#include "state/entity.h"

struct row_set_member {
    const struct entity *entity;
    const struct row *row; /* reference */
};

struct row_set {
    atomic_uint refs;
    size_t n;
    struct row_set_member v[]; /* ascending by id among those of an entity */
};

/* Without members, which the caller adds: there is room for `cap`. The caller owns the one reference. */
struct row_set *row_set_create(size_t cap);
/* Another reference to the set: the same pointer. */
struct row_set *row_set_ref(struct row_set *s);
/* Drops a reference and nulls the pointer; null is fine. */
void row_set_unref(struct row_set **s);
/* Walks the rows of an entity, ascending by id: start with *pos = 0. Null at the end. Borrowed from the set. */
const struct row *row_set_next(const struct row_set *s, const struct entity *entity, size_t *pos);

#endif
