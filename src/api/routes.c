/* /api/v1/node/{id}/tags and /approve_routes. src: Headscale 0.30-dev REST API v1 */
#include "api/call_internal.h"
#include "api/rows.h"

static enum rc run_tags(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct node *n;
    (void)now_ms;
    TRY(state_node_set_tags(st, call->id, call->tags, call->tags_n, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

static enum rc parse_tags(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    TRY(api_param_id(ex, &call->id, err));
    return api_list(call, body, "tags", TAGS_MAX, &call->tags, &call->tags_n, err);
}

static enum rc parse_route(struct str text, struct prefix *out, struct err *err)
{
    bool had_host_bits;
    char shown[PREFIX_TEXT_CAP];
    if (prefix_parse(text, out, &had_host_bits) != RC_OK)
        return err_set(err, RC_INVALID, "'%.*s' is no route: write an address and a length, such as 10.0.0.0/8",
                       (int)(text.len < 80 ? text.len : 80), text.p);
    prefix_format(out, shown);
    return had_host_bits
               ? err_set(err, RC_INVALID, "'%.*s' has bits beyond its length: did you mean %s?", STR_ARG(text), shown)
               : RC_OK;
}

/* The list must be present: an empty one withdraws all approvals. */
static enum rc parse_routes(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    const struct str *texts;
    size_t n;
    TRY(api_param_id(ex, &call->id, err));
    if (json_is_null(json_get(body, "routes")))
        return err_set(err, RC_INVALID, "routes is missing: an array of prefixes, [] for none");
    TRY(api_list(call, body, "routes", ROUTES_MAX - 1, &texts, &n, err));
    call->routes = arena_zalloc(&call->arena, n + 1, sizeof(*call->routes));
    for (size_t i = 0; i < n; i++)
        TRY(parse_route(texts[i], &call->routes[i], err));
    call->routes_n = n;
    return RC_OK;
}

static enum rc run_routes(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct node *n;
    (void)now_ms;
    TRY(state_node_approve_routes(st, call->id, call->routes, call->routes_n, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- the calls --- */

static const struct http_route routes[] = {
    API_CALL(HTTP_POST, "/api/v1/node/{id}/tags", API_WRITE, API_BODY_BYTES, parse_tags, run_tags,
             api_write_first_node),
    API_CALL(HTTP_POST, "/api/v1/node/{id}/approve_routes", API_WRITE, API_BODY_BYTES, parse_routes, run_routes,
             api_write_first_node),
};
const struct api_calls api_route_calls = {routes, ARRAY_LEN(routes)};
