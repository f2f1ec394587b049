/* Gathers values from file and environment into the struct, by the table. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "codec/json.h"
#include "config/load_internal.h"
#include "config/value_internal.h"

enum { LAST_START_MAX_BYTES = 16 * 1024 };

static const char *const search_path[] = {"/etc/fullscale/config.yaml", "config.yaml"};

/* --- notes --- */

static void note_add(struct loader *l, bool is_error, const char *file, int line, int col, const char *text)
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
    note_add(l, is_error, l->out->path, line, col, text);
}

static size_t row_index(const char *name)
{
    return (size_t)(schema_find(str_c(name)) - schema_rows);
}

bool loader_is_set(const struct loader *l, const char *row_name)
{
    return l->origins[row_index(row_name)].is_set;
}

void loader_note_row(struct loader *l, bool is_error, const char *row_name, const char *fmt, ...)
{
    char text[512];
    size_t i = row_index(row_name);
    int n = snprintf(text, sizeof(text), "%s ", row_name);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, args);
    va_end(args);
    note_add(l, is_error,
             l->origins[i].is_env   ? l->origins[i].env
             : l->origins[i].is_set ? l->out->path
                                    : NULL,
             l->origins[i].line, l->origins[i].col, text);
}

/* --- values --- */

static void set_items(struct loader *l, const struct schema_row *row, const char *name, const char *base_dir,
                      const struct value_item *items, size_t n)
{
    struct value_error error;
    if (value_set(&l->out->arena, row, base_dir, items, n, &l->out->cfg, &error) == RC_OK)
        return;
    struct origin *origin = &l->origins[row - schema_rows];
    char text[512];
    snprintf(text, sizeof(text), "%s %s", name, error.why);
    note_add(l, true, origin->is_env ? origin->env : l->out->path, error.line > 0 ? error.line : origin->line,
             error.line > 0 ? error.col : origin->col, text);
    origin->is_set = false;
}

/* "" stands for the default, except where it means off. */
static bool is_unset(const struct schema_row *row, struct str text)
{
    return text.len == 0 && row->type != SCHEMA_LISTEN && row->type != SCHEMA_PREFIX;
}

/* Splits at spaces and commas. `items` takes (text.len + 1) / 2 of them. */
static size_t split_items(struct str text, int line, int col, struct value_item *items)
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

static void set_text(struct loader *l, const struct schema_row *row, const char *name, const char *base_dir,
                     struct value_item item)
{
    if (!value_is_list(row->type)) {
        set_items(l, row, name, base_dir, &item, 1);
        return;
    }
    struct value_item *items = mem_zalloc(item.text.len / 2 + 1, sizeof(*items));
    size_t n = split_items(item.text, item.line, item.col, items);
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

/* An empty container means nothing, whatever kind the key wants. */
static bool is_empty(const struct yaml *value)
{
    return value->type == YAML_NULL || (value->type == YAML_SCALAR ? value->text.len == 0 : value->n == 0);
}

/* `name` is as the file has it: an old name, perhaps. */
static void set_from_file(struct loader *l, const struct schema_row *row, const char *name, const struct yaml *value)
{
    struct origin *origin = &l->origins[row - schema_rows];
    if (value->type == YAML_SCALAR ? is_unset(row, value->text) : is_empty(value))
        return;
    if (origin->is_set) {
        loader_note(l, true, value->key_line, value->key_col, "%s is set twice", name);
        return;
    }
    *origin = (struct origin){.is_set = true, .line = value->line, .col = value->col};
    if (value_is_yaml_only(row->type))
        set_composite(l, row, name, value);
    else if (value->type == YAML_SCALAR)
        set_text(l, row, name, l->base_dir, (struct value_item){value->text, value->line, value->col});
    else if (value->type == YAML_SEQ && value_is_list(row->type))
        set_sequence(l, row, name, value);
    else
        loader_note(l, true, value->line, value->col, "%s must be %s %s", name, article(row),
                    value_type_name(row->type));
}

/* --- the file --- */

static bool is_harmless(const struct schema_old *old, const struct yaml *value)
{
    return is_empty(value) ||
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

/* "policy.mode, policy.path": what there is where `name` was written. */
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

/* Is `name` beyond doubt `near`, which is about access? Many a harmless word is like a short one: `note` is no `node`, and
 * a group holds keys. */
static bool is_misspelt_delicate(struct str name, struct str near, bool is_map)
{
    enum { SHORT_LEN = 5, LONG_LEN = 10 };
    if (name.len == 0 || near.len == 0 || !schema_is_delicate(near) ||
        tolower((unsigned char)name.p[0]) != tolower((unsigned char)near.p[0]))
        return false;
    if (near.len <= SHORT_LEN && !is_map)
        return false;
    return str_distance(name, near) <= (near.len >= LONG_LEN ? 3 : 1);
}

/* What is misspelt where it says who may do what would leave open what was meant to be closed: that is an error. */
static void take_unknown(struct loader *l, const char *name, const struct yaml *value)
{
    struct str near = schema_nearest(str_c(name));
    bool is_error = !l->src->is_client && (schema_is_delicate(str_c(name)) ||
                                           is_misspelt_delicate(str_c(name), near, value->type == YAML_MAP));
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
            set_from_file(l, row, row->name, it);
        else if (is_empty(it) && schema_is_group(str_c(name)))
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
        set_from_file(l, schema_find(str_c(name)), "ip_prefixes", value);
}

/* Both families in one list, before 0.23; or one of them. */
static void take_ip_prefixes(struct loader *l, const struct yaml *value)
{
    YAML_EACH (it, value) {
        if (it->type == YAML_SCALAR)
            take_ip_prefix(l, it);
        else if (!is_empty(it))
            loader_note(l, true, it->line, it->col, "ip_prefixes must be a list of prefixes");
    }
    if (value->type != YAML_SCALAR)
        return;
    struct value_item *items = arena_zalloc(&l->out->arena, value->text.len / 2 + 1, sizeof(*items));
    size_t n = split_items(value->text, value->line, value->col, items);
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
            set_from_file(l, row, use->old->name, use->value);
    }
}

static void take_file(struct loader *l, struct str text)
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

/* --- the environment --- */

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

/* `rest` is what follows the name of a Service. Its port is a URL there: who wrote a number meant a key. */
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

/* What Kubernetes puts into each container for a Service that is called like the program, or like a part of it:
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
    bool is_error = !l->src->is_client && (schema_is_delicate(rest) || is_misspelt_delicate(rest, near, false));
    loader_note(l, is_error, 0, 0, "unknown environment variable %.*s%s%s%s%s", name.len > 80 ? 80 : (int)name.len,
                name.p, is_error ? "" : " is ignored", best[0] != '\0' ? ": did you mean " : "", best,
                best[0] != '\0' ? "?" : "");
}

static void set_from_env(struct loader *l, const struct schema_row *row, struct str name, struct str value)
{
    l->origins[row - schema_rows] = (struct origin){
        .is_set = true, .is_env = true, .env = arena_str(&l->out->arena, name).p};
    set_text(l, row, row->name, "", (struct value_item){value, 0, 0});
}

/* No keys of the configuration. */
static bool is_for_commands(struct str name)
{
    static const char *const names[] = {"FULLSCALE_CONFIG", "FULLSCALE_RELAY_KEY", "FULLSCALE_BENCH_AUTHKEY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_c(name, names[i]))
            return true;
    return false;
}

static void take_env(struct loader *l)
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
        pattern.len -= is_group ? 1 : 0; /* its dot becomes the line below */
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

/* After ours and the file, which win. Who moves here may leave the container's environment as it is. */
static void take_headscale_env(struct loader *l)
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

/* --- defaults --- */

static bool is_wildcard(const struct addr *a)
{
    static const uint8_t zeros[16];
    return memcmp(a->ip, zeros, a->family == 4 ? 4 : 16) == 0;
}

/* http://ADDRESS:PORT of this machine, from where it listens. */
static const char *default_server_url(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    bool is_https = cfg->tls_cert_path[0] != '\0';
    char host[ADDR_TEXT_CAP] = "127.0.0.1";
    if (!is_wildcard(&cfg->listen_addr.addr))
        addr_format(&cfg->listen_addr.addr, false, host);
    else if (l->src->primary_ip[0] != '\0')
        memcpy(host, l->src->primary_ip, sizeof(host));
    bool is_v6 = strchr(host, ':') != NULL;
    const char *url = arena_printf(&l->out->arena, "%s://%s%s%s", is_https ? "https" : "http", is_v6 ? "[" : "", host,
                                   is_v6 ? "]" : "");
    if (cfg->listen_addr.addr.port == (is_https ? 443 : 80))
        return url;
    return arena_printf(&l->out->arena, "%s:%u", url, cfg->listen_addr.addr.port);
}

/* A certificate that clients trust anyway serves the relay too, and so does a proxy that has one: it may publish nothing
 * else than server_url. A certificate or a name that is the relay's alone tells that it has a port of its own. */
static bool is_relay_at_main_port(const struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    if (loader_is_set(l, "derp.server.tls_cert_path") || l->src->is_relay)
        return false;
    if (cfg->tls_cert_path[0] != '\0')
        return true;
    char host[CONFIG_HOST_CAP];
    config_url_host(cfg->server_url, host);
    bool has_own_name = loader_is_set(l, "derp.server.hostname") &&
                        !str_eq_ci(str_c(host), str_c(cfg->derp_server_hostname));
    return config_is_behind_proxy(cfg) && !has_own_name;
}

/* The URL that was guessed at the first start, if it differs from this one only in the address; else null. A guess without a
 * network was none. */
static const char *remembered_url(struct loader *l, const char *guess)
{
    const char *path = arena_printf(&l->out->arena, "%s/%s", l->out->cfg.state_dir, CONFIG_LAST_START);
    struct buf text = {0};
    const struct json *root;
    const char *found = NULL;
    struct str url;
    struct schema_url old, now;
    struct addr ip;
    bool was_guessed = false;
    if (file_read(path, LAST_START_MAX_BYTES, &text, NULL) == RC_OK &&
        json_parse(&l->out->arena, buf_str(&text), NULL, &root, NULL) == RC_OK &&
        json_bool(json_get(root, "guessed"), &was_guessed) && was_guessed &&
        json_str(json_get(root, "server_url"), &url) && schema_url_parse(url, &old) &&
        schema_url_parse(str_c(guess), &now) && old.is_https == now.is_https && old.port == now.port)
        found = addr_parse_ip(old.host, &ip) == RC_OK && !addr_is_loopback(&ip) ? arena_str(&l->out->arena, url).p
                                                                                : NULL;
    buf_fini(&text);
    return found;
}

static const char *guess_or_remember_url(struct loader *l)
{
    const char *guess = default_server_url(l);
    const char *remembered = l->src->is_relay ? NULL : remembered_url(l, guess);
    return remembered != NULL ? remembered : guess;
}

/* Beside the file, wherever the program is started. Older versions made it in the working directory. */
static const char *default_state_dir(struct loader *l)
{
    static const char name[] = "fullscale-data";
    if (l->src->is_root)
        return "/var/lib/fullscale";
    if (l->base_dir[0] == '\0')
        return name;
    const char *beside = arena_printf(&l->out->arena, "%s/%s", l->base_dir, name);
    return access(beside, F_OK) != 0 && access(name, F_OK) == 0 ? name : beside;
}

static const char *expand(struct loader *l, const char *def)
{
    struct str rest = str_c(def);
    bool is_root = l->src->is_root;
    if (str_eq_c(rest, "{server_url}"))
        return guess_or_remember_url(l);
    if (str_eq_c(rest, "{state_dir}"))
        return default_state_dir(l);
    if (str_starts(rest, STR("{state_dir}/")))
        return arena_printf(&l->out->arena, "%s%s", l->out->cfg.state_dir, def + 11);
    if (str_eq_c(rest, "{derp_listen}"))
        return is_relay_at_main_port(l) ? "" : "[::]:8443";
    if (str_starts(rest, STR("{run_dir}/")))
        return arena_printf(&l->out->arena, "%s%s", is_root ? "/run/fullscale" : l->out->cfg.state_dir, def + 9);
    return def;
}

static void take_defaults(struct loader *l)
{
    const struct schema_row *first = schema_find(STR("state_dir")); /* server_url may be remembered there */
    for (size_t i = 0; i <= schema_rows_n; i++) {
        const struct schema_row *row = i == 0 ? first : &schema_rows[i - 1];
        if (l->origins[row - schema_rows].is_set || value_is_yaml_only(row->type))
            continue;
        set_text(l, row, row->name, "", (struct value_item){str_c(expand(l, row->def)), 0, 0});
    }
}

/* --- what follows from several keys --- */

static void place_relay(struct loader *l)
{
    struct config *cfg = &l->out->cfg;
    struct schema_url url;
    struct config_listen *at = &cfg->derp_server_listen_addr;
    if (!schema_url_parse(str_c(cfg->server_url), &url))
        return;
    if (cfg->derp_server_hostname[0] == '\0')
        cfg->derp_server_hostname = arena_str(&l->out->arena, url.host).p;
    bool has_tls = cfg->tls_cert_path[0] != '\0' || url.is_https;
    if (has_tls && !l->src->is_relay && config_is_same_port(at, &cfg->listen_addr))
        *at = (struct config_listen){.text = ""};
    cfg->derp_public_port = at->addr.family != 0 ? at->addr.port
                            : !url.is_https      ? cfg->listen_addr.addr.port
                            : url.port != 0      ? url.port
                                                 : 443;
}

/* base_domain is searched first anyway. */
static void drop_searched_twice(struct loader *l)
{
    struct config *cfg = &l->out->cfg;
    struct config_strings *domains = &cfg->dns_search_domains;
    size_t n = 0;
    for (size_t i = 0; i < domains->n; i++) {
        if (!cfg->dns_magic_dns || strcmp(domains->items[i], cfg->dns_base_domain) != 0)
            domains->items[n++] = domains->items[i];
    }
    domains->n = n;
}

/* --- reading and the public calls --- */

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

/* The file to read, or null for none. */
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

/* Always gives a result, whose errors_n says whether it may be used. */
static struct loaded *load(const struct config_source *src, struct str yaml, const char *file)
{
    struct loaded *out = MEM_NEW(struct loaded);
    out->notes_end = &out->notes;
    out->path = arena_str(&out->arena, str_c(file)).p;
    struct loader l = {.out = out, .src = src};
    l.base_dir = directory_of(&out->arena, file);
    l.origins = out->origins = arena_zalloc(&out->arena, schema_rows_n, sizeof(*l.origins));
    take_file(&l, yaml);
    take_env(&l);
    take_headscale_env(&l);
    take_defaults(&l);
    place_relay(&l);
    drop_searched_twice(&l);
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

void config_url_host(const char *url, char out[CONFIG_HOST_CAP])
{
    struct schema_url parsed;
    bool ok = schema_url_parse(str_c(url), &parsed) && parsed.host.len < CONFIG_HOST_CAP;
    snprintf(out, CONFIG_HOST_CAP, "%.*s", ok ? (int)parsed.host.len : 0, parsed.host.p);
}

bool config_is_set(const struct config *cfg, const char *key)
{
    return CONTAINER_OF(cfg, const struct loaded, cfg)->origins[row_index(key)].is_set;
}

bool config_is_behind_proxy(const struct config *cfg)
{
    return cfg->tls_cert_path[0] == '\0' && str_starts(str_c(cfg->server_url), STR("https://"));
}

enum rc config_err(const struct config *cfg, const char *key, enum rc code, struct err *err, const char *fmt, ...)
{
    const struct loaded *loaded = CONTAINER_OF(cfg, const struct loaded, cfg);
    const struct origin *origin = &loaded->origins[row_index(key)];
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

/* --- this machine --- */

/* The source address that the kernel would use towards the internet; nothing is sent. */
static bool ip_by_route(char out[ADDR_TEXT_CAP])
{
    struct addr to = {.family = 4, .port = 9, .ip = {192, 0, 2, 1}};
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&to, &ss);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_found = fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0;
    len = sizeof(ss);
    is_found = is_found && getsockname(fd, (struct sockaddr *)&ss, &len) == 0;
    if (fd >= 0)
        close(fd);
    if (!is_found)
        return false;
    addr_from_sockaddr((struct sockaddr *)&ss, &to);
    addr_format(&to, false, out);
    return !addr_is_loopback(&to);
}

static bool ip_by_interface(int family, char out[ADDR_TEXT_CAP])
{
    struct ifaddrs *all = NULL;
    bool is_found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *it = all; it != NULL && !is_found; it = it->ifa_next) {
        if (it->ifa_addr == NULL || it->ifa_addr->sa_family != family || (it->ifa_flags & IFF_UP) == 0 ||
            (it->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        struct addr a;
        addr_from_sockaddr(it->ifa_addr, &a);
        if (a.family == 6 && a.ip[0] == 0xfe && (a.ip[1] & 0xc0) == 0x80)
            continue;
        addr_format(&a, false, out);
        is_found = true;
    }
    freeifaddrs(all);
    return is_found;
}

/* `make run` leaves a link to its data in the build folder: commands of the same checkout mean that server. */
static void find_checkout(char *out, size_t cap)
{
    static const char program[] = "/build/src/fullscale", config[] = "/build/data/config.yaml";
    char exe[512];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe));
    if (n <= 0 || (size_t)n >= sizeof(exe) || !str_ends(str_n(exe, (size_t)n), str_c(program)))
        return;
    int root_len = (int)((size_t)n - strlen(program));
    if (snprintf(out, cap, "%.*s%s", root_len, exe, config) >= (int)cap)
        out[0] = '\0';
}

void config_source_system(const char *path, struct config_source *out)
{
    *out = (struct config_source){.path = path, .env = (const char *const *)environ, .is_root = geteuid() == 0};
    if (!ip_by_route(out->primary_ip) && !ip_by_interface(AF_INET, out->primary_ip) &&
        !ip_by_interface(AF_INET6, out->primary_ip))
        out->primary_ip[0] = '\0';
    find_checkout(out->checkout_path, sizeof(out->checkout_path));
}
