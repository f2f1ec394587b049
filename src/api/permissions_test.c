/* Scopes, roles, and what no operation is. */
#include "api/testing.h"

/* --- scopes and roles --- */

static bool may(enum user_role role, const char *operation)
{
    const struct operation *op = api_operation(operation);
    const struct api_caller caller = api_caller_of_role(role, "anna");
    assert_non_null(op);
    return api_caller_has(&caller, op->scope);
}

static void test_a_scope_includes_its_read_form_and_no_other(void **state)
{
    static const char *const some[] = {"users", "policy_file:read"};
    const struct api_caller caller = {.name = "x", .scopes = some, .scope_n = ARRAY_LEN(some)};
    (void)state;
    assert_true(api_caller_has(&caller, "users"));
    assert_true(api_caller_has(&caller, "users:read"));
    assert_true(api_caller_has(&caller, "policy_file:read"));
    assert_false(api_caller_has(&caller, "policy_file"));
    assert_false(api_caller_has(&caller, "user"));
    assert_false(api_caller_has(&caller, "users:write"));
    assert_false(api_caller_has(&caller, "devices:core"));
    assert_false(api_caller_has(&(const struct api_caller){.name = "nobody"}, "users:read"));
}

static void test_roles_have_the_scopes_of_their_work(void **state)
{
    const struct operation *op;
    (void)state;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        assert_true(may(USER_OWNER, op->name));
        assert_true(may(USER_ADMIN, op->name));
        assert_int_equal(may(USER_AUDITOR, op->name), str_ends(str_c(op->scope), STR(":read")));
        assert_false(may(USER_MEMBER, op->name));
        assert_false(may(USER_BILLING_ADMIN, op->name));
    }
    assert_true(may(USER_NETWORK_ADMIN, "policy.set"));
    assert_false(may(USER_NETWORK_ADMIN, "users.delete"));
    assert_true(may(USER_NETWORK_ADMIN, "users.list"));
    assert_true(may(USER_IT_ADMIN, "users.delete"));
    assert_false(may(USER_IT_ADMIN, "policy.set"));
}

/* --- paths and methods that no row has --- */

static bool takes(const char *path, enum http_method method)
{
    const struct http_route *route;
    for (size_t i = 0; (route = api_route_at(i)) != NULL; i++) {
        if (strcmp(route->path, path) == 0 && (route->methods & method) != 0)
            return true;
    }
    return false;
}

/* The path with 1 for each of its parameters. */
static const char *some_path(struct fixture *f, const char *path)
{
    struct buf out = {0};
    struct str before, name, rest = str_c(path);
    while (str_cut(rest, '{', &before, &rest)) {
        str_cut(rest, '}', &name, &rest);
        buf_append(&out, before.p, before.len);
        buf_append_byte(&out, '1');
    }
    buf_append(&out, before.p, before.len);
    const char *text = arena_str(&f->arena, buf_str(&out)).p;
    buf_fini(&out);
    return text;
}

/* Every method that no row names for a path is refused there with 405, whatever stands for its parameters. */
static void test_other_methods_are_refused(void **state)
{
    static const enum http_method methods[] = {HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE};
    struct fixture *f = *state;
    const struct http_route *route;
    for (size_t i = 0; (route = api_route_at(i)) != NULL; i++) {
        for (size_t k = 0; k < ARRAY_LEN(methods); k++) {
            if (takes(route->path, methods[k]))
                continue;
            fixture_refused(f, 405, fixture_method_name(methods[k]), some_path(f, route->path), "",
                            "does not take that method");
            assert_non_null(strcasestr(f->head, "\r\nallow:"));
        }
    }
}

static void test_other_paths_are_unknown(void **state)
{
    struct fixture *f = *state;
    const struct http_route *route;
    for (size_t i = 0; (route = api_route_at(i)) != NULL; i++)
        fixture_refused(f, 404, "GET", arena_printf(&f->arena, "%s/x/y/z", some_path(f, route->path)), "",
                        "no such path");
    fixture_refused(f, 404, "GET", "/api/v3/user", "", "no such path");
}

static void test_each_operation_has_a_route_and_each_route_an_operation(void **state)
{
    const struct operation *op;
    size_t paths = 0, routes = 0;
    (void)state;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        assert_true(op->v1.path != NULL || op->v2.path != NULL);
        for (unsigned version = 1; version <= OP_VERSIONS; version++) {
            const struct op_path *at = api_operation_path(op, version);
            paths += at->path != NULL;
            assert_true(at->path == NULL || takes(at->path, at->method));
        }
    }
    while (api_route_at(routes) != NULL)
        routes++;
    assert_int_equal(paths, routes);
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_scope_includes_its_read_form_and_no_other),
        cmocka_unit_test(test_roles_have_the_scopes_of_their_work),
        cmocka_unit_test(test_each_operation_has_a_route_and_each_route_an_operation),
        cmocka_unit_test_setup_teardown(test_other_methods_are_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_other_paths_are_unknown, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
