/* At which position of a filter a merged rule stands: that of the first rule of the whole tailnet with the same
 * sources and protocol. src: docs/protocol/policy.md 4.4 */
#ifndef ENGINE_MERGE_SLOTS_H
#define ENGINE_MERGE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct merge_slot {
    uint64_t hash[2]; /* of the sources */
    uint32_t proto;
    uint32_t order; /* 0: free */
};

/* A hash table. */
struct merge_table {
    struct merge_slot *slot; /* heap */
    size_t cap;              /* a power of two */
    uint64_t version;        /* clock when it was filled */
};

#endif
