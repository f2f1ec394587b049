/* Places of a listener: when a new connection gets one, and which one. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/metric.h"
#include "net/tcp.h"

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

/* Connects member `i`, and waits for so many events: connections that were accepted or closed. */
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

/* A stranger with many connections loses the oldest to its next one; known peers keep theirs. */
static void test_a_new_connection_gets_the_oldest_place(void **state)
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
    stream_uncount(c.servers[1]); /* another part counts it */
    come(&c, 3, 1);
    assert_false(c.is_closed[1] || c.is_closed[2]);
    crowd_close(&c, &places);
}

/* A proxy's connections count for no address until the proxy names one. */
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
        cmocka_unit_test(test_a_new_connection_gets_the_oldest_place),
        cmocka_unit_test(test_all_strangers_together),
        cmocka_unit_test(test_behind_a_proxy),
        cmocka_unit_test(test_descriptors_are_kept_back),
    };
    return cmocka_run_group_tests_name("net tcp_accept", tests, NULL, NULL);
}
