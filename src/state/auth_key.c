#include "state/auth_key.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"
#include "state/model_internal.h"

struct auth_key *auth_key_create(void)
{
    struct auth_key *k = MEM_NEW(struct auth_key);
    atomic_init(&k->refs, 1);
    return k;
}

struct auth_key *auth_key_edit(const struct auth_key *k)
{
    struct auth_key *copy = auth_key_create();
    copy_members(copy, k, offsetof(struct auth_key, id), sizeof(*copy));
    ref_or_null(copy->tags);
    prefix_list_ref(copy->sources);
    return copy;
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

static void destroy(struct row *object)
{
    struct auth_key *k = (struct auth_key *)object;
    rcbuf_unref(&k->tags);
    prefix_list_unref(&k->sources);
    mem_free(object);
}

static struct row *copy(const struct row *object)
{
    return &auth_key_edit((const struct auth_key *)object)->row;
}

const struct entity entity_auth_key = {
    .name = "auth_key",
    .table = "auth_keys",
    .number = 3,
    .since = 1,
    .id_max = ROW_ID_MAX,
    .is_counted = true,
    .size = sizeof(struct auth_key),
    .destroy = destroy,
    .copy = copy,
};
