/* Whether a client that comes to the relay now gets in. While it would not, latency probes and STUN must not be
 * answered: a client would choose a relay that it cannot use, and could not be reached. Each worker reports now and
 * then about its own listener; a worker that has stopped reporting is stuck.
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

/* Worker `worker` is running, and its listener accepts connections or does not (tcp_listener_is_accepting). Any
 * thread. */
void relay_health_report(struct relay_health *health, unsigned worker, bool is_accepting, int64_t now_ms);
/* Whether all workers are running, at least one accepts (a client that came to another tries again), and there are
 * places for clients that the program knows. Logs when this changes. Any thread. */
bool relay_health_check(struct relay_health *health, int64_t now_ms);

#endif
