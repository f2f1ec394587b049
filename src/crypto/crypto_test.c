#include "crypto/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

static void unhex(const char *hex, uint8_t *out)
{
    assert_int_equal(hex_decode(str_c(hex), out, strlen(hex) / 2), RC_OK);
}

static void assert_hex(const uint8_t *got, size_t n, const char *want)
{
    char text[1024];
    assert_true(2 * n < sizeof(text));
    hex_encode(got, n, text);
    text[2 * n] = '\0';
    assert_string_equal(text, want);
}

/* src: RFC 7693 appendix B; the empty input is BLAKE2's own known answer */
static void test_blake2s(void **state)
{
    (void)state;
    static const char abc[] = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
    uint8_t out[32];
    blake2s("abc", 3, NULL, 0, out);
    assert_hex(out, 32, abc);
    blake2s("a", 1, "bc", 2, out);
    assert_hex(out, 32, abc);
    blake2s(NULL, 0, NULL, 0, out);
    assert_hex(out, 32, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
    /* The output may lie over the input. */
    uint8_t self[32] = {'a', 'b', 'c'};
    blake2s(self, 3, NULL, 0, self);
    assert_hex(self, 32, abc);
}

static void hkdf_twin(const uint8_t *salt, const uint8_t *input, size_t n, uint8_t out[64])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    char md[] = "BLAKE2S-256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string("digest", md, 0),
        OSSL_PARAM_construct_octet_string("salt", (void *)salt, 32),
        OSSL_PARAM_construct_octet_string("key", (void *)input, n),
        OSSL_PARAM_construct_end(),
    };
    assert_int_equal(EVP_KDF_derive(ctx, out, 64, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

/* No RFC has HMAC or HKDF over BLAKE2s: OpenSSL's own are the twin. (The Noise vectors are a second witness.) */
static void test_hkdf_twin(void **state)
{
    (void)state;
    for (size_t n = 1; n < 200; n++) {
        uint8_t ck[32];
        uint8_t input[200];
        uint8_t twin[64];
        uint8_t out1[32];
        uint8_t out2[32];
        rng_bytes(ck, sizeof(ck));
        rng_bytes(input, sizeof(input));
        hkdf_twin(ck, input, n, twin);
        hkdf_blake2s(ck, input, n, out1, out2);
        assert_memory_equal(out1, twin, 32);
        assert_memory_equal(out2, twin + 32, 32);
        hkdf_blake2s(ck, input, n, ck, out2); /* in place, as Noise does */
        assert_memory_equal(ck, twin, 32);
        assert_memory_equal(out2, twin + 32, 32);
    }
}

static void test_hmac_twin(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        uint8_t key[32];
        uint8_t input[200];
        uint8_t twin[32];
        uint8_t out[32];
        size_t twin_len = 0;
        rng_bytes(key, sizeof(key));
        rng_bytes(input, sizeof(input));
        assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "BLAKE2S-256", NULL, key, sizeof(key), input, n, twin,
                                  sizeof(twin), &twin_len));
        hmac_blake2s(key, input, n / 3, input + n / 3, n - n / 3, out);
        assert_memory_equal(out, twin, 32);
    }
}

/* src: RFC 8439 2.8.2 */
static void test_aead_vector(void **state)
{
    (void)state;
    static const char text[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        "sunscreen would be it.";
    enum { N = sizeof(text) - 1 };
    uint8_t key[32];
    uint8_t nonce[12];
    uint8_t ad[12];
    uint8_t sealed[N + AEAD_TAG_BYTES];
    unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
    unhex("070000004041424344454647", nonce);
    unhex("50515253c0c1c2c3c4c5c6c7", ad);
    struct aead *seal = aead_create(key, true);
    struct aead *open = aead_create(key, false);
    for (int i = 0; i < 3; i++) { /* one context, many messages */
        memcpy(sealed, text, N);
        aead_seal(seal, nonce, ad, sizeof(ad), sealed, N, sealed);
        assert_hex(sealed, sizeof(sealed),
                   "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
                   "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
                   "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
        assert_int_equal(aead_open(open, nonce, ad, sizeof(ad), sealed, sizeof(sealed), sealed), RC_OK);
        assert_memory_equal(sealed, text, N);
    }
    aead_destroy(&seal);
    aead_destroy(&open);
    assert_null(open);
    aead_destroy(&open);
}

static void test_aead_refusals(void **state)
{
    (void)state;
    uint8_t key[32] = {1};
    uint8_t nonce[12] = {2};
    uint8_t sealed[20 + AEAD_TAG_BYTES];
    uint8_t out[20];
    struct aead *seal = aead_create(key, true);
    struct aead *open = aead_create(key, false);
    aead_seal(seal, nonce, "ad", 2, (const uint8_t *)"twenty bytes of text", 20, sealed);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 0x10;
        memset(out, 7, sizeof(out));
        assert_int_equal(aead_open(open, nonce, "ad", 2, sealed, sizeof(sealed), out), RC_CRYPTO);
        assert_int_equal(out[0] | out[19], 0);
        sealed[i] ^= 0x10;
    }
    for (size_t n = 0; n < sizeof(sealed); n++)
        assert_int_equal(aead_open(open, nonce, "ad", 2, sealed, n, out), RC_CRYPTO);
    assert_int_equal(aead_open(open, nonce, "aD", 2, sealed, sizeof(sealed), out), RC_CRYPTO);
    assert_int_equal(aead_open(open, nonce, NULL, 0, sealed, sizeof(sealed), out), RC_CRYPTO);
    nonce[11]++;
    assert_int_equal(aead_open(open, nonce, "ad", 2, sealed, sizeof(sealed), out), RC_CRYPTO);
    nonce[11]--;
    /* The refusals left the context usable. */
    assert_int_equal(aead_open(open, nonce, "ad", 2, sealed, sizeof(sealed), out), RC_OK);
    assert_memory_equal(out, "twenty bytes of text", 20);
    aead_destroy(&seal);
    aead_destroy(&open);
}

static void test_aead_empty(void **state)
{
    (void)state;
    uint8_t key[32] = {1};
    uint8_t nonce[12] = {0};
    uint8_t tag[AEAD_TAG_BYTES];
    struct aead *seal = aead_create(key, true);
    struct aead *open = aead_create(key, false);
    aead_seal(seal, nonce, NULL, 0, NULL, 0, tag);
    assert_int_equal(aead_open(open, nonce, NULL, 0, tag, sizeof(tag), NULL), RC_OK);
    tag[3] ^= 1;
    assert_int_equal(aead_open(open, nonce, NULL, 0, tag, sizeof(tag), NULL), RC_CRYPTO);
    aead_destroy(&seal);
    aead_destroy(&open);
}

/* src: RFC 7748 5.2 (both vectors), 6.1 (shared secret) */
static void test_x25519(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
         "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
        {"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
         "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
         "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
        {"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
         "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
         "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t private_key[32];
        uint8_t public_key[32];
        uint8_t out[32];
        unhex(rows[i][0], private_key);
        unhex(rows[i][1], public_key);
        assert_int_equal(x25519(private_key, public_key, out), RC_OK);
        assert_hex(out, 32, rows[i][2]);
    }
}

/* The points whose product with any clamped key is zero. src: https://cr.yp.to/ecdh.html; also p and p + 1, their
 * aliases */
static const char *const low_order_points[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void test_low_order(void **state)
{
    (void)state;
    uint8_t private_key[32];
    uint8_t nonce[BOX_NONCE_BYTES] = {0};
    rng_bytes(private_key, sizeof(private_key));
    for (unsigned i = 0; i < ARRAY_LEN(low_order_points); i++) {
        uint8_t point[32];
        uint8_t out[32] = {9};
        uint8_t boxed[BOX_OVERHEAD + 1];
        unhex(low_order_points[i], point);
        assert_int_equal(x25519(private_key, point, out), RC_CRYPTO);
        assert_int_equal(box_seal(private_key, point, nonce, "x", 1, boxed), RC_CRYPTO);
    }
}

/* src: the example of "Cryptography in NaCl" (D. J. Bernstein, 2009), sections 2-10 */
static void test_box_vector(void **state)
{
    (void)state;
    static const char plain_hex[] =
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c0123"
        "3561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924"
        "ca1c60902e52f0a089bc76897040e082f937763848645e0705";
    static const char boxed_hex[] =
        "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37"
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98"
        "dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6b"
        "b3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5";
    enum { N = (sizeof(plain_hex) - 1) / 2 };
    uint8_t alice[32];
    uint8_t bob_public[32];
    uint8_t plain[N];
    uint8_t boxed[N + BOX_OVERHEAD];
    uint8_t out[N + BOX_OVERHEAD];
    unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", alice);
    unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", bob_public);
    unhex(plain_hex, plain);
    unhex(boxed_hex, boxed);
    assert_int_equal(box_seal(alice, bob_public, boxed, plain, N, out), RC_OK);
    assert_memory_equal(out, boxed, sizeof(boxed));
    memset(out, 0, sizeof(out));
    assert_int_equal(box_open(alice, bob_public, boxed, sizeof(boxed), out), RC_OK);
    assert_memory_equal(out, plain, N);
    for (size_t i = 0; i < sizeof(boxed); i++) {
        boxed[i] ^= 0x80;
        assert_int_equal(box_open(alice, bob_public, boxed, sizeof(boxed), out), RC_CRYPTO);
        boxed[i] ^= 0x80;
        assert_int_equal(box_open(alice, bob_public, boxed, i, out), RC_CRYPTO);
    }
}

/* src: FIPS 180-2 appendices A.1, B.1; RFC 6455 1.3 */
static void test_sha(void **state)
{
    (void)state;
    static const char handshake[] = "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t out[32];
    char text[BASE64_CAP(20)];
    sha256("abc", 3, out);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256(NULL, 0, out);
    assert_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha1("abc", 3, out);
    assert_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
    sha1(handshake, sizeof(handshake) - 1, out);
    base64_encode(out, 20, text);
    assert_string_equal(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* src: RFC 4648 10 */
static void test_base64(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        char text[BASE64_CAP(6)];
        uint8_t out[6];
        size_t n = 99;
        size_t want = strlen(rows[i][0]);
        base64_encode(rows[i][0], want, text);
        assert_string_equal(text, rows[i][1]);
        for (unsigned url = 0; url < 2; url++) {
            assert_int_equal(base64_decode(text, strlen(text), url, out, want, &n), RC_OK);
            assert_int_equal(n, want);
            assert_memory_equal(out, rows[i][0], n);
            assert_int_equal(base64_decode(text, strcspn(text, "="), url, out, want, &n), RC_OK);
            assert_int_equal(n, want);
            if (want > 0)
                assert_int_equal(base64_decode(text, strlen(text), url, out, want - 1, &n), RC_TOO_LARGE);
        }
    }
}

static void test_base64_alphabets(void **state)
{
    (void)state;
    uint8_t out[3];
    size_t n = 0;
    assert_int_equal(base64_decode("+/+/", 4, false, out, 3, &n), RC_OK);
    assert_hex(out, 3, "fbffbf");
    assert_int_equal(base64_decode("-_-_", 4, true, out, 3, &n), RC_OK);
    assert_hex(out, 3, "fbffbf");
    assert_int_equal(base64_decode("+/+/", 4, true, out, 3, &n), RC_INVALID);
    assert_int_equal(base64_decode("-_-_", 4, false, out, 3, &n), RC_INVALID);
}

static void test_base64_refusals(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "Z",     "Zm9vY",    "=",     "==",     "===",  "====", "Z===", "Zg=",  "Zm8==",      "Zg==Zg==",
        "Zm9v=", "Zm9v====", " Zg==", "Zg==\n", "Z g=", "Zm!v", "Zh==", "Zm9=", "Zm\xc3\xa4",
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t out[32];
        size_t n = 99;
        if (base64_decode(rows[i], strlen(rows[i]), false, out, sizeof(out), &n) != RC_INVALID)
            fail_msg("accepted: %s", rows[i]);
    }
    uint8_t out[8];
    size_t n = 0;
    for (unsigned c = 0; c < 256; c++) { /* libsodium 1.0.18 takes the upper half for digits */
        char text[4] = {'Z', 'm', (char)c, 'v'};
        bool is_digit = c < 128 && (isalnum((int)c) || c == '+' || c == '/');
        assert_int_equal(base64_decode(text, 4, false, out, sizeof(out), &n), is_digit ? RC_OK : RC_INVALID);
    }
    assert_int_equal(base64_decode("Zm\0v", 4, false, out, sizeof(out), &n), RC_INVALID);
}

static void test_base64_round_trip(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n++) {
        uint8_t in[300];
        uint8_t out[300];
        char text[BASE64_CAP(300)];
        size_t got = 0;
        rng_bytes(in, sizeof(in));
        base64_encode(in, n, text);
        assert_int_equal(strlen(text) + 1, BASE64_CAP(n));
        assert_int_equal(base64_decode(text, strlen(text), false, out, n, &got), RC_OK);
        assert_int_equal(got, n);
        assert_memory_equal(out, in, n);
    }
}

static void test_secrets(void **state)
{
    (void)state;
    uint8_t a[4] = {1, 2, 3, 4};
    uint8_t b[4] = {1, 2, 3, 5};
    assert_true(secret_equal(a, b, 3));
    assert_false(secret_equal(a, b, 4));
    secret_wipe(a, sizeof(a));
    assert_hex(a, 4, "00000000");
}

static int set_up(void **state)
{
    (void)state;
    crypto_init();
    crypto_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blake2s),         cmocka_unit_test(test_hmac_twin),
        cmocka_unit_test(test_hkdf_twin),       cmocka_unit_test(test_aead_vector),
        cmocka_unit_test(test_aead_refusals),   cmocka_unit_test(test_aead_empty),
        cmocka_unit_test(test_x25519),          cmocka_unit_test(test_low_order),
        cmocka_unit_test(test_box_vector),      cmocka_unit_test(test_sha),
        cmocka_unit_test(test_base64),          cmocka_unit_test(test_base64_alphabets),
        cmocka_unit_test(test_base64_refusals), cmocka_unit_test(test_base64_round_trip),
        cmocka_unit_test(test_secrets),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
