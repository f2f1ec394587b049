/* STUN requests over real sockets, many in one system call, so that the server is the bottleneck and not this
 * program. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/bench.h"
#include "bench/stun_client_internal.h"

enum {
    BATCH = 64,
    ANSWER_CAP_BYTES = 512,
    SOCKETS_MAX = 10 * 1000,
    WINDOW_MAX = 1000 * 1000,
    OTHER_FILES = 256,
    RECEIVE_BUFFER_BYTES = 4 << 20,
    WAIT_MIN_US = 50,
};

struct stun_load {
    const struct bench_stun_opts *opts;
    struct addr server;
    struct bench_stun_client *clients; /* owned, like the next */
    struct pollfd *fds;
    unsigned n; /* opened */
    struct hist latency;
    int64_t start_us, end_us, swept_us;
    /* Buffers for one system call. */
    struct mmsghdr msgs[BATCH];
    struct iovec parts[BATCH];
    uint8_t requests[BATCH][STUN_REQUEST_BYTES];
    uint8_t answers[BATCH][ANSWER_CAP_BYTES];
};

/* --- sockets --- */

static enum rc open_socket(struct stun_load *l, struct err *err)
{
    struct sockaddr_storage to, me;
    struct addr addr;
    socklen_t len = addr_to_sockaddr(&l->server, &to), me_len = sizeof(me);
    int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), room = RECEIVE_BUFFER_BYTES;
    if (fd < 0)
        return err_set(err, RC_IO, "no socket: %s", strerror(errno));
    l->fds[l->n] = (struct pollfd){fd, POLLIN, 0};
    /* If the buffers cannot be made larger, full ones show as lost answers. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    if (connect(fd, (struct sockaddr *)&to, len) != 0 || getsockname(fd, (struct sockaddr *)&me, &me_len) != 0) {
        close(fd);
        return err_set(err, RC_IO, "cannot reach %s: %s", l->opts->addr, strerror(errno));
    }
    addr_from_sockaddr((struct sockaddr *)&me, &addr);
    bench_stun_client_init(&l->clients[l->n++], l->opts->window, &addr, &l->latency);
    return RC_OK;
}

static enum rc open_sockets(struct stun_load *l, struct err *err)
{
    l->clients = mem_zalloc(l->opts->sockets, sizeof(*l->clients));
    l->fds = mem_zalloc(l->opts->sockets, sizeof(*l->fds));
    for (unsigned i = 0; i < l->opts->sockets; i++)
        TRY(open_socket(l, err));
    return RC_OK;
}

static void close_sockets(struct stun_load *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        close(l->fds[i].fd);
        bench_stun_client_fini(&l->clients[i]);
    }
    mem_free(l->clients);
    mem_free(l->fds);
}

/* --- requests and answers --- */

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS;
}

static double rate_of_socket(const struct stun_load *l)
{
    return l->opts->rate_per_s / l->opts->sockets;
}

/* How many requests are due; at most what one system call takes. */
static unsigned count_due(const struct stun_load *l, const struct bench_stun_client *c, int64_t now_us)
{
    if (now_us >= l->end_us)
        return 0;
    if (l->opts->rate_per_s <= 0)
        return BATCH;
    int64_t want = (int64_t)(rate_of_socket(l) * (double)(now_us - l->start_us) / 1e6) - (int64_t)c->sent;
    return want < 0 ? 0 : want < BATCH ? (unsigned)want : BATCH;
}

static enum rc send_requests(struct stun_load *l, unsigned i, struct err *err)
{
    struct bench_stun_client *c = &l->clients[i];
    for (unsigned n = BATCH; n == BATCH;) {
        int64_t now_us = clock_mono_us();
        unsigned want = count_due(l, c, now_us);
        for (n = 0; n < want && bench_stun_client_next(c, now_us, l->requests[n]); n++) {
            l->parts[n] = (struct iovec){l->requests[n], STUN_REQUEST_BYTES};
            l->msgs[n] = (struct mmsghdr){.msg_hdr = {.msg_iov = &l->parts[n], .msg_iovlen = 1}};
        }
        if (n == 0)
            break;
        int got = sendmmsg(l->fds[i].fd, l->msgs, n, 0);
        if (got < 0 && !would_block())
            return err_set(err, RC_IO, "cannot send to %s: %s", l->opts->addr, strerror(errno));
        unsigned out = got < 0 ? 0 : (unsigned)got;
        bench_stun_client_take_back(c, n - out);
        if (out < n)
            break;
    }
    return RC_OK;
}

static enum rc read_answers(struct stun_load *l, unsigned i, struct err *err)
{
    for (unsigned k = 0; k < BATCH; k++) {
        l->parts[k] = (struct iovec){l->answers[k], ANSWER_CAP_BYTES};
        l->msgs[k] = (struct mmsghdr){.msg_hdr = {.msg_iov = &l->parts[k], .msg_iovlen = 1}};
    }
    int n = recvmmsg(l->fds[i].fd, l->msgs, BATCH, 0, NULL);
    if (n < 0)
        return would_block() ? RC_OK : err_set(err, RC_IO, "%s: %s", l->opts->addr, strerror(errno));
    int64_t now_us = clock_mono_us();
    for (int k = 0; k < n; k++)
        bench_stun_client_answer(&l->clients[i], l->answers[k], l->msgs[k].msg_len, now_us);
    return RC_OK;
}

/* --- the run --- */

static bool is_over(const struct stun_load *l, int64_t now_us)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (!bench_stun_client_is_idle(&l->clients[i]))
            return false;
    }
    return now_us >= l->end_us;
}

static void sweep(struct stun_load *l, int64_t now_us)
{
    if (now_us - l->swept_us <= BENCH_STUN_CLIENT_TIMEOUT_US / 2)
        return;
    l->swept_us = now_us;
    for (unsigned i = 0; i < l->n; i++)
        bench_stun_client_sweep(&l->clients[i], now_us);
}

/* The time until the next sweep or, with a rate, until the next request is due. */
static struct timespec wait_time(const struct stun_load *l, int64_t now_us)
{
    int64_t wait_us = BENCH_STUN_CLIENT_TIMEOUT_US / 2;
    for (unsigned i = 0; i < l->n && l->opts->rate_per_s > 0 && now_us < l->end_us; i++) {
        double next_us = (double)(l->clients[i].sent + 1) / rate_of_socket(l) * 1e6;
        int64_t left_us = l->start_us + (int64_t)next_us - now_us;
        if (l->clients[i].idle_n > 0 && left_us < wait_us)
            wait_us = left_us;
    }
    if (wait_us < WAIT_MIN_US)
        wait_us = WAIT_MIN_US;
    return (struct timespec){wait_us / 1000000, wait_us % 1000000 * 1000};
}

static enum rc run(struct stun_load *l, struct err *err)
{
    int64_t now_us = l->start_us = l->swept_us = clock_mono_us();
    l->end_us = l->start_us + l->opts->duration_ms * 1000;
    while (!is_over(l, now_us)) {
        for (unsigned i = 0; i < l->n; i++)
            TRY(send_requests(l, i, err));
        struct timespec wait = wait_time(l, clock_mono_us());
        if (ppoll(l->fds, l->n, &wait, NULL) < 0 && errno != EINTR)
            return err_set(err, RC_IO, "poll: %s", strerror(errno));
        for (unsigned i = 0; i < l->n; i++) {
            if (l->fds[i].revents != 0)
                TRY(read_answers(l, i, err));
        }
        now_us = clock_mono_us();
        sweep(l, now_us);
    }
    return RC_OK;
}

/* --- the report --- */

static struct bench_stun_client add_up(const struct stun_load *l)
{
    struct bench_stun_client sum = {0};
    for (unsigned i = 0; i < l->n; i++) {
        sum.sent += l->clients[i].sent;
        sum.answered += l->clients[i].answered;
        sum.lost += l->clients[i].lost;
        sum.bad += l->clients[i].bad;
        sum.late += l->clients[i].late;
    }
    return sum;
}

static enum rc write_report(const struct stun_load *l, const struct proc_cpu *cpu, const struct proc_cpu *self,
                            const struct report_target *target, struct err *err)
{
    double wall_s = (double)(clock_mono_us() - l->start_us) / 1e6;
    struct bench_stun_client sum = add_up(l);
    struct proc_memory memory;
    struct report r;
    report_init(&r, "stun", target->label, clock_wall_ms());
    report_u64(&r, "sockets", l->opts->sockets, NULL);
    report_u64(&r, "window", l->opts->window, NULL);
    report_f64(&r, "rate_per_s", l->opts->rate_per_s, "asked for; 0: closed loop");
    report_f64(&r, "seconds", wall_s, NULL);
    report_u64(&r, "requests", sum.sent, NULL);
    report_u64(&r, "answers", sum.answered, "with the right transaction and mapped address");
    report_u64(&r, "lost", sum.lost, "no answer within 200 ms");
    report_u64(&r, "bad", sum.bad, "malformed or wrong address");
    report_u64(&r, "late", sum.late, NULL);
    report_f64(&r, "answers_per_s", (double)sum.answered / wall_s, NULL);
    report_latency(&r, "latency", &l->latency, NULL);
    report_cpu(&r, "cpu", cpu, "server");
    if (sum.answered > 0)
        report_f64(&r, "cpu_s_per_million", (double)cpu->total_ns / 1e3 / (double)sum.answered, NULL);
    if (proc_memory_read(l->opts->server_pid, &memory) == RC_OK)
        report_f64(&r, "rss_mb", (double)memory.rss_bytes / 1e6, NULL);
    report_f64(&r, "loadgen_cpu_s", (double)self->total_ns / 1e9, NULL);
    enum rc rc = report_emit(&r, target, err);
    report_fini(&r);
    return rc;
}

static enum rc measure(struct stun_load *l, const struct report_target *target, struct err *err)
{
    struct proc_cpu before, after = {0};
    TRY(open_sockets(l, err));
    if (proc_cpu_read(l->opts->server_pid, &before) != RC_OK)
        return err_set(err, RC_NOT_FOUND, "there is no process %d", l->opts->server_pid);
    struct proc_cpu self = proc_cpu_self();
    TRY(run(l, err));
    if (proc_cpu_read(l->opts->server_pid, &after) != RC_OK)
        return err_set(err, RC_NOT_FOUND, "the server has died");
    struct proc_cpu self_after = proc_cpu_self(), cpu = proc_cpu_between(&before, &after);
    self = proc_cpu_between(&self, &self_after);
    return write_report(l, &cpu, &self, target, err);
}

static enum rc check_opts(const struct bench_stun_opts *o, struct addr *server, struct err *err)
{
    if (addr_parse_listen(str_c(o->addr), server) != RC_OK || server->port == 0)
        return err_set(err, RC_INVALID, "not an address with a port: %s", o->addr);
    if (!addr_is_loopback(server))
        return err_set(err, RC_DENIED, "refusing to load %s: only loopback addresses are allowed", o->addr);
    if (o->sockets < 1 || o->sockets > SOCKETS_MAX || o->window < 1 || o->window > WINDOW_MAX)
        return err_set(err, RC_INVALID, "sockets must be between 1 and %d, the window between 1 and %d", SOCKETS_MAX,
                       WINDOW_MAX);
    if (o->duration_ms < 1 || o->rate_per_s < 0)
        return err_set(err, RC_INVALID, "the duration must be more than 0, the rate not less");
    if (proc_raise_fd_limit(o->sockets + OTHER_FILES) < o->sockets)
        return err_set(err, RC_LIMIT, "%u sockets are more than the limit of open files allows", o->sockets);
    return RC_OK;
}

enum rc bench_stun(const struct bench_stun_opts *opts, const struct report_target *target, struct err *err)
{
    struct addr server;
    TRY(check_opts(opts, &server, err));
    struct stun_load *l = MEM_NEW(struct stun_load);
    l->opts = opts;
    l->server = server;
    enum rc rc = measure(l, target, err);
    close_sockets(l);
    mem_free(l);
    return rc;
}
