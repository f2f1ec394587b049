#include "support/test_random.h"

uint64_t test_random_u64(struct test_random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 2685821657736338717u;
}

uint32_t test_random_below(struct test_random *r, uint32_t n)
{
    return (uint32_t)((test_random_u64(r) >> 32) * n >> 32);
}
