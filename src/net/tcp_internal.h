/* The insides of TCP: tcp_stream.c (a connection), tcp_accept.c (taking one, or refusing it), tcp_listen.c (sockets
 * that listen). Only for this folder; loop thread only. */
#ifndef NET_TCP_INTERNAL_H
#define NET_TCP_INTERNAL_H

#include "base/buf.h"
#include "net/tcp.h"

/* A connection, accepted or dialled. */
struct tcp_stream {
    struct stream s;
    int fd;
    struct loop_poll *poll;
    struct loop_task flush_task;
    struct buf out;
    struct loop_timer *linger;     /* set while closing with data queued */
    struct tcp_listener *listener; /* null: it was dialled, or the listener is gone */
    struct list link;              /* an element of the listener's `conns` */
    struct stream_place place;
    bool paused;
    bool connecting;
    bool closing; /* the owner has closed it; it lives on until `out` is sent */
    bool blocked; /* the socket did not take everything: we wait until it is writable */
};

/* A listening socket, TCP or unix. */
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
    bool (*allows)(void *ctx, const struct addr *from);
    void *opts_ctx;
    struct list conns;
    struct list strangers; /* those of them that hold a stranger's place, the oldest first */
    struct addr at;
    char *unix_path; /* owned; removed on destroy */
};

/* --- tcp_stream.c --- */
/* A stream on a connected or connecting socket, whose descriptor it owns. Reads nothing before tcp_stream_watch(). */
struct tcp_stream *tcp_stream_create(struct loop *loop, int fd);
/* Watches the socket for what the stream can do now. To be called when that has changed. */
void tcp_stream_watch(struct tcp_stream *t);
/* Drops what is queued and emits `closed` with `why`; without an owner the stream is freed after the iteration. */
void tcp_stream_fail(struct tcp_stream *t, enum rc why);
/* Options that every TCP connection has: no delay, keep-alive, a limit for data that is not acknowledged. */
void tcp_stream_tune(int fd);
/* Sets a socket option that is an improvement only: failure is ignored. */
void tcp_set_option(int fd, int level, int name, int value);

/* --- tcp_accept.c --- */
/* A listener on a socket that listens already, whose descriptor it owns; it accepts from now on. */
struct tcp_listener *tcp_listener_create(struct loop *loop, int fd, tcp_accept_fn accept, void *ctx);

#endif
