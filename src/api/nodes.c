/* /api/v1/node */
#include "api/call_internal.h"
#include "api/rows.h"

static void write_node(struct api_call *call, const struct node *n, struct json_writer *w)
{
    struct arena scratch = {0};
    api_write_node(w, n, api_kept_user(call, n->user), api_kept_key(call, n->auth_key), &scratch);
    arena_fini(&scratch);
}

void api_write_first_node(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "node");
    write_node(call, call->nodes.items[0], w);
}

/* --- GET /node?user= --- */

static enum rc parse_list(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    (void)err;
    call->owner = api_query(call, ex, "user");
    return RC_OK;
}

/* Reads the working state, not the snapshot: a client that has just got the answer that a node is deleted must not see
 * it. */
static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user *owner = call->owner.len > 0 ? api_find_user(st, call->owner) : NULL;
    size_t seen = 0;
    (void)now_ms;
    if (call->owner.len > 0 && owner == NULL)
        return api_no_such_user(call->owner, err);
    for (node_id id = 1; seen < state_node_count(st); id++) {
        const struct node *n = state_node(st, id);
        if (n == NULL)
            continue;
        seen++;
        if (owner == NULL || (n->user == owner->id && n->tags == NULL))
            api_keep_node(call, n);
    }
    api_keep_users(call, st);
    api_keep_keys(call, st, NULL);
    return RC_OK;
}

static void write_list(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "nodes");
    json_w_array(w);
    for (size_t i = 0; i < call->nodes.n; i++)
        write_node(call, call->nodes.items[i], w);
    json_w_end_array(w);
}

/* --- GET /node/{id} --- */

static enum rc run_get(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct node *n = state_node(st, call->id);
    (void)now_ms;
    if (n == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no node with id %llu (list them: nodes list)",
                       (unsigned long long)call->id);
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- POST /node/{id}/rename/{name} --- */

static enum rc parse_rename(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    call->text = arena_str(&call->arena, http_request(ex)->params[1]);
    return api_parse_id(call, ex, body, err);
}

static enum rc run_rename(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct node *n;
    (void)now_ms;
    TRY(state_node_rename(st, call->id, call->text, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- POST /node/{id}/expire --- */

/* Older Headscale takes both as query parameters. */
static enum rc parse_expire(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    bool is_never_by_query = str_eq(api_query(call, ex, "disableExpiry"), STR("true"));
    TRY(api_bool(body, "disableExpiry", &call->is_never, err));
    TRY(api_time(body, "expiry", &call->when_ms, err));
    call->is_never = call->is_never || is_never_by_query;
    if (call->is_never && call->when_ms != 0)
        return err_set(err, RC_INVALID, "expiry and disableExpiry exclude each other");
    return api_parse_id(call, ex, body, err);
}

static enum rc run_expire(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct node *n;
    int64_t when_ms = call->is_never ? NO_EXPIRY : call->when_ms != 0 ? call->when_ms : now_ms;
    TRY(state_node_expire(st, call->id, when_ms, now_ms, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- DELETE /node/{id} --- */

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    return state_node_delete(st, call->id, err);
}

/* --- the calls --- */

static const struct http_route routes[] = {
    API_CALL(HTTP_GET, "/api/v1/node", API_READ, API_BODY_BYTES, parse_list, run_list, write_list),
    API_CALL(HTTP_GET, "/api/v1/node/{id}", API_READ, API_BODY_BYTES, api_parse_id, run_get, api_write_first_node),
    API_CALL(HTTP_DELETE, "/api/v1/node/{id}", API_WRITE, API_BODY_BYTES, api_parse_id, run_delete, NULL),
    API_CALL(HTTP_POST, "/api/v1/node/{id}/rename/{name}", API_WRITE, API_BODY_BYTES, parse_rename, run_rename,
             api_write_first_node),
    API_CALL(HTTP_POST, "/api/v1/node/{id}/expire", API_WRITE, API_BODY_BYTES, parse_expire, run_expire,
             api_write_first_node),
};
const struct api_calls api_node_calls = {routes, ARRAY_LEN(routes)};
