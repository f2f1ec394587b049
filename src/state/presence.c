/* Copies of single columns from one object of an entity to another: for rows of other servers, which decide about some
 * columns, and for what a refused event reported, which is taken back. */
#include <string.h>

#include "base/prefix_list.h"
#include "base/rcbuf.h"
#include "state/presence_internal.h"
#include "state/model_internal.h"

static size_t size_of(const struct column *c)
{
    return c->type == COLUMN_JSON || c->type == COLUMN_BLOB || c->type == COLUMN_PREFIXES ? sizeof(void *) : c->cap;
}

/* Objects that share a text or a list have the same pointer to it. */
static bool is_same(const struct column *c, const struct row *a, const struct row *b)
{
    return memcmp((const char *)a + c->offset, (const char *)b + c->offset, size_of(c)) == 0;
}

static void copy_column(const struct column *c, struct row *to, const struct row *from)
{
    void *at = (char *)to + c->offset;
    const void *value = (const char *)from + c->offset;
    if (c->type == COLUMN_JSON || c->type == COLUMN_BLOB) {
        struct rcbuf *text = ref_or_null(*(struct rcbuf *const *)value);
        rcbuf_unref(at);
        *(struct rcbuf **)at = text;
    } else if (c->type == COLUMN_PREFIXES) {
        struct prefix_list *list = prefix_list_ref(*(struct prefix_list *const *)value);
        prefix_list_unref(at);
        *(struct prefix_list **)at = list;
    } else if (c->type != COLUMN_HOOK) {
        memcpy(at, value, size_of(c));
    }
}

void entity_copy_durable(const struct entity *e, struct row *to, const struct row *from)
{
    for (size_t i = 0; i < e->column_n; i++) {
        if ((e->columns[i].flags & COLUMN_PRESENCE) == 0)
            copy_column(&e->columns[i], to, from);
    }
}

void entity_take_back_presence(const struct entity *e, struct row *now, const struct row *before,
                               const struct row *after)
{
    for (size_t i = 0; i < e->column_n; i++) {
        const struct column *c = &e->columns[i];
        if ((c->flags & COLUMN_PRESENCE) != 0 && is_same(c, now, after) && !is_same(c, before, after))
            copy_column(c, now, before);
    }
}
