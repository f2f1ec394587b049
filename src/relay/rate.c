/* How much one client may send. Frames are paid for as they come; a client in debt is not read until time has paid
 * the debt, so that TCP slows the sender down. Clients get the rate at login, and drop what exceeds it themselves.
 * src: docs/protocol/derp-stun.md 2, 4.5 */
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

enum { RESUME_MS = 10 }; /* how often those that are held back are looked at */

static bool is_limited(const struct client *c)
{
    return !c->is_mesh && c->worker->relay->opts.client_rate_bytes > 0;
}

static void earn(struct client *c)
{
    const struct relay_opts *opts = &c->worker->relay->opts;
    bucket_refill(&c->rate, opts->client_rate_bytes, opts->client_burst_bytes, worker_now_ms(c->worker));
}

void rate_charge(struct client *c, uint32_t frame_len)
{
    enum { CHARGE_MAX_BYTES = DERP_PACKET_MAX_BYTES + KEY_BYTES };
    if (!is_limited(c) || c->phase != CLIENT_ACTIVE)
        return;
    earn(c); /* before it is spent: a full bucket earns nothing */
    bucket_pay(&c->rate, frame_len < CHARGE_MAX_BYTES ? frame_len : CHARGE_MAX_BYTES);
}

void rate_check(struct client *c)
{
    struct relay_worker *w = c->worker;
    const struct relay_opts *opts = &w->relay->opts;
    if (!is_limited(c) || c->phase != CLIENT_ACTIVE || c->resume_ms != 0)
        return;
    int64_t now_ms = worker_now_ms(w);
    earn(c);
    int64_t wait_ms = bucket_wait_ms(&c->rate, opts->client_rate_bytes);
    if (wait_ms == 0)
        return;
    stats_add(&w->stats, COUNT_RATE_WAITS, 1);
    stream_pause(c->endpoint.stream, true);
    c->resume_ms = now_ms + wait_ms;
    c->frame_due_ms = 0; /* the rest of a frame is late because reading was paused, not because of the client */
    if (list_is_empty(&w->held_back))
        loop_timer_start(w->rate_timer, RESUME_MS, RESUME_MS);
    list_push_back(&w->held_back, &c->in_held_back);
    metric_add(&relay_gauge_held_back, 1);
}

void rate_forget(struct client *c)
{
    struct relay_worker *w = c->worker;
    if (c->resume_ms == 0)
        return;
    list_remove(&c->in_held_back);
    metric_add(&relay_gauge_held_back, -1);
    c->resume_ms = 0;
    if (list_is_empty(&w->held_back))
        loop_timer_stop(w->rate_timer);
}

/* What has come meanwhile is handed over later in the same iteration. */
void rate_tick(struct relay_worker *w)
{
    int64_t now_ms = worker_now_ms(w);
    LIST_EACH_SAFE (it, &w->held_back) {
        struct client *c = LIST_ENTRY(it, struct client, in_held_back);
        if (c->resume_ms > now_ms)
            continue;
        rate_forget(c);
        client_timers_watch_frame(c);
        stream_pause(c->endpoint.stream, false);
    }
}
