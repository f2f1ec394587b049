/* A small tailnet for the tests of this module and of those above it. */
#ifndef ENGINE_TESTING_H
#define ENGINE_TESTING_H

#include "engine/access.h"
#include "engine/engine.h"
#include "policy/testing.h"

/* ann (owner), bob (admin), cyd, dan (auditor), and eve, who has no nodes. */
enum { TEST_USERS = 5 };
extern const struct engine_user test_users[TEST_USERS];

/* Owned nodes 1-4 of ann, bob, cyd, dan; 5 of ann. Tagged: 6 server, 7 client, 8 router (10.1.0.0/16), 9 exit. */
enum { ANN = 1, BOB = 2, CYD = 3, DAN = 4, ANN2 = 5, SERVER = 6, CLIENT = 7, ROUTER = 8, EXIT = 9, TEST_NODES = 9 };

/* Parses an address, which must be valid. */
struct addr test_addr(const char *text);
/* The facts of a node; what they point to is static, and valid until the next call for the same id. */
struct engine_facts test_node(uint64_t id);
/* An engine with this policy and all nodes. The caller owns it. */
struct engine *test_policy(const char *text);
/* Asserts that these are the node's peers: their ids as digits, ascending, as in "158". */
void test_peers(const struct engine *p, uint64_t id, const char *want);
/* Asserts that this is the node's packet filter. */
void test_filter(struct engine *p, uint64_t id, const char *want);

/* One rule of a filter. */
#define FILTER_IP(sources, dsts) "[{\"SrcIPs\":[" sources "],\"DstPorts\":[" dsts "]}]"
#define DST(ip, first, last) "{\"IP\":\"" ip "\",\"Ports\":{\"First\":" #first ",\"Last\":" #last "}}"
#define STAR_SOURCES                                                                                                   \
    "\"10.1.0.0/16\",\"100.115.94.0-100.127.255.255\",\"100.64.0.0-100.115.91.255\",\"fd7a:115c:a1e0::/48\""

#endif
