/* Map sessions: polls of one node, peers, policies, keep-alives. Slow readers and storms: session_storms_test.c. */
#include "control/testing_crowd.h"
#include "control/testing_maps.h"

/* --- polls of one node --- */

static void supersede(unsigned workers)
{
    struct client c, again;
    struct device d;
    struct reply first, second;
    control_rig_join(rig, &c, &d, "twice", 0);
    control_rig_client_open_same(&again, &c, workers - 1);
    poll_begin(&c, &first, &d, 0);
    poll_begin(&again, &second, &d, MAP_ZSTD);
    RIG_WAIT(rig, first.is_ended);
    assert_int_equal(first.error, 0);
    control_rig_settle(rig);
    assert_false(second.is_ended);
    assert_int_equal(control_rig_sessions(), 1);
    /* And back. */
    reply_fini(&first);
    poll_begin(&c, &first, &d, 0);
    RIG_WAIT(rig, second.is_ended);
    assert_false(first.is_ended);
    reply_fini(&second);
    control_rig_client_close(&again);
    poll_finish(&c, &first);
}

static void test_second_poll_supersedes(void **state)
{
    (void)state;
    supersede(1);
    supersede(2);
}

/* Polls on both workers at the same time: one of them stays. */
static void test_polls_race(void **state)
{
    (void)state;
    struct client c[2];
    struct device d;
    control_rig_join(rig, &c[0], &d, "racer", 0);
    control_rig_client_open_same(&c[1], &c[0], 1);
    for (int round = 0; round < 10; round++) {
        struct reply polls[4];
        for (int i = 0; i < 4; i++)
            control_rig_client_poll(&c[i % 2], &polls[i], &d, i < 2 ? 0 : MAP_ZSTD);
        RIG_WAIT(rig, polls[0].is_ended + polls[1].is_ended + polls[2].is_ended + polls[3].is_ended == 3);
        for (int i = 0; i < 4; i++)
            poll_end(&c[i % 2], &polls[i]);
        while (control_rig_sessions() > 0)
            control_rig_settle(rig);
    }
    control_rig_client_close(&c[0]);
    control_rig_client_close(&c[1]);
    control_rig_wait_idle(rig);
}

static void test_key_rotation(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, newer, watch;
    control_rig_join(rig, &c, &d, "rotates", 0);
    control_rig_join(rig, &other, &peer, "sees", 1);
    uint64_t id = poll_begin(&c, &poll, &d, 0);
    poll_begin(&other, &watch, &peer, 0);
    d.old_key = d.key;
    rng_bytes(&d.key, sizeof(d.key));
    assert_true(
        json_is_true(control_rig_client_register(&c, &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL),
                     "MachineAuthorized"));
    RIG_WAIT(rig, poll.is_ended); /* the old key's */
    WAIT_VIEW(&watch, id, v.is_there && str_eq_c(v.key, key_text(rig, &d.key)));
    assert_int_equal(poll_begin(&c, &newer, &d, 0), id);
    assert_first_map(reply_frame(&newer, 0), &d);
    struct device old = d;
    old.key = d.old_key;
    assert_int_equal(control_rig_client_update(&c, &old), 404);
    reply_fini(&poll);
    poll_end(&other, &watch);
    control_rig_client_close(&other);
    poll_finish(&c, &newer);
}

/* --- peers --- */

static void update_and_poll(bool update_first)
{
    struct client c, other;
    struct device d, peer;
    struct reply poll, watch, update;
    control_rig_join(rig, &other, &peer, "observer", 1);
    poll_begin(&other, &watch, &peer, MAP_ZSTD);
    control_rig_join(rig, &c, &d, "starter", 0);
    struct device stale = d;
    d.home_derp = 3;
    d.endpoints_n = 2;
    if (!update_first)
        control_rig_client_poll(&c, &poll, &stale, 0);
    control_rig_client_send(&c, &update, "POST", "/machine/map", map_body(rig, &d, MAP_OMIT_PEERS));
    if (update_first)
        control_rig_client_poll(&c, &poll, &stale, 0);
    reply_wait_frames(&poll, 1);
    uint64_t id = json_number(json_get(reply_frame(&poll, 0), "Node"), "ID");
    RIG_WAIT(rig, update.is_ended);
    assert_int_equal(update.status, 200);
    /* The poll's older copy does not undo the update. */
    WAIT_VIEW(&watch, id, v.is_there && v.is_online && v.home_derp == 3 && v.endpoints_n == 2);
    reply_fini(&update);
    poll_end(&other, &watch);
    control_rig_client_close(&other);
    poll_finish(&c, &poll);
}

static void test_update_before_poll(void **state)
{
    (void)state;
    update_and_poll(true);
}

static void test_poll_before_update(void **state)
{
    (void)state;
    update_and_poll(false);
}

static void test_peers_learn(void **state)
{
    (void)state;
    struct client a, b;
    struct device da, db;
    struct reply pa, pb;
    control_rig_join(rig, &a, &da, "first", 0);
    poll_begin(&a, &pa, &da, 0);
    control_rig_join(rig, &b, &db, "second", 1);
    uint64_t id = poll_begin(&b, &pb, &db, MAP_ZSTD);
    WAIT_VIEW(&pa, id, v.is_there && v.is_online && str_eq_c(v.name, "second.test.example."));
    db.endpoints_n = 4;
    db.home_derp = 2;
    assert_int_equal(control_rig_client_update(&b, &db), 200);
    WAIT_VIEW(&pa, id, v.endpoints_n == 4 && v.home_derp == 2);
    db.endpoints_n = 0;
    db.name = "renamed";
    assert_int_equal(control_rig_client_update(&b, &db), 200);
    WAIT_VIEW(&pa, id, v.endpoints_n == 0 && v.home_derp == 2 && str_eq_c(v.name, "renamed.test.example."));
    poll_end(&b, &pb);
    WAIT_VIEW(&pa, id, v.is_there && !v.is_online);
    control_rig_client_close(&b);
    poll_finish(&a, &pa);
}

/* --- under a policy --- */

static void set_policy(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    RIG_CHECK(policy_parse(str_c(ctx), NULL, &doc, &errors) == RC_OK);
    policy_errors_fini(&errors);
    state_set_policy(st, doc);
}

static void no_policy(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    (void)ctx;
    state_set_policy(st, NULL);
}

/* A node with a tag, and its poll. */
struct tagged {
    struct client c;
    struct device d;
    struct reply poll;
    uint64_t id;
};

static void tagged_join(struct tagged *t, const char *tag, unsigned worker)
{
    const struct str tags[] = {str_c(tag)};
    control_rig_client_open(&t->c, rig, worker);
    device_init(&t->d, tag + 4);
    const char *key = control_rig_key(rig, &(struct auth_key_spec){.tags = tags, .tag_n = 1});
    assert_true(json_is_true(control_rig_client_register(&t->c, &t->d, key, NULL), "MachineAuthorized"));
    t->id = poll_begin(&t->c, &t->poll, &t->d, 0);
}

static void tagged_move(struct tagged *t, uint16_t home_derp)
{
    t->d.home_derp = home_derp;
    assert_int_equal(control_rig_client_update(&t->c, &t->d), 200);
}

/* a and b see each other, b and c too, no others. Changes that leave the viewer keys as they are go to the nodes that
 * see; when viewer keys change, later changes follow the new ones. */
static void test_changes_go_to_those_who_see(void **state)
{
    (void)state;
    static char first[] = "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[],\"tag:c\":[]},\"grants\":["
                          "{\"src\":[\"tag:a\"],\"dst\":[\"tag:b\"],\"ip\":[\"*\"]},"
                          "{\"src\":[\"tag:b\"],\"dst\":[\"tag:c\"],\"ip\":[\"*\"]}]}";
    static char second[] = "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[],\"tag:c\":[]},\"grants\":["
                           "{\"src\":[\"tag:a\"],\"dst\":[\"tag:c\"],\"ip\":[\"*\"]}]}";
    struct tagged *t = mem_zalloc(3, sizeof(*t));
    control_rig_on_core(rig, set_policy, first);
    for (unsigned i = 0; i < 3; i++)
        tagged_join(&t[i], (const char *[]){"tag:a", "tag:b", "tag:c"}[i], i % 2);
    WAIT_VIEW(&t[0].poll, t[1].id, v.is_there && v.is_online);
    WAIT_VIEW(&t[2].poll, t[1].id, v.is_there && v.is_online);
    control_rig_settle(rig);
    size_t quiet = t[0].poll.frame_n;
    tagged_move(&t[2], 5);
    WAIT_VIEW(&t[1].poll, t[2].id, v.home_derp == 5);
    control_rig_settle(rig);
    assert_int_equal(t[0].poll.frame_n, quiet);
    tagged_move(&t[1], 6);
    WAIT_VIEW(&t[0].poll, t[1].id, v.home_derp == 6);
    WAIT_VIEW(&t[2].poll, t[1].id, v.home_derp == 6);
    control_rig_on_core(rig, set_policy, second);
    WAIT_VIEW(&t[0].poll, t[1].id, !v.is_there);
    tagged_move(&t[2], 7);
    WAIT_VIEW(&t[0].poll, t[2].id, v.home_derp == 7);
    control_rig_settle(rig);
    quiet = t[1].poll.frame_n;
    tagged_move(&t[0], 8);
    WAIT_VIEW(&t[2].poll, t[0].id, v.home_derp == 8);
    control_rig_settle(rig);
    assert_int_equal(t[1].poll.frame_n, quiet);
    control_rig_on_core(rig, no_policy, NULL);
    tagged_move(&t[0], 9);
    WAIT_VIEW(&t[1].poll, t[0].id, v.home_derp == 9);
    for (unsigned i = 0; i < 3; i++) {
        reply_fini(&t[i].poll);
        control_rig_client_close(&t[i].c);
    }
    control_rig_wait_idle(rig);
    mem_free(t);
}

/* --- liveness --- */

static void keep_alives_in(unsigned coding)
{
    struct client c;
    struct device d;
    struct reply poll;
    control_rig_join(rig, &c, &d, "quiet", 0);
    poll_begin(&c, &poll, &d, coding);
    control_rig_settle(rig);
    size_t n = poll.frame_n;
    control_rig_pass_seconds(0, 49);
    control_rig_settle(rig);
    assert_int_equal(poll.frame_n, n);
    control_rig_pass_seconds(0, 13);
    reply_wait_frames(&poll, n + 1);
    assert_true(map_is_keep_alive(reply_frame(&poll, n)));
    assert_string_not_equal(poll.frames[n], "{\"KeepAlive\":true}");
    poll_finish(&c, &poll);
}

static void test_keep_alive(void **state)
{
    (void)state;
    keep_alives_in(0);
}

static void test_keep_alive_zstd(void **state)
{
    (void)state;
    keep_alives_in(MAP_ZSTD);
}

static unsigned keep_alives(struct reply *poll)
{
    unsigned n = 0;
    for (size_t i = 0; i < poll->frame_n; i++)
        n += map_is_keep_alive(reply_frame(poll, i));
    return n;
}

/* The process was stopped for an hour: one keep-alive, not one for each missed minute; and it comes to an end. */
static void test_keep_alive_after_a_stall(void **state)
{
    (void)state;
    struct client c[8];
    struct device d[8];
    struct reply polls[8];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        control_rig_join(rig, &c[i], &d[i], "stalled", 0);
        poll_begin(&c[i], &polls[i], &d[i], 0);
    }
    control_rig_settle(rig);
    control_rig_pass_seconds(0, 3600);
    control_rig_settle(rig);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        RIG_WAIT(rig, keep_alives(&polls[i]) > 0);
        assert_int_equal(keep_alives(&polls[i]), 1);
        reply_fini(&polls[i]);
        control_rig_client_close(&c[i]);
    }
    control_rig_wait_idle(rig);
}

/* --- going away --- */

/* The node is deleted before any snapshot of a worker has it: its poll does not wait for ever. */
static void test_deleted_before_shown(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply poll;
    struct control_rig_core_call join, leave;
    struct crowd *one = MEM_NEW(struct crowd);
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "ghost");
    crowd_init(one, 1);
    one->machine = c.public;
    one->keys[0] = d.key;
    control_rig_hold_core(rig);
    control_rig_core_begin(rig, &join, crowd_join, one);
    control_rig_client_poll(&c, &poll, &d, 0);
    assert_int_equal(control_rig_client_call(&c, "GET", "/machine/whoami", "", NULL), 200);
    control_rig_core_begin(rig, &leave, crowd_leave, one);
    control_rig_release_core(rig);
    RIG_WAIT(rig, join.is_done && leave.is_done);
    control_rig_settle(rig);
    assert_int_equal(poll.frame_n, 0);
    control_rig_pass_seconds(0, 62);
    reply_wait_frames(&poll, 1);
    assert_true(map_is_past(json_get(reply_frame(&poll, 0), "Node")));
    assert_false(poll.is_ended);
    mem_free(one);
    poll_finish(&c, &poll);
}

static void some_iterations(void)
{
    for (int n = rand() % 6; n > 0; n--) {
        control_rig_wake(rig);
        loop_run(rig->loop);
    }
}

/* A client that connects, sends a few requests, and is gone in the middle of any of them. */
static void visit(struct client *c, struct device *d)
{
    struct client again = {.rig = rig, .version = c->version, .machine = c->machine, .public = c->public};
    control_rig_client_begin(&again, (unsigned)rand() % 2);
    if (rand() % 4 != 0)
        RIG_WAIT(rig, again.h2 != NULL);
    else
        some_iterations();
    for (int n = rand() % 4; again.h2 != NULL && n > 0; n--) {
        static const unsigned forms[] = {MAP_POLL, MAP_POLL | MAP_ZSTD, MAP_OMIT_PEERS, MAP_READ_ONLY, 0};
        d->endpoints_n = (unsigned)rand() % 3;
        const char *body = map_body(rig, d, forms[(size_t)rand() % ARRAY_LEN(forms)]);
        int32_t id = h2_client_request(again.h2, "POST", "h", "/machine/map", str_c(body));
        some_iterations();
        if (rand() % 3 == 0)
            h2_client_cancel(again.h2, id);
    }
    control_rig_client_close(&again);
}

static void test_visitors(void **state)
{
    (void)state;
    struct client c[3];
    struct device d[3];
    struct reply poll;
    srand(3);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        control_rig_join(rig, &c[i], &d[i], "visitor", (unsigned)i % 2);
    for (int i = 0; i < 300; i++) {
        size_t who = (size_t)rand() % ARRAY_LEN(c);
        visit(&c[who], &d[who]);
    }
    /* What the last clients sent may still be in the kernel: a poll of theirs must not come after those below. */
    do
        control_rig_settle(rig);
    while (control_rig_sessions() > 0);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        poll_begin(&c[i], &poll, &d[i], 0);
        assert_first_map(reply_frame(&poll, 0), &d[i]);
        assert_false(poll.is_ended);
        reply_fini(&poll);
        control_rig_client_close(&c[i]);
    }
    control_rig_wait_idle(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_second_poll_supersedes, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_polls_race, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_key_rotation, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_update_before_poll, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_poll_before_update, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_peers_learn, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_changes_go_to_those_who_see, control_rig_set_up_two,
                                        control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_keep_alive, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_keep_alive_zstd, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_keep_alive_after_a_stall, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_deleted_before_shown, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_visitors, control_rig_set_up_two, control_rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
