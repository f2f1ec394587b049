/* Tags, roles and owners: who may give them, and what a new owner does not inherit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "state/testing.h"

/* --- tags --- */

static void assert_tags(const struct node *n, const char *want)
{
    if (want == NULL) {
        assert_null(n->tags);
        return;
    }
    assert_non_null(n->tags);
    assert_true(str_eq_c(str_n(n->tags->data, n->tags->len), want));
}

static void test_setting_tags(void **state)
{
    struct test_routers *f = *state;
    const struct str two[] = {STR("tag:web"), STR("tag:db")}, bad[] = {STR("tag:web"), STR("web")};
    struct str many[TAGS_MAX + 1];
    const struct node *n;
    struct err err;
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms + 100000, f->now_ms, &n, NULL), RC_OK);
    assert_int_equal(state_node_set_tags(f->st, 1, two, 2, &n, NULL), RC_OK);
    assert_tags(n, "[\"tag:db\",\"tag:web\"]");
    assert_int_equal(n->expires_ms, NO_EXPIRY);
    assert_int_equal(state_node_set_tags(f->st, 1, two, 1, &n, NULL), RC_OK);
    assert_tags(n, "[\"tag:web\"]");
    assert_int_equal(state_node_set_tags(f->st, 1, NULL, 0, &n, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "at least one tag"));
    assert_int_equal(state_node_set_tags(f->st, 1, bad, 2, &n, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "'web' is no tag"));
    assert_int_equal(state_node_set_tags(f->st, 99, two, 1, &n, NULL), RC_NOT_FOUND);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = two[0];
    assert_int_equal(state_node_set_tags(f->st, 1, many, ARRAY_LEN(many), &n, NULL), RC_LIMIT);
    assert_int_equal(state_node_set_tags(f->st, 1, many, TAGS_MAX, &n, NULL), RC_OK);
    assert_tags(state_node(f->st, 1), "[\"tag:web\"]");
    /* It belongs to no user now, and does not prevent the deletion of its former user. */
    for (node_id id = 2; id <= TEST_ROUTERS; id++)
        assert_int_equal(state_node_delete(f->st, id, NULL), RC_OK);
    assert_int_equal(state_user_delete(f->st, 2, NULL), RC_OK);
    /* An expired key stays expired: a person has to look at it. */
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms, f->now_ms, &n, NULL), RC_OK);
    assert_int_equal(state_node_set_tags(f->st, 1, two, 2, &n, NULL), RC_OK);
    assert_true(n->is_expired);
}

static const char tag_policy[] = "{\"tagOwners\":{\"tag:web\":[\"anna@\"],\"tag:db\":[\"tag:web\"],\"tag:x\":[]}}";

static void test_the_policy_must_know_a_tag(void **state)
{
    struct test_routers *f = *state;
    const struct str web = STR("tag:web"), odd = STR("tag:odd");
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {0};
    struct auth_key_spec spec = {.tags = &odd, .tag_n = 1};
    const struct auth_key *k;
    const struct node *n;
    char text[AUTH_KEY_TEXT_CAP];
    struct err err;
    assert_int_equal(state_node_set_tags(f->st, 1, &odd, 1, &n, NULL), RC_OK);
    test_routers_set_policy(f, tag_policy);
    assert_int_equal(state_node_set_tags(f->st, 1, &odd, 1, &n, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "tagOwners"));
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, text, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "tagOwners"));
    assert_int_equal(state_node_set_tags(f->st, 1, &web, 1, &n, NULL), RC_OK);
    spec.tags = &web;
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, text, NULL), RC_OK);
}

/* What clients ask for with --advertise-tags. */
static void test_requested_tags(void **state)
{
    struct test_routers *f = *state;
    static const struct {
        const char *policy;
        user_id user;
        const char *key_tag;
        const char *asked;
        const char *tags; /* null: refused */
    } rows[] = {
        {"", 2, "", "tag:web", NULL},
        {"", 0, "tag:web", "tag:web", "[\"tag:web\"]"},
        {"", 0, "tag:web", "tag:db", NULL},
        {tag_policy, 2, "", "tag:web", "[\"tag:web\"]"},
        {tag_policy, 2, "", "tag:db", "[\"tag:db\"]"}, /* anna owns the tag that owns this tag */
        {tag_policy, 2, "", "tag:x", NULL},
        {tag_policy, 3, "", "tag:web", NULL},
        {tag_policy, 1, "", "tag:x", "[\"tag:x\"]"}, /* the owner of the network */
        {tag_policy, 2, "", "tag:none", NULL},
        {tag_policy, 2, "", "web", NULL},
        {tag_policy, 0, "tag:web", "tag:db", "[\"tag:db\"]"},
        {tag_policy, 0, "tag:db", "tag:web", NULL},
        {tag_policy, 2, "tag:db", "tag:web", NULL}, /* the key stands for its tags, not for its user */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char key[AUTH_KEY_TEXT_CAP];
        struct str asked = str_c(rows[i].asked);
        size_t before = state_node_count(f->st);
        test_routers_set_policy(f, rows[i].policy[0] != '\0' ? rows[i].policy
                                                             : "{\"tagOwners\":{\"tag:web\":[],\"tag:db\":[]}}");
        test_routers_key(f, rows[i].user, rows[i].key_tag, key);
        if (rows[i].policy[0] == '\0')
            state_set_policy(f->st, NULL);
        struct registration reg = test_routers_request(f, key);
        reg.tags = &asked;
        reg.tag_n = 1;
        struct register_result r = test_routers_join(f, &reg);
        assert_int_equal(r.outcome, rows[i].tags != NULL ? REGISTER_OK : REGISTER_REFUSED);
        assert_int_equal(state_node_count(f->st), before + (rows[i].tags != NULL));
        if (rows[i].tags != NULL) {
            assert_tags(r.node, rows[i].tags);
            assert_null(r.user);
        } else {
            assert_non_null(strstr(r.err.text, "requested tags ["));
            assert_non_null(strstr(r.err.text, rows[i].asked));
            assert_false(state_key_by_text(f->st, str_c(key))->is_used);
        }
    }
}

/* The node that a tagged machine had comes back, with whichever key brings those tags. */
static void test_tagged_machine_returns(void **state)
{
    struct test_routers *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    struct str web = STR("tag:web");
    test_routers_set_policy(f, tag_policy);
    struct registration reg = test_routers_request(f, f->key);
    reg.tags = &web;
    reg.tag_n = 1;
    node_id id = test_routers_join(f, &reg).node->id;
    test_routers_random(f, &reg.key, sizeof(reg.key));
    test_routers_key(f, 0, "tag:web", key);
    reg.auth_key = str_c(key);
    reg.tag_n = 0;
    assert_int_equal(test_routers_join(f, &reg).node->id, id);
    /* Without tags the node is another one, of anna's. */
    test_routers_random(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(f->key);
    struct register_result r = test_routers_join(f, &reg);
    assert_int_not_equal(r.node->id, id);
    assert_string_equal(r.user->name, "anna");
}

/* --- roles --- */

static void test_roles(void **state)
{
    struct test_routers *f = *state;
    const struct user *u;
    enum user_role role;
    for (int i = 0; i < USER_ROLES_N; i++) {
        assert_int_equal(user_role_parse(str_c(user_role_name((enum user_role)i)), &role), RC_OK);
        assert_int_equal(role, i);
        assert_non_null(strstr(USER_ROLE_NAMES, user_role_name(role)));
    }
    assert_int_equal(user_role_parse(STR("root"), &role), RC_INVALID);
    assert_int_equal(user_role_parse(STR(""), &role), RC_INVALID);
    assert_int_equal(state_user_set_role(f->st, 2, USER_AUDITOR, &u, NULL), RC_OK);
    assert_int_equal(u->role, USER_AUDITOR);
    assert_int_equal(state_user_rename(f->st, 2, STR("annabel"), &u, NULL), RC_OK);
    assert_int_equal(u->role, USER_AUDITOR);
    assert_int_equal(state_user_set_role(f->st, 77, USER_OWNER, &u, NULL), RC_NOT_FOUND);
    struct row_batch *b = state_take_batch(f->st);
    size_t rows = 0;
    for (size_t i = 0; i < b->n; i++)
        rows += b->ops[i].entity == &entity_user && ((const struct user *)b->ops[i].object)->role == USER_AUDITOR;
    assert_int_equal(rows, 2);
    row_batch_destroy(&b);
}

/* --- another owner --- */

/* The machine of node `id`, again, with `key`. */
static const struct node *rejoin(struct test_routers *f, node_id id, const char *key, const char *hostname)
{
    struct registration reg = f->nodes[id - 1];
    const struct node *n;
    reg.old_key = reg.key;
    test_routers_random(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(key);
    reg.report.hostname = str_c(hostname);
    struct register_result r = test_routers_join(f, &reg);
    assert_int_equal(r.outcome, REGISTER_OK);
    n = state_node_by_key(f->st, &reg.key);
    f->nodes[id - 1] = reg;
    return n;
}

static void test_another_owner_inherits_nothing_that_was_granted(void **state)
{
    struct test_routers *f = *state;
    const struct node *n;
    char anna_key[AUTH_KEY_TEXT_CAP], bert_key[AUTH_KEY_TEXT_CAP], web_key[AUTH_KEY_TEXT_CAP],
        db_key[AUTH_KEY_TEXT_CAP];
    test_routers_key(f, 2, "", anna_key);
    test_routers_key(f, 3, "", bert_key);
    test_routers_key(f, 2, "tag:web", web_key);
    test_routers_key(f, 3, "tag:db", db_key);
    const char *const keys[] = {bert_key, web_key, db_key, bert_key};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        test_routers_advertise(f, 1, "10.0.0.0/8");
        assert_int_equal(test_routers_approve(f, 1, "10.0.0.0/8"), RC_OK);
        assert_int_equal(state_node_rename(f->st, 1, STR("gateway"), &n, NULL), RC_OK);
        struct addr v4 = n->v4;
        n = rejoin(f, 1, keys[i], "berts-box");
        assert_int_equal(n->id, 1);
        assert_true(addr_eq(&n->v4, &v4));
        assert_null(n->approved);
        assert_null(n->primary);
        assert_string_equal(n->name, "berts-box");
        /* The same owner again keeps what it got. */
        assert_int_equal(test_routers_approve(f, 1, "10.0.0.0/8"), RC_OK);
        assert_int_equal(state_node_rename(f->st, 1, STR("gateway"), &n, NULL), RC_OK);
        n = rejoin(f, 1, keys[i], "another");
        test_assert_prefixes(n->approved, "10.0.0.0/8");
        assert_string_equal(n->name, "gateway");
    }
    /* Another key of the same user is the same user. */
    n = rejoin(f, 2, anna_key, "node");
    assert_int_equal(state_node_rename(f->st, 2, STR("annas"), &n, NULL), RC_OK);
    n = rejoin(f, 2, f->key, "node");
    assert_string_equal(n->name, "annas");
    /* What the policy approves without a person it approves for the new owner too. */
    test_routers_set_policy(
        f, "{\"tagOwners\":{\"tag:web\":[\"anna@\"]},\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:web\"]}}}");
    assert_int_equal(test_routers_approve(f, 1, "10.0.0.0/8 192.168.0.0/24"), RC_OK);
    n = rejoin(f, 1, web_key, "web");
    test_assert_prefixes(n->approved, "10.0.0.0/8");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_routers_set_up, test_routers_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_setting_tags),   TEST(test_the_policy_must_know_a_tag),
        TEST(test_requested_tags), TEST(test_tagged_machine_returns),
        TEST(test_roles),          TEST(test_another_owner_inherits_nothing_that_was_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
