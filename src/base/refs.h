/* Counted references of objects that threads share. The count is a member of the object, set to 1 by atomic_init() for
 * the reference that the creator holds. Taking and dropping are allowed on a const object: the count is not part of
 * what is immutable. Any thread that holds a reference may call these. */
#ifndef BASE_REFS_H
#define BASE_REFS_H

#include <stdatomic.h>
#include <stdbool.h>

/* One more reference, for a caller that holds one already. */
static inline void refs_take(const atomic_uint *refs)
{
    atomic_fetch_add_explicit((atomic_uint *)refs, 1, memory_order_relaxed);
}

/* One reference less. True: it was the last one, everything that other holders wrote is visible, and the caller frees
 * the object. */
static inline bool refs_drop(const atomic_uint *refs)
{
    return atomic_fetch_sub_explicit((atomic_uint *)refs, 1, memory_order_acq_rel) == 1;
}

/* Whether the caller holds the only reference, so that the object may still be changed: no other thread can take one.
 */
static inline bool refs_is_only(const atomic_uint *refs)
{
    return atomic_load_explicit((atomic_uint *)refs, memory_order_acquire) == 1;
}

#endif
