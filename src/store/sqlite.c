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
    sqlite3_stmt *puts[ENTITIES_MAX], *deletes[ENTITIES_MAX]; /* by number of the entity */
    struct buf scratch;                                       /* of sqlite_bind_row */
    int64_t number;                                           /* the number of the last transaction */
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

static bool delete_row(struct sqlite_store *s, uint64_t tailnet, const struct row_op *op)
{
    sqlite3_stmt *stmt = s->deletes[op->entity->number];
    return sqlite_bind_name(stmt, tailnet, op->id) && step(stmt);
}

static bool put_row(struct sqlite_store *s, uint64_t tailnet, const struct row_op *op)
{
    sqlite3_stmt *stmt = s->puts[op->entity->number];
    return op->object == NULL || (sqlite_bind_row(stmt, op->entity, tailnet, op->object, &s->scratch) && step(stmt));
}

/* All rows are deleted before any is inserted, so that a name, address or key that passes from one row to another is
 * free by then. */
static bool write_rows(struct sqlite_store *s, uint64_t tailnet, const struct row_op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!delete_row(s, tailnet, ops[i]))
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!put_row(s, tailnet, ops[i]))
            return false;
    }
    return true;
}

static bool prepare_rows(struct sqlite_store *s,
                         void (*make)(const struct sql_dialect *d, const struct entity *e, struct buf *out),
                         const struct entity *e, sqlite3_stmt **out)
{
    struct buf sql = {0};
    make(&sql_sqlite, e, &sql);
    int code = sqlite3_prepare_v3(s->file.db, buf_cstr(&sql), -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    buf_fini(&sql);
    return code == SQLITE_OK;
}

static enum rc prepare(struct sqlite_store *s, struct err *err)
{
    for (size_t i = 0; i < STMT_COUNT; i++) {
        if (sqlite3_prepare_v3(s->file.db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmts[i], NULL) !=
            SQLITE_OK)
            return sqlite_error(s->file.db, s->file.path, "use the schema of", err);
    }
    const struct entity *e;
    for (size_t i = 0; (e = state_entity(i)) != NULL; i++) {
        if (!prepare_rows(s, sql_put, e, &s->puts[e->number]) ||
            !prepare_rows(s, sql_delete, e, &s->deletes[e->number]))
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
        sqlite3_finalize(s->puts[i]);
        sqlite3_finalize(s->deletes[i]);
        s->puts[i] = s->deletes[i] = NULL;
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
    if (!run(s, STMT_BEGIN) || !write_rows(s, tailnet, ops, n) || !write_number(s))
        return failed(s, "write", &err);
    if (run(s, STMT_COMMIT))
        return RC_OK;
    return look_up(s, failed(s, "commit to", &err));
}

static enum rc sqlite_load(struct store *base, uint64_t tailnet, const struct row_sink *sink, struct err *err)
{
    return sqlite_load_rows(&of(base)->file, tailnet, sink, &base->policy_text_aside, err);
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
    buf_fini(&s->scratch);
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
