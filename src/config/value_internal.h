/* Text to typed value and back, by the type of a schema row. */
#ifndef CONFIG_VALUE_INTERNAL_H
#define CONFIG_VALUE_INTERNAL_H

#include "base/arena.h"
#include "codec/json_write.h"
#include "codec/yaml.h"
#include "config/schema_internal.h"

struct value_item {
    struct str text;
    int line, col; /* 0 when it came from the environment or is a default */
};

struct value_error {
    char why[256]; /* the rest of "KEY ..." */
    int line, col;
};

/* Sets the row's field of `cfg`. Scalars take exactly one item; lists any number. `base_dir` ("" = working directory)
 * is what relative paths stand below. RC_INVALID with `error` filled; the field is then as before. */
MUST_CHECK enum rc value_set(struct arena *a, const struct schema_row *row, const char *base_dir,
                             const struct value_item *items, size_t n, struct config *cfg, struct value_error *error);
/* For SCHEMA_SPLITS and SCHEMA_RECORDS, which only a file can hold. */
MUST_CHECK enum rc value_set_yaml(struct arena *a, const struct schema_row *row, const struct yaml *value,
                                  struct config *cfg, struct value_error *error);
/* The value in force as one JSON value. */
void value_write(const struct schema_row *row, const struct config *cfg, struct json_writer *w);
/* What the reference calls the type. */
const char *value_type_name(enum schema_type type);
/* Whether a value has elements; whether only a file can hold it. */
bool value_is_list(enum schema_type type);
bool value_is_yaml_only(enum schema_type type);
/* "1h30m"; out takes 48 bytes. */
void value_format_duration(int64_t ms, char out[48]);

#endif
