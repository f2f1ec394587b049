#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

LOG_MODULE("net");
METRIC_COUNTER(accepted, "fullscale_tcp_accepted_total", "", "TCP connections accepted.");
METRIC_COUNTER(refused_limit, "fullscale_tcp_refused_total", "reason=\"limit\"",
               "TCP connections closed at once, by reason.");
METRIC_COUNTER(refused_rate, "fullscale_tcp_refused_total", "reason=\"rate\"", "");
METRIC_COUNTER(refused_address, "fullscale_tcp_refused_total", "reason=\"address\"", "");
METRIC_COUNTER(refused_fds, "fullscale_tcp_refused_total", "reason=\"fds\"", "");
METRIC_COUNTER(evicted, "fullscale_tcp_evicted_total", "",
               "Connections of strangers closed to make room for a newer one.");
METRIC_COUNTER(accept_failures, "fullscale_tcp_accept_failures_total", "",
               "Times that accepting failed for want of something other than descriptors; tried again 100 ms later.");
METRIC_GAUGE(open_conns, "fullscale_tcp_open", "", "TCP connections open now.");

enum {
    READ_CHUNK_BYTES = 64 * 1024,
    READS_PER_TURN = 4,   /* one greedy peer does not starve the others of its loop */
    LINGER_MS = 10000,    /* how long a flushing close waits for a peer that does not read */
    KEEP_OUT_BYTES = 512, /* an idle connection keeps no larger output buffer */
    USER_TIMEOUT_MS = 30000,
    ACCEPT_REST_MS = 100,
    RESERVED_FDS = 64,  /* for the admin's socket, files and the database */
    RESERVED_CONNS = 4, /* of each listener, which may have of those: somebody asks for /health or /metrics */
    EVICT_LOOK = 64,    /* strangers that are looked at for one of the same address */
};

struct tcp_stream {
    struct stream s;
    int fd;
    struct loop_poll *poll;
    struct loop_task flush_task;
    struct buf out;
    struct loop_timer *linger; /* set while closing with data queued */
    struct tcp_listener *listener;
    struct list entry; /* in the listener's */
    struct stream_place place;
    bool paused;
    bool connecting;
    bool closing; /* the owner is gone; only the queue keeps it */
    bool blocked; /* the socket took less than everything: waiting for it to be writable */
};

struct tcp_listener {
    struct loop *loop;
    int fd;
    int spare_fd;            /* given up for a moment to accept-and-close when descriptors run out */
    struct loop_timer *rest; /* running: accept failed, nothing is accepted until it ends */
    struct loop_poll *poll;
    tcp_accept_fn accept;
    void *ctx;
    unsigned max_conns;
    unsigned n_conns;
    struct budget_places *places; /* may be null, as may the next two */
    bool (*is_proxy)(void *ctx, const struct addr *from);
    bool (*may_come)(void *ctx, const struct addr *from);
    void *opts_ctx;
    struct list conns;
    struct list strangers; /* of those, who have not said who they are; the oldest first */
    struct addr at;
    char *unix_path; /* owned; removed on destroy */
};

/* One scratch per thread: bytes are handed up before the next read. */
static _Thread_local uint8_t read_chunk[READ_CHUNK_BYTES];

static void tcp_set_events(struct tcp_stream *t)
{
    int events = 0;
    if (!t->paused && !t->closing && !t->connecting && !t->s.is_dead)
        events |= LOOP_READ;
    if (t->connecting || t->blocked)
        events |= LOOP_WRITE;
    if (t->poll != NULL)
        loop_poll_set(t->poll, events);
}

static void tcp_free(void *obj)
{
    mem_free(obj);
}

/* Gives up the descriptor and everything but the struct, which may be on the stack. */
static void tcp_release(struct tcp_stream *t)
{
    if (t->fd < 0)
        return;
    loop_defer_cancel(&t->flush_task);
    loop_poll_destroy(&t->poll);
    loop_timer_destroy(&t->linger);
    close(t->fd);
    t->fd = -1;
    buf_fini(&t->out);
    metric_add(&open_conns, -1);
    if (t->listener != NULL)
        t->listener->n_conns--;
    list_remove(&t->entry);
    list_remove(&t->place.entry);
    budget_place_leave(&t->place.place);
}

static void tcp_fail(struct tcp_stream *t, enum rc why)
{
    if (t->closing) {
        tcp_release(t);
        loop_free_later(t->s.loop, t, tcp_free);
        return;
    }
    t->blocked = false;
    buf_fini(&t->out);
    stream_emit_closed(&t->s, why);
    tcp_set_events(t);
}

static void tcp_finish_close(struct tcp_stream *t)
{
    shutdown(t->fd, SHUT_WR);
    tcp_release(t);
    loop_free_later(t->s.loop, t, tcp_free);
}

static void tcp_flush(struct tcp_stream *t)
{
    if (t->fd < 0 || t->connecting)
        return;
    while (buf_len(&t->out) > 0) {
        ssize_t n = send(t->fd, buf_at(&t->out), buf_len(&t->out), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            t->blocked = true;
            tcp_set_events(t);
            return;
        }
        if (n < 0) {
            tcp_fail(t, RC_CLOSED);
            return;
        }
        buf_consume(&t->out, (size_t)n);
    }
    buf_reset(&t->out, KEEP_OUT_BYTES);
    if (t->blocked) {
        t->blocked = false;
        tcp_set_events(t);
    }
    if (t->closing)
        tcp_finish_close(t);
}

static void tcp_flush_task(struct loop_task *task)
{
    struct tcp_stream *t = CONTAINER_OF(task, struct tcp_stream, flush_task);
    tcp_flush(t);
    if (t->fd >= 0)
        stream_check_drained(&t->s);
}

static void tcp_read(struct tcp_stream *t)
{
    for (int i = 0; i < READS_PER_TURN && !t->paused; i++) {
        ssize_t n = recv(t->fd, read_chunk, sizeof(read_chunk), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            tcp_fail(t, RC_CLOSED);
            return;
        }
        if (!stream_emit_data(&t->s, read_chunk, (size_t)n) || t->fd < 0 || t->s.is_dead)
            return;
        if ((size_t)n < sizeof(read_chunk))
            return;
    }
}

static void tcp_connected(struct tcp_stream *t)
{
    int failed = 0;
    socklen_t len = sizeof(failed);
    t->connecting = false;
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 || failed != 0) {
        tcp_fail(t, RC_IO);
        return;
    }
    tcp_set_events(t);
    tcp_flush(t);
    if (t->fd >= 0)
        stream_check_drained(&t->s);
}

static void tcp_ready(void *ctx, int events)
{
    struct tcp_stream *t = ctx;
    if (t->connecting && (events & LOOP_WRITE) != 0) {
        tcp_connected(t);
        return;
    }
    if ((events & LOOP_WRITE) != 0) {
        tcp_flush(t);
        if (t->fd >= 0)
            stream_check_drained(&t->s);
    }
    if ((events & LOOP_READ) != 0 && t->fd >= 0 && !t->closing && !t->s.is_dead)
        tcp_read(t);
}

static void tcp_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct tcp_stream *t = (struct tcp_stream *)s;
    buf_append(&t->out, p, n);
    if (!t->blocked)
        loop_defer_late(s->loop, &t->flush_task);
}

static size_t tcp_queued(const struct stream *s)
{
    return buf_len(&((const struct tcp_stream *)s)->out);
}

static void tcp_pause(struct stream *s, bool paused)
{
    struct tcp_stream *t = (struct tcp_stream *)s;
    t->paused = paused;
    tcp_set_events(t);
}

static void tcp_linger_over(void *ctx)
{
    struct tcp_stream *t = ctx;
    tcp_release(t);
    loop_free_later(t->s.loop, t, tcp_free);
}

static void tcp_close(struct stream *s, bool flush)
{
    struct tcp_stream *t = (struct tcp_stream *)s;
    if (!flush || buf_len(&t->out) == 0) {
        tcp_release(t);
        loop_free_later(s->loop, t, tcp_free);
        return;
    }
    t->closing = true;
    t->linger = loop_timer_create(s->loop, tcp_linger_over, t);
    loop_timer_start(t->linger, LINGER_MS, 0);
    tcp_set_events(t);
    loop_defer_late(s->loop, &t->flush_task);
}

static const struct stream_ops tcp_ops = {tcp_write, tcp_queued, tcp_pause, tcp_close};

int tcp_stream_fd(const struct stream *s)
{
    return s->ops == &tcp_ops ? ((const struct tcp_stream *)s)->fd : -1;
}

static struct tcp_stream *tcp_stream_create(struct loop *loop, int fd)
{
    struct tcp_stream *t = MEM_NEW(struct tcp_stream);
    stream_init(&t->s, &tcp_ops, loop, NULL);
    t->fd = fd;
    t->flush_task.run = tcp_flush_task;
    t->s.place = &t->place;
    list_init(&t->entry);
    list_init(&t->place.entry);
    t->poll = loop_poll_create(loop, fd, tcp_ready, t);
    metric_add(&open_conns, 1);
    return t;
}

static void set_option(int fd, int level, int name, int value)
{
    /* Each is an improvement, none is needed: a kernel without it serves as well. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void tune(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 120);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 20);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

static void rest_over(void *ctx)
{
    struct tcp_listener *l = ctx;
    loop_poll_set(l->poll, LOOP_READ);
}

/* What the kernel lacks now (memory, buffers) it lacks in the next turn as well, and the listener stays readable: look away for
 * a moment instead of spinning. Those who wait are not lost. */
static void take_rest(struct tcp_listener *l, int why)
{
    metric_inc(&accept_failures);
    log_limited(LOG_ERROR, "cannot accept connections; tried again soon", LOG_S("why", strerror(why)));
    loop_poll_set(l->poll, 0);
    loop_timer_start(l->rest, ACCEPT_REST_MS, 0);
}

/* Out of descriptors: answer with a close instead of spinning on a listener that stays readable. */
static void refuse_one(struct tcp_listener *l)
{
    close(l->spare_fd);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    metric_inc(&refused_fds);
    log_limited(LOG_ERROR,
                "out of file descriptors; connection refused (raise LimitNOFILE or lower limits.connections)");
}

/* --- places --- */

/* Of one IPv6 network: whoever has one address there has them all. */
static bool is_same_party(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 8) == 0;
}

/* Closes the oldest stranger; of that address, if it is not null. False: there is none. */
static bool evict(struct tcp_listener *l, const struct addr *of)
{
    unsigned looked_at = 0;
    LIST_EACH (it, &l->strangers) {
        struct tcp_stream *t = CONTAINER_OF(it, struct tcp_stream, place.entry);
        if (looked_at++ == EVICT_LOOK)
            return false;
        if (of != NULL && !is_same_party(of, &t->s.peer))
            continue;
        metric_inc(&evicted);
        list_remove(&t->place.entry);
        budget_place_leave(&t->place.place);
        tcp_fail(t, RC_LIMIT);
        return true;
    }
    return false;
}

static bool is_proxy(const struct tcp_listener *l, const struct addr *from)
{
    return l->is_proxy != NULL && l->is_proxy(l->opts_ctx, from);
}

static enum budget_answer find_place(struct tcp_listener *l, const struct addr *from, struct budget_place *out)
{
    *out = (struct budget_place){0};
    if (l->places == NULL)
        return BUDGET_OK;
    const struct addr *counted = is_proxy(l, from) ? NULL : from;
    enum budget_answer answer = budget_place_take(l->places, counted, out);
    if (answer == BUDGET_OK || !evict(l, answer == BUDGET_ADDRESS_FULL ? from : NULL))
        return answer;
    return budget_place_take(l->places, counted, out);
}

static rlim_t fd_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

/* Descriptors are given out from the lowest on: one so high means that all below are taken. */
static bool takes_reserved_fd(const struct tcp_listener *l, int fd)
{
    rlim_t limit = fd_limit();
    rlim_t reserved = limit / 4 < RESERVED_FDS ? limit / 4 : RESERVED_FDS;
    return l->unix_path == NULL && !fits((size_t)fd, reserved, limit);
}

/* A stranger's place, and its descriptor, so that those that are kept back stay free. */
static bool make_room(struct tcp_listener *l, int *fd)
{
    if (!evict(l, NULL))
        return false;
    int low = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
    if (low < 0)
        return true;
    close(low < *fd ? *fd : low);
    *fd = low < *fd ? low : *fd;
    return true;
}

static void say_refused(const struct addr *from, struct metric *counter, const char *why)
{
    char text[ADDR_TEXT_CAP];
    addr_format(from, false, text);
    metric_inc(counter);
    log_limited(LOG_WARN, why, LOG_S("from", text));
}

/* True when the new connection was closed at once; else `place` is its, and `fd` may be another. */
static bool refuse(struct tcp_listener *l, int *fd, const struct addr *from, struct budget_place *place)
{
    enum budget_answer answer = BUDGET_OK;
    if (l->max_conns > 0 && l->n_conns >= l->max_conns)
        say_refused(from, &refused_limit, "too many connections; closed a new one");
    else if (l->may_come != NULL && !l->may_come(l->opts_ctx, from))
        say_refused(from, &refused_rate,
                    "too many new connections from one address; closed one (a reverse proxy belongs into "
                    "trusted_proxies)");
    else if (takes_reserved_fd(l, *fd) && l->n_conns >= RESERVED_CONNS && !make_room(l, fd))
        say_refused(from, &refused_fds,
                    "out of file descriptors; connection refused (raise LimitNOFILE or lower limits.connections)");
    else if ((answer = find_place(l, from, place)) != BUDGET_OK)
        say_refused(from, answer == BUDGET_ADDRESS_FULL ? &refused_address : &refused_limit,
                    answer == BUDGET_ADDRESS_FULL ? "too many connections from one address; closed a new one"
                                                  : "too many connections of strangers; closed a new one");
    else
        return false;
    close(*fd);
    return true;
}

/* One connection; false when there is none to take. */
static bool accept_one(struct tcp_listener *l)
{
    struct sockaddr_storage from = {0}, to = {0};
    struct addr peer = {0};
    struct budget_place place;
    socklen_t from_len = sizeof(from), to_len = sizeof(to);
    int fd = accept4(l->fd, (struct sockaddr *)&from, &from_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int why = errno;
        if (why == EINTR || why == ECONNABORTED)
            return true;
        if (l->spare_fd < 0)
            l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if ((why == EMFILE || why == ENFILE) && l->spare_fd >= 0)
            refuse_one(l);
        else if (why != EAGAIN && why != EWOULDBLOCK)
            take_rest(l, why);
        return false;
    }
    addr_from_sockaddr((struct sockaddr *)&from, &peer);
    if (refuse(l, &fd, &peer, &place))
        return true;
    metric_inc(&accepted);
    struct tcp_stream *t = tcp_stream_create(l->loop, fd);
    t->s.peer = peer;
    if (l->unix_path == NULL) {
        tune(fd);
        if (getsockname(fd, (struct sockaddr *)&to, &to_len) == 0)
            addr_from_sockaddr((struct sockaddr *)&to, &t->s.local);
    }
    t->listener = l;
    t->place.place = place;
    if (place.places != NULL)
        list_push_back(&l->strangers, &t->place.entry);
    l->n_conns++;
    list_push_back(&l->conns, &t->entry);
    tcp_set_events(t);
    l->accept(l->ctx, &t->s);
    return true;
}

static void listener_ready(void *ctx, int events)
{
    struct tcp_listener *l = ctx;
    (void)events;
    for (int i = 0; i < 64 && accept_one(l); i++) {
    }
}

static struct tcp_listener *listener_create(struct loop *loop, int fd, tcp_accept_fn accept, void *ctx)
{
    struct tcp_listener *l = MEM_NEW(struct tcp_listener);
    l->loop = loop;
    l->fd = fd;
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    l->accept = accept;
    l->ctx = ctx;
    list_init(&l->conns);
    list_init(&l->strangers);
    l->rest = loop_timer_create(loop, rest_over, l);
    l->poll = loop_poll_create(loop, fd, listener_ready, l);
    loop_poll_set(l->poll, LOOP_READ);
    return l;
}

static enum rc rc_of_errno(int e)
{
    return e == EADDRINUSE ? RC_IN_USE : e == EACCES || e == EPERM ? RC_DENIED : RC_IO;
}

static enum rc bind_and_listen(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (bind(fd, sa, len) != 0 || listen(fd, 4096) != 0)
        return rc_of_errno(errno);
    return RC_OK;
}

/* Our listeners share a port by SO_REUSEPORT, and so would a second server of the same user: only a socket without that
 * option is told that the port is taken. */
static enum rc check_free(const struct sockaddr_storage *sa, socklen_t len)
{
    int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return rc_of_errno(errno);
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (sa->ss_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    bool is_free = bind(fd, (const struct sockaddr *)sa, len) == 0;
    int why = errno;
    close(fd);
    errno = why;
    return is_free ? RC_OK : rc_of_errno(why);
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno != EAFNOSUPPORT;
    close(fd);
    return true;
}

void net_usable_addr(const struct addr *at, struct addr *out)
{
    static const uint8_t any[16];
    *out = *at;
    if (at->family == 6 && memcmp(at->ip, any, sizeof(any)) == 0 && !has_ipv6())
        *out = (struct addr){.family = 4, .port = at->port};
}

enum rc tcp_listen(struct loop *loop, const struct addr *wanted, const struct tcp_listen_opts *opts,
                   tcp_accept_fn accept, void *ctx, struct tcp_listener **out, struct err *err)
{
    struct sockaddr_storage sa;
    struct addr usable;
    const struct addr *at = &usable;
    net_usable_addr(wanted, &usable);
    socklen_t len = addr_to_sockaddr(at, &sa);
    char text[ADDR_TEXT_CAP];
    addr_format(at, true, text);
    enum rc rc = opts != NULL && opts->is_exclusive ? check_free(&sa, len) : RC_OK;
    if (rc != RC_OK)
        return err_set(err, rc, "cannot listen on %s: %s", text, strerror(errno));
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, RC_IO, "cannot make a socket for %s: %s", text, strerror(errno));
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (at->family == 6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    rc = bind_and_listen(fd, (struct sockaddr *)&sa, len);
    if (rc != RC_OK) {
        err_set(err, rc, "cannot listen on %s: %s", text, strerror(errno));
        close(fd);
        return rc;
    }
    struct tcp_listener *l = listener_create(loop, fd, accept, ctx);
    if (opts != NULL) {
        l->max_conns = opts->max_conns;
        l->places = opts->places;
        l->is_proxy = opts->is_proxy;
        l->may_come = opts->may_come;
        l->opts_ctx = opts->ctx;
    }
    len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr((struct sockaddr *)&sa, &l->at);
    *out = l;
    return RC_OK;
}

/* Nothing there, or a socket: what else somebody keeps under that name is not ours to remove. */
static bool may_be_replaced(const char *path)
{
    struct stat st;
    return lstat(path, &st) != 0 || S_ISSOCK(st.st_mode);
}

/* A socket file that nobody listens on is left from a crash. */
static bool unix_is_live(const struct sockaddr_un *sun)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool live = fd >= 0 && connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0;
    if (fd >= 0)
        close(fd);
    return live;
}

enum rc tcp_listen_unix(struct loop *loop, const char *path, unsigned mode, tcp_accept_fn accept, void *ctx,
                        struct tcp_listener **out, struct err *err)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(sun.sun_path))
        return err_set(err, RC_INVALID, "unix socket path is longer than %zu bytes: %s", sizeof(sun.sun_path) - 1,
                       path);
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    if (unix_is_live(&sun))
        return err_set(err, RC_IN_USE, "another server is running: it answers on %s", path);
    if (!may_be_replaced(path))
        return err_set(err, RC_EXISTS, "cannot listen on %s: it is there and is no socket", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, RC_IO, "cannot make a unix socket: %s", strerror(errno));
    /* Never wider than asked for, not even between bind and chmod. */
    mode_t old = umask(0177);
    enum rc rc = bind_and_listen(fd, (struct sockaddr *)&sun, sizeof(sun));
    int why = errno;
    umask(old);
    if (rc == RC_OK && chmod(path, mode) != 0) {
        rc = RC_IO;
        why = errno;
    }
    if (rc != RC_OK) {
        close(fd);
        return err_set(err, rc, "cannot listen on %s: %s", path, strerror(why));
    }
    struct tcp_listener *l = listener_create(loop, fd, accept, ctx);
    l->unix_path = mem_strdup(path);
    *out = l;
    return RC_OK;
}

static bool has_free_descriptor(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0)
        close(copy);
    return copy >= 0;
}

bool tcp_listener_is_accepting(const struct tcp_listener *l)
{
    int listens = 0;
    socklen_t len = sizeof(listens);
    if (l->max_conns > 0 && l->n_conns >= l->max_conns)
        return false;
    return getsockopt(l->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens != 0 &&
           has_free_descriptor(l->fd);
}

void tcp_listener_addr(const struct tcp_listener *l, struct addr *out)
{
    *out = l->at;
}

void tcp_listener_destroy(struct tcp_listener **at)
{
    struct tcp_listener *l = *at;
    *at = NULL;
    if (l == NULL)
        return;
    LIST_EACH_SAFE (it, &l->conns) {
        struct tcp_stream *t = LIST_ENTRY(it, struct tcp_stream, entry);
        t->listener = NULL;
        list_remove(&t->place.entry);
        list_remove(it);
    }
    loop_timer_destroy(&l->rest);
    loop_poll_destroy(&l->poll);
    close(l->fd);
    if (l->spare_fd >= 0)
        close(l->spare_fd);
    if (l->unix_path != NULL)
        unlink(l->unix_path);
    mem_free(l->unix_path);
    mem_free(l);
}

enum rc tcp_connect(struct loop *loop, const struct addr *to, struct stream **out)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return RC_IO;
    tune(fd);
    if (connect(fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return RC_IO;
    }
    struct tcp_stream *t = tcp_stream_create(loop, fd);
    t->s.peer = *to;
    t->connecting = true;
    tcp_set_events(t);
    *out = &t->s;
    return RC_OK;
}
