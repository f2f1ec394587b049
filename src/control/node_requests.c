/* The small requests of clients inside Noise. src: docs/protocol/control.md 4 */
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "codec/json.h"
#include "control/control_internal.h"

LOG_MODULE("control");
METRIC_COUNTER(unknown_paths, "fullscale_control_unknown_paths_total", "",
               "Requests inside Noise for paths we do not serve.");
METRIC_COUNTER(strangers, "fullscale_control_strangers_total", "",
               "Requests inside Noise for a node that does not belong to the machine that asks.");

/* --- requests for one node: the body has its node key, which must belong to the connection's machine --- */

struct node_job;

struct control_node_answer {
    void (*answer)(const struct node_job *j);
};

struct node_job {
    struct pending p;
    struct str body; /* in the arena */
    node_key key;
    const struct control_node_answer *answer;
    node_id node;
};

static void run_node_job(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct node_job *j = (struct node_job *)job;
    const struct node *n = NULL;
    (void)now_ms;
    enum rc rc = state_authorise(st, &j->key, &j->p.machine, &n);
    if (rc != RC_OK)
        core_deny(job, rc);
    else
        j->node = n->id;
}

/* The same answer whether the node does not exist or belongs to another machine. */
static void refuse_stranger(const struct node_job *j)
{
    char key[KEY_SHORT_CAP];
    machine_key_short(&j->p.machine, key);
    metric_inc(&strangers);
    log_limited(LOG_WARN, "request for a node that the machine has not", LOG_S("machine", key),
                LOG_STR("path", http_request(j->p.ex)->path));
    http_respond_text(j->p.ex, 404, "this node is not registered here");
}

static void done_node_job(struct core_job *job)
{
    struct node_job *j = (struct node_job *)job;
    if (j->p.ex != NULL && job->refused != RC_OK)
        control_respond_refused(j->p.ex, job->refused);
    else if (j->p.ex != NULL && job->denied != RC_OK)
        refuse_stranger(j);
    else if (j->p.ex != NULL)
        j->answer->answer(j);
    pending_free(&j->p);
}

static bool read_node_key(struct str body, node_key *out)
{
    static const struct json_limits limits = {.max_bytes = NODE_BODY_MAX_BYTES, .max_depth = 8, .max_nodes = 256};
    struct arena scratch = {0};
    const struct json *root = NULL;
    struct str text;
    bool is_read = json_parse(&scratch, body, &limits, &root, NULL) == RC_OK &&
                   json_str(json_get(root, "NodeKey"), &text) && node_key_parse(text, out) == RC_OK;
    arena_fini(&scratch);
    return is_read;
}

void control_handle_node_request(void *app, struct http_exchange *ex)
{
    struct node_job *j = (struct node_job *)pending_create(app, ex, sizeof(*j));
    struct str body = http_request(ex)->body;
    if (!read_node_key(body, &j->key)) {
        http_respond_text(ex, 400, "the body must be a JSON object with the NodeKey of a node of this machine");
        pending_free(&j->p);
        return;
    }
    j->body = arena_str(&j->p.arena, body);
    j->answer = http_route_arg(ex);
    j->p.job.kind = JOB_LOCAL;
    j->p.job.run = run_node_job;
    j->p.job.done = done_node_job;
    if (pending_post(&j->p, sizeof(*j), NULL))
        return;
    control_respond_busy(ex);
    pending_free(&j->p);
}

/* Clients before 1.90 send this many times a second while they start, and ignore the answer. */
static void answer_update_health(const struct node_job *j)
{
    http_respond(j->p.ex, 204, NULL, STR_EMPTY);
}

const struct control_node_answer control_answer_update_health = {answer_update_health};

static void answer_audit_log(const struct node_job *j)
{
    log_limited(LOG_INFO, "audit event of a client", LOG_U("node", j->node), LOG_STR("event", j->body));
    http_respond(j->p.ex, 200, "application/json", STR("{}"));
}

const struct control_node_answer control_answer_audit_log = {answer_audit_log};

/* `tailscale serve` and `tailscale funnel` show the text; without it they fail silently. */
static void answer_feature_query(const struct node_job *j)
{
    http_respond(j->p.ex, 200, "application/json",
                 STR("{\"Complete\":false,\"Text\":\"This server cannot issue HTTPS certificates yet, which Serve and "
                     "Funnel need.\",\"URL\":\"\",\"ShouldWait\":false}"));
}

const struct control_node_answer control_answer_feature_query = {answer_feature_query};

/* --- requests that name no node --- */

void control_handle_whoami(void *app, struct http_exchange *ex)
{
    (void)app;
    const struct ts2021_conn *conn = http_request(ex)->conn_ctx;
    char key[KEY_TEXT_CAP], text[160];
    machine_key_format(&conn->machine, key);
    snprintf(text, sizeof(text), "machine %s, capability version %u", key, conn->version);
    http_respond_text(ex, 200, text);
}

/* A rule with the action `check` demands a login in a browser, which there is not yet. Without an answer the node
 * that is being logged in to would repeat the request for half an hour. src: docs/protocol/control.md 6.16 */
void control_handle_ssh_action(void *app, struct http_exchange *ex)
{
    (void)app;
    http_respond(ex, 200, "application/json",
                 STR("{\"reject\":true,\"message\":\"The policy demands a check for this login (\\\"action\\\": "
                     "\\\"check\\\"), which this server cannot do yet: its admin can allow it with "
                     "\\\"accept\\\".\\n\"}"));
}

void control_handle_inner_unmatched(void *app, struct http_exchange *ex, int status)
{
    (void)app;
    metric_inc(&unknown_paths);
    log_limited(LOG_DEBUG, "client asked for something unknown", LOG_STR("path", http_request(ex)->path));
    http_respond_text(ex, status, status == 404 ? "this server does not have that" : "method not allowed");
}
