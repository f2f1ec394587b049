/* The parts of `serve` and `relay`; only for this folder. */
#ifndef DAEMON_DAEMON_INTERNAL_H
#define DAEMON_DAEMON_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "announce/announcer.h"
#include "api/api.h"
#include "base/file.h"
#include "base/limiter.h"
#include "config/config.h"
#include "control/control.h"
#include "daemon/derpmap_internal.h"
#include "relay/mesh.h"
#include "relay/relay_http.h"
#include "stun/stun_server.h"
#include "tls/tls.h"

enum { WORKERS_MAX = 256 };

struct daemon;
struct relay_health;

struct daemon_worker {
    struct daemon *daemon;
    struct loop *loop;
    pthread_t thread;
    struct tcp_listener *main_listener;
    struct tcp_listener *derp_listener;
    /* A worker can close only its own connections to make room, so each has a part of the places. */
    struct budget_places *main_places;
    struct budget_places *derp_places; /* of connections to the relay that have not logged in */
    struct tls_acceptor *main_tls;
    struct tls_acceptor *derp_tls;
    struct http_server *derp_http;
    struct stun_socket *stun;
    struct loop_timer *health_timer; /* null: no relay */
};

struct daemon {
    const struct config *cfg; /* borrowed */
    private_key noise_key;
    unsigned worker_n;
    struct daemon_worker workers[WORKERS_MAX];
    struct loop *loops[WORKERS_MAX];
    struct store *store;
    struct core *core;
    struct tailnet *tailnet; /* the one that there is */
    struct control *control;
    struct relay *relay;
    uint8_t mesh_key[DERP_MESH_KEY_BYTES]; /* of the relay's region; secret */
    struct relay_http relay_http;
    struct relay_http_name names[2]; /* names of this server that are no addresses */
    const char *addresses[2];        /* addresses of this server from the configuration */
    char control_host[CONFIG_HOST_CAP];
    struct stun_server *stun;
    struct relay_health *relay_health;
    struct limiter derp_limiter; /* of connections to the relay */
    struct limiter main_limiter; /* of TLS connections to the main listener */
    struct budget_places *metrics_places;
    struct http_hosts hosts; /* names that the listeners answer to */
    const char **host_names; /* the array in `hosts`; owned */
    char machine_name[CONFIG_HOST_CAP];
    struct tls_server *main_tls; /* null: plain HTTP */
    struct tls_server *derp_tls;
    char derp_fingerprint[TLS_FINGERPRINT_CAP]; /* "" when the relay's certificate is signed by an authority */
    struct tailnet_settings *settings;          /* as they were at the start */
    struct fetch *fetch;                        /* null: nothing is fetched from other servers */
    struct daemon_derpmap *derpmap;
    struct announcer *announcer;   /* only in `fullscale relay` */
    struct file_stamp policy_read; /* the policy file when it was read last; main thread */
    struct file_stamp policy_seen; /* the policy file when it was looked at last */
    bool policy_unread;            /* the last reading failed */
    struct api api;
    struct api_listener api_socket; /* who calls through unix_socket */
    struct http_server *api_http;   /* worker 0 */
    struct tcp_listener *api_listener;
    struct http_server *metrics_http;
    struct tcp_listener *metrics_listener;
    atomic_bool lacks_metrics;
    struct loop_timer *metrics_timer; /* runs while the port is taken; loop 0 */
};

/* --- settings.c --- */
/* The settings that all nodes have: DERP map, DNS, capabilities. The caller owns them. */
struct tailnet_settings *settings_make(const struct config *cfg, const struct daemon_derpmap_texts *derp);
/* Sets another DERP map in settings that are not shared yet. */
void settings_set_derp(struct tailnet_settings *t, const struct daemon_derpmap_texts *derp);

/* --- last_start.c --- */
/* Logs what differs from the last start in a way that operators should know, and saves the present values. To be called
 * while this server holds the database; `nodes` is how many have joined. Blocks on files. */
void last_start_compare(const struct config *cfg, size_t nodes);

/* --- process.c --- */
/* Sets up logs, signals (blocked from here on in every thread), limits, libraries. */
void process_prepare(const struct config *cfg, sigset_t *signals_out);
/* Prints why the program cannot start; returns the exit status. EXIT_CONFIG stands for what only an operator can mend:
 * the service manager does not try again. */
enum { EXIT_CONFIG = 78 }; /* src: sysexits.h */
int process_cannot_start(const struct err *err);
/* Waits for SIGTERM or SIGINT; calls `reload` at each SIGHUP and `tick` (may be null) every second. */
void process_wait(const sigset_t *signals, void (*reload)(struct daemon *d), void (*tick)(struct daemon *d),
                  struct daemon *d);
MUST_CHECK enum rc daemon_make_directories(const char *path, mode_t mode, struct err *err);
/* Makes the folder of a file, readable by all, since the file itself need not be. */
MUST_CHECK enum rc daemon_make_parent(const char *path, struct err *err);
/* In this order: makes the loops; starts their threads; ends the threads; frees the loops, once nothing uses them. */
void workers_create(struct daemon *d);
void workers_start(struct daemon *d);
void workers_stop(struct daemon *d);
void workers_destroy(struct daemon *d);

/* --- notify.c --- */
enum notify_state { NOTIFY_STARTING, NOTIFY_READY, NOTIFY_STOPPING };
/* Reports the state to systemd, if systemd started the program and expects it; `status` is a line for people. Any
 * thread. */
void notify_manager(enum notify_state state, const char *status);

/* --- listeners.c --- */
/* Reads or makes the certificates; first of all, since the DERP map names the relay's. */
MUST_CHECK enum rc certificates_load(struct daemon *d, struct err *err);
/* Sets limits of connections and the names that listeners answer to. Before listeners_open. */
void listeners_prepare(struct daemon *d);
/* Opens all listeners; before the loops run. */
MUST_CHECK enum rc listeners_open(struct daemon *d, struct err *err);
/* Opens the listener for metrics. A port that is taken is logged and tried again; the server goes on without. */
void listeners_open_metrics(struct daemon *d);
/* Closes all listeners; after the loops have stopped. */
void listeners_close(struct daemon *d);
/* Frees limits and names; after all streams are gone. Twice is fine. */
void listeners_forget(struct daemon *d);

/* --- relay_part.c: these do nothing in a server without a relay --- */
/* Makes the relay with its key, and STUN; the mesh key is in `d` already. */
MUST_CHECK enum rc daemon_relay_part_create(struct daemon *d, const struct relay_ops *ops, struct err *err);
/* Reads or makes the relay's certificate, and its metadata certificate. Reads and writes files. */
MUST_CHECK enum rc daemon_relay_part_certificate(struct daemon *d, struct err *err);
/* Whether the relay has a port of its own; else it shares that of listen_addr. */
bool daemon_relay_part_has_port(const struct config *cfg);
/* Whether the relay's certificate is made and renewed here: the configuration names no other. */
bool daemon_derp_certificate_is_ours(const struct config *cfg);
/* Opens the relay's listeners and STUN, and starts the relay guard. */
MUST_CHECK enum rc daemon_relay_part_open(struct daemon *d, struct err *err);
/* Sets names and addresses of this server for /bootstrap-dns. */
void daemon_relay_part_names(struct daemon *d);
/* Reads the relay's certificate again, unless it is made here. */
void daemon_relay_part_reload(struct daemon *d);
/* Frees relay, STUN and certificate; after listeners_close. */
void daemon_relay_part_destroy(struct daemon *d);

/* --- mesh.c --- */
/* Reads the secret that the relays of the region share; zeros: there is none. Reads a file. */
MUST_CHECK enum rc daemon_mesh_key_read(const struct config *cfg, uint8_t out[32], struct err *err);
/* Sets the links of the mesh: to the relays that the configuration lists, and to `more`. Any thread. */
MUST_CHECK enum rc daemon_mesh_set(struct daemon *d, const struct relay_neighbour *more, size_t n, struct err *err);

/* --- relays.c --- */
/* A core_hooks.relays_changed; `ctx` is the daemon. */
void daemon_relays_changed(void *ctx, struct tailnet *t);
/* Puts the relays that were up at the last stop into the DERP map. At the start, with the rows loaded and before the
 * state is published. */
MUST_CHECK enum rc daemon_relays_load(struct daemon *d, struct state *st, struct err *err);
/* The relays of a region that are up. `all` points into the state and into `dials`. Returns how many. */
enum { DAEMON_NEIGHBOURS_MAX = 64 };
size_t daemon_relays_neighbours(const struct state *st, int64_t region_id,
                                struct relay_neighbour all[DAEMON_NEIGHBOURS_MAX],
                                char dials[DAEMON_NEIGHBOURS_MAX][ADDR_TEXT_CAP]);

/* --- policy_source.c --- */
/* A core_hooks.policy_changed; `ctx` is the daemon. */
void daemon_policy_changed(void *ctx, struct tailnet *t);
/* The derpMap of the policy in force, JSON; empty: none. Borrowed from the policy. */
struct str daemon_policy_derp_map(const struct state *st);
/* Sets the policy of the start, with the rows loaded and before the state is published. Prints on stderr what is wrong
 * with a policy that cannot be used: the program must not start without it. */
MUST_CHECK enum rc daemon_policy_load(struct daemon *d, struct state *st, struct err *err);
/* Reads a policy file as the start does: RC_INVALID with `errors` for one that is no valid policy; else `err` says why
 * it cannot be read. */
MUST_CHECK enum rc daemon_policy_read(const char *path, struct policy_doc **out, struct policy_errors *errors,
                                      struct err *err);
/* Reads the policy file again. Main thread, while the core runs. */
void daemon_policy_reload(struct daemon *d);
/* Reads the policy file again when it has changed. To be called every second. */
void daemon_policy_watch(struct daemon *d);

/* --- relay_guard.c --- */
/* A tcp_listen_opts.allows; `ctx` is the daemon. */
bool daemon_relay_allows(void *ctx, const struct addr *from);
/* Watches the relay's listeners, which are open: STUN is silent while one of them takes no connections. */
void daemon_relay_guard_start(struct daemon *d);
/* Ends the watch; after the loops have stopped. */
void daemon_relay_guard_stop(struct daemon *d);

/* --- trusted_proxies.c --- */
/* Whether `from` is in trusted_proxies: a reverse proxy that names the address of its client. */
bool daemon_is_trusted_proxy(const struct config *cfg, const struct addr *from);
/* The same for servers and http_hosts, whose `ctx` is the configuration. */
bool daemon_trusts(const void *ctx, const struct addr *from);
/* The same for listeners (tcp_listen_opts.is_proxy), whose `ctx` is the daemon. */
bool daemon_is_proxy(void *ctx, const struct addr *from);

/* --- invite.c --- */
/* Prints how to reach the server and the command for the next machine, with a key for it when standard output is a
 * terminal; else how to make a key, since logs and journals are kept and read by others. */
void invite_print(struct daemon *d);

#endif
