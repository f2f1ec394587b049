/* The life of a call, and the form of errors. */
#include "api/call_internal.h"
#include "api/rows.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"

LOG_MODULE("api");
METRIC_COUNTER(requests, "fullscale_api_requests_total", "", "Requests to the admin API.");
METRIC_COUNTER(refused, "fullscale_api_errors_total", "",
               "Requests to the admin API that were answered with an error.");
METRIC_COUNTER(denied, "fullscale_api_denied_total", "",
               "Requests to the admin API whose caller lacks the scope that they need.");

/* --- errors --- */

static void respond_problem(struct http_exchange *ex, int status, enum rc rc, const char *detail,
                            const struct policy_errors *errors)
{
    struct buf out = {0};
    struct json_writer w;
    metric_inc(&refused);
    if (status == 503)
        http_set_header(ex, "Retry-After", STR(CORE_BUSY_RETRY_AFTER));
    json_w_init(&w, &out);
    api_write_problem(&w, status, rc, detail, errors);
    http_respond(ex, status, "application/problem+json", buf_str(&out));
    buf_fini(&out);
}

static void respond_error(struct http_exchange *ex, int status, enum rc rc, const char *detail)
{
    static const struct policy_errors none;
    respond_problem(ex, status, rc, detail, &none);
}

static void respond_err(const struct api_call *call)
{
    enum rc rc = call->rc;
    /* 400 for a user that has nodes, as in Headscale, whose tools expect that. */
    int status = rc == RC_IN_USE ? 400 : rc_http_status(rc);
    respond_problem(call->ex, status, rc, call->err.text[0] != '\0' ? call->err.text : rc_text(rc), &call->errors);
}

void api_unmatched(void *app, struct http_exchange *ex, int status)
{
    (void)app;
    respond_error(ex, status, status == 405 ? RC_UNSUPPORTED : RC_NOT_FOUND,
                  status == 405 ? "this path does not take that method" : "there is no such path in this API");
}

/* --- a call's life --- */

static void call_destroy(struct api_call *call)
{
    if (call->op->fini != NULL)
        call->op->fini(call);
    api_kept_fini(call);
    api_compare_leave(call);
    policy_errors_fini(&call->errors);
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

/* All but plain reads; HEAD, which no command of ours sends, is logged on every route. */
static void log_request(const struct api_call *call)
{
    const struct http_request *req = http_request(call->ex);
    if (call->op->audit != NULL || call->op->is_logged || req->method != HTTP_GET)
        log_info("admin request", LOG_STR("method", req->method_name), LOG_STR("path", req->path),
                 LOG_S("result", call->rc == RC_OK ? "ok" : rc_text(call->rc)));
}

static void finish(struct api_call *call)
{
    if (call->ex != NULL) {
        log_request(call);
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

static void set_actor(const struct api_call *call, struct state *st, int64_t now_ms)
{
    const char *name = call->listener->caller.name;
    struct event_actor actor = {.by = EVENT_BY_ADMIN, .name = rcbuf_create(name, strlen(name))};
    state_set_actor(st, &actor, now_ms);
    rcbuf_unref(&actor.name);
}

/* What changes a row is durable; that other things change, such as log levels, is not. */
static void on_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, job);
    const struct operation *op = call->op;
    size_t rows_before = state_pending_rows(st);
    if (op->audit != NULL)
        set_actor(call, st, now_ms);
    call->rc = op->run != NULL ? op->run(call, st, now_ms, &call->err) : RC_OK;
    bool has_rows = state_pending_rows(st) > rows_before;
    if (op->audit != NULL && call->rc == RC_OK && (has_rows || call->has_changed))
        state_note_operation(st, op->name, api_audit_text(call), has_rows);
}

/* The core has the job, which ends without an answer. */
static void on_closed(void *ctx)
{
    struct api_call *call = ctx;
    call->ex = NULL;
}

static bool take_query(void *ctx, const char *name, struct str *out)
{
    return http_query(ctx, name, out);
}

/* In this order, so that who may not call an operation learns nothing by it. */
static enum rc take_request(struct api_call *call, const struct api_route *route, struct err *err)
{
    const struct operation *op = call->op;
    const struct api_caller *caller = &call->listener->caller;
    const struct http_request *req = http_request(call->ex);
    const struct api_input in = {api_operation_path(op, route->version)->path, req->params, take_query, call->ex,
                                 req->body};
    if (!api_caller_has(caller, op->scope)) {
        metric_inc(&denied);
        return err_set(err, RC_DENIED, "%s needs the scope %s, which %.80s does not have", op->name, op->scope,
                       caller->name);
    }
    TRY(api_request_read(call, &in, err));
    TRY(op->check != NULL ? op->check(call, err) : RC_OK);
    if (op->draws_secret)
        rng_bytes(call->random, sizeof(call->random));
    return RC_OK;
}

static struct api_call *call_create(struct api_listener *listener, const struct operation *op, struct http_exchange *ex)
{
    struct api_call *call = MEM_NEW(struct api_call);
    call->op = op;
    call->listener = listener;
    call->api = listener->api;
    call->ex = ex;
    call->params = arena_zalloc(&call->arena, 1, op->params_size + 1);
    call->job.tailnet = listener->api->tailnet;
    call->job.home = http_loop(ex);
    call->job.run = on_run;
    call->job.done = on_done;
    call->job.kind = op->kind;
    return call;
}

void api_handle(void *app, struct http_exchange *ex)
{
    static const struct http_events events = {.closed = on_closed};
    const struct api_route *route = http_route_arg(ex);
    struct api_call *call = call_create(app, route->op, ex);
    metric_inc(&requests);
    call->rc = take_request(call, route, &call->err);
    if (call->rc != RC_OK) {
        respond_err(call);
        call_destroy(call);
        return;
    }
    http_set_events(ex, &events, call);
    const struct waiting_sender sender = waiting_sender_key(WAIT_ADMIN, "", 0);
    if (core_offer(call->api->core, &call->job, &sender, sizeof(*call) + call->arena.held_bytes))
        return;
    call->rc = err_set(&call->err, RC_BUSY, CORE_BUSY_TEXT);
    respond_err(call);
    call_destroy(call);
}
