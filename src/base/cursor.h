/* Bounded reader of wire bytes with a sticky error: read many fields, check once at the end.
 * After a failure every read gives zeros and moves nothing. Borrowed memory, nothing allocated. */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

struct cursor {
    const uint8_t *p;
    size_t left;
    bool failed;
};

/* A cursor at the start of `n` bytes, which are borrowed. */
static inline struct cursor cursor_of(const void *p, size_t len)
{
    return (struct cursor){p, len, false};
}

/* `n` bytes, or null and failed. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t n)
{
    if (c->failed || c->left < n) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *at = c->p;
    c->p += n;
    c->left -= n;
    return at;
}

/* Copies `n` bytes to `out`; zeros after a failure. */
static inline void cursor_copy(struct cursor *c, void *out, size_t n)
{
    const uint8_t *at = cursor_take(c, n);
    if (at != NULL)
        memcpy(out, at, n);
    else
        memset(out, 0, n);
}

/* The next byte; 0 after a failure. */
static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *at = cursor_take(c, 1);
    return at != NULL ? at[0] : 0;
}

/* The next two bytes as a number in network order; 0 after a failure. */
static inline uint16_t cursor_u16be(struct cursor *c)
{
    const uint8_t *at = cursor_take(c, 2);
    return (uint16_t)(at != NULL ? at[0] << 8 | at[1] : 0);
}

/* The next four bytes as a number in network order; 0 after a failure. */
static inline uint32_t cursor_u32be(struct cursor *c)
{
    const uint8_t *at = cursor_take(c, 4);
    return at != NULL ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3] : 0;
}

#endif
