/* Map requests: their forms, and which nodes they are answered for. */
#include "control/testing_maps.h"

/* --- what is done from the inside --- */

static void delete_node(struct state *st, int64_t now_ms, void *ctx)
{
    struct err err;
    (void)now_ms;
    RIG_CHECK(state_node_delete(st, *(node_id *)ctx, &err) == RC_OK);
}

/* --- the forms of a map request --- */

static void poll_in(unsigned coding)
{
    struct client c;
    struct device d;
    struct reply poll;
    control_rig_join(rig, &c, &d, "polls", 0);
    poll_begin(&c, &poll, &d, coding);
    assert_int_equal(poll.status, 200);
    assert_first_map(reply_frame(&poll, 0), &d);
    assert_int_equal(buf_len(&poll.body), 0);
    assert_int_equal(control_rig_sessions(), 1);
    assert_false(poll.is_ended);
    poll_finish(&c, &poll);
    assert_int_equal(control_rig_sessions(), 0);
}

static void test_poll_plain(void **state)
{
    (void)state;
    poll_in(0);
}

static void test_poll_zstd(void **state)
{
    (void)state;
    poll_in(MAP_ZSTD);
}

static void test_update(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    const char *text;
    control_rig_join(rig, &c, &d, "updates", 0);
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", map_body(rig, &d, MAP_OMIT_PEERS), &text),
                     200);
    assert_string_equal(text, "");
    assert_int_equal(control_rig_sessions(), 0);
    control_rig_client_close(&c);
    control_rig_wait_idle(rig);
}

/* One request that is answered by one map. */
static const struct json *ask_once(struct client *c, const struct device *d, unsigned flags)
{
    struct reply once;
    control_rig_client_send(c, &once, "POST", "/machine/map", map_body(rig, d, flags));
    once.is_poll = true;
    once.is_zstd = (flags & MAP_ZSTD) != 0;
    RIG_WAIT(rig, once.is_ended);
    assert_int_equal(once.error, 0);
    assert_int_equal(once.status, 200);
    assert_int_equal(once.frame_n, 1);
    const struct json *map = reply_frame(&once, 0);
    reply_fini(&once);
    return map;
}

static void test_one_shots(void **state)
{
    (void)state;
    static const unsigned forms[] = {0, MAP_ZSTD, MAP_READ_ONLY, MAP_READ_ONLY | MAP_ZSTD, MAP_POLL | MAP_READ_ONLY};
    struct client c, other;
    struct device d, peer;
    struct reply poll;
    control_rig_join(rig, &other, &peer, "peer", 0);
    uint64_t peer_id = poll_begin(&other, &poll, &peer, 0);
    control_rig_join(rig, &c, &d, "once", 0);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const struct json *map = ask_once(&c, &d, forms[i]);
        assert_first_map(map, &d);
        assert_non_null(map_member(map, "Peers", "ID", peer_id));
    }
    const struct json *bare = ask_once(&c, &d, MAP_READ_ONLY | MAP_OMIT_PEERS);
    assert_first_map(bare, &d);
    assert_null(json_get(bare, "Peers"));
    control_rig_client_close(&c);
    poll_finish(&other, &poll);
}

/* While much happens, publications are spaced: a node that has just joined asks before any worker knows it. */
static void ask_before_published(unsigned flags)
{
    struct client c[2];
    struct device d[2];
    const char *keys[2];
    for (int i = 0; i < 2; i++) {
        control_rig_client_open(&c[i], rig, 0);
        device_init(&d[i], "eager");
        keys[i] = control_rig_key(rig, &(struct auth_key_spec){0});
    }
    core_fanout_took(rig->core, 1000000);
    for (int i = 0; i < 2; i++)
        control_rig_client_register(&c[i], &d[i], keys[i], NULL);
    assert_first_map(ask_once(&c[1], &d[1], flags), &d[1]);
    control_rig_client_close(&c[0]);
    control_rig_client_close(&c[1]);
    control_rig_wait_idle(rig);
}

static void test_one_shot_before_published(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        ask_before_published(MAP_READ_ONLY);
        ask_before_published(MAP_ZSTD);
    }
}

static void test_poll_before_published(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct client c[2];
        struct device d[2];
        struct reply poll;
        control_rig_join(rig, &c[0], &d[0], "earlier", 0);
        control_rig_client_open(&c[1], rig, 0);
        device_init(&d[1], "later");
        const char *key = control_rig_key(rig, &(struct auth_key_spec){0});
        core_fanout_took(rig->core, 1000000);
        control_rig_client_update(&c[0], &d[0]);
        control_rig_client_register(&c[1], &d[1], key, NULL);
        poll_begin(&c[1], &poll, &d[1], 0);
        assert_first_map(reply_frame(&poll, 0), &d[1]);
        control_rig_client_close(&c[0]);
        poll_finish(&c[1], &poll);
    }
}

static void test_read_only_changes_nothing(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll;
    control_rig_join(rig, &c, &d, "reader", 0);
    control_rig_join(rig, &other, &peer, "watcher", 0);
    poll_begin(&other, &poll, &peer, 0);
    uint64_t id = json_number(json_get(ask_once(&c, &d, MAP_READ_ONLY), "Node"), "ID");
    d.home_derp = 7;
    d.endpoints_n = 3;
    ask_once(&c, &d, MAP_READ_ONLY);
    control_rig_settle(rig);
    struct view v = poll_view(&poll, id);
    assert_true(v.is_there && !v.is_online && v.home_derp == 0 && v.endpoints_n == 0);
    control_rig_client_close(&c);
    poll_finish(&other, &poll);
}

static void test_poll_without_peers(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll;
    control_rig_join(rig, &other, &peer, "unseen", 0);
    control_rig_join(rig, &c, &d, "lonely", 0);
    poll_begin(&c, &poll, &d, MAP_OMIT_PEERS);
    assert_first_map(reply_frame(&poll, 0), &d);
    assert_null(json_get(reply_frame(&poll, 0), "Peers"));
    control_rig_client_close(&other);
    poll_finish(&c, &poll);
}

/* --- which machine may ask for which node --- */

static void test_another_machines_node(void **state)
{
    (void)state;
    static const unsigned forms[] = {MAP_POLL, MAP_OMIT_PEERS, 0, MAP_READ_ONLY, MAP_POLL | MAP_ZSTD};
    struct client victim, thief;
    struct device d, forged;
    struct reply poll;
    int64_t before = metric_read("fullscale_map_refused_total", "reason=\"other_machine\"");
    control_rig_join(rig, &victim, &d, "victim", 0);
    poll_begin(&victim, &poll, &d, 0);
    control_rig_client_open(&thief, rig, 0);
    forged = d;
    forged.home_derp = 66;
    forged.endpoints_n = 9;
    forged.name = "forged";
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct reply gone;
        if ((forms[i] & MAP_POLL) == 0) {
            assert_int_equal(
                control_rig_client_call(&thief, "POST", "/machine/map", map_body(rig, &forged, forms[i]), NULL), 404);
            continue;
        }
        /* The answer is as if the node did not exist: the client logs in again. */
        control_rig_client_poll(&thief, &gone, &forged, forms[i]);
        reply_wait_frames(&gone, 1);
        assert_true(json_is_true(json_get(reply_frame(&gone, 0), "Node"), "Expired") ||
                    !json_is_null(json_get(json_get(reply_frame(&gone, 0), "Node"), "KeyExpiry")));
        assert_null(json_get(reply_frame(&gone, 0), "Peers"));
        h2_client_cancel(thief.h2, gone.id);
        reply_fini(&gone);
    }
    assert_int_equal(metric_read("fullscale_map_refused_total", "reason=\"other_machine\""),
                     before + (int64_t)ARRAY_LEN(forms));
    control_rig_settle(rig);
    assert_false(poll.is_ended);
    const struct json *self = json_get(ask_once(&victim, &d, MAP_READ_ONLY), "Node");
    assert_int_equal(json_number(self, "HomeDERP"), 0);
    assert_int_equal(json_len(json_get(self, "Endpoints")), 0);
    assert_true(json_says(self, "Name", "victim.test.example."));
    control_rig_client_close(&thief);
    poll_finish(&victim, &poll);
}

static void test_unknown_node(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply poll;
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "unknown");
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", map_body(rig, &d, MAP_OMIT_PEERS), NULL), 404);
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", map_body(rig, &d, MAP_READ_ONLY), NULL), 404);
    control_rig_client_poll(&c, &poll, &d, MAP_ZSTD);
    reply_wait_frames(&poll, 1);
    const struct json *self = json_get(reply_frame(&poll, 0), "Node");
    assert_true(json_says(self, "Key", key_text(rig, &d.key)));
    assert_true(map_is_past(self));
    /* An error or an end would bring it back at once, for ever. */
    control_rig_pass_seconds(0, 60);
    reply_wait_frames(&poll, 2);
    assert_true(map_is_keep_alive(reply_frame(&poll, 1)));
    assert_false(poll.is_ended);
    /* But strangers do not stay for ever. */
    for (int i = 0; i < 10; i++)
        control_rig_pass_seconds(0, 60);
    RIG_WAIT(rig, poll.is_ended);
    assert_int_equal(poll.error, 0);
    poll_finish(&c, &poll);
}

static void test_deleted_while_connected(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, watch;
    control_rig_join(rig, &c, &d, "doomed", 0);
    control_rig_join(rig, &other, &peer, "mourner", 0);
    node_id id = poll_begin(&c, &poll, &d, 0);
    poll_begin(&other, &watch, &peer, MAP_ZSTD);
    WAIT_VIEW(&watch, id, v.is_there);
    control_rig_on_core(rig, delete_node, &id);
    WAIT_VIEW(&watch, id, !v.is_there);
    /* Nothing follows the last message, whatever happens to others. */
    RIG_WAIT(rig, map_is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")));
    size_t n = poll.frame_n;
    peer.home_derp = 5;
    assert_int_equal(control_rig_client_update(&other, &peer), 200);
    control_rig_settle(rig);
    assert_int_equal(poll.frame_n, n);
    control_rig_pass_seconds(0, 61);
    reply_wait_frames(&poll, n + 1);
    assert_true(map_is_keep_alive(reply_frame(&poll, n)));
    assert_false(poll.is_ended);
    assert_int_equal(control_rig_client_update(&c, &d), 404);
    poll_end(&other, &watch);
    control_rig_client_close(&other);
    poll_finish(&c, &poll);
}

struct expiry {
    node_id id;
    int64_t at_ms; /* NO_EXPIRY: never */
};

static void set_expiry(struct state *st, int64_t now_ms, void *ctx)
{
    const struct expiry *e = ctx;
    const struct node *n;
    RIG_CHECK(state_node_expire(st, e->id, e->at_ms, now_ms, &n, NULL) == RC_OK);
}

/* A machine whose key has expired may be in other hands: it learns of itself only, until it is back. */
static void test_expired_learns_of_itself_only(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, again;
    control_rig_join(rig, &other, &peer, "neighbour", 0);
    control_rig_join(rig, &c, &d, "lapsed", 0);
    struct expiry e = {.id = poll_begin(&c, &poll, &d, 0), .at_ms = 1};
    control_rig_on_core(rig, set_expiry, &e);
    RIG_WAIT(rig, map_is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")));
    assert_null(json_get(reply_frame(&poll, poll.frame_n - 1), "Peers"));
    size_t n = poll.frame_n;
    peer.home_derp = 5;
    assert_int_equal(control_rig_client_update(&other, &peer), 200);
    control_rig_settle(rig);
    assert_int_equal(poll.frame_n, n);
    /* A new poll brings no more. */
    control_rig_client_poll(&c, &again, &d, 0);
    reply_wait_frames(&again, 1);
    assert_true(map_is_past(json_get(reply_frame(&again, 0), "Node")));
    assert_null(json_get(reply_frame(&again, 0), "Peers"));
    /* Back, by an admin: everything at once, with what changed meanwhile. */
    e.at_ms = NO_EXPIRY;
    control_rig_on_core(rig, set_expiry, &e);
    RIG_WAIT(rig, json_get(reply_frame(&again, again.frame_n - 1), "Peers") != NULL);
    const struct json *first = json_first(json_get(reply_frame(&again, again.frame_n - 1), "Peers"));
    assert_int_equal(json_number(first, "HomeDERP"), 5);
    control_rig_client_close(&other);
    reply_fini(&poll);
    poll_finish(&c, &again);
}

/* A client that renews its poll knows peers none of which is left, which no list of peers can say: it has to start
 * afresh. */
static void test_renewed_without_peers(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, watch, again;
    control_rig_join(rig, &other, &peer, "goes", 0);
    control_rig_join(rig, &c, &d, "lapsed", 0);
    node_id peer_id = poll_begin(&other, &watch, &peer, 0);
    struct expiry e = {.id = poll_begin(&c, &poll, &d, 0), .at_ms = 1};
    WAIT_VIEW(&poll, peer_id, v.is_there);
    control_rig_on_core(rig, set_expiry, &e);
    RIG_WAIT(rig, map_is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")));
    control_rig_on_core(rig, delete_node, &peer_id);
    control_rig_settle(rig);
    e.at_ms = NO_EXPIRY;
    control_rig_on_core(rig, set_expiry, &e);
    RIG_WAIT(rig, poll.is_ended);
    assert_int_equal(poll.error, 0);
    assert_int_equal(poll_begin(&c, &again, &d, 0), e.id);
    assert_null(json_get(reply_frame(&again, 0), "Peers"));
    poll_end(&other, &watch);
    control_rig_client_close(&other);
    reply_fini(&poll);
    poll_finish(&c, &again);
}

static void test_logout_ends_in_words(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply poll;
    control_rig_join(rig, &c, &d, "leaver", 0);
    poll_begin(&c, &poll, &d, 0);
    control_rig_client_register(&c, &d, "", "1970-01-01T00:02:03Z");
    RIG_WAIT(rig, map_is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")) || poll.is_ended);
    assert_false(poll.is_ended);
    poll_finish(&c, &poll);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_poll_plain, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_poll_zstd, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_update, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_one_shots, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_one_shot_before_published, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_poll_before_published, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_read_only_changes_nothing, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_poll_without_peers, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_another_machines_node, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_node, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_deleted_while_connected, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_expired_learns_of_itself_only, control_rig_set_up_two,
                                        control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_renewed_without_peers, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_logout_ends_in_words, control_rig_set_up_two, control_rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
