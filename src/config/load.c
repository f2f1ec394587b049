/* Reads the configuration: the file, then the environment, then defaults, then the rules between keys. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/load_internal.h"

static const char *const search_path[] = {"/etc/fullscale/config.yaml", "config.yaml"};

static const char *env_get(const struct config_source *src, struct str name)
{
    for (const char *const *var = src->env; var != NULL && *var != NULL; var++) {
        struct str key;
        struct str value;
        if (str_cut(str_c(*var), '=', &key, &value) && str_eq(key, name) && value.len > 0)
            return value.p;
    }
    return NULL;
}

/* The path of the file to read, or null for none. */
static const char *choose_file(const struct config_source *src)
{
    const char *served = src->checkout_path;
    if (src->path != NULL)
        return src->path;
    const char *named = env_get(src, STR("FULLSCALE_CONFIG"));
    if (named != NULL)
        return named;
    if (served[0] != '\0' && access(served, F_OK) == 0)
        return served;
    for (size_t i = 0; i < ARRAY_LEN(search_path); i++) {
        if (access(search_path[i], F_OK) == 0)
            return search_path[i];
    }
    return NULL;
}

static enum rc read_file(const char *path, struct buf *out, struct err *err)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    if (f == NULL)
        return err_set_at(err,
                          errno == ENOENT   ? RC_NOT_FOUND
                          : errno == EACCES ? RC_DENIED
                                            : RC_IO,
                          path, 0, 0, "cannot read the configuration: %s", strerror(errno));
    if (fstat(fileno(f), &st) != 0 || S_ISDIR(st.st_mode)) {
        fclose(f);
        return err_set_at(err, RC_IO, path, 0, 0, "cannot read the configuration: not a file");
    }
    while (!feof(f) && !ferror(f) && buf_len(out) <= YAML_MAX_BYTES)
        buf_commit(out, fread(buf_reserve(out, 65536), 1, 65536, f));
    bool is_bad = ferror(f) != 0;
    fclose(f);
    return is_bad ? err_set_at(err, RC_IO, path, 0, 0, "cannot read the configuration: %s", strerror(errno)) : RC_OK;
}

static const char *directory_of(struct arena *a, const char *file)
{
    const char *slash = strrchr(file, '/');
    if (slash == NULL)
        return "";
    return slash == file ? "/" : arena_str(a, str_n(file, (size_t)(slash - file))).p;
}

/* Loads and checks; always returns a result, whose errors_n says whether it may be used. */
static struct loaded *load(const struct config_source *src, struct str yaml, const char *file)
{
    struct loaded *out = MEM_NEW(struct loaded);
    out->notes_end = &out->notes;
    out->path = arena_str(&out->arena, str_c(file)).p;
    struct loader l = {.out = out, .src = src};
    l.base_dir = directory_of(&out->arena, file);
    l.origins = out->origins = arena_zalloc(&out->arena, schema_rows_n, sizeof(*l.origins));
    loader_take_file(&l, yaml);
    loader_take_env(&l);
    loader_take_headscale_env(&l);
    loader_take_defaults(&l);
    loader_place_relay(&l);
    loader_drop_searched_twice(&l);
    if (out->errors_n == 0)
        config_check_rules(&l);
    return out;
}

static const struct note *first_error(const struct loaded *loaded)
{
    const struct note *note = loaded->notes;
    while (note != NULL && !note->is_error)
        note = note->next;
    return note;
}

enum rc config_parse(const struct config_source *src, struct str yaml, const char *file, struct config **out,
                     struct err *err)
{
    struct loaded *loaded = load(src, yaml, file);
    struct config *cfg = &loaded->cfg;
    *out = NULL;
    if (loaded->errors_n == 0) {
        *out = cfg;
        return RC_OK;
    }
    const struct note *note = first_error(loaded);
    if (err != NULL)
        *err = note->err;
    config_destroy(&cfg);
    return RC_INVALID;
}

static enum rc read_source(const struct config_source *src, const char **file_out, struct buf *text, struct err *err)
{
    *file_out = choose_file(src);
    return *file_out != NULL ? read_file(*file_out, text, err) : RC_OK;
}

enum rc config_load(const struct config_source *src, struct config **out, struct err *err)
{
    const char *file;
    struct buf text = {0};
    enum rc rc = read_source(src, &file, &text, err);
    *out = NULL;
    if (rc == RC_OK)
        rc = config_parse(src, buf_str(&text), file != NULL ? file : "", out, err);
    buf_fini(&text);
    return rc;
}

static void report_notes(const struct loaded *loaded, struct buf *report)
{
    for (const struct note *note = loaded->notes; note != NULL; note = note->next)
        buf_printf(report, "%s: %s\n", note->is_error ? "error" : "warning", note->text);
    if (loaded->notes_n > LOAD_MAX_NOTES)
        buf_printf(report, "... and %zu more\n", loaded->notes_n - LOAD_MAX_NOTES);
}

enum rc config_check(const struct config_source *src, struct buf *report)
{
    const char *file;
    struct err err;
    struct buf text = {0};
    enum rc rc = read_source(src, &file, &text, &err);
    if (rc != RC_OK) {
        buf_printf(report, "error: %s: %s\n", err.file, err.text);
        buf_fini(&text);
        return rc;
    }
    struct loaded *loaded = load(src, buf_str(&text), file != NULL ? file : "");
    struct config *cfg = &loaded->cfg;
    report_notes(loaded, report);
    rc = loaded->errors_n > 0 ? RC_INVALID : RC_OK;
    buf_fini(&text);
    config_destroy(&cfg);
    return rc;
}

void config_destroy(struct config **cfg)
{
    if (*cfg == NULL)
        return;
    struct loaded *loaded = CONTAINER_OF(*cfg, struct loaded, cfg);
    arena_fini(&loaded->arena);
    mem_free(loaded);
    *cfg = NULL;
}
