/* The server's certificate and what follows from it. Any thread; the mutex covers what a reload replaces. */
#include <openssl/err.h>
#include <pthread.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "tls/tls_internal.h"

LOG_MODULE("tls");
METRIC_COUNTER(reloads_ok, "fullscale_tls_reloads_total", "result=\"ok\"", "Reloads of certificates, by result.");
METRIC_COUNTER(reloads_failed, "fullscale_tls_reloads_total", "result=\"failed\"", "");

enum { MAX_ALPN_BYTES = 256 };

#define CIPHERS_TLS13 "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
#define CIPHERS_TLS12                                                                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                                       \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                                       \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"

struct tls_server {
    /* constant */
    char *cert_file; /* owned; null: from memory */
    char *key_file;
    uint8_t alpn[MAX_ALPN_BYTES]; /* wire format */
    unsigned alpn_len;
    unsigned tickets;
    struct loop_timer *watch; /* of the loop that watches */
    /* under reload_lock, which is taken first and held over file reads */
    pthread_mutex_t reload_lock;
    struct file_stamp cert_stamp;
    struct file_stamp key_stamp;
    /* under lock, which is held for moments */
    pthread_mutex_t lock;
    SSL_CTX *ctx;
    X509 *extra;
    char fingerprint[TLS_FINGERPRINT_CAP];
    SSL_CTX *next; /* prepared; null: none */
    char next_fingerprint[TLS_FINGERPRINT_CAP];
};

/* --- a context --- */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered,
                       unsigned offered_len, void *arg)
{
    const struct tls_server *t = arg;
    (void)ssl;
    unsigned char *chosen;
    int rv = SSL_select_next_proto(&chosen, out_len, t->alpn, t->alpn_len, offered, offered_len);
    *out = chosen;
    return rv == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* The extra certificate would be read by every eavesdropper in TLS 1.2, and means nothing there.
 * src: tailscale 1.102 derp/derpserver (TLS configuration), derp/derphttp */
static int add_extra_cert(SSL *ssl, void *arg)
{
    struct tls_server *t = arg;
    if (SSL_version(ssl) < TLS1_3_VERSION)
        return 1;
    pthread_mutex_lock(&t->lock);
    int ok = t->extra == NULL || SSL_add1_chain_cert(ssl, t->extra) == 1;
    pthread_mutex_unlock(&t->lock);
    return ok;
}

static bool set_certificate(SSL_CTX *ctx, struct str cert_pem, struct str key_pem,
                            char fingerprint[TLS_FINGERPRINT_CAP])
{
    X509 *leaf;
    STACK_OF(X509) * rest;
    EVP_PKEY *key;
    if (pem_parse_chain(cert_pem, &leaf, &rest) != RC_OK)
        return false;
    bool ok = pem_parse_key(key_pem, &key) == RC_OK && SSL_CTX_use_certificate(ctx, leaf) == 1 &&
              SSL_CTX_set1_chain(ctx, rest) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
              SSL_CTX_check_private_key(ctx) == 1;
    if (ok)
        cert_fingerprint(leaf, fingerprint);
    EVP_PKEY_free(key);
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    return ok;
}

static bool set_protocol(const struct tls_server *t, SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_NO_COMPRESSION | (t->tickets == 0 ? SSL_OP_NO_TICKET : 0));
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* takes over the records of one read, and frees their buffer, once */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_num_tickets(ctx, t->tickets) == 1 &&
           SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"fullscale", 9) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) == 1 && SSL_CTX_set_ciphersuites(ctx, CIPHERS_TLS13) == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1;
}

static enum rc make_ctx(struct tls_server *t, struct str cert_pem, struct str key_pem, SSL_CTX **out,
                        char fingerprint[TLS_FINGERPRINT_CAP], struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || !set_protocol(t, ctx)) {
        SSL_CTX_free(ctx);
        return err_set(err, RC_INTERNAL, "OpenSSL lacks what TLS needs: %s", tls_reason());
    }
    if (!set_certificate(ctx, cert_pem, key_pem, fingerprint)) {
        SSL_CTX_free(ctx);
        return err_set(err, RC_INVALID, "no usable pair of certificate and key: %s", tls_reason());
    }
    if (t->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, t);
    SSL_CTX_set_cert_cb(ctx, add_extra_cert, t);
    *out = ctx;
    return RC_OK;
}

/* --- files --- */

static void swap_ctx(struct tls_server *t, SSL_CTX *ctx, const char *fingerprint)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = ctx;
    memcpy(t->fingerprint, fingerprint, TLS_FINGERPRINT_CAP);
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old); /* connections hold their own references */
}

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->cap);
    buf_fini(b);
}

/* The files as they are now. */
static enum rc read_ctx(struct tls_server *t, SSL_CTX **out, char fingerprint[TLS_FINGERPRINT_CAP], struct err *err)
{
    struct buf cert = {0};
    struct buf key = {0};
    /* Taken before reading: a change in between is seen by the next look. */
    t->cert_stamp = file_stamp(t->cert_file);
    t->key_stamp = file_stamp(t->key_file);
    enum rc rc = pem_read_file(t->cert_file, &cert, err);
    if (rc == RC_OK)
        rc = pem_read_file(t->key_file, &key, err);
    if (rc == RC_OK)
        rc = make_ctx(t, buf_str(&cert), buf_str(&key), out, fingerprint, err);
    buf_fini(&cert);
    wipe(&key);
    return rc;
}

static enum rc load_files(struct tls_server *t, struct err *err)
{
    SSL_CTX *ctx = NULL;
    char fingerprint[TLS_FINGERPRINT_CAP];
    TRY(read_ctx(t, &ctx, fingerprint, err));
    swap_ctx(t, ctx, fingerprint);
    return RC_OK;
}

static enum rc reload_locked(struct tls_server *t, struct err *why)
{
    enum rc rc = load_files(t, why);
    if (rc != RC_OK) {
        metric_inc(&reloads_failed);
        log_error("certificate not reloaded; the old one stays", LOG_S("file", t->cert_file),
                  LOG_S("reason", why->text));
        return rc;
    }
    char fingerprint[TLS_FINGERPRINT_CAP];
    tls_server_fingerprint(t, fingerprint);
    metric_inc(&reloads_ok);
    log_info("certificate loaded", LOG_S("file", t->cert_file), LOG_S("sha256", fingerprint));
    return RC_OK;
}

enum rc tls_server_reload(struct tls_server *t, struct err *err)
{
    struct err local;
    struct err *why = err != NULL ? err : &local;
    if (t->cert_file == NULL)
        return err_set(why, RC_UNSUPPORTED, "the certificate did not come from files");
    pthread_mutex_lock(&t->reload_lock);
    enum rc rc = reload_locked(t, why);
    pthread_mutex_unlock(&t->reload_lock);
    return rc;
}

enum rc tls_server_prepare(struct tls_server *t, char fingerprint_out[TLS_FINGERPRINT_CAP], struct err *err)
{
    SSL_CTX *ctx = NULL;
    if (t->cert_file == NULL)
        return err_set(err, RC_UNSUPPORTED, "the certificate did not come from files");
    pthread_mutex_lock(&t->reload_lock);
    enum rc rc = read_ctx(t, &ctx, fingerprint_out, err);
    pthread_mutex_unlock(&t->reload_lock);
    if (rc != RC_OK)
        return rc;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->next;
    t->next = ctx;
    memcpy(t->next_fingerprint, fingerprint_out, TLS_FINGERPRINT_CAP);
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return RC_OK;
}

bool tls_server_prepared(struct tls_server *t, char fingerprint_out[TLS_FINGERPRINT_CAP])
{
    pthread_mutex_lock(&t->lock);
    bool is_there = t->next != NULL;
    if (is_there)
        memcpy(fingerprint_out, t->next_fingerprint, TLS_FINGERPRINT_CAP);
    pthread_mutex_unlock(&t->lock);
    return is_there;
}

void tls_server_use_prepared(struct tls_server *t, const char *fingerprint)
{
    SSL_CTX *old = NULL;
    pthread_mutex_lock(&t->lock);
    if (t->next != NULL && strcmp(t->next_fingerprint, fingerprint) == 0) {
        old = t->ctx;
        t->ctx = t->next;
        t->next = NULL;
        memcpy(t->fingerprint, t->next_fingerprint, TLS_FINGERPRINT_CAP);
    }
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old); /* connections hold their own references */
}

void tls_server_check_files(struct tls_server *t)
{
    if (t->cert_file == NULL)
        return;
    struct err why;
    pthread_mutex_lock(&t->reload_lock);
    struct file_stamp cert = file_stamp(t->cert_file);
    struct file_stamp key = file_stamp(t->key_file);
    if (!file_stamp_eq(&cert, &t->cert_stamp) || !file_stamp_eq(&key, &t->key_stamp)) {
        enum rc rc = reload_locked(t, &why);
        (void)rc; /* logged, and tried again when a file changes */
    }
    pthread_mutex_unlock(&t->reload_lock);
}

static void on_watch(void *ctx)
{
    tls_server_check_files(ctx);
}

void tls_server_watch(struct tls_server *t, struct loop *loop, int64_t every_ms)
{
    if (t->watch == NULL)
        t->watch = loop_timer_create(loop, on_watch, t);
    loop_timer_start(t->watch, every_ms, every_ms);
}

/* --- life --- */

static enum rc encode_alpn(struct tls_server *t, const char *const *names)
{
    for (; names != NULL && *names != NULL; names++) {
        size_t len = strlen(*names);
        if (len == 0 || len > 255 || t->alpn_len + 1 + len > sizeof(t->alpn))
            return RC_INVALID;
        t->alpn[t->alpn_len++] = (uint8_t)len;
        memcpy(t->alpn + t->alpn_len, *names, len);
        t->alpn_len += (unsigned)len;
    }
    return RC_OK;
}

static enum rc load_first(struct tls_server *t, const struct tls_server_opts *opts, struct err *err)
{
    if (t->cert_file != NULL)
        return load_files(t, err);
    SSL_CTX *ctx;
    char fingerprint[TLS_FINGERPRINT_CAP];
    TRY(make_ctx(t, opts->cert_pem, opts->key_pem, &ctx, fingerprint, err));
    swap_ctx(t, ctx, fingerprint);
    return RC_OK;
}

enum rc tls_server_create(const struct tls_server_opts *opts, struct tls_server **out, struct err *err)
{
    *out = NULL;
    if ((opts->cert_file == NULL) != (opts->key_file == NULL))
        return err_set(err, RC_INVALID, "certificate and key files go together");
    struct tls_server *t = MEM_NEW(struct tls_server);
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->reload_lock, NULL);
    t->tickets = opts->tickets;
    if (opts->cert_file != NULL) {
        t->cert_file = mem_strdup(opts->cert_file);
        t->key_file = mem_strdup(opts->key_file);
    }
    enum rc rc = encode_alpn(t, opts->alpn);
    if (rc != RC_OK)
        err_set(err, rc, "malformed list of protocols");
    else
        rc = load_first(t, opts, err);
    if (rc != RC_OK)
        tls_server_destroy(&t);
    *out = t;
    return rc;
}

enum rc tls_server_set_extra_cert(struct tls_server *t, const uint8_t *der, size_t len)
{
    X509 *cert = NULL;
    if (len > 0) {
        const unsigned char *p = der;
        cert = len <= 64 * 1024 ? d2i_X509(NULL, &p, (long)len) : NULL;
        if (cert == NULL || p != der + len) {
            ERR_clear_error();
            X509_free(cert);
            return RC_INVALID;
        }
    }
    pthread_mutex_lock(&t->lock);
    X509 *old = t->extra;
    t->extra = cert;
    pthread_mutex_unlock(&t->lock);
    X509_free(old);
    return RC_OK;
}

void tls_server_fingerprint(struct tls_server *t, char out[TLS_FINGERPRINT_CAP])
{
    pthread_mutex_lock(&t->lock);
    memcpy(out, t->fingerprint, TLS_FINGERPRINT_CAP);
    pthread_mutex_unlock(&t->lock);
}

SSL *tls_server_new_ssl(struct tls_server *t)
{
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->lock);
    return ssl;
}

void tls_server_destroy(struct tls_server **at)
{
    struct tls_server *t = *at;
    *at = NULL;
    if (t == NULL)
        return;
    loop_timer_destroy(&t->watch);
    SSL_CTX_free(t->ctx);
    SSL_CTX_free(t->next);
    X509_free(t->extra);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->reload_lock);
    mem_free(t->cert_file);
    mem_free(t->key_file);
    mem_free(t);
}
