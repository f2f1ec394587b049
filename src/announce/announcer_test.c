/* The announcer against a scripted control server on loopback. Every wait ends by an event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "announce/announcer.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "net/stream.h"
#include "proto/derp.h"

/* --- the server: one answer after the other, one connection each --- */

enum { ASKED_MAX = 16 };

struct answer {
    int status; /* 0: none, until the client leaves */
    const char *body;
};

struct site {
    int fd;
    char url[64];
    pthread_t thread;
    const struct answer *script; /* the last one again and again */
    size_t script_n;
    atomic_size_t asked_n;
    char asked[ASKED_MAX][2048];
};

static bool read_request(int fd, char *out, size_t cap)
{
    size_t n = 0, want = SIZE_MAX;
    while (n < want) {
        ssize_t got = n + 1 < cap ? read(fd, out + n, cap - 1 - n) : 0;
        if (got <= 0)
            return false;
        n += (size_t)got;
        out[n] = '\0';
        const char *end = strstr(out, "\r\n\r\n"), *length = strstr(out, "Content-Length: ");
        if (end != NULL)
            want = (size_t)(end + 4 - out) + (length != NULL ? strtoul(length + 16, NULL, 10) : 0);
    }
    return true;
}

static void answer_one(struct site *s, int fd)
{
    char request[2048], head[128];
    if (!read_request(fd, request, sizeof(request)))
        return;
    size_t i = atomic_load(&s->asked_n);
    if (i < ASKED_MAX)
        memcpy(s->asked[i], request, sizeof(request));
    atomic_store(&s->asked_n, i + 1);
    const struct answer *a = &s->script[i < s->script_n ? i : s->script_n - 1];
    while (a->status == 0 && read(fd, request, sizeof(request)) > 0) {
    }
    if (a->status == 0)
        return;
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", a->status,
                     strlen(a->body));
    (void)!send(fd, head, (size_t)n, MSG_NOSIGNAL);
    (void)!send(fd, a->body, strlen(a->body), MSG_NOSIGNAL);
}

static bool was_asked(struct site *s, const char *what)
{
    for (size_t i = 0; i < ASKED_MAX && i < atomic_load(&s->asked_n); i++)
        if (strstr(s->asked[i], what) != NULL)
            return true;
    return false;
}

static void *serve(void *arg)
{
    struct site *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        answer_one(s, fd);
        close(fd);
    }
    return NULL;
}

static void site_start(struct site *s, const struct answer *script, size_t n)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    *s = (struct site){.script = script, .script_n = n};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(at.sin_port));
    pthread_create(&s->thread, NULL, serve, s);
}

static void site_stop(struct site *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* --- the relay's side --- */

#define KEY64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NEWS(n, neighbours)                                                                                            \
    "{\"name\":\"fra\",\"regionId\":901,\"regionName\":\"Frankfurt\",\"meshKey\":\"" KEY64                             \
    "\",\"neighbours\":[" neighbours "],\"resync\":false,\"revoked\":[],\"news\":" #n "}"
#define NEIGHBOUR "{\"hostname\":\"192.0.2.9\",\"ip\":\"192.0.2.9\",\"derpPort\":8443,\"certName\":\"\"}"

struct fixture {
    struct site site;
    struct loop *loop;
    struct fetch *fetch;
    struct relay *relay;
    struct announcer *announcer;
    size_t neighbour_n;   /* of the last list */
    unsigned announced_n; /* calls of cert_announced */
    size_t stop_at;       /* neighbours: then the loop ends; SIZE_MAX: not for them */
};

static void on_neighbours(void *ctx, const struct relay_neighbour *all, size_t n)
{
    struct fixture *f = ctx;
    (void)all;
    f->neighbour_n = n;
    if (n == f->stop_at)
        loop_stop(f->loop);
}

static void on_cert_announced(void *ctx)
{
    struct fixture *f = ctx;
    f->announced_n++;
    loop_stop(f->loop);
}

static void start_with(struct fixture *f, const struct answer *script, size_t n, unsigned max_waiting)
{
    struct relay_opts relay = {.key = {{1}}};
    *f = (struct fixture){.stop_at = SIZE_MAX};
    crypto_init();
    site_start(&f->site, script, n);
    f->loop = loop_create(0);
    f->fetch = fetch_create();
    struct announcer_opts opts = {
        .server_url = f->site.url,
        .key = "fskey-relay-x",
        .about = {.hostname = "192.0.2.7", .local_ip = "", .ipv4 = "", .ipv6 = "", .cert_name = "", .derp_port = 8443},
        .max_waiting = max_waiting,
        .neighbours = on_neighbours,
        .cert_announced = on_cert_announced,
        .ctx = f};
    f->announcer = announcer_create(&opts, f->fetch);
    const struct relay_ops ops = {.ctx = f->announcer, .admit = announcer_admit};
    f->relay = relay_create(&relay, &ops, &f->loop, 1);
}

static void start(struct fixture *f, const struct answer *script, size_t n)
{
    start_with(f, script, n, 0);
}

/* Harmless when it has been done. */
static void end(struct fixture *f)
{
    if (f->loop == NULL)
        return;
    fetch_destroy(&f->fetch);
    loop_stop(f->loop);
    loop_run(f->loop);
    announcer_destroy(&f->announcer);
    relay_destroy(&f->relay);
    loop_destroy(&f->loop);
    site_stop(&f->site);
}

static void finish(struct fixture *f)
{
    announcer_leave(f->announcer);
    end(f);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    end(*state);
    return 0;
}

/* --- asking --- */

static void test_ask(void **state)
{
    static const struct answer script[] = {{200, NEWS(7, NEIGHBOUR)},
                                           {401, ""},
                                           {404, ""},
                                           {200, "<html>"},
                                           {200, "{}"},
                                           {409, ""},
                                           {502, ""},
                                           {503, ""},
                                           {429, ""}};
    /* The answers of a proxy while the server restarts: it tries again. */
    static const enum rc want[] = {RC_OK,     RC_DENIED, RC_INVALID, RC_INVALID, RC_INVALID,
                                   RC_EXISTS, RC_IO,     RC_IO,      RC_IO};
    struct fixture *f = *state;
    struct announcement_reply reply;
    struct err err;
    start(f, script, sizeof(script) / sizeof(*script));
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
        assert_int_equal(announcer_ask(f->announcer, &reply, &err), want[i]);
        assert_true(want[i] == RC_OK || err.text[0] != '\0');
    }
    assert_non_null(strstr(f->site.asked[0], "\"starting\":true"));
    assert_non_null(strstr(f->site.asked[0], "Authorization: Bearer fskey-relay-x"));
    finish(f);
}

/* --- announcing --- */

static void test_certificate_is_announced(void **state)
{
    static const struct answer script[] = {{200, NEWS(7, NEIGHBOUR)}, {503, ""}, {200, NEWS(8, )}};
    struct fixture *f = *state;
    start(f, script, 3);
    f->stop_at = 1;
    announcer_start(f->announcer, f->relay, f->loop, "old");
    loop_run(f->loop);
    assert_int_equal(f->announced_n, 0); /* no other certificate was set */
    assert_non_null(strstr(f->site.asked[0], "\"certName\":\"old\""));
    announcer_set_cert_name(f->announcer, "new");
    loop_run(f->loop);
    assert_int_equal(f->announced_n, 1);
    assert_true(was_asked(&f->site, "\"certName\":\"new\""));
    finish(f);
}

/* After announcer_leave nothing is announced, which would take it back, and nothing is asked. */
static void test_leaving(void **state)
{
    static const struct answer script[] = {{200, NEWS(7, NEIGHBOUR)}, {503, ""}}; /* a pause: the loop ends in it */
    struct fixture *f = *state;
    node_key key = {{7}};
    struct addr from = {0};
    start(f, script, 2);
    f->stop_at = 1;
    announcer_start(f->announcer, f->relay, f->loop, "old");
    loop_run(f->loop);
    announcer_leave(f->announcer);
    announcer_set_cert_name(f->announcer, "new");
    fetch_destroy(&f->fetch);
    announcer_set_cert_name(f->announcer, "newer");
    announcer_admit(f->announcer, NULL, &key, &from);
    assert_int_equal(f->site.asked_n, 3);
    assert_non_null(strstr(f->site.asked[2], "\"draining\":true"));
    for (size_t i = 0; i < 3; i++) {
        char turn[32];
        snprintf(turn, sizeof(turn), "\"turn\":%zu,", i + 1);
        assert_non_null(strstr(f->site.asked[i], turn));
    }
    end(f);
}

/* However many clients come at once, few requests are under way: each costs a connection's buffers, and a time-out. */
static void test_many_logins(void **state)
{
    static const struct answer script[] = {{0, NULL}};
    struct fixture *f = *state;
    struct addr from = {0};
    start(f, script, 1);
    int64_t before = metric_read("fullscale_fetch_requests_total", "");
    for (uint8_t i = 1; i <= 200; i++) {
        node_key key = {{i}};
        announcer_admit(f->announcer, NULL, &key, &from);
    }
    fetch_destroy(&f->fetch); /* ends those under way: no admission is answered */
    assert_int_equal(metric_read("fullscale_fetch_requests_total", "") - before, 32);
    end(f);
}

/* --- clients of the relay --- */

struct client {
    struct fixture *f;
    struct stream *s;
    bool is_in;
    bool is_closed;
};

static void on_client_data(void *ctx, const uint8_t *p, size_t n)
{
    struct client *c = ctx;
    size_t at = 0;
    for (; at + DERP_HEADER_BYTES <= n; at += DERP_HEADER_BYTES + derp_header_parse(p + at).len)
        c->is_in = c->is_in || derp_header_parse(p + at).type == DERP_SERVER_INFO;
    if (c->is_in)
        loop_stop(c->f->loop);
}

static void on_client_closed(void *ctx, enum rc why)
{
    struct client *c = ctx;
    (void)why;
    c->is_closed = true;
}

static void log_in(struct fixture *f, struct client *c, uint8_t number)
{
    static const struct stream_events events = {on_client_data, NULL, on_client_closed};
    struct derp_client_info info = {.version = 2};
    uint8_t random[KEY_BYTES] = {[1] = number}, nonce[BOX_NONCE_BYTES] = {number};
    struct stream *far;
    struct buf b = {0};
    private_key key;
    private_key_from_bytes(random, &key);
    private_key_public(&key, info.key.b);
    *c = (struct client){.f = f};
    stream_pair_create(f->loop, 0, &c->s, &far);
    stream_set_events(c->s, &events, c);
    relay_attach(f->relay, far, NULL, 0, false);
    assert_int_equal(derp_append_client_info(&b, &key, relay_public_key(f->relay), nonce, &info), RC_OK);
    stream_write(c->s, buf_at(&b), buf_len(&b));
    buf_fini(&b);
}

struct iterations {
    struct loop_msg msg;
    unsigned left;
};

static void iterate(struct loop *loop, struct loop_msg *msg)
{
    struct iterations *t = CONTAINER_OF(msg, struct iterations, msg);
    if (--t->left == 0)
        loop_stop(loop);
    else
        loop_post(loop, msg);
}

static void run_loop(struct fixture *f)
{
    struct iterations t = {.msg.run = iterate, .left = 8};
    loop_post(f->loop, &t.msg);
    loop_run(f->loop);
}

/* A flood of logins with unknown keys: what waits is bounded, and a node that was here before is not
 * crowded out. */
static void test_strangers_keep_no_node_waiting(void **state)
{
    enum { UNDER_WAY = 32, WAITING = 3, STRANGERS = UNDER_WAY + 8 };
    static const struct answer script[] = {{200, "{\"Allow\":true}"}, {0, NULL}};
    struct fixture *f = *state;
    struct client node, again, strangers[STRANGERS];
    start_with(f, script, 2, WAITING);
    log_in(f, &node, 1);
    loop_run(f->loop);
    assert_true(node.is_in);
    int64_t before = metric_read("fullscale_relay_admissions_crowded_out_total", "");
    for (uint8_t i = 0; i < UNDER_WAY + WAITING; i++)
        log_in(f, &strangers[i], (uint8_t)(10 + i));
    log_in(f, &again, 1);
    for (uint8_t i = UNDER_WAY + WAITING; i < STRANGERS; i++)
        log_in(f, &strangers[i], (uint8_t)(10 + i));
    run_loop(f);
    assert_false(again.is_closed);
    for (unsigned i = 0; i < STRANGERS; i++)
        assert_int_equal(strangers[i].is_closed, i >= UNDER_WAY && i < STRANGERS - WAITING + 1);
    assert_int_equal(metric_read("fullscale_relay_admissions_crowded_out_total", "") - before,
                     STRANGERS + 1 - UNDER_WAY - WAITING);
    stream_close(&node.s, false);
    stream_close(&again.s, false);
    for (unsigned i = 0; i < STRANGERS; i++)
        stream_close(&strangers[i].s, false);
    end(f);
}

/* Deleted at the server: no neighbours any more. */
static void test_stranger(void **state)
{
    static const struct answer script[] = {{200, NEWS(7, NEIGHBOUR)}, {401, ""}};
    struct fixture *f = *state;
    start(f, script, 2);
    f->stop_at = 0;
    announcer_start(f->announcer, f->relay, f->loop, "c");
    f->neighbour_n = 99;
    loop_run(f->loop);
    assert_int_equal(f->neighbour_n, 0);
    finish(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ask, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_certificate_is_announced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leaving, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_logins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stranger, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strangers_keep_no_node_waiting, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
