/* Sets rows of the table from text or YAML, and notes what does not fit. */
#include <stdio.h>

#include "base/mem.h"
#include "config/load_internal.h"
#include "config/value_internal.h"

static void set_items(struct loader *l, const struct schema_row *row, const char *name, const char *base_dir,
                      const struct value_item *items, size_t n)
{
    struct value_error error;
    if (value_set(&l->out->arena, row, base_dir, items, n, &l->out->cfg, &error) == RC_OK)
        return;
    struct origin *origin = &l->origins[row - schema_rows];
    char text[512];
    snprintf(text, sizeof(text), "%s %s", name, error.why);
    loader_note_at(l, true, origin->is_env ? origin->env : l->out->path, error.line > 0 ? error.line : origin->line,
                   error.line > 0 ? error.col : origin->col, text);
    origin->is_set = false;
}

/* "" leaves the key unset, except where it means off. */
static bool is_unset(const struct schema_row *row, struct str text)
{
    return text.len == 0 && row->type != SCHEMA_LISTEN && row->type != SCHEMA_PREFIX;
}

/* Splits at spaces and commas. `items` takes (text.len + 1) / 2 of them. */
size_t loader_split_items(struct str text, int line, int col, struct value_item *items)
{
    size_t n = 0;
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.p[i] != ' ' && text.p[i] != ',' && text.p[i] != '\t' && text.p[i] != '\n')
            continue;
        if (i > start)
            items[n++] = (struct value_item){str_n(text.p + start, i - start), line, col};
        start = i + 1;
    }
    return n;
}

void loader_set_text(struct loader *l, const struct schema_row *row, const char *name, const char *base_dir,
                     struct value_item item)
{
    if (!value_is_list(row->type)) {
        set_items(l, row, name, base_dir, &item, 1);
        return;
    }
    struct value_item *items = mem_zalloc(item.text.len / 2 + 1, sizeof(*items));
    size_t n = loader_split_items(item.text, item.line, item.col, items);
    set_items(l, row, name, base_dir, items, n);
    mem_free(items);
}

static const char *article(const struct schema_row *row)
{
    return strchr("aeiou", value_type_name(row->type)[0]) != NULL ? "an" : "a";
}

static void set_sequence(struct loader *l, const struct schema_row *row, const char *name, const struct yaml *value)
{
    struct value_item *items = mem_zalloc(value->n + 1, sizeof(*items));
    size_t n = 0;
    bool is_good = true;
    YAML_EACH (it, value) {
        if (it->type != YAML_SCALAR && it->type != YAML_NULL) {
            loader_note(l, true, it->line, it->col, "%s must be %s %s", name, article(row), value_type_name(row->type));
            is_good = false;
            break;
        }
        items[n++] = (struct value_item){it->type == YAML_SCALAR ? it->text : STR_EMPTY, it->line, it->col};
    }
    if (is_good)
        set_items(l, row, name, l->base_dir, items, n);
    mem_free(items);
}

static void set_composite(struct loader *l, const struct schema_row *row, const char *name, const struct yaml *value)
{
    struct value_error error;
    if (value_set_yaml(&l->out->arena, row, value, &l->out->cfg, &error) != RC_OK)
        loader_note(l, true, error.line, error.col, "%s %s", name, error.why);
}

bool loader_is_empty(const struct yaml *value)
{
    return value->type == YAML_NULL || (value->type == YAML_SCALAR ? value->text.len == 0 : value->n == 0);
}

/* `name` is the key as the file has it, which may be an old name. */
void loader_set_yaml(struct loader *l, const struct schema_row *row, const char *name, const struct yaml *value)
{
    struct origin *origin = &l->origins[row - schema_rows];
    if (value->type == YAML_SCALAR ? is_unset(row, value->text) : loader_is_empty(value))
        return;
    if (origin->is_set) {
        loader_note(l, true, value->key_line, value->key_col, "%s is set twice", name);
        return;
    }
    *origin = (struct origin){.is_set = true, .line = value->line, .col = value->col};
    if (value_is_yaml_only(row->type))
        set_composite(l, row, name, value);
    else if (value->type == YAML_SCALAR)
        loader_set_text(l, row, name, l->base_dir, (struct value_item){value->text, value->line, value->col});
    else if (value->type == YAML_SEQ && value_is_list(row->type))
        set_sequence(l, row, name, value);
    else
        loader_note(l, true, value->line, value->col, "%s must be %s %s", name, article(row),
                    value_type_name(row->type));
}
