/* POST /machine/map: polls, updates, and everything between. src: docs/protocol/control.md 6.1, 6.2 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "control/control_internal.h"

LOG_MODULE("map");
METRIC_COUNTER(polls, "fullscale_map_requests_total", "kind=\"poll\"", "Map requests, by kind.");
METRIC_COUNTER(updates, "fullscale_map_requests_total", "kind=\"update\"", "");
METRIC_COUNTER(fetches, "fullscale_map_requests_total", "kind=\"fetch\"", "");
METRIC_COUNTER(refused, "fullscale_map_refused_total", "reason=\"other_machine\"", "Map requests refused, by reason.");
METRIC_COUNTER(unknown, "fullscale_map_refused_total", "reason=\"unknown_node\"", "");
METRIC_COUNTER(malformed, "fullscale_map_refused_total", "reason=\"malformed\"", "");
METRIC_COUNTER(too_old, "fullscale_map_refused_total", "reason=\"old_client\"", "");

struct map_job {
    struct pending p;
    struct map_request req;
    struct node_report report;
    enum netmap_coding coding;
    uint64_t session; /* number of the poll on its worker */
    node_id node;
};

/* --- the core's part --- */

static enum rc apply(struct map_job *j, struct state *st, int64_t now_ms, const struct node **out)
{
    const machine_key *machine = &j->p.machine;
    if (j->req.is_read_only)
        return state_authorise(st, &j->req.key, machine, out);
    if (j->req.is_stream)
        return state_poll_begin(st, &j->req.key, machine, &j->report, now_ms, out);
    return state_node_report(st, &j->req.key, machine, &j->report, out);
}

static void run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct map_job *j = (struct map_job *)job;
    const struct node *n = NULL;
    enum rc rc = apply(j, st, now_ms, &n);
    if (rc != RC_OK)
        core_deny(job, rc);
    if (core_runs_again(job))
        return;
    control_report_fini(&j->report);
    if (rc != RC_OK)
        return;
    j->node = n->id;
    if (j->req.is_stream && !j->req.is_read_only)
        newest_polls_put(&job->tailnet->polls, n->id, (struct newest_poll){j->p.worker, j->session});
}

/* --- answers --- */

static struct tailnet_part *part_of(const struct map_job *j)
{
    return control_part(j->p.worker, j->p.job.tailnet);
}

static void answer_denial(struct map_job *j)
{
    char key[KEY_SHORT_CAP];
    node_key_short(&j->req.key, key);
    if (j->p.job.denied == RC_NOT_FOUND) {
        metric_inc(&unknown);
        log_limited(LOG_INFO, "map request of a node that is not here (deleted?)", LOG_S("key", key));
    } else {
        metric_inc(&refused);
        log_limited(LOG_WARN, "map request for a node of another machine", LOG_S("key", key));
    }
    /* The same for both, so that the answer does not say whether the node exists. */
    if (j->req.is_stream)
        session_create_gone(part_of(j), j->p.ex, &j->req.key, j->coding);
    else
        http_respond_text(j->p.ex, 404, "this node is not registered here");
}

static void answer_with_map(struct map_job *j)
{
    ts2021_conn_know(j->p.ex);
    if (j->req.is_stream && !j->req.is_read_only)
        session_create(part_of(j), j->p.ex, j->session, j->node, &j->req.key, j->coding, j->req.omit_peers);
    else if (j->req.omit_peers && !j->req.is_read_only)
        http_respond(j->p.ex, 200, NULL, STR_EMPTY); /* an update: the client discards what it gets */
    else
        session_answer_once(part_of(j), j->p.ex, j->node, &j->req.key, j->coding, !j->req.omit_peers);
}

static void done(struct core_job *job)
{
    struct map_job *j = (struct map_job *)job;
    if (j->p.ex == NULL && job->denied == RC_OK && j->req.is_stream && !j->req.is_read_only)
        poll_ends_post(part_of(j), j->node);
    else if (j->p.ex != NULL && job->refused != RC_OK)
        control_respond_refused(j->p.ex, job->refused);
    else if (j->p.ex != NULL && job->denied != RC_OK)
        answer_denial(j);
    else if (j->p.ex != NULL)
        answer_with_map(j);
    pending_free(&j->p);
}

/* --- the request --- */

static const struct addr *copy_endpoints(struct arena *a, const struct map_request *req)
{
    struct addr *copy = arena_zalloc(a, req->endpoints_n + 1, sizeof(*copy));
    if (req->endpoints_n > 0)
        memcpy(copy, req->endpoints, req->endpoints_n * sizeof(*copy));
    return copy;
}

static void fill(struct map_job *j, const struct map_request *req)
{
    j->req = *req;
    j->req.hostinfo = (struct hostinfo){0}; /* what it points to does not last */
    j->req.endpoints = NULL;
    j->coding = req->wants_zstd ? NETMAP_ZSTD : NETMAP_PLAIN;
    if (req->is_read_only)
        return;
    control_report_fill(&j->report, &j->p.arena, req->version, &req->hostinfo);
    j->report.disco = key_is_zero(req->disco.b) ? NULL : &j->req.disco;
    /* When an update has none, none is known any more; when a poll has none, they stay as they are. */
    static const struct addr none;
    if (req->has_endpoints)
        j->report.endpoints = copy_endpoints(&j->p.arena, req);
    else
        j->report.endpoints = req->is_stream ? NULL : &none;
    j->report.endpoints_n = req->endpoints_n;
}

static bool refuse_early(struct map_job *j, enum rc rc, const struct err *err)
{
    const struct ts2021_conn *conn = http_request(j->p.ex)->conn_ctx;
    if (conn->version < CAP_VERSION_FLOOR) {
        metric_inc(&too_old);
        http_respond_text(j->p.ex, 400,
                          "this client is too old: this server needs Tailscale " CLIENT_FLOOR_TEXT " or newer");
        return true;
    }
    if (rc != RC_OK) {
        char text[640];
        err_format(err, text, sizeof(text));
        metric_inc(&malformed);
        log_limited(LOG_WARN, "map request that is no map request", LOG_S("why", text));
        http_respond_text(j->p.ex, rc == RC_TOO_LARGE ? 413 : 400, text);
        return true;
    }
    return false;
}

/* False: the request has been answered. */
static bool read_request(struct map_job *j, struct str body)
{
    struct arena scratch = {0};
    struct map_request req;
    struct err err = {0};
    enum rc rc = tailcfg_map_request_parse(&scratch, body, &req, &err);
    bool is_refused = refuse_early(j, rc, &err);
    if (!is_refused)
        fill(j, &req);
    arena_fini(&scratch);
    return !is_refused;
}

void control_handle_map(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    struct map_job *j = (struct map_job *)pending_create(w, ex, sizeof(*j));
    if (!read_request(j, http_request(ex)->body)) {
        pending_free(&j->p);
        return;
    }
    metric_inc(j->req.is_stream ? &polls : j->req.is_read_only ? &fetches : &updates);
    j->session = j->req.is_stream ? w->next_session++ : 0;
    j->p.job.kind = JOB_LOCAL;
    j->p.job.run = run;
    j->p.job.done = done;
    if (pending_post(&j->p, sizeof(*j), &j->report))
        return;
    control_respond_busy(ex);
    control_report_fini(&j->report);
    pending_free(&j->p);
}
