/* SSH policies of the small tailnet. */
#include "engine/testing.h"

static bool ssh_has(struct engine *p, uint64_t id, const char *text)
{
    struct buf out = {0};
    engine_ssh(p, id, "https://x", &out);
    bool has = strstr(buf_cstr(&out), text) != NULL;
    buf_fini(&out);
    return has;
}

/* A client before 1.98.10 takes "0" for root and "-i" for an option. On such clients autogroup:nonroot does not
 * admit these names, nor do e-mails that begin so. */
static void test_misread_logins_are_kept_out_of_old_clients(void **state)
{
    (void)state;
    struct engine *p = test_policy("{" TEST_TAGS "\"ssh\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],"
                                   "\"dst\":[\"tag:server\"],\"users\":[\"autogroup:nonroot\",\"3proxy\"]}]}");
    struct engine_facts n = test_node(SERVER);
    struct policy_errors warnings = {0};
    uint64_t version = engine_version(p, SERVER), fingerprint = engine_fingerprint(p, SERVER);
    assert_true(ssh_has(p, SERVER, "\"sshUsers\":{\"root\":\"\",\"*\":\"=\",\"3proxy\":\"3proxy\"}"));
    n.has_old_ssh = true;
    engine_put_node(p, &n);
    assert_true(engine_version(p, SERVER) > version && engine_fingerprint(p, SERVER) != fingerprint);
    assert_true(ssh_has(p, SERVER, "\"*\":\"=\",\"0\":\"\",\"00\":\"\""));
    assert_true(ssh_has(p, SERVER, ",\"-i\":\"\""));
    assert_true(ssh_has(p, SERVER, "\"3proxy\":\"3proxy\""));
    engine_warnings(p, &warnings);
    bool is_warned = false;
    for (size_t i = 0; i < warnings.n; i++)
        is_warned = is_warned || strstr(warnings.v[i].text, "1 node runs a client before 1.98.10") != NULL;
    assert_true(is_warned);
    policy_errors_fini(&warnings);
    engine_destroy(&p);

    static const struct engine_user zero[] = {{1, STR("ann"), STR("0@example.com"), STR(""), POLICY_OWNER}};
    struct policy_doc *doc = test_parse("{\"ssh\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],"
                                        "\"dst\":[\"autogroup:self\"],\"users\":[\"localpart:*@example.com\"]}]}");
    p = engine_create(doc, zero, 1, NULL);
    n = test_node(ANN);
    engine_put_node(p, &n);
    assert_true(ssh_has(p, ANN, "{\"0\":\"0\"}")); /* new clients reject such names themselves */
    n.has_old_ssh = true;
    engine_put_node(p, &n);
    assert_false(ssh_has(p, ANN, "\"0\":"));
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

/* A university gives its students numbers as e-mail addresses. */
static void test_localparts_of_digits_reach_new_clients(void **state)
{
    (void)state;
    static const struct engine_user student[] = {{1, STR("s"), STR("123456@uni.edu"), STR(""), POLICY_OWNER}};
    struct policy_doc *doc = test_parse(
        "{\"ssh\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],"
        "\"users\":[\"localpart:*@uni.edu\"]}]}");
    struct engine *p = engine_create(doc, student, 1, NULL);
    for (int is_old = 0; is_old <= 1; is_old++) {
        struct engine_facts n = test_node(ANN);
        n.has_old_ssh = is_old == 1;
        engine_put_node(p, &n);
        assert_int_equal(ssh_has(p, ANN, "{\"123456\":\"123456\"}"), !n.has_old_ssh);
    }
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

/* What older versions accepted must not keep the server from starting: such a login name admits no user, and gives a
 * warning. */
static void test_stored_policies_may_have_misread_logins(void **state)
{
    (void)state;
    static const struct policy_options as_stored = {.is_stored = true};
    static const char text[] = "{" TEST_TAGS "\"ssh\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\n"
                               "\"dst\":[\"tag:server\"],\"users\":[\"ubuntu\",\n\"1000\",\"+x\",\"-x\"]}]}";
    struct policy_errors errors = {0}, warnings = {0};
    struct policy_doc *doc = NULL;
    test_refused(text, "user \"1000\" is not valid", 3, 1);
    assert_int_equal(policy_parse(str_c(text), &as_stored, &doc, &errors), RC_OK);
    struct engine *p = engine_create(doc, test_users, TEST_USERS, NULL);
    struct engine_facts n = test_node(SERVER), ann = test_node(ANN);
    engine_put_node(p, &n);
    engine_put_node(p, &ann);
    assert_true(ssh_has(p, SERVER, "\"sshUsers\":{\"root\":\"\",\"ubuntu\":\"ubuntu\"}"));
    engine_warnings(p, &warnings);
    size_t warning_n = 0;
    for (size_t i = 0; i < warnings.n; i++)
        warning_n += warnings.v[i].line == 3 && strstr(warnings.v[i].text, "is left out, nobody gets in by it") != NULL;
    assert_int_equal(warning_n, 3);
    policy_errors_fini(&warnings);
    policy_errors_fini(&errors);
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

static void test_ssh_rules_are_written(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"ssh\":[{\"action\":\"accept\",\"src\":[\"tag:client\"],\"dst\":[\"tag:server\"],"
        "\"users\":[\"root\"],\"recorder\":[\"tag:exit\"],\"enforceRecorder\":true},{\"action\":\"check\","
        "\"src\":[\"bob@\"],\"dst\":[\"tag:server\"],\"users\":[\"deploy\"],\"checkPeriod\":\"1h30m\"}]}");
    struct buf out = {0};
    engine_ssh(p, SERVER, "https://s", &out);
    assert_string_equal(
        buf_cstr(&out),
        "[{\"principals\":[{\"nodeIP\":\"100.64.0.20\"},{\"nodeIP\":\"fd7a:115c:a1e0::20\"}],\"sshUsers\":"
        "{\"root\":\"\",\"deploy\":\"deploy\"},\"action\":{\"holdAndDelegate\":\"https://s/machine/ssh/action/"
        "$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER\"}},{\"principals\":[{\"nodeIP\":\"100.64.0.70\"},"
        "{\"nodeIP\":\"fd7a:115c:a1e0::70\"}],\"sshUsers\":{\"root\":\"root\"},\"action\":{\"accept\":true,"
        "\"allowAgentForwarding\":true,\"allowLocalPortForwarding\":true,\"allowRemotePortForwarding\":true,"
        "\"recorders\":[\"100.64.0.90:80\"],\"onRecordingFailure\":{\"RejectSessionWithMessage\":\"session recording "
        "is not available\",\"TerminateSessionWithMessage\":\"session recording has failed\"}}}]");
    assert_int_equal(engine_ssh_check_period_s(p, BOB, SERVER), 5400);
    assert_int_equal(engine_ssh_check_period_s(p, CLIENT, SERVER), -1);
    assert_int_equal(engine_ssh_check_period_s(p, BOB, CLIENT), -1);
    buf_fini(&out);
    engine_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_misread_logins_are_kept_out_of_old_clients),
        cmocka_unit_test(test_localparts_of_digits_reach_new_clients),
        cmocka_unit_test(test_stored_policies_may_have_misread_logins),
        cmocka_unit_test(test_ssh_rules_are_written),
    };
    return cmocka_run_group_tests_name("engine ssh", tests, NULL, NULL);
}
