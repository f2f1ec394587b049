/* UTF-8, as strict as Go's unicode/utf8: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdint.h>
#include <string.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Whether `c` is a continuation byte. */
static inline int utf8_is_tail(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* Length of the valid multi-byte sequence at `p`, whose first byte is >= 0x80; 0 when it is invalid: then one byte
 * counts as one U+FFFD. */
static inline unsigned utf8_seq_len(const char *p, const char *end)
{
    const uint8_t *s = (const uint8_t *)p;
    size_t left = (size_t)(end - p);
    uint8_t c = s[0];
    if (c < 0xc2 || c > 0xf4 || left < 2 || !utf8_is_tail(s[1]))
        return 0;
    if (c < 0xe0)
        return 2;
    if (left < 3 || !utf8_is_tail(s[2]))
        return 0;
    if (c < 0xf0)
        return (c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] >= 0xa0) ? 0 : 3;
    if (left < 4 || !utf8_is_tail(s[3]))
        return 0;
    return (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] >= 0x90) ? 0 : 4;
}

/* The code point of a valid sequence of `n` = 2..4 bytes. */
static inline uint32_t utf8_decode(const char *p, unsigned n)
{
    const uint8_t *s = (const uint8_t *)p;
    uint32_t code = s[0] & (0xffu >> (n + 1));
    for (unsigned i = 1; i < n; i++)
        code = code << 6 | (s[i] & 0x3fu);
    return code;
}

/* Writes a code point (no surrogate); returns its length, 1..4. */
static inline unsigned utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    unsigned n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(0xf00u >> n | code);
    return n;
}

#endif
