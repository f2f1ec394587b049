/* /api/v1/policy: the policy in force, and its versions.
 * src: Headscale 0.30-dev REST API v1, GetPolicy and SetPolicy */
#include <stdio.h>

#include "api/call_internal.h"
#include "api/rows.h"
#include "base/log.h"
#include "reach/reach.h"

LOG_MODULE("policy");

/* What the operations here have in common: each takes members of its own, and leaves the rest. */
struct policy_params {
    uint64_t version;
    struct str text;         /* of a policy */
    struct str author, note; /* of a new version */
    struct policy_doc *doc;  /* the text, compiled; reference */
    struct policy_errors warnings;
    struct str fault; /* why the file is not in force; "" */
};

static void fini_params(struct api_call *call)
{
    struct policy_params *p = call->params;
    policy_doc_unref(&p->doc);
    policy_errors_fini(&p->warnings);
}

#define POLICY_TEXT                                                                                                    \
    OP_MEMBER("policy", OP_BODY, OP_POLICY, policy_params, text, .is_required = true, .help = "the policy, HuJSON")
#define POLICY_VERSION                                                                                                 \
    OP_MEMBER("id", OP_PATH, OP_ID, policy_params, version, .is_required = true, .help = "the number of a version")
#define POLICY_AUTHOR                                                                                                  \
    OP_MEMBER("author", OP_BODY, OP_TEXT, policy_params, author, .max = POLICY_AUTHOR_CAP - 1,                         \
              .help = "who sets it, for the history")

static const struct op_member text_members[] = {POLICY_TEXT};
static const struct op_member set_members[] = {
    POLICY_TEXT,
    POLICY_AUTHOR,
    OP_MEMBER("note", OP_BODY, OP_TEXT, policy_params, note, .max = POLICY_NOTE_CAP - 1,
              .help = "why it is set, for the history"),
};
static const struct op_member version_members[] = {POLICY_VERSION};
static const struct op_member rollback_members[] = {POLICY_VERSION, POLICY_AUTHOR};

/* --- errors --- */

/* The sentence names the first error that has a position, as tools of Headscale show the sentence only. */
static enum rc say_errors(const struct policy_errors *errors, const char *what, struct err *err)
{
    size_t i = 0;
    while (i + 1 < errors->n && errors->v[i].line == 0)
        i++;
    const struct policy_error *e = &errors->v[i];
    char more[48] = "", position[48] = "";
    size_t rest = errors->n - i - 1 + errors->left_out;
    if (e->line > 0)
        snprintf(position, sizeof(position), "line %d, column %d: ", e->line, e->col);
    if (rest > 0)
        snprintf(more, sizeof(more), " (and %zu more)", rest);
    return err_set(err, RC_INVALID, "%s: %s%.300s%s", what, position, e->text, more);
}

enum rc api_policy_compile(struct api_call *call, struct str text, struct policy_doc **out, struct err *err)
{
    if (policy_parse(text, NULL, out, &call->errors) == RC_OK)
        return RC_OK;
    return say_errors(&call->errors, "parsing policy from bytes", err);
}

static enum rc check_text(struct api_call *call, struct err *err)
{
    struct policy_params *p = call->params;
    return api_policy_compile(call, p->text, &p->doc, err);
}

/* Tries the policy on the users and nodes that there are. */
static enum rc run_tests(struct api_call *call, const struct state *st, struct err *err)
{
    struct policy_params *p = call->params;
    struct engine *tried = state_policy_try(st, p->doc);
    engine_warnings(tried, &p->warnings);
    enum rc rc = reach_run_tests(tried, &call->errors);
    engine_destroy(&tried);
    return rc == RC_OK ? RC_OK : say_errors(&call->errors, "nothing has changed: test(s) failed", err);
}

static enum rc check_database(struct api_call *call, struct err *err)
{
    const char *path = call->job.tailnet->policy.path;
    if (path == NULL)
        return RC_OK;
    return err_set(
        err, RC_INVALID,
        "update is disabled for modes other than 'database': with policy.mode file the policy is read from %s",
        path[0] != '\0' ? path : "policy.path, which is not set");
}

/* --- policy.get, policy.get_version --- */

static enum rc run_get(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct policy_params *p = call->params;
    const struct engine *policy = state_policy(st);
    const struct policy_text *t = state_policy_text_newest(st);
    const struct policy_source *source = &call->job.tailnet->policy;
    (void)now_ms;
    if (source->path != NULL) {
        p->text = policy != NULL ? arena_str(&call->arena, policy_doc_text(engine_doc(policy))) : STR_EMPTY;
        p->fault = arena_str(&call->arena, buf_str(&source->fault));
        return RC_OK;
    }
    if (t == NULL)
        return err_set(err, RC_NOT_FOUND, "acl policy not found: none has been set, every node reaches every other");
    api_keep_policy(call, t);
    return RC_OK;
}

static enum rc find_version(const struct state *st, uint64_t id, const struct policy_text **out, struct err *err)
{
    *out = state_policy_text(st, id);
    if (*out != NULL)
        return RC_OK;
    return err_set(err, RC_NOT_FOUND, "there is no version %llu of the policy (list them: policy history)",
                   (unsigned long long)id);
}

static enum rc run_get_version(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct policy_params *p = call->params;
    const struct policy_text *t;
    (void)now_ms;
    TRY(find_version(st, p->version, &t, err));
    api_keep_policy(call, t);
    return RC_OK;
}

static void write_policy(struct api_call *call, struct json_writer *w)
{
    const struct policy_params *p = call->params;
    const struct policy_text *t = call->policies.n > 0 ? call->policies.items[0] : NULL;
    json_w_kv_str(w, "policy", t != NULL ? str_n(t->text->data, t->text->len) : p->text);
    json_w_kv_cstr(w, "mode", call->job.tailnet->policy.path != NULL ? "file" : "database");
    if (t != NULL) {
        op_fields_write(w, &api_version_head_object, &(const struct op_view){.row = t});
        return;
    }
    json_w_key(w, "updatedAt");
    json_w_null(w);
    json_w_kv_cstr(w, "path", call->job.tailnet->policy.path);
    json_w_kv_str(w, "fault", p->fault);
}

/* --- policy.set, policy.rollback --- */

static enum rc check_set(struct api_call *call, struct err *err)
{
    TRY(check_database(call, err));
    return check_text(call, err);
}

static void log_warnings(const struct policy_errors *warnings)
{
    for (size_t i = 0; i < warnings->n; i++)
        log_warn("the policy is used, but", LOG_S("warning", warnings->v[i].text), LOG_I("line", warnings->v[i].line));
}

static enum rc run_set(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct policy_params *p = call->params;
    const struct policy_text *t;
    TRY(run_tests(call, st, err));
    TRY(state_policy_store(st, p->doc, p->author, p->note, now_ms, &t, err));
    log_warnings(&p->warnings);
    api_keep_policy(call, t);
    return RC_OK;
}

static enum rc run_rollback(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct policy_params *p = call->params;
    const struct policy_text *t;
    TRY(find_version(st, p->version, &t, err));
    TRY(api_policy_compile(call, str_n(t->text->data, t->text->len), &p->doc, err));
    p->note = str_c(arena_printf(&call->arena, "rollback to %llu", (unsigned long long)t->id));
    return run_set(call, st, now_ms, err);
}

static void write_warnings(struct api_call *call, struct json_writer *w)
{
    const struct policy_params *p = call->params;
    json_w_key(w, "warnings");
    api_write_policy_errors(w, &p->warnings);
}

static void write_stored(struct api_call *call, struct json_writer *w)
{
    write_policy(call, w);
    write_warnings(call, w);
}

/* --- policy.check --- */

static enum rc run_check(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    return run_tests(call, st, err);
}

/* --- policy.history --- */

static enum rc run_history(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct policy_text *t;
    (void)now_ms;
    (void)err;
    for (size_t pos = 0; (t = state_policy_text_next(st, &pos)) != NULL;)
        api_keep_policy(call, t);
    return RC_OK;
}

/* Writes the versions, the newest first. */
static void write_history(struct api_call *call, struct json_writer *w)
{
    size_t n = call->policies.n;
    json_w_key(w, "versions");
    json_w_array(w);
    for (size_t i = n; i-- > 0;) {
        const struct policy_text *newest = call->policies.items[n - 1];
        api_write_version(w, call->policies.items[i], newest->id);
    }
    json_w_end_array(w);
}

/* --- the rows --- */

static const struct operation rows[] = {
    {
        .name = "policy.get",
        .summary = "show the policy in force",
        .v1 = {HTTP_GET, "/api/v1/policy"},
        .scope = "policy_file:read",
        .kind = JOB_FRESH,
        OP_NO_MEMBERS(struct policy_params),
        .run = run_get,
        .write = write_policy,
        .answer = {NULL, &api_policy_object},
        .cli = {"policy get"},
    },
    {
        .name = "policy.set",
        .summary = "apply a policy",
        .v1 = {HTTP_PUT, "/api/v1/policy"},
        .scope = "policy_file",
        .kind = JOB_PEN,
        .max_body_bytes = API_POLICY_BODY_BYTES,
        OP_PARAMS(set_members, struct policy_params),
        .check = check_set,
        .run = run_set,
        .write = write_stored,
        .fini = fini_params,
        .answer = {NULL, &api_policy_stored_object},
        .audit = "set the policy, {policy}; author {author}, note {note}",
        .cli = {"policy set"},
    },
    {
        .name = "policy.check",
        .summary = "check a policy without applying it",
        .v1 = {HTTP_POST, "/api/v1/policy/check"},
        .scope = "policy_file:read",
        .kind = JOB_FRESH,
        .is_logged = true,
        .max_body_bytes = API_POLICY_BODY_BYTES,
        OP_PARAMS(text_members, struct policy_params),
        .check = check_text,
        .run = run_check,
        .write = write_warnings,
        .fini = fini_params,
        .answer = {NULL, &api_policy_checked_object},
        .cli = {"policy check"},
    },
    {
        .name = "policy.history",
        .summary = "list the versions of the policy",
        .v1 = {HTTP_GET, "/api/v1/policy/history"},
        .scope = "policy_file:read",
        .kind = JOB_FRESH,
        .check = check_database,
        .run = run_history,
        .write = write_history,
        .answer = {"versions", &api_version_object, .is_list = true},
        .cli = {"policy history"},
    },
    {
        .name = "policy.get_version",
        .summary = "show a version of the policy",
        .v1 = {HTTP_GET, "/api/v1/policy/history/{id}"},
        .scope = "policy_file:read",
        .kind = JOB_FRESH,
        OP_PARAMS(version_members, struct policy_params),
        .check = check_database,
        .run = run_get_version,
        .write = write_policy,
        .answer = {NULL, &api_policy_object},
        .cli = {"policy get"},
    },
    {
        .name = "policy.rollback",
        .summary = "apply an earlier version of the policy",
        .v1 = {HTTP_POST, "/api/v1/policy/rollback/{id}"},
        .scope = "policy_file",
        .kind = JOB_PEN,
        OP_PARAMS(rollback_members, struct policy_params),
        .check = check_database,
        .run = run_rollback,
        .write = write_stored,
        .fini = fini_params,
        .answer = {NULL, &api_policy_stored_object},
        .audit = "rolled the policy back to version {id}; author {author}",
        .cli = {"policy rollback"},
    },
};
const struct operations api_policy_operations = {rows, ARRAY_LEN(rows)};
