/* Limits new connections to the relay, and lets STUN answer only while the relay's listeners accept. */
#include "base/clock.h"
#include "daemon/daemon_internal.h"
#include "relay/health.h"

bool daemon_relay_allows(void *ctx, const struct addr *from)
{
    struct daemon *d = ctx;
    return daemon_is_trusted_proxy(d->cfg, from) ||
           limiter_take_from_afar(&d->derp_limiter, from, d->cfg->derp_limits_accepts_per_address, clock_mono_ms());
}

static void look(void *ctx)
{
    struct daemon_worker *w = ctx;
    struct daemon *d = w->daemon;
    int64_t now_ms = loop_now_ms(w->loop);
    relay_health_report(d->relay_health, loop_index(w->loop),
                        tcp_listener_is_accepting(w->derp_listener != NULL ? w->derp_listener : w->main_listener),
                        now_ms);
    stun_server_set_silent(d->stun, !relay_health_check(d->relay_health, now_ms));
}

void daemon_relay_guard_start(struct daemon *d)
{
    /* The loops' own clocks stand still until they run, which may be long after they were made. */
    d->relay_health = relay_health_create(d->relay, d->worker_n, clock_mono_ms());
    for (unsigned i = 0; i < d->worker_n; i++) {
        struct daemon_worker *w = &d->workers[i];
        w->daemon = d;
        w->health_timer = loop_timer_create(w->loop, look, w);
        loop_timer_start(w->health_timer, RELAY_HEALTH_EVERY_MS, RELAY_HEALTH_EVERY_MS);
    }
}

void daemon_relay_guard_stop(struct daemon *d)
{
    for (unsigned i = 0; i < d->worker_n; i++)
        loop_timer_destroy(&d->workers[i].health_timer);
    relay_health_destroy(&d->relay_health);
}
