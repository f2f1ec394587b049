/* Users. src: Headscale 0.30-dev REST API v1 */
#include "api/call_internal.h"
#include "api/rows.h"

static void write_first_user(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "user");
    api_write_user(w, call->users.items[0]);
}

struct user_id_params {
    uint64_t id;
};
#define USER_ID(params) OP_MEMBER("id", OP_PATH, OP_ID, params, id, .is_required = true, .help = "the user's id")

/* --- users.list --- */

struct list_params {
    uint64_t id; /* 0: any */
    struct str name, email;
};

static const struct op_member list_members[] = {
    OP_MEMBER("id", OP_QUERY, OP_ID, list_params, id, .help = "only the user with this id; 0: all"),
    OP_MEMBER("name", OP_QUERY, OP_TEXT, list_params, name, .max = USER_NAME_CAP - 1,
              .help = "only the user of this name"),
    OP_MEMBER("email", OP_QUERY, OP_TEXT, list_params, email, .max = USER_NAME_CAP - 1,
              .help = "only users with this e-mail address"),
};

static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    (void)err;
    api_keep_users(call, st);
    return RC_OK;
}

static bool is_asked_for(const struct list_params *p, const struct user *u)
{
    return (p->id == 0 || u->id == p->id) && (p->name.len == 0 || str_eq_c(p->name, u->name)) &&
           (p->email.len == 0 || str_eq_c(p->email, u->email));
}

static void write_list(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "users");
    json_w_array(w);
    for (size_t i = 0; i < call->users.n; i++) {
        if (is_asked_for(call->params, call->users.items[i]))
            api_write_user(w, call->users.items[i]);
    }
    json_w_end_array(w);
}

/* --- users.create --- */

static const struct op_member create_members[] = {
    OP_MEMBER("name", OP_BODY, OP_TEXT, user_spec, name, .is_required = true, .max = USER_NAME_CAP - 1,
              .help = "the login name, such as anna or anna@example.com"),
    OP_MEMBER("displayName", OP_BODY, OP_TEXT, user_spec, display_name, .max = USER_NAME_CAP - 1,
              .help = "how others see the user"),
    OP_MEMBER("email", OP_BODY, OP_TEXT, user_spec, email, .max = USER_NAME_CAP - 1, .help = "the e-mail address"),
    OP_MEMBER("pictureUrl", OP_BODY, OP_TEXT, user_spec, picture_url, .max = 255, .help = "where a picture is"),
};

static enum rc run_create(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user *u;
    TRY(state_user_create(st, call->params, now_ms, &u, err));
    api_keep_user(call, u);
    return RC_OK;
}

/* --- users.rename --- */

struct rename_params {
    uint64_t id;
    struct str name;
};

static const struct op_member rename_members[] = {
    USER_ID(rename_params),
    OP_MEMBER("name", OP_PATH, OP_TEXT, rename_params, name, .is_required = true, .max = USER_NAME_CAP - 1,
              .help = "the new login name"),
};

static enum rc run_rename(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct rename_params *p = call->params;
    const struct user *u;
    (void)now_ms;
    TRY(state_user_rename(st, p->id, p->name, &u, err));
    api_keep_user(call, u);
    return RC_OK;
}

/* --- users.set_role --- */

struct role_params {
    uint64_t id;
    struct str role;
};

static const struct op_member role_members[] = {
    USER_ID(role_params),
    OP_MEMBER("role", OP_BODY, OP_CHOICE, role_params, role, .is_required = true,
              .choices = "owner admin network-admin it-admin billing-admin auditor member", .help = "the new role"),
};

static enum rc run_role(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct role_params *p = call->params;
    const struct user *u;
    enum user_role role;
    (void)now_ms;
    TRY(user_role_parse(p->role, &role));
    TRY(state_user_set_role(st, p->id, role, &u, err));
    api_keep_user(call, u);
    return RC_OK;
}

/* --- users.delete --- */

static const struct op_member delete_members[] = {USER_ID(user_id_params)};

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user_id_params *p = call->params;
    (void)now_ms;
    return state_user_delete(st, p->id, err);
}

/* --- the rows --- */

static const struct op_cli_option list_options[] = {
    {"identifier", 'i', "ID", "id", "only the user with this id"},
    {"name", 'n', "NAME", "name", "only the user with this name"},
    {"email", 'e', "ADDRESS", "email", "only users with this e-mail address"},
    {0},
};

static const struct op_cli_column list_columns[] = {
    {"ID", "id"},
    {"NAME", "name"},
    {"DISPLAY NAME", "displayName"},
    {"EMAIL", "email"},
    {"ROLE", "role"},
    {"CREATED", "createdAt"},
    {0},
};

static const struct op_cli_option create_options[] = {
    {"display-name", 'd', "TEXT", "displayName", "name to display", true},
    {"email", 'e', "ADDRESS", "email", "e-mail address", true},
    {"picture-url", 'p', "URL", "pictureUrl", "picture that clients show", true},
    {0},
};

static const struct operation rows[] = {
    {
        .name = "users.list",
        .summary = "list users",
        .v1 = {HTTP_GET, "/api/v1/user"},
        .scope = "users:read",
        .kind = JOB_FRESH,
        OP_PARAMS(list_members, struct list_params),
        .run = run_list,
        .write = write_list,
        .answer = {"users", &api_user_object, .is_list = true},
        .cli = {"users list", "ls show", .examples = "fullscale users list\nfullscale users list -o json",
                .options = list_options, .show = OP_SHOW_LIST, .columns = list_columns,
                .if_empty = "No users yet. Create one with `fullscale users create NAME`",
                .if_none = "There is no such user: see `fullscale users list`"},
    },
    {
        .name = "users.create",
        .summary = "create a user",
        .v1 = {HTTP_POST, "/api/v1/user"},
        .scope = "users",
        .kind = JOB_PEN,
        OP_PARAMS(create_members, struct user_spec),
        .run = run_create,
        .write = write_first_user,
        .audit = "created user {name}",
        .answer = {"user", &api_user_object},
        .cli = {"users create", "c new", "NAME", "name",
                .examples = "fullscale users create anna\n"
                            "fullscale users create anna --display-name 'Anna Nowak' --email anna@example.com",
                .options = create_options, .show = OP_SHOW_DONE, .done = "User {name} created, id {id}",
                .hint = "Next: `fullscale preauthkeys create --user {name}`"},
    },
    {
        .name = "users.delete",
        .summary = "delete a user and the user's auth keys",
        .v1 = {HTTP_DELETE, "/api/v1/user/{id}"},
        .scope = "users",
        .kind = JOB_PEN,
        OP_PARAMS(delete_members, struct user_id_params),
        .run = run_delete,
        .audit = "deleted user {id}",
        .cli = {"users delete"},
    },
    {
        .name = "users.rename",
        .summary = "give a user another name",
        .v1 = {HTTP_POST, "/api/v1/user/{id}/rename/{name}"},
        .scope = "users",
        .kind = JOB_PEN,
        OP_PARAMS(rename_members, struct rename_params),
        .run = run_rename,
        .write = write_first_user,
        .audit = "renamed user {id} to {name}",
        .answer = {"user", &api_user_object},
        .cli = {"users rename"},
    },
    {
        .name = "users.set_role",
        .summary = "give a user another role",
        .v1 = {HTTP_POST, "/api/v1/user/{id}/role"},
        .scope = "users",
        .kind = JOB_PEN,
        OP_PARAMS(role_members, struct role_params),
        .run = run_role,
        .write = write_first_user,
        .audit = "gave user {id} the role {role}",
        .answer = {"user", &api_user_object},
        .cli = {"users set-role"},
    },
};
const struct operations api_user_operations = {rows, ARRAY_LEN(rows)};
