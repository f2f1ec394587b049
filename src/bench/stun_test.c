/* Load for a STUN server: the check of answers, and whole runs with a server that makes mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/stun_client_internal.h"
#include "codec/json.h"

/* --- one client, without a network --- */

static const struct addr me = {.family = 4, .port = 4000, .ip = {127, 0, 0, 1}};

struct answer {
    uint8_t bytes[STUN_RESPONSE_CAP_BYTES];
    size_t n;
};

static struct answer answer_to(const uint8_t request[STUN_REQUEST_BYTES], const struct addr *seen)
{
    struct answer a;
    uint8_t txid[STUN_TXID_BYTES];
    assert_int_equal(stun_check_request(request, STUN_REQUEST_BYTES, txid), STUN_OK);
    a.n = stun_build_response(txid, seen->family == 6, seen->ip, seen->port, a.bytes);
    return a;
}

static void test_right_answers(void **state)
{
    (void)state;
    struct hist latency = {0};
    struct bench_stun_client c;
    uint8_t requests[4][STUN_REQUEST_BYTES];
    bench_stun_client_init(&c, 4, &me, &latency);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++)
            assert_true(bench_stun_client_next(&c, 1000, requests[i]));
        assert_false(bench_stun_client_next(&c, 1000, requests[0]));
        for (unsigned i = 0; i < 4; i++) {
            struct answer a = answer_to(requests[3 - i], &me);
            bench_stun_client_answer(&c, a.bytes, a.n, 1500);
        }
        assert_true(bench_stun_client_is_idle(&c));
    }
    assert_true(c.sent == 12 && c.answered == 12 && c.lost == 0 && c.bad == 0 && c.late == 0);
    assert_true(latency.n == 12 && latency.max_us == 500 && latency.sum_us == 12 * 500);
    bench_stun_client_fini(&c);
}

static void test_wrong_answers(void **state)
{
    (void)state;
    static const struct addr others[] = {{.family = 4, .port = 4001, .ip = {127, 0, 0, 1}},
                                         {.family = 4, .port = 4000, .ip = {127, 0, 0, 2}},
                                         {.family = 6, .port = 4000, .ip = {127, 0, 0, 1}}};
    struct hist latency = {0};
    struct bench_stun_client c;
    uint8_t request[STUN_REQUEST_BYTES];
    bench_stun_client_init(&c, 1, &me, &latency);
    assert_true(bench_stun_client_next(&c, 0, request));
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct answer a = answer_to(request, &others[i]);
        bench_stun_client_answer(&c, a.bytes, a.n, 1);
        assert_int_equal(c.bad, i + 1);
    }
    struct answer a = answer_to(request, &me);
    for (size_t n = 0; n < a.n; n++)
        bench_stun_client_answer(&c, a.bytes, n, 1); /* cut off */
    bench_stun_client_answer(&c, request, sizeof(request), 1);
    assert_int_equal(c.bad, ARRAY_LEN(others) + a.n + 1);
    assert_true(c.answered == 0 && !bench_stun_client_is_idle(&c) && latency.n == 0);
    bench_stun_client_answer(&c, a.bytes, a.n, 1);
    assert_int_equal(c.answered, 1);
    bench_stun_client_fini(&c);
}

static void test_wrong_transactions(void **state)
{
    (void)state;
    struct hist latency = {0};
    struct bench_stun_client c;
    uint8_t request[STUN_REQUEST_BYTES];
    bench_stun_client_init(&c, 2, &me, &latency);
    assert_true(bench_stun_client_next(&c, 0, request));
    struct answer a = answer_to(request, &me);
    for (unsigned i = 8; i < 8 + STUN_TXID_BYTES; i++) { /* each byte of the transaction id in the header */
        a.bytes[i] ^= 1;
        bench_stun_client_answer(&c, a.bytes, a.n, 1);
        a.bytes[i] ^= 1;
    }
    assert_true(c.late == STUN_TXID_BYTES && c.answered == 0);
    bench_stun_client_answer(&c, a.bytes, a.n, 1);
    bench_stun_client_answer(&c, a.bytes, a.n, 1); /* twice */
    assert_true(c.late == STUN_TXID_BYTES + 1 && c.answered == 1);
    bench_stun_client_fini(&c);
}

static void test_losses(void **state)
{
    (void)state;
    struct hist latency = {0};
    struct bench_stun_client c;
    uint8_t first[STUN_REQUEST_BYTES], second[STUN_REQUEST_BYTES];
    bench_stun_client_init(&c, 1, &me, &latency);
    assert_true(bench_stun_client_next(&c, 0, first));
    bench_stun_client_sweep(&c, BENCH_STUN_CLIENT_TIMEOUT_US);
    assert_int_equal(c.lost, 0);
    bench_stun_client_sweep(&c, BENCH_STUN_CLIENT_TIMEOUT_US + 1);
    assert_int_equal(c.lost, 1);
    assert_true(
        bench_stun_client_next(&c, BENCH_STUN_CLIENT_TIMEOUT_US + 1, second)); /* the slot again, another transaction */
    struct answer a = answer_to(first, &me);
    bench_stun_client_answer(&c, a.bytes, a.n, BENCH_STUN_CLIENT_TIMEOUT_US + 2);
    assert_true(c.late == 1 && c.answered == 0);
    a = answer_to(second, &me);
    bench_stun_client_answer(&c, a.bytes, a.n, BENCH_STUN_CLIENT_TIMEOUT_US + 2);
    assert_true(c.answered == 1 && latency.max_us == 1);
    bench_stun_client_fini(&c);
}

static void test_take_back(void **state)
{
    (void)state;
    struct hist latency = {0};
    struct bench_stun_client c;
    uint8_t requests[4][STUN_REQUEST_BYTES];
    bench_stun_client_init(&c, 4, &me, &latency);
    for (unsigned i = 0; i < 4; i++)
        assert_true(bench_stun_client_next(&c, 0, requests[i]));
    bench_stun_client_take_back(&c, 3); /* the first one went out */
    assert_true(c.sent == 1 && c.idle_n == 3);
    struct answer a = answer_to(requests[0], &me);
    bench_stun_client_answer(&c, a.bytes, a.n, 1);
    assert_true(c.answered == 1 && bench_stun_client_is_idle(&c));
    a = answer_to(requests[2], &me); /* what was not sent cannot be answered */
    bench_stun_client_answer(&c, a.bytes, a.n, 1);
    assert_int_equal(c.late, 1);
    bench_stun_client_fini(&c);
}

/* --- whole runs over loopback --- */

enum fault { NONE, WRONG_TRANSACTION, WRONG_ADDRESS, GARBAGE, DROPS, DOUBLES, FAULT_EVERY = 5 };

struct server {
    int fd;
    enum fault fault;
    unsigned requests, faults;
    char addr[ADDR_TEXT_CAP];
    pthread_t thread;
};

/* Answers until it gets a datagram of one byte. */
static void *serve(void *ctx)
{
    struct server *s = ctx;
    uint8_t request[256], txid[STUN_TXID_BYTES], out[STUN_RESPONSE_CAP_BYTES];
    for (;;) {
        struct sockaddr_storage sa;
        struct addr from;
        socklen_t len = sizeof(sa);
        ssize_t got = recvfrom(s->fd, request, sizeof(request), 0, (struct sockaddr *)&sa, &len);
        if (got <= 1)
            return NULL;
        addr_from_sockaddr((struct sockaddr *)&sa, &from);
        if (stun_check_request(request, (size_t)got, txid) != STUN_OK)
            abort();
        enum fault fault = ++s->requests % FAULT_EVERY == 0 ? s->fault : NONE;
        s->faults += fault != NONE;
        txid[11] ^= fault == WRONG_TRANSACTION ? 0x80 : 0;
        from.port ^= fault == WRONG_ADDRESS ? 1 : 0;
        size_t n = stun_build_response(txid, from.family == 6, from.ip, from.port, out);
        memset(out, fault == GARBAGE ? 0xff : out[0], 1);
        for (unsigned copies = fault == DROPS ? 0 : fault == DOUBLES ? 2 : 1; copies > 0; copies--)
            (void)!sendto(s->fd, out, n, 0, (struct sockaddr *)&sa, len);
    }
}

static void server_start(struct server *s, enum fault fault, int family)
{
    struct addr at = {.family = (uint8_t)family, .ip = {127, 0, 0, 1}};
    struct sockaddr_storage sa;
    if (family == 6)
        at = (struct addr){.family = 6, .ip[15] = 1};
    socklen_t len = addr_to_sockaddr(&at, &sa);
    *s = (struct server){.fault = fault, .fd = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&sa, &len), 0);
    addr_from_sockaddr((struct sockaddr *)&sa, &at);
    addr_format(&at, true, s->addr);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(sendto(s->fd, "x", 1, 0, (struct sockaddr *)&sa, len), 1);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    close(s->fd);
}

struct outcome {
    uint64_t requests, answers, lost, bad, late;
};

static uint64_t figure(const struct json *result, const char *key)
{
    int64_t v = -1;
    assert_true(json_i64(json_get(result, key), &v) && v >= 0);
    return (uint64_t)v;
}

/* One run; checks its report against what the server did. */
static struct outcome run(struct server *s, enum fault fault, int family, double rate)
{
    struct bench_stun_opts opts = {.sockets = 2, .window = 8, .duration_ms = 20, .rate_per_s = rate};
    char *text = NULL;
    size_t n;
    struct arena arena = {0};
    struct err err = {0};
    const struct json *result = NULL;
    server_start(s, fault, family);
    struct report_target target = {.json = open_memstream(&text, &n)};
    opts.addr = s->addr;
    enum rc rc = bench_stun(&opts, &target, &err);
    fclose(target.json);
    server_stop(s);
    assert_int_equal(rc, RC_OK);
    assert_int_equal(json_parse(&arena, str_c(text), NULL, &result, NULL), RC_OK);
    struct outcome o = {figure(result, "requests"), figure(result, "answers"), figure(result, "lost"),
                        figure(result, "bad"), figure(result, "late")};
    arena_fini(&arena);
    free(text);
    assert_int_equal(o.requests, s->requests);
    assert_int_equal(o.answers + o.lost, o.requests);
    return o;
}

/* An answer may be late where the machine is busy: more may be lost than was to be. */
static void test_run(void **state)
{
    (void)state;
    struct server s;
    for (int family = 4; family <= 6; family += 2) {
        struct outcome o = run(&s, NONE, family, 0);
        assert_true(o.requests >= 16 && o.answers > 0 && o.bad == 0);
        o = run(&s, NONE, family, 500);
        assert_true(o.requests > 0 && o.requests <= 10 && o.answers > 0 && o.bad == 0);
    }
}

static void test_runs_with_faults(void **state)
{
    (void)state;
    struct server s;
    struct outcome o = run(&s, WRONG_TRANSACTION, 4, 0);
    assert_true(s.faults > 0 && o.lost >= s.faults && o.late >= s.faults && o.bad == 0);
    o = run(&s, WRONG_ADDRESS, 4, 0);
    assert_true(s.faults > 0 && o.lost >= s.faults && o.bad == s.faults);
    o = run(&s, GARBAGE, 4, 0);
    assert_true(s.faults > 0 && o.lost >= s.faults && o.bad == s.faults);
    o = run(&s, DROPS, 4, 0);
    assert_true(s.faults > 0 && o.lost >= s.faults && o.bad == 0);
    o = run(&s, DOUBLES, 4, 0);
    assert_true(s.faults > 0 && o.late > 0 && o.bad == 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "127.0.0.1", "127.0.0.1:0", "example.com:3478", "127.0.0.1:x"};
    static const char *const far[] = {"192.0.2.1:3478", "[2001:db8::1]:3478", ":3478", "0.0.0.0:3478"};
    struct bench_stun_opts opts = {.sockets = 1, .window = 1, .duration_ms = 1};
    struct report_target target = {.json = stdout};
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        opts.addr = bad[i];
        assert_int_equal(bench_stun(&opts, &target, &err), RC_INVALID);
    }
    for (size_t i = 0; i < ARRAY_LEN(far); i++) {
        opts.addr = far[i];
        assert_int_equal(bench_stun(&opts, &target, &err), RC_DENIED);
        assert_non_null(strstr(err.text, "only loopback"));
    }
    opts = (struct bench_stun_opts){.addr = "127.0.0.1:3478", .sockets = 0, .window = 1, .duration_ms = 1};
    assert_int_equal(bench_stun(&opts, &target, &err), RC_INVALID);
    opts = (struct bench_stun_opts){.addr = "127.0.0.1:3478", .sockets = 1, .window = 0, .duration_ms = 1};
    assert_int_equal(bench_stun(&opts, &target, &err), RC_INVALID);
}

/* A port without a listener answers with an error, which is reported in words. */
static void test_nobody_there(void **state)
{
    (void)state;
    struct server s;
    struct err err = {0};
    struct bench_stun_opts opts = {.sockets = 1, .window = 1, .duration_ms = 10};
    struct report_target target = {.json = stdout};
    server_start(&s, NONE, 4);
    server_stop(&s);
    opts.addr = s.addr;
    assert_int_equal(bench_stun(&opts, &target, &err), RC_IO);
    assert_non_null(strstr(err.text, "refused"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_answers),      cmocka_unit_test(test_wrong_answers),
        cmocka_unit_test(test_wrong_transactions), cmocka_unit_test(test_losses),
        cmocka_unit_test(test_take_back),          cmocka_unit_test(test_run),
        cmocka_unit_test(test_runs_with_faults),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
