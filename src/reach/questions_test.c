/* Tests of policies, and reasons. */
#include "engine/testing.h"
#include "reach/reach.h"

#define TESTED                                                                                                         \
    "{\"tagOwners\":{\"tag:server\":[],\"tag:client\":[],\"tag:exit\":[],\"tag:later\":[]},"                           \
    "\"postures\":{\"posture:p\":[\"custom:level > 100\"]},\"acls\":[{\"action\":\"accept\","                          \
    "\"src\":[\"ann@example.com\"],"                                                                                   \
    "\"proto\":\"tcp\",\"dst\":[\"tag:server:22\",\"10.1.2.3:80\"]},{\"action\":\"accept\",\"src\":[\"*\"],"           \
    "\"dst\":[\"tag:exit:1\"],"                                                                                        \
    "\"srcPosture\":[\"posture:p\"]},{\"action\":\"accept\",\"proto\":\"icmp\",\"src\":[\"*\"],"                       \
    "\"dst\":[\"*:*\"]},{\"action\":\"accept\","                                                                       \
    "\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self:9\"]}],\"tests\":[{%s}]}"

/* Runs one test of a policy; `sentence`: of its failure, null when it passes. */
static void check_test(const char *test, const char *sentence)
{
    char text[1600];
    struct policy_errors errors = {0};
    snprintf(text, sizeof(text), TESTED, test);
    struct engine *p = test_policy(text);
    enum rc rc = reach_run_tests(p, &errors);
    if ((rc == RC_OK) != (sentence == NULL))
        print_message("%s: %s\n", test, errors.n > 1 ? errors.v[1].text : "passed");
    assert_int_equal(rc, sentence == NULL ? RC_OK : RC_INVALID);
    if (sentence != NULL) {
        assert_string_equal(errors.v[0].text, "test(s) failed");
        if (strstr(errors.v[1].text, sentence) == NULL)
            print_message("%s: %s\n", test, errors.v[1].text);
        assert_non_null(strstr(errors.v[1].text, sentence));
        assert_int_equal(errors.v[1].line, 1);
        assert_true(errors.v[1].col > strstr(text, "\"tests\"") - text);
    }
    policy_errors_fini(&errors);
    engine_destroy(&p);
}

static void test_tests_pass_and_fail(void **state)
{
    (void)state;
    static const struct {
        const char *test;
        const char *sentence; /* null: passes */
    } cases[] = {
        {"\"src\":\"ann@example.com\",\"proto\":\"tcp\",\"accept\":[\"tag:server:22\",\"10.1.2.3:80\"],"
         "\"deny\":[\"tag:server:23\"]",
         NULL},
        {"\"user\":\"ann@example.com\",\"allow\":[\"100.64.0.60:22\",\"[fd7a:115c:a1e0::60]:22\"]", NULL},
        {"\"src\":\"bob@\",\"proto\":\"tcp\",\"accept\":[\"tag:server:22\"]",
         "bob@ -> tag:server:22: expected ALLOWED, got DENIED"},
        {"\"src\":\"ann@example.com\",\"deny\":[\"tag:server:22\"]", "expected DENIED, got ALLOWED"},
        {"\"src\":\"ann@example.com\",\"proto\":\"udp\",\"accept\":[\"tag:server:22\"]",
         "expected ALLOWED, got DENIED"},
        {"\"src\":\"bob@\",\"proto\":\"icmp\",\"accept\":[\"tag:server:0\"]", NULL},
        {"\"src\":\"bob@\",\"accept\":[\"tag:server:0\"]", "one port"},
        {"\"src\":\"ann@example.com\",\"accept\":[\"autogroup:self:9\"],\"deny\":[\"autogroup:self:10\"]",
         "got ALLOWED"},
        {"\"src\":\"ann@example.com\",\"proto\":\"tcp\",\"accept\":[\"autogroup:self:9\"],"
         "\"deny\":[\"bob@:9\"]",
         NULL},
        {"\"src\":\"tag:client\",\"proto\":\"tcp\",\"accept\":[\"tag:exit:1\"]", "got DENIED"},
        {"\"src\":\"tag:client\",\"proto\":\"tcp\",\"accept\":[\"tag:exit:1\"],\"srcPostureAttrs\":{"
         "\"custom:level\":101}",
         NULL},
        {"\"src\":\"autogroup:member\",\"proto\":\"tcp\",\"accept\":[\"autogroup:self:9\"]", NULL},
        {"\"src\":\"tag:client\",\"proto\":\"tcp\",\"deny\":[\"autogroup:self:9\"]",
         "autogroup:self: the source is no user's node"},
        {"\"src\":\"nobody@x\",\"accept\":[\"tag:server:22\"]",
         "src nobody@x cannot be tested: there is no such user yet"},
        {"\"accept\":[\"tag:server:22\"]", "it is empty"},
        {"\"src\":\"tag:later\",\"accept\":[\"tag:server:22\"]",
         "src tag:later cannot be tested: no node has this tag yet"},
        {"\"src\":\"bob@\",\"accept\":[\"tag:later:22\"]",
         "bob@ -> tag:later:22 cannot be tested: tag:later: no node has this tag yet"},
        {"\"src\":\"bob@\",\"deny\":[\"eve@:22\"]", "eve@: this user has no node without tags yet"},
        {"\"src\":\"group:none\",\"deny\":[\"bob@:22\"]", "group:none cannot be tested: no such group"},
        {"\"src\":\"bob@\",\"accept\":[\"tag:none:22\"]", "tag:none: no such tag in tagOwners"},
        {"\"src\":\"bob@\",\"accept\":[\"nohost:22\"]", "nohost: no address, and no such host"},
        {"\"src\":\"bob@\"", "must have \"accept\" or \"deny\""},
        {"\"src\":\"bob@\",\"accept\":[\"10.0.0.0/8:1\"]", "not one address"},
        {"\"src\":\"bob@\",\"accept\":[\"10.0.0.1/32:1\"]", "not one address"},
        {"\"src\":\"bob@\",\"accept\":[\"*:1\"]", "*: not one address or name"},
        {"\"src\":\"bob@\",\"accept\":[\"tag:server:1-2\"]", "one port"},
        {"\"src\":\"bob@\",\"proto\":\"nope\",\"accept\":[\"tag:server:1\"]", "unknown protocol"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_test(cases[i].test, cases[i].sentence);
    }
}

static void test_ssh_tests_pass_and_fail(void **state)
{
    (void)state;
    static const struct {
        const char *test;
        const char *sentence; /* null: passes */
    } cases[] = {
        {"\"src\":\"autogroup:member\",\"dst\":[\"autogroup:self\"],\"check\":[\"root\"],"
         "\"deny\":[\"x\"]",
         NULL},
        {"\"src\":\"ann@example.com\",\"dst\":[\"bob@\"],\"deny\":[\"root\"]", NULL},
        {"\"src\":\"tag:client\",\"dst\":[\"100.64.0.60\"],\"accept\":[\"deploy\",\"any\"],"
         "\"deny\":[\"root\"]",
         NULL},
        {"\"src\":\"ann@example.com\",\"dst\":[\"tag:server\"],\"accept\":[\"ann\"],\"deny\":[\"bob\"]", NULL},
        {"\"src\":\"tag:client\",\"dst\":[\"tag:server\"],\"check\":[\"deploy\"]",
         "tag:client -> tag:server as deploy: expected CHECK, got ACCEPT"},
        {"\"src\":\"ann@example.com\",\"dst\":[\"autogroup:self\"],"
         "\"deny\":[\"root\"]",
         "expected DENY, got CHECK"},
        {"\"src\":\"cyd@other.org\",\"dst\":[\"tag:server\"],"
         "\"accept\":[\"cyd\"]",
         "expected ACCEPT, got DENY"},
        {"\"src\":\"nobody@x\",\"dst\":[\"tag:server\"],\"deny\":[\"root\"]", "there is no such user yet"},
        {"\"src\":\"tag:client\",\"dst\":[\"100.99.9.9\"],\"deny\":[\"root\"]",
         "dst 100.99.9.9 cannot be tested: no node has this address"},
        {"\"src\":\"tag:client\",\"dst\":[],\"deny\":[\"root\"]", "must have \"dst\""},
        {"\"src\":\"tag:client\",\"dst\":[\"tag:server\"]", "must have \"accept\", \"check\" or \"deny\""},
        {"\"src\":\"tag:client\",\"dst\":[\"tag:server\"],\"deny\":[\"\"]", "cannot be empty"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1600];
        struct policy_errors errors = {0};
        snprintf(text, sizeof(text),
                 "{" TEST_TAGS
                 "\"ssh\":[{\"action\":\"check\",\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],"
                 "\"users\":"
                 "[\"root\"]},{\"action\":\"accept\",\"src\":[\"tag:client\"],\"dst\":[\"tag:server\"],"
                 "\"users\":[\"deploy\","
                 "\"autogroup:nonroot\"]},{\"action\":\"accept\",\"src\":[\"autogroup:member\"],"
                 "\"dst\":[\"tag:server\"],"
                 "\"users\":[\"localpart:*@example.com\"]}],\"sshTests\":[{%s}]}",
                 cases[i].test);
        struct engine *p = test_policy(text);
        enum rc rc = reach_run_tests(p, &errors);
        if ((rc == RC_OK) != (cases[i].sentence == NULL))
            print_message("%s: %s\n", cases[i].test, errors.n > 1 ? errors.v[1].text : "passed");
        assert_int_equal(rc, cases[i].sentence == NULL ? RC_OK : RC_INVALID);
        if (cases[i].sentence != NULL)
            assert_non_null(strstr(errors.v[1].text, cases[i].sentence));
        policy_errors_fini(&errors);
        engine_destroy(&p);
    }
}

static void test_reasons_are_given(void **state)
{
    (void)state;
    struct engine *p = test_policy("{" TEST_TAGS
                                   "\"grants\":[\n{\"src\":[\"ann@example.com\"],\"dst\":[\"tag:server\"],"
                                   "\"ip\":[\"tcp:22\"]},\n"
                                   "{\"src\":[\"autogroup:member\"],\"dst\":[\"tag:server\"],\"ip\":[\"20-30\"]},\n"
                                   "{\"src\":[\"tag:client\"],\"dst\":[\"*\"],\"ip\":[\"*\"]}]}");
    struct reach_reason r[8];
    size_t n;
    assert_int_equal(reach_why(p, STR("ann@example.com"), STR("tag:server"), 6, 22, r, 8, &n), RC_OK);
    assert_int_equal(n, 2);
    assert_true(r[0].is_allowed && r[0].line == 2 && r[0].index == 0 && strcmp(r[0].section, "grants") == 0);
    assert_int_equal(r[1].line, 3);
    assert_int_equal(reach_why(p, STR("bob@"), STR("100.64.0.60"), 0, 80, r, 8, &n), RC_OK);
    assert_int_equal(n, 1);
    assert_true(!r[0].is_allowed && r[0].line == 3 && r[0].has_source && r[0].has_destination && !r[0].has_port);
    assert_int_equal(reach_why(p, STR("tag:nope"), STR("tag:server"), 0, 80, r, 8, &n), RC_NOT_FOUND);
    engine_destroy(&p);
}

/* The test of a policy says what the client does: old clients take the number for a user id. */
static void test_ssh_tests_know_old_clients(void **state)
{
    (void)state;
    static const struct engine_user student[] = {{1, STR("s"), STR("123456@uni.edu"), STR(""), POLICY_OWNER}};
    struct policy_doc *doc = test_parse(
        "{\"ssh\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],"
        "\"users\":[\"localpart:*@uni.edu\"]}],"
        "\"sshTests\":[{\"src\":\"123456@uni.edu\",\"dst\":[\"123456@uni.edu\"],\"accept\":[\"123456\"]}]}");
    struct engine *p = engine_create(doc, student, 1, NULL);
    for (int is_old = 0; is_old <= 1; is_old++) {
        struct policy_errors failed = {0};
        struct engine_facts n = test_node(ANN);
        n.has_old_ssh = is_old == 1;
        engine_put_node(p, &n);
        assert_int_equal(reach_run_tests(p, &failed), n.has_old_ssh ? RC_INVALID : RC_OK);
        policy_errors_fini(&failed);
    }
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

/* A source whose address is outside the tailnet's ranges. */
static void test_stray_addresses_have_a_reason(void **state)
{
    (void)state;
    struct policy_doc *doc = test_parse("{}");
    struct engine_ranges ranges = {test_addr("10.64.0.0"), test_addr("fd00::"), 16, 64};
    struct engine *p = engine_create(doc, test_users, TEST_USERS, &ranges);
    struct engine_facts ann = test_node(ANN), bob = test_node(BOB);
    struct reach_reason why = {0};
    size_t n;
    bob.v4 = test_addr("10.64.0.7");
    bob.v6 = test_addr("fd00::7");
    engine_put_node(p, &ann);
    engine_put_node(p, &bob);
    assert_int_equal(reach_why(p, STR("ann@"), STR("bob@"), 6, 22, &why, 1, &n), RC_OK);
    assert_true(n == 1 && why.is_allowed);
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tests_pass_and_fail),
        cmocka_unit_test(test_ssh_tests_pass_and_fail),
        cmocka_unit_test(test_reasons_are_given),
        cmocka_unit_test(test_ssh_tests_know_old_clients),
        cmocka_unit_test(test_stray_addresses_have_a_reason),
    };
    return cmocka_run_group_tests_name("reach questions", tests, NULL, NULL);
}
