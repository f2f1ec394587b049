/* Certificates: pinned, verified, reloaded, bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "tls/testing.h"

static void test_pinning(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    char fingerprint[TLS_FINGERPRINT_CAP];
    tls_server_fingerprint(a->server, fingerprint);
    assert_int_equal(strlen(fingerprint), 64);
    connect_client(a, 0, &(struct tls_client_opts){.fingerprint = fingerprint});
    assert_non_null(a->srv.s);
    uint8_t der[2048];
    uint8_t digest[32];
    char text[65] = "";
    size_t n = tls_client_peer_cert_der(a->cli.s, 0, der, sizeof(der));
    assert_true(n > 0);
    sha256(der, n, digest);
    hex_encode(digest, sizeof(digest), text);
    assert_string_equal(text, fingerprint);
    close_sides(a);

    fingerprint[0] = fingerprint[0] == 'a' ? 'b' : 'a';
    connect_client(a, 0, &(struct tls_client_opts){.fingerprint = fingerprint});
    assert_true(a->cli.is_closed);
    assert_int_equal(a->cli.why, RC_CRYPTO);
    close_app(a);
}

/* DERP's metacert is appended in TLS 1.3, where only the peer sees it. */
static void test_extra_cert(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    struct app *other = open_server(NULL);
    uint8_t der[2048];
    connect_client(other, 0, &any_server);
    size_t n = tls_client_peer_cert_der(other->cli.s, 0, der, sizeof(der));
    assert_int_equal(tls_server_set_extra_cert(a->server, der, n), RC_OK);
    for (int version = 12; version <= 13; version++) {
        connect_client(a, 0, &(struct tls_client_opts){.max_version = version});
        assert_int_equal(tls_client_peer_certs(a->cli.s), version - 11);
        close_sides(a);
    }
    uint8_t seen[2048];
    connect_client(a, 0, &any_server);
    assert_int_equal(tls_client_peer_cert_der(a->cli.s, 1, seen, sizeof(seen)), n);
    assert_memory_equal(seen, der, n);
    assert_int_equal(tls_client_peer_cert_der(a->cli.s, 2, seen, sizeof(seen)), 0);
    assert_int_equal(tls_client_peer_cert_der(a->cli.s, 0, seen, 10), 0);
    close_sides(a);

    assert_int_equal(tls_server_set_extra_cert(a->server, der, n - 1), RC_INVALID);
    der[n] = 0;
    assert_int_equal(tls_server_set_extra_cert(a->server, der, n + 1), RC_INVALID);
    assert_int_equal(tls_server_set_extra_cert(a->server, NULL, 0), RC_OK);
    connect_client(a, 0, &any_server);
    assert_int_equal(tls_client_peer_certs(a->cli.s), 1);
    close_app(a);
    close_app(other);
}

static void served_fingerprint(struct app *a, char out[TLS_FINGERPRINT_CAP])
{
    tls_server_fingerprint(a->server, out);
    connect_client(a, 0, &(struct tls_client_opts){.fingerprint = out});
    assert_non_null(a->srv.s);
    assert_false(a->cli.is_closed);
    close_sides(a);
}

/* Connects a client that requires the certificate to be for `host`. */
static void check_verified(struct app *a, const char *host, bool is_good)
{
    for (int version = 12; version <= 13; version++) {
        connect_client(a, 0, &(struct tls_client_opts){.verify_host = host, .max_version = version});
        stream_write(a->cli.s, "secret", 6); /* dropped, when the server is another */
        run_iteration(a->loop);
        assert_int_equal(a->cli.is_closed, !is_good);
        if (is_good)
            assert_true(str_eq_c(buf_str(&a->srv.in), "secret"));
        else
            assert_int_equal(a->cli.why, RC_CRYPTO);
        assert_true(is_good || buf_len(&a->srv.in) == 0);
        close_sides(a);
    }
}

/* SSL_CERT_FILE names the authorities; they are read once, so all that is known of them is in this test. */
static void test_verified_by_authority(void **state)
{
    (void)state;
    static const char *const hosts[] = {"relay.example", "192.0.2.7", "2001:db8::7"};
    char path[] = "/tmp/tls_test_roots.XXXXXX";
    struct app *apps[3];
    struct buf roots = {0};
    for (size_t i = 0; i < 3; i++) {
        struct buf cert = {0}, key = {0};
        apps[i] = MEM_NEW(struct app);
        apps[i]->loop = loop_create(0);
        assert_int_equal(selfsigned_make(hosts[i], now_s(), &cert, &key), RC_OK);
        const struct tls_server_opts opts = {.cert_pem = buf_str(&cert), .key_pem = buf_str(&key)};
        assert_int_equal(tls_server_create(&opts, &apps[i]->server, NULL), RC_OK);
        apps[i]->acceptor = tls_acceptor_create(apps[i]->loop, apps[i]->server, on_ready, apps[i]);
        buf_append_str(&roots, buf_str(&cert));
        buf_fini(&cert);
        buf_fini(&key);
    }
    close(mkstemp(path));
    write_file(path, buf_str(&roots));
    assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++)
            check_verified(apps[i], hosts[k], i == k);
        check_verified(apps[i], "other.example", false);
        check_verified(apps[i], "192.0.2.8", false);
        close_app(apps[i]);
    }
    struct app *unknown = open_server(NULL);
    check_verified(unknown, "relay.example", false);
    close_app(unknown);
    unlink(path);
    buf_fini(&roots);
}

static void test_reload(void **state)
{
    (void)state;
    struct app *a = MEM_NEW(struct app);
    char first[TLS_FINGERPRINT_CAP];
    char second[TLS_FINGERPRINT_CAP];
    a->loop = loop_create(0);
    make_dir(a);
    write_pair(a, "a.example");
    const struct tls_server_opts opts = {.cert_file = a->cert_path, .key_file = a->key_path};
    assert_int_equal(tls_server_create(&opts, &a->server, NULL), RC_OK);
    a->acceptor = tls_acceptor_create(a->loop, a->server, on_ready, a);
    served_fingerprint(a, first);
    assert_int_equal(log_set_level("tls", LOG_OFF), RC_OK);

    /* Nothing changed. */
    tls_server_check_files(a->server);
    served_fingerprint(a, second);
    assert_string_equal(second, first);

    /* An open connection lives on over a reload. */
    connect_client(a, 0, &any_server);
    write_pair(a, "b.example");
    tls_server_check_files(a->server);
    stream_write(a->cli.s, "still", 5);
    run_iteration(a->loop);
    assert_true(str_eq_c(buf_str(&a->srv.in), "still"));
    close_sides(a);
    served_fingerprint(a, second);
    assert_string_not_equal(second, first);

    /* Broken, of another key, gone: the old one stays. */
    struct err err = {0};
    int64_t failed = metric_read("fullscale_tls_reloads_total", "result=\"failed\"");
    write_file(a->cert_path, STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    tls_server_check_files(a->server);
    served_fingerprint(a, first);
    assert_string_equal(first, second);
    struct buf cert = {0};
    struct buf key = {0};
    assert_int_equal(selfsigned_make("c.example", now_s(), &cert, &key), RC_OK);
    write_file(a->cert_path, buf_str(&cert));
    assert_int_equal(tls_server_reload(a->server, &err), RC_INVALID);
    assert_true(err.text[0] != '\0');
    unlink(a->key_path);
    assert_int_equal(tls_server_reload(a->server, &err), RC_NOT_FOUND);
    served_fingerprint(a, first);
    assert_string_equal(first, second);
    assert_int_equal(metric_read("fullscale_tls_reloads_total", "result=\"failed\""), failed + 3);
    /* And mended. */
    write_file(a->key_path, buf_str(&key));
    tls_server_check_files(a->server);
    served_fingerprint(a, first);
    assert_string_not_equal(first, second);
    assert_int_equal(log_set_level("tls", LOG_INFO), RC_OK);
    buf_fini(&cert);
    buf_fini(&key);
    remove_dir(a);
    close_app(a);
}

/* A certificate is read first and used later; what cannot be read changes nothing. */
static void test_prepare(void **state)
{
    (void)state;
    struct app *a = MEM_NEW(struct app);
    char first[TLS_FINGERPRINT_CAP], next[TLS_FINGERPRINT_CAP], now[TLS_FINGERPRINT_CAP];
    struct err err = {0};
    a->loop = loop_create(0);
    make_dir(a);
    write_pair(a, "a.example");
    const struct tls_server_opts opts = {.cert_file = a->cert_path, .key_file = a->key_path};
    assert_int_equal(tls_server_create(&opts, &a->server, NULL), RC_OK);
    a->acceptor = tls_acceptor_create(a->loop, a->server, on_ready, a);
    served_fingerprint(a, first);
    tls_server_use_prepared(a->server, first); /* there is none */
    assert_false(tls_server_prepared(a->server, next));
    served_fingerprint(a, now);
    assert_string_equal(now, first);
    write_pair(a, "b.example");
    assert_int_equal(tls_server_prepare(a->server, next, &err), RC_OK);
    assert_string_not_equal(next, first);
    served_fingerprint(a, now);
    assert_string_equal(now, first);
    write_file(a->key_path, STR("nonsense"));
    assert_int_equal(tls_server_prepare(a->server, now, &err), RC_INVALID);
    unlink(a->key_path);
    assert_int_equal(tls_server_prepare(a->server, now, &err), RC_NOT_FOUND);
    assert_true(tls_server_prepared(a->server, now));
    assert_string_equal(now, next);
    tls_server_use_prepared(a->server, first); /* another one */
    served_fingerprint(a, now);
    assert_string_equal(now, first);
    connect_client(a, 0, &any_server);
    tls_server_use_prepared(a->server, next);
    assert_false(tls_server_prepared(a->server, now));
    stream_write(a->cli.s, "still", 5);
    run_iteration(a->loop);
    assert_true(str_eq_c(buf_str(&a->srv.in), "still"));
    close_sides(a);
    served_fingerprint(a, now);
    assert_string_equal(now, next);
    remove_dir(a);
    close_app(a);
}

static void test_bad_files(void **state)
{
    (void)state;
    struct app a = {0};
    struct tls_server *server;
    struct err err = {0};
    make_dir(&a);
    const struct tls_server_opts opts = {.cert_file = a.cert_path, .key_file = a.key_path};
    assert_int_equal(tls_server_create(&opts, &server, &err), RC_NOT_FOUND);
    assert_null(server);
    assert_non_null(strstr(err.text, a.cert_path));
    assert_int_equal(tls_server_create(&(struct tls_server_opts){.cert_file = a.cert_path}, &server, &err), RC_INVALID);
    assert_int_equal(tls_server_create(&(struct tls_server_opts){0}, &server, &err), RC_INVALID);
    write_file(a.cert_path, STR("nonsense"));
    write_file(a.key_path, STR("nonsense"));
    assert_int_equal(tls_server_create(&opts, &server, &err), RC_INVALID);
    write_pair(&a, "x.example");
    /* A second certificate that is cut off must not be passed over in silence. */
    FILE *f = fopen(a.cert_path, "a");
    assert_non_null(f);
    fputs("-----BEGIN CERTIFICATE-----\nMIIB\n", f);
    fclose(f);
    assert_int_equal(tls_server_create(&opts, &server, &err), RC_INVALID);
    /* A key with a passphrase is refused, without a prompt. */
    write_pair(&a, "x.example");
    write_file(a.key_path, STR("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                               "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
                               "AAAAAAAAAAAAAAAAAAAAAA==\n-----END RSA PRIVATE KEY-----\n"));
    assert_int_equal(tls_server_create(&opts, &server, &err), RC_INVALID);
    remove_dir(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_pinning, testing_restore_logs),
        cmocka_unit_test_teardown(test_extra_cert, testing_restore_logs),
        cmocka_unit_test_teardown(test_verified_by_authority, testing_restore_logs),
        cmocka_unit_test_teardown(test_reload, testing_restore_logs),
        cmocka_unit_test_teardown(test_prepare, testing_restore_logs),
        cmocka_unit_test_teardown(test_bad_files, testing_restore_logs),
    };
    crypto_init();
    return cmocka_run_group_tests_name("tls certificate", tests, NULL, NULL);
}
