/* Allocation-failure sweep: runs an operation with its 1st, 2nd, 3rd... allocation failing, each in a child process,
 * until one run meets no failure any more. Every child must end with the clean out-of-memory status: no signal, no
 * sanitizer report. Only allocations through base/mem.h are swept. For single-threaded tests. */
#ifndef TESTS_OOM_SWEEP_H
#define TESTS_OOM_SWEEP_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum { OOM_SWEEP_MAX = 2000, OOM_SWEEP_FAILED_STATUS = 3 };

static inline int oom_sweep_child(void (*operation)(void *ctx), void *ctx, unsigned long n, bool quiet)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null_fd = quiet ? open("/dev/null", O_WRONLY) : -1;
        if (null_fd >= 0) {
            dup2(null_fd, STDOUT_FILENO);
            dup2(null_fd, STDERR_FILENO);
        }
        mem_test_fail_at(n);
        operation(ctx);
        /* Having come this far with the failure behind is wrong too. */
        _exit(mem_test_fail_at(0) < n ? 0 : OOM_SWEEP_FAILED_STATUS);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status;
}

/* How many allocations were made to fail; -1 (and the failing run's report on stderr) when one ended badly. */
static inline long oom_sweep(void (*operation)(void *ctx), void *ctx)
{
    for (unsigned long n = 1; n <= OOM_SWEEP_MAX; n++) {
        int status = oom_sweep_child(operation, ctx, n, true);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return (long)n - 1;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != MEM_OOM_EXIT_STATUS) {
            fprintf(stderr, "# allocation %lu: wait status 0x%x\n", n, (unsigned)status);
            oom_sweep_child(operation, ctx, n, false);
            return -1;
        }
    }
    return OOM_SWEEP_MAX;
}

#endif
