/* Sets of small numbers (ids, positions in a table) as words of 64 bits. The owner allocates bits_words() zeroed words
 * and knows how many there are; nothing here checks an element against that. Not thread-safe. */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* bits_words() for the size of an array. */
#define BITS_WORDS(bits) (((bits) + 63) / 64)

/* How many words hold the elements 0 .. bits-1. */
static inline size_t bits_words(size_t bits)
{
    return BITS_WORDS(bits);
}

/* Whether `i` is in the set. */
static inline bool bit_get(const uint64_t *set, size_t i)
{
    return (set[i / 64] >> (i % 64) & 1) != 0;
}

/* Puts `i` into the set. */
static inline void bit_put(uint64_t *set, size_t i)
{
    set[i / 64] |= UINT64_C(1) << (i % 64);
}

/* Takes `i` out of the set. */
static inline void bit_drop(uint64_t *set, size_t i)
{
    set[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* Whether both sets of `words` words have an element in common. */
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

/* Runs the body for each element in ascending order. */
#define BITS_EACH(it, set, words)                                                                                      \
    for (size_t it = bits_next(set, words, 0); it < (words) * 64; it = bits_next(set, words, it + 1))

#endif
