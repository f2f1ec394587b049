/* Reads test vectors. Tests get VECTORS_DIR from the build. */
#ifndef TESTS_TEST_FILE_H
#define TESTS_TEST_FILE_H

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

/* The content of `dir`/`name`; ends the test program when it cannot be read. Free with buf_fini. */
static inline struct buf test_file_read(const char *dir, const char *name)
{
    struct buf path = {0};
    struct buf content = {0};
    buf_printf(&path, "%s/%s", dir, name);
    FILE *f = fopen(buf_cstr(&path), "rb");
    if (f == NULL) {
        perror(buf_cstr(&path));
        abort();
    }
    size_t n;
    while ((n = fread(buf_reserve(&content, 65536), 1, 65536, f)) > 0)
        buf_commit(&content, n);
    fclose(f);
    buf_fini(&path);
    return content;
}

#endif
