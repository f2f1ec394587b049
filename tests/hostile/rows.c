/* Any database content: rows of a valid database are changed at random, also to values of other types, and the
 * server's store and state load it. Whatever was not changed is there, every node's map is JSON, rows that cannot be
 * used are named and set aside, and the next node joins and is there after another start. ROWS_SEED and ROWS_ROUNDS
 * choose others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <sqlite3.h>

#include "base/log.h"
#include "codec/json.h"
#include "crypto/crypto.h"
#include "hostile/world.h"
#include "state/setting.h"
#include "support/test_random.h"
#include "store/store.h"

enum { ROUNDS = 60, TOUCHED_MAX = 6, NEW_NODE = 4000 };

struct touched {
    bool nodes[WORLD_NODES + 1]; /* by id */
    unsigned n;
};

static struct test_random dice;
static char dir[] = "/tmp/fs-rows-XXXXXX";
static char path[64], base_path[64];

static uint32_t below(uint32_t n)
{
    return test_random_below(&dice, n);
}

/* --- a database --- */

static void on_done(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc)
{
    (void)tailnet;
    (void)seq;
    *(unsigned *)ctx += rc != RC_OK;
}

struct server {
    struct store *store;
    struct state *st;
    unsigned failures;
};

static void server_start(struct server *s)
{
    struct err err = {0};
    struct store_options options = {.sqlite_path = path, .wal_autocheckpoint_pages = 1000};
    *s = (struct server){.st = world_state()};
    enum rc rc = store_open_sqlite(&options, &s->store, &err);
    if (rc == RC_OK)
        rc = store_load(s->store, 1, s->st, WORLD_NOW_MS, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    store_start(s->store, on_done, &s->failures);
}

static void server_commit(struct server *s)
{
    state_settle(s->st, WORLD_NOW_MS);
    struct row_batch *b = state_take_batch(s->st);
    if (b == NULL)
        return;
    uint64_t seq = b->seq;
    b->tailnet = 1;
    store_commit(s->store, b);
    state_committed(s->st, seq);
    struct change *c = state_publish(s->st, WORLD_NOW_MS);
    change_unref(&c);
}

/* Every write was good. */
static void server_stop(struct server *s)
{
    store_close(&s->store);
    assert_int_equal(s->failures, 0);
    state_destroy(&s->st);
}

static void copy_file(const char *from, const char *to)
{
    sqlite3 *source, *target;
    unlink(to);
    assert_int_equal(sqlite3_open(from, &source), SQLITE_OK);
    assert_int_equal(sqlite3_open(to, &target), SQLITE_OK);
    sqlite3_backup *b = sqlite3_backup_init(target, "main", source, "main");
    assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
    sqlite3_backup_finish(b);
    sqlite3_close(source);
    sqlite3_close(target);
}

static void report_node(struct server *s, unsigned i)
{
    struct arena a = {0};
    struct hostinfo h;
    struct node_report report;
    const struct node *n;
    node_key key;
    machine_key machine;
    static const struct addr endpoints[] = {{.family = 4, .port = 41641, .ip = {192, 0, 2, 1}}};
    world_key(i, &key);
    world_machine(i, &machine);
    assert_int_equal(hostinfo_read(&a,
                                   STR("{\"OS\":\"linux\",\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":4}],"
                                       "\"RoutableIPs\":[\"10.0.0.0/8\"]}"),
                                   &h),
                     RC_OK);
    world_report(&report, 142, &h);
    report.endpoints = endpoints;
    report.endpoints_n = 1;
    assert_int_equal(state_node_report(s->st, &key, &machine, &report, &n), RC_OK);
    world_report_fini(&report);
    arena_fini(&a);
}

static void make_base(void)
{
    struct server s;
    char keys[3][AUTH_KEY_TEXT_CAP], text[AUTH_KEY_TEXT_CAP];
    const struct relay_host *relay;
    const struct setting *setting;
    struct err err = {0};
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {77};
    struct relay_spec spec = {.name = STR("relay")};
    server_start(&s);
    world_people(s.st, keys);
    for (unsigned i = 0; i < WORLD_NODES; i++) {
        assert_non_null(world_join(s.st, i, keys[i % 3]));
        report_node(&s, i);
    }
    assert_int_equal(state_relay_create(s.st, &spec, random, WORLD_NOW_MS, &relay, text, &err), RC_OK);
    assert_int_equal(state_setting_set(s.st, STR("motd"), STR("hello"), &setting, &err), RC_OK);
    server_commit(&s);
    while (state_flush_lazy(s.st, 100) > 0)
        server_commit(&s);
    server_stop(&s);
    copy_file(path, base_path);
}

/* --- touching it --- */

static const char *const tables[] = {"nodes", "nodes", "nodes", "users", "auth_keys", "relays", "settings", "counters"};

static const char *const values[] = {
    "NULL",
    "0",
    "-1",
    "1",
    "7",
    "255",
    "65536",
    "2147483648",
    "4194303",
    "4194304",
    "9007199254740991",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "1e999",
    "-1e999",
    "''",
    "'x'",
    "'-'",
    "'node-3'",
    "'NODE'",
    "'a' || char(0) || 'b'",
    "x''",
    "x'00'",
    "zeroblob(32)",
    "randomblob(32)",
    "randomblob(100000)",
    "printf('%300000s', 'x')",
    "'{'",
    "'[]'",
    "'{}'",
    "'[7]'",
    "'[\"tag:web\"]'",
    "'[\"tag:\\u0077eb\"]'",
    "'[\"x\"]'",
    "'{\"OS\":7,\"Services\":\"x\"}'",
    "'{\"OS\":\"a\"} {'",
    "'],\"x\":['",
    "'\",\"x\":\"'",
    "'1.2.3.4'",
    "'fd7a::9'",
    "'100.64.0.999'",
    "'1.2.3.4:5'",
    "'1.2.3.4:5 x'",
    "'10.0.0.0/8'",
    "'10.0.0.0/99 ::/0'",
    "'0.0.0.0/0'",
    "'sha256-raw:zz'",
    "char(65533, 8238, 27)",
    "CAST(x'ff' AS TEXT)",
    "2147455555",
};

static void run(sqlite3 *db, const char *sql)
{
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* With `is_strict` false columns take values of every type, until it is set again. */
static void set_strict(bool is_strict)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    run(db, "PRAGMA writable_schema = ON");
    run(db, is_strict
                ? "UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                : "UPDATE sqlite_schema SET sql = substr(sql, 1, length(sql) - 7) WHERE sql LIKE '%) STRICT'");
    sqlite3_close(db);
}

static void column_of(sqlite3 *db, const char *table, char *out, size_t out_cap)
{
    sqlite3_stmt *stmt;
    char sql[160];
    snprintf(sql, sizeof(sql), "SELECT name FROM pragma_table_info('%s') WHERE name <> 'tailnet'", table);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    unsigned n = 0;
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        if (below(++n) == 0)
            snprintf(out, out_cap, "%s", (const char *)sqlite3_column_text(stmt, 0));
    }
    sqlite3_finalize(stmt);
}

static void touch_one(sqlite3 *db, struct touched *t)
{
    char column[64] = "", sql[512];
    const char *table = tables[below(ARRAY_LEN(tables))];
    unsigned id = 1 + below(WORLD_NODES);
    column_of(db, table, column, sizeof(column));
    if (strcmp(table, "nodes") != 0)
        id = 1 + below(strcmp(table, "counters") == 0 ? entity_node.number : 3);
    snprintf(sql, sizeof(sql), "UPDATE %s SET %s = %s WHERE id = %u", table, column, values[below(ARRAY_LEN(values))],
             id);
    /* A change that the database itself refuses is skipped. */
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK && strcmp(table, "nodes") == 0)
        t->nodes[id] = true;
}

static void touch(struct touched *t)
{
    sqlite3 *db;
    bool is_loose = below(2) == 0;
    *t = (struct touched){.n = 1 + below(TOUCHED_MAX)};
    if (is_loose)
        set_strict(false);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    run(db, "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF");
    for (unsigned i = 0; i < t->n; i++)
        touch_one(db, t);
    sqlite3_close(db);
    if (is_loose)
        set_strict(true);
}

/* --- what must be --- */

static void check_map(struct netmap_ctx *ctx, const struct state *st, node_id id)
{
    struct arena a = {0};
    struct buf text = {0};
    const struct json *root;
    struct json_limits strict = {.max_bytes = 1 << 24, .max_depth = 64, .max_nodes = 1 << 20};
    world_map(ctx, st, id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), &strict, &root, NULL), RC_OK);
    assert_int_equal(json_len(json_get(root, "Peers")), state_node_count(st) - 1);
    JSON_EACH (peer, json_get(root, "Peers")) {
        assert_int_equal(json_type_of(json_get(peer, "Name")), JSON_STRING);
        const struct json *h = json_get(peer, "Hostinfo");
        assert_true(h == NULL || json_type_of(h) == JSON_OBJECT);
    }
    buf_fini(&text);
    arena_fini(&a);
}

static int64_t ask(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return v;
}

static void check_loaded(struct netmap_ctx *ctx, const struct server *s, const struct touched *t)
{
    for (node_id id = 1; id <= WORLD_NODES; id++) {
        if (!t->nodes[id])
            assert_non_null(state_node(s->st, id));
    }
    assert_true(state_snapshot(s->st)->group_n <= (size_t)(NODE_ID_MAX + 1) / GROUP_NODES + 1);
    for (node_id id = 1; id <= WORLD_NODES; id++) {
        if (state_node(s->st, id) != NULL)
            check_map(ctx, s->st, id);
    }
    assert_int_equal(ask("SELECT count(*) FROM nodes"), state_node_count(s->st));
    assert_int_equal(ask("SELECT count(*) FROM nodes") +
                         ask("SELECT count(*) FROM set_aside WHERE table_name = 'nodes' AND why <> ''"),
                     WORLD_NODES);
}

/* A key is created and a node joins with it, although rows are missing: what is set aside does not conflict with
 * them. */
static void join_another(struct server *s)
{
    struct err err = {0};
    const struct user *user;
    const struct auth_key *key;
    char text[AUTH_KEY_TEXT_CAP];
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {99};
    struct user_spec spec = {.name = STR("newcomer")};
    assert_int_equal(state_user_create(s->st, &spec, WORLD_NOW_MS, &user, &err), RC_OK);
    struct auth_key_spec how = {.user = user->id};
    assert_int_equal(state_key_create(s->st, &how, random, WORLD_NOW_MS, &key, text, &err), RC_OK);
    assert_non_null(world_join(s->st, NEW_NODE, text));
    server_commit(s);
}

static void test_any_content(void **state)
{
    (void)state;
    struct netmap_ctx ctx = {0};
    const char *rounds = getenv("ROWS_ROUNDS");
    unsigned n = rounds != NULL ? (unsigned)strtoul(rounds, NULL, 10) : ROUNDS, aside = 0;
    for (unsigned i = 0; i < n; i++) {
        struct touched t;
        struct server s;
        copy_file(base_path, path);
        touch(&t);
        server_start(&s);
        check_loaded(&ctx, &s, &t);
        aside += (unsigned)ask("SELECT count(*) FROM set_aside");
        join_another(&s);
        server_stop(&s);
        node_key key;
        world_key(NEW_NODE, &key);
        int64_t before = ask("SELECT count(*) FROM set_aside");
        server_start(&s);
        assert_non_null(state_node_by_key(s.st, &key));
        assert_int_equal(ask("SELECT count(*) FROM set_aside"), before);
        server_stop(&s);
    }
    assert_true(rounds != NULL || aside > ROUNDS / 4);
    netmap_ctx_fini(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_content)};
    const char *seed = getenv("ROWS_SEED");
    dice.state = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    crypto_init();
    if (log_set_level(NULL, getenv("ROWS_LOG") ? LOG_WARN : LOG_OFF) != RC_OK)
        return 1;
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/db.sqlite", dir);
    snprintf(base_path, sizeof(base_path), "%s/base.sqlite", dir);
    make_base();
    int failures = cmocka_run_group_tests_name("rows", tests, NULL, NULL);
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char file[80];
        snprintf(file, sizeof(file), "%s%s", path, ends[i]);
        unlink(file);
    }
    unlink(base_path);
    rmdir(dir);
    return failures;
}
