/* Walks the table of operations: what must hold for every row, also for those to come. Each test is run for each row,
 * on a server of its own. */
#include "api/testing.h"

#include <ctype.h>

#include "base/metric.h"

/* --- a valid request for each operation --- */

enum { RECIPE_MEMBERS = 8 };

/* Values of members: in a body as JSON, else as they stand in the URL. Rows without required members that change
 * nothing need none; every other one does. */
static const struct recipe {
    const char *operation;
    struct {
        const char *member, *value;
    } members[RECIPE_MEMBERS];
} recipes[] = {
    {"log_levels.set", {{"module", "\"api\""}, {"level", "\"error\""}}},
    {"users.create", {{"name", "\"berta\""}, {"displayName", "\"Berta B\""}}},
    {"users.delete", {{"id", "2"}}},
    {"users.rename", {{"id", "1"}, {"name", "anna-maria"}}},
    {"users.set_role", {{"id", "2"}, {"role", "\"auditor\""}}},
    {"nodes.get", {{"id", "1"}}},
    {"nodes.delete", {{"id", "1"}}},
    {"nodes.rename", {{"id", "1"}, {"name", "printer"}}},
    {"nodes.expire", {{"id", "1"}, {"expiry", "\"2099-01-01T00:00:00Z\""}}},
    {"nodes.set_tags", {{"id", "1"}, {"tags", "[\"tag:web\"]"}}},
    {"nodes.approve_routes", {{"id", "1"}, {"routes", "[\"10.0.0.0/8\"]"}}},
    {"relays.create", {{"name", "\"frankfurt\""}}},
    {"relays.delete", {{"id", "1"}}},
    {"policy.set", {{"policy", "\"{}\""}, {"author", "\"anna\""}}},
    {"policy.check", {{"policy", "\"{}\""}}},
    {"policy.get_version", {{"id", "1"}}},
    {"policy.rollback", {{"id", "1"}}},
    {"policy.why", {{"src", "laptop"}, {"dst", "laptop"}}},
    {"policy.diff", {{"policy", "\"{}\""}}},
    {"auth_keys.create", {{"user", "\"anna\""}, {"reusable", "true"}}},
    {"auth_keys.delete", {{"id", "1"}}},
    {"auth_keys.expire", {{"id", "1"}}},
    {"settings.get", {{"name", "motd"}}},
    {"settings.set", {{"name", "motd"}, {"value", "\"bye\""}}},
    {"settings.delete", {{"name", "motd"}}},
};

/* anna with a node that offers a route; ben; an auth key, a relay, a policy. */
static void make_world(struct fixture *f)
{
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"ben\"}");
    fixture_join(f, fixture_new_key(f, "{\"user\":1}"), "laptop", 1);
    fixture_call(f, 200, "POST", "/api/v1/relay", "{\"name\":\"berlin\"}");
    fixture_call(f, 200, "PUT", "/api/v1/setting/motd", "{\"value\":\"hello\"}");
    fixture_call(f, 200, "PUT", "/api/v1/policy", "{\"policy\":\"{\\\"tagOwners\\\":{\\\"tag:web\\\":[]}}\"}");
}

static const struct recipe *recipe_of(const struct operation *op)
{
    for (size_t i = 0; i < ARRAY_LEN(recipes); i++) {
        if (strcmp(recipes[i].operation, op->name) == 0)
            return &recipes[i];
    }
    bool needs_one = op->audit != NULL;
    for (size_t i = 0; i < op->member_n; i++)
        needs_one = needs_one || op->members[i].is_required;
    if (needs_one)
        fail_msg("%s: write a recipe with valid members", op->name);
    return NULL;
}

/* Null: the recipe leaves it out. Of two members with one name it is for the first. */
static const char *valid_value(const struct operation *op, const struct op_member *m)
{
    const struct recipe *r = recipe_of(op);
    if (api_operation_member(op, m->name) != m)
        return NULL;
    for (size_t i = 0; r != NULL && i < RECIPE_MEMBERS && r->members[i].member != NULL; i++) {
        if (strcmp(r->members[i].member, m->name) == 0)
            return r->members[i].value;
    }
    if (m->is_required)
        fail_msg("%s: the recipe lacks %s", op->name, m->name);
    return NULL;
}

/* --- requests --- */

/* How it is reached: in the oldest version of the API that has it. */
static const struct op_path *path_of(const struct operation *op)
{
    return op->v1.path != NULL ? &op->v1 : &op->v2;
}

/* The request of the recipe, but for one member: it has another value, or with null none. */
struct trial {
    const struct operation *op;
    const struct op_path *at;
    const struct op_member *changed; /* null: all as in the recipe */
    const char *value;
};

static const char *value_in(const struct trial *t, const struct op_member *m)
{
    return m == t->changed ? t->value : valid_value(t->op, m);
}

static void add_escaped(struct buf *out, const char *value)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (isalnum((unsigned char)*p))
            buf_append_byte(out, (uint8_t)*p);
        else
            buf_printf(out, "%%%02x", (unsigned char)*p);
    }
}

static void add_path(struct buf *out, const struct trial *t)
{
    struct str before, name, rest = str_c(t->at->path);
    while (str_cut(rest, '{', &before, &rest)) {
        buf_append(out, before.p, before.len);
        assert_true(str_cut(rest, '}', &name, &rest));
        for (size_t i = 0; i < t->op->member_n; i++) {
            if (t->op->members[i].in == OP_PATH && str_eq_c(name, t->op->members[i].name))
                add_escaped(out, value_in(t, &t->op->members[i]));
        }
    }
    buf_append(out, before.p, before.len);
}

static void add_query(struct buf *out, const struct trial *t)
{
    char mark = '?';
    for (size_t i = 0; i < t->op->member_n; i++) {
        const struct op_member *m = &t->op->members[i];
        if (m->in != OP_QUERY || value_in(t, m) == NULL)
            continue;
        buf_printf(out, "%c%s=", mark, m->name);
        add_escaped(out, value_in(t, m));
        mark = '&';
    }
}

static void add_body(struct buf *out, const struct trial *t)
{
    const char *mark = "{";
    for (size_t i = 0; i < t->op->member_n; i++) {
        const struct op_member *m = &t->op->members[i];
        if (m->in != OP_BODY || value_in(t, m) == NULL)
            continue;
        buf_printf(out, "%s\"%s\":%s", mark, m->name, value_in(t, m));
        mark = ",";
    }
    buf_append_c(out, mark[0] == ',' ? "}" : "");
}

/* Sends it, and returns the status. */
static int send_trial(struct fixture *f, const struct trial *t)
{
    struct buf url = {0}, body = {0};
    add_path(&url, t);
    add_query(&url, t);
    add_body(&body, t);
    fixture_call(f, ANY_STATUS, fixture_method_name(t->at->method), buf_cstr(&url), buf_cstr(&body));
    buf_fini(&url);
    buf_fini(&body);
    return f->status;
}

static void assert_status(struct fixture *f, const struct trial *t, int status)
{
    if (send_trial(f, t) != status)
        fail_msg("%s: %d: %.300s", t->op->name, f->status, f->head);
}

/* --- set-up: cmocka hands over the operation, and the test gets a walk --- */

struct walk {
    const struct operation *op;
    struct fixture *f;
    const char **scopes; /* owned: of its caller */
};

static int set_up_walk(void **state)
{
    struct walk *w = MEM_NEW(struct walk);
    void *fixture;
    w->op = *state;
    *state = w;
    fixture_setup(&fixture);
    w->f = fixture;
    make_world(w->f);
    return 0;
}

/* Whether a caller with `scope` may call the operation. */
static bool is_enough(const char *scope, const struct operation *op)
{
    const struct api_caller caller = {.name = "someone", .scopes = &scope, .scope_n = 1};
    return api_caller_has(&caller, op->scope);
}

/* The caller has all scopes there are, but none that the operation would accept. */
static int set_up_without_right(void **state)
{
    enum { SCOPES_MAX = 512 };
    struct walk *w = MEM_NEW(struct walk);
    void *fixture;
    const struct operation *other;
    struct api_caller caller = {.name = "someone"};
    w->op = *state;
    *state = w;
    w->scopes = mem_zalloc(SCOPES_MAX, sizeof(*w->scopes));
    for (size_t i = 0; (other = api_operation_at(i)) != NULL; i++) {
        if (!is_enough(other->scope, w->op))
            w->scopes[caller.scope_n++] = other->scope;
        assert_true(caller.scope_n < SCOPES_MAX);
    }
    if (!is_enough("all:read", w->op))
        w->scopes[caller.scope_n++] = "all:read";
    caller.scopes = w->scopes;
    fixture_setup_as(&fixture, &caller);
    w->f = fixture;
    return 0;
}

static int tear_down_walk(void **state)
{
    struct walk *w = *state;
    void *fixture = w->f;
    fixture_teardown(&fixture);
    mem_free(w->scopes);
    mem_free(w);
    return 0;
}

/* --- what holds for each row --- */

/* All that the API shows of what operations can change: the answers of all that is asked by a path alone. */
static const char *world(struct fixture *f)
{
    const struct operation *op;
    struct buf all = {0};
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        if (op->v1.path == NULL || op->v1.method != HTTP_GET || strchr(op->v1.path, '{') != NULL)
            continue;
        fixture_call(f, ANY_STATUS, "GET", op->v1.path, "");
        buf_append_c(&all, strstr(f->head, "\r\n\r\n"));
    }
    const char *text = arena_str(&f->arena, buf_str(&all)).p;
    buf_fini(&all);
    return text;
}

/* Sends it, and shows that it has left one event if anything is another than before, and none if not. */
static bool send_and_look(struct walk *w, const struct trial *t, int status)
{
    const struct event *last;
    size_t before = fixture_operations(w->f, &last);
    const char *was = world(w->f);
    if (status == ANY_STATUS)
        send_trial(w->f, t);
    else
        assert_status(w->f, t, status);
    assert_int_equal(json_type_of(w->f->reply), JSON_OBJECT);
    bool has_changed = strcmp(was, world(w->f)) != 0;
    assert_int_equal(fixture_operations(w->f, &last) - before, has_changed);
    return has_changed;
}

/* A valid request is answered, and leaves its trail if the operation changes something. When it is sent again most have
 * nothing left to do, or are refused. */
static void test_is_reached_and_leaves_its_trail(void **state)
{
    struct walk *w = *state;
    const struct event *last;
    const struct trial trial = {.op = w->op, .at = path_of(w->op)};
    assert_int_equal(send_and_look(w, &trial, 200), w->op->audit != NULL);
    fixture_operations(w->f, &last);
    if (w->op->audit != NULL) {
        assert_string_equal(last->operation, w->op->name);
        assert_int_equal(last->actor.by, EVENT_BY_ADMIN);
        assert_memory_equal(last->actor.name->data, "socket", last->actor.name->len);
        assert_true(last->text->len > 0);
        assert_null(memchr(last->text->data, '{', last->text->len));
    }
    send_and_look(w, &trial, ANY_STATUS);
}

static void test_who_lacks_the_scope_is_refused(void **state)
{
    struct walk *w = *state;
    const struct trial trial = {.op = w->op, .at = path_of(w->op)};
    int64_t before = metric_read("fullscale_api_denied_total", "");
    assert_status(w->f, &trial, 403);
    const char *detail = fixture_text_of(w->f, w->f->reply, "detail");
    const char *want = arena_printf(&w->f->arena, "%s needs the scope %s, which someone does not have", w->op->name,
                                    w->op->scope);
    assert_string_equal(detail, want);
    assert_int_equal(metric_read("fullscale_api_denied_total", "") - before, 1);
    assert_int_equal(w->f->events_n, 0); /* nothing runs: nobody else calls */
}

static void assert_names_member(struct walk *w, const struct op_member *m, const char *value)
{
    const struct trial trial = {.op = w->op, .at = path_of(w->op), .changed = m, .value = value};
    assert_status(w->f, &trial, 400);
    const char *detail = fixture_text_of(w->f, w->f->reply, "detail");
    if (strstr(detail, m->name) == NULL)
        fail_msg("%s with %s = %.100s: %s", w->op->name, m->name, value != NULL ? value : "nothing", detail);
}

/* `n` times `item`, between `open` and `close`. */
static const char *repeat(struct walk *w, const char *open, const char *item, size_t n, const char *close)
{
    struct buf out = {0};
    buf_append_c(&out, open);
    for (size_t i = 0; i < n; i++)
        buf_append_c(&out, item);
    buf_append_c(&out, close);
    const char *text = arena_str(&w->f->arena, buf_str(&out)).p;
    buf_fini(&out);
    return text;
}

static const char *number_after(struct walk *w, uint64_t n)
{
    return arena_printf(&w->f->arena, "%llu", (unsigned long long)n + 1);
}

/* One beyond what the row allows; null: it has no bound, or none that a number can say. */
static const char *too_much(struct walk *w, const struct op_member *m)
{
    const char *quote = m->in == OP_BODY ? "\"" : "";
    switch (m->type) {
    case OP_TEXT: return m->max != 0 ? repeat(w, quote, "a", m->max + 1, quote) : NULL;
    case OP_ID: return "18446744073709551616";
    case OP_NUMBER: return m->max < UINT64_MAX ? number_after(w, m->max) : NULL;
    case OP_TEXTS: return repeat(w, "[\"a\"", ",\"a\"", m->max, "]");
    case OP_ROUTES:
    case OP_NETWORKS: return repeat(w, "[\"10.0.0.0/8\"", ",\"10.0.0.0/8\"", m->max, "]");
    default: return NULL;
    }
}

static const char *too_little(struct walk *w, const struct op_member *m)
{
    if (m->type == OP_ID)
        return m->is_required ? "0" : "-1";
    if (m->type == OP_NUMBER)
        return m->min > 0 ? arena_printf(&w->f->arena, "%llu", (unsigned long long)m->min - 1) : "-1";
    if (m->type == OP_TEXT && m->min > 0)
        return m->in == OP_BODY ? "\"\"" : "";
    return NULL;
}

/* Values of another type. In a URL everything is text. */
static const char *const *wrong_types(const struct op_member *m)
{
    static const char *const in_url[][4] = {
        [OP_TEXT] = {NULL},         [OP_ID] = {"x", "1.5", "1 "},  [OP_BOOL] = {"yes", "1"},
        [OP_NUMBER] = {"x", "1.5"}, [OP_TIME] = {"tomorrow", "5"}, [OP_CHOICE] = {"nonsense"},
    };
    static const char *const in_body[][8] = {
        [OP_TEXT] = {"[]", "{}", "true", "\"a\\u0000b\""},
        [OP_ID] = {"\"x\"", "1.5", "true", "[1]", "{}"},
        [OP_BOOL] = {"\"yes\"", "1", "[]", "{}"},
        [OP_NUMBER] = {"\"x\"", "1.5", "true", "[1]", "{}"},
        [OP_TIME] = {"\"tomorrow\"", "5", "true", "[]"},
        [OP_CHOICE] = {"\"nonsense\"", "5", "true", "[]"},
        [OP_TEXTS] = {"\"a\"", "[1]", "[null]", "{}", "true"},
        [OP_ROUTES] = {"\"10.0.0.0/8\"", "[\"x\"]", "[\"10.0.0.1\"]", "[\"10.1.0.0/8\"]", "[8]", "{}"},
        [OP_NETWORKS] = {"\"10.0.0.0/8\"", "[\"x\"]", "[\"10.0.0.0/33\"]", "[8]", "{}"},
        [OP_POLICY] = {"{}", "5", "[]", "true"},
    };
    return m->in == OP_BODY ? in_body[m->type] : in_url[m->type];
}

static void refuse_wrong_values(struct walk *w, const struct op_member *m)
{
    size_t n = 0;
    for (const char *const *value = wrong_types(m); *value != NULL; value++, n++)
        assert_names_member(w, m, *value);
    const char *const bounds[] = {too_much(w, m), too_little(w, m)};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        if (bounds[i] == NULL)
            continue;
        assert_names_member(w, m, bounds[i]);
        n++;
    }
    if (n == 0)
        fail_msg("%s: %s takes anything: give it a bound", w->op->name, m->name);
}

/* Each member of each row, with wrong types, beyond its bounds, and missing. Nothing happens. */
static void test_wrong_members_are_refused_by_name(void **state)
{
    struct walk *w = *state;
    const struct event *last;
    size_t before = fixture_operations(w->f, &last);
    for (size_t i = 0; i < w->op->member_n; i++) {
        const struct op_member *m = &w->op->members[i];
        refuse_wrong_values(w, m);
        if (m->is_required && m->in != OP_PATH)
            assert_names_member(w, m, NULL);
        if (m->is_required && m->in == OP_BODY)
            assert_names_member(w, m, "null");
    }
    assert_int_equal(fixture_operations(w->f, &last), before);
}

/* Null: it has no member of this name. */
static const struct op_member *member_named(const struct operation *op, struct str name)
{
    for (size_t i = 0; i < op->member_n; i++) {
        if (str_eq_c(name, op->members[i].name))
            return &op->members[i];
    }
    return NULL;
}

/* Each {} of a path is a member that stands there, but for the tailnet. */
static void check_path(const struct operation *op, const char *path)
{
    struct str before, name, rest = str_c(path);
    while (path != NULL && str_cut(rest, '{', &before, &rest)) {
        assert_true(str_cut(rest, '}', &name, &rest));
        const struct op_member *m = member_named(op, name);
        assert_true(m != NULL ? m->in == OP_PATH && m->is_required : str_eq(name, STR("tailnet")));
    }
}

/* Words in braces are members of the request. */
static void check_audit_text(const struct operation *op)
{
    struct str before, name, rest = str_c(op->audit != NULL ? op->audit : "");
    while (str_cut(rest, '{', &before, &rest)) {
        assert_true(str_cut(rest, '}', &name, &rest));
        assert_non_null(member_named(op, name));
    }
}

/* What is the same for all rows of a table that is well made. */
static void test_row_is_well_formed(void **state)
{
    const struct operation *op = *state;
    assert_ptr_equal(api_operation(op->name), op);
    assert_non_null(op->summary);
    assert_non_null(op->scope);
    assert_true(op->kind == JOB_PEN ? op->audit != NULL && op->run != NULL : op->kind != 0);
    assert_true(op->member_n <= 64); /* bits of api_call.given */
    assert_true(op->write != NULL || op->answer.object == NULL);
    for (size_t i = 0; i < op->member_n; i++) {
        const struct op_member *m = &op->members[i];
        assert_non_null(m->help);
        assert_true(m->offset < op->params_size);
        assert_int_equal(m->type == OP_CHOICE, m->choices != NULL);
    }
    check_path(op, op->v1.path);
    check_path(op, op->v2.path);
    check_audit_text(op);
}

/* --- all of it --- */

static const struct CMUnitTest of_each_row[] = {
    cmocka_unit_test(test_row_is_well_formed),
    cmocka_unit_test_setup_teardown(test_is_reached_and_leaves_its_trail, set_up_walk, tear_down_walk),
    cmocka_unit_test_setup_teardown(test_who_lacks_the_scope_is_refused, set_up_without_right, tear_down_walk),
    cmocka_unit_test_setup_teardown(test_wrong_members_are_refused_by_name, set_up_walk, tear_down_walk),
};

/* Each test of a row, once for each row, with the row's name in its own. */
static size_t spread(struct CMUnitTest *tests, struct arena *names)
{
    const struct operation *op;
    size_t n = 0;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        for (size_t k = 0; k < ARRAY_LEN(of_each_row); k++) {
            tests[n] = of_each_row[k];
            tests[n].name = arena_printf(names, "%s: %s", op->name, of_each_row[k].name);
            tests[n].initial_state = (void *)(uintptr_t)op;
            n++;
        }
    }
    return n;
}

int main(void)
{
    crypto_init();
    struct arena names = {0};
    size_t rows = 0;
    while (api_operation_at(rows) != NULL)
        rows++;
    struct CMUnitTest *tests = mem_zalloc(rows * ARRAY_LEN(of_each_row), sizeof(*tests));
    size_t n = spread(tests, &names);
    int failed = _cmocka_run_group_tests("each operation", tests, n, NULL, NULL);
    mem_free(tests);
    arena_fini(&names);
    return failed;
}
