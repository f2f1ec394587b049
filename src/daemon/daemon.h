/* `fullscale serve`: configuration in, modules started, signals, an orderly end. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "base/buf.h"

struct config;

/* Serves until SIGTERM or SIGINT; SIGHUP reads the certificates and the DERP map again. Blocks; main thread; returns
 * the exit status. */
int daemon_serve(const struct config *cfg);

/* `fullscale relay`: relays for the control server at `server`, with the key that it gave; those of the last time where
 * they are null. SIGTERM drains it. Blocks; main thread; returns the exit status. */
int daemon_relay(const struct config *cfg, const char *server, const char *key);

/* What `serve` would say of this configuration and this machine before it listens, and what clients would not get along
 * with: a line each into `report`. Changes nothing. `asks_urls`: fetches derp.urls, too. Returns the exit status.
 * Blocks. */
int daemon_check(const struct config *cfg, bool asks_urls, struct buf *report);

#endif
