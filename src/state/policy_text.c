#include "state/policy_text.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"

struct policy_text *state_policy_text_create(struct str text)
{
    struct policy_text *t = MEM_NEW(struct policy_text);
    atomic_init(&t->refs, 1);
    t->text = rcbuf_create(text.p, text.len);
    return t;
}

static struct policy_text *edit(const struct policy_text *t)
{
    struct policy_text *copy = state_policy_text_create(str_n(t->text->data, t->text->len));
    copy->id = t->id;
    copy->created_ms = t->created_ms;
    memcpy(copy->author, t->author, sizeof(copy->author));
    memcpy(copy->note, t->note, sizeof(copy->note));
    return copy;
}

const struct policy_text *state_policy_text_ref(const struct policy_text *t)
{
    refs_take(&t->refs);
    return t;
}

void state_policy_text_unref(const struct policy_text **at)
{
    const struct row *row = *at != NULL ? &(*at)->row : NULL;
    *at = NULL;
    row_unref(&entity_policy_text, &row);
}

/* --- rows --- */

static void destroy(struct row *object)
{
    struct policy_text *t = (struct policy_text *)object;
    rcbuf_unref(&t->text);
    mem_free(object);
}

static struct row *copy(const struct row *object)
{
    return &edit((const struct policy_text *)object)->row;
}

static const struct column columns[] = {
    {COLUMN_OF("created_ms", COLUMN_INT, struct policy_text, created_ms)},
    {COLUMN_OF("author", COLUMN_TEXT, struct policy_text, author)},
    {COLUMN_OF("note", COLUMN_TEXT, struct policy_text, note)},
    {COLUMN_OF("text", COLUMN_BLOB, struct policy_text, text), .max = POLICY_TEXTS_MAX_BYTES},
};

const struct entity entity_policy_text = {
    .name = "policy_text",
    .table = "policy_texts",
    .number = 5,
    .since = 4,
    .id_max = ROW_ID_MAX,
    .size = sizeof(struct policy_text),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
    .destroy = destroy,
    .copy = copy,
};
