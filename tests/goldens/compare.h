/* Cases of policies in JSON, and how answers are compared: shared by goldens.c and cases.c. */
#ifndef TESTS_GOLDENS_COMPARE_H
#define TESTS_GOLDENS_COMPARE_H

#include <stdbool.h>

#include "base/buf.h"
#include "codec/json.h"

/* Appends a line that says what is wrong; nothing more is added once `why` is long. */
void case_wrong(struct buf *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The string, or empty for anything else. */
struct str case_text(const struct json *node);
struct str case_field(const struct json *obj, const char *name);
/* The member whose name is exactly this; null: there is none. */
const struct json *case_member(const struct json *obj, struct str name);
bool case_list_has(const struct json *list, struct str text);
/* False unless `text` contains `part`. */
bool case_contains(struct str text, struct str part);

/* Members of objects in any order; numbers by their text. */
bool case_json_equal(const struct json *a, const struct json *b);
/* Two packet filters allow the same. */
bool case_filters_equal(const struct json *a, const struct json *b);
/* Two lists of SSH rules, in order; principals as sets. */
bool case_ssh_equal(const struct json *a, const struct json *b);

/* Parses what the policy engine wrote, which must be JSON: ends the program otherwise. */
const struct json *case_parse_ours(struct arena *a, const struct buf *text);

#endif
