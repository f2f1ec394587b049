/* What happened is told once, in order, when it is on disk, and never when it did not happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "codec/json.h"
#include "policy/policy.h"
#include "state/events_internal.h"
#include "state/setting.h"
#include "state/state_internal.h"
#include "state/testing.h"

static struct buf told; /* names of kinds, each with a space before */

static int set_up(void **state)
{
    int rc = test_tailnet_set_up(state);
    struct test_tailnet *f = *state;
    test_tailnet_settle(f, TEST_NOW_MS);
    state_want_events(f->st, true);
    state_set_actor(f->st, NULL, TEST_NOW_MS);
    return rc;
}

static int tear_down(void **state)
{
    buf_fini(&told);
    return test_tailnet_tear_down(state);
}

/* --- helpers --- */

static const char *take_told(struct state *st)
{
    struct event_list *l;
    buf_clear(&told);
    while ((l = state_take_events(st)) != NULL) {
        for (size_t i = 0; i < l->n; i++)
            buf_printf(&told, " %s", event_kind_name(l->v[i].kind));
        event_list_unref(&l);
    }
    return buf_cstr(&told);
}

/* What is durable is told when it is on disk, and nothing before. */
static void assert_told(struct test_tailnet *f, const char *want)
{
    assert_string_equal(take_told(f->st), "");
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_string_equal(take_told(f->st), want);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_string_equal(take_told(f->st), "");
}

static const struct node *join(struct test_tailnet *f, const char *hostname, bool is_ephemeral)
{
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){.is_ephemeral = is_ephemeral}, key);
    struct registration reg = test_tailnet_request(f, key, hostname);
    struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
    assert_int_equal(r.outcome, REGISTER_OK);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_string_equal(take_told(f->st), " auth_key.created node.joined auth_key.used");
    return r.node;
}

static void poll(struct test_tailnet *f, const struct node *n)
{
    const struct node_report report = {0};
    const struct node *out;
    node_key key = n->key;
    machine_key machine = n->machine;
    assert_int_equal(state_poll_begin(f->st, &key, &machine, &report, TEST_NOW_MS, &out), RC_OK);
}

/* Takes the one event that may be told, as JSON. */
static const char *take_json(struct test_tailnet *f)
{
    struct json_writer w;
    test_tailnet_settle(f, TEST_NOW_MS);
    struct event_list *l = state_take_events(f->st);
    assert_non_null(l);
    assert_int_equal(l->n, 1);
    buf_clear(&told);
    json_w_init(&w, &told);
    event_write_json(&w, &l->v[0]);
    event_list_unref(&l);
    assert_null(state_take_events(f->st));
    return buf_cstr(&told);
}

/* --- each once --- */

static void test_users_tell_that_they_come_change_and_go(void **state)
{
    struct test_tailnet *f = *state;
    const struct user *u;
    struct user_spec spec = {.name = STR("bert")};
    assert_int_equal(state_user_create(f->st, &spec, TEST_NOW_MS, &u, NULL), RC_OK);
    user_id id = u->id;
    assert_told(f, " user.created");
    assert_int_equal(state_user_rename(f->st, id, STR("berta"), &u, NULL), RC_OK);
    assert_told(f, " user.renamed");
    assert_int_equal(state_user_set_role(f->st, id, USER_ADMIN, &u, NULL), RC_OK);
    assert_told(f, " user.role_changed");
    assert_int_equal(state_user_rename(f->st, id, STR("anna"), &u, NULL), RC_EXISTS);
    assert_told(f, "");
    assert_int_equal(state_user_delete(f->st, id, NULL), RC_OK);
    assert_told(f, " user.deleted");
}

static void test_auth_keys_tell_that_they_come_and_end(void **state)
{
    struct test_tailnet *f = *state;
    char text[AUTH_KEY_TEXT_CAP];
    uint64_t id = test_tailnet_key(f, (struct auth_key_spec){0}, text);
    assert_told(f, " auth_key.created");
    assert_int_equal(state_key_expire(f->st, id, TEST_NOW_MS + 1, NULL), RC_OK);
    assert_told(f, " auth_key.expired");
    assert_int_equal(state_key_expire(f->st, id, TEST_NOW_MS + 2, NULL), RC_OK);
    assert_told(f, "");
    assert_int_equal(state_key_delete(f->st, id, NULL), RC_OK);
    assert_told(f, " auth_key.deleted");
    const struct user *u;
    struct user_spec spec = {.name = STR("bert")};
    assert_int_equal(state_user_create(f->st, &spec, TEST_NOW_MS, &u, NULL), RC_OK);
    id = u->id;
    test_tailnet_key(f, (struct auth_key_spec){.user = id}, text);
    assert_told(f, " user.created auth_key.created");
    assert_int_equal(state_user_delete(f->st, id, NULL), RC_OK);
    assert_told(f, " auth_key.deleted user.deleted");
}

static void test_what_admins_do_to_nodes_is_told(void **state)
{
    struct test_tailnet *f = *state;
    const struct node *n = join(f, "laptop", false);
    node_id id = n->id;
    struct str tag = STR("tag:a");
    struct prefix route;
    assert_int_equal(prefix_parse(STR("10.0.0.0/8"), &route, NULL), RC_OK);
    assert_int_equal(state_node_rename(f->st, id, STR("box"), &n, NULL), RC_OK);
    assert_told(f, " node.renamed");
    assert_int_equal(state_node_approve_routes(f->st, id, &route, 1, &n, NULL), RC_OK);
    assert_told(f, " node.routes_approved");
    assert_int_equal(state_node_expire(f->st, id, TEST_NOW_MS + 1000, TEST_NOW_MS, &n, NULL), RC_OK);
    assert_told(f, " node.expiry_set");
    assert_int_equal(state_node_expire(f->st, id, TEST_NOW_MS, TEST_NOW_MS, &n, NULL), RC_OK);
    assert_told(f, " node.expired");
    assert_int_equal(state_node_set_tags(f->st, id, &tag, 1, &n, NULL), RC_OK);
    assert_told(f, " node.tagged");
    assert_int_equal(state_node_delete(f->st, id, NULL), RC_OK);
    assert_told(f, " node.deleted");
}

static void test_a_date_that_comes_is_told_once(void **state)
{
    struct test_tailnet *f = *state;
    const struct node *n = join(f, "laptop", false);
    assert_int_equal(state_node_expire(f->st, n->id, TEST_NOW_MS + 1000, TEST_NOW_MS, &n, NULL), RC_OK);
    assert_told(f, " node.expiry_set");
    state_tick(f->st, TEST_NOW_MS + 999);
    assert_string_equal(take_told(f->st), "");
    state_tick(f->st, TEST_NOW_MS + 1000);
    assert_string_equal(take_told(f->st), " node.expired");
    state_tick(f->st, TEST_NOW_MS + 2000);
    assert_string_equal(take_told(f->st), "");
}

static void test_a_node_is_online_from_its_first_poll_until_the_grace_after_its_last(void **state)
{
    struct test_tailnet *f = *state;
    const struct node *n = join(f, "laptop", false);
    node_id id = n->id;
    poll(f, n);
    assert_string_equal(take_told(f->st), " node.online");
    poll(f, state_node(f->st, id));
    state_poll_end(f->st, id, TEST_NOW_MS);
    state_poll_end(f->st, id, TEST_NOW_MS);
    assert_string_equal(take_told(f->st), "");
    state_tick(f->st, TEST_NOW_MS + TEST_GRACE_MS);
    assert_string_equal(take_told(f->st), " node.offline");
}

static void test_a_node_that_nobody_knows_yet_is_not_said_to_be_online(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop");
    struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
    poll(f, r.node);
    assert_told(f, " auth_key.created node.joined auth_key.used node.online");
}

static void test_an_ephemeral_node_is_deleted_by_the_server(void **state)
{
    struct test_tailnet *f = *state;
    join(f, "laptop", true);
    state_tick(f->st, TEST_NOW_MS + TEST_EPHEMERAL_MS);
    state_settle(f->st, TEST_NOW_MS + TEST_EPHEMERAL_MS);
    assert_string_equal(take_json(f), "{\"event\":\"node.deleted\",\"at\":\"2027-01-15T08:01:00Z\","
                                      "\"actor\":{\"type\":\"server\"},"
                                      "\"object\":{\"type\":\"node\",\"id\":\"1\",\"deleted\":true},"
                                      "\"fields\":{\"node\":1,\"name\":\"laptop\"}}");
}

static void test_a_node_that_registers_again_and_logs_out_has_done_it_itself(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop");
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_told(f, " auth_key.created node.joined auth_key.used");
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_string_equal(take_told(f->st), " node.registered");
    reg.old_key = reg.key;
    test_tailnet_random(f, &reg.key, sizeof(reg.key));
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_told(f, " node.registered");
    reg.expiry_ms = 1;
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_KEY_EXPIRED);
    assert_string_equal(take_json(f), "{\"event\":\"node.logged_out\",\"at\":\"2027-01-15T08:00:00Z\","
                                      "\"actor\":{\"type\":\"node\",\"id\":\"1\"},"
                                      "\"object\":{\"type\":\"node\",\"id\":\"1\"},"
                                      "\"fields\":{\"node\":1,\"name\":\"laptop\"}}");
}

static void test_relays_tell_that_they_come_and_go(void **state)
{
    struct test_tailnet *f = *state;
    static const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {1};
    const struct relay_report report = {.host_name = "relay.example", .derp_port = 443};
    const struct relay_spec spec = {.name = STR("fra")};
    const struct relay_host *r;
    char text[AUTH_KEY_TEXT_CAP];
    uint64_t serial;
    assert_int_equal(state_relay_create(f->st, &spec, random, TEST_NOW_MS, &r, text, NULL), RC_OK);
    uint64_t id = r->id;
    assert_told(f, " relay.enrolled");
    for (int i = 0; i < 2; i++)
        assert_int_equal(state_relay_announce(f->st, id, &report, TEST_NOW_MS + 1000, TEST_NOW_MS, &serial), RC_OK);
    assert_string_equal(take_told(f->st), " relay.up");
    state_tick(f->st, TEST_NOW_MS + 1000);
    assert_string_equal(take_told(f->st), " relay.down");
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_int_equal(state_relay_delete(f->st, id, NULL), RC_OK);
    assert_told(f, " relay.deleted");
}

static void test_a_policy_that_is_stored_is_told_and_what_it_approves(void **state)
{
    struct test_tailnet *f = *state;
    const struct node *n = join(f, "router", false);
    struct prefix route;
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    const struct policy_text *t;
    assert_int_equal(prefix_parse(STR("10.1.0.0/16"), &route, NULL), RC_OK);
    struct prefix_list *routes = prefix_list_create(&route, 1);
    struct rcbuf *info = rcbuf_create("{}", 2);
    const struct node_report report = {.hostinfo = info, .routes = routes};
    node_key key = n->key;
    machine_key machine = n->machine;
    assert_int_equal(state_node_report(f->st, &key, &machine, &report, &n), RC_OK);
    assert_string_equal(take_told(f->st), " node.routes_advertised");
    assert_int_equal(
        policy_parse(STR("{\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"anna@\"]}}}"), NULL, &doc, &errors), RC_OK);
    assert_int_equal(state_policy_store(f->st, doc, STR("anna"), STR("why"), TEST_NOW_MS, &t, NULL), RC_OK);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_string_equal(take_told(f->st), " policy.changed");
    assert_string_equal(take_json(f), "{\"event\":\"node.routes_approved\",\"at\":\"2027-01-15T08:00:00Z\","
                                      "\"actor\":{\"type\":\"policy\"},\"object\":{\"type\":\"node\",\"id\":\"1\"},"
                                      "\"fields\":{\"node\":1,\"name\":\"router\",\"routes\":[\"10.1.0.0/16\"]}}");
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
    prefix_list_unref(&routes);
    rcbuf_unref(&info);
}

static void test_that_a_setting_changes_is_told_and_no_value(void **state)
{
    struct test_tailnet *f = *state;
    const struct setting *s;
    assert_int_equal(state_setting_set(f->st, STR("motd"), STR("hello"), &s, NULL), RC_OK);
    assert_told(f, " setting.changed");
    assert_int_equal(state_setting_set(f->st, STR("motd"), STR("hello"), &s, NULL), RC_OK);
    assert_told(f, "");
    assert_int_equal(state_setting_set(f->st, STR("motd"), STR("bye"), &s, NULL), RC_OK);
    assert_non_null(strstr(take_json(f), "\"id\":\"1\"},\"fields\":{\"setting\":\"motd\"}}"));
    assert_int_equal(state_setting_delete(f->st, STR("motd"), NULL), RC_OK);
    assert_non_null(strstr(take_json(f), "\"deleted\":true},\"fields\":{\"setting\":\"motd\"}}"));
}

/* --- routers --- */

static const char *take_told_of(struct test_routers *f)
{
    const char *text = take_told(f->st);
    test_routers_publish(f);
    return text;
}

static int routers_set_up(void **state)
{
    int rc = test_routers_set_up(state);
    struct test_routers *f = *state;
    for (node_id id = 1; id <= 2; id++) {
        test_routers_advertise(f, id, "10.1.0.0/16");
        assert_int_equal(test_routers_approve(f, id, "10.1.0.0/16"), RC_OK);
        test_routers_poll(f, id);
    }
    test_routers_publish(f);
    state_want_events(f->st, true);
    return rc;
}

static int routers_tear_down(void **state)
{
    buf_fini(&told);
    return test_routers_tear_down(state);
}

static void test_a_route_that_moves_is_told_with_both_routers(void **state)
{
    struct test_routers *f = *state;
    struct json_writer w;
    const node_id first = 1;
    assert_int_equal(state_routers_silent(f->st, &first, 1), 1);
    struct event_list *l = state_take_events(f->st);
    assert_int_equal(l->n, 1);
    json_w_init(&w, &told);
    event_write_json(&w, &l->v[0]);
    event_list_unref(&l);
    assert_non_null(strstr(buf_cstr(&told), "{\"event\":\"route.moved\""));
    assert_non_null(strstr(buf_cstr(&told), "\"object\":{\"type\":\"node\",\"id\":\"2\"}"));
    assert_non_null(strstr(buf_cstr(&told), "\"prefix\":\"10.1.0.0/16\",\"from\":1}"));
    assert_string_equal(take_told_of(f), " router.silent");
    state_router_answered(f->st, first);
    assert_string_equal(take_told_of(f), " router.answers");
    state_router_answered(f->st, first);
    assert_string_equal(take_told_of(f), "");
}

/* --- batches --- */

static void test_a_refused_batch_leaves_no_event(void **state)
{
    struct test_tailnet *f = *state;
    const struct user *u;
    struct user_spec bert = {.name = STR("bert")}, carl = {.name = STR("carl")}, dora = {.name = STR("dora")};
    assert_int_equal(state_user_create(f->st, &bert, TEST_NOW_MS, &u, NULL), RC_OK);
    struct row_batch *first = state_take_batch(f->st);
    assert_int_equal(state_user_create(f->st, &carl, TEST_NOW_MS, &u, NULL), RC_OK);
    struct row_batch *second = state_take_batch(f->st);
    assert_int_equal(state_user_create(f->st, &dora, TEST_NOW_MS, &u, NULL), RC_OK);
    state_committed(f->st, first->seq);
    assert_true(state_refused(f->st, second->seq, TEST_NOW_MS));
    assert_string_equal(take_told(f->st), " user.created");
    row_batch_destroy(&first);
    row_batch_destroy(&second);
    assert_int_equal(state_user_create(f->st, &dora, TEST_NOW_MS, &u, NULL), RC_OK);
    assert_true(state_undo_pending(f->st, TEST_NOW_MS));
    assert_told(f, "");
    assert_int_equal(state_user_create(f->st, &carl, TEST_NOW_MS, &u, NULL), RC_OK);
    assert_told(f, " user.created");
}

static void test_an_operation_goes_with_the_batch_that_it_has_changed(void **state)
{
    struct test_tailnet *f = *state;
    const struct user *u;
    const user_id id = f->anna->id;
    struct event_actor ann = {.by = EVENT_BY_ADMIN, .name = rcbuf_create("ann", 3)};
    state_set_actor(f->st, &ann, TEST_NOW_MS);
    rcbuf_unref(&ann.name);
    assert_int_equal(state_user_rename(f->st, id, STR("anne"), &u, NULL), RC_OK);
    state_note_operation(f->st, "users.rename", STR("renamed user 1 to anne"), true);
    assert_told(f, " user.renamed operation");
    state_note_operation(f->st, "log.set", STR("all at debug"), false);
    assert_string_equal(take_json(f),
                        "{\"event\":\"operation\",\"at\":\"2027-01-15T08:00:00Z\","
                        "\"actor\":{\"type\":\"admin\",\"name\":\"ann\"},"
                        "\"fields\":{\"operation\":\"log.set\",\"by\":\"ann\",\"text\":\"all at debug\"}}");
    assert_int_equal(state_user_rename(f->st, id, STR("anna"), &u, NULL), RC_OK);
    state_note_operation(f->st, "users.rename", STR("renamed user 1 to anna"), true);
    assert_true(state_undo_pending(f->st, TEST_NOW_MS));
    assert_told(f, "");
}

/* --- bounds --- */

static void test_what_nobody_takes_is_dropped_and_counted(void **state)
{
    struct test_tailnet *f = *state;
    for (int i = 0; i < EVENTS_MAX + 7; i++)
        state_note_operation(f->st, "log.set", STR(""), false);
    assert_int_equal(state_events_dropped(f->st), 7);
    struct event_list *l = state_take_events(f->st);
    assert_int_equal(l->n, EVENTS_MAX);
    event_list_unref(&l);
    state_note_operation(f->st, "log.set", STR(""), false);
    assert_string_equal(take_told(f->st), " operation");
    assert_int_equal(state_events_dropped(f->st), 7);
}

static void test_refused_events_make_room(void **state)
{
    struct test_tailnet *f = *state;
    const struct user *u;
    const user_id id = f->anna->id;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(state_user_rename(f->st, id, STR("anne"), &u, NULL), RC_OK);
        for (int j = 1; j < EVENTS_MAX; j++)
            state_note_operation(f->st, "users.rename", STR(""), true);
        struct row_batch *b = state_take_batch(f->st);
        assert_int_equal(state_user_rename(f->st, id, STR("anno"), &u, NULL), RC_OK);
        assert_int_equal(state_events_dropped(f->st), i + 1);
        assert_true(state_refused(f->st, b->seq, TEST_NOW_MS));
        row_batch_destroy(&b);
    }
    assert_string_equal(take_told(f->st), "");
}

static void test_nothing_is_recorded_unless_somebody_listens(void **state)
{
    struct test_tailnet *f = *state;
    state_want_events(f->st, false);
    const struct user *u;
    assert_int_equal(state_user_rename(f->st, f->anna->id, STR("anne"), &u, NULL), RC_OK);
    assert_null(f->st->pending->events);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_null(state_take_events(f->st));
}

/* --- the table --- */

static void test_each_kind_has_a_name_a_sentence_and_what_it_shows(void **state)
{
    enum event_kind found;
    (void)state;
    for (int i = 0; i < EVENT_KINDS_N; i++) {
        assert_non_null(event_kind_name((enum event_kind)i));
        assert_true(strlen(event_sentence((enum event_kind)i)) > 5);
        assert_non_null(event_log_module((enum event_kind)i));
        assert_int_equal(event_kind_parse(str_c(event_kind_name((enum event_kind)i)), &found), RC_OK);
        assert_int_equal(found, i);
    }
    assert_int_equal(event_kind_parse(STR("node.eaten"), &found), RC_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_users_tell_that_they_come_change_and_go),
        TEST(test_auth_keys_tell_that_they_come_and_end),
        TEST(test_what_admins_do_to_nodes_is_told),
        TEST(test_a_date_that_comes_is_told_once),
        TEST(test_a_node_is_online_from_its_first_poll_until_the_grace_after_its_last),
        TEST(test_a_node_that_nobody_knows_yet_is_not_said_to_be_online),
        TEST(test_an_ephemeral_node_is_deleted_by_the_server),
        TEST(test_a_node_that_registers_again_and_logs_out_has_done_it_itself),
        TEST(test_relays_tell_that_they_come_and_go),
        TEST(test_a_policy_that_is_stored_is_told_and_what_it_approves),
        TEST(test_that_a_setting_changes_is_told_and_no_value),
        cmocka_unit_test_setup_teardown(test_a_route_that_moves_is_told_with_both_routers, routers_set_up,
                                        routers_tear_down),
        TEST(test_a_refused_batch_leaves_no_event),
        TEST(test_an_operation_goes_with_the_batch_that_it_has_changed),
        TEST(test_what_nobody_takes_is_dropped_and_counted),
        TEST(test_refused_events_make_room),
        TEST(test_nothing_is_recorded_unless_somebody_listens),
        TEST(test_each_kind_has_a_name_a_sentence_and_what_it_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
