/* Finding the route of a request, and reading its header and query. */
#include <stdio.h>

#include "http/http_internal.h"

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].status == status)
            return table[i].text;
    }
    return "Status";
}

/* --- reading --- */

bool http_header(const struct http_request *req, const char *name, struct str *out)
{
    for (size_t i = 0; i < req->headers_n; i++) {
        if (!str_eq_ci(req->headers[i].name, str_c(name)))
            continue;
        if (out != NULL)
            *out = req->headers[i].value;
        return true;
    }
    return false;
}

static bool list_has(struct str list, const char *token)
{
    struct str item;
    bool more = true;
    while (more) {
        more = str_cut(list, ',', &item, &list);
        if (str_eq_ci(str_trim(item), str_c(token)))
            return true;
    }
    return false;
}

bool http_header_has_token(const struct http_request *req, const char *name, const char *token)
{
    for (size_t i = 0; i < req->headers_n; i++) {
        if (str_eq_ci(req->headers[i].name, str_c(name)) && list_has(req->headers[i].value, token))
            return true;
    }
    return false;
}

bool percent_decode(struct arena *arena, struct str in, bool plus, struct str *out)
{
    char *p = arena_alloc(arena, in.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.p[i];
        if (c == '+' && plus) {
            c = ' ';
        } else if (c == '%') {
            uint8_t byte;
            if (in.len - i < 3 || hex_decode(str_n(in.p + i + 1, 2), &byte, 1) != RC_OK || byte == 0)
                return false;
            c = (char)byte;
            i += 2;
        }
        p[n++] = c;
    }
    p[n] = '\0';
    *out = str_n(p, n);
    return true;
}

bool http_query(struct http_exchange *ex, const char *name, struct str *out)
{
    struct str rest = ex->req.query;
    struct str pair;
    bool more = true;
    while (more) {
        struct str key;
        struct str value;
        more = str_cut(rest, '&', &pair, &rest);
        str_cut(pair, '=', &key, &value);
        if (str_eq_c(key, name))
            return percent_decode(&ex->arena, value, true, out);
    }
    return false;
}

/* --- matching --- */

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

const struct http_route *router_match(const struct http_route *routes, size_t n, struct http_exchange *ex,
                                      unsigned *allowed_out)
{
    *allowed_out = 0;
    for (size_t i = 0; i < n; i++) {
        struct str params[HTTP_MAX_PARAMS] = {0};
        size_t params_n;
        if (!path_fits(str_c(routes[i].path), ex->req.path, params, &params_n))
            continue;
        if ((methods_of(&routes[i]) & ex->req.method) == 0) {
            *allowed_out |= methods_of(&routes[i]);
            continue;
        }
        for (size_t k = 0; k < params_n; k++) {
            if (!percent_decode(&ex->arena, params[k], false, &ex->req.params[k]))
                return NULL;
        }
        *allowed_out = 0;
        return &routes[i];
    }
    return NULL;
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
