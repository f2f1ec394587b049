/* CPU time, memory and files of a process, of the server under test or this one, from /proc. Blocks on nothing else.
 * Any thread.
 *
 * A pid of 0 stands for a server whose process is not known: its figures are all 0, and nothing fails. Otherwise
 * RC_NOT_FOUND when there is no such process, RC_DENIED when this user may not look at it. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rc.h"

/* CPU time of all threads since the start, including those that have ended. The total is exact (the process's CPU
 * clock, in nanoseconds); the kernel's split into user and system time is good to its tick of 10 ms. (The sum over
 * the threads' schedstat would be as exact, but without the threads that have ended.) */
struct proc_cpu {
    int64_t total_ns;
    int64_t user_ns;
};
/* Reads the CPU time of process `pid`. */
MUST_CHECK enum rc proc_cpu_read(int pid, struct proc_cpu *out);
/* What was used from `before` to `after`; user and system times are never negative. */
struct proc_cpu proc_cpu_between(const struct proc_cpu *before, const struct proc_cpu *after);
/* CPU time of this process. */
struct proc_cpu proc_cpu_self(void);

struct proc_memory {
    int64_t rss_bytes;
    int64_t peak_rss_bytes; /* since the start, or since proc_peak_reset */
};
/* Reads the resident memory of process `pid`. */
MUST_CHECK enum rc proc_memory_read(int pid, struct proc_memory *out);
/* Memory of this process. */
struct proc_memory proc_memory_self(void);
/* Starts the peak anew, from the present size. */
MUST_CHECK enum rc proc_peak_reset(int pid);

/* Open file descriptors. */
MUST_CHECK enum rc proc_fds_count(int pid, unsigned *out);

/* Whether the process exists. True for pid 0. */
bool proc_is_alive(int pid);

/* Raises this process's limit of open files to `want`, or as far as the hard limit allows. Returns the limit then. */
uint64_t proc_raise_fd_limit(uint64_t want);

/* Makes this process keep the memory that it frees: streams free their buffers as soon as they are empty, and giving
 * the pages back to the kernel each time takes a third of a busy generator's CPU time. */
void proc_keep_heap(void);

#endif
