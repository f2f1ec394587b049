#include "state/entity.h"

#include "base/compiler.h"
#include "base/mem.h"
#include "base/prefix_list.h"
#include "base/rcbuf.h"
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

/* What the member refers to, if the column is of such a type. */
static struct rcbuf **buffer_of(const struct column *c, struct row *object)
{
    bool is_buffer = c->type == COLUMN_JSON || c->type == COLUMN_BLOB;
    return is_buffer ? (struct rcbuf **)(void *)((char *)object + c->offset) : NULL;
}

static struct prefix_list **prefixes_of(const struct column *c, struct row *object)
{
    return c->type == COLUMN_PREFIXES ? (struct prefix_list **)(void *)((char *)object + c->offset) : NULL;
}

struct row *row_copy(const struct entity *e, const struct row *object)
{
    if (e->copy != NULL)
        return e->copy(object);
    struct row *copy = entity_create(e);
    copy_members(copy, object, offsetof(struct row, id), e->size);
    for (size_t i = 0; i < e->column_n; i++) {
        struct rcbuf **buffer = buffer_of(&e->columns[i], copy);
        struct prefix_list **prefixes = prefixes_of(&e->columns[i], copy);
        if (buffer != NULL)
            ref_or_null(*buffer);
        if (prefixes != NULL)
            prefix_list_ref(*prefixes);
    }
    return copy;
}

static void destroy(const struct entity *e, struct row *object)
{
    for (size_t i = 0; i < e->column_n; i++) {
        struct rcbuf **buffer = buffer_of(&e->columns[i], object);
        struct prefix_list **prefixes = prefixes_of(&e->columns[i], object);
        if (buffer != NULL)
            rcbuf_unref(buffer);
        if (prefixes != NULL)
            prefix_list_unref(prefixes);
    }
    mem_free(object);
}

void row_unref(const struct entity *e, const struct row **at)
{
    struct row *object = (struct row *)*at;
    *at = NULL;
    if (object == NULL || !refs_drop(&object->refs))
        return;
    if (e->destroy != NULL)
        e->destroy(object);
    else
        destroy(e, object);
}

/* --- counters --- */

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
};
