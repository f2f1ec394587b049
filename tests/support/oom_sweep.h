/* Allocation-failure sweep: runs an operation with its 1st, 2nd, 3rd... allocation failing, each in a child process,
 * until one run meets no failure any more. Every child must end with the clean out-of-memory status: no signal, no
 * sanitizer report. Only allocations through base/mem.h are swept. For single-threaded tests. */
#ifndef TESTS_OOM_SWEEP_H
#define TESTS_OOM_SWEEP_H

#include <stdbool.h>

enum { OOM_SWEEP_FAILED_STATUS = 3 };

/* Runs the operation in a child process where allocation `n` fails, with its output thrown away if `is_quiet`.
 * Returns the wait status; OOM_SWEEP_FAILED_STATUS is the exit status of an operation that came to its end in spite
 * of the failure; -1: no process. */
int oom_sweep_child(void (*operation)(void *ctx), void *ctx, unsigned long n, bool is_quiet);
/* How many allocations were made to fail; -1 (and the failing run's report on stderr) when one ended badly. */
long oom_sweep(void (*operation)(void *ctx), void *ctx);

#endif
