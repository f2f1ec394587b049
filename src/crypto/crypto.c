/* All algorithms of OpenSSL are fetched once: a lookup per call costs more than the work itself and takes a lock
 * (openssl#17064). Calls that fail here only for lack of memory or by a mistake of ours end the process. */
#include "crypto/crypto.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *md_blake2s;
static EVP_MD *md_sha256;
static EVP_MD *md_sha1;
static EVP_CIPHER *cipher_chacha20_poly1305;

static NORETURN void fail(const char *what)
{
    fprintf(stderr, "fullscale: the cryptographic library failed: %s\n", what);
    abort();
}

static void must(bool ok, const char *what)
{
    if (!ok)
        fail(what);
}

static void init(void)
{
    must(sodium_init() >= 0, "sodium_init");
    md_blake2s = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
    must(md_blake2s != NULL, "no BLAKE2s-256");
    md_sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    must(md_sha256 != NULL, "no SHA-256");
    md_sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    must(md_sha1 != NULL, "no SHA-1");
    cipher_chacha20_poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    must(cipher_chacha20_poly1305 != NULL, "no ChaCha20-Poly1305");
}

void crypto_init(void)
{
    pthread_once(&once, init);
}

/* --- hashes --- */

struct span {
    const void *p;
    size_t len;
};

static void hash(EVP_MD_CTX *ctx, const EVP_MD *md, const struct span *spans, unsigned n, uint8_t *out)
{
    assert(md != NULL); /* crypto_init was called */
    must(EVP_DigestInit_ex2(ctx, md, NULL) == 1, "digest init");
    for (unsigned i = 0; i < n; i++) {
        if (spans[i].len > 0)
            must(EVP_DigestUpdate(ctx, spans[i].p, spans[i].len) == 1, "digest update");
    }
    must(EVP_DigestFinal_ex(ctx, out, NULL) == 1, "digest final");
}

static EVP_MD_CTX *hash_ctx(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx != NULL, "out of memory");
    return ctx;
}

static void hash_once(const EVP_MD *md, const struct span *spans, unsigned n, uint8_t *out)
{
    EVP_MD_CTX *ctx = hash_ctx();
    hash(ctx, md, spans, n, out);
    EVP_MD_CTX_free(ctx);
}

void blake2s(const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[BLAKE2S_BYTES])
{
    hash_once(md_blake2s, (const struct span[]){{a, a_len}, {b, b_len}}, 2, out);
}

void sha256(const void *in, size_t n, uint8_t out[32])
{
    hash_once(md_sha256, &(const struct span){in, n}, 1, out);
}

void sha1(const void *in, size_t n, uint8_t out[20])
{
    hash_once(md_sha1, &(const struct span){in, n}, 1, out);
}

/* Written out, since Noise uses HMAC and not BLAKE2's own keyed mode. src: RFC 2104 2 */
void hmac_blake2s(const uint8_t key[32], const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[32])
{
    enum { BLOCK = 64 };
    uint8_t inner[BLOCK];
    uint8_t outer[BLOCK];
    for (unsigned i = 0; i < BLOCK; i++) {
        uint8_t k = i < 32 ? key[i] : 0;
        inner[i] = k ^ 0x36;
        outer[i] = k ^ 0x5c;
    }
    uint8_t digest[BLAKE2S_BYTES];
    EVP_MD_CTX *ctx = hash_ctx();
    hash(ctx, md_blake2s, (const struct span[]){{inner, BLOCK}, {a, a_len}, {b, b_len}}, 3, digest);
    hash(ctx, md_blake2s, (const struct span[]){{outer, BLOCK}, {digest, sizeof(digest)}}, 2, out);
    EVP_MD_CTX_free(ctx);
    secret_wipe(inner, sizeof(inner));
    secret_wipe(outer, sizeof(outer));
    secret_wipe(digest, sizeof(digest));
}

/* src: RFC 5869 2.2, 2.3 */
void hkdf_blake2s(const uint8_t ck[32], const void *input, size_t input_len, uint8_t out1[32], uint8_t out2[32])
{
    uint8_t prk[32];
    uint8_t t1[32];
    hmac_blake2s(ck, input, input_len, NULL, 0, prk);
    hmac_blake2s(prk, "\x01", 1, NULL, 0, t1);
    hmac_blake2s(prk, t1, sizeof(t1), "\x02", 1, out2);
    memcpy(out1, t1, sizeof(t1)); /* last: `out1` may be `ck` */
    secret_wipe(prk, sizeof(prk));
    secret_wipe(t1, sizeof(t1));
}

/* --- ChaCha20-Poly1305 --- */

/* A key alone: a server has two of these per connection. OpenSSL is faster for long messages and needs a context of 800
 * bytes, which each thread has once for all keys; libsodium is faster for short ones. */
struct aead {
    uint8_t key[32];
    bool seal;
};

enum { SHORT_BYTES = 1024 }; /* below, libsodium does it */

struct aead_contexts {
    EVP_CIPHER_CTX *seal, *open;
};

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;

static EVP_CIPHER_CTX *make_context(bool seal)
{
    assert(cipher_chacha20_poly1305 != NULL); /* crypto_init was called */
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    must(ctx != NULL, "out of memory");
    must(EVP_CipherInit_ex2(ctx, cipher_chacha20_poly1305, NULL, NULL, seal, NULL) == 1, "cipher");
    return ctx;
}

static void drop_contexts(void *at)
{
    struct aead_contexts *c = at;
    EVP_CIPHER_CTX_free(c->seal); /* wipes the last key */
    EVP_CIPHER_CTX_free(c->open);
    mem_free(c);
}

static void make_contexts_key(void)
{
    must(pthread_key_create(&contexts_key, drop_contexts) == 0, "no thread key");
}

/* This thread's. */
static EVP_CIPHER_CTX *context(bool seal)
{
    static _Thread_local struct aead_contexts *mine;
    if (mine == NULL) {
        pthread_once(&contexts_once, make_contexts_key);
        mine = MEM_NEW(struct aead_contexts);
        mine->seal = make_context(true);
        mine->open = make_context(false);
        must(pthread_setspecific(contexts_key, mine) == 0, "no memory for a thread");
    }
    return seal ? mine->seal : mine->open;
}

struct aead *aead_create(const uint8_t key[32], bool seal)
{
    struct aead *a = MEM_NEW(struct aead);
    memcpy(a->key, key, sizeof(a->key));
    a->seal = seal;
    return a;
}

void aead_destroy(struct aead **a)
{
    if (*a == NULL)
        return;
    secret_wipe(*a, sizeof(**a));
    mem_free(*a);
    *a = NULL;
}

/* OpenSSL counts in ints; no caller comes near. */
static void update(EVP_CIPHER_CTX *ctx, uint8_t *out, const void *in, size_t n)
{
    int done = 0;
    assert(n <= INT32_MAX);
    if (n > 0)
        must(EVP_CipherUpdate(ctx, out, &done, in, (int)n) == 1, "cipher update");
}

static EVP_CIPHER_CTX *start(const struct aead *a, const uint8_t *nonce, const void *ad, size_t ad_len)
{
    EVP_CIPHER_CTX *ctx = context(a->seal);
    must(EVP_CipherInit_ex2(ctx, NULL, a->key, nonce, -1, NULL) == 1, "cipher key and nonce");
    update(ctx, NULL, ad, ad_len);
    return ctx;
}

void aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_len, const uint8_t *in,
               size_t n, uint8_t *out)
{
    assert(a->seal);
    int done = 0;
    uint8_t none[16]; /* where a stream cipher leaves nothing */
    if (n < SHORT_BYTES) {
        crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, n, ad, ad_len, NULL, nonce, a->key);
        return;
    }
    EVP_CIPHER_CTX *ctx = start(a, nonce, ad, ad_len);
    update(ctx, out, in, n);
    must(EVP_CipherFinal_ex(ctx, none, &done) == 1, "cipher final");
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, out + n) == 1, "cipher tag");
}

static bool open_long(struct aead *a, const uint8_t *nonce, const void *ad, size_t ad_len, const uint8_t *in,
                      size_t plain_len, uint8_t *out)
{
    int done = 0;
    uint8_t none[16];
    uint8_t tag[AEAD_TAG_BYTES];
    memcpy(tag, in + plain_len, sizeof(tag));
    EVP_CIPHER_CTX *ctx = start(a, nonce, ad, ad_len);
    update(ctx, out, in, plain_len);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, tag) == 1, "cipher tag");
    return EVP_CipherFinal_ex(ctx, none, &done) == 1;
}

enum rc aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_len,
                  const uint8_t *in, size_t n, uint8_t *out)
{
    assert(!a->seal);
    if (n < AEAD_TAG_BYTES)
        return RC_CRYPTO;
    size_t plain_len = n - AEAD_TAG_BYTES;
    bool is_good = plain_len < SHORT_BYTES ? crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, n, ad,
                                                                                       ad_len, nonce, a->key) == 0
                                           : open_long(a, nonce, ad, ad_len, in, plain_len, out);
    if (is_good)
        return RC_OK;
    if (plain_len > 0)
        memset(out, 0, plain_len); /* plaintext that is not authentic must not be used */
    return RC_CRYPTO;
}

/* --- X25519, box --- */

enum rc x25519(const uint8_t private_key[32], const uint8_t public_key[32], uint8_t out[32])
{
    if (crypto_scalarmult_curve25519(out, private_key, public_key) == 0)
        return RC_OK;
    secret_wipe(out, 32);
    return RC_CRYPTO;
}

_Static_assert(BOX_NONCE_BYTES == crypto_box_NONCEBYTES, "libsodium disagrees");
_Static_assert(BOX_OVERHEAD == crypto_box_NONCEBYTES + crypto_box_MACBYTES, "libsodium disagrees");

enum rc box_seal(const uint8_t private_key[32], const uint8_t peer_public[32], const uint8_t nonce[BOX_NONCE_BYTES],
                 const void *in, size_t n, uint8_t *out)
{
    if (crypto_box_easy(out + BOX_NONCE_BYTES, in, n, nonce, peer_public, private_key) != 0)
        return RC_CRYPTO;
    memcpy(out, nonce, BOX_NONCE_BYTES);
    return RC_OK;
}

enum rc box_open(const uint8_t private_key[32], const uint8_t peer_public[32], const uint8_t *in, size_t n,
                 uint8_t *out)
{
    if (n < BOX_OVERHEAD)
        return RC_CRYPTO;
    if (crypto_box_open_easy(out, in + BOX_NONCE_BYTES, n - BOX_NONCE_BYTES, in, peer_public, private_key) != 0)
        return RC_CRYPTO;
    return RC_OK;
}

/* --- small things --- */

bool secret_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

void secret_wipe(void *p, size_t n)
{
    sodium_memzero(p, n);
}

void base64_encode(const void *in, size_t n, char *out)
{
    sodium_bin2base64(out, BASE64_CAP(n), in, n, sodium_base64_VARIANT_ORIGINAL);
}

/* Drops the padding if its length is exactly right. */
static size_t base64_unpadded_len(const char *text, size_t len)
{
    if (len == 0 || len % 4 != 0 || text[len - 1] != '=')
        return len;
    return text[len - 2] == '=' ? len - 2 : len - 1;
}

/* By hand: libsodium 1.0.18 takes bytes above 127 for digits. -1 for what is none. */
static int base64_digit(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

enum rc base64_decode(const char *text, size_t len, bool url, uint8_t *out, size_t out_cap, size_t *out_len)
{
    size_t digits = base64_unpadded_len(text, len);
    uint32_t bits = 0;
    unsigned bits_n = 0;
    *out_len = 0;
    if (digits % 4 == 1)
        return RC_INVALID;
    if (digits / 4 * 3 + digits % 4 * 3 / 4 > out_cap)
        return RC_TOO_LARGE;
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text[i], url);
        if (digit < 0)
            return RC_INVALID;
        bits = bits << 6 | (uint32_t)digit;
        bits_n += 6;
        if (bits_n >= 8) {
            bits_n -= 8;
            *out++ = (uint8_t)(bits >> bits_n);
        }
    }
    /* Bits that make no byte are zero, so that each value has one text. */
    if ((bits & ((1u << bits_n) - 1)) != 0)
        return RC_INVALID;
    *out_len = digits * 3 / 4;
    return RC_OK;
}
