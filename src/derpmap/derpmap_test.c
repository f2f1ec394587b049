#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derpmap/derpmap.h"

static void assert_json(const struct derpmap *map, const char *want)
{
    struct buf b = {0};
    derpmap_write_json(map, &b);
    assert_string_equal(buf_cstr(&b), want);
    buf_fini(&b);
}

static const struct derpmap_own own = {
    .host_name = "192.0.2.1",
    .ipv4 = "192.0.2.1",
    .ipv6 = "",
    .cert_name = "sha256-raw:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    .stun_port = 3478,
    .derp_port = 3340,
    .can_port80 = true,
};

#define OWN_JSON                                                                                                       \
    "\"999\":{\"RegionID\":999,\"RegionCode\":\"fullscale\",\"RegionName\":\"Fullscale embedded relay\",\"Nodes\":[{"  \
    "\"Name\":\"999a\",\"RegionID\":999,\"HostName\":\"192.0.2.1\",\"CertName\":\"sha256-raw:"                         \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"IPv4\":\"192.0.2.1\",\"STUNPort\":3478,"     \
    "\"DERPPort\":3340,\"CanPort80\":true}]}"

static void test_own_relay(void **state)
{
    (void)state;
    struct derpmap map = {0};
    assert_int_equal(derpmap_add_own(&map, &own, NULL), RC_OK);
    assert_int_equal(derpmap_check(&map, NULL), RC_OK);
    assert_json(&map, "{\"HomeParams\":{\"RegionScore\":{}},\"Regions\":{" OWN_JSON "}}");
    assert_int_equal(derpmap_add_own(&map, &own, NULL), RC_OK); /* replaces */
    assert_int_equal(map.region_n, 1);
    derpmap_fini(&map);
}

static const char file_a[] = "regions:\n"
                             "  901:\n"
                             "    regionid: 901\n"
                             "    regioncode: ber\n"
                             "    regionname: Berlin\n"
                             "    latitude: 52.5\n"
                             "    nodes:\n"
                             "      - name: 901b\n"
                             "        regionid: 901\n"
                             "        hostname: b.example.com\n"
                             "        ipv6: none\n"
                             "        stunport: -1\n"
                             "      - name: 901a\n"
                             "        hostname: a.example.com\n"
                             "        stunonly: true\n"
                             "  12:\n"
                             "    regioncode: x\n"
                             "    nomeasurenohome: true\n"
                             "    nodes: []\n";

static void test_merge(void **state)
{
    (void)state;
    struct derpmap map = {0};
    assert_int_equal(derpmap_merge_text(&map, str_c(file_a), "a.yaml", NULL), RC_OK);
    assert_int_equal(derpmap_check(&map, NULL), RC_OK);
    assert_json(&map, "{\"HomeParams\":{\"RegionScore\":{}},\"Regions\":{"
                      "\"12\":{\"RegionID\":12,\"RegionCode\":\"x\",\"RegionName\":\"\",\"NoMeasureNoHome\":true,"
                      "\"Nodes\":[]},"
                      "\"901\":{\"RegionID\":901,\"RegionCode\":\"ber\",\"RegionName\":\"Berlin\",\"Latitude\":52.5,"
                      "\"Nodes\":[{\"Name\":\"901b\",\"RegionID\":901,\"HostName\":\"b.example.com\",\"IPv6\":\"none\","
                      "\"STUNPort\":-1},{\"Name\":\"901a\",\"RegionID\":901,\"HostName\":\"a.example.com\","
                      "\"STUNOnly\":true}]}}}");
    assert_int_equal(derpmap_merge_text(&map, STR("regions: {901: null, 12: ~, 13: null}"), "b.yaml", NULL), RC_OK);
    assert_int_equal(map.region_n, 0);
    derpmap_fini(&map);
}

/* What another server serves at /derpmap/default, and a region that comes again. */
static void test_json_files(void **state)
{
    (void)state;
    static const char json[] = "{\"Regions\": {\"1\": {\"RegionID\": 1, \"RegionCode\": \"nyc\", \"RegionName\": \"N\","
                               "\"Nodes\": [{\"Name\": \"1f\", \"RegionID\": 1, \"HostName\": \"derp1f.example.com\","
                               "\"IPv4\": \"192.0.2.9\", \"IPv6\": \"2001:db8::9\", \"CanPort80\": true}]}},\n"
                               "\"HomeParams\": {\"RegionScore\": {\"1\": 0.5, \"77\": 2}},"
                               "\"omitDefaultRegions\": true}";
    struct derpmap map = {0};
    assert_int_equal(derpmap_merge_text(&map, STR("regions: {1: {nodes: [{name: old, hostname: h}]}}"), "a", NULL),
                     RC_OK);
    struct err err = {0};
    if (derpmap_merge_text(&map, str_c(json), "b.json", &err) != RC_OK)
        fail_msg("%s:%d:%d: %s", err.file, err.line, err.col, err.text);
    assert_json(&map, "{\"HomeParams\":{\"RegionScore\":{\"1\":0.5}},\"Regions\":{\"1\":{\"RegionID\":1,"
                      "\"RegionCode\":\"nyc\",\"RegionName\":\"N\",\"Nodes\":[{\"Name\":\"1f\",\"RegionID\":1,"
                      "\"HostName\":\"derp1f.example.com\",\"IPv4\":\"192.0.2.9\",\"IPv6\":\"2001:db8::9\","
                      "\"CanPort80\":true}]}},\"omitDefaultRegions\":true}");
    derpmap_fini(&map);
}

/* What is written can be read again, with the same bytes. */
static void test_round_trip(void **state)
{
    (void)state;
    struct derpmap map = {0}, again = {0};
    struct buf b = {0};
    assert_int_equal(derpmap_merge_text(&map, str_c(file_a), "a.yaml", NULL), RC_OK);
    assert_int_equal(derpmap_add_own(&map, &own, NULL), RC_OK);
    derpmap_write_json(&map, &b);
    assert_int_equal(derpmap_merge_text(&again, buf_str(&b), "b.json", NULL), RC_OK);
    assert_json(&again, buf_cstr(&b));
    buf_fini(&b);
    derpmap_fini(&map);
    derpmap_fini(&again);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line;
        const char *says;
    } rows[] = {
        {"regions: 7", 1, "regions: must be a map"},
        {"- regions", 1, "must be a map"},
        {"region: {}", 1, "region: unknown key"},
        {"regions:\n  0: {}", 2, "from 1 to 65535"},
        {"regions:\n  65536: {}", 2, "from 1 to 65535"},
        {"regions:\n  x: {}", 2, "from 1 to 65535"},
        {"regions:\n  7: []", 2, "a region must be a map"},
        {"regions:\n  7:\n    regionid: 8", 2, "differs from the key"},
        {"regions:\n  7:\n    regionid: 0x7", 3, "whole number"},
        {"regions:\n  7:\n    avoid: yes", 3, "true or false"},
        {"regions:\n  7:\n    latitude: north", 3, "must be a number"},
        {"regions:\n  7:\n    nodes: x", 3, "list of nodes"},
        {"regions:\n  7:\n    nodes: [1]", 3, "each node must be a map"},
        {"regions:\n  7:\n    nodes:\n    - name: a\n      hostnam: b", 5, "hostnam: unknown key"},
        {"regions:\n  7:\n    nodes:\n    - name: [a]", 4, "must be a text"},
        {"regions:\n  7:\n    nodes:\n    - {name: a, regionid: 8}", 4, "not that of its region"},
        {"regions:\n  7:\n    nodes: []\n    Nodes: []", 4, "twice"},
        {"regions: {}\nRegions: {}", 2, "twice"},
        {"homeparams: {score: {}}", 1, "unknown key"},
        {"homeparams: {regionscore: {7: much}}", 1, "must be a number"},
        {"regions: {7: {}}\nhomeparams: {regionscore: {0: 1}}", 2, "from 1 to 65535"},
        {"regions: [", 2, ""},
    };
    struct derpmap map = {0};
    assert_int_equal(derpmap_add_own(&map, &own, NULL), RC_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        assert_int_equal(derpmap_merge_text(&map, str_c(rows[i].text), "f.yaml", &err), RC_INVALID);
        if (err.line != rows[i].line || strstr(err.text, rows[i].says) == NULL)
            fail_msg("%s gave line %d: %s", rows[i].text, err.line, err.text);
        assert_string_equal(err.file, "f.yaml");
    }
    assert_int_equal(map.region_n, 1); /* as before */
    derpmap_fini(&map);
}

static void test_checks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"{}", "no relay"},
        {"regions: {7: {nodes: [{name: a, hostname: h, stunonly: true}]}}", "no relay"},
        {"regions: {7: {nomeasurenohome: true, nodes: [{name: a, hostname: h}]}}", "no relay"},
        {"regions: {7: {nodes: [{hostname: h}]}}", "node 1 has no name"},
        {"regions: {7: {nodes: [{name: a}]}}", "hostname is required"},
        {"regions: {7: {nodes: [{name: a, hostname: h}, {name: a, hostname: h}]}}", "another node named a"},
        {"regions: {7: {nodes: [{name: a, hostname: h}]}, 8: {nodes: [{name: a, hostname: h}]}}", "region 8: there is"},
        {"regions: {7: {nodes: [{name: a, hostname: h, stunport: 65536}]}}", "stunport"},
        {"regions: {7: {nodes: [{name: a, hostname: h, stunport: -2}]}}", "stunport"},
        {"regions: {7: {nodes: [{name: a, hostname: h, derpport: -1}]}}", "derpport"},
        {"regions: {7: {nodes: [{name: a, hostname: h, ipv4: '::1'}]}}", "ipv4 is an IPv6"},
        {"regions: {7: {nodes: [{name: a, hostname: h, ipv6: 192.0.2.1}]}}", "ipv6 is an IPv4"},
        {"regions: {7: {nodes: [{name: a, hostname: h, certname: 'sha256-raw:AB'}]}}", "64 lower-case"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct derpmap map = {0};
        struct err err = {0};
        assert_int_equal(derpmap_merge_text(&map, str_c(rows[i].text), "f", NULL), RC_OK);
        assert_int_equal(derpmap_check(&map, &err), RC_INVALID);
        if (strstr(err.text, rows[i].says) == NULL)
            fail_msg("%s gave: %s", rows[i].text, err.text);
        derpmap_fini(&map);
    }
    struct derpmap map = {0};
    struct derpmap_own bad = own;
    bad.host_name = "";
    assert_int_equal(derpmap_add_own(&map, &bad, NULL), RC_INVALID);
    bad = own;
    bad.region_id = 65536;
    assert_int_equal(derpmap_add_own(&map, &bad, NULL), RC_INVALID);
    assert_int_equal(map.region_n, 0);
}

/* What controlplane.tailscale.com sends, cut short, with keys of the future. */
static void test_client_json(void **state)
{
    (void)state;
    static const char json[] =
        "{\"Regions\":{\"2\":{\"RegionID\":2,\"RegionCode\":\"sfo\",\"RegionName\":\"San \\u0046\",\"Latitude\":37.5,"
        "\"Future\":{\"a\":[1,2]},\"Nodes\":[{\"Name\":\"2d\",\"RegionID\":2,\"HostName\":\"derp2d.example.com\","
        "\"STUNPort\":-1,\"CanPort80\":true,\"Quic\":7}]},\"1\":null,\"7\":{\"Nodes\":null}},"
        "\"HomeParams\":{\"RegionScore\":{\"2\":0.5}},\"Version\":9}";
    struct derpmap map = {0};
    struct err err = {0};
    assert_int_equal(derpmap_merge_text(&map, STR("regions: {1: {nodes: [{name: old, hostname: h}]}}"), "a", NULL),
                     RC_OK);
    if (derpmap_merge_json(&map, str_c(json), "https://x", &err) != RC_OK)
        fail_msg("%s:%d:%d: %s", err.file, err.line, err.col, err.text);
    assert_int_equal(derpmap_check_nodes(&map, NULL), RC_OK);
    assert_json(&map, "{\"HomeParams\":{\"RegionScore\":{\"2\":0.5}},\"Regions\":{\"2\":{\"RegionID\":2,"
                      "\"RegionCode\":\"sfo\",\"RegionName\":\"San F\",\"Latitude\":37.5,\"Nodes\":[{\"Name\":\"2d\","
                      "\"RegionID\":2,\"HostName\":\"derp2d.example.com\",\"STUNPort\":-1,\"CanPort80\":true}]},"
                      "\"7\":{\"RegionID\":7,\"RegionCode\":\"\",\"RegionName\":\"\",\"Nodes\":[]}}}");
    derpmap_fini(&map);
}

/* What we write is what we read; the last of two equal keys wins, as in Go. */
static void test_client_json_again(void **state)
{
    (void)state;
    struct derpmap map = {0}, again = {0};
    struct buf b = {0};
    assert_int_equal(derpmap_merge_text(&map, str_c(file_a), "a.yaml", NULL), RC_OK);
    derpmap_write_json(&map, &b);
    assert_int_equal(derpmap_merge_json(&again, buf_str(&b), "b", NULL), RC_OK);
    assert_json(&again, buf_cstr(&b));
    assert_int_equal(derpmap_merge_json(&again,
                                        STR("{\"regions\":{\"5\":{\"nodes\":[{\"name\":\"x\",\"name\":\"y\"}]},"
                                            "\"12\":null,\"901\":null,\"5\":{\"regionname\":\"last\"}}}"),
                                        "c", NULL),
                     RC_OK);
    assert_int_equal(again.region_n, 1);
    assert_string_equal(again.regions[0].name, "last");
    assert_int_equal(again.regions[0].node_n, 0);
    assert_int_equal(derpmap_merge_json(&again, STR("null"), "d", NULL), RC_OK);
    assert_int_equal(derpmap_merge_json(&again, STR("{\"Regions\":null}"), "d", NULL), RC_OK);
    assert_int_equal(again.region_n, 1);
    buf_fini(&b);
    derpmap_fini(&map);
    derpmap_fini(&again);
}

static void test_bad_client_json(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line;
        const char *says;
    } rows[] = {
        {"", 1, ""},
        {"regions: {}", 1, ""},
        {"<html>404</html>", 1, ""},
        {"[]", 1, "must be an object"},
        {"7", 1, "must be an object"},
        {"{\"Regions\":[]}", 1, "Regions: must be an object"},
        {"{\"Regions\":{\n\"0\":{}}}", 2, "from 1 to 65535"},
        {"{\"Regions\":{\"65536\":{}}}", 1, "from 1 to 65535"},
        {"{\"Regions\":{\"\":{}}}", 1, "from 1 to 65535"},
        {"{\"Regions\":{\"7\":[]}}", 1, "must be an object"},
        {"{\"Regions\":{\"7\":{\"RegionID\":8}}}", 1, "differs from the key"},
        {"{\"Regions\":{\"7\":{\"RegionID\":\"7\"}}}", 1, "RegionID: must be a whole number"},
        {"{\"Regions\":{\"7\":{\"RegionID\":7.0}}}", 1, "RegionID: must be a whole number"},
        {"{\"Regions\":{\"7\":{\"Avoid\":1}}}", 1, "Avoid: must be true or false"},
        {"{\"Regions\":{\"7\":{\"Latitude\":\"n\"}}}", 1, "Latitude: must be a number"},
        {"{\"Regions\":{\"7\":{\"Nodes\":{}}}}", 1, "Nodes: must be a list"},
        {"{\"Regions\":{\"7\":{\"Nodes\":[null]}}}", 1, "must be an object"},
        {"{\"Regions\":{\"7\":{\"Nodes\":[{\"Name\":5}]}}}", 1, "Name: must be a text"},
        {"{\"Regions\":{\"7\":{\"Nodes\":[{\"Name\":\"a\\u0000b\"}]}}}", 1, "Name: must be a text"},
        {"{\"Regions\":{\"7\":{\"Nodes\":[{\"DERPPort\":4294967739}]}}}", 1, "whole number"},
        {"{\"Regions\":{\"7\":{\"Nodes\":[{\"RegionID\":8}]}}}", 1, "not that of its region"},
        {"{\"HomeParams\":{\"RegionScore\":{\"7\":\"x\"}}}", 1, "must be a number"},
        {"{\"HomeParams\":{\"RegionScore\":{\"x\":1}}}", 1, "from 1 to 65535"},
        {"{\"HomeParams\":7}", 1, "HomeParams: must be an object"},
    };
    struct derpmap map = {0};
    assert_int_equal(derpmap_add_own(&map, &own, NULL), RC_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        assert_true(derpmap_merge_json(&map, str_c(rows[i].text), "url", &err) < RC_OK);
        if (err.line != rows[i].line || strstr(err.text, rows[i].says) == NULL)
            fail_msg("%s gave line %d: %s", rows[i].text, err.line, err.text);
    }
    assert_int_equal(map.region_n, 1);
    derpmap_fini(&map);
}

/* `n` members or elements of `item` (which may name their number), within `head` and `tail`. */
static enum rc merge_many(const char *head, const char *item, unsigned n, const char *tail)
{
    struct buf b = {0};
    struct derpmap map = {0};
    buf_append_c(&b, head);
    for (unsigned i = 0; i < n; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%s\"%u", i > 0 ? "," : "", i + 1);
        if (item[0] == '"')
            buf_append_c(&b, number);
        else if (i > 0)
            buf_append_c(&b, ",");
        buf_append_c(&b, item);
    }
    buf_append_c(&b, tail);
    enum rc rc = derpmap_merge_json(&map, buf_str(&b), "url", NULL);
    derpmap_fini(&map);
    buf_fini(&b);
    return rc;
}

static void test_json_limits(void **state)
{
    (void)state;
    assert_int_equal(merge_many("{\"Regions\":{", "\":{}", 1024, "}}"), RC_OK);
    assert_int_equal(merge_many("{\"Regions\":{", "\":{}", 1025, "}}"), RC_TOO_LARGE);
    assert_int_equal(merge_many("{\"Regions\":{\"1\":{\"Nodes\":[", "{\"Name\":\"a\"}", 64, "]}}}"), RC_OK);
    assert_int_equal(merge_many("{\"Regions\":{\"1\":{\"Nodes\":[", "{\"Name\":\"a\"}", 65, "]}}}"), RC_TOO_LARGE);
    assert_int_equal(merge_many("{\"x\":[", "\"", 1, ""), RC_TRUNCATED);
    char text[400];
    snprintf(text, sizeof(text), "{\"Regions\":{\"1\":{\"RegionName\":\"%0255d\"}}}", 0);
    struct derpmap map = {0};
    assert_int_equal(derpmap_merge_json(&map, str_c(text), "url", NULL), RC_OK);
    snprintf(text, sizeof(text), "{\"Regions\":{\"1\":{\"RegionName\":\"%0256d\"}}}", 0);
    assert_int_equal(derpmap_merge_json(&map, str_c(text), "url", NULL), RC_INVALID);
    memset(text, '[', 100);
    text[100] = '\0';
    assert_int_equal(derpmap_merge_json(&map, str_c(text), "url", NULL), RC_TOO_DEEP);
    derpmap_fini(&map);
}

static void test_append(void **state)
{
    (void)state;
    struct derpmap map = {0}, more = {0};
    assert_int_equal(derpmap_add_own(&map, &own, NULL), RC_OK);
    assert_int_equal(derpmap_merge_text(&more,
                                        STR("regions: {999: {regionname: not used, nodes: [{name: b, hostname: bh}]},"
                                            "5: {regioncode: five, nodes: [{name: c, hostname: ch}]}}"),
                                        "a", NULL),
                     RC_OK);
    derpmap_append(&map, &more);
    derpmap_fini(&more);
    assert_int_equal(derpmap_check(&map, NULL), RC_OK);
    assert_int_equal(map.region_n, 2);
    assert_string_equal(map.regions[0].code, "five");
    assert_string_equal(map.regions[0].nodes[0].host_name, "ch");
    assert_string_equal(map.regions[1].name, "Fullscale embedded relay");
    assert_int_equal(map.regions[1].node_n, 2);
    assert_string_equal(map.regions[1].nodes[0].name, "999a");
    assert_string_equal(map.regions[1].nodes[1].host_name, "bh");
    derpmap_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_relay),       cmocka_unit_test(test_merge),
        cmocka_unit_test(test_json_files),      cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bad_files),       cmocka_unit_test(test_checks),
        cmocka_unit_test(test_client_json),     cmocka_unit_test(test_client_json_again),
        cmocka_unit_test(test_bad_client_json), cmocka_unit_test(test_json_limits),
        cmocka_unit_test(test_append),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
