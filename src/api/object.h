/* The objects of answers as tables of their fields: one table writes the JSON and makes the schema of the OpenAPI
 * document. Pure; any thread that holds references to what is written. */
#ifndef API_OBJECT_H
#define API_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prefix_list.h"
#include "base/rcbuf.h"
#include "codec/json_write.h"

struct auth_key;
struct json;
struct user;

/* What an object is written from. */
struct op_view {
    const void *row;            /* what the offsets of the fields are in */
    const struct user *owner;   /* of a key or node; null: none, or not at hand */
    const struct auth_key *key; /* that a node registered with; null: none, or deleted */
    const char *secret;         /* the whole text of a key, which is shown this once; null: only how it begins */
    uint64_t newest;            /* the id of the version of the policy that is in force */
    const struct json *host;    /* a node's Hostinfo; null: none that can be read */
};

/* What a field is in C and in JSON. */
enum op_field_type {
    FIELD_ID,       /* unsigned, any size: an id, as text */
    FIELD_TEXT,     /* char[] */
    FIELD_CSTR,     /* const char *; null is "" */
    FIELD_STR,      /* struct str */
    FIELD_BOOL,     /* bool */
    FIELD_NUMBER,   /* unsigned, any size */
    FIELD_INT,      /* int */
    FIELD_TIME,     /* int64_t, ms since 1970, as RFC 3339 text; 0 is null */
    FIELD_TEXTS,    /* struct rcbuf *: a JSON array of strings, null is [] */
    FIELD_PREFIXES, /* struct prefix_list *, null is [] */
    FIELD_OBJECT,   /* of `object`, by `write` */
    FIELD_OBJECTS,  /* an array of them, by `write` */
};

struct op_field {
    const char *name; /* in JSON */
    enum op_field_type type;
    size_t offset; /* in the view's row */
    size_t size;
    /* Writes the value instead of what stands at `offset`. */
    void (*write)(struct json_writer *w, const struct op_view *v);
    const struct op_object *object; /* of FIELD_OBJECT and FIELD_OBJECTS */
    bool is_nullable;               /* times are without saying so */
    bool is_optional;               /* may be missing: only in objects that their operations write */
    const char *choices;            /* of a text: the values that it has, separated by spaces; null: any */
    const char *help;               /* for people: what it says, without its type */
};

struct op_object {
    const char *name; /* of its schema */
    const char *help;
    const struct op_field *fields;
    size_t field_n;
};

/* A row of a table of fields: the member `member` of struct `row`. */
#define OP_FIELD(json_name, kind, row, member, ...)                                                                    \
    {.name = (json_name),                                                                                              \
     .type = (kind),                                                                                                   \
     .offset = offsetof(struct row, member),                                                                           \
     .size = sizeof(((const struct row *)0)->member),                                                                  \
     __VA_ARGS__}
/* The same for a value that a function writes. */
#define OP_FIELD_BY(json_name, kind, function, ...)                                                                    \
    {.name = (json_name), .type = (kind), .write = (function), __VA_ARGS__}

/* Defines an object with the fields of the array that is called `table`. */
#define OP_OBJECT(id, schema_name, table, text)                                                                        \
    const struct op_object id = {.name = (schema_name), .help = (text), .fields = (table), .field_n = ARRAY_LEN(table)}

/* Writes one value: the object, or null when there is no row. For objects all of whose fields stand in the row or
 * have a function. */
void op_object_write(struct json_writer *w, const struct op_object *object, const struct op_view *v);
/* The same without the braces: members of an object that the caller has opened. There is a row. */
void op_fields_write(struct json_writer *w, const struct op_object *object, const struct op_view *v);

#endif
