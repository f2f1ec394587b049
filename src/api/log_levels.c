/* /api/v1/log/level */
#include "api/call_internal.h"
#include "base/log.h"

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

static const struct http_route routes[] = {
    API_CALL(HTTP_GET, "/api/v1/log/level", API_READ, API_BODY_BYTES, NULL, NULL, write_levels),
    API_CALL(HTTP_POST, "/api/v1/log/level", API_WRITE, API_BODY_BYTES, set_level, NULL, write_levels),
};
const struct api_calls api_log_level_calls = {routes, ARRAY_LEN(routes)};
