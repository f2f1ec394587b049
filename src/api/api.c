/* The routes, and what needs no state: health and log levels. */
#include "api/api.h"

#include "api/call_internal.h"
#include "base/log.h"

/* A policy may be 4 MiB (policy_limits); one that is larger is told so, with its size, rather than just cut off. */
enum { MAX_BODY_BYTES = 64 * 1024, MAX_POLICY_BODY_BYTES = 32 << 20 };

/* --- health --- */

/* "troubles": what works less well than it should; absent when there is nothing. */
static void write_troubles(const struct api *api, struct json_writer *w)
{
    struct buf lines = {0};
    struct str line, rest;
    if (api->troubles != NULL)
        api->troubles(api->troubles_ctx, &lines);
    rest = buf_str(&lines);
    if (rest.len > 0) {
        json_w_key(w, "troubles");
        json_w_array(w);
        while (rest.len > 0) {
            str_cut(rest, '\n', &line, &rest);
            json_w_str(w, line);
        }
        json_w_end_array(w);
    }
    buf_fini(&lines);
}

/* Whether changes can be kept now. */
static void write_health(struct api_call *call, struct json_writer *w)
{
    enum rc fault = core_fault(call->api->core);
    json_w_kv_bool(w, "databaseConnectivity", fault == RC_OK);
    if (fault != RC_OK)
        json_w_kv_cstr(w, "databaseFault", store_refusal_text(fault));
    write_troubles(call->api, w);
}

static const struct api_op health = {NULL, NULL, write_health};

/* --- log levels --- */

static bool is_first_of_its_name(const struct log_module *m)
{
    for (const struct log_module *before = log_module_next(NULL); before != m; before = log_module_next(before)) {
        if (str_eq_c(str_c(before->name), m->name))
            return false;
    }
    return true;
}

static void write_levels(struct api_call *call, struct json_writer *w)
{
    (void)call;
    json_w_key(w, "modules");
    json_w_array(w);
    for (const struct log_module *m = log_module_next(NULL); m != NULL; m = log_module_next(m)) {
        if (!is_first_of_its_name(m))
            continue;
        json_w_object(w);
        json_w_kv_cstr(w, "module", m->name);
        json_w_kv_cstr(w, "level", log_level_name((enum log_level)m->level));
        json_w_end_object(w);
    }
    json_w_end_array(w);
}

static enum rc set_level(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    struct str module;
    struct str text;
    enum log_level level;
    (void)ex;
    TRY(api_text(call, body, "module", &module, err));
    TRY(api_text(call, body, "level", &text, err));
    if (log_level_parse(text.p, &level) != RC_OK)
        return err_set(err, RC_INVALID, "level must be one of trace, debug, info, warn, error, off");
    if (log_set_level(module.len > 0 ? module.p : NULL, level) != RC_OK)
        return err_set(err, RC_NOT_FOUND, "there is no log module \"%.80s\" (list them: log level)", module.p);
    return RC_OK;
}

static const struct api_op log_levels = {NULL, NULL, write_levels};
static const struct api_op log_level_set = {set_level, NULL, write_levels};

/* --- routes --- */

#define HANDLER(name, op)                                                                                              \
    static void name(void *app, struct http_exchange *ex)                                                              \
    {                                                                                                                  \
        api_start(app, ex, &(op));                                                                                     \
    }

HANDLER(on_health, health)
HANDLER(on_log_levels, log_levels)
HANDLER(on_log_level_set, log_level_set)
HANDLER(on_user_list, api_user_list)
HANDLER(on_user_create, api_user_create)
HANDLER(on_user_rename, api_user_rename)
HANDLER(on_user_role, api_user_role)
HANDLER(on_user_delete, api_user_delete)
HANDLER(on_node_list, api_node_list)
HANDLER(on_node_get, api_node_get)
HANDLER(on_node_rename, api_node_rename)
HANDLER(on_node_expire, api_node_expire)
HANDLER(on_node_tags, api_node_tags)
HANDLER(on_node_approve_routes, api_node_approve_routes)
HANDLER(on_node_delete, api_node_delete)
HANDLER(on_relay_list, api_relay_list)
HANDLER(on_relay_create, api_relay_create)
HANDLER(on_relay_delete, api_relay_delete)
HANDLER(on_policy_get, api_policy_get)
HANDLER(on_policy_set, api_policy_set)
HANDLER(on_policy_check, api_policy_check)
HANDLER(on_policy_why, api_policy_why)
HANDLER(on_policy_diff, api_policy_diff)
HANDLER(on_policy_history, api_policy_history)
HANDLER(on_policy_get_version, api_policy_get_version)
HANDLER(on_policy_rollback, api_policy_rollback)
HANDLER(on_key_list, api_key_list)
HANDLER(on_key_create, api_key_create)
HANDLER(on_key_expire, api_key_expire)
HANDLER(on_key_delete, api_key_delete)

const struct http_route api_routes[] = {
    {HTTP_GET, "/api/v1/health", on_health, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/log/level", on_log_levels, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/log/level", on_log_level_set, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/user", on_user_list, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/user", on_user_create, MAX_BODY_BYTES},
    {HTTP_DELETE, "/api/v1/user/{id}", on_user_delete, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/user/{id}/rename/{name}", on_user_rename, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/user/{id}/role", on_user_role, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/node", on_node_list, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/node/{id}", on_node_get, MAX_BODY_BYTES},
    {HTTP_DELETE, "/api/v1/node/{id}", on_node_delete, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/node/{id}/rename/{name}", on_node_rename, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/node/{id}/expire", on_node_expire, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/node/{id}/tags", on_node_tags, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/node/{id}/approve_routes", on_node_approve_routes, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/relay", on_relay_list, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/relay", on_relay_create, MAX_BODY_BYTES},
    {HTTP_DELETE, "/api/v1/relay/{id}", on_relay_delete, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/policy", on_policy_get, MAX_BODY_BYTES},
    {HTTP_PUT, "/api/v1/policy", on_policy_set, MAX_POLICY_BODY_BYTES},
    {HTTP_POST, "/api/v1/policy/check", on_policy_check, MAX_POLICY_BODY_BYTES},
    {HTTP_GET, "/api/v1/policy/why", on_policy_why, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/policy/diff", on_policy_diff, MAX_POLICY_BODY_BYTES},
    {HTTP_GET, "/api/v1/policy/history", on_policy_history, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/policy/history/{id}", on_policy_get_version, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/policy/rollback/{id}", on_policy_rollback, MAX_BODY_BYTES},
    {HTTP_GET, "/api/v1/preauthkey", on_key_list, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/preauthkey", on_key_create, MAX_BODY_BYTES},
    {HTTP_DELETE, "/api/v1/preauthkey", on_key_delete, MAX_BODY_BYTES},
    {HTTP_POST, "/api/v1/preauthkey/expire", on_key_expire, MAX_BODY_BYTES},
};
const size_t api_routes_n = ARRAY_LEN(api_routes);
