/* The loader's state, for load.c and check.c. */
#ifndef CONFIG_LOAD_INTERNAL_H
#define CONFIG_LOAD_INTERNAL_H

#include "base/arena.h"
#include "codec/yaml.h"
#include "config/schema_internal.h"

/* A sentence for the operator. */
struct note {
    struct note *next;
    bool is_error;
    struct err err;
    const char *text; /* with its place */
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

/* A note at a place in the file. */
void loader_note(struct loader *l, bool is_error, int line, int col, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* A note at the place where `row_name` was set. */
void loader_note_row(struct loader *l, bool is_error, const char *row_name, const char *fmt, ...) PRINTF_LIKE(4, 5);
bool loader_is_set(const struct loader *l, const char *row_name);

/* Is `name` one of the keys, or near one, that say who may do what? A mistake there must not pass. */
bool schema_is_delicate(struct str name);
/* Do both take the same port of some address? */
bool config_is_same_port(const struct config_listen *a, const struct config_listen *b);
/* The rules between keys, and what will hurt later. All rows have their values. */
void config_check_rules(struct loader *l);

#endif
