/* Repeatable random numbers for property tests: the same seed, the same run. (xorshift64*) */
#ifndef TESTS_TEST_RANDOM_H
#define TESTS_TEST_RANDOM_H

#include <stdint.h>

struct test_random {
    uint64_t state; /* not 0 */
};

/* Any of 64 bits. */
uint64_t test_random_u64(struct test_random *r);
/* 0 to n - 1. */
uint32_t test_random_below(struct test_random *r, uint32_t n);

#endif
