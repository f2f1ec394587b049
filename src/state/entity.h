/* Entities: the kinds of objects of the model that have rows, each described once. From the description come its table,
 * its SQL, loading and writing, the store in memory, dump and import, and what is undone when a batch is refused: none
 * of them knows any entity by name.
 *
 * An entity is a struct that begins with ROW_HEAD, a description (`const struct entity entity_NAME` in the file of the
 * struct), and a line in entities.c, which says how the state takes its rows in. */
#ifndef STATE_ENTITY_H
#define STATE_ENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"
#include "state/row.h"

/* The type of the member that a column keeps, which decides about its type on disk. NULL on disk reads as zero, "" or
 * null; nothing else is converted. */
enum column_type {
    COLUMN_BOOL,     /* bool */
    COLUMN_INT,      /* int64_t, or an unsigned integer or enum of `cap` bytes: between min and max */
    COLUMN_TEXT,     /* char[cap], terminated */
    COLUMN_BYTES,    /* uint8_t[cap]: always all of them */
    COLUMN_JSON,     /* struct rcbuf *, at most COLUMN_JSON_MAX_BYTES of text that nothing here reads; null: none */
    COLUMN_BLOB,     /* struct rcbuf *, at most `max` bytes; never null */
    COLUMN_IP,       /* struct addr without a port, of family `max`; family 0: none */
    COLUMN_PREFIXES, /* struct prefix_list *, as "10.0.0.0/8 fd00::/8"; null: none */
    COLUMN_HOOK,     /* text that `write` makes and `read` takes; never NULL on disk */
};
enum { COLUMN_JSON_MAX_BYTES = 1 << 20, COLUMN_PREFIXES_MAX = 1024 };

enum column_flags {
    COLUMN_NULL_IF_ZERO = 1, /* 0, or only zero bytes, is NULL on disk (COLUMN_INT, COLUMN_BYTES) */
    COLUMN_SECRET = 2,       /* left out of dumps, unless they are asked for */
    COLUMN_PRESENCE = 4,     /* a node or relay reports it, and no rule decides: see ARCHITECTURE.md */
    COLUMN_UNIQUE = 8,       /* in its tailnet; NULL may occur more than once */
    COLUMN_LENIENT = 16,     /* words that are no prefixes are left out; else they make the row bad (COLUMN_PREFIXES) */
    COLUMN_NOT_EMPTY = 32,   /* text without a prefix makes the row bad (COLUMN_PREFIXES) */
};

struct column {
    const char *name;
    enum column_type type;
    size_t offset;         /* of the member */
    size_t cap;            /* its size */
    int64_t min, max;      /* of integers; both 0: any */
    unsigned flags;        /* enum column_flags */
    int since;             /* the schema version that brought it; 0: that of the table */
    const char *refers_to; /* the table that has a row with this id, deleted after this one; null: none */
    /* COLUMN_HOOK: appends the text of the member; makes the member of a text, and may put another object in place of
     * `*object`. RC_INVALID: the text is none that `write` makes. */
    void (*write)(const struct row *object, struct buf *out);
    enum rc (*read)(struct row **object, struct str text);
};
/* The first members of a column: {COLUMN_OF("name", COLUMN_TEXT, struct user, name), .flags = COLUMN_UNIQUE}. */
#define COLUMN_OF(column_name, column_type, object, member)                                                            \
    .name = (column_name), .type = (column_type), .offset = offsetof(object, member),                                  \
    .cap = sizeof(((object *)NULL)->member)
/* Bounds of a column with an id, or none. */
#define COLUMN_IS_ID .min = 0, .max = INT64_MAX

/* The column `id`, which all entities have and no description lists. */
extern const struct column column_id;

/* A value on its way from an object to a table, or back. */
enum value_kind { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_BYTES };
struct column_value {
    enum value_kind kind;
    int64_t number;
    struct str bytes; /* of text and bytes; borrowed */
    bool is_scratch;  /* they are in the scratch of column_write, not in the object */
};
/* What the column keeps of the object. What must be formatted for it is put into `scratch`, which is emptied first. */
void column_write(const struct column *c, const struct row *object, struct buf *scratch, struct column_value *out);
/* The opposite; `*object` may be another one afterwards (COLUMN_HOOK). RC_INVALID: the column cannot have this
 * value. */
MUST_CHECK enum rc column_read(const struct column *c, struct row **object, const struct column_value *value);
/* The kind of the values that are not NULL. */
enum value_kind column_kind(const struct column *c);
/* Whether NULL is written. */
bool column_is_nullable(const struct column *c);

struct entity {
    const char *name;             /* "user" */
    const char *table;            /* "users" */
    unsigned number;              /* names it for ever, in the table of counters; from 1, below ENTITIES_MAX */
    int since;                    /* the schema version that brought its table */
    uint64_t id_max;              /* ids are 1 to this */
    bool is_counted;              /* ids are given by counting, and never twice: see row_next_id */
    bool is_in_snapshot;          /* snapshots show its rows: see sealed.c */
    size_t size;                  /* of the object */
    const struct column *columns; /* without id and tailnet, which all have */
    size_t column_n;
    /* For objects with more than their columns; null otherwise. The first frees an object to which no reference is
     * left, the second is row_copy. */
    void (*destroy)(struct row *object);
    struct row *(*copy)(const struct row *object);
};
enum {
    ENTITIES_MAX = 64,
    /* Ids may be sparse, but counting never reaches 2^62. */
    ROW_ID_BITS = 62,
};
#define ROW_ID_MAX ((UINT64_C(1) << ROW_ID_BITS) - 1)

/* The descriptions, each in the file of its struct. */
extern const struct entity entity_counter, entity_user, entity_auth_key, entity_relay_host, entity_policy_text,
    entity_node;

/* The schema version that brought the column of the entity. */
int entity_column_since(const struct entity *e, const struct column *c);
/* An object of the entity, all zero but for the count of references, which is 1: the caller's. */
struct row *entity_create(const struct entity *e);
/* Another reference to the object: the same pointer; null is fine. */
const struct row *row_ref(const struct row *object);
/* A copy to change before it is shared; the caller owns the one reference. */
struct row *row_copy(const struct entity *e, const struct row *object);
/* Drops a reference and nulls the pointer; null is fine. */
void row_unref(const struct entity *e, const struct row **object);

/* The next id of an entity to be given, so that none is used twice even when the newest row was deleted before a
 * restart. Its id is the number of that entity. */
struct counter {
    ROW_HEAD;
    uint64_t next;
};

#endif
