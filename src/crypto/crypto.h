/* Primitives for Noise, DERP and key storage, thin over OpenSSL (AEAD, BLAKE2s; pre-fetched) and libsodium (X25519,
 * box). Call crypto_init once before threads. All others: any thread, no blocking. */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"

/* Ends the process when a library lacks what we need. Idempotent. */
void crypto_init(void);

/* --- BLAKE2s-256, unkeyed, and HKDF over it (RFC 5869 shape, as Noise uses it) --- */
enum { BLAKE2S_BYTES = 32 };
/* The hash of `a` followed by `b`. */
void blake2s(const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[BLAKE2S_BYTES]);
/* HMAC-BLAKE2s-256 of `a` followed by `b`. */
void hmac_blake2s(const uint8_t key[32], const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[32]);
/* salt = chaining key, empty info: two 32-byte outputs. */
void hkdf_blake2s(const uint8_t ck[32], const void *input, size_t input_len, uint8_t out1[32], uint8_t out2[32]);

/* --- ChaCha20-Poly1305 --- */
enum { AEAD_TAG_BYTES = 16, AEAD_NONCE_BYTES = 12 };
struct aead; /* one key, one direction, reused for each record; single-threaded */
/* `seal`: true to encrypt, false to decrypt. */
struct aead *aead_create(const uint8_t key[32], bool seal);
/* Wipes the key. Null is fine; nulls the pointer. */
void aead_destroy(struct aead **a);
/* `out` gets n + 16 bytes; in and out may be the same memory. */
void aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_len, const uint8_t *in,
               size_t n, uint8_t *out);
/* `n` includes the tag; `out` gets n - 16 bytes. RC_CRYPTO: nothing in `out` may be used. */
MUST_CHECK enum rc aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_len,
                             const uint8_t *in, size_t n, uint8_t *out);

/* --- X25519 --- */
/* RC_CRYPTO when the result is all zero (a low-order point). */
MUST_CHECK enum rc x25519(const uint8_t private_key[32], const uint8_t public_key[32], uint8_t out[32]);

/* --- NaCl box (X25519, XSalsa20-Poly1305): nonce || tag || ciphertext, as DERP has it --- */
enum { BOX_NONCE_BYTES = 24, BOX_OVERHEAD = 24 + 16 };
/* `out` gets n + BOX_OVERHEAD bytes. RC_CRYPTO for a low-order key. */
MUST_CHECK enum rc box_seal(const uint8_t private_key[32], const uint8_t peer_public[32],
                            const uint8_t nonce[BOX_NONCE_BYTES], const void *in, size_t n, uint8_t *out);
/* `n` includes BOX_OVERHEAD; `out` gets n - BOX_OVERHEAD bytes. */
MUST_CHECK enum rc box_open(const uint8_t private_key[32], const uint8_t peer_public[32], const uint8_t *in, size_t n,
                            uint8_t *out);

/* --- SHA-256, SHA-1 (WebSocket accept only), constant-time compare, base64 --- */
/* SHA-256. */
void sha256(const void *in, size_t n, uint8_t out[32]);
/* SHA-1, for the accept key of WebSocket only. */
void sha1(const void *in, size_t n, uint8_t out[20]);
/* Compares `n` bytes in a time that does not depend on them. */
bool secret_equal(const void *a, const void *b, size_t n);
/* Overwrites `n` bytes; the compiler cannot leave it out. */
void secret_wipe(void *p, size_t n);
#define BASE64_CAP(n) (((n) + 2) / 3 * 4 + 1)
/* Standard alphabet with padding; `out` takes BASE64_CAP(n) bytes and is NUL-terminated. */
void base64_encode(const void *in, size_t n, char *out);
/* `url`: the URL alphabet. Padding may be absent. RC_INVALID, or RC_TOO_LARGE when more than `out_cap` bytes result. */
MUST_CHECK enum rc base64_decode(const char *text, size_t len, bool url, uint8_t *out, size_t out_cap, size_t *out_len);

#endif
