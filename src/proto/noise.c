#include "proto/noise.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/metric.h"

METRIC_COUNTER(handshakes_done, "fullscale_noise_handshakes_total", "", "Noise handshakes that were answered.");
METRIC_COUNTER(handshakes_malformed, "fullscale_noise_handshake_failures_total", "reason=\"malformed\"",
               "Noise handshakes that failed.");
METRIC_COUNTER(handshakes_low_order, "fullscale_noise_handshake_failures_total", "reason=\"low_order\"", "");
METRIC_COUNTER(handshakes_forged, "fullscale_noise_handshake_failures_total", "reason=\"crypto\"", "");
METRIC_COUNTER(records_malformed, "fullscale_noise_records_refused_total", "reason=\"malformed\"",
               "Noise records that ended their connection.");
METRIC_COUNTER(records_too_large, "fullscale_noise_records_refused_total", "reason=\"too_large\"", "");
METRIC_COUNTER(records_forged, "fullscale_noise_records_refused_total", "reason=\"crypto\"", "");

/* src: tailscale 1.102 control/controlbase/messages.go */
enum frame_type { FRAME_INITIATION = 1, FRAME_RESPONSE = 2, FRAME_ERROR = 3, FRAME_RECORD = 4 };

enum {
    HASH_BYTES = 32,
    SEALED_KEY_BYTES = KEY_BYTES + AEAD_TAG_BYTES,
    INITIATION_HEADER_BYTES = 5,
    INITIATION_BODY_BYTES = KEY_BYTES + SEALED_KEY_BYTES + AEAD_TAG_BYTES,
    RESPONSE_BODY_BYTES = KEY_BYTES + AEAD_TAG_BYTES,
};
_Static_assert(INITIATION_HEADER_BYTES + INITIATION_BODY_BYTES == NOISE_INITIATION_BYTES, "message 1");
_Static_assert(NOISE_HEADER_BYTES + RESPONSE_BODY_BYTES == NOISE_RESPONSE_BYTES, "message 2");

static void put_u16be(uint8_t *at, size_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static void put_header(uint8_t *at, enum frame_type type, size_t body_len)
{
    at[0] = (uint8_t)type;
    put_u16be(at + 1, body_len);
}

/* --- The symmetric state. src: Noise Protocol Framework rev. 34 5.2; names as there --- */

struct symmetric {
    uint8_t h[HASH_BYTES];
    uint8_t ck[HASH_BYTES];
    uint8_t k[32]; /* used once, with nonce 0: each pattern token that seals is preceded by one that makes a new k */
};

static const uint8_t nonce_zero[AEAD_NONCE_BYTES];

static void mix_hash(struct symmetric *s, const void *data, size_t len)
{
    blake2s(s->h, sizeof(s->h), data, len, s->h);
}

static void mix_key(struct symmetric *s, const uint8_t input[32])
{
    hkdf_blake2s(s->ck, input, 32, s->ck, s->k);
}

static MUST_CHECK enum rc mix_dh(struct symmetric *s, const private_key *ours, const uint8_t theirs[KEY_BYTES])
{
    uint8_t dh[32];
    if (x25519(ours->b, theirs, dh) != RC_OK) {
        metric_inc(&handshakes_low_order);
        return RC_CRYPTO;
    }
    mix_key(s, dh);
    secret_wipe(dh, sizeof(dh));
    return RC_OK;
}

/* `out` gets n + 16 bytes. */
static void encrypt_and_hash(struct symmetric *s, const uint8_t *plain, size_t n, uint8_t *out)
{
    struct aead *a = aead_create(s->k, true);
    aead_seal(a, nonce_zero, s->h, sizeof(s->h), plain, n, out);
    aead_destroy(&a);
    mix_hash(s, out, n + AEAD_TAG_BYTES);
}

/* `n` includes the tag. */
static MUST_CHECK enum rc decrypt_and_hash(struct symmetric *s, const uint8_t *sealed, size_t n, uint8_t *out)
{
    struct aead *a = aead_create(s->k, false);
    enum rc rc = aead_open(a, nonce_zero, s->h, sizeof(s->h), sealed, n, out);
    aead_destroy(&a);
    if (rc == RC_OK)
        mix_hash(s, sealed, n);
    else
        metric_inc(&handshakes_forged);
    return rc;
}

static void split(const struct symmetric *s, struct noise_result *out)
{
    memcpy(out->handshake_hash, s->h, sizeof(s->h));
    hkdf_blake2s(s->ck, NULL, 0, out->client_to_server, out->server_to_client);
}

/* The name and the prologue are public and the pre-message is the server's key. */
static void initialize(struct symmetric *s, uint16_t version, const uint8_t server_public[KEY_BYTES])
{
    static const char name[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
    char prologue[48];
    int n = snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%u", version);
    blake2s(name, sizeof(name) - 1, NULL, 0, s->h);
    memcpy(s->ck, s->h, sizeof(s->ck));
    mix_hash(s, prologue, (size_t)n);
    mix_hash(s, server_public, KEY_BYTES);
}

/* --- Responder --- */

void noise_result_wipe(struct noise_result *r)
{
    secret_wipe(r, sizeof(*r));
}

/* Each part of the header has one legal value, except the version. */
static bool is_initiation(const uint8_t *msg, size_t len)
{
    if (len != NOISE_INITIATION_BYTES)
        return false;
    struct cursor c = cursor_of(msg + 2, INITIATION_HEADER_BYTES - 2);
    return cursor_u8(&c) == FRAME_INITIATION && cursor_u16be(&c) == INITIATION_BODY_BYTES;
}

static MUST_CHECK enum rc consume_initiation(struct symmetric *s, const private_key *server_static,
                                             const uint8_t *e_remote, machine_key *peer)
{
    const uint8_t *sealed_static = e_remote + KEY_BYTES;
    const uint8_t *sealed_nothing = sealed_static + SEALED_KEY_BYTES;

    /* e */
    mix_hash(s, e_remote, KEY_BYTES);
    /* es */
    TRY(mix_dh(s, server_static, e_remote));
    /* s */
    TRY(decrypt_and_hash(s, sealed_static, SEALED_KEY_BYTES, peer->b));
    /* ss */
    TRY(mix_dh(s, server_static, peer->b));
    /* {} */
    return decrypt_and_hash(s, sealed_nothing, AEAD_TAG_BYTES, NULL);
}

static MUST_CHECK enum rc create_response(struct symmetric *s, const private_key *ephemeral, const uint8_t *e_remote,
                                          const machine_key *peer, uint8_t msg2[NOISE_RESPONSE_BYTES])
{
    uint8_t *e = msg2 + NOISE_HEADER_BYTES;
    put_header(msg2, FRAME_RESPONSE, RESPONSE_BODY_BYTES);

    /* e */
    private_key_public(ephemeral, e);
    mix_hash(s, e, KEY_BYTES);
    /* ee */
    TRY(mix_dh(s, ephemeral, e_remote));
    /* se */
    TRY(mix_dh(s, ephemeral, peer->b));
    /* {} */
    encrypt_and_hash(s, NULL, 0, e + KEY_BYTES);
    return RC_OK;
}

static MUST_CHECK enum rc respond(struct symmetric *s, const private_key *server_static, const private_key *ephemeral,
                                  const uint8_t *msg1, struct noise_result *out)
{
    const uint8_t *e_remote = msg1 + INITIATION_HEADER_BYTES;
    uint8_t server_public[KEY_BYTES];
    out->version = (uint16_t)(msg1[0] << 8 | msg1[1]);
    private_key_public(server_static, server_public);
    initialize(s, out->version, server_public);
    TRY(consume_initiation(s, server_static, e_remote, &out->peer));
    TRY(create_response(s, ephemeral, e_remote, &out->peer, out->response));
    split(s, out);
    return RC_OK;
}

enum rc noise_respond(const private_key *server_static, const uint8_t ephemeral[32], const uint8_t *msg1, size_t len,
                      struct noise_result *out)
{
    *out = (struct noise_result){0};
    if (!is_initiation(msg1, len)) {
        metric_inc(&handshakes_malformed);
        return RC_INVALID;
    }
    struct noise_result result = {0};
    struct symmetric s;
    private_key e;
    private_key_from_bytes(ephemeral, &e);
    enum rc rc = respond(&s, server_static, &e, msg1, &result);
    if (rc == RC_OK) {
        *out = result;
        metric_inc(&handshakes_done);
    }
    secret_wipe(&s, sizeof(s));
    secret_wipe(&e, sizeof(e));
    noise_result_wipe(&result);
    return rc;
}

void noise_append_error(struct buf *out, struct str text)
{
    size_t n = text.len;
    if (n > NOISE_ERROR_TEXT_MAX) {
        n = NOISE_ERROR_TEXT_MAX;
        while (n > 0 && ((uint8_t)text.p[n] & 0xc0) == 0x80) /* not in the middle of a character */
            n--;
    }
    put_header(buf_reserve(out, NOISE_HEADER_BYTES), FRAME_ERROR, n);
    buf_commit(out, NOISE_HEADER_BYTES);
    buf_append(out, text.p, n);
}

/* --- Initiator --- */

void noise_initiator_wipe(struct noise_initiator *hs)
{
    secret_wipe(hs, sizeof(*hs));
}

static MUST_CHECK enum rc create_initiation(struct symmetric *s, const struct noise_initiator *hs,
                                            uint8_t msg1[NOISE_INITIATION_BYTES])
{
    uint8_t *e = msg1 + INITIATION_HEADER_BYTES;
    uint8_t *sealed_static = e + KEY_BYTES;
    uint8_t *sealed_nothing = sealed_static + SEALED_KEY_BYTES;
    uint8_t static_public[KEY_BYTES];
    put_u16be(msg1, hs->version);
    put_header(msg1 + 2, FRAME_INITIATION, INITIATION_BODY_BYTES);
    private_key_public(&hs->static_key, static_public);

    /* e */
    private_key_public(&hs->ephemeral, e);
    mix_hash(s, e, KEY_BYTES);
    /* es */
    TRY(mix_dh(s, &hs->ephemeral, hs->server.b));
    /* s */
    encrypt_and_hash(s, static_public, KEY_BYTES, sealed_static);
    /* ss */
    TRY(mix_dh(s, &hs->static_key, hs->server.b));
    /* {} */
    encrypt_and_hash(s, NULL, 0, sealed_nothing);
    return RC_OK;
}

enum rc noise_initiate(struct noise_initiator *hs, const private_key *client_static, const uint8_t ephemeral[32],
                       const machine_key *server, uint16_t version, uint8_t msg1[NOISE_INITIATION_BYTES])
{
    *hs = (struct noise_initiator){.static_key = *client_static, .server = *server, .version = version};
    private_key_from_bytes(ephemeral, &hs->ephemeral);
    struct symmetric s;
    initialize(&s, version, server->b);
    enum rc rc = create_initiation(&s, hs, msg1);
    memcpy(hs->h, s.h, sizeof(hs->h));
    memcpy(hs->ck, s.ck, sizeof(hs->ck));
    if (rc != RC_OK)
        noise_initiator_wipe(hs);
    secret_wipe(&s, sizeof(s));
    return rc;
}

static MUST_CHECK enum rc consume_response(struct symmetric *s, const struct noise_initiator *hs,
                                           const uint8_t *e_remote)
{
    /* e */
    mix_hash(s, e_remote, KEY_BYTES);
    /* ee */
    TRY(mix_dh(s, &hs->ephemeral, e_remote));
    /* se */
    TRY(mix_dh(s, &hs->static_key, e_remote));
    /* {} */
    return decrypt_and_hash(s, e_remote + KEY_BYTES, AEAD_TAG_BYTES, NULL);
}

static MUST_CHECK enum rc finish(const struct noise_initiator *hs, const uint8_t *body, struct noise_result *out)
{
    struct symmetric s = {0};
    memcpy(s.h, hs->h, sizeof(s.h));
    memcpy(s.ck, hs->ck, sizeof(s.ck));
    enum rc rc = consume_response(&s, hs, body);
    if (rc == RC_OK) {
        out->peer = hs->server;
        out->version = hs->version;
        split(&s, out);
    }
    secret_wipe(&s, sizeof(s));
    return rc;
}

/* 1 when a whole reply stands in `in`: its type and body. */
static int read_reply(const uint8_t *in, size_t len, enum frame_type *type, struct str *body)
{
    if (len == 0)
        return 0;
    if (in[0] != FRAME_RESPONSE && in[0] != FRAME_ERROR)
        return RC_INVALID;
    if (len < NOISE_HEADER_BYTES)
        return 0;
    *type = (enum frame_type)in[0];
    *body = str_n(in + NOISE_HEADER_BYTES, (size_t)(in[1] << 8 | in[2]));
    if (*type == FRAME_RESPONSE && body->len != RESPONSE_BODY_BYTES)
        return RC_INVALID;
    if (*type == FRAME_ERROR && body->len > NOISE_ERROR_TEXT_MAX)
        return RC_INVALID;
    return len - NOISE_HEADER_BYTES >= body->len;
}

int noise_initiate_finish(struct noise_initiator *hs, const uint8_t *in, size_t len, struct noise_result *out,
                          size_t *used, struct str *error_text)
{
    enum frame_type type = FRAME_RESPONSE;
    struct str body = STR_EMPTY;
    *out = (struct noise_result){0};
    *used = 0;
    *error_text = STR_EMPTY;
    int got = read_reply(in, len, &type, &body);
    if (got == 0)
        return 0;
    if (got == 1 && type == FRAME_ERROR) {
        *error_text = body;
        got = RC_DENIED;
    } else if (got == 1) {
        enum rc rc = finish(hs, (const uint8_t *)body.p, out);
        got = rc == RC_OK ? 1 : (int)rc;
    }
    if (got == 1)
        *used = NOISE_RESPONSE_BYTES;
    noise_initiator_wipe(hs);
    return got;
}

/* --- Transport records --- */

/* Big-endian, unlike the Noise specification. src: tailscale 1.102 control/controlbase/conn.go */
static void nonce_of(uint64_t counter, uint8_t out[AEAD_NONCE_BYTES])
{
    memset(out, 0, 4);
    for (unsigned i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(counter >> (56 - 8 * i));
}

void noise_sealer_init(struct noise_sealer *s, const uint8_t key[32])
{
    *s = (struct noise_sealer){.aead = aead_create(key, true)};
}

void noise_sealer_fini(struct noise_sealer *s)
{
    aead_destroy(&s->aead);
}

static size_t records_for(size_t n)
{
    return n == 0 ? 1 : n / NOISE_PLAIN_MAX + (n % NOISE_PLAIN_MAX != 0);
}

size_t noise_sealed_len(size_t n)
{
    return n + records_for(n) * (NOISE_HEADER_BYTES + AEAD_TAG_BYTES);
}

static uint8_t *seal_record(struct noise_sealer *s, const uint8_t *plain, size_t n, uint8_t *out)
{
    uint8_t nonce[AEAD_NONCE_BYTES];
    nonce_of(s->counter++, nonce);
    put_header(out, FRAME_RECORD, n + AEAD_TAG_BYTES);
    aead_seal(s->aead, nonce, NULL, 0, plain, n, out + NOISE_HEADER_BYTES);
    return out + NOISE_HEADER_BYTES + n + AEAD_TAG_BYTES;
}

enum rc noise_seal(struct noise_sealer *s, const void *plain, size_t n, struct buf *out)
{
    size_t records = records_for(n);
    size_t sealed_len = noise_sealed_len(n);
    const uint8_t *p = plain;
    uint64_t last;
    if (__builtin_add_overflow(s->counter, records, &last))
        return RC_LIMIT;
    uint8_t *at = buf_reserve(out, sealed_len);
    for (; n > NOISE_PLAIN_MAX; n -= NOISE_PLAIN_MAX, p += NOISE_PLAIN_MAX)
        at = seal_record(s, p, NOISE_PLAIN_MAX, at);
    seal_record(s, p, n, at);
    buf_commit(out, sealed_len);
    return RC_OK;
}

void noise_opener_init(struct noise_opener *o, const uint8_t key[32])
{
    *o = (struct noise_opener){.aead = aead_create(key, false)};
}

void noise_opener_fini(struct noise_opener *o)
{
    aead_destroy(&o->aead);
    buf_fini(&o->partial);
}

/* The length of the record that starts with these bytes; NOISE_HEADER_BYTES while the header is incomplete. The header
 * is checked as soon as possible, so that nothing is buffered for a peer that speaks another protocol. */
static MUST_CHECK enum rc record_len(const uint8_t *p, size_t n, size_t *out)
{
    *out = NOISE_HEADER_BYTES;
    if (n > 0 && p[0] != FRAME_RECORD)
        return RC_INVALID;
    if (n < NOISE_HEADER_BYTES)
        return RC_OK;
    size_t body_len = (size_t)(p[1] << 8 | p[2]);
    if (body_len < AEAD_TAG_BYTES)
        return RC_INVALID;
    if (body_len > NOISE_RECORD_MAX - NOISE_HEADER_BYTES)
        return RC_TOO_LARGE;
    *out = NOISE_HEADER_BYTES + body_len;
    return RC_OK;
}

static void take(struct noise_opener *o, const uint8_t **in, size_t *len, size_t want)
{
    size_t missing = want - buf_len(&o->partial);
    size_t n = *len < missing ? *len : missing;
    buf_append(&o->partial, *in, n);
    *in += n;
    *len -= n;
}

/* Sets `*record` when a whole record is at hand: in the input itself if it is whole there, else in `partial`. */
static MUST_CHECK enum rc next_record(struct noise_opener *o, const uint8_t **in, size_t *len, const uint8_t **record,
                                      size_t *n)
{
    *record = NULL;
    if (buf_len(&o->partial) == 0) {
        TRY(record_len(*in, *len, n));
        if (*len >= *n) {
            *record = *in;
            *in += *n;
            *len -= *n;
            return RC_OK;
        }
    }
    if (buf_len(&o->partial) < NOISE_HEADER_BYTES)
        take(o, in, len, NOISE_HEADER_BYTES);
    TRY(record_len(buf_at(&o->partial), buf_len(&o->partial), n));
    take(o, in, len, *n);
    if (buf_len(&o->partial) == *n)
        *record = buf_at(&o->partial);
    return RC_OK;
}

static MUST_CHECK enum rc open_record(struct noise_opener *o, const uint8_t *record, size_t n,
                                      uint8_t plain[NOISE_PLAIN_MAX])
{
    uint8_t nonce[AEAD_NONCE_BYTES];
    if (o->counter == UINT64_MAX)
        return RC_LIMIT;
    nonce_of(o->counter++, nonce);
    return aead_open(o->aead, nonce, NULL, 0, record + NOISE_HEADER_BYTES, n - NOISE_HEADER_BYTES, plain);
}

static int refuse(struct noise_opener *o, enum rc rc)
{
    if (rc == RC_CRYPTO)
        metric_inc(&records_forged);
    else if (rc == RC_TOO_LARGE)
        metric_inc(&records_too_large);
    else
        metric_inc(&records_malformed);
    o->failed = rc;
    buf_fini(&o->partial);
    return rc;
}

int noise_open(struct noise_opener *o, const uint8_t **in, size_t *len, uint8_t plain[NOISE_PLAIN_MAX],
               size_t *plain_len)
{
    const uint8_t *record = NULL;
    size_t n = 0;
    *plain_len = 0;
    if (o->failed != RC_OK)
        return o->failed;
    if (*len == 0) {
        if (buf_len(&o->partial) == 0)
            buf_fini(&o->partial);
        return 0;
    }
    enum rc rc = next_record(o, in, len, &record, &n);
    if (rc != RC_OK)
        return refuse(o, rc);
    if (record == NULL)
        return 0;
    rc = open_record(o, record, n, plain);
    if (rc != RC_OK)
        return refuse(o, rc);
    *plain_len = n - NOISE_HEADER_BYTES - AEAD_TAG_BYTES;
    buf_clear(&o->partial); /* its memory serves until the input is used up */
    return 1;
}
