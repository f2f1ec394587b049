/* The API of one tailnet, in a process that has two. */
#include <string.h>

#include "api/testing.h"

/* From now on the API is the other tailnet's. Between requests. */
static void change_over(struct fixture *f)
{
    struct tailnet *before = f->api.tailnet;
    f->api.tailnet = f->other;
    f->other = before;
}

static size_t count(struct fixture *f, const char *path, const char *list)
{
    return json_len(json_get(fixture_call(f, 200, "GET", path, ""), list));
}

static void assert_counts(struct fixture *f, size_t n)
{
    assert_int_equal(count(f, "/api/v1/user", "users"), n);
    assert_int_equal(count(f, "/api/v1/preauthkey", "preAuthKeys"), n);
    assert_int_equal(count(f, "/api/v1/node", "nodes"), n);
    assert_int_equal(count(f, "/api/v1/relay", "relays"), n);
}

/* The same in both: ids and names are equal. */
static void fill(struct fixture *f)
{
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    fixture_join(f, fixture_new_key(f, "{\"user\":\"anna\"}"), "web", 1);
    fixture_call(f, 200, "POST", "/api/v1/relay", "{\"name\":\"fra\"}");
}

static void test_a_listing_of_one_tailnet_shows_nothing_of_the_other(void **state)
{
    struct fixture *f = *state;
    fill(f);
    assert_counts(f, 1);
    change_over(f);
    assert_counts(f, 0);
    fixture_call(f, 404, "DELETE", "/api/v1/node/1", "");
    fixture_call(f, 404, "DELETE", "/api/v1/user/1", "");
    fill(f);
    assert_counts(f, 1);
}

static void test_what_is_deleted_in_one_tailnet_stays_in_the_other(void **state)
{
    struct fixture *f = *state;
    fill(f);
    change_over(f);
    fill(f);
    fixture_call(f, 200, "DELETE", "/api/v1/node/1", "");
    fixture_call(f, 200, "DELETE", "/api/v1/user/1", ""); /* and with it the key */
    fixture_call(f, 200, "DELETE", "/api/v1/relay/1", "");
    assert_counts(f, 0);
    change_over(f);
    assert_counts(f, 1);
}

static void test_a_policy_of_one_tailnet_is_not_the_others(void **state)
{
    struct fixture *f = *state;
    static const char body[] = "{\"policy\":\"{\\\"tagOwners\\\":{\\\"tag:web\\\":[]}}\"}";
    fixture_call(f, 200, "PUT", "/api/v1/policy", body);
    change_over(f);
    fixture_call(f, 404, "GET", "/api/v1/policy", "");
    change_over(f);
    assert_non_null(strstr(fixture_text_of(f, fixture_call(f, 200, "GET", "/api/v1/policy", ""), "policy"), "tag:web"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_listing_of_one_tailnet_shows_nothing_of_the_other, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_deleted_in_one_tailnet_stays_in_the_other, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_policy_of_one_tailnet_is_not_the_others, fixture_setup,
                                        fixture_teardown),
    };
    crypto_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
