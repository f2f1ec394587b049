/* Time and randomness from the system. Only edges call these; the model and proto/ take `now` and bytes as arguments. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Never goes back, for time-outs. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* Unix time, for what is told to people and nodes. */
int64_t clock_wall_ms(void);
/* CPU time of the calling thread. */
int64_t clock_thread_cpu_us(void);

/* From the kernel's generator; ends the process if that fails. */
void rng_bytes(void *out, size_t n);

#endif
