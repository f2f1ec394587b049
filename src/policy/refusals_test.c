/* Policies that are refused, with the position and the sentence of the first error. */
#include "policy/testing.h"

/* Asserts that an ACL with this destination, or source, is refused. */
static void dst_refused(const char *dst, const char *sentence)
{
    char text[600];
    snprintf(text, sizeof(text), "{%s\"acls\":[{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\n\"%s\"]}]}", TEST_TAGS,
             dst);
    test_refused(text, sentence, 2, 1);
}

static void src_refused(const char *src, const char *sentence)
{
    char text[600];
    snprintf(text, sizeof(text), "{%s\"acls\":[{\"action\":\"accept\",\"dst\":[\"*:*\"],\"src\":[\n\"%s\"]}]}",
             TEST_TAGS, src);
    test_refused(text, sentence, 2, 1);
}

static void test_syntax_is_refused(void **state)
{
    (void)state;
    test_refused("{\n  \"acls\": [}", "expected a value", 2, 12);
    test_refused("{\"acls\":[] /* open", "comment is not closed", 1, 12);
    test_refused("{'acls':[]}", "expected a key", 1, 2);
    test_refused("[]", "must be an object", 1, 1);
    test_refused("{}\n{}", "expected nothing after the value", 2, 1);
    test_refused("{\"hosts\":{\"a\":\"\\ud800\"}}", "surrogate", 1, 16);
    test_refused("\xef\xbb\xbf{}", "expected a value", 1, 1);
    test_refused("{,}", "expected a key", 1, 2);
}

/* A file that was emptied, half written or filled with zeros is no policy; an older version in a database may be
 * blank. */
static void test_blank_is_refused(void **state)
{
    (void)state;
    static const struct policy_options as_stored = {.is_stored = true};
    static const char *const blank[] = {"", " ", "\n\n\t\r\n", " // nothing\n", "/* {} */", "// {\n// }"};
    for (size_t i = 0; i < ARRAY_LEN(blank); i++) {
        struct policy_errors errors = {0};
        struct policy_doc *doc = NULL;
        test_refused(blank[i], "the policy is empty; to let every node reach every other, write {}", 1, 1);
        assert_int_equal(policy_parse(str_c(blank[i]), &as_stored, &doc, &errors), RC_OK);
        policy_doc_unref(&doc);
        policy_errors_fini(&errors);
    }
    for (size_t n = 1; n < 4096; n = n * 2 + 1) {
        static const char zeros[4096];
        struct policy_errors errors = {0};
        struct policy_doc *doc = NULL;
        assert_int_equal(policy_parse(str_n(zeros, n), &as_stored, &doc, &errors), RC_INVALID);
        assert_null(doc);
        policy_errors_fini(&errors);
    }
}

static void test_names_are_checked(void **state)
{
    (void)state;
    test_refused("{\"acls\":[],\n \"ACLs\":[]}", "duplicate field: \"ACLs\"", 2, 9);
    test_refused("{\"groups\":{\"group:a\":[],\"group:a\":[]}}", "duplicate field: \"group:a\"", 1, 35);
    test_refused("{\"grants\":[{\"app\":{\"a/b\":[{\"x\":1,\"x\":2}]}}]}", "duplicate field: \"x\"", 1, 38);
    test_refused("{\"rules\":[]}", "unknown field: \"rules\"", 1, 10);
    test_refused("{\"acls\":[{\"action\":\"accept\",\n\"from\":[]}]}", "unknown field: \"from\"", 2, 8);
    test_refused("{\"grants\":[{\"src\":[],\"dst\":[],\"ip\":[\"*\"],\"#note\":1}]}", "unknown field: \"#note\"", 1,
                 50);
    test_refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"users\":[]}]}", "duplicate field: \"users\"", 1, 46);
    test_refused("{\"acls\":{}}", "acls must be a list", 1, 9);
    test_refused("{\"acls\":[1]}", "must be an object", 1, 10);
    test_refused("{\"acls\":[{\"action\":1}]}", "action must be a string", 1, 20);
    test_refused("{\"randomizeClientPort\":\"yes\"}", "must be true or false", 1, 24);
    test_refused("{\"OneCGNATRoute\":\"never\"}", "OneCGNATRoute must be", 1, 18);
}

static void test_groups_and_hosts_are_checked(void **state)
{
    (void)state;
    test_refused("{\"groups\":{\"admins\":[]}}", "must begin with 'group:'", 1, 21);
    test_refused("{\"groups\":{\"group:a\":\"x@y\"}}", "must be a list of users", 1, 22);
    test_refused("{\"groups\":{\"group:a\":[\"bob\"]}}", "members must be users", 1, 23);
    test_refused("{\"groups\":{\"group:a\":[\"group:a\"]}}",
                 "groups[\"group:a\"]: \"group:a\": group members cannot be recursive", 1, 23);
    test_refused("{\"groups\":{\"group:z\":[\"group:a\"],\n\"group:a\":[\"group:z\"]}}",
                 "groups[\"group:z\"]: \"group:a\"", 1, 23);
    test_refused("{\"groups\":{\"group:b\":[\"group:a\"],\n\"group:bb\":[\"group:z\"]}}",
                 "groups[\"group:bb\"]: \"group:z\"", 2, 13);
    test_refused("{\"hosts\":{\"10.0.0.1\":\"10.0.0.2\"}}", "cannot be an address", 1, 22);
    test_refused("{\"hosts\":{\"a:b\":\"10.0.0.2\"}}", "a host name begins", 1, 17);
    test_refused("{\"hosts\":{\"-a\":\"10.0.0.2\"}}", "a host name begins", 1, 16);
    test_refused("{\"hosts\":{\"a\":\"10.0.0.1-10.0.0.9\"}}", "one address or prefix", 1, 15);
    test_refused("{\"hosts\":{\"a\":\"10.0.0.0/33\"}}", "one address or prefix", 1, 15);
    test_refused("{\"tagOwners\":{\"tag:1\":[]}}",
                 "tagOwners[\"tag:1\"]: tag names must start with a letter, after 'tag:'", 1, 23);
    test_refused("{\"tagOwners\":{\"tag:a b\":[]}}", "letters, digits", 1, 25);
    test_refused("{\"tagOwners\":{\"tag:a\":[\"tag:b\"]}}", "tag not found: \"tag:b\"", 1, 24);
    test_refused("{\"tagOwners\":{\"tag:a\":[\"autogroup:tagged\"]}}", "not allowed as the owner of a tag", 1, 24);
}

static void test_ipsets_are_checked(void **state)
{
    (void)state;
    test_refused("{\"ipsets\":{\"ipset:a\":[\"add ipset:b\"],\"ipset:b\":[\"add ipset:a\"]}}", "contains itself", 1,
                 49);
    test_refused("{\"ipsets\":{\"ipset:a\":[\"ipset:a\"]}}", "contains itself", 1, 23);
    test_refused("{\"ipsets\":{\"ipset:a\":[\"10.0.0.0/8\",\"remove 10.1.0.0/16\"]}}", "before every target", 1, 23);
    test_refused("{\"ipsets\":{\"ipset:a\":[\"add tag:x\"]}}", "is not an address", 1, 23);
    test_refused("{\"ipsets\":{\"ipset:a\":[\"add ipset:none\"]}}", "is not an address", 1, 23);
    test_refused("{\"ipsets\":{\"set\":[]}}", "must begin with 'ipset:'", 1, 18);
    src_refused("ipset:none", "ipset not found: \"ipset:none\"");
}

static void test_selectors_are_checked(void **state)
{
    (void)state;
    src_refused("tag:none", "src=tag not found: \"tag:none\"");
    src_refused("group:none", "group not found: \"group:none\"");
    src_refused("autogroup:none", "unknown autogroup \"autogroup:none\"");
    src_refused("autogroup:internet", "not allowed as a source");
    src_refused("autogroup:self", "\"autogroup:self\" not valid on the src side of a rule");
    src_refused("svc:web", "services are not implemented by this version");
    src_refused("nosuchhost", "\"nosuchhost\": invalid address");
    src_refused("%bogus%", "\"%bogus%\": invalid address");
    src_refused("", "\"\": invalid address");
    src_refused("10.0.0.9-10.0.0.1", "invalid address");
    src_refused("10.0.0.1-fd7a::1", "invalid address");
    src_refused("10.0.0.0/08", "invalid address");
    dst_refused("tag:none:22", "dst=\"tag:none\": tag not found: \"tag:none\"");
    dst_refused("autogroup:danger-all:*", "cannot use autogroup:danger-all as a dst");
    dst_refused("[10.0.0.1]:80", "brackets are for IPv6");
    dst_refused("[tag:server]:80", "brackets are for IPv6");
    dst_refused("[fd7a::1", "brackets are for IPv6");
    test_refused(
        "{\"acls\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:members:*\"]}]}",
        "cannot both be used", 1, 63);
    test_refused("{\"acls\":[{\"action\":\"drop\",\"src\":[],\"dst\":[]}]}", "action=\"drop\" is not supported", 1, 20);
    test_refused("{\"acls\":[{\"src\":[],\"dst\":[]}]}", "action=\"\" is not supported", 1, 10);
}

static void test_ports_are_checked(void **state)
{
    (void)state;
    dst_refused("tag:server", "dst=\"tag:server\": port range \"server\": invalid first integer");
    dst_refused("webserver", "ports are missing");
    dst_refused("*:ssh", "dst=\"*:ssh\": port range \"ssh\": invalid first integer");
    dst_refused("*:22,ssh", "port range \"22,ssh\": invalid first integer");
    dst_refused("*:0", "port range \"0\": first port must be >0, or use '*' for wildcard");
    dst_refused("*:80-70", "the first port is above the last");
    dst_refused("*:80-", "invalid last integer");
    dst_refused("*:-80", "invalid first integer");
    dst_refused("*:65536", "invalid first integer");
    dst_refused("*:", "invalid first integer");
    dst_refused("*:1,,2", "invalid first integer");
    test_refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"icmp\",\"dst\":[\"*:22\"]}]}",
                 "has no ports", 1, 60);
    test_refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"06\",\"dst\":[]}]}", "unknown protocol", 1,
                 46);
    test_refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"*\",\"dst\":[]}]}", "unknown protocol", 1,
                 46);
    test_refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"256\",\"dst\":[]}]}", "unknown protocol", 1,
                 46);
}

static void grant_refused(const char *fields, const char *sentence)
{
    char text[700];
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    snprintf(text, sizeof(text), "{%s\"grants\":[{%s}]}", TEST_TAGS, fields);
    assert_int_equal(policy_parse(str_c(text), NULL, &doc, &errors), RC_INVALID);
    if (strstr(errors.v[0].text, sentence) == NULL)
        print_message("%s -> %s\n", fields, errors.v[0].text);
    assert_non_null(strstr(errors.v[0].text, sentence));
    policy_errors_fini(&errors);
}

static void test_grants_are_checked(void **state)
{
    (void)state;
    grant_refused("\"src\":[\"*\"],\"dst\":[\"*\"]", "ip and app can not both be empty");
    grant_refused("\"src\":[\"*\"],\"dst\":[\"*\"],\"ip\":[],\"app\":{}", "ip and app can not both be empty");
    grant_refused("\"ip\":[\"tcp:22:33\"]", "port range \"22:33\"");
    grant_refused("\"ip\":[\"icmp\"]", "port range \"icmp\": invalid first integer");
    grant_refused("\"ip\":[\"icmp:8\"]", "has no ports");
    grant_refused("\"ip\":[\"smtp:25\"]", "unknown protocol \"smtp\"");
    grant_refused("\"ip\":[\":25\"]", "unknown protocol \"\"");
    grant_refused("\"app\":{\"https://example.com/cap\":[]}", "capability name must have the form {domain}/{path}");
    grant_refused("\"app\":{\"cap\":[]}", "capability name must have the form {domain}/{path}");
    grant_refused("\"app\":{\"tailscale.com/cap/funnel\":[]}",
                  "capability name must not be in the tailscale.com domain");
    grant_refused("\"app\":{\"tailscale.com/cap/drive-sharer\":[]}", "must not be in the tailscale.com domain");
    grant_refused("\"app\":{\"example.com/cap\":{}}", "must be a list");
    grant_refused("\"app\":{\"example.com/cap\":[]},\"dst\":[\"autogroup:internet\"]",
                  "cannot use app grants with autogroup:internet");
    grant_refused("\"ip\":[\"*\"],\"dst\":[\"0.0.0.0/0\"]", "dst \"0.0.0.0/0\": to allow all IP addresses");
    grant_refused("\"ip\":[\"*\"],\"via\":[\"group:x\"]", "via can only be a tag");
    grant_refused("\"ip\":[\"*\"],\"via\":[\"tag:x\"]", "tag \"tag:x\" not found");
    grant_refused("\"ip\":[\"*\"],\"src\":[\"*\"],\"dst\":[\"autogroup:self\"]",
                  "autogroup:self can only be used with");
    grant_refused("\"ip\":[\"*\"],\"src\":[\"tag:server\"],\"dst\":[\"autogroup:self\"]", "autogroup:self can only");
    grant_refused("\"ip\":[\"*\"],\"srcPosture\":[\"posture:x\"]", "posture not found: \"posture:x\"");
}

static void ssh_refused(const char *fields, const char *sentence)
{
    char text[700];
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    snprintf(text, sizeof(text), "{%s\"ssh\":[{%s}]}", TEST_TAGS, fields);
    assert_int_equal(policy_parse(str_c(text), NULL, &doc, &errors), RC_INVALID);
    if (strstr(errors.v[0].text, sentence) == NULL)
        print_message("%s -> %s\n", fields, errors.v[0].text);
    assert_non_null(strstr(errors.v[0].text, sentence));
    policy_errors_fini(&errors);
}

#define CHECK "\"action\":\"check\",\"users\":[\"root\"],"

#define ACCEPT "\"action\":\"accept\",\"users\":[\"root\"],"

static void test_ssh_is_checked(void **state)
{
    (void)state;
    ssh_refused("\"users\":[\"root\"]", "action must be specified");
    ssh_refused("\"action\":\"Accept\",\"users\":[\"root\"]", "\"Accept\" is not a valid action");
    ssh_refused("\"action\":\"accept\"", "users must be specified");
    ssh_refused("\"action\":\"accept\",\"users\":[\"*\"]", "user \"*\" is not valid");
    static const char *const misread[] = {"0", "-i", "1000", "00", "+0", "-froot", "-"};
    for (size_t i = 0; i < ARRAY_LEN(misread); i++) {
        char rule[80], sentence[40];
        snprintf(rule, sizeof(rule), "\"action\":\"accept\",\"users\":[\"root\",\"%s\"]", misread[i]);
        snprintf(sentence, sizeof(sentence), "user \"%s\" is not valid", misread[i]);
        ssh_refused(rule, sentence);
    }
    ssh_refused(CHECK "\"checkPeriod\":\"-1m\"", "checkPeriod -1m0s must be a positive duration");
    ssh_refused(CHECK "\"checkPeriod\":\"168h1ms\"", "checkPeriod 168h0m0.001s is above the max (168h)");
    ssh_refused(CHECK "\"checkPeriod\":\"5\"", "time: invalid duration \"5\"");
    ssh_refused(CHECK "\"checkPeriod\":\"\"", "time: invalid duration \"\"");
    ssh_refused(CHECK "\"checkPeriod\":\"1d\"", "time: invalid duration \"1d\"");
    ssh_refused(CHECK "\"checkPeriod\":\"99999999999h\"", "time: invalid duration");
    ssh_refused(ACCEPT "\"checkPeriod\":\"1h\"", "needs the action \"check\"");
    ssh_refused(ACCEPT "\"acceptEnv\":[\"A\",\"\"]", "acceptEnv values cannot be empty");
    ssh_refused(ACCEPT "\"src\":[\"10.0.0.1\"]", "not allowed as the src of an ssh rule");
    ssh_refused(ACCEPT "\"src\":[\"*\"]", "not allowed as the src of an ssh rule");
    ssh_refused(ACCEPT "\"dst\":[\"*\"]", "invalid dst \"*\"");
    ssh_refused(ACCEPT "\"dst\":[\"nohost\"]", "invalid dst \"nohost\"");
    ssh_refused(ACCEPT "\"dst\":[\"tag:none\"]", "tag not found: \"tag:none\"");
    ssh_refused(ACCEPT "\"src\":[\"a@x\"],\"dst\":[\"b@x\"]", "only when it is the only src");
    ssh_refused(ACCEPT "\"src\":[\"tag:client\"],\"dst\":[\"autogroup:member\"]", "tags cannot reach nodes of users");
    ssh_refused(CHECK "\"src\":[\"tag:client\"],\"dst\":[\"tag:server\"]", "a tag cannot log in");
    ssh_refused(ACCEPT "\"recorder\":[\"a@x\"]", "not allowed as a recorder");
#undef CHECK
#undef ACCEPT
}

static void test_other_sections_are_checked(void **state)
{
    (void)state;
    test_refused("{\"nodeAttrs\":[{\"target\":[\"autogroup:self\"],\"attr\":[\"x\"]}]}", "not allowed as a target", 1,
                 26);

    test_refused("{\"nodeAttrs\":[{\"ipPool\":[\"100.100.100.0/24\"]}]}",
                 "IPPool(100.100.100.0/24): network within reserved range", 1, 26);
    test_refused("{\"nodeAttrs\":[{\"ipPool\":[\"10.0.0.0/8\"]}]}", "within 100.64.0.0/10", 1, 26);
    test_refused("{\"autoApprovers\":{\"routes\":{\"10.0.0.0\\/33\":[]}}}", "is not a prefix", 1, 44);
    test_refused("{\"autoApprovers\":{\"exitNode\":[\"*\"]}}", "not allowed as an approver", 1, 31);
    test_refused("{\"autoApprovers\":{\"services\":{\"web\":[]}}}", "neither a service", 1, 37);
    test_refused("{\"derpMap\":{\"regions\":{\"x\":{}}}}", "not a region number", 1, 28);
    test_refused("{\"derpMap\":{\"Regions\":{\"900\":[]}}}", "a region must be an object", 1, 30);
    test_refused("{\"attrConfig\":{\"custom:x\":{\"type\":\"int\"}}}", "type must be", 1, 35);
    test_refused("{\"sshTests\":[{\"src\":\"a@x\",\"dst\":[\"autogroup:internet\"]}]}",
                 "SSH tests dst contains disallowed element \"autogroup:internet\"", 1, 34);
    test_refused("{\"sshTests\":[{\"dst\":[\"10.0.0.0/8\"]}]}", "disallowed element \"10.0.0.0/8\"", 1, 22);
    test_refused("{\"sshTests\":[{\"dst\":[\"tag:x\"]}]}", "SSH tests dst contains unknown tag \"tag:x\"", 1, 22);
}

static void test_postures_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *condition;
        const char *sentence;
    } cases[] = {
        {"node:os", NULL},
        {"node:os ~ 'x'", "unknown operator"},
        {"os == 'x'", "must come first"},
        {"node:os == x", "expected 'text'"},
        {"node:os == 'x", "expected 'text'"},
        {"node:os IN 'x'", "expected a list"},
        {"node:os IN ['x' 'y']", "expected a list"},
        {"node:os IN ['x',]", "expected a list"},
        {"node:os == 'x' y", "nothing more"},
        {"node:os < 'x'", "have an order"},
        {"node:osVersion >= true", "have an order"},
        {"node:osVersion >= '13.4.0'", NULL},
        {"node:os not in ['a', 'b']", NULL},
        {"custom:x IS SET", NULL},
        {"custom:x INTO 1", "unknown operator"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[200];
        snprintf(text, sizeof(text), "{\"postures\":{\"posture:p\":[\"%s\"]}}", cases[i].condition);
        if (cases[i].sentence != NULL) {
            test_refused(text, cases[i].sentence, 1, 27);
            continue;
        }
        struct policy_doc *doc = test_parse(text);
        policy_doc_unref(&doc);
    }
    test_refused("{\"postures\":{\"p\":[]}}", "must begin with 'posture:'", 1, 18);
    test_refused("{\"defaultSrcPosture\":[\"posture:x\"]}", "posture not found", 1, 23);
}

static void test_all_errors_are_reported_in_file_order(void **state)
{
    (void)state;
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    struct buf out = {0};
    const char
        *text = "{\"acls\":[\n{\"action\":\"accept\",\"src\":[\"tag:a\",\"x\"],\"dst\":[]}],\n\"groups\":{\"g\":[]}}";
    assert_int_equal(policy_parse(str_c(text), NULL, &doc, &errors), RC_INVALID);
    assert_int_equal(errors.n, 3);
    policy_errors_format(&errors, "p.hujson", &out);
    assert_string_equal(buf_cstr(&out), "p.hujson:2:27: src=tag not found: \"tag:a\"\n"
                                        "p.hujson:2:35: src=\"x\": invalid address\n"
                                        "p.hujson:3:15: groups[\"g\"]: group names must begin with 'group:'\n");
    buf_fini(&out);
    policy_errors_fini(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syntax_is_refused),    cmocka_unit_test(test_blank_is_refused),
        cmocka_unit_test(test_names_are_checked),    cmocka_unit_test(test_groups_and_hosts_are_checked),
        cmocka_unit_test(test_ipsets_are_checked),   cmocka_unit_test(test_selectors_are_checked),
        cmocka_unit_test(test_ports_are_checked),    cmocka_unit_test(test_grants_are_checked),
        cmocka_unit_test(test_ssh_is_checked),       cmocka_unit_test(test_other_sections_are_checked),
        cmocka_unit_test(test_postures_are_checked), cmocka_unit_test(test_all_errors_are_reported_in_file_order),
    };
    return cmocka_run_group_tests_name("policy refusals", tests, NULL, NULL);
}
