#include "config/value_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

struct setter {
    struct arena *arena;
    const struct schema_row *row;
    const char *base_dir;
    struct value_error *error;
};

static enum rc refuse(struct setter *s, struct str text, const char *wanted) MUST_CHECK;
static enum rc refuse(struct setter *s, struct str text, const char *wanted)
{
    if (s->row->is_secret)
        snprintf(s->error->why, sizeof(s->error->why), "%s", wanted);
    else
        snprintf(s->error->why, sizeof(s->error->why), "%s, not \"%.*s\"", wanted, text.len > 60 ? 60 : (int)text.len,
                 text.p);
    return RC_INVALID;
}

/* Clients compare names as bytes, after looking them up in lower case. */
static const char *lower_case(struct arena *a, struct str text)
{
    char *copy = arena_zalloc(a, text.len + 1, 1);
    for (size_t i = 0; i < text.len; i++)
        copy[i] = (char)tolower((unsigned char)text.p[i]);
    return copy;
}

static enum rc set_checked(struct setter *s, struct str text, const char **out)
{
    if (memchr(text.p, '\0', text.len) != NULL)
        return refuse(s, STR_EMPTY, "must not hold a NUL");
    const char *wanted = s->row->check != NULL && text.len > 0 ? s->row->check(&text) : NULL;
    if (wanted != NULL)
        return refuse(s, text, wanted);
    *out = s->row->is_name ? lower_case(s->arena, text) : arena_str(s->arena, text).p;
    return RC_OK;
}

static enum rc set_string(struct setter *s, struct str text, void *field)
{
    return set_checked(s, text, field);
}

static enum rc set_path(struct setter *s, struct str text, void *field)
{
    const char *path = "";
    while (text.len > 2 && text.p[0] == '.' && text.p[1] == '/')
        text = str_n(text.p + 2, text.len - 2);
    TRY(set_checked(s, text, &path));
    if (strcmp(path, ".") == 0 && s->base_dir[0] != '\0')
        path = s->base_dir;
    else if (path[0] != '\0' && path[0] != '/' && s->base_dir[0] != '\0')
        path = arena_printf(s->arena, "%s/%s", s->base_dir, path);
    *(const char **)field = path;
    return RC_OK;
}

static enum rc set_bool(struct setter *s, struct str text, void *field)
{
    static const char *const words[2][6] = {{"false", "no", "off", "0", "f", "n"},
                                            {"true", "yes", "on", "1", "t", "y"}};
    for (unsigned v = 0; v < 2; v++) {
        for (size_t i = 0; i < ARRAY_LEN(words[v]); i++) {
            if (str_eq_ci(text, str_c(words[v][i]))) {
                *(bool *)field = v == 1;
                return RC_OK;
            }
        }
    }
    return refuse(s, text, "must be true or false");
}

static enum rc check_range(struct setter *s, struct str text, int64_t v, void *field)
{
    char wanted[128];
    char low[48];
    char high[48];
    if (v >= s->row->min && (v <= s->row->max || (s->row->min == 0 && s->row->max == 0))) {
        *(int64_t *)field = v;
        return RC_OK;
    }
    if (s->row->type == SCHEMA_DURATION) {
        value_format_duration(s->row->min, low);
        value_format_duration(s->row->max, high);
    } else {
        snprintf(low, sizeof(low), "%" PRId64, s->row->min);
        snprintf(high, sizeof(high), "%" PRId64, s->row->max);
    }
    snprintf(wanted, sizeof(wanted), "must be from %s to %s", low, high);
    return refuse(s, text, wanted);
}

static enum rc set_int(struct setter *s, struct str text, void *field)
{
    int64_t v;
    if (str_to_i64(text, &v) != RC_OK)
        return refuse(s, text, "must be a whole number");
    return check_range(s, text, v, field);
}

/* "65536", "64k", "64KiB", "4 MB": powers of 1024 all, which is what people mean here. */
static enum rc set_bytes(struct setter *s, struct str text, void *field)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {{"", 0},    {"B", 0},    {"K", 10}, {"KB", 10}, {"KiB", 10}, {"M", 20},
                 {"MB", 20}, {"MiB", 20}, {"G", 30}, {"GB", 30}, {"GiB", 30}};
    size_t digits = 0;
    while (digits < text.len && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    int64_t v;
    struct str unit = str_trim(str_n(text.p + digits, text.len - digits));
    for (size_t i = 0; i < ARRAY_LEN(units) && str_to_i64(str_n(text.p, digits), &v) == RC_OK; i++) {
        if (str_eq_ci(unit, str_c(units[i].name)) && v <= INT64_MAX >> units[i].shift)
            return check_range(s, text, v << units[i].shift, field);
    }
    return refuse(s, text, "must be a size, e.g. 4MiB");
}

static enum rc set_duration(struct setter *s, struct str text, void *field)
{
    int64_t ms;
    if (str_to_duration_ms(text, &ms) != RC_OK)
        return refuse(s, text, "must be a duration with a unit, e.g. 30s, 12h or 90d");
    return check_range(s, text, ms, field);
}

static enum rc set_choice(struct setter *s, struct str text, void *field)
{
    char wanted[160] = "must be one of";
    size_t n = strlen(wanted);
    for (const struct schema_choice *c = s->row->choices; c->name != NULL; c++) {
        if (str_eq_ci(text, str_c(c->name))) {
            *(int64_t *)field = c->value;
            return RC_OK;
        }
        if (!c->is_alias && n < sizeof(wanted))
            n += (size_t)snprintf(wanted + n, sizeof(wanted) - n, "%s %s", c == s->row->choices ? "" : ",", c->name);
    }
    return refuse(s, text, wanted);
}

static enum rc set_mode(struct setter *s, struct str text, void *field)
{
    int64_t v = 0;
    struct str digits = text;
    if (str_starts(digits, STR("0o")))
        digits = str_n(digits.p + 2, digits.len - 2);
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '7' || digits.len > 8)
            return refuse(s, text, "must be octal permission bits, e.g. 0770");
        v = v * 8 + (digits.p[i] - '0');
    }
    if (digits.len == 0 || v > s->row->max)
        return refuse(s, text, "must be octal permission bits, e.g. 0770");
    *(int64_t *)field = v;
    return RC_OK;
}

static enum rc set_listen(struct setter *s, struct str text, void *field)
{
    struct config_listen *out = field;
    struct addr addr = {0};
    if (text.len == 0 && s->row->must_not_be_empty)
        return refuse(s, text, "must be HOST:PORT, e.g. 0.0.0.0:8080");
    if (text.len > 0 && addr_parse_listen(text, &addr) != RC_OK)
        return refuse(s, text, "must be HOST:PORT with an address as host, e.g. 0.0.0.0:8080 or [::]:8080");
    *out = (struct config_listen){arena_str(s->arena, text).p, addr};
    return RC_OK;
}

static enum rc set_prefix(struct setter *s, struct str text, void *field)
{
    struct config_prefix *out = field;
    struct str ip;
    struct str bits;
    uint64_t n;
    struct addr addr;
    if (text.len == 0) {
        *out = (struct config_prefix){.text = ""};
        return RC_OK;
    }
    bool is_lone = s->row->type == SCHEMA_PREFIXES && addr_parse_ip(text, &addr) == RC_OK;
    if (is_lone)
        n = addr.family == 4 ? 32 : 128;
    else if (!str_cut(text, '/', &ip, &bits) || addr_parse_ip(ip, &addr) != RC_OK || str_to_u64(bits, &n) != RC_OK ||
             n > (addr.family == 4 ? 32u : 128u))
        return refuse(s, text,
                      s->row->type == SCHEMA_PREFIXES
                          ? "must be an address, or an address and a length, e.g. 10.0.0.0/8"
                          : "must be an address and a length, e.g. 100.64.0.0/10");
    for (size_t i = 0; i < (addr.family == 4 ? 4u : 16u); i++) {
        unsigned keep = n > 8 * i ? (unsigned)(n - 8 * i) : 0;
        if (keep < 8)
            addr.ip[i] &= (uint8_t)(0xff00u >> keep);
    }
    char shown[ADDR_TEXT_CAP];
    addr_format(&addr, false, shown);
    *out = (struct config_prefix){arena_printf(s->arena, "%s/%u", shown, (unsigned)n), addr, (uint8_t)n};
    return RC_OK;
}

/* --- values to JSON --- */

static void write_string(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    json_w_cstr(w, *(const char *const *)field);
}

static void write_bool(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    json_w_bool(w, *(const bool *)field);
}

static void write_int(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    json_w_i64(w, *(const int64_t *)field);
}

static void write_duration(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    char text[48];
    value_format_duration(*(const int64_t *)field, text);
    json_w_cstr(w, text);
}

static void write_choice(const struct schema_row *row, const void *field, struct json_writer *w)
{
    for (const struct schema_choice *c = row->choices; c->name != NULL; c++) {
        if (c->value == *(const int64_t *)field) {
            json_w_cstr(w, c->name);
            return;
        }
    }
    json_w_null(w);
}

static void write_mode(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    char text[32];
    snprintf(text, sizeof(text), "0%03" PRIo64, *(const uint64_t *)field);
    json_w_cstr(w, text);
}

static void write_listen(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    json_w_cstr(w, ((const struct config_listen *)field)->text);
}

static void write_prefix(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    json_w_cstr(w, ((const struct config_prefix *)field)->text);
}

static void write_texts(const struct config_strings *list, struct json_writer *w)
{
    json_w_array(w);
    for (size_t i = 0; i < list->n; i++)
        json_w_cstr(w, list->items[i]);
    json_w_end_array(w);
}

static void write_strings(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    write_texts(field, w);
}

static void write_prefixes(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    const struct config_prefixes *list = field;
    json_w_array(w);
    for (size_t i = 0; i < list->n; i++)
        json_w_cstr(w, list->items[i].text);
    json_w_end_array(w);
}

static void write_splits(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    const struct config_splits *list = field;
    json_w_object(w);
    for (size_t i = 0; i < list->n; i++) {
        json_w_key(w, list->items[i].domain);
        write_texts(&list->items[i].servers, w);
    }
    json_w_end_object(w);
}

static void write_records(const struct schema_row *row, const void *field, struct json_writer *w)
{
    (void)row;
    const struct config_records *list = field;
    json_w_array(w);
    for (size_t i = 0; i < list->n; i++) {
        json_w_object(w);
        json_w_kv_cstr(w, "name", list->items[i].name);
        json_w_kv_cstr(w, "type", list->items[i].type);
        json_w_kv_cstr(w, "value", list->items[i].value);
        json_w_end_object(w);
    }
    json_w_end_array(w);
}

/* --- by type --- */

/* `set` takes one scalar, or one element of a list, whose C type has `item_size` bytes. */
static const struct type_row {
    const char *name;
    enum rc (*set)(struct setter *s, struct str text, void *field);
    void (*write)(const struct schema_row *row, const void *field, struct json_writer *w);
    size_t item_size; /* 0: no list */
} types[SCHEMA_TYPE_COUNT] = {
    [SCHEMA_STRING] = {"string", set_string, write_string, 0},
    [SCHEMA_PATH] = {"path", set_path, write_string, 0},
    [SCHEMA_BOOL] = {"bool", set_bool, write_bool, 0},
    [SCHEMA_INT] = {"int", set_int, write_int, 0},
    [SCHEMA_BYTES] = {"size", set_bytes, write_int, 0},
    [SCHEMA_DURATION] = {"duration", set_duration, write_duration, 0},
    [SCHEMA_CHOICE] = {"choice", set_choice, write_choice, 0},
    [SCHEMA_MODE] = {"mode", set_mode, write_mode, 0},
    [SCHEMA_LISTEN] = {"address", set_listen, write_listen, 0},
    [SCHEMA_PREFIX] = {"prefix", set_prefix, write_prefix, 0},
    [SCHEMA_STRINGS] = {"list of strings", set_string, write_strings, sizeof(const char *)},
    [SCHEMA_PATHS] = {"list of paths", set_path, write_strings, sizeof(const char *)},
    [SCHEMA_PREFIXES] = {"list of prefixes", set_prefix, write_prefixes, sizeof(struct config_prefix)},
    [SCHEMA_SPLITS] = {"map of lists", NULL, write_splits, 0},
    [SCHEMA_RECORDS] = {"list of records", NULL, write_records, 0},
};

/* What every list field looks like: config_strings, config_prefixes, config_splits, config_records. */
struct any_list {
    void *items;
    size_t n;
};
_Static_assert(sizeof(struct any_list) == sizeof(struct config_strings), "");
_Static_assert(offsetof(struct any_list, n) == offsetof(struct config_strings, n), "");
_Static_assert(offsetof(struct any_list, n) == offsetof(struct config_prefixes, n), "");

const char *value_type_name(enum schema_type type)
{
    return types[type].name;
}

bool value_is_list(enum schema_type type)
{
    return types[type].item_size != 0;
}

bool value_is_yaml_only(enum schema_type type)
{
    return types[type].set == NULL;
}

/* Is items[n] one of those before it? */
static bool is_in(const char *const *items, size_t n)
{
    size_t i = 0;
    while (i < n && strcmp(items[i], items[n]) != 0)
        i++;
    return i < n;
}

static enum rc set_list(struct setter *s, const struct value_item *items, size_t n, void *out)
{
    size_t item_size = types[s->row->type].item_size;
    char *array = arena_zalloc(s->arena, n, item_size);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        s->error->line = items[i].line;
        s->error->col = items[i].col;
        if (items[i].text.len == 0)
            continue;
        TRY(types[s->row->type].set(s, items[i].text, array + used * item_size));
        bool is_repeated = s->row->is_name && is_in((const char **)(void *)array, used);
        used += !is_repeated;
    }
    struct any_list list = {array, used};
    memcpy(out, &list, sizeof(list));
    return RC_OK;
}

enum rc value_set(struct arena *a, const struct schema_row *row, const char *base_dir, const struct value_item *items,
                  size_t n, struct config *cfg, struct value_error *error)
{
    struct setter s = {a, row, base_dir, error};
    void *field = (char *)cfg + row->offset;
    *error = (struct value_error){0};
    if (value_is_yaml_only(row->type))
        return refuse(&s, n > 0 ? items[0].text : STR_EMPTY, "must be written in the file as a list or map");
    if (value_is_list(row->type))
        return set_list(&s, items, n, field);
    if (n != 1)
        return refuse(&s, STR_EMPTY, "must be one value");
    error->line = items[0].line;
    error->col = items[0].col;
    return types[row->type].set(&s, items[0].text, field);
}

static enum rc refuse_at(struct setter *s, const struct yaml *at, const char *wanted)
{
    s->error->line = at->line;
    s->error->col = at->col;
    if (at->type == YAML_SCALAR && at->text.len > 0)
        return refuse(s, at->text, wanted);
    snprintf(s->error->why, sizeof(s->error->why), "%s", wanted);
    return RC_INVALID;
}

static enum rc set_servers(struct setter *s, const struct yaml *value, struct config_strings *out)
{
    struct value_item *items = mem_zalloc(value->n + 1, sizeof(*items));
    size_t n = 0;
    if (value->type == YAML_SCALAR)
        items[n++] = (struct value_item){value->text, value->line, value->col};
    YAML_EACH (it, value) {
        if (value->type == YAML_MAP || (it->type != YAML_SCALAR && it->type != YAML_NULL)) {
            mem_free(items);
            return refuse_at(s, it, "must have a list of resolvers for each domain");
        }
        items[n++] = (struct value_item){it->type == YAML_SCALAR ? it->text : STR_EMPTY, it->line, it->col};
    }
    /* The element setter is that of a list of strings; only the check comes from this row. */
    struct schema_row row = *s->row;
    row.type = SCHEMA_STRINGS;
    struct setter element = *s;
    element.row = &row;
    enum rc rc = set_list(&element, items, n, out);
    mem_free(items);
    return rc;
}

static enum rc set_splits(struct setter *s, const struct yaml *value, struct config_splits *out)
{
    if (value->type != YAML_MAP)
        return refuse_at(s, value, "must be a map from domain to a list of resolvers");
    struct config_split *splits = arena_zalloc(s->arena, value->n, sizeof(*splits));
    size_t n = 0;
    YAML_EACH (it, value) {
        struct str domain = it->key;
        if (domain.len > 0 && domain.p[domain.len - 1] == '.')
            domain.len--;
        if (!schema_is_domain(domain))
            return refuse_at(s, it, "must have DNS names as keys");
        TRY(set_servers(s, it, &splits[n].servers));
        splits[n].domain = lower_case(s->arena, domain);
        for (size_t i = 0; i < n; i++) {
            if (strcmp(splits[i].domain, splits[n].domain) == 0)
                return refuse_at(s, it, arena_printf(s->arena, "has the domain %s twice", splits[n].domain));
        }
        n += splits[n].servers.n > 0;
    }
    *out = (struct config_splits){splits, n};
    return RC_OK;
}

static const char *member_text(struct setter *s, const struct yaml *record, const char *name)
{
    const struct yaml *member = yaml_get(record, name);
    return member != NULL && member->type == YAML_SCALAR ? arena_str(s->arena, member->text).p : "";
}

static enum rc set_record(struct setter *s, const struct yaml *value, struct config_record *out)
{
    if (value->type != YAML_MAP)
        return refuse_at(s, value, "must be a list of {name, type, value}");
    YAML_EACH (it, value) {
        if (!str_eq_c(it->key, "name") && !str_eq_c(it->key, "type") && !str_eq_c(it->key, "value"))
            return refuse_at(s, it, "must have the members name, type and value only");
    }
    out->name = member_text(s, value, "name");
    out->type = member_text(s, value, "type");
    out->value = member_text(s, value, "value");
    struct str name = str_c(out->name);
    if (name.len > 0 && name.p[name.len - 1] == '.')
        name.len--;
    if (!schema_is_domain(name))
        return refuse_at(s, value, "must have a DNS name as name");
    struct addr ip;
    uint8_t family = strcmp(out->type, "A") == 0 ? 4 : strcmp(out->type, "AAAA") == 0 ? 6 : 0;
    if (family == 0)
        return refuse_at(s, value, "must have the type A or AAAA, others are not answered by clients");
    if (addr_parse_ip(str_c(out->value), &ip) != RC_OK || ip.family != family)
        return refuse_at(s, value,
                         family == 4 ? "must have an IPv4 address as value" : "must have an IPv6 address as value");
    out->name = lower_case(s->arena, name);
    return RC_OK;
}

static bool is_same_record(const struct config_record *a, const struct config_record *b)
{
    struct addr ip, other;
    return strcmp(a->name, b->name) == 0 && addr_parse_ip(str_c(a->value), &ip) == RC_OK &&
           addr_parse_ip(str_c(b->value), &other) == RC_OK && addr_eq(&ip, &other);
}

static enum rc set_records(struct setter *s, const struct yaml *value, struct config_records *out)
{
    bool is_lone = value->type == YAML_MAP;
    if (value->type != YAML_SEQ && !is_lone)
        return refuse_at(s, value, "must be a list of {name, type, value}");
    struct config_record *records = arena_zalloc(s->arena, value->n + 1, sizeof(*records));
    size_t n = 0;
    for (const struct yaml *it = is_lone ? value : value->first; it != NULL; it = is_lone ? NULL : it->next) {
        TRY(set_record(s, it, &records[n]));
        size_t i = 0;
        while (i < n && !is_same_record(&records[i], &records[n]))
            i++;
        n += i == n;
    }
    *out = (struct config_records){records, n};
    return RC_OK;
}

enum rc value_set_yaml(struct arena *a, const struct schema_row *row, const struct yaml *value, struct config *cfg,
                       struct value_error *error)
{
    struct setter s = {a, row, "", error};
    void *field = (char *)cfg + row->offset;
    *error = (struct value_error){0};
    return row->type == SCHEMA_SPLITS ? set_splits(&s, value, field) : set_records(&s, value, field);
}

void value_write(const struct schema_row *row, const struct config *cfg, struct json_writer *w)
{
    if (row->is_secret)
        json_w_cstr(w, "(secret)");
    else
        types[row->type].write(row, (const char *)cfg + row->offset, w);
}

void value_format_duration(int64_t ms, char out[48])
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t n = 0;
    out[0] = '0';
    out[1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (ms / units[i].ms > 0)
            n += (size_t)snprintf(out + n, 48 - n, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
        ms %= units[i].ms;
    }
}
