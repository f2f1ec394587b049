/* The insides of control/; only for this folder. */
#ifndef CONTROL_CONTROL_INTERNAL_H
#define CONTROL_CONTROL_INTERNAL_H

#include "base/limiter.h"
#include "base/wheel.h"
#include "base/map.h"
#include "control/control.h"
#include "control/machines.h"
#include "control/viewer_groups.h"
#include "control/map_queue.h"
#include "netmap/netmap.h"
#include "proto/tailcfg.h"
#include "relay/relay_http.h"

enum {
    NODE_BODY_MAX_BYTES = 16 * 1024, /* of the small requests of nodes */
    RELAY_NEWS = 4096,               /* what a relay may have missed without having to ask anew */
    RELAYS_SEEN = 64,
};

/* Where the newest poll of a node is. Core's thread only. */
struct poll_place {
    struct control_worker *worker; /* null: none */
    uint64_t session;
};

/* What relays on other machines are told, numbered. Core's thread only. */
struct relay_desk {
    uint64_t news;                /* the number of the next */
    uint64_t oldest;              /* that is still known */
    node_key revoked[RELAY_NEWS]; /* by number; zero: something else */
};

/* A router that was asked in this round. */
struct ping_probe {
    node_id node;
    uint64_t session; /* its poll, as the round began */
    bool has_answered;
};

enum ping_step { PING_ASK, PING_ASK_AGAIN, PING_JUDGE };

/* See pings.c. */
struct pings {
    uint8_t secret[32];        /* of the codes in URLs; any thread */
    struct loop_timer *timer;  /* the first worker's; null: no pings */
    enum ping_step next;       /* the same */
    uint64_t round;            /* core's thread only, this and the rest */
    struct ping_probe *probes; /* owned */
    size_t n, cap;
};

struct control {
    struct control_options options;
    char *server_url;
    machine_key public_key;
    struct rcbuf *key_json; /* the answer of /key */
    struct core *core;
    struct store *store;
    struct relay_http relay_http;
    struct limiter limiter; /* of handshakes */
    struct machines machines;
    unsigned worker_n;
    struct control_worker **workers;
    struct relay_desk desk;
    uint8_t relay_seed[16]; /* of the hashes of their keys */
    struct pings pings;
    struct {                       /* core's thread only */
        struct poll_place *places; /* by node id */
        size_t cap;
    } polls;
};

struct control_worker {
    struct control *control;
    unsigned index;
    struct loop *loop;
    struct http_server *outer;
    struct http_server *inner;
    struct snapshot *snapshot; /* reference */
    struct netmap_ctx netmap;
    struct netmap_pieces pieces;
    struct list sessions;               /* all that stream */
    struct list waiting;                /* of those, who wait for a snapshot that shows their node */
    struct viewer_groups viewer_groups; /* of those, the ones that follow the snapshot */
    struct map sessions_by_number;      /* for the one that is superseded */
    struct wheel wheel;                 /* of sessions, in seconds: when a keep-alive is due */
    struct loop_timer *second_timer;
    uint64_t next_session;
    struct map_queue map_queue; /* sessions that wait for a full map */
    struct loop_msg map_queue_msg;
    bool is_map_queue_posted;
    struct loop_timer *map_queue_timer; /* runs while some wait */
    bool is_map_queue_timed;
    struct list announcements; /* of relays, that wait for news */
    struct loop_msg news_msg;
    atomic_bool is_news_posted;
    unsigned gone_n; /* sessions that were told that their node is gone */
    uint64_t relays_seen
        [RELAYS_SEEN]; /* hashes of keys that relays have shown lately: their questions have a share of their own */
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

/* A Noise connection; the conn_ctx of its requests. */
struct ts2021_conn {
    struct control_worker *worker;
    machine_key machine;
    uint16_t version;
    struct addr from; /* behind a trusted proxy as that says; family 0: not known, or only claimed */
    bool is_known;    /* the machine is a node's */
    struct http_conn *http;
    struct stream *stream; /* until HTTP/2 takes it */
};

/* A request that waits for the core. Embedded first; freed by its `done`. */
struct pending {
    struct core_job job;
    struct http_exchange *ex; /* null once the client went away */
    struct control_worker *worker;
    struct arena arena; /* what is kept of the request, which is gone when its client is */
    machine_key machine;
    struct wait_who who;
};
/* Ties the exchange. The request is parsed in an arena of its own, which is gone when the job waits: `p->arena` is for copies of
 * what the job needs. */
struct pending *pending_create(struct control_worker *w, struct http_exchange *ex, size_t size);
/* Hands it to the core. `size` is what pending_create was told, `report` may be null. False: too much waits; it is the
 * caller's still, who answers at once. */
MUST_CHECK bool pending_post(struct pending *p, size_t size, const struct node_report *report);
/* 503 and when to come back. */
void control_respond_busy(struct http_exchange *ex);
void pending_free(struct pending *p);

/* Fills a report with references that pending_free does not hold: drop them with control_report_fini. Nothing of it points into
 * `h`. */
void control_report_fill(struct node_report *out, struct arena *a, int64_t version, const struct hostinfo *h);
void control_report_fini(struct node_report *r);

/* --- ts2021.c --- */
/* The request has shown that its connection's machine is a node here: it is no stranger. */
void ts2021_conn_know(struct http_exchange *ex);
void control_handle_ts2021_post(void *app, struct http_exchange *ex);
void control_handle_ts2021_websocket(void *app, struct http_exchange *ex);
void control_handle_key(void *app, struct http_exchange *ex);
void ts2021_conn_gone(void *app, void *conn_ctx);

/* --- register.c, map.c, small.c --- */
void control_handle_register(void *app, struct http_exchange *ex);
void control_handle_map(void *app, struct http_exchange *ex);
void control_handle_update_health(void *app, struct http_exchange *ex);
void control_handle_feature_query(void *app, struct http_exchange *ex);
void control_handle_whoami(void *app, struct http_exchange *ex);
void control_handle_ssh_action(void *app, struct http_exchange *ex);
void control_handle_audit_log(void *app, struct http_exchange *ex);
void control_handle_inner_unmatched(void *app, struct http_exchange *ex, int status);
void control_handle_health(void *app, struct http_exchange *ex);
void control_handle_version(void *app, struct http_exchange *ex);
void control_handle_home(void *app, struct http_exchange *ex);
void control_handle_robots(void *app, struct http_exchange *ex);
void control_handle_derpmap(void *app, struct http_exchange *ex);

/* --- relays.c --- */
void control_handle_verify(void *app, struct http_exchange *ex);
void control_handle_verify_path(void *app, struct http_exchange *ex);
void control_handle_announce(void *app, struct http_exchange *ex);
void relay_desk_init(struct relay_desk *desk, int64_t now_ms);
void announcements_init(struct control_worker *w);
/* Answers those that have waited long enough. */
void announcements_tick(struct control_worker *w);

/* --- pings.c --- */
enum { PING_TEXT_CAP = 2 * (13 + 16) + 1 };
void control_handle_ping(void *app, struct http_exchange *ex);
/* After the workers were made, before they run. */
void pings_init(struct control *c);
void pings_fini(struct control *c);
/* For the timer, and for tests, which choose the time. Any thread. */
void pings_step(struct control *c, enum ping_step step);
/* The last segment of the URL for the router at `index` of a round. Any thread. */
void ping_id_text(const struct pings *p, uint32_t index, uint64_t round, uint8_t attempt, char out[PING_TEXT_CAP]);

/* A poll of this node has ended. */
void poll_end_post(struct control_worker *w, node_id id);

/* --- session.c --- */
struct session;
/* Begins a streaming poll whose node the core has accepted as `id` with `key`; takes the exchange over. The first map goes
 * out as soon as the worker's snapshot shows the node. */
struct session *session_create(struct control_worker *w, struct http_exchange *ex, uint64_t number, node_id id,
                               const node_key *key, enum netmap_coding coding, bool omit_peers);
/* A stream that only says that its node is gone. */
void session_create_gone(struct control_worker *w, struct http_exchange *ex, const node_key *key,
                         enum netmap_coding coding);
void sessions_init(struct control_worker *w);
void sessions_fini(struct control_worker *w);
void sessions_apply(struct control_worker *w, struct change *c);
/* Sends keep-alives to the sessions that were due before this second (of the loop's clock). For the timer, and for tests, which
 * choose the time. */
void sessions_tick(struct control_worker *w, int64_t second);
/* Ends the session with this number, if it is still there: a newer poll has taken its place. */
void sessions_supersede(struct control_worker *w, uint64_t number);
/* Tells the time to all clients that read. */
void sessions_send_time(struct control_worker *w, int64_t now_ms);
/* Asks the client of the session with this number, if it is still there and reads, to call `url`. */
void sessions_ping(struct control_worker *w, uint64_t number, struct str url);
/* Answers a one-shot poll, as soon as the worker's snapshot shows the node with this key. */
void session_answer_once(struct control_worker *w, struct http_exchange *ex, node_id id, const node_key *key,
                         enum netmap_coding coding, bool with_peers);

#endif
