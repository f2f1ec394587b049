#include "state/policy_text.h"

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
};
