/* Policies that are too large, or would be too much work. */
#include "policy/testing.h"

static void refused_text(struct buf *text, const char *sentence, int line)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(buf_str(text), NULL, &doc, &errors), RC_INVALID);
    assert_non_null(strstr(errors.v[0].text, sentence));
    assert_int_equal(errors.v[0].line, line);
    policy_errors_fini(&errors);
    buf_fini(text);
}

static void test_huge_policies_are_refused(void **state)
{
    (void)state;
    struct buf big = {0}, deep = {0}, list = {0}, wide = {0}, groups = {0}, many = {0};
    memset(buf_reserve(&big, 10u << 20), ' ', 10u << 20);
    buf_commit(&big, 10u << 20);
    refused_text(&big, "the policy has 10485760 bytes (limit 4194304)", 1);
    buf_append_c(&deep, "{\n\"acls\":");
    for (int i = 0; i < 10000; i++)
        buf_append_byte(&deep, '[');
    refused_text(&deep, "nested too deeply (limit 64)", 2);
    buf_append_c(&list, "{\"acls\":[{\"action\":\"accept\",\n\"src\":[1");
    for (int i = 1; i < 1000000; i++)
        buf_append_c(&list, ",1");
    buf_append_c(&list, "]}]}");
    refused_text(&list, "src has 1000000 elements (limit 1000)", 2);
    buf_append_c(&wide, "{\"acls\":[\n");
    for (int i = 0; i < 20001; i++)
        buf_append_c(&wide, i > 0 ? ",{}" : "{}");
    buf_append_c(&wide, "]}");
    refused_text(&wide, "too many rules (limit 20000)", 1);
    buf_append_c(&groups, "{\"groups\":{\"group:a\":[\"a@x\"]");
    for (int i = 0; i < 10000; i++)
        buf_printf(&groups, ",\"group:%d\":[]", i);
    buf_append_c(&groups, "}}");
    refused_text(&groups, "too many groups (limit 10000)", 1);
    /* More errors than a reader keeps. */
    buf_append_c(&many, "{");
    for (int i = 0; i < 100000; i++)
        buf_printf(&many, "%s\"x%d\":0", i > 0 ? "," : "", i);
    buf_append_c(&many, "}");
    refused_text(&many, "unknown field: \"x0\"", 1);
}

/* Each set adds the one before twice, which would be 2^n ranges if they were not joined; and a chain that is too
 * long. */
static void test_ipsets_do_not_explode(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_c(&text, "{\"ipsets\":{\"ipset:0\":[\"10.0.0.0/8\",\"fd00::1\"]");
    for (int i = 1; i < 60; i++)
        buf_printf(&text, ",\"ipset:%d\":[\"ipset:%d\",\"ipset:%d\"]", i, i - 1, i - 1);
    buf_append_c(&text, "}}");
    struct policy_doc *doc = test_parse(buf_cstr(&text));
    policy_doc_unref(&doc);
    buf_clear(&text);
    buf_append_c(&text, "{\"ipsets\":{");
    for (int i = 0; i < 200; i++)
        buf_printf(&text, "\"ipset:%d\":[\"ipset:%d\"],", i, i + 1);
    buf_append_c(&text, "\"ipset:200\":[]}}");
    refused_text(&text, "ipsets in one another", 1);
}

/* A thousand ipsets that are each in twenty thousand rules would be twenty million ranges. */
static void test_lists_of_large_ipsets_are_refused(void **state)
{
    (void)state;
    struct buf text = {0}, wide = {0};
    buf_append_c(&text, "{\"ipsets\":{\"ipset:s\":[");
    for (int i = 0; i < 999; i++)
        buf_printf(&text, "%s\"10.%d.%d.1\"", i > 0 ? "," : "", i / 250, i % 250);
    buf_append_c(&text, "]},\"acls\":[");
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "%s\n{\"action\":\"accept\",\"src\":[\"ipset:s\",\"u%d@x\"],\"dst\":[]}", i > 0 ? "," : "",
                   i);
    buf_append_c(&text, "]}");
    refused_text(&text, "too many selectors and addresses in all lists (limit 200000)", 202);
    buf_append_c(&wide, "{\"ipsets\":{\"ipset:all\":[");
    for (int i = 0; i < 11; i++)
        buf_printf(&wide, "%s\"ipset:%d\"", i > 0 ? "," : "", i);
    buf_append_c(&wide, "]");
    for (int i = 0; i < 11; i++) {
        buf_printf(&wide, ",\"ipset:%d\":[", i);
        for (int k = 0; k < 1000; k++)
            buf_printf(&wide, "%s\"10.%d.%d.%d\"", k > 0 ? "," : "", i, k / 100, k % 100 * 2);
        buf_append_c(&wide, "]");
    }
    buf_append_c(&wide, "}}");
    refused_text(&wide, "ipsets[\"ipset:all\"]: more than 10000 ranges", 1);
}

/* Each set copies one of a thousand ranges, with a few bytes of text for each copy. And additions that alternate
 * with removals, which must process all ranges so far, in each of many sets. */
static void test_ipsets_of_ipsets_have_a_limit_of_work(void **state)
{
    (void)state;
    static const struct policy_options as_stored = {.is_stored = true}; /* accepted by a version without the limit */
    struct buf copies = {0}, turns = {0};
    buf_append_c(&copies, "{\"ipsets\":{\"ipset:s\":[");
    for (int i = 0; i < 999; i++)
        buf_printf(&copies, "%s\"10.%d.%d.1\"", i > 0 ? "," : "", i / 250, i % 250);
    buf_append_c(&copies, "]");
    buf_append(&turns, copies.data, buf_len(&copies));
    for (int i = 0; i < 2000; i++)
        buf_printf(&copies, ",\"ipset:%d\":[\"ipset:s\"]", i);
    buf_append_c(&copies, "}}");
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(buf_str(&copies), &as_stored, &doc, &errors), RC_OK);
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
    refused_text(&copies, "ipsets: more than 1000000 ranges", 1);
    for (int i = 0; i < 2; i++) {
        buf_printf(&turns, ",\"ipset:%d\":[\"add ipset:s\"", i);
        for (int k = 0; k < 499; k++)
            buf_printf(&turns, ",\"remove 10.0.%d.1\",\"add 10.0.%d.1\"", k % 250, k % 250);
        buf_append_c(&turns, "]");
    }
    buf_append_c(&turns, "}}");
    refused_text(&turns, "ipsets: more than 1000000 ranges", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_policies_are_refused),
        cmocka_unit_test(test_ipsets_do_not_explode),
        cmocka_unit_test(test_lists_of_large_ipsets_are_refused),
        cmocka_unit_test(test_ipsets_of_ipsets_have_a_limit_of_work),
    };
    return cmocka_run_group_tests_name("policy limits", tests, NULL, NULL);
}
