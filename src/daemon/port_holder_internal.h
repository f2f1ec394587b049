/* Which process listens at a port of this machine; only for this folder. Best effort: what the kernel does not show is
 * left out. Blocks on /proc. */
#ifndef DAEMON_PORT_HOLDER_INTERNAL_H
#define DAEMON_PORT_HOLDER_INTERNAL_H

#include "base/addr.h"
#include "config/config.h"

struct port_holder {
    int pid;       /* 0: the kernel does not show it */
    unsigned uid;  /* of the socket */
    char name[17]; /* of the process; "" with pid 0 */
};

/* Whether a socket listens at the address and port of `at`, or at an address that covers it. `type`: SOCK_STREAM or
 * SOCK_DGRAM. */
bool port_holder_find(const struct addr *at, int type, struct port_holder *out);
enum { PORT_HOLDER_TEXT_CAP = 80 };
/* Writes "process 812 (nginx)". */
void port_holder_format(const struct port_holder *h, char out[PORT_HOLDER_TEXT_CAP]);
/* Completes the error `rc` of a listener with key, position, holder and remedy. Returns `rc`. */
enum rc port_holder_explain(const struct config *cfg, const char *key, const struct config_listen *listen, int type,
                            enum rc rc, struct err *err);

#endif
