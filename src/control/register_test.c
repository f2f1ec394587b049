/* POST /machine/register. */
#include "control/testing_joins.h"

#include <unistd.h>

/* --- registering --- */

static void test_register(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    int64_t before = join_counter("result=\"joined\"");
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "laptop");
    const struct json *answer = control_rig_client_register(&c, &d, control_rig_key(rig, &(struct auth_key_spec){0}),
                                                            NULL);
    assert_int_equal(json_len(answer), 7); /* every key, also the empty ones */
    assert_true(json_says(answer, "Error", ""));
    assert_true(json_says(answer, "AuthURL", ""));
    assert_true(json_is_null(json_get(answer, "NodeKeySignature")));
    assert_true(json_is_true(answer, "MachineAuthorized"));
    assert_false(json_is_true(answer, "NodeKeyExpired"));
    assert_int_equal(json_number(json_get(answer, "User"), "ID"), rig->user);
    assert_true(json_says(json_get(answer, "User"), "DisplayName", "anna"));
    assert_true(json_says(json_get(answer, "Login"), "LoginName", "anna"));
    assert_int_equal(join_counter("result=\"joined\""), before + 1);
    control_rig_client_close(&c);
}

static void test_register_again(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    const char *key = control_rig_key(rig, &(struct auth_key_spec){0});
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "again");
    control_rig_client_register(&c, &d, key, NULL);
    size_t n = control_rig_node_count();
    /* A lost answer: the same key once more. A restart: none. */
    assert_true(json_is_true(control_rig_client_register(&c, &d, key, NULL), "MachineAuthorized"));
    assert_true(json_is_true(control_rig_client_register(&c, &d, "", NULL), "MachineAuthorized"));
    assert_true(json_is_true(control_rig_client_register(&c, &d, "nonsense", NULL), "MachineAuthorized"));
    assert_int_equal(control_rig_node_count(), n);
    control_rig_client_close(&c);
}

/* A refusal is logged with the node key, the reason and the host name, after the request has been freed. */
static void test_a_refusal_is_in_the_log(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    char said[4096] = "";
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "visitor");
    const char *body = register_body(rig, &d, "no key", NULL);
    FILE *log = tmpfile();
    int before = dup(STDERR_FILENO);
    assert_true(log != NULL && dup2(fileno(log), STDERR_FILENO) >= 0);
    assert_int_equal(log_set_level(NULL, LOG_WARN), RC_OK);
    int status = control_rig_client_call(&c, "POST", "/machine/register", body, NULL);
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    close(before);
    rewind(log);
    assert_true(fread(said, 1, sizeof(said) - 1, log) > 0);
    fclose(log);
    assert_int_equal(status, 200);
    assert_non_null(strstr(said, "registration refused why=\""));
    assert_non_null(strstr(said, "from=127.0.0.1 host=visitor\n"));
    control_rig_client_close(&c);
}

/* Nothing can be written: a machine that would join is refused with the reason, nodes go on, and a single-use key is
 * valid again afterwards. */
static void test_full_disk(void **state)
{
    (void)state;
    struct client c, late;
    struct device here, d;
    struct reply poll;
    const char *key = control_rig_key(rig, &(struct auth_key_spec){0}), *text;
    control_rig_client_open(&c, rig, 0);
    device_init(&here, "here");
    control_rig_client_register(&c, &here, control_rig_key(rig, &(struct auth_key_spec){0}), NULL);
    size_t n = control_rig_node_count();
    control_rig_client_open(&late, rig, 0);
    device_init(&d, "late");
    store_memory_fail(rig->store, RC_FULL);
    for (int i = 0; i < 3; i++) /* in a commit that fails, and while it is known that they do */
        assert_join_refused(&late, register_body(rig, &d, key, NULL),
                            "the disk of the server is full; nothing is lost, try again");
    assert_join_refused(&late, register_body(rig, &d, "no key", NULL), "not known here");
    assert_int_equal(metric_read("fullscale_store_failing", ""), 1);
    control_rig_client_poll(&c, &poll, &here, 0);
    reply_wait_frames(&poll, 1);
    assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", "{}", &text), 503); /* it denies nothing */
    assert_string_equal(text, "the disk of the server is full; nothing is lost, try again when there is room\n");
    assert_int_equal(control_rig_node_count(), n);
    store_memory_fail(rig->store, RC_OK);
    while (core_fault(rig->core) != RC_OK)
        control_rig_on_core(rig, NULL, NULL);
    control_rig_settle(rig);
    assert_true(json_is_true(control_rig_client_register(&late, &d, key, NULL), "MachineAuthorized"));
    assert_int_equal(control_rig_node_count(), n + 1);
    assert_int_equal(metric_read("fullscale_store_failing", ""), 0);
    device_init(&d, "second");
    assert_join_refused(&late, register_body(rig, &d, key, NULL), "has been used");
    control_rig_client_close(&late);
    control_rig_client_close(&c);
    reply_fini(&poll);
}

struct claims {
    node_key key;
    char tags[64];
    size_t routes_n;
};

static void read_claims(struct state *st, int64_t now_ms, void *ctx)
{
    struct claims *c = ctx;
    const struct node *n = state_node_by_key(st, &c->key);
    (void)now_ms;
    RIG_CHECK(n != NULL && n->tags != NULL && n->tags->len < sizeof(c->tags));
    memcpy(c->tags, n->tags->data, n->tags->len);
    c->routes_n = n->advertised != NULL ? n->advertised->n : 0;
}

/* What a client asks for and offers in its Hostinfo. */
static void test_tags_and_routes(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    const struct str web = STR("tag:web");
    const char *tagged = control_rig_key(rig, &(struct auth_key_spec){.is_reusable = true, .tags = &web, .tag_n = 1});
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "t\",\"RequestTags\":[\"tag:web\"],\"RoutableIPs\":[\"10.0.0.0/8\",\"::/0\"],\"App\":\"");
    assert_join_refused(&c, register_body(rig, &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL),
                        "requested tags [tag:web]");
    assert_true(json_is_true(control_rig_client_register(&c, &d, tagged, NULL), "MachineAuthorized"));
    struct claims claims = {.key = d.key};
    control_rig_on_core(rig, read_claims, &claims);
    assert_string_equal(claims.tags, "[\"tag:web\"]");
    assert_int_equal(claims.routes_n, 2);
    device_init(&d, "u\",\"RequestTags\":[\"tag:web\",\"tag:db\"],\"App\":\"");
    assert_join_refused(&c, register_body(rig, &d, tagged, NULL), "requested tags [tag:db]");
    device_init(&d, "u\",\"RoutableIPs\":[\"10.0.0.0/99\",\"fd00::/8\"],\"App\":\"");
    assert_true(json_is_true(control_rig_client_register(&c, &d, tagged, NULL), "MachineAuthorized"));
    claims = (struct claims){.key = d.key};
    control_rig_on_core(rig, read_claims, &claims);
    assert_int_equal(claims.routes_n, 1); /* what is no prefix is left out */
    control_rig_client_close(&c);
}

static void expire_key(struct state *st, int64_t now_ms, void *ctx)
{
    struct err err;
    RIG_CHECK(state_key_expire(st, state_key_by_text(st, str_c(ctx))->id, now_ms, &err) == RC_OK);
}

static void test_refused_keys(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, taken;
    const char *used = control_rig_key(rig, &(struct auth_key_spec){0});
    const char *expired = control_rig_key(rig, &(struct auth_key_spec){.is_reusable = true});
    control_rig_on_core(rig, expire_key, (void *)expired);
    control_rig_client_open(&other, rig, 0);
    device_init(&taken, "taken");
    control_rig_client_register(&other, &taken, used, NULL);
    control_rig_client_open(&c, rig, 0);
    device_init(&d, "refused");
    assert_join_refused(&c, register_body(rig, &d, used, NULL), "single use");
    assert_join_refused(&c, register_body(rig, &d, expired, NULL), "expired");
    assert_join_refused(&c, register_body(rig, &d, "hskey-auth-nonsense", NULL), "not known");
    assert_join_refused(&c, register_body(rig, &d, "", NULL), "auth key");
    assert_join_refused(
        &c, register_body(rig, &d, arena_printf(&rig->arena, "%.*s", (int)strlen(used) - 1, used), NULL), "not known");
    /* Another machine's node key: also with a good key. */
    assert_join_refused(&c, register_body(rig, &taken, control_rig_key(rig, &(struct auth_key_spec){0}), NULL),
                        "another machine");
    d.key = (node_key){{0}};
    assert_join_refused(&c, register_body(rig, &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL), "node key");
    control_rig_client_close(&c);
    control_rig_client_close(&other);
}

static void test_reusable_key(void **state)
{
    (void)state;
    const char *key = control_rig_key(rig, &(struct auth_key_spec){.is_reusable = true});
    for (int i = 0; i < 3; i++) {
        struct client c;
        struct device d;
        control_rig_client_open(&c, rig, 0);
        device_init(&d, "many");
        assert_true(json_is_true(control_rig_client_register(&c, &d, key, NULL), "MachineAuthorized"));
        control_rig_client_close(&c);
    }
}

static void test_old_clients(void **state)
{
    (void)state;
    static const uint16_t versions[] = {0, 1, 28, 112};
    struct device d;
    device_init(&d, "old");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct client c;
        const char *text;
        control_rig_client_init(&c, rig);
        c.version = versions[i]; /* what Noise proves counts, whatever the body says */
        control_rig_client_dial(&c, 0);
        assert_join_refused(&c, register_body(rig, &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL), "1.80");
        assert_int_equal(control_rig_client_call(&c, "POST", "/machine/map", map_body(rig, &d, MAP_POLL), &text), 400);
        assert_non_null(strstr(text, "1.80"));
        control_rig_client_close(&c);
    }
}

static void test_new_clients(void **state)
{
    (void)state;
    static const uint16_t versions[] = {113, 1000, 65535};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct client c;
        struct device d;
        device_init(&d, "new");
        control_rig_client_init(&c, rig);
        c.version = versions[i];
        control_rig_client_dial(&c, 0);
        assert_true(
            json_is_true(control_rig_client_register(&c, &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL),
                         "MachineAuthorized"));
        control_rig_client_close(&c);
    }
}

static void test_logout(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    control_rig_join(rig, &c, &d, "leaving", 0);
    for (int i = 0; i < 2; i++) { /* idempotent */
        const struct json *answer = control_rig_client_register(&c, &d, "", "1970-01-01T00:02:03Z");
        assert_true(json_is_true(answer, "NodeKeyExpired"));
        assert_false(json_is_true(answer, "MachineAuthorized"));
        assert_true(json_says(answer, "Error", ""));
    }
    assert_true(json_is_true(control_rig_client_register(&c, &d, "", NULL), "NodeKeyExpired"));
    control_rig_client_close(&c);
}

/* --- one key, many machines --- */

enum { RACERS = 5, RACER_JOBS = 10, RACE_ROUNDS = 200, RACE_JOBS = RACERS * RACER_JOBS };

struct race_job {
    struct core_job job;
    struct race *race;
    struct registration reg;
    enum register_outcome outcome;
    bool says_used;
};

struct race {
    struct race_job jobs[RACE_JOBS];
    pthread_barrier_t start;
    unsigned answered;
};

/* One of the threads that race. */
struct racer {
    struct race *race;
    unsigned index;
};

static void race_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct race_job *j = (struct race_job *)job;
    struct register_result result;
    state_register(st, &j->reg, now_ms, &result);
    j->outcome = result.outcome;
    j->says_used = result.outcome == REGISTER_REFUSED && strstr(result.err.text, "has been used") != NULL;
}

static void race_done(struct core_job *job)
{
    struct race_job *j = (struct race_job *)job;
    j->race->answered++;
    control_rig_wake(rig);
}

static void *race_thread(void *arg)
{
    const struct racer *me = arg;
    for (int round = 0; round < RACE_ROUNDS; round++) {
        pthread_barrier_wait(&me->race->start);
        for (unsigned i = 0; i < RACER_JOBS; i++)
            core_post(rig->core, &me->race->jobs[me->index * RACER_JOBS + i].job);
    }
    return NULL;
}

static void race_prepare(struct race *race, const char *key)
{
    race->answered = 0;
    for (size_t i = 0; i < RACE_JOBS; i++) {
        struct race_job *j = &race->jobs[i];
        *j = (struct race_job){
            .job = {.tailnet = rig->tailnet, .home = rig->loop, .kind = JOB_PEN, .run = race_run, .done = race_done},
            .race = race};
        rng_bytes(&j->reg.machine, sizeof(j->reg.machine));
        rng_bytes(&j->reg.key, sizeof(j->reg.key));
        rng_bytes(j->reg.random, sizeof(j->reg.random));
        j->reg.auth_key = str_c(key);
        j->reg.report.hostname = STR("racer");
    }
}

static void assert_one_has_won(const struct race *race)
{
    unsigned winners = 0, refused = 0;
    for (size_t i = 0; i < RACE_JOBS; i++) {
        winners += race->jobs[i].outcome == REGISTER_OK && race->jobs[i].job.refused == RC_OK;
        refused += race->jobs[i].says_used;
    }
    assert_int_equal(winners, 1);
    assert_int_equal(refused, RACE_JOBS - 1);
}

/* Many machines show one single-use key at once: one joins, the others are refused with the reason. */
static void test_single_use_key_raced(void **state)
{
    (void)state;
    static struct race race;
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    size_t before = control_rig_node_count();
    assert_int_equal(pthread_barrier_init(&race.start, NULL, RACERS + 1), 0);
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){&race, i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_thread, &racers[i]), 0);
    }
    for (int round = 0; round < RACE_ROUNDS; round++) {
        race_prepare(&race, control_rig_key(rig, &(struct auth_key_spec){0}));
        pthread_barrier_wait(&race.start);
        RIG_WAIT(rig, race.answered == RACE_JOBS);
        assert_one_has_won(&race);
    }
    for (unsigned i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&race.start);
    assert_int_equal(control_rig_node_count(), before + RACE_ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_register, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_register_again, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_tags_and_routes, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_a_refusal_is_in_the_log, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_refused_keys, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_reusable_key, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_old_clients, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_new_clients, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_logout, control_rig_set_up, control_rig_tear_down),
        cmocka_unit_test_setup_teardown(test_single_use_key_raced, control_rig_set_up, control_rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
