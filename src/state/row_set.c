#include "state/row_set.h"

#include "base/mem.h"
#include "base/refs.h"

struct row_set *row_set_create(size_t cap)
{
    struct row_set *s = mem_zalloc(1, sizeof(*s) + cap * sizeof(s->v[0]));
    atomic_init(&s->refs, 1);
    return s;
}

struct row_set *row_set_ref(struct row_set *s)
{
    refs_take(&s->refs);
    return s;
}

void row_set_unref(struct row_set **at)
{
    struct row_set *s = *at;
    *at = NULL;
    if (s == NULL || !refs_drop(&s->refs))
        return;
    for (size_t i = 0; i < s->n; i++)
        row_unref(s->v[i].entity, &s->v[i].row);
    mem_free(s);
}

const struct row *row_set_next(const struct row_set *s, const struct entity *entity, size_t *pos)
{
    while (*pos < s->n) {
        const struct row_set_member *m = &s->v[(*pos)++];
        if (m->entity == entity)
            return m->row;
    }
    return NULL;
}
