/* `fullscale serve`: configuration in, modules started, signals, an orderly end. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "base/buf.h"

struct config;

/* Serves until SIGTERM or SIGINT; SIGHUP reads the certificates and the DERP map again. Blocks; main thread; returns
 * the exit status. */
int daemon_serve(const struct config *cfg);

/* `fullscale relay`: relays for the control server at `server`, with the enrolment key `key`; null: those of the last
 * start. SIGTERM drains it. Blocks; main thread; returns the exit status. */
int daemon_relay(const struct config *cfg, const char *server, const char *key);

/* Checks the configuration and this machine as `serve` does before it listens, and what would keep clients from
 * working: writes a line per finding to `report`. Changes nothing. `asks_urls`: fetches derp.urls, too. Returns the
 * exit status. Blocks. */
int daemon_check(const struct config *cfg, bool asks_urls, struct buf *report);

#endif
