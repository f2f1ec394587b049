/* What the files of the SQLite backend share; only for this folder. */
#ifndef STORE_SQLITE_INTERNAL_H
#define STORE_SQLITE_INTERNAL_H

#include <sqlite3.h>

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

/* --- aside.c --- */
/* A row that cannot be used. */
struct store_bad_row {
    const char *table;
    const char *move_sql;
    int64_t id;
    char why[160];
};
struct store_bad_rows {
    struct store_bad_row *v; /* owned */
    size_t n, cap;
};
void store_bad_rows_add(struct store_bad_rows *rows, const char *table, const char *move_sql, int64_t id,
                        const char *why);
/* Moves the rows to the table set_aside and logs each; if that fails they stay, which is logged. Empties the list. */
void store_bad_rows_set_aside(struct store_bad_rows *rows, sqlite3 *db, const char *path);

/* --- migrations.c --- */
/* Entry i migrates version i to version i + 1. */
extern const char *const sqlite_migrations[];
extern const int sqlite_migrations_n;
/* Applies migrations `from` .. n - 1, each in a transaction of its own. */
MUST_CHECK enum rc sqlite_migrate(sqlite3 *db, const char *path, int from, const char *const *list, int n,
                                  struct err *err);

/* --- sqlite_rows.c: the only file that knows columns --- */
extern const char store_user_insert_sql[], store_user_select_sql[];
extern const char store_auth_key_insert_sql[], store_auth_key_select_sql[];
extern const char store_relay_insert_sql[], store_relay_select_sql[];
extern const char store_policy_text_insert_sql[], store_policy_text_select_sql[];
extern const char store_node_insert_sql[], store_node_select_sql[];
/* Copies a row to the table set_aside: ?1 its id, ?2 why, ?3 when (Unix ms); the caller deletes it afterwards. */
extern const char store_user_set_aside_sql[], store_auth_key_set_aside_sql[], store_relay_set_aside_sql[],
    store_policy_text_set_aside_sql[], store_node_set_aside_sql[];

/* Each binds a row to the parameters of its insert. The row is borrowed until the statement is reset. False: SQLite
 * refused. */
bool store_user_bind(sqlite3_stmt *stmt, const struct user *u);
bool store_auth_key_bind(sqlite3_stmt *stmt, const struct auth_key *k);
bool store_relay_bind(sqlite3_stmt *stmt, const struct relay_host *r);
bool store_policy_text_bind(sqlite3_stmt *stmt, const struct policy_text *t);
bool store_node_bind(sqlite3_stmt *stmt, const struct node *n);
/* Each makes an object, which the caller owns, of the current row of its select. Null when a column has an
 * impossible value: its name is in `*bad_out`, valid as long as the statement. */
struct user *store_user_read(sqlite3_stmt *stmt, const char **bad_out);
struct auth_key *store_auth_key_read(sqlite3_stmt *stmt, const char **bad_out);
struct relay_host *store_relay_read(sqlite3_stmt *stmt, const char **bad_out);
struct policy_text *store_policy_text_read(sqlite3_stmt *stmt, const char **bad_out);
struct node *store_node_read(sqlite3_stmt *stmt, const char **bad_out);

/* How the rows of an entity are kept. */
struct sqlite_rows {
    const struct entity *entity;
    const char *insert_sql, *select_sql, *set_aside_sql;
    bool (*bind)(sqlite3_stmt *stmt, const struct row *object);
    struct row *(*read)(sqlite3_stmt *stmt, const char **bad_out);
};
extern const struct sqlite_rows sqlite_rows[];
extern const size_t sqlite_rows_n;

#endif
