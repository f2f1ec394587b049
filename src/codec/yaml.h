/* YAML: the configuration file (over libfyaml), and `-o yaml` of the command line.
 * The tree is our own, so that no other module depends on the library: maps, sequences and untyped scalars with their
 * positions. Types are the reader's job: `yes` and `010` stay text until a schema says otherwise. Trees are immutable,
 * live in the arena and borrow nothing. */
#ifndef CODEC_YAML_H
#define CODEC_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"
#include "codec/json.h"

enum yaml_type { YAML_NULL, YAML_SCALAR, YAML_SEQ, YAML_MAP };

struct yaml {
    enum yaml_type type; /* YAML_NULL: a plain ~, null, Null, NULL or nothing at all */
    bool is_quoted;      /* scalar in quotes or a block scalar: a string whatever it looks like */
    int line, col; /* of the value, from 1; col counts characters. An empty value has the position of what is before */
    int key_line, key_col; /* of the key, when in a map; else 0 */
    struct str key;        /* when in a map; NUL-terminated */
    struct str text;       /* of a scalar, also of a written null; NUL-terminated */
    size_t n;              /* children */
    const struct yaml *first;
    const struct yaml *next;
};

enum {
    YAML_MAX_BYTES = 1 << 20,
    YAML_MAX_DEPTH = 48, /* below the limit of the library, which has a less telling message */
    YAML_MAX_NODES = 100000,
};

/* Parses one document; an empty one gives a YAML_NULL root. `file_name` (may be null) only goes into errors.
 * Refused: duplicate keys, keys that are no scalars, aliases (`*x`, and with them merge keys), a second document, NUL
 * bytes, invalid UTF-8. Anchors and tags are ignored. RC_INVALID, RC_TOO_LARGE (bytes, nodes), RC_TOO_DEEP; `err` says
 * what, with file, line and column. Prints nothing. */
MUST_CHECK enum rc yaml_parse(struct arena *a, struct str text, const char *file_name, const struct yaml **root_out,
                              struct err *err);

/* The value of a map's key, case counts; null when there is none or `map` is null or no map. */
const struct yaml *yaml_get(const struct yaml *map, const char *key);
#define YAML_EACH(it, container)                                                                                       \
    for (const struct yaml *it = (container) != NULL ? (container)->first : NULL; it != NULL; it = it->next)

/* Writes a JSON tree as block-style YAML that YAML 1.1 and 1.2 readers read back as the same values: strings that could
 * be taken for something else are quoted, of duplicate keys the last is written. Ends with a line end. */
void yaml_from_json(const struct json *root, struct buf *out);

#endif
