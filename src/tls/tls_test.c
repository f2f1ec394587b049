#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "tls/selfsigned.h"
#include "tls/tls.h"

enum { DAY_S = 24 * 3600 };

struct side {
    struct stream *s;
    struct buf in;
    unsigned drained_n;
    unsigned datas_n;
    bool is_closed;
    enum rc why;
    bool closes_itself;
    bool pauses_itself;
};

struct app {
    struct loop *loop;
    struct tls_server *server;
    struct tls_acceptor *acceptor;
    struct side srv; /* null stream until the handshake is done */
    struct side cli;
    char dir[64];
    char cert_path[96];
    char key_path[96];
};

static void turn(struct loop *loop)
{
    loop_stop(loop);
    loop_run(loop);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct side *side = ctx;
    side->datas_n++;
    buf_append(&side->in, p, n);
    if (side->pauses_itself)
        stream_pause(side->s, true);
    if (side->closes_itself)
        stream_close(&side->s, true);
}

static void on_drained(void *ctx)
{
    ((struct side *)ctx)->drained_n++;
}

static void on_closed(void *ctx, enum rc why)
{
    struct side *side = ctx;
    side->is_closed = true;
    side->why = why;
}

static const struct stream_events events = {on_data, on_drained, on_closed};

static void on_ready(void *ctx, struct stream *s)
{
    struct app *a = ctx;
    a->srv.s = s;
    stream_set_events(s, &events, &a->srv);
}

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

static void make_dir(struct app *a)
{
    snprintf(a->dir, sizeof(a->dir), "/tmp/tls_test.XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->cert_path, sizeof(a->cert_path), "%s/cert.pem", a->dir);
    snprintf(a->key_path, sizeof(a->key_path), "%s/key.pem", a->dir);
}

static void remove_dir(struct app *a)
{
    unlink(a->cert_path);
    unlink(a->key_path);
    assert_int_equal(rmdir(a->dir), 0);
}

static struct app *open_server(const char *const *alpn)
{
    struct app *a = MEM_NEW(struct app);
    struct buf cert = {0};
    struct buf key = {0};
    a->loop = loop_create(0);
    assert_int_equal(selfsigned_make("relay.example", now_s(), &cert, &key), RC_OK);
    const struct tls_server_opts opts = {.cert_pem = buf_str(&cert), .key_pem = buf_str(&key), .alpn = alpn};
    assert_int_equal(tls_server_create(&opts, &a->server, NULL), RC_OK);
    a->acceptor = tls_acceptor_create(a->loop, a->server, on_ready, a);
    buf_fini(&cert);
    buf_fini(&key);
    return a;
}

static void close_sides(struct app *a)
{
    stream_close(&a->cli.s, false);
    stream_close(&a->srv.s, false);
    turn(a->loop);
    buf_fini(&a->cli.in);
    buf_fini(&a->srv.in);
    a->cli = a->srv = (struct side){0};
}

static void close_app(struct app *a)
{
    close_sides(a);
    tls_acceptor_destroy(&a->acceptor);
    turn(a->loop);
    tls_server_destroy(&a->server);
    loop_destroy(&a->loop);
    mem_free(a);
}

static void connect_client(struct app *a, size_t chunk, const struct tls_client_opts *opts)
{
    struct stream *server_end;
    struct stream *client_end;
    stream_pair_create(a->loop, chunk, &server_end, &client_end);
    tls_acceptor_take(a->acceptor, server_end);
    a->cli.s = tls_client_create(client_end, opts);
    stream_set_events(a->cli.s, &events, &a->cli);
    turn(a->loop);
}

static const struct tls_client_opts any_server = {.server_name = "relay.example"};

/* --- handshakes and data --- */

static void test_both_ways(void **state)
{
    (void)state;
    for (int version = 12; version <= 13; version++) {
        for (size_t chunk = 0; chunk < 3; chunk++) {
            struct app *a = open_server(NULL);
            connect_client(a, chunk, &(struct tls_client_opts){.max_version = version});
            assert_non_null(a->srv.s);
            assert_true(a->srv.s->is_tls);
            stream_write(a->cli.s, "question", 8);
            stream_write(a->srv.s, "answer", 6);
            turn(a->loop);
            assert_true(str_eq_c(buf_str(&a->srv.in), "question"));
            assert_true(str_eq_c(buf_str(&a->cli.in), "answer"));
            close_app(a);
        }
    }
}

/* What the client writes at once waits for the handshake, and is there when the server's owner is told. */
static void test_early_write(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    struct stream *server_end;
    struct stream *client_end;
    stream_pair_create(a->loop, 0, &server_end, &client_end);
    tls_acceptor_take(a->acceptor, server_end);
    a->cli.s = tls_client_create(client_end, &any_server);
    stream_set_events(a->cli.s, &events, &a->cli);
    stream_write(a->cli.s, "early", 5);
    turn(a->loop);
    assert_true(str_eq_c(buf_str(&a->srv.in), "early"));
    close_app(a);
}

/* What one turn wrote leaves as one record. */
static void test_gathers(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    connect_client(a, 0, &any_server);
    for (int i = 0; i < 100; i++)
        stream_write(a->srv.s, "0123456789", 10);
    turn(a->loop);
    assert_int_equal(buf_len(&a->cli.in), 1000);
    assert_int_equal(a->cli.datas_n, 1);
    close_app(a);
}

static void test_bulk_and_stall(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    connect_client(a, 0, &any_server);
    uint8_t piece[1000];
    for (size_t i = 0; i < sizeof(piece); i++)
        piece[i] = (uint8_t)i;
    stream_pause(a->cli.s, true);
    for (int i = 0; i < 500; i++)
        stream_write(a->srv.s, piece, sizeof(piece));
    turn(a->loop);
    assert_true(stream_queued(a->srv.s) > STREAM_HIGH_WATER);
    assert_int_equal(buf_len(&a->cli.in), 0);
    assert_int_equal(a->srv.drained_n, 0);
    stream_pause(a->cli.s, false);
    turn(a->loop);
    assert_int_equal(buf_len(&a->cli.in), 500 * sizeof(piece));
    assert_memory_equal(buf_at(&a->cli.in) + 499 * sizeof(piece), piece, sizeof(piece));
    assert_int_equal(a->srv.drained_n, 1);
    assert_int_equal(stream_queued(a->srv.s), 0);
    close_app(a);
}

/* An owner that pauses after each record gets the next one when it goes on, although nothing more comes: many have been read
 * ahead. */
static void test_pauses_between_records(void **state)
{
    (void)state;
    for (int version = 12; version <= 13; version++) {
        struct app *a = open_server(NULL);
        connect_client(a, 0, &(struct tls_client_opts){.max_version = version});
        stream_pause(a->srv.s, true);
        for (uint8_t i = 0; i < 20; i++) {
            stream_write(a->cli.s, &i, 1);
            turn(a->loop);
        }
        a->srv.pauses_itself = true;
        for (uint8_t i = 0; i < 20; i++) {
            assert_int_equal(buf_len(&a->srv.in), i);
            stream_pause(a->srv.s, false);
            turn(a->loop);
            turn(a->loop);
            assert_int_equal(buf_at(&a->srv.in)[i], i);
        }
        stream_close(&a->cli.s, true);
        stream_pause(a->srv.s, false);
        turn(a->loop);
        assert_true(a->srv.is_closed);
        close_app(a);
    }
}

static void test_closing(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    connect_client(a, 0, &any_server);
    stream_write(a->srv.s, "last words", 10);
    stream_close(&a->srv.s, true);
    turn(a->loop);
    assert_true(str_eq_c(buf_str(&a->cli.in), "last words"));
    assert_true(a->cli.is_closed);
    assert_int_equal(a->cli.why, RC_CLOSED);
    close_sides(a);

    /* From inside a callback, with more in the same bytes. */
    connect_client(a, 0, &any_server);
    a->srv.closes_itself = true;
    stream_write(a->cli.s, "one", 3);
    turn(a->loop);
    assert_null(a->srv.s);
    assert_true(a->cli.is_closed);
    close_app(a);
}

/* --- ALPN --- */

static void test_alpn(void **state)
{
    (void)state;
    static const char *const both[] = {"h2", "http/1.1", NULL};
    static const char *const h1[] = {"http/1.1", NULL};
    static const char *const other[] = {"acme-tls/1", NULL};
    static const struct {
        const char *const *server;
        const char *const *client;
        const char *chosen;
    } rows[] = {
        {both, both, "h2"}, {both, h1, "http/1.1"}, {both, NULL, ""},
        {both, other, ""},  {h1, both, "http/1.1"}, {NULL, both, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct app *a = open_server(rows[i].server);
        connect_client(a, 0, &(struct tls_client_opts){.alpn = rows[i].client});
        assert_non_null(a->srv.s);
        assert_true(str_eq_c(tls_stream_alpn(a->srv.s), rows[i].chosen));
        assert_true(str_eq_c(tls_stream_alpn(a->cli.s), rows[i].chosen));
        close_app(a);
    }
}

/* --- certificates --- */

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

static void write_file(const char *path, struct str text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.len, f), text.len);
    fclose(f);
}

static void write_pair(struct app *a, const char *host)
{
    struct buf cert = {0};
    struct buf key = {0};
    assert_int_equal(selfsigned_make(host, now_s(), &cert, &key), RC_OK);
    write_file(a->cert_path, buf_str(&cert));
    write_file(a->key_path, buf_str(&key));
    buf_fini(&cert);
    buf_fini(&key);
}

static void served_fingerprint(struct app *a, char out[TLS_FINGERPRINT_CAP])
{
    tls_server_fingerprint(a->server, out);
    connect_client(a, 0, &(struct tls_client_opts){.fingerprint = out});
    assert_non_null(a->srv.s);
    assert_false(a->cli.is_closed);
    close_sides(a);
}

/* A server with the pair at these paths, and a client that wants it to be `host`. */
static void check_verified(struct app *a, const char *host, bool is_good)
{
    for (int version = 12; version <= 13; version++) {
        connect_client(a, 0, &(struct tls_client_opts){.verify_host = host, .max_version = version});
        stream_write(a->cli.s, "secret", 6); /* dropped, when the server is another */
        turn(a->loop);
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
    turn(a->loop);
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
    turn(a->loop);
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
    /* A key that wants a passphrase: no prompt, a refusal. */
    write_pair(&a, "x.example");
    write_file(a.key_path, STR("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                               "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
                               "AAAAAAAAAAAAAAAAAAAAAA==\n-----END RSA PRIVATE KEY-----\n"));
    assert_int_equal(tls_server_create(&opts, &server, &err), RC_INVALID);
    remove_dir(&a);
}

/* --- handshakes that fail --- */

static int64_t failures(const char *labels)
{
    return metric_read("fullscale_tls_handshake_failures_total", labels);
}

static void test_garbage(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    struct stream *server_end;
    struct side raw = {0};
    int64_t before = failures("reason=\"protocol\"");
    stream_pair_create(a->loop, 0, &server_end, &raw.s);
    stream_set_events(raw.s, &events, &raw);
    tls_acceptor_take(a->acceptor, server_end);
    stream_write(raw.s, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
    turn(a->loop);
    assert_true(raw.is_closed);
    assert_null(a->srv.s);
    assert_int_equal(failures("reason=\"protocol\""), before + 1);
    stream_close(&raw.s, false);
    buf_fini(&raw.in);
    close_app(a);
}

/* Bytes of a good session spoilt on the way end it; nothing of the spoilt record is handed up. */
static void test_tampered(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    struct stream *ends[2];
    stream_pair_create(a->loop, 0, &ends[0], &ends[1]);
    tls_acceptor_take(a->acceptor, ends[0]);
    a->cli.s = tls_client_create(ends[1], &any_server);
    stream_set_events(a->cli.s, &events, &a->cli);
    turn(a->loop);
    /* Past the TLS layer, straight to the pair: a record that decrypts to nothing sensible. */
    static const uint8_t record[] = {0x17, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                     9,    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    stream_write(ends[1], record, sizeof(record));
    turn(a->loop);
    assert_true(a->srv.is_closed);
    assert_int_equal(a->srv.why, RC_CRYPTO);
    assert_int_equal(buf_len(&a->srv.in), 0);
    close_app(a);
}

static void test_handshake_deadline(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    struct side raw = {0};
    struct stream *server_end;
    int64_t before = failures("reason=\"timeout\"");
    int64_t left = failures("reason=\"left\"");
    stream_pair_create(a->loop, 0, &server_end, &raw.s);
    stream_set_events(raw.s, &events, &raw);
    int64_t now_ms = loop_now_ms(a->loop);
    tls_acceptor_take(a->acceptor, server_end);
    stream_write(raw.s, "\x16\x03\x01", 3);
    turn(a->loop);
    tls_acceptor_sweep(a->acceptor, now_ms + 9 * 1000);
    turn(a->loop);
    assert_false(raw.is_closed);
    tls_acceptor_sweep(a->acceptor, now_ms + 11 * 1000);
    turn(a->loop);
    assert_true(raw.is_closed);
    assert_int_equal(failures("reason=\"timeout\""), before + 1);
    stream_close(&raw.s, false);
    /* One that hangs up half-way, and one that the server's end finds half-way. */
    stream_pair_create(a->loop, 0, &server_end, &raw.s);
    tls_acceptor_take(a->acceptor, server_end);
    stream_close(&raw.s, false);
    turn(a->loop);
    assert_int_equal(failures("reason=\"left\""), left + 1);
    stream_pair_create(a->loop, 0, &server_end, &raw.s);
    tls_acceptor_take(a->acceptor, server_end);
    turn(a->loop);
    stream_close(&raw.s, false);
    close_app(a);
}

/* --- self-signed certificates --- */

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

/* --- threads --- */

/* A worker with its own loop shakes hands while another thread changes the certificate. */
static void *shake_hands(void *arg)
{
    struct app *a = arg;
    for (int i = 0; i < 20; i++) {
        connect_client(a, 0, &any_server);
        stream_write(a->cli.s, "x", 1);
        turn(a->loop);
        if (buf_len(&a->srv.in) != 1)
            abort();
        close_sides(a);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { N = 2 };
    struct app files = {0};
    struct app *workers[N];
    pthread_t threads[N];
    make_dir(&files);
    write_pair(&files, "a.example");
    const struct tls_server_opts opts = {.cert_file = files.cert_path, .key_file = files.key_path};
    assert_int_equal(tls_server_create(&opts, &files.server, NULL), RC_OK);
    assert_int_equal(log_set_level("tls", LOG_OFF), RC_OK);
    uint8_t der[2048];
    size_t der_n = 0;
    for (int i = 0; i < N; i++) {
        workers[i] = MEM_NEW(struct app);
        workers[i]->loop = loop_create((unsigned)i);
        workers[i]->acceptor = tls_acceptor_create(workers[i]->loop, files.server, on_ready, workers[i]);
    }
    connect_client(workers[0], 0, &any_server);
    der_n = tls_client_peer_cert_der(workers[0]->cli.s, 0, der, sizeof(der));
    close_sides(workers[0]);
    for (int i = 0; i < N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shake_hands, workers[i]), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(tls_server_set_extra_cert(files.server, der, i % 2 == 0 ? der_n : 0), RC_OK);
        assert_int_equal(tls_server_reload(files.server, NULL), RC_OK);
        tls_server_check_files(files.server);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        tls_acceptor_destroy(&workers[i]->acceptor);
        turn(workers[i]->loop);
        loop_destroy(&workers[i]->loop);
        mem_free(workers[i]);
    }
    assert_int_equal(log_set_level("tls", LOG_INFO), RC_OK);
    tls_server_destroy(&files.server);
    remove_dir(&files);
}

/* --- memory --- */

/* What an idle connection gives back when it goes. Only the real allocator can tell: the sanitizers' own says 0. */
static void test_memory(void **state)
{
    (void)state;
    enum { N = 50, LIMIT_BYTES = 20 * 1024 };
    struct app *a = open_server(NULL);
    struct app *conns[N];
    for (int i = 0; i < N; i++) {
        conns[i] = MEM_NEW(struct app);
        conns[i]->loop = a->loop;
        conns[i]->acceptor = tls_acceptor_create(a->loop, a->server, on_ready, conns[i]);
        connect_client(conns[i], 0, &any_server);
        stream_write(conns[i]->cli.s, "hello", 5);
        stream_write(conns[i]->srv.s, "hello", 5);
        turn(a->loop);
        buf_reset(&conns[i]->srv.in, 0);
        stream_pause(conns[i]->cli.s, true); /* so that it keeps what it is when the other end goes */
    }
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < N; i++)
        stream_close(&conns[i]->srv.s, false);
    turn(a->loop);
    size_t each = (before - mallinfo2().uordblks) / N;
    print_message("# an idle TLS connection: %zu bytes of heap\n", each);
    assert_true(each < LIMIT_BYTES);
    for (int i = 0; i < N; i++) {
        close_sides(conns[i]);
        tls_acceptor_destroy(&conns[i]->acceptor);
        turn(a->loop);
        mem_free(conns[i]);
    }
    close_app(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_early_write),
        cmocka_unit_test(test_gathers),
        cmocka_unit_test(test_bulk_and_stall),
        cmocka_unit_test(test_pauses_between_records),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_pinning),
        cmocka_unit_test(test_extra_cert),
        cmocka_unit_test(test_verified_by_authority),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_tampered),
        cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_selfsigned_kept),
        cmocka_unit_test(test_selfsigned_refusals),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory),
    };
    crypto_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
