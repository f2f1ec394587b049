/* POST /verify: a relay on another machine asks whether a node key may use it.
 * src: docs/protocol/derp-stun.md 4.4; tailscale 1.102 derp/derpserver (verifyClient) */
#include "base/log.h"
#include "base/metric.h"
#include "codec/json.h"
#include "control/relays_internal.h"

LOG_MODULE("relays");

#define VERIFY_METRIC(name, result)                                                                                    \
    METRIC_COUNTER(name, "fullscale_verify_requests_total", "result=\"" result "\"",                                   \
                   "Questions of relays whether a node may use them, by answer.")
VERIFY_METRIC(verify_allowed, "allowed");
VERIFY_METRIC(verify_refused, "refused");
VERIFY_METRIC(verify_denied, "unauthorised");
VERIFY_METRIC(verify_bad, "invalid");

static void run_verify(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct relays_call *c = (struct relays_call *)job;
    (void)now_ms;
    bool is_open = c->worker->control->options.verify_unauthenticated && c->key.len == 0;
    if (!is_open && state_relay_by_key(st, c->key) == NULL)
        core_deny(job, RC_UNAUTHORIZED);
    else if (!state_key_is_active(st, &c->node))
        core_deny(job, RC_DENIED);
}

static void done_verify(struct core_job *job)
{
    struct relays_call *c = (struct relays_call *)job;
    if (job->denied != RC_UNAUTHORIZED)
        relays_call_note_seen(c);
    if (c->ex != NULL && job->refused != RC_OK) {
        control_respond_refused(c->ex, job->refused);
    } else if (c->ex != NULL && job->denied == RC_UNAUTHORIZED) {
        relays_call_respond_denied(c, &verify_denied);
    } else if (c->ex != NULL) {
        bool is_allowed = job->denied == RC_OK;
        metric_inc(is_allowed ? &verify_allowed : &verify_refused);
        relays_call_respond(c, is_allowed ? STR("{\"Allow\":true}") : STR("{\"Allow\":false}"));
    }
    relays_call_destroy(c);
}

static void on_closed(void *ctx)
{
    ((struct relays_call *)ctx)->ex = NULL;
}

void control_handle_verify(void *app, struct http_exchange *ex)
{
    static const struct http_events events = {.closed = on_closed};
    struct relays_call *c = relays_call_create(app, ex, &events);
    const struct json *body = relays_call_body(c);
    struct str text;
    if (body == NULL || !json_str(json_get(body, "NodePublic"), &text) || node_key_parse(text, &c->node) != RC_OK) {
        relays_call_respond_bad(c, &verify_bad,
                                "the body must be {\"NodePublic\":\"nodekey:...\",\"Source\":\"ADDRESS\"}");
        return;
    }
    c->job.run = run_verify;
    c->job.done = done_verify;
    relays_call_post(c);
}

/* Proxies log paths, and a key must not be in their logs. */
void control_handle_verify_path(void *app, struct http_exchange *ex)
{
    (void)app;
    metric_inc(&verify_denied);
    log_limited(LOG_WARN, "a relay sends its key in the path, where proxies log it: its -verify-client-url must be "
                          "https://relay:KEY@HOST/verify");
    http_respond_text(ex, 410,
                      "the key must not be in the path, where proxies log it: use -verify-client-url "
                      "https://relay:KEY@HOST/verify");
}
