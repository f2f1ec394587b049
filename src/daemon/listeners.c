/* Everything that accepts connections or datagrams. */
#include <stdio.h>
#include <string.h>

#include "daemon/daemon_internal.h"
#include "metrics/metrics.h"

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

enum rc certificates_load(struct daemon *d, struct err *err)
{
    TRY(load_main_certificate(d, err));
    return relay_part_certificate(d, err);
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

/* --- the admin's --- */

static enum rc open_api(struct daemon *d, struct err *err)
{
    struct loop *loop = d->loops[0];
    d->api.core = d->core;
    d->api.policy = &d->policy;
    d->api.slow = api_slow_create();
    d->api_http = http_server_create(&(struct http_server_opts){
        .loop = loop, .routes = api_routes, .routes_n = api_routes_n, .app = &d->api, .unmatched = api_unmatched});
    return tcp_listen_unix(loop, d->cfg->unix_socket, (unsigned)d->cfg->unix_socket_permission, http_server_accept,
                           d->api_http, &d->api_listener, err);
}

enum rc metrics_open(struct daemon *d, struct err *err)
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
    for (unsigned i = 0; i < d->worker_n; i++)
        TRY(open_main(d, i, err));
    TRY(relay_part_open(d, err));
    TRY(open_api(d, err));
    TRY(metrics_open(d, err));
    if (d->main_tls != NULL)
        tls_server_watch(d->main_tls, d->loops[0], CERT_CHECK_MS);
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
