#include "fetch/fetch.h"

#include <curl/curl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/fits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

LOG_MODULE("fetch");
METRIC_COUNTER(requests_total, "fullscale_fetch_requests_total", "", "Requests made to other servers.");
METRIC_COUNTER(failures_total, "fullscale_fetch_failures_total", "", "Requests that no HTTP answer came to.");

enum {
    MAX_BYTES = 1 << 20,
    TIMEOUT_MS = 30000,
    REDIRECTS_MAX = 5,
    HEADERS_MAX_BYTES = 64 * 1024, /* of all answers along the redirects */
    ETAG_MAX = 256,
    CONNECTIONS_MAX = 32,
    CONNECTIONS_PER_HOST_MAX = 6,
    IDLE_WAIT_MS = 60000,
};

struct fetch {
    pthread_t thread;
    CURLM *multi;       /* used by the thread only, except for the wake-up */
    struct list active; /* used by the thread only: handed to `multi` */
    const char *roots_file;
    const char *roots_folder;
    pthread_mutex_t lock;
    struct list waiting; /* locked: for the thread to take */
    bool is_ending;      /* locked */
};

struct request {
    struct list link;
    struct fetch *fetch;
    CURL *easy;
    struct curl_slist *headers;
    struct buf sent; /* libcurl points into it */
    struct buf body;
    size_t max_bytes;
    size_t header_bytes;
    enum rc refused; /* why the transfer was ended, or not begun */
    fetch_done done;
    void *ctx;
    char error[CURL_ERROR_SIZE];
};

/* --- one request --- */

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct request *r = ctx;
    if (!fits(buf_len(&r->body), n * size, r->max_bytes)) {
        r->refused = RC_TOO_LARGE;
        return 0;
    }
    buf_append(&r->body, bytes, n * size);
    return n * size;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *ctx)
{
    struct request *r = ctx;
    (void)bytes;
    r->header_bytes += n * size;
    if (r->header_bytes <= HEADERS_MAX_BYTES)
        return n * size;
    r->refused = RC_TOO_LARGE;
    return 0;
}

/* libcurl itself does not look at these variables, unlike OpenSSL's tools and Go. */
static CURLcode on_tls(CURL *easy, void *ctx, void *arg)
{
    const struct fetch *f = arg;
    (void)easy;
    if (f->roots_file != NULL || f->roots_folder != NULL) {
        if (SSL_CTX_load_verify_locations(ctx, f->roots_file, f->roots_folder) != 1)
            log_limited(LOG_WARN, "cannot read the certificates of SSL_CERT_FILE or SSL_CERT_DIR");
    }
    return CURLE_OK;
}

/* Wiped before it is freed: it may hold a token. */
static void add_header(struct request *r, const char *name, const char *value)
{
    struct buf line = {0};
    if (strpbrk(value, "\r\n") != NULL) {
        r->refused = RC_INVALID;
        return;
    }
    buf_printf(&line, "%s: %s", name, value);
    r->headers = curl_slist_append(r->headers, buf_cstr(&line));
    mem_free_secret(line.data, line.cap);
}

static void add_body(struct request *r, const struct fetch_request *req)
{
    buf_reserve(&r->sent, req->body.len + 1); /* once, so that no copy of a secret is left behind */
    buf_append_str(&r->sent, req->body);
    add_header(r, "Content-Type", req->content_type != NULL ? req->content_type : "application/json");
    add_header(r, "Expect", ""); /* no round trip to ask whether a body is welcome */
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)buf_len(&r->sent));
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, buf_cstr(&r->sent));
}

static void set_what(struct request *r, const struct fetch_request *req)
{
    bool is_https = strncasecmp(req->url, "https://", 8) == 0;
    if (!is_https && strncasecmp(req->url, "http://", 7) != 0)
        r->refused = RC_INVALID;
    curl_easy_setopt(r->easy, CURLOPT_URL, req->url);
    curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(r->easy, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "http,https");
    if (req->body.len > 0)
        add_body(r, req);
    if (req->method != NULL && strcmp(req->method, "HEAD") == 0)
        curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
    else if (req->method != NULL)
        curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, req->method);
    if (req->etag != NULL)
        add_header(r, "If-None-Match", req->etag);
    if (req->bearer != NULL) {
        char *value = mem_alloc(strlen(req->bearer) + sizeof("Bearer "));
        memcpy(value, "Bearer ", sizeof("Bearer "));
        memcpy(value + strlen("Bearer "), req->bearer, strlen(req->bearer) + 1);
        add_header(r, "Authorization", value);
        mem_free_secret(value, strlen(req->bearer) + sizeof("Bearer "));
    }
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
}

static void set_limits(struct request *r, const struct fetch_request *req)
{
    r->max_bytes = req->max_bytes != 0 ? req->max_bytes : MAX_BYTES;
    int64_t timeout_ms = req->timeout_ms != 0 ? req->timeout_ms : TIMEOUT_MS;
    curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(r->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(r->easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(r->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(r->easy, CURLOPT_QUICK_EXIT, 1L); /* fetch_destroy does not wait for a look-up that hangs */
}

static struct request *make_request(struct fetch *f, const struct fetch_request *req, fetch_done done, void *ctx)
{
    struct request *r = MEM_NEW(struct request);
    r->fetch = f;
    r->done = done;
    r->ctx = ctx;
    r->easy = curl_easy_init();
    list_init(&r->link);
    if (r->easy == NULL) {
        r->refused = RC_INTERNAL;
        return r;
    }
    set_what(r, req);
    set_limits(r, req);
    curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->error);
    curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "fullscale/" FULLSCALE_VERSION);
    curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    curl_easy_setopt(r->easy, CURLOPT_SSL_CTX_DATA, f);
    return r;
}

static void free_request(struct request *r)
{
    curl_easy_cleanup(r->easy);
    for (struct curl_slist *h = r->headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(r->headers);
    mem_free_secret(r->sent.data, r->sent.cap);
    mem_free_secret(r->body.data, r->body.cap); /* tokens come back as well */
    mem_free(r);
}

/* --- its end --- */

static enum rc rc_of(const struct request *r, CURLcode code)
{
    if (r->refused != RC_OK)
        return r->refused;
    switch (code) {
    case CURLE_OK: return RC_OK;
    case CURLE_URL_MALFORMAT: return RC_INVALID;
    case CURLE_OPERATION_TIMEDOUT: return RC_TIMEOUT;
    case CURLE_TOO_MANY_REDIRECTS: return RC_LIMIT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION: return RC_CRYPTO;
    default: return RC_IO;
    }
}

static const char *sentence(const struct request *r, enum rc rc, CURLcode code)
{
    if (rc == RC_OK)
        return "";
    if (rc == RC_TOO_LARGE)
        return "the answer is larger than the limit";
    if (rc == RC_CLOSED)
        return "the program is ending";
    if (r->refused == RC_INVALID)
        return "not an http:// or https:// URL, or a line break in a header";
    return r->error[0] != '\0' ? r->error : curl_easy_strerror(code);
}

static void finish(struct request *r, CURLcode code)
{
    enum rc rc = rc_of(r, code);
    long status = 0;
    struct curl_header *etag = NULL;
    struct fetch_reply reply = {.rc = rc, .error = sentence(r, rc, code), .etag = "", .body = STR_EMPTY};
    if (rc == RC_OK) {
        curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
        reply.status = (int)status;
        reply.body = buf_str(&r->body);
        if (curl_easy_header(r->easy, "ETag", 0, CURLH_HEADER, -1, &etag) == CURLHE_OK &&
            strlen(etag->value) <= ETAG_MAX)
            reply.etag = etag->value;
    }
    metric_inc(&requests_total);
    metric_add(&failures_total, rc != RC_OK);
    list_remove(&r->link);
    r->done(r->ctx, &reply);
    free_request(r);
}

/* --- the thread --- */

static void begin(struct fetch *f, struct request *r)
{
    if (r->refused != RC_OK) {
        finish(r, CURLE_FAILED_INIT);
        return;
    }
    list_push_back(&f->active, &r->link);
    CURLMcode code = curl_multi_add_handle(f->multi, r->easy);
    if (code == CURLM_OK)
        return;
    r->refused = RC_INTERNAL;
    finish(r, CURLE_FAILED_INIT);
}

/* Begins what waits; false when it is time to end. */
static bool take_waiting(struct fetch *f)
{
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&f->lock);
    while (!list_is_empty(&f->waiting)) {
        struct list *first = f->waiting.next;
        list_remove(first);
        list_push_back(&taken, first);
    }
    bool is_ending = f->is_ending;
    pthread_mutex_unlock(&f->lock);
    LIST_EACH_SAFE (it, &taken) {
        struct request *r = LIST_ENTRY(it, struct request, link);
        list_remove(it);
        r->refused = is_ending ? RC_CLOSED : r->refused;
        begin(f, r);
    }
    return !is_ending;
}

static void end_those_done(struct fetch *f)
{
    int left;
    for (CURLMsg *m = curl_multi_info_read(f->multi, &left); m != NULL; m = curl_multi_info_read(f->multi, &left)) {
        char *private = NULL;
        CURLcode code = m->data.result; /* `m` is gone with the handle */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        struct request *r = (struct request *)(void *)private;
        curl_multi_remove_handle(f->multi, r->easy);
        finish(r, code);
    }
}

static void end_all(struct fetch *f)
{
    LIST_EACH_SAFE (it, &f->active) {
        struct request *r = LIST_ENTRY(it, struct request, link);
        curl_multi_remove_handle(f->multi, r->easy);
        r->refused = RC_CLOSED;
        finish(r, CURLE_ABORTED_BY_CALLBACK);
    }
    while (!list_is_empty(&f->waiting)) /* what the callbacks started */
        take_waiting(f);
}

static void *fetch_main(void *arg)
{
    struct fetch *f = arg;
    pthread_setname_np(pthread_self(), "fetch");
    while (take_waiting(f)) {
        int running = 0;
        CURLMcode code = curl_multi_perform(f->multi, &running);
        if (code != CURLM_OK)
            log_limited(LOG_ERROR, "libcurl failed", LOG_S("why", curl_multi_strerror(code)));
        end_those_done(f);
        curl_multi_poll(f->multi, NULL, 0, IDLE_WAIT_MS, NULL);
    }
    end_all(f);
    return NULL;
}

/* --- public --- */

static void init_libcurl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct fetch *fetch_create(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct fetch *f = MEM_NEW(struct fetch);
    sigset_t all, before;
    pthread_once(&once, init_libcurl);
    pthread_mutex_init(&f->lock, NULL);
    list_init(&f->active);
    list_init(&f->waiting);
    f->roots_file = getenv("SSL_CERT_FILE");
    f->roots_folder = getenv("SSL_CERT_DIR");
    f->multi = curl_multi_init();
    curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)CONNECTIONS_PER_HOST_MAX);
    sigfillset(&all); /* signals are the main thread's, also in the threads that libcurl starts for look-ups */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&f->thread, NULL, fetch_main, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return f;
}

void fetch_start(struct fetch *f, const struct fetch_request *req, fetch_done done, void *ctx)
{
    struct request *r = make_request(f, req, done, ctx);
    pthread_mutex_lock(&f->lock);
    list_push_back(&f->waiting, &r->link);
    pthread_mutex_unlock(&f->lock);
    curl_multi_wakeup(f->multi);
}

void fetch_destroy(struct fetch **at)
{
    struct fetch *f = *at;
    *at = NULL;
    if (f == NULL)
        return;
    pthread_mutex_lock(&f->lock);
    f->is_ending = true;
    pthread_mutex_unlock(&f->lock);
    curl_multi_wakeup(f->multi);
    pthread_join(f->thread, NULL);
    curl_multi_cleanup(f->multi);
    pthread_mutex_destroy(&f->lock);
    mem_free(f);
}
