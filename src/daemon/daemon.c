#include "daemon/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/admission.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"
#include "daemon/preflight_internal.h"

LOG_MODULE("daemon");

enum {
    TAILNET_ID = 1,           /* of the one that there is */
    OFFLINE_GRACE_MS = 10000, /* a node that reconnects is not shown offline. src: docs/protocol/control.md 6.2 */
    NEWCOMER_MS = 2000,       /* clients report their home relay within a second of their first map */
    DRAIN_MS = 200, /* between GOAWAY and the end; clients come back within milliseconds of losing the connection */
};

/* --- hooks --- */

static void on_published(void *ctx, struct tailnet *t, struct change *c)
{
    struct daemon *d = ctx;
    if (c->settings_changed && d->derp_tls != NULL && daemon_derp_certificate_is_ours(d->cfg)) {
        char cert_name[TLS_FINGERPRINT_CAP + 16] = "sha256-raw:";
        daemon_derp_certificate_published(d->derp_tls, c->after->settings->derp_map_json);
        tls_server_fingerprint(d->derp_tls, cert_name + strlen(cert_name));
        control_own_relay_renewed(d->control, cert_name);
    }
    control_published(d->control, t, c);
}

static void on_send(void *ctx, struct tailnet *t)
{
    control_send(((struct daemon *)ctx)->control, t);
}

static void on_key_revoked(void *ctx, struct tailnet *t, const node_key *key)
{
    struct daemon *d = ctx;
    if (d->relay != NULL)
        relay_close_key(d->relay, key);
    control_key_revoked(d->control, t, key);
}

static void on_clock_set(void *ctx, int64_t now_ms)
{
    control_clock_set(((struct daemon *)ctx)->control, now_ms);
}

static void answer_admission(void *ctx, enum admission_answer answer)
{
    if (answer == ADMISSION_PUT_OFF)
        relay_put_off(ctx);
    else
        relay_admit(ctx, answer == ADMISSION_GRANTED);
}

static void on_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct daemon *d = ctx;
    control_ask_admission(d->core, d->loops[0], key, from, answer_admission, login);
}

/* --- the DERP map --- */

struct derp_job {
    struct core_job job;
    struct daemon_derpmap_texts texts;
};

static void run_derp(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct derp_job *j = (struct derp_job *)job;
    (void)now_ms;
    struct tailnet_settings *t = tailnet_settings_edit(state_settings(st));
    settings_set_derp(t, &j->texts);
    daemon_derpmap_texts_fini(&j->texts);
    state_set_settings(st, t);
}

/* On the thread of daemon_derpmap. */
static void on_derp_map(void *ctx, const struct daemon_derpmap_texts *texts)
{
    struct daemon *d = ctx;
    struct derp_job *j = MEM_NEW(struct derp_job);
    *j = (struct derp_job){.job = {.tailnet = d->tailnet, .kind = JOB_LOCAL, .run = run_derp}};
    j->texts.pinned = rcbuf_ref(texts->pinned);
    j->texts.unpinned = texts->unpinned != NULL ? rcbuf_ref(texts->unpinned) : NULL;
    core_post(d->core, &j->job);
}

static enum rc make_derp_map(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    if (cfg->derp_urls.n > 0)
        d->fetch = fetch_create();
    struct daemon_derpmap_options options = {
        .cfg = cfg,
        .fetch = d->fetch,
        .renewed_tls = daemon_derp_certificate_is_ours(cfg) ? d->derp_tls : NULL,
        .pin = d->derp_fingerprint,
        .changed = on_derp_map,
        .ctx = d,
    };
    return daemon_derpmap_create(&options, &d->derpmap, err);
}

/* --- start --- */

/* Relays on other machines join this region only on purpose. */
static enum rc start_relay(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    const struct relay_ops ops = {
        .ctx = d, .admit = on_admit, .is_open = !cfg->derp_server_verify_clients, .is_proxy = daemon_is_proxy};
    if (!cfg->derp_server_enabled)
        return RC_OK;
    TRY(daemon_mesh_key_read(cfg, d->mesh_key, err));
    if (cfg->derp_server_mesh_key_path[0] == '\0')
        control_mesh_key(&d->noise_key, (uint16_t)cfg->derp_server_region_id, d->mesh_key);
    TRY(daemon_relay_part_create(d, &ops, err));
    return daemon_mesh_set(d, NULL, 0, err);
}

/* A server that was killed a moment ago may hold the lock until its last thread has ended. */
static enum rc open_store(const struct config *cfg, struct store **out, struct err *err)
{
    enum { TRIES = 30, PAUSE_MS = 100 };
    const struct store_options options = {.sqlite_path = cfg->database_sqlite_path,
                                          .wal_autocheckpoint_pages = cfg->database_sqlite_wal_autocheckpoint};
    enum rc rc = RC_IN_USE;
    for (int i = 0; i < TRIES && rc == RC_IN_USE; i++) {
        if (i > 0)
            usleep(PAUSE_MS * 1000);
        rc = store_open_sqlite(&options, out, err);
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
        .newcomer_ms = NEWCOMER_MS,
        .key_alarm_joins = (uint32_t)cfg->auth_keys_alarm_joins,
        .own_region = (uint16_t)(cfg->derp_server_enabled ? cfg->derp_server_region_id : 0),
    };
    rng_bytes(options.seed, sizeof(options.seed));
    *out = state_create(&options, tailnet_settings_ref(d->settings));
    TRY(store_load(d->store, TAILNET_ID, *out, clock_wall_ms(), err));
    TRY(daemon_policy_load(d, *out, err));
    return daemon_relays_load(d, *out, err);
}

static enum rc start_core(struct daemon *d, struct err *err)
{
    struct core_hooks hooks = {.ctx = d,
                               .published = on_published,
                               .send = on_send,
                               .key_revoked = on_key_revoked,
                               .relays_changed = daemon_relays_changed,
                               .policy_changed = daemon_policy_changed,
                               .clock_set = on_clock_set,
                               .events = control_log_events};
    struct state *st = NULL;
    int64_t apart_ms = core_clocks_apart_ms();
    enum rc rc = load_state(d, &st, err);
    if (rc != RC_OK) {
        state_destroy(&st);
        return rc;
    }
    const struct tailnet_options options = {
        .id = TAILNET_ID,
        .name = "default",
        .server_url = d->cfg->server_url,
        .policy_path = d->cfg->policy_mode == CONFIG_POLICY_FILE ? d->cfg->policy_path : NULL,
    };
    d->core = core_create(d->store, apart_ms, &hooks);
    d->tailnet = core_add_tailnet(d->core, &options, st);
    return RC_OK;
}

/* For relays on other machines that are put into the same region. */
static void describe_own_relay(const struct daemon *d, struct control_options *options)
{
    const struct config *cfg = d->cfg;
    struct relay_report *r = &options->own_relay;
    struct addr ip = {0};
    options->own_region = (uint16_t)cfg->derp_server_region_id;
    memcpy(options->own_mesh_key, d->mesh_key, sizeof(d->mesh_key));
    snprintf(r->host_name, sizeof(r->host_name), "%s", cfg->derp_server_hostname);
    if (d->derp_fingerprint[0] != '\0')
        snprintf(r->cert_name, sizeof(r->cert_name), "sha256-raw:%s", d->derp_fingerprint);
    r->derp_port = cfg->derp_public_port;
    const char *literal = cfg->derp_server_ipv4[0] != '\0' ? cfg->derp_server_ipv4 : cfg->derp_server_hostname;
    if (addr_parse_ip(str_c(literal), &ip) == RC_OK)
        *(ip.family == 4 ? &r->ipv4 : &r->ipv6) = ip;
}

static void start_control(struct daemon *d)
{
    struct control_options options = {
        .noise_key = d->noise_key,
        .version = FULLSCALE_VERSION,
        .handshakes_per_address = d->cfg->limits_handshakes_per_address,
        .max_body_bytes = (size_t)d->cfg->limits_body_bytes,
        .is_trusted = daemon_trusts,
        .trusted_ctx = d->cfg,
        .handshake_timeout_ms = d->cfg->limits_handshake_timeout_ms,
        .idle_timeout_ms = d->cfg->limits_idle_timeout_ms,
        .probe_interval_ms = d->cfg->node_routes_ha_probe_interval_ms,
        .probe_timeout_ms = d->cfg->node_routes_ha_probe_timeout_ms,
        .names = d->names,
        .names_n = d->relay_http.names_n,
        .verify_unauthenticated = d->cfg->derp_verify_unauthenticated,
        .hosts = &d->hosts,
    };
    if (d->relay != NULL)
        describe_own_relay(d, &options);
    d->control = control_create(&options, d->core, d->store, d->relay, d->loops, d->worker_n);
    secret_wipe(&options, sizeof(options));
}

/* src: docs/protocol/control.md 1: clients keep the server's key until they are restarted. */
static void check_new_key(const struct daemon *d)
{
    size_t nodes = d->tailnet->first->node_n;
    if (nodes > 0)
        log_error("the server's key was missing and has been made anew: running clients stay offline until they are "
                  "restarted. Put the old file back from a backup if there is one",
                  LOG_S("file", d->cfg->noise_private_key_path), LOG_U("nodes", nodes));
}

static enum rc start(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    bool is_new_key = access(cfg->noise_private_key_path, F_OK) != 0;
    TRY(preflight_serve(cfg, err));
    TRY(daemon_make_directories(cfg->state_dir, 0700, err));
    TRY(daemon_make_parent(cfg->unix_socket, err));
    /* The lock of the database shows whether another server is running: taken before any file of that server is
     * written. */
    TRY(open_store(cfg, &d->store, err));
    TRY(private_key_load_or_create(cfg->noise_private_key_path, &d->noise_key, err));
    workers_create(d);
    listeners_prepare(d);
    daemon_relay_part_names(d);
    TRY(start_relay(d, err));
    TRY(certificates_load(d, err));
    TRY(make_derp_map(d, err));
    d->settings = settings_make(cfg, daemon_derpmap_first(d->derpmap));
    TRY(start_core(d, err));
    if (is_new_key)
        check_new_key(d);
    start_control(d);
    TRY(listeners_open(d, err));
    last_start_compare(cfg, d->tailnet->first->node_n);
    return RC_OK;
}

static void run_threads(struct daemon *d)
{
    workers_start(d);
    core_start(d->core);
    daemon_derpmap_start(d->derpmap);
}

/* --- end --- */

static void reload(struct daemon *d)
{
    struct err err;
    log_info("SIGHUP: reading the certificates, the DERP map and the policy again");
    daemon_policy_reload(d);
    daemon_derpmap_refresh(d->derpmap);
    daemon_relay_part_reload(d);
    /* A bad file is logged and leaves the old certificate in place. */
    if (d->main_tls != NULL && tls_server_reload(d->main_tls, &err) != RC_OK)
        log_error("kept the old certificate", LOG_S("why", err.text));
}

static void stop_threads(struct daemon *d)
{
    log_info("ending");
    notify_manager(NOTIFY_STOPPING, "ending");
    daemon_derpmap_stop(d->derpmap);
    fetch_destroy(&d->fetch);
    if (d->stun != NULL)
        stun_server_set_silent(d->stun, true);
    if (d->relay != NULL)
        relay_drain(d->relay, 0);
    control_drain(d->control);
    usleep(DRAIN_MS * 1000);
    workers_stop(d);
    core_stop(d->core);
}

static void clean_up(struct daemon *d)
{
    api_compare_thread_destroy(&d->api.compare_thread);
    store_close(&d->store);
    fetch_destroy(&d->fetch);
    daemon_derpmap_destroy(&d->derpmap);
    listeners_close(d);
    control_destroy(&d->control);
    daemon_relay_part_destroy(d);
    tls_server_destroy(&d->main_tls);
    core_destroy(&d->core);
    workers_destroy(d);
    listeners_forget(d);
    tailnet_settings_unref(&d->settings);
    secret_wipe(&d->noise_key, sizeof(d->noise_key));
    mem_free(d);
}

int daemon_serve(const struct config *cfg)
{
    struct daemon *d = MEM_NEW(struct daemon);
    struct err err = {0};
    sigset_t signals;
    d->cfg = cfg;
    process_prepare(cfg, &signals);
    if (start(d, &err) != RC_OK) {
        clean_up(d);
        return process_cannot_start(&err);
    }
    run_threads(d);
    log_info("serving", LOG_S("version", FULLSCALE_VERSION), LOG_S("url", cfg->server_url),
             LOG_S("listen", cfg->listen_addr.text), LOG_U("workers", d->worker_n),
             LOG_U("relay_port", cfg->derp_server_enabled ? cfg->derp_public_port : 0),
             LOG_U("nodes", d->tailnet->first->node_n));
    invite_print(d);
    notify_manager(NOTIFY_READY, cfg->server_url);
    process_wait(&signals, reload, daemon_policy_watch, d);
    stop_threads(d);
    clean_up(d);
    return EXIT_SUCCESS;
}
