/* Result codes: the one way in which calls fail.
 *
 * RC_OK is 0, every error is negative, so that a parser may return 1 = done, 0 = needs more, negative = an rc.
 * Each code has a sentence for people and an HTTP status. Add a row when a caller must tell the case apart. */
#ifndef BASE_RC_H
#define BASE_RC_H

#include "base/compiler.h"

#define RC_LIST(X)                                                                                                     \
    X(OK, "ok", 200)                                                                                                   \
    X(INVALID, "invalid input", 400)                                                                                   \
    X(TRUNCATED, "input ends too early", 400)                                                                          \
    X(TOO_LARGE, "larger than the limit", 413)                                                                         \
    X(TOO_DEEP, "nested too deeply", 400)                                                                              \
    X(NOT_FOUND, "not found", 404)                                                                                     \
    X(EXISTS, "exists already", 409)                                                                                   \
    X(IN_USE, "still in use", 409)                                                                                     \
    X(DENIED, "not allowed", 403)                                                                                      \
    X(UNAUTHORIZED, "not authorised", 401)                                                                             \
    X(EXPIRED, "expired", 403)                                                                                         \
    X(USED, "used up", 403)                                                                                            \
    X(LIMIT, "limit reached", 429)                                                                                     \
    X(CRYPTO, "cryptographic check failed", 400)                                                                       \
    X(CLOSED, "connection closed", 503)                                                                                \
    X(TIMEOUT, "timed out", 504)                                                                                       \
    X(UNSUPPORTED, "not supported", 501)                                                                               \
    X(IO, "input/output error", 500)                                                                                   \
    X(FULL, "the disk is full", 503)                                                                                   \
    X(BUSY, "not possible just now", 503)                                                                              \
    X(STORE, "database error", 500)                                                                                    \
    X(INTERNAL, "internal error", 500)

enum rc_index {
#define X(name, text, status) RCI_##name,
    RC_LIST(X)
#undef X
        RCI_COUNT
};

enum rc {
#define X(name, text, status) RC_##name = -RCI_##name,
    RC_LIST(X)
#undef X
};

/* The sentence for `rc` (static). Any int is accepted; unknown ones give "unknown error". */
const char *rc_text(int rc);
/* The short name, e.g. "NOT_FOUND" (static). */
const char *rc_name(int rc);
/* The HTTP status that fits `rc`. */
int rc_http_status(int rc);

/* Returns from the calling function when `expr` is an error. The only macro that hides a return. */
#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        enum rc try_rc_ = (expr);                                                                                      \
        if (try_rc_ != RC_OK)                                                                                          \
            return try_rc_;                                                                                            \
    } while (0)

/* An error that a person will read: configuration, policy, command line. `line` and `col` are of the input, from 1;
 * 0 = not known. Owned by the caller; nothing to free. */
struct err {
    enum rc code;
    char text[512];
    char file[256];
    int line;
    int col;
};

/* Fills `err` (which may be null) and returns `code`, for `return err_set(err, RC_INVALID, "...")`. */
enum rc err_set(struct err *err, enum rc code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with the position in the input. `file` may be null. */
enum rc err_set_at(struct err *err, enum rc code, const char *file, int line, int col, const char *fmt, ...)
    PRINTF_LIKE(6, 7);
/* Writes "file:line:col: text" (the parts that are known) to `out`. */
void err_format(const struct err *err, char *out, unsigned long out_cap);

#endif
