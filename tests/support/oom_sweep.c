#include "support/oom_sweep.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum { OOM_SWEEP_MAX = 2000 };

int oom_sweep_child(void (*operation)(void *ctx), void *ctx, unsigned long n, bool is_quiet)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int null_fd = is_quiet ? open("/dev/null", O_WRONLY) : -1;
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

long oom_sweep(void (*operation)(void *ctx), void *ctx)
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
