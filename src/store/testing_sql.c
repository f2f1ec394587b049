/* The database as other programs see it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "store/sqlite_internal.h"
#include "store/testing.h"

void test_sql_exec(const char *path, const char *sql)
{
    sqlite3 *db;
    char *why = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, sql, NULL, NULL, &why);
    if (why != NULL)
        print_error("%s\n", why);
    assert_null(why);
    sqlite3_close(db);
}

int64_t test_sql_int(const char *path, const char *sql)
{
    sqlite3 *db;
    int64_t v = -1;
    struct err err;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    enum rc rc = sqlite_query_int(db, path, sql, &v, &err);
    if (rc != RC_OK)
        print_error("%s: %s\n", sql, err.text);
    assert_int_equal(rc, RC_OK);
    sqlite3_close(db);
    return v;
}

void test_sql_text(const char *path, const char *sql, char *out, size_t out_cap)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(out, out_cap, "%s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}
