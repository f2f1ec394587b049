#include "state/cache_slot.h"

void *cache_slot_offer(const struct cache_slot *slot, void *made, void (*destroy)(void *held))
{
    struct cache_slot *s = (struct cache_slot *)slot;
    void *found = NULL;
    /* Before `held`, so that the thread that frees the object finds both. All threads that fill a slot give the same
     * function. */
    atomic_store_explicit(&s->destroy, destroy, memory_order_relaxed);
    if (atomic_compare_exchange_strong_explicit(&s->held, &found, made, memory_order_acq_rel, memory_order_acquire))
        return made;
    destroy(made);
    return found;
}

void cache_slot_fini(struct cache_slot *slot)
{
    void *held = atomic_exchange_explicit(&slot->held, NULL, memory_order_acquire);
    if (held != NULL)
        atomic_load_explicit(&slot->destroy, memory_order_relaxed)(held);
}
