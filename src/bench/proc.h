/* What the kernel tells of a process: of the server under test, and of ourselves. Reads /proc; blocks on nothing else. Any thread.
 *
 * A pid of 0 stands for a server that is not known (on another machine, or nobody said): its figures are all 0, and nothing
 * fails. Otherwise RC_NOT_FOUND when there is no such process, RC_DENIED when it is not ours to look at. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rc.h"

/* CPU time of all threads since the start, those that have ended included. The total is exact (the process's CPU clock, in
 * nanoseconds); the kernel's split into user and system is good to its tick of 10 ms. The sum over the threads' schedstat
 * would be as exact, but loses what ended threads have used. */
struct proc_cpu {
    int64_t total_ns;
    int64_t user_ns;
};
MUST_CHECK enum rc proc_cpu_read(int pid, struct proc_cpu *out);
/* What was used from `before` to `after`; user and system times are never negative. */
struct proc_cpu proc_cpu_between(const struct proc_cpu *before, const struct proc_cpu *after);
/* Of this process. */
struct proc_cpu proc_cpu_self(void);

struct proc_memory {
    int64_t rss_bytes;
    int64_t peak_rss_bytes; /* since the start, or since proc_peak_reset */
};
MUST_CHECK enum rc proc_memory_read(int pid, struct proc_memory *out);
struct proc_memory proc_memory_self(void);
/* The peak is the present size from now on. */
MUST_CHECK enum rc proc_peak_reset(int pid);

/* Open file descriptors. */
MUST_CHECK enum rc proc_fds_count(int pid, unsigned *out);

/* Does it exist? True for pid 0. */
bool proc_is_alive(int pid);

/* Lifts this process's limit of open files to `want`, as far as it goes; returns what it is then. */
uint64_t proc_raise_fd_limit(uint64_t want);

/* This process keeps the memory that it frees: streams free their buffers as soon as they are empty, and giving the pages back
 * each time takes a third of a busy generator's CPU time. */
void proc_keep_heap(void);

#endif
