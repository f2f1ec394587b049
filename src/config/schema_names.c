/* Names of keys: finding a row, the nearest of an unknown name, the variable of the environment. */
#include <ctype.h>
#include <strings.h>

#include "config/schema_internal.h"

const struct schema_row *schema_find(struct str name)
{
    for (size_t i = 0; i < schema_rows_n; i++) {
        if (str_eq_ci(str_c(schema_rows[i].name), name))
            return &schema_rows[i];
    }
    return NULL;
}

size_t schema_index(const char *name)
{
    return (size_t)(schema_find(str_c(name)) - schema_rows);
}

const struct schema_old *schema_find_old(struct str name)
{
    for (size_t i = 0; i < schema_olds_n; i++) {
        struct str pattern = str_c(schema_olds[i].name);
        bool is_whole_group = str_ends(pattern, STR(".*"));
        if (is_whole_group)
            pattern.len -= 2;
        if (str_eq_ci(pattern, name))
            return &schema_olds[i];
        if (is_whole_group && name.len > pattern.len && name.p[pattern.len] == '.' &&
            str_eq_ci(pattern, str_n(name.p, pattern.len)))
            return &schema_olds[i];
    }
    return NULL;
}

static bool is_below(const char *row_name, struct str group)
{
    struct str row = str_c(row_name);
    return row.len > group.len && row.p[group.len] == '.' && str_eq_ci(str_n(row.p, group.len), group);
}

bool schema_is_group(struct str name)
{
    for (size_t i = 0; i < schema_rows_n; i++) {
        if (is_below(schema_rows[i].name, name))
            return true;
    }
    for (size_t i = 0; i < schema_olds_n; i++) {
        if (is_below(schema_olds[i].name, name))
            return true;
    }
    return false;
}

struct nearest {
    struct str name;
    size_t distance;
};

static void consider(struct nearest *best, struct str name, struct str candidate)
{
    size_t apart = name.len < candidate.len ? candidate.len - name.len : name.len - candidate.len;
    if (apart > best->distance)
        return; /* no nearer than that: most are not compared */
    size_t distance = str_distance(name, candidate);
    if (distance > best->distance || (distance == best->distance && best->name.len > 0))
        return;
    *best = (struct nearest){candidate, distance};
}

/* The key was put on the wrong level: derp.listen_addr. */
static struct str same_last_part(struct str name)
{
    struct str found = STR_EMPTY;
    long dot = str_index(name, '.');
    size_t last = name.len;
    while (last > 0 && name.p[last - 1] != '.')
        last--;
    struct str group = str_n(name.p, dot > 0 ? (size_t)dot : 0);
    struct str part = str_n(name.p + last, name.len - last);
    for (size_t i = 0; i < schema_rows_n && part.len > 0; i++) {
        struct str row = str_c(schema_rows[i].name);
        bool ends_so = row.len > part.len && row.p[row.len - part.len - 1] == '.' &&
                       str_eq_ci(str_n(row.p + row.len - part.len, part.len), part);
        if (!ends_so || (group.len > 0 && !is_below(schema_rows[i].name, group)))
            continue;
        if (found.len > 0)
            return STR_EMPTY;
        found = row;
    }
    return found;
}

/* The first key that goes on where `name` ends: tls_cert. */
static struct str longer_than(struct str name)
{
    for (size_t i = 0; i < schema_rows_n && name.len >= 5; i++) {
        if (strncasecmp(schema_rows[i].name, name.p, name.len) == 0)
            return str_c(schema_rows[i].name);
    }
    return STR_EMPTY;
}

struct str schema_nearest(struct str name)
{
    struct nearest best = {STR_EMPTY, name.len / 3 + 1};
    struct str moved = same_last_part(name);
    if (moved.len > 0 && str_index(name, '.') > 0)
        return moved;
    for (size_t i = 0; i < schema_rows_n; i++) {
        struct str row = str_c(schema_rows[i].name);
        consider(&best, name, row);
        for (size_t k = 0; k < row.len; k++) {
            if (row.p[k] == '.')
                consider(&best, name, str_n(row.p, k));
        }
    }
    if (best.name.len == 0)
        best.name = moved;
    return best.name.len > 0 ? best.name : longer_than(name);
}

void schema_env_name(const struct schema_row *row, char out[SCHEMA_ENV_CAP])
{
    size_t n = sizeof(SCHEMA_ENV_PREFIX) - 1;
    memcpy(out, SCHEMA_ENV_PREFIX, n);
    for (const char *p = row->name; *p != '\0' && n + 1 < SCHEMA_ENV_CAP; p++)
        out[n++] = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
    out[n] = '\0';
}

bool schema_is_delicate(struct str name)
{
    static const char *const heads[] = {"polic",        "acl",         "derp", "relay",    "noise", "tls",
                                        "trusted_prox", "unix_socket", "node", "prefixes", "limits"};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        size_t n = strlen(heads[i]);
        if (name.len >= n && str_eq_ci(str_n(name.p, n), str_c(heads[i])))
            return true;
    }
    return false;
}

bool schema_is_misspelt_delicate(struct str name, struct str near, bool is_map)
{
    enum { SHORT_LEN = 5, LONG_LEN = 10 };
    if (name.len == 0 || near.len == 0 || !schema_is_delicate(near) ||
        tolower((unsigned char)name.p[0]) != tolower((unsigned char)near.p[0]))
        return false;
    if (near.len <= SHORT_LEN && !is_map)
        return false;
    return str_distance(name, near) <= (near.len >= LONG_LEN ? 3 : 1);
}
