/* Map sessions when more changes come than can be sent one by one: slow readers, storms. */
#include "control/testing_crowd.h"
#include "control/testing_maps.h"

/* --- slow readers --- */

static int64_t behind(void)
{
    return metric_read("fullscale_map_sessions_behind_total", "");
}

static int64_t delta_bytes(void)
{
    return metric_read("fullscale_map_delta_bytes_total", "");
}

static bool all_are_at(const struct json *map, const char *list, const struct crowd *crowd)
{
    char want[32];
    size_t n = 0;
    snprintf(want, sizeof(want), "192.0.2.0:%u", crowd->round);
    JSON_EACH (peer, json_get(map, list)) {
        struct str at;
        n += json_str(json_first(json_get(peer, "Endpoints")), &at) && str_eq_c(at, want);
    }
    return n == crowd->n;
}

static void slow_reader_joins(struct client *c, struct device *d)
{
    control_rig_client_init(c, rig);
    c->is_manual = true;
    control_rig_client_dial(c, 0);
    device_init(d, "slow");
    control_rig_client_register(c, d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL);
}

/* Its window is shut: what waits for it at the server is bounded, and when it reads again it gets one full map
 * instead of all that it missed. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply *poll = MEM_NEW(struct reply);
    struct crowd *crowd = MEM_NEW(struct crowd);
    int64_t behind_before = behind();
    crowd_init(crowd, ARRAY_LEN(crowd->keys));
    control_rig_on_core(rig, crowd_join, crowd);
    slow_reader_joins(&c, &d);
    poll_begin(&c, poll, &d, 0);
    poll->is_stalled = true;
    size_t unread = 0, read = poll->bytes;
    for (int i = 0; i < 200 && behind() == behind_before; i++)
        crowd_move_and_send(crowd);
    assert_int_equal(behind(), behind_before + 1);
    int64_t held = delta_bytes();
    for (int i = 0; i < 20; i++)
        crowd_move_and_send(crowd);
    assert_int_equal(delta_bytes(), held); /* nothing is queued any more */
    size_t frames = poll->frame_n;
    poll->is_stalled = false;
    unread = poll->bytes - read;
    h2_client_consume(c.h2, poll->id, unread);
    RIG_WAIT(rig, poll->frame_n > frames && json_get(reply_frame(poll, poll->frame_n - 1), "Peers") != NULL);
    assert_true(all_are_at(reply_frame(poll, poll->frame_n - 1), "Peers", crowd));
    assert_true(poll->bytes < 6 * 1024 * 1024); /* a window of four, and a little */
    /* From here on it is sent changes again. */
    frames = poll->frame_n;
    crowd_move_and_send(crowd);
    RIG_WAIT(rig, poll->frame_n >= frames + crowd->n / 32); /* a message has about so many changes of nodes */
    for (size_t i = frames; i < poll->frame_n; i++)
        assert_null(json_get(reply_frame(poll, i), "Peers"));
    assert_int_equal(behind(), behind_before + 1);
    poll_finish(&c, poll);
    mem_free(poll);
    mem_free(crowd);
}

/* --- storms --- */

static uint64_t join_and_poll(struct client *c, struct device *d, struct reply *poll, const char *name)
{
    control_rig_join(rig, c, d, name, 0);
    return poll_begin(c, poll, d, 0);
}

/* The last message says where all of the crowd are now. */
static bool is_sent(struct reply *poll, const struct crowd *crowd)
{
    return all_are_at(reply_frame(poll, poll->frame_n - 1), "PeersChangedPatch", crowd);
}

/* While changes pile up, nodes that begin to poll get maps of the newest snapshot at once. Then all are sent what
 * they do not know, and those who began before of each node once, however often it has changed: what is sent does not
 * grow with the number of publications. */
static void test_what_piles_up_is_sent_once(void **state)
{
    (void)state;
    enum { ROUNDS = 40, EARLY = 0, MEANWHILE, LATE, N };
    static const char *const names[N] = {"early", "meanwhile", "late"};
    struct client c[N];
    struct device d[N];
    uint64_t ids[N];
    struct reply *polls = mem_zalloc(N, sizeof(*polls));
    struct crowd *crowd = MEM_NEW(struct crowd);
    crowd_init(crowd, 8);
    control_rig_on_core(rig, crowd_join, crowd);
    ids[EARLY] = join_and_poll(&c[EARLY], &d[EARLY], &polls[EARLY], names[EARLY]);
    crowd_move_and_send(crowd);
    RIG_WAIT(rig, is_sent(&polls[EARLY], crowd));
    atomic_store(&rig->is_sending_held, true);
    size_t frames = polls[EARLY].frame_n, bytes = polls[EARLY].bytes;
    size_t one_bytes = strlen(polls[EARLY].frames[frames - 1]);
    for (unsigned i = 0; i < ROUNDS; i++) {
        crowd_move_and_publish(crowd);
        unsigned who = i == ROUNDS / 2 ? MEANWHILE : LATE;
        if (i != ROUNDS / 2 && i != ROUNDS - 1)
            continue;
        ids[who] = join_and_poll(&c[who], &d[who], &polls[who], names[who]);
        assert_first_map(reply_frame(&polls[who], 0), &d[who]);
    }
    assert_int_equal(polls[EARLY].frame_n, frames);
    assert_int_equal(polls[MEANWHILE].frame_n, 1);
    atomic_store(&rig->is_sending_held, false);
    crowd_move_and_send(crowd);
    for (unsigned i = 0; i < N; i++)
        RIG_WAIT(rig, is_sent(&polls[i], crowd));
    assert_true(polls[EARLY].frame_n <= frames + 4);
    assert_true(polls[EARLY].bytes < bytes + 5 * one_bytes); /* and not ROUNDS times as many */
    for (unsigned i = 0; i < N; i++) {
        for (unsigned k = 0; k < N; k++)
            WAIT_VIEW(&polls[i], ids[k], v.is_there == (i != k));
    }
    for (unsigned i = 0; i < N; i++) {
        reply_fini(&polls[i]);
        control_rig_client_close(&c[i]);
    }
    control_rig_wait_idle(rig);
    mem_free(polls);
    mem_free(crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slow_reader, control_rig_set_up_two, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_what_piles_up_is_sent_once, control_rig_set_up_two, control_rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
