/* Over real loopback TCP: a small server of HTTP/1.1, plain or TLS, on a thread of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "fetch/fetch.h"

/* --- the server: the path chooses the answer --- */

struct server {
    int fd;
    char url[64];
    SSL_CTX *tls; /* null: plain */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned asked; /* locked: requests that came whole */
    char last[4096];
    char elsewhere[64]; /* where /away leads */
};

struct peer {
    int fd;
    SSL *ssl;
};

static ssize_t peer_read(struct peer *p, char *out, size_t cap)
{
    return p->ssl != NULL ? SSL_read(p->ssl, out, (int)cap) : read(p->fd, out, cap);
}

static void peer_write(struct peer *p, const char *text, size_t len)
{
    if (p->ssl != NULL)
        SSL_write(p->ssl, text, (int)len);
    else
        (void)!send(p->fd, text, len, MSG_NOSIGNAL);
}

/* Head and body; false when the peer leaves before. */
static bool read_request(struct peer *p, char *out, size_t cap)
{
    size_t n = 0, want = SIZE_MAX;
    while (n < want) {
        ssize_t got = n + 1 < cap ? peer_read(p, out + n, cap - 1 - n) : 0;
        if (got <= 0)
            return false;
        n += (size_t)got;
        out[n] = '\0';
        const char *end = strstr(out, "\r\n\r\n"), *length = strstr(out, "Content-Length: ");
        if (end != NULL)
            want = (size_t)(end + 4 - out) + (length != NULL ? strtoul(length + 16, NULL, 10) : 0);
    }
    return true;
}

static bool asks(const char *request, const char *path)
{
    const char *at = strchr(request, ' ');
    return at != NULL && strncmp(at + 1, path, strlen(path)) == 0;
}

static void make_answer(const struct server *s, const char *request, struct buf *out)
{
    if (asks(request, "/etag") && strstr(request, "If-None-Match: \"v1\"\r\n") != NULL)
        buf_append_c(out, "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n");
    else if (asks(request, "/etag"))
        buf_append_c(out, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 5\r\n\r\nhello");
    else if (asks(request, "/longtag"))
        buf_printf(out, "HTTP/1.1 200 OK\r\nETag: \"%0300d\"\r\nContent-Length: 2\r\n\r\nok", 1);
    else if (asks(request, "/chunks")) /* no length announced */
        buf_append_c(
            out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n89abcdef\r\n0\r\n\r\n");
    else if (asks(request, "/loop"))
        buf_append_c(out, "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n");
    else if (asks(request, "/near"))
        buf_append_c(out, "HTTP/1.1 302 Found\r\nLocation: /etag\r\nContent-Length: 4\r\n\r\nbody");
    else if (asks(request, "/file"))
        buf_append_c(out, "HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n");
    else if (asks(request, "/away"))
        buf_printf(out, "HTTP/1.1 302 Found\r\nLocation: %s/etag\r\nContent-Length: 0\r\n\r\n", s->elsewhere);
    else if (asks(request, "/garbage"))
        buf_append_c(out, "\x16\x03\x01 no HTTP\r\n\r\n");
    else if (asks(request, "/headers"))
        for (int i = 0; i < 100; i++)
            buf_printf(out, "%s%01000d\r\n", i == 0 ? "HTTP/1.1 200 OK\r\nX: " : "X: ", i);
    else
        buf_append_c(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
}

static void serve_one(struct server *s, struct peer *p)
{
    char request[4096];
    struct buf answer = {0};
    if (!read_request(p, request, sizeof(request)))
        return;
    pthread_mutex_lock(&s->lock);
    memcpy(s->last, request, sizeof(request));
    s->asked++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (asks(request, "/silence")) {
        while (peer_read(p, request, sizeof(request)) > 0) {
        }
        return;
    }
    make_answer(s, request, &answer);
    peer_write(p, buf_cstr(&answer), buf_len(&answer));
    buf_fini(&answer);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (;;) {
        struct peer p = {.fd = accept(s->fd, NULL, NULL)};
        if (p.fd < 0)
            return NULL;
        p.ssl = s->tls != NULL ? SSL_new(s->tls) : NULL;
        if (p.ssl == NULL || (SSL_set_fd(p.ssl, p.fd) == 1 && SSL_accept(p.ssl) == 1))
            serve_one(s, &p);
        SSL_free(p.ssl);
        close(p.fd); /* one request for each connection */
    }
}

static int listen_somewhere(uint16_t *port_out)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port_out = ntohs(at.sin_port);
    return fd;
}

static void server_start(struct server *s, SSL_CTX *tls)
{
    uint16_t port;
    *s = (struct server){.tls = tls};
    s->fd = listen_somewhere(&port);
    assert_int_equal(listen(s->fd, 8), 0);
    snprintf(s->url, sizeof(s->url), "%s://127.0.0.1:%u", tls != NULL ? "https" : "http", port);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    pthread_create(&s->thread, NULL, serve, s);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR); /* wakes accept */
    pthread_join(s->thread, NULL);
    close(s->fd);
    SSL_CTX_free(s->tls);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
}

static void server_wait(struct server *s, unsigned asked)
{
    pthread_mutex_lock(&s->lock);
    while (s->asked < asked)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* For 127.0.0.1, signed by itself; written to `path` for the client to trust. */
static SSL_CTX *make_tls(const char *path)
{
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const uint8_t *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(cert, names, -1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    PEM_write_X509(f, cert);
    fclose(f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_EXTENSION_free(names);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

/* --- the answer --- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n; /* how many came */
    enum rc rc;
    int status;
    char body[256], etag[300], error[300];
};

static void on_done(void *ctx, const struct fetch_reply *reply)
{
    struct answer *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->n++;
    a->rc = reply->rc;
    a->status = reply->status;
    snprintf(a->body, sizeof(a->body), "%.*s", STR_ARG(reply->body));
    snprintf(a->etag, sizeof(a->etag), "%s", reply->etag);
    snprintf(a->error, sizeof(a->error), "%s", reply->error);
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static struct answer *answer_new(void)
{
    struct answer *a = MEM_NEW(struct answer);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    return a;
}

static void answer_wait(struct answer *a)
{
    pthread_mutex_lock(&a->lock);
    while (a->n == 0)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static void answer_free(struct answer *a)
{
    assert_int_equal(a->n, 1);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    mem_free(a);
}

static char url_text[2048];

static const char *url_of(const struct server *s, const char *path)
{
    snprintf(url_text, sizeof(url_text), "%s%s", s->url, path);
    return url_text;
}

/* Asks and checks code, status and body; the error is a sentence exactly when there is one. */
static void check(struct fetch *f, const struct fetch_request *req, enum rc rc, int status, const char *body)
{
    struct answer *a = answer_new();
    fetch_start(f, req, on_done, a);
    answer_wait(a);
    if (a->rc != rc || a->status != status || strcmp(a->body, body) != 0)
        fail_msg("%s gave %s, status %d, body %s: %s", req->url, rc_name(a->rc), a->status, a->body, a->error);
    assert_int_equal(a->error[0] == '\0', rc == RC_OK);
    answer_free(a);
}

struct fixture {
    struct fetch *fetch;
    struct server server;
};

static int set_up(void **state)
{
    struct fixture *x = MEM_NEW(struct fixture);
    server_start(&x->server, NULL);
    x->fetch = fetch_create();
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    fetch_destroy(&x->fetch);
    server_stop(&x->server);
    mem_free(x);
    return 0;
}

/* --- tests --- */

static void test_answers(void **state)
{
    struct fixture *x = *state;
    struct fetch_request req = {.url = url_of(&x->server, "/etag")};
    check(x->fetch, &req, RC_OK, 200, "hello");
    assert_non_null(strstr(x->server.last, "GET /etag HTTP/1.1\r\n"));
    assert_non_null(strstr(x->server.last, "User-Agent: fullscale/"));
    assert_null(strstr(x->server.last, "Authorization"));
    req.url = url_of(&x->server, "/nothing");
    check(x->fetch, &req, RC_OK, 404, "none");
    req.url = url_of(&x->server, "/chunks");
    check(x->fetch, &req, RC_OK, 200, "0123456789abcdef");
    req.url = url_of(&x->server, "/near");
    check(x->fetch, &req, RC_OK, 200, "hello");
}

static void test_etag(void **state)
{
    struct fixture *x = *state;
    struct fetch_request req = {.url = url_of(&x->server, "/etag")};
    struct answer *a = answer_new();
    fetch_start(x->fetch, &req, on_done, a);
    answer_wait(a);
    assert_string_equal(a->etag, "\"v1\"");
    req.etag = a->etag;
    check(x->fetch, &req, RC_OK, 304, "");
    answer_free(a);
    a = answer_new();
    req = (struct fetch_request){.url = url_of(&x->server, "/longtag")};
    fetch_start(x->fetch, &req, on_done, a);
    answer_wait(a);
    assert_string_equal(a->body, "ok");
    assert_string_equal(a->etag, "");
    answer_free(a);
}

static void test_what_is_sent(void **state)
{
    struct fixture *x = *state;
    struct fetch_request req = {.url = url_of(&x->server, "/x"), .bearer = "s3cret", .body = STR("{\"a\":1}")};
    check(x->fetch, &req, RC_OK, 404, "none");
    assert_non_null(strstr(x->server.last, "POST /x HTTP/1.1\r\n"));
    assert_non_null(strstr(x->server.last, "\r\nAuthorization: Bearer s3cret\r\n"));
    assert_non_null(strstr(x->server.last, "\r\nContent-Type: application/json\r\n"));
    assert_null(strstr(x->server.last, "Expect"));
    assert_non_null(strstr(x->server.last, "\r\n\r\n{\"a\":1}"));
    req.method = "PUT";
    req.content_type = "text/plain";
    check(x->fetch, &req, RC_OK, 404, "none");
    assert_non_null(strstr(x->server.last, "PUT /x HTTP/1.1\r\n"));
    assert_non_null(strstr(x->server.last, "\r\nContent-Type: text/plain\r\n"));
    req = (struct fetch_request){.url = url_of(&x->server, "/x"), .method = "HEAD"};
    check(x->fetch, &req, RC_OK, 404, "");
    assert_non_null(strstr(x->server.last, "HEAD /x HTTP/1.1\r\n"));
}

/* A token is sent to the host of the URL, not to one that it redirects to. */
static void test_token_stays(void **state)
{
    struct fixture *x = *state;
    struct server other;
    server_start(&other, NULL);
    snprintf(x->server.elsewhere, sizeof(x->server.elsewhere), "%s", other.url);
    struct fetch_request req = {.url = url_of(&x->server, "/away"), .bearer = "s3cret"};
    check(x->fetch, &req, RC_OK, 200, "hello");
    assert_non_null(strstr(x->server.last, "s3cret"));
    assert_null(strstr(other.last, "s3cret"));
    server_stop(&other);
}

static void test_limits(void **state)
{
    struct fixture *x = *state;
    struct fetch_request req = {.url = url_of(&x->server, "/chunks"), .max_bytes = 16};
    check(x->fetch, &req, RC_OK, 200, "0123456789abcdef");
    req.max_bytes = 15;
    check(x->fetch, &req, RC_TOO_LARGE, 0, "");
    req.url = url_of(&x->server, "/etag");
    req.max_bytes = 4;
    check(x->fetch, &req, RC_TOO_LARGE, 0, "");
    req = (struct fetch_request){.url = url_of(&x->server, "/headers")};
    check(x->fetch, &req, RC_TOO_LARGE, 0, "");
    req.url = url_of(&x->server, "/loop");
    unsigned before = x->server.asked;
    check(x->fetch, &req, RC_LIMIT, 0, "");
    assert_int_equal(x->server.asked, before + 6);
    req = (struct fetch_request){.url = url_of(&x->server, "/silence"), .timeout_ms = 20};
    check(x->fetch, &req, RC_TIMEOUT, 0, "");
}

static void test_refused(void **state)
{
    struct fixture *x = *state;
    uint16_t port;
    int fd = listen_somewhere(&port); /* bound, so that no other socket listens there */
    char text[64];
    snprintf(text, sizeof(text), "http://127.0.0.1:%u/", port);
    struct fetch_request req = {.url = text};
    check(x->fetch, &req, RC_IO, 0, "");
    close(fd);
    req.url = url_of(&x->server, "/garbage");
    check(x->fetch, &req, RC_IO, 0, "");
    req.url = url_of(&x->server, "/file");
    check(x->fetch, &req, RC_IO, 0, "");
    static const char *const urls[] = {"",        "file:///etc/passwd", "ftp://127.0.0.1/", "127.0.0.1",
                                       "http://", "http://a b/",        "https:/x",         "gopher://127.0.0.1/"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        req.url = urls[i];
        check(x->fetch, &req, RC_INVALID, 0, "");
    }
    req = (struct fetch_request){.url = url_of(&x->server, "/x"), .bearer = "a\r\nX-Other: b"};
    check(x->fetch, &req, RC_INVALID, 0, "");
    req = (struct fetch_request){.url = url_of(&x->server, "/x"), .etag = "a\nb"};
    check(x->fetch, &req, RC_INVALID, 0, "");
}

static void test_tls(void **state)
{
    struct fixture *x = *state;
    struct server secure;
    char path[] = "/tmp/fetch-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    server_start(&secure, make_tls(path));
    snprintf(secure.elsewhere, sizeof(secure.elsewhere), "%s", x->server.url);
    struct fetch_request req = {.url = url_of(&secure, "/etag")};
    check(x->fetch, &req, RC_CRYPTO, 0, ""); /* no authority has signed it */
    setenv("SSL_CERT_FILE", path, 1);
    struct fetch *trusting = fetch_create();
    check(trusting, &req, RC_OK, 200, "hello");
    req.url = url_of(&secure, "/near");
    check(trusting, &req, RC_OK, 200, "hello");
    unsigned before = x->server.asked;
    req.url = url_of(&secure, "/away"); /* to plain HTTP */
    check(trusting, &req, RC_IO, 0, "");
    assert_int_equal(x->server.asked, before);
    fetch_destroy(&trusting);
    unsetenv("SSL_CERT_FILE");
    server_stop(&secure);
    remove(path);
}

struct chain {
    struct fetch *fetch;
    struct answer *answer;
};

static void on_first(void *ctx, const struct fetch_reply *reply)
{
    struct chain *c = ctx;
    struct fetch_request req = {.url = url_text, .etag = reply->etag};
    fetch_start(c->fetch, &req, on_done, c->answer);
}

static void test_chained(void **state)
{
    struct fixture *x = *state;
    struct chain c = {x->fetch, answer_new()};
    struct fetch_request req = {.url = url_of(&x->server, "/etag")};
    fetch_start(x->fetch, &req, on_first, &c);
    answer_wait(c.answer);
    assert_int_equal(c.answer->status, 304);
    answer_free(c.answer);
}

/* What is under way, what just began, and what a callback of the end starts: each is answered. */
static void test_destroy(void **state)
{
    struct fixture *x = *state;
    struct answer *a = answer_new(), *b = answer_new();
    struct chain c = {x->fetch, answer_new()};
    struct fetch_request req = {.url = url_of(&x->server, "/silence")};
    unsigned before = x->server.asked;
    fetch_start(x->fetch, &req, on_done, a);
    server_wait(&x->server, before + 1);
    fetch_start(x->fetch, &req, on_done, b);
    fetch_start(x->fetch, &req, on_first, &c);
    fetch_destroy(&x->fetch);
    assert_null(x->fetch);
    assert_int_equal(a->rc, RC_CLOSED);
    assert_int_equal(b->rc, RC_CLOSED);
    assert_int_equal(c.answer->rc, RC_CLOSED);
    assert_string_equal(a->error, "the program is ending");
    answer_free(a);
    answer_free(b);
    answer_free(c.answer);
    fetch_destroy(&x->fetch); /* null is fine */
    x->fetch = fetch_create();
    fetch_destroy(&x->fetch); /* so is an empty list */
}

int main(void)
{
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY",
                                          "all_proxy",  "ALL_PROXY",   "SSL_CERT_FILE"};
    for (size_t i = 0; i < ARRAY_LEN(proxies); i++)
        unsetenv(proxies[i]);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_answers), TEST(test_etag), TEST(test_what_is_sent), TEST(test_token_stays), TEST(test_limits),
        TEST(test_refused), TEST(test_tls),  TEST(test_chained),      TEST(test_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
