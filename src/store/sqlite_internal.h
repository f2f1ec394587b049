/* What the files of the SQLite backend share; only for this folder. */
#ifndef STORE_SQLITE_INTERNAL_H
#define STORE_SQLITE_INTERNAL_H

#include <sqlite3.h>

#include "base/buf.h"
#include "store/sql_internal.h"
#include "store/store_internal.h"

/* "Fuls": tells our files from other programs' SQLite databases. Also in migration 1. */
enum { SQLITE_APPLICATION_ID = 0x46756c73 };

enum {
    BUSY_TIMEOUT_MS = 10000, /* how long we wait for a lock, such as that of a sqlite3 shell on the live file */
    RETRY_BUSY_MS = 1000,    /* the same while everything is refused */
};

/* --- sqlite_error.c --- */
/* Says what went wrong, from the last call on `db`. */
enum rc sqlite_error(sqlite3 *db, const char *path, const char *doing, struct err *err);
/* One integer out of one row. RC as sqlite_error. */
MUST_CHECK enum rc sqlite_query_int(sqlite3 *db, const char *path, const char *sql, int64_t *out, struct err *err);

/* --- sqlite_open.c --- */
struct sqlite_file {
    sqlite3 *db;
    int lock_fd; /* on "PATH.lock": while it is held, no other server opens this file */
    char *path;  /* owned */
    int64_t wal_autocheckpoint_pages;
    bool is_read_only; /* the disk was full when it was opened */
};

/* Opened, locked, checked, migrated. On failure nothing is left open. */
MUST_CHECK enum rc sqlite_file_open(struct sqlite_file *f, const struct store_options *options, struct err *err);
/* Closes the connection and makes another, which finds out from the log what was really written. On failure there is
 * no connection. */
MUST_CHECK enum rc sqlite_file_reopen(struct sqlite_file *f, struct err *err);
void sqlite_file_close(struct sqlite_file *f, bool is_sound);
/* Ours, of a schema that we know (0: none yet), and sound. RC as store_open_sqlite. */
MUST_CHECK enum rc sqlite_check_file(sqlite3 *db, const char *path, int64_t *version_out, struct err *err);

/* --- sqlite_rows.c --- */
/* Binds tailnet and id, the first two parameters of most statements. False: SQLite refused, here and below. */
bool sqlite_bind_name(sqlite3_stmt *stmt, uint64_t tailnet, uint64_t id);
/* Binds a row to the parameters of sql_put. The object is borrowed until the statement is reset; `scratch` is emptied
 * and used. */
bool sqlite_bind_row(sqlite3_stmt *stmt, const struct entity *e, uint64_t tailnet, const struct row *object,
                     struct buf *scratch);
/* Makes an object, which the caller owns, of the current row of sql_select. Null when a column has an impossible
 * value: its name is in `*bad_out`. */
struct row *sqlite_read_row(sqlite3_stmt *stmt, const struct entity *e, const char **bad_out);

/* --- aside.c --- */
/* A row that cannot be used. */
struct store_bad_row {
    const struct entity *entity;
    uint64_t tailnet;
    sqlite3_value *id; /* owned; as it is there, which may be no integer: strict tables can be made others */
    char why[160];
};
struct store_bad_rows {
    struct store_bad_row *v; /* owned */
    size_t n, cap;
};
/* The id is copied. */
void store_bad_rows_add(struct store_bad_rows *rows, const struct entity *entity, uint64_t tailnet, sqlite3_value *id,
                        const char *why);
/* Moves the rows to the table set_aside and logs each; if that fails they stay, which is logged. Empties the list. */
void store_bad_rows_set_aside(struct store_bad_rows *rows, sqlite3 *db, const char *path);

/* --- migrations.c --- */
/* The version of the schema that this program uses. */
int sqlite_version(void);
/* Brings a database from version `from` to ours, each step in a transaction of its own. */
MUST_CHECK enum rc sqlite_migrate(sqlite3 *db, const char *path, int from, struct err *err);
/* One step: the statements, and the version it comes from. */
MUST_CHECK enum rc sqlite_migrate_step(sqlite3 *db, const char *path, int from, const char *sql, struct err *err);
/* Appends the statements that lead from version `from` to the next. */
void sqlite_migration(int from, struct buf *out);

/* --- sqlite_load.c --- */
/* As store_ops.load. */
MUST_CHECK enum rc sqlite_load_rows(struct sqlite_file *f, uint64_t tailnet, const struct row_sink *sink,
                                    struct store_aside *text_aside_out, struct err *err);

#endif
