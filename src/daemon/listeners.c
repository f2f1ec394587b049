/* Everything that accepts connections or datagrams. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/daemon_internal.h"
#include "metrics/metrics.h"
#include "relay/metacert.h"
#include "tls/selfsigned.h"

LOG_MODULE("daemon");

enum { CERT_CHECK_MS = 60000 };

static const struct http_route metrics_routes[] = {{HTTP_GET, "/metrics", metrics_handle, 0}};

/* --- certificates --- */

static enum rc load_main_certificate(struct daemon *d, struct err *err)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    if (d->cfg->tls_cert_path[0] == '\0')
        return RC_OK;
    struct tls_server_opts opts = {
        .cert_file = d->cfg->tls_cert_path, .key_file = d->cfg->tls_key_path, .alpn = alpn, .tickets = 1};
    return tls_server_create(&opts, &d->main_tls, err);
}

bool derp_certificate_is_ours(const struct config *cfg)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/derp_cert.pem", cfg->state_dir);
    return strcmp(path, cfg->derp_server_tls_cert_path) == 0;
}

static enum rc add_metacert(struct daemon *d, struct err *err)
{
    uint8_t seed[32], der[METACERT_CAP_BYTES];
    size_t len;
    rng_bytes(seed, sizeof(seed));
    if (metacert_build(relay_public_key(d->relay), seed, clock_wall_ms() / 1000, der, &len) != RC_OK ||
        tls_server_set_extra_cert(d->derp_tls, der, len) != RC_OK)
        return err_set(err, RC_CRYPTO, "cannot make the relay's metadata certificate");
    return RC_OK;
}

static enum rc load_derp_certificate(struct daemon *d, struct err *err)
{
    const struct config *cfg = d->cfg;
    static const char *const alpn[] = {"http/1.1", NULL};
    if (!cfg->derp_server_enabled)
        return RC_OK;
    if (derp_certificate_is_ours(cfg))
        TRY(selfsigned_ensure(cfg->derp_server_tls_cert_path, cfg->derp_server_tls_key_path, cfg->derp_server_hostname,
                              clock_wall_ms() / 1000, d->derp_fingerprint, NULL, err));
    struct tls_server_opts opts = {
        .cert_file = cfg->derp_server_tls_cert_path, .key_file = cfg->derp_server_tls_key_path, .alpn = alpn};
    TRY(tls_server_create(&opts, &d->derp_tls, err));
    return add_metacert(d, err);
}

enum rc certificates_load(struct daemon *d, struct err *err)
{
    TRY(load_main_certificate(d, err));
    return load_derp_certificate(d, err);
}

/* --- per worker --- */

static enum rc open_main(struct daemon *d, unsigned i, struct err *err)
{
    struct daemon_worker *w = &d->workers[i];
    struct http_server *http = control_http(d->control, i);
    struct tcp_listen_opts opts = {.max_conns = (unsigned)d->cfg->limits_connections / d->worker_n + 1,
                                   .is_exclusive = i == 0};
    if (d->main_tls == NULL)
        return tcp_listen(w->loop, &d->cfg->listen_addr.addr, &opts, http_server_accept, http, &w->main_listener, err);
    w->main_tls = tls_acceptor_create(w->loop, d->main_tls, http_server_accept, http);
    return tcp_listen(w->loop, &d->cfg->listen_addr.addr, &opts, tls_acceptor_take, w->main_tls, &w->main_listener,
                      err);
}

static enum rc open_derp(struct daemon *d, unsigned i, struct err *err)
{
    struct daemon_worker *w = &d->workers[i];
    struct tcp_listen_opts opts = {.max_conns = (unsigned)d->cfg->derp_limits_connections / d->worker_n + 1,
                                   .is_exclusive = i == 0,
                                   .may_come = relay_may_come,
                                   .may_come_ctx = d};
    if (d->relay == NULL)
        return RC_OK;
    w->derp_http = http_server_create(&(struct http_server_opts){
        .loop = w->loop, .routes = relay_http_routes, .routes_n = relay_http_routes_n, .app = &d->relay_http});
    w->derp_tls = tls_acceptor_create(w->loop, d->derp_tls, http_server_accept, w->derp_http);
    TRY(tcp_listen(w->loop, &d->cfg->derp_server_listen_addr.addr, &opts, tls_acceptor_take, w->derp_tls,
                   &w->derp_listener, err));
    if (d->cfg->derp_server_stun_listen_addr.addr.family == 0)
        return RC_OK;
    return stun_socket_open(d->stun, w->loop, &d->cfg->derp_server_stun_listen_addr.addr, &w->stun, err);
}

/* --- the admin's --- */

static enum rc open_api(struct daemon *d, struct err *err)
{
    struct loop *loop = d->loops[0];
    d->api.core = d->core;
    d->api_http = http_server_create(&(struct http_server_opts){
        .loop = loop, .routes = api_routes, .routes_n = api_routes_n, .app = &d->api, .unmatched = api_unmatched});
    return tcp_listen_unix(loop, d->cfg->unix_socket, (unsigned)d->cfg->unix_socket_permission, http_server_accept,
                           d->api_http, &d->api_listener, err);
}

static enum rc open_metrics(struct daemon *d, struct err *err)
{
    struct loop *loop = d->loops[0];
    struct tcp_listen_opts opts = {.is_exclusive = true};
    if (d->cfg->metrics_listen_addr.addr.family == 0)
        return RC_OK;
    d->metrics_http = http_server_create(&(struct http_server_opts){.loop = loop,
                                                                    .routes = metrics_routes,
                                                                    .routes_n = ARRAY_LEN(metrics_routes),
                                                                    .app = (void *)FULLSCALE_VERSION});
    return tcp_listen(loop, &d->cfg->metrics_listen_addr.addr, &opts, http_server_accept, d->metrics_http,
                      &d->metrics_listener, err);
}

enum rc listeners_open(struct daemon *d, struct err *err)
{
    for (unsigned i = 0; i < d->worker_n; i++) {
        TRY(open_main(d, i, err));
        TRY(open_derp(d, i, err));
    }
    if (d->relay != NULL)
        relay_guard_start(d);
    TRY(open_api(d, err));
    TRY(open_metrics(d, err));
    if (d->main_tls != NULL)
        tls_server_watch(d->main_tls, d->loops[0], CERT_CHECK_MS);
    /* One of ours is renewed by derpmap_service. */
    if (d->derp_tls != NULL && !derp_certificate_is_ours(d->cfg))
        tls_server_watch(d->derp_tls, d->loops[0], CERT_CHECK_MS);
    return RC_OK;
}

void listeners_close(struct daemon *d)
{
    relay_guard_stop(d);
    tcp_listener_destroy(&d->api_listener);
    tcp_listener_destroy(&d->metrics_listener);
    http_server_destroy(&d->api_http);
    http_server_destroy(&d->metrics_http);
    for (unsigned i = 0; i < d->worker_n; i++) {
        struct daemon_worker *w = &d->workers[i];
        tcp_listener_destroy(&w->main_listener);
        tcp_listener_destroy(&w->derp_listener);
        tls_acceptor_destroy(&w->main_tls);
        tls_acceptor_destroy(&w->derp_tls);
        http_server_destroy(&w->derp_http);
        stun_socket_close(&w->stun);
    }
}
