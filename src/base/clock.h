/* Time and randomness from the system. Any thread. state, netmap, policy and proto never call these: they take `now`
 * and random bytes as arguments. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Milliseconds of a clock that never goes back, for durations. */
int64_t clock_mono_ms(void);
/* The same in microseconds. */
int64_t clock_mono_us(void);
/* Unix milliseconds, for dates. The machine's clock may be set at any time. */
int64_t clock_wall_ms(void);
/* CPU time of the calling thread in microseconds. */
int64_t clock_thread_cpu_us(void);

/* Fills `out` from the kernel's generator; ends the process if that fails. May block early in boot. */
void rng_bytes(void *out, size_t n);

#endif
