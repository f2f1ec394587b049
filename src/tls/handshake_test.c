/* Handshakes that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/metric.h"
#include "crypto/crypto.h"
#include "tls/testing.h"

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
    stream_set_events(raw.s, &testing_events, &raw);
    tls_acceptor_take(a->acceptor, server_end);
    stream_write(raw.s, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
    run_iteration(a->loop);
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
    stream_set_events(a->cli.s, &testing_events, &a->cli);
    run_iteration(a->loop);
    /* Past the TLS layer, straight to the pair: a record that decrypts to nothing sensible. */
    static const uint8_t record[] = {0x17, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                     9,    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    stream_write(ends[1], record, sizeof(record));
    run_iteration(a->loop);
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
    stream_set_events(raw.s, &testing_events, &raw);
    int64_t now_ms = loop_now_ms(a->loop);
    tls_acceptor_take(a->acceptor, server_end);
    stream_write(raw.s, "\x16\x03\x01", 3);
    run_iteration(a->loop);
    tls_acceptor_sweep(a->acceptor, now_ms + 9 * 1000);
    run_iteration(a->loop);
    assert_false(raw.is_closed);
    tls_acceptor_sweep(a->acceptor, now_ms + 11 * 1000);
    run_iteration(a->loop);
    assert_true(raw.is_closed);
    assert_int_equal(failures("reason=\"timeout\""), before + 1);
    stream_close(&raw.s, false);
    /* One that hangs up half-way, and one that the server's end finds half-way. */
    stream_pair_create(a->loop, 0, &server_end, &raw.s);
    tls_acceptor_take(a->acceptor, server_end);
    stream_close(&raw.s, false);
    run_iteration(a->loop);
    assert_int_equal(failures("reason=\"left\""), left + 1);
    stream_pair_create(a->loop, 0, &server_end, &raw.s);
    tls_acceptor_take(a->acceptor, server_end);
    run_iteration(a->loop);
    stream_close(&raw.s, false);
    close_app(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_garbage, testing_restore_logs),
        cmocka_unit_test_teardown(test_tampered, testing_restore_logs),
        cmocka_unit_test_teardown(test_handshake_deadline, testing_restore_logs),
    };
    crypto_init();
    return cmocka_run_group_tests_name("tls handshake", tests, NULL, NULL);
}
