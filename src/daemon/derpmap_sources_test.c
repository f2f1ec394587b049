#include "daemon/testing.h"

#include "base/log.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "daemon/derpmap_internal.h"

#define PIN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct fixture {
    struct test_folder folder;
    struct config *cfg;
    struct daemon_derpmap_sources *sources;
};

static void open_sources(struct fixture *x, const char *yaml)
{
    struct err err = {0};
    x->cfg = test_config(&x->folder, yaml);
    x->sources = daemon_derpmap_sources_create(x->cfg);
    if (daemon_derpmap_sources_load(x->sources, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static void close_sources(struct fixture *x)
{
    daemon_derpmap_sources_destroy(&x->sources);
    config_destroy(&x->cfg);
}

/* "1:name 999:999a+other": regions and the names of their nodes, as the JSON has them. */
static const char *outline(const struct rcbuf *json)
{
    static char out[512];
    size_t n = 0;
    struct derpmap map = {0};
    assert_int_equal(derpmap_merge_json(&map, str_n(json->data, json->len), "made", NULL), RC_OK);
    out[0] = '\0';
    for (unsigned i = 0; i < map.region_n; i++) {
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%d:", i > 0 ? " " : "", map.regions[i].id);
        for (unsigned k = 0; k < map.regions[i].node_n; k++)
            n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", k > 0 ? "+" : "", map.regions[i].nodes[k].name);
    }
    derpmap_fini(&map);
    return out;
}

static void assert_map(struct fixture *x, const char *want)
{
    struct daemon_derpmap_texts t;
    struct err err = {0};
    if (daemon_derpmap_sources_build(x->sources, PIN, false, &t, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(outline(t.pinned), want);
    daemon_derpmap_texts_fini(&t);
}

static void answer(struct fixture *x, size_t url, enum rc rc, int status, const char *body, const char *etag)
{
    struct fetch_reply r = {rc, status, str_c(body), etag, rc == RC_OK ? "" : "in words"};
    daemon_derpmap_sources_take(x->sources, url, &r);
}

static int64_t fetches(const char *result)
{
    char label[40];
    snprintf(label, sizeof(label), "result=\"%s\"", result);
    return metric_read("fullscale_derpmap_fetches_total", label);
}

#define REGION(id, node)                                                                                               \
    "\"" #id "\":{\"RegionID\":" #id ",\"Nodes\":[{\"Name\":\"" node "\",\"HostName\":\"h\",\"RegionID\":" #id "}]}"
#define MAP_OF(regions) "{\"Regions\":{" regions "},\"Future\":1}"

static const char two_urls[] = "derp.urls: [http://a/, http://b/]\nderp.paths: [%/f.yaml]\n";

/* URLs, then files, then the region of this server; null removes what came before. */
static void test_order(void **state)
{
    struct fixture *x = *state;
    test_write(&x->folder, "f.yaml", "regions: {2: null, 3: {nodes: [{name: 3f, hostname: h}]}}");
    open_sources(x, two_urls);
    assert_map(x, "3:3f 999:999a");
    answer(x, 1, RC_OK, 200, MAP_OF(REGION(4, "4b") "," REGION(1, "1b") "," REGION(3, "3b")), "");
    assert_map(x, "1:1b 3:3f 4:4b 999:999a");
    answer(x, 0, RC_OK, 200, MAP_OF(REGION(999, "999x") "," REGION(1, "1a") "," REGION(2, "2a") "," REGION(5, "5a")),
           "");
    assert_map(x, "1:1b 3:3f 4:4b 5:5a 999:999a");
    answer(x, 1, RC_OK, 200, MAP_OF("\"1\":null"), "");
    assert_map(x, "3:3f 5:5a 999:999a");
    close_sources(x);
}

/* After the files, before the region of this server; a text that is no map changes nothing. */
static void test_policy(void **state)
{
    struct fixture *x = *state;
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f, hostname: h}]}}");
    open_sources(x, two_urls);
    answer(x, 0, RC_OK, 200, MAP_OF(REGION(1, "1a")), "");
    answer(x, 1, RC_OK, 200, MAP_OF(REGION(2, "2b")), "");
    assert_true(daemon_derpmap_sources_set_policy(x->sources, STR("{\"regions\":{\"1\":null," REGION(3, "3p") "}}")));
    assert_map(x, "2:2b 3:3p 999:999a");
    assert_false(daemon_derpmap_sources_set_policy(x->sources, STR("{\"regions\":{\"1\":null," REGION(3, "3p") "}}")));
    assert_false(daemon_derpmap_sources_set_policy(x->sources, STR("{\"regions\":{\"5\":{\"Nodes\":[{}]}}}")));
    assert_map(x, "2:2b 3:3p 999:999a");
    assert_true(daemon_derpmap_sources_set_policy(
        x->sources, STR("{\"omitDefaultRegions\":true,\"regions\":{" REGION(999, "999p") "}}")));
    assert_map(x, "3:3f 999:999a");
    assert_true(daemon_derpmap_sources_set_policy(x->sources, STR("")));
    assert_map(x, "1:1a 2:2b 3:3f 999:999a");
    close_sources(x);
}

/* A proxy that publishes nothing but server_url: clients are sent there, and check its certificate. */
static void test_relay_behind_a_proxy(void **state)
{
    struct fixture *x = *state;
    struct daemon_derpmap_texts t;
    open_sources(x, "server_url: https://hs.example.net\ntrusted_proxies: [172.16.0.0/12]\nlisten_addr: 0.0.0.0:8080\n"
                    "derp.server: {ipv4: 198.51.100.1, stun_listen_addr: 0.0.0.0:3478}\n");
    assert_int_equal(daemon_derpmap_sources_build(x->sources, "", false, &t, NULL), RC_OK);
    assert_null(t.unpinned);
    static const char *const parts[] = {"\"HostName\":\"hs.example.net\"", "\"STUNPort\":3478", NULL};
    for (size_t i = 0; parts[i] != NULL; i++)
        assert_non_null(memmem(t.pinned->data, t.pinned->len, parts[i], strlen(parts[i])));
    static const char *const absent[] = {"8443", "8080", "InsecureForTests", "CertName", "198.51.100.1", NULL};
    for (size_t i = 0; absent[i] != NULL; i++)
        if (memmem(t.pinned->data, t.pinned->len, absent[i], strlen(absent[i])) != NULL)
            fail_msg("%s in %.*s", absent[i], (int)t.pinned->len, (const char *)t.pinned->data);
    daemon_derpmap_texts_fini(&t);
    close_sources(x);
}

static void test_contributions(void **state)
{
    struct fixture *x = *state;
    struct derpmap map = {0};
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f, hostname: h}]}}");
    open_sources(x, "derp.paths: [%/f.yaml]\n");
    assert_int_equal(derpmap_merge_json(&map, STR(MAP_OF(REGION(999, "999b") "," REGION(7, "7c"))), "c", NULL), RC_OK);
    daemon_derpmap_sources_contribute(x->sources, "relays", &map);
    assert_int_equal(map.region_n, 0);
    assert_map(x, "3:3f 7:7c 999:999a+999b");
    assert_int_equal(derpmap_merge_json(&map, STR(MAP_OF(REGION(3, "3o"))), "c", NULL), RC_OK);
    daemon_derpmap_sources_contribute(x->sources, "others", &map);
    assert_map(x, "3:3f+3o 7:7c 999:999a+999b");
    daemon_derpmap_sources_contribute(x->sources, "relays", &map); /* nothing any more */
    assert_map(x, "3:3f+3o 999:999a");
    close_sources(x);
}

static void test_answers(void **state)
{
    struct fixture *x = *state;
    static const char good[] = MAP_OF(REGION(1, "1a")), other[] = MAP_OF(REGION(2, "2a"));
    static const struct {
        enum rc rc;
        int status;
        const char *body;
    } bad[] = {
        {RC_TIMEOUT, 0, ""},
        {RC_TOO_LARGE, 0, ""},
        {RC_OK, 404, good},
        {RC_OK, 304, ""}, /* without an ETag */
        {RC_OK, 200, ""},
        {RC_OK, 200, "<html>"},
        {RC_OK, 200, MAP_OF("\"1\":{\"Nodes\":[{\"Name\":\"no host\"}]}")},
        {RC_OK, 200, MAP_OF("\"99999\":{}")},
    };
    open_sources(x, "derp.urls: [http://a/]\n");
    assert_int_equal(daemon_derpmap_sources_url_n(x->sources), 1);
    assert_string_equal(daemon_derpmap_sources_url(x->sources, 0), "http://a/");
    int64_t failed = fetches("failed"), new = fetches("new"), same = fetches("unchanged");
    answer(x, 0, RC_OK, 200, good, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        answer(x, 0, bad[i].rc, bad[i].status, bad[i].body, "\"e\"");
        assert_map(x, "1:1a 999:999a");
        assert_null(daemon_derpmap_sources_etag(x->sources, 0));
        assert_int_equal(fetches("failed"), failed + 1 + (int64_t)i);
        assert_true(daemon_derpmap_sources_is_failing(x->sources));
    }
    answer(x, 0, RC_OK, 200, good, "\"v1\""); /* the same, now with a name */
    assert_string_equal(daemon_derpmap_sources_etag(x->sources, 0), "\"v1\"");
    assert_false(daemon_derpmap_sources_is_failing(x->sources));
    answer(x, 0, RC_OK, 304, "", "\"v1\"");
    assert_int_equal(fetches("unchanged"), same + 2);
    answer(x, 0, RC_OK, 200, other, "\"v2\"");
    assert_string_equal(daemon_derpmap_sources_etag(x->sources, 0), "\"v2\"");
    assert_map(x, "2:2a 999:999a");
    assert_int_equal(fetches("new"), new + 2);
    answer(x, 0, RC_CLOSED, 0, "", "");
    assert_int_equal(fetches("failed"), failed + (int64_t)ARRAY_LEN(bad));
    close_sources(x);
}

/* The only file in the folder of copies. */
static const char *copy_name(struct fixture *x)
{
    static char name[300];
    DIR *d = opendir(test_path(&x->folder, "derpmap"));
    assert_non_null(d);
    name[0] = '\0';
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.')
            continue;
        assert_string_equal(name, "");
        snprintf(name, sizeof(name), "derpmap/%s", e->d_name);
    }
    closedir(d);
    return name;
}

/* The troubles name the reason, also in the words of the library that failed. */
static void test_reasons_are_reported(void **state)
{
    struct fixture *x = *state;
    struct buf out = {0};
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f, hostname: h}]}}");
    open_sources(x, two_urls);
    daemon_derpmap_sources_faults(x->sources, &out);
    assert_int_equal(buf_len(&out), 0);
    answer(x, 0, RC_TIMEOUT, 0, "", "");
    answer(x, 1, RC_OK, 404, "", "");
    daemon_derpmap_sources_faults(x->sources, &out);
    assert_string_equal(buf_cstr(&out), "derp.urls: http://a/: timed out (in words); what was there before stays\n"
                                        "derp.urls: http://b/: HTTP status 404; what was there before stays\n");
    buf_clear(&out);
    answer(x, 0, RC_OK, 200, MAP_OF(REGION(1, "1a")), "");
    answer(x, 1, RC_OK, 200, MAP_OF(REGION(2, "2b")), "");
    daemon_derpmap_sources_faults(x->sources, &out);
    assert_int_equal(buf_len(&out), 0);
    buf_fini(&out);
    close_sources(x);
}

static void test_copies(void **state)
{
    struct fixture *x = *state;
    char path[128];
    open_sources(x, "derp.urls: [http://a/]\n");
    answer(x, 0, RC_OK, 200, MAP_OF(REGION(1, "1a")), "\"v1\"");
    close_sources(x);
    open_sources(x, "derp.urls: [http://a/]\n");
    assert_map(x, "1:1a 999:999a");
    assert_null(daemon_derpmap_sources_etag(x->sources, 0)); /* asked for anew */
    answer(x, 0, RC_OK, 200, "nonsense", "");
    close_sources(x);
    open_sources(x, "derp.urls: [http://other/]\n"); /* not its copy */
    assert_map(x, "999:999a");
    close_sources(x);
    snprintf(path, sizeof(path), "%s", test_path(&x->folder, copy_name(x)));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"Regions\":", f);
    fclose(f);
    open_sources(x, "derp.urls: [http://a/]\n"); /* a broken copy does not keep the program from starting */
    assert_map(x, "999:999a");
    answer(x, 0, RC_OK, 200, MAP_OF(REGION(1, "1a")), "");
    daemon_derpmap_sources_forget_urls(x->sources);
    assert_map(x, "999:999a");
    close_sources(x);
    open_sources(x, "derp.urls: [http://a/]\n"); /* mended */
    assert_map(x, "1:1a 999:999a");
    close_sources(x);
}

static void test_files(void **state)
{
    struct fixture *x = *state;
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f, hostname: h}]}}");
    open_sources(x, "derp.paths: [%/f.yaml]\n");
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f}]}}");
    daemon_derpmap_sources_reread(x->sources);
    assert_map(x, "3:3f 999:999a");
    unlink(test_path(&x->folder, "f.yaml"));
    daemon_derpmap_sources_reread(x->sources);
    assert_map(x, "3:3f 999:999a");
    test_write(&x->folder, "f.yaml", "regions: {4: {nodes: [{name: 4f, hostname: h}]}}");
    daemon_derpmap_sources_reread(x->sources);
    assert_map(x, "4:4f 999:999a");
    close_sources(x);

    struct err err = {0}; /* at the start it must be valid */
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 3f}]}}");
    x->cfg = test_config(&x->folder, "derp.paths: [%/f.yaml]\n");
    x->sources = daemon_derpmap_sources_create(x->cfg);
    assert_int_equal(daemon_derpmap_sources_load(x->sources, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "hostname is required"));
    close_sources(x);
}

/* There must be a relay; a URL that has never answered may be the one to name it. */
static void test_no_relay(void **state)
{
    struct fixture *x = *state;
    struct daemon_derpmap_texts t;
    struct err err = {0};
    open_sources(x, "derp.urls: [http://a/]\nderp.server.enabled: false\n");
    assert_map(x, "");
    answer(x, 0, RC_OK, 200, MAP_OF("\"1\":null"), "");
    assert_int_equal(daemon_derpmap_sources_build(x->sources, PIN, false, &t, &err), RC_INVALID);
    assert_null(t.pinned);
    assert_non_null(strstr(err.text, "derp.urls"));
    close_sources(x);
}

static void test_double_names(void **state)
{
    struct fixture *x = *state;
    struct daemon_derpmap_texts t;
    struct err err = {0};
    test_write(&x->folder, "f.yaml", "regions: {3: {nodes: [{name: 1a, hostname: h}]}}");
    open_sources(x, "derp.urls: [http://a/]\nderp.paths: [%/f.yaml]\n");
    answer(x, 0, RC_OK, 200, MAP_OF(REGION(1, "1a")), "");
    assert_int_equal(daemon_derpmap_sources_build(x->sources, PIN, false, &t, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "another node named 1a"));
    close_sources(x);
}

static void test_pins(void **state)
{
    struct fixture *x = *state;
    struct daemon_derpmap_texts a, b;
    open_sources(x, "");
    assert_int_equal(daemon_derpmap_sources_build(x->sources, PIN, false, &a, NULL), RC_OK);
    assert_non_null(memmem(a.pinned->data, a.pinned->len, "sha256-raw:" PIN, 11 + 64));
    assert_null(memmem(a.unpinned->data, a.unpinned->len, "sha256-raw", 10));
    assert_non_null(memmem(a.unpinned->data, a.unpinned->len, "\"InsecureForTests\":true", 23));
    assert_non_null(memmem(a.pinned->data, a.pinned->len, "\"IPv4\":\"192.0.2.1\"", 18));
    assert_int_equal(daemon_derpmap_sources_build(x->sources, PIN, false, &b, NULL),
                     RC_OK); /* same sources, same bytes */
    assert_true(rcbuf_eq(a.pinned, b.pinned));
    assert_true(rcbuf_eq(a.unpinned, b.unpinned));
    daemon_derpmap_texts_fini(&b);
    assert_int_equal(daemon_derpmap_sources_build(x->sources, "", false, &b, NULL), RC_OK);
    assert_null(memmem(b.pinned->data, b.pinned->len, "sha256-raw", 10));
    assert_null(b.unpinned);
    daemon_derpmap_texts_fini(&a);
    daemon_derpmap_texts_fini(&b);
    close_sources(x);
}

static int set_up(void **state)
{
    static struct fixture x;
    x = (struct fixture){0};
    test_folder_make(&x.folder);
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    test_folder_empty(&x->folder, "derpmap");
    test_folder_remove(&x->folder);
    return 0;
}

int main(void)
{
    crypto_init();
    if (log_set_level("derpmap", LOG_OFF) != RC_OK)
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_policy),
        TEST(test_relay_behind_a_proxy),
        TEST(test_contributions),
        TEST(test_reasons_are_reported),
        TEST(test_answers),
        TEST(test_copies),
        TEST(test_files),
        TEST(test_no_relay),
        TEST(test_double_names),
        TEST(test_pins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
