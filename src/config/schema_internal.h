/* The table of all keys: what the loader accepts, the defaults, and what `config reference` prints. */
#ifndef CONFIG_SCHEMA_INTERNAL_H
#define CONFIG_SCHEMA_INTERNAL_H

#include "config/config.h"

enum schema_type {
    SCHEMA_STRING,
    SCHEMA_PATH, /* relative ones are resolved against the directory of the file */
    SCHEMA_BOOL,
    SCHEMA_INT,
    SCHEMA_BYTES,
    SCHEMA_DURATION,
    SCHEMA_CHOICE,
    SCHEMA_MODE,
    SCHEMA_LISTEN,
    SCHEMA_PREFIX,
    SCHEMA_STRINGS,
    SCHEMA_PATHS,
    SCHEMA_PREFIXES,
    SCHEMA_SPLITS,
    SCHEMA_RECORDS,
    SCHEMA_TYPE_COUNT
};

struct schema_choice {
    const char *name; /* null ends the list */
    int64_t value;
    bool is_alias; /* accepted, not shown */
};

/* Checks one text (an element, for lists) and may narrow it, e.g. by a trailing dot. On failure returns what is wanted
 * instead, ("must be ..."), else null. */
typedef const char *(*schema_check_fn)(struct str *text);

struct schema_row {
    const char *name;
    enum schema_type type;
    size_t offset; /* into struct config; the C type follows from `type` */
    /* As written in the file. "" = not set. {state_dir}, {run_dir} and {server_url} are replaced. Lists: one item or
     * none. */
    const char *def;
    const char *def_shown; /* shown in the reference instead of `def` */
    const char *unit;
    int64_t min, max; /* for numbers and durations; both 0 = no limits but the type's */
    const struct schema_choice *choices;
    schema_check_fn check;
    bool must_not_be_empty; /* a listen address that cannot be switched off */
    bool is_secret;         /* never printed */
    bool is_name;           /* a DNS name: made lower-case, and a list has each once */
    const char *meaning;
};

/* Keys of Headscale that do not exist here. */
enum schema_old_kind {
    SCHEMA_OLD_MOVED,   /* read as the key `now`, with a note */
    SCHEMA_OLD_IGNORED, /* without a meaning here: a note */
    SCHEMA_OLD_QUIET,   /* not even a note */
    SCHEMA_OLD_LATER,   /* not supported yet: a warning, unless the value is `harmless` */
};

struct schema_old {
    const char *name; /* "x.*" stands for everything below x */
    enum schema_old_kind kind;
    const char *now;
    const char *harmless;
    const char *note;
};

extern const struct schema_row schema_rows[];
extern const size_t schema_rows_n;
extern const struct schema_old schema_olds[];
extern const size_t schema_olds_n;

/* --- schema_names.c: case is ignored in all names --- */
/* The row of a key; null: there is none. */
const struct schema_row *schema_find(struct str name);
/* The position of a row in schema_rows; the key must exist. */
size_t schema_index(const char *name);
/* The row of a key of Headscale that does not exist here, or of the group it is in; null: there is none. */
const struct schema_old *schema_find_old(struct str name);
/* Whether there are rows below `name`, as for "derp". */
bool schema_is_group(struct str name);
/* The key or group of keys that is most like `name`; empty when none is near. */
struct str schema_nearest(struct str name);
/* Whether `name` is, or begins like, one of the keys about access: a mistake in these must not pass. */
bool schema_is_delicate(struct str name);
/* Whether `name` is certainly meant to be `near`, a delicate key. Many a harmless word is like a short key (`note` is
 * no `node`), so that those count only when keys stand below them (`is_map`). */
bool schema_is_misspelt_delicate(struct str name, struct str near, bool is_map);

/* The environment variable of a row: "FULLSCALE_DERP_SERVER_ENABLED", NUL-terminated. */
#define SCHEMA_ENV_PREFIX "FULLSCALE_"
#define SCHEMA_ENV_CAP 96
void schema_env_name(const struct schema_row *row, char out[SCHEMA_ENV_CAP]);

/* --- schema.c: checks of single values, used elsewhere too --- */
/* Splits "http://host:port"; IPv6 hosts without brackets. False for any other text, also with a path, a user or a
 * query. `port` is 0 when not given. */
struct schema_url {
    bool is_https;
    struct str host;
    uint16_t port;
};
bool schema_url_parse(struct str url, struct schema_url *out);
/* LDH labels of 1..63, 253 in all. */
bool schema_is_domain(struct str name);

#endif
