/* The OpenAPI document against the table of operations, and the answers of a running server against the document. */
#include "api/testing.h"

#include "api/openapi.h"

struct document {
    struct arena arena;
    const struct json *root;
};

static int read_document(void **state)
{
    struct document *d = MEM_NEW(struct document);
    *state = d;
    return json_parse(&d->arena, api_openapi(), NULL, &d->root, NULL) == RC_OK ? 0 : -1;
}

static int drop_document(void **state)
{
    struct document *d = *state;
    arena_fini(&d->arena);
    mem_free(d);
    return 0;
}

static const struct json *get_by(const struct json *object, struct str key)
{
    JSON_EACH (it, object) {
        if (str_eq(json_key_of(it), key))
            return it;
    }
    return NULL;
}

static const char *key_of_method(enum http_method method)
{
    return method == HTTP_GET ? "get" : method == HTTP_POST ? "post" : method == HTTP_PUT ? "put" : "delete";
}

static const struct json *find_operation(const struct document *d, const struct operation *op)
{
    return json_get(json_get(json_get(d->root, "paths"), op->v1.path), key_of_method(op->v1.method));
}

static bool is_text(const struct json *node, const char *text)
{
    struct str have;
    return json_str(node, &have) && str_eq_c(have, text);
}

/* --- tests --- */

static void test_every_operation_is_in_the_document_and_nothing_else(void **state)
{
    const struct document *d = *state;
    const struct operation *op;
    size_t wanted = 0, found = 0;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        if (op->v1.path == NULL)
            continue;
        wanted++;
        if (!is_text(json_get(find_operation(d, op), "operationId"), op->name))
            fail_msg("%s is not in the document", op->name);
    }
    JSON_EACH (path, json_get(d->root, "paths"))
        found += json_len(path);
    assert_int_equal(found, wanted);
    for (size_t i = 0; api_route_at(i) != NULL; i++) {
        if (strncmp(api_route_at(i)->path, "/api/v1/", 8) == 0)
            assert_non_null(json_get(json_get(d->root, "paths"), api_route_at(i)->path));
    }
}

static const struct json *find_parameter(const struct json *operation, const struct op_member *m)
{
    JSON_EACH (it, json_get(operation, "parameters")) {
        if (is_text(json_get(it, "name"), m->name) && is_text(json_get(it, "in"), m->in == OP_PATH ? "path" : "query"))
            return it;
    }
    return NULL;
}

static const struct json *body_schema(const struct json *operation)
{
    return json_get(json_get(json_get(json_get(operation, "requestBody"), "content"), "application/json"), "schema");
}

static bool is_listed(const struct json *list, const char *name)
{
    JSON_EACH (it, list) {
        if (is_text(it, name))
            return true;
    }
    return false;
}

static void check_member(const struct document *d, const struct operation *op, const struct op_member *m)
{
    const struct json *operation = find_operation(d, op);
    const struct json *body = body_schema(operation);
    const struct json *found = m->in == OP_BODY ? json_get(json_get(body, "properties"), m->name)
                                                : find_parameter(operation, m);
    bool is_required = false;
    if (found == NULL || !is_text(json_get(found, "description"), m->help))
        fail_msg("%s: %s is not in the document", op->name, m->name);
    if (m->in == OP_BODY)
        is_required = is_listed(json_get(body, "required"), m->name);
    else
        assert_true(json_bool(json_get(found, "required"), &is_required));
    assert_int_equal(is_required, m->is_required);
}

static void test_every_member_is_described_with_its_place_and_help(void **state)
{
    const struct operation *op;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        for (size_t k = 0; k < op->member_n && op->v1.path != NULL; k++)
            check_member(*state, op, &op->members[k]);
    }
}

static void test_bounds_and_choices_are_those_of_the_row(void **state)
{
    const struct document *d = *state;
    int64_t max;
    const struct json *body = json_get(body_schema(find_operation(d, api_operation("relays.create"))), "properties");
    assert_true(json_i64(json_get(json_get(body, "regionId"), "maximum"), &max));
    assert_int_equal(max, 65535);
    assert_true(json_i64(json_get(json_get(body, "name"), "maxLength"), &max));
    assert_int_equal(max, HOSTNAME_CAP - 1);
    body = json_get(body_schema(find_operation(d, api_operation("users.set_role"))), "properties");
    assert_int_equal(json_len(json_get(json_get(body, "role"), "enum")), USER_ROLES_N);
}

/* Each operation says who may call it: its scope, and the roles that have it. */
static void test_rights_are_in_the_document(void **state)
{
    const struct document *d = *state;
    const struct json *set = find_operation(d, api_operation("policy.set"));
    assert_true(is_text(json_get(set, "x-scope"), "policy_file"));
    assert_true(is_listed(json_get(set, "x-roles"), "network-admin"));
    assert_false(is_listed(json_get(set, "x-roles"), "auditor"));
    assert_true(is_listed(json_get(find_operation(d, api_operation("policy.get")), "x-roles"), "auditor"));
    assert_false(is_listed(json_get(find_operation(d, api_operation("policy.get")), "x-roles"), "member"));
}

static void check_refs(const struct document *d, const struct json *node)
{
    static const char start[] = "#/components/";
    struct str ref, section, name;
    if (json_str(json_get(node, "$ref"), &ref)) {
        assert_true(str_starts(ref, STR(start)));
        str_cut(str_n(ref.p + sizeof(start) - 1, ref.len - sizeof(start) + 1), '/', &section, &name);
        if (get_by(get_by(json_get(d->root, "components"), section), name) == NULL)
            fail_msg("%.*s is not there", STR_ARG(ref));
    }
    JSON_EACH (it, node)
        check_refs(d, it);
}

static void test_every_reference_leads_somewhere(void **state)
{
    const struct document *d = *state;
    check_refs(d, d->root);
}

static void test_the_document_is_the_same_each_time(void **state)
{
    struct buf first = {0}, second = {0};
    (void)state;
    api_openapi_write(1, &first);
    api_openapi_write(1, &second);
    assert_true(str_eq(buf_str(&first), buf_str(&second)));
    assert_true(str_eq(buf_str(&first), api_openapi()));
    buf_fini(&first);
    buf_fini(&second);
}

/* --- against a running server --- */

static void test_the_server_answers_with_the_document(void **state)
{
    struct fixture *f = *state;
    fixture_call(f, 200, "GET", "/api/v1/openapi.json", "");
    assert_true(str_ends(str_c(f->head), api_openapi()));
}

/* Members of the answer and of the description are the same, down to the objects that it names. */
static void check_object(const struct json *value, const struct op_object *object)
{
    JSON_EACH (it, value) {
        bool is_known = false;
        struct str key = json_key_of(it);
        for (size_t i = 0; i < object->field_n; i++) {
            const struct op_field *f = &object->fields[i];
            if (!str_eq_c(key, f->name))
                continue;
            is_known = true;
            if (f->type == FIELD_OBJECT && !json_is_null(it))
                check_object(it, f->object);
            if (f->type != FIELD_OBJECTS)
                continue;
            JSON_EACH (one, it)
                check_object(one, f->object);
        }
        if (!is_known)
            fail_msg("%s has no field %.*s", object->name, STR_ARG(key));
    }
    for (size_t i = 0; i < object->field_n; i++) {
        if (!object->fields[i].is_optional && json_get(value, object->fields[i].name) == NULL)
            fail_msg("an answer lacks %s of %s", object->fields[i].name, object->name);
    }
}

static void check_answer(struct fixture *f, const char *name, const char *path, const char *body)
{
    const struct operation *op = api_operation(name);
    const struct json *reply = fixture_call(f, 200,
                                            op->v1.method == HTTP_GET    ? "GET"
                                            : op->v1.method == HTTP_POST ? "POST"
                                                                         : "PUT",
                                            path, body);
    const struct json *value = op->answer.key != NULL ? json_get(reply, op->answer.key) : reply;
    assert_non_null(value);
    if (op->answer.key != NULL)
        assert_int_equal(json_len(reply), 1);
    if (!op->answer.is_list) {
        check_object(value, op->answer.object);
        return;
    }
    assert_true(json_len(value) > 0);
    JSON_EACH (it, value)
        check_object(it, op->answer.object);
}

static void test_answers_have_the_members_that_are_described(void **state)
{
    static const char policy[] = "{\"policy\":\"{\\\"acls\\\":[{\\\"action\\\":\\\"accept\\\",\\\"src\\\":[\\\"*\\\"],"
                                 "\\\"dst\\\":[\\\"*:22\\\"]}]}\",\"note\":\"why\"}";
    struct fixture *f = *state;
    check_answer(f, "users.create", "/api/v1/user", "{\"name\":\"anna\"}");
    check_answer(f, "auth_keys.create", "/api/v1/preauthkey", "{\"user\":1,\"reusable\":true}");
    fixture_join(f, fixture_new_key(f, "{\"user\":1}"), "laptop", 1);
    check_answer(f, "relays.create", "/api/v1/relay", "{\"name\":\"fra\"}");
    check_answer(f, "users.list", "/api/v1/user", "");
    check_answer(f, "auth_keys.list", "/api/v1/preauthkey", "");
    check_answer(f, "nodes.list", "/api/v1/node", "");
    check_answer(f, "nodes.get", "/api/v1/node/1", "");
    check_answer(f, "relays.list", "/api/v1/relay", "");
    check_answer(f, "health.get", "/api/v1/health", "");
    check_answer(f, "log_levels.list", "/api/v1/log/level", "");
    check_answer(f, "policy.diff", "/api/v1/policy/diff", policy);
    check_answer(f, "policy.check", "/api/v1/policy/check", policy);
    check_answer(f, "policy.set", "/api/v1/policy", policy);
    check_answer(f, "policy.get", "/api/v1/policy", "");
    check_answer(f, "policy.history", "/api/v1/policy/history", "");
    check_answer(f, "policy.why", "/api/v1/policy/why?src=laptop&dst=laptop:22", "");
    check_object(fixture_call(f, 404, "GET", "/api/v1/node/77", ""), &api_problem_object);
    check_object(fixture_call(f, 400, "PUT", "/api/v1/policy", "{\"policy\":\"{\"}"), &api_problem_object);
}

static int setup_with_file(void **state)
{
    return fixture_setup_with(state, "/etc/fullscale/policy.hujson", "policy.hujson:1:2: no\n");
}

static void test_a_policy_from_a_file_has_the_members_that_are_described(void **state)
{
    struct fixture *f = *state;
    check_answer(f, "policy.get", "/api/v1/policy", "");
    assert_non_null(json_get(f->reply, "path"));
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_operation_is_in_the_document_and_nothing_else, read_document,
                                        drop_document),
        cmocka_unit_test_setup_teardown(test_every_member_is_described_with_its_place_and_help, read_document,
                                        drop_document),
        cmocka_unit_test_setup_teardown(test_bounds_and_choices_are_those_of_the_row, read_document, drop_document),
        cmocka_unit_test_setup_teardown(test_rights_are_in_the_document, read_document, drop_document),
        cmocka_unit_test_setup_teardown(test_every_reference_leads_somewhere, read_document, drop_document),
        cmocka_unit_test(test_the_document_is_the_same_each_time),
        cmocka_unit_test_setup_teardown(test_the_server_answers_with_the_document, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_answers_have_the_members_that_are_described, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_policy_from_a_file_has_the_members_that_are_described, setup_with_file,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
