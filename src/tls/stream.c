/* One TLS connection over any stream. OpenSSL reads from the bytes at hand and writes to the stream below through a BIO
 * of our own, so that no ciphertext is buffered here except while the owner pauses. */
#include <assert.h>
#include <openssl/err.h>
#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "tls/tls_internal.h"

LOG_MODULE("tls");
METRIC_COUNTER(handshakes, "fullscale_tls_handshakes_total", "", "TLS handshakes completed by the server.");
METRIC_COUNTER(failures, "fullscale_tls_handshake_failures_total", "reason=\"protocol\"",
               "TLS handshakes that failed, by reason.");
METRIC_COUNTER(left, "fullscale_tls_handshake_failures_total", "reason=\"left\"", "");

enum {
    RECORD_BYTES = 16 * 1024,
    KEEP_OUT_BYTES = 512, /* an idle connection keeps no larger output buffer */
};

struct tls_stream {
    struct stream s;
    struct stream *below; /* owned; null once closed */
    SSL *ssl;
    struct loop_task task;
    struct buf out;   /* the owner's bytes of this iteration */
    struct buf in;    /* ciphertext that came while paused */
    const uint8_t *p; /* ciphertext at hand, borrowed */
    size_t n;
    const struct tls_handshake_events *handshake; /* null once done, and for clients */
    void *handshake_ctx;
    char fingerprint[TLS_FINGERPRINT_CAP]; /* clients: what the server must have; may be empty */
    bool is_client;
    bool is_open; /* the handshake is done */
    bool is_paused;
};

/* Decrypted bytes go up before the next record is read, so a thread needs one. */
static _Thread_local uint8_t record[RECORD_BYTES];

/* --- OpenSSL's side of the streams --- */

static int bio_read(BIO *bio, char *out, int max)
{
    struct tls_stream *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = (size_t)max < t->n ? (size_t)max : t->n;
    memcpy(out, t->p, n);
    t->p += n;
    t->n -= n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    struct tls_stream *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->below != NULL && n > 0)
        stream_write(t->below, p, (size_t)n);
    return n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    assert(bio_method != NULL);
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static BIO *make_bio(struct tls_stream *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    assert(bio != NULL);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- ends --- */

static void end(struct tls_stream *t, enum rc why, bool flush)
{
    const struct tls_handshake_events *handshake = t->handshake;
    t->handshake = NULL;
    stream_close(&t->below, flush);
    if (handshake != NULL)
        handshake->failed(t->handshake_ctx, &t->s);
    else
        stream_emit_closed(&t->s, why);
}

/* What OpenSSL refused; its alert is on its way already. */
static void fail(struct tls_stream *t)
{
    const char *reason = tls_reason();
    log_limited(LOG_DEBUG, "TLS failed", LOG_S("reason", reason));
    if (!t->is_open && !t->is_client)
        metric_inc(&failures);
    end(t, RC_CRYPTO, true);
}

/* --- reading --- */

static bool is_expected_peer(struct tls_stream *t)
{
    if (t->fingerprint[0] == '\0')
        return true;
    char got[TLS_FINGERPRINT_CAP] = "";
    X509 *cert = SSL_get1_peer_certificate(t->ssl);
    if (cert != NULL)
        cert_fingerprint(cert, got);
    X509_free(cert);
    return strcmp(got, t->fingerprint) == 0;
}

static void became_open(struct tls_stream *t)
{
    t->is_open = true;
    if (t->is_client) {
        if (!is_expected_peer(t))
            fail(t);
        else if (buf_len(&t->out) > 0)
            loop_defer(t->s.loop, &t->task);
        return;
    }
    metric_inc(&handshakes);
    const struct tls_handshake_events *handshake = t->handshake;
    t->handshake = NULL;
    handshake->ready(t->handshake_ctx, &t->s);
}

static void shake_hands(struct tls_stream *t)
{
    ERR_clear_error();
    int rv = SSL_do_handshake(t->ssl);
    if (rv == 1)
        became_open(t);
    else if (SSL_get_error(t->ssl, rv) != SSL_ERROR_WANT_READ)
        fail(t);
}

/* Returns true when there may be more to read. */
static bool read_record(struct tls_stream *t)
{
    ERR_clear_error();
    int n = SSL_read(t->ssl, record, sizeof(record));
    if (n > 0)
        return stream_emit_data(&t->s, record, (size_t)n);
    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ: break;
    case SSL_ERROR_ZERO_RETURN: end(t, RC_CLOSED, true); break;
    default: fail(t);
    }
    return false;
}

static void read_bytes(struct tls_stream *t)
{
    if (!t->is_open)
        shake_hands(t);
    bool more = t->is_open;
    while (more && !t->is_paused && !t->s.is_dead)
        more = read_record(t);
}

static void below_data(void *ctx, const uint8_t *p, size_t n)
{
    struct tls_stream *t = ctx;
    if (buf_len(&t->in) > 0 || (t->is_paused && t->is_open)) {
        buf_append(&t->in, p, n);
        return;
    }
    t->p = p;
    t->n = n;
    read_bytes(t);
    if (t->n > 0 && !t->s.is_dead)
        buf_append(&t->in, t->p, t->n);
    t->p = NULL;
    t->n = 0;
}

/* Reads what came during a pause; OpenSSL itself may hold a record or two as well. */
static void read_kept(struct tls_stream *t)
{
    struct buf in = {0};
    buf_move(&in, &t->in);
    if (buf_len(&in) > 0) {
        t->p = buf_at(&in);
        t->n = buf_len(&in);
    }
    read_bytes(t);
    if (t->n > 0 && !t->s.is_dead)
        buf_append(&t->in, t->p, t->n);
    t->p = NULL;
    t->n = 0;
    buf_fini(&in);
}

/* --- writing --- */

static bool write_out(struct tls_stream *t)
{
    if (!t->is_open || buf_len(&t->out) == 0)
        return true;
    ERR_clear_error();
    size_t written = 0;
    bool ok = SSL_write_ex(t->ssl, buf_at(&t->out), buf_len(&t->out), &written) == 1 && written == buf_len(&t->out);
    buf_clear(&t->out);
    buf_reset(&t->out, KEEP_OUT_BYTES);
    return ok;
}

static void run_task(struct loop_task *task)
{
    struct tls_stream *t = CONTAINER_OF(task, struct tls_stream, task);
    if (t->s.is_dead)
        return;
    if (!write_out(t)) {
        fail(t);
        return;
    }
    stream_check_drained(&t->s);
    if (!t->is_paused && !t->s.is_dead && (buf_len(&t->in) > 0 || SSL_has_pending(t->ssl)))
        read_kept(t);
}

static void below_drained(void *ctx)
{
    struct tls_stream *t = ctx;
    stream_check_drained(&t->s);
}

static void below_closed(void *ctx, enum rc why)
{
    struct tls_stream *t = ctx;
    if (!t->is_open && !t->is_client)
        metric_inc(&left);
    end(t, why, false);
}

/* --- the stream --- */

static void ops_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct tls_stream *t = (struct tls_stream *)s;
    buf_append(&t->out, p, n);
    loop_defer(s->loop, &t->task);
}

static size_t ops_queued(const struct stream *s)
{
    const struct tls_stream *t = (const struct tls_stream *)s;
    return buf_len(&t->out) + (t->below != NULL ? stream_queued(t->below) : 0);
}

static void ops_pause(struct stream *s, bool paused)
{
    struct tls_stream *t = (struct tls_stream *)s;
    t->is_paused = paused;
    stream_pause(t->below, paused);
    if (!paused)
        loop_defer(s->loop, &t->task);
}

static void free_now(void *obj)
{
    struct tls_stream *t = obj;
    loop_defer_cancel(&t->task);
    SSL_free(t->ssl);
    buf_fini(&t->out);
    buf_fini(&t->in);
    mem_free(t);
}

static void ops_close(struct stream *s, bool flush)
{
    struct tls_stream *t = (struct tls_stream *)s;
    t->handshake = NULL;
    if (flush && t->below != NULL && t->is_open && write_out(t)) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl);
    }
    stream_close(&t->below, flush);
    loop_free_later(s->loop, t, free_now);
}

static const struct stream_ops ops = {ops_write, ops_queued, ops_pause, ops_close};

struct stream *tls_stream_create(struct stream *raw, SSL *ssl, bool is_client,
                                 const struct tls_handshake_events *handshake, void *ctx)
{
    static const struct stream_events events = {below_data, below_drained, below_closed};
    struct tls_stream *t = MEM_NEW(struct tls_stream);
    stream_init(&t->s, &ops, raw->loop, raw);
    t->s.is_tls = true;
    t->below = raw;
    t->ssl = ssl;
    t->task.run = run_task;
    t->is_client = is_client;
    t->handshake = handshake;
    t->handshake_ctx = ctx;
    BIO *bio = make_bio(t);
    SSL_set_bio(ssl, bio, bio);
    stream_set_events(raw, &events, t);
    if (is_client) {
        SSL_set_connect_state(ssl);
        ERR_clear_error();
        (void)SSL_do_handshake(ssl); /* sends the first message; the rest comes with the answer */
    } else {
        SSL_set_accept_state(ssl);
    }
    return &t->s;
}

struct str tls_stream_alpn(const struct stream *s)
{
    const unsigned char *name = NULL;
    unsigned len = 0;
    if (s->ops == &ops)
        SSL_get0_alpn_selected(((const struct tls_stream *)s)->ssl, &name, &len);
    return len > 0 ? str_n(name, len) : STR_EMPTY;
}

/* --- clients --- */

static void set_client_alpn(SSL *ssl, const char *const *names)
{
    uint8_t wire[256];
    unsigned len = 0;
    for (; names != NULL && *names != NULL; names++) {
        size_t n = strlen(*names);
        assert(n > 0 && len + 1 + n <= sizeof(wire));
        wire[len++] = (uint8_t)n;
        memcpy(wire + len, *names, n);
        len += (unsigned)n;
    }
    if (len > 0)
        SSL_set_alpn_protos(ssl, wire, len);
}

static X509_STORE *authorities;

static void load_authorities(void)
{
    authorities = X509_STORE_new();
    assert(authorities != NULL);
    if (X509_STORE_set_default_paths(authorities) != 1)
        log_warn("cannot read the certificate authorities of the system", LOG_S("reason", tls_reason()));
}

/* The handshake fails unless the certificate is for `host`. */
static void verify_host(SSL *ssl, const char *host)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct addr ip;
    pthread_once(&once, load_authorities);
    SSL_set1_verify_cert_store(ssl, authorities);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool is_ip = addr_parse_ip(str_c(host), &ip) == RC_OK;
    int ok = is_ip ? X509_VERIFY_PARAM_set1_ip(param, ip.ip, ip.family == 4 ? 4 : 16)
                   : X509_VERIFY_PARAM_set1_host(param, host, 0);
    assert(ok == 1);
    (void)ok;
}

static SSL_CTX *client_ctx;

static void make_client_ctx(void)
{
    client_ctx = SSL_CTX_new(TLS_client_method());
    assert(client_ctx != NULL);
    SSL_CTX_set_mode(client_ctx, SSL_MODE_RELEASE_BUFFERS);
}

/* All share one context: it is most of a client's memory. */
struct stream *tls_client_create(struct stream *raw, const struct tls_client_opts *opts)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_client_ctx);
    SSL *ssl = SSL_new(client_ctx);
    assert(ssl != NULL);
    SSL_set_max_proto_version(ssl, opts->max_version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    if (opts->verify_host != NULL)
        verify_host(ssl, opts->verify_host);
    if (opts->server_name != NULL)
        SSL_set_tlsext_host_name(ssl, opts->server_name);
    set_client_alpn(ssl, opts->alpn);
    struct stream *s = tls_stream_create(raw, ssl, true, NULL, NULL);
    struct tls_stream *t = (struct tls_stream *)s;
    if (opts->fingerprint != NULL)
        snprintf(t->fingerprint, sizeof(t->fingerprint), "%s", opts->fingerprint);
    return s;
}

size_t tls_client_peer_certs(const struct stream *s)
{
    assert(s->ops == &ops);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(((const struct tls_stream *)s)->ssl);
    return chain != NULL ? (size_t)sk_X509_num(chain) : 0;
}

size_t tls_client_peer_cert_der(const struct stream *s, size_t i, uint8_t *out, size_t out_cap)
{
    if (i >= tls_client_peer_certs(s))
        return 0;
    X509 *cert = sk_X509_value(SSL_get_peer_cert_chain(((const struct tls_stream *)s)->ssl), (int)i);
    int n = i2d_X509(cert, NULL);
    if (n <= 0 || (size_t)n > out_cap)
        return 0;
    unsigned char *p = out;
    return (size_t)i2d_X509(cert, &p);
}
