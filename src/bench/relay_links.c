/* The clients of a relay's load. The runs are written as one flow: waiting for something means running the loop. */
#include "bench/relay_load_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tls/tls.h"

enum {
    DIALS_MAX = 64,      /* connections that are being made at once */
    DIAL_MS = 20 * 1000, /* in which one of them has to come up */
};

/* --- clients --- */

static void fail_dialling(struct bench_relay_load *load, enum rc rc, const char *why)
{
    if (load->failure.code == RC_OK)
        err_set(&load->failure, rc, "%u of %u connected: %s", load->up_n, load->link_n, why);
    loop_stop(load->loop);
}

static struct stream *dial(struct bench_relay_load *load)
{
    static const struct tls_client_opts tls = {0}; /* the server under test has a certificate of its own making */
    struct stream *s;
    if (load->hooks.dial != NULL)
        return load->hooks.dial(load->hooks.ctx, load->loop);
    if (tcp_connect(load->loop, &load->at.addr, &s) != RC_OK)
        return NULL;
    return load->at.is_tls ? tls_client_create(s, &tls) : s;
}

static void dial_next(struct bench_relay_load *load);

static void on_up(void *ctx)
{
    struct bench_relay_link *link = ctx;
    struct bench_relay_load *load = link->load;
    load->up_n++;
    if (load->dialled_n < load->link_n)
        dial_next(load);
    else if (load->up_n == load->link_n)
        loop_stop(load->loop);
    loop_timer_start(load->timer, DIAL_MS, 0);
}

static void on_packet(void *ctx, const uint8_t src[KEY_BYTES], const uint8_t *p, size_t n)
{
    struct bench_relay_link *link = ctx;
    if (link->load->packet != NULL)
        link->load->packet(link->load->ctx, link->index, src, p, n);
}

static void on_ended(void *ctx, const char *why)
{
    struct bench_relay_link *link = ctx;
    struct bench_relay_load *load = link->load;
    if (load->is_dialling) {
        fail_dialling(load, RC_IO, why);
        return;
    }
    load->up_n--;
    errors_add(&load->errors, "%s", why);
}

static void dial_next(struct bench_relay_load *load)
{
    static const struct bench_derp_client_events events = {on_up, on_packet, on_ended};
    struct bench_relay_link *link = &load->links[load->dialled_n];
    uint8_t random[KEY_BYTES];
    struct stream *s = dial(load);
    if (s == NULL) {
        fail_dialling(load, RC_IO, "no connection");
        return;
    }
    link->load = load;
    link->index = load->dialled_n++;
    rng_bytes(random, sizeof(random));
    bench_derp_client_start(&link->client, s, &load->pool, &load->at, random, &events, link);
}

enum rc bench_relay_load_connect(struct bench_relay_load *load, unsigned n, struct err *err)
{
    load->links = mem_zalloc(n, sizeof(*load->links));
    load->link_n = n;
    load->is_dialling = true;
    loop_timer_start(load->timer, DIAL_MS, 0);
    for (unsigned i = 0; i < n && i < DIALS_MAX && load->failure.code == RC_OK; i++)
        dial_next(load);
    loop_run(load->loop);
    loop_timer_stop(load->timer);
    load->is_dialling = false;
    if (load->failure.code != RC_OK)
        return err_set(err, load->failure.code, "%s", load->failure.text);
    return RC_OK;
}

/* --- time --- */

static void on_timer(void *ctx)
{
    struct bench_relay_load *load = ctx;
    if (load->is_dialling)
        fail_dialling(load, RC_TIMEOUT, "the server does not answer");
    loop_stop(load->loop);
}

void bench_relay_load_run_for(struct bench_relay_load *load, int64_t ms)
{
    loop_timer_start(load->timer, ms, 0);
    loop_run(load->loop);
}

struct bench_relay_load_reading bench_relay_load_read(const struct bench_relay_load *load)
{
    struct bench_relay_load_reading r = {.at_us = clock_mono_us(), .self = proc_cpu_self()};
    if (proc_cpu_read(load->opts->server_pid, &r.server) != RC_OK)
        r.server = (struct proc_cpu){0}; /* the server has died, which its connections will show */
    return r;
}

/* --- life --- */

void bench_relay_load_open(struct bench_relay_load *load)
{
    load->loop = loop_create(0);
    load->timer = loop_timer_create(load->loop, on_timer, load);
}

void bench_relay_load_close(struct bench_relay_load *load)
{
    for (unsigned i = 0; i < load->link_n; i++)
        bench_derp_client_stop(&load->links[i].client);
    frame_pool_fini(&load->pool);
    loop_timer_destroy(&load->timer);
    loop_destroy(&load->loop);
    mem_free(load->links);
}
