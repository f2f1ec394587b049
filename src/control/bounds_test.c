/* Bodies that are hostile, and requests that wait for the core or the disk: what they may hold, and clients that
 * leave. */
#include "control/testing_joins.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- hostile bodies --- */

static char *nested(const char *before, size_t depth)
{
    size_t n = strlen(before);
    char *body = mem_zalloc(1, n + depth + 1);
    memcpy(body, before, n);
    memset(body + n, '[', depth);
    return body;
}

static void test_malformed_bodies(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{",
        "null",
        "[]",
        "\"",
        "{}x",
        "\xff\xfe",
        "{\"NodeKey\":1}",
        "{\"NodeKey\":\"nodekey:zz\"}",
        "{\"Auth\":[]}",
        "{\"Expiry\":\"yesterday\"}",
        "{\"Version\":\"142\"}",
        "{\"Hostinfo\":[1]}",
    };
    struct client c;
    control_rig_client_open(&c, rig, 0);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        assert_join_refused(&c, bodies[i], "did not understand");
        if (strstr(bodies[i], "Auth") == NULL && strstr(bodies[i], "Expiry") == NULL) /* not members of a map request */
            assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", bodies[i], NULL), 400);
    }
    control_rig_client_close(&c);
}

static void test_deep_json(void **state)
{
    (void)state;
    static const char *const heads[] = {"", "{\"Hostinfo\":", "{\"x\":"};
    struct client c;
    control_rig_client_open(&c, rig, 0);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        char *body = nested(heads[i], 50000);
        assert_join_refused(&c, body, "did not understand");
        assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", body, NULL), 400);
        mem_free(body);
    }
    control_rig_client_close(&c);
}

static void call_with_blanks(struct client *c, size_t size, const char *request, int want, const char **text_out)
{
    char *body = mem_alloc(size + 1);
    memset(body, ' ', size);
    memcpy(body + size - strlen(request), request, strlen(request) + 1);
    assert_int_equal(control_rig_client_call(c, "POST", "/machine/register", body, text_out), want);
    mem_free(body);
}

static void test_large_body(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    char *body = mem_alloc(HTTP_MAX_BODY_BYTES + 2);
    int64_t before = metric_read("fullscale_http_refused_total", "reason=\"body\"");
    memset(body, ' ', HTTP_MAX_BODY_BYTES + 1);
    body[HTTP_MAX_BODY_BYTES + 1] = '\0';
    control_rig_client_open(&c, rig, 0);
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/register", body, NULL), 413);
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", body, NULL), 413);
    assert_int_equal(metric_read("fullscale_http_refused_total", "reason=\"body\""), before + 2);
    /* The largest that is taken of a stranger, and of a node. */
    device_init(&d, "large");
    const char *request = register_body(rig, &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL);
    const char *text;
    call_with_blanks(&c, HTTP_STRANGER_BODY_BYTES + 1, request, 413, NULL);
    call_with_blanks(&c, HTTP_STRANGER_BODY_BYTES, request, 200, &text);
    assert_true(json_is_true(control_rig_json(rig, text), "MachineAuthorized"));
    call_with_blanks(&c, HTTP_MAX_BODY_BYTES, request, 200, &text);
    mem_free(body);
    /* It is known from the handshake on when it comes back. */
    struct client again;
    control_rig_client_open_same(&again, &c, 0);
    call_with_blanks(&again, HTTP_MAX_BODY_BYTES, request, 200, &text);
    control_rig_client_close(&again);
    control_rig_client_close(&c);
}

/* The server refuses as soon as it is too much, and takes little of the rest. */
static void test_huge_body(void **state)
{
    (void)state;
    static const size_t huge = 100 * 1024 * 1024;
    struct client c;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    char *body = mem_alloc(huge + 1);
    memset(body, '[', huge);
    body[huge] = '\0';
    control_rig_client_init(&c, rig);
    control_rig_client_begin(&c, 0);
    struct stream *tcp = c.s;
    RIG_WAIT(rig, c.h2 != NULL);
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", body, NULL), 413);
    mem_free(body);
    assert_int_equal(control_rig_client_call(&c, "GET", "/machine/whoami", "", NULL), 200);
    assert_int_equal(getsockopt(tcp_stream_fd(tcp), IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    assert_true(info.tcpi_bytes_acked < 16 * 1024 * 1024);
    control_rig_client_close(&c);
}

/* --- going away --- */

/* While the core is busy, requests of all kinds are begun and dropped in each way there is. */
static void drop_with(bool is_cancel)
{
    struct client c, gone;
    struct device d, new_one;
    struct reply replies[5];
    control_rig_join(rig, &c, &d, "dropping", 0);
    control_rig_client_open_same(&gone, &c, 0);
    device_init(&new_one, "never-sent");
    const char *register_new = register_body(rig, &new_one, control_rig_key(rig, &(struct auth_key_spec){0}), NULL);
    size_t before = control_rig_node_count();
    control_rig_hold_core(rig);
    control_rig_client_poll(&gone, &replies[0], &d, MAP_ZSTD);
    control_rig_client_send(&gone, &replies[1], "POST", "/machine/map", map_body(rig, &d, MAP_OMIT_PEERS));
    control_rig_client_send(&gone, &replies[2], "POST", "/machine/map", map_body(rig, &d, MAP_READ_ONLY));
    control_rig_client_poll(&gone, &replies[3], &new_one, 0); /* not known yet */
    control_rig_client_send(&gone, &replies[4], "POST", "/machine/register", register_new);
    assert_int_equal(control_rig_client_call(&gone, "GET", "/machine/whoami", "", NULL),
                     200); /* all have been posted */
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        if (is_cancel)
            h2_client_cancel(gone.h2, replies[i].id);
        reply_fini(&replies[i]);
    }
    if (is_cancel)
        assert_int_equal(control_rig_client_call(&gone, "GET", "/machine/whoami", "", NULL), 200);
    else
        h2_client_destroy(&gone.h2);
    while (!is_cancel && control_rig_conns() > 2)
        control_rig_on_worker(rig, 0, NULL, NULL);
    control_rig_release_core(rig);
    control_rig_settle(rig);
    assert_int_equal(control_rig_sessions(), 0);
    assert_int_equal(control_rig_node_count(), before);
    /* It has got its new key, and may ask again. */
    assert_true(json_is_true(control_rig_client_register(&c, &new_one, "", NULL), "MachineAuthorized"));
    control_rig_client_close(&gone);
    control_rig_client_close(&c);
    control_rig_wait_idle(rig);
}

static void test_cancelled_while_the_core_works(void **state)
{
    (void)state;
    drop_with(true);
}

static void test_closed_while_the_core_works(void **state)
{
    (void)state;
    drop_with(false);
}

/* --- a disk that takes its time --- */

enum { CROWD = 12, CROWD_BOUND = 20 };

/* A machine that registers as many nodes at once. */
struct crowd {
    struct client c;
    struct device d[CROWD];
    struct reply replies[CROWD];
};

static void crowd_begin(struct crowd *all, const char *key)
{
    control_rig_client_open(&all->c, rig, 0);
    for (size_t i = 0; i < CROWD; i++) {
        device_init(&all->d[i], "one-of-many");
        control_rig_client_send(&all->c, &all->replies[i], "POST", "/machine/register",
                                register_body(rig, &all->d[i], key, NULL));
    }
}

static size_t crowd_ended(const struct crowd *all)
{
    size_t n = 0;
    for (size_t i = 0; i < CROWD; i++)
        n += all->replies[i].is_ended;
    return n;
}

/* How many of the answers that have come contain this text. */
static size_t crowd_count(struct crowd *all, const char *words)
{
    size_t n = 0;
    for (size_t i = 0; i < CROWD; i++) {
        if (all->replies[i].is_ended && all->replies[i].status == 200)
            n += strstr(buf_cstr(&all->replies[i].body), words) != NULL;
    }
    return n;
}

static void crowd_end(struct crowd *all)
{
    for (size_t i = 0; i < CROWD; i++)
        reply_fini(&all->replies[i]);
    control_rig_client_close(&all->c);
}

/* Until so many jobs of a kind wait. */
static void wait_waiting(enum waiting_kind kind, size_t n)
{
    int64_t deadline_ms = clock_mono_ms() + RIG_GUARD_MS;
    while (waiting_jobs(core_waiting(rig->core), kind) != n) {
        assert_true(clock_mono_ms() < deadline_ms);
        control_rig_on_worker(rig, 0, NULL, NULL);
    }
}

/* The disk is slow, and strangers ask for more than may wait: those beyond the limit are refused at once, known
 * nodes and the admin are served, and every request that waits is answered. */
static void test_what_waits_for_the_disk_is_bounded(void **state)
{
    (void)state;
    static struct crowd first, second;
    struct client known, late;
    struct device node, renewed, other;
    struct reply again;
    control_rig_settle(rig);
    control_rig_join(rig, &known, &node, "known", 0);
    control_rig_client_open(&late, rig, 0);
    const char *key = control_rig_key(rig, &(struct auth_key_spec){.is_reusable = true});
    const char *text;
    waiting_set_limit(core_waiting(rig->core), WAIT_STRANGER, CROWD_BOUND);
    int64_t crowded = metric_read("fullscale_core_crowded_out_total", "who=\"stranger\"");
    store_memory_hold(rig->store);
    crowd_begin(&first, key);
    wait_waiting(WAIT_STRANGER, CROWD);
    crowd_begin(&second, key);
    RIG_WAIT(rig, crowd_ended(&second) >= 2 * CROWD - CROWD_BOUND);
    wait_waiting(WAIT_STRANGER, CROWD_BOUND);
    assert_int_equal(crowd_ended(&first), 0);
    assert_int_equal(crowd_count(&second, "the server is busy, try again"), 2 * CROWD - CROWD_BOUND);
    assert_int_equal(crowd_count(&second, "\"MachineAuthorized\":false"), 2 * CROWD - CROWD_BOUND);
    device_init(&other, "late");
    assert_int_equal(control_rig_client_call(&late, "POST", "/machine/map", map_body(rig, &other, 0), &text), 503);
    assert_non_null(strstr(text, "the server is busy, try again"));
    assert_int_equal(metric_read("fullscale_core_crowded_out_total", "who=\"stranger\""),
                     crowded + 2 * CROWD - CROWD_BOUND + 1);
    assert_int_equal(control_rig_client_update(&known, &node), 200);
    device_init(&renewed, "known");
    renewed.old_key = node.key;
    control_rig_client_send(&known, &again, "POST", "/machine/register", register_body(rig, &renewed, key, NULL));
    wait_waiting(WAIT_NODE, 1);
    struct control_rig_core_call admin;
    control_rig_core_call_init(&admin, rig, NULL, NULL);
    const struct waiting_sender sender = waiting_sender_key(WAIT_ADMIN, "", 0);
    assert_true(core_offer(rig->core, &admin.job, &sender, sizeof(admin)));
    store_memory_release(rig->store);
    RIG_WAIT(rig, crowd_ended(&first) == CROWD && crowd_ended(&second) == CROWD && again.is_ended && admin.is_done);
    assert_int_equal(crowd_count(&first, "\"MachineAuthorized\":true"), CROWD);
    assert_int_equal(crowd_count(&second, "\"MachineAuthorized\":true"), CROWD_BOUND - CROWD);
    assert_non_null(strstr(buf_cstr(&again.body), "\"MachineAuthorized\":true"));
    for (int kind = 0; kind < WAIT_KINDS; kind++)
        wait_waiting(kind, 0);
    waiting_set_limit(core_waiting(rig->core), WAIT_STRANGER, WAIT_STRANGERS_JOBS);
    reply_fini(&again);
    crowd_end(&first);
    crowd_end(&second);
    control_rig_client_close(&known);
    control_rig_client_close(&late);
    control_rig_wait_idle(rig);
}

/* Clients that leave while what they asked for is being written: nothing of their requests is touched any more, also
 * not for the log, and what they hold waiting stays charged to them. */
static void leave_while_written(bool is_cancel)
{
    static struct crowd gone;
    struct client c;
    struct device d;
    struct reply poll;
    control_rig_settle(rig);
    control_rig_join(rig, &c, &d, "staying", 0);
    const char *key = control_rig_key(rig, &(struct auth_key_spec){.is_reusable = true});
    size_t before = control_rig_node_count();
    store_memory_hold(rig->store);
    crowd_begin(&gone, key);
    wait_waiting(WAIT_STRANGER, CROWD);
    /* Its key was that of a node which has another by now: until that is on disk nobody is told that it is gone. */
    control_rig_client_poll(&gone.c, &poll, &gone.d[0], MAP_ZSTD);
    wait_waiting(WAIT_STRANGER, CROWD + 1);
    for (size_t i = 0; i < CROWD; i++) {
        if (is_cancel)
            h2_client_cancel(gone.c.h2, gone.replies[i].id);
        reply_fini(&gone.replies[i]);
    }
    reply_fini(&poll);
    if (is_cancel)
        assert_int_equal(control_rig_client_call(&gone.c, "GET", "/machine/whoami", "", NULL), 200);
    else
        h2_client_destroy(&gone.c.h2);
    while (!is_cancel && control_rig_conns() > 2) /* both ends of the other connection */
        control_rig_on_worker(rig, 0, NULL, NULL);
    wait_waiting(WAIT_STRANGER, CROWD + 1); /* what they asked is still there, and charged to them */
    store_memory_fail(rig->store, RC_FULL);
    store_memory_release(rig->store);
    control_rig_settle(rig);
    store_memory_fail(rig->store, RC_OK);
    while (core_fault(rig->core) != RC_OK)
        control_rig_on_core(rig, NULL, NULL);
    control_rig_settle(rig);
    wait_waiting(WAIT_STRANGER, 0);
    assert_int_equal(control_rig_node_count(), before);
    assert_int_equal(control_rig_client_update(&c, &d), 200);
    control_rig_client_close(&gone.c);
    control_rig_client_close(&c);
    control_rig_wait_idle(rig);
}

static void test_gone_while_it_is_written(void **state)
{
    (void)state;
    control_rig_wait_idle(rig);
    leave_while_written(true);
    leave_while_written(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_malformed_bodies, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_deep_json, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_large_body, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_huge_body, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_cancelled_while_the_core_works, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_closed_while_the_core_works, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_what_waits_for_the_disk_is_bounded, control_rig_set_up,
                                        control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_gone_while_it_is_written, control_rig_set_up, control_rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
