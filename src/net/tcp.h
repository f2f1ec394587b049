/* TCP: listeners that share a port between workers (SO_REUSEPORT), accepted and dialled streams; unix sockets too. */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "net/stream.h"

struct tcp_listener;

/* Called for each accepted connection, which the callee owns from then on. */
typedef void (*tcp_accept_fn)(void *ctx, struct stream *s);

struct tcp_listen_opts {
    unsigned max_conns; /* of this listener; further ones are accepted and closed at once. 0 = no limit */
    /* RC_IN_USE when another socket listens there, even one that would share the port. For the first of several
     * listeners. */
    bool is_exclusive;
    /* Places for connections (base/budget.h), shared by the listeners of all workers; borrowed, outlives all
     * connections. When the address of a new connection, or all strangers together, have no place left, the oldest
     * stranger (of that address) is closed and the new connection gets its place: peers that log in keep theirs, idle
     * ones do not. Null: no limit. */
    struct budget_places *places;
    /* Whether connections from this address belong to a reverse proxy, which names the client's address later
     * (stream_comes_from). May be null. */
    bool (*is_proxy)(void *ctx, const struct addr *from);
    /* Called for each connection before anything is spent on it; false: it is closed at once. Null: all are
     * accepted. */
    bool (*allows)(void *ctx, const struct addr *from);
    void *ctx; /* of is_proxy and allows */
};

/* The address to listen on for `at`: the same, but the IPv4 wildcard for the IPv6 one on a machine without IPv6. */
void net_usable_addr(const struct addr *at, struct addr *out);

/* Listens on `at`, the IPv6 wildcard for both families (port 0: the kernel chooses, see tcp_listener_addr). RC_IN_USE,
 * RC_DENIED or RC_IO with the reason in `err`, which may be null. */
MUST_CHECK enum rc tcp_listen(struct loop *loop, const struct addr *at, const struct tcp_listen_opts *opts,
                              tcp_accept_fn accept, void *ctx, struct tcp_listener **out, struct err *err);
/* The last file descriptors (64, or a quarter of all) are reserved for the admin's unix socket, files and the database:
 * connections to TCP listeners are refused then, or a stranger is closed to make room. */
/* A unix stream socket at `path` with permission bits `mode`; a stale socket file is replaced, a live one is RC_IN_USE,
 * anything else there is RC_EXISTS. */
MUST_CHECK enum rc tcp_listen_unix(struct loop *loop, const char *path, unsigned mode, tcp_accept_fn accept, void *ctx,
                                   struct tcp_listener **out, struct err *err);
/* Whether the next connection would be taken: the socket listens, there is room under `max_conns`, and a file
 * descriptor to be had. On the loop's thread. */
bool tcp_listener_is_accepting(const struct tcp_listener *l);
/* The address at which it listens, with the port that the kernel chose. */
void tcp_listener_addr(const struct tcp_listener *l, struct addr *out);
/* Stops accepting; open connections live on. Null is fine; nulls the pointer. */
void tcp_listener_destroy(struct tcp_listener **l);

/* Starts a connection; data may be written at once. Failure arrives as `closed`. RC_IO when not even a socket could be
 * made. */
MUST_CHECK enum rc tcp_connect(struct loop *loop, const struct addr *to, struct stream **out);
/* The file descriptor, or -1 if `s` is not a TCP stream. Borrowed. */
int tcp_stream_fd(const struct stream *s);

#endif
