/* A growable byte buffer with a read position, for building output and for collecting input.
 * Zero-initialised is empty and owns nothing. Not thread-safe. Growth ends the process when memory is out, so code
 * that appends what a peer sent checks a limit of its own first (buf_len). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf {
    uint8_t *data; /* owned */
    size_t start;  /* first unread byte */
    size_t end;    /* one past the last byte; start <= end <= cap */
    size_t cap;
};

/* Bytes that are not read yet. */
static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

/* The first of them; may be null when there are none. */
static inline uint8_t *buf_at(const struct buf *b)
{
    return b->data + b->start;
}

/* All of them, borrowed until the next change. */
static inline struct str buf_str(const struct buf *b)
{
    return str_n(b->data != NULL ? (const char *)b->data + b->start : "", buf_len(b));
}

/* Frees the memory; the buffer is empty then and may be used again. */
void buf_fini(struct buf *b);
/* Empties, keeps the memory. */
void buf_clear(struct buf *b);
/* Empties, and gives the memory back when it is larger than `keep` bytes. */
void buf_reset(struct buf *b, size_t keep);
/* Makes room for `n` more bytes and returns where to write them; buf_commit follows. */
uint8_t *buf_reserve(struct buf *b, size_t n);
/* The capacity after buf_reserve, for callers that charge a budget before they allocate. */
size_t buf_cap_with(const struct buf *b, size_t n);
/* Adds `n` bytes that were written to what buf_reserve returned. */
void buf_commit(struct buf *b, size_t n);
/* Appends a copy. */
void buf_append(struct buf *b, const void *bytes, size_t n);
/* The same for text, one byte, and numbers in network order. */
void buf_append_str(struct buf *b, struct str s);
void buf_append_c(struct buf *b, const char *text);
void buf_append_byte(struct buf *b, uint8_t byte);
void buf_append_u16be(struct buf *b, uint16_t v);
void buf_append_u32be(struct buf *b, uint32_t v);
/* Appends formatted text. */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);
/* Drops `n` bytes, at most buf_len, from the front. */
void buf_consume(struct buf *b, size_t n);
/* The content with a NUL behind it, which is not counted; borrowed until the next change. */
const char *buf_cstr(struct buf *b);
/* Moves `from`'s content to `to` (which must be empty) without copying. */
void buf_move(struct buf *to, struct buf *from);

#endif
