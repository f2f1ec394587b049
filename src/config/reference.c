/* The table for people: all keys as text, Markdown, an example file or JSON; and the values in force. */
#include "config/schema_internal.h"
#include "config/value_internal.h"

static const char *shown_default(const struct schema_row *row)
{
    return row->def_shown != NULL ? row->def_shown : row->def;
}

static const char *path_default(struct arena *a, const struct schema_row *row)
{
    const char *def = shown_default(row);
    return strncmp(def, "{state_dir}", 11) == 0 ? arena_printf(a, "STATE_DIR%s", def + 11) : def;
}

/* "choice: sequential, random", "int 1 to 65535", ... */
static const char *type_text(struct arena *a, const struct schema_row *row)
{
    const char *text = value_type_name(row->type);
    if (row->type == SCHEMA_CHOICE) {
        const char *sep = "";
        text = "";
        for (const struct schema_choice *c = row->choices; c->name != NULL; c++) {
            if (c->is_alias)
                continue;
            text = arena_printf(a, "%s%s%s", text, sep, c->name);
            sep = "|";
        }
    }
    return text;
}

static const char *unit_text(struct arena *a, const struct schema_row *row)
{
    if (row->unit != NULL)
        return row->unit;
    (void)a;
    return row->type == SCHEMA_DURATION ? "s, m, h, d, w, y" : row->type == SCHEMA_BYTES ? "bytes, KiB, MiB" : "";
}

static const char *range_text(struct arena *a, const struct schema_row *row)
{
    char low[48];
    char high[48];
    if (row->min == 0 && row->max == 0)
        return "";
    if (row->type == SCHEMA_DURATION) {
        value_format_duration(row->min, low);
        value_format_duration(row->max, high);
        return arena_printf(a, "%s to %s", low, high);
    }
    if (row->type == SCHEMA_MODE)
        return "";
    return arena_printf(a, "%lld to %lld", (long long)row->min, (long long)row->max);
}

/* Words of `text` in lines of at most `width` characters, each after `indent`. */
static void append_wrapped(struct buf *out, const char *indent, const char *text, size_t width)
{
    struct str rest = str_c(text);
    while (rest.len > 0) {
        size_t n = rest.len;
        if (n > width) {
            for (n = width; n > 0 && rest.p[n] != ' '; n--)
                ;
            n = n == 0 ? width : n;
        }
        buf_printf(out, "%s%.*s\n", indent, (int)n, rest.p);
        rest = str_trim(str_n(rest.p + n, rest.len - n));
    }
}

static void write_text(struct arena *a, const struct schema_row *row, struct buf *out)
{
    char env[SCHEMA_ENV_CAP];
    const char *def = path_default(a, row);
    const char *unit = unit_text(a, row);
    const char *range = range_text(a, row);
    schema_env_name(row, env);
    buf_printf(out, "%s\n    type: %s   default: %s", row->name, type_text(a, row), def[0] != '\0' ? def : "(none)");
    if (unit[0] != '\0')
        buf_printf(out, "   unit: %s", unit);
    if (range[0] != '\0')
        buf_printf(out, "   range: %s", range);
    buf_append_c(out, "\n");
    append_wrapped(out, "    ", row->meaning, 100);
    if (!value_is_yaml_only(row->type))
        buf_printf(out, "    environment: %s\n", env);
    buf_append_c(out, "\n");
}

static void append_cell(struct buf *out, const char *text, bool is_code)
{
    buf_append_c(out, is_code && text[0] != '\0' ? " `" : " ");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '|')
            buf_append_c(out, is_code ? "` or `" : "\\|");
        else
            buf_append_byte(out, (uint8_t)*p);
    }
    buf_append_c(out, is_code && text[0] != '\0' ? "` |" : " |");
}

static void write_markdown(struct arena *a, const struct schema_row *row, struct buf *out)
{
    const char *range = range_text(a, row);
    buf_append_c(out, "|");
    append_cell(out, row->name, true);
    append_cell(out, type_text(a, row), row->type == SCHEMA_CHOICE);
    append_cell(out, path_default(a, row), true);
    append_cell(out, unit_text(a, row), false);
    append_cell(out, range[0] != '\0' ? arena_printf(a, "%s Range: %s.", row->meaning, range) : row->meaning, false);
    buf_append_c(out, "\n");
}

/* How many leading parts of the dotted names are equal, the last part apart. */
static size_t shared_groups(const char *before, const char *name)
{
    size_t groups = 0;
    for (size_t i = 0; before[i] != '\0' && before[i] == name[i]; i++)
        groups += before[i] == '.';
    return groups;
}

/* What root gets by default. */
static const char *example_value(struct arena *a, const struct schema_row *row)
{
    if (strcmp(row->def, "{server_url}") == 0)
        return "https://fullscale.example.com";
    if (strcmp(row->def, "{derp_listen}") == 0)
        return "[::]:8443";
    if (strncmp(row->def, "{state_dir}", 11) == 0)
        return arena_printf(a, "/var/lib/fullscale%s", row->def + 11);
    return strncmp(row->def, "{run_dir}", 9) == 0 ? arena_printf(a, "/run/fullscale%s", row->def + 9) : row->def;
}

static void write_example(struct arena *a, const struct schema_row *row, const char *before, struct buf *out)
{
    static const char spaces[] = "                ";
    size_t level = 0;
    size_t shared = shared_groups(before, row->name);
    struct str head;
    struct str rest = str_c(row->name);
    if (shared == 0)
        buf_append_c(out, "\n");
    while (str_cut(rest, '.', &head, &rest)) {
        if (level >= shared)
            buf_printf(out, "#%.*s%.*s:\n", (int)level * 2, spaces, STR_ARG(head));
        level++;
    }
    const char *indent = arena_printf(a, "#%.*s# ", (int)level * 2, spaces);
    append_wrapped(out, indent, row->meaning, 100);
    const char *def = example_value(a, row);
    bool is_plain = row->type == SCHEMA_BOOL || row->type == SCHEMA_INT;
    const char *value = value_is_list(row->type) || row->type == SCHEMA_RECORDS ? "[]"
                        : row->type == SCHEMA_SPLITS                            ? "{}"
                        : is_plain                                              ? def
                                                                                : arena_printf(a, "\"%s\"", def);
    buf_printf(out, "#%.*s%.*s: %s\n", (int)level * 2, spaces, STR_ARG(head), value);
}

static void write_json(struct arena *a, const struct schema_row *row, struct json_writer *w)
{
    char env[SCHEMA_ENV_CAP];
    schema_env_name(row, env);
    json_w_object(w);
    json_w_kv_cstr(w, "name", row->name);
    json_w_kv_cstr(w, "type", type_text(a, row));
    json_w_kv_cstr(w, "default", path_default(a, row));
    json_w_kv_cstr(w, "unit", unit_text(a, row));
    json_w_kv_cstr(w, "range", range_text(a, row));
    json_w_kv_cstr(w, "environment", value_is_yaml_only(row->type) ? "" : env);
    json_w_kv_cstr(w, "meaning", row->meaning);
    json_w_end_object(w);
}

void config_reference(enum config_reference_format format, struct buf *out)
{
    struct arena a = {0};
    struct json_writer w;
    if (format == CONFIG_REFERENCE_MARKDOWN)
        buf_append_c(out, "| Key | Type | Default | Unit | Meaning |\n|---|---|---|---|---|\n");
    if (format == CONFIG_REFERENCE_YAML)
        buf_append_c(out, "# Fullscale: every key with its default. All are optional.\n");
    if (format == CONFIG_REFERENCE_JSON) {
        json_w_init_pretty(&w, out);
        json_w_array(&w);
    }
    for (size_t i = 0; i < schema_rows_n; i++) {
        const struct schema_row *row = &schema_rows[i];
        switch (format) {
        case CONFIG_REFERENCE_TEXT: write_text(&a, row, out); break;
        case CONFIG_REFERENCE_MARKDOWN: write_markdown(&a, row, out); break;
        case CONFIG_REFERENCE_YAML: write_example(&a, row, i > 0 ? schema_rows[i - 1].name : "", out); break;
        case CONFIG_REFERENCE_JSON: write_json(&a, row, &w); break;
        }
    }
    if (format == CONFIG_REFERENCE_JSON) {
        json_w_end_array(&w);
        buf_append_c(out, "\n");
    }
    arena_fini(&a);
}

/* One line a key: dotted names and JSON values, which is YAML that the loader reads back. */
void config_dump(const struct config *cfg, struct buf *out)
{
    for (size_t i = 0; i < schema_rows_n; i++) {
        struct json_writer w;
        buf_printf(out, "%s: ", schema_rows[i].name);
        json_w_init(&w, out);
        value_write(&schema_rows[i], cfg, &w);
        buf_append_c(out, "\n");
    }
}
