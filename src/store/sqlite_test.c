/* What is particular to SQLite: who may open a file, what is refused and left as it was, sqlite_migrations, constraints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "store/sqlite_internal.h"
#include "support/test_file.h"
#include "support/test_random.h"
#include "store/testing.h"

static char dir[SCRATCH_CAP];

static int setup(void **state)
{
    (void)state;
    scratch_make(dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

/* --- helpers: the file as other programs see it --- */

static void exec_sql(const char *path, const char *sql)
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

static int64_t query_int(const char *path, const char *sql)
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

/* Opening fails with this code and says this; the file is the same afterwards. */
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

static void fill(const char *path, struct world *w, unsigned steps)
{
    struct store *s = open_file(path, 1000);
    for (unsigned i = 0; i < steps; i++)
        assert_int_equal(write_now(s, world_step(w)), RC_OK);
    store_close(&s);
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
    (void)state;
    char deep[2 * SCRATCH_CAP], path[3 * SCRATCH_CAP], wal[4 * SCRATCH_CAP];
    struct world w;
    mode_t before = umask(0);
    snprintf(deep, sizeof(deep), "%s/new", dir);
    snprintf(path, sizeof(path), "%s/db.sqlite", deep);
    snprintf(wal, sizeof(wal), "%s-wal", path);
    world_init(&w, 1);
    struct store *s = open_file(path, 1000);
    assert_int_equal(write_now(s, world_step(&w)), RC_OK);
    assert_int_equal(mode_of(deep), 0700);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(mode_of(wal), 0600);
    assert_int_equal(query_int(path, "PRAGMA application_id"), SQLITE_APPLICATION_ID);
    assert_int_equal(query_int(path, "SELECT version FROM schema_version"), sqlite_migrations_n);
    assert_int_equal(query_int(path, "SELECT count(*) FROM tailnets WHERE id = 1 AND name = 'default'"), 1);
    store_close(&s);
    assert_int_equal(access(wal, F_OK), -1); /* all of it is in the database now */
    umask(before);
    scratch_remove_files(path);
    assert_int_equal(rmdir(deep), 0);
    world_fini(&w);
}

static void test_schema_rules(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct store *s = open_file(path, 1000);
    assert_int_equal(query_int(path,
                               "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name "
                               "NOT LIKE 'sqlite_%'"),
                     0);
    /* Every table of rows carries the tailnet. */
    assert_int_equal(query_int(path, "SELECT count(*) FROM sqlite_schema AS t WHERE t.type = 'table' AND t.name NOT IN "
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
    (void)state;
    const char *path = scratch_path(dir);
    struct world w;
    world_init(&w, 5);
    struct store *s = open_file(path, 1000);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(write_now(s, world_step(&w)), RC_OK);
    assert_int_equal(query_int(path, "SELECT next_key FROM counters"), 20);
    assert_int_equal(write_now(s, world_step(&w)), RC_OK);
    assert_int_equal(store_ping(s), RC_OK);
    store_close(&s);
    world_fini(&w);
}

static void test_ping_notices_a_lost_file(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct store *s = open_file(path, 1000);
    assert_int_equal(store_ping(s), RC_OK);
    scratch_remove_files(path);
    assert_int_equal(store_ping(s), RC_DENIED);
    assert_int_equal(access(path, F_OK), -1);
    store_close(&s);
}

/* --- one server at a time --- */

static void test_second_opener_is_refused(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    char part[64];
    struct store *s = open_file(path, 1000);
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
    /* The refusal did no harm to the one who has it. */
    struct world w;
    world_init(&w, 5);
    assert_int_equal(write_now(s, world_step(&w)), RC_OK);
    store_close(&s);
    s = open_file(path, 1000);
    assert_holds(s, &w);
    store_close(&s);
    world_fini(&w);
}

/* --- what is not ours, not known or not whole --- */

/* Looking changes nothing, whether a server runs or not. */
static void test_check_makes_nothing(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    char beside[3 * SCRATCH_CAP];
    struct world w;
    struct err err = {0};
    assert_int_equal(store_check_sqlite(path, &err), RC_NOT_FOUND);
    assert_int_not_equal(access(path, F_OK), 0);
    world_init(&w, 5);
    fill(path, &w, 20);
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
    world_fini(&w);
}

static void test_newer_schema_is_refused(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    char wal[3 * SCRATCH_CAP];
    struct world w;
    struct buf log_before = {0}, log_after = {0};
    world_init(&w, 5);
    fill(path, &w, 20);
    /* The way a newer server leaves it when it is killed: with a log beside it. */
    snprintf(wal, sizeof(wal), "%s-wal", path);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        exec_sql(path, "PRAGMA user_version = 7");
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
    snprintf(restore, sizeof(restore), "UPDATE schema_version SET version = %d", sqlite_migrations_n);
    exec_sql(path, restore);
    struct store *s = open_file(path, 1000);
    assert_holds(s, &w);
    store_close(&s);
    world_fini(&w);
}

static void test_foreign_database_is_refused(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    exec_sql(path, "CREATE TABLE nodes (id INTEGER)");
    assert_refused(path, RC_INVALID, "another program");
    exec_sql(path, "PRAGMA application_id = 42; DROP TABLE nodes");
    assert_refused(path, RC_INVALID, "another program");
    exec_sql(path, "PRAGMA application_id = 1182100595");
    assert_refused(path, RC_STORE, "schema_version");
    exec_sql(path, "CREATE TABLE schema_version (version); INSERT INTO schema_version VALUES (0)");
    assert_refused(path, RC_STORE, "never was");
    exec_sql(path, "DELETE FROM schema_version");
    assert_refused(path, RC_STORE, "read");
}

static void test_not_a_database(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    char text[5000];
    memset(text, 'x', sizeof(text));
    write_all(path, text, sizeof(text));
    assert_refused(path, RC_STORE, "damaged or no database");
}

static void test_empty_file_is_new(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 5);
    write_all(scratch_path(dir), "", 0);
    fill(scratch_path(dir), &w, 5);
    world_fini(&w);
}

/* Any page that is lost is told at the start, in words. */
static void test_damage_is_found(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct world w;
    struct buf good = {0}, bad = {0};
    world_init(&w, 5);
    fill(path, &w, 60);
    read_all(path, &good);
    size_t pages = buf_len(&good) / 4096;
    assert_true(pages > 10);
    for (size_t page = 1; page < pages; page++) {
        buf_clear(&bad);
        buf_append(&bad, buf_at(&good), buf_len(&good));
        /* Its header: a table page becomes no page at all. Pages that hold the rest of a long row have none. */
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
    struct store *s = open_file(path, 1000);
    assert_holds(s, &w);
    store_close(&s);
    buf_fini(&good);
    buf_fini(&bad);
    world_fini(&w);
}

static void test_paths_that_do_not_work(void **state)
{
    (void)state;
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

static void text_of(const char *path, const char *sql, char *out, size_t out_cap)
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

/* A value that the program could never have written, put there by hand: the server starts without the row, which is named, and kept
 * as a statement that brings it back. */
static void test_impossible_values_are_set_aside(void **state)
{
    (void)state;
    static const struct {
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
    const char *path = scratch_path(dir);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        struct row_counters counters;
        struct err err = {0};
        struct store *s = open_file(path, 1000);
        world_init(&w, 1);
        struct row_batch *b = batch_create(1);
        const struct row_op *op;
        event_user(&w, b, 0);
        event_key(&w, b, 0);
        w.fresh = 0;
        event_policy_text(&w, b, 0);
        event_node(&w, b, 0);
        for (size_t k = 0; k < b->n; k++) {
            op = &b->ops[k];
            if (op->kind == ROW_PUT_KEY)
                ((struct auth_key *)op->key)->id = b->ops[k].id = 1;
        }
        assert_int_equal(write_now(s, b), RC_OK);
        store_close(&s);
        sqlite3 *db;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "PRAGMA ignore_check_constraints = 1", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, cases[i].sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);

        char said[256], statement[8192];
        s = open_file(path, 1000);
        assert_int_equal(s->ops->load(s, &no_sink, &counters, &err), RC_OK);
        assert_int_equal(store_policy_text_aside(s).is_there, strstr(cases[i].sql, "UPDATE policy_texts") != NULL);
        store_close(&s);
        s = open_file(path, 1000); /* which is still known at the next start */
        assert_int_equal(s->ops->load(s, &no_sink, &counters, &err), RC_OK);
        assert_int_equal(store_policy_text_aside(s).is_there, strstr(cases[i].sql, "UPDATE policy_texts") != NULL);
        store_close(&s);
        text_of(path, "SELECT 'table ' || table_name || ', row ' || row_id || ': ' || why FROM set_aside", said,
                sizeof(said));
        if (strstr(said, cases[i].part) == NULL)
            print_error("%s: %s\n", cases[i].sql, said);
        assert_non_null(strstr(said, cases[i].part));
        assert_int_equal(query_int(path, "SELECT count(*) FROM set_aside"), 1);
        assert_int_equal(query_int(path, "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM auth_keys) + "
                                         "(SELECT count(*) FROM policy_texts) + (SELECT count(*) FROM nodes)"),
                         3);
        text_of(path, "SELECT statement FROM set_aside", statement, sizeof(statement));
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, "PRAGMA ignore_check_constraints = 1", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        scratch_remove_files(path);
        world_fini(&w);
    }
}

/* --- migrations --- */

static const char *const longer_list[] = {
    NULL, /* the first, filled in */
    "ALTER TABLE nodes ADD COLUMN nickname TEXT; UPDATE nodes SET nickname = name || '!'",
    "CREATE TABLE pets (id INTEGER PRIMARY KEY, tailnet INTEGER NOT NULL) STRICT; INSERT INTO pets VALUES (1, 1)",
    "INSERT INTO pets VALUES (2, 1); INSERT INTO pets VALUES (1, 1)", /* fails at its end */
};

/* A file of version 1 with rows goes up; the step that fails leaves nothing of itself, those before stay. */
static void test_steps(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    const char *list[ARRAY_LEN(longer_list)];
    struct world w;
    struct err err = {0};
    sqlite3 *db;
    world_init(&w, 9);
    fill(path, &w, 60);
    memcpy(list, longer_list, sizeof(list));
    list[0] = sqlite_migrations[0];
    int64_t nodes = query_int(path, "SELECT count(*) FROM nodes");
    assert_true(nodes > 0);

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite_migrate(db, path, 1, list, 2, &err), RC_OK);
    assert_int_equal(query_int(path, "SELECT version FROM schema_version"), 2);
    assert_int_equal(query_int(path, "SELECT count(*) FROM nodes WHERE nickname = name || '!'"), nodes);
    assert_int_equal(sqlite_migrate(db, path, 2, list, 2, &err), RC_OK); /* nothing to do */

    assert_int_equal(sqlite_migrate(db, path, 2, list, 4, &err), RC_STORE);
    assert_non_null(strstr(err.text, "from version 3 to 4"));
    assert_int_equal(query_int(path, "SELECT version FROM schema_version"), 3);
    assert_int_equal(query_int(path, "SELECT count(*) FROM pets"), 1);
    assert_int_equal(sqlite3_get_autocommit(db), 1);
    sqlite3_close(db);
    world_fini(&w);
}

/* The step waits for nobody for ever, and says who is in the way. */
static void test_step_meets_a_lock(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct err err = {0};
    sqlite3 *db, *other;
    exec_sql(path, "CREATE TABLE t (x)");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite_migrate(db, path, 0, sqlite_migrations, 1, &err), RC_IN_USE);
    assert_non_null(strstr(err.text, "holds a lock"));
    sqlite3_close(other);
    sqlite3_close(db);
}

/* tests/vectors/store_v1.sql was written by version 1 and never changes: whatever comes later must still read it. */
static void test_version_1_as_it_was(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10};
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    exec_sql(path, buf_cstr(&sql));
    buf_fini(&sql);
    struct store *s = open_file(path, 1000);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, st, 1700000000000, &err), RC_OK);
    assert_int_equal(query_int(path, "SELECT version FROM schema_version"), sqlite_migrations_n);

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

/* What nodes advertised before routes had a column is in their Hostinfo; a hostile one must not make the file unreadable. */
static void test_routes_of_older_versions(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10};
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    struct prefix p;
    exec_sql(path, buf_cstr(&sql));
    buf_fini(&sql);
    exec_sql(path,
             "UPDATE nodes SET hostinfo = '{\"RoutableIPs\":[\"10.0.0.0/8\",\"fd00::/8\",\"0.0.0.0/0\",\"10.0.0.0/99\","
             "\"10.0.0.0 /8\",5,null]}' WHERE id = 3;"
             "UPDATE nodes SET hostinfo = '{\"RoutableIPs' WHERE id = 4");
    struct store *s = open_file(path, 1000);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, st, 1700000000000, &err), RC_OK);
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

/* Nodes counted for keys of older versions: of one, of many, of none, of no key, of a key that is gone. */
static void test_joined_nodes_of_older_versions(void **state)
{
    (void)state;
    const char *path = scratch_path(dir);
    struct buf sql = test_file_read(VECTORS_DIR, "store_v1.sql");
    exec_sql(path, buf_cstr(&sql));
    buf_fini(&sql);
    exec_sql(
        path,
        "DELETE FROM nodes;"
        "INSERT INTO auth_keys (id, tailnet, user_id, hash, prefix, is_reusable, is_ephemeral, is_used, created_ms)"
        "  VALUES (7, 1, 1, zeroblob(32), 'k', 1, 1, 1, 1);"
        "WITH RECURSIVE i (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM i WHERE n < 8)"
        "INSERT INTO nodes (id, tailnet, stable_id, machine_key, node_key, name, hostname, is_renamed, is_ephemeral,"
        "                   is_expired, cap_version, created_ms, endpoints, auth_key)"
        "  SELECT n, 1, 's' || n, zeroblob(32), CAST(printf('%032d', n) AS BLOB), 'n' || n, 'n', 0, n = 2, n = 3, 100,"
        "         1, '[]', CASE WHEN n <= 3 THEN 7 WHEN n = 4 THEN 2 WHEN n = 5 THEN 99 END FROM i");
    struct store *s = open_file(path, 1000);
    store_close(&s);
    assert_int_equal(query_int(path, "SELECT joined_n FROM auth_keys WHERE id = 1"), 0);
    assert_int_equal(query_int(path, "SELECT joined_n FROM auth_keys WHERE id = 2"), 1);
    assert_int_equal(query_int(path, "SELECT joined_n FROM auth_keys WHERE id = 7"), 3);
    assert_int_equal(query_int(path, "SELECT count(*) FROM auth_keys"), 3);
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
static void assert_violates(struct store *s, enum row_op_kind kind, const void *row, uint64_t id)
{
    struct row_batch *b = batch_create(2);
    batch_add(b, ROW_PUT_NODE, 50)->node = claimant(50);
    struct row_op *op = batch_add(b, kind, id);
    op->user = kind == ROW_PUT_USER ? row : NULL;
    op->key = kind == ROW_PUT_KEY ? row : NULL;
    op->node = kind == ROW_PUT_NODE ? row : NULL;
    batch_add(b, ROW_DEL_NODE, 1);
    assert_int_equal(write_now(s, b), RC_STORE);
    assert_int_equal(query_int(scratch_path(dir), "SELECT count(*) FROM nodes"), 2);
    assert_int_equal(query_int(scratch_path(dir), "SELECT count(*) FROM users"), 1);
    assert_int_equal(query_int(scratch_path(dir), "SELECT count(*) FROM auth_keys"), 1);
}

static void test_constraints(void **state)
{
    (void)state;
    struct store *s = open_file(scratch_path(dir), 1000);
    struct row_batch *b = batch_create(1);
    struct user *u = user_create();
    struct auth_key *k = auth_key_create();
    u->id = k->id = k->user = 1;
    batch_add(b, ROW_PUT_KEY, 1)->key = k; /* before its user: checked when all is there */
    batch_add(b, ROW_PUT_USER, 1)->user = u;
    batch_add(b, ROW_PUT_NODE, 1)->node = claimant(1);
    batch_add(b, ROW_PUT_NODE, 2)->node = claimant(2);
    assert_int_equal(write_now(s, b), RC_OK);

    struct node *n = claimant(3);
    snprintf(n->name, sizeof(n->name), "node2");
    assert_violates(s, ROW_PUT_NODE, n, 3);
    n = claimant(3);
    n->key.b[0] = 2;
    assert_violates(s, ROW_PUT_NODE, n, 3);
    n = claimant(3);
    n->v4.ip[3] = 2;
    assert_violates(s, ROW_PUT_NODE, n, 3);
    n = claimant(3);
    n->v6.ip[15] = 2;
    assert_violates(s, ROW_PUT_NODE, n, 3);
    u = user_create(); /* the same name: none */
    u->id = 2;
    assert_violates(s, ROW_PUT_USER, u, 2);
    k = auth_key_create(); /* the same hash */
    k->id = 2;
    assert_violates(s, ROW_PUT_KEY, k, 2);
    k = auth_key_create(); /* of a user that is not there */
    k->id = 2;
    k->user = 9;
    k->hash[0] = 1;
    assert_violates(s, ROW_PUT_KEY, k, 2);
    assert_violates(s, ROW_DEL_USER, NULL, 1); /* who still has a key */
    store_close(&s);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_file_and_directory),
        WITH_DIR(test_schema_rules),
        WITH_DIR(test_others_may_read),
        WITH_DIR(test_ping_notices_a_lost_file),
        WITH_DIR(test_second_opener_is_refused),
        WITH_DIR(test_check_makes_nothing),
        WITH_DIR(test_newer_schema_is_refused),
        WITH_DIR(test_foreign_database_is_refused),
        WITH_DIR(test_not_a_database),
        WITH_DIR(test_empty_file_is_new),
        WITH_DIR(test_damage_is_found),
        WITH_DIR(test_paths_that_do_not_work),
        WITH_DIR(test_impossible_values_are_set_aside),
        WITH_DIR(test_steps),
        WITH_DIR(test_step_meets_a_lock),
        WITH_DIR(test_version_1_as_it_was),
        WITH_DIR(test_routes_of_older_versions),
        WITH_DIR(test_joined_nodes_of_older_versions),
        WITH_DIR(test_constraints),
    };
    quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
