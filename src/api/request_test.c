/* What is said of a wrong value before a request is sent is what the server says. */
#include "api/testing.h"

#include "api/operation.h"

static const struct op_member *member(const char *operation, const char *name)
{
    const struct op_member *m = api_operation_member(api_operation(operation), name);
    assert_non_null(m);
    return m;
}

static void test_a_wrong_value_gets_the_sentence_of_the_server(void **state)
{
    static const struct {
        const char *operation, *member, *text;
        const char *method, *path, *body;
    } rows[] = {
        {"relays.create", "regionId", "70000", "POST", "/api/v1/relay", "{\"name\":\"a\",\"regionId\":\"70000\"}"},
        {"relays.create", "regionId", "-1", "POST", "/api/v1/relay", "{\"name\":\"a\",\"regionId\":-1}"},
        {"users.set_role", "role", "king", "POST", "/api/v1/user/1/role", "{\"role\":\"king\"}"},
        {"users.set_role", "id", "anna", "POST", "/api/v1/user/anna/role", "{\"role\":\"member\"}"},
        {"nodes.expire", "expiry", "soon", "POST", "/api/v1/node/1/expire", "{\"expiry\":\"soon\"}"},
        {"nodes.expire", "disableExpiry", "si", "POST", "/api/v1/node/1/expire?disableExpiry=si", ""},
        {"nodes.approve_routes", "routes", "10.0.0.0/8,10.1.0.0/8", "POST", "/api/v1/node/1/approve_routes",
         "{\"routes\":[\"10.0.0.0/8\",\"10.1.0.0/8\"]}"},
        {"auth_keys.create", "sources", "10.0.0.0/8, here", "POST", "/api/v1/preauthkey",
         "{\"sources\":[\"10.0.0.0/8\",\"here\"]}"},
        {"auth_keys.create", "maxNodes", "4294967296", "POST", "/api/v1/preauthkey", "{\"maxNodes\":4294967296}"},
    };
    struct fixture *f = *state;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(api_member_check(member(rows[i].operation, rows[i].member), str_c(rows[i].text), &err),
                         RC_INVALID);
        fixture_call(f, 400, rows[i].method, rows[i].path, rows[i].body);
        assert_string_equal(fixture_text_of(f, f->reply, "detail"), err.text);
    }
}

static void test_what_the_server_takes_passes(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(api_member_check(member("relays.create", "regionId"), STR("65535"), &err), RC_OK);
    assert_int_equal(api_member_check(member("relays.create", "regionId"), STR(""), &err), RC_OK);
    assert_int_equal(api_member_check(member("users.set_role", "role"), STR("auditor"), &err), RC_OK);
    assert_int_equal(api_member_check(member("nodes.expire", "expiry"), STR("2099-01-01T00:00:00Z"), &err), RC_OK);
    assert_int_equal(api_member_check(member("nodes.approve_routes", "routes"), STR(""), &err), RC_OK);
    assert_int_equal(api_member_check(member("nodes.approve_routes", "routes"), STR("10.0.0.0/8, ::/0,"), &err), RC_OK);
    assert_int_equal(api_member_check(member("auth_keys.create", "sources"), STR("203.0.113.7,fd00::/8"), &err), RC_OK);
    assert_int_equal(api_member_check(member("policy.set", "policy"), str_n("{}\0", 3), &err), RC_OK);
}

static void test_more_entries_than_the_member_has_are_too_many(void **state)
{
    struct buf list = {0};
    struct err err;
    const struct op_member *m = member("auth_keys.create", "sources");
    (void)state;
    for (uint64_t i = 0; i < m->max; i++)
        buf_append_c(&list, "10.0.0.1,");
    assert_int_equal(api_member_check(m, buf_str(&list), &err), RC_OK);
    buf_append_c(&list, "10.0.0.1");
    assert_int_equal(api_member_check(m, buf_str(&list), &err), RC_INVALID);
    assert_non_null(strstr(err.text, "sources can have"));
    buf_fini(&list);
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_wrong_value_gets_the_sentence_of_the_server, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(test_what_the_server_takes_passes),
        cmocka_unit_test(test_more_entries_than_the_member_has_are_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
