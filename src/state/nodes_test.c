/* Presence of nodes, what they report, their names and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "state/testing.h"

/* --- ephemeral nodes and presence --- */

static void test_ephemeral(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    struct node_report none = {0};
    const struct node *n;
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true, .is_ephemeral = true}, key);
    struct registration polls = test_tailnet_request(f, key, "a"), never = test_tailnet_request(f, key, "b"),
                        leaves = test_tailnet_request(f, key, "c");
    node_id a = test_tailnet_register(f, &polls, TEST_NOW_MS).node->id;
    node_id b = test_tailnet_register(f, &never, TEST_NOW_MS).node->id;
    node_id c = test_tailnet_register(f, &leaves, TEST_NOW_MS).node->id;
    assert_int_equal(state_poll_begin(f->st, &polls.key, &polls.machine, &none, TEST_NOW_MS, &n), RC_OK);
    state_tick(f->st, TEST_NOW_MS + TEST_EPHEMERAL_MS);
    state_settle(f->st, TEST_NOW_MS + TEST_EPHEMERAL_MS);
    assert_non_null(state_node(f->st, a));
    assert_null(state_node(f->st, b)); /* it never polled */
    state_poll_end(f->st, a, TEST_NOW_MS + 100000);
    state_tick(f->st, TEST_NOW_MS + 100000 + TEST_GRACE_MS);
    assert_false(state_node(f->st, a)->is_online);
    state_tick(f->st, TEST_NOW_MS + 100000 + TEST_EPHEMERAL_MS - 1);
    state_settle(f->st, TEST_NOW_MS + 100000 + TEST_EPHEMERAL_MS - 1);
    assert_non_null(state_node(f->st, a));
    state_tick(f->st, TEST_NOW_MS + 100000 + TEST_EPHEMERAL_MS);
    state_settle(f->st, TEST_NOW_MS + 100000 + TEST_EPHEMERAL_MS);
    assert_null(state_node(f->st, a));
    (void)c;
    leaves = test_tailnet_request(f, key, "c");
    c = test_tailnet_register(f, &leaves, TEST_NOW_MS).node->id;
    leaves.expiry_ms = 1;
    assert_int_equal(test_tailnet_register(f, &leaves, TEST_NOW_MS).outcome, REGISTER_KEY_EXPIRED);
    assert_null(state_node(f->st, c)); /* logout removes at once */
}

static void test_online_with_grace(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    struct node_report none = {0};
    const struct node *n;
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "a");
    node_id id = test_tailnet_register(f, &reg, TEST_NOW_MS).node->id;
    for (int i = 0; i < 2; i++)
        assert_int_equal(state_poll_begin(f->st, &reg.key, &reg.machine, &none, TEST_NOW_MS, &n), RC_OK);
    state_poll_end(f->st, id, TEST_NOW_MS + 1000);
    state_tick(f->st, TEST_NOW_MS + 60000);
    assert_true(state_node(f->st, id)->is_online); /* one poll is left */
    state_poll_end(f->st, id, TEST_NOW_MS + 60000);
    state_tick(f->st, TEST_NOW_MS + 60000 + TEST_GRACE_MS - 1);
    assert_true(state_node(f->st, id)->is_online);
    state_tick(f->st, TEST_NOW_MS + 60000 + TEST_GRACE_MS);
    assert_false(state_node(f->st, id)->is_online);
    assert_int_equal(state_node(f->st, id)->last_seen_ms, TEST_NOW_MS + 60000);
    /* The end of a poll that has ended already, or of a deleted node, does no harm. */
    state_poll_end(f->st, id, TEST_NOW_MS);
    state_poll_end(f->st, 999, TEST_NOW_MS);
}

static void test_poll_does_not_undo_updates(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct addr fresh = {.family = 4, .port = 1, .ip = {192, 0, 2, 1}},
                stale = {.family = 4, .port = 2, .ip = {192, 0, 2, 2}};
    disco_key disco = {{1}}, old_disco = {{2}};
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "a");
    test_tailnet_register(f, &reg, TEST_NOW_MS);
    struct node_report update = {.endpoints = &fresh, .endpoints_n = 1, .disco = &disco, .home_derp = 9};
    struct node_report poll = {.endpoints = &stale, .endpoints_n = 1, .disco = &old_disco, .home_derp = 3};
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &update, &n), RC_OK);
    assert_int_equal(state_poll_begin(f->st, &reg.key, &reg.machine, &poll, TEST_NOW_MS, &n), RC_OK);
    assert_int_equal(n->endpoints[0].port, 1);
    assert_true(keys_equal(n->disco.b, disco.b));
    assert_int_equal(n->home_derp, 9);
    /* An absent NetInfo changes nothing; absent endpoints clear them. */
    update = (struct node_report){.endpoints = &stale, .endpoints_n = 0};
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &update, &n), RC_OK);
    assert_int_equal(n->endpoints_n, 0);
    assert_int_equal(n->home_derp, 9);
}

/* A crash loses the last seconds of presence, and clients do not repeat what was acknowledged: so their first poll
 * replaces what was loaded, unless an update came before it. */
static void test_first_poll_after_a_start_is_newer_than_the_disk(void **state)
{
    struct test_tailnet *f = *state;
    struct state_options options = test_options();
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct addr here = {.family = 4, .port = 1, .ip = {192, 0, 2, 1}},
                there = {.family = 4, .port = 2, .ip = {192, 0, 2, 2}};
    struct node_report written = {.endpoints = &here, .endpoints_n = 1, .home_derp = 9};
    struct node_report moved = {.endpoints = &there, .endpoints_n = 1, .home_derp = 3};
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "a");
    test_tailnet_register(f, &reg, TEST_NOW_MS);
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &written, &n), RC_OK);
    for (unsigned update_first = 0; update_first < 2; update_first++) {
        struct state *st = state_create(&options, test_settings());
        const struct node *now;
        assert_int_equal(state_load(st, &entity_node, &node_edit(n, NULL, 0)->row, NULL), RC_OK);
        state_load_done(st, TEST_NOW_MS);
        if (update_first)
            assert_int_equal(state_node_report(st, &reg.key, &reg.machine, &moved, &now), RC_OK);
        const struct node_report *poll = update_first ? &written : &moved;
        assert_int_equal(state_poll_begin(st, &reg.key, &reg.machine, poll, TEST_NOW_MS, &now), RC_OK);
        assert_int_equal(now->endpoints[0].port, 2);
        assert_int_equal(now->home_derp, 3);
        /* From then on as usual. */
        assert_int_equal(state_poll_begin(st, &reg.key, &reg.machine, &written, TEST_NOW_MS, &now), RC_OK);
        assert_int_equal(now->endpoints[0].port, 2);
        state_destroy(&st);
    }
}

/* --- names and addresses --- */

static void test_names(void **state)
{
    struct test_tailnet *f = *state;
    static const struct {
        const char *hostname, *name;
    } rows[] = {
        {"Laptop", "laptop"},
        {"laptop", "laptop-1"},
        {"LAPTOP", "laptop-2"},
        {"anna's phone", "annas-phone"},
        {"web_01.example.org", "web-01"},
        {"--x--", "x"},
        {"", "node"},
        {"\xc3\xa9\xc3\xa0", "node-1"},
        {"a..b", "a"},
        {"localhost", "localhost"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         "012345678901234567890123456789012345678901234567890123456789012"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890-1"},
    };
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct registration reg = test_tailnet_request(f, key, rows[i].hostname);
        assert_string_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).node->name, rows[i].name);
    }
    assert_int_equal(state_node_rename(f->st, 1, STR("annas-phone"), &n, NULL), RC_EXISTS);
    assert_int_equal(state_node_rename(f->st, 1, STR("Bad_Name"), &n, NULL), RC_INVALID);
    assert_int_equal(state_node_rename(f->st, 1, STR("-x"), &n, NULL), RC_INVALID);
    assert_int_equal(state_node_rename(f->st, 1, STR(""), &n, NULL), RC_INVALID);
    assert_int_equal(state_node_rename(f->st, 99, STR("x-y"), &n, NULL), RC_NOT_FOUND);
    assert_int_equal(state_node_rename(f->st, 1, STR("desk"), &n, NULL), RC_OK);
    /* The name that became free is given again; a name that an admin chose does not follow the host name. */
    struct registration reg = test_tailnet_request(f, key, "laptop");
    assert_string_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).node->name, "laptop");
}

static void test_addresses_run_out_in_words(void **state)
{
    struct test_tailnet *f = *state;
    struct state_options options = test_options();
    char key[AUTH_KEY_TEXT_CAP];
    options.v4_bits = 29; /* 6 addresses for nodes */
    for (int random = 0; random < 2; random++) {
        struct addr seen[6];
        options.random_addresses = random == 1;
        state_destroy(&f->st);
        test_tailnet_open(f, &options);
        test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
        for (unsigned i = 0; i < 6; i++) {
            struct registration reg = test_tailnet_request(f, key, "n");
            struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
            assert_int_equal(r.outcome, REGISTER_OK);
            seen[i] = r.node->v4;
            for (unsigned k = 0; k < i; k++)
                assert_false(addr_eq(&seen[i], &seen[k]));
        }
        struct registration reg = test_tailnet_request(f, key, "n");
        test_tailnet_refused(f, &reg, TEST_NOW_MS, "no free address");
        assert_int_equal(state_node_delete(f->st, 3, NULL), RC_OK);
        struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
        assert_int_equal(r.outcome, REGISTER_OK);
        assert_true(addr_eq(&r.node->v4, &seen[2]));
        assert_int_equal(r.node->id, 7); /* ids are not used again */
    }
}

static void test_reserved_addresses_are_skipped(void **state)
{
    struct test_tailnet *f = *state;
    struct state_options options = test_options();
    char key[AUTH_KEY_TEXT_CAP];
    options.v4_bits = 30;
    assert_int_equal(addr_parse_ip(STR("100.100.100.100"), &options.v4_prefix), RC_OK);
    state_destroy(&f->st);
    test_tailnet_open(f, &options);
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = test_tailnet_request(f, key, "n");
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).node->v4.ip[3], 101);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_tailnet_set_up, test_tailnet_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ephemeral),
        TEST(test_online_with_grace),
        TEST(test_poll_does_not_undo_updates),
        TEST(test_first_poll_after_a_start_is_newer_than_the_disk),
        TEST(test_names),
        TEST(test_addresses_run_out_in_words),
        TEST(test_reserved_addresses_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
