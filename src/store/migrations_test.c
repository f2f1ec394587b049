/* Migrations: from every older schema, each in a transaction of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"
#include "store/testing.h"
#include "support/test_file.h"

static const char *const steps[] = {
    "ALTER TABLE nodes ADD COLUMN nickname TEXT; UPDATE nodes SET nickname = name || '!'",
    "CREATE TABLE pets (id INTEGER PRIMARY KEY, tailnet INTEGER NOT NULL) STRICT; INSERT INTO pets VALUES (1, 1)",
    "INSERT INTO pets VALUES (2, 1); INSERT INTO pets VALUES (1, 1)", /* fails at its end */
};

/* A file with rows is migrated; a step that fails leaves no traces, and those before it stay. */
static void test_steps(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct test_world w;
    struct err err = {0};
    sqlite3 *db;
    test_world_init(&w, 9);
    test_world_fill(&w, path, 60);
    int64_t nodes = test_sql_int(path, "SELECT count(*) FROM nodes");
    assert_true(nodes > 0);

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite_migrate_step(db, path, 90, steps[0], &err), RC_OK);
    assert_int_equal(test_sql_int(path, "SELECT version FROM schema_version"), 91);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM nodes WHERE nickname = name || '!'"), nodes);

    assert_int_equal(sqlite_migrate_step(db, path, 91, steps[1], &err), RC_OK);
    assert_int_equal(sqlite_migrate_step(db, path, 92, steps[2], &err), RC_STORE);
    assert_non_null(strstr(err.text, "from version 92 to 93"));
    assert_int_equal(test_sql_int(path, "SELECT version FROM schema_version"), 92);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM pets"), 1);
    assert_int_equal(sqlite3_get_autocommit(db), 1);
    sqlite3_close(db);
    test_world_fini(&w);
}

/* A step does not wait for a lock for ever, and the message says what holds it. */
static void test_step_meets_a_lock(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct err err = {0};
    sqlite3 *db, *other;
    test_sql_exec(path, "CREATE TABLE t (x)");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite_migrate(db, path, 0, &err), RC_IN_USE);
    assert_non_null(strstr(err.text, "holds a lock"));
    sqlite3_close(other);
    sqlite3_close(db);
}

/* tests/vectors/store_v1.sql was written by version 1 and never changes: whatever comes later must still read it. */
static void test_version_1_as_it_was(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10};
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    test_sql_exec(path, buf_cstr(&sql));
    buf_fini(&sql);
    struct store *s = test_store_open(path, 1000);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, 1, st, 1700000000000, &err), RC_OK);
    assert_int_equal(test_sql_int(path, "SELECT version FROM schema_version"), sqlite_version());

    const struct user *u = state_user(st, 1);
    assert_string_equal(u->name, "ann@example.com");
    assert_string_equal(u->display_name, "Ann");
    assert_int_equal(u->created_ms, 1690000000000);
    const struct auth_key *k = state_key(st, 1);
    assert_int_equal(k->user, 1);
    assert_true(k->is_reusable);
    assert_int_equal(k->hash[31], 0x20);
    assert_string_equal(k->prefix, "fskey-auth-0123456789ab");
    k = state_key(st, 2);
    assert_int_equal(k->user, 0);
    assert_true(str_eq_c(str_n(k->tags->data, k->tags->len), "[\"tag:web\"]"));

    const struct node *n = state_node(st, 3);
    char ip[ADDR_TEXT_CAP];
    assert_string_equal(n->name, "laptop");
    assert_string_equal(n->hostname, "Ann's Laptop");
    assert_int_equal(n->key.b[0], 3);
    assert_int_equal(n->cap_version, 106);
    assert_int_equal(n->home_derp, 900);
    addr_format(&n->v6, false, ip);
    assert_string_equal(ip, "fd7a:115c:a1e0::1");
    assert_int_equal(n->endpoints_n, 2);
    addr_format(&n->endpoints[1], true, ip);
    assert_string_equal(ip, "[2001:db8::7]:41641");
    assert_true(str_eq_c(str_n(n->hostinfo->data, n->hostinfo->len), "{\"OS\":\"linux\"}"));
    n = state_node(st, 4);
    assert_int_equal(n->user, TAGGED_DEVICES_USER);
    assert_non_null(n->tags);
    assert_null(n->hostinfo);
    assert_int_equal(n->v6.family, 0);
    assert_true(key_is_zero(n->disco.b));
    state_destroy(&st);
    store_close(&s);
}

/* What nodes advertised before routes had a column is in their Hostinfo; a hostile one must not make the file
 * unreadable. */
static void test_routes_of_older_versions(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10};
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    struct prefix p;
    test_sql_exec(path, buf_cstr(&sql));
    buf_fini(&sql);
    test_sql_exec(
        path,
        "UPDATE nodes SET hostinfo = '{\"RoutableIPs\":[\"10.0.0.0/8\",\"fd00::/8\",\"0.0.0.0/0\",\"10.0.0.0/99\","
        "\"10.0.0.0 /8\",5,null]}' WHERE id = 3;"
        "UPDATE nodes SET hostinfo = '{\"RoutableIPs' WHERE id = 4");
    struct store *s = test_store_open(path, 1000);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, 1, st, 1700000000000, &err), RC_OK);
    const struct node *n = state_node(st, 3);
    assert_int_equal(n->advertised->n, 3);
    assert_int_equal(prefix_parse(STR("fd00::/8"), &p, NULL), RC_OK);
    assert_true(prefix_list_has(n->advertised, &p));
    assert_null(n->approved);
    assert_null(state_node(st, 4)->advertised);
    assert_int_equal(state_user(st, 1)->role, USER_OWNER);
    assert_int_equal(state_user(st, 2)->role, USER_MEMBER);
    state_destroy(&st);
    store_close(&s);
}

/* Nodes are counted for keys of older versions: keys with one node, many, none; nodes without a key, and of a
 * deleted key. */
static void test_joined_nodes_of_older_versions(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    test_sql_exec(path, buf_cstr(&sql));
    buf_fini(&sql);
    test_sql_exec(
        path,
        "DELETE FROM nodes;"
        "INSERT INTO auth_keys (id, tailnet, user_id, hash, prefix, is_reusable, is_ephemeral, is_used, created_ms)"
        "  VALUES (7, 1, 1, zeroblob(32), 'k', 1, 1, 1, 1);"
        "WITH RECURSIVE i (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM i WHERE n < 8)"
        "INSERT INTO nodes (id, tailnet, stable_id, machine_key, node_key, name, hostname, is_renamed, is_ephemeral,"
        "                   is_expired, cap_version, created_ms, endpoints, auth_key)"
        "  SELECT n, 1, 's' || n, zeroblob(32), CAST(printf('%032d', n) AS BLOB), 'n' || n, 'n', 0, n = 2, n = 3, 100,"
        "         1, '[]', CASE WHEN n <= 3 THEN 7 WHEN n = 4 THEN 2 WHEN n = 5 THEN 99 END FROM i");
    struct store *s = test_store_open(path, 1000);
    store_close(&s);
    assert_int_equal(test_sql_int(path, "SELECT joined_n FROM auth_keys WHERE id = 1"), 0);
    assert_int_equal(test_sql_int(path, "SELECT joined_n FROM auth_keys WHERE id = 2"), 1);
    assert_int_equal(test_sql_int(path, "SELECT joined_n FROM auth_keys WHERE id = 7"), 3);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM auth_keys"), 3);
}

/* --- version 7: other tables --- */

/* A database of version 1 with rows, brought to version `to`. */
static void make_version(const char *path, int to)
{
    struct err err = {0};
    sqlite3 *db;
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    test_sql_exec(path, buf_cstr(&sql));
    buf_fini(&sql);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (int from = 1; from < to; from++) {
        struct buf step = {0};
        sqlite_migration(from, &step);
        assert_int_equal(sqlite_migrate_step(db, path, from, buf_cstr(&step), &err), RC_OK);
        buf_fini(&step);
    }
    sqlite3_close(db);
}

static void assert_sound(const char *path)
{
    char said[64];
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    test_sql_text(path, "PRAGMA integrity_check", said, sizeof(said));
    assert_string_equal(said, "ok");
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%_old'"), 0);
}

/* Whatever the version, every row is there afterwards, in the tables that a new database has. */
static void test_every_version_becomes_ours(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    char schema[16384], fresh[16384];
    static const char tables[] = "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema"
                                 " WHERE sql IS NOT NULL AND name NOT IN ('schema_version', 'tailnets') ORDER BY name)";
    struct store *s = test_store_open(path, 1000);
    store_close(&s);
    test_sql_text(path, tables, fresh, sizeof(fresh));
    test_scratch_remove_files(path);
    for (int version = 1; version < sqlite_version(); version++) {
        make_version(path, version);
        bool has_relays = version >= 2 && version < 7;
        if (has_relays)
            test_sql_exec(path, "INSERT INTO relays VALUES (4, 1, 'r', zeroblob(32), 'p', 901, 'c', 'n', 5, NULL, 1,"
                                " 'h', '', '192.0.2.1', NULL, 443, 3478)");
        s = test_store_open(path, 1000);
        store_close(&s);
        test_sql_text(path, tables, schema, sizeof(schema));
        assert_string_equal(schema, fresh);
        assert_sound(path);
        assert_int_equal(test_sql_int(path, "SELECT count(*) FROM set_aside"), 0);
        assert_int_equal(test_sql_int(path, "SELECT count(*) FROM users"), 2);
        assert_int_equal(test_sql_int(path, "SELECT count(*) FROM auth_keys"), 2);
        assert_int_equal(test_sql_int(path, "SELECT count(*) FROM nodes"), 2);
        assert_int_equal(test_sql_int(path, "SELECT count(*) FROM relays"), has_relays);
        assert_int_equal(test_sql_int(path, "SELECT role FROM users WHERE id = 1"), USER_OWNER);
        assert_int_equal(test_sql_int(path, "SELECT count(*) FROM counters"), 4);
        test_scratch_remove_files(path);
    }
}

/* Ids that were given before are not given again: the counters become rows. */
static void test_counters_become_rows(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10};
    const struct user *u;
    make_version(path, 6);
    test_sql_exec(path, "UPDATE counters SET next_node = 70, next_user = 71, next_key = 72, next_relay = 73");
    struct store *s = test_store_open(path, 1000);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, 1, st, 1700000000000, &err), RC_OK);
    assert_int_equal(state_user_create(st, &(struct user_spec){.name = STR("new")}, 1700000000000, &u, &err), RC_OK);
    assert_int_equal(u->id, 71);
    state_destroy(&st);
    store_close(&s);
    assert_int_equal(test_sql_int(path, "SELECT next FROM counters WHERE tailnet = 1 AND id = 6"), 70);
    assert_int_equal(test_sql_int(path, "SELECT next FROM counters WHERE tailnet = 1 AND id = 3"), 72);
    assert_int_equal(test_sql_int(path, "SELECT next FROM counters WHERE tailnet = 1 AND id = 4"), 73);
}

/* Rows that the new tables cannot take are kept aside, with the statement that puts them back; the others come over. */
static void test_rows_that_do_not_fit_are_set_aside(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    char statement[2048];
    make_version(path, 6);
    test_sql_exec(path, "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;"
                        "INSERT INTO auth_keys (id, tailnet, user_id, hash, prefix, is_reusable, is_ephemeral, is_used,"
                        "  created_ms) VALUES (50, 1, 99, randomblob(32), 'of nobody', 1, 0, 0, 1);"
                        "INSERT INTO users VALUES (60, 9, 'elsewhere', '', '', '', 1, 0);"
                        "UPDATE nodes SET home_derp = 70000 WHERE id = 3");
    struct store *s = test_store_open(path, 1000);
    store_close(&s);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM set_aside"), 2);
    assert_int_equal(test_sql_int(path, "SELECT tailnet FROM set_aside WHERE table_name = 'users' AND row_id = 60"), 9);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM auth_keys"), 2);
    assert_int_equal(test_sql_int(path, "SELECT home_derp FROM nodes WHERE id = 3"), 70000); /* as loading found it */
    test_sql_text(path, "SELECT statement FROM set_aside WHERE row_id = 50", statement, sizeof(statement));
    test_sql_exec(path, "INSERT INTO users (tailnet, id, name, display_name, email, picture_url, created_ms, role)"
                        " VALUES (1, 99, 'somebody', '', '', '', 1, 0)");
    test_sql_exec(path, statement);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM auth_keys"), 3);
}

/* The program ends in the middle of a step: at the next start that begins anew. */
static void test_an_interrupted_step_leaves_no_traces(void **state)
{
    const char *dir = *state;
    const char *path = test_scratch_path(dir);
    struct buf sql = {0};
    sqlite3 *db;
    make_version(path, 6);
    sqlite_migration(6, &sql);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, buf_cstr(&sql), NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db); /* without COMMIT */
    buf_fini(&sql);
    assert_int_equal(test_sql_int(path, "SELECT version FROM schema_version"), 6);
    assert_int_equal(test_sql_int(path, "SELECT count(next_key) FROM counters"), 1);
    struct store *s = test_store_open(path, 1000);
    store_close(&s);
    assert_sound(path);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM nodes"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_scratch_set_up, test_scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_steps),
        TEST(test_step_meets_a_lock),
        TEST(test_version_1_as_it_was),
        TEST(test_routes_of_older_versions),
        TEST(test_joined_nodes_of_older_versions),
        TEST(test_every_version_becomes_ours),
        TEST(test_counters_become_rows),
        TEST(test_rows_that_do_not_fit_are_set_aside),
        TEST(test_an_interrupted_step_leaves_no_traces),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
