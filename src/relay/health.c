#include "relay/health.h"

#include <stdatomic.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

LOG_MODULE("relay");
METRIC_GAUGE(healthy, "fullscale_derp_healthy", "", "1: new clients get in, and STUN answers.");

struct worker_health {
    _Atomic int64_t seen_ms;
    atomic_bool is_accepting;
};

struct relay_health {
    const struct relay *relay;
    struct worker_health *workers; /* owned */
    unsigned worker_n;
    atomic_bool was_good;
};

struct relay_health *relay_health_create(const struct relay *relay, unsigned worker_n, int64_t now_ms)
{
    struct relay_health *h = MEM_NEW(struct relay_health);
    h->relay = relay;
    h->worker_n = worker_n;
    h->workers = mem_zalloc(worker_n, sizeof(*h->workers));
    for (unsigned i = 0; i < worker_n; i++)
        relay_health_report(h, i, true, now_ms);
    atomic_store(&h->was_good, true);
    metric_set(&healthy, 1);
    return h;
}

void relay_health_destroy(struct relay_health **at)
{
    struct relay_health *h = *at;
    *at = NULL;
    if (h == NULL)
        return;
    mem_free(h->workers);
    mem_free(h);
}

void relay_health_report(struct relay_health *h, unsigned worker, bool is_accepting, int64_t now_ms)
{
    atomic_store_explicit(&h->workers[worker].is_accepting, is_accepting, memory_order_relaxed);
    atomic_store_explicit(&h->workers[worker].seen_ms, now_ms, memory_order_relaxed);
}

/* What is wrong; null: nothing. */
static const char *complaint(const struct relay_health *h, int64_t now_ms)
{
    if (!relay_has_room(h->relay))
        return relay_is_draining(h->relay) ? "it is going down" : "it has as many connections as it may";
    unsigned accepting = 0;
    for (unsigned i = 0; i < h->worker_n; i++) {
        if (now_ms - atomic_load_explicit(&h->workers[i].seen_ms, memory_order_relaxed) > RELAY_HEALTH_STALE_MS)
            return "a worker is stuck";
        accepting += atomic_load_explicit(&h->workers[i].is_accepting, memory_order_relaxed);
    }
    return accepting > 0 ? NULL : "no listener takes connections";
}

bool relay_health_check(struct relay_health *h, int64_t now_ms)
{
    const char *why = complaint(h, now_ms);
    bool is_good = why == NULL;
    if (atomic_exchange(&h->was_good, is_good) == is_good)
        return is_good;
    metric_set(&healthy, is_good);
    if (is_good)
        log_info("the relay takes connections again");
    else
        log_warn("the relay takes no connections, and STUN is silent", LOG_S("why", why));
    return is_good;
}
