#include "state/entity.h"

#include "base/compiler.h"
#include "base/mem.h"
#include "base/refs.h"
#include "state/model_internal.h"

int entity_column_since(const struct entity *e, const struct column *c)
{
    return c->since > e->since ? c->since : e->since;
}

struct row *entity_create(const struct entity *e)
{
    struct row *object = mem_zalloc(1, e->size);
    atomic_init(&object->refs, 1);
    return object;
}

const struct row *row_ref(const struct row *object)
{
    if (object != NULL)
        refs_take(&object->refs);
    return object;
}

void row_unref(const struct entity *e, const struct row **at)
{
    struct row *object = (struct row *)*at;
    *at = NULL;
    if (object != NULL && refs_drop(&object->refs))
        e->destroy(object);
}

/* --- counters --- */

static void counter_destroy(struct row *object)
{
    mem_free(object);
}

static struct row *counter_copy(const struct row *object)
{
    struct row *copy = entity_create(&entity_counter);
    copy_members(copy, object, offsetof(struct counter, id), sizeof(struct counter));
    return copy;
}

static const struct column columns[] = {
    {COLUMN_OF("next", COLUMN_INT, struct counter, next), COLUMN_IS_ID},
};

const struct entity entity_counter = {
    .name = "counter",
    .table = "counters",
    .number = 1,
    .since = 7,
    .id_max = ENTITIES_MAX - 1,
    .size = sizeof(struct counter),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
    .destroy = counter_destroy,
    .copy = counter_copy,
};
