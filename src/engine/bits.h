/* Sets of small numbers as words of bits. The owner knows how many words there are. */
#ifndef ENGINE_BITS_H
#define ENGINE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t bits_words(size_t bits)
{
    return (bits + 63) / 64;
}

static inline bool bit_get(const uint64_t *set, size_t i)
{
    return (set[i / 64] >> (i % 64) & 1) != 0;
}

static inline void bit_put(uint64_t *set, size_t i)
{
    set[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void bit_drop(uint64_t *set, size_t i)
{
    set[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

static inline bool bits_meet(const uint64_t *a, const uint64_t *b, size_t words)
{
    uint64_t common = 0;
    for (size_t i = 0; i < words && common == 0; i++)
        common = a[i] & b[i];
    return common != 0;
}

/* The first element that is at least `from`, or `words * 64`. */
static inline size_t bits_next(const uint64_t *set, size_t words, size_t from)
{
    if (from >= words * 64)
        return words * 64;
    size_t w = from / 64;
    uint64_t left = set[w] & ~UINT64_C(0) << (from % 64);
    while (left == 0 && ++w < words)
        left = set[w];
    return w < words ? w * 64 + (unsigned)__builtin_ctzll(left) : words * 64;
}

#define BITS_EACH(it, set, words)                                                                                      \
    for (size_t it = bits_next(set, words, 0); it < (words) * 64; it = bits_next(set, words, it + 1))

#endif
