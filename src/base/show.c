#include "base/show.h"

#include "base/utf8.h"

/* src: Unicode 15, Bidi_Control, Zl, Zp, and characters without width that no script needs between its letters. */
static const struct {
    uint32_t first, last;
} hidden[] = {
    {0x0000, 0x001f}, {0x007f, 0x009f}, {0x00ad, 0x00ad},   {0x061c, 0x061c},    {0x180e, 0x180e}, {0x200b, 0x200b},
    {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},   {0xfeff, 0xfeff},    {0xfff0, 0xfffb}, {0xfffe, 0xffff},
    {0xfdd0, 0xfdef}, {0xe000, 0xf8ff}, {0xe0000, 0xe0fff}, {0xf0000, 0x10ffff},
};

bool show_is_plain(uint32_t code)
{
    if (code >= 0x20 && code < 0x7f)
        return true;
    for (unsigned i = 0; i < ARRAY_LEN(hidden); i++) {
        if (code >= hidden[i].first && code <= hidden[i].last)
            return false;
    }
    return (code & 0xfffe) != 0xfffe;
}

static void escape(struct buf *out, uint32_t code, enum show how)
{
    if (how == SHOW_LINE && (code == '\n' || code == '\t' || code == '\r'))
        buf_append_c(out, code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r");
    else if (code > 0xffff && how == SHOW_JSON)
        buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
    else if (code > 0xffff)
        buf_printf(out, "\\U%08x", code);
    else if (code < 0x80 && how != SHOW_JSON)
        buf_printf(out, "\\x%02x", code);
    else
        buf_printf(out, "\\u%04x", code);
}

static bool is_kept(uint32_t code, enum show how)
{
    return show_is_plain(code) || (how != SHOW_LINE && (code == '\n' || code == '\t'));
}

static void escape_byte(struct buf *out, uint8_t byte, enum show how)
{
    if (how == SHOW_JSON)
        buf_append_c(out, "\\ufffd");
    else
        buf_printf(out, "\\x%02x", byte);
}

void show_append(struct buf *out, struct str text, enum show how)
{
    const char *end = text.p + text.len;
    for (const char *p = text.p; p < end;) {
        unsigned n = (uint8_t)*p < 0x80 ? 1 : utf8_seq_len(p, end);
        if (n == 0) {
            escape_byte(out, (uint8_t)*p++, how);
            continue;
        }
        uint32_t code = n == 1 ? (uint8_t)*p : utf8_decode(p, n);
        if (is_kept(code, how))
            buf_append(out, p, n);
        else
            escape(out, code, how);
        p += n;
    }
}

unsigned show_open_tail(struct str text)
{
    for (unsigned n = 1; n <= 3 && n <= text.len; n++) {
        uint8_t c = (uint8_t)text.p[text.len - n];
        if (utf8_is_tail(c))
            continue;
        unsigned whole = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return whole > n ? n : 0;
    }
    return 0;
}
