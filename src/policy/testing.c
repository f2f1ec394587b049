#include "policy/testing.h"

struct policy_doc *test_parse(const char *text)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (policy_parse(str_c(text), NULL, &doc, &errors) != RC_OK)
        print_message("%d:%d: %s\n", errors.v[0].line, errors.v[0].col, errors.v[0].text);
    assert_int_equal(errors.n, 0);
    assert_non_null(doc);
    policy_errors_fini(&errors);
    return doc;
}

void test_refused(const char *text, const char *sentence, int line, int col)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    enum rc rc = policy_parse(str_c(text), NULL, &doc, &errors);
    if (rc != RC_INVALID || strstr(errors.v[0].text, sentence) == NULL || errors.v[0].line != line ||
        errors.v[0].col != col)
        print_message("%s\n-> %d:%d %s\n", text, errors.v[0].line, errors.v[0].col,
                      rc == RC_OK ? "" : errors.v[0].text);
    assert_int_equal(rc, RC_INVALID);
    assert_null(doc);
    assert_true(errors.n >= 1);
    assert_non_null(strstr(errors.v[0].text, sentence));
    assert_int_equal(errors.v[0].line, line);
    assert_int_equal(errors.v[0].col, col);
    policy_errors_fini(&errors);
}
