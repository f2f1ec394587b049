/* Counters and gauges of the relay. Each worker counts without contention in its own `struct relay_stats`, and adds
 * that to the metrics at the end of an iteration of its loop. */
#ifndef RELAY_STATS_INTERNAL_H
#define RELAY_STATS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metric.h"

#define RELAY_COUNTERS(X)                                                                                              \
    X(ACCEPTS, "accepts_total", "", "DERP connections taken.")                                                         \
    X(PACKETS_RECEIVED_DISCO, "packets_received_kind_total", "kind=\"disco\"", "Packets from clients by kind.")        \
    X(PACKETS_RECEIVED_OTHER, "packets_received_kind_total", "kind=\"other\"", "")                                     \
    X(BYTES_RECEIVED, "bytes_received_total", "", "Payload of packets from clients, bytes.")                           \
    X(PACKETS_SENT, "packets_sent_total", "", "Packets sent to clients.")                                              \
    X(BYTES_SENT, "bytes_sent_total", "", "Payload of packets sent to clients, bytes.")                                \
    X(PACKETS_CROSSED, "packets_crossed_total", "", "Packets that went from one worker to another.")                   \
    X(FORWARDED_IN, "packets_forwarded_in_total", "", "Packets that neighbours of the mesh forwarded to us.")          \
    X(FORWARDED_OUT, "packets_forwarded_out_total", "", "Packets for clients of neighbours in the mesh.")              \
    X(FORWARDER_NOT_KNOWN, "packet_forwarder_delete_other_value_total", "",                                            \
      "PeerGone frames of neighbours for keys that they did not have.")                                                \
    X(DROP_UNKNOWN_DISCO, "packets_dropped_total", "reason=\"unknown_dest\",kind=\"disco\"", "Packets dropped.")       \
    X(DROP_UNKNOWN_OTHER, "packets_dropped_total", "reason=\"unknown_dest\",kind=\"other\"", "")                       \
    X(DROP_FORWARD_DISCO, "packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"disco\"", "")                \
    X(DROP_FORWARD_OTHER, "packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"other\"", "")                \
    X(DROP_GONE_DISCO, "packets_dropped_total", "reason=\"gone_disconnected\",kind=\"disco\"", "")                     \
    X(DROP_GONE_OTHER, "packets_dropped_total", "reason=\"gone_disconnected\",kind=\"other\"", "")                     \
    X(DROP_HEAD_DISCO, "packets_dropped_total", "reason=\"queue_head\",kind=\"disco\"", "")                            \
    X(DROP_HEAD_OTHER, "packets_dropped_total", "reason=\"queue_head\",kind=\"other\"", "")                            \
    X(DROP_PIPE_DISCO, "packets_dropped_total", "reason=\"worker_busy\",kind=\"disco\"", "")                           \
    X(DROP_PIPE_OTHER, "packets_dropped_total", "reason=\"worker_busy\",kind=\"other\"", "")                           \
    X(DROP_BYTES_UNKNOWN, "bytes_dropped_total", "reason=\"unknown_dest\"", "Payload of dropped packets, bytes.")      \
    X(DROP_BYTES_FORWARD, "bytes_dropped_total", "reason=\"unknown_dest_on_fwd\"", "")                                 \
    X(DROP_BYTES_GONE, "bytes_dropped_total", "reason=\"gone_disconnected\"", "")                                      \
    X(DROP_BYTES_HEAD, "bytes_dropped_total", "reason=\"queue_head\"", "")                                             \
    X(DROP_BYTES_PIPE, "bytes_dropped_total", "reason=\"worker_busy\"", "")                                            \
    X(GONE_SENT, "peer_gone_disconnected_frames_total", "", "PeerGone frames for clients that left.")                  \
    X(NOT_HERE_SENT, "peer_gone_not_here_frames_total", "", "PeerGone frames for clients that are not here.")          \
    X(GOT_PING, "got_ping_total", "", "Pings from clients.")                                                           \
    X(SENT_PONG, "sent_pong_total", "", "Answers to them.")                                                            \
    X(SENT_PING, "sent_ping_total", "", "Pings to clients.")                                                           \
    X(GOT_PONG, "got_pong_total", "", "Answers to them.")                                                              \
    X(HOME_IN, "home_moves_in_total", "", "Clients that made this relay their home.")                                  \
    X(HOME_OUT, "home_moves_out_total", "", "Clients that made another relay their home.")                             \
    X(DUP_CONNS, "dup_client_conns_total", "", "Connections whose key had another one already.")                       \
    X(DUP_SWITCHES, "dup_client_switches_total", "", "Times that a second connection of a key took over.")             \
    X(UNKNOWN_FRAMES, "unknown_frames_total", "", "Frames of unknown type, skipped.")                                  \
    X(RATE_WAITS, "rate_limit_waits_total", "", "Times that a client was not read because of its rate.")               \
    X(CLOSED_PEER, "closed_total", "reason=\"peer\"", "Connections closed, by reason.")                                \
    X(CLOSED_LIMIT, "closed_total", "reason=\"limit\"", "")                                                            \
    X(CLOSED_LOGIN_LIMIT, "closed_total", "reason=\"login_limit\"", "")                                                \
    X(CLOSED_KEY_LIMIT, "closed_total", "reason=\"key_limit\"", "")                                                    \
    X(CLOSED_DRAINING, "closed_total", "reason=\"draining\"", "")                                                      \
    X(CLOSED_BAD_LOGIN, "closed_total", "reason=\"bad_login\"", "")                                                    \
    X(CLOSED_LOGIN_TIMEOUT, "closed_total", "reason=\"login_timeout\"", "")                                            \
    X(CLOSED_NOT_ADMITTED, "closed_total", "reason=\"not_admitted\"", "")                                              \
    X(CLOSED_UNDECIDED, "closed_total", "reason=\"undecided\"", "")                                                    \
    X(CLOSED_REVOKED, "closed_total", "reason=\"revoked\"", "")                                                        \
    X(CLOSED_BAD_FRAME, "closed_total", "reason=\"bad_frame\"", "")                                                    \
    X(CLOSED_NO_MESH_RIGHT, "closed_total", "reason=\"no_mesh_right\"", "")                                            \
    X(CLOSED_SLOW_WATCHER, "closed_total", "reason=\"slow_watcher\"", "")                                              \
    X(CLOSED_BY_MESH, "closed_total", "reason=\"mesh\"", "")                                                           \
    X(CLOSED_FRAME_TIMEOUT, "closed_total", "reason=\"frame_timeout\"", "")                                            \
    X(CLOSED_WRITE_TIMEOUT, "closed_total", "reason=\"write_timeout\"", "")                                            \
    X(CLOSED_PING_TIMEOUT, "closed_total", "reason=\"ping_timeout\"", "")

enum relay_counter {
#define X(id, name, labels, help) COUNT_##id,
    RELAY_COUNTERS(X)
#undef X
        RELAY_COUNTER_N
};
_Static_assert(RELAY_COUNTER_N <= 64, "one bit each");

/* Counts of one worker. */
struct relay_stats {
    uint64_t touched; /* a bit for each counter that has changed since stats_publish */
    int64_t values[RELAY_COUNTER_N];
};

/* Cheap: no shared memory is touched until stats_publish. */
static inline void stats_add(struct relay_stats *s, enum relay_counter c, int64_t n)
{
    s->touched |= 1ull << c;
    s->values[c] += n;
}

/* Adds what was counted since the last call to the metrics. */
void stats_publish(struct relay_stats *s);

enum drop_reason {
    DROP_UNKNOWN, /* no connection here and no neighbour has the destination's key */
    DROP_FORWARD, /* the same, for a packet that a neighbour forwarded */
    DROP_GONE,    /* the connection or the link closed while the packet was under way */
    DROP_HEAD,    /* the oldest of a full queue */
    DROP_PIPE,    /* too much is under way to the destination's worker */
};
/* Counts a packet that is dropped. `packet_len`: bytes of payload, without keys. */
void stats_drop(struct relay_stats *s, enum drop_reason reason, bool is_disco, size_t packet_len);

/* How long a client took to answer our ping. Any thread. */
void stats_rtt(int64_t ms);
/* For how long a client's queues were not empty because it did not read. Any thread. */
void stats_queue_wait(int64_t ms);

/* Gauges; changed from any thread. */
extern struct metric relay_gauge_connections, relay_gauge_clients, relay_gauge_homes, relay_gauge_dup_keys,
    relay_gauge_dup_conns, relay_gauge_remote, relay_gauge_watchers, relay_gauge_not_ideal, relay_gauge_held_back,
    relay_gauge_rate, relay_gauge_burst;

#endif
