/* /api/v1/relay */
#include "api/call_internal.h"
#include "api/rows.h"
#include "base/clock.h"

/* --- GET /relay --- */

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

/* --- POST /relay --- */

static enum rc parse_create(struct api_call *call, struct http_exchange *ex, const struct json *body, struct err *err)
{
    uint64_t region_id;
    (void)ex;
    TRY(api_text(call, body, "name", &call->relay.name, err));
    TRY(api_number(call, body, "regionId", UINT16_MAX, &region_id, err));
    TRY(api_text(call, body, "regionCode", &call->relay.region_code, err));
    TRY(api_text(call, body, "regionName", &call->relay.region_name, err));
    call->relay.region_id = (uint16_t)region_id;
    rng_bytes(call->random, sizeof(call->random));
    return RC_OK;
}

static enum rc run_create(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    const struct relay_host *r;
    TRY(state_relay_create(st, &call->relay, call->random, now_ms, &r, call->key_text, err));
    api_keep_relay(call, r);
    return RC_OK;
}

static void write_created(struct api_call *call, struct json_writer *w)
{
    json_w_key(w, "relay");
    api_write_relay(w, call->relays.items[0], call->key_text);
}

/* --- DELETE /relay/{id} --- */

static enum rc run_delete(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    (void)now_ms;
    return state_relay_delete(st, call->id, err);
}

/* --- the calls --- */

static const struct http_route routes[] = {
    API_CALL(HTTP_GET, "/api/v1/relay", API_READ, API_BODY_BYTES, NULL, run_list, write_list),
    API_CALL(HTTP_POST, "/api/v1/relay", API_WRITE, API_BODY_BYTES, parse_create, run_create, write_created),
    API_CALL(HTTP_DELETE, "/api/v1/relay/{id}", API_WRITE, API_BODY_BYTES, api_parse_id, run_delete, NULL),
};
const struct api_calls api_relay_calls = {routes, ARRAY_LEN(routes)};
