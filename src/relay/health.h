/* Whether a client that comes to the relay now gets in. Whoever measures how near we are must not be answered
 * otherwise: it would choose a relay that it cannot use, and nobody would reach it. Each worker reports about its
 * own listener now and then; a worker that has stopped doing so is stuck.
 * src: docs/protocol/derp-stun.md 5 (home election), 7 */
#ifndef RELAY_HEALTH_H
#define RELAY_HEALTH_H

#include "relay/relay.h"

enum { RELAY_HEALTH_EVERY_MS = 1000, RELAY_HEALTH_STALE_MS = 5000 };

struct relay_health;

/* `relay` is borrowed. Healthy at first. */
struct relay_health *relay_health_create(const struct relay *relay, unsigned worker_n, int64_t now_ms);
/* Null is fine; nulls the pointer. */
void relay_health_destroy(struct relay_health **health);

/* Worker `worker` lives, and its listener takes connections or not (tcp_listener_is_accepting). Any thread. */
void relay_health_report(struct relay_health *health, unsigned worker, bool is_accepting, int64_t now_ms);
/* All workers live, one of them accepts (whoever came to another tries again), and known clients have places. Logs a
 * change. Any thread. */
bool relay_health_check(struct relay_health *health, int64_t now_ms);

#endif
