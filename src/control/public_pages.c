/* What browsers, monitoring and other servers fetch from the server without a login.
 * src: Headscale 0.30-dev hscontrol/handlers.go */
#include "codec/json_write.h"
#include "control/control_internal.h"

enum { HEALTH_FRESH_MS = 1000 };

void control_handle_health(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    int64_t now_ms = loop_now_ms(w->loop);
    /* It reads the disk, and anyone may ask: an answer is kept for HEALTH_FRESH_MS. */
    if (w->health.asked_ms == 0 || now_ms - w->health.asked_ms >= HEALTH_FRESH_MS) {
        w->health.asked_ms = now_ms;
        w->health.fault = store_ping(w->control->store);
    }
    bool pass = w->health.fault == RC_OK;
    struct buf out = {0};
    if (pass)
        buf_printf(&out, "{\"status\":\"pass\"}");
    else /* a constant text, in which nothing has to be escaped */
        buf_printf(&out, "{\"status\":\"fail\",\"output\":\"%s\"}", store_refusal_text(w->health.fault));
    http_respond(ex, pass ? 200 : 500, "application/health+json", buf_str(&out));
    buf_fini(&out);
}

void control_handle_version(void *app, struct http_exchange *ex)
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

void control_handle_robots(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "text/plain; charset=utf-8", STR("User-agent: *\nDisallow: /\n"));
}

void control_handle_derpmap(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    const struct tailnet *t = core_tailnet_of_host(w->control->core, http_request(ex)->authority);
    http_respond_ref(ex, 200, "application/json", rcbuf_ref(control_part(w, t)->snapshot->settings->derp_map_json));
}

/* The page that a browser shows at the server's address. */
void control_handle_home(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    struct buf out = {0};
    /* The URL is from our own configuration, where it was checked; nothing of the request is echoed. */
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
        core_tailnet_of_host(w->control->core, http_request(ex)->authority)->server_url);
    http_set_browser_headers(ex);
    http_respond(ex, 200, "text/html; charset=utf-8", buf_str(&out));
    buf_fini(&out);
}
