/* A strict JSON reader (RFC 8259) into a compact immutable tree: one array of fixed-size nodes in the caller's arena.
 * For every body that a node, a browser or a person sends, and for the CLI.
 *
 * Tolerances are those of Go's encoding/json, because that is what the clients were written against: keys found
 * whatever their case, the last duplicate wins, invalid UTF-8 and lone surrogates read as U+FFFD, \u0000 accepted. src:
 * docs/protocol/control.md 10; tests/vectors/json_tolerance.json
 *
 * A tree borrows the parsed text (strings and numbers point into it): the text must outlive the tree. Reading a tree is
 * safe from any thread. Nothing recurses, nothing blocks, nothing logs. All accessors accept null (a missing node). */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/rc.h"
#include "base/str.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json;

/* What may walk a tree recursively relies on this. */
enum { JSON_DEPTH_MAX = 1000 };

struct json_limits {
    size_t max_bytes;   /* of the text; a tree takes at most 24 bytes a node and 3 bytes a byte of text besides */
    unsigned max_depth; /* open arrays and objects at once; above JSON_DEPTH_MAX means that */
    size_t max_nodes;   /* values and keys */
    bool strict_text;   /* invalid UTF-8 and lone surrogates are RC_INVALID instead of U+FFFD: for what people write */
};

/* What a peer sends: 4 MiB, 128 deep, 1 Mi nodes. Used when `limits` is null. */
extern const struct json_limits json_limits_default;
/* What we wrote ourselves, e.g. a server's answer read by the CLI: 1 GiB, 512 deep, 256 Mi nodes. */
extern const struct json_limits json_limits_trusted;

/* Parses one JSON value with white space around it. `*root_out` and everything below it lives in `a`.
 * `err` (may be null) gets the sentence with line and column (bytes, from 1).
 * RC_INVALID, RC_TRUNCATED (text ends early, or is empty), RC_TOO_LARGE (bytes, nodes), RC_TOO_DEEP. */
MUST_CHECK enum rc json_parse(struct arena *a, struct str text, const struct json_limits *limits,
                              const struct json **root_out, struct err *err);

/* JSON_NULL for null. */
enum json_type json_type_of(const struct json *node);
/* Missing or JSON null: Go treats both as "not set". */
bool json_is_null(const struct json *node);

/* The value of the last member whose key equals `key`, ASCII case ignored. Null when there is none or `obj` is no
 * object. Linear in the number of members. */
const struct json *json_get(const struct json *obj, const char *key);
const struct json *json_get_str(const struct json *obj, struct str key);
/* The same, case counts: for maps whose keys are data. */
const struct json *json_get_exact(const struct json *obj, const char *key);

/* Each returns false and leaves `*out` alone when the node is missing or has another type. Nothing is converted:
 * 1.0, 1e3 and "1" are no integers, as in Go; nothing is rounded. */
bool json_str(const struct json *node, struct str *out); /* decoded; may hold NUL bytes; borrowed from text or arena */
bool json_i64(const struct json *node, int64_t *out);
bool json_u64(const struct json *node, uint64_t *out);
bool json_f64(const struct json *node, double *out); /* false also when out of range */
bool json_bool(const struct json *node, bool *out);

/* Elements or members; 0 for anything else. */
size_t json_len(const struct json *container);
/* The first element, or the value of the first member; null when there is none. */
const struct json *json_first(const struct json *container);
/* The next sibling; null after the last one. */
const struct json *json_next(const struct json *node);
/* The decoded key of a member's value; empty for anything else. */
struct str json_key_of(const struct json *node);
#define JSON_EACH(it, container) for (const struct json *it = json_first(container); it != NULL; it = json_next(it))

/* The source text of the node, borrowed from the parsed text; empty for null. Valid JSON by itself. */
struct str json_raw(const struct json *node);
/* Line and column (bytes), both from 1. `text` is what was parsed. 0:0 when `node` is null. */
void json_pos(const struct json *node, struct str text, int *line_out, int *col_out);

#endif
