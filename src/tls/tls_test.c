/* Handshakes, data, closing, ALPN, threads and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "tls/testing.h"

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
            run_iteration(a->loop);
            assert_true(str_eq_c(buf_str(&a->srv.in), "question"));
            assert_true(str_eq_c(buf_str(&a->cli.in), "answer"));
            close_app(a);
        }
    }
}

/* What the client writes at once waits for the handshake, and is there when the server's owner gets the stream. */
static void test_early_write(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    struct stream *server_end;
    struct stream *client_end;
    stream_pair_create(a->loop, 0, &server_end, &client_end);
    tls_acceptor_take(a->acceptor, server_end);
    a->cli.s = tls_client_create(client_end, &any_server);
    stream_set_events(a->cli.s, &testing_events, &a->cli);
    stream_write(a->cli.s, "early", 5);
    run_iteration(a->loop);
    assert_true(str_eq_c(buf_str(&a->srv.in), "early"));
    close_app(a);
}

/* What one iteration wrote is sent as one record. */
static void test_gathers(void **state)
{
    (void)state;
    struct app *a = open_server(NULL);
    connect_client(a, 0, &any_server);
    for (int i = 0; i < 100; i++)
        stream_write(a->srv.s, "0123456789", 10);
    run_iteration(a->loop);
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
    run_iteration(a->loop);
    assert_true(stream_queued(a->srv.s) > STREAM_HIGH_WATER);
    assert_int_equal(buf_len(&a->cli.in), 0);
    assert_int_equal(a->srv.drained_n, 0);
    stream_pause(a->cli.s, false);
    run_iteration(a->loop);
    assert_int_equal(buf_len(&a->cli.in), 500 * sizeof(piece));
    assert_memory_equal(buf_at(&a->cli.in) + 499 * sizeof(piece), piece, sizeof(piece));
    assert_int_equal(a->srv.drained_n, 1);
    assert_int_equal(stream_queued(a->srv.s), 0);
    close_app(a);
}

/* An owner that pauses after each record gets the next one when it goes on, although nothing more comes: many have been
 * read ahead. */
static void test_pauses_between_records(void **state)
{
    (void)state;
    for (int version = 12; version <= 13; version++) {
        struct app *a = open_server(NULL);
        connect_client(a, 0, &(struct tls_client_opts){.max_version = version});
        stream_pause(a->srv.s, true);
        for (uint8_t i = 0; i < 20; i++) {
            stream_write(a->cli.s, &i, 1);
            run_iteration(a->loop);
        }
        a->srv.pauses_itself = true;
        for (uint8_t i = 0; i < 20; i++) {
            assert_int_equal(buf_len(&a->srv.in), i);
            stream_pause(a->srv.s, false);
            run_iteration(a->loop);
            run_iteration(a->loop);
            assert_int_equal(buf_at(&a->srv.in)[i], i);
        }
        stream_close(&a->cli.s, true);
        stream_pause(a->srv.s, false);
        run_iteration(a->loop);
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
    run_iteration(a->loop);
    assert_true(str_eq_c(buf_str(&a->cli.in), "last words"));
    assert_true(a->cli.is_closed);
    assert_int_equal(a->cli.why, RC_CLOSED);
    close_sides(a);

    /* From inside a callback, with more in the same bytes. */
    connect_client(a, 0, &any_server);
    a->srv.closes_itself = true;
    stream_write(a->cli.s, "one", 3);
    run_iteration(a->loop);
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

/* --- threads --- */

/* A worker with its own loop shakes hands while another thread changes the certificate. */
static void *shake_hands(void *arg)
{
    struct app *a = arg;
    for (int i = 0; i < 20; i++) {
        connect_client(a, 0, &any_server);
        stream_write(a->cli.s, "x", 1);
        run_iteration(a->loop);
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
        run_iteration(workers[i]->loop);
        loop_destroy(&workers[i]->loop);
        mem_free(workers[i]);
    }
    assert_int_equal(log_set_level("tls", LOG_INFO), RC_OK);
    tls_server_destroy(&files.server);
    remove_dir(&files);
}

/* --- memory --- */

/* The memory that an idle connection frees. Only the real allocator can measure it: those of sanitizers return 0. */
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
        run_iteration(a->loop);
        buf_reset(&conns[i]->srv.in, 0);
        stream_pause(conns[i]->cli.s, true); /* so that it keeps what it is when the other end goes */
    }
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < N; i++)
        stream_close(&conns[i]->srv.s, false);
    run_iteration(a->loop);
    size_t each = (before - mallinfo2().uordblks) / N;
    print_message("# an idle TLS connection: %zu bytes of heap\n", each);
    assert_true(each < LIMIT_BYTES);
    for (int i = 0; i < N; i++) {
        close_sides(conns[i]);
        tls_acceptor_destroy(&conns[i]->acceptor);
        run_iteration(a->loop);
        mem_free(conns[i]);
    }
    close_app(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_both_ways, testing_restore_logs),
        cmocka_unit_test_teardown(test_early_write, testing_restore_logs),
        cmocka_unit_test_teardown(test_gathers, testing_restore_logs),
        cmocka_unit_test_teardown(test_bulk_and_stall, testing_restore_logs),
        cmocka_unit_test_teardown(test_pauses_between_records, testing_restore_logs),
        cmocka_unit_test_teardown(test_closing, testing_restore_logs),
        cmocka_unit_test_teardown(test_alpn, testing_restore_logs),
        cmocka_unit_test_teardown(test_threads, testing_restore_logs),
        cmocka_unit_test_teardown(test_memory, testing_restore_logs),
    };
    crypto_init();
    return cmocka_run_group_tests_name("tls tls", tests, NULL, NULL);
}
