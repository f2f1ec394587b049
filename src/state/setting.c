#include "state/setting.h"

#include <stdio.h>

#include "base/utf8.h"
#include "state/state_internal.h"

/* --- the entity --- */

static const struct column columns[] = {
    {COLUMN_OF("name", COLUMN_TEXT, struct setting, name), .flags = COLUMN_UNIQUE},
    {COLUMN_OF("value", COLUMN_TEXT, struct setting, value)},
};

const struct entity entity_setting = {
    .name = "setting",
    .table = "settings",
    .number = 7,
    .since = 8,
    .id_max = ROW_ID_MAX,
    .is_counted = true,
    .is_in_snapshot = true,
    .size = sizeof(struct setting),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
};

/* --- what a name and a value are --- */

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static enum rc check_name(struct str name, struct err *err)
{
    bool is_odd = name.len == 0 || name.len >= SETTING_NAME_CAP;
    for (size_t i = 0; i < name.len && !is_odd; i++)
        is_odd = !is_name_byte(name.p[i]);
    if (!is_odd)
        return RC_OK;
    return err_set(err, RC_INVALID,
                   "'%.*s' is no name of a setting: use 1 to %d lower-case letters, digits, '.', '_' and '-'",
                   (int)(name.len < 80 ? name.len : 80), name.p, SETTING_NAME_CAP - 1);
}

static enum rc check_value(struct str value, struct err *err)
{
    if (value.len >= SETTING_VALUE_CAP)
        return err_set(err, RC_INVALID, "the value of a setting has at most %d bytes", SETTING_VALUE_CAP - 1);
    for (const char *p = value.p, *end = value.p + value.len; p < end;) {
        bool is_ascii = *p > 0;
        unsigned n = is_ascii ? 1 : (uint8_t)*p >= 0x80 ? utf8_seq_len(p, end) : 0;
        if (n == 0)
            return err_set(err, RC_INVALID, "the value of a setting must be text: UTF-8 without NUL");
        p += n;
    }
    return RC_OK;
}

enum rc setting_check(const struct row *object, struct err *err)
{
    const struct setting *s = (const struct setting *)object;
    TRY(check_name(str_c(s->name), err));
    return check_value(str_c(s->value), err);
}

/* --- reading --- */

const struct setting *state_setting_next(const struct state *st, size_t *pos)
{
    return (const struct setting *)kept_next(st, &entity_setting, pos);
}

const struct setting *state_setting(const struct state *st, struct str name)
{
    const struct setting *s;
    for (size_t pos = 0; (s = state_setting_next(st, &pos)) != NULL;) {
        if (str_eq_c(name, s->name))
            return s;
    }
    return NULL;
}

const struct setting *snapshot_setting(const struct snapshot *snapshot, struct str name)
{
    const struct row *row;
    for (size_t pos = 0; (row = row_set_next(snapshot->kept, &entity_setting, &pos)) != NULL;) {
        if (str_eq_c(name, ((const struct setting *)row)->name))
            return (const struct setting *)row;
    }
    return NULL;
}

/* --- events --- */

enum rc state_setting_set(struct state *st, struct str name, struct str value, const struct setting **out,
                          struct err *err)
{
    TRY(check_name(name, err));
    TRY(check_value(value, err));
    const struct setting *old = state_setting(st, name);
    *out = old;
    if (old != NULL && str_eq_c(value, old->value))
        return RC_OK;
    if (old == NULL && kept_count(st, &entity_setting) >= SETTINGS_MAX)
        return err_set(err, RC_LIMIT, "there are %d settings already; delete one first", SETTINGS_MAX);
    struct setting *s = (struct setting *)entity_create(&entity_setting);
    s->id = old != NULL ? old->id : row_next_id(st, &entity_setting);
    snprintf(s->name, sizeof(s->name), "%.*s", STR_ARG(name));
    snprintf(s->value, sizeof(s->value), "%.*s", STR_ARG(value));
    event_note(st, EVENT_SETTING_CHANGED, &entity_setting, old, s);
    kept_put(st, &entity_setting, old != NULL ? &old->row : NULL, &s->row);
    *out = s;
    return RC_OK;
}

enum rc state_setting_delete(struct state *st, struct str name, struct err *err)
{
    const struct setting *old = state_setting(st, name);
    if (old == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no setting '%.*s' (list them: settings list)",
                       (int)(name.len < 80 ? name.len : 80), name.p);
    event_note(st, EVENT_SETTING_CHANGED, &entity_setting, old, NULL);
    kept_put(st, &entity_setting, &old->row, NULL);
    return RC_OK;
}
