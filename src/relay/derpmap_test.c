#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/derpmap.h"

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

static void test_files_on_disk(void **state)
{
    (void)state;
    char path[] = "/tmp/derpmap-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    fputs(file_a, f);
    fflush(f);
    struct derpmap map = {0};
    assert_int_equal(derpmap_merge_file(&map, path, NULL), RC_OK);
    assert_int_equal(map.region_n, 2);
    for (int i = 0; i < 1 << 17; i++)
        fputs("# filler\n", f);
    fclose(f);
    struct err err = {0};
    assert_int_equal(derpmap_merge_file(&map, path, &err), RC_TOO_LARGE);
    remove(path);
    assert_int_equal(derpmap_merge_file(&map, path, &err), RC_IO);
    assert_non_null(strstr(err.text, path));
    derpmap_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_relay),     cmocka_unit_test(test_merge),     cmocka_unit_test(test_json_files),
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_bad_files), cmocka_unit_test(test_checks),
        cmocka_unit_test(test_files_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
