/* For fuzz targets: bounds on what an input may make the program allocate and compute. Each target states both
 * (tools/check-house checks it):
 *
 *     fuzz_bounds_mark();
 *     (parse the input and free the result)
 *     fuzz_bounds_check(size, 4096, 64);          at most 4 KiB and 64 bytes for each byte of input, at any one time
 *     fuzz_bounds_check_steps(size, 10000, 200);  at most 10,000 steps and 200 for each byte of input
 *
 * A step is deterministic: an edge of our code's control flow, 16 bytes copied, filled, searched or compared, or 16
 * bytes allocated (that counts the work of libraries where it grows). AddressSanitizer reports every allocation of the
 * process, ours and the libraries'. One target is one program, and what it measures runs on one thread at a time.
 *
 * tests/fuzz is linked into every target: `codec_json_fuzz --worst CORPUS...` feeds it generated worst cases of growing
 * sizes, which must meet the bounds, and cost no more than five times as much for four times the input. */
#ifndef BASE_FUZZ_BOUNDS_H
#define BASE_FUZZ_BOUNDS_H

#include <stddef.h>
#include <stdint.h>

/* Counting begins here. */
void fuzz_bounds_mark(void);

/* Since the mark: the most bytes that were allocated at one time, those that are now, allocations, steps. */
size_t fuzz_bounds_peak_bytes(void);
size_t fuzz_bounds_live_bytes(void);
unsigned long fuzz_bounds_allocations(void);
uint64_t fuzz_bounds_steps(void);

/* Aborts when more than `base` bytes and `per_byte` for each byte of the input were allocated at one time since the
 * mark. */
void fuzz_bounds_check(size_t input_len, size_t base, size_t per_byte);

/* Aborts when more than `base` steps and `per_byte` for each byte of the input were made since the mark. */
void fuzz_bounds_check_steps(size_t input_len, uint64_t base, uint64_t per_byte);

#endif
