/* A simulated node: its connection to the control server, and what it says of itself. Part of a fleet (fleet.h), on
 * its loop. */
#ifndef BENCH_SIM_H
#define BENCH_SIM_H

#include "bench/map_stream.h"
#include "bench/view.h"
#include "control/ts2021_stream.h"
#include "http/h2_client.h"

enum {
    SIM_CAP_VERSION = 142, /* tailscale 1.102 */
    SIM_SENT_MAX = 16,     /* lists of endpoints that may still arrive at peers */
    /* What a node that starts finds out about itself, in this order. */
    SIM_KNOWS_ENDPOINTS = 1,
    SIM_KNOWS_SERVICES = 2,
    SIM_KNOWS_NETINFO = 3,
    SIM_KNOWS_STUN = 4,
    SIM_KNOWS_ALL = SIM_KNOWS_STUN,
};

enum sim_state {
    SIM_OFF,       /* not connected, and is not to be */
    SIM_WAITING,   /* until its back-off is over */
    SIM_READY,     /* connects when the gate lets it */
    SIM_UPGRADING, /* connecting, and the Noise handshake */
    SIM_GREETING,  /* before the server's early payload */
    SIM_REGISTERING,
    SIM_POLLING, /* before the first map */
    SIM_UP,
};

struct fleet;

/* One simulated node. */
struct sim {
    struct fleet *fleet;
    unsigned index;
    unsigned class;
    enum sim_state state;
    struct list link; /* in the fleet's waiting or ready */
    private_key machine;
    machine_key machine_public;
    node_key key;
    disco_key disco;
    char key_text[KEY_TEXT_CAP];
    char old_key_text[KEY_TEXT_CAP];       /* before it logged in again; empty: none */
    uint32_t machine_digest, disco_digest; /* of their texts */
    bool is_registered;
    bool is_logging_out;
    bool is_paused; /* stays away until sim_log_in */

    /* The connection. */
    struct stream *stream; /* owned until HTTP/2 has it */
    struct h2_client *h2;  /* owned */
    struct noise_initiator *handshake;
    struct buf in; /* handshake, early payload, answer to the registration */
    int32_t register_id, poll_id, update_id;
    int register_status, poll_status, update_status;
    size_t unacked; /* bytes of the poll that were read and not yet granted again */
    bool holds_slot;
    bool has_first_map;
    unsigned fails;
    int64_t due_ms;      /* when the back-off is over */
    int64_t deadline_ms; /* when the connection is given up; 0: never */
    int64_t dialled_us, asked_us, updated_us;

    /* What it knows, and what it reports. */
    struct map_stream map_stream;
    struct view view;
    bool is_complete;
    bool knows_all_endpoints;
    unsigned knows;   /* SIM_KNOWS_... */
    unsigned updates; /* of a join, sent */
    bool is_updating, is_dirty;
    bool owes_update; /* an update was not acknowledged before the connection broke; a poll carries no updates */
    uint32_t endpoints_seq, hostinfo_seq; /* numbers of its latest changes; 0: none */
    uint32_t sent[SIM_SENT_MAX];          /* digests of the lists of endpoints that it has sent, latest at sent_n - 1 */
    unsigned sent_n;
    uint32_t addresses[SCAN_ADDRESSES_MAX]; /* digests of its own addresses, as Node says */
    int64_t id;                             /* the server's; 0: not known yet */
    int64_t last_map_us;
};

/* --- hostinfo.c: what a node says. The writers append a JSON body. --- */
void sim_write_register(const struct sim *s, bool is_logout, struct buf *out);
/* `is_stream`: a poll; else an update. */
void sim_write_map_request(const struct sim *s, bool is_stream, struct buf *out);
/* What its peers should know about the node by now. */
void sim_describe(const struct sim *s, struct view_facts *out);
/* Terminated. */
void sim_host_name(const struct sim *s, char out[64]);

/* --- sim.c: registration, poll and updates on a connection --- */
/* New keys; it does not connect yet. */
void sim_init(struct sim *s, struct fleet *f, unsigned index, unsigned class);
/* Disconnects it, frees what it knows and wipes its keys. */
void sim_fini(struct sim *s);
/* Ends the connection if there is one, without notice to the server, and forgets the peers. Unless it is paused it
 * is ready to connect again. */
void sim_drop(struct sim *s);
/* Logs out, if it is connected, and stays away until sim_log_in. Returns whether it was connected. */
bool sim_log_out(struct sim *s);
/* Makes a new node key and connects again. */
void sim_log_in(struct sim *s);
/* The connection has ended, or is to be ended: counts this text as an error and tries again after a back-off. */
void sim_fail(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Sends an update with what has changed, at once or after the update that is under way. */
void sim_update(struct sim *s);
/* Fails what has waited for too long; `now_ms` by the loop's clock. */
void sim_check_deadline(struct sim *s, int64_t now_ms);
/* For sim_connect.c: the stream inside Noise is ready for HTTP/2; s->in holds what came behind the early payload. */
void sim_greeted(struct sim *s);
/* A stream of the connection has closed; a stream_events callback. */
void sim_on_closed(void *ctx, enum rc why);
/* Wipes and frees the handshake, if there is one. */
void sim_drop_handshake(struct sim *s);

/* --- sim_connect.c --- */
/* Dials; ends in sim_greeted or sim_fail. */
void sim_connect(struct sim *s);

#endif
