/* Reads a neighbour's answer to the request for an upgrade. Only a plain grant is accepted. */
#include "base/str.h"
#include "relay/mesh_internal.h"

enum { HEAD_MAX_BYTES = 4096 };

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* src: RFC 9112 4: the reason may be empty, the space before it may not */
static int check_status(struct str line)
{
    const struct str version = STR("HTTP/1.1 ");
    if (!str_starts(line, version) || line.len < version.len + 3)
        return RC_INVALID;
    struct str status = str_n(line.p + version.len, 3);
    for (size_t i = 0; i < 3; i++)
        if (status.p[i] < '0' || status.p[i] > '9')
            return RC_INVALID;
    if (line.len > version.len + 3 && line.p[version.len + 3] != ' ')
        return RC_INVALID;
    return str_eq_c(status, "101") ? RC_OK : RC_UNSUPPORTED;
}

/* Sets `*is_derp_out` when this is the header that grants it. */
static int check_header(struct str line, bool *is_derp_out)
{
    size_t name_len = 0;
    while (name_len < line.len && is_token_char(line.p[name_len]))
        name_len++;
    if (name_len == 0 || name_len == line.len || line.p[name_len] != ':')
        return RC_INVALID;
    struct str value = str_trim(str_n(line.p + name_len + 1, line.len - name_len - 1));
    if (str_eq_ci(str_n(line.p, name_len), STR("upgrade")))
        *is_derp_out = str_eq_ci(value, STR("derp"));
    return RC_OK;
}

static bool has_control_chars(struct str line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

/* The line at `*at`, without its end; false when it is not whole. */
static bool next_line(struct str head, size_t *at, struct str *out)
{
    for (size_t i = *at; i + 1 < head.len; i++) {
        if (head.p[i] != '\r' || head.p[i + 1] != '\n')
            continue;
        *out = str_n(head.p + *at, i - *at);
        *at = i + 2;
        return true;
    }
    return false;
}

int mesh_http_answer(const uint8_t *p, size_t n, size_t *used_out)
{
    struct str head = str_n((const char *)p, n < HEAD_MAX_BYTES ? n : HEAD_MAX_BYTES);
    struct str line;
    bool is_derp = false, is_first = true;
    size_t at = 0;
    while (next_line(head, &at, &line)) {
        if (line.len == 0 && !is_first) {
            *used_out = at;
            return is_derp ? 1 : RC_INVALID;
        }
        int rc = has_control_chars(line) ? (int)RC_INVALID
                 : is_first              ? check_status(line)
                                         : check_header(line, &is_derp);
        if (rc != RC_OK)
            return rc;
        is_first = false;
    }
    return n >= HEAD_MAX_BYTES ? (int)RC_TOO_LARGE : 0;
}
