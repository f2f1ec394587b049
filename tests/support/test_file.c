#include "support/test_file.h"

#include <stdio.h>
#include <stdlib.h>

struct buf test_file_read(const char *dir, const char *name)
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
