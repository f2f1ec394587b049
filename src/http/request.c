/* What a handler may look at: the request, its headers and its query. */
#include "http/http_internal.h"

const struct http_request *http_request(const struct http_exchange *ex)
{
    return &ex->req;
}

struct arena *http_arena(struct http_exchange *ex)
{
    return &ex->arena;
}

struct loop *http_loop(const struct http_exchange *ex)
{
    return http_server_options(ex->conn->server)->loop;
}

const void *http_route_arg(const struct http_exchange *ex)
{
    return ex->route->arg;
}

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

bool http_percent_decode(struct arena *arena, struct str in, bool plus, struct str *out)
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
            return http_percent_decode(&ex->arena, value, true, out);
    }
    return false;
}
