/* Register and map requests: everything that real clients sent parses, everything that Go would refuse is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "codec/json.h"
#include "proto/tailcfg.h"

static void read_vectors(const char *name, struct buf *out)
{
    char path[512];
    uint8_t chunk[4096];
    size_t n;
    snprintf(path, sizeof(path), "%s/%s", VECTORS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_append(out, chunk, n);
    fclose(f);
}

static void check_register(struct str body, bool has_auth)
{
    struct arena a = {0};
    struct register_request req;
    assert_int_equal(tailcfg_register_request_parse(&a, body, &req, NULL), RC_OK);
    assert_true(req.version >= CAP_VERSION_FLOOR);
    assert_false(key_is_zero(req.key.b));
    assert_true(req.hostinfo.is_present);
    assert_true(req.hostinfo.hostname.len > 0);
    assert_int_equal(req.auth_key.len > 0, has_auth);
    const char *bad;
    struct rcbuf *kept = hostinfo_for_store(&req.hostinfo, &bad);
    assert_null(bad);
    struct rcbuf *shown = hostinfo_for_peers(&req.hostinfo);
    assert_non_null(kept);
    assert_non_null(shown);
    assert_null(memmem(kept->data, kept->len, "NetInfo", 7));
    assert_null(memmem(shown->data, shown->len, "LogID", 5));
    rcbuf_unref(&kept);
    rcbuf_unref(&shown);
    arena_fini(&a);
}

static void check_map(struct str body)
{
    struct arena a = {0};
    struct map_request req;
    assert_int_equal(tailcfg_map_request_parse(&a, body, &req, NULL), RC_OK);
    assert_true(req.wants_zstd);
    assert_false(key_is_zero(req.key.b));
    assert_false(key_is_zero(req.disco.b));
    assert_true(req.is_stream != req.omit_peers);
    arena_fini(&a);
}

static void test_captured_requests(void **state)
{
    (void)state;
    struct buf text = {0};
    struct arena a = {0};
    const struct json *root;
    unsigned registers = 0, maps = 0;
    read_vectors("captured_requests.json", &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &root, NULL), RC_OK);
    JSON_EACH (r, json_get(root, "requests")) {
        struct str path;
        const struct json *body = json_get(r, "body");
        assert_true(json_str(json_get(r, "path"), &path));
        if (str_eq(path, STR("/machine/register"))) {
            check_register(json_raw(body), !json_is_null(json_get(json_get(body, "Auth"), "AuthKey")));
            registers++;
        } else if (str_eq(path, STR("/machine/map"))) {
            check_map(json_raw(body));
            maps++;
        }
    }
    assert_true(registers >= 4 && maps >= 4);
    arena_fini(&a);
    buf_fini(&text);
}

#define KEY64 "93d25891ed0bdebee18b447801d1cbc2bc1c2a4657524c401b7c86ec00c9fb79"

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{\"Version\":\"113\"}",
        "{\"Version\":1.0}",
        "{\"NodeKey\":\"\"}",
        "{\"NodeKey\":\"mkey:" KEY64 "\"}",
        "{\"NodeKey\":7}",
        "{\"Hostinfo\":[]}",
        "{\"Hostinfo\":{\"RequestTags\":[1]}}",
        "{\"Hostinfo\":{\"RequestTags\":{}}}",
        "{\"Stream\":1}",
        "{} trailing",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct arena a = {0};
        struct map_request req;
        struct err err = {0};
        assert_int_not_equal(tailcfg_map_request_parse(&a, str_c(bad[i]), &req, &err), RC_OK);
        assert_true(err.text[0] != '\0');
        arena_fini(&a);
    }
    static const char *const bad_register[] = {"{\"Expiry\":\"\"}",        "{\"Expiry\":\"yesterday\"}",
                                               "{\"Auth\":\"k\"}",         "{\"Auth\":{\"AuthKey\":1}}",
                                               "{\"Ephemeral\":\"true\"}", "{\"OldNodeKey\":\"nodekey:00\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad_register); i++) {
        struct arena a = {0};
        struct register_request req;
        assert_int_not_equal(tailcfg_register_request_parse(&a, str_c(bad_register[i]), &req, NULL), RC_OK);
        arena_fini(&a);
    }
}

/* --- Hostinfo: what is wrong is left out, and nothing else --- */

struct rewritten {
    struct arena arena;
    struct map_request req;
    struct rcbuf *kept, *shown;
    const char *bad;
};

static void rewrite(struct rewritten *r, const char *hostinfo)
{
    *r = (struct rewritten){0};
    struct str body = str_c(arena_printf(&r->arena, "{\"Hostinfo\":%s}", hostinfo));
    assert_int_equal(tailcfg_map_request_parse(&r->arena, body, &r->req, NULL), RC_OK);
    r->kept = hostinfo_for_store(&r->req.hostinfo, &r->bad);
    r->shown = hostinfo_for_peers(&r->req.hostinfo);
}

static void rewritten_fini(struct rewritten *r)
{
    rcbuf_unref(&r->kept);
    rcbuf_unref(&r->shown);
    arena_fini(&r->arena);
}

static void assert_text(const struct rcbuf *b, const char *want)
{
    if (want == NULL) {
        assert_null(b);
        return;
    }
    assert_non_null(b);
    if (!str_eq_c(str_n(b->data, b->len), want))
        fail_msg("%.*s instead of %s", (int)b->len, (const char *)b->data, want);
}

static void test_hostinfo_of_the_right_types(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *kept, *shown;
    } cases[] = {
        {"{}", "{}", NULL},
        {"{\"OS\":\"linux\",\"ShieldsUp\":true,\"Container\":false}",
         "{\"OS\":\"linux\",\"Container\":false,\"ShieldsUp\":true}", "{\"OS\":\"linux\",\"ShieldsUp\":true}"},
        {"{\"OS\":7,\"os\":\"linux\",\"Unknown\":{\"x\":1}}", "{\"OS\":\"linux\"}", "{\"OS\":\"linux\"}"},
        {"{\"OS\":null,\"Services\":null}", "{}", NULL},
        {"{\"Services\":[{\"Proto\":\"tcp\",\"Port\":22},{\"Proto\":\"peerapi4\",\"Port\":65535}]}",
         "{\"Services\":[{\"Proto\":\"tcp\",\"Port\":22},{\"Proto\":\"peerapi4\",\"Port\":65535}]}",
         "{\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":65535}]}"},
        {"{\"Location\":{\"City\":\"Z\",\"Latitude\":-90,\"Priority\":2147483647}}",
         "{\"Location\":{\"City\":\"Z\",\"Latitude\":-90,\"Priority\":2147483647}}",
         "{\"Location\":{\"City\":\"Z\",\"Latitude\":-90,\"Priority\":2147483647}}"},
        {"{\"TPM\":{\"FirmwareVersion\":18446744073709551615},\"sshHostKeys\":[\"ssh-ed25519 AAAA\"]}",
         "{\"sshHostKeys\":[\"ssh-ed25519 AAAA\"],\"TPM\":{\"FirmwareVersion\":18446744073709551615}}",
         "{\"sshHostKeys\":[\"ssh-ed25519 AAAA\"]}"},
        {"{\"RoutableIPs\":[\"10.1.2.3/8\"],\"AppConnector\":false,\"PeerRelay\":true}",
         "{\"RoutableIPs\":[\"10.0.0.0/8\"],\"AppConnector\":false,\"PeerRelay\":true}", "{\"PeerRelay\":true}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rewritten r;
        rewrite(&r, cases[i].sent);
        assert_text(r.kept, cases[i].kept);
        assert_text(r.shown, cases[i].shown);
        assert_null(r.bad);
        rewritten_fini(&r);
    }
}

/* Each would make official clients drop the whole map in which the node is a peer. */
static void test_hostinfo_of_wrong_types_reaches_nobody(void **state)
{
    (void)state;
    static const char *const names[] = {
        "OS",       "OSVersion",    "Hostname",       "App",         "ShieldsUp", "sshHostKeys",
        "Location", "WireIngress",  "IngressEnabled", "RoutableIPs", "PeerRelay", "StateEncrypted",
        "Services", "AppConnector", "IPNVersion",     "TPM",         "WoLMACs"};
    static const char *const values[] = {"7", "-1.5", "1e999", "{\"a\":1}", "[1]", "[null]", "[[]]", "[{\"Proto\":1}]"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t k = 0; k < ARRAY_LEN(values); k++) {
            char text[128];
            struct rewritten r;
            bool is_group = values[k][0] == '{' &&
                            (str_eq_c(STR("TPM"), names[i]) || str_eq_c(STR("Location"), names[i]));
            snprintf(text, sizeof(text), "{\"%s\":%s,\"App\":\"good\"}", names[i], values[k]);
            rewrite(&r, text);
            assert_non_null(r.kept);
            if (!is_group && !str_eq_c(STR("App"), names[i])) {
                assert_string_equal(r.bad, names[i]);
                assert_text(r.kept, "{\"App\":\"good\"}");
                assert_text(r.shown, "{\"App\":\"good\"}");
            }
            rewritten_fini(&r);
        }
    }
}

static void test_hostinfo_of_wrong_values(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *shown, *bad;
    } cases[] = {
        {"{\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":65536},{\"Proto\":\"peerapi6\",\"Port\":1}]}",
         "{\"Services\":[{\"Proto\":\"peerapi6\",\"Port\":1}]}", "Services"},
        {"{\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":1,\"Description\":{}}]}", NULL, "Services"},
        {"{\"Location\":{\"Priority\":2147483648,\"Latitude\":91,\"City\":[]}}", "{\"Location\":{}}", "City"},
        {"{\"Location\":{\"Priority\":-1}}", "{\"Location\":{}}", "Priority"},
        /* A line break would add a line to the known_hosts file of SSH clients. */
        {"{\"sshHostKeys\":[\"ssh-rsa A\\n* ssh-rsa B\",\"ssh-rsa C\",\"\"]}", "{\"sshHostKeys\":[\"ssh-rsa C\"]}",
         "sshHostKeys"},
        {"{\"NetInfo\":7,\"OS\":\"a\"}", "{\"OS\":\"a\"}", "NetInfo"},
        {"{\"NetInfo\":{\"PreferredDERP\":\"1\"},\"OS\":\"a\"}", "{\"OS\":\"a\"}", "PreferredDERP"},
        {"{\"OS\":\"a\\u001b[2J\\u202eb\\u0085\\u0000c\"}", "{\"OS\":\"a?[2J?b??c\"}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rewritten r;
        rewrite(&r, cases[i].sent);
        assert_text(r.shown, cases[i].shown);
        if (cases[i].bad != NULL)
            assert_string_equal(r.bad, cases[i].bad);
        else
            assert_null(r.bad);
        rewritten_fini(&r);
    }
}

static void test_hostinfo_has_limits(void **state)
{
    (void)state;
    struct rewritten r;
    struct buf text = {0};
    buf_append_c(&text, "{\"OS\":\"");
    for (unsigned i = 0; i < 100; i++)
        buf_append_c(&text, "\xc3\xa9");
    buf_append_c(&text, "\",\"sshHostKeys\":[\"k\"");
    for (unsigned i = 0; i < 40; i++)
        buf_printf(&text, ",\"%01500d\"", 1);
    buf_append_c(&text, "]}");
    rewrite(&r, buf_cstr(&text));
    const struct json *root, *keys;
    struct str os;
    assert_int_equal(json_parse(&r.arena, str_n(r.shown->data, r.shown->len), NULL, &root, NULL), RC_OK);
    assert_true(json_str(json_get(root, "OS"), &os));
    assert_int_equal(os.len, 128);
    keys = json_get(root, "sshHostKeys");
    assert_int_equal(json_len(keys), 6);
    assert_string_equal(r.bad, "sshHostKeys");
    rewritten_fini(&r);

    buf_clear(&text);
    buf_printf(&text, "{\"OS\":\"linux\",\"Env\":\"%0*d\"}", TAILCFG_HOSTINFO_MAX_BYTES, 1);
    rewrite(&r, buf_cstr(&text));
    assert_null(r.kept);
    assert_null(r.shown);
    assert_string_equal(r.bad, "its size");
    rewritten_fini(&r);
    buf_fini(&text);
}

/* What is kept reads as what was kept. */
static void test_kept_hostinfo_reads_again(void **state)
{
    (void)state;
    struct rewritten r;
    struct hostinfo again;
    rewrite(&r, "{\"OS\":\"linux\",\"Hostname\":\"a\\u001fb\",\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":9}],"
                "\"Location\":{\"Latitude\":47.3769},\"RoutableIPs\":[\"fd00::/8\"]}");
    for (unsigned i = 0; i < 2; i++) {
        struct rcbuf *from = i == 0 ? r.kept : r.shown;
        assert_int_equal(hostinfo_read(&r.arena, str_n(from->data, from->len), &again), RC_OK);
        struct rcbuf *kept = hostinfo_for_store(&again, NULL);
        struct rcbuf *shown = hostinfo_for_peers(&again);
        assert_true(rcbuf_eq(i == 0 ? kept : r.shown, from));
        assert_true(rcbuf_eq(shown, r.shown));
        rcbuf_unref(&kept);
        rcbuf_unref(&shown);
    }
    assert_int_not_equal(hostinfo_read(&r.arena, STR("[]"), &again), RC_OK);
    assert_int_not_equal(hostinfo_read(&r.arena, STR("{\"OS"), &again), RC_OK);
    rewritten_fini(&r);
}

static void test_endpoints_of_unknown_kinds_are_left_out(void **state)
{
    (void)state;
    struct arena a = {0};
    struct map_request req;
    assert_int_equal(tailcfg_map_request_parse(
                         &a,
                         STR("{\"Endpoints\":[\"1.2.3.4\",null,7,\"1.2.3.4:70000\",\"[fe80::1%e]:1\",\"1.2.3.4:5\"]}"),
                         &req, NULL),
                     RC_OK);
    assert_true(req.has_endpoints);
    assert_int_equal(req.endpoints_n, 1);
    assert_int_equal(req.endpoints[0].port, 5);
    assert_int_equal(tailcfg_map_request_parse(&a, STR("{\"Endpoints\":\"1.2.3.4:5\"}"), &req, NULL), RC_OK);
    assert_false(req.has_endpoints);
    arena_fini(&a);
}

static void test_tolerances(void **state)
{
    (void)state;
    struct arena a = {0};
    struct map_request req;
    assert_int_equal(
        tailcfg_map_request_parse(&a,
                                  STR("{\"version\":113,\"NODEKEY\":\"nodekey:" KEY64 "\",\"DiscoKey\":null,"
                                      "\"Endpoints\":[],\"New\":{\"x\":[1,{}]},\"Stream\":false,\"Stream\":true}\n"),
                                  &req, NULL),
        RC_OK);
    assert_int_equal(req.version, 113);
    assert_true(req.is_stream);
    assert_true(req.has_endpoints);
    assert_int_equal(req.endpoints_n, 0);
    assert_false(req.wants_zstd);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_requests),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hostinfo_of_the_right_types),
        cmocka_unit_test(test_hostinfo_of_wrong_types_reaches_nobody),
        cmocka_unit_test(test_hostinfo_of_wrong_values),
        cmocka_unit_test(test_hostinfo_has_limits),
        cmocka_unit_test(test_kept_hostinfo_reads_again),
        cmocka_unit_test(test_endpoints_of_unknown_kinds_are_left_out),
        cmocka_unit_test(test_tolerances),
    };
    return cmocka_run_group_tests_name("tailcfg", tests, NULL, NULL);
}
