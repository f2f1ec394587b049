/* Opening a database file: only by one server at a time, only our own files, only schemas that we know. A file that
 * is refused is not changed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"

LOG_MODULE("sqlite");

static enum rc system_error(const char *what, const char *path, struct err *err)
{
    bool is_denied = errno == EACCES || errno == EPERM || errno == EROFS;
    bool is_full = errno == ENOSPC || errno == EDQUOT;
    return err_set(err,
                   is_denied ? RC_DENIED
                   : is_full ? RC_FULL
                             : RC_STORE,
                   "cannot %s %s: %s", what, path, strerror(errno));
}

/* --- the file and its directory --- */

static enum rc sync_directory(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return system_error("open directory", dir, err);
    enum rc rc = fsync(fd) == 0 ? RC_OK : system_error("sync directory", dir, err);
    close(fd);
    return rc;
}

static enum rc make_directory(const char *path, struct err *err)
{
    char dir[PATH_MAX], parent[PATH_MAX];
    file_directory(path, dir);
    if (mkdir(dir, 0700) != 0)
        return errno == EEXIST ? RC_OK : system_error("make directory", dir, err);
    file_directory(dir, parent);
    return sync_directory(parent, err);
}

/* Made here, because SQLite would make it readable for all. SQLite gives its log the mode of the database. */
static enum rc make_file(const char *path, struct err *err)
{
    char dir[PATH_MAX];
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? RC_OK : system_error("make database", path, err);
    close(fd);
    file_directory(path, dir);
    return sync_directory(dir, err);
}

static enum rc in_use(int fd, const char *path, struct err *err)
{
    char pid[16] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);
    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    return err_set(err, RC_IN_USE, "database %s is in use by another server%s%s; only one may have it", path,
                   pid[0] != '\0' ? ", process " : "", pid);
}

/* Locks a file of its own beside the database, because closing any descriptor of the database itself would end the
 * locks that SQLite holds on it (POSIX). The file stays for ever; only the lock on it has a meaning, and that ends
 * with the process. */
static enum rc take_lock(const char *path, int *fd_out, struct err *err)
{
    char lock_path[PATH_MAX];
    if ((size_t)snprintf(lock_path, sizeof(lock_path), "%s.lock", path) >= sizeof(lock_path))
        return err_set(err, RC_STORE, "the path of the database is too long");
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return system_error("open lock", lock_path, err);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum rc rc = errno == EWOULDBLOCK ? in_use(fd, path, err) : system_error("lock", lock_path, err);
        close(fd);
        return rc;
    }
    if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        log_warn("the lock file does not show which process holds it", LOG_S("path", lock_path));
    *fd_out = fd;
    return RC_OK;
}

/* --- what is in it --- */

static enum rc check_schema(sqlite3 *db, const char *path, int64_t *version_out, struct err *err)
{
    int64_t application, tables;
    TRY(sqlite_query_int(db, path, "PRAGMA application_id", &application, err));
    TRY(sqlite_query_int(db, path, "SELECT count(*) FROM sqlite_schema", &tables, err));
    *version_out = 0;
    if (application == 0 && tables == 0)
        return RC_OK; /* new, or left by a crash before the first migration */
    if (application != SQLITE_APPLICATION_ID)
        return err_set(err, RC_INVALID, "%s is a database of another program; it is left as it is", path);
    TRY(sqlite_query_int(db, path, "SELECT version FROM schema_version", version_out, err));
    if (*version_out > sqlite_version())
        return err_set(
            err, RC_UNSUPPORTED,
            "database %s has schema version %lld, this program knows versions up to %d; it is left as it is. "
            "Install the newer program again, or restore the backup made before it ran",
            path, (long long)*version_out, sqlite_version());
    if (*version_out < 1)
        return err_set(err, RC_STORE, "database %s has schema version %lld, which never was", path,
                       (long long)*version_out);
    return RC_OK;
}

/* Whether a message of quick_check is about the values of a row and not about the file: such rows are set aside when
 * they are loaded. src: sqlite 3.40 pragma.c */
static bool is_about_a_row(const char *said)
{
    static const char *const about_rows[] = {"NULL value in ", "CHECK constraint failed in ", "NUMERIC value in ",
                                             "TEXT value in ", "non-"};
    for (size_t i = 0; i < ARRAY_LEN(about_rows); i++) {
        if (strncmp(said, about_rows[i], strlen(about_rows[i])) == 0)
            return true;
    }
    return false;
}

/* Reads the whole file once, so that damage is found now and not in the middle of a change. */
static enum rc check_sound(sqlite3 *db, const char *path, struct err *err)
{
    sqlite3_stmt *stmt;
    int code;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1000000)", -1, &stmt, NULL) != SQLITE_OK)
        return sqlite_error(db, path, "check", err);
    enum rc rc = RC_OK;
    while (rc == RC_OK && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *said = (const char *)sqlite3_column_text(stmt, 0);
        if (said == NULL || (strcmp(said, "ok") != 0 && !is_about_a_row(said)))
            rc = err_set(err, RC_STORE, "database %s is damaged (%s); restore it from a backup", path,
                         said != NULL ? said : "?");
    }
    if (rc == RC_OK && code != SQLITE_DONE)
        rc = sqlite_error(db, path, "check", err);
    sqlite3_finalize(stmt);
    return rc;
}

enum rc sqlite_check_file(sqlite3 *db, const char *path, int64_t *version_out, struct err *err)
{
    TRY(check_schema(db, path, version_out, err));
    return check_sound(db, path, err);
}

/* --- the connection --- */

static enum rc configure(sqlite3 *db, const char *path, int64_t wal_autocheckpoint_pages, struct err *err)
{
    int64_t synchronous = 0;
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &stmt, NULL) != SQLITE_OK)
        return sqlite_error(db, path, "set up", err);
    bool is_wal = sqlite3_step(stmt) == SQLITE_ROW &&
                  sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
    int code = sqlite3_finalize(stmt);
    if (code != SQLITE_OK)
        return sqlite_error(db, path, "set up", err);
    if (!is_wal)
        return err_set(err, RC_STORE, "database %s: its file system allows no write-ahead log", path);
    if (sqlite3_exec(db, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY", NULL, NULL,
                     NULL) != SQLITE_OK)
        return sqlite_error(db, path, "set up", err);
    TRY(sqlite_query_int(db, path, "PRAGMA synchronous", &synchronous, err));
    if (synchronous != 2)
        return err_set(err, RC_STORE, "database %s: SQLite does not sync it", path);
    sqlite3_wal_autocheckpoint(db, wal_autocheckpoint_pages > INT_MAX ? INT_MAX : (int)wal_autocheckpoint_pages);
    return RC_OK;
}

static void copy_log_on_close(sqlite3 *db, bool on)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !on, NULL);
}

/* Where the index of the write-ahead log is: in a file that other processes share or, if there is no room for one, in
 * memory: then no other process can read the database. */
enum wal_index { WAL_INDEX_SHARED, WAL_INDEX_IN_MEMORY };

static enum rc connect_file(struct sqlite_file *f, enum wal_index index, int64_t *version_out, struct err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    if (sqlite3_open_v2(f->path, &f->db, flags, NULL) != SQLITE_OK)
        return sqlite_error(f->db, f->path, "open", err);
    copy_log_on_close(f->db, false); /* until we know that the file is ours */
    sqlite3_busy_timeout(f->db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (index == WAL_INDEX_IN_MEMORY &&
        sqlite3_exec(f->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_error(f->db, f->path, "open", err);
    return check_schema(f->db, f->path, version_out, err);
}

static enum rc open_database(struct sqlite_file *f, struct err *err)
{
    int64_t version;
    TRY(connect_file(f, WAL_INDEX_SHARED, &version, err));
    TRY(check_sound(f->db, f->path, err));
    TRY(configure(f->db, f->path, f->wal_autocheckpoint_pages, err));
    TRY(sqlite_migrate(f->db, f->path, (int)version, err));
    if (version < sqlite_version())
        log_info("schema brought up to date", LOG_S("path", f->path), LOG_I("from", version),
                 LOG_I("to", sqlite_version()));
    copy_log_on_close(f->db, true);
    return RC_OK;
}

static enum rc is_current(int64_t version, const char *path, struct err *err)
{
    if (version == sqlite_version())
        return RC_OK;
    return err_set(err, RC_FULL, "database %s: no room to bring it up to date: the disk is full; make room there",
                   path);
}

/* There is not even room for the index of the log: the database is opened for reading. */
static enum rc open_on_full_disk(struct sqlite_file *f, struct err *err)
{
    int64_t version;
    sqlite3_close(f->db);
    f->db = NULL;
    TRY(connect_file(f, WAL_INDEX_IN_MEMORY, &version, err));
    TRY(is_current(version, f->path, err));
    TRY(check_sound(f->db, f->path, err));
    f->is_read_only = true;
    log_error("the disk is full: what is there is served, nothing can change until there is room",
              LOG_S("path", f->path));
    return RC_OK;
}

enum rc sqlite_file_reopen(struct sqlite_file *f, struct err *err)
{
    int64_t version;
    if (f->db != NULL)
        copy_log_on_close(f->db, false);
    sqlite3_close(f->db);
    f->db = NULL;
    f->is_read_only = false;
    TRY(connect_file(f, WAL_INDEX_SHARED, &version, err));
    if (version != sqlite_version())
        return err_set(err, RC_STORE, "database %s is another one than before", f->path);
    TRY(configure(f->db, f->path, f->wal_autocheckpoint_pages, err));
    copy_log_on_close(f->db, true);
    return RC_OK;
}

enum rc sqlite_file_open(struct sqlite_file *f, const struct store_options *options, struct err *err)
{
    *f = (struct sqlite_file){.lock_fd = -1};
    TRY(make_directory(options->sqlite_path, err));
    TRY(take_lock(options->sqlite_path, &f->lock_fd, err));
    f->path = mem_strdup(options->sqlite_path);
    f->wal_autocheckpoint_pages = options->wal_autocheckpoint_pages;
    enum rc rc = make_file(f->path, err);
    if (rc == RC_OK)
        rc = open_database(f, err);
    if (rc == RC_FULL && f->db != NULL) {
        struct err other;
        rc = open_on_full_disk(f, &other) == RC_OK ? RC_OK : RC_FULL;
    }
    if (rc != RC_OK)
        sqlite_file_close(f, false);
    return rc;
}

void sqlite_file_close(struct sqlite_file *f, bool is_sound)
{
    /* After a failed write the log is left as it is for the next start, which finds in it what was synced. */
    if (f->db != NULL && !is_sound)
        copy_log_on_close(f->db, false);
    sqlite3_close(f->db);
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    mem_free(f->path);
    *f = (struct sqlite_file){.lock_fd = -1};
}
