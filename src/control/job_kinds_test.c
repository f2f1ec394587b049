/* What each kind of job does while the disk is slow, and while it is full. */
#include "control/admission.h"
#include "control/testing_joins.h"

/* --- jobs --- */

static void make_user(struct state *st, int64_t now_ms, void *ctx)
{
    const struct user *u;
    RIG_CHECK(state_user_create(st, &(struct user_spec){.name = str_c(ctx)}, now_ms, &u, NULL) == RC_OK);
}

static void read_users(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    *(bool *)ctx = state_user_by_name(st, STR("ben")) != NULL;
}

static void delete_node(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    RIG_CHECK(state_node_delete(st, state_node_by_key(st, ctx)->id, NULL) == RC_OK);
}

static void begin(struct control_rig_core_call *c, enum job_kind kind,
                  void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    control_rig_core_call_init(c, rig, fn, ctx);
    c->job.kind = kind;
    core_post(rig->core, &c->job);
}

/* Posts a job and waits for its answer; returns why it is refused. */
static enum rc ask(enum job_kind kind, void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    struct control_rig_core_call c;
    begin(&c, kind, fn, ctx);
    RIG_WAIT(rig, c.is_done);
    return c.job.refused;
}

/* The job has been run and waits. */
static void let_run(const struct control_rig_core_call *c)
{
    assert_int_equal(ask(JOB_LOCAL, NULL, NULL), RC_OK);
    assert_false(c->is_done);
}

static void mend_disk(void)
{
    store_memory_fail(rig->store, RC_OK);
    while (core_fault(rig->core) != RC_OK)
        control_rig_on_core(rig, NULL, NULL);
    control_rig_settle(rig);
}

/* --- a node, and one that is not there --- */

struct pair {
    struct client c;
    struct device d, nobody;
};

static void pair_open(struct pair *p)
{
    control_rig_join(rig, &p->c, &p->d, "laptop", 0);
    device_init(&p->nobody, "nobody");
    control_rig_settle(rig);
}

/* All that a known node asks for day by day is answered at once. */
static void assert_goes_on(struct pair *p)
{
    struct reply poll;
    assert_int_equal(control_rig_client_update(&p->c, &p->d), 200);
    assert_true(json_is_true(control_rig_client_register(&p->c, &p->d, "", NULL), "MachineAuthorized"));
    const char *body = arena_printf(&rig->arena, "{\"NodeKey\":\"%s\"}", key_text(rig, &p->d.key));
    assert_int_equal(control_rig_client_call(&p->c, "POST", "/machine/update-health", body, NULL), 204);
    control_rig_client_poll(&p->c, &poll, &p->d, 0);
    reply_wait_frames(&poll, 1);
    assert_true(json_get(reply_frame(&poll, 0), "PeersChanged") == NULL);
    h2_client_cancel(p->c.h2, poll.id);
    reply_fini(&poll);
}

/* Requests that are denied: a poll, an update, a small request. */
static void begin_denials(struct pair *p, struct reply replies[3])
{
    const char *health = arena_printf(&rig->arena, "{\"NodeKey\":\"%s\"}", key_text(rig, &p->nobody.key));
    control_rig_client_send(&p->c, &replies[0], "POST", "/machine/map", map_body(rig, &p->nobody, MAP_POLL));
    control_rig_client_send(&p->c, &replies[1], "POST", "/machine/map", map_body(rig, &p->nobody, MAP_OMIT_PEERS));
    control_rig_client_send(&p->c, &replies[2], "POST", "/machine/update-health", health);
}

static void assert_denied(struct reply replies[3], int status_of_poll, int status)
{
    RIG_WAIT(rig, replies[0].status != 0 && replies[1].is_ended && replies[2].is_ended);
    assert_int_equal(replies[0].status, status_of_poll);
    assert_int_equal(replies[1].status, status);
    assert_int_equal(replies[2].status, status);
    for (size_t i = 0; i < 3; i++)
        reply_fini(&replies[i]);
}

static void test_while_the_disk_is_slow(void **state)
{
    (void)state;
    struct pair p;
    struct reply denials[3];
    struct control_rig_core_call pen, fresh;
    bool sees_ben = false;
    pair_open(&p);
    store_memory_hold(rig->store);
    begin(&pen, JOB_PEN, make_user, "ben");
    begin(&fresh, JOB_FRESH, read_users, &sees_ben);
    begin_denials(&p, denials);
    let_run(&pen);
    let_run(&fresh);
    assert_goes_on(&p);
    assert_true(sees_ben); /* it was read before it was on disk: the answer must wait */
    assert_false(pen.is_done || fresh.is_done);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(denials[i].status, 0);
    store_memory_release(rig->store);
    RIG_WAIT(rig, pen.is_done && fresh.is_done);
    assert_int_equal(pen.job.refused, RC_OK);
    assert_int_equal(fresh.job.refused, RC_OK);
    assert_denied(denials, 200, 404);
    control_rig_client_close(&p.c);
}

static void test_while_the_disk_is_full(void **state)
{
    (void)state;
    struct pair p;
    struct reply denials[3];
    bool sees_ben = true;
    pair_open(&p);
    store_memory_fail(rig->store, RC_FULL);
    for (int i = 0; i < 2; i++) { /* in the commit that fails, and while it is known that they do */
        assert_int_equal(ask(JOB_PEN, make_user, "ben"), RC_FULL);
        assert_goes_on(&p);
    }
    assert_int_equal(ask(JOB_FRESH, read_users, &sees_ben), RC_OK); /* what is asked can be seen */
    assert_false(sees_ben);
    begin_denials(&p, denials); /* but nobody is told to go */
    assert_denied(denials, 503, 503);
    mend_disk();
    begin_denials(&p, denials);
    assert_denied(denials, 200, 404);
    control_rig_client_close(&p.c);
}

/* A node that is being deleted is told so when that is on disk. */
static void end_deletion(enum rc fails, int status)
{
    struct pair p;
    struct reply update;
    struct control_rig_core_call pen;
    pair_open(&p);
    store_memory_hold(rig->store);
    begin(&pen, JOB_PEN, delete_node, &p.d.key);
    let_run(&pen);
    control_rig_client_send(&p.c, &update, "POST", "/machine/map", map_body(rig, &p.d, MAP_OMIT_PEERS));
    assert_int_equal(ask(JOB_LOCAL, NULL, NULL), RC_OK);
    assert_int_equal(control_rig_client_call(&p.c, "GET", "/machine/whoami", "", NULL), 200);
    assert_false(update.is_ended);
    store_memory_fail(rig->store, fails);
    store_memory_release(rig->store);
    RIG_WAIT(rig, update.is_ended && pen.is_done);
    assert_int_equal(update.status, status);
    assert_int_equal(pen.job.refused, fails);
    reply_fini(&update);
    mend_disk();
    assert_int_equal(control_rig_client_update(&p.c, &p.d), fails == RC_OK ? 404 : 200);
    control_rig_client_close(&p.c);
}

/* --- the relay inside asks --- */

enum { ASKERS = 3000, ANSWERS = ADMISSION_PUT_OFF + 1 };

static void count_answer(void *ctx, enum admission_answer answer)
{
    unsigned *counts = ctx;
    __atomic_add_fetch(&counts[answer], 1, __ATOMIC_SEQ_CST);
    control_rig_wake(rig);
}

static unsigned count_of(const unsigned *counts, enum admission_answer answer)
{
    return __atomic_load_n(&counts[answer], __ATOMIC_SEQ_CST);
}

static void ask_admission(const node_key *key, unsigned *counts)
{
    const struct addr from = {.family = 4, .ip = {192, 0, 2, 1}};
    control_ask_admission(rig->core, rig->loop, key, &from, count_answer, counts);
}

static void test_no_client_of_the_relay_is_denied_while_the_disk_fails(void **state)
{
    (void)state;
    struct pair p;
    static unsigned counts[ANSWERS];
    memset(counts, 0, sizeof(counts));
    pair_open(&p);
    store_memory_fail(rig->store, RC_FULL);
    assert_int_equal(ask(JOB_PEN, make_user, "ben"), RC_FULL);
    ask_admission(&p.nobody.key, counts);
    RIG_WAIT(rig, count_of(counts, ADMISSION_PUT_OFF) == 1);
    ask_admission(&p.d.key, counts);
    RIG_WAIT(rig, count_of(counts, ADMISSION_GRANTED) == 1);
    mend_disk();
    ask_admission(&p.nobody.key, counts);
    RIG_WAIT(rig, count_of(counts, ADMISSION_DENIED) == 1);
    control_rig_client_close(&p.c);
}

/* Strangers that log in to the relay while the disk hangs: what waits for it is bounded, and nodes come in. */
static void test_how_many_strangers_wait_for_admission_is_bounded(void **state)
{
    (void)state;
    struct pair p;
    struct control_rig_core_call pen;
    static unsigned counts[ANSWERS];
    memset(counts, 0, sizeof(counts));
    pair_open(&p);
    store_memory_hold(rig->store);
    begin(&pen, JOB_PEN, make_user, "ben");
    let_run(&pen);
    for (unsigned i = 0; i < ASKERS; i++)
        ask_admission(&p.nobody.key, counts);
    ask_admission(&p.d.key, counts);
    RIG_WAIT(rig, count_of(counts, ADMISSION_GRANTED) == 1);
    assert_in_range(waiting_jobs(core_waiting(rig->core), WAIT_STRANGER), 1, ASKERS / 2);
    store_memory_release(rig->store);
    RIG_WAIT(rig, pen.is_done && count_of(counts, ADMISSION_DENIED) + count_of(counts, ADMISSION_PUT_OFF) == ASKERS);
    assert_in_range(count_of(counts, ADMISSION_PUT_OFF), ASKERS / 2, ASKERS - 1);
    control_rig_client_close(&p.c);
}

static void test_a_node_is_told_that_it_is_gone_when_that_is_on_disk(void **state)
{
    (void)state;
    end_deletion(RC_OK, 404);
}

static void test_a_node_is_not_told_that_it_is_gone_when_that_is_refused(void **state)
{
    (void)state;
    end_deletion(RC_FULL, 503);
}

/* A registration whose answer was lost is not acknowledged before the first one is on disk. */
static void test_a_new_node_is_not_known_before_it_is_on_disk(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply first, again;
    const char *key = control_rig_key(rig, &(struct auth_key_spec){0});
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "new");
    store_memory_hold(rig->store);
    control_rig_client_send(&c, &first, "POST", "/machine/register", register_body(rig, &d, key, NULL));
    control_rig_client_send(&c, &again, "POST", "/machine/register", register_body(rig, &d, key, NULL));
    assert_int_equal(control_rig_client_call(&c, "GET", "/machine/whoami", "", NULL), 200);
    assert_int_equal(ask(JOB_LOCAL, NULL, NULL), RC_OK);
    assert_int_equal(control_rig_client_call(&c, "GET", "/machine/whoami", "", NULL), 200);
    assert_false(first.is_ended || again.is_ended);
    store_memory_release(rig->store);
    RIG_WAIT(rig, first.is_ended && again.is_ended);
    assert_non_null(strstr(buf_cstr(&first.body), "\"MachineAuthorized\":true"));
    assert_non_null(strstr(buf_cstr(&again.body), "\"MachineAuthorized\":true"));
    reply_fini(&first);
    reply_fini(&again);
    control_rig_client_close(&c);
}

static void write_as(enum job_kind kind, const char *name)
{
    struct control_rig_core_call wrong;
    store_memory_hold(rig->store);
    begin(&wrong, kind, make_user, (void *)name);
    let_run(&wrong);
    assert_int_equal(wrong.job.kind, JOB_PEN);
    store_memory_release(rig->store);
    RIG_WAIT(rig, wrong.is_done);
    store_memory_fail(rig->store, RC_FULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ask(kind, make_user, "nobody"), RC_FULL);
    mend_disk();
    control_rig_expect_wrong_kinds(rig, 3);
}

static void test_a_job_that_must_not_write_and_does_is_counted_and_waits(void **state)
{
    (void)state;
    write_as(JOB_LOCAL, "ben");
    write_as(JOB_FRESH, "carl");
}

static void test_jobs_are_counted_by_kind(void **state)
{
    (void)state;
    static const char *const labels[JOB_KINDS] = {
        [JOB_LOCAL] = "kind=\"local\"", [JOB_FRESH] = "kind=\"fresh\"", [JOB_PEN] = "kind=\"pen\""};
    control_rig_settle(rig);
    for (enum job_kind kind = JOB_LOCAL; kind <= JOB_PEN; kind++) {
        int64_t before = metric_read("fullscale_core_jobs_total", labels[kind]);
        assert_int_equal(ask(kind, NULL, NULL), RC_OK);
        assert_int_equal(metric_read("fullscale_core_jobs_total", labels[kind]), before + 1);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, control_rig_set_up, control_rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_while_the_disk_is_slow),
        TEST(test_while_the_disk_is_full),
        TEST(test_no_client_of_the_relay_is_denied_while_the_disk_fails),
        TEST(test_how_many_strangers_wait_for_admission_is_bounded),
        TEST(test_a_node_is_told_that_it_is_gone_when_that_is_on_disk),
        TEST(test_a_node_is_not_told_that_it_is_gone_when_that_is_refused),
        TEST(test_a_new_node_is_not_known_before_it_is_on_disk),
        TEST(test_a_job_that_must_not_write_and_does_is_counted_and_waits),
        TEST(test_jobs_are_counted_by_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
