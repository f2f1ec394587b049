/* Tags and approved routes of nodes. src: Headscale 0.30-dev REST API v1 */
#include "api/call_internal.h"
#include "api/rows.h"

#define NODE_ID(params) OP_MEMBER("id", OP_PATH, OP_ID, params, id, .is_required = true, .help = "the node's id")

/* --- nodes.set_tags --- */

struct tags_params {
    uint64_t id;
    struct op_texts tags;
};

static const struct op_member tags_members[] = {
    NODE_ID(tags_params),
    OP_MEMBER("tags", OP_BODY, OP_TEXTS, tags_params, tags, .is_required = true, .max = TAGS_MAX,
              .help = "at least one tag, such as [\"tag:web\"]"),
};

static enum rc run_tags(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct tags_params *p = call->params;
    const struct node *n;
    (void)now_ms;
    TRY(state_node_set_tags(st, p->id, p->tags.v, p->tags.n, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- nodes.approve_routes --- */

struct routes_params {
    uint64_t id;
    struct op_prefixes routes;
};

/* The list must be present: an empty one withdraws all approvals. */
static const struct op_member routes_members[] = {
    NODE_ID(routes_params),
    OP_MEMBER("routes", OP_BODY, OP_ROUTES, routes_params, routes, .is_required = true, .max = ROUTES_MAX - 1,
              .help = "an array of prefixes, [] for none"),
};

static enum rc run_routes(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct routes_params *p = call->params;
    const struct node *n;
    (void)now_ms;
    TRY(state_node_approve_routes(st, p->id, p->routes.v, p->routes.n, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- the rows --- */

static const struct operation rows[] = {
    {
        .name = "nodes.set_tags",
        .summary = "replace a node's tags",
        .v1 = {HTTP_POST, "/api/v1/node/{id}/tags"},
        .scope = "devices:core",
        .kind = JOB_PEN,
        OP_PARAMS(tags_members, struct tags_params),
        .run = run_tags,
        .write = api_write_first_node,
        .answer = {"node", &api_node_object},
        .audit = "gave node {id} the tags {tags}",
        .cli = {"nodes tag"},
    },
    {
        .name = "nodes.approve_routes",
        .summary = "approve the routes that a node may serve",
        .v1 = {HTTP_POST, "/api/v1/node/{id}/approve_routes"},
        .scope = "devices:routes",
        .kind = JOB_PEN,
        OP_PARAMS(routes_members, struct routes_params),
        .run = run_routes,
        .write = api_write_first_node,
        .answer = {"node", &api_node_object},
        .audit = "approved the routes {routes} of node {id}",
        .cli = {"nodes approve-routes"},
    },
};
const struct operations api_route_operations = {rows, ARRAY_LEN(rows)};
