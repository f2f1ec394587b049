/* Rows of entities that need no structure of their own in the state, because there are few: an array for each entity,
 * ascending by id. */
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

/* Where the row with this id is, or belongs. */
static size_t place_of(const struct kept_rows *k, uint64_t id)
{
    size_t low = 0, high = k->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (k->v[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct row *kept_row(const struct state *st, const struct entity *entity, uint64_t id)
{
    const struct kept_rows *k = &st->kept[entity->number];
    size_t i = place_of(k, id);
    return i < k->n && k->v[i]->id == id ? k->v[i] : NULL;
}

const struct row *kept_next(const struct state *st, const struct entity *entity, size_t *pos)
{
    const struct kept_rows *k = &st->kept[entity->number];
    return *pos < k->n ? k->v[(*pos)++] : NULL;
}

size_t kept_count(const struct state *st, const struct entity *entity)
{
    return st->kept[entity->number].n;
}

static void drop(const struct entity *entity, struct kept_rows *k, size_t i)
{
    row_unref(entity, &k->v[i]);
    k->n--;
    memmove(k->v + i, k->v + i + 1, (k->n - i) * sizeof(k->v[0]));
}

static void insert(const struct entity *entity, struct kept_rows *k, size_t i, const struct row *row)
{
    k->entity = entity;
    VEC_ROOM(k->v, k->n, k->cap, 16);
    memmove(k->v + i + 1, k->v + i, (k->n - i) * sizeof(k->v[0]));
    k->v[i] = row;
    k->n++;
}

void kept_install(struct state *st, const struct entity *entity, uint64_t id, const struct row *row)
{
    struct kept_rows *k = &st->kept[entity->number];
    size_t i = place_of(k, id);
    if (i < k->n && k->v[i]->id == id)
        drop(entity, k, i);
    if (row != NULL)
        insert(entity, k, i, row);
    st->kept_dirty |= entity->is_in_snapshot;
}

void kept_put(struct state *st, const struct entity *entity, const struct row *before, const struct row *after)
{
    state_put(st, entity, before, after);
    kept_install(st, entity, before != NULL ? before->id : after->id, after);
}

static bool has_equal(const struct state *st, const struct entity *entity, const struct column *c,
                      const struct row *row)
{
    const struct row *other;
    for (size_t pos = 0; (other = kept_next(st, entity, &pos)) != NULL;) {
        if (strcmp((const char *)other + c->offset, (const char *)row + c->offset) == 0)
            return true;
    }
    return false;
}

enum rc kept_load(struct state *st, const struct entity *entity, const struct row *row, struct err *err)
{
    if (row->id == 0 || row->id > entity->id_max)
        return err_set(err, RC_INVALID, "its id is none that this server gives");
    if (kept_row(st, entity, row->id) != NULL)
        return err_set(err, RC_INVALID, "another row has the same id");
    for (size_t i = 0; i < entity->column_n; i++) {
        const struct column *c = &entity->columns[i];
        if ((c->flags & COLUMN_UNIQUE) != 0 && c->type == COLUMN_TEXT && has_equal(st, entity, c, row))
            return err_set(err, RC_INVALID, "another row has the same %s", c->name);
    }
    kept_install(st, entity, row->id, row);
    return RC_OK;
}

struct row_set *kept_snapshot(const struct state *st)
{
    size_t n = 0;
    for (size_t i = 0; i < ENTITIES_MAX; i++)
        n += st->kept[i].n;
    struct row_set *set = row_set_create(n);
    for (size_t i = 0; i < ENTITIES_MAX; i++) {
        const struct kept_rows *k = &st->kept[i];
        for (size_t j = 0; j < k->n && k->entity->is_in_snapshot; j++)
            set->v[set->n++] = (struct row_set_member){k->entity, row_ref(k->v[j])};
    }
    return set;
}

void kept_fini(struct state *st)
{
    for (size_t i = 0; i < ENTITIES_MAX; i++) {
        struct kept_rows *k = &st->kept[i];
        while (k->n > 0)
            row_unref(k->entity, &k->v[--k->n]);
        mem_free(k->v);
    }
}
