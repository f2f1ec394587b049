#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "daemon/derpmap_internal.h"
#include "net/loop.h"

LOG_MODULE("derpmap");
METRIC_COUNTER(refreshes_changed, "fullscale_derpmap_refreshes_total", "result=\"changed\"",
               "Times that the DERP map was made anew, by result: only a changed one is sent to nodes.");
METRIC_COUNTER(refreshes_same, "fullscale_derpmap_refreshes_total", "result=\"unchanged\"", "");
METRIC_GAUGE(regions_now, "fullscale_derpmap_regions", "", "Regions in the DERP map.");
METRIC_COUNTER(refreshes_failed, "fullscale_derpmap_refreshes_total", "result=\"failed\"", "");

enum {
    FETCH_TIMEOUT_MS = 15000,
    MAP_MAX_BYTES = 1 << 20,
    RETRY_MS = 30000, /* after a failure; twice as long after each further one */
    RETRY_DOUBLINGS_MAX = 10,
    CERTIFICATE_CHECK_MS = 60 * 1000, /* soon after the clock was set, too */
};

struct daemon_derpmap {
    struct daemon_derpmap_options options;
    struct loop *loop;
    pthread_t thread;
    bool is_running; /* between start and stop; the caller's thread */
    bool is_over;    /* posted work is freed and not run; the thread has ended */
    /* on the loop */
    struct daemon_derpmap_sources *sources;
    struct derp_certificate certificate;
    struct daemon_derpmap_texts texts; /* the map that was sent last */
    char fault[512];                   /* error of the last build, logged once; "": none */
    size_t pending;                    /* answers that are missing in this round */
    bool is_wanted_again;              /* asked for while a round was under way */
    unsigned failures;                 /* rounds in a row in which some URL failed */
    struct loop_timer *refresh_timer;
    struct loop_timer *certificate_timer;
    pthread_mutex_t lock;
    struct buf troubles; /* locked: for `fullscale status` and the like */
};

/* --- making the map --- */

static void note_fault(struct daemon_derpmap *s, const struct err *err)
{
    char text[sizeof(s->fault)];
    err_format(err, text, sizeof(text));
    if (strcmp(text, s->fault) != 0)
        log_error("the DERP map is not updated: its sources do not fit together", LOG_S("why", text));
    snprintf(s->fault, sizeof(s->fault), "%s", text);
}

static void remember_troubles(struct daemon_derpmap *s)
{
    pthread_mutex_lock(&s->lock);
    buf_clear(&s->troubles);
    daemon_derpmap_sources_faults(s->sources, &s->troubles);
    if (s->fault[0] != '\0')
        buf_printf(&s->troubles, "the DERP map is not updated: %s\n", s->fault);
    pthread_mutex_unlock(&s->lock);
}

void daemon_derpmap_troubles(struct daemon_derpmap *s, struct buf *out)
{
    pthread_mutex_lock(&s->lock);
    buf_append_str(out, buf_str(&s->troubles));
    pthread_mutex_unlock(&s->lock);
}

/* `is_last`: the last step of a refresh. A map that differs is sent at once; a refresh without a difference is counted
 * once. */
static void rebuild(struct daemon_derpmap *s, bool is_last)
{
    struct daemon_derpmap_texts made;
    struct err err = {0};
    /* A relay that does not answer at the moment is better than none. */
    bool has_none = s->texts.region_n == 0;
    if (daemon_derpmap_sources_build(s->sources, s->certificate.pin, has_none, &made, &err) != RC_OK) {
        metric_inc(&refreshes_failed);
        note_fault(s, &err);
        remember_troubles(s);
        return;
    }
    s->fault[0] = '\0';
    remember_troubles(s);
    if (rcbuf_eq(made.pinned, s->texts.pinned) && rcbuf_eq(made.unpinned, s->texts.unpinned)) {
        metric_add(&refreshes_same, is_last);
        daemon_derpmap_texts_fini(&made);
        return;
    }
    metric_inc(&refreshes_changed);
    log_info("the DERP map has changed", LOG_U("regions", made.region_n), LOG_U("bytes", made.pinned->len));
    metric_set(&regions_now, made.region_n);
    daemon_derpmap_texts_fini(&s->texts);
    s->texts = made;
    s->options.changed(s->options.ctx, &s->texts);
}

/* --- asking the URLs --- */

static void refresh(struct daemon_derpmap *s);

/* The time is spread by a tenth, so that not all servers ask at the same second. */
static int64_t jittered(int64_t ms)
{
    uint32_t random;
    rng_bytes(&random, sizeof(random));
    return ms - ms / 10 + (int64_t)(random % 1000) * ms / 5000;
}

static void wait_for_next(struct daemon_derpmap *s)
{
    int64_t wait_ms = s->options.cfg->derp_update_frequency_ms;
    s->failures = daemon_derpmap_sources_is_failing(s->sources) ? s->failures + 1 : 0;
    if (s->failures > 0) {
        unsigned doublings = s->failures - 1 < RETRY_DOUBLINGS_MAX ? s->failures - 1 : RETRY_DOUBLINGS_MAX;
        int64_t retry_ms = (int64_t)RETRY_MS << doublings;
        wait_ms = retry_ms < wait_ms ? retry_ms : wait_ms;
    } else if (!s->options.cfg->derp_auto_update_enabled) {
        return;
    }
    loop_timer_start(s->refresh_timer, jittered(wait_ms), 0);
}

static void end_round(struct daemon_derpmap *s)
{
    rebuild(s, true);
    if (s->is_wanted_again)
        refresh(s);
    else
        wait_for_next(s);
}

struct answer_msg {
    struct loop_msg msg;
    struct daemon_derpmap *service;
    size_t url;
    enum rc rc;
    int status;
    struct buf body;
    char etag[260];
    char error[256];
};

static void run_answer(struct loop *loop, struct loop_msg *msg)
{
    struct answer_msg *m = CONTAINER_OF(msg, struct answer_msg, msg);
    struct daemon_derpmap *s = m->service;
    (void)loop;
    if (!s->is_over) {
        struct fetch_reply reply = {m->rc, m->status, buf_str(&m->body), m->etag, m->error};
        daemon_derpmap_sources_take(s->sources, m->url, &reply);
        if (--s->pending == 0)
            end_round(s);
    }
    buf_fini(&m->body);
    mem_free(m);
}

/* On fetch's thread. */
static void on_answer(void *ctx, const struct fetch_reply *reply)
{
    struct answer_msg *m = ctx;
    m->rc = reply->rc;
    m->status = reply->status;
    buf_append_str(&m->body, reply->body);
    snprintf(m->etag, sizeof(m->etag), "%s", reply->etag);
    snprintf(m->error, sizeof(m->error), "%s", reply->error);
    loop_post(m->service->loop, &m->msg);
}

static void ask(struct daemon_derpmap *s, size_t url)
{
    struct answer_msg *m = MEM_NEW(struct answer_msg);
    *m = (struct answer_msg){.msg.run = run_answer, .service = s, .url = url};
    struct fetch_request req = {
        .url = daemon_derpmap_sources_url(s->sources, url),
        .etag = daemon_derpmap_sources_etag(s->sources, url),
        .max_bytes = MAP_MAX_BYTES,
        .timeout_ms = FETCH_TIMEOUT_MS,
    };
    fetch_start(s->options.fetch, &req, on_answer, m);
}

/* Files at once, URLs when all have answered or given up. */
static void refresh(struct daemon_derpmap *s)
{
    size_t n = s->options.fetch != NULL ? daemon_derpmap_sources_url_n(s->sources) : 0;
    s->is_wanted_again = s->pending > 0;
    if (s->pending > 0)
        return;
    daemon_derpmap_sources_reread(s->sources);
    s->pending = n;
    if (n == 0) {
        end_round(s);
        return;
    }
    rebuild(s, false);
    for (size_t i = 0; i < n; i++)
        ask(s, i);
}

static void on_refresh_timer(void *ctx)
{
    refresh(ctx);
}

/* --- the certificate --- */

static void check_certificate(struct daemon_derpmap *s)
{
    if (!daemon_derp_certificate_check(&s->certificate, clock_wall_ms() / 1000))
        return;
    if (!s->options.cfg->derp_server_add_region)
        tls_server_use_prepared(s->certificate.tls, s->certificate.pin); /* no caller waits for a map */
    rebuild(s, true);
}

static void on_certificate_timer(void *ctx)
{
    check_certificate(ctx);
}

/* --- what others ask for --- */

struct order_msg {
    struct loop_msg msg;
    struct daemon_derpmap *service;
    bool is_policy;
    struct buf policy;
    char *name; /* null: refresh all; else `map` is its contribution */
    struct derpmap map;
};

static void run_order(struct loop *loop, struct loop_msg *msg)
{
    struct order_msg *m = CONTAINER_OF(msg, struct order_msg, msg);
    struct daemon_derpmap *s = m->service;
    (void)loop;
    if (!s->is_over && m->is_policy) {
        if (daemon_derpmap_sources_set_policy(s->sources, buf_str(&m->policy)))
            rebuild(s, true);
        else
            remember_troubles(s);
    } else if (!s->is_over && m->name != NULL) {
        daemon_derpmap_sources_contribute(s->sources, m->name, &m->map);
        rebuild(s, true);
    } else if (!s->is_over) {
        check_certificate(s);
        refresh(s);
    }
    derpmap_fini(&m->map);
    buf_fini(&m->policy);
    mem_free(m->name);
    mem_free(m);
}

static void post_order(struct daemon_derpmap *s, const char *name, struct derpmap *map)
{
    struct order_msg *m = MEM_NEW(struct order_msg);
    *m = (struct order_msg){.msg.run = run_order, .service = s, .name = name != NULL ? mem_strdup(name) : NULL};
    if (map != NULL) {
        m->map = *map;
        *map = (struct derpmap){0};
    }
    loop_post(s->loop, &m->msg);
}

void daemon_derpmap_refresh(struct daemon_derpmap *s)
{
    post_order(s, NULL, NULL);
}

void daemon_derpmap_contribute(struct daemon_derpmap *s, const char *name, struct derpmap *map)
{
    post_order(s, name, map);
}

void daemon_derpmap_set_policy(struct daemon_derpmap *s, struct str text)
{
    struct order_msg *m = MEM_NEW(struct order_msg);
    *m = (struct order_msg){.msg.run = run_order, .service = s, .is_policy = true};
    buf_append_str(&m->policy, text);
    loop_post(s->loop, &m->msg);
}

/* --- life --- */

static void *service_main(void *arg)
{
    struct daemon_derpmap *s = arg;
    pthread_setname_np(pthread_self(), "derpmap");
    if (s->options.fetch != NULL)
        refresh(s);
    else
        wait_for_next(s);
    loop_run(s->loop);
    return NULL;
}

/* Copies of URLs from another time must not keep the program from starting; files must be good. */
static enum rc build_first(struct daemon_derpmap *s, struct err *err)
{
    struct err with_copies = {0};
    TRY(daemon_derpmap_sources_load(s->sources, err));
    if (daemon_derpmap_sources_build(s->sources, s->certificate.pin, true, &s->texts, &with_copies) == RC_OK)
        return RC_OK;
    if (daemon_derpmap_sources_url_n(s->sources) > 0)
        note_fault(s, &with_copies);
    daemon_derpmap_sources_forget_urls(s->sources);
    return daemon_derpmap_sources_build(s->sources, s->certificate.pin, true, &s->texts, err);
}

enum rc daemon_derpmap_create(const struct daemon_derpmap_options *options, struct daemon_derpmap **out,
                              struct err *err)
{
    const struct config *cfg = options->cfg;
    struct daemon_derpmap *s = MEM_NEW(struct daemon_derpmap);
    s->options = *options;
    pthread_mutex_init(&s->lock, NULL);
    s->loop = loop_create(UINT32_MAX);
    s->refresh_timer = loop_timer_create(s->loop, on_refresh_timer, s);
    s->certificate_timer = loop_timer_create(s->loop, on_certificate_timer, s);
    loop_timer_start(s->certificate_timer, CERTIFICATE_CHECK_MS, CERTIFICATE_CHECK_MS);
    s->sources = daemon_derpmap_sources_create(cfg);
    s->certificate = (struct derp_certificate){.tls = options->renewed_tls,
                                               .cert_path = cfg->derp_server_tls_cert_path,
                                               .key_path = cfg->derp_server_tls_key_path,
                                               .host = cfg->derp_server_hostname};
    snprintf(s->certificate.pin, sizeof(s->certificate.pin), "%s", options->pin);
    enum rc rc = build_first(s, err);
    if (rc != RC_OK)
        daemon_derpmap_destroy(&s);
    *out = s;
    return rc;
}

static enum rc rebuild_first(struct daemon_derpmap *s, struct err *err)
{
    struct daemon_derpmap_texts made;
    TRY(daemon_derpmap_sources_build(s->sources, s->certificate.pin, true, &made, err));
    daemon_derpmap_texts_fini(&s->texts);
    s->texts = made;
    return RC_OK;
}

enum rc daemon_derpmap_contribute_first(struct daemon_derpmap *s, const char *name, struct derpmap *map,
                                        struct err *err)
{
    daemon_derpmap_sources_contribute(s->sources, name, map);
    return rebuild_first(s, err);
}

enum rc daemon_derpmap_set_policy_first(struct daemon_derpmap *s, struct str text, struct err *err)
{
    return daemon_derpmap_sources_set_policy(s->sources, text) ? rebuild_first(s, err) : RC_OK;
}

const struct daemon_derpmap_texts *daemon_derpmap_first(const struct daemon_derpmap *s)
{
    return &s->texts;
}

void daemon_derpmap_start(struct daemon_derpmap *s)
{
    metric_set(&regions_now, s->texts.region_n);
    if (s->texts.region_n == 0)
        log_warn(
            "there is no relay yet, and no node comes up without one: enrol one (relays create), or enable the one "
            "inside (derp.server.enabled)");
    s->is_running = true;
    pthread_create(&s->thread, NULL, service_main, s);
}

void daemon_derpmap_stop(struct daemon_derpmap *s)
{
    if (!s->is_running)
        return;
    s->is_running = false;
    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    s->is_over = true;
}

void daemon_derpmap_destroy(struct daemon_derpmap **at)
{
    struct daemon_derpmap *s = *at;
    *at = NULL;
    if (s == NULL)
        return;
    s->is_over = true;
    loop_timer_destroy(&s->refresh_timer);
    loop_timer_destroy(&s->certificate_timer);
    loop_stop(s->loop); /* frees messages that were still posted */
    loop_run(s->loop);
    loop_destroy(&s->loop);
    daemon_derpmap_sources_destroy(&s->sources);
    daemon_derpmap_texts_fini(&s->texts);
    buf_fini(&s->troubles);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}
