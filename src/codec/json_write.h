/* A streaming JSON writer into a buf: no tree, no allocation but the buffer's growth. The writer sets
 * the commas, the caller the nesting: every opening call needs its closing one, every value in an object its key
 * (asserted).
 *
 *     struct json_writer w;
 *     json_w_init(&w, &out);
 *     json_w_object(&w);
 *     json_w_kv_u64(&w, "ID", node->id);
 *     json_w_key(&w, "Tags");
 *     json_w_array(&w);
 *     ...
 *     json_w_end_array(&w);
 *     json_w_end_object(&w);
 *
 * Strings are escaped as Go's encoding/json does (also <, >, &, U+2028, U+2029); invalid UTF-8 becomes U+FFFD.
 * A writer may be started in the middle of hand-made output, and fragments be spliced in by json_w_raw. */
#ifndef CODEC_JSON_WRITE_H
#define CODEC_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct json_writer {
    struct buf *out;  /* borrowed */
    uint64_t objects; /* bit d, d = 1..63: the container at depth d is an object; for assertions */
    unsigned depth;   /* open objects and arrays */
    bool has_value;   /* a value stands before: a comma is due */
    bool has_key;     /* a key was written: its value is due */
    bool pretty;
};

/* A compact writer that appends to `out`, which is borrowed. */
void json_w_init(struct json_writer *w, struct buf *out);
/* The same for people: line ends, two spaces a level, a space after colons. */
void json_w_init_pretty(struct json_writer *w, struct buf *out);

/* Opens and closes objects and arrays. */
void json_w_object(struct json_writer *w);
void json_w_end_object(struct json_writer *w);
void json_w_array(struct json_writer *w);
void json_w_end_array(struct json_writer *w);
/* The key of the next value in an object. */
void json_w_key(struct json_writer *w, const char *key);
void json_w_key_str(struct json_writer *w, struct str key);

/* One value: a string, a number, true or false, null. */
void json_w_str(struct json_writer *w, struct str s);
/* Null writes JSON null. */
void json_w_cstr(struct json_writer *w, const char *text);
void json_w_i64(struct json_writer *w, int64_t v);
void json_w_u64(struct json_writer *w, uint64_t v);
/* The shortest digits that read back as `v`, as Go prints them; NaN and infinities are written as null. */
void json_w_f64(struct json_writer *w, double v);
void json_w_bool(struct json_writer *w, bool v);
void json_w_null(struct json_writer *w);
/* One value that is JSON already, as it is; empty writes null. */
void json_w_raw(struct json_writer *w, struct str raw);

/* Key and value in one call. */
void json_w_kv_str(struct json_writer *w, const char *key, struct str v);
void json_w_kv_cstr(struct json_writer *w, const char *key, const char *v);
void json_w_kv_i64(struct json_writer *w, const char *key, int64_t v);
void json_w_kv_u64(struct json_writer *w, const char *key, uint64_t v);
void json_w_kv_bool(struct json_writer *w, const char *key, bool v);

struct json;
/* Writes a parsed tree again: members in order, duplicates kept, numbers with their digits. Null writes null. */
void json_w_tree(struct json_writer *w, const struct json *node);

#endif
