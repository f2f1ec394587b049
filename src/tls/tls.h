/* TLS as a stream layer (OpenSSL): the server's certificate, kept up to date, and the handshake.
 *
 * A `tls_server` is shared by all workers: any thread. A `tls_acceptor` belongs to one loop: it does the handshakes of
 * accepted streams and hands over those that succeed. TLS 1.2 and 1.3; AES-128-GCM first, ChaCha20 for clients that
 * prefer it. What the owner writes in one iteration leaves in as few records as possible. */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"
#include "base/str.h"
#include "net/stream.h"
#include "net/tcp.h"

struct tls_server;

#define TLS_FINGERPRINT_CAP 65

struct tls_server_opts {
    /* Either both files (PEM; the certificate's file holds the chain, leaf first), watched and reloaded... */
    const char *cert_file;
    const char *key_file;
    /* ...or both texts (PEM), when no files are given. */
    struct str cert_pem;
    struct str key_pem;
    /* Protocols in order of preference, e.g. {"h2", "http/1.1", NULL}; null: none is ever selected. A client that
     * offers none gets none; one that offers only others is served without (src: tailscale 1.102 control/controlhttp,
     * derp/derphttp). */
    const char *const *alpn;
    unsigned tickets; /* per handshake; 0 none. Go clients without a session cache waste them */
};

/* Makes a server context with its certificate. RC_NOT_FOUND, RC_INVALID (not PEM, or key and certificate differ) or
 * RC_IO with the reason in `err` (may be null). Reads files. */
MUST_CHECK enum rc tls_server_create(const struct tls_server_opts *opts, struct tls_server **out, struct err *err);
/* Reads the files again. On failure the old certificate stays, and an error is logged. Reads files. */
MUST_CHECK enum rc tls_server_reload(struct tls_server *t, struct err *err);
/* Reads the files into a certificate that is not used yet, and returns its fingerprint (tls_server_use_prepared is the
 * second step): for a certificate that must be announced before it is served. Errors as tls_server_create; on failure
 * the one prepared before is kept. Reads files. */
MUST_CHECK enum rc tls_server_prepare(struct tls_server *t, char fingerprint_out[TLS_FINGERPRINT_CAP], struct err *err);
/* True, with its fingerprint, when a certificate is prepared. */
bool tls_server_prepared(struct tls_server *t, char fingerprint_out[TLS_FINGERPRINT_CAP]);
/* Serves the prepared certificate from now on, if it has this fingerprint; connections keep theirs. Any thread, never
 * blocks on files. */
void tls_server_use_prepared(struct tls_server *t, const char *fingerprint);
/* Reloads when a file's time, size or inode changed since the last look; logs the outcome. Blocks on stat only. */
void tls_server_check_files(struct tls_server *t);
/* Calls tls_server_check_files every `every_ms` on this loop, until destroyed. */
void tls_server_watch(struct tls_server *t, struct loop *loop, int64_t every_ms);
/* A certificate (DER) appended after the chain in TLS 1.3 handshakes, or none with len 0: DERP's metacert.
 * RC_INVALID when it is no certificate. */
MUST_CHECK enum rc tls_server_set_extra_cert(struct tls_server *t, const uint8_t *der, size_t len);
/* SHA-256 of the leaf certificate's DER, in lower-case hex, terminated: `sha256-raw:` in a DERP map. */
void tls_server_fingerprint(struct tls_server *t, char out[TLS_FINGERPRINT_CAP]);
/* After all acceptors are destroyed; streams may live on. Null is fine. */
void tls_server_destroy(struct tls_server **t);

/* What a certificate is good for. */
struct tls_pair {
    bool is_for_host; /* as clients check it: by the alternative names, not by the subject */
    char names[256];  /* those alternative names, "a.example, b.example..." */
    int64_t begins_s; /* Unix time */
    int64_t ends_s;
};
/* Reads the pair as tls_server_create would; the same errors. `host`: a DNS name or an address. Reads files. */
MUST_CHECK enum rc tls_pair_look(const char *cert_file, const char *key_file, const char *host, struct tls_pair *out,
                                 struct err *err);

struct tls_acceptor;

/* `ready` gets each stream whose handshake is done and owns it. Handshakes have 10 s. `t` is borrowed. */
struct tls_acceptor *tls_acceptor_create(struct loop *loop, struct tls_server *t, tcp_accept_fn ready, void *ctx);
/* Takes over an accepted stream. A tcp_accept_fn: `acceptor` is a struct tls_acceptor. */
void tls_acceptor_take(void *acceptor, struct stream *raw);
/* Drops handshakes under way. Null is fine. */
void tls_acceptor_destroy(struct tls_acceptor **a);
/* Drops handshakes that are too old; what the acceptor's timer does, public for tests. */
void tls_acceptor_sweep(struct tls_acceptor *a, int64_t now_ms);

/* The protocol agreed on by ALPN, or an empty string; also for streams that are not TLS. Static or borrowed from `s`.
 */
struct str tls_stream_alpn(const struct stream *s);

/* --- client side --- */
struct tls_client_opts {
    const char *server_name; /* SNI; null: none */
    const char *const *alpn; /* ends with null; null: none */
    const char *fingerprint; /* the leaf must have it (lower-case hex SHA-256); null: anything is accepted, unless... */
    /* ...the certificate must be for this name or address, and come from an authority of the system: those that
     * SSL_CERT_FILE and SSL_CERT_DIR name, else the distribution's. They are read once per process. Null: not asked for
     */
    const char *verify_host;
    int max_version; /* 12 or 13; 0: 13 */
};
/* Takes over `raw`. What is written before the handshake is done waits. A failed handshake is `closed` with RC_CRYPTO.
 */
struct stream *tls_client_create(struct stream *raw, const struct tls_client_opts *opts);
/* How many certificates the server presented; 0 while the handshake is under way. Client streams only. */
size_t tls_client_peer_certs(const struct stream *s);
/* Writes the DER of certificate `i` (the leaf is 0) and returns its length; 0: there is none, or `out` is too small. */
size_t tls_client_peer_cert_der(const struct stream *s, size_t i, uint8_t *out, size_t out_cap);

#endif
