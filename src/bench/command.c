/* Runs the commands that are given on the command line. Nothing else in this module runs another program. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fits.h"
#include "bench/fleet.h"

enum { OUTPUT_MAX_BYTES = 64 * 1024 };

struct command {
    pid_t pid;
    int fd; /* end of the pipe with what the command prints; -1: none */
    struct buf *out;
    int status;
    bool is_over;
};

static void read_output(struct command *c)
{
    uint8_t chunk[4096];
    ssize_t n;
    while (c->fd >= 0 && (n = read(c->fd, chunk, sizeof(chunk))) > 0) {
        size_t room = room_under(buf_len(c->out), OUTPUT_MAX_BYTES);
        buf_append(c->out, chunk, (size_t)n < room ? (size_t)n : room);
    }
}

/* Processes that the command has started may keep the pipe open for ever: the end of the command itself counts. */
static bool is_over(struct fleet *f, void *ctx)
{
    struct command *c = ctx;
    (void)f;
    read_output(c);
    if (!c->is_over && waitpid(c->pid, &c->status, WNOHANG) == c->pid) {
        c->is_over = true;
        read_output(c);
    }
    return c->is_over;
}

static int spawn(struct command *c, const char *text, int pipe_end)
{
    posix_spawn_file_actions_t actions;
    const char *argv[] = {"sh", "-c", text, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipe_end >= 0 ? pipe_end : STDERR_FILENO, STDOUT_FILENO);
    int rv = posix_spawn(&c->pid, "/bin/sh", &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rv;
}

static enum rc start(struct command *c, const char *text, struct err *err)
{
    int ends[2] = {-1, -1};
    if (c->out != NULL && pipe2(ends, O_CLOEXEC) != 0)
        return err_set(err, RC_IO, "no pipe: %s", strerror(errno));
    int rv = spawn(c, text, ends[1]);
    if (ends[1] >= 0)
        close(ends[1]);
    c->fd = ends[0];
    if (c->fd >= 0)
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return rv == 0 ? RC_OK : err_set(err, RC_IO, "cannot run \"%s\": %s", text, strerror(rv));
}

enum rc fleet_command(struct fleet *f, const char *text, int64_t limit_ms, struct buf *out, struct err *err)
{
    struct command c = {.fd = -1, .out = out};
    int pid = f->pid;
    enum rc rc = start(&c, text, err);
    f->pid = 0; /* the command may end the server, which must not end the wait */
    if (rc == RC_OK && !fleet_wait(f, "command", limit_ms, is_over, &c))
        rc = err_set(err, RC_TIMEOUT, "\"%s\" does not end", text);
    else if (rc == RC_OK && (!WIFEXITED(c.status) || WEXITSTATUS(c.status) != 0))
        rc = err_set(err, RC_IO, "\"%s\" failed", text);
    f->pid = pid;
    if (c.fd >= 0)
        close(c.fd);
    return rc;
}

/* Reads "pid=N" from what the command printed. */
static enum rc read_pid(struct fleet *f, struct str text, struct err *err)
{
    const char *at = text.len > 0 ? memmem(text.p, text.len, "pid=", 4) : NULL;
    uint64_t pid = 0;
    size_t n = 0;
    if (at == NULL)
        return err_set(err, RC_INVALID, "--restart-cmd printed no pid=N");
    at += 4;
    while (at + n < text.p + text.len && at[n] >= '0' && at[n] <= '9')
        n++;
    if (str_to_u64(str_n(at, n), &pid) != RC_OK || pid == 0 || pid > INT32_MAX)
        return err_set(err, RC_INVALID, "--restart-cmd printed no pid=N");
    f->pid = (int)pid;
    return RC_OK;
}

enum rc fleet_restart_server(struct fleet *f, struct err *err)
{
    struct buf out = {0};
    enum rc rc = fleet_command(f, f->opts->restart_cmd, f->opts->timeout_ms, &out, err);
    if (rc == RC_OK)
        rc = read_pid(f, buf_str(&out), err);
    buf_fini(&out);
    return rc;
}
