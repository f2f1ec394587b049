/* What the files of the relay share.
 *
 *   relay.c      life, limits, messages between threads
 *   directory.c  which connections each key has, over all workers (the only lock)
 *   worker.c     one per loop: peers, delivery, timers
 *   lane.c       packets from worker to worker
 *   client.c     one connection: frames in, login, what each frame does
 *   queue.c      its frames out
 *   rate.c       how much a client may send
 *   gone.c       whom to tell when a sender leaves
 *   places.c     how many connections there may be, of strangers and of those who are let in
 *   watch.c      mesh, incoming: neighbours that watch who comes and goes
 *   mesh.c       mesh, outgoing: which links there are, names to addresses
 *   mesh_link.c  one link to a neighbour; mesh_http.c reads its answer to our request
 *   stats.c      counters
 */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/limiter.h"
#include "base/list.h"
#include "base/map.h"
#include "base/metric.h"
#include "proto/derp.h"
#include "relay/mesh.h"
#include "relay/relay.h"

enum {
    RELAY_DISCO_QUEUE_BYTES = 64 * 1024,
    RELAY_CONTROL_QUEUE_BYTES = 64 * 1024,
    RELAY_HELD_MAX_BYTES = 64 * 1024,           /* what a client may send ahead of its admission */
    RELAY_HELD_ALL_MAX_BYTES = 8 * 1024 * 1024, /* and all of a worker together, who are strangers still */
    RELAY_FRAME_TIMEOUT_MS = 30 * 1000,         /* from the first byte of a frame to its last */
    RELAY_HOME_SETTLED_MS = 5 * 1000,           /* homes that change earlier are no moves */
    RELAY_PINGS_UNANSWERED_MAX = 3,
    RELAY_NOT_HERE_BURST = 3, /* then one a second */
    RELAY_POOL_BUFS = 16,
    RELAY_POOL_BUF_MAX_BYTES = 256 * 1024,
    WHEEL_SLOTS = 128,                         /* of a second each */
    RELAY_MESH_WRITE_TIMEOUT_MS = 30 * 1000,   /* src: tailscale 1.102 derp/derpserver privilegedWriteTimeout */
    RELAY_WATCH_QUEUE_BYTES = 4 * 1024 * 1024, /* updates that may wait for a watcher, beside the first list */
};

/* --- stats.c: counted without contention per worker, and added up at the end of each turn --- */

#define RELAY_COUNTERS(X)                                                                                              \
    X(ACCEPTS, "accepts_total", "", "DERP connections taken.")                                                         \
    X(PACKETS_RECEIVED_DISCO, "packets_received_kind_total", "kind=\"disco\"", "Packets from clients by kind.")        \
    X(PACKETS_RECEIVED_OTHER, "packets_received_kind_total", "kind=\"other\"", "")                                     \
    X(BYTES_RECEIVED, "bytes_received_total", "", "Payload of packets from clients, bytes.")                           \
    X(PACKETS_SENT, "packets_sent_total", "", "Packets given to clients.")                                             \
    X(BYTES_SENT, "bytes_sent_total", "", "Payload of packets given to clients, bytes.")                               \
    X(PACKETS_CROSSED, "packets_crossed_total", "", "Packets that went from one worker to another.")                   \
    X(FORWARDED_IN, "packets_forwarded_in_total", "", "Packets that neighbours of the mesh forwarded to us.")          \
    X(FORWARDED_OUT, "packets_forwarded_out_total", "", "Packets for clients of neighbours in the mesh.")              \
    X(FORWARDER_NOT_KNOWN, "packet_forwarder_delete_other_value_total", "",                                            \
      "Departures that a neighbour told of keys which it did not have.")                                               \
    X(DROP_UNKNOWN_DISCO, "packets_dropped_total", "reason=\"unknown_dest\",kind=\"disco\"", "Packets dropped.")       \
    X(DROP_UNKNOWN_OTHER, "packets_dropped_total", "reason=\"unknown_dest\",kind=\"other\"", "")                       \
    X(DROP_FORWARD_DISCO, "packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"disco\"", "")                \
    X(DROP_FORWARD_OTHER, "packets_dropped_total", "reason=\"unknown_dest_on_fwd\",kind=\"other\"", "")                \
    X(DROP_GONE_DISCO, "packets_dropped_total", "reason=\"gone_disconnected\",kind=\"disco\"", "")                     \
    X(DROP_GONE_OTHER, "packets_dropped_total", "reason=\"gone_disconnected\",kind=\"other\"", "")                     \
    X(DROP_HEAD_DISCO, "packets_dropped_total", "reason=\"queue_head\",kind=\"disco\"", "")                            \
    X(DROP_HEAD_OTHER, "packets_dropped_total", "reason=\"queue_head\",kind=\"other\"", "")                            \
    X(DROP_LANE_DISCO, "packets_dropped_total", "reason=\"worker_busy\",kind=\"disco\"", "")                           \
    X(DROP_LANE_OTHER, "packets_dropped_total", "reason=\"worker_busy\",kind=\"other\"", "")                           \
    X(DROP_BYTES_UNKNOWN, "bytes_dropped_total", "reason=\"unknown_dest\"", "Payload of dropped packets, bytes.")      \
    X(DROP_BYTES_FORWARD, "bytes_dropped_total", "reason=\"unknown_dest_on_fwd\"", "")                                 \
    X(DROP_BYTES_GONE, "bytes_dropped_total", "reason=\"gone_disconnected\"", "")                                      \
    X(DROP_BYTES_HEAD, "bytes_dropped_total", "reason=\"queue_head\"", "")                                             \
    X(DROP_BYTES_LANE, "bytes_dropped_total", "reason=\"worker_busy\"", "")                                            \
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

struct relay_stats {
    uint64_t touched; /* bit per counter */
    int64_t values[RELAY_COUNTER_N];
};

static inline void stats_add(struct relay_stats *s, enum relay_counter c, int64_t n)
{
    s->touched |= 1ull << c;
    s->values[c] += n;
}

void stats_publish(struct relay_stats *s);

enum drop_reason { DROP_UNKNOWN, DROP_FORWARD, DROP_GONE, DROP_HEAD, DROP_LANE };
void stats_drop(struct relay_stats *s, enum drop_reason reason, bool is_disco, size_t packet_len);

/* How long a client took to answer our ping. */
void stats_rtt(int64_t ms);
/* For how long a client's queues were not empty. */
void stats_queue_wait(int64_t ms);

extern struct metric relay_gauge_connections, relay_gauge_clients, relay_gauge_homes, relay_gauge_dup_keys,
    relay_gauge_dup_conns, relay_gauge_remote, relay_gauge_watchers, relay_gauge_not_ideal, relay_gauge_held_back,
    relay_gauge_rate, relay_gauge_burst;

/* --- objects --- */

struct relay_worker;
struct client;
struct mesh_link;

/* A connection as watchers are told of it. */
struct presence {
    uint8_t ip[16]; /* IPv4 is mapped into IPv6 */
    uint16_t port;
    uint8_t flags; /* enum derp_present_flags */
};

/* A key as one worker knows it: the replica of the directory's entry, the connections that this worker has, and whom to
 * tell when it leaves. Freed when nothing of this is left. */
struct peer {
    node_key key;
    unsigned worker;         /* that has the active connection; valid while conn_id is not 0 */
    uint64_t conn_id;        /* the active connection, 0 when the key has none */
    unsigned conn_n;         /* connections of the key, over all workers */
    struct client *local;    /* the active connection, when it is of this worker and open */
    unsigned forward_worker; /* that has the link to the neighbour where the key is; valid while forward_id is not 0 */
    uint64_t forward_id;     /* the link, 0 when no neighbour has the key */
    struct list clients;     /* struct client.of_peer: all of this worker, logins included */
    struct list links;       /* struct gone_link.of_source */
};

/* "`client` has had a packet from `source`." */
struct gone_link {
    uint64_t id[2]; /* the map's key: address of the source, id of the client */
    struct peer *source;
    struct client *client;
    struct list of_source;
    struct list of_client; /* oldest first */
};

/* Frames that wait for a client, as they go to the wire. */
struct frame_queue {
    struct buf frames;
};

enum client_phase {
    CLIENT_LOGIN,     /* ClientInfo is due */
    CLIENT_ADMISSION, /* the program decides; reading is paused */
    CLIENT_JOINING,   /* on its way into the directory */
    CLIENT_ACTIVE,
    CLIENT_CLOSED, /* memory is freed at the end of the turn */
};

struct client {
    struct relay_worker *worker;
    struct stream *stream; /* owned; null when closed */
    uint64_t id;           /* unique in the process, never 0 */
    node_key key;
    struct peer *peer;          /* of the key; from ADMISSION on */
    struct dir_conn *directory; /* from JOINING on */
    enum client_phase phase;
    bool can_ack_pings;
    bool is_home;
    bool is_claiming; /* has told the directory that it speaks; it is not the active one of its key yet */
    bool is_guest;    /* let in though the program does not know its key */
    bool has_pong;    /* one waits to be sent */
    bool is_mesh;     /* has the mesh key */
    bool is_prober;
    bool is_not_ideal; /* wished for another node of the region */
    bool is_listing;   /* the list of all connections is on its way to this watcher */

    struct buf in; /* a frame that has not come whole, or what came ahead of admission */
    uint64_t skip; /* bytes left of a frame of unknown type */
    struct frame_queue control, disco, watch, data;
    size_t watch_limit; /* bytes that may wait in `watch` */

    struct budget_place place;
    struct list of_peer;
    struct list in_wheel;
    struct list in_dirty;
    struct list in_watchers; /* of the worker; linked when it watches */
    struct list links;       /* struct gone_link.of_client */
    unsigned link_n;
    uint32_t held_bytes;      /* of `in`: what came ahead of admission */
    struct peer *last_source; /* newest link's: nearly every packet is from it */

    int64_t opened_ms;
    int64_t not_here_ms; /* when all not-here replies sent so far are paid for */
    /* When to act; 0: not. */
    int64_t login_due_ms;
    int64_t frame_due_ms;
    int64_t keep_alive_due_ms;
    int64_t ping_due_ms;
    int64_t write_due_ms;
    int64_t drain_due_ms;
    int64_t keep_alive_every_ms; /* with this connection's share of chance */
    int64_t written_bytes;       /* given to the stream so far */
    int64_t progress_bytes;      /* of these gone when write_due_ms was set */
    uint8_t ping[DERP_PING_BYTES];
    int64_t ping_sent_ms;
    unsigned pings_unanswered;
    int64_t rtt_ms;           /* of the last answered ping; -1 before */
    int64_t waiting_since_ms; /* its queues are not empty, because it takes no more; 0: they are */

    struct bucket rate; /* bytes that it may send */
    int64_t resume_ms;  /* when it is read again; 0: it is read */
    union {
        struct list in_logins;    /* of the worker, until it is let in */
        struct list in_held_back; /* afterwards */
    };
};

/* A message to a worker, for what is no packet. All are listed, so that those which a stopped loop never runs are freed. */
struct relay_msg {
    struct loop_msg msg;
    struct list entry; /* of relay->messages */
    struct relay_worker *to;
    void (*run)(struct relay_worker *to, struct relay_msg *m);
    node_key key;
    unsigned worker;  /* route: that has the active connection */
    uint64_t conn_id; /* route: the connection, 0 when the key left. Admission: of the client */
    unsigned conn_n;  /* route: connections of the key */
    enum { HEALTH_SAME, HEALTH_DUPLICATE, HEALTH_DUPLICATE_TO_NEW, HEALTH_CLEAR } health;
    unsigned forward_worker; /* route: see struct peer */
    uint64_t forward_id;
    enum { NEWS_NONE, NEWS_PRESENT, NEWS_GONE } news; /* route: for watchers */
    struct presence presence;                         /* route, NEWS_PRESENT */
    struct buf frames;                                /* watch: the list. Owned */
    bool is_by_mesh;                                  /* close key */
    bool is_allowed;                                  /* admission */
    int64_t over_ms;                                  /* drain */
};

struct relay_admission {
    struct relay_msg m;
};

/* Packets on their way to another worker; memory of the sending one. */
enum {
    LANE_BATCH_BYTES = 160 * 1024,
    LANE_IN_FLIGHT_MAX_BYTES = 16 *
                               LANE_BATCH_BYTES, /* to one worker; a worker that gets no CPU for a while is normal */
    LANE_FREE_MAX_BYTES = 4 * LANE_BATCH_BYTES,
};
struct lane_batch {
    struct loop_msg msg;
    struct relay_worker *from;
    struct relay_worker *to;
    struct lane_batch *next; /* among the returned or the free */
    struct list entry;       /* of from->batches */
    size_t len;
    size_t cap;
    uint8_t *data; /* owned */
};

/* From one worker to one other; touched by the sender only, but for `in_flight`. */
struct lane {
    struct lane_batch *open; /* being filled */
    atomic_size_t in_flight; /* bytes posted and not come back, see batch_bytes */
};

/* on_loop: everything but `returned`. */
struct relay_worker {
    struct relay *relay;
    struct loop *loop;
    unsigned index;
    uint64_t next_id;
    struct map peers;   /* node key -> struct peer */
    struct map clients; /* connection id -> struct client */
    struct map links;   /* struct gone_link.id -> struct gone_link */
    struct loop_task turn_end;
    struct budget_places *places; /* of those that have not logged in, and of nodes that are known */
    struct list dirty;            /* clients with frames to write */
    struct list logins;           /* struct client.in_logins, oldest first */
    struct list watchers;
    struct list mesh_links; /* struct mesh_link.entry */
    struct relay_stats stats;
    struct buf pool[RELAY_POOL_BUFS];
    unsigned pool_n;

    struct lane *lanes;  /* one per worker */
    struct list batches; /* all that were allocated */
    struct lane_batch *free;
    size_t free_bytes;
    _Atomic(struct lane_batch *) returned; /* pushed by the receivers */

    size_t held_bytes; /* of those that wait for admission */

    struct list held_back;         /* clients that are not read for now */
    struct loop_timer *rate_timer; /* runs while there are such */

    struct loop_timer *timer; /* runs while there are clients */
    struct list wheel[WHEEL_SLOTS];
    int64_t wheel_s; /* the last second that was served */
    int64_t test_skew_ms;
};

/* The neighbours that were asked for; `resolver` turns their names into addresses. */
struct mesh {
    pthread_mutex_t lock;
    struct list entries;       /* locked: struct mesh_entry */
    uint64_t next_id;          /* locked */
    struct resolver *resolver; /* locked; null: no name was ever asked for */
    atomic_uint link_n;        /* that are up */
    /* For tests: makes the stream instead of dialling. Null refuses. */
    struct stream *(*test_dial)(void *ctx, struct loop *loop, const struct relay_neighbour *to);
    void *test_dial_ctx;
};

struct directory {
    pthread_mutex_t lock;
    struct map keys; /* locked: node key -> struct dir_key */
};

struct relay {
    private_key key;
    uint8_t public_key[KEY_BYTES];
    struct relay_opts opts; /* without the key; defaults filled in */
    struct relay_ops ops;
    struct relay_worker *workers;
    unsigned worker_n;
    struct directory directory;
    pthread_mutex_t messages_lock;
    struct list messages;  /* messages_lock: under way */
    atomic_uint message_n; /* of them */
    struct mesh mesh;
    struct budget_places *guests; /* places of those that are let in and are no nodes that are known */
    atomic_uint conn_n;           /* open, logins included */
    atomic_uint member_n;         /* let in: they hold a place that is not a stranger's */
    atomic_uint client_n;         /* logged in */
    atomic_bool is_draining;
    bool is_ending; /* relay_destroy: nobody is left to be told */
};

/* --- relay.c --- */
struct relay_msg *relay_msg_create(struct relay *relay, size_t size, struct relay_worker *to,
                                   void (*run)(struct relay_worker *to, struct relay_msg *m));
/* Any thread; `m` belongs to the receiver, and is freed after its run. */
void relay_msg_post(struct relay_msg *m);

/* A neighbour closes the connections of a key. Any thread. */
void relay_close_peer(struct relay *relay, const node_key *key);

/* --- directory.c; any thread --- */
struct dir_conn;
struct dir_forwarder;
void directory_init(struct directory *d);
void directory_fini(struct directory *d);
/* Enters a connection, which becomes the active one of its key. All workers are told, this one too: only then is the
 * client in. When the key has too many, the one that was silent longest is closed. */
struct dir_conn *directory_add(struct relay *relay, const node_key *key, unsigned worker, uint64_t conn_id,
                               const struct presence *presence);
/* A connection that is not the active one has spoken. */
void directory_speak(struct relay *relay, struct dir_conn *conn);
void directory_remove(struct relay *relay, struct dir_conn **conn);
/* A neighbour has the key; packets for it go by this link while it has no connection here and no older link. */
struct dir_forwarder *directory_forward(struct relay *relay, const node_key *key, unsigned worker, uint64_t link_id);
void directory_unforward(struct relay *relay, struct dir_forwarder **forwarder);
const node_key *directory_forwarder_key(const struct dir_forwarder *forwarder);
/* Posts the list of all connected keys to a watcher; the changes that its worker is told from then on complete it. */
void directory_list(struct relay *relay, unsigned worker, uint64_t conn_id);

/* --- worker.c; on the worker's loop from here on --- */
void worker_init(struct relay_worker *w, struct relay *relay, struct loop *loop, unsigned index);
void worker_fini(struct relay_worker *w);
int64_t worker_now_ms(const struct relay_worker *w);
struct peer *worker_peer_get(struct relay_worker *w, const node_key *key);
struct peer *worker_peer_make(struct relay_worker *w, const node_key *key);
void worker_peer_tidy(struct relay_worker *w, struct peer *peer);
/* Sends a packet of `src`, which is of this worker, on its way. */
void worker_send(struct relay_worker *w, struct client *src, const node_key *dst, const uint8_t *packet, size_t n);
/* A packet that a neighbour forwarded; it is never forwarded again.
 * src: tailscale 1.102 derp/derpserver handleFrameForwardPacket */
void worker_forward(struct relay_worker *w, struct client *neighbour, const node_key *src, const node_key *dst,
                    const uint8_t *packet, size_t n);
/* Gives a packet to a client of this worker. `source` may be null: a sender that this worker does not know. */
void worker_deliver(struct relay_worker *w, struct client *dst, struct peer *source, const node_key *src,
                    const uint8_t *packet, size_t n);
/* Something happened: the end of the turn has work. */
void worker_touch(struct relay_worker *w);
/* The earliest of the client's due times has changed. */
void worker_schedule(struct relay_worker *w, struct client *c);
void worker_unschedule(struct client *c);
void worker_tick(struct relay_worker *w);
struct buf worker_buf_take(struct relay_worker *w);
void worker_buf_give(struct relay_worker *w, struct buf *b);
/* Message handlers. */
void worker_on_route(struct relay_worker *w, struct relay_msg *m);
void worker_on_close_key(struct relay_worker *w, struct relay_msg *m);
/* It was the one of too many with its key that had been silent longest. */
void worker_on_evict(struct relay_worker *w, struct relay_msg *m);
void worker_on_drain(struct relay_worker *w, struct relay_msg *m);
void worker_on_ask_again(struct relay_worker *w, struct relay_msg *m);
void worker_on_admission(struct relay_worker *w, struct relay_msg *m);

/* --- watch.c --- */
void watch_start(struct client *c);
/* Before a worker that is told of a change makes it its own: its watchers are told. */
void watch_tell(struct relay_worker *w, const struct relay_msg *m);
void worker_on_list(struct relay_worker *w, struct relay_msg *m);

/* --- mesh.c --- */
void mesh_init(struct mesh *mesh);
void mesh_fini(struct relay *relay);
/* The addresses of a name go to worker_on_resolved of the link's worker. */
void mesh_resolve(struct mesh_link *l, const char *name);
/* What the links' timers do, for relay_test_advance. */
void mesh_tick(struct relay_worker *w);
/* Ends the links of a worker. */
void mesh_close_links(struct relay_worker *w);
void worker_on_mesh_start(struct relay_worker *w, struct relay_msg *m);
void worker_on_mesh_stop(struct relay_worker *w, struct relay_msg *m);
void worker_on_resolved(struct relay_worker *w, struct relay_msg *m);

/* --- mesh_http.c --- */
/* Reads the answer to the request for an upgrade. 1: it is granted, `*used_out` bytes are the answer, DERP follows; 0: more
 * must come; negative enum rc: RC_TOO_LARGE, RC_INVALID, RC_UNSUPPORTED (another status than 101). Pure. */
int mesh_http_answer(const uint8_t *p, size_t n, size_t *used_out);

/* --- mesh_link.c --- */
struct mesh_link *mesh_link_create(struct relay_worker *w, uint64_t id, const struct relay_neighbour *at);
void mesh_link_destroy(struct mesh_link **link);
struct mesh_link *mesh_link_find(struct relay_worker *w, uint64_t id);
void mesh_link_forward(struct mesh_link *l, const node_key *src, const node_key *dst, const uint8_t *packet, size_t n);
void mesh_link_resolved(struct mesh_link *l, const struct addr *addrs, unsigned n);
void mesh_link_tick(struct mesh_link *l, int64_t now_ms);

/* Ids of links and of connections share the lanes. */
static inline bool is_mesh_link_id(uint64_t id)
{
    return id >> 63 != 0;
}

/* --- lane.c --- */
/* False: too many batches are under way to that worker. `dst`: only when the id is that of a mesh link; else null. */
bool lane_append(struct relay_worker *w, unsigned to, uint64_t conn_id, const node_key *src, const node_key *dst,
                 const uint8_t *packet, size_t n);
void lanes_post(struct relay_worker *w);
/* Frees all batches; none is under way any more. */
void lanes_fini(struct relay_worker *w);

/* --- places.c --- */
void places_init(struct relay *relay);
void places_fini(struct relay *relay);
/* For a connection that begins. It takes the place of another that has not logged in for longer, rather than be refused:
 * whoever does not dawdle gets in. False: there is none to be had. */
bool places_take(struct relay_worker *w, const struct addr *from, struct budget_place *out);
/* It is let in: the place is its key's now. False: there are as many as may be. */
bool places_enter(struct client *c);
/* `is_in`: places_enter was true. */
void places_leave(struct client *c, bool is_in);

/* --- client.c --- */
/* `place`: what places_take gave; the client's from here on. */
void client_create(struct relay_worker *w, struct stream *s, const struct budget_place *place, const void *leftover,
                   size_t leftover_len, bool is_not_ideal);
/* `why`: a COUNT_CLOSED_... */
void client_close(struct client *c, enum relay_counter why, bool flush);
void client_ask_admission(struct client *c);
void client_admitted(struct client *c, bool is_allowed);
/* The directory knows it. */
void client_joined(struct client *c);
void client_on_timer(struct client *c, int64_t now_ms);
/* A frame has come in part: the rest is due. */
void client_watch_frame(struct client *c);
/* The earliest due time, or 0. */
int64_t client_due_ms(const struct client *c);

/* --- queue.c --- */
void client_queue_packet(struct client *c, const node_key *src, const uint8_t *packet, size_t n, bool is_disco);
/* False: dropped, too much waits. */
bool client_queue_control(struct client *c, uint8_t type, const void *payload, size_t n);
void client_queue_gone(struct client *c, const node_key *key, enum derp_gone_reason reason);
/* Whole frames for a watcher. False: too much waits; it must be closed, since it would believe what is not so. */
bool client_queue_watch(struct client *c, const void *frames, size_t n);
/* In which something has to go; negative: no limit. */
int64_t client_write_timeout_ms(const struct client *c);
void client_flush(struct client *c);
/* Counts as dropped and frees what waits. */
void client_queues_fini(struct client *c);

/* --- rate.c --- */
/* A frame with this length of payload came. */
void rate_charge(struct client *c, uint32_t frame_len);
/* After frames were charged: stops reading if they cost too much. */
void rate_check(struct client *c);
void rate_forget(struct client *c);
/* Reads those again whose time has come. */
void rate_tick(struct relay_worker *w);

/* --- gone.c --- */
void gone_remember(struct relay_worker *w, struct peer *source, struct client *c);
/* The source left: tells and forgets. */
void gone_announce(struct relay_worker *w, struct peer *source);
void gone_forget_client(struct relay_worker *w, struct client *c);

/* For tests: lets the clock of all workers jump, and serves what fell due. The loops must not be running. */
void relay_test_advance(struct relay *relay, int64_t ms);

#endif
