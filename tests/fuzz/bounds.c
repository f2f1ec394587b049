/* Counts for base/fuzz_bounds.h. Memory by AddressSanitizer's hooks. Steps by a callback of
 * -fsanitize-coverage=trace-pc-guard at every edge: the fuzzer's library has that name already, so it is wrapped by the
 * linker (--wrap), as are the functions whose cost is their argument's length. */
#include "base/fuzz_bounds.h"

#include <sanitizer/allocator_interface.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "bounds.h"

#define UNCOUNTED __attribute__((no_sanitize("coverage", "address", "undefined")))
#define BYTES_PER_STEP 16

static struct {
    bool is_hooked;
    long live; /* bytes allocated since the mark, less what was freed: negative when older memory was */
    long peak; /* the highest that `live` was */
    unsigned long count;
} memory;
static uint64_t steps;
struct fuzz_seen fuzz_seen;

/* --- memory --- */

UNCOUNTED static void on_malloc(const volatile void *ptr, size_t size)
{
    (void)ptr;
    long live = __atomic_add_fetch(&memory.live, (long)size, __ATOMIC_RELAXED);
    __atomic_add_fetch(&memory.count, 1, __ATOMIC_RELAXED);
    if (live > __atomic_load_n(&memory.peak, __ATOMIC_RELAXED))
        __atomic_store_n(&memory.peak, live, __ATOMIC_RELAXED);
    steps += 1 + size / BYTES_PER_STEP;
}

UNCOUNTED static void on_free(const volatile void *ptr)
{
    if (ptr != NULL)
        __atomic_sub_fetch(&memory.live, (long)__sanitizer_get_allocated_size(ptr), __ATOMIC_RELAXED);
}

void fuzz_bounds_mark(void)
{
    if (!memory.is_hooked)
        __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    memory.is_hooked = true;
    memory.live = memory.peak = 0;
    memory.count = 0;
    steps = 0;
}

size_t fuzz_bounds_peak_bytes(void)
{
    return (size_t)memory.peak;
}

size_t fuzz_bounds_live_bytes(void)
{
    return memory.live > 0 ? (size_t)memory.live : 0;
}

unsigned long fuzz_bounds_allocations(void)
{
    return memory.count;
}

void fuzz_bounds_check(size_t input_len, size_t base, size_t per_byte)
{
    size_t allowed = base + input_len * per_byte;
    fuzz_seen.bytes_input_len = input_len;
    fuzz_seen.peak_bytes = fuzz_bounds_peak_bytes();
    if (fuzz_seen.peak_bytes <= allowed)
        return;
    fprintf(stderr, "an input of %zu bytes had %zu bytes allocated at once, in %lu pieces; %zu are allowed\n",
            input_len, fuzz_seen.peak_bytes, memory.count, allowed);
    abort();
}

/* --- steps --- */

void __wrap___sanitizer_cov_trace_pc_guard(uint32_t *guard);
void __wrap___sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop);
void *__wrap___asan_memcpy(void *to, const void *from, size_t n);
void *__wrap___asan_memmove(void *to, const void *from, size_t n);
void *__wrap___asan_memset(void *to, int c, size_t n);
void *__wrap_memchr(const void *p, int c, size_t n);
int __wrap_memcmp(const void *a, const void *b, size_t n);
int __wrap_bcmp(const void *a, const void *b, size_t n);
size_t __wrap_strlen(const char *s);
void *__real___asan_memcpy(void *to, const void *from, size_t n);
void *__real___asan_memmove(void *to, const void *from, size_t n);
void *__real___asan_memset(void *to, int c, size_t n);
void *__real_memchr(const void *p, int c, size_t n);
int __real_memcmp(const void *a, const void *b, size_t n);
int __real_bcmp(const void *a, const void *b, size_t n);
size_t __real_strlen(const char *s);

UNCOUNTED void __wrap___sanitizer_cov_trace_pc_guard(uint32_t *guard)
{
    (void)guard;
    steps++;
}

UNCOUNTED void __wrap___sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop)
{
    (void)start;
    (void)stop;
}

UNCOUNTED void *__wrap___asan_memcpy(void *to, const void *from, size_t n)
{
    steps += n / BYTES_PER_STEP;
    return __real___asan_memcpy(to, from, n);
}

UNCOUNTED void *__wrap___asan_memmove(void *to, const void *from, size_t n)
{
    steps += n / BYTES_PER_STEP;
    return __real___asan_memmove(to, from, n);
}

UNCOUNTED void *__wrap___asan_memset(void *to, int c, size_t n)
{
    steps += n / BYTES_PER_STEP;
    return __real___asan_memset(to, c, n);
}

UNCOUNTED void *__wrap_memchr(const void *p, int c, size_t n)
{
    uint8_t *found = __real_memchr(p, c, n);
    steps += (found != NULL ? (size_t)(found - (const uint8_t *)p) : n) / BYTES_PER_STEP;
    return found;
}

/* Where two differ is not known: a comparison that fails costs no more than its edge. */
UNCOUNTED int __wrap_memcmp(const void *a, const void *b, size_t n)
{
    int order = __real_memcmp(a, b, n);
    steps += order == 0 ? n / BYTES_PER_STEP : 0;
    return order;
}

UNCOUNTED int __wrap_bcmp(const void *a, const void *b, size_t n)
{
    int order = __real_bcmp(a, b, n);
    steps += order == 0 ? n / BYTES_PER_STEP : 0;
    return order;
}

UNCOUNTED size_t __wrap_strlen(const char *s)
{
    size_t n = __real_strlen(s);
    steps += n / BYTES_PER_STEP;
    return n;
}

uint64_t fuzz_bounds_steps(void)
{
    return steps;
}

void fuzz_bounds_check_steps(size_t input_len, uint64_t base, uint64_t per_byte)
{
    uint64_t made = steps, allowed = base + input_len * per_byte;
    fuzz_seen.steps_input_len = input_len;
    fuzz_seen.steps = made;
    if (made <= allowed)
        return;
    fprintf(stderr, "an input of %zu bytes took %llu steps; %llu are allowed\n", input_len, (unsigned long long)made,
            (unsigned long long)allowed);
    abort();
}
