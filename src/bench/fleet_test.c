/* Simulated nodes against a real server in the same process, over loopback; and faults that they must notice. */
#include "control/testing.h"

#include "bench/fleet.h"

enum { NODES = 24, LIMIT_MS = RIG_GUARD_MS };

struct fixture {
    struct rig *rig;
    struct fleet *fleet;
    struct bench_fleet_opts opts;
    struct report_target target;
    char url[ADDR_TEXT_CAP + 16];
    struct view_report report;
    struct errors examples;
};

static int set_up(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    char addr[ADDR_TEXT_CAP];
    f->rig = control_rig_create(2);
    addr_format(&f->rig->at[0], true, addr);
    snprintf(f->url, sizeof(f->url), "http://%s", addr);
    f->opts = (struct bench_fleet_opts){
        .steps = "join",
        .server = f->url,
        .authkey = control_rig_key(f->rig, &(struct auth_key_spec){.is_reusable = true}),
        .nodes = NODES,
        .prefix = "lg",
        .concurrency = 5,
        .join_updates = 1,
        .derp_region = 999,
        .check = "deep",
        .request_timeout_ms = LIMIT_MS,
        .timeout_ms = LIMIT_MS};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fleet_destroy(&f->fleet);
    control_rig_wait_idle(f->rig);
    control_rig_destroy(f->rig);
    mem_free(f);
    return 0;
}

static void create(struct fixture *f)
{
    struct err err;
    assert_int_equal(fleet_create(&f->opts, &f->target, &f->fleet, &err), RC_OK);
}

/* Whether all nodes know each other, no update is under way, and the last changes have arrived. */
static bool is_settled(struct fleet *fleet, void *ctx)
{
    struct fixture *f = ctx;
    if (fleet->complete != fleet->n)
        return false;
    for (unsigned i = 0; i < fleet->n; i++) {
        if (fleet->sims[i].is_updating || fleet->sims[i].updates < f->opts.join_updates)
            return false;
    }
    fleet_verify(fleet, &f->report, NULL);
    return f->report.differing == 0;
}

static void join(struct fixture *f)
{
    create(f);
    fleet_start(f->fleet);
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_settled, f));
}

static void verify(struct fixture *f)
{
    f->examples = (struct errors){0};
    fleet_verify(f->fleet, &f->report, &f->examples);
}

static void assert_all_well(struct fixture *f)
{
    verify(f);
    assert_int_equal(f->report.pairs, NODES * (NODES - 1));
    assert_int_equal(f->report.missing + f->report.extra + f->report.differing + f->report.foreign, 0);
    assert_int_equal(f->report.without_endpoints, 0);
    assert_int_equal(f->fleet->stats.wrong_records, 0);
    assert_int_equal(errors_count(&f->fleet->errors), 0);
}

static void test_all_join(void **state)
{
    struct fixture *f = *state;
    join(f);
    assert_all_well(f);
    const struct fleet_stats *st = &f->fleet->stats;
    assert_int_equal(st->registered.n, NODES);
    assert_int_equal(st->full_maps, NODES);
    assert_int_equal(st->update.n, NODES);
    assert_true(st->peer_records >= NODES * (NODES - 1));
    assert_true(f->fleet->wire.in > st->zstd_bytes);
    assert_true(f->fleet->frames.hits > 0);
    assert_int_equal(st->self_as_peer + st->failed_starts + st->sessions_lost + st->decode_errors, 0);
}

static void test_all_come_back(void **state)
{
    struct fixture *f = *state;
    join(f);
    fleet_reset_stats(f->fleet);
    for (unsigned i = 0; i < NODES; i++)
        sim_drop(&f->fleet->sims[i]);
    assert_int_equal(f->fleet->complete, 0);
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_settled, f));
    assert_all_well(f);
    assert_int_equal(f->fleet->stats.full_maps, NODES);
    assert_int_equal(f->fleet->stats.registered.n, 0);
}

static void test_an_update_that_broke_off_is_sent_again(void **state)
{
    struct fixture *f = *state;
    join(f);
    struct sim *s = &f->fleet->sims[7];
    s->endpoints_seq = 77;
    sim_update(s);
    sim_drop(s);
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_settled, f));
    assert_all_well(f);
}

static bool is_logged_out(struct fleet *fleet, void *ctx)
{
    const struct sim *s = ctx;
    (void)fleet;
    return s->state == SIM_OFF && !s->is_logging_out;
}

static void test_log_out_and_in(void **state)
{
    struct fixture *f = *state;
    join(f);
    struct sim *s = &f->fleet->sims[3];
    int64_t id = s->id;
    assert_true(sim_log_out(s));
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_logged_out, s));
    assert_false(sim_log_out(s));
    sim_log_in(s);
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_settled, f));
    assert_all_well(f);
    assert_int_equal(s->id, id);
}

static void test_a_change_that_nobody_hears_of(void **state)
{
    struct fixture *f = *state;
    join(f);
    f->fleet->sims[5].endpoints_seq = 9;
    verify(f);
    assert_int_equal(f->report.differing, NODES - 1);
    assert_string_equal(f->examples.rows[0].text, "lg-00000 was last sent other endpoints of lg-00005");
    f->fleet->sims[5].endpoints_seq = 0;
    f->fleet->sims[6].hostinfo_seq = 9;
    verify(f);
    assert_int_equal(f->report.differing, NODES - 1);
    f->fleet->sims[6].hostinfo_seq = 0;
    assert_all_well(f);
}

static void test_endpoints_that_were_never_reported(void **state)
{
    struct fixture *f = *state;
    join(f);
    f->fleet->sims[5].sent_n = 0;
    sim_drop(&f->fleet->sims[6]); /* its new map is in part made anew, and so scanned anew */
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_settled, f));
    assert_true(f->fleet->stats.wrong_records > 0);
    assert_string_equal(f->fleet->errors.rows[0].text, "a record of a node: endpoints that it never reported");
}

static void test_other_wrong_records(void **state)
{
    struct fixture *f = *state;
    join(f);
    f->fleet->sims[5].disco_digest++;
    sim_drop(&f->fleet->sims[6]);
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, is_settled, f));
    assert_string_equal(f->fleet->errors.rows[0].text, "a record of a node: another disco key");
}

static bool has_failed_often(struct fleet *fleet, void *ctx)
{
    (void)ctx;
    return fleet->stats.register_errors >= NODES;
}

static void test_alike_errors_are_one_line(void **state)
{
    struct fixture *f = *state;
    f->opts.authkey = "fskey-auth-nonsense";
    create(f);
    fleet_start(f->fleet);
    assert_true(fleet_wait(f->fleet, NULL, LIMIT_MS, has_failed_often, NULL));
    assert_int_equal(f->fleet->errors.n, 1);
    assert_non_null(strstr(f->fleet->errors.rows[0].text, "register: "));
    assert_int_equal(f->fleet->stats.failed_starts, f->fleet->stats.register_errors);
}

static enum rc create_with(struct fixture *f, const char *server, unsigned nodes)
{
    struct bench_fleet_opts opts = f->opts;
    struct err err = {0};
    opts.server = server;
    opts.nodes = nodes;
    return fleet_create(&opts, &f->target, &f->fleet, &err);
}

static void test_refused_options(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create_with(f, "http://192.0.2.1:8080", 5), RC_DENIED);
    assert_int_equal(create_with(f, "https://127.0.0.1:8080", 5), RC_INVALID);
    assert_int_equal(create_with(f, f->url, 0), RC_INVALID);
    assert_int_equal(create_with(f, f->url, 5000), RC_INVALID); /* of a deep check */
    assert_int_equal(create_with(f, "http://127.0.0.1:1", 5), RC_IO);
    f->opts.authkey = NULL;
    assert_int_equal(create_with(f, f->url, 5), RC_INVALID);
    assert_null(f->fleet);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_join),
        TEST(test_all_come_back),
        TEST(test_an_update_that_broke_off_is_sent_again),
        TEST(test_log_out_and_in),
        TEST(test_a_change_that_nobody_hears_of),
        TEST(test_endpoints_that_were_never_reported),
        TEST(test_other_wrong_records),
        TEST(test_alike_errors_are_one_line),
        TEST(test_refused_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
