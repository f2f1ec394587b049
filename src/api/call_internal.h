/* One API call on its way: parsed on the connection's loop, run on the core's thread, answered on the loop again.
 *
 * A call is one row, API_CALL, in the table of its subject (users.c, nodes.c, ...): method, path, kind, how large its
 * body may be, and its functions. Each table is listed once in api.c. */
#ifndef API_CALL_INTERNAL_H
#define API_CALL_INTERNAL_H

#include "api/api.h"
#include "base/arena.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "reach/reach.h"

struct api_call;

enum api_kind {
    API_READ,  /* changes nothing; a GET is not logged */
    API_TRY,   /* tries a policy out and changes nothing; logged */
    API_WRITE, /* changes something; logged */
};

struct api_op {
    enum api_kind kind;
    /* Takes what it needs from the request into the call. `body` is an object, empty when none was sent; its text
     * belongs to the call, so that pointers into it may stay. What comes from `ex` (parameters, queries) is copied into
     * the call's arena: the exchange may be gone when `run` is called. May be null. Loop thread. */
    enum rc (*parse)(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err);
    /* Changes the state, or reads from it: takes references to rows. May be null. Core's thread. */
    enum rc (*run)(struct api_call *call, struct state *st, int64_t now_ms, struct err *err);
    /* Writes the members of the answer. May be null: {}. Loop thread. */
    void (*write)(struct api_call *call, struct json_writer *w);
};

enum {
    API_BODY_BYTES = 64 * 1024,
    /* A policy may be 4 MiB (policy_limits); a larger one is refused with its size rather than just cut off. */
    API_POLICY_BODY_BYTES = 32 << 20,
};

/* A row of a subject's table. */
#define API_CALL(method, path, kind, max_body_bytes, parse, run, write)                                                \
    {                                                                                                                  \
        (method), (path), api_handle, (max_body_bytes), .arg = &(const struct api_op)                                  \
        {                                                                                                              \
            (kind), (parse), (run), (write)                                                                            \
        }                                                                                                              \
    }

struct api_calls {
    const struct http_route *routes;
    size_t n;
};

extern const struct api_calls api_health_calls, api_log_level_calls, api_user_calls, api_node_calls, api_route_calls;
extern const struct api_calls api_relay_calls, api_policy_calls, api_policy_ask_calls, api_key_calls;

/* References, in the order of their ids once sorted. */
struct api_rows {
    const void **items; /* owned */
    size_t n, cap;
};

enum { POLICY_WHY_MAX = 50 };

/* What calls about the policy need. */
struct api_policy_call {
    struct str author, note;
    struct str src, dst;
    int proto, port;
    struct policy_doc *doc;      /* what was sent; reference */
    struct policy_errors errors; /* why it is refused */
    struct policy_errors warnings;
    struct api_rows texts; /* versions */
    struct str fault;
    bool has_policy;
    struct reach_reason reason[POLICY_WHY_MAX];
    size_t reason_n;
    struct engine *before, *after; /* owned; to be compared */
    size_t left_out;
    struct buf changes; /* JSON: the result of the comparison */
};

struct api_call {
    struct core_job job;      /* first */
    struct http_exchange *ex; /* null: the peer has gone */
    const struct api_op *op;
    const struct api *api; /* borrowed */
    struct arena arena;

    /* Set by `run`: what the compare thread does before the answer is written. Meanwhile the call belongs to that
     * thread, except for `ex`. */
    void (*compare)(struct api_call *call);
    struct loop_msg compare_msg;
    bool is_comparing; /* counted: api_compare_enter */

    /* parameters, set by `parse` */
    uint64_t id;
    struct str owner; /* a user, by id or name; len 0: not given */
    struct str text;
    struct str email;
    struct user_spec user;
    enum user_role role;
    struct auth_key_spec key; /* with a reference to its sources */
    struct relay_spec relay;
    const struct str *tags;
    size_t tags_n;
    struct prefix *routes;
    size_t routes_n;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    int64_t when_ms; /* 0: now */
    bool is_never;

    /* results, set by `run` */
    enum rc rc;
    struct err err;
    struct api_rows users;
    struct api_rows keys;
    struct api_rows relays;
    struct api_rows nodes;
    char key_text[AUTH_KEY_TEXT_CAP];
    struct api_policy_call policy;
};

/* --- call.c --- */
/* The handler of every route; the route's argument is a struct api_op, `app` a struct api. */
void api_handle(void *app, struct http_exchange *ex);

/* --- call_params.c: for `parse`, on the loop's thread; RC_INVALID with a sentence in `err` --- */
/* A `parse` for calls whose only parameter is the first {} segment: call->id. */
MUST_CHECK enum rc api_parse_id(struct api_call *call, struct http_exchange *ex, const struct json *body,
                                struct err *err);
/* The first {} segment as an id. */
MUST_CHECK enum rc api_param_id(struct http_exchange *ex, uint64_t *out, struct err *err);
/* A text as an id: a number from 1. */
MUST_CHECK enum rc api_id(struct str text, uint64_t *out, struct err *err);
/* A member as text, copied to the call's arena; numbers are taken as they are written; missing and null give "". */
MUST_CHECK enum rc api_text(struct api_call *call, const struct json *body, const char *name, struct str *out,
                            struct err *err);
/* A member that is true or false; missing gives false. */
MUST_CHECK enum rc api_bool(const struct json *body, const char *name, bool *out, struct err *err);
/* A whole number up to `max`, also as text; missing gives 0. */
MUST_CHECK enum rc api_number(struct api_call *call, const struct json *body, const char *name, uint64_t max,
                              uint64_t *out, struct err *err);
/* An array of at most `max` strings; missing and null give none. */
MUST_CHECK enum rc api_list(struct api_call *call, const struct json *body, const char *name, size_t max,
                            const struct str **out, size_t *n_out, struct err *err);
/* A time as RFC 3339 text; missing, null and the zero time give 0. */
MUST_CHECK enum rc api_time(const struct json *body, const char *name, int64_t *out_ms, struct err *err);
/* A query parameter, copied to the call's arena; "" when absent. */
struct str api_query(struct api_call *call, struct http_exchange *ex, const char *name);

/* --- policy.c --- */
/* A `parse` for the body's "policy", read into the call. RC_INVALID with all errors in call->policy.errors. */
MUST_CHECK enum rc api_policy_take(struct api_call *call, struct http_exchange *ex, const struct json *body,
                                   struct err *err);

/* --- call_kept.c: for `run`, on the core's thread; the call takes references --- */
/* Appends a reference, which is taken over. */
void api_rows_push(struct api_rows *rows, const void *item);
/* Null is fine. */
void api_keep_user(struct api_call *call, const struct user *u);
/* Null is fine. */
void api_keep_key(struct api_call *call, const struct auth_key *k);
void api_keep_relay(struct api_call *call, const struct relay_host *r);
void api_keep_node(struct api_call *call, const struct node *n);
/* All users, in the order of their ids. */
void api_keep_users(struct api_call *call, const struct state *st);
/* The keys of `owner`, or all when that is null, in the order of their ids. */
void api_keep_keys(struct api_call *call, const struct state *st, const struct user *owner);
/* With its owner and key, which the answer shows with it. */
void api_keep_node_whole(struct api_call *call, const struct state *st, const struct node *n);
/* By id, else by name; null: there is none. Borrowed. */
const struct user *api_find_user(const struct state *st, struct str text);
/* RC_NOT_FOUND, with a sentence. */
enum rc api_no_such_user(struct str text, struct err *err);
/* Drops all that the call keeps. */
void api_kept_fini(struct api_call *call);

/* --- call_kept.c: for `write` --- */
/* Those of the kept ones with this id, or null. Borrowed. */
const struct user *api_kept_user(const struct api_call *call, uint64_t id);
const struct auth_key *api_kept_key(const struct api_call *call, uint64_t id);

/* --- nodes.c --- */
/* A `write`: "node", the one that was kept. */
void api_write_first_node(struct api_call *call, struct json_writer *w);

/* --- compare_thread.c --- */
/* For `parse` of a call that will set `compare`. RC_LIMIT: too many compare at this moment. */
MUST_CHECK enum rc api_compare_enter(struct api_call *call, struct err *err);
/* At the end of every call. */
void api_compare_leave(struct api_call *call);
/* Runs call->compare_msg there. */
void api_compare_post(struct api_call *call);

#endif
