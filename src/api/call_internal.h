/* One API request on its way: parsed on the connection's loop, run on the core's thread, written on the loop again. */
#ifndef API_CALL_INTERNAL_H
#define API_CALL_INTERNAL_H

#include "api/api.h"
#include "base/arena.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "reach/reach.h"

struct api_call;

struct api_op {
    /* Takes what it needs from the request into the call. `body` is an object, empty when none was sent; its text belongs to the
     * call, so that pointers into it may stay. What comes from `ex` (parameters, queries) is copied into the call's arena: the
     * exchange may be gone when `run` is called. May be null. Loop thread. */
    enum rc (*parse)(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err);
    /* The event, or what is read: takes references to rows. May be null. Core's thread. */
    enum rc (*run)(struct api_call *call, struct state *st, int64_t now_ms, struct err *err);
    /* The members of the answer. May be null: {}. Loop thread. */
    void (*write)(struct api_call *call, struct json_writer *w);
};

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
    struct buf changes; /* JSON: what the comparison comes to */
};

struct api_call {
    struct core_job job;      /* first */
    struct http_exchange *ex; /* null: the peer has gone */
    const struct api_op *op;
    const struct api *api; /* borrowed */
    struct arena arena;

    /* Set by `run`: what the compare thread does before the answer is written. Meanwhile the call belongs to that thread, except for `ex`. */
    void (*compare)(struct api_call *call);
    struct loop_msg compare_msg;
    bool is_comparing; /* counted: api_compare_enter */

    /* what was asked */
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

    /* what came of it */
    enum rc rc;
    struct err err;
    struct api_rows users;
    struct api_rows keys;
    struct api_rows relays;
    struct api_rows nodes;
    char key_text[AUTH_KEY_TEXT_CAP];
    struct api_policy_call policy;
};

/* An http_handler's body. */
void api_start(struct api *api, struct http_exchange *ex, const struct api_op *op);
/* Answers with an error at once. */
void api_respond_error(struct http_exchange *ex, int status, enum rc rc, const char *detail);

/* --- for parse --- */
/* The first {} segment as an id. */
MUST_CHECK enum rc api_param_id(struct http_exchange *ex, uint64_t *out, struct err *err);
/* A member as text; numbers are taken as they are written; missing and null give "". RC_INVALID for another type. */
MUST_CHECK enum rc api_text(struct api_call *call, const struct json *body, const char *name, struct str *out,
                            struct err *err);
/* false when missing. */
MUST_CHECK enum rc api_bool(const struct json *body, const char *name, bool *out, struct err *err);
/* 0 when missing, null, or the zero time. */
/* A whole number of this range, also as text; 0 when missing. */
MUST_CHECK enum rc api_number(struct api_call *call, const struct json *body, const char *name, uint64_t max,
                              uint64_t *out, struct err *err);
/* An array of at most `max` strings; missing and null give none. */
MUST_CHECK enum rc api_list(struct api_call *call, const struct json *body, const char *name, size_t max,
                            const struct str **out, size_t *n_out, struct err *err);
MUST_CHECK enum rc api_time(const struct json *body, const char *name, int64_t *out_ms, struct err *err);
/* "" when absent. */
struct str api_query(struct api_call *call, struct http_exchange *ex, const char *name);
MUST_CHECK enum rc api_id(struct str text, uint64_t *out, struct err *err);

/* The body's "policy", read into the call. RC_INVALID with all errors in call->policy.errors. */
MUST_CHECK enum rc api_policy_take(struct api_call *call, struct http_exchange *ex, const struct json *body,
                                   struct err *err);
MUST_CHECK enum rc api_policy_parse(struct api_call *call, struct str text, struct err *err);

/* --- for run --- */
void api_rows_push(struct api_rows *rows, const void *item);
void api_keep_user(struct api_call *call, const struct user *u);
void api_keep_key(struct api_call *call, const struct auth_key *k);
void api_keep_relay(struct api_call *call, const struct relay_host *r);
void api_keep_node(struct api_call *call, const struct node *n);
void api_keep_users(struct api_call *call, const struct state *st);
/* Those of `owner`, or all when that is null. */
void api_keep_keys(struct api_call *call, const struct state *st, const struct user *owner);
/* With its owner and key, which the answer shows with it. */
void api_keep_node_whole(struct api_call *call, const struct state *st, const struct node *n);
/* By id, else by name. */
const struct user *api_find_user(const struct state *st, struct str text);
enum rc api_no_such_user(struct str text, struct err *err);

/* --- for write --- */
void api_write_policy_errors(struct json_writer *w, const struct policy_errors *errors);
const struct user *api_kept_user(const struct api_call *call, uint64_t id);
const struct auth_key *api_kept_key(const struct api_call *call, uint64_t id);
/* "node": the one that was kept. */
void api_write_first_node(struct api_call *call, struct json_writer *w);

extern const struct api_op api_user_list, api_user_create, api_user_rename, api_user_role, api_user_delete;
extern const struct api_op api_node_list, api_node_get, api_node_rename, api_node_expire, api_node_delete;
extern const struct api_op api_node_tags, api_node_approve_routes;
extern const struct api_op api_relay_list, api_relay_create, api_relay_delete;
extern const struct api_op api_policy_get, api_policy_set, api_policy_check, api_policy_why, api_policy_diff;
extern const struct api_op api_policy_history, api_policy_get_version, api_policy_rollback;
extern const struct api_op api_key_list, api_key_create, api_key_expire, api_key_delete;

void api_policy_call_fini(struct api_policy_call *p);

/* --- compare_thread.c --- */
/* For `parse` of a call that will set `compare`. RC_LIMIT: too many compare at this moment. */
MUST_CHECK enum rc api_compare_enter(struct api_call *call, struct err *err);
/* At the end of every call. */
void api_compare_leave(struct api_call *call);
/* Runs call->compare_msg there. */
void api_compare_post(struct api_call *call);

#endif
