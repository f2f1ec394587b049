#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"

LOG_MODULE("daemon");

enum {
    OFFLINE_GRACE_MS = 10000, /* a reconnect is no absence. src: control.md 6.2 */
    DRAIN_MS = 200,           /* between GOAWAY and the end: clients come back within ms of their own loss */
};

/* --- preparation --- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("cannot raise the limit of open files", LOG_S("why", strerror(errno)));
}

/* In every thread but this one, signals wait for sigwait in wait_for_end. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static enum rc make_directories(const char *path, mode_t mode, struct err *err)
{
    char part[4096];
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST)
            return err_set(
                err, errno == EACCES ? RC_DENIED : RC_IO,
                "cannot make the directory %s: %s (set state_dir and unix_socket to places that you may write to)",
                part, strerror(errno));
        if (slash == NULL)
            return RC_OK;
        *slash = '/';
    }
}

/* Of the socket: open to all, since the socket itself is not. */
static enum rc make_parent(const char *path, struct err *err)
{
    char parent[4096];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return RC_OK;
    *slash = '\0';
    return make_directories(parent, 0755, err);
}

static unsigned count_workers(const struct config *cfg)
{
    long n = cfg->workers > 0 ? (long)cfg->workers : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

/* --- hooks --- */

static void on_published(void *ctx, struct change *c)
{
    struct daemon *d = ctx;
    if (c->settings_changed && d->derp_tls != NULL)
        derp_certificate_published(d->derp_tls, c->after->settings->derp_map_json);
    control_published(d->control, c);
}

static void on_key_revoked(void *ctx, const node_key *key)
{
    struct daemon *d = ctx;
    if (d->relay != NULL)
        relay_close_key(d->relay, key);
}

/* The memory is ahead of the disk: end at once, rather than tell anyone anything more. */
static void on_store_failed(void *ctx, enum rc why)
{
    (void)ctx;
    log_error("ending: what is in memory cannot be written to the database (is the disk full?)", LOG_RC(why));
    _exit(1);
}

bool daemon_is_trusted_proxy(const struct config *cfg, const struct addr *from)
{
    const struct config_prefixes *p = &cfg->trusted_proxies;
    for (size_t i = 0; i < p->n; i++) {
        if (addr_in_prefix(from, &p->items[i].ip, p->items[i].bits))
            return true;
    }
    return false;
}

static bool is_trusted_proxy(const void *ctx, const struct addr *from)
{
    return daemon_is_trusted_proxy(ctx, from);
}

struct admit_job {
    struct core_job job;
    struct relay_admission *login;
    node_key key;
};

static void run_admit(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct admit_job *j = (struct admit_job *)job;
    (void)now_ms;
    relay_admit(j->login, state_key_is_active(st, &j->key));
}

static void on_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct daemon *d = ctx;
    (void)from;
    struct admit_job *j = MEM_NEW(struct admit_job);
    *j = (struct admit_job){.job = {.is_presence = true, .run = run_admit}, .login = login, .key = *key};
    core_post(d->core, &j->job);
}

/* --- the DERP map --- */

struct derp_job {
    struct core_job job;
    struct derpmap_texts texts;
};

static void run_derp(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct derp_job *j = (struct derp_job *)job;
    (void)now_ms;
    struct tailnet_settings *t = tailnet_settings_edit(state_settings(st));
    settings_set_derp(t, &j->texts);
    derpmap_texts_fini(&j->texts);
    state_set_settings(st, t);
}

/* On the thread of derpmap_service. */
static void on_derp_map(void *ctx, const struct derpmap_texts *texts)
{
    struct daemon *d = ctx;
    struct derp_job *j = MEM_NEW(struct derp_job);
    *j = (struct derp_job){.job = {.is_presence = true, .run = run_derp}};
    j->texts.pinned = rcbuf_ref(texts->pinned);
    j->texts.unpinned = texts->unpinned != NULL ? rcbuf_ref(texts->unpinned) : NULL;
    core_post(d->core, &j->job);
}

static enum rc make_derp_map(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    if (cfg->derp_urls.n > 0)
        d->fetch = fetch_create();
    struct derpmap_service_options options = {
        .cfg = cfg,
        .fetch = d->fetch,
        .renewed_tls = derp_certificate_is_ours(cfg) ? d->derp_tls : NULL,
        .pin = d->derp_fingerprint,
        .changed = on_derp_map,
        .ctx = d,
    };
    return derpmap_service_create(&options, &d->derpmap, err);
}

/* --- start --- */

static enum rc start_relay(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    struct relay_opts opts = {
        .login_timeout_ms = cfg->derp_limits_login_timeout_ms,
        .write_timeout_ms = cfg->derp_limits_write_timeout_ms > 0 ? cfg->derp_limits_write_timeout_ms : -1,
        .queue_bytes = (size_t)cfg->derp_limits_client_queue_bytes,
        .client_rate_bytes = cfg->derp_limits_client_rate_bytes,
        .client_burst_bytes = cfg->derp_limits_client_burst_bytes,
        .max_conns = (unsigned)cfg->derp_limits_connections,
    };
    struct relay_ops ops = {.ctx = d, .admit = cfg->derp_server_verify_clients ? on_admit : NULL};
    if (!cfg->derp_server_enabled)
        return RC_OK;
    TRY(private_key_load_or_create(cfg->derp_server_private_key_path, &opts.key, err));
    TRY(mesh_read_key(cfg, opts.mesh_key, err));
    d->relay = relay_create(&opts, &ops, d->loops, d->worker_n);
    d->relay_http.relay = d->relay;
    d->stun = stun_server_create();
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    limiter_init(&d->derp_limiter, seed);
    secret_wipe(&opts, sizeof(opts));
    return mesh_start(d->relay, cfg, err);
}

/* A server that was just killed may hold the lock for some moments more, until its last thread has ended. */
static enum rc open_store(const struct store_options *options, struct store **out, struct err *err)
{
    enum { TRIES = 30, PAUSE_MS = 100 };
    enum rc rc = RC_IN_USE;
    for (int i = 0; i < TRIES && rc == RC_IN_USE; i++) {
        if (i > 0)
            usleep(PAUSE_MS * 1000);
        rc = store_open_sqlite(options, out, err);
    }
    return rc;
}

static enum rc load_state(struct daemon *d, struct state **out, struct err *err)
{
    const struct config *cfg = d->cfg;
    struct state_options options = {
        .v4_prefix = cfg->prefix_v4.ip,
        .v4_bits = cfg->prefix_v4.bits,
        .v6_prefix = cfg->prefix_v6.ip,
        .v6_bits = cfg->prefix_v6.bits,
        .random_addresses = cfg->prefix_allocation == CONFIG_ALLOCATION_RANDOM,
        .node_expiry_ms = cfg->node_expiry_ms,
        .ephemeral_timeout_ms = cfg->node_ephemeral_inactivity_timeout_ms,
        .offline_grace_ms = OFFLINE_GRACE_MS,
    };
    struct store_options store = {.sqlite_path = cfg->database_sqlite_path,
                                  .wal_autocheckpoint_pages = cfg->database_sqlite_wal_autocheckpoint};
    TRY(open_store(&store, &d->store, err));
    rng_bytes(options.seed, sizeof(options.seed));
    *out = state_create(&options, tailnet_settings_ref(d->settings));
    return store_load(d->store, *out, clock_wall_ms(), err);
}

static enum rc start_core(struct daemon *d, struct err *err)
{
    struct core_hooks hooks = {
        .ctx = d, .published = on_published, .key_revoked = on_key_revoked, .failed = on_store_failed};
    struct state *st = NULL;
    enum rc rc = load_state(d, &st, err);
    if (rc != RC_OK) {
        state_destroy(&st);
        return rc;
    }
    d->core = core_create(st, d->store, &hooks);
    return RC_OK;
}

static void start_control(struct daemon *d)
{
    struct control_options options = {
        .noise_key = d->noise_key,
        .server_url = d->cfg->server_url,
        .version = FULLSCALE_VERSION,
        .handshakes_per_address = d->cfg->limits_handshakes_per_address,
        .max_body_bytes = (size_t)d->cfg->limits_body_bytes,
        .is_trusted = is_trusted_proxy,
        .trusted_ctx = d->cfg,
        .handshake_timeout_ms = d->cfg->limits_handshake_timeout_ms,
        .idle_timeout_ms = d->cfg->limits_idle_timeout_ms,
    };
    d->control = control_create(&options, d->core, d->store, d->relay, d->loops, d->worker_n);
    secret_wipe(&options, sizeof(options));
}

/* src: control.md 1: clients keep the server's key until they are restarted. */
static void check_new_key(const struct daemon *d)
{
    size_t nodes = core_first_snapshot(d->core)->node_n;
    if (nodes > 0)
        log_error("the server's key was missing and has been made anew: running clients stay offline until they are "
                  "restarted. Put the old file back from a backup if there is one",
                  LOG_S("file", d->cfg->noise_private_key_path), LOG_U("nodes", nodes));
}

static enum rc start(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    bool is_new_key = access(cfg->noise_private_key_path, F_OK) != 0;
    TRY(make_directories(cfg->state_dir, 0700, err));
    TRY(make_parent(cfg->unix_socket, err));
    TRY(private_key_load_or_create(cfg->noise_private_key_path, &d->noise_key, err));
    d->worker_n = count_workers(cfg);
    for (unsigned i = 0; i < d->worker_n; i++)
        d->loops[i] = d->workers[i].loop = loop_create(i);
    TRY(start_relay(d, err));
    TRY(certificates_load(d, err));
    TRY(make_derp_map(d, err));
    d->settings = settings_make(cfg, derpmap_service_first(d->derpmap));
    TRY(start_core(d, err));
    if (is_new_key)
        check_new_key(d);
    start_control(d);
    return listeners_open(d, err);
}

static void *worker_main(void *arg)
{
    struct daemon_worker *w = arg;
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", loop_index(w->loop));
    pthread_setname_np(pthread_self(), name);
    loop_run(w->loop);
    return NULL;
}

static void run_threads(struct daemon *d)
{
    for (unsigned i = 0; i < d->worker_n; i++)
        pthread_create(&d->workers[i].thread, NULL, worker_main, &d->workers[i]);
    core_start(d->core);
    derpmap_service_start(d->derpmap);
}

/* --- end --- */

static void reload(struct daemon *d)
{
    struct err err;
    log_info("SIGHUP: reading the certificates and the DERP map again");
    derpmap_service_refresh(d->derpmap);
    /* A bad file is logged and leaves the old certificate in place. */
    if (d->main_tls != NULL && tls_server_reload(d->main_tls, &err) != RC_OK)
        log_error("kept the old certificate", LOG_S("why", err.text));
    if (d->derp_tls != NULL && !derp_certificate_is_ours(d->cfg) && tls_server_reload(d->derp_tls, &err) != RC_OK)
        log_error("kept the relay's old certificate", LOG_S("why", err.text));
}

static void wait_for_end(struct daemon *d, const sigset_t *set)
{
    for (;;) {
        int sig = 0;
        if (sigwait(set, &sig) != 0)
            continue;
        if (sig != SIGHUP)
            return;
        reload(d);
    }
}

static void stop_threads(struct daemon *d)
{
    log_info("ending");
    derpmap_service_stop(d->derpmap);
    fetch_destroy(&d->fetch);
    if (d->stun != NULL)
        stun_server_set_silent(d->stun, true);
    if (d->relay != NULL)
        relay_drain(d->relay, 0);
    control_drain(d->control);
    usleep(DRAIN_MS * 1000);
    for (unsigned i = 0; i < d->worker_n; i++)
        loop_stop(d->loops[i]);
    for (unsigned i = 0; i < d->worker_n; i++)
        pthread_join(d->workers[i].thread, NULL);
    core_stop(d->core);
}

static void clean_up(struct daemon *d)
{
    store_close(&d->store);
    fetch_destroy(&d->fetch);
    derpmap_service_destroy(&d->derpmap);
    listeners_close(d);
    control_destroy(&d->control);
    relay_destroy(&d->relay);
    stun_server_destroy(&d->stun);
    limiter_fini(&d->derp_limiter);
    tls_server_destroy(&d->main_tls);
    tls_server_destroy(&d->derp_tls);
    core_destroy(&d->core);
    for (unsigned i = 0; i < d->worker_n; i++)
        loop_destroy(&d->workers[i].loop);
    tailnet_settings_unref(&d->settings);
    secret_wipe(&d->noise_key, sizeof(d->noise_key));
    mem_free(d);
}

static void log_warnings(const struct config *cfg)
{
    for (size_t i = 0; config_warning(cfg, i) != NULL; i++)
        log_warn("configuration", LOG_S("warning", config_warning(cfg, i)));
}

int daemon_serve(const struct config *cfg)
{
    struct daemon *d = MEM_NEW(struct daemon);
    struct err err = {0};
    sigset_t signals;
    d->cfg = cfg;
    log_set_json(cfg->log_format == CONFIG_LOG_JSON);
    if (log_set_level(NULL, (enum log_level)cfg->log_level) != RC_OK)
        log_warn("log level not set");
    log_warnings(cfg);
    block_signals(&signals);
    raise_file_limit();
    crypto_init();
    enum rc rc = start(d, &err);
    if (rc != RC_OK) {
        char text[1024];
        err_format(&err, text, sizeof(text));
        fprintf(stderr, "fullscale: cannot start: %s\n", text);
        clean_up(d);
        return EXIT_FAILURE;
    }
    run_threads(d);
    log_info("serving", LOG_S("version", FULLSCALE_VERSION), LOG_S("url", cfg->server_url),
             LOG_S("listen", cfg->listen_addr.text), LOG_U("workers", d->worker_n),
             LOG_U("nodes", core_first_snapshot(d->core)->node_n));
    invite_print(d);
    wait_for_end(d, &signals);
    stop_threads(d);
    clean_up(d);
    return EXIT_SUCCESS;
}
