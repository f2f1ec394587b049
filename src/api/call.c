#include "api/call_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "proto/tailcfg.h"

LOG_MODULE("api");
METRIC_COUNTER(requests, "fullscale_api_requests_total", "", "Requests to the admin API.");
METRIC_COUNTER(refused, "fullscale_api_errors_total", "",
               "Requests to the admin API that were answered with an error.");

/* How large a body may be is its route's business. */
static const struct json_limits body_limits = {.max_bytes = SIZE_MAX, .max_depth = 16, .max_nodes = 4096};

/* --- errors --- */

/* src: google.rpc.Code, by which tools of Headscale up to 0.29 tell errors apart */
static int grpc_code(int status)
{
    static const struct {
        int status, code;
    } rows[] = {{400, 3}, {401, 16}, {403, 7}, {404, 5}, {405, 12}, {409, 6}, {413, 3}, {429, 8}, {501, 12}, {503, 14}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status == status)
            return rows[i].code;
    }
    return 13;
}

static void respond_problem(struct http_exchange *ex, int status, enum rc rc, const char *detail,
                            const struct policy_errors *errors)
{
    struct buf out = {0};
    struct json_writer w;
    metric_inc(&refused);
    if (status == 503)
        http_set_header(ex, "Retry-After", STR(CORE_BUSY_RETRY_AFTER));
    json_w_init(&w, &out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "title", http_status_text(status));
    json_w_kv_i64(&w, "status", status);
    json_w_kv_cstr(&w, "detail", detail);
    json_w_key(&w, "errors");
    api_write_policy_errors(&w, errors);
    json_w_kv_cstr(&w, "reason", rc_name(rc));
    json_w_kv_i64(&w, "code", grpc_code(status));
    json_w_kv_cstr(&w, "message", detail);
    json_w_key(&w, "details");
    json_w_array(&w);
    json_w_end_array(&w);
    json_w_end_object(&w);
    http_respond(ex, status, "application/problem+json", buf_str(&out));
    buf_fini(&out);
}

void api_respond_error(struct http_exchange *ex, int status, enum rc rc, const char *detail)
{
    static const struct policy_errors none;
    respond_problem(ex, status, rc, detail, &none);
}

static void respond_err(const struct api_call *call)
{
    enum rc rc = call->rc;
    /* A user with nodes is 400 in Headscale, whose tools know that. */
    int status = rc == RC_IN_USE ? 400 : rc_http_status(rc);
    respond_problem(call->ex, status, rc, call->err.text[0] != '\0' ? call->err.text : rc_text(rc),
                    &call->policy.errors);
}

void api_unmatched(void *app, struct http_exchange *ex, int status)
{
    (void)app;
    api_respond_error(ex, status, status == 405 ? RC_UNSUPPORTED : RC_NOT_FOUND,
                      status == 405 ? "this path does not take that method" : "there is no such path in this API");
}

/* --- a call's life --- */

static void call_destroy(struct api_call *call)
{
    for (size_t i = 0; i < call->users.n; i++)
        user_unref((const struct user **)&call->users.items[i]);
    for (size_t i = 0; i < call->keys.n; i++)
        auth_key_unref((const struct auth_key **)&call->keys.items[i]);
    for (size_t i = 0; i < call->nodes.n; i++)
        node_unref((const struct node **)&call->nodes.items[i]);
    for (size_t i = 0; i < call->relays.n; i++)
        state_relay_host_unref((const struct relay_host **)&call->relays.items[i]);
    mem_free(call->relays.items);
    mem_free(call->users.items);
    mem_free(call->keys.items);
    mem_free(call->nodes.items);
    api_policy_call_fini(&call->policy);
    api_compare_leave(call);
    prefix_list_unref(&call->key.sources);
    secret_wipe(call->key_text, sizeof(call->key_text));
    secret_wipe(call->random, sizeof(call->random));
    arena_fini(&call->arena);
    mem_free(call);
}

static void respond(struct api_call *call)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_object(&w);
    if (call->op->write != NULL)
        call->op->write(call, &w);
    json_w_end_object(&w);
    http_respond(call->ex, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

static void log_write_request(const struct api_call *call)
{
    const struct http_request *req = http_request(call->ex);
    if (req->method != HTTP_GET)
        log_info("admin request", LOG_STR("method", req->method_name), LOG_STR("path", req->path),
                 LOG_S("result", call->rc == RC_OK ? "ok" : rc_text(call->rc)));
}

static void finish(struct api_call *call)
{
    if (call->ex != NULL) {
        log_write_request(call);
        if (call->rc == RC_OK)
            respond(call);
        else
            respond_err(call);
    }
    call_destroy(call);
}

static void finish_compared(struct loop *loop, struct loop_msg *msg)
{
    (void)loop;
    finish(CONTAINER_OF(msg, struct api_call, compare_msg));
}

static void run_compare(struct loop *loop, struct loop_msg *msg)
{
    struct api_call *call = CONTAINER_OF(msg, struct api_call, compare_msg);
    (void)loop;
    call->compare(call);
    call->compare_msg.run = finish_compared;
    loop_post(call->job.home, &call->compare_msg);
}

static void on_done(struct core_job *job)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, job);
    if (job->refused != RC_OK)
        call->rc = err_set(&call->err, RC_BUSY, "%s", store_refusal_text(job->refused));
    if (call->rc != RC_OK || call->compare == NULL || call->ex == NULL) {
        finish(call);
        return;
    }
    call->compare_msg.run = run_compare;
    api_compare_post(call);
}

static void on_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, job);
    call->rc = call->op->run != NULL ? call->op->run(call, st, now_ms, &call->err) : RC_OK;
}

/* The job is with the core: it ends without an answer. */
static void on_closed(void *ctx)
{
    struct api_call *call = ctx;
    call->ex = NULL;
}

/* Strings of a tree point into its text, which must live as long as the call: the request's own goes when the peer does. */
static enum rc parse_body(struct api_call *call, struct str body, const struct json **out, struct err *err)
{
    struct err why;
    struct str text = arena_str(&call->arena, str_trim(body));
    if (text.len == 0)
        text = STR("{}");
    if (json_parse(&call->arena, text, &body_limits, out, &why) != RC_OK)
        return err_set(err, RC_INVALID, "the body is no JSON: line %d, column %d: %s", why.line, why.col, why.text);
    if (json_is_null(*out))
        return RC_OK;
    return json_type_of(*out) == JSON_OBJECT ? RC_OK : err_set(err, RC_INVALID, "the body must be a JSON object");
}

void api_start(struct api *api, struct http_exchange *ex, const struct api_op *op)
{
    static const struct http_events events = {.closed = on_closed};
    struct api_call *call = MEM_NEW(struct api_call);
    const struct json *body;
    metric_inc(&requests);
    call->op = op;
    call->api = api;
    call->ex = ex;
    call->job.home = http_loop(ex);
    call->job.run = on_run;
    call->job.done = on_done;
    call->job.is_presence = op->run == NULL;
    call->rc = parse_body(call, http_request(ex)->body, &body, &call->err);
    if (call->rc == RC_OK && op->parse != NULL)
        call->rc = op->parse(call, ex, body, &call->err);
    if (call->rc != RC_OK) {
        respond_err(call);
        call_destroy(call);
        return;
    }
    http_set_events(ex, &events, call);
    const struct wait_who who = wait_who_key(WAIT_ADMIN, "", 0);
    if (core_offer(api->core, &call->job, &who, sizeof(*call) + call->arena.held_bytes))
        return;
    call->rc = err_set(&call->err, RC_BUSY, CORE_BUSY_TEXT);
    respond_err(call);
    call_destroy(call);
}

/* --- for parse --- */

enum rc api_id(struct str text, uint64_t *out, struct err *err)
{
    if (str_to_u64(text, out) == RC_OK && *out != 0)
        return RC_OK;
    return err_set(err, RC_INVALID, "\"%.*s\" is no id: ids are numbers from 1", text.len > 40 ? 40 : (int)text.len,
                   text.p);
}

enum rc api_param_id(struct http_exchange *ex, uint64_t *out, struct err *err)
{
    return api_id(http_request(ex)->params[0], out, err);
}

enum rc api_text(struct api_call *call, const struct json *body, const char *name, struct str *out, struct err *err)
{
    const struct json *node = json_get(body, name);
    *out = STR_EMPTY;
    if (json_is_null(node))
        return RC_OK;
    if (json_type_of(node) == JSON_NUMBER)
        *out = json_raw(node);
    else if (!json_str(node, out))
        return err_set(err, RC_INVALID, "%s must be text", name);
    if (memchr(out->p, '\0', out->len) != NULL)
        return err_set(err, RC_INVALID, "%s must not hold a NUL", name);
    *out = arena_str(&call->arena, *out);
    return RC_OK;
}

enum rc api_bool(const struct json *body, const char *name, bool *out, struct err *err)
{
    const struct json *node = json_get(body, name);
    *out = false;
    return json_is_null(node) || json_bool(node, out) ? RC_OK
                                                      : err_set(err, RC_INVALID, "%s must be true or false", name);
}

enum rc api_number(struct api_call *call, const struct json *body, const char *name, uint64_t max, uint64_t *out,
                   struct err *err)
{
    struct str text;
    TRY(api_text(call, body, name, &text, err));
    *out = 0;
    if (text.len == 0 || (str_to_u64(text, out) == RC_OK && *out <= max))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s must be a whole number up to %llu", name, (unsigned long long)max);
}

enum rc api_list(struct api_call *call, const struct json *body, const char *name, size_t max, const struct str **out,
                 size_t *n_out, struct err *err)
{
    const struct json *list = json_get(body, name);
    size_t n = json_len(list), i = 0;
    if (!json_is_null(list) && json_type_of(list) != JSON_ARRAY)
        return err_set(err, RC_INVALID, "%s must be an array of texts", name);
    if (n > max)
        return err_set(err, RC_INVALID, "%s can have %zu entries", name, max);
    struct str *copy = arena_zalloc(&call->arena, n + 1, sizeof(*copy));
    JSON_EACH (it, list) {
        if (!json_str(it, &copy[i++]))
            return err_set(err, RC_INVALID, "%s must be an array of texts", name);
    }
    *out = copy;
    *n_out = n;
    return RC_OK;
}

enum rc api_time(const struct json *body, const char *name, int64_t *out_ms, struct err *err)
{
    const struct json *node = json_get(body, name);
    struct str text;
    *out_ms = 0;
    if (json_is_null(node) || (json_str(node, &text) && (text.len == 0 || time_parse(text, out_ms) == RC_OK)))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s must be a time such as 2026-12-31T00:00:00Z", name);
}

struct str api_query(struct api_call *call, struct http_exchange *ex, const char *name)
{
    struct str text;
    return http_query(ex, name, &text) ? arena_str(&call->arena, text) : STR_EMPTY;
}

/* --- rows --- */

void api_rows_push(struct api_rows *rows, const void *item)
{
    if (rows->n == rows->cap) {
        rows->cap = rows->cap > 0 ? rows->cap * 2 : 4;
        rows->items = mem_realloc_array(rows->items, rows->cap, sizeof(*rows->items));
    }
    rows->items[rows->n++] = item;
}

void api_keep_user(struct api_call *call, const struct user *u)
{
    if (u != NULL)
        api_rows_push(&call->users, user_ref(u));
}

void api_keep_key(struct api_call *call, const struct auth_key *k)
{
    if (k != NULL)
        api_rows_push(&call->keys, auth_key_ref(k));
}

void api_keep_relay(struct api_call *call, const struct relay_host *r)
{
    api_rows_push(&call->relays, state_relay_host_ref(r));
}

void api_keep_node(struct api_call *call, const struct node *n)
{
    api_rows_push(&call->nodes, node_ref(n));
}

static int by_user_id(const void *a, const void *b)
{
    const struct user *x = *(const struct user *const *)a;
    const struct user *y = *(const struct user *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

void api_keep_users(struct api_call *call, const struct state *st)
{
    const struct user *u;
    for (size_t pos = 0; (u = state_user_next(st, &pos)) != NULL;)
        api_keep_user(call, u);
    if (call->users.n > 1)
        qsort(call->users.items, call->users.n, sizeof(*call->users.items), by_user_id);
}

static int by_key_id(const void *a, const void *b)
{
    const struct auth_key *x = *(const struct auth_key *const *)a;
    const struct auth_key *y = *(const struct auth_key *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

void api_keep_keys(struct api_call *call, const struct state *st, const struct user *owner)
{
    const struct auth_key *k;
    for (size_t pos = 0; (k = state_key_next(st, &pos)) != NULL;) {
        if (owner == NULL || k->user == owner->id)
            api_keep_key(call, k);
    }
    if (call->keys.n > 1)
        qsort(call->keys.items, call->keys.n, sizeof(*call->keys.items), by_key_id);
}

void api_keep_node_whole(struct api_call *call, const struct state *st, const struct node *n)
{
    api_keep_node(call, n);
    api_keep_user(call, state_user(st, n->user));
    api_keep_key(call, n->auth_key != 0 ? state_key(st, n->auth_key) : NULL);
}

const struct user *api_find_user(const struct state *st, struct str text)
{
    uint64_t id;
    const struct user *u = str_to_u64(text, &id) == RC_OK ? state_user(st, id) : NULL;
    return u != NULL ? u : state_user_by_name(st, text);
}

enum rc api_no_such_user(struct str text, struct err *err)
{
    return err_set(err, RC_NOT_FOUND, "there is no user \"%.*s\" (list them: users list)",
                   text.len > 80 ? 80 : (int)text.len, text.p);
}

/* Binary search: users and keys are kept sorted, or are one. */
const struct user *api_kept_user(const struct api_call *call, uint64_t id)
{
    size_t low = 0;
    size_t high = call->users.n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct user *u = call->users.items[mid];
        if (u->id == id)
            return u;
        if (u->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

const struct auth_key *api_kept_key(const struct api_call *call, uint64_t id)
{
    size_t low = 0;
    size_t high = call->keys.n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct auth_key *k = call->keys.items[mid];
        if (k->id == id)
            return k;
        if (k->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}
