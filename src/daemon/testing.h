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
    char names[64][32]; /* what was written, to be removed */
    unsigned n;
};

/* Makes a temporary folder. */
static inline void test_folder_make(struct test_folder *f)
{
    *f = (struct test_folder){.path = "/tmp/fs-daemon-test-XXXXXX"};
    assert_non_null(mkdtemp(f->path));
}

/* The path of a file in it, valid until the next call. */
static inline const char *test_path(const struct test_folder *f, const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    return path;
}

/* Writes a file in it, to be removed with the folder. */
static inline void test_write(struct test_folder *f, const char *name, const char *text)
{
    FILE *file = fopen(test_path(f, name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    for (unsigned i = 0; i < f->n; i++)
        if (strcmp(f->names[i], name) == 0)
            return;
    snprintf(f->names[f->n++], sizeof(f->names[0]), "%.31s", name);
}

/* The files in a folder below. */
static inline void test_folder_empty(const struct test_folder *f, const char *name)
{
    DIR *d = opendir(test_path(f, name));
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
}

/* With everything that the server may have made. */
static inline void test_folder_remove(struct test_folder *f)
{
    static const char *const made[] = {"derp_cert.pem", "derp_key.pem", "derpmap"};
    for (unsigned i = 0; i < f->n; i++)
        unlink(test_path(f, f->names[i]));
    for (size_t i = 0; i < ARRAY_LEN(made); i++)
        remove(test_path(f, made[i]));
    assert_int_equal(rmdir(f->path), 0);
}

/* `yaml`: further keys; % in it stands for the folder. */
static inline struct config *test_config(const struct test_folder *f, const char *yaml)
{
    struct config_source src = {.is_root = true, .primary_ip = "192.0.2.1"};
    struct config *cfg;
    struct err err = {0};
    struct buf text = {0};
    struct str before, after = str_c(yaml);
    buf_printf(&text, "state_dir: %s\n", f->path);
    while (str_cut(after, '%', &before, &after)) {
        buf_append_str(&text, before);
        buf_append_c(&text, f->path);
    }
    buf_append_str(&text, before);
    if (config_parse(&src, buf_str(&text), "test.yaml", &cfg, &err) != RC_OK)
        fail_msg("%s:%d: %s\n%s", err.file, err.line, err.text, buf_cstr(&text));
    buf_fini(&text);
    return cfg;
}

#endif
