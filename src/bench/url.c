#include "bench/bench.h"

#include <stdio.h>

enum { LOCAL_LEN = sizeof("localhost:") - 1 };

static enum rc copy_text(struct str from, char *out, size_t cap, const char *url, struct err *err)
{
    if (from.len >= cap)
        return err_set(err, RC_INVALID, "the URL is too long: %s", url);
    snprintf(out, cap, "%.*s", STR_ARG(from));
    return RC_OK;
}

/* The text goes into a request line unchanged, so it must contain nothing that would end the line. */
static bool has_controls_or_blanks(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return true;
    }
    return false;
}

static enum rc parse_addr(struct str host, const char *url, struct addr *out, struct err *err)
{
    char text[64];
    if (str_starts(host, STR("localhost:"))) {
        snprintf(text, sizeof(text), "127.0.0.1:%.*s", STR_ARG(str_n(host.p + LOCAL_LEN, host.len - LOCAL_LEN)));
        host = str_c(text);
    }
    if (addr_parse(host, out) != RC_OK)
        return err_set(err, RC_INVALID, "an address and a port are needed in %s, as in http://127.0.0.1:8080", url);
    if (!addr_is_loopback(out))
        return err_set(err, RC_DENIED, "refusing to load %s: only loopback addresses are allowed", url);
    return RC_OK;
}

enum rc bench_url_parse(const char *text, struct bench_url *out, struct err *err)
{
    const struct str plain = STR("http://"), tls = STR("https://");
    struct str rest = str_c(text);
    *out = (struct bench_url){.is_tls = str_starts(rest, tls)};
    size_t skip = out->is_tls ? tls.len : plain.len;
    if ((!out->is_tls && !str_starts(rest, plain)) || has_controls_or_blanks(rest))
        return err_set(err, RC_INVALID, "not an http:// or https:// URL: %s", text);
    rest = str_n(rest.p + skip, rest.len - skip);
    long slash = str_index(rest, '/');
    struct str authority = slash < 0 ? rest : str_n(rest.p, (size_t)slash);
    struct str path = slash < 0 ? STR("/") : str_n(rest.p + slash, rest.len - (size_t)slash);
    TRY(copy_text(authority, out->authority, sizeof(out->authority), text, err));
    TRY(copy_text(path, out->path, sizeof(out->path), text, err));
    return parse_addr(authority, text, &out->addr, err);
}
