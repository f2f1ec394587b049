/* What server.c, stream.c and selfsigned.c share. */
#ifndef TLS_TLS_INTERNAL_H
#define TLS_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/list.h"
#include "tls/tls.h"

/* --- pem.c --- */
/* Appends the whole file, at most 1 MiB. RC_NOT_FOUND, RC_DENIED, RC_TOO_LARGE or RC_IO with the reason in `err`. */
MUST_CHECK enum rc pem_read_file(const char *path, struct buf *out, struct err *err);
/* The leaf and the rest of a chain; the caller frees both. RC_INVALID. */
MUST_CHECK enum rc pem_parse_chain(struct str pem, X509 **leaf_out, STACK_OF(X509) * *rest_out);
/* Never asks for a passphrase. RC_INVALID. */
MUST_CHECK enum rc pem_parse_key(struct str pem, EVP_PKEY **out);
/* The SHA-256 of the certificate's DER in hex. */
void cert_fingerprint(const X509 *cert, char out[TLS_FINGERPRINT_CAP]);
/* The reason on top of OpenSSL's error queue, which is emptied; static text. */
const char *tls_reason(void);

/* --- server.c --- */
/* A new connection with the certificate in use now. */
SSL *tls_server_new_ssl(struct tls_server *t);

/* --- stream.c --- */
/* A server's stream that shakes hands; `acceptor` and `entry` are acceptor.c's until it is ready. */
struct tls_handshake_events {
    void (*ready)(void *ctx, struct stream *s);
    /* The stream closes itself afterwards. */
    void (*failed)(void *ctx, struct stream *s);
};
struct stream *tls_stream_create(struct stream *raw, SSL *ssl, bool is_client,
                                 const struct tls_handshake_events *events, void *ctx);

#endif
