/* An arena: many small allocations, one release. One per request or message.
 * Zero-initialised with a chunk size of 0 is valid (default chunks). Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* owned; the newest first */
    size_t used_bytes;          /* handed out so far: what a limit is checked against */
    size_t held_bytes;          /* memory that it has: what a budget is charged */
};

/* Frees everything that was allocated. The arena is empty then and may be used again. */
void arena_fini(struct arena *a);
/* `size` bytes, aligned for any type, not zeroed. They live until arena_fini. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((returns_nonnull));
/* `n` times `size` bytes, zeroed; ends the process when the product overflows. */
void *arena_zalloc(struct arena *a, size_t n, size_t size) __attribute__((returns_nonnull));
/* A copy of `s`, with a NUL behind it. */
struct str arena_str(struct arena *a, struct str s);
/* Formatted text, NUL-terminated. */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
