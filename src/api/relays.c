/* Relays on other machines. */
#include "api/call_internal.h"
#include "api/rows.h"

/* --- relays.list --- */

static enum rc run_list(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct relay_host *r;
    (void)now_ms;
    (void)err;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;)
        api_keep_relay(call, r);
    return RC_OK;
}

static void write_list(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "relays");
    json_w_array(w);
    for (size_t i = 0; i < call->relays.n; i++)
        api_write_relay(w, call->relays.items[i], NULL);
    json_w_end_array(w);
}

/* --- relays.create --- */

struct create_params {
    struct str name;
    uint64_t region_id;
    struct str region_code, region_name;
};

static const struct op_member create_members[] = {
    OP_MEMBER("name", OP_BODY, OP_TEXT, create_params, name, .is_required = true, .max = HOSTNAME_CAP - 1,
              .help = "the relay's name, a DNS label"),
    OP_MEMBER("regionId", OP_BODY, OP_NUMBER, create_params, region_id, .max = UINT16_MAX,
              .help = "its region; 0: one of its own"),
    OP_MEMBER("regionCode", OP_BODY, OP_TEXT, create_params, region_code, .max = NAME_CAP - 1,
              .help = "a short name of the region"),
    OP_MEMBER("regionName", OP_BODY, OP_TEXT, create_params, region_name, .max = USER_NAME_CAP - 1,
              .help = "the name of the region"),
};

static enum rc run_create(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct create_params *p = call->params;
    const struct relay_spec spec = {p->name, (uint16_t)p->region_id, p->region_code, p->region_name};
    const struct relay_host *r;
    TRY(state_relay_create(st, &spec, call->random, now_ms, &r, call->key_text, err));
    api_keep_relay(call, r);
    return RC_OK;
}

static void write_created(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "relay");
    api_write_relay(w, call->relays.items[0], call->key_text);
}

/* --- relays.delete --- */

struct delete_params {
    uint64_t id;
};

static const struct op_member delete_members[] = {
    OP_MEMBER("id", OP_PATH, OP_ID, delete_params, id, .is_required = true, .help = "the relay's id"),
};

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct delete_params *p = call->params;
    (void)now_ms;
    return state_relay_delete(st, p->id, err);
}

/* --- the rows --- */

static const struct op_cli_column list_columns[] = {
    {"ID", "id"}, {"NAME", "name"},     {"REGION", "regionId"},    {"REGION NAME", "regionName"},
    {"UP", "up"}, {"HOST", "hostname"}, {"LAST SEEN", "lastSeen"}, {"KEY", "key"},
    {0},
};

static const struct op_cli_option delete_options[] = {
    {"identifier", 'i', "RELAY", "id", "the relay's id or name"},
    {0},
};

static const struct operation rows[] = {
    {
        .name = "relays.list",
        .summary = "list enrolled relays",
        .v1 = {HTTP_GET, "/api/v1/relay"},
        .scope = "relays:read",
        .kind = JOB_FRESH,
        .run = run_list,
        .write = write_list,
        .answer = {"relays", &api_relay_object, .is_list = true},
        .cli = {"relays list", "ls show", .examples = "fullscale relays list\nfullscale relays list -o json",
                .show = OP_SHOW_LIST, .columns = list_columns,
                .if_empty = "No relays on other machines. Enrol one with `fullscale relays create NAME`"},
    },
    {
        .name = "relays.create",
        .summary = "enrol a relay on another machine",
        .v1 = {HTTP_POST, "/api/v1/relay"},
        .scope = "relays",
        .kind = JOB_PEN,
        .draws_secret = true,
        OP_PARAMS(create_members, struct create_params),
        .run = run_create,
        .write = write_created,
        .answer = {"relay", &api_relay_object},
        .audit = "enrolled relay {name}",
        .cli = {"relays create"},
    },
    {
        .name = "relays.delete",
        .summary = "delete a relay",
        .v1 = {HTTP_DELETE, "/api/v1/relay/{id}"},
        .scope = "relays",
        .kind = JOB_PEN,
        OP_PARAMS(delete_members, struct delete_params),
        .run = run_delete,
        .audit = "deleted relay {id}",
        .cli =
            {"relays delete", "del rm", "[RELAY]", "id",
             .details = "RELAY is an id or a name. The relay is removed from the DERP map at once, and its key is no "
                        "longer valid.",
             .examples = "fullscale relays delete frankfurt", .options = delete_options, .show = OP_SHOW_DONE,
             .done = "Relay {name} deleted", .confirm = "Delete the relay {name}?",
             .find = {"relays.list", "id", "id name", .ask = "name the relay by its id or name",
                      .missing = "there is no relay '{}': see `fullscale relays list`"}},
    },
};
const struct operations api_relay_operations = {rows, ARRAY_LEN(rows)};
