#include "stun/stun_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limiter.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/tcp.h"
#include "proto/stun.h"

LOG_MODULE("stun");

enum {
    BATCH = 64,
    BATCHES_MAX = 4,           /* in one iteration; then the loop does its other work */
    DATAGRAM_CAP_BYTES = 1500, /* requests of clients are shorter */
    RECEIVE_BUFFER_BYTES = 1 << 20,
};

#define DISPOSITION(var, name, help)                                                                                   \
    METRIC_COUNTER(var, "fullscale_stun_requests_total", "disposition=\"" name "\"", help)
DISPOSITION(answered, "success", "STUN datagrams by what became of them.");
DISPOSITION(not_stun, "not_stun", "");
DISPOSITION(not_binding, "not_binding", "");
DISPOSITION(bad_attribute, "bad_attribute", "");
DISPOSITION(foreign, "foreign_software", "");
DISPOSITION(no_fingerprint, "no_fingerprint", "");
DISPOSITION(bad_fingerprint, "bad_fingerprint", "");
DISPOSITION(silenced, "silent", "");
DISPOSITION(limited, "rate", "");
DISPOSITION(read_errors, "read_error", "");
DISPOSITION(write_errors, "write_error", "");
METRIC_COUNTER(from_ipv4, "fullscale_stun_addrfamily_total", "family=\"ipv4\"", "STUN answers by address family.");
METRIC_COUNTER(from_ipv6, "fullscale_stun_addrfamily_total", "family=\"ipv6\"", "");

static struct metric *const verdict_metrics[STUN_VERDICT_COUNT] = {
    [STUN_OK] = &answered,
    [STUN_NOT_STUN] = &not_stun,
    [STUN_NOT_BINDING] = &not_binding,
    [STUN_BAD_ATTRIBUTE] = &bad_attribute,
    [STUN_FOREIGN] = &foreign,
    [STUN_NO_FINGERPRINT] = &no_fingerprint,
    [STUN_BAD_FINGERPRINT] = &bad_fingerprint,
};

struct stun_server {
    atomic_bool is_silent;
    unsigned socket_n; /* open */
};

/* One datagram. Its message header is used for reading and then for the answer: the kernel has filled in the name (the
 * source) and the control data (the address that the request was sent to). */
struct datagram {
    struct iovec iov;
    struct sockaddr_storage from;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    uint8_t data[DATAGRAM_CAP_BYTES];
};

struct stun_socket {
    struct stun_server *server;
    struct loop *loop;
    int64_t now_ms; /* in this iteration */
    struct loop_poll *poll;
    int fd;
    struct addr at;
    struct limiter limiter;
    struct mmsghdr in[BATCH];
    struct mmsghdr out[BATCH];
    struct datagram datagrams[BATCH];
};

struct stun_server *stun_server_create(void)
{
    return MEM_NEW(struct stun_server);
}

void stun_server_destroy(struct stun_server **server)
{
    mem_free(*server);
    *server = NULL;
}

void stun_server_set_silent(struct stun_server *server, bool is_silent)
{
    atomic_store_explicit(&server->is_silent, is_silent, memory_order_relaxed);
}

/* The control data has the number of the interface on which the request came in. The answer is to go by the routing
 * table instead. */
static void forget_interface(struct msghdr *h)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(h);
    if (c == NULL)
        return;
    struct in_pktinfo v4;
    struct in6_pktinfo v6;
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        memcpy(&v4, CMSG_DATA(c), sizeof(v4));
        v4.ipi_ifindex = 0;
        memcpy(CMSG_DATA(c), &v4, sizeof(v4));
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
        memcpy(&v6, CMSG_DATA(c), sizeof(v6));
        if (!IN6_IS_ADDR_LINKLOCAL(&v6.ipi6_addr)) /* those need it */
            v6.ipi6_ifindex = 0;
        memcpy(CMSG_DATA(c), &v6, sizeof(v6));
    }
}

/* Replaces the request with its answer. False: there is no answer. */
static bool answer(struct stun_socket *s, struct mmsghdr *m, struct datagram *d)
{
    if (atomic_load_explicit(&s->server->is_silent, memory_order_relaxed)) {
        metric_inc(&silenced);
        return false;
    }
    uint8_t txid[STUN_TXID_BYTES];
    enum stun_verdict verdict = STUN_NOT_STUN;
    if ((m->msg_hdr.msg_flags & MSG_TRUNC) == 0)
        verdict = stun_check_request(d->data, m->msg_len, txid);
    struct addr from;
    addr_from_sockaddr((const struct sockaddr *)&d->from, &from);
    if (verdict == STUN_OK && !limiter_take_from_afar(&s->limiter, &from, STUN_ANSWERS_PER_ADDRESS, s->now_ms)) {
        metric_inc(&limited);
        return false;
    }
    metric_inc(verdict_metrics[verdict]);
    if (verdict != STUN_OK)
        return false;
    metric_inc(from.family == 6 ? &from_ipv6 : &from_ipv4);
    d->iov.iov_len = stun_build_response(txid, from.family == 6, from.ip, from.port, d->data);
    forget_interface(&m->msg_hdr);
    return true;
}

/* An answer that cannot be sent (no route, no room) is skipped: the client asks again. */
static void send_answers(struct stun_socket *s, unsigned n)
{
    unsigned sent = 0;
    while (sent < n) {
        int rc = sendmmsg(s->fd, s->out + sent, n - sent, MSG_DONTWAIT);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            metric_inc(&write_errors);
        sent += rc > 0 ? (unsigned)rc : 1;
    }
}

/* The kernel writes into the headers, so they are set anew for each batch. */
static void prepare_batch(struct stun_socket *s)
{
    for (unsigned i = 0; i < BATCH; i++) {
        struct datagram *d = &s->datagrams[i];
        d->iov = (struct iovec){d->data, sizeof(d->data)};
        s->in[i].msg_hdr = (struct msghdr){
            .msg_name = &d->from,
            .msg_namelen = sizeof(d->from),
            .msg_iov = &d->iov,
            .msg_iovlen = 1,
            .msg_control = d->control,
            .msg_controllen = sizeof(d->control),
        };
    }
}

/* False when nothing more waits. */
static bool run_batch(struct stun_socket *s)
{
    prepare_batch(s);
    int n = recvmmsg(s->fd, s->in, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            metric_inc(&read_errors);
            log_limited(LOG_WARN, "reading failed", LOG_S("error", strerror(errno)));
        }
        return false;
    }
    unsigned answers = 0;
    for (int i = 0; i < n; i++)
        if (answer(s, &s->in[i], &s->datagrams[i]))
            s->out[answers++] = s->in[i];
    send_answers(s, answers);
    return n == BATCH;
}

static void on_ready(void *ctx, int events)
{
    struct stun_socket *s = ctx;
    (void)events;
    s->now_ms = loop_now_ms(s->loop);
    for (int i = 0; i < BATCHES_MAX && run_batch(s); i++) {
    }
}

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static bool is_wildcard_ipv6(const struct addr *at)
{
    static const uint8_t any[16];
    return at->family == 6 && memcmp(at->ip, any, sizeof(any)) == 0;
}

/* Our sockets share the port by SO_REUSEPORT. Any other server of the same user could join them and get a part of the
 * requests unnoticed, so the first socket is a probe that does not share. */
static bool bind_socket(int fd, const struct addr *at, bool is_shared)
{
    bool ok = set_option(fd, SOL_SOCKET, SO_REUSEPORT, is_shared);
    if (at->family == 6)
        ok = ok && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_wildcard_ipv6(at) ? 0 : 1) &&
             set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    else
        ok = ok && set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(at, &sa);
    return ok && bind(fd, (const struct sockaddr *)&sa, len) == 0;
}

static enum rc open_errno(struct err *err, const struct addr *at, int code)
{
    char text[ADDR_TEXT_CAP];
    addr_format(at, true, text);
    enum rc rc = code == EADDRINUSE ? RC_IN_USE : code == EACCES || code == EPERM ? RC_DENIED : RC_IO;
    return err_set(err, rc, "STUN cannot listen on %s: %s", text, strerror(code));
}

/* A bound socket, and the address that it is bound to. */
static enum rc open_fd(const struct addr *at, bool is_shared, int *fd_out, struct addr *bound_out, struct err *err)
{
    int fd = socket(at->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || !bind_socket(fd, at, is_shared)) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return open_errno(err, at, code);
    }
    set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES); /* if this fails the system's default is good enough */
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr((const struct sockaddr *)&sa, bound_out);
    *fd_out = fd;
    return RC_OK;
}

enum rc stun_server_socket_open(struct stun_server *server, struct loop *loop, const struct addr *at,
                                struct stun_socket **out, struct err *err)
{
    struct addr where;
    net_usable_addr(at, &where);
    int fd = -1;
    struct addr bound = where;
    if (server->socket_n == 0 && where.port != 0) {
        TRY(open_fd(&where, false, &fd, &bound, err));
        close(fd);
    }
    TRY(open_fd(&where, true, &fd, &bound, err));
    server->socket_n++;
    struct stun_socket *s = MEM_NEW(struct stun_socket);
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    limiter_init(&s->limiter, seed);
    s->server = server;
    s->loop = loop;
    s->fd = fd;
    s->at = bound;
    s->poll = loop_poll_create(loop, fd, on_ready, s);
    loop_poll_set(s->poll, LOOP_READ);
    *out = s;
    return RC_OK;
}

void stun_server_socket_addr(const struct stun_socket *socket, struct addr *out)
{
    *out = socket->at;
}

void stun_server_socket_close(struct stun_socket **at)
{
    struct stun_socket *s = *at;
    *at = NULL;
    if (s == NULL)
        return;
    s->server->socket_n--;
    limiter_fini(&s->limiter);
    loop_poll_destroy(&s->poll);
    close(s->fd);
    mem_free(s);
}
