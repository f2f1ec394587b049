#include "daemon/testing.h"

void test_folder_make(struct test_folder *f)
{
    *f = (struct test_folder){.path = "/tmp/fs-daemon-test-XXXXXX"};
    assert_non_null(mkdtemp(f->path));
}

const char *test_path(const struct test_folder *f, const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    return path;
}

void test_write(struct test_folder *f, const char *name, const char *text)
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

void test_folder_empty(const struct test_folder *f, const char *name)
{
    DIR *d = opendir(test_path(f, name));
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
}

void test_folder_remove(struct test_folder *f)
{
    static const char *const made[] = {"derp_cert.pem", "derp_key.pem", "derpmap"};
    for (unsigned i = 0; i < f->n; i++)
        unlink(test_path(f, f->names[i]));
    for (size_t i = 0; i < ARRAY_LEN(made); i++)
        remove(test_path(f, made[i]));
    assert_int_equal(rmdir(f->path), 0);
}

struct config *test_config(const struct test_folder *f, const char *yaml)
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
