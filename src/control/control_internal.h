/* The insides of control/, for this folder only. Upwards, each file calls only those before it: poll_ends, pending,
 * ts2021, session, newest_polls, the handlers (register, map, node_requests, public_pages, relays_*, pings),
 * fan_out, control. */
#ifndef CONTROL_CONTROL_INTERNAL_H
#define CONTROL_CONTROL_INTERNAL_H

#include "base/limiter.h"
#include "base/map.h"
#include "base/wheel.h"
#include "control/control.h"
#include "control/machines.h"
#include "control/map_queue.h"
#include "control/newest_polls.h"
#include "control/viewer_groups.h"
#include "netmap/netmap.h"
#include "proto/tailcfg.h"
#include "relay/relay_http.h"

enum {
    NODE_BODY_MAX_BYTES = 16 * 1024, /* of the small requests of nodes */
    RELAYS_SEEN_MAX = 64,
};

/* A router that was asked in this round. */
struct ping_probe {
    node_id node;
    uint64_t session; /* its poll, as the round began */
    bool has_answered;
};

enum ping_step { PING_ASK, PING_ASK_AGAIN, PING_JUDGE };

/* A tailnet's round of pings: see pings.c. Core's thread only. */
struct ping_round {
    uint64_t number;
    struct ping_probe *probes; /* owned */
    size_t n, cap;
};

struct pings {
    uint8_t secret[32];       /* of the codes in URLs; any thread */
    struct loop_timer *timer; /* of the first worker's loop; null: no pings */
    enum ping_step next;      /* on that loop's thread */
};

struct control {
    struct control_options options;
    machine_key public_key;
    struct rcbuf *key_json; /* the answer of /key */
    struct core *core;
    struct store *store;
    struct relay_http relay_http;
    struct limiter limiter; /* of handshakes */
    unsigned worker_n;
    struct control_worker **workers;
    uint8_t relay_seed[16]; /* for the hashes of relays' keys */
    struct pings pings;
};

/* What a worker has of a tailnet. */
struct tailnet_part {
    struct control_worker *worker;
    struct tailnet *tailnet;
    struct snapshot *snapshot; /* reference; the newest */
    struct snapshot *sent;     /* reference; what the sessions in viewer_groups know */
    struct change **unsent;    /* owned array of references: those that lead from `sent` to `snapshot`, in order */
    size_t unsent_n, unsent_cap;
    struct list sessions;               /* all that stream */
    struct list waiting;                /* of those, the ones that wait for a snapshot that shows their node */
    struct list newer;                  /* ... that know a newer snapshot than `sent`, the oldest first */
    struct viewer_groups viewer_groups; /* ... that know `sent` */
    struct list announcements;          /* struct relays_call: those that wait for news */
    struct loop_msg news_msg;
    atomic_bool is_news_posted;
};

struct control_worker {
    struct control *control;
    unsigned index;
    bool is_draining; /* the server is about to end: no new Noise connections */
    struct loop *loop;
    struct http_server *outer;
    struct http_server *inner;
    struct tailnet_part *parts; /* owned; by the index of the tailnet */
    size_t part_n;
    struct netmap_ctx netmap; /* scratch, as the pieces: of whichever session is sent something */
    struct netmap_pieces pieces;
    struct map sessions_by_number;   /* to end the one that another poll supersedes */
    struct wheel wheel;              /* sessions by the second in which their next keep-alive is due */
    struct loop_timer *second_timer; /* each second: the wheel, announcements */
    uint64_t next_session;
    struct map_queue map_queue; /* sessions that want a full map */
    struct loop_msg map_queue_msg;
    bool is_map_queue_posted;
    struct loop_timer *map_queue_timer; /* runs while some wait */
    bool is_map_queue_timed;
    unsigned gone_n; /* sessions whose node is gone, which are held open with keep-alives */
    /* Hashes of keys that relays have shown lately: their requests have a share of their own. */
    uint64_t relays_seen[RELAYS_SEEN_MAX];
    unsigned relays_seen_next;
    struct {
        struct loop_msg msg; /* here, not allocated: a loop that ends may leave it where it is */
        bool is_posted;
        int64_t began_cpu_us;
    } fanout; /* what it costs to send a change */
    struct {
        int64_t asked_ms; /* 0: never */
        enum rc fault;
    } health; /* of the store, as /health last found it */
};

/* The worker's part of a tailnet. */
static inline struct tailnet_part *control_part(const struct control_worker *w, const struct tailnet *t)
{
    return &w->parts[t->index];
}

/* A Noise connection; the conn_ctx of its requests. */
struct ts2021_conn {
    struct control_worker *worker;
    struct tailnet *tailnet; /* to whose host the client came */
    machine_key machine;
    uint16_t version;
    struct addr from; /* of the client, also behind a trusted proxy; family 0: not known, or only claimed */
    bool is_known;    /* the machine is a node's */
    struct http_conn *http;
    struct stream *stream; /* until HTTP/2 takes it */
};

/* --- poll_ends.c --- */
/* A poll of this node has ended: posts that to the core. Worker's thread. */
void poll_ends_post(struct tailnet_part *part, node_id id);

/* --- pending.c; worker's thread --- */
/* A request that waits for the core. Embedded first; freed by its `done`. */
struct pending {
    struct core_job job;
    struct http_exchange *ex; /* null once the client went away */
    struct control_worker *worker;
    struct arena arena; /* what is kept of the request, which is gone when its client is */
    machine_key machine;
    struct waiting_sender sender;
};
/* A struct of `size` bytes that begins with a struct pending, tied to the exchange. The request is parsed in an
 * arena of its own, which is gone when the job waits: `p->arena` is for copies of what the job needs. */
struct pending *pending_create(struct control_worker *w, struct http_exchange *ex, size_t size);
/* Hands it to the core. `size` is that of pending_create, `report` may be null. False: too much waits; it remains the
 * caller's, who answers at once. */
MUST_CHECK bool pending_post(struct pending *p, size_t size, const struct node_report *report);
/* Frees it; its exchange, if it is still there, has been answered. */
void pending_free(struct pending *p);
/* Answers 503 and when to come back. */
void control_respond_busy(struct http_exchange *ex);
/* The same, and why the database cannot be written: the answer would depend on it. `why`: core_job.refused. */
void control_respond_refused(struct http_exchange *ex, enum rc why);
/* Fills a report with references that pending_free does not hold: drop them with control_report_fini. Nothing of it
 * points into `h`. */
void control_report_fill(struct node_report *out, struct arena *a, int64_t version, const struct hostinfo *h);
/* Drops the references of a report. Twice is fine. */
void control_report_fini(struct node_report *r);

/* --- ts2021.c --- */
/* The request has shown that its connection's machine is a node here: it is no stranger. */
void ts2021_conn_know(struct http_exchange *ex);
/* conn_gone of the inner server. */
void ts2021_conn_gone(void *app, void *conn_ctx);

/* --- session.c; worker's thread --- */
struct session;
/* Begins a streaming poll whose node the core has accepted as `id` with `key`; takes the exchange over. The first
 * map goes out as soon as the worker's snapshot shows the node. */
struct session *session_create(struct tailnet_part *part, struct http_exchange *ex, uint64_t number, node_id id,
                               const node_key *key, enum netmap_coding coding, bool omit_peers);
/* A stream that says that its node is gone, and nothing else. */
void session_create_gone(struct tailnet_part *part, struct http_exchange *ex, const node_key *key,
                         enum netmap_coding coding);
/* Answers a one-shot poll, as soon as the worker's snapshot shows the node with this key. */
void session_answer_once(struct tailnet_part *part, struct http_exchange *ex, node_id id, const node_key *key,
                         enum netmap_coding coding, bool with_peers);
void sessions_init(struct control_worker *w);
/* All have ended. */
void sessions_fini(struct control_worker *w);
/* Moves the worker to the change's snapshot, for sessions that begin now; the others are sent the change by the next
 * sessions_send. */
void sessions_follow(struct tailnet_part *part, struct change *c);
/* Sends the sessions what has changed since the snapshot that they know. `all`: the changes since the last time, as
 * one. */
void sessions_send(struct tailnet_part *part, struct change *all);
/* Sends the keep-alives that were due before this second (of the loop's clock), and ends what is over. For the timer,
 * and for tests, which choose the time. */
void sessions_tick(struct control_worker *w, int64_t second);
/* Ends the session with this number, if it is still there, because a newer poll replaces it. */
void sessions_supersede(struct control_worker *w, uint64_t number);
/* Sends the time to all clients that read. */
void sessions_send_time(struct control_worker *w, int64_t now_ms);
/* Asks the client of the session with this number, if it is still there and reads, to call `url`. */
void sessions_ping(struct control_worker *w, uint64_t number, struct str url);

/* --- relays_announce.c; worker's thread --- */
void relays_announcements_init(struct tailnet_part *part);
/* Answers the announcements that have waited long enough. Each second. */
void relays_announcements_tick(struct tailnet_part *part);

/* --- pings.c --- */
enum { PING_TEXT_CAP = 2 * (17 + 16) + 1 };
/* After the workers were made, before they run. */
void pings_init(struct control *c);
/* After the loops have stopped. */
void pings_fini(struct control *c);
/* Posts a step to the core, for each tailnet. For the timer, and for tests, which choose the time. Any thread. */
void pings_step(struct control *c, enum ping_step step);
/* The contents of a ping's URL. */
struct ping_id {
    uint32_t tailnet; /* its index */
    uint32_t index;   /* in the round */
    uint64_t round;
    uint8_t attempt;
};
/* Writes the last segment of its URL. Any thread. */
void pings_id_text(const struct pings *p, const struct ping_id *id, char out[PING_TEXT_CAP]);

/* --- fan_out.c --- */
/* Drops what nodes were not sent yet. After the core has stopped. */
void control_forget_unsent(struct tailnet *t);

/* --- handlers: the outer server's --- */
void control_handle_key(void *app, struct http_exchange *ex);
void control_handle_ts2021_post(void *app, struct http_exchange *ex);
void control_handle_ts2021_websocket(void *app, struct http_exchange *ex);
void control_handle_health(void *app, struct http_exchange *ex);
void control_handle_version(void *app, struct http_exchange *ex);
void control_handle_home(void *app, struct http_exchange *ex);
void control_handle_robots(void *app, struct http_exchange *ex);
void control_handle_derpmap(void *app, struct http_exchange *ex);
void control_handle_verify(void *app, struct http_exchange *ex);
void control_handle_verify_path(void *app, struct http_exchange *ex);
void control_handle_announce(void *app, struct http_exchange *ex);
void control_handle_ping(void *app, struct http_exchange *ex);

/* --- handlers: the inner server's, whose requests come inside Noise --- */
void control_handle_register(void *app, struct http_exchange *ex);
void control_handle_map(void *app, struct http_exchange *ex);
/* Requests for one node; the route's argument is the struct control_node_answer. */
void control_handle_node_request(void *app, struct http_exchange *ex);
void control_handle_whoami(void *app, struct http_exchange *ex);
void control_handle_ssh_action(void *app, struct http_exchange *ex);
/* `unmatched` of the inner server. */
void control_handle_inner_unmatched(void *app, struct http_exchange *ex, int status);

/* What answers a request for one node, once the core has found that the node belongs to the machine. */
struct control_node_answer;
extern const struct control_node_answer control_answer_update_health, control_answer_audit_log;
extern const struct control_node_answer control_answer_feature_query;

#endif
