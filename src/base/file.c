#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum rc fail(const char *path, const char *what, struct err *err)
{
    enum rc rc = errno == EACCES || errno == EPERM || errno == EROFS ? RC_DENIED
                 : errno == ENOENT                                   ? RC_NOT_FOUND
                                                                     : RC_IO;
    return err_set(err, rc, "cannot %s %s: %s", what, path, strerror(errno));
}

static bool write_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.p, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = str_n(text.p + n, text.len - (size_t)n);
    }
    return true;
}

enum rc file_save(const char *path, struct str text, struct err *err)
{
    char aside[4096];
    int len = snprintf(aside, sizeof(aside), "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof(aside))
        return err_set(err, RC_INVALID, "the path is too long: %s", path);
    (void)unlink(aside);
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(aside, "create", err);
    errno = 0;
    bool ok = write_all(fd, text) && fsync(fd) == 0;
    enum rc rc = ok ? RC_OK : fail(aside, "write", err);
    close(fd);
    if (ok && rename(aside, path) != 0)
        rc = fail(path, "replace", err);
    if (rc != RC_OK)
        (void)unlink(aside);
    return rc;
}

enum rc file_read(const char *path, size_t max_bytes, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    size_t got = 0;
    if (fd < 0)
        return fail(path, "open", err);
    while (n > 0 && got <= max_bytes) {
        size_t room = max_bytes + 1 - got < 64 * 1024 ? max_bytes + 1 - got : 64 * 1024;
        n = read(fd, buf_reserve(out, room), room);
        if (n > 0) {
            buf_commit(out, (size_t)n);
            got += (size_t)n;
        } else if (n < 0 && errno == EINTR) {
            n = 1;
        }
    }
    enum rc rc = n < 0 ? fail(path, "read", err) : RC_OK;
    if (got > max_bytes)
        rc = err_set(err, RC_TOO_LARGE, "%s is larger than %zu bytes", path, max_bytes);
    close(fd);
    return rc;
}

void file_directory(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(out, PATH_MAX, ".");
    else
        snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

struct file_stamp file_stamp(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct file_stamp){0};
    return (struct file_stamp){true, st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
}

static bool time_eq(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->exists == b->exists && a->device == b->device && a->inode == b->inode && a->size == b->size &&
           time_eq(&a->mtime, &b->mtime) && time_eq(&a->ctime, &b->ctime);
}
