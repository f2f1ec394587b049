/* The small requests inside Noise, several connections, the end, the start. */
#include "control/testing_joins.h"

#include <unistd.h>

/* --- the small rest --- */

static void test_small_requests(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *words;
    } rows[] = {
        {"GET", "/machine/whoami", "", 200, "machine mkey:"},
        {"GET", "/machine/whoami", "{\"a\":1}", 200, "capability version 142"}, /* GET with a body */
        {"GET", "/machine/tka/sync/offer", "{\"NodeKey\":\"x\"}", 404, ""},
        {"POST", "/machine/update-health", "no JSON", 400, "NodeKey"},
        {"POST", "/machine/audit-log", "{\"NodeKey\":\"mkey:00\"}", 400, "NodeKey"},
        {"GET", "/machine/ssh/action/1/to/2?local_user=root", "", 200, "\"reject\":true"},
        {"POST", "/machine/nothing", "{}", 404, ""},
        {"POST", "/machine/map/", "{}", 404, ""},
        {"GET", "/machine/register", "", 405, ""},
        {"GET", "/key?v=142", "", 404, ""}, /* outside only */
    };
    struct client c;
    int64_t before = metric_read("fullscale_control_unknown_paths_total", "");
    control_rig_client_open(&c, rig, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text;
        assert_int_equal(control_rig_client_call(&c, rows[i].method, rows[i].path, rows[i].body, &text),
                         rows[i].status);
        assert_non_null(strstr(text, rows[i].words));
    }
    assert_int_equal(metric_read("fullscale_control_unknown_paths_total", ""), before + 5);
    control_rig_client_close(&c);
}

/* Each request that names a node, from its machine, from another node's machine and from a stranger: only the first is
 * served, and the others get the same answer whether the node exists or not. */
static void test_only_a_nodes_machine_speaks_for_it(void **state)
{
    (void)state;
    static const struct {
        const char *path, *more;
        int status;
    } rows[] = {
        {"/machine/update-health", ",\"Subsys\":\"dns\"", 204},
        {"/machine/feature/query", ",\"Feature\":\"serve\"", 200},
        {"/machine/audit-log", ",\"Action\":\"DISCONNECT_NODE\"", 200},
        {"/machine/map", ",\"Version\":142,\"OmitPeers\":true,\"Hostinfo\":{\"Hostname\":\"stolen\"}", 200},
        {"/machine/map", ",\"Version\":142,\"ReadOnly\":true", 200},
    };
    struct client owner, neighbour, stranger;
    struct device d, other, nobody;
    control_rig_join(rig, &owner, &d, "owner", 0);
    control_rig_join(rig, &neighbour, &other, "neighbour", 0);
    control_rig_client_open(&stranger, rig, 0);
    device_init(&nobody, "nobody");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *body = arena_printf(&rig->arena, "{\"NodeKey\":\"%s\"%s}", key_text(rig, &d.key), rows[i].more);
        const char *unknown = arena_printf(&rig->arena, "{\"NodeKey\":\"%s\"%s}", key_text(rig, &nobody.key),
                                           rows[i].more);
        const char *foreign_text, *stranger_text, *unknown_text;
        assert_int_equal(control_rig_client_call(&neighbour, "POST", rows[i].path, body, &foreign_text), 404);
        assert_int_equal(control_rig_client_call(&stranger, "POST", rows[i].path, body, &stranger_text), 404);
        assert_int_equal(control_rig_client_call(&stranger, "POST", rows[i].path, unknown, &unknown_text), 404);
        assert_string_equal(foreign_text, unknown_text);
        assert_string_equal(stranger_text, unknown_text);
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text,
            *body = arena_printf(&rig->arena, "{\"NodeKey\":\"%s\"%s}", key_text(rig, &d.key), rows[i].more);
        if (strstr(body, "stolen") == NULL)
            assert_int_equal(control_rig_client_call(&owner, "POST", rows[i].path, body, &text), rows[i].status);
        if (strstr(body, "ReadOnly") != NULL)
            assert_null(memmem(text, strlen(text), "stolen", 6));
    }
    /* Registration: the same answer as for a key that no node has. */
    const char *theirs, *none;
    control_rig_client_call(&stranger, "POST", "/machine/register", register_body(rig, &d, "", NULL), &theirs);
    control_rig_client_call(&stranger, "POST", "/machine/register", register_body(rig, &nobody, "", NULL), &none);
    assert_string_equal(theirs, none);
    control_rig_client_call(&stranger, "POST", "/machine/register", register_body(rig, &d, "", "1970-01-01T00:02:03Z"),
                            &theirs);
    control_rig_client_call(&stranger, "POST", "/machine/register",
                            register_body(rig, &nobody, "", "1970-01-01T00:02:03Z"), &none);
    assert_string_equal(theirs, none);
    assert_int_equal(control_rig_client_update(&owner, &d), 200);
    control_rig_client_close(&owner);
    control_rig_client_close(&neighbour);
    control_rig_client_close(&stranger);
}

static void test_several_connections(void **state)
{
    (void)state;
    struct client c, others[3];
    const char *first, *text;
    control_rig_client_open(&c, rig, 0);
    control_rig_client_call(&c, "GET", "/machine/whoami", "", &first);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        control_rig_client_open_same(&others[i], &c, 0);
        assert_int_equal(control_rig_client_call(&others[i], "GET", "/machine/whoami", "", &text), 200);
        assert_string_equal(text, first);
    }
    control_rig_client_close(&c);
    assert_int_equal(control_rig_client_call(&others[2], "GET", "/machine/whoami", "", &text), 200);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        control_rig_client_close(&others[i]);
}

static void test_drain(void **state)
{
    (void)state;
    control_rig_wait_idle(rig);
    struct rig *own = control_rig_create(1);
    struct client idle, busy;
    struct device d;
    struct reply poll;
    control_rig_client_open(&idle, own, 0);
    control_rig_join(own, &busy, &d, "busy", 0);
    control_rig_client_poll(&busy, &poll, &d, 0);
    reply_wait_frames(&poll, 1);
    control_drain(own->control);
    RIG_WAIT(own, idle.is_closed && busy.is_goaway);
    assert_false(poll.is_ended);
    control_rig_client_close(&idle);
    reply_fini(&poll);
    control_rig_client_close(&busy);
    control_rig_wait_idle(own);
    control_rig_destroy(own);
}

/* --- a start --- */

static void no_one_published(void *ctx, struct tailnet *t, struct change *c)
{
    (void)t;
    (void)ctx;
    (void)c;
}

static void no_one_revoked(void *ctx, struct tailnet *t, const node_key *key)
{
    (void)t;
    (void)ctx;
    (void)key;
}

static void find_after_tick(struct state *st, int64_t now_ms, void *found_out)
{
    state_tick(st, now_ms);
    *(bool *)found_out = state_node(st, 5) != NULL;
}

/* A machine whose clock was a year late while the state was loaded: its ephemeral nodes get their time to come back. */
static void test_clock_set_between_loading_and_start(void **state)
{
    (void)state;
    const int64_t year_ms = INT64_C(365) * 24 * 3600 * 1000;
    const struct core_hooks hooks = {.published = no_one_published, .key_revoked = no_one_revoked};
    struct rig one = {.loop = rig->loop, .guard = rig->guard};
    int64_t apart_ms = core_clocks_apart_ms() - year_ms;
    struct state *st = control_rig_state(NULL);
    struct node *n = node_create(0);
    bool is_found = false;
    n->id = 5;
    n->user = TAGGED_DEVICES_USER;
    n->key.b[0] = 5;
    n->is_ephemeral = true;
    n->expires_ms = NO_EXPIRY;
    snprintf(n->name, sizeof(n->name), "runner");
    assert_int_equal(state_load(st, &entity_node, &n->row, NULL), RC_OK);
    state_load_done(st, clock_wall_ms() - year_ms);
    assert_int_equal(store_open_memory(&one.store), RC_OK);
    one.core = core_create(one.store, apart_ms, &hooks);
    one.tailnet = core_add_tailnet(one.core, &control_rig_tailnet, st);
    core_start(one.core);
    control_rig_on_core(&one, find_after_tick, &is_found);
    core_stop(one.core);
    store_close(&one.store);
    core_destroy(&one.core);
    assert_true(is_found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_requests, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_only_a_nodes_machine_speaks_for_it, control_rig_set_up,
                                        control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_several_connections, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_drain, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_clock_set_between_loading_and_start, control_rig_set_up,
                                        control_rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
