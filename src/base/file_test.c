#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static void test_save_and_read(void **state)
{
    (void)state;
    char dir[] = "/tmp/fullscale-file-XXXXXX", path[64], aside[80], nowhere[80];
    struct buf got = {0};
    struct err err = {0};
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/a", dir);
    snprintf(aside, sizeof(aside), "%s.new", path);
    snprintf(nowhere, sizeof(nowhere), "%s/b/c", dir);
    assert_int_equal(file_read(path, 10, &got, &err), RC_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(file_save(path, STR("first and long"), &err), RC_OK);
    assert_int_equal(file_save(path, STR("second"), &err), RC_OK);
    assert_int_equal(file_read(path, 6, &got, &err), RC_OK); /* as large as may be */
    assert_string_equal(buf_cstr(&got), "second");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_not_equal(access(aside, F_OK), 0);
    buf_clear(&got);
    assert_int_equal(file_read(path, 5, &got, &err), RC_TOO_LARGE);
    assert_int_equal(file_save(nowhere, STR("x"), &err), RC_NOT_FOUND);
    assert_non_null(strstr(err.text, nowhere));
    assert_int_equal(file_read(dir, 10, &got, NULL), RC_IO); /* a directory */
    buf_clear(&got);
    assert_int_equal(file_save(path, STR_EMPTY, NULL), RC_OK);
    assert_int_equal(file_read(path, 0, &got, &err), RC_OK);
    assert_int_equal(buf_len(&got), 0);
    buf_fini(&got);
    /* A file that a crash left behind does not matter. */
    assert_int_equal(mkdir(nowhere, 0700), -1);
    assert_int_equal(file_save(aside, STR("half"), NULL), RC_OK);
    assert_int_equal(file_save(path, STR("third"), NULL), RC_OK);
    remove(path);
    assert_int_equal(rmdir(dir), 0);
}

static void test_large(void **state)
{
    (void)state;
    enum { BYTES = 300 * 1000 };
    char path[] = "/tmp/fullscale-file-XXXXXX";
    struct buf text = {0}, got = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int i = 0; i < BYTES; i++)
        buf_append_byte(&text, (uint8_t)i);
    assert_int_equal(file_save(path, buf_str(&text), NULL), RC_OK);
    assert_int_equal(file_read(path, BYTES, &got, NULL), RC_OK);
    assert_true(str_eq(buf_str(&text), buf_str(&got)));
    remove(path);
    buf_fini(&text);
    buf_fini(&got);
}

static void test_directory(void **state)
{
    (void)state;
    static const struct {
        const char *path, *want;
    } cases[] = {{"a", "."}, {"/a", "/"}, {"/a/b", "/a"}, {"a/b/c", "a/b"}, {"a/", "a"}, {"", "."}};
    char got[PATH_MAX];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        file_directory(cases[i].path, got);
        assert_string_equal(got, cases[i].want);
    }
}

static void test_stamps(void **state)
{
    (void)state;
    char path[] = "/tmp/fullscale-file-XXXXXX";
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    const struct timespec later[2] = {{.tv_sec = 1000}, {.tv_sec = 1000, .tv_nsec = 1}};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(futimens(fd, long_ago), 0);
    struct file_stamp first = file_stamp(path), same = file_stamp(path);
    assert_true(first.exists);
    assert_true(file_stamp_eq(&first, &same));
    /* A nanosecond, a byte, another file of the same name, none. */
    assert_int_equal(futimens(fd, later), 0);
    struct file_stamp touched = file_stamp(path);
    assert_int_equal(touched.mtime.tv_nsec, 1);
    assert_false(file_stamp_eq(&first, &touched));
    assert_int_equal(write(fd, "x", 1), 1);
    struct file_stamp longer = file_stamp(path);
    assert_int_equal(longer.size, 1);
    assert_false(file_stamp_eq(&touched, &longer));
    assert_int_equal(file_save(path, STR("y"), NULL), RC_OK);
    struct file_stamp replaced = file_stamp(path);
    assert_false(file_stamp_eq(&longer, &replaced)); /* `fd` keeps the inode of the old one */
    close(fd);
    remove(path);
    struct file_stamp gone = file_stamp(path), none = {0};
    assert_false(file_stamp_eq(&replaced, &gone));
    assert_true(file_stamp_eq(&gone, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_read),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_stamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
