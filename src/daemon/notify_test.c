/* A socket of the test plays the service manager. */
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/daemon_internal.h"
#include "daemon/testing.h"

static int open_socket(const char *path, bool is_abstract)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    if (is_abstract)
        at.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(
        bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))), 0);
    setenv("NOTIFY_SOCKET", path, 1);
    return fd;
}

static void assert_sent(int fd, const char *want)
{
    char got[512];
    ssize_t n = recv(fd, got, sizeof(got) - 1, 0);
    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, want);
}

static void test_states(void **state)
{
    (void)state;
    struct test_folder f;
    test_folder_make(&f);
    int fd = open_socket(test_path(&f, "notify"), false);
    notify_manager(NOTIFY_STARTING, "waiting for the control server");
    assert_sent(fd, "STATUS=waiting for the control server");
    notify_manager(NOTIFY_READY, "serving");
    assert_sent(fd, "READY=1\nSTATUS=serving");
    notify_manager(NOTIFY_STOPPING, "ending\nREADY=1");
    assert_sent(fd, "STOPPING=1\nSTATUS=ending\\nREADY=1");
    close(fd);
    unlink(test_path(&f, "notify"));
    rmdir(f.path);
}

static void test_abstract_socket(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof(name), "@fullscale-notify-%d", (int)getpid());
    int fd = open_socket(name, true);
    notify_manager(NOTIFY_READY, "serving");
    assert_sent(fd, "READY=1\nSTATUS=serving");
    close(fd);
}

/* Without a manager, or with one that is gone or whose address is no address, nothing happens. */
static void test_nobody_listens(void **state)
{
    (void)state;
    char too_long[200];
    memset(too_long, 'x', sizeof(too_long));
    too_long[0] = '/';
    too_long[sizeof(too_long) - 1] = '\0';
    const char *const names[] = {"", "relative", "@", "/", "/nonexistent/notify", too_long};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        notify_manager(NOTIFY_READY, "serving");
    }
    unsetenv("NOTIFY_SOCKET");
    notify_manager(NOTIFY_READY, "serving");
}

/* An error that only an operator can mend ends with the status for which the unit does not start again. */
static void test_exit_statuses(void **state)
{
    (void)state;
    static const struct {
        enum rc code;
        int status;
    } cases[] = {{RC_INVALID, 78}, {RC_NOT_FOUND, 78}, {RC_UNSUPPORTED, 78}, {RC_IN_USE, 1},
                 {RC_IO, 1},       {RC_STORE, 1},      {RC_CLOSED, 1},       {RC_DENIED, 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        (void)err_set(&err, cases[i].code, "why");
        assert_int_equal(process_cannot_start(&err), cases[i].status);
    }
}

static int forget_socket(void **state)
{
    (void)state;
    return unsetenv("NOTIFY_SOCKET");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_states, forget_socket),
        cmocka_unit_test_teardown(test_abstract_socket, forget_socket),
        cmocka_unit_test_teardown(test_nobody_listens, forget_socket),
        cmocka_unit_test_teardown(test_exit_statuses, forget_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
