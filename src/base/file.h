/* Small whole files (keys, certificates, copies), and whether a file has changed. Any thread; blocks on the file
 * system. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"

/* Replaces the content of the file: writes `text` to `path`.new (mode 0600), syncs it and renames it, so that a crash
 * leaves the old file or the new one. RC_DENIED, RC_INVALID (the path is too long) or RC_IO, with file and reason in
 * `err`, which may be null. */
MUST_CHECK enum rc file_save(const char *path, struct str text, struct err *err);

/* Appends the content of the file to `out`. RC_NOT_FOUND, RC_DENIED, RC_TOO_LARGE (more than `max_bytes`) or RC_IO,
 * with file and reason in `err`; `out` may hold part of it then. */
MUST_CHECK enum rc file_read(const char *path, size_t max_bytes, struct buf *out, struct err *err);

/* The directory of a file: "." for a bare name. */
void file_directory(const char *path, char out[PATH_MAX]);

/* Identifies a version of a file: two versions differ in one of the members. All zero: there is no file. */
struct file_stamp {
    bool exists;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec mtime;
    struct timespec ctime; /* also changes with mode and owner */
};

/* Looks at the file. All zero when it does not exist or cannot be looked at. */
struct file_stamp file_stamp(const char *path);
/* Whether both are of the same version of the same file, or of none. */
bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b);

#endif
