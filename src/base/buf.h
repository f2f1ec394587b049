/* A growable byte buffer with a read position, for building output and for collecting input.
 * Zero-initialised is empty and owns nothing. Not thread-safe. Growth ends the process when memory is out, so whoever
 * appends what a peer sent checks its own limit first (buf_len). */
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

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

static inline uint8_t *buf_at(const struct buf *b)
{
    return b->data + b->start;
}

static inline struct str buf_str(const struct buf *b)
{
    return str_n(b->data != NULL ? (const char *)b->data + b->start : "", buf_len(b));
}

void buf_fini(struct buf *b);
/* Empties, keeps the memory. */
void buf_clear(struct buf *b);
/* Empties, and gives the memory back when it is larger than `keep` bytes. */
void buf_reset(struct buf *b, size_t keep);
/* Room for `n` more bytes; returns where they go. Follow with buf_commit. */
uint8_t *buf_reserve(struct buf *b, size_t n);
/* What `cap` will be after buf_reserve: for who charges memory before it is there. */
size_t buf_cap_with(const struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *bytes, size_t n);
void buf_append_str(struct buf *b, struct str s);
void buf_append_c(struct buf *b, const char *text);
void buf_append_byte(struct buf *b, uint8_t byte);
void buf_append_u16be(struct buf *b, uint16_t v);
void buf_append_u32be(struct buf *b, uint32_t v);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);
/* Drops `n` <= buf_len bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/* A terminating NUL after the content (not counted), for C functions. Valid until the next change. */
const char *buf_cstr(struct buf *b);
/* Moves `from`'s content to `to` (which must be empty) without copying. */
void buf_move(struct buf *to, struct buf *from);

#endif
