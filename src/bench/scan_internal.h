/* The two halves of the scanner: scan.c reads the tokens of JSON, scan_meaning.c knows what they mean in a map
 * response. The state of both is in struct scan. */
#ifndef BENCH_SCAN_INTERNAL_H
#define BENCH_SCAN_INTERNAL_H

#include "bench/scan.h"

/* Where in a token, or between which tokens, the scanner is: up to AT_END between tokens. */
enum state {
    AT_VALUE,
    AT_FIRST_VALUE, /* or the end of the array */
    AT_FIRST_KEY,   /* or the end of the object */
    AT_KEY,
    AT_COLON,
    AT_NEXT, /* comma or end */
    AT_END,
    IN_STRING,
    IN_ESCAPE,
    IN_HEX_1,
    IN_HEX_2,
    IN_HEX_3,
    IN_HEX_4,
    IN_LITERAL,
    IN_MINUS,
    IN_ZERO,
    IN_DIGITS,
    IN_DOT,
    IN_FRACTION,
    IN_E,
    IN_E_SIGN,
    IN_EXPONENT,
};

enum where { WHERE_START, WHERE_TOP, WHERE_LIST, WHERE_RECORD, WHERE_TEXTS, WHERE_HOSTINFO, WHERE_SKIP };

enum list { LIST_NODE, LIST_PEERS, LIST_CHANGED, LIST_PATCH, LIST_REMOVED };

enum field {
    FIELD_OTHER,
    FIELD_KEEP_ALIVE,
    FIELD_PING,
    FIELD_NODE,
    FIELD_PEERS,
    FIELD_CHANGED,
    FIELD_PATCH,
    FIELD_REMOVED
};

enum member {
    MEMBER_OTHER,
    MEMBER_ID,
    MEMBER_KEY,
    MEMBER_MACHINE,
    MEMBER_DISCO,
    MEMBER_NAME,
    MEMBER_STABLE_ID,
    MEMBER_USER,
    MEMBER_AUTHORIZED,
    MEMBER_ONLINE,
    MEMBER_DERP,
    MEMBER_ENDPOINTS,
    MEMBER_ADDRESSES,
    MEMBER_ALLOWED,
    MEMBER_HOSTINFO,
    MEMBER_OS,
    MEMBER_OS_VERSION,
};

enum kind { KIND_STRING, KIND_NUMBER, KIND_TRUE, KIND_FALSE, KIND_NULL };

/* A scan with its events: what the functions below pass on. */
struct scan_run {
    struct scan *s;
    const struct scan_events *events;
    void *ctx;
};

/* --- scan_meaning.c. RC_INVALID: not what a map response has there. --- */

/* A string, number or literal has been read; its text is in s->text if scan_wants_text said so. */
MUST_CHECK enum rc scan_take_value(struct scan_run *f, enum kind kind);
/* The key in s->text has been read. */
void scan_take_key(struct scan *s);
/* An object or array begins, before it is counted in s->depth. */
MUST_CHECK enum rc scan_take_open(struct scan *s, bool is_object);
/* An object or array ends, and is no longer counted in s->depth. */
void scan_take_close(struct scan_run *f);
/* Whether the text of the string that begins now matters. */
bool scan_wants_text(const struct scan *s);

#endif
