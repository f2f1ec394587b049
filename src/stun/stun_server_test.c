/* Over real loopback UDP: the test is the client, and runs the loop in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/metric.h"
#include "proto/stun.h"
#include "stun/stun_server.h"

struct fixture {
    struct loop *loop;
    struct stun_server *server;
    struct stun_socket *socket;
    struct addr at; /* of the server, with a loopback address */
    int fd;         /* the client's */
    struct loop_poll *poll;
    unsigned wanted; /* answers after which the loop stops */
    unsigned got;
    uint8_t last[2048];
    size_t last_len;
    struct addr last_from;
};

static void on_answer(void *ctx, int events)
{
    struct fixture *f = ctx;
    (void)events;
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    ssize_t n;
    while ((n = recvfrom(f->fd, f->last, sizeof(f->last), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) >= 0) {
        f->last_len = (size_t)n;
        addr_from_sockaddr((const struct sockaddr *)&from, &f->last_from);
        if (++f->got == f->wanted)
            loop_stop(f->loop);
    }
}

static struct addr loopback(int family, uint16_t port)
{
    struct addr a = {.family = (uint8_t)family, .port = port};
    if (family == 4)
        memcpy(a.ip, (const uint8_t[]){127, 0, 0, 1}, 4);
    else
        a.ip[15] = 1;
    return a;
}

static void client_open(struct fixture *f, struct addr to)
{
    struct sockaddr_storage sa;
    struct addr from = loopback(to.family, 0);
    socklen_t len = addr_to_sockaddr(&from, &sa);
    f->at = to;
    f->fd = socket(to.family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(f->fd >= 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&sa, len), 0);
    f->poll = loop_poll_create(f->loop, f->fd, on_answer, f);
    loop_poll_set(f->poll, LOOP_READ);
}

static bool start(struct fixture *f, const char *listen, int client_family)
{
    *f = (struct fixture){.loop = loop_create(0), .server = stun_server_create(), .fd = -1};
    struct addr at;
    struct err err = {0};
    assert_int_equal(addr_parse_listen(str_c(listen), &at), RC_OK);
    enum rc rc = stun_server_socket_open(f->server, f->loop, &at, &f->socket, &err);
    if (rc != RC_OK) {
        print_message("%s\n", err.text);
        return false;
    }
    stun_server_socket_addr(f->socket, &at);
    assert_int_not_equal(at.port, 0);
    client_open(f, loopback(client_family, at.port));
    return true;
}

/* Harmless when it has been done. */
static void stop(struct fixture *f)
{
    loop_poll_destroy(&f->poll);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    stun_server_socket_close(&f->socket);
    stun_server_destroy(&f->server);
    loop_destroy(&f->loop);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.fd = -1};
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    stop(*state);
    return 0;
}

static void send_bytes(struct fixture *f, const void *p, size_t n)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&f->at, &sa);
    assert_int_equal(sendto(f->fd, p, n, 0, (struct sockaddr *)&sa, len), n);
}

static void send_request(struct fixture *f, uint8_t number)
{
    uint8_t txid[STUN_TXID_BYTES] = {number}, req[STUN_REQUEST_BYTES];
    stun_build_request(txid, req);
    send_bytes(f, req, sizeof(req));
}

/* Runs until `n` more answers have come. */
static void await_answers(struct fixture *f, unsigned n)
{
    f->wanted = f->got + n;
    loop_run(f->loop);
    assert_int_equal(f->got, f->wanted);
}

/* The last answer has the client's own address, and came from the address that the request was sent to. */
static void assert_answer(struct fixture *f, uint8_t number, size_t len)
{
    uint8_t txid[STUN_TXID_BYTES], ip[16] = {0};
    bool is_ipv6;
    uint16_t port;
    assert_int_equal(f->last_len, len);
    assert_int_equal(stun_parse_response(f->last, f->last_len, txid, &is_ipv6, ip, &port), RC_OK);
    assert_int_equal(txid[0], number);
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    struct addr self;
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&sa, &sa_len), 0);
    addr_from_sockaddr((const struct sockaddr *)&sa, &self);
    assert_int_equal(is_ipv6, self.family == 6);
    assert_memory_equal(ip, self.ip, is_ipv6 ? 16 : 4);
    assert_int_equal(port, self.port);
    assert_true(addr_eq(&f->last_from, &f->at));
}

static int64_t disposition(const char *name)
{
    char labels[64];
    snprintf(labels, sizeof(labels), "disposition=\"%s\"", name);
    return metric_read("fullscale_stun_requests_total", labels);
}

static void test_ipv4_on_a_dual_stack_socket(void **state)
{
    struct fixture *f = *state;
    assert_true(start(f, ":0", 4));
    int64_t before = metric_read("fullscale_stun_addrfamily_total", "family=\"ipv4\"");
    send_request(f, 7);
    await_answers(f, 1);
    assert_answer(f, 7, 32);
    assert_int_equal(metric_read("fullscale_stun_addrfamily_total", "family=\"ipv4\""), before + 1);
    stop(f);
}

static void test_ipv4_socket(void **state)
{
    struct fixture *f = *state;
    assert_true(start(f, "127.0.0.1:0", 4));
    send_request(f, 8);
    await_answers(f, 1);
    assert_answer(f, 8, 32);
    stop(f);
}

static void test_ipv6(void **state)
{
    struct fixture *f = *state;
    bool ok = start(f, "[::1]:0", 6);
    if (ok) {
        send_request(f, 9);
        await_answers(f, 1);
        assert_answer(f, 9, 44);
    }
    stop(f);
    if (!ok)
        skip();
}

/* 127.0.0.2 is ours as well, but not what the routing table would choose as the source. */
static void test_answers_from_the_address_that_was_hit(void **state)
{
    static const char *const listens[] = {":0", "0.0.0.0:0"};
    for (size_t i = 0; i < ARRAY_LEN(listens); i++) {
        struct fixture *f = *state;
        assert_true(start(f, listens[i], 4));
        f->at.ip[3] = 2;
        send_request(f, 1);
        await_answers(f, 1);
        assert_answer(f, 1, 32);
        stop(f);
    }
}

static void test_batches(void **state)
{
    struct fixture *f = *state;
    assert_true(start(f, "127.0.0.1:0", 4));
    for (unsigned i = 0; i < 200; i++)
        send_request(f, (uint8_t)i);
    await_answers(f, 200);
    assert_answer(f, 199, 32);
    stop(f);
}

static void test_junk_gets_no_answer(void **state)
{
    struct fixture *f = *state;
    static uint8_t huge[65507];
    uint8_t txid[STUN_TXID_BYTES] = {0}, req[STUN_REQUEST_BYTES];
    assert_true(start(f, "127.0.0.1:0", 4));
    int64_t not_stun = disposition("not_stun"), bad_print = disposition("bad_fingerprint");
    int64_t cut = disposition("bad_attribute");
    send_bytes(f, "", 0);
    send_bytes(f, "x", 1);
    stun_build_request(txid, huge); /* a good beginning does not make it a request */
    send_bytes(f, huge, sizeof(huge));
    stun_build_request(txid, req);
    req[STUN_REQUEST_BYTES - 1] ^= 1;
    send_bytes(f, req, sizeof(req));
    send_bytes(f, req, sizeof(req) - 1);
    send_request(f, 3);
    await_answers(f, 1);
    assert_answer(f, 3, 32);
    assert_int_equal(f->got, 1);
    assert_int_equal(disposition("not_stun"), not_stun + 3);
    assert_int_equal(disposition("bad_fingerprint"), bad_print + 1);
    assert_int_equal(disposition("bad_attribute"), cut + 1);
    stop(f);
}

static void test_silence(void **state)
{
    struct fixture *f = *state;
    assert_true(start(f, "127.0.0.1:0", 4));
    int64_t before = disposition("silent");
    send_request(f, 1);
    await_answers(f, 1);
    stun_server_set_silent(f->server, true);
    for (int i = 0; i < 3; i++)
        send_request(f, 2);
    /* A second server on the same loop, which is not silent, answers after the silent one has read its request. */
    struct stun_server *other = stun_server_create();
    struct stun_socket *socket = NULL;
    struct addr at = loopback(4, 0);
    assert_int_equal(stun_server_socket_open(other, f->loop, &at, &socket, NULL), RC_OK);
    while (disposition("silent") < before + 3) {
        stun_server_socket_addr(socket, &f->at);
        send_request(f, 4);
        await_answers(f, 1);
        assert_answer(f, 4, 32);
    }
    stun_server_socket_addr(f->socket, &f->at);
    stun_server_set_silent(f->server, false);
    send_request(f, 5);
    await_answers(f, 1);
    assert_answer(f, 5, 32);
    stun_server_socket_close(&socket);
    stun_server_destroy(&other);
    stop(f);
}

static void test_port_in_use(void **state)
{
    struct fixture *f = *state;
    assert_true(start(f, "127.0.0.1:0", 4));
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&sa, &len), 0);
    struct addr taken; /* the client's port, which is not shared */
    addr_from_sockaddr((struct sockaddr *)&sa, &taken);
    struct stun_socket *socket = NULL;
    struct err err = {0};
    assert_int_equal(stun_server_socket_open(f->server, f->loop, &taken, &socket, &err), RC_IN_USE);
    assert_non_null(strstr(err.text, "STUN cannot listen on 127.0.0.1:"));
    assert_null(socket);
    stun_server_socket_close(&socket);
    stop(f);
}

/* A second server is refused, rather than get a part of the requests unnoticed. */
static void test_second_server_is_refused(void **state)
{
    static const char *const listens[] = {"127.0.0.1:0", ":0", "0.0.0.0:0"};
    for (size_t i = 0; i < ARRAY_LEN(listens); i++) {
        struct fixture *f = *state;
        assert_true(start(f, listens[i], 4));
        struct stun_server *other = stun_server_create();
        struct stun_socket *socket = NULL;
        struct addr at;
        struct err err = {0};
        stun_server_socket_addr(f->socket, &at);
        assert_int_equal(stun_server_socket_open(other, f->loop, &at, &socket, &err), RC_IN_USE);
        assert_non_null(strstr(err.text, "STUN cannot listen on "));
        send_request(f, 6); /* the first goes on */
        await_answers(f, 1);
        assert_answer(f, 6, 32);
        stun_server_socket_close(&f->socket);
        assert_int_equal(stun_server_socket_open(other, f->loop, &at, &socket, &err), RC_OK); /* it is free now */
        stun_server_socket_close(&socket);
        stun_server_destroy(&other);
        stop(f);
    }
}

/* Two sockets share the port; whichever gets the datagram answers. */
static void test_two_sockets_on_one_port(void **state)
{
    struct fixture *f = *state;
    assert_true(start(f, "127.0.0.1:0", 4));
    struct stun_socket *second = NULL;
    assert_int_equal(stun_server_socket_open(f->server, f->loop, &f->at, &second, NULL), RC_OK);
    for (unsigned i = 0; i < 20; i++)
        send_request(f, (uint8_t)i);
    await_answers(f, 20);
    stun_server_socket_close(&second);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ipv4_on_a_dual_stack_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ipv4_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ipv6, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_from_the_address_that_was_hit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_junk_gets_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_silence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_port_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_second_server_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_sockets_on_one_port, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
