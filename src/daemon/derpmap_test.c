/* The service with its thread, and a URL on loopback. Every wait ends by an event. */
#include "daemon/testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "daemon/derpmap_internal.h"
#include "tls/selfsigned.h"

/* --- a URL --- */

struct site {
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    const char *body; /* locked; null: status 500 */
};

static void *serve(void *arg)
{
    struct site *s = arg;
    for (;;) {
        char request[2048], answer[2048];
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        ssize_t got = read(fd, request, sizeof(request)); /* a small request comes at once */
        pthread_mutex_lock(&s->lock);
        const char *body = s->body != NULL ? s->body : "";
        int n = snprintf(answer, sizeof(answer), "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                         s->body != NULL ? "200 OK" : "500 No", strlen(body), body);
        pthread_mutex_unlock(&s->lock);
        if (got > 0)
            (void)!send(fd, answer, (size_t)n, MSG_NOSIGNAL);
        close(fd);
    }
}

static void site_start(struct site *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    pthread_mutex_init(&s->lock, NULL);
    pthread_create(&s->thread, NULL, serve, s);
}

static void site_say(struct site *s, const char *body)
{
    pthread_mutex_lock(&s->lock);
    s->body = body;
    pthread_mutex_unlock(&s->lock);
}

static void site_stop(struct site *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    pthread_mutex_destroy(&s->lock);
}

/* --- the service --- */

struct fixture {
    struct test_folder folder;
    struct config *cfg;
    struct fetch *fetch;
    struct daemon_derpmap *service;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n; /* locked: maps that came */
    char last[4096];
};

static void on_changed(void *ctx, const struct daemon_derpmap_texts *texts)
{
    struct fixture *x = ctx;
    pthread_mutex_lock(&x->lock);
    x->n++;
    snprintf(x->last, sizeof(x->last), "%.*s", (int)texts->pinned->len, (const char *)texts->pinned->data);
    pthread_cond_signal(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

static void wait_maps(struct fixture *x, unsigned n)
{
    pthread_mutex_lock(&x->lock);
    while (x->n < n)
        pthread_cond_wait(&x->changed, &x->lock);
    assert_int_equal(x->n, n);
    pthread_mutex_unlock(&x->lock);
}

static void start(struct fixture *x, const char *yaml, struct tls_server *tls, const char *pin)
{
    struct err err = {0};
    x->cfg = test_config(&x->folder, yaml);
    x->fetch = x->cfg->derp_urls.n > 0 ? fetch_create() : NULL;
    struct daemon_derpmap_options options = {
        .cfg = x->cfg, .fetch = x->fetch, .renewed_tls = tls, .pin = pin, .changed = on_changed, .ctx = x};
    if (daemon_derpmap_create(&options, &x->service, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_non_null(daemon_derpmap_first(x->service)->pinned);
    daemon_derpmap_start(x->service);
}

static void stop(struct fixture *x)
{
    daemon_derpmap_stop(x->service);
    fetch_destroy(&x->fetch);
    daemon_derpmap_refresh(x->service); /* too late, and harmless */
    daemon_derpmap_destroy(&x->service);
    config_destroy(&x->cfg);
}

static void contribute(struct fixture *x, const char *regions)
{
    struct derpmap map = {0};
    assert_int_equal(derpmap_merge_text(&map, str_c(regions), "test", NULL), RC_OK);
    daemon_derpmap_contribute(x->service, "test", &map);
}

static int64_t refreshes(const char *result)
{
    char label[40];
    snprintf(label, sizeof(label), "result=\"%s\"", result);
    return metric_read("fullscale_derpmap_refreshes_total", label);
}

static void test_files(void **state)
{
    struct fixture *x = *state;
    int64_t same = refreshes("unchanged"), failed = refreshes("failed");
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f, hostname: h}]}}");
    start(x, "derp.paths: [%/f.yaml]\n", NULL, "");
    daemon_derpmap_refresh(x->service); /* nothing new: the map below is the first */
    contribute(x, "regions: {4: {nodes: [{name: 4c, hostname: h}]}}");
    wait_maps(x, 1);
    assert_non_null(strstr(x->last, "\"3f\""));
    assert_non_null(strstr(x->last, "\"4c\""));
    assert_int_equal(refreshes("unchanged"), same + 1);
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3g, hostname: h}]}}");
    daemon_derpmap_refresh(x->service);
    wait_maps(x, 2);
    assert_non_null(strstr(x->last, "\"3g\""));
    contribute(x, "regions: {4: {nodes: [{name: 3g, hostname: h}]}}"); /* refused: a double name */
    contribute(x, "regions: {4: {nodes: [{name: 4d, hostname: h}]}}");
    wait_maps(x, 3);
    assert_non_null(strstr(x->last, "\"4d\""));
    assert_int_equal(refreshes("failed"), failed + 1);
    stop(x);
}

#define REGION(node) "{\"Regions\":{\"1\":{\"Nodes\":[{\"Name\":\"" node "\",\"HostName\":\"h\"}]}}}"

static void test_urls(void **state)
{
    struct fixture *x = *state;
    struct site site = {.body = REGION("1a")};
    char yaml[200];
    site_start(&site);
    snprintf(yaml, sizeof(yaml), "derp.urls: ['http://127.0.0.1:%u/m']\n", site.port);
    start(x, yaml, NULL, "");
    wait_maps(x, 1); /* fetched without being asked */
    assert_non_null(strstr(x->last, "\"1a\""));
    site_say(&site, NULL);
    daemon_derpmap_refresh(x->service);
    site_say(&site, REGION("1b"));
    daemon_derpmap_refresh(x->service); /* while the other may be under way: there is one more round */
    wait_maps(x, 2);
    assert_non_null(strstr(x->last, "\"1b\""));
    stop(x);
    site_say(&site, NULL);
    x->n = 0;
    start(x, yaml, NULL, ""); /* from the copy */
    const struct rcbuf *first = daemon_derpmap_first(x->service)->pinned;
    assert_non_null(memmem(first->data, first->len, "\"1b\"", 4));
    site_say(&site, REGION("1c"));
    daemon_derpmap_refresh(x->service);
    wait_maps(x, 1);
    assert_non_null(strstr(x->last, "\"1c\""));
    stop(x);
    site_stop(&site);
}

/* A copy that contradicts a file is left out at the start. */
static void test_copy_in_the_way(void **state)
{
    struct fixture *x = *state;
    struct site site = {.body = REGION("1a")};
    char yaml[200];
    site_start(&site);
    snprintf(yaml, sizeof(yaml), "derp.urls: ['http://127.0.0.1:%u/m']\nderp.paths: [%%/f.yaml]\n", site.port);
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f, hostname: h}]}}");
    start(x, yaml, NULL, "");
    wait_maps(x, 1);
    stop(x);
    site_say(&site, NULL);
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 1a, hostname: h}]}}");
    start(x, yaml, NULL, "");
    const struct rcbuf *first = daemon_derpmap_first(x->service)->pinned;
    assert_null(memmem(first->data, first->len, "\"1\":", 4));
    assert_non_null(memmem(first->data, first->len, "\"3\":", 4));
    stop(x);
    site_stop(&site);
}

/* The certificate's file is gone: the new one's pin is in the next map. */
static void test_certificate(void **state)
{
    struct fixture *x = *state;
    char cert[128], key[128], pin[TLS_FINGERPRINT_CAP], next[TLS_FINGERPRINT_CAP];
    struct tls_server *tls;
    snprintf(cert, sizeof(cert), "%s", test_path(&x->folder, "derp_cert.pem"));
    snprintf(key, sizeof(key), "%s", test_path(&x->folder, "derp_key.pem"));
    assert_int_equal(selfsigned_ensure(cert, key, "192.0.2.1", time(NULL), pin, NULL, NULL), RC_OK);
    const struct tls_server_opts opts = {.cert_file = cert, .key_file = key};
    assert_int_equal(tls_server_create(&opts, &tls, NULL), RC_OK);
    start(x, "", tls, pin);
    unlink(cert);
    daemon_derpmap_refresh(x->service);
    wait_maps(x, 1);
    assert_true(tls_server_prepared(tls, next));
    assert_null(strstr(x->last, pin));
    assert_non_null(strstr(x->last, next));
    stop(x);
    tls_server_destroy(&tls);
}

static int set_up(void **state)
{
    static struct fixture x;
    x = (struct fixture){0};
    test_folder_make(&x.folder);
    pthread_mutex_init(&x.lock, NULL);
    pthread_cond_init(&x.changed, NULL);
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    test_folder_empty(&x->folder, "derpmap");
    test_folder_remove(&x->folder);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->changed);
    return 0;
}

int main(void)
{
    static const char *const quiet[] = {"derpmap", "tls"};
    crypto_init();
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++)
        if (log_set_level(quiet[i], LOG_OFF) != RC_OK)
            return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(test_files), TEST(test_urls), TEST(test_copy_in_the_way),
                                       TEST(test_certificate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
