/* What SQLite and the system say when something fails, as one of our codes and a sentence for the admin. */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "store/sqlite_internal.h"

static enum rc disk_full(const char *path, const char *doing, struct err *err)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0)
        return err_set(err, RC_FULL, "database %s: cannot %s: the disk is full", path, doing);
    return err_set(err, RC_FULL, "database %s: cannot %s: the disk is full (%llu bytes free); make room there", path,
                   doing, (unsigned long long)fs.f_bavail * fs.f_frsize);
}

static int file_errno(sqlite3_file *file)
{
    int os = 0;
    if (file == NULL || file->pMethods == NULL ||
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &os) != SQLITE_OK)
        return 0;
    return os;
}

/* The errno of the failure. SQLite does not return it when a commit fails, but its file objects have it. */
static int last_errno(sqlite3 *db)
{
    sqlite3_file *file = NULL, *log = NULL;
    int os = sqlite3_system_errno(db);
    if (os != 0 || db == NULL)
        return os;
    sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, (void *)&log);
    if ((os = file_errno(log)) != 0)
        return os;
    sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, (void *)&file);
    return file_errno(file);
}

static bool means_full(int os)
{
    return os == ENOSPC || os == EDQUOT;
}

/* The message for a file that cannot be opened. */
static enum rc cannot_open(sqlite3 *db, const char *path, const char *doing, struct err *err)
{
    int os = sqlite3_system_errno(db);
    bool is_short = os == EMFILE || os == ENFILE || os == ENOMEM || os == EIO; /* it is not a matter of permissions */
    if (means_full(os))
        return disk_full(path, doing, err);
    return err_set(err, is_short ? RC_STORE : RC_DENIED, "database %s: cannot %s: %s", path, doing,
                   os != 0 ? strerror(os) : sqlite3_errmsg(db));
}

enum rc sqlite_error(sqlite3 *db, const char *path, const char *doing, struct err *err)
{
    int os;
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, RC_IN_USE, "database %s: another program holds a lock on it (cannot %s)", path, doing);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY: return cannot_open(db, path, doing, err);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return err_set(err, RC_STORE, "database %s is damaged or no database at all (%s); restore it from a backup",
                       path, sqlite3_errmsg(db));
    case SQLITE_FULL: return disk_full(path, doing, err);
    case SQLITE_IOERR:
        os = last_errno(db);
        if (means_full(os) || sqlite3_extended_errcode(db) == SQLITE_IOERR_SHMSIZE)
            return disk_full(path, doing, err);
        return err_set(err, RC_STORE, "database %s: cannot %s: %s%s%s", path, doing, sqlite3_errmsg(db),
                       os != 0 ? ": " : "", os != 0 ? strerror(os) : "");
    default: return err_set(err, RC_STORE, "database %s: cannot %s: %s", path, doing, sqlite3_errmsg(db));
    }
}

enum rc sqlite_query_int(sqlite3 *db, const char *path, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *stmt;
    enum rc rc = RC_OK;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return sqlite_error(db, path, "read", err);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        *out = sqlite3_column_int64(stmt, 0);
    else
        rc = sqlite_error(db, path, "read", err);
    sqlite3_finalize(stmt);
    return rc;
}
