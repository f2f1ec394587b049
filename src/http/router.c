/* Finds the route of a request. */
#include <stdio.h>

#include "http/http_internal.h"

static struct str cut_segment(struct str *rest)
{
    struct str segment = *rest;
    long slash = str_index(*rest, '/');
    if (slash >= 0)
        segment.len = (size_t)slash;
    *rest = str_n(rest->p + segment.len, rest->len - segment.len);
    return segment;
}

static size_t common_prefix(struct str a, struct str b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.p[n] == b.p[n] && a.p[n] != '{' && a.p[n] != '*')
        n++;
    return n;
}

/* Raw (still encoded) parameters go to `params`. */
static bool path_fits(struct str pattern, struct str path, struct str params[HTTP_MAX_PARAMS], size_t *params_n)
{
    *params_n = 0;
    for (;;) {
        size_t same = common_prefix(pattern, path);
        pattern = str_n(pattern.p + same, pattern.len - same);
        path = str_n(path.p + same, path.len - same);
        if (pattern.len == 0)
            return path.len == 0;
        if (*params_n == HTTP_MAX_PARAMS)
            return false;
        if (pattern.p[0] == '*') {
            params[(*params_n)++] = path;
            return true;
        }
        if (pattern.p[0] != '{')
            return false;
        struct str value = cut_segment(&path);
        if (value.len == 0)
            return false;
        cut_segment(&pattern);
        params[(*params_n)++] = value;
    }
}

static unsigned methods_of(const struct http_route *route)
{
    return route->methods | ((route->methods & HTTP_GET) != 0 ? HTTP_HEAD : 0);
}

/* 1: the path is the row's, 0: it is not, -1: it would be, but has a bad escape. */
static int match_row(const struct http_route *row, struct http_exchange *ex, unsigned *allowed)
{
    struct str params[HTTP_MAX_PARAMS] = {0};
    size_t params_n;
    if (!path_fits(str_c(row->path), ex->req.path, params, &params_n))
        return 0;
    if ((methods_of(row) & ex->req.method) == 0) {
        *allowed |= methods_of(row);
        return 0;
    }
    for (size_t i = 0; i < params_n; i++) {
        if (!http_percent_decode(&ex->arena, params[i], false, &ex->req.params[i]))
            return -1;
    }
    return 1;
}

bool router_match(const struct http_server *server, struct http_exchange *ex, unsigned *allowed_out)
{
    *allowed_out = 0;
    LIST_EACH (it, &server->tables) {
        const struct http_table *table = LIST_ENTRY(it, struct http_table, link);
        for (size_t i = 0; i < table->n; i++) {
            int matches = match_row(&table->rows[i], ex, allowed_out);
            if (matches < 0)
                return false;
            if (matches == 0)
                continue;
            *allowed_out = 0;
            ex->route = &table->rows[i];
            ex->app = table->app;
            return true;
        }
    }
    return false;
}

void router_allow_text(unsigned methods, char *out, size_t out_cap)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if ((methods & 1u << i) != 0 && at < out_cap)
            at += (size_t)snprintf(out + at, out_cap - at, "%s%s", at > 0 ? ", " : "", names[i]);
    }
}
