/* Loops, streams over real loopback sockets, the in-memory pair, addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/tcp.h"

/* --- addresses --- */

static void test_addr_round_trip(void **state)
{
    (void)state;
    static const char *const good[] = {"192.0.2.1:41641", "[2001:db8::1]:443", "0.0.0.0:0", "[::]:65535"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct addr a;
        char text[ADDR_TEXT_CAP];
        assert_int_equal(addr_parse(str_c(good[i]), &a), RC_OK);
        addr_format(&a, true, text);
        assert_string_equal(text, good[i]);
        struct sockaddr_storage sa;
        struct addr b;
        addr_to_sockaddr(&a, &sa);
        addr_from_sockaddr((struct sockaddr *)&sa, &b);
        assert_true(addr_eq(&a, &b));
    }
}

static void test_addr_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"",       ":80",        "1.2.3.4",    "1.2.3.4:",     "1.2.3.4:65536", "1.2.3:80",
                                      "[::1]",  "[::1]80",    "[::1]:",     "::1:80x",      "1.2.3.4:8 0",   "a.b:80",
                                      "[1::2:", "[::1%lo]:1", "1.2.3.4:-1", "[1.2.3.4]:80 "};
    struct addr a;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(addr_parse(str_c(bad[i]), &a), RC_INVALID);
    assert_int_equal(addr_parse_listen(STR(":8080"), &a), RC_OK);
    assert_int_equal(a.port, 8080);
    assert_int_equal(a.family, 6);
    assert_int_equal(addr_parse_ip(STR("::ffff:10.1.2.3"), &a), RC_OK);
    assert_int_equal(a.family, 4);
    assert_true(addr_is_private(&a));
    assert_int_equal(addr_parse_ip(STR("8.8.8.8"), &a), RC_OK);
    assert_false(addr_is_private(&a));
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::1"), &a), RC_OK);
    assert_true(addr_is_private(&a));
}

/* --- loops --- */

struct counting_task {
    struct loop_task task;
    struct loop *loop;
    int runs;
    int again;
};

static void count_run(struct loop_task *task)
{
    struct counting_task *c = CONTAINER_OF(task, struct counting_task, task);
    c->runs++;
    if (c->again-- > 0)
        loop_defer(c->loop, task);
    else
        loop_stop(c->loop);
}

static void test_deferred_tasks_run_once_each(void **state)
{
    (void)state;
    struct loop *loop = loop_create(0);
    struct counting_task c = {.task.run = count_run, .loop = loop, .again = 3};
    loop_defer(loop, &c.task);
    loop_defer(loop, &c.task);
    loop_run(loop);
    assert_int_equal(c.runs, 4);
    loop_destroy(&loop);
}

enum { POSTERS = 4, POSTS = 2000 };

struct post_msg {
    struct loop_msg msg;
    int from;
    int n;
};

static int post_seen[POSTERS];
static int post_total;

static void on_post(struct loop *loop, struct loop_msg *msg)
{
    struct post_msg *m = CONTAINER_OF(msg, struct post_msg, msg);
    assert_int_equal(m->n, post_seen[m->from]++); /* order per sender is kept */
    mem_free(m);
    if (++post_total == POSTERS * POSTS)
        loop_stop(loop);
}

struct poster {
    struct loop *loop;
    int id;
};

static void *poster_main(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        struct post_msg *m = MEM_NEW(struct post_msg);
        m->msg.run = on_post;
        m->from = p->id;
        m->n = i;
        loop_post(p->loop, &m->msg);
    }
    return NULL;
}

static void test_posts_from_threads(void **state)
{
    (void)state;
    struct loop *loop = loop_create(0);
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){loop, i};
        pthread_create(&threads[i], NULL, poster_main, &posters[i]);
    }
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(post_total, POSTERS * POSTS);
    loop_destroy(&loop);
}

/* --- streams: an echo server and a client that checks what comes back --- */

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

/* Whoever is asked refuses the second. */
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
    struct tcp_listen_opts opts = {.may_come = come_once, .ctx = &asked};
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

/* Without a descriptor to spare there is nothing to accept with. */
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

/* Two servers with one port would get the connections by turns. */
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

/* --- places --- */

struct crowd {
    struct loop *loop;
    struct stream *servers[8];
    unsigned servers_n;
    struct stream *clients[8];
    bool is_closed[8]; /* of the clients */
    bool is_server_gone[8];
    unsigned events_n;
    unsigned wanted_n;
    struct tcp_listener *listener;
    struct addr at;
};

static void crowd_event(struct crowd *c)
{
    if (++c->events_n == c->wanted_n)
        loop_stop(c->loop);
}

struct member {
    struct crowd *crowd;
    unsigned i;
};
static struct member members[8], guests[8];

static void member_data(void *ctx, const uint8_t *p, size_t n)
{
    (void)ctx;
    (void)p;
    (void)n;
}

static void member_closed(void *ctx, enum rc why)
{
    struct member *m = ctx;
    (void)why;
    m->crowd->is_closed[m->i] = true;
    crowd_event(m->crowd);
}

static void guest_closed(void *ctx, enum rc why)
{
    struct member *m = ctx;
    (void)why;
    m->crowd->is_server_gone[m->i] = true;
    stream_close(&m->crowd->servers[m->i], false);
}

static void crowd_accept(void *ctx, struct stream *s)
{
    static const struct stream_events events = {member_data, NULL, guest_closed};
    struct crowd *c = ctx;
    guests[c->servers_n] = (struct member){c, c->servers_n};
    stream_set_events(s, &events, &guests[c->servers_n]);
    c->servers[c->servers_n++] = s;
    crowd_event(c);
}

/* Comes, and waits for so many events: accepted, closed. */
static void come(struct crowd *c, unsigned i, unsigned events)
{
    static const struct stream_events client = {member_data, NULL, member_closed};
    members[i] = (struct member){c, i};
    c->events_n = 0;
    c->wanted_n = events;
    assert_int_equal(tcp_connect(c->loop, &c->at, &c->clients[i]), RC_OK);
    stream_set_events(c->clients[i], &client, &members[i]);
    loop_run(c->loop);
}

static bool all_are_proxies(void *ctx, const struct addr *from)
{
    (void)ctx;
    (void)from;
    return true;
}

static void crowd_open(struct crowd *c, struct budget_places *places, bool behind_proxy)
{
    struct addr any;
    struct tcp_listen_opts opts = {.places = places, .is_proxy = behind_proxy ? all_are_proxies : NULL};
    *c = (struct crowd){.loop = loop_create(0)};
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &any), RC_OK);
    assert_int_equal(tcp_listen(c->loop, &any, &opts, crowd_accept, c, &c->listener, NULL), RC_OK);
    tcp_listener_addr(c->listener, &c->at);
}

static void crowd_close(struct crowd *c, struct budget_places **places)
{
    struct budget_places_use use;
    for (unsigned i = 0; i < 8; i++) {
        stream_close(&c->servers[i], false);
        stream_close(&c->clients[i], false);
    }
    budget_places_use(*places, &use);
    assert_int_equal(use.strangers + use.known + use.holders, 0);
    tcp_listener_destroy(&c->listener);
    loop_destroy(&c->loop);
    budget_places_destroy(places);
}

/* Who holds on to connections loses the oldest to its next; who has said who it is keeps its own. */
static void test_a_newcomer_gets_the_oldest_place(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 9, .known = 9, .per_address = 2, .per_key = 1};
    struct budget_places *places = budget_places_create(&limits, (const uint8_t[16]){1});
    int64_t before = metric_read("fullscale_tcp_evicted_total", "");
    struct crowd c;
    crowd_open(&c, places, false);
    come(&c, 0, 1);
    assert_int_equal(stream_know(c.servers[0], "a", 1), BUDGET_OK);
    come(&c, 1, 1);
    come(&c, 2, 1);
    come(&c, 3, 2);
    assert_false(c.is_closed[0]);
    assert_true(c.is_closed[1] && c.is_server_gone[1]);
    assert_false(c.is_closed[2]);
    assert_int_equal(metric_read("fullscale_tcp_evicted_total", ""), before + 1);
    /* A key has so many places; what is more stays a stranger's. */
    assert_int_equal(stream_know(c.servers[2], "a", 1), BUDGET_KEY_FULL);
    come(&c, 4, 2);
    assert_true(c.is_closed[2]);
    assert_int_equal(stream_know(c.servers[3], "b", 1), BUDGET_OK);
    assert_int_equal(stream_know(c.servers[3], "c", 1), BUDGET_OK);
    come(&c, 5, 1);
    crowd_close(&c, &places);
}

static void test_all_strangers_together(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 2, .known = 9};
    struct budget_places *places = budget_places_create(&limits, (const uint8_t[16]){1});
    struct crowd c;
    crowd_open(&c, places, false);
    come(&c, 0, 1);
    come(&c, 1, 1);
    come(&c, 2, 2);
    assert_true(c.is_closed[0] && !c.is_closed[1]);
    stream_uncount(c.servers[1]); /* somebody else counts it */
    come(&c, 3, 1);
    assert_false(c.is_closed[1] || c.is_closed[2]);
    crowd_close(&c, &places);
}

/* A proxy's connections count for no address until it says for whom it speaks. */
static void test_behind_a_proxy(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 9, .known = 9, .per_address = 1};
    struct budget_places *places = budget_places_create(&limits, (const uint8_t[16]){1});
    struct addr client;
    struct crowd c;
    assert_int_equal(addr_parse_ip(STR("192.0.2.1"), &client), RC_OK);
    crowd_open(&c, places, true);
    for (unsigned i = 0; i < 3; i++)
        come(&c, i, 1);
    assert_int_equal(stream_comes_from(c.servers[0], &client), BUDGET_OK);
    assert_true(addr_eq(&c.servers[0]->peer, &client));
    assert_int_equal(stream_comes_from(c.servers[1], &client), BUDGET_ADDRESS_FULL);
    assert_false(addr_eq(&c.servers[1]->peer, &client));
    client.ip[3] = 2;
    assert_int_equal(stream_comes_from(c.servers[1], &client), BUDGET_OK);
    crowd_close(&c, &places);
}

/* Connections leave descriptors to the admin's socket and to files; a stranger makes room. */
static void test_descriptors_are_kept_back(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 100, .known = 100};
    struct budget_places *places = budget_places_create(&limits, (const uint8_t[16]){1});
    struct rlimit old;
    struct crowd c;
    int hogs[256], hogs_n = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){200, old.rlim_max}), 0);
    crowd_open(&c, places, false);
    for (unsigned i = 0; i < 4; i++)
        come(&c, i, 1);
    while ((hogs[hogs_n] = open("/dev/null", O_RDONLY)) >= 0 && hogs[hogs_n] < 200 - 40)
        hogs_n++;
    close(hogs[hogs_n]);
    come(&c, 4, 2);
    assert_true(c.is_closed[0]);
    for (unsigned i = 1; i < 5; i++)
        assert_int_equal(stream_know(c.servers[i], "a", 1), BUDGET_OK);
    come(&c, 5, 1); /* there is no stranger left */
    assert_true(c.is_closed[5]);
    int file = open("/dev/null", O_RDONLY);
    assert_true(file >= 0);
    close(file);
    while (hogs_n > 0)
        close(hogs[--hogs_n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    crowd_close(&c, &places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addr_round_trip),
        cmocka_unit_test(test_addr_refusals),
        cmocka_unit_test(test_deferred_tasks_run_once_each),
        cmocka_unit_test(test_posts_from_threads),
        cmocka_unit_test(test_tcp_echo),
        cmocka_unit_test(test_pair_echo),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_listener_limit),
        cmocka_unit_test(test_listener_asks),
        cmocka_unit_test(test_a_newcomer_gets_the_oldest_place),
        cmocka_unit_test(test_all_strangers_together),
        cmocka_unit_test(test_behind_a_proxy),
        cmocka_unit_test(test_descriptors_are_kept_back),
        cmocka_unit_test(test_listener_without_descriptors),
        cmocka_unit_test(test_exclusive_listener),
        cmocka_unit_test(test_unix_listener),
        cmocka_unit_test(test_unix_path_of_a_file),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
