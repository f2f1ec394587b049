/* The rest of what clients, browsers and operators ask. src: protocol/control.md 4; headscale features 10 */
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "control/control_internal.h"

LOG_MODULE("control");
enum { HEALTH_FRESH_MS = 1000 };

METRIC_COUNTER(unknown_paths, "fullscale_control_unknown_paths_total", "",
               "Requests inside Noise for paths we do not serve.");

/* Clients before 1.90 send this many times a second while they start, and ignore the answer. */
void handle_update_health(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 204, NULL, STR_EMPTY);
}

void handle_audit_log(void *app, struct http_exchange *ex)
{
    (void)app;
    const struct noise_conn *conn = http_request(ex)->conn_ctx;
    char key[KEY_SHORT_CAP];
    machine_key_short(&conn->machine, key);
    log_limited(LOG_INFO, "audit event of a client", LOG_S("machine", key), LOG_STR("event", http_request(ex)->body));
    http_respond(ex, 200, "application/json", STR("{}"));
}

/* The text is shown by `tailscale serve` and `tailscale funnel`, which else fail without a word. */
void handle_feature_query(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "application/json",
                 STR("{\"Complete\":false,\"Text\":\"This server cannot issue HTTPS certificates yet, which Serve and "
                     "Funnel need.\",\"URL\":\"\",\"ShouldWait\":false}"));
}

void handle_whoami(void *app, struct http_exchange *ex)
{
    (void)app;
    const struct noise_conn *conn = http_request(ex)->conn_ctx;
    char key[KEY_TEXT_CAP], text[160];
    machine_key_format(&conn->machine, key);
    snprintf(text, sizeof(text), "machine %s, capability version %u", key, conn->version);
    http_respond_text(ex, 200, text);
}

/* A rule of action `check` asks for a login in a browser, and there is none yet. Without an answer the node that is logged
 * in to would ask for half an hour. src: control.md 6.16 */
void handle_ssh_action(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "application/json",
                 STR("{\"reject\":true,\"message\":\"The policy demands a check for this login (\\\"action\\\": "
                     "\\\"check\\\"), which this server cannot do yet: its admin can allow it with "
                     "\\\"accept\\\".\\n\"}"));
}

void handle_inner_unmatched(void *app, struct http_exchange *ex, int status)
{
    (void)app;
    metric_inc(&unknown_paths);
    log_limited(LOG_DEBUG, "client asked for something unknown", LOG_STR("path", http_request(ex)->path));
    http_respond_text(ex, status, status == 404 ? "this server does not have that" : "method not allowed");
}

void handle_health(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    int64_t now_ms = loop_now_ms(w->loop);
    /* It touches the disk, and anybody may ask. */
    if (w->health.asked_ms == 0 || now_ms - w->health.asked_ms >= HEALTH_FRESH_MS) {
        w->health.asked_ms = now_ms;
        w->health.is_good = store_ping(w->control->store) == RC_OK;
    }
    bool pass = w->health.is_good;
    http_respond(ex, pass ? 200 : 500, "application/health+json",
                 pass ? STR("{\"status\":\"pass\"}") : STR("{\"status\":\"fail\"}"));
}

void handle_version(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    struct buf out = {0};
    struct json_writer json;
    json_w_init(&json, &out);
    json_w_object(&json);
    json_w_kv_cstr(&json, "version", w->control->options.version);
    json_w_kv_cstr(&json, "name", "fullscale");
    json_w_end_object(&json);
    http_respond(ex, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

void handle_robots(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "text/plain; charset=utf-8", STR("User-agent: *\nDisallow: /\n"));
}

void handle_derpmap(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    http_respond_ref(ex, 200, "application/json", rcbuf_ref(w->snapshot->settings->derp_map_json));
}

/* For whoever opens the server's address in a browser. */
void handle_home(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    struct buf out = {0};
    /* The URL is our own configuration, checked to be one; nothing of the request is echoed. */
    buf_printf(
        &out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\"><title>Fullscale</title></head>\n<body>"
        "<h1>This is a Fullscale server</h1>\n"
        "<p>It coordinates a private network of devices that run <a href=\"https://tailscale.com/download\">"
        "Tailscale</a>. There is nothing to log in to here.</p>\n"
        "<h2>Add a device</h2>\n<ol>\n<li>Ask the admin of this server for an auth key. The admin makes one with "
        "<code>fullscale preauthkeys create --user NAME</code>.</li>\n"
        "<li>Install Tailscale on the device and run<br>"
        "<code>tailscale up --login-server %s --auth-key KEY</code></li>\n</ol>\n"
        "<p>Is it alive? <a href=\"/health\">/health</a> says so. Which version? See "
        "<a href=\"/version\">/version</a>.</p>\n</body></html>\n",
        w->control->server_url);
    http_set_browser_headers(ex);
    http_respond(ex, 200, "text/html; charset=utf-8", buf_str(&out));
    buf_fini(&out);
}
