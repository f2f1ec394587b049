/* For the tests of this module: a folder of its own, and a configuration that keeps everything there. */
#ifndef DAEMON_TESTING_H
#define DAEMON_TESTING_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "config/config.h"

struct test_folder {
    char path[64];
    char names[64][32]; /* files that test_write made */
    unsigned n;
};

/* Makes a temporary folder. */
void test_folder_make(struct test_folder *f);
/* The path of a file in it, valid until the next call. */
const char *test_path(const struct test_folder *f, const char *name);
/* Writes a file in it, to be removed with the folder. */
void test_write(struct test_folder *f, const char *name, const char *text);
/* Removes the files in a folder below it. */
void test_folder_empty(const struct test_folder *f, const char *name);
/* Removes the folder with what test_write and the server have made in it. */
void test_folder_remove(struct test_folder *f);
/* A configuration whose state_dir is the folder; `yaml`: further keys, in which % stands for the folder. The caller
 * destroys it. */
struct config *test_config(const struct test_folder *f, const char *yaml);

#endif
