#include "state/auth_key.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"

struct auth_key *auth_key_create(void)
{
    struct auth_key *k = MEM_NEW(struct auth_key);
    atomic_init(&k->refs, 1);
    return k;
}

struct auth_key *auth_key_edit(const struct auth_key *k)
{
    return (struct auth_key *)row_copy(&entity_auth_key, &k->row);
}

const struct auth_key *auth_key_ref(const struct auth_key *k)
{
    refs_take(&k->refs);
    return k;
}

void auth_key_unref(const struct auth_key **at)
{
    const struct row *row = *at != NULL ? &(*at)->row : NULL;
    *at = NULL;
    row_unref(&entity_auth_key, &row);
}

/* --- rows --- */

static const struct column columns[] = {
    {COLUMN_OF("user_id", COLUMN_INT, struct auth_key, user), COLUMN_IS_ID, .flags = COLUMN_NULL_IF_ZERO,
     .refers_to = "users"},
    {COLUMN_OF("hash", COLUMN_BYTES, struct auth_key, hash), .flags = COLUMN_UNIQUE | COLUMN_SECRET},
    {COLUMN_OF("prefix", COLUMN_TEXT, struct auth_key, prefix)},
    {COLUMN_OF("is_reusable", COLUMN_BOOL, struct auth_key, is_reusable)},
    {COLUMN_OF("is_ephemeral", COLUMN_BOOL, struct auth_key, is_ephemeral)},
    {COLUMN_OF("is_used", COLUMN_BOOL, struct auth_key, is_used)},
    {COLUMN_OF("created_ms", COLUMN_INT, struct auth_key, created_ms)},
    {COLUMN_OF("expires_ms", COLUMN_INT, struct auth_key, expires_ms), .flags = COLUMN_NULL_IF_ZERO},
    {COLUMN_OF("tags", COLUMN_JSON, struct auth_key, tags)},
    {COLUMN_OF("max_nodes", COLUMN_INT, struct auth_key, max_nodes), .max = UINT32_MAX, .since = 6},
    {COLUMN_OF("joined_n", COLUMN_INT, struct auth_key, joined_n), .max = UINT32_MAX, .since = 6},
    /* A key must not become valid for more networks than it was made for. */
    {COLUMN_OF("sources", COLUMN_PREFIXES, struct auth_key, sources), .flags = COLUMN_NOT_EMPTY, .since = 6},
};

const struct entity entity_auth_key = {
    .name = "auth_key",
    .table = "auth_keys",
    .number = 3,
    .since = 1,
    .id_max = ROW_ID_MAX,
    .is_counted = true,
    .size = sizeof(struct auth_key),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
};
