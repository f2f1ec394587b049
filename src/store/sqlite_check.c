/* Checks whether a database would be opened. Nothing is written, created or locked, so it works beside a running
 * server. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "store/sqlite_internal.h"

/* A file name within a URI. src: https://sqlite.org/uri.html */
static void append_escaped(struct buf *out, const char *path)
{
    for (const char *p = path; *p != '\0'; p++) {
        if (strchr("%?#", *p) != NULL)
            buf_printf(out, "%%%02X", (unsigned)*p);
        else
            buf_append_byte(out, (uint8_t)*p);
    }
}

static bool is_there(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    struct stat st;
    return (size_t)snprintf(name, sizeof(name), "%s%s", path, suffix) < sizeof(name) && stat(name, &st) == 0 &&
           st.st_size > 0;
}

/* When it reads a database with a log, SQLite creates the index of that log, unless an option says that there is no
 * writer. While a server runs both files exist. */
static enum rc open_unchanged(const char *path, sqlite3 **out, struct err *err)
{
    struct buf uri = {0};
    bool is_live = is_there(path, "-wal") && is_there(path, "-shm");
    buf_append_c(&uri, "file:");
    append_escaped(&uri, path);
    buf_append_c(&uri, is_live ? "?mode=ro" : "?immutable=1");
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    enum rc rc = RC_OK;
    if (sqlite3_open_v2(buf_cstr(&uri), out, flags, NULL) != SQLITE_OK)
        rc = sqlite_error(*out, path, "open", err);
    buf_fini(&uri);
    return rc;
}

enum rc store_check_sqlite(const char *path, struct err *err)
{
    struct stat st;
    sqlite3 *db = NULL;
    int64_t version;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? RC_NOT_FOUND
                                                   : err_set(err, RC_DENIED, "database %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, RC_INVALID, "database %s is no file", path);
    if (access(path, R_OK | W_OK) != 0)
        return err_set(err, RC_DENIED, "database %s: cannot open for writing: %s", path, strerror(errno));
    enum rc rc = open_unchanged(path, &db, err);
    if (rc == RC_OK)
        rc = sqlite_check_file(db, path, &version, err);
    sqlite3_close(db);
    return rc;
}
