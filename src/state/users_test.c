/* Users and auth keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "state/testing.h"

static void test_users(void **state)
{
    struct test_tailnet *f = *state;
    static const char *const bad[] = {"", "1a", "a b", "a@b@c", "-x", "a/b", "caf\xc3\xa9", "alice@", "a@"};
    const struct user *u;
    char key[AUTH_KEY_TEXT_CAP];
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct user_spec spec = {.name = str_c(bad[i])};
        assert_int_equal(state_user_create(f->st, &spec, TEST_NOW_MS, &u, &err), RC_INVALID);
        assert_true(err.text[0] != '\0');
    }
    struct user_spec again = {.name = STR("anna")}, ben = {.name = STR("ben@example.org")};
    assert_int_equal(state_user_create(f->st, &again, TEST_NOW_MS, &u, NULL), RC_EXISTS);
    assert_int_equal(state_user_create(f->st, &ben, TEST_NOW_MS, &u, NULL), RC_OK);
    user_id ben_id = u->id;
    /* One rule for all comparisons: the case of letters does not matter. */
    struct user_spec shout = {.name = STR("ANNA")}, mail = {.name = STR("Ben@Example.org")};
    assert_int_equal(state_user_create(f->st, &shout, TEST_NOW_MS, &u, NULL), RC_EXISTS);
    assert_int_equal(state_user_create(f->st, &mail, TEST_NOW_MS, &u, NULL), RC_EXISTS);
    assert_ptr_equal(state_user_by_name(f->st, STR("Anna")), state_user_by_name(f->st, STR("anna")));
    assert_ptr_equal(state_user_by_name(f->st, STR("anna@")), state_user_by_name(f->st, STR("anna")));
    assert_null(state_user_by_name(f->st, STR("ann")));
    assert_int_equal(state_user_rename(f->st, ben_id, STR("alice@"), &u, &err), RC_INVALID);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("BEN@example.org"), &u, NULL), RC_OK);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("ben@example.org"), &u, NULL), RC_OK);
    uint64_t annas = test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct auth_key_spec of_ben = {.user = ben_id};
    uint64_t bens = test_tailnet_key(f, of_ben, key);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("anna"), &u, NULL), RC_EXISTS);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("benjamin"), &u, NULL), RC_OK);
    assert_null(state_user_by_name(f->st, STR("ben@example.org")));
    assert_ptr_equal(state_user_by_name(f->st, STR("benjamin")), u);
    /* Deleting a user deletes the user's keys, and no others. */
    assert_int_equal(state_user_delete(f->st, ben_id, NULL), RC_OK);
    assert_null(state_key(f->st, bens));
    assert_non_null(state_key(f->st, annas));
    assert_int_equal(state_user_delete(f->st, ben_id, NULL), RC_NOT_FOUND);
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "n");
    test_tailnet_register(f, &reg, TEST_NOW_MS);
    assert_int_equal(state_user_delete(f->st, f->anna->id, &err), RC_IN_USE);
}

static void test_tags(void **state)
{
    struct test_tailnet *f = *state;
    static const struct str good[] = {{"tag:web", 7}, {"tag:db-1", 8}, {"tag:web", 7}};
    static const char *const bad[] = {"web", "tag:", "tag:1", "tag:a b", "tag:a\"", "Tag:a"};
    char key[AUTH_KEY_TEXT_CAP];
    const struct auth_key *k;
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct str tag = str_c(bad[i]);
        struct auth_key_spec spec = {.user = 1, .tags = &tag, .tag_n = 1};
        assert_int_equal(state_key_create(f->st, &spec, random, TEST_NOW_MS, &k, key, NULL), RC_INVALID);
    }
    test_tailnet_key(f, (struct auth_key_spec){.tags = good, .tag_n = 3}, key);
    struct registration reg = test_tailnet_request(f, key, "n");
    struct register_result r = test_tailnet_register(f, &reg, TEST_NOW_MS);
    assert_null(r.user);
    assert_memory_equal(r.node->tags->data, "[\"tag:db-1\",\"tag:web\"]", 22);
}

/* What is stored of a key cannot be used as a key. */
static void test_keys_are_stored_hashed(void **state)
{
    struct test_tailnet *f = *state;
    char text[AUTH_KEY_TEXT_CAP];
    uint64_t id = test_tailnet_key(f, (struct auth_key_spec){0}, text);
    const struct auth_key *k = state_key(f->st, id);
    assert_int_equal(strncmp(text, k->prefix, strlen(k->prefix)), 0);
    assert_true(strlen(text) >= strlen(k->prefix) + 64);
    assert_null(memmem(k, sizeof(*k), text + strlen(k->prefix) + 1, 32));
    assert_null(state_key_by_text(f->st, str_c(k->prefix)));
    assert_ptr_equal(state_key_by_text(f->st, str_c(text)), k);
}

/* A key that leaked does little harm: it is for a number of nodes, for given networks, and heavy use raises an
 * alarm. */
static void test_keys_have_limits(void **state)
{
    struct test_tailnet *f = *state;
    char few[AUTH_KEY_TEXT_CAP], near[AUTH_KEY_TEXT_CAP];
    struct prefix net;
    assert_int_equal(prefix_parse(STR("10.7.0.0/16"), &net, NULL), RC_OK);
    uint64_t id = test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true, .max_nodes = 2}, few);
    struct registration a = test_tailnet_request(f, few, "a"), b = test_tailnet_request(f, few, "b"),
                        c = test_tailnet_request(f, few, "c");
    assert_int_equal(test_tailnet_register(f, &a, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_int_equal(test_tailnet_register(f, &b, TEST_NOW_MS).outcome, REGISTER_OK);
    struct register_result r = test_tailnet_register(f, &c, TEST_NOW_MS);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    assert_int_equal(r.key_limit, KEY_LIMIT_NODES);
    assert_non_null(strstr(r.err.text, "as many nodes have joined"));
    assert_int_equal(state_key(f->st, id)->joined_n, 2);
    /* A node that has joined may come back with it. */
    test_tailnet_random(f, &a.key, sizeof(a.key));
    assert_int_equal(test_tailnet_register(f, &a, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_int_equal(state_key(f->st, id)->joined_n, 2);

    struct auth_key_spec spec = {.is_reusable = true, .sources = prefix_list_create(&net, 1)};
    test_tailnet_key(f, spec, near);
    prefix_list_unref(&spec.sources);
    struct registration d = test_tailnet_request(f, near, "d");
    assert_int_equal(test_tailnet_register(f, &d, TEST_NOW_MS).key_limit,
                     KEY_LIMIT_SOURCE); /* from an unknown address */
    assert_int_equal(addr_parse_ip(STR("10.8.0.1"), &d.from), RC_OK);
    r = test_tailnet_register(f, &d, TEST_NOW_MS);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    assert_non_null(strstr(r.err.text, "10.8.0.1"));
    assert_int_equal(addr_parse_ip(STR("fd00::1"), &d.from), RC_OK);
    assert_int_equal(test_tailnet_register(f, &d, TEST_NOW_MS).outcome, REGISTER_REFUSED);
    assert_int_equal(addr_parse_ip(STR("10.7.255.1"), &d.from), RC_OK);
    assert_int_equal(test_tailnet_register(f, &d, TEST_NOW_MS).outcome, REGISTER_OK);

    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {0};
    char text[AUTH_KEY_TEXT_CAP];
    const struct auth_key *k;
    struct err err;
    spec = (struct auth_key_spec){.user = f->anna->id, .max_nodes = 2};
    assert_int_equal(state_key_create(f->st, &spec, random, TEST_NOW_MS, &k, text, &err), RC_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_tailnet_set_up, test_tailnet_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_users),
        TEST(test_tags),
        TEST(test_keys_are_stored_hashed),
        TEST(test_keys_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
