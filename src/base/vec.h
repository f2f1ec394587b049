/* Arrays that grow. The owner keeps pointer, count and capacity as three members of its own struct (all zero: empty),
 * so that it indexes the array as usual, and frees it with mem_free(). What lets the array grow has a limit of its own:
 * out of memory ends the process. Not thread-safe. */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* Makes room for one more element behind the `n` that array `v` holds: doubles `cap`, which starts with `first`. `v`
 * and `cap` are assigned, so pointers into the array are void afterwards; the new room is not zeroed.
 *
 *     VEC_ROOM(l->v, l->n, l->cap, 16);
 *     l->v[l->n++] = item; */
#define VEC_ROOM(v, n, cap, first)                                                                                     \
    do {                                                                                                               \
        if ((n) >= (cap)) {                                                                                            \
            (cap) = (cap) > 0 ? (cap) * 2 : (first);                                                                   \
            assert((n) < (cap)); /* else doubling wrapped */                                                           \
            (v) = mem_realloc_array((v), (cap), sizeof(*(v)));                                                         \
        }                                                                                                              \
    } while (0)

/* Puts `item` behind the `n` that the array holds; `cap` starts with 16. */
#define VEC_PUSH(v, n, cap, item)                                                                                      \
    do {                                                                                                               \
        VEC_ROOM(v, n, cap, 16);                                                                                       \
        (v)[(n)++] = (item);                                                                                           \
    } while (0)

/* Makes v[index] exist, for arrays whose index is an id: doubles `cap` until it is larger than `index` and zeroes the
 * new elements. `cap` is a size_t and counts all elements, used or not. */
#define VEC_COVER(v, cap, index, first)                                                                                \
    do {                                                                                                               \
        if ((index) >= (cap)) {                                                                                        \
            size_t vec_old_ = (cap);                                                                                   \
            (cap) = vec_cap_beyond(vec_old_, (index), (first));                                                        \
            (v) = mem_realloc_array((v), (cap), sizeof(*(v)));                                                         \
            memset((v) + vec_old_, 0, ((cap) - vec_old_) * sizeof(*(v)));                                              \
        }                                                                                                              \
    } while (0)

/* The capacity larger than `index` that `cap` reaches by doubling; 0 starts with `first`, which is not 0. For
 * VEC_COVER. An index beyond SIZE_MAX / 4 is a mistake of the caller: doubling would wrap, and the loop never end. */
static inline size_t vec_cap_beyond(size_t cap, size_t index, size_t first)
{
    cap = cap > 0 ? cap : first;
    assert(cap > 0 && index <= SIZE_MAX / 4);
    while (cap <= index)
        cap *= 2;
    return cap;
}

#endif
