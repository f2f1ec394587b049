/* Borrowed text: a pointer and a length, no terminator promised. Any thread; nothing allocates. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/rc.h"

struct str {
    const char *p;
    size_t len;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_EMPTY ((struct str){"", 0})
/* For printf: "%.*s", STR_ARG(s). */
#define STR_ARG(s) (int)(s).len, (s).p

/* A C string; null gives an empty text with a null pointer. */
static inline struct str str_c(const char *text)
{
    return (struct str){text, text != NULL ? strlen(text) : 0};
}

/* `len` bytes at `p`. */
static inline struct str str_n(const void *p, size_t len)
{
    return (struct str){p, len};
}

/* Whether both are the same bytes. */
bool str_eq(struct str a, struct str b);
bool str_eq_c(struct str a, const char *b);
/* ASCII case folded. */
bool str_eq_ci(struct str a, struct str b);
/* Whether `s` begins with `prefix`; ends with `suffix`. */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Without blanks, tabs and line ends at both ends. */
struct str str_trim(struct str s);
/* Index of `c`, or -1. */
long str_index(struct str s, char c);
/* Splits at the first `sep`: `*head` gets what is before, `*rest` what is after. False (and all in `*head`) when `sep`
 * does not occur. */
bool str_cut(struct str s, char sep, struct str *head, struct str *rest);

/* How many characters must be added, dropped, changed or swapped with their neighbour to turn one into the other, ASCII
 * case ignored: for "did you mean". Only the first 63 bytes of each count. */
size_t str_distance(struct str a, struct str b);

/* Decimal digits only, the whole string, no sign for the unsigned one. RC_INVALID otherwise or on overflow. */
MUST_CHECK enum rc str_to_u64(struct str s, uint64_t *out);
MUST_CHECK enum rc str_to_i64(struct str s, int64_t *out);

/* Lower-case hex. `out` takes 2 * n bytes and no terminator. */
void hex_encode(const uint8_t *bytes, size_t n, char *out);
/* Both cases accepted; exactly 2 * n digits or RC_INVALID. */
MUST_CHECK enum rc hex_decode(struct str hex, uint8_t *out, size_t n);

/* "30s", "1h30m", "90m", "1d", "2w", "1y" or "0" to milliseconds. Units: ms, s, m, h, d, w, y (365 d); fractions only
 * as Go prints them ("1.5h"). Negative and overflowing values are RC_INVALID. */
MUST_CHECK enum rc str_to_duration_ms(struct str s, int64_t *out_ms);

#endif
