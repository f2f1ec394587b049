#include "state/policy_text.h"

#include "base/mem.h"
#include "base/refs.h"

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
    struct policy_text *t = (struct policy_text *)(uintptr_t)*at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    rcbuf_unref(&t->text);
    mem_free(t);
}
