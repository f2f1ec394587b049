/* Streams over loopback sockets and the in-memory pair; what listeners refuse. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/tcp.h"

enum { ECHO_BYTES = 3 * 1024 * 1024 };

struct echo {
    struct loop *loop;
    struct stream *server;
    struct stream *client;
    struct buf got;
    size_t sent;
    bool server_closed;
};

static void echo_data(void *ctx, const uint8_t *p, size_t n)
{
    struct echo *e = ctx;
    stream_write(e->server, p, n);
    if (stream_queued(e->server) > STREAM_HIGH_WATER)
        stream_pause(e->server, true);
}

static void echo_drained(void *ctx)
{
    struct echo *e = ctx;
    stream_pause(e->server, false);
}

static void echo_closed(void *ctx, enum rc why)
{
    struct echo *e = ctx;
    assert_int_equal(why, RC_CLOSED);
    e->server_closed = true;
    stream_close(&e->server, false);
    loop_stop(e->loop);
}

static const struct stream_events echo_events = {echo_data, echo_drained, echo_closed};

static void client_send(void *ctx)
{
    struct echo *e = ctx;
    uint8_t piece[10007];
    while (e->sent < ECHO_BYTES && stream_queued(e->client) <= STREAM_HIGH_WATER) {
        size_t n = ECHO_BYTES - e->sent < sizeof(piece) ? ECHO_BYTES - e->sent : sizeof(piece);
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)((e->sent + i) * 7);
        e->sent += n;
        stream_write(e->client, piece, n);
    }
}

static void client_data(void *ctx, const uint8_t *p, size_t n)
{
    struct echo *e = ctx;
    buf_append(&e->got, p, n);
    if (buf_len(&e->got) == ECHO_BYTES)
        stream_close(&e->client, false); /* from inside its own callback */
}

static void client_closed(void *ctx, enum rc why)
{
    (void)ctx;
    (void)why;
    fail_msg("the client was closed by the server");
}

static const struct stream_events client_events = {client_data, client_send, client_closed};

static void check_echo(struct echo *e)
{
    assert_int_equal(buf_len(&e->got), ECHO_BYTES);
    for (size_t i = 0; i < ECHO_BYTES; i++)
        assert_int_equal(buf_at(&e->got)[i], (uint8_t)(i * 7));
    assert_true(e->server_closed);
    buf_fini(&e->got);
}

static void echo_accept(void *ctx, struct stream *s)
{
    struct echo *e = ctx;
    e->server = s;
    stream_set_events(s, &echo_events, e);
}

static void test_tcp_echo(void **state)
{
    (void)state;
    struct echo e = {.loop = loop_create(0)};
    struct addr at, bound;
    struct tcp_listener *l;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(e.loop, &at, NULL, echo_accept, &e, &l, NULL), RC_OK);
    tcp_listener_addr(l, &bound);
    assert_int_equal(tcp_connect(e.loop, &bound, &e.client), RC_OK);
    stream_set_events(e.client, &client_events, &e);
    client_send(&e);
    loop_run(e.loop);
    check_echo(&e);
    tcp_listener_destroy(&l);
    loop_destroy(&e.loop);
}

static void test_pair_echo(void **state)
{
    (void)state;
    struct echo e = {.loop = loop_create(0)};
    stream_pair_create(e.loop, 4099, &e.server, &e.client);
    stream_set_events(e.server, &echo_events, &e);
    stream_set_events(e.client, &client_events, &e);
    client_send(&e);
    loop_run(e.loop);
    check_echo(&e);
    loop_destroy(&e.loop);
}

static void refused_closed(void *ctx, enum rc why)
{
    struct echo *e = ctx;
    assert_int_equal(why, RC_IO);
    stream_close(&e->client, false);
    loop_stop(e->loop);
}

static void test_connect_refused(void **state)
{
    (void)state;
    static const struct stream_events events = {client_data, NULL, refused_closed};
    struct echo e = {.loop = loop_create(0)};
    struct addr at, bound;
    struct tcp_listener *l;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(e.loop, &at, NULL, echo_accept, &e, &l, NULL), RC_OK);
    tcp_listener_addr(l, &bound);
    tcp_listener_destroy(&l);
    assert_int_equal(tcp_connect(e.loop, &bound, &e.client), RC_OK);
    stream_set_events(e.client, &events, &e);
    loop_run(e.loop);
    loop_destroy(&e.loop);
}

static void limit_accept(void *ctx, struct stream *s)
{
    struct echo *e = ctx;
    assert_null(e->server);
    e->server = s;
    stream_set_events(s, &echo_events, e);
}

static void limit_closed(void *ctx, enum rc why)
{
    struct echo *e = ctx;
    (void)why;
    loop_stop(e->loop);
}

static void test_listener_limit(void **state)
{
    (void)state;
    static const struct stream_events first_events = {client_data, NULL, client_closed};
    static const struct stream_events second_events = {client_data, NULL, limit_closed};
    struct echo e = {.loop = loop_create(0)};
    struct stream *second;
    struct addr at, bound;
    struct tcp_listener *l;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(e.loop, &at, &(struct tcp_listen_opts){.max_conns = 1}, limit_accept, &e, &l, NULL),
                     RC_OK);
    tcp_listener_addr(l, &bound);
    assert_int_equal(tcp_connect(e.loop, &bound, &e.client), RC_OK);
    assert_int_equal(tcp_connect(e.loop, &bound, &second), RC_OK);
    stream_set_events(e.client, &first_events, &e);
    stream_set_events(second, &second_events, &e);
    assert_true(tcp_listener_is_accepting(l));
    loop_run(e.loop);
    assert_false(tcp_listener_is_accepting(l));
    stream_close(&e.server, false);
    assert_true(tcp_listener_is_accepting(l));
    stream_close(&second, false);
    stream_close(&e.client, false);
    tcp_listener_destroy(&l);
    loop_destroy(&e.loop);
}

static bool come_once(void *ctx, const struct addr *from)
{
    unsigned *asked = ctx;
    assert_int_equal(from->family, 4);
    return (*asked)++ == 0;
}

/* The hook refuses the second connection. */
static void test_listener_asks(void **state)
{
    (void)state;
    static const struct stream_events first_events = {client_data, NULL, client_closed};
    static const struct stream_events second_events = {client_data, NULL, limit_closed};
    struct echo e = {.loop = loop_create(0)};
    struct stream *second;
    struct addr at, bound;
    struct tcp_listener *l;
    unsigned asked = 0;
    int64_t before = metric_read("fullscale_tcp_refused_total", "reason=\"rate\"");
    struct tcp_listen_opts opts = {.allows = come_once, .ctx = &asked};
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(e.loop, &at, &opts, limit_accept, &e, &l, NULL), RC_OK);
    tcp_listener_addr(l, &bound);
    assert_int_equal(tcp_connect(e.loop, &bound, &e.client), RC_OK);
    assert_int_equal(tcp_connect(e.loop, &bound, &second), RC_OK);
    stream_set_events(e.client, &first_events, &e);
    stream_set_events(second, &second_events, &e);
    loop_run(e.loop);
    assert_int_equal(asked, 2);
    assert_int_equal(metric_read("fullscale_tcp_refused_total", "reason=\"rate\""), before + 1);
    stream_close(&second, false);
    stream_close(&e.client, false);
    stream_close(&e.server, false);
    tcp_listener_destroy(&l);
    loop_destroy(&e.loop);
}

/* Without a free descriptor nothing can be accepted. */
static void test_listener_without_descriptors(void **state)
{
    (void)state;
    struct echo e = {.loop = loop_create(0)};
    struct tcp_listener *l;
    struct addr at;
    struct rlimit old, none;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(e.loop, &at, NULL, echo_accept, &e, &l, NULL), RC_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){3, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_false(tcp_listener_is_accepting(l));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(tcp_listener_is_accepting(l));
    tcp_listener_destroy(&l);
    loop_destroy(&e.loop);
}

/* Of two servers with one port each would get a part of the connections. */
static void test_exclusive_listener(void **state)
{
    (void)state;
    struct echo e = {.loop = loop_create(0)};
    struct tcp_listen_opts exclusive = {.is_exclusive = true};
    struct tcp_listener *l, *other;
    struct addr at;
    struct err err;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(e.loop, &at, &exclusive, echo_accept, &e, &l, NULL), RC_OK);
    tcp_listener_addr(l, &at);
    assert_int_equal(tcp_listen(e.loop, &at, &exclusive, echo_accept, &e, &other, &err), RC_IN_USE);
    assert_non_null(strstr(err.text, "cannot listen on 127.0.0.1:"));
    assert_int_equal(tcp_listen(e.loop, &at, NULL, echo_accept, &e, &other, NULL), RC_OK);
    tcp_listener_destroy(&other);
    tcp_listener_destroy(&l);
    assert_int_equal(tcp_listen(e.loop, &at, &exclusive, echo_accept, &e, &l, NULL), RC_OK);
    tcp_listener_destroy(&l);
    loop_destroy(&e.loop);
}

static void test_unix_path_of_a_file(void **state)
{
    (void)state;
    struct echo e = {.loop = loop_create(0)};
    char path[] = "/tmp/net_test-XXXXXX";
    struct tcp_listener *l;
    struct err err;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(tcp_listen_unix(e.loop, path, 0600, echo_accept, &e, &l, &err), RC_EXISTS);
    assert_non_null(strstr(err.text, "is no socket"));
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    loop_destroy(&e.loop);
}

static void test_unix_listener(void **state)
{
    (void)state;
    struct echo e = {.loop = loop_create(0)};
    struct tcp_listener *l, *twice;
    struct err err = {0};
    char path[64];
    snprintf(path, sizeof(path), "/tmp/fullscale-net-test-%d.sock", (int)getpid());
    assert_int_equal(tcp_listen_unix(e.loop, path, 0600, echo_accept, &e, &l, &err), RC_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(tcp_listen_unix(e.loop, path, 0600, echo_accept, &e, &twice, &err), RC_IN_USE);
    tcp_listener_destroy(&l);
    assert_int_not_equal(access(path, F_OK), 0);
    loop_destroy(&e.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_echo),           cmocka_unit_test(test_pair_echo),
        cmocka_unit_test(test_connect_refused),    cmocka_unit_test(test_listener_limit),
        cmocka_unit_test(test_listener_asks),      cmocka_unit_test(test_listener_without_descriptors),
        cmocka_unit_test(test_exclusive_listener), cmocka_unit_test(test_unix_path_of_a_file),
        cmocka_unit_test(test_unix_listener),
    };
    return cmocka_run_group_tests_name("net tcp", tests, NULL, NULL);
}
