/* What every object of the model that has rows begins with. */
#ifndef STATE_ROW_H
#define STATE_ROW_H

#include <stdatomic.h>
#include <stdint.h>

struct row {
    atomic_uint refs;
    uint64_t id;
};

/* The same, as the first member of an object: its `refs` and `id`, and both together as `row`. */
#define ROW_HEAD                                                                                                       \
    union {                                                                                                            \
        struct row row;                                                                                                \
        struct {                                                                                                       \
            atomic_uint refs;                                                                                          \
            uint64_t id;                                                                                               \
        };                                                                                                             \
    }

#endif
