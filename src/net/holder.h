/* Which process has a port, for messages to people: "fullscale (process 4711)". Reads /proc; sees only processes of the same
 * user, unless we are root. Blocks for milliseconds: only where a server cannot start. Any thread. */
#ifndef NET_HOLDER_H
#define NET_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

enum { PORT_HOLDER_CAP = 96 };

/* False, and `out` is empty: nobody was found. Of several any one. */
bool port_holder_find(bool is_udp, uint16_t port, char out[PORT_HOLDER_CAP]);

#endif
