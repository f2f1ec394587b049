/* The insides of daemon/; only for this folder. */
#ifndef DAEMON_DAEMON_INTERNAL_H
#define DAEMON_DAEMON_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "announce/announcer.h"
#include "api/api.h"
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

/* What tells one state of a file from another. */
struct file_stamp {
    bool exists;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec mtime;
    struct timespec ctime; /* of its mode and owner, too */
};

struct daemon_worker {
    struct daemon *daemon;
    struct loop *loop;
    pthread_t thread;
    struct tcp_listener *main_listener;
    struct tcp_listener *derp_listener;
    /* A worker can make room only among its own connections, so each has its part of the places. */
    struct budget_places *main_places;
    struct budget_places *derp_places; /* of those that the relay does not count yet */
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
    struct control *control;
    struct relay *relay;
    uint8_t mesh_key[DERP_MESH_KEY_BYTES]; /* of the relay's region; secret */
    struct relay_http relay_http;
    struct relay_http_name names[2]; /* ours that are no addresses */
    const char *addresses[2];        /* ours that the configuration names */
    char control_host[CONFIG_HOST_CAP];
    struct stun_server *stun;
    struct relay_health *relay_health;
    struct limiter derp_limiter; /* of connections to the relay */
    struct limiter main_limiter; /* of TLS connections to the main listener */
    struct budget_places *metrics_places;
    struct http_hosts hosts; /* that our listeners answer to */
    const char **host_names; /* of them; owned */
    char machine_name[CONFIG_HOST_CAP];
    struct tls_server *main_tls; /* null: plain HTTP */
    struct tls_server *derp_tls;
    char derp_fingerprint[TLS_FINGERPRINT_CAP]; /* "" when the relay's certificate is a real one */
    struct tailnet_settings *settings;          /* those at the start */
    struct fetch *fetch;                        /* null: no other server is asked */
    struct daemon_derpmap *derpmap;
    struct announcer *announcer; /* only of `relay` */
    struct api_policy policy;
    struct file_stamp policy_read; /* the policy file as it was when it was read; main thread */
    struct file_stamp policy_seen; /* as it was when it was looked at last */
    bool policy_unread;            /* it could not be read then */
    struct api api;
    struct http_server *api_http; /* worker 0 */
    struct tcp_listener *api_listener;
    struct http_server *metrics_http;
    struct tcp_listener *metrics_listener;
    atomic_bool lacks_metrics;
    struct loop_timer *metrics_timer; /* while the port is taken; loop 0 */
};

/* --- settings.c --- */
/* The DERP map, DNS and capabilities that every node is told. */
struct tailnet_settings *settings_make(const struct config *cfg, const struct daemon_derpmap_texts *derp);
/* Of settings that are not shared yet: another DERP map. */
void settings_set_derp(struct tailnet_settings *t, const struct daemon_derpmap_texts *derp);

/* --- last_start.c --- */
/* Logs what differs from the last start in ways that people should know of, and keeps this one. While the database is
 * ours; `nodes` have joined. Blocks on files. */
void last_start_compare(const struct config *cfg, size_t nodes);

/* --- process.c --- */
/* Logs, signals (blocked from here on in every thread), limits, libraries. */
void process_prepare(const struct config *cfg, sigset_t *signals_out);
/* Says why; returns the exit status: EXIT_CONFIG where another try is in vain until somebody mends something, so that
 * the service manager leaves it. */
enum { EXIT_CONFIG = 78 }; /* src: sysexits.h */
int process_cannot_start(const struct err *err);
/* Until SIGTERM or SIGINT; `reload` at each SIGHUP, `tick` (may be null) every second. */
void process_wait(const sigset_t *signals, void (*reload)(struct daemon *d), void (*tick)(struct daemon *d),
                  struct daemon *d);
MUST_CHECK enum rc daemon_make_directories(const char *path, mode_t mode, struct err *err);
/* Of a file. Open to all, since what is in it need not be. */
MUST_CHECK enum rc daemon_make_parent(const char *path, struct err *err);
/* The loops; then their threads; then these end; then the loops too, once nothing is on them. */
void workers_create(struct daemon *d);
void workers_start(struct daemon *d);
void workers_stop(struct daemon *d);
void workers_destroy(struct daemon *d);

/* --- notify.c --- */
enum notify_state { NOTIFY_STARTING, NOTIFY_READY, NOTIFY_STOPPING };
/* Tells systemd, when it started us and waits for news, where we are; `status` is for people, one line. Any thread. */
void notify_manager(enum notify_state state, const char *status);

/* --- listeners.c --- */
/* Certificates first, since the DERP map names the relay's. */
MUST_CHECK enum rc certificates_load(struct daemon *d, struct err *err);
/* Before anything listens: who may have how many connections, and by which names. */
void listeners_prepare(struct daemon *d);
/* Everything that accepts; before the loops run. */
MUST_CHECK enum rc listeners_open(struct daemon *d, struct err *err);
/* A port that is taken is logged and tried again: it stops nothing. */
void listeners_open_metrics(struct daemon *d);
/* After the loops have stopped. */
void listeners_close(struct daemon *d);
/* After all streams are gone. Twice is fine. */
void listeners_forget(struct daemon *d);

/* --- relay_part.c: what has no relay does nothing --- */
/* The key, the relay and STUN; the mesh key is in `d`. */
MUST_CHECK enum rc daemon_relay_part_create(struct daemon *d, const struct relay_ops *ops, struct err *err);
MUST_CHECK enum rc daemon_relay_part_certificate(struct daemon *d, struct err *err);
/* It listens at a place of its own, not at listen_addr. */
bool daemon_relay_part_has_port(const struct config *cfg);
/* The relay's certificate is ours to make and renew only where nobody named another. */
bool daemon_derp_certificate_is_ours(const struct config *cfg);
MUST_CHECK enum rc daemon_relay_part_open(struct daemon *d, struct err *err);
/* Our names and addresses, for /bootstrap-dns. */
void daemon_relay_part_names(struct daemon *d);
/* Reads a certificate that is not ours again. */
void daemon_relay_part_reload(struct daemon *d);
/* After listeners_close. */
void daemon_relay_part_destroy(struct daemon *d);

/* --- mesh.c --- */
/* The secret that the relays of the region share, or zeros. Reads a file. */
MUST_CHECK enum rc daemon_mesh_key_read(const struct config *cfg, uint8_t out[32], struct err *err);
/* Links to the relays that the configuration lists, and to these. Any thread. */
MUST_CHECK enum rc daemon_mesh_set(struct daemon *d, const struct relay_neighbour *more, size_t n, struct err *err);

/* --- relays.c --- */
/* A core_hooks.relays_changed; `ctx` is the daemon. */
void daemon_relays_changed(void *ctx, const struct state *st);
/* At the start, with the rows loaded and before anyone sees the state. */
MUST_CHECK enum rc daemon_relays_load(struct daemon *d, struct state *st, struct err *err);
/* Those of a region that are up. `all` points into the state and into `dials`. */
enum { DAEMON_NEIGHBOURS_MAX = 64 };
size_t daemon_relays_neighbours(const struct state *st, int64_t region_id,
                                struct relay_neighbour all[DAEMON_NEIGHBOURS_MAX],
                                char dials[DAEMON_NEIGHBOURS_MAX][ADDR_TEXT_CAP]);

/* --- policy_source.c --- */
/* A core_hooks.policy_changed; `ctx` is the daemon. */
void daemon_policy_changed(void *ctx, const struct state *st);
/* The derpMap of the policy at work, JSON; empty: none. Borrowed from the policy. */
struct str daemon_policy_derp_map(const struct state *st);
/* At the start, with the rows loaded and before anyone sees the state. Says on stderr what is wrong with a policy that
 * cannot be used: the program must not start without it. */
MUST_CHECK enum rc daemon_policy_load(struct daemon *d, struct state *st, struct err *err);
/* A policy file as the start would take it: RC_INVALID with `errors` for one that is no good; else `err` says why it
 * cannot be read. */
MUST_CHECK enum rc daemon_policy_read(const char *path, struct policy_doc **out, struct policy_errors *errors,
                                      struct err *err);
/* Reads the file again. Main thread, while the core runs. */
void daemon_policy_reload(struct daemon *d);
/* The same when it has changed. To be called every second. */
void daemon_policy_watch(struct daemon *d);

/* --- relay_guard.c --- */
/* A tcp_listen_opts.may_come; `ctx` is the daemon. */
bool daemon_relay_may_come(void *ctx, const struct addr *from);
/* Looks after the relay's listeners, which are open: STUN is silent while one of them takes no connections. */
void daemon_relay_guard_start(struct daemon *d);
/* After the loops have stopped. */
void daemon_relay_guard_stop(struct daemon *d);

/* --- trusted_proxies.c --- */
/* Whether `from` is in trusted_proxies: a reverse proxy that names the address of its client. */
bool daemon_is_trusted_proxy(const struct config *cfg, const struct addr *from);
/* The same for servers and http_hosts, whose `ctx` is the configuration. */
bool daemon_trusts(const void *ctx, const struct addr *from);
/* The same for listeners (tcp_listen_opts.is_proxy), whose `ctx` is the daemon. */
bool daemon_is_proxy(void *ctx, const struct addr *from);

/* --- invite.c --- */
/* Prints how to reach the server and the line to type on the next machine, with a key for it when standard output is a
 * terminal. Else it says where to get one: logs and journals are kept, and read by others. */
void invite_print(struct daemon *d);

#endif
