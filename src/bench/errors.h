/* Errors counted by text: a thousand clients that fail in the same way are one line. Empty when zero-initialised.
 * Not thread-safe. */
#ifndef BENCH_ERRORS_H
#define BENCH_ERRORS_H

#include <stdint.h>

#include "base/compiler.h"

enum { ERRORS_MAX = 50, ERRORS_TEXT_CAP = 192 };

struct errors {
    struct errors_row {
        uint64_t count;
        char text[ERRORS_TEXT_CAP]; /* cut to fit; terminated */
    } rows[ERRORS_MAX];
    unsigned n;
    uint64_t others; /* errors whose text has no row, because all rows are taken */
};

/* Counts an error. The text should not contain what differs from one client to the next. */
void errors_add(struct errors *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The number of errors, of all texts. */
uint64_t errors_count(const struct errors *e);
/* Adds the texts and numbers of `from`, which stays as it is. */
void errors_merge(struct errors *to, const struct errors *from);
/* Sorts the rows, the commonest first. */
void errors_sort(struct errors *e);

#endif
