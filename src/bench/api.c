/* Requests of the admin API over its unix socket, on a thread of their own: the loop of the nodes goes on meanwhile. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/fleet.h"

enum { REQUEST_TIMEOUT_S = 60 };

/* The requests of one path. The requesting thread writes all members that do not say otherwise. */
struct api_run {
    pthread_t thread;
    const char *socket;
    const char *url;
    unsigned count;
    int64_t gap_us; /* pause between two requests */
    struct hist latency;
    uint64_t bytes; /* length of the last answer */
    enum rc rc;
    struct err err;
    atomic_bool is_over;
    atomic_bool is_stopped; /* written by the thread of the nodes */
};

/* What one path took while nothing else happened, and while nodes changed. */
struct api_result {
    struct api_run quiet, busy;
    struct proc_cpu quiet_cpu;
};

static size_t count_bytes(char *p, size_t size, size_t n, void *ctx)
{
    (void)p;
    *(uint64_t *)ctx += size * n;
    return size * n;
}

static enum rc get_once(struct api_run *a, CURL *curl)
{
    long status = 0;
    int64_t start = clock_mono_us();
    a->bytes = 0;
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        return err_set(&a->err, RC_IO, "GET %s at %s: %s", a->url, a->socket, curl_easy_strerror(code));
    hist_add(&a->latency, clock_mono_us() - start);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status == 200 ? RC_OK : err_set(&a->err, RC_IO, "GET %s: HTTP %ld", a->url, status);
}

static void *run_requests(void *ctx)
{
    struct api_run *a = ctx;
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, a->socket);
    curl_easy_setopt(curl, CURLOPT_URL, a->url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)REQUEST_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, count_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &a->bytes);
    for (unsigned i = 0; i < a->count && a->rc == RC_OK && !atomic_load(&a->is_stopped); i++) {
        usleep((useconds_t)a->gap_us);
        a->rc = get_once(a, curl);
    }
    curl_easy_cleanup(curl);
    atomic_store(&a->is_over, true);
    return NULL;
}

/* --- load meanwhile --- */

struct changes {
    int64_t start_us;
    uint64_t n;
    unsigned *order;
};

static void change_due(struct fleet *f, void *ctx)
{
    struct changes *c = ctx;
    double passed_s = (double)(clock_mono_us() - c->start_us) / 1e6;
    for (; (double)c->n < passed_s * f->opts->churn_rate_per_s; c->n++) {
        struct sim *s = &f->sims[c->order[c->n % f->n]];
        s->endpoints_seq = ++f->seq;
        sim_update(s);
    }
}

static bool is_over(struct fleet *f, void *ctx)
{
    (void)f;
    return atomic_load(&((struct api_run *)ctx)->is_over);
}

static enum rc run(struct fleet *f, struct api_run *a, const char *url, int64_t gap_us, struct err *err)
{
    *a = (struct api_run){.socket = f->opts->api_socket, .url = url, .count = f->opts->api_count, .gap_us = gap_us};
    if (pthread_create(&a->thread, NULL, run_requests, a) != 0)
        return err_set(err, RC_INTERNAL, "no thread");
    bool done = fleet_wait(f, "api", f->opts->timeout_ms, is_over, a);
    atomic_store(&a->is_stopped, true);
    pthread_join(a->thread, NULL);
    if (a->rc != RC_OK) {
        *err = a->err;
        return a->rc;
    }
    return done ? RC_OK : err_set(err, RC_TIMEOUT, "GET %s took too long", url);
}

static enum rc measure(struct fleet *f, const char *url, struct api_result *out, struct err *err)
{
    uint64_t random = 1;
    struct proc_cpu before = fleet_server_cpu(f);
    TRY(run(f, &out->quiet, url, 0, err));
    out->quiet_cpu = fleet_cpu_since(f, &before);
    struct changes c = {clock_mono_us(), 0, fleet_shuffle(f, &random)};
    f->on_tick = change_due;
    f->on_tick_ctx = &c;
    int64_t gap_us = f->opts->churn_for_ms * 1000 / f->opts->api_count;
    enum rc rc = run(f, &out->busy, url, gap_us, err);
    f->on_tick = NULL;
    mem_free(c.order);
    return rc;
}

static void report_path(struct report *r, const char *path, const struct api_result *m)
{
    char key[256];
    report_latency(r, path, &m->quiet.latency, "GET, nothing else happens");
    snprintf(key, sizeof(key), "%s busy", path);
    report_latency(r, key, &m->busy.latency, "GET while nodes change, spread over --churn-for");
    snprintf(key, sizeof(key), "%s bytes", path);
    report_u64(r, key, m->quiet.bytes, NULL);
    snprintf(key, sizeof(key), "%s cpu_ms_per_request", path);
    report_f64(r, key, (double)m->quiet_cpu.total_ns / 1e6 / (double)m->quiet.latency.n, NULL);
}

static enum rc run_path(struct fleet *f, struct report *r, struct str path, struct err *err)
{
    struct api_result *m = MEM_NEW(struct api_result);
    struct buf url = {0}, name = {0};
    buf_append_str(&name, path);
    buf_printf(&url, "http://localhost%.*s", STR_ARG(path));
    enum rc rc = measure(f, buf_cstr(&url), m, err);
    if (rc == RC_OK)
        report_path(r, buf_cstr(&name), m);
    buf_fini(&url);
    buf_fini(&name);
    mem_free(m);
    return rc;
}

enum rc fleet_api(struct fleet *f, struct err *err)
{
    struct report r;
    struct str rest = str_c(f->opts->api_paths), path;
    struct fleet_start s = fleet_begin(f);
    enum rc rc = f->opts->api_count > 0 ? RC_OK : err_set(err, RC_INVALID, "--api-count is 1 or more");
    fleet_report_begin(f, &r, "api");
    report_f64(&r, "churn_rate_per_s", f->opts->churn_rate_per_s, "of the busy requests");
    for (bool more = true; more && rc == RC_OK;) {
        more = str_cut(rest, ',', &path, &rest);
        rc = run_path(f, &r, path, err);
    }
    if (rc != RC_OK) {
        report_fini(&r);
        return rc;
    }
    fleet_report_peak(f, &r);
    fleet_report_generator(&r, &s.self);
    fleet_report_ends(f, &r);
    return fleet_report_emit(f, &r, err);
}
