/* Where each value was set, and the notes that loading has made. */
#include <stdarg.h>
#include <stdio.h>

#include "config/load_internal.h"

void loader_note_at(struct loader *l, bool is_error, const char *file, int line, int col, const char *text)
{
    struct loaded *out = l->out;
    out->errors_n += is_error;
    if (out->notes_n++ >= LOAD_MAX_NOTES && (!is_error || out->errors_n > 1))
        return;
    struct note *note = arena_zalloc(&out->arena, 1, sizeof(*note));
    note->is_error = is_error;
    note->err.code = RC_INVALID;
    (void)err_set_at(&note->err, RC_INVALID, file, line, col, "%s", text);
    char whole[sizeof(struct err)];
    err_format(&note->err, whole, sizeof(whole));
    note->text = arena_str(&out->arena, str_c(whole)).p;
    *out->notes_end = note;
    out->notes_end = &note->next;
}

void loader_note(struct loader *l, bool is_error, int line, int col, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    loader_note_at(l, is_error, l->out->path, line, col, text);
}

bool loader_is_set(const struct loader *l, const char *row_name)
{
    return l->origins[schema_index(row_name)].is_set;
}

void loader_note_row(struct loader *l, bool is_error, const char *row_name, const char *fmt, ...)
{
    char text[512];
    size_t i = schema_index(row_name);
    int n = snprintf(text, sizeof(text), "%s ", row_name);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, args);
    va_end(args);
    loader_note_at(l, is_error,
                   l->origins[i].is_env   ? l->origins[i].env
                   : l->origins[i].is_set ? l->out->path
                                          : NULL,
                   l->origins[i].line, l->origins[i].col, text);
}

/* --- public calls --- */

void config_url_host(const char *url, char out[CONFIG_HOST_CAP])
{
    struct schema_url parsed;
    bool ok = schema_url_parse(str_c(url), &parsed) && parsed.host.len < CONFIG_HOST_CAP;
    snprintf(out, CONFIG_HOST_CAP, "%.*s", ok ? (int)parsed.host.len : 0, parsed.host.p);
}

bool config_is_set(const struct config *cfg, const char *key)
{
    return CONTAINER_OF(cfg, const struct loaded, cfg)->origins[schema_index(key)].is_set;
}

bool config_is_behind_proxy(const struct config *cfg)
{
    return cfg->tls_cert_path[0] == '\0' && str_starts(str_c(cfg->server_url), STR("https://"));
}

enum rc config_err(const struct config *cfg, const char *key, enum rc code, struct err *err, const char *fmt, ...)
{
    const struct loaded *loaded = CONTAINER_OF(cfg, const struct loaded, cfg);
    const struct origin *origin = &loaded->origins[schema_index(key)];
    const char *file = origin->is_env ? origin->env : loaded->path[0] != '\0' ? loaded->path : NULL;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set_at(err, code, file, origin->line, origin->col, "%s %s", key, text);
}

const char *config_path(const struct config *cfg)
{
    return CONTAINER_OF(cfg, const struct loaded, cfg)->path;
}

const char *config_warning(const struct config *cfg, size_t i)
{
    for (const struct note *note = CONTAINER_OF(cfg, const struct loaded, cfg)->notes; note != NULL;
         note = note->next) {
        if (i-- == 0)
            return note->text;
    }
    return NULL;
}
