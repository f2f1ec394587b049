/* What the running server logs. */
#include "api/call_internal.h"
#include "api/rows.h"
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
        if (is_first_of_its_name(m))
            op_object_write(w, &api_log_level_object, &(const struct op_view){.row = m});
    }
    json_w_end_array(w);
}

/* --- log_levels.set --- */

struct set_params {
    struct str module, level;
};

static const struct op_member set_members[] = {
    OP_MEMBER("module", OP_BODY, OP_TEXT, set_params, module, .max = NAME_CAP - 1,
              .help = "which part of the server; absent: all"),
    OP_MEMBER("level", OP_BODY, OP_CHOICE, set_params, level, .is_required = true,
              .choices = "trace debug info warn error off", .help = "from which level on it logs"),
};

/* Whether that would change anything; RC_NOT_FOUND: there is no such module. */
static enum rc look_at_module(struct str module, enum log_level level, bool *would_change_out)
{
    bool is_found = module.len == 0;
    *would_change_out = false;
    for (const struct log_module *m = log_module_next(NULL); m != NULL; m = log_module_next(m)) {
        if (module.len > 0 && !str_eq_c(module, m->name))
            continue;
        is_found = true;
        if (m->level != (int)level)
            *would_change_out = true;
    }
    return is_found ? RC_OK : RC_NOT_FOUND;
}

static enum rc run_set(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct set_params *p = call->params;
    enum log_level level;
    (void)st;
    (void)now_ms;
    TRY(log_level_parse(p->level.p, &level));
    if (look_at_module(p->module, level, &call->has_changed) != RC_OK)
        return err_set(err, RC_NOT_FOUND, "there is no log module \"%.80s\" (list them: log level)", p->module.p);
    return log_set_level(p->module.len > 0 ? p->module.p : NULL, level);
}

/* --- the rows --- */

static const struct operation rows[] = {
    {
        .name = "log_levels.list",
        .summary = "show the log levels of the running server",
        .v1 = {HTTP_GET, "/api/v1/log/level"},
        .scope = "server:read",
        .kind = JOB_LOCAL,
        .write = write_levels,
        .answer = {"modules", &api_log_level_object, .is_list = true},
        .cli = {"log level"},
    },
    {
        .name = "log_levels.set",
        .summary = "change log levels of the running server",
        .v1 = {HTTP_POST, "/api/v1/log/level"},
        .scope = "server",
        .kind = JOB_LOCAL,
        OP_PARAMS(set_members, struct set_params),
        .run = run_set,
        .write = write_levels,
        .answer = {"modules", &api_log_level_object, .is_list = true},
        .audit = "set the log level of module {module} to {level}",
        .cli = {"log level"},
    },
};
const struct operations api_log_level_operations = {rows, ARRAY_LEN(rows)};
