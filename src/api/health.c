/* Whether the server works. */
#include "api/call_internal.h"
#include "api/rows.h"

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

/* Whether changes can be written now. */
static void write_health(struct api_call *call, struct json_writer *w)
{
    enum rc fault = core_fault(call->api->core);
    json_w_kv_bool(w, "databaseConnectivity", fault == RC_OK);
    if (fault != RC_OK)
        json_w_kv_cstr(w, "databaseFault", store_refusal_text(fault));
    write_troubles(call->api, w);
}

static const struct operation rows[] = {
    {
        .name = "health.get",
        .summary = "check that the running server works",
        .v1 = {HTTP_GET, "/api/v1/health"},
        .scope = "server:read",
        .kind = JOB_LOCAL,
        .write = write_health,
        .answer = {NULL, &api_health_object},
        .cli = {"health"},
    },
};
const struct operations api_health_operations = {rows, ARRAY_LEN(rows)};
