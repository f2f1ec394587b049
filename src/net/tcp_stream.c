/* A TCP or unix connection as a stream. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metric.h"
#include "net/tcp_internal.h"

METRIC_GAUGE(open_conns, "fullscale_tcp_open", "", "TCP connections open now.");

enum {
    READ_CHUNK_BYTES = 64 * 1024,
    READS_PER_ITERATION = 4, /* one greedy peer does not starve the others of its loop */
    LINGER_MS = 10000,       /* how long a flushing close waits for a peer that does not read */
    KEEP_OUT_BYTES = 512,    /* an idle connection keeps no larger output buffer */
    USER_TIMEOUT_MS = 30000,
};

/* One scratch per thread: bytes are handed up before the next read. */
static _Thread_local uint8_t read_chunk[READ_CHUNK_BYTES];

void tcp_stream_watch(struct tcp_stream *t)
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
    list_remove(&t->link);
    list_remove(&t->place.link);
    budget_place_leave(&t->place.place);
}

void tcp_stream_fail(struct tcp_stream *t, enum rc why)
{
    if (t->closing) {
        tcp_release(t);
        loop_free_later(t->s.loop, t, tcp_free);
        return;
    }
    t->blocked = false;
    buf_fini(&t->out);
    stream_emit_closed(&t->s, why);
    tcp_stream_watch(t);
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
            tcp_stream_watch(t);
            return;
        }
        if (n < 0) {
            tcp_stream_fail(t, RC_CLOSED);
            return;
        }
        buf_consume(&t->out, (size_t)n);
    }
    buf_reset(&t->out, KEEP_OUT_BYTES);
    if (t->blocked) {
        t->blocked = false;
        tcp_stream_watch(t);
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
    for (int i = 0; i < READS_PER_ITERATION && !t->paused; i++) {
        ssize_t n = recv(t->fd, read_chunk, sizeof(read_chunk), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            tcp_stream_fail(t, RC_CLOSED);
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
        tcp_stream_fail(t, RC_IO);
        return;
    }
    tcp_stream_watch(t);
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
    tcp_stream_watch(t);
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
    tcp_stream_watch(t);
    loop_defer_late(s->loop, &t->flush_task);
}

static const struct stream_ops tcp_ops = {tcp_write, tcp_queued, tcp_pause, tcp_close};

int tcp_stream_fd(const struct stream *s)
{
    return s->ops == &tcp_ops ? ((const struct tcp_stream *)s)->fd : -1;
}

struct tcp_stream *tcp_stream_create(struct loop *loop, int fd)
{
    struct tcp_stream *t = MEM_NEW(struct tcp_stream);
    stream_init(&t->s, &tcp_ops, loop, NULL);
    t->fd = fd;
    t->flush_task.run = tcp_flush_task;
    t->s.place = &t->place;
    list_init(&t->link);
    list_init(&t->place.link);
    t->poll = loop_poll_create(loop, fd, tcp_ready, t);
    metric_add(&open_conns, 1);
    return t;
}

void tcp_set_option(int fd, int level, int name, int value)
{
    /* Each option is an improvement, none is needed: failure is ignored. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

void tcp_stream_tune(int fd)
{
    tcp_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    tcp_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    tcp_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 120);
    tcp_set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 20);
    tcp_set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
    tcp_set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

enum rc tcp_connect(struct loop *loop, const struct addr *to, struct stream **out)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return RC_IO;
    tcp_stream_tune(fd);
    if (connect(fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return RC_IO;
    }
    struct tcp_stream *t = tcp_stream_create(loop, fd);
    t->s.peer = *to;
    t->connecting = true;
    tcp_stream_watch(t);
    *out = &t->s;
    return RC_OK;
}
