#include "state/relay_host.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"
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
    const struct row *row = *at != NULL ? &(*at)->row : NULL;
    *at = NULL;
    row_unref(&entity_relay_host, &row);
}

/* --- rows --- */

static void destroy(struct row *object)
{
    mem_free(object);
}

static struct row *copy(const struct row *object)
{
    return &state_relay_host_edit((const struct relay_host *)object)->row;
}

const struct entity entity_relay_host = {
    .name = "relay",
    .table = "relays",
    .number = 4,
    .since = 2,
    .id_max = ROW_ID_MAX,
    .is_counted = true,
    .size = sizeof(struct relay_host),
    .destroy = destroy,
    .copy = copy,
};
