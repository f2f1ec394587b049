/* Rows of other servers: what they decide, and what stays as this server knows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/approval.h"
#include "state/state_internal.h"
#include "state/testing.h"

/* All is on disk, and nobody has changed anything since. */
static int set_up(void **state)
{
    test_routers_set_up(state);
    struct test_routers *f = *state;
    f->st->options.ephemeral_timeout_ms = TEST_EPHEMERAL_MS;
    test_routers_publish(f);
    return 0;
}

static struct node *edit(const struct test_routers *f, node_id id)
{
    return node_edit(state_node(f->st, id), NULL, 0);
}

/* Follows up to three rows of nodes, which it takes over. */
static enum rc follow(struct test_routers *f, struct node *a, struct node *b, struct node *c, struct err *err)
{
    const struct node *const nodes[] = {a, b, c};
    struct row_op ops[3];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        if (nodes[i] != NULL)
            ops[n++] = (struct row_op){&entity_node, nodes[i]->id, &nodes[i]->row};
    }
    enum rc rc = state_follow(f->st, ops, n, f->now_ms, err);
    for (size_t i = 0; i < n; i++)
        row_unref(&entity_node, &ops[i].object);
    return rc;
}

static void follow_one(struct test_routers *f, struct node *a)
{
    assert_int_equal(follow(f, a, NULL, NULL, NULL), RC_OK);
}

static void set_name(struct node *n, const char *name)
{
    snprintf(n->name, sizeof(n->name), "%s", name);
}

static void test_rows_decide_what_is_durable_and_reports_stay(void **state)
{
    struct test_routers *f = *state;
    test_routers_advertise(f, 1, "10.1.0.0/16");
    test_routers_poll(f, 1);
    test_routers_publish(f);
    struct node *row = edit(f, 1);
    set_name(row, "other");
    snprintf(row->hostname, sizeof(row->hostname), "stale");
    row->home_derp = 77;
    row->is_online = false;
    prefix_list_unref(&row->advertised);
    follow_one(f, row);
    const struct node *n = state_node(f->st, 1);
    assert_string_equal(n->name, "other");
    assert_string_equal(n->hostname, "node");
    assert_int_equal(n->home_derp, 0);
    assert_true(n->is_online);
    test_assert_prefixes(n->advertised, "10.1.0.0/16");
    struct change *c = state_publish(f->st, f->now_ms);
    assert_int_equal(c->item_n, 1);
    assert_string_equal(c->items[0].after->name, "other");
    change_unref(&c);
    assert_null(state_take_batch(f->st));
}

static void test_a_node_that_is_new_here_has_what_its_row_says(void **state)
{
    struct test_routers *f = *state;
    struct node *row = edit(f, 1);
    row->id = 40;
    row->key.b[0]++;
    row->machine.b[0]++;
    row->v4.ip[3] = 99;
    row->is_online = true;
    row->home_derp = 5;
    set_name(row, "new");
    follow_one(f, row);
    const struct node *n = state_node(f->st, 40);
    assert_int_equal(n->home_derp, 5);
    assert_false(n->is_online);
    assert_int_equal(f->st->counters.next[entity_node.number], 41);
    assert_int_equal(state_node_count(f->st), TEST_ROUTERS + 1);
    /* Its address is given to nobody else. */
    struct registration reg = test_routers_request(f, f->key);
    assert_int_equal(test_routers_join(f, &reg).node->v4.ip[3], 100);
}

static void test_names_addresses_and_keys_go_round(void **state)
{
    struct test_routers *f = *state;
    struct node *v[3];
    char names[3][NAME_CAP];
    node_key keys[3], gone[4];
    struct addr at[3];
    for (unsigned i = 0; i < 3; i++) {
        const struct node *from = state_node(f->st, 1 + (i + 1) % 3);
        v[i] = edit(f, 1 + i);
        memcpy(names[i], from->name, sizeof(names[i]));
        keys[i] = v[i]->key = from->key;
        at[i] = v[i]->v4 = from->v4;
        set_name(v[i], from->name);
    }
    assert_int_equal(follow(f, v[0], v[1], v[2], NULL), RC_OK);
    for (unsigned i = 0; i < 3; i++) {
        size_t len;
        const void *key = addresses_map_key(&at[i], &len);
        assert_int_equal(state_node_by_key(f->st, &keys[i])->id, 1 + i);
        assert_int_equal(((struct node_record *)map_get(&f->st->by_addr, key, len))->id, 1 + i);
        assert_int_equal(((struct node_record *)map_get(&f->st->by_name, names[i], strlen(names[i])))->id, 1 + i);
    }
    assert_int_equal(state_take_revoked(f->st, gone, 4), 0); /* each is still good */
}

static void test_keys_that_end_elsewhere_are_revoked_here(void **state)
{
    struct test_routers *f = *state;
    node_key gone[4], first = state_node(f->st, 1)->key;
    struct node *ended = edit(f, 1), *dated = edit(f, 2), *rotated = edit(f, 3);
    ended->is_ended = true;
    ended->expires_ms = f->now_ms;
    dated->expires_ms = f->now_ms + 1000;
    rotated->key.b[0]++;
    assert_int_equal(follow(f, ended, dated, rotated, NULL), RC_OK);
    assert_int_equal(state_take_revoked(f->st, gone, 4), 2);
    assert_true(keys_equal(gone[0].b, first.b));
    assert_true(state_node(f->st, 1)->is_expired);
    assert_int_equal(state_next_tick_ms(f->st), f->now_ms + 1000);
    state_tick(f->st, f->now_ms + 1000);
    assert_true(state_node(f->st, 2)->is_expired);
    assert_int_equal(state_take_revoked(f->st, gone, 4), 1);
    struct row_op deleted = {&entity_node, 4, NULL};
    assert_int_equal(state_follow(f->st, &deleted, 1, f->now_ms, NULL), RC_OK);
    assert_null(state_node(f->st, 4));
    assert_int_equal(state_take_revoked(f->st, gone, 4), 1);
}

/* It is flagged here as well: whoever may write removes it. */
static void test_an_ephemeral_node_gets_its_time(void **state)
{
    struct test_routers *f = *state;
    struct node *row = edit(f, 1);
    row->is_ephemeral = true;
    follow_one(f, row);
    assert_int_equal(state_next_tick_ms(f->st), f->now_ms + TEST_EPHEMERAL_MS);
    row = edit(f, 1);
    row->is_ephemeral = false;
    follow_one(f, row);
    f->now_ms += TEST_EPHEMERAL_MS;
    state_tick(f->st, f->now_ms);
    state_settle(f->st, f->now_ms);
    assert_non_null(state_node(f->st, 1));
}

static void test_a_row_that_contradicts_others_is_left_out(void **state)
{
    struct test_routers *f = *state;
    struct err err = {0};
    struct node *twin = edit(f, 1), *good = edit(f, 2);
    set_name(twin, state_node(f->st, 3)->name);
    set_name(good, "good");
    assert_int_equal(follow(f, twin, good, NULL, &err), RC_INVALID);
    assert_string_equal(err.text, "row 1 of nodes: another row has the same name");
    assert_null(state_node(f->st, 1));
    assert_string_equal(state_node(f->st, 2)->name, "good");
    struct node *bad = edit(f, 2);
    set_name(bad, "No label");
    assert_int_equal(follow(f, bad, NULL, NULL, &err), RC_INVALID);
    test_routers_publish(f);
    assert_int_equal(state_snapshot(f->st)->node_n, TEST_ROUTERS - 2);
}

static void test_of_several_versions_the_last_counts(void **state)
{
    struct test_routers *f = *state;
    struct node *older = edit(f, 1), *newer = edit(f, 1);
    set_name(older, "older");
    set_name(newer, "newer");
    assert_int_equal(follow(f, older, newer, NULL, NULL), RC_OK);
    assert_string_equal(state_node(f->st, 1)->name, "newer");
}

static void test_a_policy_that_another_server_stored_becomes_active(void **state)
{
    struct test_routers *f = *state;
    static const char text[] = "{\"tagOwners\":{\"tag:a\":[]}}";
    struct policy_text *good = state_policy_text_create(str_c(text)), *bad = state_policy_text_create(STR("{"));
    good->id = 3;
    bad->id = 4;
    struct row_op ops[] = {{&entity_policy_text, 3, &good->row}, {&entity_policy_text, 4, &bad->row}};
    struct err err = {0};
    assert_int_equal(state_follow(f->st, ops, 1, f->now_ms, &err), RC_OK);
    assert_true(state_take_policy_changed(f->st));
    assert_true(engine_knows_tag(state_policy(f->st), STR("tag:a")));
    /* One that cannot be used here leaves the last in force. */
    assert_int_equal(state_follow(f->st, ops + 1, 1, f->now_ms, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "version 4 of the policy"));
    assert_true(engine_knows_tag(state_policy(f->st), STR("tag:a")));
    assert_int_equal(state_policy_text_newest(f->st)->id, 4);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        row_unref(&entity_policy_text, &ops[i].object);
}

static void test_users_are_published_and_may_exchange_their_names(void **state)
{
    struct test_routers *f = *state;
    struct user *a = user_edit(state_user(f->st, 1)), *b = user_edit(state_user(f->st, 2));
    snprintf(a->name, sizeof(a->name), "anna");
    snprintf(b->name, sizeof(b->name), "olga");
    struct row_op ops[] = {{&entity_user, 1, &a->row}, {&entity_user, 2, &b->row}, {&entity_user, 3, NULL}};
    assert_int_equal(state_follow(f->st, ops, ARRAY_LEN(ops), f->now_ms, NULL), RC_OK);
    assert_int_equal(state_user_by_name(f->st, STR("olga"))->id, 2);
    assert_null(state_user(f->st, 3));
    struct change *c = state_publish(f->st, f->now_ms);
    assert_true(c->users_changed);
    assert_int_equal(c->after->users->n, 2);
    assert_string_equal(c->after->users->users[0]->name, "anna");
    change_unref(&c);
    for (size_t i = 0; i < 2; i++)
        row_unref(&entity_user, &ops[i].object);
}

/* What it has heard of the relay itself is newer. */
static void test_a_relay_comes_and_goes_by_its_row(void **state)
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
    struct relay_host *up = state_relay_host_edit(r), *down = state_relay_host_edit(r);
    up->is_up = true;
    up->report = report;
    struct row_op ops[] = {{&entity_relay_host, up->id, &up->row}, {&entity_relay_host, down->id, &down->row}};
    assert_int_equal(state_follow(f->st, ops, 1, f->now_ms, NULL), RC_OK);
    assert_true(state_relay(f->st, up->id)->is_up);
    assert_true(state_take_relays_changed(f->st));
    assert_int_equal(state_follow(f->st, ops, 1, f->now_ms, NULL), RC_OK);
    assert_false(state_take_relays_changed(f->st)); /* nothing new */
    assert_int_equal(state_follow(f->st, ops + 1, 1, f->now_ms, NULL), RC_OK);
    assert_true(state_take_relays_changed(f->st));
    assert_int_equal(state_relay_announce(f->st, up->id, &report, f->now_ms + 1000, f->now_ms, &serial), RC_OK);
    assert_int_equal(state_follow(f->st, ops + 1, 1, f->now_ms, NULL), RC_OK);
    assert_true(state_relay(f->st, up->id)->is_up);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        row_unref(&entity_relay_host, &ops[i].object);
}

static void test_all_rows_leave_nothing_else(void **state)
{
    struct test_routers *f = *state;
    struct user *anna = user_edit(state_user(f->st, 2));
    struct node *two = edit(f, 2);
    struct row_op ops[] = {{&entity_node, 2, &two->row}, {&entity_user, 2, &anna->row}};
    assert_int_equal(state_follow_all(f->st, ops, ARRAY_LEN(ops), f->now_ms, NULL), RC_OK);
    assert_int_equal(state_node_count(f->st), 1);
    assert_non_null(state_node(f->st, 2));
    assert_int_equal(f->st->users.n, 1);
    assert_int_equal(f->st->keys.n, 0);
    test_routers_publish(f);
    assert_int_equal(state_snapshot(f->st)->node_n, 1);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        row_unref(ops[i].entity, &ops[i].object);
}

/* --- primaries --- */

static void make_pair(struct test_routers *f)
{
    for (node_id id = 1; id <= 2; id++) {
        test_routers_advertise(f, id, "10.1.0.0/16");
        assert_int_equal(test_routers_approve(f, id, "10.1.0.0/16"), RC_OK);
    }
    test_routers_publish(f);
    test_assert_prefixes(state_node(f->st, 1)->primary, "10.1.0.0/16");
}

static void test_the_primary_is_whom_the_rows_say(void **state)
{
    struct test_routers *f = *state;
    make_pair(f);
    test_routers_poll(f, 1); /* even if it could serve */
    struct node *one = edit(f, 1), *two = edit(f, 2);
    two->primary = one->primary;
    one->primary = NULL;
    assert_int_equal(follow(f, two, one, NULL, NULL), RC_OK);
    assert_null(state_node(f->st, 1)->primary);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.1.0.0/16");
    state_settle(f->st, f->now_ms);
    assert_int_equal(f->st->unsettled.n, 0);
}

/* A state that is loaded from the rows of another. */
static struct state *restart(const struct test_routers *f)
{
    struct state *st = state_create(&f->st->options, test_settings());
    const struct entity *e;
    for (size_t i = 0; (e = state_entity(i)) != NULL; i++) {
        const struct row *row;
        for (size_t pos = 0; (row = state_row_next(f->st, e, &pos)) != NULL;)
            assert_int_equal(state_load(st, e, row_copy(e, row), NULL), RC_OK);
    }
    state_load_done(st, f->now_ms);
    return st;
}

static void poll_at(struct test_routers *f, struct state *st, node_id id)
{
    const struct registration *reg = &f->nodes[id - 1];
    const struct node_report none = {0};
    const struct node *n;
    assert_int_equal(state_poll_begin(st, &reg->key, &reg->machine, &none, f->now_ms, &n), RC_OK);
}

/* Of two routers the second is the primary. */
static struct state *restart_with_second(struct test_routers *f)
{
    make_pair(f);
    test_routers_poll(f, 2);
    test_routers_publish(f);
    test_assert_prefixes(state_node(f->st, 2)->primary, "10.1.0.0/16");
    return restart(f);
}

static void test_a_restart_keeps_the_primary(void **state)
{
    struct test_routers *f = *state;
    struct state *st = restart_with_second(f);
    poll_at(f, st, 1);
    test_assert_prefixes(state_node(st, 2)->primary, "10.1.0.0/16");
    f->now_ms += TEST_AWAY_MS - 1;
    state_tick(st, f->now_ms);
    poll_at(f, st, 2);
    f->now_ms += TEST_AWAY_MS;
    state_tick(st, f->now_ms);
    test_assert_prefixes(state_node(st, 2)->primary, "10.1.0.0/16");
    state_destroy(&st);
}

static void test_a_primary_that_does_not_come_back_is_replaced(void **state)
{
    struct test_routers *f = *state;
    struct state *st = restart_with_second(f);
    poll_at(f, st, 1);
    f->now_ms += TEST_AWAY_MS;
    state_tick(st, f->now_ms);
    test_assert_prefixes(state_node(st, 1)->primary, "10.1.0.0/16");
    assert_null(state_node(st, 2)->primary);
    state_destroy(&st);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, test_routers_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_decide_what_is_durable_and_reports_stay),
        TEST(test_a_node_that_is_new_here_has_what_its_row_says),
        TEST(test_names_addresses_and_keys_go_round),
        TEST(test_keys_that_end_elsewhere_are_revoked_here),
        TEST(test_an_ephemeral_node_gets_its_time),
        TEST(test_a_row_that_contradicts_others_is_left_out),
        TEST(test_of_several_versions_the_last_counts),
        TEST(test_a_policy_that_another_server_stored_becomes_active),
        TEST(test_users_are_published_and_may_exchange_their_names),
        TEST(test_a_relay_comes_and_goes_by_its_row),
        TEST(test_all_rows_leave_nothing_else),
        TEST(test_the_primary_is_whom_the_rows_say),
        TEST(test_a_restart_keeps_the_primary),
        TEST(test_a_primary_that_does_not_come_back_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
