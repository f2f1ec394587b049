/* Routers that others stand by for are asked whether they are there; the tests run the steps of a round one by one. */
#include "control/testing.h"

#include <stdio.h>

static struct rig *r;

enum { ROUTERS = 3 };

struct router {
    struct client c;
    struct device d;
    struct reply poll;
    node_id id;
    size_t seen; /* frames */
};

static struct router routers[ROUTERS];

struct serving {
    node_id id;
    struct prefix route;
};

/* Advertised and approved, as if the node and an admin had said so. */
static void serve(struct state *st, int64_t now_ms, void *ctx)
{
    struct serving *s = ctx;
    const struct node *n = state_node(st, s->id);
    struct node_report report = {.hostinfo = rcbuf_create("{}", 2)};
    struct prefix v = s->route;
    (void)now_ms;
    report.routes = prefix_list_create(&v, 1);
    RIG_CHECK(state_node_report(st, &n->key, &n->machine, &report, &n) == RC_OK);
    RIG_CHECK(state_node_approve_routes(st, s->id, &s->route, 1, &n, NULL) == RC_OK);
    rcbuf_unref(&report.hostinfo);
    prefix_list_unref(&report.routes);
}

static void open_router(size_t i, const char *route)
{
    struct router *it = &routers[i];
    struct serving s;
    assert_int_equal(prefix_parse(str_c(route), &s.route, NULL), RC_OK);
    control_rig_join(r, &it->c, &it->d, "router", i % 2);
    control_rig_client_poll(&it->c, &it->poll, &it->d, i == 1 ? MAP_ZSTD : 0);
    reply_wait_frames(&it->poll, 1);
    it->id = s.id = json_number(json_get(reply_frame(&it->poll, 0), "Node"), "ID");
    control_rig_on_core(r, serve, &s);
    control_rig_settle(r);
}

static int set_up(void **state)
{
    (void)state;
    r = control_rig_create(2);
    memset(routers, 0, sizeof(routers));
    open_router(0, "10.0.0.0/8");
    open_router(1, "10.0.0.0/8");
    open_router(2, "10.2.0.0/16"); /* no standby */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROUTERS; i++) {
        reply_fini(&routers[i].poll);
        control_rig_client_close(&routers[i].c);
    }
    control_rig_wait_idle(r);
    control_rig_destroy(r);
    return 0;
}

static void step(enum ping_step which)
{
    pings_step(r->control, which);
    control_rig_settle(r);
}

/* The URL that it was last asked to call since the last look, or null. */
static const char *asked(struct router *it)
{
    const char *url = NULL;
    struct str text;
    control_rig_settle(r);
    for (; it->seen < it->poll.frame_n; it->seen++) {
        const struct json *frame = reply_frame(&it->poll, it->seen);
        const struct json *ping = json_get(frame, "PingRequest");
        if (ping == NULL)
            continue;
        assert_true(json_is_true(frame, "KeepAlive")); /* the client does nothing else with it */
        assert_true(json_str(json_get(ping, "URL"), &text));
        url = arena_printf(&r->arena, "%.*s", STR_ARG(text));
    }
    return url;
}

static const char *wait_asked(struct router *it)
{
    const char *url = NULL;
    RIG_WAIT(r, (url = asked(it)) != NULL || it->poll.is_ended);
    assert_non_null(url);
    return url;
}

/* --- HEAD --- */

struct call {
    struct stream *s;
    struct buf got;
    bool is_closed;
};

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    buf_append(&((struct call *)ctx)->got, p, n);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct call *)ctx)->is_closed = true;
    control_rig_wake(r);
}

static int call_path(const char *method, const char *path)
{
    static const struct stream_events events = {on_data, NULL, on_closed};
    struct call c = {0};
    const char *text = arena_printf(&r->arena, "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", method, path);
    assert_int_equal(tcp_connect(r->loop, &r->at[1], &c.s), RC_OK);
    r->open_n++;
    stream_set_events(c.s, &events, &c);
    stream_write(c.s, text, strlen(text));
    RIG_WAIT(r, c.is_closed);
    stream_close(&c.s, false);
    r->open_n--;
    long status = strtol(arena_str(&r->arena, buf_str(&c.got)).p + 9, NULL, 10);
    buf_fini(&c.got);
    return (int)status;
}

static const char *path_of(const char *url)
{
    static const char base[] = "http://127.0.0.1:8080";
    assert_memory_equal(url, base, strlen(base));
    assert_non_null(strstr(url, "/machine/ping/"));
    return url + strlen(base);
}

static int answer(const char *url)
{
    return call_path("HEAD", path_of(url));
}

/* --- which router carries the route --- */

struct look {
    node_id id;
    bool is_primary;
};

static void look_at(struct state *st, int64_t now_ms, void *ctx)
{
    struct look *l = ctx;
    (void)now_ms;
    l->is_primary = state_node(st, l->id)->primary != NULL;
}

static bool is_primary(size_t i)
{
    struct look l = {.id = routers[i].id};
    control_rig_on_core(r, look_at, &l);
    return l.is_primary;
}

/* --- tests --- */

static void test_only_routers_with_a_standby_are_asked(void **state)
{
    (void)state;
    step(PING_ASK);
    const char *first = wait_asked(&routers[0]), *second = wait_asked(&routers[1]);
    assert_string_not_equal(first, second);
    assert_null(asked(&routers[2]));
    assert_int_equal(answer(first), 200);
    assert_int_equal(answer(second), 200);
    assert_int_equal(answer(second), 200); /* again: no harm */
    step(PING_ASK_AGAIN);
    step(PING_JUDGE);
    assert_null(asked(&routers[0]));
    assert_true(is_primary(0));
}

static void test_one_lost_answer_is_no_death(void **state)
{
    (void)state;
    step(PING_ASK);
    const char *first = wait_asked(&routers[0]);
    assert_int_equal(answer(wait_asked(&routers[1])), 200);
    step(PING_ASK_AGAIN);
    const char *again = wait_asked(&routers[0]);
    assert_string_not_equal(first, again); /* clients call a URL once */
    assert_null(asked(&routers[1]));
    assert_int_equal(answer(again), 200);
    step(PING_JUDGE);
    assert_true(is_primary(0));
}

static void test_a_silent_router_hands_over_and_does_not_get_it_back(void **state)
{
    (void)state;
    step(PING_ASK);
    assert_int_equal(answer(wait_asked(&routers[1])), 200);
    step(PING_ASK_AGAIN);
    const char *late = wait_asked(&routers[0]);
    assert_true(is_primary(0));
    step(PING_JUDGE);
    assert_false(is_primary(0));
    assert_true(is_primary(1));
    assert_false(routers[0].poll.is_ended); /* its poll stays: it may come back */
    /* A late answer is one. */
    assert_int_equal(answer(late), 200);
    assert_true(is_primary(1));
    step(PING_ASK);
    assert_int_equal(answer(wait_asked(&routers[0])), 200);
    step(PING_ASK_AGAIN);
    step(PING_JUDGE); /* now the other is silent */
    assert_true(is_primary(0));
    assert_int_equal(answer(late), 404); /* of a round that is over */
}

static void test_where_nobody_answers_nothing_moves(void **state)
{
    (void)state;
    step(PING_ASK);
    step(PING_ASK_AGAIN);
    step(PING_JUDGE);
    assert_true(is_primary(0));
    assert_false(is_primary(1));
}

static void test_a_poll_that_began_meanwhile_is_a_sign_of_life(void **state)
{
    (void)state;
    struct reply again;
    step(PING_ASK);
    assert_int_equal(answer(wait_asked(&routers[1])), 200);
    step(PING_ASK_AGAIN);
    control_rig_client_poll(&routers[0].c, &again, &routers[0].d, 0);
    reply_wait_frames(&again, 1);
    step(PING_JUDGE);
    assert_true(is_primary(0));
    reply_fini(&again);
}

static void test_what_was_not_asked_for_is_refused(void **state)
{
    (void)state;
    char id[PING_TEXT_CAP], path[256];
    static const char *const wrong[] = {"", "/", "/0", "/zz", "/../map", "/00000000000000000000000000000000"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(path, sizeof(path), "/machine/ping%s", wrong[i]);
        assert_int_equal(call_path("HEAD", path), 404);
    }
    step(PING_ASK);
    snprintf(path, sizeof(path), "%s", path_of(wait_asked(&routers[0])));
    assert_int_equal(call_path("POST", path), 405);
    size_t last = strlen(path) - 1, facts = strlen("/machine/ping/");
    const size_t at[] = {facts, facts + 7, facts + 23, facts + 25, facts + 26, last};
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        char damaged[256];
        snprintf(damaged, sizeof(damaged), "%s", path);
        damaged[at[i]] = damaged[at[i]] == '7' ? '8' : '7';
        assert_int_equal(call_path("HEAD", damaged), 404);
    }
    /* Genuine ids, but no router was sent them. */
    pings_id_text(&r->control->pings, &(struct ping_id){0, 2, 1, 1}, id);
    snprintf(path, sizeof(path), "/machine/ping/%s", id);
    assert_int_equal(call_path("HEAD", path), 404);
    pings_id_text(&r->control->pings, &(struct ping_id){0, 0, UINT64_MAX, 255}, id);
    snprintf(path, sizeof(path), "/machine/ping/%s", id);
    assert_int_equal(call_path("GET", path), 404);
}

/* The clock was set: all clients that poll are sent the time, in a message that has nothing else. */
static void test_the_time_is_sent_to_all(void **state)
{
    (void)state;
    control_clock_set(r->control, 1800000000000);
    for (size_t i = 0; i < ROUTERS; i++) {
        struct router *it = &routers[i];
        RIG_WAIT(r, it->poll.is_ended || strstr(it->poll.frames[it->poll.frame_n - 1],
                                                "\"ControlTime\":\"2027-01-15T08:00:00Z\"") != NULL);
        const struct json *frame = reply_frame(&it->poll, it->poll.frame_n - 1);
        assert_true(json_is_true(frame, "KeepAlive"));
        assert_int_equal(json_len(frame), 2);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_only_routers_with_a_standby_are_asked),
        TEST(test_one_lost_answer_is_no_death),
        TEST(test_a_silent_router_hands_over_and_does_not_get_it_back),
        TEST(test_where_nobody_answers_nothing_moves),
        TEST(test_a_poll_that_began_meanwhile_is_a_sign_of_life),
        TEST(test_what_was_not_asked_for_is_refused),
        TEST(test_the_time_is_sent_to_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
