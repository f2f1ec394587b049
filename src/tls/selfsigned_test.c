/* Certificates that sign themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/log.h"
#include "crypto/crypto.h"
#include "tls/testing.h"

static void test_selfsigned_kept(void **state)
{
    (void)state;
    struct app a = {0};
    char first[TLS_FINGERPRINT_CAP];
    char second[TLS_FINGERPRINT_CAP];
    bool made;
    struct err err = {0};
    int64_t t = now_s();
    make_dir(&a);
    assert_int_equal(log_set_level("tls", LOG_OFF), RC_OK);
    assert_int_equal(selfsigned_ensure(a.cert_path, a.key_path, "192.0.2.7", t, first, &made, &err), RC_OK);
    assert_true(made);
    struct stat st;
    assert_int_equal(stat(a.key_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(selfsigned_ensure(a.cert_path, a.key_path, "192.0.2.7", t + 300 * DAY_S, second, &made, &err),
                     RC_OK);
    assert_false(made);
    assert_string_equal(first, second);
    /* Near its end, for another host, with another key, spoilt: made anew. */
    assert_int_equal(selfsigned_ensure(a.cert_path, a.key_path, "192.0.2.7", t + 336 * DAY_S, second, &made, &err),
                     RC_OK);
    assert_true(made);
    assert_string_not_equal(first, second);
    static const char *const hosts[] = {"192.0.2.8", "2001:db8::1", "relay.example", "localhost", "h"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        for (int again = 0; again < 2; again++) {
            assert_int_equal(selfsigned_ensure(a.cert_path, a.key_path, hosts[i], t + 336 * DAY_S, second, &made, &err),
                             RC_OK);
            assert_int_equal(made, again == 0);
        }
    }
    struct buf cert = {0};
    struct buf key = {0};
    assert_int_equal(selfsigned_make("h", t, &cert, &key), RC_OK);
    write_file(a.key_path, buf_str(&key));
    assert_int_equal(selfsigned_ensure(a.cert_path, a.key_path, "h", t + 336 * DAY_S, second, &made, &err), RC_OK);
    assert_true(made);
    write_file(a.cert_path, STR(""));
    assert_int_equal(selfsigned_ensure(a.cert_path, a.key_path, "h", t, second, &made, &err), RC_OK);
    assert_true(made);
    buf_fini(&cert);
    buf_fini(&key);
    assert_int_equal(log_set_level("tls", LOG_INFO), RC_OK);
    remove_dir(&a);
}

static void test_selfsigned_refusals(void **state)
{
    (void)state;
    static const char *const hosts[] = {"", "a b", "a,DNS:evil", "a/b", "h\n", "[::1]", "1.2.3.4:80"};
    struct buf cert = {0};
    struct buf key = {0};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        assert_int_equal(selfsigned_make(hosts[i], 0, &cert, &key), RC_INVALID);
    char long_host[255];
    memset(long_host, 'a', sizeof(long_host));
    long_host[254] = '\0';
    assert_int_equal(selfsigned_make(long_host, 0, &cert, &key), RC_INVALID);
    long_host[253] = '\0'; /* longer than a common name may be, but a host name */
    assert_int_equal(selfsigned_make(long_host, 0, &cert, &key), RC_OK);
    buf_fini(&cert);
    buf_fini(&key);
    char fingerprint[TLS_FINGERPRINT_CAP];
    struct err err = {0};
    assert_true(selfsigned_ensure("/nonexistent/a", "/nonexistent/b", "h", now_s(), fingerprint, NULL, &err) < 0);
    assert_true(err.text[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_selfsigned_kept, testing_restore_logs),
        cmocka_unit_test_teardown(test_selfsigned_refusals, testing_restore_logs),
    };
    crypto_init();
    return cmocka_run_group_tests_name("tls selfsigned", tests, NULL, NULL);
}
