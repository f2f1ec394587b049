/* Result codes, and errors for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rc.h"

static void test_result_codes(void **state UNUSED)
{
    assert_string_equal(rc_text(RC_OK), "ok");
    assert_string_equal(rc_name(RC_NOT_FOUND), "NOT_FOUND");
    assert_int_equal(rc_http_status(RC_TOO_LARGE), 413);
    assert_string_equal(rc_text(1), "unknown error");
    assert_string_equal(rc_name(-RCI_COUNT), "UNKNOWN");
    assert_int_equal(rc_http_status(-1000), 500);
    for (int i = 0; i < RCI_COUNT; i++)
        assert_true(rc_text(-i)[0] != '\0' && rc_name(-i)[0] != '\0' && rc_http_status(-i) >= 200);
}

static void test_errors_for_people(void **state UNUSED)
{
    struct err err;
    char text[1024];
    char tiny[8];
    assert_int_equal(err_set(&err, RC_INVALID, "bad %d", 7), RC_INVALID);
    err_format(&err, text, sizeof(text));
    assert_string_equal(text, "bad 7");
    assert_int_equal(err_set_at(&err, RC_EXISTS, "a.yaml", 3, 5, "twice"), RC_EXISTS);
    err_format(&err, text, sizeof(text));
    assert_string_equal(text, "a.yaml:3:5: twice");
    err_format(&err, tiny, sizeof(tiny));
    assert_string_equal(tiny, "a.yaml:");
    assert_int_equal(err_set_at(&err, RC_EXISTS, NULL, 3, 5, "twice"), RC_EXISTS);
    err_format(&err, text, sizeof(text));
    assert_string_equal(text, "3:5: twice");
    assert_int_equal(err_set(NULL, RC_INVALID, "nobody listens"), RC_INVALID);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(err_set_at(&err, RC_INVALID, text, 1, 1, "%s", text), RC_INVALID);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_int_equal(strlen(err.file), sizeof(err.file) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result_codes),
        cmocka_unit_test(test_errors_for_people),
    };
    return cmocka_run_group_tests_name("rc", tests, NULL, NULL);
}
