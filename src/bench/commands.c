/* The commands of `fullscale-bench`, their options and what the help says of them. */
#include "bench/commands.h"

#define END {0}

static const struct cli_option global_options[] = {
    {"config", 'c', "FILE", "FILE", false,
     "the server's configuration file, for the socket of its API (default: $FULLSCALE_CONFIG, that of `make run` "
     "for the "
     "program of a checkout, /etc/fullscale/config.yaml, ./config.yaml)"},
    {"socket", 0, "FILE", "FILE", false, "socket of the server's API (default: unix_socket of the configuration)"},
    {"help", 'h', NULL, NULL, false, "show help"},
    {"version", 0, NULL, NULL, false, "show the version"},
    END,
};

/* Options of all commands. */
#define BENCH_OPTIONS                                                                                                  \
    {"server-pid", 0, "PID", NULL, false, "process of the server, to report its CPU time and memory"},                 \
        {"label", 0, "TEXT", NULL, false, "a tag for the results"},                                                    \
        {"out", 0, "FILE", "FILE", false, "file to append the JSON lines to"}

/* Options of all commands with simulated nodes. */
#define FLEET_OPTIONS                                                                                                  \
    {"server", 0, "URL", NULL, false, "control server (default http://127.0.0.1:8080)"},                               \
        {"authkey", 0,     "KEY",                                                                                      \
         NULL,      false, "reusable auth key; - reads it from standard input (default: $FULLSCALE_BENCH_AUTHKEY)"},   \
        {"classes", 0, "FILE", "FILE", false, "JSON: classes of nodes, their auth keys, and which classes each sees"}, \
        {"nodes", 'n', "N", NULL, false, "simulated nodes (default 100)"},                                             \
        {"prefix", 0, "TEXT", NULL, false, "first part of their host names (default lg)"},                             \
        {"concurrency", 0, "N", NULL, false, "nodes that join at once; 0: all (default 100)"},                         \
        {"rate", 0, "N", NULL, false, "nodes to start a second; 0: as fast as they join (default 0)"},                 \
        {"join-updates",                                                                                               \
         0,                                                                                                            \
         "N",                                                                                                          \
         NULL,                                                                                                         \
         false,                                                                                                        \
         "updates in which a node reports endpoints, services and relay; 0: with the first map (default 1)"},          \
        {"re-register", 0, NULL, NULL, false, "register on each reconnect, as restarted clients do"},                  \
        {"ephemeral", 0, NULL, NULL, false, "register as ephemeral nodes"},                                            \
        {"derp-region", 0, "N", NULL, false, "home region that nodes report (default 999)"},                           \
        {"check",     0,     "HOW",                                                                                    \
         "scan deep", false, "scan: which peers a node knows; deep: also all it has received of each (default scan)"}, \
        {"request-timeout", 0, "DURATION", NULL, false, "limit of a registration (default 1m)"},                       \
        {"timeout", 0, "DURATION", NULL, false, "limit of each step (default 5m)"},                                    \
        {"quiet", 0, "DURATION", NULL, false, "a step is over when nothing came for so long (default 2s)"},            \
        {"settle", 0, "DURATION", NULL, false, "limit of the wait for quiet (default 90s)"}, BENCH_OPTIONS
#define IDLE_OPTION {"idle-for", 0, "DURATION", NULL, false, "how long to watch idle nodes (default 1m)"}
#define HOLD_OPTION {"hold-for", 0, "DURATION", NULL, false, "how long to stay connected (default 1m)"}
#define CHURN_OPTIONS                                                                                                  \
    {"kind", 0, "WHAT", "endpoints hostinfo", false, "what changes (default endpoints)"},                              \
        {"churn-rate", 0, "N", NULL, false, "changes a second (default 10)"},                                          \
        {"churn-for", 0, "DURATION", NULL, false, "for how long (default 20s)"},                                       \
        {"churn-grace", 0, "DURATION", NULL, false, "wait for the last deliveries (default 30s)"}
#define RESTART_OPTION                                                                                                 \
    {"restart-cmd", 0, "COMMAND", NULL, false, "restarts the server, waits until it serves, prints pid=N"}
#define RECONNECT_OPTIONS                                                                                              \
    {"mode", 0, "HOW", "drop restart", false, "drop: the nodes' connections break; restart: the server is restarted"}, \
        {"reconnect-concurrency", 0, "N", NULL, false, "nodes that come back at once; 0: all (default 0)"},            \
        {"reconnect-count", 0, "N", NULL, false, "how often (default 1)"}, RESTART_OPTION
#define POLICY_OPTION {"policy-cmd", 0, "COMMAND", NULL, false, "changes the server's policy"}
#define API_OPTIONS                                                                                                    \
    {"api-socket", 0, "FILE", "FILE", false, "unix socket of the server's API (default: that of the configuration)"},  \
        {"api-paths", 0, "PATHS", NULL, true, "what to get (default /api/v1/node)"},                                   \
        {"api-count", 0, "N", NULL, false, "requests of each path (default 20)"}

static const struct cli_option join_options[] = {FLEET_OPTIONS, END};
static const struct cli_option idle_options[] = {FLEET_OPTIONS, IDLE_OPTION, END};
static const struct cli_option hold_options[] = {FLEET_OPTIONS, HOLD_OPTION, END};
static const struct cli_option churn_options[] = {FLEET_OPTIONS, CHURN_OPTIONS, END};
static const struct cli_option reconnect_options[] = {FLEET_OPTIONS, RECONNECT_OPTIONS, END};
static const struct cli_option restart_options[] = {FLEET_OPTIONS, RESTART_OPTION, END};
static const struct cli_option policy_options[] = {FLEET_OPTIONS, POLICY_OPTION, END};
static const struct cli_option api_options[] = {FLEET_OPTIONS, CHURN_OPTIONS, API_OPTIONS, END};
static const struct cli_option suite_options[] = {
    {"steps", 0, "STEPS", NULL, true,
     "after the join: idle, churn, reconnect, restart, policy, api, hold (default idle,churn,reconnect)"},
    FLEET_OPTIONS,
    IDLE_OPTION,
    HOLD_OPTION,
    CHURN_OPTIONS,
    RECONNECT_OPTIONS,
    POLICY_OPTION,
    API_OPTIONS,
    END,
};
static const struct cli_option soak_options[] = {
    FLEET_OPTIONS,
    {"for", 0, "DURATION", NULL, false, "how long (default 30m)"},
    {"check-every", 0, "DURATION", NULL, false, "time between checks, for which the noise stops (default 1m)"},
    {"seed", 0, "N", NULL, false, "what happens when follows from this (default 1)"},
    {"churn-rate", 0, "N", NULL, false, "changes of endpoints and Hostinfo a second (default 10)"},
    {"policy-cmd", 0, "COMMANDS", NULL, false,
     "change the policy, each in its turn: separated by ;; (default: no policy changes)"},
    RESTART_OPTION,
    END,
};

static const struct cli_option relay_options[] = {
    {"url", 0, "URL", NULL, false, "DERP endpoint, http or https (default http://127.0.0.1:3340/derp)"},
    {"modes", 0, "MODES", NULL, true, "which runs (default throughput,latency,idle)"},
    {"pairs", 0, "N", NULL, false, "client pairs; in each, one sends to the other (default 8)"},
    {"size", 0, "BYTES", NULL, false, "packet size (default 1200)"},
    {"window", 0, "N", NULL, false, "throughput: packets in flight per pair (default 32)"},
    {"batch", 0, "N", NULL, false, "throughput: packets per write (default 16)"},
    {"duration", 0, "DURATION", NULL, false, "length of the throughput and the latency run (default 10s)"},
    {"rate", 0, "N", NULL, false, "latency: packets per second, all pairs together (default 2000)"},
    {"idle-conns", 0, "N", NULL, false, "idle: number of connections (default 1000)"},
    {"idle-for", 0, "DURATION", NULL, false, "idle: how long to watch (default 10s)"},
    BENCH_OPTIONS,
    END,
};

static const struct cli_option stun_options[] = {
    {"addr", 0, "ADDRESS", NULL, false, "STUN server (default 127.0.0.1:3478)"},
    {"sockets", 0, "N", NULL, false, "client sockets (default 4)"},
    {"window", 0, "N", NULL, false, "requests in flight per socket (default 32)"},
    {"rate", 0, "N", NULL, false, "requests per second, all sockets together (default 0: as fast as answers come)"},
    {"duration", 0, "DURATION", NULL, false, "length of the run (default 10s)"},
    BENCH_OPTIONS,
    END,
};

static const struct cli_command commands[] = {
    {"", "join", "", "", 0, 0, NULL, "simulated nodes join until each knows all its peers",
     "They speak the real protocol, decode every response, and at the end each is checked to know exactly the "
     "peers it must. Use a fresh server: "
     "nodes of earlier runs count as foreign and make every map larger. One JSON line on standard output, a table "
     "on standard "
     "error; CPU seconds of the server are what to compare. Only loopback addresses are loaded.",
     "fullscale preauthkeys create --reusable\n"
     "FULLSCALE_BENCH_AUTHKEY=KEY fullscale-bench join --nodes 1000 --server-pid $(pidof fullscale)",
     join_options, bench_run_fleet, false},
    {"", "idle", "", "", 0, 0, NULL, "join, then watch idle nodes", NULL,
     "fullscale-bench idle --nodes 1000 --idle-for 5m", idle_options, bench_run_fleet, false},
    {"", "churn", "", "", 0, 0, NULL, "join, then change nodes and time how the changes spread",
     "Each change is of another node, and its delivery to each peer is a sample.",
     "fullscale-bench churn --nodes 1000 --churn-rate 50\nfullscale-bench churn --kind hostinfo", churn_options,
     bench_run_fleet, false},
    {"", "reconnect", "", "", 0, 0, NULL, "join, then break all connections at once",
     "All come back at once. With --mode restart the server is restarted instead, and they come back as real "
     "clients would.",
     "fullscale-bench reconnect --nodes 1000 --reconnect-count 3", reconnect_options, bench_run_fleet, false},
    {"", "restart", "", "", 0, 0, NULL, "join, then restart the server",
     "Nodes try again with the real client's back-off.",
     "fullscale-bench restart --nodes 1000 --restart-cmd ./restart-server", restart_options, bench_run_fleet, false},
    {"", "policy", "", "", 0, 0, NULL, "join, then change the policy and time until it has reached all",
     "With --classes, the peers of each node are checked before and after: the new policy must not change them.",
     "fullscale-bench policy --classes classes.json --policy-cmd 'fullscale policy set -f other.hujson'",
     policy_options, bench_run_fleet, false},
    {"", "api", "", "", 0, 0, NULL, "join, then time requests of the admin API while nodes change", NULL,
     "fullscale-bench api --nodes 1000 --api-paths /api/v1/node,/api/v1/user", api_options, bench_run_fleet, false},
    {"", "hold", "", "", 0, 0, NULL, "join, then stay connected, for trying things by hand", NULL,
     "fullscale-bench hold --nodes 100 --hold-for 10m", hold_options, bench_run_fleet, false},
    {"", "suite", "", "", 0, 0, NULL, "several of these with the same nodes", "One JSON line for each step.",
     "fullscale-bench suite --nodes 1000 --steps idle,churn,reconnect --out results.jsonl --label before",
     suite_options, bench_run_fleet, false},
    {"", "soak", "", "", 0, 0, NULL, "everything at random for a long time; is anything lost or leaked?",
     "Connections drop, nodes change, log out and come back, the policy changes, the server restarts. At quiet "
     "points every node's "
     "picture of all others is compared with the truth. Exits with 1 when updates were lost, or memory or files grew.",
     "fullscale-bench soak --nodes 2000 --for 30m --restart-cmd ./restart-server", soak_options, bench_run_fleet,
     false},
    {"", "relay", "derp", "", 0, 0, NULL, "measure a relay: throughput, latency, idle connections",
     "One JSON line on standard output for each run, a table on standard error. Only loopback addresses are loaded.",
     "fullscale-bench relay --url http://127.0.0.1:3340/derp --server-pid $(pidof derper)\n"
     "fullscale-bench relay --url https://127.0.0.1:8443/derp --modes latency --rate 5000",
     relay_options, bench_run_relay, false},
    {"", "stun", "", "", 0, 0, NULL, "measure a STUN server: answers a second, latency",
     "An answer counts when its transaction and the address in it are right. Only loopback addresses are loaded.",
     "fullscale-bench stun --addr 127.0.0.1:3478\nfullscale-bench stun --rate 10000 --duration 30s", stun_options,
     bench_run_stun, false},
    {0},
};

static const struct cli_group no_groups[] = {{0}};

const struct cli_spec bench_spec = {
    .name = "fullscale-bench",
    .summary = "load for a server on this machine, and what it cost",
    .start = "fullscale preauthkeys create --reusable\n"
             "FULLSCALE_BENCH_AUTHKEY=KEY fullscale-bench suite --nodes 100 --server-pid $(pidof fullscale)\n"
             "fullscale-bench stun",
    .groups = no_groups,
    .commands = commands,
    .options = global_options,
};
