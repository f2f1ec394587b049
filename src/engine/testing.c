#include "engine/testing.h"

const struct engine_user test_users[TEST_USERS] = {
    {1, STR("ann"), STR("ann@example.com"), STR("https://id.example/ann"), POLICY_OWNER},
    {2, STR("bob"), STR("Bob@Example.com"), STR(""), POLICY_ADMIN},
    {3, STR("cyd"), STR("cyd@other.org"), STR(""), POLICY_MEMBER},
    {4, STR("dan"), STR(""), STR(""), POLICY_AUDITOR},
    {5, STR("eve"), STR(""), STR(""), POLICY_MEMBER}, /* without nodes */
};

struct addr test_addr(const char *text)
{
    struct addr a = {0};
    if (addr_parse_ip(str_c(text), &a) != RC_OK)
        abort();
    return a;
}

struct engine_facts test_node(uint64_t id)
{
    static const struct str tags[] = {STR("tag:server"), STR("tag:client"), STR("tag:router"), STR("tag:exit")};
    static const struct str oses[] = {STR("macos"), STR("linux")};
    static struct engine_route routes[3];
    static struct policy_attr attrs[TEST_NODES + 1][2];
    char v4[32], v6[48];
    routes[0] = (struct engine_route){test_addr("10.1.0.0"), 16, true};
    routes[1] = (struct engine_route){test_addr("0.0.0.0"), 0, false};
    routes[2] = (struct engine_route){test_addr("::"), 0, false};
    snprintf(v4, sizeof(v4), "100.64.0.%u", (unsigned)id * 10);
    snprintf(v6, sizeof(v6), "fd7a:115c:a1e0::%x", (unsigned)id * 16);
    attrs[id][0] = (struct policy_attr){STR("node:os"), POLICY_ATTR_STRING, oses[id % 2], 0, false};
    attrs[id][1] = (struct policy_attr){STR("custom:level"), POLICY_ATTR_NUMBER, STR_EMPTY, (double)id, false};
    struct engine_facts n = {.id = id, .user = id == ANN2 ? 1 : id, .v4 = test_addr(v4), .v6 = test_addr(v6)};
    n.attrs = attrs[id];
    n.attr_n = 2;
    n.created_ms = (int64_t)id;
    n.is_online = true;
    if (id >= SERVER) {
        n.tags = &tags[id - SERVER];
        n.tag_n = 1;
        n.user = 0;
    }
    n.routes = id == ROUTER ? routes : id == EXIT ? routes + 1 : NULL;
    n.route_n = id == ROUTER ? 1 : id == EXIT ? 2 : 0;
    return n;
}

struct engine *test_policy(const char *text)
{
    struct policy_doc *doc = test_parse(text);
    struct engine *p = engine_create(doc, test_users, TEST_USERS, NULL);
    policy_doc_unref(&doc);
    for (uint64_t id = 1; id <= TEST_NODES; id++) {
        struct engine_facts n = test_node(id);
        engine_put_node(p, &n);
    }
    return p;
}

static void visit(void *ctx, uint64_t peer)
{
    ((char *)ctx)[peer] = (char)('0' + peer);
}

void test_peers(const struct engine *p, uint64_t id, const char *want)
{
    char seen[TEST_NODES + 1] = {0}, got[TEST_NODES + 1] = {0};
    size_t n = 0;
    engine_peers(p, id, visit, seen);
    for (size_t i = 1; i <= TEST_NODES; i++) {
        if (seen[i] != 0)
            got[n++] = seen[i];
    }
    assert_string_equal(got, want);
    assert_int_equal(engine_peer_count(p, id), n);
}

void test_filter(struct engine *p, uint64_t id, const char *want)
{
    struct buf out = {0};
    engine_filter(p, id, &out);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}
