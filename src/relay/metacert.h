/* The certificate that carries the relay's key inside the TLS handshake, so that a client need not wait for the HTTP
 * answer ("fast start"). The TLS layer appends it to the chain, for TLS 1.3 only.
 * src: docs/protocol/derp-stun.md 1.2; tailscale 1.102 derp/derpserver (initMetacert) */
#ifndef RELAY_METACERT_H
#define RELAY_METACERT_H

#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"

enum { METACERT_CAP_BYTES = 1024 };

/* Writes the DER form: CN "derpkey" + hex of `server_public`, serial 2 (the protocol version), a throw-away Ed25519 key
 * made of `seed` (random), valid from 30 days before to 30 days after `now_s` (Unix time). Pure; RC_CRYPTO when OpenSSL
 * fails. */
MUST_CHECK enum rc metacert_build(const uint8_t server_public[32], const uint8_t seed[32], int64_t now_s,
                                  uint8_t out[METACERT_CAP_BYTES], size_t *len_out);

#endif
