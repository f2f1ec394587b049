/* A small tailnet for the tests of this module. */
#ifndef ENGINE_TESTING_H
#define ENGINE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/access.h"
#include "engine/engine.h"

static const struct engine_user test_users[] = {
    {1, STR("ann"), STR("ann@example.com"), STR("https://id.example/ann"), POLICY_OWNER},
    {2, STR("bob"), STR("Bob@Example.com"), STR(""), POLICY_ADMIN},
    {3, STR("cyd"), STR("cyd@other.org"), STR(""), POLICY_MEMBER},
    {4, STR("dan"), STR(""), STR(""), POLICY_AUDITOR},
    {5, STR("eve"), STR(""), STR(""), POLICY_MEMBER}, /* without nodes */
};

/* Owned nodes 1-4 of ann, bob, cyd, dan; 5 of ann. Tagged: 6 server, 7 client, 8 router (10.1.0.0/16), 9 exit. */
enum { ANN = 1, BOB = 2, CYD = 3, DAN = 4, ANN2 = 5, SERVER = 6, CLIENT = 7, ROUTER = 8, EXIT = 9, TEST_NODES = 9 };

#define TEST_TAGS "\"tagOwners\":{\"tag:server\":[],\"tag:client\":[],\"tag:router\":[],\"tag:exit\":[]},"

static inline struct addr test_addr(const char *text)
{
    struct addr a = {0};
    if (addr_parse_ip(str_c(text), &a) != RC_OK)
        abort();
    return a;
}

static inline struct engine_facts test_node(uint64_t id)
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

static inline struct policy_doc *test_parse(const char *text)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (policy_parse(str_c(text), NULL, &doc, &errors) != RC_OK)
        print_message("%d:%d: %s\n", errors.v[0].line, errors.v[0].col, errors.v[0].text);
    assert_int_equal(errors.n, 0);
    assert_non_null(doc);
    policy_errors_fini(&errors);
    return doc;
}

/* All nodes in. */
static inline struct engine *test_policy(const char *text)
{
    struct policy_doc *doc = test_parse(text);
    struct engine *p = engine_create(doc, test_users, ARRAY_LEN(test_users), NULL);
    policy_doc_unref(&doc);
    for (uint64_t id = 1; id <= TEST_NODES; id++) {
        struct engine_facts n = test_node(id);
        engine_put_node(p, &n);
    }
    return p;
}

/* Ids of the peers as digits, ascending: "158". */
static inline void test_visit(void *ctx, uint64_t peer)
{
    ((char *)ctx)[peer] = (char)('0' + peer);
}

static inline void test_peers(const struct engine *p, uint64_t id, const char *want)
{
    char seen[TEST_NODES + 1] = {0}, got[TEST_NODES + 1] = {0};
    size_t n = 0;
    engine_peers(p, id, test_visit, seen);
    for (size_t i = 1; i <= TEST_NODES; i++) {
        if (seen[i] != 0)
            got[n++] = seen[i];
    }
    assert_string_equal(got, want);
    assert_int_equal(engine_peer_count(p, id), n);
}

static inline void test_filter(struct engine *p, uint64_t id, const char *want)
{
    struct buf out = {0};
    engine_filter(p, id, &out);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

/* One rule of a filter. */
#define FILTER_IP(sources, dsts) "[{\"SrcIPs\":[" sources "],\"DstPorts\":[" dsts "]}]"
#define DST(ip, first, last) "{\"IP\":\"" ip "\",\"Ports\":{\"First\":" #first ",\"Last\":" #last "}}"
#define STAR_SOURCES                                                                                                   \
    "\"10.1.0.0/16\",\"100.115.94.0-100.127.255.255\",\"100.64.0.0-100.115.91.255\",\"fd7a:115c:a1e0::/48\""

#endif
