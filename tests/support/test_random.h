/* Repeatable random numbers for property tests: the same seed, the same run. (xorshift64*) */
#ifndef TESTS_TEST_RANDOM_H
#define TESTS_TEST_RANDOM_H

#include <stdint.h>

struct test_random {
    uint64_t state; /* not 0 */
};

static inline uint64_t test_random_u64(struct test_random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 2685821657736338717u;
}

/* 0..n-1 */
static inline uint32_t test_random_below(struct test_random *r, uint32_t n)
{
    return (uint32_t)((test_random_u64(r) >> 32) * n >> 32);
}

#endif
