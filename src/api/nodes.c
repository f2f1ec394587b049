/* Nodes. src: Headscale 0.30-dev REST API v1 */
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

/* --- nodes.list --- */

struct list_params {
    struct str user;
};

static const struct op_member list_members[] = {
    OP_MEMBER("user", OP_QUERY, OP_TEXT, list_params, user, .max = USER_NAME_CAP - 1,
              .help = "only nodes of this user, by id or name"),
};

/* Reads the working state, not the snapshot: a client that has just got the answer that a node is deleted must not see
 * it. */
static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct list_params *p = call->params;
    const struct user *owner;
    size_t seen = 0;
    (void)now_ms;
    TRY(api_find_user(st, p->user, &owner, err));
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

/* --- nodes.get --- */

struct one_params {
    uint64_t id;
};
#define NODE_ID(params) OP_MEMBER("id", OP_PATH, OP_ID, params, id, .is_required = true, .help = "the node's id")

static const struct op_member one_members[] = {NODE_ID(one_params)};

static enum rc run_get(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct one_params *p = call->params;
    const struct node *n = state_node(st, p->id);
    (void)now_ms;
    if (n == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no node with id %llu (list them: nodes list)",
                       (unsigned long long)p->id);
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- nodes.rename --- */

struct rename_params {
    uint64_t id;
    struct str name;
};

static const struct op_member rename_members[] = {
    NODE_ID(rename_params),
    OP_MEMBER("name", OP_PATH, OP_TEXT, rename_params, name, .is_required = true, .max = HOSTNAME_CAP - 1,
              .help = "the new name, a DNS label"),
};

static enum rc run_rename(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct rename_params *p = call->params;
    const struct node *n;
    (void)now_ms;
    TRY(state_node_rename(st, p->id, p->name, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- nodes.expire --- */

struct expire_params {
    uint64_t id;
    int64_t expiry_ms; /* 0: now */
    bool is_never;
    bool is_never_by_query;
};

/* Older Headscale takes both as query parameters. */
static const struct op_member expire_members[] = {
    NODE_ID(expire_params),
    OP_MEMBER("expiry", OP_BODY, OP_TIME, expire_params, expiry_ms, .help = "when its key expires; absent: now"),
    OP_MEMBER("disableExpiry", OP_BODY, OP_BOOL, expire_params, is_never, .help = "its key never expires"),
    OP_MEMBER("disableExpiry", OP_QUERY, OP_BOOL, expire_params, is_never_by_query,
              .help = "the same, for older clients"),
};

static enum rc check_expire(struct api_call *call, struct err *err)
{
    struct expire_params *p = call->params;
    p->is_never = p->is_never || p->is_never_by_query;
    if (p->is_never && p->expiry_ms != 0)
        return err_set(err, RC_INVALID, "expiry and disableExpiry exclude each other");
    return RC_OK;
}

static enum rc run_expire(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct expire_params *p = call->params;
    const struct node *n;
    if (!p->is_never && p->expiry_ms == 0)
        p->expiry_ms = now_ms;
    TRY(state_node_expire(st, p->id, p->is_never ? NO_EXPIRY : p->expiry_ms, now_ms, &n, err));
    api_keep_node_whole(call, st, n);
    return RC_OK;
}

/* --- nodes.delete --- */

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct one_params *p = call->params;
    (void)now_ms;
    return state_node_delete(st, p->id, err);
}

/* --- the rows --- */

static const struct operation rows[] = {
    {
        .name = "nodes.list",
        .summary = "list nodes",
        .v1 = {HTTP_GET, "/api/v1/node"},
        .scope = "devices:core:read",
        .kind = JOB_FRESH,
        OP_PARAMS(list_members, struct list_params),
        .run = run_list,
        .write = write_list,
        .answer = {"nodes", &api_node_object, .is_list = true},
        .cli = {"nodes list"},
    },
    {
        .name = "nodes.get",
        .summary = "show one node",
        .v1 = {HTTP_GET, "/api/v1/node/{id}"},
        .scope = "devices:core:read",
        .kind = JOB_FRESH,
        OP_PARAMS(one_members, struct one_params),
        .run = run_get,
        .write = api_write_first_node,
        .answer = {"node", &api_node_object},
        .cli = {"nodes show"},
    },
    {
        .name = "nodes.delete",
        .summary = "delete a node",
        .v1 = {HTTP_DELETE, "/api/v1/node/{id}"},
        .scope = "devices:core",
        .kind = JOB_PEN,
        OP_PARAMS(one_members, struct one_params),
        .run = run_delete,
        .audit = "deleted node {id}",
        .cli = {"nodes delete"},
    },
    {
        .name = "nodes.rename",
        .summary = "give a node another name",
        .v1 = {HTTP_POST, "/api/v1/node/{id}/rename/{name}"},
        .scope = "devices:core",
        .kind = JOB_PEN,
        OP_PARAMS(rename_members, struct rename_params),
        .run = run_rename,
        .write = api_write_first_node,
        .answer = {"node", &api_node_object},
        .audit = "renamed node {id} to {name}",
        .cli = {"nodes rename"},
    },
    {
        .name = "nodes.expire",
        .summary = "expire a node's key, now or later",
        .v1 = {HTTP_POST, "/api/v1/node/{id}/expire"},
        .scope = "devices:core",
        .kind = JOB_PEN,
        OP_PARAMS(expire_members, struct expire_params),
        .check = check_expire,
        .run = run_expire,
        .write = api_write_first_node,
        .answer = {"node", &api_node_object},
        .audit = "set the expiry of node {id}: {expiry}",
        .cli = {"nodes expire"},
    },
};
const struct operations api_node_operations = {rows, ARRAY_LEN(rows)};
