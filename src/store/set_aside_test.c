/* Rows that nothing here can have written: the server starts without them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/sqlite_internal.h"
#include "store/testing.h"

/* A value that the program could never have written, put into the database by hand. */
static const struct impossible {
    const char *sql;
    const char *part;
} cases[] = {
    {"UPDATE users SET name = printf('%200s', 'x')", "table users, row 1: column name"},
    {"UPDATE users SET name = 'a' || char(0) || 'b'", "table users, row 1: column name"},
    {"UPDATE users SET picture_url = printf('%256s', 'x')", "column picture_url"},
    {"UPDATE users SET id = -1", "table users, row -1: column id"},
    {"UPDATE auth_keys SET hash = x'00'", "table auth_keys, row 1: column hash"},
    {"UPDATE auth_keys SET is_used = 2", "column is_used"},
    {"UPDATE nodes SET node_key = x'0102'", "table nodes, row 1: column node_key"},
    {"UPDATE nodes SET disco_key = x''", "column disco_key"},
    {"UPDATE nodes SET ipv4 = 'fd7a::1'", "column ipv4"},
    {"UPDATE nodes SET ipv4 = '1.2.3'", "column ipv4"},
    {"UPDATE nodes SET ipv6 = '1.2.3.4'", "column ipv6"},
    {"UPDATE nodes SET home_derp = 65536", "column home_derp"},
    {"UPDATE nodes SET cap_version = -1", "column cap_version"},
    {"UPDATE nodes SET endpoints = '1.2.3.4'", "column endpoints"},
    {"UPDATE nodes SET endpoints = '1.2.3.4:5  1.2.3.4:5'", "column endpoints"},
    {"UPDATE nodes SET endpoints = replace(printf('%33s', ''), ' ', '1.2.3.4:5 ')", "column endpoints"},
    {"UPDATE nodes SET approved = '10.0.0.0'", "column approved"},
    {"UPDATE nodes SET approved = '10.0.0.0/8  ::/0'", "column approved"},
    {"UPDATE nodes SET approved = replace(printf('%1025s', ''), ' ', '::/0 ')", "column approved"},
    {"PRAGMA ignore_check_constraints = 1; UPDATE users SET role = 7", "column role"},
    {"UPDATE nodes SET is_expired = 5", "column is_expired"},
    {"UPDATE policy_texts SET author = printf('%64s', 'x')", "table policy_texts, row 1: column author"},
    {"UPDATE policy_texts SET note = 'a' || char(0)", "column note"},
    {"UPDATE policy_texts SET id = -7", "table policy_texts, row -7: column id"},
};

/* One row of each table that the cases change, with id 1. */
static void write_rows(const char *path, struct test_world *w)
{
    struct store *s = test_store_open(path, 1000);
    struct row_batch *b = test_batch_create(1);
    test_world_init(w, 1);
    test_world_user(w, b, 0);
    test_world_key(w, b, 0);
    w->fresh = 0;
    test_world_policy_text(w, b, 0);
    test_world_node(w, b, 0);
    for (size_t k = 0; k < b->n; k++) {
        if (b->ops[k].entity == &entity_auth_key)
            ((struct row *)b->ops[k].object)->id = b->ops[k].id = 1;
    }
    assert_int_equal(test_store_write(s, b), RC_OK);
    store_close(&s);
}

static void exec_unchecked(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA ignore_check_constraints = 1", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Whether a policy text has been set aside, now or at an earlier start. */
static bool loads_without_a_text(const char *path)
{
    struct err err = {0};
    struct store *s = test_store_open(path, 1000);
    assert_int_equal(s->ops->load(s, 1, &test_no_sink, &err), RC_OK);
    bool is_there = store_policy_text_aside(s).is_there;
    store_close(&s);
    return is_there;
}

/* The row is named, and kept as a statement that brings it back. */
static void assert_set_aside(const char *path, const struct impossible *c)
{
    char said[256], statement[8192];
    test_sql_text(path, "SELECT 'table ' || table_name || ', row ' || row_id || ': ' || why FROM set_aside", said,
                  sizeof(said));
    if (strstr(said, c->part) == NULL)
        print_error("%s: %s\n", c->sql, said);
    assert_non_null(strstr(said, c->part));
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM set_aside"), 1);
    assert_int_equal(test_sql_int(path, "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM auth_keys) + "
                                        "(SELECT count(*) FROM policy_texts) + (SELECT count(*) FROM nodes)"),
                     3);
    test_sql_text(path, "SELECT statement FROM set_aside", statement, sizeof(statement));
    exec_unchecked(path, statement);
}

static void test_impossible_values_are_set_aside(void **state)
{
    const char *path = test_scratch_path(*state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct test_world w;
        bool is_text = strstr(cases[i].sql, "UPDATE policy_texts") != NULL;
        write_rows(path, &w);
        exec_unchecked(path, cases[i].sql);
        assert_int_equal(loads_without_a_text(path), is_text);
        assert_int_equal(loads_without_a_text(path), is_text); /* which is still known at the next start */
        assert_set_aside(path, &cases[i]);
        test_scratch_remove_files(path);
        test_world_fini(&w);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_scratch_set_up, test_scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_impossible_values_are_set_aside),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
