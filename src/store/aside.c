/* Rows that cannot be used are moved to the table set_aside, where an admin finds them and where they do not
 * conflict with the others. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "store/sqlite_internal.h"

LOG_MODULE("sqlite");
METRIC_GAUGE(aside, "fullscale_store_rows_set_aside", "",
             "Rows of the database that could not be used, and are in its table set_aside.");

void store_bad_rows_add(struct store_bad_rows *rows, const struct entity *entity, uint64_t tailnet, sqlite3_value *id,
                        const char *why)
{
    VEC_ROOM(rows->v, rows->n, rows->cap, 1);
    struct store_bad_row *r = &rows->v[rows->n++];
    *r = (struct store_bad_row){.entity = entity, .tailnet = tailnet, .id = sqlite3_value_dup(id)};
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static bool step_once(sqlite3 *db, const char *sql, const struct store_bad_row *r, int64_t now_ms)
{
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return false;
    bool is_done = sqlite3_bind_int64(stmt, 1, (int64_t)r->tailnet) == SQLITE_OK &&
                   sqlite3_bind_value(stmt, 2, r->id) == SQLITE_OK;
    if (sqlite3_bind_parameter_count(stmt) == 4)
        is_done = is_done && sqlite3_bind_text(stmt, 3, r->why, -1, SQLITE_STATIC) == SQLITE_OK &&
                  sqlite3_bind_int64(stmt, 4, now_ms) == SQLITE_OK;
    is_done = is_done && sqlite3_step(stmt) == SQLITE_DONE;
    sqlite3_finalize(stmt);
    return is_done;
}

static bool move(const struct store_bad_row *r, sqlite3 *db, int64_t now_ms)
{
    struct buf keep = {0}, delete = {0};
    sql_set_aside(&sql_sqlite, r->entity, &keep);
    sql_delete(&sql_sqlite, r->entity, &delete);
    bool is_done = step_once(db, buf_cstr(&keep), r, now_ms) && step_once(db, buf_cstr(&delete), r, now_ms);
    buf_fini(&keep);
    buf_fini(&delete);
    return is_done;
}

/* In one transaction, since a user and the keys that refer to it must be moved together. */
static bool move_all(const struct store_bad_rows *rows, sqlite3 *db, int64_t now_ms)
{
    bool is_done = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    for (size_t i = 0; is_done && i < rows->n; i++)
        is_done = move(&rows->v[i], db, now_ms);
    return is_done && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
}

void store_bad_rows_set_aside(struct store_bad_rows *rows, sqlite3 *db, const char *path)
{
    int64_t total = 0;
    struct err err = {0};
    for (size_t i = 0; i < rows->n; i++)
        log_error("a row of the database cannot be used and is set aside", LOG_S("table", rows->v[i].entity->table),
                  LOG_I("id", sqlite3_value_int64(rows->v[i].id)), LOG_S("why", rows->v[i].why));
    if (rows->n > 0 && !move_all(rows, db, clock_wall_ms())) {
        (void)sqlite_error(db, path, "set rows aside in", &err);
        if (sqlite3_get_autocommit(db) == 0)
            sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        log_error("the rows that cannot be used stay where they are, where new ones may collide with them",
                  LOG_S("reason", err.text));
    }
    for (size_t i = 0; i < rows->n; i++)
        sqlite3_value_free(rows->v[i].id);
    mem_free(rows->v);
    *rows = (struct store_bad_rows){0};
    if (sqlite_query_int(db, path, "SELECT count(*) FROM set_aside", &total, &err) != RC_OK || total == 0)
        return;
    metric_set(&aside, total);
    log_warn("rows of the database are set aside: sqlite3 PATH 'SELECT * FROM set_aside' shows them, docs/operate.md "
             "says more",
             LOG_S("path", path), LOG_I("rows", total));
}
