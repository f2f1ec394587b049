/* The settings of the tailnet over the API. */
#include "api/testing.h"

static const char *value_of(struct fixture *f, const char *path)
{
    return fixture_text_of(f, json_get(fixture_call(f, 200, "GET", path, ""), "setting"), "value");
}

static void test_a_setting_is_made_changed_shown_and_deleted(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/setting", ""), "settings")), 0);
    const struct json *made = json_get(
        fixture_call(f, 200, "PUT", "/api/v1/setting/motd.first_line-1", "{\"value\":\"hello\"}"), "setting");
    assert_string_equal(fixture_text_of(f, made, "name"), "motd.first_line-1");
    fixture_call(f, 200, "PUT", "/api/v1/setting/empty", "{\"value\":\"\"}");
    fixture_call(f, 200, "PUT", "/api/v1/setting/motd.first_line-1", "{\"value\":\"gr\xc3\xbc\xc3\x9f\\n\"}");
    assert_string_equal(value_of(f, "/api/v1/setting/motd.first_line-1"), "gr\xc3\xbc\xc3\x9f\n");
    assert_string_equal(value_of(f, "/api/v1/setting/empty"), "");
    const struct json *all = json_get(fixture_call(f, 200, "GET", "/api/v1/setting", ""), "settings");
    assert_int_equal(json_len(all), 2);
    assert_string_equal(fixture_text_of(f, json_first(all), "name"), "motd.first_line-1");
    fixture_call(f, 200, "DELETE", "/api/v1/setting/empty", "");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/setting", ""), "settings")), 1);
}

static void test_what_is_no_setting_is_refused(void **state)
{
    struct fixture *f = *state;
    char body[5000] = "{\"value\":\"";
    memset(body + strlen(body), 'x', 4097);
    memcpy(body + strlen(body), "\"}", 3);
    fixture_refused(f, 404, "GET", "/api/v1/setting/nothing", "", "there is no setting 'nothing'");
    fixture_refused(f, 404, "DELETE", "/api/v1/setting/nothing", "", "there is no setting 'nothing'");
    fixture_refused(f, 400, "PUT", "/api/v1/setting/Motd", "{\"value\":\"x\"}", "'Motd' is no name of a setting");
    fixture_refused(f, 400, "PUT", "/api/v1/setting/a%20b", "{\"value\":\"x\"}", "no name of a setting");
    fixture_refused(f, 400, "PUT", "/api/v1/setting/motd", "{}", "value");
    fixture_refused(f, 400, "PUT", "/api/v1/setting/motd", "{\"value\":\"a\\u0000b\"}", "NUL");
    fixture_refused(f, 400, "PUT", "/api/v1/setting/motd", body, "value");
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/setting", ""), "settings")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_setting_is_made_changed_shown_and_deleted, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_setting_is_refused, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
