/* /api/v1/policy: the policy in force, and its versions.
 * src: Headscale 0.30-dev REST API v1, GetPolicy and SetPolicy */
#include <stdio.h>

#include "api/call_internal.h"
#include "api/rows.h"
#include "base/log.h"

LOG_MODULE("policy");

static void keep_text(struct api_call *call, const struct policy_text *t)
{
    api_rows_push(&call->policy.texts, state_policy_text_ref(t));
}

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

static enum rc parse_policy(struct api_call *call, struct str text, struct err *err)
{
    if (policy_parse(text, NULL, &call->policy.doc, &call->policy.errors) == RC_OK)
        return RC_OK;
    return say_errors(&call->policy.errors, "parsing policy from bytes", err);
}

/* A missing text is not an empty one, which would let every node reach every other. */
enum rc api_policy_take(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    struct str text;
    (void)ex;
    if (!json_str(json_get(body, "policy"), &text))
        return err_set(err, RC_INVALID, "\"policy\" is missing, or not text: the policy as a JSON string");
    return parse_policy(call, text, err);
}

/* Tries the policy on the users and nodes that there are. */
static enum rc run_tests(struct api_call *call, const struct state *st, struct err *err)
{
    struct api_policy_call *p = &call->policy;
    struct engine *tried = state_policy_try(st, p->doc);
    engine_warnings(tried, &p->warnings);
    enum rc rc = reach_run_tests(tried, &p->errors);
    engine_destroy(&tried);
    return rc == RC_OK ? RC_OK : say_errors(&p->errors, "nothing has changed: test(s) failed", err);
}

static enum rc need_database(const struct api_call *call, struct err *err)
{
    const char *path = call->api->policy->path;
    if (path == NULL)
        return RC_OK;
    return err_set(
        err, RC_INVALID,
        "update is disabled for modes other than 'database': with policy.mode file the policy is read from %s",
        path[0] != '\0' ? path : "policy.path, which is not set");
}

/* --- GET /policy, GET /policy/history/{id} --- */

static enum rc run_get(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct engine *p = state_policy(st);
    const struct policy_text *t = state_policy_text_newest(st);
    const struct api_policy *source = call->api->policy;
    (void)now_ms;
    if (source->path != NULL) {
        call->text = p != NULL ? arena_str(&call->arena, policy_doc_text(engine_doc(p))) : STR_EMPTY;
        call->policy.fault = arena_str(&call->arena, buf_str(&source->fault));
        return RC_OK;
    }
    if (t == NULL)
        return err_set(err, RC_NOT_FOUND, "acl policy not found: none has been set, every node reaches every other");
    keep_text(call, t);
    return RC_OK;
}

static enum rc parse_version(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    TRY(need_database(call, err));
    return api_param_id(ex, &call->id, err);
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
    const struct policy_text *t;
    (void)now_ms;
    TRY(find_version(st, call->id, &t, err));
    keep_text(call, t);
    return RC_OK;
}

static void write_head(struct json_writer *w, const struct policy_text *t)
{
    api_write_id(w, "version", t->id);
    api_write_time(w, "updatedAt", t->created_ms);
    json_w_kv_cstr(w, "author", t->author);
    json_w_kv_cstr(w, "note", t->note);
}

static void write_policy(struct api_call *call, struct json_writer *w)
{
    const struct policy_text *t = call->policy.texts.n > 0 ? call->policy.texts.items[0] : NULL;
    json_w_kv_str(w, "policy", t != NULL ? str_n(t->text->data, t->text->len) : call->text);
    json_w_kv_cstr(w, "mode", call->api->policy->path != NULL ? "file" : "database");
    if (t != NULL) {
        write_head(w, t);
        return;
    }
    api_write_time(w, "updatedAt", 0);
    json_w_kv_cstr(w, "path", call->api->policy->path);
    json_w_kv_str(w, "fault", call->policy.fault);
}

/* --- PUT /policy, POST /policy/rollback/{id} --- */

static enum rc parse_set(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    TRY(need_database(call, err));
    TRY(api_text(call, body, "author", &call->policy.author, err));
    TRY(api_text(call, body, "note", &call->policy.note, err));
    return api_policy_take(call, ex, body, err);
}

static void log_warnings(const struct policy_errors *warnings)
{
    for (size_t i = 0; i < warnings->n; i++)
        log_warn("the policy is used, but", LOG_S("warning", warnings->v[i].text), LOG_I("line", warnings->v[i].line));
}

static enum rc store(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct api_policy_call *p = &call->policy;
    const struct policy_text *t;
    TRY(run_tests(call, st, err));
    TRY(state_policy_store(st, p->doc, p->author, p->note, now_ms, &t, err));
    log_warnings(&p->warnings);
    keep_text(call, t);
    return RC_OK;
}

static enum rc parse_rollback(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    TRY(parse_version(call, ex, body, err));
    return api_text(call, body, "author", &call->policy.author, err);
}

static enum rc run_rollback(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct policy_text *t;
    TRY(find_version(st, call->id, &t, err));
    TRY(parse_policy(call, str_n(t->text->data, t->text->len), err));
    call->policy.note = str_c(arena_printf(&call->arena, "rollback to %llu", (unsigned long long)t->id));
    return store(call, st, now_ms, err);
}

static void write_warnings(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "warnings");
    api_write_policy_errors(w, &call->policy.warnings);
}

static void write_stored(struct api_call *call, struct json_writer *w)
{
    write_policy(call, w);
    write_warnings(call, w);
}

/* --- POST /policy/check --- */

static enum rc run_check(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    return run_tests(call, st, err);
}

/* --- GET /policy/history --- */

static enum rc parse_history(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)ex;
    (void)body;
    return need_database(call, err);
}

static enum rc run_history(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct policy_text *t;
    (void)now_ms;
    (void)err;
    for (size_t pos = 0; (t = state_policy_text_next(st, &pos)) != NULL;)
        keep_text(call, t);
    return RC_OK;
}

/* Writes the versions, the newest first. */
static void write_history(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "versions");
    json_w_array(w);
    for (size_t i = call->policy.texts.n; i-- > 0;) {
        const struct policy_text *t = call->policy.texts.items[i];
        json_w_object(w);
        write_head(w, t);
        json_w_kv_u64(w, "bytes", t->text->len);
        json_w_kv_bool(w, "current", i + 1 == call->policy.texts.n);
        json_w_end_object(w);
    }
    json_w_end_array(w);
}

/* --- the calls --- */

static const struct http_route routes[] = {
    API_CALL(HTTP_GET, "/api/v1/policy", API_READ, API_BODY_BYTES, NULL, run_get, write_policy),
    API_CALL(HTTP_PUT, "/api/v1/policy", API_WRITE, API_POLICY_BODY_BYTES, parse_set, store, write_stored),
    API_CALL(HTTP_POST, "/api/v1/policy/check", API_TRY, API_POLICY_BODY_BYTES, api_policy_take, run_check,
             write_warnings),
    API_CALL(HTTP_GET, "/api/v1/policy/history", API_READ, API_BODY_BYTES, parse_history, run_history, write_history),
    API_CALL(HTTP_GET, "/api/v1/policy/history/{id}", API_READ, API_BODY_BYTES, parse_version, run_get_version,
             write_policy),
    API_CALL(HTTP_POST, "/api/v1/policy/rollback/{id}", API_WRITE, API_BODY_BYTES, parse_rollback, run_rollback,
             write_stored),
};
const struct api_calls api_policy_calls = {routes, ARRAY_LEN(routes)};
