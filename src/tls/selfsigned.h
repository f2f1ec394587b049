/* A self-signed certificate for a relay that has no real one; clients pin it by its SHA-256.
 * ECDSA P-256, valid for one year, made anew when less than 30 days are left.
 * src: tailscale 1.102 cmd/derper (self-signed for an IP host), DERPNode.CertName "sha256-raw:" */
#ifndef TLS_SELFSIGNED_H
#define TLS_SELFSIGNED_H

#include <stdint.h>

#include "base/buf.h"
#include "base/rc.h"
#include "tls/tls.h"

/* Makes one for `host` (a DNS name or an IP address, which becomes the SAN); `now_s` is Unix time. Both outputs are
 * appended as PEM; `key_pem` is secret. RC_INVALID for a host that fits no certificate; RC_CRYPTO. */
MUST_CHECK enum rc selfsigned_make(const char *host, int64_t now_s, struct buf *cert_pem, struct buf *key_pem);

/* Uses the pair at these paths, or makes and saves one (mode 0600, written aside and renamed) when there is none, it is
 * for another host, does not fit together, or ends within 30 days. `fingerprint` gets the SHA-256 of the DER in
 * lower-case hex.
 * `*made_out` says whether it is new; may be null. RC_IO, RC_DENIED with the reason in `err` (may be null). Blocks on
 * files. */
MUST_CHECK enum rc selfsigned_ensure(const char *cert_path, const char *key_path, const char *host, int64_t now_s,
                                     char fingerprint[TLS_FINGERPRINT_CAP], bool *made_out, struct err *err);

#endif
