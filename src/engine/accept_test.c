/* Policies as people write them: what is known takes effect, what has no effect here gives a warning with its
 * position, and nothing refuses the whole policy. A line "// expect LINE:COL TEXT" after the policy is a warning
 * that must be among those reported. */
#include <dirent.h>

#include "engine/testing.h"
#include "support/test_file.h"

static bool has_warning(const struct policy_errors *warnings, const char *want)
{
    int line, col, at;
    if (sscanf(want, "%d:%d %n", &line, &col, &at) != 2)
        return false;
    for (size_t i = 0; i < warnings->n; i++) {
        const struct policy_error *w = &warnings->v[i];
        if (w->line == line && w->col == col && strstr(w->text, want + at) != NULL)
            return true;
    }
    return false;
}

static void expect_warnings(const char *name, const char *text, const struct policy_errors *warnings)
{
    static const char mark[] = "\n// expect ";
    for (const char *at = text; (at = strstr(at, mark)) != NULL;) {
        char want[200] = "";
        at += sizeof(mark) - 1;
        (void)sscanf(at, "%199[^\n]", want);
        if (has_warning(warnings, want))
            continue;
        print_message("%s: not warned of: %s\n", name, want);
        for (size_t i = 0; i < warnings->n; i++)
            print_message("  %d:%d %s\n", warnings->v[i].line, warnings->v[i].col, warnings->v[i].text);
        fail();
    }
}

static void accept_file(const char *name)
{
    struct buf text = test_file_read(VECTORS_DIR "/policies", name);
    struct policy_errors warnings = {0};
    print_message("%s\n", name);
    struct engine *p = test_policy(buf_cstr(&text));
    engine_warnings(p, &warnings);
    expect_warnings(name, buf_cstr(&text), &warnings);
    /* Whatever the policy says, the access of every node can be rendered. */
    for (uint64_t id = 1; id <= TEST_NODES; id++) {
        struct buf out = {0};
        engine_filter(p, id, &out);
        engine_ssh(p, id, "https://x", &out);
        engine_self_caps(p, id, &out);
        assert_true(buf_len(&out) > 0);
        assert_null(strstr(buf_cstr(&out), "\"funnel\""));
        buf_fini(&out);
    }
    policy_errors_fini(&warnings);
    engine_destroy(&p);
    buf_fini(&text);
}

static void test_policies_of_people_are_accepted(void **state)
{
    DIR *dir = opendir(VECTORS_DIR "/policies");
    const struct dirent *e;
    size_t n = 0;
    (void)state;
    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        accept_file(e->d_name);
        n++;
    }
    closedir(dir);
    assert_true(n >= 40);
}

static void refused(const char *text, const char *sentence)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(str_c(text), NULL, &doc, &errors), RC_INVALID);
    if (strstr(errors.v[0].text, sentence) == NULL)
        print_message("%s\n", errors.v[0].text);
    assert_non_null(strstr(errors.v[0].text, sentence));
    policy_errors_fini(&errors);
}

/* A misspelt name is not a name that a later version may know; nor is a name that may have been meant to restrict
 * access. */
static void test_slips_are_refused(void **state)
{
    (void)state;
    refused("{\"acls\":[],\"gruops\":{}}", "unknown field: \"gruops\": did you mean \"groups\"?");
    refused("{\"acls\":[],\"autoAprovers\":{}}", "did you mean \"autoApprovers\"?");
    refused("{\"acl\":[]}", "unknown field: \"acl\": did you mean \"acls\"?");
    refused("{\"rules\":[]}", "unknown field: \"rules\"");
    refused("{\"grant\":[{\"src\":[\"*\"],\"dst\":[\"*\"],\"ip\":[\"*\"]}]}", "did you mean \"grants\"?");
    refused("{\"acls\":[],\"test\":[]}", "did you mean \"tests\"?");
    refused("{\"acls\":[{\"action\":\"accept\",\"scr\":[],\"dst\":[]}]}", "unknown field: \"scr\"");
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[],\"dst\":[],\"dstPosture\":[]}]}",
            "unknown field: \"dstPosture\"");
    refused("{\"grants\":[{\"src\":[],\"dst\":[],\"ip\":[\"*\"],\"except\":[]}]}", "unknown field: \"except\"");
    refused("{\"acls\":[],\"nodeAttrs\":[{\"targets\":[\"*\"],\"attr\":[\"x\"]}]}", "did you mean \"target\"?");
    refused("{\"acls\":[],\"tests\":[{\"src\":\"a@\",\"acept\":[\"a@:1\"]}]}", "did you mean \"accept\"?");
    refused("{\"acls\":[{\"action\":\"accept\",\"src\":[\"svc:web\"],\"dst\":[\"*:*\"]}]}",
            "services are not implemented");
}

static void test_many_warnings_are_bounded(void **state)
{
    struct buf text = {0};
    struct policy_errors warnings = {0};
    (void)state;
    buf_append_c(&text, "{\"acls\":[]");
    for (int i = 0; i < 10000; i++)
        buf_printf(&text, ",\"tomorrow-%d\":0", i);
    buf_append_c(&text, "}");
    struct engine *p = test_policy(buf_cstr(&text));
    engine_warnings(p, &warnings);
    assert_true(warnings.n <= POLICY_ERRORS_MAX && warnings.left_out > 9000);
    policy_errors_fini(&warnings);
    engine_destroy(&p);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_of_people_are_accepted),
        cmocka_unit_test(test_slips_are_refused),
        cmocka_unit_test(test_many_warnings_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
