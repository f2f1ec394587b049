/* A member of an immutable object of the model in which a reader keeps what it has made of that object, for all who
 * read the object afterwards: netmap keeps encoded and compressed forms there. State knows neither what a slot holds
 * nor how it is made. What it holds belongs to the object and is destroyed with it.
 *
 * A slot has one kind of content, and is filled once. Any thread may read and fill it at any time; nothing here
 * blocks. The functions take const slots because the objects are const to their readers: filling a slot does not
 * change what they mean. */
#ifndef STATE_CACHE_SLOT_H
#define STATE_CACHE_SLOT_H

#include <stdatomic.h>
#include <stddef.h>

/* Zero-initialised is empty. */
struct cache_slot {
    void *_Atomic held;
    void (*_Atomic destroy)(void *held);
};

/* For memory that is not zeroed. Only before the object is shared. */
static inline void cache_slot_init(struct cache_slot *slot)
{
    atomic_init(&slot->held, NULL);
    atomic_init(&slot->destroy, NULL);
}

/* What the slot holds, borrowed; null: it is empty. */
static inline void *cache_slot_get(const struct cache_slot *slot)
{
    return atomic_load_explicit(&((struct cache_slot *)slot)->held, memory_order_acquire);
}

/* Fills the slot with `made`, which it owns from now on and ends with `destroy`. When another thread has filled it
 * first, `made` is destroyed at once. Returns what the slot holds, borrowed. */
void *cache_slot_offer(const struct cache_slot *slot, void *made, void (*destroy)(void *held));

/* Destroys what the slot holds, if anything. Called when the last reference to the object is gone. */
void cache_slot_fini(struct cache_slot *slot);

#endif
