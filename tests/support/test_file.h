/* Reads test vectors. Tests get VECTORS_DIR from the build. */
#ifndef TESTS_TEST_FILE_H
#define TESTS_TEST_FILE_H

#include "base/buf.h"

/* The content of `dir`/`name`; ends the test program when it cannot be read. Free with buf_fini. */
struct buf test_file_read(const char *dir, const char *name);

#endif
