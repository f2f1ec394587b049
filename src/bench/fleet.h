/* A fleet of simulated nodes on one loop, and what there is to count of them: for the scenarios. Everything runs on
 * one thread; fleet_wait runs the loop. The files below are listed from bottom to top: none calls one that follows. */
#ifndef BENCH_FLEET_H
#define BENCH_FLEET_H

#include "bench/bench.h"
#include "bench/sim.h"
#include "bench/wire.h"

struct fleet_class {
    char *name;    /* owned, as all of these */
    char *authkey; /* wiped */
    char **tags;   /* ended by null */
    char **sees;   /* names of classes, ended by null; null: all */
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
    bool keeps_facts; /* each node keeps what it last received of every peer */
    bool is_deep;     /* every record is compared with what its node says */
    unsigned n;
    struct fleet_class *classes;
    unsigned class_n;
    struct roster roster;
    struct frame_cache frames;
    struct wire_count wire;

    struct list waiting, ready;                   /* sim.link */
    void (*connect)(struct sim *s);               /* sim_connect */
    void (*sweep)(struct sim *s, int64_t now_ms); /* sim_check_deadline */
    unsigned concurrency;                         /* nodes that connect at once; 0: all */
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
    /* Each record of a peer that a node receives; null: not wanted. */
    void (*on_mark)(void *ctx, struct sim *receiver, const struct map_effect_mark *m);
    void *on_mark_ctx;
    struct hist *acks; /* where the time of updates goes; null: stats.update */

    uint32_t seq; /* number of the latest change, of any churn */

    int pid; /* of the server; 0: not known */
    int64_t peak_rss_bytes;
    int64_t peak_at_ms, progress_at_ms, swept_at_ms;
    void (*on_tick)(struct fleet *f, void *ctx); /* every few milliseconds; null: nothing else happens */
    void *on_tick_ctx;
    const char *doing; /* for the progress line */
    bool has_progress;
};

/* --- gate.c: which nodes may connect --- */
/* `connect` starts a connection. The gate is closed. */
void fleet_gate_init(struct fleet *f, void (*connect)(struct sim *s));
/* Queues a node, which connects as soon as the gate allows it. */
void fleet_ready(struct fleet *f, struct sim *s);
/* The same, not before `due_ms` of the loop's clock. */
void fleet_wait_until(struct fleet *f, struct sim *s, int64_t due_ms);
/* A node connects no longer, because it is connected or has failed: another may start. */
void fleet_release_slot(struct fleet *f, struct sim *s);
/* Starts the nodes that may connect now, on the loop's next iteration. */
void fleet_wake_starter(struct fleet *f);
/* Lets nodes that are ready connect, from the next iteration on. */
void fleet_open_gate(struct fleet *f);
/* Nodes that are ready stay so until fleet_open_gate. */
void fleet_close_gate(struct fleet *f);
/* Queues all nodes. */
void fleet_start(struct fleet *f);

/* --- knowledge.c: what nodes know --- */
/* What `s` knows may have changed: counts whether that is complete. */
void fleet_sim_changed(struct sim *s);
/* Checks a record against what its node has sent; for map_effect_builder.look, with the fleet as context. */
void fleet_check_record(void *ctx, const struct scan_record *r, int index, bool is_patch);
/* Compares what all nodes know with the truth. `examples` (may be null) gets up to 8 sentences. */
void fleet_verify(struct fleet *f, struct view_report *r, struct errors *examples);
/* Over all nodes, how many others each must know. */
uint64_t fleet_visible_pairs(const struct fleet *f);
/* How many nodes must learn of a change of `s`. */
unsigned fleet_receivers(const struct fleet *f, const struct sim *s);

/* --- classes.c --- */
/* From opts->classes, or one class for all nodes. RC_INVALID and those of file_read, with a sentence. */
MUST_CHECK enum rc fleet_classes_load(struct fleet *f, struct err *err);
/* Frees what fleet_classes_load made. */
void fleet_classes_fini(struct fleet *f);
/* The class of each node, dealt by weight and interleaved; to be freed with mem_free. */
unsigned *fleet_classes_deal(struct fleet *f);

/* --- wait.c --- */
/* Starts the tick, and catches SIGINT and SIGTERM once. `sweep` is called for each node every second. */
void fleet_wait_init(struct fleet *f, void (*sweep)(struct sim *s, int64_t now_ms));
/* Runs the loop until `is_done` (null: never), `limit_ms` have passed, the server is gone or a signal came. Returns
 * whether it is done. `doing`: for the line of progress; null: none. */
bool fleet_wait(struct fleet *f, const char *doing, int64_t limit_ms, bool (*is_done)(struct fleet *f, void *ctx),
                void *ctx);
/* Whether a signal came. */
bool fleet_is_interrupted(void);
/* Waits until every node knows all its peers. */
bool fleet_wait_complete(struct fleet *f, int64_t limit_ms);
/* Waits until no map response came for `quiet_ms` and the server used less than 3 % of a core in the last second. */
bool fleet_settle(struct fleet *f, int64_t quiet_ms, int64_t limit_ms);
/* CPU time and memory of the server's process; zero when it is not known or gone. */
struct proc_cpu fleet_server_cpu(const struct fleet *f);
int64_t fleet_server_rss(const struct fleet *f);
/* Restarts the measurement of f->peak_rss_bytes. */
void fleet_reset_peak(struct fleet *f);

/* --- target.c --- */
/* Asks the server for its key. Runs the loop. */
MUST_CHECK enum rc fleet_fetch_key(struct fleet *f, struct err *err);

/* --- command.c --- */
/* Runs `sh -c command`, its standard error ours, while the loop goes on. `out` (may be null) gets what it prints, 64
 * KiB at most; else that goes to standard error. RC_IO with a sentence when it cannot be run, fails or takes longer
 * than `limit_ms`. */
MUST_CHECK enum rc fleet_command(struct fleet *f, const char *command, int64_t limit_ms, struct buf *out,
                                 struct err *err);
/* Restarts the server by opts->restart_cmd: f->pid is the new one. As fleet_command; RC_INVALID when it prints no
 * pid. */
MUST_CHECK enum rc fleet_restart_server(struct fleet *f, struct err *err);

/* --- fleet.c --- */
/* `opts` and `target` are borrowed as long as the fleet lives. RC_INVALID, RC_DENIED, RC_LIMIT... with a sentence.
 * No node connects yet. */
MUST_CHECK enum rc fleet_create(const struct bench_fleet_opts *opts, const struct report_target *target,
                                struct fleet **out, struct err *err);
void fleet_destroy(struct fleet **f);

/* --- fleet_report.c: what is in several reports --- */
/* What was measured at the start of a scenario. */
struct fleet_start {
    struct proc_cpu server, self;
    uint64_t wire_in;
    int64_t at_us;
};
/* Sets the counters to zero. */
void fleet_reset_stats(struct fleet *f);
/* Begins a scenario: measures, and sets counters and peak to zero. */
struct fleet_start fleet_begin(struct fleet *f);
/* The server's CPU time since `before`. */
struct proc_cpu fleet_cpu_since(const struct fleet *f, const struct proc_cpu *before);
/* Begins a report; fleet_report_emit ends it. */
void fleet_report_begin(struct fleet *f, struct report *r, const char *scenario);
/* The check of all peers. */
void fleet_report_verify(struct fleet *f, struct report *r, const char *note);
/* The same, and the counts of everything that went wrong. */
void fleet_report_health(struct fleet *f, struct report *r);
/* CPU time of this program. */
void fleet_report_generator(struct report *r, const struct proc_cpu *since);
/* The server's memory at its peak. */
void fleet_report_peak(struct fleet *f, struct report *r);
/* Connections that ended. */
void fleet_report_ends(struct fleet *f, struct report *r);
/* Adds the errors, sets their counts to zero, and writes the report. */
MUST_CHECK enum rc fleet_report_emit(struct fleet *f, struct report *r, struct err *err);

/* --- shuffle.c --- */
/* The next number of a generator whose state is `*random`, not 0. */
uint64_t fleet_random(uint64_t *random);
/* A permutation of the indexes of all nodes, to be freed with mem_free. */
unsigned *fleet_shuffle(const struct fleet *f, uint64_t *random);

/* --- churn.c, api.c, soak.c: scenarios; each writes its report --- */
/* Nodes change, and each change is followed to every receiver. */
MUST_CHECK enum rc fleet_churn(struct fleet *f, struct err *err);
/* Requests of the admin API, with and without changes beside them. */
MUST_CHECK enum rc fleet_api(struct fleet *f, struct err *err);
/* Everything at random for a long time. RC_IO when something was lost or leaked. */
MUST_CHECK enum rc fleet_soak(struct fleet *f, struct err *err);

#endif
