/* The calls about the policy. */
#include "api/testing.h"

/* --- a server --- */

static int set_up_file(void **state)
{
    return fixture_setup_with(state, "/etc/policy.hujson", "/etc/policy.hujson:1:2: oh\n");
}

/* --- the policy --- */

static const char web_policy[] = "{ // who may\n"
                                 "  \"tagOwners\": {\"tag:web\": []},\n"
                                 "  \"acls\": [\n"
                                 "    {\"action\": \"accept\", \"src\": [\"anna@\"], \"dst\": [\"tag:web:443\"]},\n"
                                 "  ],\n"
                                 "}\n";

/* {"policy": text}, and what else stands in `more`. Lives in the fixture's arena. */
static const char *policy_body(struct fixture *f, struct str text, const char *more)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_str(&w, text);
    const char *body = arena_printf(&f->arena, "{\"policy\":%s%s}", buf_cstr(&out), more);
    buf_fini(&out);
    return body;
}

static int64_t number_of(const struct json *object, const char *key)
{
    int64_t v = -1;
    if (!json_i64(json_get(object, key), &v))
        fail_msg("no %s", key);
    return v;
}

/* A policy is refused, with a position in `errors` (line -1: any), and the one in force stays. */
static void policy_refused(struct fixture *f, struct str text, int line, int col, const char *message)
{
    fixture_refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, text, ""), message);
    const struct json *errors = json_get(f->reply, "errors");
    assert_true(json_len(errors) > 0);
    const struct json *first = json_first(errors);
    if (line >= 0) {
        assert_int_equal(number_of(first, "line"), line);
        assert_int_equal(number_of(first, "column"), col);
        const char *position = arena_printf(&f->arena, "policy:%d:%d", line, col);
        assert_string_equal(fixture_text_of(f, first, "location"), position);
    }
    assert_true(fixture_text_of(f, first, "message")[0] != '\0');
}

/* anna, bert; laptop of anna, server with tag:web, phone of bert. */
static void make_tailnet(struct fixture *f)
{
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"bert\"}");
    fixture_join(f, fixture_new_key(f, "{\"user\":1}"), "laptop", 1);
    fixture_join(f, fixture_new_key(f, "{\"user\":1,\"aclTags\":[\"tag:web\"]}"), "server", 2);
    fixture_join(f, fixture_new_key(f, "{\"user\":2}"), "phone", 3);
}

static void test_policy_versions(void **state)
{
    struct fixture *f = *state;
    fixture_refused(f, 404, "GET", "/api/v1/policy", "", "acl policy not found");
    fixture_refused(f, 404, "POST", "/api/v1/policy/rollback/1", "", "no version 1 of the policy");
    const struct json *set = fixture_call(
        f, 200, "PUT", "/api/v1/policy",
        policy_body(f, str_c(web_policy), ",\"author\":\"anna\",\"note\":\"web \u00e9\""));
    assert_string_equal(fixture_text_of(f, set, "policy"), web_policy);
    assert_true(str_ends(str_c(fixture_text_of(f, set, "updatedAt")), STR("Z")));
    assert_int_equal(json_len(json_get(set, "warnings")), 1); /* there is no anna yet */
    assert_non_null(strstr(fixture_text_of(f, json_first(json_get(set, "warnings")), "message"), "anna@"));
    fixture_call(f, 200, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""));
    const struct json *got = fixture_call(f, 200, "GET", "/api/v1/policy", "");
    assert_string_equal(fixture_text_of(f, got, "policy"), "{}");
    assert_string_equal(fixture_text_of(f, got, "version"), "2");
    assert_string_equal(fixture_text_of(f, got, "mode"), "database");

    fixture_call(f, 200, "POST", "/api/v1/policy/rollback/1", "{\"author\":\"bert\"}");
    assert_string_equal(fixture_text_of(f, fixture_call(f, 200, "GET", "/api/v1/policy", ""), "policy"), web_policy);
    const struct json *versions = json_get(fixture_call(f, 200, "GET", "/api/v1/policy/history", ""), "versions");
    assert_int_equal(json_len(versions), 3);
    const struct json *newest = json_first(versions);
    assert_string_equal(fixture_text_of(f, newest, "version"), "3");
    assert_string_equal(fixture_text_of(f, newest, "author"), "bert");
    assert_string_equal(fixture_text_of(f, newest, "note"), "rollback to 1");
    assert_true(fixture_flag_of(newest, "current"));
    assert_false(fixture_flag_of(json_next(newest), "current"));
    assert_int_equal(number_of(newest, "bytes"), (int64_t)strlen(web_policy));
    const struct json *second = fixture_call(f, 200, "GET", "/api/v1/policy/history/2", "");
    assert_string_equal(fixture_text_of(f, second, "policy"), "{}");

    fixture_refused(f, 404, "GET", "/api/v1/policy/history/9", "", "no version 9");
    fixture_refused(f, 400, "POST", "/api/v1/policy/rollback/x", "", "no id");
    fixture_refused(f, 400, "PUT", "/api/v1/policy", "{}", "\"policy\" is missing");
    fixture_refused(f, 400, "PUT", "/api/v1/policy", "{\"policy\":null}", "\"policy\" is missing");
    fixture_refused(f, 400, "PUT", "/api/v1/policy", "{\"policy\":{}}", "\"policy\" is missing");
    fixture_refused(f, 400, "PUT", "/api/v1/policy", "{\"policy\":\"{}\",\"note\":\"a\\nb\"}", "one line");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/policy/history", ""), "versions")), 3);
}

/* An error is reported with its position, and changes nothing. */
static void test_policy_refusals(void **state)
{
    struct fixture *f = *state;
    make_tailnet(f);
    fixture_call(f, 200, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""));
    policy_refused(f, STR_EMPTY, 1, 1, "write {}");
    policy_refused(f, STR(" // {}\n"), 1, 1, "write {}");
    policy_refused(f, STR("{\n  \"acls\": [}"), 2, 12, "parsing policy from bytes: line 2, column 12");
    policy_refused(f, STR("{\"acls\":[{\"action\":\"accept\",\"src\":[\"group:x\"],\"dst\":[\"*:*\"]}]}"), -1, -1,
                   "group:x");
    policy_refused(f, STR("{\"groups\":{\"group:a\":[\"group:a\"]}}"), -1, -1, "line 1, column");

    static const char failing[] =
        "{\"acls\":[{\"action\":\"accept\",\"src\":[\"anna@\"],\"dst\":[\"*:443\"]}],\n"
        "\"tests\":[{\"src\":\"anna@\",\"accept\":[\"bert@:443\"],\n\"deny\":[\"bert@:443\"]},\n"
        "{\"src\":\"bert@\",\"accept\":[\"anna@:22\"]}]}";
    fixture_refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, str_c(failing), ""),
                    "nothing has changed: test(s) failed: line 3");
    assert_true(json_len(json_get(f->reply, "errors")) >= 2);
    fixture_refused(f, 400, "POST", "/api/v1/policy/check", policy_body(f, str_c(failing), ""),
                    "expected DENIED, got ALLOWED");
    assert_string_equal(fixture_text_of(f, fixture_call(f, 200, "GET", "/api/v1/policy", ""), "policy"), "{}");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/policy/history", ""), "versions")), 1);

    const struct json *checked = fixture_call(f, 200, "POST", "/api/v1/policy/check",
                                              policy_body(f,
                                                          STR("{\"acls\":[{\"action\":\"accept\",\"src\":[\"zoe@\"],"
                                                              "\"dst\":[\"anna@:22\"]}]}"),
                                                          ""));
    assert_int_equal(json_len(json_get(checked, "warnings")), 1);
    assert_string_equal(fixture_text_of(f, fixture_call(f, 200, "GET", "/api/v1/policy", ""), "policy"), "{}");
}

/* Hostile texts are refused with the name of the limit, in little memory. */
static void test_policy_hostile_texts(void **state)
{
    struct fixture *f = *state;
    struct buf text = {0};
    buf_append_c(&text, "{\n");
    while (buf_len(&text) < 10u << 20)
        buf_append_c(&text, "// a comment, and one more, until the file is large\n");
    buf_append_c(&text, "}");
    policy_refused(f, buf_str(&text), -1, -1, "4194304");

    buf_clear(&text);
    buf_append_c(&text, "{\"acls\":");
    for (int i = 0; i < 10000; i++)
        buf_append_c(&text, "[");
    policy_refused(f, buf_str(&text), 1, 72, "line 1, column 72"); /* the depth that is too much */

    buf_clear(&text);
    buf_append_c(&text, "{\"acls\":[{\"action\":\"accept\",\"dst\":[\"*:*\"],\n\"src\":[\"a@\"");
    for (int i = 0; i < 1000000; i++)
        buf_append_c(&text, ",\"\"");
    buf_append_c(&text, "]}]}");
    policy_refused(f, buf_str(&text), -1, -1, "line 2, column");
    buf_fini(&text);

    /* larger than any body may be */
    int fd = fixture_dial(f);
    char head[128], reply[64] = "";
    int n = snprintf(head, sizeof(head), "PUT /api/v1/policy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
                     33 << 20);
    assert_int_equal(write(fd, head, (size_t)n), n);
    assert_true(read(fd, reply, sizeof(reply) - 1) > 0);
    assert_non_null(strstr(reply, " 413 "));
    close(fd);
}

static void test_policy_why(void **state)
{
    struct fixture *f = *state;
    make_tailnet(f);
    assert_true(fixture_flag_of(fixture_why(f, "src=laptop&dst=server"), "allowed"));
    assert_false(fixture_flag_of(f->reply, "hasPolicy"));
    fixture_call(f, 200, "PUT", "/api/v1/policy", policy_body(f, str_c(web_policy), ""));

    const struct json *answer = fixture_why(f, "src=laptop&dst=server:443");
    assert_true(fixture_flag_of(answer, "allowed"));
    assert_string_equal(fixture_text_of(f, answer, "file"), "policy");
    const struct json *rule = json_first(json_get(answer, "rules"));
    assert_int_equal(number_of(rule, "line"), 4);
    assert_string_equal(fixture_text_of(f, rule, "section"), "acls");
    assert_int_equal(number_of(rule, "index"), 0);
    static const char *const allowed[] = {"src=anna@&dst=tag:web:443", "src=100.64.0.1&dst=100.64.0.2&port=443",
                                          "src=LAPTOP&dst=[fd7a:115c:a1e0::2]:443&proto=tcp",
                                          "src=laptop&dst=fd7a:115c:a1e0::2", "src=anna@&dst=server&proto=6"};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        if (!fixture_flag_of(fixture_why(f, allowed[i]), "allowed"))
            fail_msg("%s", allowed[i]);
    }

    answer = fixture_why(f, "src=laptop&dst=server:22");
    assert_false(fixture_flag_of(answer, "allowed"));
    rule = json_first(json_get(answer, "rules"));
    assert_true(fixture_flag_of(rule, "hasSource") && fixture_flag_of(rule, "hasDestination") &&
                !fixture_flag_of(rule, "hasPort"));
    rule = json_first(json_get(fixture_why(f, "src=phone&dst=tag:web:443"), "rules"));
    assert_true(!fixture_flag_of(rule, "hasSource") && fixture_flag_of(rule, "hasDestination") &&
                fixture_flag_of(rule, "hasPort"));
    rule = json_first(json_get(fixture_why(f, "src=laptop&dst=phone:443"), "rules"));
    assert_true(fixture_flag_of(rule, "hasSource") && !fixture_flag_of(rule, "hasDestination"));

    fixture_refused(f, 404, "GET", "/api/v1/policy/why?src=nobody&dst=server", "", "nobody names nothing");
    fixture_refused(f, 404, "GET", "/api/v1/policy/why?src=laptop&dst=tag:db:22", "", "tag:db names nothing");
    fixture_refused(f, 400, "GET", "/api/v1/policy/why?src=laptop", "", "dst is missing");
    fixture_refused(f, 400, "GET", "/api/v1/policy/why?src=a&dst=b&port=65536", "", "up to 65535");
    fixture_refused(f, 400, "GET", "/api/v1/policy/why?src=a&dst=b&proto=sctpp", "", "proto must be");
}

static void test_policy_diff(void **state)
{
    struct fixture *f = *state;
    make_tailnet(f);
    fixture_call(f, 200, "PUT", "/api/v1/policy", policy_body(f, str_c(web_policy), ""));
    const struct json *same = fixture_call(f, 200, "POST", "/api/v1/policy/diff",
                                           policy_body(f, str_c(web_policy), ""));
    assert_int_equal(json_len(json_get(same, "changes")), 0);
    static const char next[] = "{\"tagOwners\":{\"tag:web\":[]},\"acls\":[{\"action\":\"accept\",\"proto\":\"tcp\","
                               "\"src\":[\"anna@\"],\"dst\":[\"tag:web:443-444\"]}]}";
    const struct json *changes = json_get(
        fixture_call(f, 200, "POST", "/api/v1/policy/diff", policy_body(f, str_c(next), "")), "changes");
    unsigned gained = 0, lost = 0;
    JSON_EACH (it, changes) {
        if (!fixture_flag_of(it, "gained")) {
            lost++; /* UDP */
            assert_int_equal(number_of(it, "firstPort"), 443);
            continue;
        }
        gained++;
        assert_int_equal(number_of(it, "protocol"), 6);
        assert_int_equal(number_of(it, "firstPort"), 444);
        assert_int_equal(number_of(it, "lastPort"), 444);
        assert_non_null(strstr("100.64.0.1 fd7a:115c:a1e0::1", fixture_text_of(f, it, "source")));
    }
    assert_int_equal(gained, 2); /* IPv4 and IPv6 */
    assert_true(lost >= 2);
    assert_string_equal(fixture_text_of(f, fixture_call(f, 200, "GET", "/api/v1/policy", ""), "policy"), web_policy);
    fixture_refused(f, 400, "POST", "/api/v1/policy/diff", policy_body(f, STR("{"), ""), "line 1");
}

/* Comparisons that wait are bounded, and make room again. */
static void test_slow_calls_are_few(void **state)
{
    (void)state;
    static struct api_call calls[4];
    struct api api = {.compare_thread = api_compare_thread_create()};
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        calls[i].api = &api;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(api_compare_enter(&calls[i], &err), RC_OK);
    assert_int_equal(api_compare_enter(&calls[3], &err), RC_LIMIT);
    assert_non_null(strstr(err.text, "try again"));
    api_compare_leave(&calls[3]); /* was not let in */
    assert_int_equal(api_compare_enter(&calls[3], &err), RC_LIMIT);
    api_compare_leave(&calls[0]);
    assert_int_equal(api_compare_enter(&calls[3], &err), RC_OK);
    api_compare_thread_destroy(&api.compare_thread);
}

/* With policy.mode file only the file sets the policy. */
static void test_policy_of_a_file(void **state)
{
    struct fixture *f = *state;
    const struct json *got = fixture_call(f, 200, "GET", "/api/v1/policy", "");
    assert_string_equal(fixture_text_of(f, got, "policy"), "");
    assert_true(json_is_null(json_get(got, "updatedAt"))); /* by which tools tell a policy that they cannot set */
    assert_string_equal(fixture_text_of(f, got, "mode"), "file");
    assert_string_equal(fixture_text_of(f, got, "path"), "/etc/policy.hujson");
    assert_string_equal(fixture_text_of(f, got, "fault"), "/etc/policy.hujson:1:2: oh\n");
    fixture_refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""), "is read from /etc/policy.hujson");
    fixture_refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""), "update is disabled");
    fixture_refused(f, 400, "POST", "/api/v1/policy/rollback/1", "", "update is disabled");
    fixture_refused(f, 400, "GET", "/api/v1/policy/history", "", "update is disabled");
    fixture_call(f, 200, "POST", "/api/v1/policy/check", policy_body(f, STR("{}"), ""));
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_policy_versions, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_policy_refusals, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_policy_hostile_texts, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_policy_why, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_policy_diff, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_slow_calls_are_few),
        cmocka_unit_test_setup_teardown(test_policy_of_a_file, set_up_file, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
