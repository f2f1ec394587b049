/* Reads the parameters of a call: segments of the path, the query, members of the body. Loop thread. */
#include "api/call_internal.h"
#include "base/time.h"

enum rc api_id(struct str text, uint64_t *out, struct err *err)
{
    if (str_to_u64(text, out) == RC_OK && *out != 0)
        return RC_OK;
    return err_set(err, RC_INVALID, "\"%.*s\" is no id: ids are numbers from 1", text.len > 40 ? 40 : (int)text.len,
                   text.p);
}

enum rc api_param_id(struct http_exchange *ex, uint64_t *out, struct err *err)
{
    return api_id(http_request(ex)->params[0], out, err);
}

enum rc api_text(struct api_call *call, const struct json *body, const char *name, struct str *out, struct err *err)
{
    const struct json *node = json_get(body, name);
    *out = STR_EMPTY;
    if (json_is_null(node))
        return RC_OK;
    if (json_type_of(node) == JSON_NUMBER)
        *out = json_raw(node);
    else if (!json_str(node, out))
        return err_set(err, RC_INVALID, "%s must be text", name);
    if (memchr(out->p, '\0', out->len) != NULL)
        return err_set(err, RC_INVALID, "%s must not hold a NUL", name);
    *out = arena_str(&call->arena, *out);
    return RC_OK;
}

enum rc api_bool(const struct json *body, const char *name, bool *out, struct err *err)
{
    const struct json *node = json_get(body, name);
    *out = false;
    return json_is_null(node) || json_bool(node, out) ? RC_OK
                                                      : err_set(err, RC_INVALID, "%s must be true or false", name);
}

enum rc api_number(struct api_call *call, const struct json *body, const char *name, uint64_t max, uint64_t *out,
                   struct err *err)
{
    struct str text;
    TRY(api_text(call, body, name, &text, err));
    *out = 0;
    if (text.len == 0 || (str_to_u64(text, out) == RC_OK && *out <= max))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s must be a whole number up to %llu", name, (unsigned long long)max);
}

enum rc api_list(struct api_call *call, const struct json *body, const char *name, size_t max, const struct str **out,
                 size_t *n_out, struct err *err)
{
    const struct json *list = json_get(body, name);
    size_t n = json_len(list), i = 0;
    if (!json_is_null(list) && json_type_of(list) != JSON_ARRAY)
        return err_set(err, RC_INVALID, "%s must be an array of texts", name);
    if (n > max)
        return err_set(err, RC_INVALID, "%s can have %zu entries", name, max);
    struct str *copy = arena_zalloc(&call->arena, n + 1, sizeof(*copy));
    JSON_EACH (it, list) {
        if (!json_str(it, &copy[i++]))
            return err_set(err, RC_INVALID, "%s must be an array of texts", name);
    }
    *out = copy;
    *n_out = n;
    return RC_OK;
}

enum rc api_time(const struct json *body, const char *name, int64_t *out_ms, struct err *err)
{
    const struct json *node = json_get(body, name);
    struct str text;
    *out_ms = 0;
    if (json_is_null(node) || (json_str(node, &text) && (text.len == 0 || time_parse(text, out_ms) == RC_OK)))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s must be a time such as 2026-12-31T00:00:00Z", name);
}

struct str api_query(struct api_call *call, struct http_exchange *ex, const char *name)
{
    struct str text;
    return http_query(ex, name, &text) ? arena_str(&call->arena, text) : STR_EMPTY;
}

enum rc api_parse_id(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    (void)body;
    return api_param_id(ex, &call->id, err);
}
