#include "bench/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

enum {
    FILE_MAX_BYTES = 64 * 1024, /* /proc/PID/status has some 1.5 kB */
    TICK_NS = 10 * 1000 * 1000, /* USER_HZ is 100 on all of Linux */
    STAT_UTIME = 11,            /* fields after the command's ')' */
    HEAP_KEEP_BYTES = 64 << 20,
    HEAP_STEP_BYTES = 4 << 20,
};

/* `out` must be empty; it is the caller's also after a failure. */
static enum rc read_proc(int pid, const char *name, struct buf *out)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    enum rc rc = file_read(path, FILE_MAX_BYTES, out, NULL);
    return rc == RC_IO && errno == ESRCH ? RC_NOT_FOUND : rc; /* it ended between open and read */
}

/* --- CPU --- */

/* utime and stime. The command may hold blanks and parentheses: fields count from the last ')'. */
static enum rc parse_stat(const char *text, unsigned long long *user_ticks, unsigned long long *sys_ticks)
{
    const char *at = strrchr(text, ')');
    for (unsigned i = 0; at != NULL && i <= STAT_UTIME; i++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, " %llu %llu", user_ticks, sys_ticks) == 2 ? RC_OK : RC_INVALID;
}

static enum rc read_user_ns(int pid, int64_t *out)
{
    struct buf text = {0};
    unsigned long long user = 0, sys = 0;
    enum rc rc = read_proc(pid, "stat", &text);
    if (rc == RC_OK)
        rc = parse_stat(buf_cstr(&text), &user, &sys);
    buf_fini(&text);
    *out = (int64_t)user * TICK_NS;
    return rc;
}

enum rc proc_cpu_read(int pid, struct proc_cpu *out)
{
    clockid_t clock;
    struct timespec ts;
    *out = (struct proc_cpu){0};
    if (pid == 0)
        return RC_OK;
    int e = clock_getcpuclockid(pid, &clock);
    if (e != 0 || clock_gettime(clock, &ts) != 0)
        return e == EPERM ? RC_DENIED : RC_NOT_FOUND;
    out->total_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    return read_user_ns(pid, &out->user_ns);
}

struct proc_cpu proc_cpu_between(const struct proc_cpu *before, const struct proc_cpu *after)
{
    struct proc_cpu d = {after->total_ns - before->total_ns, after->user_ns - before->user_ns};
    if (d.total_ns < 0)
        d.total_ns = 0;
    if (d.user_ns < 0)
        d.user_ns = 0;
    if (d.user_ns > d.total_ns)
        d.user_ns = d.total_ns;
    return d;
}

struct proc_cpu proc_cpu_self(void)
{
    struct proc_cpu cpu;
    if (proc_cpu_read(getpid(), &cpu) != RC_OK)
        return (struct proc_cpu){0};
    return cpu;
}

/* --- memory --- */

/* "VmRSS:      1234 kB" */
static int64_t status_bytes(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at != NULL ? strtoll(at + strlen(key), NULL, 10) * 1024 : 0;
}

enum rc proc_memory_read(int pid, struct proc_memory *out)
{
    struct buf text = {0};
    *out = (struct proc_memory){0};
    if (pid == 0)
        return RC_OK;
    enum rc rc = read_proc(pid, "status", &text);
    if (rc == RC_OK) {
        out->rss_bytes = status_bytes(buf_cstr(&text), "\nVmRSS:");
        out->peak_rss_bytes = status_bytes(buf_cstr(&text), "\nVmHWM:");
    }
    buf_fini(&text);
    return rc;
}

struct proc_memory proc_memory_self(void)
{
    struct proc_memory memory;
    if (proc_memory_read(getpid(), &memory) != RC_OK)
        return (struct proc_memory){0};
    return memory;
}

static enum rc rc_of_errno(int e)
{
    return e == ENOENT || e == ESRCH ? RC_NOT_FOUND : e == EACCES || e == EPERM ? RC_DENIED : RC_IO;
}

/* src: Linux Documentation/filesystems/proc.rst, clear_refs: 5 resets the peak */
enum rc proc_peak_reset(int pid)
{
    char path[64];
    if (pid == 0)
        return RC_OK;
    snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return rc_of_errno(errno);
    enum rc rc = write(fd, "5", 1) == 1 ? RC_OK : rc_of_errno(errno);
    close(fd);
    return rc;
}

/* --- the rest --- */

enum rc proc_fds_count(int pid, unsigned *out)
{
    char path[64];
    *out = 0;
    if (pid == 0)
        return RC_OK;
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return rc_of_errno(errno);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        *out += e->d_name[0] != '.';
    if (pid == getpid())
        *out -= 1; /* the folder itself */
    closedir(dir);
    return RC_OK;
}

bool proc_is_alive(int pid)
{
    return pid == 0 || kill(pid, 0) == 0 || errno == EPERM;
}

uint64_t proc_raise_fd_limit(uint64_t want)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_cur >= want)
        return now.rlim_cur;
    struct rlimit all = {want, want > now.rlim_max ? want : now.rlim_max};
    struct rlimit some = {now.rlim_max, now.rlim_max}; /* without root the hard limit cannot be raised */
    if (setrlimit(RLIMIT_NOFILE, &all) == 0)
        return all.rlim_cur;
    return setrlimit(RLIMIT_NOFILE, &some) == 0 ? some.rlim_cur : now.rlim_cur;
}

void proc_keep_heap(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_KEEP_BYTES);
    (void)mallopt(M_TOP_PAD, HEAP_STEP_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_STEP_BYTES);
}
