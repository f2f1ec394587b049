/* What presence asks for waits for state_settle, which looks again whether it is still true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "policy/policy.h"
#include "state/state_internal.h"
#include "state/testing.h"

static void report_hostname(struct test_routers *f, node_id id, const char *hostname)
{
    const struct registration *reg = &f->nodes[id - 1];
    struct node_report report = {.hostname = str_c(hostname)};
    const struct node *n;
    assert_int_equal(state_node_report(f->st, &reg->key, &reg->machine, &report, &n), RC_OK);
}

/* Does not settle, as test_routers_advertise does. */
static void report_route(struct test_routers *f, node_id id, const char *route)
{
    const struct registration *reg = &f->nodes[id - 1];
    struct prefix p[1];
    const struct node *n;
    struct node_report report = {.hostinfo = rcbuf_create("{}", 2)};
    assert_int_equal(test_parse_routes(route, p), 1);
    report.routes = prefix_list_create(p, 1);
    assert_int_equal(state_node_report(f->st, &reg->key, &reg->machine, &report, &n), RC_OK);
    rcbuf_unref(&report.hostinfo);
    prefix_list_unref(&report.routes);
}

/* Does not settle, as test_routers_set_policy does. */
static void set_policy(struct test_routers *f, const char *text)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(str_c(text), NULL, &doc, &errors), RC_OK);
    policy_errors_fini(&errors);
    state_set_policy(f->st, doc);
}

static void assert_nothing_to_write(struct test_routers *f)
{
    assert_null(state_take_batch(f->st));
}

/* Settles, and writes a batch that is presence or not. */
static void write_settled(struct test_routers *f, bool is_lazy)
{
    state_settle(f->st, f->now_ms);
    struct row_batch *b = state_take_batch(f->st);
    assert_non_null(b);
    assert_int_equal(b->is_lazy, is_lazy);
    state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    assert_nothing_to_write(f);
}

static void refuse_settled(struct test_routers *f)
{
    state_settle(f->st, f->now_ms);
    struct row_batch *b = state_take_batch(f->st);
    assert_non_null(b);
    assert_true(state_refused(f->st, b->seq, f->now_ms));
    row_batch_destroy(&b);
}

static void repair(struct test_routers *f)
{
    struct row_batch *b = state_take_repair(f->st);
    state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    state_repaired(f->st);
}

#define POLICY "{\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"anna@\"]}}}"

static void test_without_a_flag_nothing_happens(void **state)
{
    struct test_routers *f = *state;
    state_settle(f->st, f->now_ms);
    assert_nothing_to_write(f);
    assert_int_equal(f->st->unsettled.n, 0);
    assert_false(state_is_dirty(f->st));
}

static void test_a_name_follows_the_host_name_when_settled(void **state)
{
    struct test_routers *f = *state;
    char before[NAME_CAP];
    memcpy(before, state_node(f->st, 1)->name, sizeof(before));
    report_hostname(f, 1, "web");
    assert_string_equal(state_node(f->st, 1)->name, before);
    assert_nothing_to_write(f);
    write_settled(f, false);
    assert_string_equal(state_node(f->st, 1)->name, "web");
}

/* Each is flagged once. */
static void test_names_are_given_in_the_order_of_ids(void **state)
{
    struct test_routers *f = *state;
    report_hostname(f, 2, "first");
    report_hostname(f, 1, "web");
    report_hostname(f, 2, "web");
    assert_int_equal(f->st->unsettled.n, 2);
    write_settled(f, false);
    assert_string_equal(state_node(f->st, 1)->name, "web");
    assert_string_equal(state_node(f->st, 2)->name, "web-1");
}

static void test_a_name_that_an_admin_gave_meanwhile_stays(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    report_hostname(f, 1, "web");
    assert_int_equal(state_node_rename(f->st, 1, STR("chosen"), &n, NULL), RC_OK);
    write_settled(f, false);
    assert_string_equal(state_node(f->st, 1)->name, "chosen");
}

static void test_routes_are_approved_when_settled(void **state)
{
    struct test_routers *f = *state;
    report_route(f, 1, "10.1.0.0/16");
    set_policy(f, POLICY);
    assert_null(state_node(f->st, 1)->approved);
    assert_nothing_to_write(f);
    write_settled(f, false);
    test_assert_prefixes(state_node(f->st, 1)->approved, "10.1.0.0/16");
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.1.0.0/16");
}

static void test_a_policy_that_is_gone_approves_nothing(void **state)
{
    struct test_routers *f = *state;
    set_policy(f, POLICY);
    state_settle(f->st, f->now_ms);
    report_route(f, 1, "10.1.0.0/16");
    set_policy(f, "{}");
    state_settle(f->st, f->now_ms);
    assert_nothing_to_write(f);
    assert_null(state_node(f->st, 1)->approved);
}

static void make_pair(struct test_routers *f)
{
    for (node_id id = 1; id <= 2; id++) {
        report_route(f, id, "10.1.0.0/16");
        assert_int_equal(test_routers_approve(f, id, "10.1.0.0/16"), RC_OK);
        test_routers_poll(f, id);
    }
    test_routers_publish(f);
    while (state_flush_lazy(f->st, SIZE_MAX) > 0)
        test_routers_publish(f);
}

/* Traffic must move to another router also while nothing can be written. */
static void test_an_election_takes_effect_at_once_and_is_written_lazily(void **state)
{
    struct test_routers *f = *state;
    make_pair(f);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.1.0.0/16");
    state_poll_end(f->st, 1, f->now_ms);
    f->now_ms += TEST_AWAY_MS;
    state_tick(f->st, f->now_ms);
    assert_null(state_node(f->st, 1)->primary);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.1.0.0/16");
    struct change *c = state_publish(f->st, f->now_ms);
    assert_int_equal(c->item_n, 2);
    change_unref(&c);
    assert_int_equal(state_flush_lazy(f->st, SIZE_MAX), 0);
    state_settle(f->st, f->now_ms);
    assert_nothing_to_write(f);
    assert_int_equal(state_flush_lazy(f->st, SIZE_MAX), 2);
    write_settled(f, true);
}

static node_id join_ephemeral(struct test_routers *f)
{
    char key[AUTH_KEY_TEXT_CAP];
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {99};
    struct auth_key_spec spec = {.user = 1, .is_ephemeral = true};
    const struct auth_key *k;
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, key, NULL), RC_OK);
    struct registration reg = test_routers_request(f, key);
    f->nodes[TEST_ROUTERS - 1] = reg;
    node_id id = test_routers_join(f, &reg).node->id;
    test_routers_publish(f);
    return id;
}

static void test_an_ephemeral_node_goes_when_settled(void **state)
{
    struct test_routers *f = *state;
    node_id id = join_ephemeral(f);
    f->now_ms += TEST_EPHEMERAL_MS;
    state_tick(f->st, f->now_ms);
    assert_non_null(state_node(f->st, id));
    assert_int_equal(state_next_tick_ms(f->st), INT64_MAX); /* it waits for no tick any more */
    write_settled(f, false);
    assert_null(state_node(f->st, id));
}

static void test_an_ephemeral_node_that_came_back_meanwhile_stays(void **state)
{
    struct test_routers *f = *state;
    node_id id = join_ephemeral(f);
    f->now_ms += TEST_EPHEMERAL_MS;
    state_tick(f->st, f->now_ms);
    test_routers_poll(f, TEST_ROUTERS);
    state_settle(f->st, f->now_ms);
    assert_nothing_to_write(f);
    assert_non_null(state_node(f->st, id));
    state_poll_end(f->st, id, f->now_ms); /* its next removal is an ordinary one */
    f->now_ms += TEST_GRACE_MS;
    state_tick(f->st, f->now_ms);
    f->now_ms += TEST_EPHEMERAL_MS - TEST_GRACE_MS;
    assert_int_equal(state_next_tick_ms(f->st), f->now_ms);
    state_tick(f->st, f->now_ms);
    write_settled(f, false);
    assert_null(state_node(f->st, id));
}

static void test_relays_that_come_and_go_are_written_when_settled(void **state)
{
    struct test_routers *f = *state;
    const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {7};
    const struct relay_spec spec = {.name = STR("fra")};
    const struct relay_report report = {.host_name = "r.example", .derp_port = 443};
    const struct relay_host *r;
    char text[AUTH_KEY_TEXT_CAP];
    uint64_t serial;
    assert_int_equal(state_relay_create(f->st, &spec, random, f->now_ms, &r, text, NULL), RC_OK);
    test_routers_publish(f);
    assert_int_equal(state_relay_announce(f->st, r->id, &report, f->now_ms + 1000, f->now_ms, &serial), RC_OK);
    assert_true(state_take_relays_changed(f->st));
    assert_nothing_to_write(f);
    write_settled(f, true);
    f->now_ms += 1000;
    state_tick(f->st, f->now_ms);
    assert_true(state_take_relays_changed(f->st));
    assert_nothing_to_write(f);
    write_settled(f, true);
}

/* No report will ask for it again. */
static void test_what_a_refused_batch_took_back_is_settled_again(void **state)
{
    struct test_routers *f = *state;
    set_policy(f, POLICY);
    report_hostname(f, 1, "web");
    report_route(f, 2, "10.1.0.0/16");
    for (int i = 0; i < 3; i++) {
        refuse_settled(f);
        assert_string_not_equal(state_node(f->st, 1)->name, "web");
        assert_string_equal(state_node(f->st, 1)->hostname, "web");
        assert_null(state_node(f->st, 2)->approved);
        assert_int_equal(f->st->unsettled.n, 2);
    }
    repair(f);
    write_settled(f, false);
    assert_string_equal(state_node(f->st, 1)->name, "web");
    test_assert_prefixes(state_node(f->st, 2)->approved, "10.1.0.0/16");
}

/* The event that was refused with it had its own undoing. */
static void test_a_flag_outlives_the_undoing_of_events_before_it(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms + 5000, f->now_ms, &n, NULL), RC_OK);
    report_hostname(f, 1, "web");
    refuse_settled(f);
    assert_int_equal(state_node(f->st, 1)->expires_ms, NO_EXPIRY);
    repair(f);
    write_settled(f, false);
    assert_string_equal(state_node(f->st, 1)->name, "web");
}

/* All is on disk, and nothing flagged. */
static int set_up(void **state)
{
    test_routers_set_up(state);
    struct test_routers *f = *state;
    f->st->options.ephemeral_timeout_ms = TEST_EPHEMERAL_MS;
    test_routers_publish(f);
    return 0;
}

/* An admin's name kept it from following its host name, but that was refused. */
static void test_what_was_settled_by_a_refused_event_is_settled_again(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    assert_int_equal(state_node_rename(f->st, 1, STR("chosen"), &n, NULL), RC_OK);
    report_hostname(f, 1, "web");
    refuse_settled(f);
    assert_string_equal(state_node(f->st, 1)->name, "node");
    repair(f);
    write_settled(f, false);
    assert_string_equal(state_node(f->st, 1)->name, "web");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, test_routers_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_flag_nothing_happens),
        TEST(test_a_name_follows_the_host_name_when_settled),
        TEST(test_names_are_given_in_the_order_of_ids),
        TEST(test_a_name_that_an_admin_gave_meanwhile_stays),
        TEST(test_routes_are_approved_when_settled),
        TEST(test_a_policy_that_is_gone_approves_nothing),
        TEST(test_an_election_takes_effect_at_once_and_is_written_lazily),
        TEST(test_an_ephemeral_node_goes_when_settled),
        TEST(test_an_ephemeral_node_that_came_back_meanwhile_stays),
        TEST(test_relays_that_come_and_go_are_written_when_settled),
        TEST(test_what_a_refused_batch_took_back_is_settled_again),
        TEST(test_a_flag_outlives_the_undoing_of_events_before_it),
        TEST(test_what_was_settled_by_a_refused_event_is_settled_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
