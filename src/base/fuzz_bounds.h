/* For fuzz targets: what an input may make us allocate. AddressSanitizer tells of every allocation of the process, ours and the
 * libraries'; a target sets a mark before the input and says after it how much its length allows. One target is one program, and
 * what it measures runs on one thread at a time.
 *
 *     fuzz_bounds_mark();
 *     (the input is parsed, and what came of it freed)
 *     fuzz_bounds_check(size, 4096, 64);     at most 4 KiB and 64 bytes for each byte of input, at any time
 */
#ifndef BASE_FUZZ_BOUNDS_H
#define BASE_FUZZ_BOUNDS_H

#include <sanitizer/allocator_interface.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static struct fuzz_bounds {
    bool is_hooked;
    long live;           /* bytes allocated since the mark, less what was freed: negative when older memory was */
    long peak;           /* the highest that `live` was */
    unsigned long count; /* allocations since the mark */
} fuzz_bounds;

static inline void fuzz_bounds_on_malloc(const volatile void *ptr, size_t size)
{
    (void)ptr;
    long live = __atomic_add_fetch(&fuzz_bounds.live, (long)size, __ATOMIC_RELAXED);
    __atomic_add_fetch(&fuzz_bounds.count, 1, __ATOMIC_RELAXED);
    if (live > __atomic_load_n(&fuzz_bounds.peak, __ATOMIC_RELAXED))
        __atomic_store_n(&fuzz_bounds.peak, live, __ATOMIC_RELAXED);
}

static inline void fuzz_bounds_on_free(const volatile void *ptr)
{
    if (ptr != NULL)
        __atomic_sub_fetch(&fuzz_bounds.live, (long)__sanitizer_get_allocated_size(ptr), __ATOMIC_RELAXED);
}

/* What follows is counted from here. */
static inline void fuzz_bounds_mark(void)
{
    if (!fuzz_bounds.is_hooked)
        __sanitizer_install_malloc_and_free_hooks(fuzz_bounds_on_malloc, fuzz_bounds_on_free);
    fuzz_bounds = (struct fuzz_bounds){.is_hooked = true};
}

/* Since the mark. */
static inline size_t fuzz_bounds_peak_bytes(void)
{
    return (size_t)fuzz_bounds.peak;
}

static inline size_t fuzz_bounds_live_bytes(void)
{
    return fuzz_bounds.live > 0 ? (size_t)fuzz_bounds.live : 0;
}

static inline unsigned long fuzz_bounds_allocations(void)
{
    return fuzz_bounds.count;
}

/* Aborts when more than `base` bytes and `per_byte` for each byte of the input were allocated at one time. */
static inline void fuzz_bounds_check(size_t input_len, size_t base, size_t per_byte)
{
    size_t allowed = base + input_len * per_byte;
    if (fuzz_bounds_peak_bytes() <= allowed)
        return;
    fprintf(stderr, "an input of %zu bytes had %zu bytes allocated at once, in %lu pieces; %zu are allowed\n",
            input_len, fuzz_bounds_peak_bytes(), fuzz_bounds_allocations(), allowed);
    abort();
}

#endif
