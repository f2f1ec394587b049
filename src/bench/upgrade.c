#include "bench/upgrade_internal.h"

#include <string.h>

void upgrade_append_request(struct buf *out, const char *path, const char *authority)
{
    buf_printf(out, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n", path, authority);
}

/* The line at `*at` without its end; false when there is none. */
static bool next_line(struct str head, size_t *at, struct str *out)
{
    const char *from = head.p + *at, *end = memmem(from, head.len - *at, "\r\n", 2);
    if (end == NULL)
        return false;
    *out = str_n(from, (size_t)(end - from));
    *at += out->len + 2;
    return true;
}

static bool grants_derp(struct str line)
{
    struct str name, value;
    return str_cut(line, ':', &name, &value) && str_eq_ci(name, STR("upgrade")) &&
           str_eq_ci(str_trim(value), STR("derp"));
}

/* The server's text is shown on a terminal: printable characters only. */
static enum rc other_status(struct str line, struct err *err)
{
    char text[64];
    size_t n = 0;
    for (; n < line.len && n < sizeof(text) - 1; n++)
        text[n] = line.p[n] >= ' ' && line.p[n] < 0x7f ? line.p[n] : '?';
    text[n] = '\0';
    return err_set(err, RC_UNSUPPORTED, "the upgrade is answered by \"%s\"", text);
}

int upgrade_read_answer(const uint8_t *p, size_t n, size_t *used_out, struct err *err)
{
    struct str head = str_n(p, n < UPGRADE_HEAD_MAX_BYTES ? n : UPGRADE_HEAD_MAX_BYTES), line;
    const char *end = memmem(head.p, head.len, "\r\n\r\n", 4);
    bool is_derp = false;
    size_t at = 0;
    if (end == NULL && n >= UPGRADE_HEAD_MAX_BYTES)
        return err_set(err, RC_TOO_LARGE, "the upgrade's answer is too long");
    if (end == NULL)
        return 0;
    head.len = (size_t)(end - head.p) + 4;
    if (!next_line(head, &at, &line) || !(str_eq_c(line, "HTTP/1.1 101") || str_starts(line, STR("HTTP/1.1 101 "))))
        return other_status(line, err);
    while (next_line(head, &at, &line) && line.len > 0)
        is_derp = is_derp || grants_derp(line);
    if (!is_derp)
        return err_set(err, RC_INVALID, "the upgrade is not to DERP");
    *used_out = head.len;
    return 1;
}
