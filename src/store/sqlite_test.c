/* What is particular to SQLite: opening files, what is refused and left as it was, constraints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"
#include "store/testing.h"
#include "support/test_file.h"

static void read_all(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    buf_clear(out);
    if (f == NULL)
        return;
    for (;;) {
        size_t n = fread(buf_reserve(out, 65536), 1, 65536, f);
        buf_commit(out, n);
        if (n == 0)
            break;
    }
    fclose(f);
}

static void write_all(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Opening fails with this code and a message that contains `part`; the file is the same afterwards. */
static void assert_refused(const char *path, enum rc expected, const char *part)
{
    const struct store_options options = {path, 1000};
    struct store *s = NULL;
    struct err err = {0};
    struct buf before = {0}, after = {0};
    read_all(path, &before);
    enum rc rc = store_open_sqlite(&options, &s, &err);
    if (rc != expected || strstr(err.text, part) == NULL)
        print_error("%s: %s\n", rc_name(rc), err.text);
    assert_int_equal(rc, expected);
    assert_int_equal(err.code, expected);
    assert_non_null(strstr(err.text, part));
    assert_null(s);
    read_all(path, &after);
    assert_true(str_eq(buf_str(&before), buf_str(&after)));
    buf_fini(&before);
    buf_fini(&after);
}

/* --- the file --- */

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void test_file_and_directory(void **state)
{
    const char *dir = *state;
    char deep[2 * TEST_SCRATCH_CAP], path[3 * TEST_SCRATCH_CAP], wal[4 * TEST_SCRATCH_CAP];
    struct test_world w;
    mode_t before = umask(0);
    snprintf(deep, sizeof(deep), "%s/new", dir);
    snprintf(path, sizeof(path), "%s/db.sqlite", deep);
    snprintf(wal, sizeof(wal), "%s-wal", path);
    test_world_init(&w, 1);
    struct store *s = test_store_open(path, 1000);
    assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    assert_int_equal(mode_of(deep), 0700);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(mode_of(wal), 0600);
    assert_int_equal(test_sql_int(path, "PRAGMA application_id"), SQLITE_APPLICATION_ID);
    assert_int_equal(test_sql_int(path, "SELECT version FROM schema_version"), sqlite_version());
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM tailnets WHERE id = 1 AND name = 'default'"), 1);
    store_close(&s);
    assert_int_equal(access(wal, F_OK), -1); /* all of it is in the database now */
    umask(before);
    test_scratch_remove_files(path);
    assert_int_equal(rmdir(deep), 0);
    test_world_fini(&w);
}

static void test_schema_rules(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct store *s = test_store_open(path, 1000);
    assert_int_equal(
        test_sql_int(path, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name "
                           "NOT LIKE 'sqlite_%'"),
        0);
    /* Every table of rows has the column of the tailnet. */
    assert_int_equal(test_sql_int(path,
                                  "SELECT count(*) FROM sqlite_schema AS t WHERE t.type = 'table' AND t.name NOT IN "
                                  "('schema_version', 'tailnets') AND NOT EXISTS (SELECT 1 FROM "
                                  "pragma_table_info(t.name) WHERE name = 'tailnet')"),
                     0);
    struct buf file = {0};
    read_all(path, &file);
    assert_int_equal(buf_at(&file)[18], 2); /* of its header: write-ahead log */
    buf_fini(&file);
    store_close(&s);
}

/* A backup taken by the sqlite3 shell while the server runs. */
static void test_others_may_read(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct test_world w;
    test_world_init(&w, 5);
    struct store *s = test_store_open(path, 1000);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    assert_int_equal(test_sql_int(path, "SELECT next FROM counters WHERE id = 3"), 20);
    assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    assert_int_equal(store_ping(s), RC_OK);
    store_close(&s);
    test_world_fini(&w);
}

static void test_ping_notices_a_lost_file(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct store *s = test_store_open(path, 1000);
    assert_int_equal(store_ping(s), RC_OK);
    test_scratch_remove_files(path);
    assert_int_equal(store_ping(s), RC_DENIED);
    assert_int_equal(access(path, F_OK), -1);
    store_close(&s);
}

/* --- one server at a time --- */

static void test_second_opener_is_refused(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    char part[64];
    struct store *s = test_store_open(path, 1000);
    snprintf(part, sizeof(part), "in use by another server, process %d", (int)getpid());
    assert_refused(path, RC_IN_USE, part);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct store_options options = {path, 1000};
        struct err err = {0};
        struct store *other;
        _exit(store_open_sqlite(&options, &other, &err) == RC_IN_USE && strstr(err.text, part) != NULL ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    /* The refusal did no harm to the server that has it. */
    struct test_world w;
    test_world_init(&w, 5);
    assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    store_close(&s);
    s = test_store_open(path, 1000);
    test_store_holds(s, &w);
    store_close(&s);
    test_world_fini(&w);
}

/* --- what is not ours, not known or not whole --- */

/* Checking changes nothing, whether a server runs or not. */
static void test_check_makes_nothing(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    char beside[3 * TEST_SCRATCH_CAP];
    struct test_world w;
    struct err err = {0};
    assert_int_equal(store_check_sqlite(path, &err), RC_NOT_FOUND);
    assert_int_not_equal(access(path, F_OK), 0);
    test_world_init(&w, 5);
    test_world_fill(&w, path, 20);
    assert_int_equal(store_check_sqlite(path, &err), RC_OK);
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(beside, sizeof(beside), "%s%s", path, suffixes[i]);
        assert_int_not_equal(access(beside, F_OK), 0);
    }
    struct store_options options = {.sqlite_path = path};
    struct store *s;
    assert_int_equal(store_open_sqlite(&options, &s, &err), RC_OK);
    assert_int_equal(store_check_sqlite(path, &err), RC_OK);
    store_close(&s);
    test_world_fini(&w);
}

static void test_newer_schema_is_refused(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    char wal[3 * TEST_SCRATCH_CAP];
    struct test_world w;
    struct buf log_before = {0}, log_after = {0};
    test_world_init(&w, 5);
    test_world_fill(&w, path, 20);
    /* As a newer server leaves it when it is killed: with a log beside it. */
    snprintf(wal, sizeof(wal), "%s-wal", path);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        test_sql_exec(path, "PRAGMA user_version = 7");
        sqlite3 *db;
        sqlite3_open(path, &db);
        sqlite3_exec(db, "UPDATE schema_version SET version = 4711", NULL, NULL, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    read_all(wal, &log_before);
    assert_true(buf_len(&log_before) > 0);
    struct err err = {0};
    assert_int_equal(store_check_sqlite(path, &err), RC_UNSUPPORTED);
    assert_non_null(strstr(err.text, "schema version 4711"));
    assert_refused(path, RC_UNSUPPORTED, "schema version 4711");
    assert_refused(path, RC_UNSUPPORTED, "Install the newer program again");
    read_all(wal, &log_after);
    assert_true(str_eq(buf_str(&log_before), buf_str(&log_after)));
    buf_fini(&log_before);
    buf_fini(&log_after);
    char restore[64];
    snprintf(restore, sizeof(restore), "UPDATE schema_version SET version = %d", sqlite_version());
    test_sql_exec(path, restore);
    struct store *s = test_store_open(path, 1000);
    test_store_holds(s, &w);
    store_close(&s);
    test_world_fini(&w);
}

static void test_foreign_database_is_refused(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    test_sql_exec(path, "CREATE TABLE nodes (id INTEGER)");
    assert_refused(path, RC_INVALID, "another program");
    test_sql_exec(path, "PRAGMA application_id = 42; DROP TABLE nodes");
    assert_refused(path, RC_INVALID, "another program");
    test_sql_exec(path, "PRAGMA application_id = 1182100595");
    assert_refused(path, RC_STORE, "schema_version");
    test_sql_exec(path, "CREATE TABLE schema_version (version); INSERT INTO schema_version VALUES (0)");
    assert_refused(path, RC_STORE, "never was");
    test_sql_exec(path, "DELETE FROM schema_version");
    assert_refused(path, RC_STORE, "read");
}

static void test_not_a_database(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    char text[5000];
    memset(text, 'x', sizeof(text));
    write_all(path, text, sizeof(text));
    assert_refused(path, RC_STORE, "damaged or no database");
}

static void test_empty_file_is_new(void **state)
{
    const char *dir = *state;
    struct test_world w;
    test_world_init(&w, 5);
    write_all(test_scratch_path(dir), "", 0);
    test_world_fill(&w, test_scratch_path(dir), 5);
    test_world_fini(&w);
}

/* Any page that is lost is found at the start, and the message says so. */
static void test_damage_is_found(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct test_world w;
    struct buf good = {0}, bad = {0};
    test_world_init(&w, 5);
    test_world_fill(&w, path, 60);
    read_all(path, &good);
    size_t pages = buf_len(&good) / 4096;
    assert_true(pages > 10);
    for (size_t page = 1; page < pages; page++) {
        buf_clear(&bad);
        buf_append(&bad, buf_at(&good), buf_len(&good));
        /* Destroys the header of the page, so that it is no page of a table any more. Pages with the rest of a long
         * row have none. */
        uint8_t kind = buf_at(&bad)[page * 4096];
        if (kind != 13 && kind != 10 && kind != 5 && kind != 2)
            continue;
        memset(buf_at(&bad) + page * 4096, 0xff, 100);
        write_all(path, buf_at(&bad), buf_len(&bad));
        assert_refused(path, RC_STORE, "damaged");
    }
    write_all(path, buf_at(&good), 4096);
    assert_refused(path, RC_STORE, "damaged");
    write_all(path, buf_at(&good), buf_len(&good) - 4096 * 3);
    assert_refused(path, RC_STORE, "damaged");
    write_all(path, buf_at(&good), buf_len(&good));
    struct store *s = test_store_open(path, 1000);
    test_store_holds(s, &w);
    store_close(&s);
    buf_fini(&good);
    buf_fini(&bad);
    test_world_fini(&w);
}

static void test_paths_that_do_not_work(void **state)
{
    const char *dir = *state;
    char path[PATH_MAX + 64];
    memset(path, 'x', sizeof(path));
    path[PATH_MAX + 32] = '\0';
    assert_refused(path, RC_STORE, "too long");
    snprintf(path, sizeof(path), "%s/a/b/db.sqlite", dir);
    assert_refused(path, RC_STORE, "cannot make directory");
    snprintf(path, sizeof(path), "%s/db.sqlite", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(path, RC_DENIED, "cannot open");
    assert_int_equal(rmdir(path), 0);
}

/* --- what must be unique is the database's affair --- */

static struct node *claimant(uint64_t id)
{
    struct node *n = node_create(0);
    n->id = id;
    n->key.b[0] = (uint8_t)id;
    snprintf(n->name, sizeof(n->name), "node%d", (int)id);
    n->v4 = (struct addr){.family = 4, .ip = {100, 64, 0, (uint8_t)id}};
    n->v6 = (struct addr){.family = 6, .ip = {0xfd, [15] = (uint8_t)id}};
    return n;
}

/* A batch with one bad row does nothing at all. */
static void assert_violates(const char *dir, struct store *s, const struct entity *entity, uint64_t id,
                            const struct row *object)
{
    struct row_batch *b = test_batch_create(2);
    test_batch_put(b, &entity_node, &claimant(50)->row);
    if (object != NULL)
        test_batch_put(b, entity, object);
    else
        test_batch_delete(b, entity, id);
    test_batch_delete(b, &entity_node, 1);
    assert_int_equal(test_store_write(s, b), RC_STORE);
    assert_int_equal(test_sql_int(test_scratch_path(dir), "SELECT count(*) FROM nodes"), 2);
    assert_int_equal(test_sql_int(test_scratch_path(dir), "SELECT count(*) FROM users"), 1);
    assert_int_equal(test_sql_int(test_scratch_path(dir), "SELECT count(*) FROM auth_keys"), 1);
}

static void test_constraints(void **state)
{
    const char *dir = *state;
    struct store *s = test_store_open(test_scratch_path(dir), 1000);
    struct row_batch *b = test_batch_create(1);
    struct user *u = user_create();
    struct auth_key *k = auth_key_create();
    u->id = k->id = k->user = 1;
    test_batch_put(b, &entity_auth_key, &k->row); /* before its user: constraints are checked at the end */
    test_batch_put(b, &entity_user, &u->row);
    test_batch_put(b, &entity_node, &claimant(1)->row);
    test_batch_put(b, &entity_node, &claimant(2)->row);
    assert_int_equal(test_store_write(s, b), RC_OK);

    struct node *n = claimant(3);
    snprintf(n->name, sizeof(n->name), "node2");
    assert_violates(dir, s, &entity_node, 3, &n->row);
    n = claimant(3);
    n->key.b[0] = 2;
    assert_violates(dir, s, &entity_node, 3, &n->row);
    n = claimant(3);
    n->v4.ip[3] = 2;
    assert_violates(dir, s, &entity_node, 3, &n->row);
    n = claimant(3);
    n->v6.ip[15] = 2;
    assert_violates(dir, s, &entity_node, 3, &n->row);
    u = user_create(); /* the same name: none */
    u->id = 2;
    assert_violates(dir, s, &entity_user, 2, &u->row);
    k = auth_key_create(); /* the same hash */
    k->id = 2;
    assert_violates(dir, s, &entity_auth_key, 2, &k->row);
    k = auth_key_create(); /* of a user that is not there */
    k->id = 2;
    k->user = 9;
    k->hash[0] = 1;
    assert_violates(dir, s, &entity_auth_key, 2, &k->row);
    assert_violates(dir, s, &entity_user, 1, NULL); /* who still has a key */
    store_close(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_scratch_set_up, test_scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_file_and_directory),
        TEST(test_schema_rules),
        TEST(test_others_may_read),
        TEST(test_ping_notices_a_lost_file),
        TEST(test_second_opener_is_refused),
        TEST(test_check_makes_nothing),
        TEST(test_newer_schema_is_refused),
        TEST(test_foreign_database_is_refused),
        TEST(test_not_a_database),
        TEST(test_empty_file_is_new),
        TEST(test_damage_is_found),
        TEST(test_paths_that_do_not_work),
        TEST(test_constraints),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
