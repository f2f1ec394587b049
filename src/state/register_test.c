/* Registration, row by row of docs/protocol/control.md 5.4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "state/testing.h"

static void test_join_and_restart(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "Laptop");
    struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_true(r.is_new);
    assert_string_equal(r.node->name, "laptop");
    assert_string_equal(r.user->name, "anna");
    assert_int_equal(r.node->v4.ip[3], 1);
    node_id id = r.node->id;
    /* The answer was lost: the same request succeeds again, and the single-use key is not looked at. */
    r = test_tailnet_register(f, &reg, TEST_NOW_MS + 1);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_false(r.is_new);
    assert_int_equal(r.node->id, id);
    /* A restart without key. */
    reg.auth_key = STR_EMPTY;
    r = test_tailnet_register(f, &reg, TEST_NOW_MS + 2);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_int_equal(r.node->id, id);
}

static void test_refusals(void **state)
{
    struct test_tailnet *f = *state;
    char single[AUTH_KEY_TEXT_CAP], expiring[AUTH_KEY_TEXT_CAP], revoked[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){0}, single);
    test_tailnet_key(f, (struct auth_key_spec){.expires_ms = TEST_NOW_MS + 1000, .is_reusable = true}, expiring);
    uint64_t revoked_id = test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, revoked);
    assert_int_equal(state_key_expire(f->st, revoked_id, TEST_NOW_MS, NULL), RC_OK);
    struct registration a = test_tailnet_request(f, single, "a"), b = test_tailnet_request(f, single, "b"),
                        c = test_tailnet_request(f, expiring, "c");
    struct registration d = test_tailnet_request(f, "fskey-auth-000000000000-nonsense", "d"),
                        e = test_tailnet_request(f, "", "e");
    struct registration g = test_tailnet_request(f, revoked, "g"), z = test_tailnet_request(f, single, "z");
    assert_int_equal(test_tailnet_register(f, &a, TEST_NOW_MS).outcome, REGISTER_OK);
    test_tailnet_refused(f, &b, TEST_NOW_MS, "has been used");
    test_tailnet_refused(f, &c, TEST_NOW_MS + 1000, "expired");
    test_tailnet_refused(f, &d, TEST_NOW_MS, "not known");
    test_tailnet_refused(f, &e, TEST_NOW_MS, "auth key");
    test_tailnet_refused(f, &g, TEST_NOW_MS, "expired");
    memset(&z.key, 0, sizeof(z.key));
    test_tailnet_refused(f, &z, TEST_NOW_MS, "no node key");
    assert_int_equal(state_node_count(f->st), 1);
}

/* A node key is public: knowing it must give no access to anything. */
static void test_foreign_node_key(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct node_report report = {.home_derp = 7};
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration victim = test_tailnet_request(f, key, "victim"), thief = test_tailnet_request(f, key, "thief");
    assert_int_equal(test_tailnet_register(f, &victim, TEST_NOW_MS).outcome, REGISTER_OK);
    thief.key = victim.key;
    test_tailnet_refused(f, &thief, TEST_NOW_MS, "another machine");
    /* Without a good auth key the answer is the same as for a node key that no node has. */
    thief.auth_key = STR_EMPTY;
    test_tailnet_refused(f, &thief, TEST_NOW_MS, "admits nodes by auth key");
    thief.expiry_ms = 1; /* log it out */
    assert_int_equal(test_tailnet_register(f, &thief, TEST_NOW_MS).outcome, REGISTER_KEY_EXPIRED);
    assert_false(state_node_by_key(f->st, &victim.key)->is_expired);
    assert_int_equal(state_node_report(f->st, &victim.key, &thief.machine, &report, &n), RC_DENIED);
    assert_int_equal(state_poll_begin(f->st, &victim.key, &thief.machine, &report, TEST_NOW_MS, &n), RC_DENIED);
    /* As old key it does not lead to the victim's node either. */
    thief = test_tailnet_request(f, key, "thief");
    thief.old_key = victim.key;
    struct register_result r = test_tailnet_register(f, &thief, TEST_NOW_MS);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_true(r.is_new);
    n = state_node_by_key(f->st, &victim.key);
    assert_true(keys_equal(n->machine.b, victim.machine.b));
    assert_false(n->is_expired);
    assert_int_equal(n->home_derp, 0);
}

static void test_logout_and_login_keeps_the_address(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    node_key gone[4];
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop");
    struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
    node_id id = r.node->id;
    struct addr v4 = r.node->v4;
    struct node_report none = {0};
    const struct node *n;
    assert_int_equal(state_poll_begin(f->st, &reg.key, &reg.machine, &none, TEST_NOW_MS, &n), RC_OK);
    reg.expiry_ms = 123000; /* as clients send it: 1970 */
    r = test_tailnet_register(f, &reg, TEST_NOW_MS + 5);
    assert_int_equal(r.outcome, REGISTER_KEY_EXPIRED);
    assert_true(state_node(f->st, id)->is_expired);
    assert_false(state_node(f->st, id)->is_online); /* it logged out: no grace */
    assert_int_equal(state_node(f->st, id)->expires_ms, TEST_NOW_MS + 5);
    assert_false(state_key_is_active(f->st, &reg.key));
    assert_int_equal(state_take_revoked(f->st, gone, 4), 0); /* it may have to be undone */
    test_tailnet_settle(f, TEST_NOW_MS + 5);
    assert_int_equal(state_take_revoked(f->st, gone, 4), 1);
    assert_true(keys_equal(gone[0].b, reg.key.b));
    /* Without a key: the client must make a new node key, and come back. */
    reg.expiry_ms = 0;
    reg.auth_key = STR_EMPTY;
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS + 6).outcome, REGISTER_KEY_EXPIRED);
    struct registration again = reg;
    again.old_key = reg.key;
    again.auth_key = str_c(key);
    test_tailnet_random(f, &again.key, sizeof(again.key));
    r = test_tailnet_register(f, &again, TEST_NOW_MS + 7);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_int_equal(r.node->id, id);
    assert_true(addr_eq(&r.node->v4, &v4));
    assert_false(r.node->is_expired);
    assert_null(state_node_by_key(f->st, &reg.key));
    /* Unknown keys may log out as often as they like. */
    struct registration stranger = test_tailnet_request(f, "", "x");
    stranger.expiry_ms = 123000;
    assert_int_equal(test_tailnet_register(f, &stranger, TEST_NOW_MS).outcome, REGISTER_KEY_EXPIRED);
}

static void test_one_machine_two_users(void **state)
{
    struct test_tailnet *f = *state;
    char anna_key[AUTH_KEY_TEXT_CAP], ben_key[AUTH_KEY_TEXT_CAP];
    struct user_spec spec = {.name = STR("ben")};
    const struct user *ben;
    assert_int_equal(state_user_create(f->st, &spec, TEST_NOW_MS, &ben, NULL), RC_OK);
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, anna_key);
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true, .user = ben->id}, ben_key);
    struct registration reg = test_tailnet_request(f, anna_key, "shared");
    node_id first = test_tailnet_register(f, &reg, TEST_NOW_MS).node->id;
    test_tailnet_random(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(ben_key);
    node_id second = test_tailnet_register(f, &reg, TEST_NOW_MS).node->id;
    assert_int_not_equal(first, second);
    /* Back to the first user: the first node returns. */
    test_tailnet_random(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(anna_key);
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).node->id, first);
}

static void test_expiry(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop");
    reg.expiry_ms = TEST_NOW_MS + 5000;
    struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
    node_id id = r.node->id;
    assert_int_equal(r.node->expires_ms, TEST_NOW_MS + 5000);
    /* A client may shorten it, not extend it. */
    reg.expiry_ms = TEST_NOW_MS + 4000;
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    reg.expiry_ms = TEST_NOW_MS + 9000;
    test_tailnet_refused(f, &reg, TEST_NOW_MS, "brought forward");
    assert_int_equal(state_next_tick_ms(f->st), TEST_NOW_MS + 4000);
    state_tick(f->st, TEST_NOW_MS + 3999);
    assert_false(state_node(f->st, id)->is_expired);
    state_tick(f->st, TEST_NOW_MS + 4000);
    assert_true(state_node(f->st, id)->is_expired);
    const struct node *n;
    assert_int_equal(state_node_expire(f->st, id, NO_EXPIRY, TEST_NOW_MS + 5000, &n, NULL), RC_OK);
    assert_false(n->is_expired);
    assert_true(state_key_is_active(f->st, &reg.key));
}

/* A client gets at most node.expiry, and no date that cannot be written. */
static void test_the_admins_expiry_is_the_limit(void **state)
{
    struct test_tailnet *f = *state;
    const int64_t day_ms = 24 * 3600 * 1000, year_10000_ms = DATE_MAX_MS + 86400000;
    const struct {
        int64_t limit_ms, asked_ms, want_ms;
        const char *tag;
    } cases[] = {
        {day_ms, 0, TEST_NOW_MS + day_ms, ""},
        {day_ms, TEST_NOW_MS + day_ms - 1, TEST_NOW_MS + day_ms - 1, ""},
        {day_ms, TEST_NOW_MS + day_ms + 1, TEST_NOW_MS + day_ms, ""},
        {day_ms, year_10000_ms, TEST_NOW_MS + day_ms, ""},
        {day_ms, INT64_MAX, TEST_NOW_MS + day_ms, ""},
        {0, 0, NO_EXPIRY, ""},
        {0, TEST_NOW_MS + 5 * day_ms, TEST_NOW_MS + 5 * day_ms, ""},
        {0, year_10000_ms, DATE_MAX_MS, ""},
        {day_ms, 0, NO_EXPIRY, "tag:a"}, /* tagged nodes have no limit, but get the date that they ask for */
        {day_ms, TEST_NOW_MS + 2 * day_ms, TEST_NOW_MS + 2 * day_ms, "tag:a"},
        {day_ms, INT64_MAX, DATE_MAX_MS, "tag:a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct state_options options = test_options();
        char key[AUTH_KEY_TEXT_CAP];
        struct str tag = str_c(cases[i].tag);
        state_destroy(&f->st);
        options.node_expiry_ms = cases[i].limit_ms;
        test_tailnet_open(f, &options);
        test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true, .tags = &tag, .tag_n = tag.len > 0}, key);
        struct registration reg = test_tailnet_request(f, key, "laptop");
        reg.expiry_ms = cases[i].asked_ms;
        assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).node->expires_ms, cases[i].want_ms);
        /* Nor does it get more later, with the same node key. */
        reg.expiry_ms = TEST_NOW_MS + 3650 * day_ms;
        if (cases[i].want_ms != NO_EXPIRY && cases[i].want_ms < reg.expiry_ms)
            test_tailnet_refused(f, &reg, TEST_NOW_MS, "an admin may extend it");
        reg.expiry_ms = INT64_MAX;
        if (cases[i].want_ms != NO_EXPIRY && cases[i].want_ms < DATE_MAX_MS)
            test_tailnet_refused(f, &reg, TEST_NOW_MS, "an admin may extend it");
    }
    const struct node *n;
    assert_int_equal(state_node_expire(f->st, 1, DATE_MAX_MS + 1, TEST_NOW_MS, &n, NULL), RC_INVALID);
    assert_int_equal(state_node_expire(f->st, 1, DATE_MAX_MS, TEST_NOW_MS, &n, NULL), RC_OK);
}

/* --- what needs no other server, and no disk --- */

/* Registers, and says whether the state foretold that it would be local. It is exactly when nothing is written and the
 * answer is OK. */
static bool is_local(struct test_tailnet *f, const struct registration *reg, int64_t when_ms)
{
    bool foretold = state_register_is_local(f->st, reg, when_ms);
    bool is_ok = test_tailnet_register(f, reg, when_ms).outcome == REGISTER_OK;
    struct row_batch *b = state_take_batch(f->st);
    assert_int_equal(foretold, is_ok && b == NULL);
    if (b != NULL)
        state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    test_tailnet_settle(f, when_ms);
    return foretold;
}

static void test_a_known_node_registers_locally(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop"), other = test_tailnet_request(f, key, "other");
    assert_false(is_local(f, &reg, TEST_NOW_MS));
    assert_true(is_local(f, &reg, TEST_NOW_MS));
    reg.report.hostname = STR("renamed"); /* its name follows later */
    assert_true(is_local(f, &reg, TEST_NOW_MS));
    other.key = reg.key;
    assert_false(is_local(f, &other, TEST_NOW_MS));
    reg.expiry_ms = TEST_NOW_MS + 1000;
    assert_false(is_local(f, &reg, TEST_NOW_MS));
    reg.expiry_ms = 0;
    assert_true(is_local(f, &reg, TEST_NOW_MS + 999));
    assert_false(is_local(f, &reg, TEST_NOW_MS + 1000)); /* the key brings it back */
    assert_true(is_local(f, &reg, TEST_NOW_MS + 1000));
    reg.expiry_ms = 1; /* logout */
    assert_false(is_local(f, &reg, TEST_NOW_MS + 1000));
    assert_false(is_local(f, &reg, TEST_NOW_MS + 1000));
    memset(&reg.key, 0, sizeof(reg.key));
    assert_false(is_local(f, &reg, TEST_NOW_MS + 1000));
}

/* Its answer may still have to be taken back. */
static void test_a_node_that_waits_for_the_disk_is_not_local(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop");
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_false(state_register_is_local(f->st, &reg, TEST_NOW_MS));
    struct row_batch *b = state_take_batch(f->st);
    assert_false(state_register_is_local(f->st, &reg, TEST_NOW_MS));
    state_committed(f->st, b->seq);
    assert_true(state_register_is_local(f->st, &reg, TEST_NOW_MS));
    row_batch_destroy(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_tailnet_set_up, test_tailnet_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_join_and_restart),
        TEST(test_refusals),
        TEST(test_foreign_node_key),
        TEST(test_logout_and_login_keeps_the_address),
        TEST(test_one_machine_two_users),
        TEST(test_expiry),
        TEST(test_the_admins_expiry_is_the_limit),
        TEST(test_a_known_node_registers_locally),
        TEST(test_a_node_that_waits_for_the_disk_is_not_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
