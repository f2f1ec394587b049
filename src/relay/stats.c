#include "relay/stats_internal.h"

static struct metric counters[RELAY_COUNTER_N] = {
#define X(id, suffix, labels_, help_)                                                                                  \
    [COUNT_##                                                                                                          \
        id] = {.name = "fullscale_derp_" suffix, .labels = (labels_), .help = (help_), .kind = METRIC_KIND_COUNTER},
    RELAY_COUNTERS(X)
#undef X
};

#define GAUGE(suffix, help_)                                                                                           \
    {.name = "fullscale_derp_" suffix, .labels = "", .help = (help_), .kind = METRIC_KIND_GAUGE}

struct metric relay_gauge_connections = GAUGE("current_connections", "DERP connections, logins included.");
struct metric relay_gauge_clients = GAUGE("clients_local", "DERP connections that are logged in.");
struct metric relay_gauge_homes = GAUGE("current_home_connections", "Clients whose home this relay is.");
struct metric relay_gauge_dup_keys = GAUGE("current_dup_client_keys", "Keys with more than one connection.");
struct metric relay_gauge_dup_conns = GAUGE("current_dup_client_conns", "Connections of these keys.");
struct metric relay_gauge_remote = GAUGE("clients_remote", "Keys that only neighbours in the mesh have.");
struct metric relay_gauge_not_ideal = GAUGE("current_notideal_connections",
                                            "Clients that wished for another node of the region.");
struct metric relay_gauge_watchers = GAUGE("watchers", "Neighbours that watch which clients come and go.");

struct metric relay_gauge_held_back = GAUGE("rate_limited_clients", "Clients not read now because of their rate.");
struct metric relay_gauge_rate = GAUGE("rate_limit_per_client_bytes_per_second", "The limit; 0: none.");
struct metric relay_gauge_burst = GAUGE("rate_limit_per_client_burst_bytes", "What may come at once; 0: no limit.");
/* src: tailscale 1.102 derp/derpserver (buckets of tcp_rtt) */
METRIC_HISTOGRAM(rtt, "fullscale_derp_ping_rtt_seconds", "From a ping of ours to the client's answer.", 10, 20, 50, 100,
                 150, 250, 500);

METRIC_HISTOGRAM(queue_wait, "fullscale_derp_queue_wait_seconds",
                 "How long frames waited, each time that a client took no more for a while.", 1, 5, 10, 50, 100, 500,
                 1000, 2000);

void stats_queue_wait(int64_t ms)
{
    metric_observe_ms(&queue_wait, ms);
}

void stats_rtt(int64_t ms)
{
    metric_observe_ms(&rtt, ms);
}

__attribute__((constructor)) static void register_metrics(void)
{
    for (unsigned i = 0; i < RELAY_COUNTER_N; i++)
        metric_register(&counters[i]);
    metric_register(&relay_gauge_connections);
    metric_register(&relay_gauge_clients);
    metric_register(&relay_gauge_homes);
    metric_register(&relay_gauge_dup_keys);
    metric_register(&relay_gauge_dup_conns);
    metric_register(&relay_gauge_remote);
    metric_register(&relay_gauge_watchers);
    metric_register(&relay_gauge_not_ideal);
    metric_register(&relay_gauge_held_back);
    metric_register(&relay_gauge_rate);
    metric_register(&relay_gauge_burst);
}

void stats_publish(struct relay_stats *s)
{
    while (s->touched != 0) {
        int i = __builtin_ctzll(s->touched);
        s->touched &= s->touched - 1;
        metric_add(&counters[i], s->values[i]);
        s->values[i] = 0;
    }
}

void stats_drop(struct relay_stats *s, enum drop_reason reason, bool is_disco, size_t packet_len)
{
    static const enum relay_counter packets[][2] = {
        [DROP_UNKNOWN] = {COUNT_DROP_UNKNOWN_OTHER, COUNT_DROP_UNKNOWN_DISCO},
        [DROP_FORWARD] = {COUNT_DROP_FORWARD_OTHER, COUNT_DROP_FORWARD_DISCO},
        [DROP_GONE] = {COUNT_DROP_GONE_OTHER, COUNT_DROP_GONE_DISCO},
        [DROP_HEAD] = {COUNT_DROP_HEAD_OTHER, COUNT_DROP_HEAD_DISCO},
        [DROP_PIPE] = {COUNT_DROP_PIPE_OTHER, COUNT_DROP_PIPE_DISCO},
    };
    static const enum relay_counter bytes[] = {
        [DROP_UNKNOWN] = COUNT_DROP_BYTES_UNKNOWN, [DROP_FORWARD] = COUNT_DROP_BYTES_FORWARD,
        [DROP_GONE] = COUNT_DROP_BYTES_GONE,       [DROP_HEAD] = COUNT_DROP_BYTES_HEAD,
        [DROP_PIPE] = COUNT_DROP_BYTES_PIPE,
    };
    stats_add(s, packets[reason][is_disco], 1);
    stats_add(s, bytes[reason], (int64_t)packet_len);
}
