/* A fleet of simulated nodes on one loop, and what there is to count of them: inside this module, for the scenarios.
 * Everything runs on one thread; fleet_wait runs the loop. */
#ifndef BENCH_FLEET_H
#define BENCH_FLEET_H

#include "bench/bench.h"
#include "bench/map_stream.h"
#include "bench/view.h"
#include "bench/wire.h"
#include "control/ts2021_stream.h"
#include "http/h2_client.h"

enum {
    SIM_CAP_VERSION = 142, /* tailscale 1.102 */
    SIM_SENT_MAX = 16,     /* lists of endpoints of which a server may still speak */
    /* A node that starts finds out about itself in this order: endpoints, services, relay, STUN. */
    SIM_KNOWS_ENDPOINTS = 1,
    SIM_KNOWS_SERVICES = 2,
    SIM_KNOWS_NETINFO = 3,
    SIM_KNOWS_STUN = 4,
    SIM_KNOWS_ALL = SIM_KNOWS_STUN,
};

enum sim_state {
    SIM_OFF,       /* does not want to be connected */
    SIM_WAITING,   /* for its back-off to pass */
    SIM_READY,     /* to connect, when it may */
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
    struct list entry; /* in the fleet's waiting or ready */
    private_key machine;
    machine_key machine_public;
    node_key key;
    disco_key disco;
    char key_text[KEY_TEXT_CAP];
    char old_key_text[KEY_TEXT_CAP];       /* before it logged in again; empty: none */
    uint32_t machine_digest, disco_digest; /* of their texts */
    bool is_registered;
    bool is_logging_out;
    bool is_paused; /* stays away until somebody says otherwise */

    /* The connection. */
    struct stream *stream; /* owned until HTTP/2 has it */
    struct h2_client *h2;  /* owned */
    struct noise_initiator *handshake;
    struct buf in; /* handshake, early payload, answer to the registration */
    int32_t register_id, poll_id, update_id;
    int register_status, poll_status, update_status;
    size_t unacked; /* bytes of the poll that the server has not been told are taken */
    bool holds_slot;
    bool has_first_map;
    unsigned fails;
    int64_t due_ms;      /* when the back-off is over */
    int64_t deadline_ms; /* when the connection is given up; 0: never */
    int64_t dialled_us, asked_us, updated_us;

    /* What it knows, and says. */
    struct map_stream map_stream;
    struct view view;
    bool is_complete;
    bool knows_all_endpoints;
    unsigned knows;   /* SIM_KNOWS_... */
    unsigned updates; /* of a join, sent */
    bool is_updating, is_dirty;
    bool owes_update; /* an update was not acknowledged before the connection broke: servers take none from a poll */
    uint32_t endpoints_seq, hostinfo_seq; /* numbers of its latest changes; 0: none */
    uint32_t sent[SIM_SENT_MAX];          /* digests of the endpoints that it has told, latest at sent_n - 1 */
    unsigned sent_n;
    uint32_t addresses[SCAN_ADDRESSES_MAX]; /* digests of its own, as Node says */
    int64_t id;                             /* the server's; 0: not known yet */
    int64_t last_map_us;
};

struct fleet_class {
    char *name;    /* owned, as all of these */
    char *authkey; /* wiped */
    char **tags;   /* ended by null */
    char **sees;   /* ended by null; null: all */
    unsigned weight;
    unsigned size; /* nodes */
    struct view_class view;
};

/* Since the last fleet_reset_stats. */
struct fleet_stats {
    struct hist connect, registered, first_map, update, converge;
    uint64_t sessions_lost, failed_starts, register_errors, decode_errors, updates_sent, update_errors;
    uint64_t messages, keep_alives, pings, zstd_bytes, json_bytes;
    uint64_t peer_records, peer_bytes, patches, removals, first_without_node, self_as_peer, wrong_records;
    uint64_t full_maps, full_zstd, full_json, full_peers;
};

struct churn;

struct fleet {
    const struct bench_fleet_opts *opts;
    const struct report_target *target;
    struct bench_url url;
    machine_key server_key;
    struct loop *loop;
    struct loop_timer *tick;
    struct loop_timer *starter;
    bool is_starter_on;
    struct sim *sims;
    bool keeps_facts; /* each node keeps what it was told last of every peer */
    bool is_deep;     /* every record is compared with what its node says */
    unsigned n;
    struct fleet_class *classes;
    unsigned class_n;
    struct roster roster;
    struct frame_cache frames;
    struct wire_count wire;

    struct list waiting, ready;
    unsigned concurrency; /* nodes that connect at once; 0: all */
    unsigned starting;
    bool is_gate_open;
    int64_t rate_since_ms;
    uint64_t rate_started;

    unsigned connected, complete;
    int64_t converge_since_us; /* of stats.converge */
    int64_t last_complete_us, last_endpoints_us, last_data_us;
    int64_t now_us; /* of the message that is being read */
    struct fleet_stats stats;
    struct errors errors;
    struct churn *churn; /* null: none under way */
    struct hist *acks;   /* where the time of updates goes; null: stats.update */

    uint32_t seq; /* number of the latest change, of any churn */

    int pid; /* of the server; 0: not known */
    int64_t peak_rss_bytes;
    int64_t peak_at_ms, progress_at_ms, swept_at_ms;
    void (*on_tick)(struct fleet *f, void *ctx); /* null: nothing else happens; every few milliseconds */
    void *on_tick_ctx;
    const char *doing; /* for the progress line */
    bool has_progress;
};

/* --- sim.c: a node's connection --- */
void sim_init(struct sim *s, struct fleet *f, unsigned index, unsigned class);
void sim_fini(struct sim *s);
void sim_connect(struct sim *s);
/* Ends the connection if there is one, without a word to the server, and forgets the peers. */
void sim_drop(struct sim *s);
/* Logs out, if it is connected, and stays away until sim_log_in, which takes a new key. Whether it was connected. */
bool sim_log_out(struct sim *s);
void sim_log_in(struct sim *s);
/* The connection has ended, or shall: counts it as an error with this text and tries again later. */
void sim_fail(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Says what has changed, now or after the update that is under way. */
void sim_update(struct sim *s);
/* Ends what has waited for too long. */
void sim_check_deadline(struct sim *s, int64_t now_ms);

/* --- hostinfo.c: what a node says --- */
void sim_write_register(const struct sim *s, bool is_logout, struct buf *out);
void sim_write_map_request(const struct sim *s, bool is_stream, struct buf *out);
/* What peers should be told of it. */
void sim_describe(const struct sim *s, struct view_facts *out);
void sim_host_name(const struct sim *s, char out[64]);

/* --- fleet.c --- */
MUST_CHECK enum rc fleet_create(const struct bench_fleet_opts *opts, const struct report_target *target,
                                struct fleet **out, struct err *err);
void fleet_destroy(struct fleet **f);
void fleet_reset_stats(struct fleet *f);
/* Runs the loop until `is_done` (null: never) or `limit_ms` have passed, the server is gone or somebody interrupts. Whether it
 * is done. */
bool fleet_wait(struct fleet *f, const char *doing, int64_t limit_ms, bool (*is_done)(struct fleet *f, void *ctx),
                void *ctx);
bool fleet_is_interrupted(void);
/* Waits until every node knows all its peers. */
bool fleet_wait_complete(struct fleet *f, int64_t limit_ms);
/* Waits until no map response came for `quiet_ms` and the server used less than 3 % of a core in the last second. */
bool fleet_settle(struct fleet *f, int64_t quiet_ms, int64_t limit_ms);
/* A node wants to connect, now or when it may. */
void fleet_ready(struct fleet *f, struct sim *s);
void fleet_wait_until(struct fleet *f, struct sim *s, int64_t due_ms);
void fleet_release_slot(struct fleet *f, struct sim *s);
void fleet_open_gate(struct fleet *f);
void fleet_close_gate(struct fleet *f);
/* All nodes want to be connected. */
void fleet_start(struct fleet *f);
void fleet_sim_changed(struct sim *s);
/* Compares all views with the truth. `examples` (may be null) gets up to 8 sentences. */
void fleet_verify(struct fleet *f, struct view_report *r, struct errors *examples);
struct proc_cpu fleet_server_cpu(const struct fleet *f);
int64_t fleet_server_rss(const struct fleet *f);
void fleet_reset_peak(struct fleet *f);
uint64_t fleet_visible_pairs(const struct fleet *f);
/* How many must learn of a change of `s`. */
unsigned fleet_receivers(const struct fleet *f, const struct sim *s);

/* --- classes.c --- */
MUST_CHECK enum rc fleet_classes_load(struct fleet *f, struct err *err);
void fleet_classes_fini(struct fleet *f);
/* Which class node `index` is of: dealt by weight, interleaved. */
unsigned *fleet_classes_deal(struct fleet *f);

/* --- target.c --- */
/* Asks the server for its key. Blocks. */
MUST_CHECK enum rc fleet_fetch_key(struct fleet *f, struct err *err);

/* --- command.c --- */
/* Runs `sh -c command`, its standard error ours, while the loop goes on. `out` (may be null) gets what it prints, 64 KiB at
 * most; else that goes to standard error. RC_IO with a sentence when it cannot be run, fails or takes longer than `limit_ms`. */
MUST_CHECK enum rc fleet_command(struct fleet *f, const char *command, int64_t limit_ms, struct buf *out,
                                 struct err *err);

/* --- what is in several reports: fleet_load.c --- */
/* The check of all peers, and what went wrong. */
void fleet_report_verify(struct fleet *f, struct report *r, const char *note);
void fleet_report_health(struct fleet *f, struct report *r);
void fleet_report_generator(struct report *r, const struct proc_cpu *since);
/* A restart of the server by opts->restart_cmd: f->pid is the new one. */
MUST_CHECK enum rc fleet_restart_server(struct fleet *f, struct err *err);

/* What is read at the start of a scenario, counters at zero. */
struct fleet_start {
    struct proc_cpu server, self;
    uint64_t wire_in;
    int64_t at_us;
};
struct fleet_start fleet_begin(struct fleet *f);
struct proc_cpu fleet_cpu_since(const struct fleet *f, const struct proc_cpu *before);
void fleet_report_begin(struct fleet *f, struct report *r, const char *scenario);
void fleet_report_peak(struct fleet *f, struct report *r);
void fleet_report_ends(struct fleet *f, struct report *r);
MUST_CHECK enum rc fleet_report_emit(struct fleet *f, struct report *r, struct err *err);
/* A tailnet-wide permutation of the nodes, to be freed with mem_free. */
unsigned *fleet_shuffle(const struct fleet *f, uint64_t *random);
/* The next number of a generator whose state is `*random`, not 0. */
uint64_t fleet_random(uint64_t *random);

/* --- scenarios: each emits its report --- */
MUST_CHECK enum rc fleet_churn(struct fleet *f, struct err *err);
MUST_CHECK enum rc fleet_api(struct fleet *f, struct err *err);
MUST_CHECK enum rc fleet_soak(struct fleet *f, struct err *err);

/* --- churn.c --- */
/* A receiver has got `m`. */
void churn_seen(struct churn *c, struct sim *receiver, const struct map_effect_mark *m);

#endif
