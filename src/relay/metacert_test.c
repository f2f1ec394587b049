#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "proto/test_vectors.h"
#include "relay/metacert.h"

static int64_t unix_time(struct str text)
{
    struct tm tm = {0};
    char copy[32] = "";
    memcpy(copy, text.p, text.len);
    assert_non_null(strptime(copy, "%Y-%m-%dT%H:%M:%SZ", &tm));
    return timegm(&tm);
}

/* Ed25519 signs the same thing the same way each time, so all bytes can be compared. */
static void test_is_the_references(void **state)
{
    (void)state;
    struct vectors v;
    vectors_load(&v, VECTORS_DIR "/derp.json");
    struct str seed = vectors_bytes(&v, "metacert", "ed25519_seed");
    struct str key = vectors_bytes(&v, "keys", "server_public");
    struct str want = vectors_bytes(&v, "metacert", "der");
    int64_t before = unix_time(vectors_text(vectors_at(&v, "metacert", "not_before")));
    int64_t after = unix_time(vectors_text(vectors_at(&v, "metacert", "not_after")));
    uint8_t der[METACERT_CAP_BYTES];
    size_t n = 0;
    assert_int_equal(metacert_build((const uint8_t *)key.p, (const uint8_t *)seed.p, (before + after) / 2, der, &n),
                     RC_OK);
    assert_int_equal(n, want.len);
    assert_memory_equal(der, want.p, n);
    vectors_fini(&v);
}

static void test_is_signed_by_itself(void **state)
{
    (void)state;
    uint8_t key[32] = {0xab, 1}, seed[32] = {5}, der[METACERT_CAP_BYTES];
    size_t n = 0;
    int64_t now = 1800000000;
    assert_int_equal(metacert_build(key, seed, now, der, &n), RC_OK);
    const uint8_t *p = der;
    X509 *cert = d2i_X509(NULL, &p, (long)n);
    assert_non_null(cert);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(cert)), 1);
    char cn[128];
    assert_int_equal(X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn)), 71);
    assert_memory_equal(cn, "derpkeyab01000000", 17);
    time_t early = now - 31 * 86400, late = now + 31 * 86400, mid = now + 29 * 86400;
    assert_true(X509_cmp_time(X509_get0_notBefore(cert), &early) > 0);
    assert_true(X509_cmp_time(X509_get0_notAfter(cert), &late) < 0);
    assert_true(X509_cmp_time(X509_get0_notAfter(cert), &mid) > 0);
    X509_free(cert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_the_references),
        cmocka_unit_test(test_is_signed_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
