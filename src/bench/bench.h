/* Load for a server on this machine, and what it cost the server: what `fullscale-bench` runs. Each scenario blocks
 * until it is over, on the calling thread, and writes its reports to `target` (report.h says how). Only loopback
 * addresses are loaded: these are measurements of one's own server, and anything else would be an attack.
 *
 * All return RC_INVALID for options that make no sense, RC_DENIED for an address that is not loopback, other codes
 * when the scenario could not be finished; each with a sentence in `err`. What went wrong for single clients is in
 * the report. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/rc.h"
#include "bench/report.h"

/* Where an http or https URL points to. */
struct bench_url {
    struct addr addr;
    char authority[64]; /* host and port as in the URL, for the Host header; terminated */
    char path[256];     /* terminated; "/" when there is none */
    bool is_tls;
};
/* RC_INVALID for what is no such URL or has no port, RC_DENIED for an address that is not loopback ("localhost" is
 * 127.0.0.1), with a sentence. */
MUST_CHECK enum rc bench_url_parse(const char *text, struct bench_url *out, struct err *err);

/* --- fleet_load.c: simulated nodes --- */
struct bench_fleet_opts {
    /* What follows the join, separated by commas: idle, churn, reconnect, restart, policy, api, hold, soak. */
    const char *steps;
    bool hides_join;     /* the join is only preparation: it has no report of its own when it succeeds */
    const char *server;  /* "http://127.0.0.1:8080" */
    const char *authkey; /* reusable; null with classes */
    const char *classes; /* file; null: all nodes are of one class */
    int server_pid;      /* 0: not known */
    unsigned nodes;
    const char *prefix;    /* of host names */
    unsigned concurrency;  /* nodes that join at once; 0: all */
    double rate_per_s;     /* nodes to start; 0: as fast as concurrency lets them */
    unsigned join_updates; /* 0 to 4 updates in which a node reports what it finds out about itself */
    bool re_registers;     /* nodes register on each reconnect, as a client that was restarted does */
    bool is_ephemeral;
    unsigned derp_region;       /* home of all nodes */
    const char *check;          /* "scan" or "deep" */
    int64_t request_timeout_ms; /* of a registration */
    int64_t timeout_ms;         /* of each step */
    int64_t quiet_ms, settle_ms;

    int64_t idle_for_ms, hold_for_ms;
    const char *kind; /* of churn: "endpoints" or "hostinfo" */
    double churn_rate_per_s;
    int64_t churn_for_ms, churn_grace_ms;
    const char *mode;               /* of reconnect: "drop" or "restart" */
    const char *restart_cmd;        /* null: none */
    unsigned reconnect_concurrency; /* 0: all at once */
    unsigned reconnect_count;
    const char *policy_cmd; /* null: none; of soak: several, separated by ";;" */
    const char *api_paths;  /* separated by commas */
    const char *api_socket; /* null: none */
    unsigned api_count;     /* requests of each path */
    int64_t soak_for_ms, soak_check_every_ms;
    unsigned seed;
};
/* Nodes join a control server, and go through the steps; a report for each. */
MUST_CHECK enum rc bench_fleet(const struct bench_fleet_opts *opts, const struct report_target *target,
                               struct err *err);

/* --- relay_load.c: DERP --- */
enum bench_relay_mode { BENCH_RELAY_THROUGHPUT = 1, BENCH_RELAY_LATENCY = 2, BENCH_RELAY_IDLE = 4 };

struct bench_relay_opts {
    const char *url;
    int server_pid;      /* 0: not known */
    unsigned modes;      /* enum bench_relay_mode, or-ed */
    unsigned pairs;      /* in each, one client sends to the other */
    unsigned size_bytes; /* of a packet, 16 to 61440 */
    unsigned window;     /* throughput: packets in flight per pair */
    unsigned batch;      /* throughput: packets per write, at most */
    int64_t duration_ms; /* of the throughput and of the latency run */
    double rate_per_s;   /* latency: all pairs together */
    unsigned idle_conns;
    int64_t idle_for_ms;
};
/* Loads a relay in each of the modes; a report for each. */
MUST_CHECK enum rc bench_relay(const struct bench_relay_opts *opts, const struct report_target *target,
                               struct err *err);

/* --- stun_load.c --- */
struct bench_stun_opts {
    const char *addr; /* "127.0.0.1:3478" */
    int server_pid;   /* 0: not known */
    unsigned sockets;
    unsigned window;   /* requests in flight per socket */
    double rate_per_s; /* all sockets together; 0: as fast as answers come */
    int64_t duration_ms;
};
/* Sends STUN requests and checks the answers; one report. */
MUST_CHECK enum rc bench_stun(const struct bench_stun_opts *opts, const struct report_target *target, struct err *err);

#endif
