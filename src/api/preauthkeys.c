/* /api/v1/preauthkey */
#include "api/call_internal.h"
#include "api/rows.h"
#include "base/clock.h"

/* --- GET /preauthkey?user= --- */

static enum rc parse_list(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    (void)err;
    call->owner = api_query(call, ex, "user");
    return RC_OK;
}

static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct user *owner = call->owner.len > 0 ? api_find_user(st, call->owner) : NULL;
    (void)now_ms;
    if (call->owner.len > 0 && owner == NULL)
        return api_no_such_user(call->owner, err);
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

/* --- POST /preauthkey --- */

static enum rc take_max_nodes(const struct json *body, uint32_t *out, struct err *err)
{
    const struct json *v = json_get(body, "maxNodes");
    int64_t n;
    if (json_is_null(v))
        return RC_OK;
    if (!json_i64(v, &n) || n < 0 || n > UINT32_MAX)
        return err_set(err, RC_INVALID, "maxNodes must be a whole number; 0: any number");
    *out = (uint32_t)n;
    return RC_OK;
}

static enum rc take_sources(struct api_call *call, const struct json *body, struct err *err)
{
    const struct str *texts;
    size_t n;
    struct prefix v[KEY_SOURCES_MAX];
    TRY(api_list(call, body, "sources", KEY_SOURCES_MAX, &texts, &n, err));
    for (size_t i = 0; i < n; i++) {
        struct addr ip;
        if (addr_parse_ip(texts[i], &ip) == RC_OK)
            v[i] = (struct prefix){ip, ip.family == 4 ? 32 : 128};
        else if (prefix_parse(texts[i], &v[i], NULL) != RC_OK)
            return err_set(err, RC_INVALID, "sources: '%.*s' is no network (10.0.0.0/8) and no address",
                           (int)(texts[i].len < 80 ? texts[i].len : 80), texts[i].p);
    }
    call->key.sources = prefix_list_create(v, n);
    return RC_OK;
}

static enum rc parse_create(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)ex;
    TRY(api_text(call, body, "user", &call->owner, err));
    TRY(api_bool(body, "reusable", &call->key.is_reusable, err));
    TRY(api_bool(body, "ephemeral", &call->key.is_ephemeral, err));
    TRY(api_time(body, "expiration", &call->key.expires_ms, err));
    rng_bytes(call->random, sizeof(call->random));
    TRY(take_max_nodes(body, &call->key.max_nodes, err));
    TRY(take_sources(call, body, err));
    return api_list(call, body, "aclTags", TAGS_MAX, &call->key.tags, &call->key.tag_n, err);
}

static enum rc run_create(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct auth_key *k;
    bool has_owner = call->owner.len > 0 && !str_eq(call->owner, STR("0"));
    const struct user *owner = has_owner ? api_find_user(st, call->owner) : NULL;
    if (has_owner && owner == NULL)
        return api_no_such_user(call->owner, err);
    if (owner == NULL && call->key.tag_n == 0)
        return err_set(err, RC_INVALID, "a key needs a user or tags");
    call->key.user = owner != NULL ? owner->id : 0;
    TRY(state_key_create(st, &call->key, call->random, now_ms, &k, call->key_text, err));
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

/* --- POST /preauthkey/expire, DELETE /preauthkey?id= --- */

/* Headscale up to 0.27 names a key by its text. */
static enum rc parse_expire(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    struct str id;
    (void)ex;
    TRY(api_text(call, body, "id", &id, err));
    TRY(api_text(call, body, "key", &call->text, err));
    if (id.len == 0 && call->text.len > 0)
        return RC_OK;
    return api_id(id, &call->id, err);
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
    const struct auth_key *k = call->id == 0 ? key_by_text(st, call->text) : NULL;
    if (call->id == 0 && k == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no such auth key (list them: preauthkeys list)");
    return state_key_expire(st, k != NULL ? k->id : call->id, now_ms, err);
}

static enum rc parse_delete(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    return api_id(api_query(call, ex, "id"), &call->id, err);
}

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    return state_key_delete(st, call->id, err);
}

/* --- the calls --- */

static const struct http_route routes[] = {
    API_CALL(HTTP_GET, "/api/v1/preauthkey", API_READ, API_BODY_BYTES, parse_list, run_list, write_list),
    API_CALL(HTTP_POST, "/api/v1/preauthkey", API_WRITE, API_BODY_BYTES, parse_create, run_create, write_created),
    API_CALL(HTTP_DELETE, "/api/v1/preauthkey", API_WRITE, API_BODY_BYTES, parse_delete, run_delete, NULL),
    API_CALL(HTTP_POST, "/api/v1/preauthkey/expire", API_WRITE, API_BODY_BYTES, parse_expire, run_expire, NULL),
};
const struct api_calls api_key_calls = {routes, ARRAY_LEN(routes)};
