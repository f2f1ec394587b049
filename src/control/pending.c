/* Requests inside Noise that wait for the core, and what they report of a node. */
#include "control/control_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

LOG_MODULE("control");
METRIC_COUNTER(odd_hostinfos, "fullscale_control_odd_hostinfos_total", "",
               "Requests whose Hostinfo had members of the wrong kind or size, which were left out.");

static void pending_closed(void *ctx)
{
    struct pending *p = ctx;
    p->ex = NULL;
}

/* Strangers behind a proxy that does not name its clients are distinguished by their keys. */
static struct waiting_sender who_asks(const struct http_request *req)
{
    const struct ts2021_conn *conn = req->conn_ctx;
    if (conn->is_known)
        return waiting_sender_key(WAIT_NODE, conn->machine.b, sizeof(conn->machine.b));
    if (conn->from.family != 0)
        return waiting_sender_address(&conn->from);
    return waiting_sender_key(WAIT_STRANGER, conn->machine.b, sizeof(conn->machine.b));
}

struct pending *pending_create(struct control_worker *w, struct http_exchange *ex, size_t size)
{
    static const struct http_events events = {.closed = pending_closed};
    const struct http_request *req = http_request(ex);
    struct pending *p = mem_zalloc(1, size);
    p->ex = ex;
    p->worker = w;
    p->job.home = w->loop;
    p->job.tailnet = ((const struct ts2021_conn *)req->conn_ctx)->tailnet;
    p->machine = ((const struct ts2021_conn *)req->conn_ctx)->machine;
    p->sender = who_asks(req);
    http_set_events(ex, &events, p);
    return p;
}

static size_t report_bytes(const struct node_report *r)
{
    size_t n = 0;
    if (r->hostinfo != NULL)
        n += r->hostinfo->len;
    if (r->hostinfo_peers != NULL)
        n += r->hostinfo_peers->len;
    if (r->routes != NULL)
        n += r->routes->n * sizeof(r->routes->v[0]);
    return n;
}

bool pending_post(struct pending *p, size_t size, const struct node_report *report)
{
    size_t bytes = size + p->arena.held_bytes + (report != NULL ? report_bytes(report) : 0);
    return core_offer(p->worker->control->core, &p->job, &p->sender, bytes);
}

void control_respond_busy(struct http_exchange *ex)
{
    http_set_header(ex, "Retry-After", STR(CORE_BUSY_RETRY_AFTER));
    http_respond_text(ex, 503, CORE_BUSY_TEXT);
}

void control_respond_refused(struct http_exchange *ex, enum rc why)
{
    http_set_header(ex, "Retry-After", STR(CORE_BUSY_RETRY_AFTER));
    http_respond_text(ex, 503, store_refusal_text(why));
}

void pending_free(struct pending *p)
{
    arena_fini(&p->arena);
    mem_free(p);
}

void control_report_fill(struct node_report *out, struct arena *a, int64_t version, const struct hostinfo *h)
{
    out->cap_version = version > 0 && version < INT32_MAX ? (uint32_t)version : 0;
    out->home_derp = h->preferred_derp;
    out->hostname = arena_str(a, h->hostname);
    const char *bad;
    out->hostinfo = hostinfo_for_store(h, &bad);
    if (bad != NULL) {
        metric_inc(&odd_hostinfos);
        log_limited(LOG_WARN, "a node's Hostinfo has a member of the wrong kind or size, which was left out",
                    LOG_STR("host", h->hostname), LOG_S("member", bad));
    }
    out->hostinfo_peers = hostinfo_for_peers(h);
    out->routes = prefix_list_create(h->routes, h->routes_n);
}

void control_report_fini(struct node_report *r)
{
    rcbuf_unref(&r->hostinfo);
    rcbuf_unref(&r->hostinfo_peers);
    prefix_list_unref(&r->routes);
}
