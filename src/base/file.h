/* Small whole files: keys, certificates, copies. Any thread; blocks on the file system. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

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

#endif
