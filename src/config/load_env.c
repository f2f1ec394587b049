/* Keys of the environment: FULLSCALE_*, and HEADSCALE_* for servers that replace Headscale. */
#include <ctype.h>

#include "config/load_internal.h"
#include "config/value_internal.h"

/* `name` is without the prefix. */
static const struct schema_row *row_of_env(struct str name)
{
    char env[SCHEMA_ENV_CAP];
    for (size_t i = 0; i < schema_rows_n; i++) {
        schema_env_name(&schema_rows[i], env);
        if (str_eq_c(name, env + strlen(SCHEMA_ENV_PREFIX)))
            return &schema_rows[i];
    }
    return NULL;
}

/* `rest` is what follows the name of a Service. The port of a Service is a URL; a number is meant as a key. */
static bool is_service_part(struct str rest, struct str value)
{
    static const char *const protocols[] = {"tcp://", "udp://", "sctp://"};
    static const char *const ends[] = {"_TCP", "_UDP", "_SCTP"};
    size_t i = strlen("PORT_");
    if (str_eq_c(rest, "SERVICE_HOST") || str_eq_c(rest, "SERVICE_PORT") || str_starts(rest, STR("SERVICE_PORT_")))
        return true;
    for (size_t k = 0; k < ARRAY_LEN(protocols) && str_eq_c(rest, "PORT"); k++)
        if (str_starts(value, str_c(protocols[k])))
            return true;
    if (!str_starts(rest, STR("PORT_")))
        return false;
    while (i < rest.len && isdigit((unsigned char)rest.p[i]))
        i++;
    struct str after = str_n(rest.p + i, rest.len - i);
    for (size_t k = 0; k < ARRAY_LEN(ends) && i > strlen("PORT_"); k++) {
        size_t n = strlen(ends[k]);
        if (str_starts(after, str_c(ends[k])) && (after.len == n || after.p[n] == '_'))
            return true;
    }
    return false;
}

/* Whether Kubernetes has set the variable, for a Service with the name of the program or of a part of it:
 * fullscale-derp. */
static bool is_of_kubernetes(struct str name, struct str value)
{
    for (size_t i = 0; i < name.len; i++) {
        bool is_start = i == 0 || name.p[i - 1] == '_';
        if (is_start && is_service_part(str_n(name.p + i, name.len - i), value))
            return true;
    }
    return false;
}

static void take_unknown_env(struct loader *l, struct str name)
{
    char env[SCHEMA_ENV_CAP];
    char best[SCHEMA_ENV_CAP] = "";
    size_t best_distance = 6;
    for (size_t i = 0; i < schema_rows_n; i++) {
        schema_env_name(&schema_rows[i], env);
        size_t distance = str_distance(name, str_c(env));
        if (distance < best_distance) {
            best_distance = distance;
            memcpy(best, env, sizeof(best));
        }
    }
    struct str near = str_c(best[0] != '\0' ? best + strlen(SCHEMA_ENV_PREFIX) : best);
    struct str rest = str_n(name.p + strlen(SCHEMA_ENV_PREFIX), name.len - strlen(SCHEMA_ENV_PREFIX));
    bool is_error = !l->src->is_client && (schema_is_delicate(rest) || schema_is_misspelt_delicate(rest, near, false));
    loader_note(l, is_error, 0, 0, "unknown environment variable %.*s%s%s%s%s", name.len > 80 ? 80 : (int)name.len,
                name.p, is_error ? "" : " is ignored", best[0] != '\0' ? ": did you mean " : "", best,
                best[0] != '\0' ? "?" : "");
}

static void set_from_env(struct loader *l, const struct schema_row *row, struct str name, struct str value)
{
    l->origins[row - schema_rows] = (struct origin){
        .is_set = true, .is_env = true, .env = arena_str(&l->out->arena, name).p};
    loader_set_text(l, row, row->name, "", (struct value_item){value, 0, 0});
}

/* Variables of commands, which are no keys of the configuration. */
static bool is_for_commands(struct str name)
{
    static const char *const names[] = {"FULLSCALE_CONFIG", "FULLSCALE_RELAY_KEY", "FULLSCALE_BENCH_AUTHKEY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_c(name, names[i]))
            return true;
    return false;
}

void loader_take_env(struct loader *l)
{
    struct str prefix = STR(SCHEMA_ENV_PREFIX);
    for (const char *const *var = l->src->env; var != NULL && *var != NULL; var++) {
        struct str name;
        struct str value;
        if (!str_cut(str_c(*var), '=', &name, &value) || !str_starts(name, prefix) || value.len == 0 ||
            is_for_commands(name))
            continue;
        struct str rest = str_n(name.p + prefix.len, name.len - prefix.len);
        const struct schema_row *row = row_of_env(rest);
        if (row != NULL)
            set_from_env(l, row, name, value);
        else if (!is_of_kubernetes(rest, value))
            take_unknown_env(l, name);
    }
}

/* --- Headscale's environment --- */

static const struct schema_old *old_of_env(struct str rest)
{
    char key[SCHEMA_ENV_CAP];
    for (size_t i = 0; i < schema_olds_n; i++) {
        struct str pattern = str_c(schema_olds[i].name);
        bool is_group = str_ends(pattern, STR(".*"));
        pattern.len -= is_group ? 1 : 0; /* its dot becomes '_' */
        for (size_t k = 0; k < pattern.len; k++)
            key[k] = pattern.p[k] == '.' ? '_' : (char)toupper((unsigned char)pattern.p[k]);
        if (is_group ? str_starts(rest, str_n(key, pattern.len)) : str_eq(rest, str_n(key, pattern.len)))
            return &schema_olds[i];
    }
    return NULL;
}

static void note_headscale(struct loader *l, struct str name, const char *what)
{
    loader_note(l, false, 0, 0, "environment variable %.*s %s", name.len > 80 ? 80 : (int)name.len, name.p, what);
}

static void take_headscale_var(struct loader *l, struct str name, struct str rest, struct str value)
{
    const struct schema_row *row = row_of_env(rest);
    const struct schema_old *old = row == NULL ? old_of_env(rest) : NULL;
    if (old != NULL && old->kind == SCHEMA_OLD_MOVED)
        row = schema_find(str_c(old->now));
    const struct origin *origin = row != NULL ? &l->origins[row - schema_rows] : NULL;
    if (row != NULL && value_is_yaml_only(row->type)) {
        note_headscale(l, name, "is ignored: it can only be written in the file");
    } else if (row != NULL && origin->is_set && !origin->is_env) {
        note_headscale(l, name,
                       arena_printf(&l->out->arena, "is ignored: the file sets %s (line %d)", row->name, origin->line));
    } else if (row != NULL && !origin->is_env) {
        set_from_env(l, row, name, value);
        note_headscale(l, name, arena_printf(&l->out->arena, "is read as %s", row->name));
    } else if (row != NULL) {
        note_headscale(l, name, arena_printf(&l->out->arena, "is ignored: FULLSCALE_%.*s is set", STR_ARG(rest)));
    } else if (old != NULL && old->note != NULL && (old->harmless == NULL || !str_eq_c(value, old->harmless))) {
        note_headscale(l, name, arena_printf(&l->out->arena, "is ignored: %s", old->note));
    } else if (old == NULL) {
        note_headscale(l, name,
                       str_eq(rest, STR("CONFIG")) ? "is ignored: FULLSCALE_CONFIG or --config names the file"
                                                   : "is ignored: it means nothing here");
    }
}

/* Read after FULLSCALE_* and the file, which take precedence: the environment of a Headscale container may stay as
 * it is. */
void loader_take_headscale_env(struct loader *l)
{
    struct str prefix = STR("HEADSCALE_");
    for (const char *const *var = l->src->env; var != NULL && *var != NULL && !l->src->is_client; var++) {
        struct str name;
        struct str value;
        if (!str_cut(str_c(*var), '=', &name, &value) || !str_starts(name, prefix) || value.len == 0)
            continue;
        struct str rest = str_n(name.p + prefix.len, name.len - prefix.len);
        if (!is_of_kubernetes(rest, value))
            take_headscale_var(l, name, rest, value);
    }
}
