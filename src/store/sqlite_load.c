/* Loading: all rows of a tailnet, entity after entity. */
#include <stdio.h>

#include "store/sqlite_internal.h"

struct loading {
    struct sqlite_file *file;
    uint64_t tailnet;
    const struct row_sink *sink;
    struct store_bad_rows bad;
};

static void take_row(struct loading *l, const struct entity *e, sqlite3_stmt *stmt)
{
    const char *column = NULL;
    char why[160] = "";
    struct err refusal = {0};
    struct row *object = sqlite_read_row(stmt, e, &column);
    if (object == NULL)
        snprintf(why, sizeof(why), "column %s holds what it cannot", column);
    else if (l->sink->take(l->sink->ctx, e, object, &refusal) != RC_OK)
        snprintf(why, sizeof(why), "%.150s", refusal.text);
    if (why[0] != '\0')
        store_bad_rows_add(&l->bad, e, l->tailnet, sqlite3_column_value(stmt, 0), why);
}

static enum rc load_entity(struct loading *l, const struct entity *e, struct err *err)
{
    struct sqlite_file *f = l->file;
    struct buf sql = {0};
    sqlite3_stmt *stmt;
    int code = SQLITE_ERROR;
    sql_select(&sql_sqlite, e, &sql);
    bool is_ready = sqlite3_prepare_v2(f->db, buf_cstr(&sql), -1, &stmt, NULL) == SQLITE_OK &&
                    sqlite3_bind_int64(stmt, 1, (int64_t)l->tailnet) == SQLITE_OK;
    buf_fini(&sql);
    while (is_ready && (code = sqlite3_step(stmt)) == SQLITE_ROW)
        take_row(l, e, stmt);
    enum rc rc = code == SQLITE_DONE ? RC_OK : sqlite_error(f->db, f->path, "read", err);
    sqlite3_finalize(stmt);
    return rc;
}

static void note_aside(struct store_aside *aside, int64_t id)
{
    if (!aside->is_there || id > aside->id)
        *aside = (struct store_aside){true, id};
}

/* Includes the rows of this start, since moving them may have failed. */
static enum rc load_text_aside(struct loading *l, struct store_aside *out, struct err *err)
{
    struct sqlite_file *f = l->file;
    char from[160], sql[200];
    int64_t n = 0, id = 0;
    snprintf(from, sizeof(from), "FROM set_aside WHERE tailnet = %llu AND table_name = '%s'",
             (unsigned long long)l->tailnet, entity_policy_text.table);
    snprintf(sql, sizeof(sql), "SELECT count(*) %s", from);
    TRY(sqlite_query_int(f->db, f->path, sql, &n, err));
    if (n > 0) {
        snprintf(sql, sizeof(sql), "SELECT max(row_id) %s", from);
        TRY(sqlite_query_int(f->db, f->path, sql, &id, err));
        note_aside(out, id);
    }
    for (size_t i = 0; i < l->bad.n; i++) {
        if (l->bad.v[i].entity == &entity_policy_text)
            note_aside(out, sqlite3_value_int64(l->bad.v[i].id));
    }
    return RC_OK;
}

enum rc sqlite_load_rows(struct sqlite_file *f, uint64_t tailnet, const struct row_sink *sink,
                         struct store_aside *text_aside_out, struct err *err)
{
    struct loading l = {.file = f, .tailnet = tailnet, .sink = sink};
    const struct entity *e;
    enum rc rc = RC_OK;
    *text_aside_out = (struct store_aside){0};
    for (size_t i = 0; rc == RC_OK && (e = state_entity(i)) != NULL; i++)
        rc = load_entity(&l, e, err);
    if (rc == RC_OK)
        rc = load_text_aside(&l, text_aside_out, err);
    store_bad_rows_set_aside(&l.bad, f->db, f->path);
    return rc;
}
