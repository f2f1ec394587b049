#include "base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/fits.h"
#include "base/mem.h"

enum { CHUNK_BYTES = 4096 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t cap;
    alignas(max_align_t) uint8_t bytes[];
};

void arena_fini(struct arena *a)
{
    while (a->chunks != NULL) {
        struct arena_chunk *chunk = a->chunks;
        a->chunks = chunk->next;
        mem_free(chunk);
    }
    *a = (struct arena){0};
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    assert(rounded >= size);
    struct arena_chunk *chunk = a->chunks;
    if (chunk == NULL || !fits(chunk->used, rounded, chunk->cap)) {
        size_t cap = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
        chunk = mem_alloc(sizeof(*chunk) + cap);
        a->held_bytes += sizeof(*chunk) + cap;
        *chunk = (struct arena_chunk){.next = a->chunks, .cap = cap};
        a->chunks = chunk;
    }
    void *at = chunk->bytes + chunk->used;
    chunk->used += rounded;
    a->used_bytes += rounded;
    return at;
}

void *arena_zalloc(struct arena *a, size_t n, size_t size)
{
    size_t total;
    bool overflow = __builtin_mul_overflow(n, size, &total);
    assert(!overflow);
    (void)overflow;
    return memset(arena_alloc(a, total), 0, total);
}

struct str arena_str(struct arena *a, struct str s)
{
    char *copy = arena_alloc(a, s.len + 1);
    if (s.len > 0)
        memcpy(copy, s.p, s.len);
    copy[s.len] = '\0';
    return str_n(copy, s.len);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    assert(n >= 0);
    char *out = arena_alloc(a, (size_t)n + 1);
    vsnprintf(out, (size_t)n + 1, fmt, args);
    va_end(args);
    return out;
}
