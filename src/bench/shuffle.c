#include "base/mem.h"
#include "bench/fleet.h"

uint64_t fleet_random(uint64_t *random)
{
    uint64_t x = *random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *random = x;
}

unsigned *fleet_shuffle(const struct fleet *f, uint64_t *random)
{
    unsigned *order = mem_zalloc(f->n, sizeof(*order));
    for (unsigned i = 0; i < f->n; i++) {
        unsigned k = (unsigned)(fleet_random(random) % (i + 1));
        order[i] = order[k];
        order[k] = i;
    }
    return order;
}
