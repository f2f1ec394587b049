/* The hosts in a request: the one that it was sent to, and the client for which a proxy has forwarded it. */
#include "http/http_internal.h"

struct str http_host_of(struct str authority)
{
    struct str host = authority;
    if (host.len > 0 && host.p[0] == '[') {
        const char *end = memchr(host.p, ']', host.len);
        return end != NULL ? str_n(host.p + 1, (size_t)(end - host.p) - 1) : host;
    }
    const char *colon = host.len > 0 ? memchr(host.p, ':', host.len) : NULL;
    if (colon != NULL)
        host.len = (size_t)(colon - host.p);
    if (host.len > 1 && host.p[host.len - 1] == '.')
        host.len--;
    return host;
}

bool http_host_is_ours(const struct http_hosts *hosts, struct str authority)
{
    struct str host = http_host_of(authority);
    struct addr ip;
    /* Browsers always send a name. */
    if (hosts == NULL || authority.len == 0 || str_eq_ci(host, STR("localhost")) || addr_parse_ip(host, &ip) == RC_OK)
        return true;
    for (size_t i = 0; i < hosts->n; i++) {
        if (str_eq_ci(host, http_host_of(str_c(hosts->names[i]))))
            return true;
    }
    return false;
}

/* With or without port and brackets: proxies differ. */
static bool parse_hop(struct str text, struct addr *out)
{
    if (addr_parse_ip(text, out) == RC_OK)
        return true;
    if (addr_parse(text, out) != RC_OK && addr_parse_ip(http_host_of(text), out) != RC_OK)
        return false;
    out->port = 0;
    return true;
}

/* The last of a comma-separated list, taken off it. */
static struct str pop_last(struct str *list)
{
    size_t at = list->len;
    while (at > 0 && list->p[at - 1] != ',')
        at--;
    struct str last = str_trim(str_n(list->p + at, list->len - at));
    list->len = at > 0 ? at - 1 : 0;
    return last;
}

static bool is_proxy(const struct http_server_opts *opts, const struct addr *a)
{
    return opts->is_proxy != NULL && opts->is_proxy(opts->proxy_ctx, a);
}

/* The nearest proxy appends its address last: what stands before that counts only if it was appended by a proxy of
 * ours. */
bool http_host_forwarded_for(const struct http_request *req, const struct http_server_opts *opts, struct addr *out)
{
    for (size_t i = req->headers_n; i > 0; i--) {
        struct str list = req->headers[i - 1].value;
        if (!str_eq_c(req->headers[i - 1].name, "x-forwarded-for"))
            continue;
        while (list.len > 0) {
            struct addr hop = {0};
            if (!parse_hop(pop_last(&list), &hop))
                return false;
            *out = hop;
            if (!is_proxy(opts, out))
                return true;
        }
    }
    return false;
}
