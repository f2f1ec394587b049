/* What policies grant the nodes of a small tailnet. What Tailscale's service itself answers is in the goldens. */
#include "engine/approval.h"
#include "engine/testing.h"

/* Operations take effect in their order, also where runs of one kind are joined: the last operation on an address
 * decides. */
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

/* Names compare like e-mails, without case. Names of older versions that differ only by case, or end with '@', are
 * still found. */
static void test_names_of_users_have_no_case(void **state)
{
    (void)state;
    static const struct engine_user users[] = {
        {1, STR("Anna"), STR(""), STR(""), POLICY_OWNER},
        {2, STR("bob"), STR(""), STR(""), POLICY_MEMBER},
        {3, STR("BOB"), STR(""), STR(""), POLICY_MEMBER},
        {4, STR("carl@"), STR(""), STR(""), POLICY_MEMBER},
        {5, STR("dora"), STR("dora@x.org"), STR(""), POLICY_MEMBER},
        {6, STR("Dora@x.org"), STR(""), STR(""), POLICY_MEMBER}, /* must not get the access of the user before */
    };
    static const struct {
        const char *selector;
        uint64_t user; /* 0: no user */
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

#define ACL(src, dst) "{" TEST_TAGS "\"acls\":[{\"action\":\"accept\",\"src\":[" src "],\"dst\":[" dst "]}]}"

static void test_selectors_mean_nodes(void **state)
{
    (void)state;
    static const struct {
        const char *src; /* ids, as in test_peers */
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
        /* 100.64.0.0/26 has the server as well (.60), which is not its own peer. */
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

#define SET_SOURCES "\"10.0.0.0/16\",\"10.1.2.0-10.1.2.9\",\"10.2.0.0-10.255.255.255\",\"100.64.0.70\""

static void test_ipsets_add_and_remove(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"hosts\":{\"h\":\"100.64.0.70\"},\"ipsets\":{\"ipset:a\":[\"add 10.0.0.0/8\","
        "\"remove 10.1.0.0/16\",\"add host:h\",\"add 10.1.2.0-10.1.2.9\"],\"ipset:b\":[\"ipset:a\"]},"
        "\"acls\":[{\"action\":\"accept\",\"src\":[\"ipset:b\"],\"dst\":[\"ipset:a:1\"]}]}");
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

/* An engine whose tailnet has 10.64.0.0/16 and fd00::/64, without nodes. The caller owns it. */
static struct engine *other_ranges(const char *text)
{
    struct policy_doc *doc = test_parse(text);
    struct engine_ranges ranges = {test_addr("10.64.0.0"), test_addr("fd00::"), 16, 64};
    struct engine *p = engine_create(doc, test_users, TEST_USERS, &ranges);
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

/* Nodes from before the prefixes were changed belong to the tailnet as well: `*` holds their addresses as long as
 * they exist. */
static void test_star_is_the_tailnet_whatever_its_addresses(void **state)
{
    (void)state;
    struct engine *p = other_ranges("{}");
    put_with(p, BOB, "10.64.0.7", "fd00::7");
    test_filter(p, BOB, OTHER_RANGES("", ""));
    put_with(p, ANN, "100.64.0.10", "fd7a:115c:a1e0::10");
    uint64_t version = engine_version(p, BOB), fingerprint = engine_fingerprint(p, BOB);
    test_filter(p, BOB, OTHER_RANGES(",\"100.64.0.10\"", ",\"fd7a:115c:a1e0::10\""));
    put_with(p, CYD, "100.64.0.11", "fd00::8");
    assert_true(engine_version(p, BOB) > version && engine_fingerprint(p, BOB) != fingerprint);
    test_filter(p, BOB, OTHER_RANGES(",\"100.64.0.10/31\"", ",\"fd7a:115c:a1e0::10\""));
    put_with(p, CYD, "10.64.0.8", "fd00::8");
    test_filter(p, BOB, OTHER_RANGES(",\"100.64.0.10\"", ",\"fd7a:115c:a1e0::10\""));
    engine_remove_node(p, ANN);
    test_filter(p, BOB, OTHER_RANGES("", ""));
    assert_int_equal(engine_fingerprint(p, BOB) == fingerprint, false);
    engine_destroy(&p);
}

/* Addresses of pools belong to the tailnet before any node has them. */
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
        const char *peers; /* the server's SrcIPs for `*` */
    } cases[] = {
        {"node:os == 'linux'", "135789"}, /* the router is a peer because of the addresses behind it */
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
    /* A narrow public prefix makes the exit node a peer without giving an exit route. */
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

/* Two routers have 10.1.0.0/16: 8, which is the primary, and 7, which has the tag. */
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
    engine_put_node(p, &n); /* equal facts */
    assert_int_equal(engine_version(p, SERVER), before);
    n.is_online = false; /* not part of any filter */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations_of_an_ipset_come_in_their_order),
        cmocka_unit_test(test_hujson_and_old_spellings_are_read),
        cmocka_unit_test(test_names_of_users_have_no_case),
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
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
