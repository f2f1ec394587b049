/* Accepting connections: limits, places, and what happens when descriptors run out. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/tcp_internal.h"

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

enum {
    ACCEPT_REST_MS = 100,
    RESERVED_FDS = 64,  /* for the admin's socket, files and the database */
    RESERVED_CONNS = 4, /* of each listener, which may use reserved descriptors: for requests of /health and /metrics */
    EVICT_LOOK = 64,    /* strangers that are looked at for one of the same address */
};

static void rest_over(void *ctx)
{
    struct tcp_listener *l = ctx;
    loop_poll_set(l->poll, LOOP_READ);
}

/* What the kernel lacks now (memory, buffers) it will lack in the next iteration as well, and the listener stays
 * readable: accepting rests for a moment instead of spinning. Connections that wait are not lost. */
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

/* Whether both are in one network: a host with one IPv6 address has all of its /64. */
static bool is_same_party(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 8) == 0;
}

/* Closes the oldest stranger; with `of` the oldest of that address. False: there is none. */
static bool evict(struct tcp_listener *l, const struct addr *of)
{
    unsigned looked_at = 0;
    LIST_EACH (it, &l->strangers) {
        struct tcp_stream *t = CONTAINER_OF(it, struct tcp_stream, place.link);
        if (looked_at++ == EVICT_LOOK)
            return false;
        if (of != NULL && !is_same_party(of, &t->s.peer))
            continue;
        metric_inc(&evicted);
        list_remove(&t->place.link);
        budget_place_leave(&t->place.place);
        tcp_stream_fail(t, RC_LIMIT);
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

/* Closes a stranger and uses its place and its descriptor, so that the reserved ones stay free. */
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

/* Refuses and closes the connection, or finds a place for it. False: it goes on, `place` is taken, and `fd` may be
 * another one. */
static bool refuse(struct tcp_listener *l, int *fd, const struct addr *from, struct budget_place *place)
{
    enum budget_answer answer = BUDGET_OK;
    if (l->max_conns > 0 && l->n_conns >= l->max_conns)
        say_refused(from, &refused_limit, "too many connections; closed a new one");
    else if (l->allows != NULL && !l->allows(l->opts_ctx, from))
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
        tcp_stream_tune(fd);
        if (getsockname(fd, (struct sockaddr *)&to, &to_len) == 0)
            addr_from_sockaddr((struct sockaddr *)&to, &t->s.local);
    }
    t->listener = l;
    t->place.place = place;
    if (place.places != NULL)
        list_push_back(&l->strangers, &t->place.link);
    l->n_conns++;
    list_push_back(&l->conns, &t->link);
    tcp_stream_watch(t);
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

struct tcp_listener *tcp_listener_create(struct loop *loop, int fd, tcp_accept_fn accept, void *ctx)
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
