#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/fits.h"
#include "base/mem.h"

void buf_fini(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->start = 0;
    b->end = 0;
}

void buf_reset(struct buf *b, size_t keep)
{
    if (b->cap > keep)
        buf_fini(b);
    buf_clear(b);
}

static size_t grown(size_t cap, size_t want)
{
    if (cap < 64)
        cap = 64;
    while (cap < want)
        cap += cap / 2;
    return cap;
}

size_t buf_cap_with(const struct buf *b, size_t n)
{
    return fits(buf_len(b), n, b->cap) ? b->cap : grown(b->cap, buf_len(b) + n);
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->data != NULL && fits(b->end, n, b->cap))
        return b->data + b->end;
    size_t len = buf_len(b);
    /* Move down before growing: a queue that is read as fast as it is filled never grows. */
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
        if (fits(len, n, b->cap))
            return b->data + b->end;
    }
    size_t want = len + n;
    assert(want >= n);
    size_t cap = grown(b->cap, want);
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
    return b->data + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(fits(b->end, n, b->cap));
    b->end += n;
}

void buf_append(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0)
        return;
    memcpy(buf_reserve(b, n), bytes, n);
    b->end += n;
}

void buf_append_str(struct buf *b, struct str s)
{
    buf_append(b, s.p, s.len);
}

void buf_append_c(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_append_byte(struct buf *b, uint8_t byte)
{
    *buf_reserve(b, 1) = byte;
    b->end++;
}

void buf_append_u16be(struct buf *b, uint16_t v)
{
    uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, bytes, sizeof(bytes));
}

void buf_append_u32be(struct buf *b, uint32_t v)
{
    uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, bytes, sizeof(bytes));
}

void buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    assert(n >= 0);
    uint8_t *at = buf_reserve(b, (size_t)n + 1);
    vsnprintf((char *)at, (size_t)n + 1, fmt, args);
    b->end += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vprintf(b, fmt, args);
    va_end(args);
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= buf_len(b));
    b->start += n;
    if (b->start == b->end)
        buf_clear(b);
}

const char *buf_cstr(struct buf *b)
{
    *buf_reserve(b, 1) = '\0';
    return (const char *)buf_at(b);
}

void buf_move(struct buf *to, struct buf *from)
{
    assert(buf_len(to) == 0);
    buf_fini(to);
    *to = *from;
    *from = (struct buf){0};
}
