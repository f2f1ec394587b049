/* Keys of the file: known ones, those of Headscale, and unknown ones. */
#include <strings.h>

#include "config/load_internal.h"

static bool is_harmless(const struct schema_old *old, const struct yaml *value)
{
    return loader_is_empty(value) ||
           (old->harmless != NULL && value->type == YAML_SCALAR && str_eq_c(value->text, old->harmless));
}

static void remember_old(struct loader *l, const struct schema_old *old, const struct yaml *value)
{
    struct old_use *use = arena_zalloc(&l->out->arena, 1, sizeof(*use));
    *use = (struct old_use){l->olds, old, value};
    l->olds = use;
}

/* A group that is ignored as a whole may still hold keys that have moved. */
static void moved_below(struct loader *l, const char *group, const struct yaml *value)
{
    YAML_EACH (it, value) {
        const char *name = arena_printf(&l->out->arena, "%s.%s", group, it->key.p);
        const struct schema_old *old = schema_find_old(str_c(name));
        if (old != NULL && old->kind == SCHEMA_OLD_MOVED)
            remember_old(l, old, it);
    }
}

static void take_old(struct loader *l, const struct schema_old *old, const char *name, const struct yaml *value)
{
    if (is_harmless(old, value))
        return;
    switch (old->kind) {
    case SCHEMA_OLD_MOVED: remember_old(l, old, value); break;
    case SCHEMA_OLD_IGNORED:
    case SCHEMA_OLD_LATER:
        loader_note(l, false, value->key_line, value->key_col, "%s is ignored: %s", name, old->note);
        break;
    case SCHEMA_OLD_QUIET: break;
    }
    if (value->type == YAML_MAP)
        moved_below(l, name, value);
}

/* "policy.mode, policy.path": the keys that exist in the group of `name`. */
static const char *list_siblings(struct loader *l, const char *name)
{
    const char *list = "";
    const char *dot = strrchr(name, '.');
    size_t group = dot != NULL ? (size_t)(dot - name) + 1 : 0;
    for (size_t i = 0; i < schema_rows_n && group > 0 && strlen(list) < 160; i++) {
        const char *row = schema_rows[i].name;
        if (strncasecmp(row, name, group) == 0)
            list = arena_printf(&l->out->arena, "%s%s%s", list, list[0] != '\0' ? ", " : "", row);
    }
    return list;
}

/* An unknown key. Misspelt keys about access are errors: they would leave open what was meant to be closed. */
static void take_unknown(struct loader *l, const char *name, const struct yaml *value)
{
    struct str near = schema_nearest(str_c(name));
    bool is_error = !l->src->is_client && (schema_is_delicate(str_c(name)) ||
                                           schema_is_misspelt_delicate(str_c(name), near, value->type == YAML_MAP));
    const char *siblings = list_siblings(l, name);
    if (near.len > 0)
        loader_note(l, is_error, value->key_line, value->key_col, "unknown key %.80s: did you mean %.*s?", name,
                    STR_ARG(near));
    else if (is_error && siblings[0] != '\0')
        loader_note(l, true, value->key_line, value->key_col, "unknown key %.80s: there are %.250s", name, siblings);
    else
        loader_note(l, is_error, value->key_line, value->key_col,
                    "unknown key %.80s%s (`fullscale config reference` lists all keys)", name,
                    is_error ? "" : " is ignored");
}

static void walk(struct loader *l, const char *prefix, const struct yaml *map, int depth)
{
    YAML_EACH (it, map) {
        const char *name = prefix[0] == '\0' ? it->key.p : arena_printf(&l->out->arena, "%s.%s", prefix, it->key.p);
        const struct schema_row *row = schema_find(str_c(name));
        const struct schema_old *old = schema_find_old(str_c(name));
        if (row != NULL)
            loader_set_yaml(l, row, row->name, it);
        else if (loader_is_empty(it) && schema_is_group(str_c(name)))
            continue;
        else if (old != NULL)
            take_old(l, old, name, it);
        else if (!schema_is_group(str_c(name)))
            take_unknown(l, name, it);
        else if (it->type != YAML_MAP)
            loader_note(l, true, it->line, it->col, "%s must have keys below it", name);
        else if (depth < 8)
            walk(l, name, it, depth + 1);
    }
}

static void take_ip_prefix(struct loader *l, const struct yaml *value)
{
    const char *name = str_index(value->text, ':') >= 0 ? "prefixes.v6" : "prefixes.v4";
    if (!loader_is_set(l, name))
        loader_set_yaml(l, schema_find(str_c(name)), "ip_prefixes", value);
}

/* ip_prefixes of versions before 0.23: both families in one list, or one prefix. */
static void take_ip_prefixes(struct loader *l, const struct yaml *value)
{
    YAML_EACH (it, value) {
        if (it->type == YAML_SCALAR)
            take_ip_prefix(l, it);
        else if (!loader_is_empty(it))
            loader_note(l, true, it->line, it->col, "ip_prefixes must be a list of prefixes");
    }
    if (value->type != YAML_SCALAR)
        return;
    struct value_item *items = arena_zalloc(&l->out->arena, value->text.len / 2 + 1, sizeof(*items));
    size_t n = loader_split_items(value->text, value->line, value->col, items);
    for (size_t i = 0; i < n; i++) {
        struct yaml one = *value;
        one.text = items[i].text;
        take_ip_prefix(l, &one);
    }
}

static void take_moved(struct loader *l)
{
    for (const struct old_use *use = l->olds; use != NULL; use = use->next) {
        const struct schema_row *row = schema_find(str_c(use->old->now));
        bool is_ignored = row != NULL && l->origins[row - schema_rows].is_set;
        loader_note(l, false, use->value->key_line, use->value->key_col,
                    is_ignored ? "%s is ignored: %s is set" : "%s is now called %s", use->old->name, use->old->now);
        if (row == NULL)
            take_ip_prefixes(l, use->value);
        else if (!is_ignored)
            loader_set_yaml(l, row, use->old->name, use->value);
    }
}

void loader_take_file(struct loader *l, struct str text)
{
    const struct yaml *root;
    struct err err;
    if (yaml_parse(&l->out->arena, text, l->out->path, &root, &err) != RC_OK) {
        loader_note(l, true, err.line, err.col, "%s", err.text);
        return;
    }
    if (root->type != YAML_MAP && root->type != YAML_NULL) {
        loader_note(l, true, root->line, root->col, "must be a list of `key: value` lines");
        return;
    }
    walk(l, "", root, 0);
    take_moved(l);
}
