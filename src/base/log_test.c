/* Log lines as plain text and JSON, levels, limits. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"

LOG_MODULE("log_test");

static int log_pipe[2];
static int saved_stderr = -1; /* while it is captured */

/* Each test may leave standard error captured, by a failed assertion, or another level: this takes both back. */
static int restore(void **state UNUSED)
{
    if (saved_stderr >= 0) {
        dup2(saved_stderr, STDERR_FILENO);
        close(saved_stderr);
        saved_stderr = -1;
    }
    log_set_json(false);
    return log_set_level(NULL, LOG_INFO) == RC_OK ? 0 : -1;
}

static void capture_start(void)
{
    assert_int_equal(pipe(log_pipe), 0);
    assert_int_equal(fcntl(log_pipe[0], F_SETFL, O_NONBLOCK), 0);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(log_pipe[1], STDERR_FILENO);
}

/* What was logged, without the leading times. */
static void capture_end(struct buf *out)
{
    ssize_t n;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    saved_stderr = -1;
    close(log_pipe[1]);
    while ((n = read(log_pipe[0], buf_reserve(out, 65536), 65536)) > 0)
        buf_commit(out, (size_t)n);
    close(log_pipe[0]);
}

static void assert_logged(struct buf *got, const char *want)
{
    /* "2026-11-23T01:02:03.123Z ", without the fraction on a whole second */
    struct str when, rest;
    assert_true(str_cut(buf_str(got), ' ', &when, &rest));
    assert_true(str_ends(when, STR("Z")));
    if (!str_eq_c(rest, want))
        fail_msg("logged: %s", buf_cstr(got));
    buf_fini(got);
}

static void test_log_lines_are_plain_text(void **state UNUSED)
{
    struct buf got = {0};
    capture_start();
    log_warn("event", LOG_S("plain", "a-b"), LOG_S("text", "a \"b\"\n\x1b\xff\xc3\xa9"), LOG_STR("str", STR("=")),
             LOG_I("i", -5), LOG_U("u", UINT64_MAX), LOG_S("null", NULL), LOG_RC(RC_EXPIRED));
    capture_end(&got);
    assert_logged(&got, "warn  log_test: event plain=a-b text=\"a \\\"b\\\"\\n\\x1b\\xff\xc3\xa9\" str=\"=\" i=-5 "
                        "u=18446744073709551615 null=\"\" error=expired\n");
}

static void test_log_lines_are_json(void **state UNUSED)
{
    struct buf got = {0};
    capture_start();
    log_set_json(true);
    log_error("it's \"an\" event", LOG_S("k", "v\\\t\x1b\xff\u202e"), LOG_I("i", 1));
    log_set_json(false);
    capture_end(&got);
    struct str line = buf_str(&got);
    assert_true(str_starts(line, STR("{\"time\":\"2")));
    assert_true(str_ends(line, STR("\",\"level\":\"error\",\"module\":\"log_test\",\"msg\":\"it's \\\"an\\\" event\","
                                   "\"k\":\"v\\\\\\t\\u001b\\ufffd\\u202e\",\"i\":1}\n")));
    buf_fini(&got);
}

static void test_log_levels(void **state UNUSED)
{
    struct buf got = {0};
    enum log_level level = LOG_OFF;
    assert_int_equal(log_level_parse("debug", &level), RC_OK);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("Debug", &level), RC_INVALID);
    assert_int_equal(log_level_parse("", &level), RC_INVALID);
    assert_string_equal(log_level_name(LOG_OFF), "off");
    assert_int_equal(log_set_level("no such module", LOG_WARN), RC_NOT_FOUND);
    capture_start();
    log_debug("below the default");
    assert_int_equal(log_set_level("log_test", LOG_DEBUG), RC_OK);
    log_debug("now");
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    log_error("off");
    assert_int_equal(log_set_level("log_test", LOG_INFO), RC_OK);
    capture_end(&got);
    assert_logged(&got, "debug log_test: now\n");
    bool found = false;
    for (const struct log_module *m = log_module_next(NULL); m != NULL; m = log_module_next(m))
        found = found || strcmp(m->name, "log_test") == 0;
    assert_true(found);
}

static void test_provoked_lines_are_limited(void **state UNUSED)
{
    struct buf got = {0};
    size_t lines = 0;
    capture_start();
    for (int i = 0; i < 1000; i++)
        log_limited(LOG_WARN, "flood");
    log_limited(LOG_WARN, "another place");
    capture_end(&got);
    struct str all = buf_str(&got);
    for (size_t i = 0; i < all.len; i++)
        lines += all.p[i] == '\n';
    /* A burst of 5, another line for each second that ends meanwhile, and the line of the other place in the code. */
    assert_in_range(lines, 6, 12);
    assert_true(str_ends(all, STR("another place\n")));
    buf_fini(&got);
}

/* What a peer sent may be as long as a body: it must not fill the disk. */
static void test_long_fields_are_cut(void **state UNUSED)
{
    struct buf got = {0};
    char text[5000];
    memset(text, 1, sizeof(text));
    capture_start();
    log_info("long", LOG_STR("field", str_n(text, sizeof(text))));
    capture_end(&got);
    assert_true(buf_len(&got) < 7000);
    assert_true(str_ends(buf_str(&got), STR("\\x01\" cut_from=5000\n")));
    buf_fini(&got);
}

static void test_a_closed_stderr_harms_nothing(void **state UNUSED)
{
    saved_stderr = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_error("no file to write to");
    assert_int_equal(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_log_lines_are_plain_text, restore),
        cmocka_unit_test_teardown(test_log_lines_are_json, restore),
        cmocka_unit_test_teardown(test_log_levels, restore),
        cmocka_unit_test_teardown(test_provoked_lines_are_limited, restore),
        cmocka_unit_test_teardown(test_long_fields_are_cut, restore),
        cmocka_unit_test_teardown(test_a_closed_stderr_harms_nothing, restore),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
