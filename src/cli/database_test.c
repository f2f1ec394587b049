/* Dump and import from the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/testing.h"
#include "store/testing.h"

struct fixture {
    char dir[64];
    char config[2][96]; /* each with a database of its own */
    char dump[96], again[96];
};

static struct fixture f;

static int set_up(void **state)
{
    (void)state;
    snprintf(f.dir, sizeof(f.dir), "/tmp/fullscale-database-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    for (unsigned i = 0; i < 2; i++) {
        char text[512];
        snprintf(f.config[i], sizeof(f.config[i]), "%s/%u.yaml", f.dir, i);
        snprintf(
            text, sizeof(text),
            "server_url: http://10.0.0.1:8080\nstate_dir: %s/%u\ndatabase:\n  sqlite:\n    path: %s/%u/db.sqlite\n",
            f.dir, i, f.dir, i);
        cli_test_write_file(f.config[i], text);
    }
    snprintf(f.dump, sizeof(f.dump), "%s/dump", f.dir);
    snprintf(f.again, sizeof(f.again), "%s/again", f.dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s/%u/db.sqlite", f.dir, i);
        test_scratch_remove_files(path);
        *strrchr(path, '/') = '\0';
        rmdir(path);
        unlink(f.config[i]);
    }
    unlink(f.dump);
    unlink(f.again);
    return rmdir(f.dir);
}

static void run(const char *what, unsigned config, const char *file, enum cli_exit status, const char *in_out,
                const char *in_err)
{
    char line[512];
    snprintf(line, sizeof(line), "fullscale database %s -c %s %s", what, f.config[config], file);
    cli_test_expect(line, status, in_out, in_err);
}

#define HEAD "{\"format\":\"fullscale-dump-1\",\"schema\":7,\"secrets\":true}\n"
#define USER                                                                                                           \
    "{\"entity\":\"user\",\"id\":1,\"name\":\"ann\",\"display_name\":\"\",\"email\":\"\",\"picture_url\":\"\","        \
    "\"created_ms\":1,\"role\":1}\n"

static void test_a_dump_is_imported_elsewhere(void **state)
{
    (void)state;
    struct buf first = {0}, second = {0};
    struct err err;
    struct stat st;
    cli_test_write_file(f.dump, HEAD USER);
    run("import", 0, f.dump, CLI_EXIT_OK, "Imported", NULL);
    run("dump --secrets", 0, f.again, CLI_EXIT_OK, "Dumped", NULL);
    assert_int_equal(stat(f.again, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    run("dump", 0, f.again, CLI_EXIT_ERROR, NULL, "exists");
    run("import", 1, f.again, CLI_EXIT_OK, "Imported", NULL);
    run("dump", 1, "", CLI_EXIT_OK, USER, NULL);
    run("dump", 1, "-", CLI_EXIT_OK, "\"secrets\":false", NULL);
    unlink(f.dump);
    run("dump --secrets", 1, f.dump, CLI_EXIT_OK, NULL, NULL);
    assert_int_equal(file_read(f.dump, 1 << 20, &first, &err), RC_OK);
    assert_int_equal(file_read(f.again, 1 << 20, &second, &err), RC_OK);
    assert_true(str_eq(buf_str(&first), buf_str(&second)));
    buf_fini(&first);
    buf_fini(&second);
}

static void test_what_cannot_be_imported_is_named(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "%s:3:1: another row has the same id or name; nothing has been imported", f.dump);
    cli_test_write_file(f.dump, HEAD USER USER);
    run("import", 0, f.dump, CLI_EXIT_ERROR, NULL, path);
    cli_test_write_file(f.dump, HEAD USER);
    run("import", 0, f.dump, CLI_EXIT_OK, NULL, NULL);
    run("import", 0, f.dump, CLI_EXIT_ERROR, NULL, "the database has rows already");
    run("import", 0, "/nowhere", CLI_EXIT_ERROR, NULL, "/nowhere");
    run("import", 0, "", CLI_EXIT_USAGE, NULL, "needs FILE");
}

/* Not while a server has the database. */
static void test_the_server_must_not_run(void **state)
{
    (void)state;
    char path[160];
    struct store *s;
    struct err err;
    run("dump", 0, "", CLI_EXIT_ERROR, NULL, "there is no database");
    snprintf(path, sizeof(path), "%s/0/db.sqlite", f.dir);
    assert_int_equal(store_open_sqlite(&(struct store_options){.sqlite_path = path}, &s, &err), RC_OK);
    cli_test_write_file(f.dump, HEAD USER);
    run("dump", 0, "", CLI_EXIT_ERROR, NULL, "stop the server first");
    run("import", 0, f.dump, CLI_EXIT_ERROR, NULL, "in use by another server");
    store_close(&s);
    run("import", 0, f.dump, CLI_EXIT_OK, NULL, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_dump_is_imported_elsewhere),
        TEST(test_what_cannot_be_imported_is_named),
        TEST(test_the_server_must_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
