/* What is wrong with a policy, or odd about it: sentences with their positions in the text. */
#ifndef POLICY_ERRORS_H
#define POLICY_ERRORS_H

#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"

/* One error. `text` is a sentence without the position; line and column (in bytes) count from 1, 0 means no
 * position. */
struct policy_error {
    int line;
    int col;
    const char *text;
};

/* All errors of one text, in file order. A zero-initialised one is empty. At most POLICY_ERRORS_MAX are kept; when
 * there were more, one further entry says how many. */
enum { POLICY_ERRORS_MAX = 50 };
struct policy_errors {
    struct arena arena; /* owns the sentences */
    size_t n;
    size_t left_out;
    struct policy_error v[POLICY_ERRORS_MAX + 1];
};

/* Frees the sentences; `e` is empty afterwards. */
void policy_errors_fini(struct policy_errors *e);
/* Adds an error; there must be room. `text` is borrowed, best from the arena. */
void policy_errors_add(struct policy_errors *e, int line, int col, const char *text);
/* Appends one line "FILE:LINE:COL: TEXT" for each error, without the parts that are unknown; `file` may be null. */
void policy_errors_format(const struct policy_errors *e, const char *file, struct buf *out);

#endif
