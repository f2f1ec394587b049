#include "state/relay_host.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/model_internal.h"

struct relay_host *state_relay_host_create(void)
{
    struct relay_host *r = MEM_NEW(struct relay_host);
    atomic_init(&r->refs, 1);
    return r;
}

struct relay_host *state_relay_host_edit(const struct relay_host *r)
{
    struct relay_host *copy = state_relay_host_create();
    copy_members(copy, r, offsetof(struct relay_host, id), sizeof(*copy));
    return copy;
}

const struct relay_host *state_relay_host_ref(const struct relay_host *r)
{
    refs_take(&r->refs);
    return r;
}

void state_relay_host_unref(const struct relay_host **at)
{
    const struct relay_host *r = *at;
    *at = NULL;
    if (r != NULL && refs_drop(&r->refs))
        mem_free((void *)r);
}
