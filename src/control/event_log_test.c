/* The log lines that events become. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "control/control.h"
#include "state/testing.h"

static int log_pipe[2];
static int saved_stderr = -1; /* while it is captured */
static struct buf logged;

static int set_up(void **state)
{
    int rc = test_tailnet_set_up(state);
    state_want_events(((struct test_tailnet *)*state)->st, true);
    return rc;
}

static int tear_down(void **state)
{
    if (saved_stderr >= 0) {
        dup2(saved_stderr, STDERR_FILENO);
        close(saved_stderr);
        saved_stderr = -1;
    }
    buf_fini(&logged);
    return log_set_level(NULL, LOG_INFO) == RC_OK ? test_tailnet_tear_down(state) : -1;
}

/* Logs all that may be told by now, and returns what came of it. */
static struct str log_events(struct test_tailnet *f)
{
    struct event_list *events;
    ssize_t n;
    buf_clear(&logged);
    assert_int_equal(pipe(log_pipe), 0);
    assert_int_equal(fcntl(log_pipe[0], F_SETFL, O_NONBLOCK), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(log_pipe[1], STDERR_FILENO);
    while ((events = state_take_events(f->st)) != NULL) {
        control_log_events(NULL, NULL, events);
        event_list_unref(&events);
    }
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    saved_stderr = -1;
    close(log_pipe[1]);
    while ((n = read(log_pipe[0], buf_reserve(&logged, 65536), 65536)) > 0)
        buf_commit(&logged, (size_t)n);
    close(log_pipe[0]);
    return str_c(buf_cstr(&logged));
}

static void assert_says(struct str got, const char *line)
{
    if (strstr(got.p, line) == NULL)
        fail_msg("logged: %s", got.p);
}

static void test_a_node_that_joins_is_one_line_once_it_is_on_disk(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "Laptop");
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_int_equal(log_events(f).len, 0);
    test_tailnet_settle(f, TEST_NOW_MS);
    struct str got = log_events(f);
    assert_says(got, "Z info  register: node joined node=1 name=laptop\n");
    assert_string_equal(strchr(got.p, '\n'), "\n");
    assert_int_equal(log_events(f).len, 0);
}

static void test_what_happens_all_the_time_is_logged_for_those_who_debug(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "laptop");
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_int_equal(log_set_level("events", LOG_DEBUG), RC_OK);
    assert_int_equal(log_set_level("register", LOG_OFF), RC_OK);
    test_tailnet_settle(f, TEST_NOW_MS);
    struct str got = log_events(f);
    assert_says(got, "Z debug events: auth key created id=1 key=fskey-auth-");
    assert_says(got, " user=1 tags=[] expires=never\n");
    assert_says(got, "Z debug events: auth key used id=1 key=fskey-auth-");
    assert_null(strstr(got.p, "node joined"));
    assert_int_equal(log_set_level("register", LOG_DEBUG), RC_OK);
    assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    assert_says(log_events(f), "Z debug register: node registered again node=1 name=laptop\n");
}

static void test_a_policy_file_that_changes_is_one_line(void **state)
{
    struct test_tailnet *f = *state;
    state_note_policy_file(f->st, STR("/etc/fullscale/policy.hujson"));
    assert_says(log_events(f), "Z info  policy: the policy file has changed and is in force "
                               "file=/etc/fullscale/policy.hujson\n");
}

static void test_a_trace_has_the_whole_event(void **state)
{
    struct test_tailnet *f = *state;
    assert_int_equal(log_set_level("events", LOG_TRACE), RC_OK);
    state_set_actor(f->st, NULL, TEST_NOW_MS);
    assert_int_equal(state_user_set_role(f->st, f->anna->id, USER_AUDITOR, &f->anna, NULL), RC_OK);
    test_tailnet_settle(f, TEST_NOW_MS);
    struct str got = log_events(f);
    assert_says(got, "Z debug events: a user has another role user=1 name=anna role=auditor was=owner\n");
    assert_says(got, "Z trace events: event json=\"{\\\"event\\\":\\\"user.role_changed\\\",\\\"at\\\":"
                     "\\\"2027-01-15T08:00:00Z\\\",\\\"actor\\\":{\\\"type\\\":\\\"server\\\"}");
}

static void test_an_auth_key_that_many_use_is_an_alarm(void **state)
{
    struct test_tailnet *f = *state;
    struct state_options options = test_options();
    char key[AUTH_KEY_TEXT_CAP];
    options.key_alarm_joins = 2;
    state_destroy(&f->st);
    test_tailnet_open(f, &options);
    state_want_events(f->st, true);
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    for (int i = 0; i < 3; i++) {
        struct registration reg = test_tailnet_request(f, key, "laptop");
        assert_int_equal(test_tailnet_register(f, &reg, TEST_NOW_MS).outcome, REGISTER_OK);
    }
    test_tailnet_settle(f, TEST_NOW_MS);
    struct str got = log_events(f);
    assert_says(got,
                "Z warn  register: many nodes join with one auth key: if that is not meant, expire it (preauthkeys "
                "expire KEY) key=fskey-auth-");
    assert_says(got, " nodes_within_an_hour=2\n");
    assert_null(strstr(got.p, "nodes_within_an_hour=3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_node_that_joins_is_one_line_once_it_is_on_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_happens_all_the_time_is_logged_for_those_who_debug, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_policy_file_that_changes_is_one_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_trace_has_the_whole_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_auth_key_that_many_use_is_an_alarm, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
