/* Which tailnet is meant: by the host that a client, a relay or a browser has come to. */
#include "control/testing.h"

enum { ALPHA, BETA, NETS };

static const struct tailnet_options options[NETS] = {
    {.id = 1, .name = "alpha", .server_url = "https://one.control.example"},
    {.id = 2, .name = "beta", .server_url = "https://two.control.example:8443"},
};

static int set_up(void **state)
{
    (void)state;
    rig = control_rig_create_with(2, options, NETS);
    return 0;
}

static void test_the_host_of_a_request_names_the_tailnet(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        unsigned net;
    } rows[] = {
        {"one.control.example", ALPHA},
        {"two.control.example", BETA},
        {"two.control.example:8443", BETA},
        {"two.control.example:443", BETA},
        {"TWO.Control.Example", BETA},
        {"two.control.example.", BETA},
        {"three.control.example", ALPHA},
        {"", ALPHA},
        {"127.0.0.1:8080", ALPHA},
        {"two.control.example.evil", ALPHA},
        {"[2001:db8::1]:8443", ALPHA},
        {"[", ALPHA},
        {":8443", ALPHA},
        {"two.control.exampl", ALPHA},
        {".", ALPHA},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_ptr_equal(core_tailnet_of_host(rig->core, str_c(rows[i].host)), rig->tailnets[rows[i].net]);
}

/* --- what is asked outside of Noise --- */

struct raw {
    struct stream *s;
    struct buf got;
    bool is_closed;
};

static void on_raw_data(void *ctx, const uint8_t *p, size_t n)
{
    buf_append(&((struct raw *)ctx)->got, p, n);
    control_rig_wake(rig);
}

static void on_raw_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct raw *)ctx)->is_closed = true;
    control_rig_wake(rig);
}

/* The whole answer to a request to this tailnet's host, in the rig's arena. `more` may be headers. */
static const char *ask_host(unsigned net, const char *line, const char *more, const char *body)
{
    static const struct stream_events events = {on_raw_data, NULL, on_raw_closed};
    struct raw c = {0};
    const char *text = arena_printf(&rig->arena,
                                    "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
                                    line, strstr(options[net].server_url, "://") + 3, more, strlen(body), body);
    assert_int_equal(tcp_connect(rig->loop, &rig->at[0], &c.s), RC_OK);
    stream_set_events(c.s, &events, &c);
    stream_write(c.s, text, strlen(text));
    RIG_WAIT(rig, c.is_closed);
    stream_close(&c.s, false);
    const char *answer = arena_str(&rig->arena, buf_str(&c.got)).p;
    buf_fini(&c.got);
    return answer;
}

struct enrolment {
    char key[AUTH_KEY_TEXT_CAP];
};

static void make_relay(struct state *st, int64_t now_ms, void *ctx)
{
    struct enrolment *e = ctx;
    const struct relay_host *host;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    rng_bytes(random, sizeof(random));
    RIG_CHECK(state_relay_create(st, &(struct relay_spec){.name = STR("fra"), .region_id = 901}, random, now_ms, &host,
                                 e->key, NULL) == RC_OK);
}

static const char *ask_verify(unsigned net, const struct enrolment *e, const node_key *key)
{
    return ask_host(net, "POST /verify", arena_printf(&rig->arena, "Authorization: Bearer %s\r\n", e->key),
                    arena_printf(&rig->arena, "{\"NodePublic\":\"%s\"}", key_text(rig, key)));
}

static void test_a_relay_serves_the_nodes_of_its_tailnet(void **state)
{
    (void)state;
    struct enrolment relays[NETS];
    struct client c[NETS];
    struct device d[NETS];
    for (unsigned i = 0; i < NETS; i++) {
        control_rig_enter(rig, i);
        control_rig_join(rig, &c[i], &d[i], "laptop", 0);
        control_rig_on_core(rig, make_relay, &relays[i]);
    }
    for (unsigned i = 0; i < NETS; i++) {
        const node_key *own = &d[i].key, *other = &d[1 - i].key;
        assert_non_null(strstr(ask_verify(i, &relays[i], own), "{\"Allow\":true}"));
        assert_non_null(strstr(ask_verify(i, &relays[i], other), "{\"Allow\":false}"));
        assert_non_null(strstr(ask_verify(1 - i, &relays[i], own), "HTTP/1.1 401 "));
    }
    for (unsigned i = 0; i < NETS; i++)
        control_rig_client_close(&c[i]);
}

/* Regions with the same number are not one mesh. */
static void test_relays_of_two_tailnets_share_no_mesh(void **state)
{
    (void)state;
    static const char body[] = "{\"hostname\":\"192.0.2.7\",\"derpPort\":8443,\"starting\":true}";
    char meshes[NETS][80];
    for (unsigned i = 0; i < NETS; i++) {
        struct enrolment e;
        control_rig_enter(rig, i);
        control_rig_on_core(rig, make_relay, &e);
        const char *answer = ask_host(i, "POST /relay/announce",
                                      arena_printf(&rig->arena, "Authorization: Bearer %s\r\n", e.key), body);
        const char *mesh = strstr(answer, "\"meshKey\":");
        assert_non_null(mesh);
        snprintf(meshes[i], sizeof(meshes[i]), "%s", mesh);
        assert_non_null(strstr(answer, "\"regionId\":901"));
    }
    assert_memory_not_equal(meshes[ALPHA], meshes[BETA], 12 + 64);
}

static void test_pages_are_those_of_the_tailnet(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NETS; i++) {
        const char *map = ask_host(i, "GET /derpmap/default", "", ""), *home = ask_host(i, "GET /", "", "");
        assert_non_null(strstr(map, options[i].name));
        assert_null(strstr(map, options[1 - i].name));
        assert_non_null(strstr(home, options[i].server_url));
        assert_null(strstr(home, options[1 - i].server_url));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, control_rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_the_host_of_a_request_names_the_tailnet),
        TEST(test_a_relay_serves_the_nodes_of_its_tailnet),
        TEST(test_relays_of_two_tailnets_share_no_mesh),
        TEST(test_pages_are_those_of_the_tailnet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
