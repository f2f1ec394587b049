/* Handshakes under way on one loop. */
#include <openssl/err.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "tls/tls_internal.h"

LOG_MODULE("tls");
METRIC_COUNTER(timeouts, "fullscale_tls_handshake_failures_total", "reason=\"timeout\"", "");

/* src: docs/protocol/derp-stun.md 1: clients give a whole login to a relay 10 s */
enum { HANDSHAKE_MS = 10 * 1000, SWEEP_MS = 1000 };

struct pending {
    struct list link; /* oldest first */
    struct tls_acceptor *acceptor;
    struct stream *s; /* owned until ready */
    int64_t deadline_ms;
};

struct tls_acceptor {
    struct loop *loop;
    struct tls_server *server;
    tcp_accept_fn ready;
    void *ctx;
    struct list pending;
    struct loop_timer *sweeper; /* runs while handshakes are under way */
};

static void pending_free(void *obj)
{
    mem_free(obj);
}

static struct stream *take_out(struct pending *p)
{
    struct tls_acceptor *a = p->acceptor;
    struct stream *s = p->s;
    list_remove(&p->link);
    if (list_is_empty(&a->pending))
        loop_timer_stop(a->sweeper);
    loop_free_later(a->loop, p, pending_free);
    return s;
}

static void on_ready(void *ctx, struct stream *s)
{
    struct pending *p = ctx;
    struct tls_acceptor *a = p->acceptor;
    (void)take_out(p);
    a->ready(a->ctx, s);
}

static void on_failed(void *ctx, struct stream *s)
{
    (void)take_out(ctx);
    stream_close(&s, true);
}

static void drop(struct pending *p)
{
    struct stream *s = take_out(p);
    stream_close(&s, false);
}

void tls_acceptor_sweep(struct tls_acceptor *a, int64_t now_ms)
{
    while (!list_is_empty(&a->pending)) {
        struct pending *oldest = LIST_ENTRY(a->pending.next, struct pending, link);
        if (now_ms < oldest->deadline_ms)
            return;
        metric_inc(&timeouts);
        drop(oldest);
    }
}

static void sweep_now(void *ctx)
{
    struct tls_acceptor *a = ctx;
    tls_acceptor_sweep(a, loop_now_ms(a->loop));
}

struct tls_acceptor *tls_acceptor_create(struct loop *loop, struct tls_server *t, tcp_accept_fn ready, void *ctx)
{
    struct tls_acceptor *a = MEM_NEW(struct tls_acceptor);
    *a = (struct tls_acceptor){.loop = loop, .server = t, .ready = ready, .ctx = ctx};
    list_init(&a->pending);
    a->sweeper = loop_timer_create(loop, sweep_now, a);
    return a;
}

void tls_acceptor_take(void *acceptor, struct stream *raw)
{
    static const struct tls_handshake_events events = {on_ready, on_failed};
    struct tls_acceptor *a = acceptor;
    SSL *ssl = tls_server_new_ssl(a->server);
    if (ssl == NULL) {
        log_limited(LOG_ERROR, "no TLS state for a connection", LOG_S("reason", tls_reason()));
        stream_close(&raw, false);
        return;
    }
    struct pending *p = MEM_NEW(struct pending);
    p->acceptor = a;
    p->deadline_ms = loop_now_ms(a->loop) + HANDSHAKE_MS;
    if (list_is_empty(&a->pending))
        loop_timer_start(a->sweeper, SWEEP_MS, SWEEP_MS);
    list_push_back(&a->pending, &p->link);
    p->s = tls_stream_create(raw, ssl, false, &events, p);
}

static void acceptor_free(void *obj)
{
    mem_free(obj);
}

void tls_acceptor_destroy(struct tls_acceptor **at)
{
    struct tls_acceptor *a = *at;
    *at = NULL;
    if (a == NULL)
        return;
    while (!list_is_empty(&a->pending))
        drop(LIST_ENTRY(a->pending.next, struct pending, link));
    loop_timer_destroy(&a->sweeper);
    loop_free_later(a->loop, a, acceptor_free);
}
