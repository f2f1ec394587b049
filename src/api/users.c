/* /api/v1/user */
#include "api/call_internal.h"
#include "api/rows.h"

static void write_first_user(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "user");
    api_write_user(w, call->users.items[0]);
}

/* --- GET /user?id=,name=,email= --- */

static enum rc parse_list(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    struct str id = api_query(call, ex, "id");
    call->text = api_query(call, ex, "name");
    call->email = api_query(call, ex, "email");
    return id.len == 0 || str_eq(id, STR("0")) ? RC_OK : api_id(id, &call->id, err);
}

static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    (void)err;
    api_keep_users(call, st);
    return RC_OK;
}

static bool is_asked_for(const struct api_call *call, const struct user *u)
{
    return (call->id == 0 || u->id == call->id) && (call->text.len == 0 || str_eq_c(call->text, u->name)) &&
           (call->email.len == 0 || str_eq_c(call->email, u->email));
}

static void write_list(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "users");
    json_w_array(w);
    for (size_t i = 0; i < call->users.n; i++) {
        if (is_asked_for(call, call->users.items[i]))
            api_write_user(w, call->users.items[i]);
    }
    json_w_end_array(w);
}

/* --- POST /user --- */

static enum rc parse_create(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)ex;
    TRY(api_text(call, body, "name", &call->user.name, err));
    TRY(api_text(call, body, "displayName", &call->user.display_name, err));
    TRY(api_text(call, body, "email", &call->user.email, err));
    return api_text(call, body, "pictureUrl", &call->user.picture_url, err);
}

static enum rc run_create(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user *u;
    TRY(state_user_create(st, &call->user, now_ms, &u, err));
    api_keep_user(call, u);
    return RC_OK;
}

/* --- POST /user/{id}/rename/{name} --- */

static enum rc parse_rename(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    call->text = arena_str(&call->arena, http_request(ex)->params[1]);
    return api_param_id(ex, &call->id, err);
}

static enum rc run_rename(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user *u;
    (void)now_ms;
    TRY(state_user_rename(st, call->id, call->text, &u, err));
    api_keep_user(call, u);
    return RC_OK;
}

/* --- POST /user/{id}/role --- */

static enum rc parse_role(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    struct str role;
    TRY(api_param_id(ex, &call->id, err));
    TRY(api_text(call, body, "role", &role, err));
    if (user_role_parse(role, &call->role) != RC_OK)
        return err_set(err, RC_INVALID, "role must be one of " USER_ROLE_NAMES);
    return RC_OK;
}

static enum rc run_role(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user *u;
    (void)now_ms;
    TRY(state_user_set_role(st, call->id, call->role, &u, err));
    api_keep_user(call, u);
    return RC_OK;
}

/* --- DELETE /user/{id} --- */

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    return state_user_delete(st, call->id, err);
}

/* --- the calls --- */

static const struct http_route routes[] = {
    API_CALL(HTTP_GET, "/api/v1/user", API_READ, API_BODY_BYTES, parse_list, run_list, write_list),
    API_CALL(HTTP_POST, "/api/v1/user", API_WRITE, API_BODY_BYTES, parse_create, run_create, write_first_user),
    API_CALL(HTTP_DELETE, "/api/v1/user/{id}", API_WRITE, API_BODY_BYTES, api_parse_id, run_delete, NULL),
    API_CALL(HTTP_POST, "/api/v1/user/{id}/rename/{name}", API_WRITE, API_BODY_BYTES, parse_rename, run_rename,
             write_first_user),
    API_CALL(HTTP_POST, "/api/v1/user/{id}/role", API_WRITE, API_BODY_BYTES, parse_role, run_role, write_first_user),
};
const struct api_calls api_user_calls = {routes, ARRAY_LEN(routes)};
