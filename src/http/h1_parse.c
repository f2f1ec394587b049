#include "http/h1_parse.h"

/* 16 hex digits would still fit, but no body here is longer than eight */
enum { CHUNK_SIZE_DIGITS = 8, LENGTH_DIGITS = 18 };

int h1_refusal_status(enum h1_refusal r)
{
    static const int status[] = {
#define X(name, status_, text) status_,
        H1_REFUSAL_LIST(X)
#undef X
    };
    return status[r];
}

const char *h1_refusal_text(enum h1_refusal r)
{
    static const char *const texts[] = {
#define X(name, status, text_) text_,
        H1_REFUSAL_LIST(X)
#undef X
    };
    return texts[r];
}

/* --- characters, RFC 9110 5.6.2, 5.5 --- */

static bool is_alnum(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_token_char(uint8_t c)
{
    return is_alnum(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool h1_is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_char((uint8_t)s.p[i]))
            return false;
    }
    return s.len > 0;
}

static bool is_value_char(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_authority_char(uint8_t c)
{
    return is_alnum(c) || (c != 0 && strchr("-._~!$&'()*+,;=:%[]", c) != NULL);
}

bool h1_is_authority(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_authority_char((uint8_t)s.p[i]))
            return false;
    }
    return s.len > 0 && s.len <= 300;
}

/* --- the end of the head --- */

static int refuse(enum h1_refusal *why_out, enum h1_refusal why)
{
    *why_out = why;
    return RC_INVALID;
}

/* A line without its LF. */
static enum h1_refusal check_line(const uint8_t *p, size_t n)
{
    if (n == 0 || p[n - 1] != '\r' || memchr(p, '\r', n - 1) != NULL)
        return H1_LINE_END;
    return memchr(p, 0, n) != NULL ? H1_NUL : H1_OK;
}

/* What is certainly wrong in a line that is not complete: a CR that is followed by another byte than LF. */
static bool has_bare_cr(const uint8_t *p, size_t n)
{
    const uint8_t *cr = memchr(p, '\r', n);
    return cr != NULL && cr != p + n - 1;
}

int h1_scan_head(struct h1_scan *scan, const uint8_t *p, size_t n, size_t *head_len_out, enum h1_refusal *why_out)
{
    for (;;) {
        const uint8_t *lf = scan->at < n ? memchr(p + scan->at, '\n', n - scan->at) : NULL;
        if (lf == NULL)
            break;
        size_t end = (size_t)(lf - p);
        enum h1_refusal why = check_line(p + scan->line_start, end - scan->line_start);
        if (why != H1_OK)
            return refuse(why_out, why);
        bool is_empty = end == scan->line_start + 1;
        scan->at = scan->line_start = end + 1;
        if (scan->at > HTTP_MAX_HEAD_BYTES)
            return refuse(why_out, H1_HEAD_TOO_LARGE);
        if (is_empty) {
            *head_len_out = scan->at;
            return 1;
        }
    }
    /* The last byte is looked at again: it may be a CR whose LF is still to come. */
    size_t from = scan->at > scan->line_start ? scan->at - 1 : scan->at;
    if (from < n && has_bare_cr(p + from, n - from))
        return refuse(why_out, H1_LINE_END);
    scan->at = n;
    return n > HTTP_MAX_HEAD_BYTES ? refuse(why_out, H1_HEAD_TOO_LARGE) : 0;
}

/* --- the request line --- */

enum http_method h1_method(struct str name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } table[] = {
        {"GET", HTTP_GET},     {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},       {"PUT", HTTP_PUT},
        {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (str_eq_c(name, table[i].name))
            return table[i].method;
    }
    return HTTP_OTHER;
}

static bool is_target_text(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return false;
    }
    return true;
}

bool h1_split_target(struct str target, struct str *path, struct str *query)
{
    if (target.len == 0 || target.p[0] != '/' || !is_target_text(target))
        return false;
    str_cut(target, '?', path, query);
    return true;
}

/* The target after its scheme; null if it has neither scheme. */
static struct str after_scheme(struct str target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct str scheme = str_c(schemes[i]);
        if (target.len >= scheme.len && str_eq_ci(str_n(target.p, scheme.len), scheme))
            return str_n(target.p + scheme.len, target.len - scheme.len);
    }
    return (struct str){NULL, 0};
}

/* "http://host/path?query": what a client sends to a proxy, and a server must take. src: RFC 9112 3.2.2 */
static bool split_absolute(struct str target, struct h1_head *out)
{
    struct str rest = after_scheme(target);
    if (rest.p == NULL || !is_target_text(rest))
        return false;
    size_t host_len = 0;
    while (host_len < rest.len && rest.p[host_len] != '/' && rest.p[host_len] != '?')
        host_len++;
    out->authority = str_n(rest.p, host_len);
    str_cut(str_n(rest.p + host_len, rest.len - host_len), '?', &out->path, &out->query);
    if (out->path.len == 0)
        out->path = STR("/");
    return h1_is_authority(out->authority);
}

static enum h1_refusal parse_request_line(struct str line, struct h1_head *out)
{
    struct str target;
    struct str version;
    struct str rest;
    if (!str_cut(line, ' ', &out->method_name, &rest) || !str_cut(rest, ' ', &target, &version))
        return H1_REQUEST_LINE;
    if (!h1_is_token(out->method_name))
        return H1_METHOD;
    out->method = h1_method(out->method_name);
    out->query = out->authority = STR_EMPTY;
    if (str_eq_c(target, "*") && out->method == HTTP_OPTIONS)
        out->path = target;
    else if (!h1_split_target(target, &out->path, &out->query) && !split_absolute(target, out))
        return H1_TARGET;
    if (str_eq_c(version, "HTTP/1.1"))
        out->version = 11;
    else if (str_eq_c(version, "HTTP/1.0"))
        out->version = 10;
    else
        return H1_VERSION;
    return H1_OK;
}

/* --- header lines --- */

static enum h1_refusal parse_header(char *p, size_t n, struct http_header *out)
{
    if (p[0] == ' ' || p[0] == '\t')
        return H1_FOLDED;
    if (!str_cut(str_n(p, n), ':', &out->name, &out->value) || !h1_is_token(out->name))
        return H1_HEADER_NAME;
    for (size_t i = 0; i < out->name.len; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] + ('a' - 'A'));
    }
    for (size_t i = 0; i < out->value.len; i++) {
        if (!is_value_char((uint8_t)out->value.p[i]))
            return H1_HEADER_VALUE;
    }
    while (out->value.len > 0 && (out->value.p[0] == ' ' || out->value.p[0] == '\t'))
        out->value = str_n(out->value.p + 1, out->value.len - 1);
    while (out->value.len > 0 && (out->value.p[out->value.len - 1] == ' ' || out->value.p[out->value.len - 1] == '\t'))
        out->value.len--;
    return H1_OK;
}

/* What the framing headers say, before they are judged together. */
struct framing {
    unsigned hosts;
    unsigned lengths;
    unsigned codings;
    bool close;
    bool keep_alive;
};

static void read_connection(struct str value, struct framing *f)
{
    struct str token;
    bool more = true;
    while (more) {
        more = str_cut(value, ',', &token, &value);
        token = str_trim(token);
        f->close = f->close || str_eq_ci(token, STR("close"));
        f->keep_alive = f->keep_alive || str_eq_ci(token, STR("keep-alive"));
    }
}

static enum h1_refusal read_length(struct str value, struct h1_head *out)
{
    if (value.len > LENGTH_DIGITS || str_to_u64(value, &out->content_length) != RC_OK)
        return H1_LENGTH;
    return H1_OK;
}

static enum h1_refusal note_header(const struct http_header *h, struct framing *f, struct h1_head *out)
{
    if (str_eq_c(h->name, "host")) {
        f->hosts++;
        if (!h1_is_authority(h->value))
            return H1_HOST;
        /* The target's own authority, when it has one, counts more. src: RFC 9112 3.2.2 */
        if (out->authority.len == 0)
            out->authority = h->value;
    } else if (str_eq_c(h->name, "content-length")) {
        f->lengths++;
        return read_length(h->value, out);
    } else if (str_eq_c(h->name, "transfer-encoding")) {
        f->codings++;
        if (!str_eq_ci(h->value, STR("chunked")))
            return H1_CODING;
    } else if (str_eq_c(h->name, "connection")) {
        read_connection(h->value, f);
    } else if (str_eq_c(h->name, "expect")) {
        out->expects_continue = str_eq_ci(h->value, STR("100-continue"));
        return out->expects_continue ? H1_OK : H1_EXPECT;
    }
    return H1_OK;
}

static enum h1_refusal judge_framing(const struct framing *f, struct h1_head *out)
{
    if (f->hosts > 1 || (f->hosts == 0 && out->version >= 11))
        return H1_HOST;
    if (f->lengths > 1)
        return H1_LENGTH;
    if (f->codings > 1 || (f->codings == 1 && (f->lengths > 0 || out->version < 11)))
        return H1_CODING;
    out->is_chunked = f->codings == 1;
    out->keep_alive = !f->close && (out->version >= 11 || f->keep_alive);
    /* A 1.0 client would take the interim answer for the final one. src: RFC 9110 10.1.1 */
    out->expects_continue = out->expects_continue && out->version >= 11;
    return H1_OK;
}

/* The next line without its CR LF, which h1_scan_head has seen to be there. */
static struct str next_line(char *p, size_t n, size_t *at)
{
    char *start = p + *at;
    char *lf = memchr(start, '\n', n - *at);
    if (lf == NULL || lf == start || lf[-1] != '\r')
        return (struct str){NULL, 0};
    *at = (size_t)(lf - p) + 1;
    return str_n(start, (size_t)(lf - start) - 1);
}

enum h1_refusal h1_parse_head(char *p, size_t n, struct h1_head *out)
{
    *out = (struct h1_head){0};
    size_t at = 0;
    struct str line = next_line(p, n, &at);
    if (line.p == NULL)
        return H1_LINE_END;
    enum h1_refusal why = parse_request_line(line, out);
    struct framing f = {0};
    while (why == H1_OK) {
        size_t start = at;
        line = next_line(p, n, &at);
        if (line.p == NULL)
            return H1_LINE_END;
        if (line.len == 0)
            return judge_framing(&f, out);
        if (out->headers_n == HTTP_MAX_HEADERS)
            return H1_TOO_MANY_HEADERS;
        struct http_header *h = &out->headers[out->headers_n++];
        why = parse_header(p + start, line.len, h);
        if (why == H1_OK)
            why = note_header(h, &f, out);
    }
    return why;
}

/* --- chunked bodies --- */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static enum h1_refusal size_byte(struct h1_chunked *c, uint8_t byte)
{
    int digit = hex_digit(byte);
    if (digit >= 0) {
        if (++c->digits > CHUNK_SIZE_DIGITS)
            return H1_CHUNK;
        c->left = c->left << 4 | (unsigned)digit;
        return H1_OK;
    }
    if (byte != '\r' || c->digits == 0)
        return H1_CHUNK;
    c->state = H1_CHUNK_SIZE_LF;
    return H1_OK;
}

static enum h1_refusal expect_byte(struct h1_chunked *c, uint8_t byte, uint8_t wanted, int next)
{
    if (byte != wanted)
        return H1_CHUNK;
    c->state = next;
    return H1_OK;
}

static enum h1_refusal control_byte(struct h1_chunked *c, uint8_t byte)
{
    switch (c->state) {
    case H1_CHUNK_SIZE: return size_byte(c, byte);
    case H1_CHUNK_SIZE_LF: return expect_byte(c, byte, '\n', c->left > 0 ? H1_CHUNK_DATA : H1_CHUNK_END_CR);
    case H1_CHUNK_DATA_CR: return expect_byte(c, byte, '\r', H1_CHUNK_DATA_LF);
    case H1_CHUNK_DATA_LF: c->digits = 0; return expect_byte(c, byte, '\n', H1_CHUNK_SIZE);
    case H1_CHUNK_END_CR: return expect_byte(c, byte, '\r', H1_CHUNK_END_LF);
    case H1_CHUNK_END_LF: return expect_byte(c, byte, '\n', H1_CHUNK_DONE);
    case H1_CHUNK_DATA:
    case H1_CHUNK_DONE: break;
    }
    return H1_CHUNK;
}

enum h1_refusal h1_chunked_next(struct h1_chunked *c, const uint8_t *p, size_t n, size_t *used_out,
                                struct str *data_out)
{
    size_t i = 0;
    *data_out = STR_EMPTY;
    while (i < n && c->state != H1_CHUNK_DONE && c->state != H1_CHUNK_DATA) {
        enum h1_refusal why = control_byte(c, p[i++]);
        if (why != H1_OK)
            return why;
    }
    if (i < n && c->state == H1_CHUNK_DATA) {
        size_t take = n - i < c->left ? n - i : (size_t)c->left;
        *data_out = str_n(p + i, take);
        i += take;
        c->left -= take;
        if (c->left == 0)
            c->state = H1_CHUNK_DATA_CR;
    }
    *used_out = i;
    return H1_OK;
}
