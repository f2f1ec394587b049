/* The streams that commands write to: everything that passes through them is escaped. */
#include "cli/cli_internal.h"

#include <string.h>

/* Text comes in pieces that may end within a character; the first bytes of such a character wait for the rest. */
static void pass(struct cli_sink *sink, const char *bytes, size_t n, bool is_end)
{
    struct buf in = {0};
    struct buf shown = {0};
    buf_append(&in, sink->tail, sink->tail_n);
    buf_append(&in, bytes, n);
    struct str text = buf_str(&in);
    sink->tail_n = is_end ? 0 : show_open_tail(text);
    text.len -= sink->tail_n;
    memcpy(sink->tail, text.p + text.len, sink->tail_n);
    show_append(&shown, text, sink->how);
    (void)!fwrite(buf_str(&shown).p, 1, buf_len(&shown), sink->to);
    buf_fini(&shown);
    buf_fini(&in);
}

static ssize_t on_write(void *ctx, const char *bytes, size_t n)
{
    struct cli_sink *sink = ctx;
    if (sink->is_raw)
        (void)!fwrite(bytes, 1, n, sink->to);
    else
        pass(sink, bytes, n, false);
    return fflush(sink->to) == 0 && !ferror(sink->to) ? (ssize_t)n : 0;
}

bool cli_sink_open(struct cli_sink *sink, FILE *to, bool is_by_line)
{
    *sink = (struct cli_sink){.to = to, .how = SHOW_TEXT};
    sink->stream = fopencookie(sink, "w", (cookie_io_functions_t){.write = on_write});
    if (sink->stream == NULL)
        return false;
    setvbuf(sink->stream, NULL, is_by_line ? _IOLBF : _IOFBF, BUFSIZ);
    return true;
}

void cli_sink_raw(struct cli_sink *sink, struct str text)
{
    fflush(sink->stream);
    sink->is_raw = true;
    (void)!fwrite(text.p, 1, text.len, sink->stream);
    fflush(sink->stream);
    sink->is_raw = false;
}

bool cli_sink_close(struct cli_sink *sink)
{
    bool is_good = fflush(sink->stream) == 0 && !ferror(sink->stream);
    if (sink->tail_n > 0)
        pass(sink, "", 0, true);
    is_good = fclose(sink->stream) == 0 && is_good;
    sink->stream = NULL;
    return fflush(sink->to) == 0 && !ferror(sink->to) && is_good;
}
