/* The loader's state, and its files from bottom to top; only for this folder.
 *
 *   loaded.c         where values were set, notes for the operator
 *   load_values.c    one row from text or YAML
 *   load_file.c, load_env.c, load_defaults.c   the sources, in this order: what is set first wins
 *   check.c          the rules between keys
 *   load.c           calls all of them */
#ifndef CONFIG_LOAD_INTERNAL_H
#define CONFIG_LOAD_INTERNAL_H

#include "base/arena.h"
#include "codec/yaml.h"
#include "config/schema_internal.h"
#include "config/value_internal.h"

/* An error or warning for the operator. */
struct note {
    struct note *next;
    bool is_error;
    struct err err;
    const char *text; /* begins with its position */
};

/* Where a row got its value from. */
struct origin {
    bool is_set; /* by file or environment */
    bool is_env;
    const char *env; /* the variable's name */
    int line, col;
};

/* What config_load returns a pointer into. */
struct loaded {
    struct config cfg; /* first */
    struct arena arena;
    const char *path;       /* "" when there was no file */
    struct origin *origins; /* one per row */
    struct note *notes;
    struct note **notes_end;
    size_t errors_n;
    size_t notes_n;
};

struct old_use {
    struct old_use *next;
    const struct schema_old *old;
    const struct yaml *value;
};

struct loader {
    struct loaded *out;
    const struct config_source *src;
    const char *base_dir;
    struct origin *origins; /* those of `out` */
    struct old_use *olds;   /* renamed keys that the file holds */
};

enum { LOAD_MAX_NOTES = 100 };

/* --- loaded.c --- */
/* Adds a note at a position in the file; line 0: none. After LOAD_MAX_NOTES notes only the first error is kept. */
void loader_note(struct loader *l, bool is_error, int line, int col, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* The same at `file`, which may be a variable of the environment; null: none. */
void loader_note_at(struct loader *l, bool is_error, const char *file, int line, int col, const char *text);
/* A note that begins with `row_name`, at the position where that key was set. */
void loader_note_row(struct loader *l, bool is_error, const char *row_name, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Whether file or environment set the key, which must exist. */
bool loader_is_set(const struct loader *l, const char *row_name);

/* --- load_values.c: a value that does not fit is noted as an error, and the row counts as not set --- */
/* Sets a row from text; lists are split at spaces and commas. `name` is what notes call the key; relative paths are
 * resolved against `base_dir`. */
void loader_set_text(struct loader *l, const struct schema_row *row, const char *name, const char *base_dir,
                     struct value_item item);
/* Sets a row from the file. An empty value leaves it unset; a row that is set already is an error. */
void loader_set_yaml(struct loader *l, const struct schema_row *row, const char *name, const struct yaml *value);
/* Splits at spaces, commas, tabs and line ends; returns how many. `items` has room for (text.len + 1) / 2. */
size_t loader_split_items(struct str text, int line, int col, struct value_item *items);
/* Whether a value is null, "" or a container without elements: all of them leave a key unset. */
bool loader_is_empty(const struct yaml *value);

/* --- load_file.c --- */
/* Takes all keys of the file, whose text is YAML. */
void loader_take_file(struct loader *l, struct str text);

/* --- load_env.c --- */
/* FULLSCALE_*, which win over the file. */
void loader_take_env(struct loader *l);
/* HEADSCALE_*, for keys that neither the file nor FULLSCALE_* set. Each is noted. */
void loader_take_headscale_env(struct loader *l);

/* --- load_defaults.c --- */
/* Gives every row that is not set its default. */
void loader_take_defaults(struct loader *l);
/* Where the relay listens and which name and port clients are given, where that follows from other keys. */
void loader_place_relay(struct loader *l);
/* Leaves base_domain out of the search domains: clients search it first anyway. */
void loader_drop_searched_twice(struct loader *l);

/* --- check.c --- */
/* Whether both listen at the same port of some address. */
bool config_is_same_port(const struct config_listen *a, const struct config_listen *b);
/* The rules between keys, and what will cause trouble later. All rows have their values. */
void config_check_rules(struct loader *l);

#endif
