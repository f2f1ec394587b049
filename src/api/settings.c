/* Settings that the database keeps for the tailnet. */
#include "api/call_internal.h"
#include "api/object.h"
#include "base/mem.h"
#include "state/setting.h"

static const struct op_field fields[] = {
    OP_FIELD("name", FIELD_TEXT, setting, name, .help = "lower-case letters, digits, '.', '_' and '-'; unique"),
    OP_FIELD("value", FIELD_TEXT, setting, value, .help = "text; what it means is for those to say who read it"),
};
static OP_OBJECT(setting_object, "Setting", fields, "A name and a value that the database keeps");

/* Of all four operations. */
struct params {
    struct str name, value;
    struct api_rows found; /* references to settings */
};

static void fini(struct api_call *call)
{
    struct params *p = call->params;
    for (size_t i = 0; i < p->found.n; i++) {
        const struct row *row = p->found.items[i];
        row_unref(&entity_setting, &row);
    }
    mem_free(p->found.items);
}

static void keep(struct params *p, const struct setting *s)
{
    api_rows_push(&p->found, row_ref(&s->row));
}

static void write_one(struct json_writer *w, const void *setting)
{
    op_object_write(w, &setting_object, &(const struct op_view){.row = setting});
}

static void write_found(struct api_call *call, struct json_writer *w)
{
    const struct params *p = call->params;
    json_w_key(w, "setting");
    write_one(w, p->found.items[0]);
}

static void write_list(struct api_call *call, struct json_writer *w)
{
    const struct params *p = call->params;
    json_w_key(w, "settings");
    json_w_array(w);
    for (size_t i = 0; i < p->found.n; i++)
        write_one(w, p->found.items[i]);
    json_w_end_array(w);
}

static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct setting *s;
    (void)now_ms;
    (void)err;
    for (size_t pos = 0; (s = state_setting_next(st, &pos)) != NULL;)
        keep(call->params, s);
    return RC_OK;
}

static enum rc run_get(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct params *p = call->params;
    const struct setting *s = state_setting(st, p->name);
    (void)now_ms;
    if (s == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no setting '%.*s' (list them: settings list)", STR_ARG(p->name));
    keep(p, s);
    return RC_OK;
}

static enum rc run_set(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct params *p = call->params;
    const struct setting *s;
    (void)now_ms;
    TRY(state_setting_set(st, p->name, p->value, &s, err));
    keep(p, s);
    return RC_OK;
}

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct params *p = call->params;
    (void)now_ms;
    return state_setting_delete(st, p->name, err);
}

#define NAME                                                                                                           \
    OP_MEMBER("name", OP_PATH, OP_TEXT, params, name, .is_required = true, .max = SETTING_NAME_CAP - 1,                \
              .help = "the setting's name")

static const struct op_member name_members[] = {NAME};
static const struct op_member set_members[] = {
    NAME,
    OP_MEMBER("value", OP_BODY, OP_TEXT, params, value, .is_required = true, .max = SETTING_VALUE_CAP - 1,
              .help = "the new value"),
};

static const struct op_cli_column columns[] = {{"NAME", "name"}, {"VALUE", "value"}, {0}};

static const struct operation rows[] = {
    {
        .name = "settings.list",
        .summary = "list settings",
        .v1 = {HTTP_GET, "/api/v1/setting"},
        .scope = "settings:read",
        .kind = JOB_FRESH,
        .params_size = sizeof(struct params),
        .run = run_list,
        .write = write_list,
        .fini = fini,
        .answer = {"settings", &setting_object, .is_list = true},
        .cli = {.command = "settings list",
                .aliases = "ls",
                .examples = "fullscale settings list\nfullscale settings list -o json",
                .show = OP_SHOW_LIST,
                .columns = columns,
                .if_empty = "There are no settings."},
    },
    {
        .name = "settings.get",
        .summary = "show a setting",
        .v1 = {HTTP_GET, "/api/v1/setting/{name}"},
        .scope = "settings:read",
        .kind = JOB_FRESH,
        OP_PARAMS(name_members, struct params),
        .run = run_get,
        .write = write_found,
        .fini = fini,
        .answer = {"setting", &setting_object},
        .cli = {.command = "settings get",
                .args = "NAME",
                .arg_members = "name",
                .examples = "fullscale settings get motd",
                .show = OP_SHOW_OBJECT},
    },
    {
        .name = "settings.set",
        .summary = "give a setting a value",
        .v1 = {HTTP_PUT, "/api/v1/setting/{name}"},
        .scope = "settings",
        .kind = JOB_PEN,
        OP_PARAMS(set_members, struct params),
        .run = run_set,
        .write = write_found,
        .fini = fini,
        .answer = {"setting", &setting_object},
        .audit = "set the setting {name}",
        .cli = {.command = "settings set",
                .args = "NAME VALUE",
                .arg_members = "name value",
                .examples = "fullscale settings set motd 'welcome to our network'",
                .show = OP_SHOW_DONE,
                .done = "Setting {name} is set."},
    },
    {
        .name = "settings.delete",
        .summary = "delete a setting",
        .v1 = {HTTP_DELETE, "/api/v1/setting/{name}"},
        .scope = "settings",
        .kind = JOB_PEN,
        OP_PARAMS(name_members, struct params),
        .run = run_delete,
        .fini = fini,
        .audit = "deleted the setting {name}",
        .cli = {.command = "settings delete",
                .aliases = "rm",
                .args = "NAME",
                .arg_members = "name",
                .examples = "fullscale settings delete motd",
                .show = OP_SHOW_DONE,
                .done = "Setting {name} is deleted."},
    },
};
const struct operations api_setting_operations = {rows, ARRAY_LEN(rows), .about = "Settings that the database keeps"};
