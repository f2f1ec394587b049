/* One API call on its way: read and checked on the connection's loop, run on the core's thread, answered on the loop
 * again.
 *
 * What it does is a row of the table of operations (operation.h). */
#ifndef API_CALL_INTERNAL_H
#define API_CALL_INTERNAL_H

#include "api/api.h"
#include "base/arena.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "policy/errors.h"

/* Everything that has operations, in the order of the routes: X(SUBJECT) for a table api_SUBJECT_operations. */
#define API_SUBJECTS(X)                                                                                                \
    X(health) X(log_level) X(user) X(node) X(route) X(relay) X(policy) X(policy_ask) X(key) X(openapi) X(setting)

#define API_DECLARE_SUBJECT(subject) extern const struct operations api_##subject##_operations;
API_SUBJECTS(API_DECLARE_SUBJECT)
#undef API_DECLARE_SUBJECT

enum {
    API_BODY_BYTES = 64 * 1024,
    /* A policy may be 4 MiB (policy_limits); a larger one is refused with its size rather than just cut off. */
    API_POLICY_BODY_BYTES = 32 << 20,
};

/* An operation as it is reached: what a route's argument points to. */
struct api_route {
    const struct operation *op;
    unsigned version; /* of the API */
};

/* References, in the order of their ids once sorted. */
struct api_rows {
    const void **items; /* owned */
    size_t n, cap;
};

struct api_call {
    struct core_job job;      /* first */
    struct http_exchange *ex; /* null: the peer has gone */
    const struct operation *op;
    const struct api_listener *listener; /* borrowed */
    const struct api *api;               /* borrowed */
    struct arena arena;

    /* From the request. What `params` points to is of the arena: the exchange may be gone when `run` is called. */
    void *params;   /* the operation's own struct, of params_size */
    uint64_t given; /* a bit for each member of the request that was given, by its place in the row */
    uint8_t random[AUTH_KEY_RANDOM_BYTES]; /* for operations with draws_secret */

    /* Set by `run`: what the compare thread does before the answer is written. Meanwhile the call belongs to that
     * thread, except for `ex`. */
    void (*compare)(struct api_call *call);
    struct loop_msg compare_msg;
    bool is_comparing; /* counted: api_compare_enter */

    /* Results. */
    bool has_changed; /* `run` sets it when it has changed something that no row of the state says */
    enum rc rc;
    struct err err;
    struct policy_errors errors; /* why a policy is refused */
    struct api_rows users;
    struct api_rows keys;
    struct api_rows relays;
    struct api_rows nodes;
    struct api_rows policies; /* versions of the policy */
    char key_text[AUTH_KEY_TEXT_CAP];
};

/* --- call.c --- */
/* The handler of every route; the route's argument is a struct api_route, `app` a struct api_listener. */
void api_handle(void *app, struct http_exchange *ex);

/* --- request.c: pure; on the loop's thread --- */
/* What a request brings. Borrowed for the call of api_request_read. */
struct api_input {
    const char *path;         /* of the route */
    const struct str *params; /* what stands for the path's {} */
    /* The query parameter of this name; false: none. */
    bool (*query)(void *ctx, const char *name, struct str *out);
    void *ctx;
    struct str body;
};
/* Reads all members of the operation's row into call->params; what they point to is of the call's arena. RC_INVALID
 * with a sentence that names the member, or says what is wrong with the body. */
MUST_CHECK enum rc api_request_read(struct api_call *call, const struct api_input *in, struct err *err);
/* Whether the request has a member of this name. The operation has one. */
bool api_is_given(const struct api_call *call, const char *name);

/* --- audit.c --- */
/* The operation's audit text with the members of this call in it; of the call's arena. */
struct str api_audit_text(struct api_call *call);

/* --- policy.c --- */
/* Compiles a text; *out is the caller's reference. RC_INVALID with all errors in call->errors. */
MUST_CHECK enum rc api_policy_compile(struct api_call *call, struct str text, struct policy_doc **out, struct err *err);

/* --- call_kept.c: for `run`, on the core's thread; the call takes references --- */
/* Appends a reference, which is taken over. */
void api_rows_push(struct api_rows *rows, const void *item);
/* Null is fine. */
void api_keep_user(struct api_call *call, const struct user *u);
/* Null is fine. */
void api_keep_key(struct api_call *call, const struct auth_key *k);
void api_keep_relay(struct api_call *call, const struct relay_host *r);
void api_keep_node(struct api_call *call, const struct node *n);
void api_keep_policy(struct api_call *call, const struct policy_text *t);
/* All users, in the order of their ids. */
void api_keep_users(struct api_call *call, const struct state *st);
/* The keys of `owner`, or all when that is null, in the order of their ids. */
void api_keep_keys(struct api_call *call, const struct state *st, const struct user *owner);
/* With its owner and key, which the answer shows with it. */
void api_keep_node_whole(struct api_call *call, const struct state *st, const struct node *n);
/* By id, else by name. RC_NOT_FOUND with a sentence. *out is borrowed; null when `text` is empty. */
MUST_CHECK enum rc api_find_user(const struct state *st, struct str text, const struct user **out, struct err *err);
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
/* For `check` of an operation that will set `compare`. RC_LIMIT: too many compare at this moment. */
MUST_CHECK enum rc api_compare_enter(struct api_call *call, struct err *err);
/* At the end of every call. */
void api_compare_leave(struct api_call *call);
/* Runs call->compare_msg there. */
void api_compare_post(struct api_call *call);

#endif
