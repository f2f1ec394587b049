/* Random policies, users, nodes and events: the engine against the naive twin; and an engine that has grown by
 * events against one that is made at once. */
#include "engine/twin.h"

enum { ROUNDS = 500, EVENTS = 24 };

static bool same_filter(struct random_tailnet *f, const struct engine_facts *n)
{
    struct twin_filter t;
    struct filter_set ours;
    struct buf text = {0};
    struct arena a = {0};
    const struct json *json;
    engine_filter(f->p, n->id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &json, NULL), RC_OK);
    filter_set_init(&ours);
    filter_set_add_json(&ours, json);
    twin_filter_of(f, n, &t);
    const struct filter_allowed *more = filter_set_differs(&t.set, &ours);
    const struct filter_allowed *less = filter_set_differs(&ours, &t.set);
    if (more != NULL || less != NULL)
        fprintf(stderr, "node %u: twin has %.*s, ours has %.*s\n%.*s\n", (unsigned)n->id,
                more != NULL ? (int)more->what.len : 0, more != NULL ? more->what.p : "",
                less != NULL ? (int)less->what.len : 0, less != NULL ? less->what.p : "", STR_ARG(buf_str(&text)));
    filter_set_fini(&ours);
    twin_filter_fini(&t);
    buf_fini(&text);
    arena_fini(&a);
    return more == NULL && less == NULL;
}

static bool same_peers(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b)
{
    struct twin_filter of_a, of_b;
    twin_filter_of(f, a, &of_a);
    twin_filter_of(f, b, &of_b);
    bool want = twin_reaches(&of_b, a) || twin_reaches(&of_a, b) || twin_steers(f, a, b) || twin_steers(f, b, a);
    twin_filter_fini(&of_a);
    twin_filter_fini(&of_b);
    if (engine_sees(f->p, a->id, b->id) != want)
        fprintf(stderr, "%u and %u should %ssee each other\n", (unsigned)a->id, (unsigned)b->id, want ? "" : "not ");
    return engine_sees(f->p, a->id, b->id) == want && engine_sees(f->p, b->id, a->id) == want;
}

static bool same_routes(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b)
{
    uint64_t routes = 0;
    engine_routes(f->p, a->id, b->id, &routes, b->route_n);
    for (size_t i = 0; i < b->route_n; i++) {
        if ((routes >> i & 1) != twin_shows(f, a, b, i)) {
            fprintf(stderr, "route %zu of %u for %u should %sbe there\n", i, (unsigned)b->id, (unsigned)a->id,
                    (routes >> i & 1) != 0 ? "not " : "");
            return false;
        }
    }
    return true;
}

static bool has_principal(const struct json *rule, const struct addr *a)
{
    char text[ADDR_TEXT_CAP];
    addr_format(a, false, text);
    JSON_EACH (p, json_get_exact(rule, "principals")) {
        struct str ip = STR_EMPTY;
        if (a->family != 0 && json_str(json_get_exact(p, "nodeIP"), &ip) && str_eq_c(ip, text))
            return true;
    }
    return false;
}

/* What a client makes of the rules. */
static enum answer client_ssh(const struct json *rules, const struct engine_facts *src, const char *login)
{
    JSON_EACH (rule, rules) {
        const struct json *users = json_get_exact(rule, "sshUsers"), *to = json_get_exact(users, login);
        struct str name = STR_EMPTY;
        if (!has_principal(rule, &src->v4) && !has_principal(rule, &src->v6))
            continue;
        if (to == NULL && strcmp(login, "root") != 0)
            to = json_get_exact(users, "*");
        if (json_str(to, &name) && name.len > 0)
            return json_get_exact(json_get_exact(rule, "action"), "accept") != NULL ? ANSWER_ACCEPT : ANSWER_CHECK;
    }
    return ANSWER_NONE;
}

static bool same_ssh(const struct random_tailnet *f, const struct engine_facts *n)
{
    static const char *const logins[] = {"root", "deploy", "other", "u0", "u1", "u2"};
    struct buf text = {0};
    struct arena a = {0};
    const struct json *rules;
    bool same = true;
    engine_ssh(f->p, n->id, "https://s", &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &rules, NULL), RC_OK);
    NODE_EACH(src, f)
    {
        for (size_t i = 0; i < ARRAY_LEN(logins); i++)
            same = same && client_ssh(rules, src, logins[i]) == twin_ssh(f, n, src, logins[i]);
    }
    if (!same)
        fprintf(stderr, "ssh of %u: %s\n", (unsigned)n->id, buf_cstr(&text));
    arena_fini(&a);
    buf_fini(&text);
    return same;
}

static bool same_as_twin(struct random_tailnet *f)
{
    const struct engine_facts *a = random_some_node(f), *b = random_some_node(f);
    if (a == NULL || b == NULL)
        return true;
    return same_filter(f, a) && same_ssh(f, a) && (a == b || (same_peers(f, a, b) && same_routes(f, a, b)));
}

static void test_engine_equals_twin(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        bool same = true;
        random_begin(f);
        for (uint32_t i = 0; same && i < EVENTS; i++) {
            random_event(f);
            same = same_as_twin(f);
        }
        if (!same)
            random_print(f);
        assert_true(same);
    }
}

static bool same_from_scratch(struct random_tailnet *f)
{
    struct policy_doc *doc = policy_doc_ref((struct policy_doc *)f->doc);
    struct engine *fresh = engine_create(doc, f->user, USERS, NULL);
    bool same = true;
    NODE_EACH(n, f)
    engine_put_node(fresh, n);
    NODE_EACH(n, f)
    {
        struct buf a = {0}, b = {0};
        random_append_access(f->p, n->id, &a);
        random_append_access(fresh, n->id, &b);
        same = same && str_eq(buf_str(&a), buf_str(&b)) &&
               engine_fingerprint(f->p, n->id) == engine_fingerprint(fresh, n->id);
        if (!str_eq(buf_str(&a), buf_str(&b)))
            fprintf(stderr, "node %u: grown %s\nfresh %s\n", (unsigned)n->id, buf_cstr(&a), buf_cstr(&b));
        buf_fini(&a);
        buf_fini(&b);
        NODE_EACH(m, f)
        {
            uint64_t x = 0, y = 0;
            engine_routes(f->p, n->id, m->id, &x, m->route_n);
            engine_routes(fresh, n->id, m->id, &y, m->route_n);
            same = same && x == y && engine_sees(f->p, n->id, m->id) == engine_sees(fresh, n->id, m->id);
        }
        same = same && engine_peer_count(f->p, n->id) == engine_peer_count(fresh, n->id);
    }
    same = same && engine_class_count(f->p) == engine_class_count(fresh) &&
           engine_node_count(f->p) == engine_node_count(fresh);
    engine_destroy(&fresh);
    policy_doc_unref(&doc);
    return same;
}

static void test_grown_engine_equals_fresh_one(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        random_begin(f);
        for (uint32_t i = 0; i < EVENTS; i++)
            random_event(f);
        bool same = same_from_scratch(f);
        if (!same)
            random_print(f);
        assert_true(same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_engine_equals_twin, random_setup, random_teardown),
        cmocka_unit_test_setup_teardown(test_grown_engine_equals_fresh_one, random_setup, random_teardown),
    };
    return cmocka_run_group_tests_name("engine twin", tests, NULL, NULL);
}
