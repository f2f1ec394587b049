/* The relay as a part of `serve` or of `relay`: its key, its limits, its certificate, its listeners. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"
#include "daemon/port_holder_internal.h"
#include "relay/metacert.h"
#include "tls/selfsigned.h"

LOG_MODULE("daemon");

enum { CERT_CHECK_MS = 60000 };

enum rc daemon_relay_part_create(struct daemon *d, const struct relay_ops *ops, struct err *err)
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
    uint8_t seed[16];
    TRY(private_key_load_or_create(cfg->derp_server_private_key_path, &opts.key, err));
    memcpy(opts.mesh_key, d->mesh_key, sizeof(opts.mesh_key));
    d->relay = relay_create(&opts, ops, d->loops, d->worker_n);
    d->relay_http.relay = d->relay;
    d->stun = stun_server_create();
    rng_bytes(seed, sizeof(seed));
    limiter_init(&d->derp_limiter, seed);
    secret_wipe(&opts, sizeof(opts));
    return RC_OK;
}

void daemon_relay_part_destroy(struct daemon *d)
{
    relay_destroy(&d->relay);
    stun_server_destroy(&d->stun);
    limiter_fini(&d->derp_limiter);
    tls_server_destroy(&d->derp_tls);
    secret_wipe(d->mesh_key, sizeof(d->mesh_key));
}

/* --- names, for clients whose DNS is broken --- */

static void add_name(struct daemon *d, const char *name, size_t address_n)
{
    struct addr ip;
    if (name[0] == '\0' || addr_parse_ip(str_c(name), &ip) == RC_OK)
        return;
    d->names[d->relay_http.names_n++] = (struct relay_http_name){
        .name = name, .addrs = d->addresses, .addrs_n = address_n};
}

void daemon_relay_part_names(struct daemon *d)
{
    const struct config *cfg = d->cfg;
    const char *const known[] = {cfg->derp_server_ipv4, cfg->derp_server_ipv6};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i][0] != '\0')
            d->addresses[n++] = known[i];
    }
    config_url_host(cfg->server_url, d->control_host);
    d->relay_http.names = d->names;
    add_name(d, d->control_host, n);
    if (strcmp(d->control_host, cfg->derp_server_hostname) != 0)
        add_name(d, cfg->derp_server_hostname, n);
}

/* --- certificate --- */

bool daemon_derp_certificate_is_ours(const struct config *cfg)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/derp_cert.pem", cfg->state_dir);
    return strcmp(path, cfg->derp_server_tls_cert_path) == 0;
}

static enum rc add_metacert(struct daemon *d, struct tls_server *tls, struct err *err)
{
    uint8_t seed[32], der[METACERT_CAP_BYTES];
    size_t len;
    rng_bytes(seed, sizeof(seed));
    if (metacert_build(relay_public_key(d->relay), seed, clock_wall_ms() / 1000, der, &len) != RC_OK ||
        tls_server_set_extra_cert(tls, der, len) != RC_OK)
        return err_set(err, RC_CRYPTO, "cannot make the relay's metadata certificate");
    return RC_OK;
}

bool daemon_relay_part_has_port(const struct config *cfg)
{
    return cfg->derp_server_listen_addr.addr.family != 0;
}

enum rc daemon_relay_part_certificate(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    static const char *const alpn[] = {"http/1.1", NULL};
    if (d->relay == NULL)
        return RC_OK;
    if (d->main_tls != NULL)
        TRY(add_metacert(d, d->main_tls, err));
    if (!daemon_relay_part_has_port(cfg))
        return RC_OK;
    if (daemon_derp_certificate_is_ours(cfg))
        TRY(selfsigned_ensure(cfg->derp_server_tls_cert_path, cfg->derp_server_tls_key_path, cfg->derp_server_hostname,
                              clock_wall_ms() / 1000, d->derp_fingerprint, NULL, err));
    struct tls_server_opts opts = {
        .cert_file = cfg->derp_server_tls_cert_path, .key_file = cfg->derp_server_tls_key_path, .alpn = alpn};
    TRY(tls_server_create(&opts, &d->derp_tls, err));
    return add_metacert(d, d->derp_tls, err);
}

void daemon_relay_part_reload(struct daemon *d)
{
    struct err err;
    if (d->derp_tls != NULL && !daemon_derp_certificate_is_ours(d->cfg) &&
        tls_server_reload(d->derp_tls, &err) != RC_OK)
        log_error("kept the relay's old certificate", LOG_S("why", err.text));
}

/* --- listeners --- */

static enum rc open_derp(struct daemon *d, unsigned i, struct err *err)
{
    struct daemon_worker *w = &d->workers[i];
    struct tcp_listen_opts opts = {.places = w->derp_places,
                                   .is_proxy = daemon_is_proxy,
                                   .is_exclusive = i == 0,
                                   .allows = daemon_relay_allows,
                                   .ctx = d};
    w->derp_http = http_server_create(&(struct http_server_opts){.loop = w->loop,
                                                                 .routes = relay_http_routes,
                                                                 .routes_n = relay_http_routes_n,
                                                                 .app = &d->relay_http,
                                                                 .max_body_bytes = 4096,
                                                                 .has_strangers = true,
                                                                 .is_proxy = daemon_trusts,
                                                                 .proxy_ctx = d->cfg,
                                                                 .hosts = &d->hosts});
    w->derp_tls = tls_acceptor_create(w->loop, d->derp_tls, http_server_accept, w->derp_http);
    const struct config_listen *at = &d->cfg->derp_server_listen_addr;
    enum rc rc = tcp_listen(w->loop, &at->addr, &opts, tls_acceptor_take, w->derp_tls, &w->derp_listener, err);
    return port_holder_explain(d->cfg, "derp.server.listen_addr", at, SOCK_STREAM, rc, err);
}

static enum rc open_on_worker(struct daemon *d, unsigned i, struct err *err)
{
    if (daemon_relay_part_has_port(d->cfg))
        TRY(open_derp(d, i, err));
    const struct config_listen *at = &d->cfg->derp_server_stun_listen_addr;
    if (at->addr.family == 0)
        return RC_OK;
    enum rc rc = stun_server_socket_open(d->stun, d->loops[i], &at->addr, &d->workers[i].stun, err);
    return port_holder_explain(d->cfg, "derp.server.stun_listen_addr", at, SOCK_DGRAM, rc, err);
}

enum rc daemon_relay_part_open(struct daemon *d, struct err *err)
{
    if (d->relay == NULL)
        return RC_OK;
    for (unsigned i = 0; i < d->worker_n; i++)
        TRY(open_on_worker(d, i, err));
    daemon_relay_guard_start(d);
    /* A certificate that is made here is renewed instead of reloaded. */
    if (d->derp_tls != NULL && !daemon_derp_certificate_is_ours(d->cfg))
        tls_server_watch(d->derp_tls, d->loops[0], CERT_CHECK_MS);
    return RC_OK;
}
