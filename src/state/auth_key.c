#include "state/auth_key.h"

#include "base/mem.h"
#include "base/refs.h"
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
    struct auth_key *k = (struct auth_key *)*at;
    *at = NULL;
    if (k == NULL || !refs_drop(&k->refs))
        return;
    rcbuf_unref(&k->tags);
    prefix_list_unref(&k->sources);
    mem_free(k);
}
