/* Everything that accepts connections or datagrams. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"
#include "daemon/port_holder_internal.h"
#include "metrics/metrics.h"

LOG_MODULE("daemon");
METRIC_COUNTER(metrics_failures, "fullscale_metrics_listen_failures_total", "",
               "Times that metrics_listen_addr could not be listened at; tried again every 30 s.");

enum {
    CERT_CHECK_MS = 60000,
    METRICS_RETRY_MS = 30000,
    STRANGERS_PART = 4, /* strangers have a quarter of the places */
    FEW = 64,           /* one address has half of those of strangers */
    FEWEST = 4,         /* places of strangers on a worker, at least */
    METRICS_CONNS = 256,
};

static const struct http_route metrics_routes[] = {{HTTP_GET, "/metrics", metrics_handle, 0}};

/* --- limits and names --- */

static bool may_shake_hands(void *ctx, const struct addr *from)
{
    struct daemon *d = ctx;
    return daemon_is_trusted_proxy(d->cfg, from) ||
           limiter_take(&d->main_limiter, from, d->cfg->limits_accepts_per_address, clock_mono_ms());
}

static unsigned at_least(unsigned n, unsigned least)
{
    return n < least ? least : n;
}

/* The share of one of `workers` workers in `all` places. */
static struct budget_places *places_of(const struct config *cfg, unsigned all, unsigned workers)
{
    unsigned conns = at_least(all / workers + (all % workers != 0), 2 * FEWEST);
    unsigned strangers = at_least(conns / (all > FEW ? STRANGERS_PART : 2), FEWEST);
    unsigned per_address = (unsigned)cfg->limits_strangers_per_address;
    unsigned half = strangers / 2;
    struct budget_places_limits limits = {
        .strangers = strangers,
        .known = conns - strangers,
        .per_address = per_address / workers + (per_address % workers != 0),
        .per_key = (unsigned)cfg->limits_connections_per_key,
    };
    uint8_t seed[16];
    if (limits.per_address > half)
        limits.per_address = half;
    rng_bytes(seed, sizeof(seed));
    return budget_places_create(&limits, seed);
}

static void add_host(struct daemon *d, const char *name)
{
    if (name[0] != '\0')
        d->host_names[d->hosts.n++] = name;
}

static void name_hosts(struct daemon *d)
{
    const struct config *cfg = d->cfg;
    enum { OURS = 3 };
    d->host_names = mem_zalloc(cfg->allowed_hosts.n + OURS, sizeof(*d->host_names));
    if (gethostname(d->machine_name, sizeof(d->machine_name) - 1) != 0)
        d->machine_name[0] = '\0';
    config_url_host(cfg->server_url, d->control_host);
    add_host(d, d->machine_name);
    add_host(d, d->control_host);
    add_host(d, cfg->derp_server_hostname);
    for (size_t i = 0; i < cfg->allowed_hosts.n; i++)
        add_host(d, cfg->allowed_hosts.items[i]);
    d->hosts.names = d->host_names;
}

void listeners_prepare(struct daemon *d)
{
    const struct config *cfg = d->cfg;
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    limiter_init(&d->main_limiter, seed);
    for (unsigned i = 0; i < d->worker_n; i++) {
        struct daemon_worker *w = &d->workers[i];
        w->main_places = places_of(cfg, (unsigned)cfg->limits_connections, d->worker_n);
        w->derp_places = places_of(cfg, (unsigned)cfg->derp_limits_connections, d->worker_n);
    }
    d->metrics_places = places_of(cfg, METRICS_CONNS, 1);
    name_hosts(d);
}

void listeners_forget(struct daemon *d)
{
    if (d->metrics_places != NULL)
        limiter_fini(&d->main_limiter);
    for (unsigned i = 0; i < d->worker_n; i++) {
        budget_places_destroy(&d->workers[i].main_places);
        budget_places_destroy(&d->workers[i].derp_places);
    }
    budget_places_destroy(&d->metrics_places);
    mem_free(d->host_names);
    d->host_names = NULL;
}

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
    return daemon_relay_part_certificate(d, err);
}

/* --- per worker --- */

static enum rc open_main(struct daemon *d, unsigned i, struct err *err)
{
    struct daemon_worker *w = &d->workers[i];
    struct http_server *http = control_http(d->control, i);
    struct tcp_listen_opts opts = {.places = w->main_places,
                                   .is_proxy = daemon_is_proxy,
                                   .allows = d->main_tls != NULL ? may_shake_hands : NULL,
                                   .ctx = d,
                                   .is_exclusive = i == 0};
    const struct config_listen *at = &d->cfg->listen_addr;
    tcp_accept_fn take = http_server_accept;
    void *ctx = http;
    if (d->main_tls != NULL) {
        ctx = w->main_tls = tls_acceptor_create(w->loop, d->main_tls, http_server_accept, http);
        take = tls_acceptor_take;
    }
    enum rc rc = tcp_listen(w->loop, &at->addr, &opts, take, ctx, &w->main_listener, err);
    return port_holder_explain(d->cfg, "listen_addr", at, SOCK_STREAM, rc, err);
}

/* --- the admin's --- */

/* Appends what is wrong at the moment although the server runs. Any thread. */
static void list_troubles(void *ctx, struct buf *out)
{
    struct daemon *d = ctx;
    daemon_derpmap_troubles(d->derpmap, out);
    if (atomic_load(&d->lacks_metrics))
        buf_printf(out, "metrics_listen_addr: %s is taken, there are no metrics\n", d->cfg->metrics_listen_addr.text);
}

static enum rc open_api(struct daemon *d, struct err *err)
{
    struct loop *loop = d->loops[0];
    d->api.troubles = list_troubles;
    d->api.troubles_ctx = d;
    d->api.core = d->core;
    d->api.tailnet = d->tailnet;
    d->api.compare_thread = api_compare_thread_create();
    d->api_socket = (struct api_listener){.api = &d->api, .caller = api_caller_with_all("socket")};
    d->api_http = http_server_create(
        &(struct http_server_opts){.loop = loop, .app = &d->api, .unmatched = api_unmatched});
    api_mount(&d->api_socket, d->api_http);
    return tcp_listen_unix(loop, d->cfg->unix_socket, (unsigned)d->cfg->unix_socket_permission, http_server_accept,
                           d->api_http, &d->api_listener, err);
}

/* --- metrics: without their port the server runs on --- */

static enum rc try_metrics(struct daemon *d, struct err *err)
{
    const struct config_listen *at = &d->cfg->metrics_listen_addr;
    struct tcp_listen_opts opts = {
        .places = d->metrics_places, .is_proxy = daemon_is_proxy, .ctx = d, .is_exclusive = true};
    enum rc rc = tcp_listen(d->loops[0], &at->addr, &opts, http_server_accept, d->metrics_http, &d->metrics_listener,
                            err);
    if (rc != RC_OK)
        metric_inc(&metrics_failures);
    return port_holder_explain(d->cfg, "metrics_listen_addr", at, SOCK_STREAM, rc, err);
}

static void on_metrics_timer(void *ctx)
{
    struct daemon *d = ctx;
    struct err err;
    if (try_metrics(d, &err) != RC_OK)
        return;
    log_info("metrics are served now", LOG_S("listen", d->cfg->metrics_listen_addr.text));
    atomic_store(&d->lacks_metrics, false);
    loop_timer_destroy(&d->metrics_timer);
}

void listeners_open_metrics(struct daemon *d)
{
    struct loop *loop = d->loops[0];
    struct err err = {0};
    char text[sizeof(struct err)];
    if (d->cfg->metrics_listen_addr.addr.family == 0)
        return;
    d->metrics_http = http_server_create(&(struct http_server_opts){.loop = loop,
                                                                    .routes = metrics_routes,
                                                                    .routes_n = ARRAY_LEN(metrics_routes),
                                                                    .app = (void *)FULLSCALE_VERSION,
                                                                    .has_strangers = true,
                                                                    .hosts = &d->hosts});
    if (try_metrics(d, &err) == RC_OK)
        return;
    err_format(&err, text, sizeof(text));
    log_warn("there are no metrics for now; all else is served", LOG_S("why", text));
    atomic_store(&d->lacks_metrics, true);
    d->metrics_timer = loop_timer_create(loop, on_metrics_timer, d);
    loop_timer_start(d->metrics_timer, METRICS_RETRY_MS, METRICS_RETRY_MS);
}

enum rc listeners_open(struct daemon *d, struct err *err)
{
    for (unsigned i = 0; i < d->worker_n; i++)
        TRY(open_main(d, i, err));
    TRY(daemon_relay_part_open(d, err));
    TRY(open_api(d, err));
    listeners_open_metrics(d);
    if (d->main_tls != NULL)
        tls_server_watch(d->main_tls, d->loops[0], CERT_CHECK_MS);
    return RC_OK;
}

void listeners_close(struct daemon *d)
{
    daemon_relay_guard_stop(d);
    loop_timer_destroy(&d->metrics_timer);
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
        stun_server_socket_close(&w->stun);
    }
}
