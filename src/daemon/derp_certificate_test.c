#include "daemon/testing.h"

#include "base/log.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "daemon/derpmap_internal.h"
#include "tls/selfsigned.h"

enum { DAY_S = 24 * 3600 };
static const int64_t begin_s = 1800000000;

struct fixture {
    struct test_folder folder;
    char cert[128], key[128];
    struct derp_certificate c;
};

static int set_up(void **state)
{
    static struct fixture x;
    x = (struct fixture){0};
    test_folder_make(&x.folder);
    snprintf(x.cert, sizeof(x.cert), "%s", test_path(&x.folder, "derp_cert.pem"));
    snprintf(x.key, sizeof(x.key), "%s", test_path(&x.folder, "derp_key.pem"));
    x.c = (struct derp_certificate){.cert_path = x.cert, .key_path = x.key, .host = "192.0.2.1"};
    assert_int_equal(selfsigned_ensure(x.cert, x.key, x.c.host, begin_s, x.c.pin, NULL, NULL), RC_OK);
    const struct tls_server_opts opts = {.cert_file = x.cert, .key_file = x.key};
    assert_int_equal(tls_server_create(&opts, &x.c.tls, NULL), RC_OK);
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    tls_server_destroy(&x->c.tls);
    test_folder_remove(&x->folder);
    return 0;
}

static const char *served(struct fixture *x)
{
    static char out[TLS_FINGERPRINT_CAP];
    tls_server_fingerprint(x->c.tls, out);
    return out;
}

static void publish(struct fixture *x, const char *pin)
{
    char text[200];
    int n = snprintf(text, sizeof(text), "{\"CertName\":\"sha256-raw:%s\"}", pin);
    struct rcbuf *map = rcbuf_create(text, (size_t)n);
    daemon_derp_certificate_published(x->c.tls, map);
    rcbuf_unref(&map);
}

/* A year and more, a look each day: always at most one pin ahead, and never served before it is published. */
static void test_a_year(void **state)
{
    struct fixture *x = *state;
    unsigned renewals = 0;
    for (int day = 0; day < 800; day++) {
        char before[TLS_FINGERPRINT_CAP];
        snprintf(before, sizeof(before), "%s", x->c.pin);
        assert_string_equal(served(x), before);
        if (!daemon_derp_certificate_check(&x->c, begin_s + (int64_t)day * DAY_S)) {
            assert_string_equal(x->c.pin, before);
            continue;
        }
        renewals++;
        assert_true(day == 335 || day == 670);
        assert_string_not_equal(x->c.pin, before);
        assert_string_equal(served(x), before);
        assert_false(daemon_derp_certificate_check(&x->c, begin_s + (int64_t)day * DAY_S)); /* on its way already */
        publish(x, before);                                                                 /* something else changed */
        assert_string_equal(served(x), before);
        publish(x, x->c.pin);
        assert_string_equal(served(x), x->c.pin);
        publish(x, x->c.pin);
    }
    assert_int_equal(renewals, 2);
}

/* What an operator does: removes a file, or puts a pair of their own there. */
static void test_forced(void **state)
{
    struct fixture *x = *state;
    char first[TLS_FINGERPRINT_CAP], own[TLS_FINGERPRINT_CAP];
    snprintf(first, sizeof(first), "%s", x->c.pin);
    unlink(x->cert);
    assert_true(daemon_derp_certificate_check(&x->c, begin_s));
    assert_string_equal(served(x), first);
    /* Again, before the first was published: the newest counts. */
    unlink(x->key);
    assert_true(daemon_derp_certificate_check(&x->c, begin_s));
    publish(x, x->c.pin);
    assert_string_equal(served(x), x->c.pin);
    unlink(x->cert);
    unlink(x->key);
    assert_int_equal(selfsigned_ensure(x->cert, x->key, x->c.host, begin_s, own, NULL, NULL), RC_OK);
    assert_true(daemon_derp_certificate_check(&x->c, begin_s));
    assert_string_equal(x->c.pin, own);
    x->c.host = "relay.example"; /* moved */
    assert_true(daemon_derp_certificate_check(&x->c, begin_s));
    assert_string_not_equal(x->c.pin, own);
}

static void test_cannot(void **state)
{
    struct fixture *x = *state;
    char first[TLS_FINGERPRINT_CAP];
    int64_t failed = metric_read("fullscale_derp_certificate_renewals_total", "result=\"failed\"");
    snprintf(first, sizeof(first), "%s", x->c.pin);
    x->c.cert_path = "/nonexistent/cert.pem";
    assert_false(daemon_derp_certificate_check(&x->c, begin_s));
    assert_true(x->c.is_failing);
    assert_string_equal(x->c.pin, first);
    assert_false(daemon_derp_certificate_check(&x->c, begin_s));
    assert_int_equal(metric_read("fullscale_derp_certificate_renewals_total", "result=\"failed\""), failed + 2);
    x->c.cert_path = x->cert;
    /* The key was made anew for a certificate that could not be saved: that pair is renewed now. */
    assert_true(daemon_derp_certificate_check(&x->c, begin_s));
    assert_false(x->c.is_failing);
    struct derp_certificate none = {.tls = NULL};
    assert_false(daemon_derp_certificate_check(&none, begin_s));
}

int main(void)
{
    crypto_init();
    if (log_set_level("derpmap", LOG_OFF) != RC_OK || log_set_level("tls", LOG_OFF) != RC_OK)
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(test_a_year), TEST(test_forced), TEST(test_cannot)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
