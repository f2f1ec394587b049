/* Policies that are refused, with the place and the words; policies that are read; and what they give the nodes of a
 * small tailnet. What Tailscale's service itself answers is in the goldens. */
#include "engine/approval.h"
#include "engine/testing.h"
#include "reach/reach.h"

/* --- refusals --- */

static void refused(const char *text, const char *sentence, int line, int col)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    enum rc rc = policy_parse(str_c(text), NULL, &doc, &errors);
    if (rc != RC_INVALID || strstr(errors.v[0].text, sentence) == NULL || errors.v[0].line != line ||
        errors.v[0].col != col)
        print_message("%s\n-> %d:%d %s\n", text, errors.v[0].line, errors.v[0].col,
                      rc == RC_OK ? "" : errors.v[0].text);
    assert_int_equal(rc, RC_INVALID);
    assert_null(doc);
    assert_true(errors.n >= 1);
    assert_non_null(strstr(errors.v[0].text, sentence));
    assert_int_equal(errors.v[0].line, line);
    assert_int_equal(errors.v[0].col, col);
    policy_errors_fini(&errors);
}

/* In an ACL whose destination or source this is. */
static void dst_refused(const char *dst, const char *sentence)
{
    char text[600];
    snprintf(text, sizeof(text), "{%s\"acls\":[{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\n\"%s\"]}]}", TEST_TAGS,
             dst);
    refused(text, sentence, 2, 1);
}

static void src_refused(const char *src, const char *sentence)
{
    char text[600];
    snprintf(text, sizeof(text), "{%s\"acls\":[{\"action\":\"accept\",\"dst\":[\"*:*\"],\"src\":[\n\"%s\"]}]}",
             TEST_TAGS, src);
    refused(text, sentence, 2, 1);
}

static void test_syntax_is_refused(void **state)
{
    (void)state;
    refused("{\n  \"acls\": [}", "expected a value", 2, 12);
    refused("{\"acls\":[] /* open", "comment is not closed", 1, 12);
    refused("{'acls':[]}", "expected a key", 1, 2);
    refused("[]", "must be an object", 1, 1);
    refused("{}\n{}", "expected nothing after the value", 2, 1);
    refused("{\"hosts\":{\"a\":\"\\ud800\"}}", "surrogate", 1, 16);
    refused("\xef\xbb\xbf{}", "expected a value", 1, 1);
    refused("{,}", "expected a key", 1, 2);
}

static void test_names_are_checked(void **state)
{
    (void)state;
    refused("{\"acls\":[],\n \"ACLs\":[]}", "duplicate field: \"ACLs\"", 2, 9);
    refused("{\"groups\":{\"group:a\":[],\"group:a\":[]}}", "duplicate field: \"group:a\"", 1, 35);
    refused("{\"grants\":[{\"app\":{\"a/b\":[{\"x\":1,\"x\":2}]}}]}", "duplicate field: \"x\"", 1, 38);
    refused("{\"rules\":[]}", "unknown field: \"rules\"", 1, 10);
    refused("{\"acls\":[{\"action\":\"accept\",\n\"from\":[]}]}", "unknown field: \"from\"", 2, 8);
    refused("{\"grants\":[{\"src\":[],\"dst\":[],\"ip\":[\"*\"],\"#note\":1}]}", "unknown field: \"#note\"", 1, 50);
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"users\":[]}]}", "duplicate field: \"users\"", 1, 46);
    refused("{\"acls\":{}}", "acls must be a list", 1, 9);
    refused("{\"acls\":[1]}", "must be an object", 1, 10);
    refused("{\"acls\":[{\"action\":1}]}", "action must be a string", 1, 20);
    refused("{\"randomizeClientPort\":\"yes\"}", "must be true or false", 1, 24);
    refused("{\"OneCGNATRoute\":\"never\"}", "OneCGNATRoute must be", 1, 18);
}

static void test_groups_and_hosts_are_checked(void **state)
{
    (void)state;
    refused("{\"groups\":{\"admins\":[]}}", "must begin with 'group:'", 1, 21);
    refused("{\"groups\":{\"group:a\":\"x@y\"}}", "must be a list of users", 1, 22);
    refused("{\"groups\":{\"group:a\":[\"bob\"]}}", "members must be users", 1, 23);
    refused("{\"groups\":{\"group:a\":[\"group:a\"]}}",
            "groups[\"group:a\"]: \"group:a\": group members cannot be recursive", 1, 23);
    refused("{\"groups\":{\"group:z\":[\"group:a\"],\n\"group:a\":[\"group:z\"]}}", "groups[\"group:z\"]: \"group:a\"",
            1, 23);
    refused("{\"groups\":{\"group:b\":[\"group:a\"],\n\"group:bb\":[\"group:z\"]}}",
            "groups[\"group:bb\"]: \"group:z\"", 2, 13);
    refused("{\"hosts\":{\"10.0.0.1\":\"10.0.0.2\"}}", "cannot be an address", 1, 22);
    refused("{\"hosts\":{\"a:b\":\"10.0.0.2\"}}", "a host name begins", 1, 17);
    refused("{\"hosts\":{\"-a\":\"10.0.0.2\"}}", "a host name begins", 1, 16);
    refused("{\"hosts\":{\"a\":\"10.0.0.1-10.0.0.9\"}}", "one address or prefix", 1, 15);
    refused("{\"hosts\":{\"a\":\"10.0.0.0/33\"}}", "one address or prefix", 1, 15);
    refused("{\"tagOwners\":{\"tag:1\":[]}}", "tagOwners[\"tag:1\"]: tag names must start with a letter, after 'tag:'",
            1, 23);
    refused("{\"tagOwners\":{\"tag:a b\":[]}}", "letters, digits", 1, 25);
    refused("{\"tagOwners\":{\"tag:a\":[\"tag:b\"]}}", "tag not found: \"tag:b\"", 1, 24);
    refused("{\"tagOwners\":{\"tag:a\":[\"autogroup:tagged\"]}}", "not allowed as the owner of a tag", 1, 24);
}

static void test_ipsets_are_checked(void **state)
{
    (void)state;
    refused("{\"ipsets\":{\"ipset:a\":[\"add ipset:b\"],\"ipset:b\":[\"add ipset:a\"]}}", "contains itself", 1, 49);
    refused("{\"ipsets\":{\"ipset:a\":[\"ipset:a\"]}}", "contains itself", 1, 23);
    refused("{\"ipsets\":{\"ipset:a\":[\"10.0.0.0/8\",\"remove 10.1.0.0/16\"]}}", "before every target", 1, 23);
    refused("{\"ipsets\":{\"ipset:a\":[\"add tag:x\"]}}", "is not an address", 1, 23);
    refused("{\"ipsets\":{\"ipset:a\":[\"add ipset:none\"]}}", "is not an address", 1, 23);
    refused("{\"ipsets\":{\"set\":[]}}", "must begin with 'ipset:'", 1, 18);
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
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:members:*\"]}]}",
            "cannot both be used", 1, 63);
    refused("{\"acls\":[{\"action\":\"drop\",\"src\":[],\"dst\":[]}]}", "action=\"drop\" is not supported", 1, 20);
    refused("{\"acls\":[{\"src\":[],\"dst\":[]}]}", "action=\"\" is not supported", 1, 10);
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
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"icmp\",\"dst\":[\"*:22\"]}]}", "has no ports", 1,
            60);
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"06\",\"dst\":[]}]}", "unknown protocol", 1, 46);
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"*\",\"dst\":[]}]}", "unknown protocol", 1, 46);
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"proto\":\"256\",\"dst\":[]}]}", "unknown protocol", 1, 46);
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

static void test_ssh_is_checked(void **state)
{
    (void)state;
#define CHECK "\"action\":\"check\",\"users\":[\"root\"],"
#define ACCEPT "\"action\":\"accept\",\"users\":[\"root\"],"
    ssh_refused("\"users\":[\"root\"]", "action must be specified");
    ssh_refused("\"action\":\"Accept\",\"users\":[\"root\"]", "\"Accept\" is not a valid action");
    ssh_refused("\"action\":\"accept\"", "users must be specified");
    ssh_refused("\"action\":\"accept\",\"users\":[\"*\"]", "user \"*\" is not valid");
    static const char *const slippery[] = {"0", "-i", "1000", "00", "+0", "-froot", "-"};
    for (size_t i = 0; i < ARRAY_LEN(slippery); i++) {
        char rule[80], sentence[40];
        snprintf(rule, sizeof(rule), "\"action\":\"accept\",\"users\":[\"root\",\"%s\"]", slippery[i]);
        snprintf(sentence, sizeof(sentence), "user \"%s\" is not valid", slippery[i]);
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

static bool ssh_has(struct engine *p, uint64_t id, const char *text)
{
    struct buf out = {0};
    engine_ssh(p, id, "https://x", &out);
    bool has = strstr(buf_cstr(&out), text) != NULL;
    buf_fini(&out);
    return has;
}

/* A client before 1.98.10 takes "0" for root and "-i" for an option: autogroup:nonroot does not let them in there,
 * nor does an e-mail that begins so. */
static void test_slippery_logins_are_kept_out_of_old_clients(void **state)
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
    assert_true(ssh_has(p, ANN, "{\"0\":\"0\"}")); /* the client knows better */
    n.has_old_ssh = true;
    engine_put_node(p, &n);
    assert_false(ssh_has(p, ANN, "\"0\":"));
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

/* What a university gives as e-mails; a test in the policy says the same as the client does. */
static void test_localparts_of_digits_reach_new_clients(void **state)
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
        assert_int_equal(ssh_has(p, ANN, "{\"123456\":\"123456\"}"), !n.has_old_ssh);
        assert_int_equal(reach_run_tests(p, &failed), n.has_old_ssh ? RC_INVALID : RC_OK);
        policy_errors_fini(&failed);
    }
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

/* What former versions took must not keep the server from starting: such a login name lets nobody in, and is told
 * of. */
static void test_stored_policies_may_have_slippery_logins(void **state)
{
    (void)state;
    static const struct policy_options as_stored = {.is_stored = true};
    static const char text[] = "{" TEST_TAGS "\"ssh\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\n"
                               "\"dst\":[\"tag:server\"],\"users\":[\"ubuntu\",\n\"1000\",\"+x\",\"-x\"]}]}";
    struct policy_errors errors = {0}, warnings = {0};
    struct policy_doc *doc = NULL;
    refused(text, "user \"1000\" is not valid", 3, 1);
    assert_int_equal(policy_parse(str_c(text), &as_stored, &doc, &errors), RC_OK);
    struct engine *p = engine_create(doc, test_users, ARRAY_LEN(test_users), NULL);
    struct engine_facts n = test_node(SERVER), ann = test_node(ANN);
    engine_put_node(p, &n);
    engine_put_node(p, &ann);
    assert_true(ssh_has(p, SERVER, "\"sshUsers\":{\"root\":\"\",\"ubuntu\":\"ubuntu\"}"));
    engine_warnings(p, &warnings);
    size_t told_n = 0;
    for (size_t i = 0; i < warnings.n; i++)
        told_n += warnings.v[i].line == 3 && strstr(warnings.v[i].text, "is left out, nobody gets in by it") != NULL;
    assert_int_equal(told_n, 3);
    policy_errors_fini(&warnings);
    policy_errors_fini(&errors);
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

static void test_other_sections_are_checked(void **state)
{
    (void)state;
    refused("{\"nodeAttrs\":[{\"target\":[\"autogroup:self\"],\"attr\":[\"x\"]}]}", "not allowed as a target", 1, 26);

    refused("{\"nodeAttrs\":[{\"ipPool\":[\"100.100.100.0/24\"]}]}",
            "IPPool(100.100.100.0/24): network within reserved range", 1, 26);
    refused("{\"nodeAttrs\":[{\"ipPool\":[\"10.0.0.0/8\"]}]}", "within 100.64.0.0/10", 1, 26);
    refused("{\"autoApprovers\":{\"routes\":{\"10.0.0.0\\/33\":[]}}}", "is not a prefix", 1, 44);
    refused("{\"autoApprovers\":{\"exitNode\":[\"*\"]}}", "not allowed as an approver", 1, 31);
    refused("{\"autoApprovers\":{\"services\":{\"web\":[]}}}", "neither a service", 1, 37);
    refused("{\"derpMap\":{\"regions\":{\"x\":{}}}}", "not a region number", 1, 28);
    refused("{\"derpMap\":{\"Regions\":{\"900\":[]}}}", "a region must be an object", 1, 30);
    refused("{\"attrConfig\":{\"custom:x\":{\"type\":\"int\"}}}", "type must be", 1, 35);
    refused("{\"sshTests\":[{\"src\":\"a@x\",\"dst\":[\"autogroup:internet\"]}]}",
            "SSH tests dst contains disallowed element \"autogroup:internet\"", 1, 34);
    refused("{\"sshTests\":[{\"dst\":[\"10.0.0.0/8\"]}]}", "disallowed element \"10.0.0.0/8\"", 1, 22);
    refused("{\"sshTests\":[{\"dst\":[\"tag:x\"]}]}", "SSH tests dst contains unknown tag \"tag:x\"", 1, 22);
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
            refused(text, cases[i].sentence, 1, 27);
            continue;
        }
        struct policy_doc *doc = test_parse(text);
        policy_doc_unref(&doc);
    }
    refused("{\"postures\":{\"p\":[]}}", "must begin with 'posture:'", 1, 18);
    refused("{\"defaultSrcPosture\":[\"posture:x\"]}", "posture not found", 1, 23);
}

static void test_all_errors_are_told_in_file_order(void **state)
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

/* --- limits --- */

static void refused_text(struct buf *text, const char *sentence, int line)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(buf_str(text), NULL, &doc, &errors), RC_INVALID);
    assert_non_null(strstr(errors.v[0].text, sentence));
    assert_int_equal(errors.v[0].line, line);
    policy_errors_fini(&errors);
    buf_fini(text);
}

static void test_huge_policies_are_refused(void **state)
{
    (void)state;
    struct buf big = {0}, deep = {0}, list = {0}, wide = {0}, groups = {0}, many = {0};
    memset(buf_reserve(&big, 10u << 20), ' ', 10u << 20);
    buf_commit(&big, 10u << 20);
    refused_text(&big, "the policy has 10485760 bytes (limit 4194304)", 1);
    buf_append_c(&deep, "{\n\"acls\":");
    for (int i = 0; i < 10000; i++)
        buf_append_byte(&deep, '[');
    refused_text(&deep, "nested too deeply (limit 64)", 2);
    buf_append_c(&list, "{\"acls\":[{\"action\":\"accept\",\n\"src\":[1");
    for (int i = 1; i < 1000000; i++)
        buf_append_c(&list, ",1");
    buf_append_c(&list, "]}]}");
    refused_text(&list, "src has 1000000 elements (limit 1000)", 2);
    buf_append_c(&wide, "{\"acls\":[\n");
    for (int i = 0; i < 20001; i++)
        buf_append_c(&wide, i > 0 ? ",{}" : "{}");
    buf_append_c(&wide, "]}");
    refused_text(&wide, "too many rules (limit 20000)", 1);
    buf_append_c(&groups, "{\"groups\":{\"group:a\":[\"a@x\"]");
    for (int i = 0; i < 10000; i++)
        buf_printf(&groups, ",\"group:%d\":[]", i);
    buf_append_c(&groups, "}}");
    refused_text(&groups, "too many groups (limit 10000)", 1);
    /* More errors than are kept. */
    buf_append_c(&many, "{");
    for (int i = 0; i < 100000; i++)
        buf_printf(&many, "%s\"x%d\":0", i > 0 ? "," : "", i);
    buf_append_c(&many, "}");
    refused_text(&many, "unknown field: \"x0\"", 1);
}

/* Each set holds the one before twice: 2^n ranges if nothing joined them; and a chain that is too long. */
static void test_ipsets_do_not_explode(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_c(&text, "{\"ipsets\":{\"ipset:0\":[\"10.0.0.0/8\",\"fd00::1\"]");
    for (int i = 1; i < 60; i++)
        buf_printf(&text, ",\"ipset:%d\":[\"ipset:%d\",\"ipset:%d\"]", i, i - 1, i - 1);
    buf_append_c(&text, "}}");
    struct policy_doc *doc = test_parse(buf_cstr(&text));
    policy_doc_unref(&doc);
    buf_clear(&text);
    buf_append_c(&text, "{\"ipsets\":{");
    for (int i = 0; i < 200; i++)
        buf_printf(&text, "\"ipset:%d\":[\"ipset:%d\"],", i, i + 1);
    buf_append_c(&text, "\"ipset:200\":[]}}");
    refused_text(&text, "ipsets in one another", 1);
}

/* A thousand ipsets that are each in twenty thousand rules would be twenty million ranges. */
static void test_lists_of_large_ipsets_are_refused(void **state)
{
    (void)state;
    struct buf text = {0}, wide = {0};
    buf_append_c(&text, "{\"ipsets\":{\"ipset:s\":[");
    for (int i = 0; i < 999; i++)
        buf_printf(&text, "%s\"10.%d.%d.1\"", i > 0 ? "," : "", i / 250, i % 250);
    buf_append_c(&text, "]},\"acls\":[");
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "%s\n{\"action\":\"accept\",\"src\":[\"ipset:s\",\"u%d@x\"],\"dst\":[]}", i > 0 ? "," : "",
                   i);
    buf_append_c(&text, "]}");
    refused_text(&text, "too many selectors and addresses in all lists (limit 200000)", 202);
    buf_append_c(&wide, "{\"ipsets\":{\"ipset:all\":[");
    for (int i = 0; i < 11; i++)
        buf_printf(&wide, "%s\"ipset:%d\"", i > 0 ? "," : "", i);
    buf_append_c(&wide, "]");
    for (int i = 0; i < 11; i++) {
        buf_printf(&wide, ",\"ipset:%d\":[", i);
        for (int k = 0; k < 1000; k++)
            buf_printf(&wide, "%s\"10.%d.%d.%d\"", k > 0 ? "," : "", i, k / 100, k % 100 * 2);
        buf_append_c(&wide, "]");
    }
    buf_append_c(&wide, "}}");
    refused_text(&wide, "ipsets[\"ipset:all\"]: more than 10000 ranges", 1);
}

/* Each set takes one of a thousand ranges: text of a few bytes for each copy. And additions that alternate with
 * removals, which must go through all that there is so far, in each of many sets. */
static void test_ipsets_of_ipsets_have_a_limit_of_work(void **state)
{
    (void)state;
    static const struct policy_options as_stored = {.is_stored = true}; /* by a version without the limit */
    struct buf copies = {0}, turns = {0};
    buf_append_c(&copies, "{\"ipsets\":{\"ipset:s\":[");
    for (int i = 0; i < 999; i++)
        buf_printf(&copies, "%s\"10.%d.%d.1\"", i > 0 ? "," : "", i / 250, i % 250);
    buf_append_c(&copies, "]");
    buf_append(&turns, copies.data, buf_len(&copies));
    for (int i = 0; i < 2000; i++)
        buf_printf(&copies, ",\"ipset:%d\":[\"ipset:s\"]", i);
    buf_append_c(&copies, "}}");
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(buf_str(&copies), &as_stored, &doc, &errors), RC_OK);
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
    refused_text(&copies, "ipsets: more than 1000000 ranges", 1);
    for (int i = 0; i < 2; i++) {
        buf_printf(&turns, ",\"ipset:%d\":[\"add ipset:s\"", i);
        for (int k = 0; k < 499; k++)
            buf_printf(&turns, ",\"remove 10.0.%d.1\",\"add 10.0.%d.1\"", k % 250, k % 250);
        buf_append_c(&turns, "]");
    }
    buf_append_c(&turns, "}}");
    refused_text(&turns, "ipsets: more than 1000000 ranges", 1);
}

/* What is written in runs is done in runs: the last operation on an address decides. */
static void test_operations_of_an_ipset_come_in_their_order(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{\"ipsets\":{\"ipset:a\":[\"add 10.0.0.0/30\",\"add 10.0.0.8\",\"remove 10.0.0.1\","
        "\"remove 10.0.0.8\",\"add 10.0.0.1\",\"remove 10.0.0.2\"]},"
        "\"acls\":[{\"action\":\"accept\",\"src\":[\"ipset:a\"],\"dst\":[\"100.64.0.20:1\"]}]}");
    test_filter(p, BOB, FILTER_IP("\"10.0.0.0/31\",\"10.0.0.3\"", DST("100.64.0.20", 1, 1)));
    engine_destroy(&p);
}

/* --- reading --- */

static void test_hujson_and_old_spellings_are_read(void **state)
{
    (void)state;
    const char *text = "// who\n{ /* all */ \"ACLs\": [{\"action\":\"accept\", \"users\":[\"bob@example.com\",],\n"
                       "\"ports\":[\" autogroup:self:*\",], \"#who\": \"me\"},], \"tests\": null,}\n";
    struct engine *p = test_policy(text);
    assert_true(str_eq_c(policy_doc_text(engine_doc(p)), text));
    test_filter(p, BOB,
                FILTER_IP("\"100.64.0.20\",\"fd7a:115c:a1e0::20\"",
                          DST("100.64.0.20", 0, 65535) "," DST("fd7a:115c:a1e0::20", 0, 65535)));
    test_filter(p, ANN, "[]");
    engine_destroy(&p);
}

/* Names compare like e-mails; rows of older versions that differ by case alone, or end with '@', are still found. */
static void test_names_of_users_have_no_case(void **state)
{
    (void)state;
    static const struct engine_user users[] = {
        {1, STR("Anna"), STR(""), STR(""), POLICY_OWNER},
        {2, STR("bob"), STR(""), STR(""), POLICY_MEMBER},
        {3, STR("BOB"), STR(""), STR(""), POLICY_MEMBER},
        {4, STR("carl@"), STR(""), STR(""), POLICY_MEMBER},
        {5, STR("dora"), STR("dora@x.org"), STR(""), POLICY_MEMBER},
        {6, STR("Dora@x.org"), STR(""), STR(""), POLICY_MEMBER}, /* takes nothing from the one before */
    };
    static const struct {
        const char *selector;
        uint64_t user; /* 0: nobody */
    } cases[] = {{"anna@", 1}, {"ANNA@", 1}, {"bob@", 2},       {"BOB@", 3},       {"Bob@", 0},
                 {"carl@", 4}, {"ann@", 0},  {"dora@x.org", 5}, {"DORA@X.ORG", 5}, {"Dora@x.org", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[120];
        snprintf(text, sizeof(text), "{\"tagOwners\":{\"tag:x\":[\"%s\"]}}", cases[i].selector);
        struct policy_doc *doc = test_parse(text);
        struct engine *p = engine_create(doc, users, ARRAY_LEN(users), NULL);
        for (uint64_t user = 1; user <= ARRAY_LEN(users); user++) {
            bool is_meant = user == cases[i].user || user == 1; /* the owner may apply all */
            assert_int_equal(engine_user_may_tag(p, user, STR("tag:x")), is_meant);
        }
        policy_doc_unref(&doc);
        engine_destroy(&p);
    }
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
        refused(blank[i], "the policy is empty; to let every node reach every other, write {}", 1, 1);
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

static void test_empty_means_everyone(void **state)
{
    (void)state;
    static const char *const open[] = {"{}", " {} // everyone\n", "{\"acls\":null}"};
    static const char *const closed[] = {"{\"acls\":[]}", "{\"grants\":[]}"};
    for (size_t i = 0; i < ARRAY_LEN(open); i++) {
        struct engine *p = test_policy(open[i]);
        test_filter(p, SERVER, FILTER_IP(STAR_SOURCES, DST("*", 0, 65535)));
        test_peers(p, ANN, "23456789");
        engine_destroy(&p);
    }
    for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
        struct engine *p = test_policy(closed[i]);
        test_filter(p, SERVER, "[]");
        test_peers(p, ANN, "");
        engine_destroy(&p);
    }
}

static void test_network_options_are_read(void **state)
{
    (void)state;
    struct engine *p = test_policy("{\"derpMap\":{\"regions\":{\"900\":null}},\"disableIPv4\":true,"
                                   "\"OneCGNATRoute\":\"mac-never\",\"randomizeClientPort\":true}");
    struct policy_network n = policy_doc_network(engine_doc(p));
    struct buf out = {0};
    assert_true(n.is_ipv4_disabled && n.is_client_port_random);
    assert_true(str_eq_c(n.derp_map, "{\"regions\":{\"900\":null}}"));
    assert_true(engine_hides_ipv4(p, ANN));
    engine_self_caps(p, BOB, &out); /* macOS */
    assert_string_equal(buf_cstr(&out), "{\"randomize-client-port\":null,\"one-cgnat?v=false\":null}");
    buf_clear(&out);
    engine_self_caps(p, ANN, &out);
    assert_string_equal(buf_cstr(&out), "{\"randomize-client-port\":null}");
    buf_fini(&out);
    engine_destroy(&p);
}

/* --- meaning --- */

#define ACL(src, dst) "{" TEST_TAGS "\"acls\":[{\"action\":\"accept\",\"src\":[" src "],\"dst\":[" dst "]}]}"

static void test_selectors_mean_nodes(void **state)
{
    (void)state;
    static const struct {
        const char *src; /* may reach the server */
        const char *peers;
    } cases[] = {
        {"\"ann@example.com\"", "15"},
        {"\"BOB@EXAMPLE.COM\"", "2"},
        {"\"bob@\"", "2"},
        {"\"https://id.example/ann@x\"", ""},
        {"\"nobody@example.com\"", ""},
        {"\"user:*@example.com\"", "125"},
        {"\"user:*@EXAMPLE.com\"", "125"},
        {"\"autogroup:member\"", "12345"},
        {"\"autogroup:members\"", "12345"},
        {"\"autogroup:tagged\"", "789"},
        {"\"autogroup:owner\"", "15"},
        {"\"autogroup:admin\"", "125"},
        {"\"autogroup:auditor\"", "4"},
        {"\"autogroup:it-admin\"", ""},
        {"\"autogroup:shared\"", ""},
        {"\"autogroup:danger-all\"", "12345789"},
        {"\"tag:client\",\"cyd@other.org\"", "37"},
        {"\"100.64.0.30\"", "3"},
        {"\"fd7a:115c:a1e0::30/124\"", "3"},
        {"\"100.64.0.20-100.64.0.40\"", "234"},
        {"\"100.64.0.0/26\"", "12345"},
        {"\"10.1.2.3\"", "8"},
        {"\"10.0.0.0/8\"", "8"},
        {"\"8.8.8.8\"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[600];
        snprintf(text, sizeof(text), "{%s\"acls\":[{\"action\":\"accept\",\"src\":[%s],\"dst\":[\"tag:server:22\"]}]}",
                 TEST_TAGS, cases[i].src);
        struct engine *p = test_policy(text);
        char peers[16];
        size_t n = 0;
        /* 100.64.0.0/26 holds the server too (.60), which is not its own peer. */
        for (const char *at = cases[i].peers; *at != '\0'; at++)
            peers[n++] = *at;
        peers[n] = '\0';
        test_peers(p, SERVER, peers);
        engine_destroy(&p);
    }
}

static void test_addresses_are_written_short(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        ACL("\"100.64.0.9\",\"100.64.0.10\",\"ann@example.com\",\"100.64.0.8/32\",\"10.9.8.7/8\"",
            "\"[fd7a:115c:a1e0::60]:80\",\"fd7a:115c:a1e0::60:81,90-92\""));
    test_filter(
        p, SERVER,
        FILTER_IP(
            "\"10.0.0.0/8\",\"100.64.0.50\",\"100.64.0.8-100.64.0.10\",\"fd7a:115c:a1e0::10\",\"fd7a:115c:a1e0::50\"",
            DST("fd7a:115c:a1e0::60", 80, 80) "," DST("fd7a:115c:a1e0::60", 81, 81) "," DST("fd7a:115c:a1e0::60", 90,
                                                                                            92)));
    engine_destroy(&p);
}

static void test_ipsets_add_and_remove(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"hosts\":{\"h\":\"100.64.0.70\"},\"ipsets\":{\"ipset:a\":[\"add 10.0.0.0/8\","
        "\"remove 10.1.0.0/16\",\"add host:h\",\"add 10.1.2.0-10.1.2.9\"],\"ipset:b\":[\"ipset:a\"]},"
        "\"acls\":[{\"action\":\"accept\",\"src\":[\"ipset:b\"],\"dst\":[\"ipset:a:1\"]}]}");
#define SET_SOURCES "\"10.0.0.0/16\",\"10.1.2.0-10.1.2.9\",\"10.2.0.0-10.255.255.255\",\"100.64.0.70\""
    test_filter(p, ROUTER, FILTER_IP(SET_SOURCES, DST("10.1.2.0-10.1.2.9", 1, 1)));
    test_filter(p, CLIENT, FILTER_IP(SET_SOURCES, DST("100.64.0.70", 1, 1)));
#undef SET_SOURCES
    test_peers(p, ROUTER, "7");
    engine_destroy(&p);
}

static void test_users_may_be_ambiguous(void **state)
{
    (void)state;
    static const struct engine_user users[] = {
        {1, STR("a@x"), STR("b@x"), STR(""), POLICY_MEMBER},
        {2, STR("c"), STR("a@x"), STR("id@1"), POLICY_MEMBER},
    };
    struct policy_doc *doc = test_parse(
        "{// z@z is gone\n\"acls\":[{\"action\":\"accept\",\"src\":[\"a@x\",\"id@1\",\"z@z\"],\"dst\":[\"*:*\"]}]}");
    struct engine *p = engine_create(doc, users, 2, NULL);
    struct policy_errors warnings = {0};
    engine_warnings(p, &warnings);
    assert_int_equal(warnings.n, 2);
    assert_string_equal(warnings.v[0].text, "a@x: several users match; none is meant");
    assert_string_equal(warnings.v[1].text, "z@z: no such user; nobody is meant");
    assert_int_equal(warnings.v[1].line, 2);
    assert_int_equal(warnings.v[1].col, 48);
    for (uint64_t id = 1; id <= 2; id++) {
        struct engine_facts n = test_node(id);
        engine_put_node(p, &n);
    }
    test_filter(p, 1, FILTER_IP("\"100.64.0.20\",\"fd7a:115c:a1e0::20\"", DST("*", 0, 65535)));
    policy_errors_fini(&warnings);
    policy_doc_unref(&doc);
    engine_destroy(&p);
}

/* Of the tailnet 10.64.0.0/16 and fd00::/64. The caller's. */
static struct engine *other_ranges(const char *text)
{
    struct policy_doc *doc = test_parse(text);
    struct engine_ranges ranges = {test_addr("10.64.0.0"), test_addr("fd00::"), 16, 64};
    struct engine *p = engine_create(doc, test_users, ARRAY_LEN(test_users), &ranges);
    policy_doc_unref(&doc);
    return p;
}

static void put_with(struct engine *p, uint64_t id, const char *v4, const char *v6)
{
    struct engine_facts n = test_node(id);
    n.v4 = test_addr(v4);
    n.v6 = test_addr(v6);
    engine_put_node(p, &n);
}

#define OTHER_RANGES(strays4, strays6)                                                                                 \
    FILTER_IP("\"10.64.0.0/16\"" strays4 ",\"fd00::/64\"" strays6, DST("*", 0, 65535))

/* Nodes from before the prefixes were changed are of the tailnet, too, and `*` holds them as long as they are there. */
static void test_star_is_the_tailnet_whatever_its_addresses(void **state)
{
    (void)state;
    struct engine *p = other_ranges("{}");
    struct reach_reason why = {0};
    size_t n;
    put_with(p, BOB, "10.64.0.7", "fd00::7");
    test_filter(p, BOB, OTHER_RANGES("", ""));
    put_with(p, ANN, "100.64.0.10", "fd7a:115c:a1e0::10");
    uint64_t version = engine_version(p, BOB), fingerprint = engine_fingerprint(p, BOB);
    test_filter(p, BOB, OTHER_RANGES(",\"100.64.0.10\"", ",\"fd7a:115c:a1e0::10\""));
    put_with(p, CYD, "100.64.0.11", "fd00::8");
    assert_true(engine_version(p, BOB) > version && engine_fingerprint(p, BOB) != fingerprint);
    test_filter(p, BOB, OTHER_RANGES(",\"100.64.0.10/31\"", ",\"fd7a:115c:a1e0::10\""));
    assert_int_equal(reach_why(p, STR("ann@"), STR("bob@"), 6, 22, &why, 1, &n), RC_OK);
    assert_true(n == 1 && why.is_allowed);
    put_with(p, CYD, "10.64.0.8", "fd00::8");
    test_filter(p, BOB, OTHER_RANGES(",\"100.64.0.10\"", ",\"fd7a:115c:a1e0::10\""));
    engine_remove_node(p, ANN);
    test_filter(p, BOB, OTHER_RANGES("", ""));
    assert_int_equal(engine_fingerprint(p, BOB) == fingerprint, false);
    engine_destroy(&p);
}

/* What a policy lets nodes have is of the tailnet before anyone has it. */
static void test_star_holds_pools(void **state)
{
    (void)state;
    struct engine *p = other_ranges("{\"nodeAttrs\":[{\"target\":[\"cyd@\"],\"ipPool\":[\"100.80.0.0/16\"]}]}");
    put_with(p, CYD, "100.80.3.4", "fd00::7");
    test_filter(p, CYD, OTHER_RANGES(",\"100.80.0.0/16\"", ""));
    engine_destroy(&p);
}

static void test_postures_choose_sources(void **state)
{
    (void)state;
    static const struct {
        const char *posture;
        const char *peers; /* of the server, for `*` */
    } cases[] = {
        {"node:os == 'linux'", "135789"}, /* the router is there for what is behind it */
        {"node:os != 'linux'", "248"},
        {"custom:level >= 4", "45789"},
        {"custom:level < 2", "18"},
        {"custom:level IN [1, 2]", "128"},
        {"custom:level NOT IN [1, 2]", "345789"},
        {"custom:none IS SET", "8"},
        {"custom:none NOT SET", "12345789"},
        {"custom:none != 'x'", "8"},
        {"custom:level == '1'", "8"},
        {"node:osVersion > '1'", "8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[600];
        snprintf(text, sizeof(text),
                 "{%s\"postures\":{\"posture:p\":[\"%s\"]},\"acls\":[{\"action\":\"accept\","
                 "\"src\":[\"*\"],\"dst\":[\"tag:server:22\"],\"srcPosture\":[\"posture:p\"]}]}",
                 TEST_TAGS, cases[i].posture);
        struct engine *p = test_policy(text);
        test_peers(p, SERVER, cases[i].peers);
        engine_destroy(&p);
    }
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"postures\":{\"posture:p\":[\"custom:level == 2\"],\"posture:q\":[\"custom:level "
        "== 7\"]},\"defaultSrcPosture\":[\"posture:p\"],\"acls\":[{\"action\":\"accept\",\"src\":"
        "[\"100.64.0.0/25\"],\"dst\":[\"tag:server:22\"]},{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":"
        "[\"tag:server:23\"],\"srcPosture\":[\"posture:p\",\"posture:q\"]}]}");
    test_peers(p, SERVER, "278");
    test_filter(
        p, SERVER,
        "[{\"SrcIPs\":[\"100.64.0.0-100.64.0.9\",\"100.64.0.11-100.64.0.29\","
        "\"100.64.0.31-100.64.0.39\",\"100.64.0.41-100.64.0.49\",\"100.64.0.51-100.64.0.59\","
        "\"100.64.0.61-100.64.0.69\",\"100.64.0.71-100.64.0.79\",\"100.64.0.81-100.64.0.89\","
        "\"100.64.0.91-100.64.0.127\"],\"DstPorts\":[" DST("100.64.0.60", 22, 22) "," DST(
            "fd7a:115c:a1e0::60", 22, 22) "]},{\"SrcIPs\":[\"10.1.0.0/16\",\"100.64.0.20\",\"100.64.0.70\","
                                          "\"fd7a:115c:a1e0::20\",\"fd7a:115c:a1e0::70\"],\"DstPorts\":[" DST(
                                              "100.64.0.60", 23, 23) "," DST("fd7a:115c:a1e0::60", 23, 23) "]}]");
    engine_destroy(&p);
}

static void test_routes_are_for_those_who_may(void **state)
{
    (void)state;
    struct engine *p = test_policy(ACL("\"ann@example.com\"", "\"10.1.2.0/24:22\",\"autogroup:internet:443\""));
    uint64_t routes = 0;
    test_peers(p, ROUTER, "15");
    test_peers(p, EXIT, "15");
    engine_routes(p, ANN, ROUTER, &routes, 1);
    assert_int_equal(routes, 1);
    engine_routes(p, ANN, EXIT, &routes, 2);
    assert_int_equal(routes, 3);
    engine_routes(p, BOB, ROUTER, &routes, 1);
    assert_int_equal(routes, 0);
    engine_routes(p, EXIT, EXIT, &routes, 2);
    assert_int_equal(routes, 3);
    engine_destroy(&p);
    /* A narrow public prefix makes the exit node a peer, and gives no exit route. */
    p = test_policy(ACL("\"ann@example.com\"", "\"8.8.8.0/24:53\""));
    test_peers(p, EXIT, "15");
    engine_routes(p, ANN, EXIT, &routes, 2);
    assert_int_equal(routes, 0);
    engine_destroy(&p);
    p = test_policy(ACL("\"ann@example.com\"", "\"0.0.0.0/0:*\""));
    engine_routes(p, ANN, EXIT, &routes, 2);
    assert_int_equal(routes, 1);
    engine_destroy(&p);
}

/* Two routers hold 10.1.0.0/16: 8, the primary, and 7, which carries the tag. */
static void test_via_chooses_the_router(void **state)
{
    (void)state;
    struct engine_route route = {test_addr("10.1.0.0"), 16, false};
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"grants\":[{\"src\":[\"ann@example.com\"],\"dst\":[\"10.1.0.0/16\"],\"ip\":[\"*\"],"
        "\"via\":[\"tag:client\"]},{\"src\":[\"bob@example.com\"],\"dst\":[\"10.1.0.0/16\"],\"ip\":[\"*\"]}]}");
    struct engine_facts n = test_node(CLIENT);
    uint64_t routes;
    n.routes = &route;
    n.route_n = 1;
    engine_put_node(p, &n);
    test_peers(p, ANN, "7");
    test_peers(p, BOB, "78");
    engine_routes(p, ANN, CLIENT, &routes, 1);
    assert_int_equal(routes, 1);
    engine_routes(p, BOB, CLIENT, &routes, 1);
    assert_int_equal(routes, 0);
    engine_routes(p, BOB, ROUTER, &routes, 1);
    assert_int_equal(routes, 1);
    engine_destroy(&p);
}

static void test_hosts_on_both_sides_of_self(void **state)
{
    (void)state;
    struct engine *p = test_policy("{\"acls\":[{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\"autogroup:self:1\"]},"
                                   "{\"action\":\"accept\",\"src\":[\"dan@\"],\"dst\":[\"dan@:2\"]}]}");
    test_filter(p, DAN,
                FILTER_IP("\"100.64.0.40\",\"fd7a:115c:a1e0::40\"",
                          DST("100.64.0.40", 1, 1) "," DST("fd7a:115c:a1e0::40", 1, 1) "," DST(
                              "100.64.0.40", 2, 2) "," DST("fd7a:115c:a1e0::40", 2, 2)));
    test_peers(p, ANN, "5");
    test_peers(p, SERVER, "");
    engine_destroy(&p);
}

static void test_nodes_come_and_go(void **state)
{
    (void)state;
    struct engine *p = test_policy(ACL("\"autogroup:member\"", "\"tag:server:22\""));
    uint64_t before = engine_version(p, SERVER), other = engine_version(p, CLIENT);
    struct engine_facts n = test_node(ANN);
    assert_int_equal(engine_version(p, 77), 0);
    engine_put_node(p, &n); /* nothing new */
    assert_int_equal(engine_version(p, SERVER), before);
    n.is_online = false; /* nothing that a filter is made of */
    engine_put_node(p, &n);
    assert_int_equal(engine_version(p, SERVER), before);
    size_t classes = engine_class_count(p);
    n.id = 20;
    n.v4 = test_addr("100.64.9.9");
    engine_put_node(p, &n);
    assert_int_equal(engine_class_count(p), classes);
    assert_true(engine_version(p, SERVER) > before);
    assert_int_equal(engine_version(p, CLIENT), other);
    assert_true(engine_sees(p, 20, SERVER) && engine_sees(p, SERVER, 20));
    engine_remove_node(p, 20);
    engine_remove_node(p, 20);
    assert_false(engine_sees(p, 20, SERVER));
    test_peers(p, SERVER, "12345");
    engine_remove_node(p, SERVER);
    test_peers(p, ANN, "");
    struct buf out = {0};
    engine_filter(p, SERVER, &out);
    assert_string_equal(buf_cstr(&out), "[]");
    buf_fini(&out);
    engine_destroy(&p);
}

/* --- tags, approvals, attributes --- */

static void test_tags_belong_to_owners(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{\"groups\":{\"group:g\":[\"cyd@other.org\"]},\"tagOwners\":{\"tag:a\":[\"tag:b\"],\"tag:b\":"
        "[\"tag:a\",\"group:g\"],\"tag:c\":[],\"tag:d\":[\"autogroup:member\"]}}");
    static const struct str b[] = {STR("tag:b"), STR("tag:zz")};
    assert_true(engine_user_may_tag(p, 3, STR("tag:a")));
    assert_true(engine_user_may_tag(p, 3, STR("tag:b")));
    assert_false(engine_user_may_tag(p, 3, STR("tag:c")));
    assert_true(engine_user_may_tag(p, 4, STR("tag:d")));
    assert_false(engine_user_may_tag(p, 4, STR("tag:a")));
    assert_true(engine_user_may_tag(p, 1, STR("tag:c")));
    assert_true(engine_user_may_tag(p, 2, STR("tag:c")));
    assert_false(engine_user_may_tag(p, 1, STR("tag:none")));
    assert_false(engine_user_may_tag(p, 99, STR("tag:d")));
    assert_true(engine_tags_may_tag(p, b, 2, STR("tag:a")));
    assert_false(engine_tags_may_tag(p, b, 2, STR("tag:c")));
    assert_false(engine_tags_may_tag(p, b, 0, STR("tag:a")));
    assert_true(engine_knows_tag(p, STR("tag:a")));
    assert_false(engine_knows_tag(p, STR("tag:zz")));
    engine_destroy(&p);
}

static void test_approvers_approve(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:router\"],\"0.0.0.0/0\":"
        "[\"ann@example.com\"],\"fd00::/16\":[\"autogroup:member\"]},\"exitNode\":[\"autogroup:tagged\"],"
        "\"services\":{\"svc:web\":[\"tag:server\"]}}}");
    struct addr net = test_addr("10.1.0.0"), six = test_addr("fd00:1::"), zero = test_addr("0.0.0.0");
    assert_true(engine_may_approve_route(p, ROUTER, &net, 16));
    assert_true(engine_may_approve_route(p, ROUTER, &net, 8));
    assert_false(engine_may_approve_route(p, ROUTER, &net, 7));
    assert_true(engine_may_approve_route(p, ANN, &net, 7));
    assert_false(engine_may_approve_route(p, SERVER, &net, 16));
    assert_true(engine_may_approve_route(p, BOB, &six, 32));
    assert_false(engine_may_approve_route(p, ROUTER, &six, 32));
    assert_true(engine_may_approve_route(p, EXIT, &zero, 0));
    assert_false(engine_may_approve_route(p, ANN, &zero, 0));
    assert_false(engine_may_approve_route(p, 99, &net, 16));
    assert_true(engine_may_approve_service(p, SERVER, STR("svc:web")));
    assert_false(engine_may_approve_service(p, SERVER, STR("svc:db")));
    assert_false(engine_may_approve_service(p, ANN, STR("svc:web")));
    engine_destroy(&p);
}

static void test_attributes_reach_their_targets(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"nodeAttrs\":[{\"target\":[\"tag:server\",\"100.64.0.10\"],\"attr\":[\"a\",\"b\","
        "\"debug-disable-upnp\"],\"app\":{\"x.com/c\":[1.50]}},{\"target\":[\"*\"],\"attr\":[\"a\"],\"app\":{\"x.com/c\":[{\"k\":"
        "\"v\"}]}},{\"target\":[\"cyd@other.org\"],\"attr\":[\"disable-ipv4\"],\"ipPool\":"
        "[\"100.80.0.0/16\",\"100.81.0.0/24\"]}]}");
    struct buf out = {0};
    struct addr addr;
    uint8_t bits;
    engine_self_caps(p, SERVER, &out);
    assert_string_equal(buf_cstr(&out),
                        "{\"x.com/c\":[1.50,{\"k\":\"v\"}],\"a\":null,\"b\":null,\"debug-disable-upnp\":null}");
    buf_clear(&out);
    engine_self_caps(p, BOB, &out);
    assert_string_equal(buf_cstr(&out), "{\"x.com/c\":[{\"k\":\"v\"}],\"a\":null}");
    assert_true(engine_has_attr(p, ANN, STR("b")));
    assert_false(engine_has_attr(p, ANN2, STR("b")));
    assert_true(engine_hides_ipv4(p, CYD));
    assert_false(engine_hides_ipv4(p, BOB));
    assert_true(engine_ip_pool(p, CYD, 1, &addr, &bits));
    assert_int_equal(addr.ip[1], 81);
    assert_int_equal(bits, 24);
    assert_false(engine_ip_pool(p, CYD, 2, &addr, &bits));
    assert_false(engine_ip_pool(p, BOB, 0, &addr, &bits));
    buf_fini(&out);
    engine_destroy(&p);
}

/* --- ssh --- */

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

/* --- tests --- */

#define TESTED                                                                                                                             \
    "{\"tagOwners\":{\"tag:server\":[],\"tag:client\":[],\"tag:exit\":[],\"tag:later\":[]},"                                               \
    "\"postures\":{\"posture:p\":[\"custom:level > 100\"]},\"acls\":[{\"action\":\"accept\",\"src\":[\"ann@example.com\"],"                \
    "\"proto\":\"tcp\",\"dst\":[\"tag:server:22\",\"10.1.2.3:80\"]},{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\"tag:exit:1\"],"      \
    "\"srcPosture\":[\"posture:p\"]},{\"action\":\"accept\",\"proto\":\"icmp\",\"src\":[\"*\"],\"dst\":[\"*:*\"]},{\"action\":\"accept\"," \
    "\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self:9\"]}],\"tests\":[{%s}]}"

static void test_tests_pass_and_fail(void **state)
{
    (void)state;
    static const struct {
        const char *test;
        const char *sentence; /* null: passes */
    } cases[] = {
        {"\"src\":\"ann@example.com\",\"proto\":\"tcp\",\"accept\":[\"tag:server:22\",\"10.1.2.3:80\"],\"deny\":[\"tag:server:23\"]",
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
        {"\"src\":\"ann@example.com\",\"proto\":\"tcp\",\"accept\":[\"autogroup:self:9\"],\"deny\":[\"bob@:9\"]", NULL},
        {"\"src\":\"tag:client\",\"proto\":\"tcp\",\"accept\":[\"tag:exit:1\"]", "got DENIED"},
        {"\"src\":\"tag:client\",\"proto\":\"tcp\",\"accept\":[\"tag:exit:1\"],\"srcPostureAttrs\":{\"custom:level\":101}",
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
        char text[1600];
        struct policy_errors errors = {0};
        snprintf(text, sizeof(text), TESTED, cases[i].test);
        struct engine *p = test_policy(text);
        enum rc rc = reach_run_tests(p, &errors);
        if ((rc == RC_OK) != (cases[i].sentence == NULL))
            print_message("%s: %s\n", cases[i].test, errors.n > 1 ? errors.v[1].text : "passed");
        assert_int_equal(rc, cases[i].sentence == NULL ? RC_OK : RC_INVALID);
        if (cases[i].sentence != NULL) {
            assert_string_equal(errors.v[0].text, "test(s) failed");
            if (strstr(errors.v[1].text, cases[i].sentence) == NULL)
                print_message("%s: %s\n", cases[i].test, errors.v[1].text);
            assert_non_null(strstr(errors.v[1].text, cases[i].sentence));
            assert_int_equal(errors.v[1].line, 1);
            assert_true(errors.v[1].col > strstr(text, "\"tests\"") - text);
        }
        policy_errors_fini(&errors);
        engine_destroy(&p);
    }
}

static void test_ssh_tests_pass_and_fail(void **state)
{
    (void)state;
    static const struct {
        const char *test;
        const char *sentence; /* null: passes */
    } cases[] = {
        {"\"src\":\"autogroup:member\",\"dst\":[\"autogroup:self\"],\"check\":[\"root\"],\"deny\":[\"x\"]", NULL},
        {"\"src\":\"ann@example.com\",\"dst\":[\"bob@\"],\"deny\":[\"root\"]", NULL},
        {"\"src\":\"tag:client\",\"dst\":[\"100.64.0.60\"],\"accept\":[\"deploy\",\"any\"],\"deny\":[\"root\"]", NULL},
        {"\"src\":\"ann@example.com\",\"dst\":[\"tag:server\"],\"accept\":[\"ann\"],\"deny\":[\"bob\"]", NULL},
        {"\"src\":\"tag:client\",\"dst\":[\"tag:server\"],\"check\":[\"deploy\"]",
         "tag:client -> tag:server as deploy: expected CHECK, got ACCEPT"},
        {"\"src\":\"ann@example.com\",\"dst\":[\"autogroup:self\"],\"deny\":[\"root\"]", "expected DENY, got CHECK"},
        {"\"src\":\"cyd@other.org\",\"dst\":[\"tag:server\"],\"accept\":[\"cyd\"]", "expected ACCEPT, got DENY"},
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
        snprintf(
            text, sizeof(text),
            "{" TEST_TAGS
            "\"ssh\":[{\"action\":\"check\",\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],\"users\":"
            "[\"root\"]},{\"action\":\"accept\",\"src\":[\"tag:client\"],\"dst\":[\"tag:server\"],\"users\":[\"deploy\","
            "\"autogroup:nonroot\"]},{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\"dst\":[\"tag:server\"],"
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

static void test_reasons_are_told(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"grants\":[\n{\"src\":[\"ann@example.com\"],\"dst\":[\"tag:server\"],\"ip\":[\"tcp:22\"]},\n"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syntax_is_refused),
        cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_groups_and_hosts_are_checked),
        cmocka_unit_test(test_ipsets_are_checked),
        cmocka_unit_test(test_selectors_are_checked),
        cmocka_unit_test(test_ports_are_checked),
        cmocka_unit_test(test_grants_are_checked),
        cmocka_unit_test(test_ssh_is_checked),
        cmocka_unit_test(test_slippery_logins_are_kept_out_of_old_clients),
        cmocka_unit_test(test_localparts_of_digits_reach_new_clients),
        cmocka_unit_test(test_stored_policies_may_have_slippery_logins),
        cmocka_unit_test(test_other_sections_are_checked),
        cmocka_unit_test(test_postures_are_checked),
        cmocka_unit_test(test_all_errors_are_told_in_file_order),
        cmocka_unit_test(test_huge_policies_are_refused),
        cmocka_unit_test(test_ipsets_do_not_explode),
        cmocka_unit_test(test_lists_of_large_ipsets_are_refused),
        cmocka_unit_test(test_ipsets_of_ipsets_have_a_limit_of_work),
        cmocka_unit_test(test_operations_of_an_ipset_come_in_their_order),
        cmocka_unit_test(test_hujson_and_old_spellings_are_read),
        cmocka_unit_test(test_names_of_users_have_no_case),
        cmocka_unit_test(test_blank_is_refused),
        cmocka_unit_test(test_empty_means_everyone),
        cmocka_unit_test(test_network_options_are_read),
        cmocka_unit_test(test_selectors_mean_nodes),
        cmocka_unit_test(test_addresses_are_written_short),
        cmocka_unit_test(test_ipsets_add_and_remove),
        cmocka_unit_test(test_users_may_be_ambiguous),
        cmocka_unit_test(test_star_is_the_tailnet_whatever_its_addresses),
        cmocka_unit_test(test_star_holds_pools),
        cmocka_unit_test(test_postures_choose_sources),
        cmocka_unit_test(test_routes_are_for_those_who_may),
        cmocka_unit_test(test_via_chooses_the_router),
        cmocka_unit_test(test_hosts_on_both_sides_of_self),
        cmocka_unit_test(test_nodes_come_and_go),
        cmocka_unit_test(test_tags_belong_to_owners),
        cmocka_unit_test(test_approvers_approve),
        cmocka_unit_test(test_attributes_reach_their_targets),
        cmocka_unit_test(test_ssh_rules_are_written),
        cmocka_unit_test(test_tests_pass_and_fail),
        cmocka_unit_test(test_ssh_tests_pass_and_fail),
        cmocka_unit_test(test_reasons_are_told),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
