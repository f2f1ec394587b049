/* What the runs of a relay's load share: clients that are dialled, and a loop that is run for a while. */
#ifndef BENCH_RELAY_LOAD_INTERNAL_H
#define BENCH_RELAY_LOAD_INTERNAL_H

#include "bench/derp_client_internal.h"
#include "bench/proc.h"

/* For tests. */
struct bench_relay_load_hooks {
    /* A stream to the relay. Null: TCP, and TLS where the URL says so. */
    struct stream *(*dial)(void *ctx, struct loop *loop);
    void *ctx;
    int64_t drain_ms; /* how long to wait for packets that are under way */
};

struct bench_relay_load;

struct bench_relay_link {
    struct bench_derp_client client;
    struct bench_relay_load *load;
    unsigned index;
};

struct bench_relay_load {
    const struct bench_relay_opts *opts;
    const struct report_target *target;
    struct bench_relay_load_hooks hooks;
    struct bench_url at;
    struct loop *loop;
    struct frame_pool pool;         /* of the clients */
    struct loop_timer *timer;       /* ends bench_relay_load_run_for, and dialling without success */
    struct bench_relay_link *links; /* owned */
    unsigned link_n, dialled_n, up_n;
    bool is_dialling;
    /* A packet for link `index`; null: packets are dropped. */
    void (*packet)(void *ctx, unsigned index, const uint8_t src[KEY_BYTES], const uint8_t *p, size_t n);
    void *ctx;
    struct errors errors; /* of links that were up */
    struct err failure;   /* while dialling; code RC_OK when there is none */
};

/* --- relay_links.c --- */
/* Makes the loop. */
void bench_relay_load_open(struct bench_relay_load *load);
/* Ends all clients and the loop. */
void bench_relay_load_close(struct bench_relay_load *load);
/* Connects `n` clients; returns when all are up. RC_IO, RC_TIMEOUT... with a sentence. */
MUST_CHECK enum rc bench_relay_load_connect(struct bench_relay_load *load, unsigned n, struct err *err);
/* Runs the loop for `ms`. */
void bench_relay_load_run_for(struct bench_relay_load *load, int64_t ms);

/* CPU time of the server and of this program, at one moment. */
struct bench_relay_load_reading {
    int64_t at_us;
    struct proc_cpu server, self;
};
/* Reads the clock and the CPU times now. */
struct bench_relay_load_reading bench_relay_load_read(const struct bench_relay_load *load);

/* --- relay_traffic.c --- */
/* The throughput or the latency run, with its report. */
MUST_CHECK enum rc bench_relay_traffic_run(struct bench_relay_load *load, enum bench_relay_mode mode, struct err *err);

/* --- relay_load.c --- */
/* bench_relay with a network of the test's own. `hooks` may be null. */
MUST_CHECK enum rc bench_relay_load_run(const struct bench_relay_opts *opts, const struct bench_relay_load_hooks *hooks,
                                        const struct report_target *target, struct err *err);

#endif
