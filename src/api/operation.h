/* What the admin API can do: one table, a row for each operation.
 *
 * Routes, the checking of requests, permissions, the audit trail, the OpenAPI document and the command line's calls
 * come out of it. A row stands in the file of its subject (users.c, nodes.c, ...), beside the functions that it names;
 * the subjects are listed in API_SUBJECTS (call_internal.h).
 *
 * A request is read in this order: right of the caller, body is JSON, members as the row says (each refusal names the
 * member), `check`. Liberal in what it accepts: numbers also as text, null is absent, unknown members are ignored.
 *
 * The table is constant: any thread. */
#ifndef API_OPERATION_H
#define API_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/op_cli.h"
#include "base/addr.h"
#include "base/rc.h"
#include "base/str.h"
#include "control/job_kind.h"
#include "http/http.h"
#include "state/user.h"

struct api_call;
struct json_writer;
struct op_object;
struct state;

/* --- what a request may hold --- */

/* Where a member stands. */
enum op_in {
    OP_PATH, /* a {name} segment of the path */
    OP_QUERY,
    OP_BODY, /* a member of the JSON object */
};

/* What a member is, and what it becomes in the operation's parameters. Absent members leave zeros. */
enum op_type {
    OP_TEXT,     /* struct str, ended by a NUL; `min` to `max` bytes, max 0: any number. Holds no NUL */
    OP_ID,       /* uint64_t, from 1 */
    OP_BOOL,     /* bool */
    OP_NUMBER,   /* uint64_t, `min` to `max` */
    OP_TIME,     /* int64_t, ms since 1970; RFC 3339 text. "" and the year 1 are absent */
    OP_CHOICE,   /* struct str, ended by a NUL: one of `choices` */
    OP_TEXTS,    /* struct op_texts; `max` entries at most */
    OP_ROUTES,   /* struct op_prefixes; no bits beyond the length, `max` entries at most */
    OP_NETWORKS, /* struct op_prefixes; also addresses, `max` entries at most */
    OP_POLICY,   /* struct str: the text of a policy, of any size that the body may have */
};

struct op_texts {
    const struct str *v; /* of the call's arena */
    size_t n;
};

struct op_prefixes {
    struct prefix *v; /* of the call's arena */
    size_t n;
};

struct op_member {
    const char *name;
    enum op_in in;
    enum op_type type;
    size_t offset; /* in the operation's parameters */
    bool is_required;
    uint64_t min, max;
    const char *choices; /* for OP_CHOICE: separated by spaces */
    const char *help;    /* for people: what it says, without its type */
};

/* A row of a table of members; `params` is the operation's own struct. */
#define OP_MEMBER(member_name, place, kind, params, field, ...)                                                        \
    {.name = (member_name), .in = (place), .type = (kind), .offset = offsetof(struct params, field), __VA_ARGS__}

/* In a row: its members, and the struct that they are read into. */
#define OP_PARAMS(table, params) .members = (table), .member_n = ARRAY_LEN(table), .params_size = sizeof(params)

/* The same for an operation without members that needs a struct for what it finds out. */
#define OP_NO_MEMBERS(params) .params_size = sizeof(params)

/* --- operations --- */

struct op_path {
    enum http_method method;
    const char *path; /* as in struct http_route; null: not in that version of the API */
};

enum { OP_VERSIONS = 2 };

/* What is answered, for the OpenAPI document. */
struct op_answer {
    const char *key;                /* the member of the answer that holds it; null: its members are the answer's own */
    const struct op_object *object; /* null: {} */
    bool is_list;                   /* an array of them */
};

struct operation {
    const char *name;      /* "users.rename": in the audit trail, metrics, and as operationId */
    const char *summary;   /* a few words, no full stop */
    struct op_path v1, v2; /* api_operation_path */
    const char *scope;     /* that the caller needs: "users", or "users:read", which "users" includes */
    enum job_kind kind;    /* JOB_PEN: it changes durable rows */
    bool is_logged;        /* "admin request" in the log, though it changes nothing */
    bool draws_secret;     /* `run` gets random bytes in call->random, for keys */
    size_t max_body_bytes; /* 0: API_BODY_BYTES */
    const struct op_member *members;
    size_t member_n;
    size_t params_size;
    /* Rules across members; may be null. RC_INVALID with a sentence that names the member. Loop thread. */
    enum rc (*check)(struct api_call *call, struct err *err);
    /* Changes the state, or reads from it: takes references to rows. May be null. Core's thread. */
    enum rc (*run)(struct api_call *call, struct state *st, int64_t now_ms, struct err *err);
    /* Writes the members of the answer. May be null: {}. Loop thread. */
    void (*write)(struct api_call *call, struct json_writer *w);
    /* Frees what the parameters own besides the arena's memory; also of calls that were refused. May be null. */
    void (*fini)(struct api_call *call);
    struct op_answer answer;
    /* For the audit trail: "renamed user {id} to {name}", with members of the request in braces. Null: it changes
     * nothing. */
    const char *audit;
    struct op_cli cli; /* the command that calls it */
};

/* The operations of one subject. */
struct operations {
    const struct operation *v;
    size_t n;
    const char *about; /* of their group of commands: "People who own nodes"; null: src/cli says it */
};

/* The operation number `index` from 0, in the order of the routes; null past the last. */
const struct operation *api_operation_at(size_t index);
/* By its name; null: there is none. */
const struct operation *api_operation(const char *name);
/* The subject number `index` from 0; null past the last. */
const struct operations *api_subject_at(size_t index);
/* Method and path in API version 1 or 2; `path` is null when it is not in that version. */
const struct op_path *api_operation_path(const struct operation *op, unsigned version);
/* A member of the request by its name, the first one; null: it has none. */
const struct op_member *api_operation_member(const struct operation *op, const char *name);

/* Whether `text` can be given for the member, as it is written in a path, a query or on a command line (lists with
 * commas): RC_INVALID with the sentence with which the server would refuse it. An empty text that is nothing can. Pure;
 * any thread. */
MUST_CHECK enum rc api_member_check(const struct op_member *m, struct str text, struct err *err);

/* --- who may call them --- */

/* Who calls: given by the listener that the request came by. */
struct api_caller {
    const char *name;          /* for the audit trail */
    const char *const *scopes; /* that it has; "all" and "all:read" are those of all operations */
    size_t scope_n;
};

/* Whether the caller has `scope`, or one that includes it: "users" includes "users:read". */
bool api_caller_has(const struct api_caller *caller, const char *scope);
/* A caller with all scopes; `name` is borrowed. */
struct api_caller api_caller_with_all(const char *name);
/* A user of this role as a caller; `name` is borrowed. Members and billing admins may call nothing. */
struct api_caller api_caller_of_role(enum user_role role, const char *name);

#endif
