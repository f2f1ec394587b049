/* Users, keys, relays, nodes, health and log levels. */
#include "api/testing.h"

/* --- tests --- */

static void test_users(void **state)
{
    struct fixture *f = *state;
    const struct json *user = json_get(
        fixture_call(
            f, 200, "POST", "/api/v1/user",
            "{\"name\":\"anna\",\"displayName\":\"Anna <N>\",\"email\":\"a@b.c\",\"pictureUrl\":null,\"unknown\":[1]}"),
        "user");
    assert_string_equal(fixture_text_of(f, user, "id"), "1");
    assert_string_equal(fixture_text_of(f, user, "name"), "anna");
    assert_string_equal(fixture_text_of(f, user, "displayName"), "Anna <N>");
    assert_string_equal(fixture_text_of(f, user, "profilePicUrl"), "");
    assert_true(str_ends(str_c(fixture_text_of(f, user, "createdAt")), STR("Z")));
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"bert\"}");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/user", ""), "users")), 2);
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/user?id=2", ""), "users")), 1);
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/user?name=bert&email=", ""), "users")), 1);
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/user?email=no", ""), "users")), 0);
    user = json_get(fixture_call(f, 200, "POST", "/api/v1/user/2/rename/bert%40b.c", ""), "user");
    assert_string_equal(fixture_text_of(f, user, "name"), "bert@b.c");
    assert_int_equal(json_len(fixture_call(f, 200, "DELETE", "/api/v1/user/2", "")), 0);
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/user", ""), "users")), 1);

    assert_string_equal(fixture_text_of(f, json_first(json_get(f->reply, "users")), "role"), "owner");
    user = json_get(fixture_call(f, 200, "POST", "/api/v1/user/1/role", "{\"role\":\"network-admin\"}"), "user");
    assert_string_equal(fixture_text_of(f, user, "role"), "network-admin");

    fixture_refused(f, 400, "POST", "/api/v1/user/1/role", "{\"role\":\"king\"}", "one of owner, admin");
    fixture_refused(f, 400, "POST", "/api/v1/user/1/role", "", "one of owner, admin");
    fixture_refused(f, 404, "POST", "/api/v1/user/77/role", "{\"role\":\"member\"}", "no user");
    fixture_refused(f, 409, "POST", "/api/v1/user", "{\"name\":\"anna\"}", "already");
    fixture_refused(f, 400, "POST", "/api/v1/user", "", "");
    fixture_refused(f, 400, "POST", "/api/v1/user", "{\"name\":[]}", "name must be text");
    fixture_refused(f, 400, "POST", "/api/v1/user", "{\"name\":\"a\\u0000b\"}", "NUL");
    fixture_refused(f, 400, "POST", "/api/v1/user", "{\"name\":", "the body is no JSON: line 1");
    fixture_refused(f, 400, "POST", "/api/v1/user", "[]", "must be a JSON object");
    fixture_refused(f, 400, "GET", "/api/v1/user?id=x", "", "no id");
    fixture_refused(f, 404, "DELETE", "/api/v1/user/77", "", "no user with id 77");
    fixture_refused(f, 400, "DELETE", "/api/v1/user/anna", "", "\"anna\" is no id");
    fixture_refused(f, 404, "POST", "/api/v1/user/77/rename/x", "", "no user");
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    const struct json *key = json_get(
        fixture_call(f, 200, "POST", "/api/v1/preauthkey",
                     "{\"user\":1,\"reusable\":true,\"ephemeral\":true,\"aclTags\":[\"tag:web\"],"
                     "\"expiration\":\"2099-01-01T00:00:00Z\"}"),
        "preAuthKey");
    const char *text = fixture_text_of(f, key, "key");
    assert_true(strlen(text) > 64);
    assert_true(fixture_flag_of(key, "reusable"));
    assert_true(fixture_flag_of(key, "ephemeral"));
    assert_false(fixture_flag_of(key, "used"));
    assert_string_equal(fixture_text_of(f, key, "expiration"), "2099-01-01T00:00:00Z");
    assert_string_equal(fixture_text_of(f, json_get(key, "user"), "name"), "anna");
    assert_int_equal(json_len(json_get(key, "aclTags")), 1);
    /* "none given" is for ever, not the year 1 */
    key = json_get(fixture_call(f, 200, "POST", "/api/v1/preauthkey", "{\"user\":\"anna\",\"expiration\":null}"),
                   "preAuthKey");
    assert_true(json_is_null(json_get(key, "expiration")));
    const char *second = fixture_text_of(f, key, "key");

    const struct json *keys = json_get(fixture_call(f, 200, "GET", "/api/v1/preauthkey?user=anna", ""), "preAuthKeys");
    assert_int_equal(json_len(keys), 2);
    assert_string_equal(fixture_text_of(f, json_first(keys), "id"), "1");
    const char *shown = fixture_text_of(f, json_first(keys), "key");
    assert_true(str_ends(str_c(shown), STR("-***")));
    assert_null(strstr(f->head, text));

    char body[256];
    fixture_call(f, 200, "POST", "/api/v1/preauthkey/expire", "{\"id\":\"1\"}");
    snprintf(body, sizeof(body), "{\"user\":\"1\",\"key\":\"%s\"}", second);
    fixture_call(f, 200, "POST", "/api/v1/preauthkey/expire", body);
    snprintf(body, sizeof(body), "{\"key\":\"%s\"}", shown);
    fixture_call(f, 200, "POST", "/api/v1/preauthkey/expire", body);
    keys = json_get(fixture_call(f, 200, "GET", "/api/v1/preauthkey", ""), "preAuthKeys");
    assert_false(json_is_null(json_get(json_next(json_first(keys)), "expiration")));
    fixture_call(f, 200, "DELETE", "/api/v1/preauthkey?id=1", "");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/preauthkey", ""), "preAuthKeys")), 1);

    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{}", "needs a user or tags");
    fixture_refused(f, 404, "POST", "/api/v1/preauthkey", "{\"user\":\"nobody\"}", "no user \"nobody\"");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"expiration\":\"tomorrow\"}", "must be a time");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"expiration\":\"2001-01-01T00:00:00Z\"}",
                    "expired");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"reusable\":\"yes\"}",
                    "reusable must be true or false");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"aclTags\":\"tag:a\"}", "array of texts");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"aclTags\":[1]}", "array of texts");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"aclTags\":[\"web\"]}", "is no tag");
    fixture_refused(f, 404, "POST", "/api/v1/preauthkey/expire", "{\"id\":99}", "no auth key");
    fixture_refused(f, 404, "POST", "/api/v1/preauthkey/expire", "{\"key\":\"nonsense\"}", "no such auth key");
    fixture_refused(f, 400, "POST", "/api/v1/preauthkey/expire", "{}", "no id");
    fixture_refused(f, 404, "DELETE", "/api/v1/preauthkey?id=99", "", "no auth key");
    fixture_refused(f, 400, "DELETE", "/api/v1/preauthkey", "", "id is missing");
}

static void test_relays(void **state)
{
    struct fixture *f = *state;
    int64_t region;
    const struct json *relay = json_get(
        fixture_call(f, 200, "POST", "/api/v1/relay", "{\"name\":\"fra\",\"regionName\":\"Frankfurt\"}"), "relay");
    const char *key = fixture_text_of(f, relay, "key");
    assert_int_equal(strncmp(key, "fskey-relay-", 12), 0);
    assert_int_equal(strlen(key), 12 + 12 + 1 + 64);
    assert_true(json_i64(json_get(relay, "regionId"), &region));
    assert_int_equal(region, 901);
    assert_string_equal(fixture_text_of(f, relay, "regionCode"), "fra");
    assert_false(fixture_flag_of(relay, "up"));
    fixture_call(f, 200, "POST", "/api/v1/relay", "{\"name\":\"fra-2\",\"regionId\":901}");
    const struct json *relays = json_get(fixture_call(f, 200, "GET", "/api/v1/relay", ""), "relays");
    assert_int_equal(json_len(relays), 2);
    assert_string_equal(fixture_text_of(f, json_next(json_first(relays)), "regionName"), "Frankfurt");
    assert_non_null(strstr(fixture_text_of(f, json_first(relays), "key"), "-***"));
    fixture_call(f, 200, "DELETE", "/api/v1/relay/1", "");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/relay", ""), "relays")), 1);

    fixture_refused(f, 404, "DELETE", "/api/v1/relay/1", "", "no relay with id 1");
    fixture_refused(f, 400, "DELETE", "/api/v1/relay/x", "", "id");
    fixture_refused(f, 409, "POST", "/api/v1/relay", "{\"name\":\"fra-2\"}", "already");
    fixture_refused(f, 400, "POST", "/api/v1/relay", "{}", "name is missing");
    fixture_refused(f, 400, "POST", "/api/v1/relay", "{\"name\":\"a\",\"regionId\":65536}", "up to 65535");
    fixture_refused(f, 400, "POST", "/api/v1/relay", "{\"name\":\"a\",\"regionId\":-1}", "regionId");
    fixture_refused(f, 400, "POST", "/api/v1/relay", "{\"name\":[]}", "name must be text");
}

static void test_nodes(void **state)
{
    struct fixture *f = *state;
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"bert\"}");
    fixture_join(f, fixture_new_key(f, "{\"user\":1}"), "Laptop", 1);
    fixture_join(f, fixture_new_key(f, "{\"user\":2,\"aclTags\":[\"tag:web\"]}"), "server", 2);
    const struct json *nodes = json_get(fixture_call(f, 200, "GET", "/api/v1/node", ""), "nodes");
    assert_int_equal(json_len(nodes), 2);
    const struct json *first = json_first(nodes);
    assert_string_equal(fixture_text_of(f, first, "id"), "1");
    assert_string_equal(fixture_text_of(f, first, "name"), "Laptop");
    assert_string_equal(fixture_text_of(f, first, "givenName"), "laptop");
    assert_string_equal(fixture_text_of(f, json_get(first, "user"), "name"), "anna");
    assert_string_equal(fixture_text_of(f, json_get(first, "preAuthKey"), "id"), "1");
    assert_true(fixture_flag_of(json_get(first, "preAuthKey"), "used"));
    assert_int_equal(json_len(json_get(first, "ipAddresses")), 2);
    assert_string_equal(fixture_text_of(f, first, "os"), "linux");
    assert_string_equal(fixture_text_of(f, first, "clientVersion"), "1.102.5");
    assert_string_equal(fixture_text_of(f, first, "registerMethod"), "REGISTER_METHOD_AUTH_KEY");
    assert_true(str_starts(str_c(fixture_text_of(f, first, "machineKey")), STR("mkey:0101")));
    assert_string_equal(fixture_text_of(f, json_get(json_next(first), "user"), "name"), "tagged-devices");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/node?user=anna", ""), "nodes")), 1);
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/node?user=2", ""), "nodes")), 0);

    const struct json *node = json_get(fixture_call(f, 200, "GET", "/api/v1/node/1", ""), "node");
    assert_string_equal(fixture_text_of(f, node, "givenName"), "laptop");
    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/rename/annas-laptop", ""), "node");
    assert_string_equal(fixture_text_of(f, node, "givenName"), "annas-laptop");
    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/expire", "{\"expiry\":\"2099-01-01T00:00:00Z\"}"),
                    "node");
    assert_string_equal(fixture_text_of(f, node, "expiry"), "2099-01-01T00:00:00Z");
    assert_false(fixture_flag_of(node, "expired"));
    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/expire", "{\"disableExpiry\":true}"), "node");
    assert_true(json_is_null(json_get(node, "expiry")));
    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/expire", ""), "node");
    assert_true(fixture_flag_of(node, "expired"));
    fixture_call(f, 200, "POST", "/api/v1/node/1/expire?disableExpiry=true", "");

    fixture_refused(f, 400, "DELETE", "/api/v1/user/1", "", "");
    fixture_call(f, 200, "DELETE", "/api/v1/node/1", "");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/node", ""), "nodes")), 1);
    fixture_call(f, 200, "DELETE", "/api/v1/user/1", "");

    fixture_refused(f, 404, "GET", "/api/v1/node/1", "", "no node with id 1");
    fixture_refused(f, 400, "GET", "/api/v1/node/0", "", "is no id");
    fixture_refused(f, 404, "DELETE", "/api/v1/node/99", "", "no node");
    fixture_refused(f, 404, "GET", "/api/v1/node?user=nobody", "", "no user \"nobody\"");
    fixture_refused(f, 400, "POST", "/api/v1/node/2/rename/-bad-", "", "");
    fixture_refused(f, 400, "POST", "/api/v1/node/2/expire", "{\"expiry\":5}", "must be a time");
    fixture_refused(f, 400, "POST", "/api/v1/node/2/expire",
                    "{\"expiry\":\"2099-01-01T00:00:00Z\",\"disableExpiry\":true}", "exclude each other");
}

/* --- the policy --- */

static void assert_routes(const struct json *node, const char *key, const char *want)
{
    struct str have = json_raw(json_get(node, key));
    if (!str_eq_c(have, want))
        fail_msg("%s: %.*s", key, STR_ARG(have));
}

static void test_tags_and_routes(void **state)
{
    struct fixture *f = *state;
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    fixture_join(f, fixture_new_key(f, "{\"user\":1}"), "router", 1);
    const struct json *node = json_get(fixture_call(f, 200, "GET", "/api/v1/node/1", ""), "node");
    assert_routes(node, "availableRoutes", "[\"0.0.0.0/0\",\"10.0.0.0/8\",\"::/0\"]");
    assert_routes(node, "approvedRoutes", "[]");
    assert_routes(node, "subnetRoutes", "[]");
    node = json_get(
        fixture_call(f, 200, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"10.0.0.0/8\",\"11.0.0.0/8\"]}"),
        "node");
    assert_routes(node, "approvedRoutes", "[\"10.0.0.0/8\",\"11.0.0.0/8\"]");
    assert_routes(node, "subnetRoutes", "[\"10.0.0.0/8\"]");
    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"::/0\"]}"), "node");
    assert_routes(node, "approvedRoutes", "[\"0.0.0.0/0\",\"::/0\"]");
    assert_routes(node, "subnetRoutes", "[\"0.0.0.0/0\",\"::/0\"]");
    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[]}"), "node");
    assert_routes(node, "approvedRoutes", "[]");

    node = json_get(fixture_call(f, 200, "POST", "/api/v1/node/1/tags", "{\"tags\":[\"tag:web\",\"tag:db\"]}"), "node");
    assert_routes(node, "tags", "[\"tag:db\",\"tag:web\"]");
    assert_string_equal(fixture_text_of(f, json_get(node, "user"), "name"), "tagged-devices");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/node?user=anna", ""), "nodes")), 0);

    fixture_refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{}", "routes is missing");
    fixture_refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":\"10.0.0.0/8\"}", "array of texts");
    fixture_refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"10.0.0.0\"]}", "is no route");
    fixture_refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"10.1.0.0/8\"]}",
                    "did you mean 10.0.0.0/8?");
    fixture_refused(f, 404, "POST", "/api/v1/node/9/approve_routes", "{\"routes\":[]}", "no node with id 9");
    fixture_refused(f, 400, "POST", "/api/v1/node/1/tags", "{}", "at least one tag");
    fixture_refused(f, 400, "POST", "/api/v1/node/1/tags", "{\"tags\":[\"web\"]}", "is no tag");
    fixture_refused(f, 400, "POST", "/api/v1/node/1/tags", "{\"tags\":[{}]}", "array of texts");
    fixture_refused(f, 404, "POST", "/api/v1/node/9/tags", "{\"tags\":[\"tag:web\"]}", "no node with id 9");
}

static void test_health_and_log_levels(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_flag_of(fixture_call(f, 200, "GET", "/api/v1/health", ""), "databaseConnectivity"));
    assert_true(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/log/level", ""), "modules")) > 0);
    fixture_call(f, 200, "POST", "/api/v1/log/level", "{\"module\":\"api\",\"level\":\"error\"}");
    bool is_found = false;
    JSON_EACH (it, json_get(f->reply, "modules")) {
        if (strcmp(fixture_text_of(f, it, "module"), "api") == 0) {
            assert_string_equal(fixture_text_of(f, it, "level"), "error");
            is_found = true;
        }
    }
    assert_true(is_found);
    fixture_call(f, 200, "POST", "/api/v1/log/level", "{\"level\":\"off\"}");
    fixture_refused(f, 400, "POST", "/api/v1/log/level", "{\"level\":\"loud\"}", "one of trace");
    fixture_refused(f, 404, "POST", "/api/v1/log/level", "{\"module\":\"nose\",\"level\":\"info\"}",
                    "no log module \"nose\"");
}

static void test_unknown_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    fixture_refused(f, 404, "GET", "/api/v1/nothing", "", "no such path");
    fixture_refused(f, 405, "PUT", "/api/v1/user", "", "does not take that method");
    assert_non_null(strstr(f->head, "llow:"));
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_users, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_keys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_relays, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_nodes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_tags_and_routes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_health_and_log_levels, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_paths_and_methods, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
