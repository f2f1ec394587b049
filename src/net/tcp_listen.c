/* Sockets that listen, on TCP ports and unix paths. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/tcp_internal.h"

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
 * option fails when the port is taken. */
static enum rc check_free(const struct sockaddr_storage *sa, socklen_t len)
{
    int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return rc_of_errno(errno);
    tcp_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (sa->ss_family == AF_INET6)
        tcp_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
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
    tcp_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    tcp_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (at->family == 6)
        tcp_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    rc = bind_and_listen(fd, (struct sockaddr *)&sa, len);
    if (rc != RC_OK) {
        err_set(err, rc, "cannot listen on %s: %s", text, strerror(errno));
        close(fd);
        return rc;
    }
    struct tcp_listener *l = tcp_listener_create(loop, fd, accept, ctx);
    if (opts != NULL) {
        l->max_conns = opts->max_conns;
        l->places = opts->places;
        l->is_proxy = opts->is_proxy;
        l->allows = opts->allows;
        l->opts_ctx = opts->ctx;
    }
    len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr((struct sockaddr *)&sa, &l->at);
    *out = l;
    return RC_OK;
}

/* Whether nothing is there, or a socket: any other file under that name must not be removed. */
static bool may_be_replaced(const char *path)
{
    struct stat st;
    return lstat(path, &st) != 0 || S_ISSOCK(st.st_mode);
}

/* Whether a process listens there; a socket file without one is left from a crash. */
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
    /* Never more open than requested, not even between bind and chmod. */
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
    struct tcp_listener *l = tcp_listener_create(loop, fd, accept, ctx);
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
        struct tcp_stream *t = LIST_ENTRY(it, struct tcp_stream, link);
        t->listener = NULL;
        list_remove(&t->place.link);
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
