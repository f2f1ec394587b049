/* Auth keys. src: Headscale 0.30-dev REST API v1 */
#include "api/call_internal.h"
#include "api/rows.h"

/* --- auth_keys.list --- */

struct list_params {
    struct str user;
};

static const struct op_member list_members[] = {
    OP_MEMBER("user", OP_QUERY, OP_TEXT, list_params, user, .max = USER_NAME_CAP - 1,
              .help = "only keys of this user, by id or name"),
};

static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct list_params *p = call->params;
    const struct user *owner;
    (void)now_ms;
    TRY(api_find_user(st, p->user, &owner, err));
    api_keep_keys(call, st, owner);
    api_keep_users(call, st);
    return RC_OK;
}

static void write_list(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "preAuthKeys");
    json_w_array(w);
    for (size_t i = 0; i < call->keys.n; i++) {
        const struct auth_key *k = call->keys.items[i];
        api_write_key(w, k, api_kept_user(call, k->user), NULL);
    }
    json_w_end_array(w);
}

/* --- auth_keys.create --- */

struct create_params {
    struct str user;
    bool is_reusable, is_ephemeral;
    int64_t expires_ms;
    uint64_t max_nodes;
    struct op_prefixes sources;
    struct op_texts tags;
};

static const struct op_member create_members[] = {
    OP_MEMBER("user", OP_BODY, OP_TEXT, create_params, user, .max = USER_NAME_CAP - 1,
              .help = "the user whose nodes join with it, by id or name; 0: none"),
    OP_MEMBER("reusable", OP_BODY, OP_BOOL, create_params, is_reusable, .help = "more than one node may join with it"),
    OP_MEMBER("ephemeral", OP_BODY, OP_BOOL, create_params, is_ephemeral,
              .help = "its nodes are deleted when they stay away"),
    OP_MEMBER("expiration", OP_BODY, OP_TIME, create_params, expires_ms,
              .help = "until when nodes may join with it; absent: for ever"),
    OP_MEMBER("maxNodes", OP_BODY, OP_NUMBER, create_params, max_nodes, .max = UINT32_MAX,
              .help = "how many nodes may join with it; 0: any number"),
    OP_MEMBER("sources", OP_BODY, OP_NETWORKS, create_params, sources, .max = KEY_SOURCES_MAX,
              .help = "networks or addresses that nodes must come from"),
    OP_MEMBER("aclTags", OP_BODY, OP_TEXTS, create_params, tags, .max = TAGS_MAX, .help = "tags that its nodes get"),
};

static enum rc check_create(struct api_call *call, struct err *err)
{
    struct create_params *p = call->params;
    if (str_eq(p->user, STR("0")))
        p->user.len = 0;
    if (p->user.len == 0 && p->tags.n == 0)
        return err_set(err, RC_INVALID, "user or aclTags is missing: a key needs a user or tags");
    return RC_OK;
}

static enum rc run_create(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct create_params *p = call->params;
    const struct auth_key *k;
    const struct user *owner;
    TRY(api_find_user(st, p->user, &owner, err));
    struct prefix_list *sources = prefix_list_create(p->sources.v, p->sources.n);
    struct auth_key_spec spec = {
        .user = owner != NULL ? owner->id : 0,
        .is_reusable = p->is_reusable,
        .is_ephemeral = p->is_ephemeral,
        .expires_ms = p->expires_ms,
        .tags = p->tags.v,
        .tag_n = p->tags.n,
        .max_nodes = (uint32_t)p->max_nodes,
        .sources = sources,
    };
    enum rc rc = state_key_create(st, &spec, call->random, now_ms, &k, call->key_text, err);
    prefix_list_unref(&sources);
    if (rc != RC_OK)
        return rc;
    api_keep_key(call, k);
    api_keep_user(call, owner);
    return RC_OK;
}

static void write_created(struct api_call *call, struct json_writer *w)
{
    const struct auth_key *k = call->keys.items[0];
    json_w_key(w, "preAuthKey");
    api_write_key(w, k, api_kept_user(call, k->user), call->key_text);
}

/* --- auth_keys.expire --- */

struct expire_params {
    uint64_t id;
    struct str key;
};

/* Headscale up to 0.27 names a key by its text. */
static const struct op_member expire_members[] = {
    OP_MEMBER("id", OP_BODY, OP_ID, expire_params, id, .help = "the key's id"),
    OP_MEMBER("key", OP_BODY, OP_TEXT, expire_params, key, .max = AUTH_KEY_TEXT_CAP - 1,
              .help = "instead of its id: its text, or what lists show of that"),
};

static enum rc check_expire(struct api_call *call, struct err *err)
{
    const struct expire_params *p = call->params;
    if (p->id != 0 || (p->key.len > 0 && !api_is_given(call, "id")))
        return RC_OK;
    return err_set(err, RC_INVALID, "id is missing, or is no id: the key's number, from 1");
}

/* Finds a key by its whole text, or by the part that lists show. */
static const struct auth_key *key_by_text(const struct state *st, struct str text)
{
    const struct auth_key *k = state_key_by_text(st, text);
    if (k != NULL)
        return k;
    if (str_ends(text, STR("-***")))
        text.len -= 4;
    for (size_t pos = 0; (k = state_key_next(st, &pos)) != NULL;) {
        if (str_eq_c(text, k->prefix))
            return k;
    }
    return NULL;
}

static enum rc run_expire(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct expire_params *p = call->params;
    const struct auth_key *k = p->id == 0 ? key_by_text(st, p->key) : NULL;
    if (p->id == 0 && k == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no such auth key (list them: preauthkeys list)");
    if (k != NULL)
        p->id = k->id;
    return state_key_expire(st, p->id, now_ms, err);
}

/* --- auth_keys.delete --- */

struct delete_params {
    uint64_t id;
};

static const struct op_member delete_members[] = {
    OP_MEMBER("id", OP_QUERY, OP_ID, delete_params, id, .is_required = true, .help = "the key's id"),
};

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct delete_params *p = call->params;
    (void)now_ms;
    return state_key_delete(st, p->id, err);
}

/* --- the rows --- */

static const struct op_cli_option list_options[] = {
    {"user", 'u', "USER", "user", "only those of this user (name or id)"},
    {0},
};

static const struct op_cli_column list_columns[] = {
    {"ID", "id"},
    {"KEY", "key"},
    {"USER", "user.name"},
    {"REUSABLE", "reusable"},
    {"EPHEMERAL", "ephemeral"},
    {"USED", "used"},
    {"EXPIRES", "expiration"},
    {"CREATED", "createdAt"},
    {"TAGS", "aclTags"},
    {0},
};

static const struct operation rows[] = {
    {
        .name = "auth_keys.list",
        .summary = "list auth keys",
        .v1 = {HTTP_GET, "/api/v1/preauthkey"},
        .scope = "auth_keys:read",
        .kind = JOB_FRESH,
        OP_PARAMS(list_members, struct list_params),
        .run = run_list,
        .write = write_list,
        .answer = {"preAuthKeys", &api_key_object, .is_list = true},
        .cli = {"preauthkeys list", "ls show",
                .examples = "fullscale preauthkeys list\nfullscale preauthkeys list --user anna",
                .options = list_options, .show = OP_SHOW_LIST, .columns = list_columns,
                .if_empty = "No auth keys. Create one with `fullscale preauthkeys create`",
                .if_none = "The user {user} has no auth keys"},
    },
    {
        .name = "auth_keys.create",
        .summary = "create an auth key",
        .v1 = {HTTP_POST, "/api/v1/preauthkey"},
        .scope = "auth_keys",
        .kind = JOB_PEN,
        .draws_secret = true,
        OP_PARAMS(create_members, struct create_params),
        .check = check_create,
        .run = run_create,
        .write = write_created,
        .answer = {"preAuthKey", &api_key_object},
        .audit = "created an auth key: user {user}, tags {aclTags}, reusable {reusable}, expires {expiration}",
        .cli = {"preauthkeys create"},
    },
    {
        .name = "auth_keys.delete",
        .summary = "delete an auth key",
        .v1 = {HTTP_DELETE, "/api/v1/preauthkey"},
        .scope = "auth_keys",
        .kind = JOB_PEN,
        OP_PARAMS(delete_members, struct delete_params),
        .run = run_delete,
        .audit = "deleted auth key {id}",
        .cli = {"preauthkeys delete"},
    },
    {
        .name = "auth_keys.expire",
        .summary = "make an auth key unusable",
        .v1 = {HTTP_POST, "/api/v1/preauthkey/expire"},
        .scope = "auth_keys",
        .kind = JOB_PEN,
        OP_PARAMS(expire_members, struct expire_params),
        .check = check_expire,
        .run = run_expire,
        .audit = "expired auth key {id}",
        .cli = {"preauthkeys expire"},
    },
};
const struct operations api_key_operations = {rows, ARRAY_LEN(rows)};
