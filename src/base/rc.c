#include "base/rc.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *text;
    int status;
} rows[] = {
#define X(name, text, status) {#name, text, status},
    RC_LIST(X)
#undef X
};

static bool known(int rc)
{
    return rc <= 0 && -rc < RCI_COUNT;
}

const char *rc_text(int rc)
{
    return known(rc) ? rows[-rc].text : "unknown error";
}

const char *rc_name(int rc)
{
    return known(rc) ? rows[-rc].name : "UNKNOWN";
}

int rc_http_status(int rc)
{
    return known(rc) ? rows[-rc].status : 500;
}

PRINTF_LIKE(6, 0)
static void fill(struct err *err, enum rc code, const char *file, int line, int col, const char *fmt, va_list args)
{
    if (err == NULL)
        return;
    err->code = code;
    err->line = line;
    err->col = col;
    snprintf(err->file, sizeof(err->file), "%s", file != NULL ? file : "");
    vsnprintf(err->text, sizeof(err->text), fmt, args);
}

enum rc err_set(struct err *err, enum rc code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, code, NULL, 0, 0, fmt, args);
    va_end(args);
    return code;
}

enum rc err_set_at(struct err *err, enum rc code, const char *file, int line, int col, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, code, file, line, col, fmt, args);
    va_end(args);
    return code;
}

void err_format(const struct err *err, char *out, unsigned long out_cap)
{
    int n = 0;
    if (err->file[0] != '\0')
        n = snprintf(out, out_cap, "%s:", err->file);
    if (n >= 0 && (unsigned long)n < out_cap && err->line > 0)
        n += snprintf(out + n, out_cap - (unsigned long)n, "%d:%d:", err->line, err->col);
    if (n >= 0 && (unsigned long)n < out_cap)
        snprintf(out + n, out_cap - (unsigned long)n, "%s%s", n > 0 ? " " : "", err->text);
}
