/* What the worst cases ask of the bounds. */
#ifndef FUZZ_BOUNDS_INTERNAL_H
#define FUZZ_BOUNDS_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

/* What the last check of steps, and of bytes, saw: nothing when the target never came to it. */
struct fuzz_seen {
    size_t steps_input_len;
    uint64_t steps;
    size_t bytes_input_len;
    size_t peak_bytes;
};
extern struct fuzz_seen fuzz_seen;

#endif
