/* The cipher of the control connection ("ts2021"): Noise_IK_25519_ChaChaPoly_BLAKE2s with Tailscale's prologue, headers
 * and transport records. Pure: keys, ephemeral randomness and bytes come in as arguments; no sockets, no clock.
 * Any thread; nothing blocks. crypto_init comes first.
 * src: Noise Protocol Framework rev. 34; docs/protocol/control.md 3.4, 3.5 (checked against tailscale 1.80-1.103,
 * control/controlbase); tests/vectors/noise_ik_handshake.json */
#ifndef PROTO_NOISE_H
#define PROTO_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "crypto/crypto.h"
#include "crypto/keys.h"

enum {
    NOISE_INITIATION_BYTES = 101, /* message 1: version, type, length, e, sealed s, tag */
    NOISE_RESPONSE_BYTES = 51,    /* message 2: type, length, e, tag */
    NOISE_HEADER_BYTES = 3,       /* of message 2, error frame and record: type, big-endian length */
    NOISE_ERROR_TEXT_MAX = 1024,  /* longest error text that we write or take from a server */
    NOISE_RECORD_MAX = 4096,      /* a whole record; the peer hangs up on a larger one */
    NOISE_PLAIN_MAX = NOISE_RECORD_MAX - NOISE_HEADER_BYTES - AEAD_TAG_BYTES, /* 4077 */
};

/* What a finished handshake gives. The keys are secrets: noise_result_wipe once they are in use. */
struct noise_result {
    machine_key peer; /* the peer's key: the peer holds its private half, but need not be registered */
    uint16_t version; /* the client's protocol (capability) version; any value, judged by the caller */
    uint8_t handshake_hash[32];
    uint8_t client_to_server[32]; /* transport keys */
    uint8_t server_to_client[32];
    uint8_t response[NOISE_RESPONSE_BYTES]; /* responder only: what to send back */
};
/* Overwrites the keys. */
void noise_result_wipe(struct noise_result *r);

/* --- Responder (server) --- */

/* Answers message 1. `ephemeral`: 32 fresh random bytes, used for this call only.
 * RC_INVALID: not a message 1 (size, type or length): send an error frame, close. RC_CRYPTO: sealed for another server
 * or tampered with, or a low-order point: close without a word. `out` is zero after an error. Costs six X25519
 * operations before anything is known of the sender: limit the rate per address. */
MUST_CHECK enum rc noise_respond(const private_key *server_static, const uint8_t ephemeral[32], const uint8_t *msg1,
                                 size_t len, struct noise_result *out);

/* Appends an error frame, which may stand in place of message 2. `text` is UTF-8, cut at NOISE_ERROR_TEXT_MAX; it goes
 * to the client's log in clear and unauthenticated, so it never echoes input. */
void noise_append_error(struct buf *out, struct str text);

/* --- Initiator (client; for tests and tools) --- */

/* Secret; the caller's storage. */
struct noise_initiator {
    uint8_t h[32];
    uint8_t ck[32];
    private_key static_key;
    private_key ephemeral;
    machine_key server;
    uint16_t version;
};

/* Writes message 1 for the server with public key `server`. RC_CRYPTO: that key is a low-order point. */
MUST_CHECK enum rc noise_initiate(struct noise_initiator *hs, const private_key *client_static,
                                  const uint8_t ephemeral[32], const machine_key *server, uint16_t version,
                                  uint8_t msg1[NOISE_INITIATION_BYTES]);

/* Reads the server's reply from the start of `in`, which grows from call to call until it is there whole.
 * 1: done, `*used` bytes were the reply (records may follow). 0: needs more. RC_DENIED: an error frame, its text
 * (borrowed from `in`, not trustworthy) in `*error_text`. RC_INVALID: no reply. RC_CRYPTO: the wrong server or tampered
 * with. Anything but 0 ends and wipes the initiator; `out` is zero unless 1. */
MUST_CHECK int noise_initiate_finish(struct noise_initiator *hs, const uint8_t *in, size_t len,
                                     struct noise_result *out, size_t *used, struct str *error_text);
/* Overwrites the secrets; for a handshake that is given up. */
void noise_initiator_wipe(struct noise_initiator *hs);

/* --- Transport records, each direction with its own key and counter. Single-threaded. --- */

struct noise_sealer {
    struct aead *aead; /* owned */
    uint64_t counter;  /* of the next record; UINT64_MAX is never used */
};
/* A sealer with the transport key of its direction; _fini wipes and frees it. */
void noise_sealer_init(struct noise_sealer *s, const uint8_t key[32]);
void noise_sealer_fini(struct noise_sealer *s);
/* Bytes on the wire for `n` bytes of plaintext. */
size_t noise_sealed_len(size_t n);
/* Appends `plain` to `out` as full records and one that may be shorter; nothing (n = 0) makes one empty record, which
 * is legal and carries nothing. RC_LIMIT: not enough counters left; nothing was appended. */
MUST_CHECK enum rc noise_seal(struct noise_sealer *s, const void *plain, size_t n, struct buf *out);

struct noise_opener {
    struct aead *aead;  /* owned */
    uint64_t counter;   /* of the next record */
    struct buf partial; /* an incomplete record's first bytes; owns memory only while there is one */
    enum rc failed;     /* the error after which nothing more is opened */
};
/* An opener with the transport key of its direction; _fini wipes and frees it. */
void noise_opener_init(struct noise_opener *o, const uint8_t key[32]);
void noise_opener_fini(struct noise_opener *o);
/* Takes records from any chunking of the stream: call with the bytes that arrived until it returns 0. Moves `*in` and
 * `*len` past what was taken; an incomplete record is kept inside.
 * 1: one record opened, `*plain_len` bytes (0 is legal) in `plain`. 0: all taken, needs more. RC_INVALID: not a record,
 * or too short to be one. RC_TOO_LARGE: longer than NOISE_RECORD_MAX. RC_CRYPTO: forged. RC_LIMIT: counter used up.
 * Errors last: close the connection. */
MUST_CHECK int noise_open(struct noise_opener *o, const uint8_t **in, size_t *len, uint8_t plain[NOISE_PLAIN_MAX],
                          size_t *plain_len);

#endif
