/* The field's keys, each its own type so that they cannot be swapped, with their text forms.
 * Any thread. Pure, apart from private_key_load_or_create and private_key_check, which read files.
 * src: docs/protocol/control.md 1 (checked against tailscale 1.80-1.103); tests/vectors/keys.json */
#ifndef CRYPTO_KEYS_H
#define CRYPTO_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { KEY_BYTES = 32 };

/* clang-format off */
typedef struct { uint8_t b[KEY_BYTES]; } machine_key; /* X25519 public, "mkey:" */
typedef struct { uint8_t b[KEY_BYTES]; } node_key;    /* X25519 public, "nodekey:" */
typedef struct { uint8_t b[KEY_BYTES]; } disco_key;   /* X25519 public, "discokey:" */
typedef struct { uint8_t b[KEY_BYTES]; } nl_key;      /* Ed25519 public, "nlpub:" (also parsed: "tlpub:") */
typedef struct { uint8_t b[KEY_BYTES]; } challenge_key; /* X25519 public, "chalpub:" */
typedef struct { uint8_t b[KEY_BYTES]; } private_key; /* X25519 private, clamped, "privkey:"; wipe after use */
/* clang-format on */

/* Room for the longest text with its NUL. */
#define KEY_TEXT_CAP 80
/* Room for "[AbCdE]" or "d:0123456789abcdef" with its NUL. */
#define KEY_SHORT_CAP 24

/* Writes the prefix and 64 lower-case hex digits, NUL-terminated. */
void machine_key_format(const machine_key *k, char out[KEY_TEXT_CAP]);
void node_key_format(const node_key *k, char out[KEY_TEXT_CAP]);
void disco_key_format(const disco_key *k, char out[KEY_TEXT_CAP]);
void nl_key_format(const nl_key *k, char out[KEY_TEXT_CAP]);
void challenge_key_format(const challenge_key *k, char out[KEY_TEXT_CAP]);
void private_key_format(const private_key *k, char out[KEY_TEXT_CAP]);

/* Exact prefix, 64 hex digits of either case, nothing else; RC_INVALID otherwise. */
MUST_CHECK enum rc machine_key_parse(struct str text, machine_key *out);
MUST_CHECK enum rc node_key_parse(struct str text, node_key *out);
MUST_CHECK enum rc disco_key_parse(struct str text, disco_key *out);
MUST_CHECK enum rc nl_key_parse(struct str text, nl_key *out);
MUST_CHECK enum rc private_key_parse(struct str text, private_key *out);

/* For logs: '[' + five base64 characters + ']'; disco: "d:" + 16 hex digits. */
void machine_key_short(const machine_key *k, char out[KEY_SHORT_CAP]);
void node_key_short(const node_key *k, char out[KEY_SHORT_CAP]);
void disco_key_short(const disco_key *k, char out[KEY_SHORT_CAP]);

/* Whether two keys of one kind are the same: keys_equal(a.b, b.b). Not constant-time: for public keys. */
bool keys_equal(const uint8_t a[KEY_BYTES], const uint8_t b[KEY_BYTES]);
/* Whether all 32 bytes are zero: "no key". */
bool key_is_zero(const uint8_t k[KEY_BYTES]);

/* A clamped X25519 private key made of 32 random bytes. */
void private_key_from_bytes(const uint8_t random[KEY_BYTES], private_key *out);
/* The public half, as raw bytes: copy into the type it is meant for. */
void private_key_public(const private_key *k, uint8_t out[KEY_BYTES]);

/* Reads a key file ("privkey:" + hex, white space around it allowed), or makes one, mode 0600, synced to disk with its
 * directory, when there is none. Permissions of other users are taken from the file, with a line in the log; RC_DENIED
 * when the file belongs to another user. Blocks. RC_INVALID for a file that holds no key (never overwritten), RC_IO. */
MUST_CHECK enum rc private_key_load_or_create(const char *path, private_key *out, struct err *err);
/* Checks what private_key_load_or_create would load, without making anything. RC_OK, RC_NOT_FOUND (a key would be
 * made), RC_IO, RC_INVALID. */
MUST_CHECK enum rc private_key_check(const char *path, struct err *err);

#endif
