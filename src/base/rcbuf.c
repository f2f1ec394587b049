#include "base/rcbuf.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"

struct rcbuf *rcbuf_create(const void *bytes, size_t len)
{
    struct rcbuf *b = mem_alloc(sizeof(*b) + len);
    atomic_init(&b->refs, 1);
    b->len = len;
    if (bytes != NULL && len > 0)
        memcpy(b->data, bytes, len);
    return b;
}

struct rcbuf *rcbuf_ref(struct rcbuf *b)
{
    refs_take(&b->refs);
    return b;
}

void rcbuf_unref(struct rcbuf **b)
{
    struct rcbuf *held = *b;
    *b = NULL;
    if (held != NULL && refs_drop(&held->refs))
        mem_free(held);
}

bool rcbuf_eq(const struct rcbuf *a, const struct rcbuf *b)
{
    return a == b || (a != NULL && b != NULL && a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

struct rcbuf *rcbuf_slot_offer(struct rcbuf *_Atomic *slot, struct rcbuf *made)
{
    struct rcbuf *held = NULL;
    if (atomic_compare_exchange_strong_explicit(slot, &held, made, memory_order_acq_rel, memory_order_acquire))
        return made;
    rcbuf_unref(&made);
    return held;
}
