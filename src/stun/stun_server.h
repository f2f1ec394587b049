/* The STUN server: UDP sockets on worker loops that answer each client with the address that its request came from.
 *
 * Each worker has a socket; all share the port (SO_REUSEPORT). Datagrams are read and answered in batches of 64. An
 * answer leaves from the address that the request was sent to. Nothing is allocated per datagram.
 *
 * src: RFC 8489; docs/protocol/derp-stun.md 7 */
#ifndef STUN_STUN_SERVER_H
#define STUN_STUN_SERVER_H

#include <stdbool.h>

#include "base/addr.h"
#include "net/loop.h"

/* Answers per second to one IPv4 address or IPv6 /64, and ten times as many at once. A client asks about twenty times a
 * minute. So requests with a forged source cannot flood its owner. This machine's own addresses have no limit. */
enum { STUN_ANSWERS_PER_ADDRESS = 200 };

/* What the sockets share. */
struct stun_server;
/* One socket on one loop. */
struct stun_socket;

/* Has no sockets yet, and answers. */
struct stun_server *stun_server_create(void);
/* After all its sockets are gone. Null is fine; nulls the pointer. */
void stun_server_destroy(struct stun_server **server);

/* Silent: requests are read and dropped, so that no client chooses a nearby relay that it cannot use. Set while the
 * DERP listener is unhealthy or draining. Any thread. */
void stun_server_set_silent(struct stun_server *server, bool is_silent);

/* Opens a socket at `at`. The sockets of one server share the port, which no other process may have. The IPv6
 * wildcard serves IPv4 too (and falls back to the IPv4 wildcard on a machine without IPv6); port 0 lets the kernel
 * choose. On the loop's thread, or before the loop runs. RC_IN_USE, RC_DENIED or RC_IO with the reason in `err`,
 * which may be null. */
MUST_CHECK enum rc stun_server_socket_open(struct stun_server *server, struct loop *loop, const struct addr *at,
                                           struct stun_socket **out, struct err *err);
/* The address that it is bound to. */
void stun_server_socket_addr(const struct stun_socket *socket, struct addr *out);
/* On the loop's thread, or after it has stopped. Null is fine; nulls the pointer. */
void stun_server_socket_close(struct stun_socket **socket);

#endif
