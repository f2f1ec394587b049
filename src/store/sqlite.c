#include "store/store.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"

LOG_MODULE("sqlite");

enum statement { STMT_BEGIN, STMT_COMMIT, STMT_ROLLBACK, STMT_COUNT };

static const char *const statements[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
};

struct sqlite_store {
    struct store base;
    struct sqlite_file file;
    sqlite3_stmt *stmts[STMT_COUNT];
    sqlite3_stmt *inserts[ENTITIES_MAX], *deletes[ENTITIES_MAX]; /* by number of the entity */
    int64_t number;                                              /* the number of the last transaction */
    bool is_suspect; /* the connection is to be opened anew before the next transaction */
};

static struct sqlite_store *of(struct store *s)
{
    return CONTAINER_OF(s, struct sqlite_store, base);
}

/* --- writing --- */

static bool step(sqlite3_stmt *stmt)
{
    bool done = sqlite3_step(stmt) == SQLITE_DONE;
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt); /* they are borrowed */
    return done;
}

static bool run(struct sqlite_store *s, enum statement which)
{
    return step(s->stmts[which]);
}

static bool delete_row(struct sqlite_store *s, const struct row_op *op)
{
    sqlite3_stmt *stmt = s->deletes[op->entity->number];
    return stmt == NULL || (sqlite3_bind_int64(stmt, 1, (int64_t)op->id) == SQLITE_OK && step(stmt));
}

static const char *counter_column(uint64_t id)
{
    return id == entity_node.number       ? "next_node"
           : id == entity_user.number     ? "next_user"
           : id == entity_auth_key.number ? "next_key"
                                          : "next_relay";
}

static bool write_counter(struct sqlite_store *s, const struct counter *c)
{
    char sql[160];
    sqlite3_snprintf(sizeof(sql), sql,
                     "INSERT INTO counters VALUES (1, 1, 1, 1, 1) ON CONFLICT DO NOTHING;"
                     "UPDATE counters SET %s = %lld WHERE tailnet = 1",
                     counter_column(c->id), (long long)c->next);
    return sqlite3_exec(s->file.db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static bool insert_row(struct sqlite_store *s, const struct row_op *op)
{
    if (op->object == NULL)
        return true;
    if (op->entity == &entity_counter)
        return write_counter(s, (const struct counter *)op->object);
    for (size_t i = 0; i < sqlite_rows_n; i++) {
        if (sqlite_rows[i].entity == op->entity)
            return sqlite_rows[i].bind(s->inserts[op->entity->number], op->object) &&
                   step(s->inserts[op->entity->number]);
    }
    return false;
}

/* All rows are deleted before any is inserted, so that a name, address or key that passes from one row to another is
 * free by then. */
static bool write_rows(struct sqlite_store *s, const struct row_op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!delete_row(s, ops[i]))
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!insert_row(s, ops[i]))
            return false;
    }
    return true;
}

static enum rc prepare(struct sqlite_store *s, struct err *err)
{
    for (size_t i = 0; i < STMT_COUNT; i++) {
        if (sqlite3_prepare_v3(s->file.db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmts[i], NULL) !=
            SQLITE_OK)
            return sqlite_error(s->file.db, s->file.path, "use the schema of", err);
    }
    for (size_t i = 0; i < sqlite_rows_n; i++) {
        unsigned n = sqlite_rows[i].entity->number;
        char sql[64];
        sqlite3_snprintf(sizeof(sql), sql, "DELETE FROM %s WHERE id = ?", sqlite_rows[i].entity->table);
        if (sqlite3_prepare_v3(s->file.db, sqlite_rows[i].insert_sql, -1, SQLITE_PREPARE_PERSISTENT, &s->inserts[n],
                               NULL) != SQLITE_OK ||
            sqlite3_prepare_v3(s->file.db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->deletes[n], NULL) != SQLITE_OK)
            return sqlite_error(s->file.db, s->file.path, "use the schema of", err);
    }
    return RC_OK;
}

/* Each transaction writes its number into the header of the database: that shows whether a transaction of unknown
 * outcome took place. */
static bool write_number(struct sqlite_store *s)
{
    char sql[64];
    sqlite3_snprintf(sizeof(sql), sql, "PRAGMA user_version = %d", (int)s->number);
    return sqlite3_exec(s->file.db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static enum rc failed(struct sqlite_store *s, const char *doing, struct err *err)
{
    enum rc rc = sqlite_error(s->file.db, s->file.path, doing, err);
    s->is_suspect |= rc != RC_IN_USE;
    log_limited(LOG_ERROR, "the database cannot be written: what it cannot keep is refused", LOG_S("reason", err->text),
                LOG_I("code", sqlite3_extended_errcode(s->file.db)));
    if (sqlite3_get_autocommit(s->file.db) == 0)
        run(s, STMT_ROLLBACK);
    return rc;
}

static void drop_statements(struct sqlite_store *s)
{
    for (size_t i = 0; i < STMT_COUNT; i++) {
        sqlite3_finalize(s->stmts[i]);
        s->stmts[i] = NULL;
    }
    for (size_t i = 0; i < ENTITIES_MAX; i++) {
        sqlite3_finalize(s->inserts[i]);
        sqlite3_finalize(s->deletes[i]);
        s->inserts[i] = s->deletes[i] = NULL;
    }
}

static enum rc reopen(struct sqlite_store *s, struct err *err)
{
    drop_statements(s);
    enum rc rc = sqlite_file_reopen(&s->file, err);
    if (rc == RC_OK)
        rc = prepare(s, err);
    s->is_suspect = rc != RC_OK;
    if (rc != RC_OK)
        log_limited(LOG_ERROR, "the database cannot be opened again", LOG_S("reason", err->text));
    return rc;
}

/* Copies the log into the database and syncs it, so that what was written but perhaps not synced is safe. */
static bool make_safe(struct sqlite_store *s)
{
    int in_log = 0, copied = 0;
    return sqlite3_wal_checkpoint_v2(s->file.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &copied) == SQLITE_OK &&
           in_log == copied;
}

/* COMMIT failed, which does not mean that nothing was committed: a new connection finds what is in the log. */
static enum rc look_up(struct sqlite_store *s, enum rc failure)
{
    struct err err;
    int64_t number = -1;
    if (reopen(s, &err) != RC_OK ||
        sqlite_query_int(s->file.db, s->file.path, "PRAGMA user_version", &number, &err) != RC_OK)
        return failure;
    if (number != s->number)
        return failure;
    if (!make_safe(s)) {
        s->is_suspect = true;
        return failure;
    }
    log_warn("a commit that failed is in the database after all", LOG_S("path", s->file.path));
    return RC_OK;
}

static enum rc sqlite_write(struct store *base, uint64_t tailnet, const struct row_op *const *ops, size_t n)
{
    struct sqlite_store *s = of(base);
    struct err err;
    if (s->is_suspect)
        TRY(reopen(s, &err));
    s->number = s->number < INT32_MAX ? s->number + 1 : 1;
    sqlite3_busy_timeout(s->file.db, store_is_refusing(base, tailnet) ? RETRY_BUSY_MS : BUSY_TIMEOUT_MS);
    if (!run(s, STMT_BEGIN) || !write_rows(s, ops, n) || !write_number(s))
        return failed(s, "write", &err);
    if (run(s, STMT_COMMIT))
        return RC_OK;
    return look_up(s, failed(s, "commit to", &err));
}

/* --- loading --- */

static void take_row(const struct sqlite_rows *t, sqlite3_stmt *stmt, const struct row_sink *sink,
                     struct store_bad_rows *bad)
{
    const char *column = NULL;
    char why[160] = "";
    struct err refusal = {0};
    struct row *object = t->read(stmt, &column);
    if (object == NULL)
        snprintf(why, sizeof(why), "column %s holds what it cannot", column);
    else if (sink->take(sink->ctx, t->entity, object, &refusal) != RC_OK)
        snprintf(why, sizeof(why), "%.150s", refusal.text);
    if (why[0] != '\0')
        store_bad_rows_add(bad, t->entity->table, t->set_aside_sql, sqlite3_column_int64(stmt, 1), why);
}

static enum rc load_table(struct sqlite_store *s, const struct sqlite_rows *t, const struct row_sink *sink,
                          struct store_bad_rows *bad, struct err *err)
{
    sqlite3_stmt *stmt;
    int code;
    if (sqlite3_prepare_v2(s->file.db, t->select_sql, -1, &stmt, NULL) != SQLITE_OK)
        return sqlite_error(s->file.db, s->file.path, "read", err);
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW)
        take_row(t, stmt, sink, bad);
    enum rc rc = code == SQLITE_DONE ? RC_OK : sqlite_error(s->file.db, s->file.path, "read", err);
    sqlite3_finalize(stmt);
    return rc;
}

static void note_aside(struct store_aside *aside, int64_t id)
{
    if (!aside->is_there || id > aside->id)
        *aside = (struct store_aside){true, id};
}

/* Includes the rows of this start, since moving them may have failed. */
static enum rc load_text_aside(struct sqlite_store *s, const struct store_bad_rows *bad, struct err *err)
{
#define FROM_TEXTS_ASIDE " FROM set_aside WHERE tailnet = 1 AND table_name = 'policy_texts'"
    struct store_aside *aside = &s->base.policy_text_aside;
    int64_t n = 0, id = 0;
    TRY(sqlite_query_int(s->file.db, s->file.path, "SELECT count(*)" FROM_TEXTS_ASIDE, &n, err));
    if (n > 0) {
        TRY(sqlite_query_int(s->file.db, s->file.path, "SELECT max(row_id)" FROM_TEXTS_ASIDE, &id, err));
        note_aside(aside, id);
    }
    for (size_t i = 0; i < bad->n; i++) {
        if (strcmp(bad->v[i].table, "policy_texts") == 0)
            note_aside(aside, bad->v[i].id);
    }
    return RC_OK;
#undef FROM_TEXTS_ASIDE
}

static enum rc load_tables(struct sqlite_store *s, const struct row_sink *sink, struct err *err)
{
    struct store_bad_rows bad = {0};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < sqlite_rows_n && rc == RC_OK; i++)
        rc = load_table(s, &sqlite_rows[i], sink, &bad, err);
    if (rc == RC_OK)
        rc = load_text_aside(s, &bad, err);
    store_bad_rows_set_aside(&bad, s->file.db, s->file.path);
    return rc;
}

static enum rc load_counter(struct sqlite_store *s, const struct entity *of, const struct row_sink *sink,
                            struct err *err)
{
    int64_t v = 0;
    char sql[80];
    /* max() over no rows gives a row with NULL. */
    sqlite3_snprintf(sizeof(sql), sql, "SELECT max(%s) FROM counters WHERE tailnet = 1", counter_column(of->number));
    TRY(sqlite_query_int(s->file.db, s->file.path, sql, &v, err));
    struct counter *c = (struct counter *)entity_create(&entity_counter);
    c->id = of->number;
    c->next = (uint64_t)v;
    return sink->take(sink->ctx, &entity_counter, &c->row, err);
}

static enum rc sqlite_load(struct store *base, const struct row_sink *sink, struct err *err)
{
    struct sqlite_store *s = of(base);
    TRY(load_tables(s, sink, err));
    TRY(load_counter(s, &entity_user, sink, err));
    TRY(load_counter(s, &entity_auth_key, sink, err));
    TRY(load_counter(s, &entity_relay_host, sink, err));
    return load_counter(s, &entity_node, sink, err);
}

/* --- life --- */

/* With a connection of its own, so that no lock is shared with the store's thread, and that a file which was moved
 * away or whose disk is gone is noticed. */
static enum rc sqlite_ping(struct store *base)
{
    struct sqlite_store *s = of(base);
    sqlite3 *db;
    int64_t version;
    struct err err;
    enum rc rc;
    if (sqlite3_open_v2(s->file.path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        rc = sqlite_error(db, s->file.path, "open", &err);
    else
        rc = sqlite_query_int(db, s->file.path, "SELECT version FROM schema_version", &version, &err);
    sqlite3_close(db);
    if (rc != RC_OK)
        log_limited(LOG_ERROR, "the database does not answer", LOG_S("reason", err.text));
    return rc;
}

static void sqlite_destroy(struct store *base, bool is_sound)
{
    struct sqlite_store *s = of(base);
    drop_statements(s);
    sqlite_file_close(&s->file, is_sound);
    mem_free(s);
}

enum rc store_open_sqlite(const struct store_options *options, struct store **out, struct err *err)
{
    static const struct store_ops ops = {sqlite_write, sqlite_load, sqlite_ping, sqlite_destroy};
    struct sqlite_store *s = MEM_NEW(struct sqlite_store);
    store_init(&s->base, &ops);
    enum rc rc = sqlite_file_open(&s->file, options, err);
    if (rc == RC_OK)
        rc = prepare(s, err);
    if (rc == RC_OK)
        rc = sqlite_query_int(s->file.db, s->file.path, "PRAGMA user_version", &s->number, err);
    if (rc != RC_OK) {
        sqlite_destroy(&s->base, false);
        return rc;
    }
    if (s->file.is_read_only) {
        s->is_suspect = true;
        store_start_refusing(&s->base, RC_FULL);
    }
    *out = &s->base;
    return RC_OK;
}
