/* POST /machine/register. Whatever a person should read is status 200 with Error. src: docs/protocol/control.md 5 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "codec/json_write.h"
#include "control/control_internal.h"
#include "crypto/crypto.h"

LOG_MODULE("register");
METRIC_COUNTER(joined, "fullscale_registrations_total", "result=\"joined\"", "Registrations answered, by result.");
METRIC_COUNTER(returned, "fullscale_registrations_total", "result=\"known\"", "");
METRIC_COUNTER(expired, "fullscale_registrations_total", "result=\"key_expired\"", "");
METRIC_COUNTER(refused, "fullscale_registrations_total", "result=\"refused\"", "");
METRIC_COUNTER(key_alarms, "fullscale_auth_key_alarms_total", "",
               "Times that as many nodes joined with one auth key within an hour as auth_keys.alarm_joins says.");
METRIC_COUNTER(key_source, "fullscale_auth_key_refused_total", "reason=\"source\"",
               "Registrations that an auth key's own limits refused: where it may be used, for how many nodes.");
METRIC_COUNTER(key_full, "fullscale_auth_key_refused_total", "reason=\"max_nodes\"", "");

struct register_job {
    struct pending p;
    struct registration reg;
    enum register_outcome outcome;
    bool is_new;
    const struct user *user; /* reference, or null for tagged nodes */
    char error[512];
    struct addr from;
    struct addr client; /* the client's own address, also behind a proxy */
    bool is_alarm;      /* many nodes have joined with its auth key */
    enum key_limit key_limit;
    char host_name[HOSTNAME_CAP]; /* as the machine calls itself */
};

static void write_profile(struct json_writer *w, const struct user *u, bool login)
{
    const char *name = u == NULL ? "tagged-devices" : u->email[0] != '\0' ? u->email : u->name;
    const char *display = u == NULL ? "Tagged Devices" : u->display_name[0] != '\0' ? u->display_name : u->name;
    json_w_object(w);
    json_w_kv_u64(w, "ID", u == NULL ? TAGGED_DEVICES_USER : u->id);
    if (login) {
        json_w_kv_cstr(w, "Provider", "fullscale");
        json_w_kv_cstr(w, "LoginName", name);
    }
    json_w_kv_cstr(w, "DisplayName", display);
    if (u != NULL && u->picture_url[0] != '\0')
        json_w_kv_cstr(w, "ProfilePicURL", u->picture_url);
    json_w_end_object(w);
}

static void respond(struct http_exchange *ex, const struct register_job *j)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_object(&w);
    json_w_key(&w, "User");
    write_profile(&w, j->user, false);
    json_w_key(&w, "Login");
    write_profile(&w, j->user, true);
    json_w_kv_bool(&w, "NodeKeyExpired", j->outcome == REGISTER_KEY_EXPIRED);
    json_w_kv_bool(&w, "MachineAuthorized", j->outcome == REGISTER_OK);
    json_w_kv_cstr(&w, "AuthURL", "");
    json_w_key(&w, "NodeKeySignature");
    json_w_null(&w);
    json_w_kv_cstr(&w, "Error", j->error);
    json_w_end_object(&w);
    http_respond(ex, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

/* Only the answer waits for the disk: the request is freed. */
static void forget_request(struct register_job *j)
{
    secret_wipe((void *)j->reg.auth_key.p, j->reg.auth_key.len);
    j->reg.auth_key = STR_EMPTY;
    control_report_fini(&j->reg.report);
    arena_fini(&j->p.arena);
}

static void run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct register_job *j = (struct register_job *)job;
    struct register_result result;
    if (job->kind < JOB_PEN && !state_register_is_local(st, &j->reg, now_ms)) {
        core_run_as(job, JOB_PEN);
        return;
    }
    state_register(st, &j->reg, now_ms, &result);
    forget_request(j);
    job->is_firm = result.is_firm; /* a refusal that no commit can change does not wait for those of others */
    j->outcome = result.outcome;
    j->is_new = result.is_new;
    j->is_alarm = result.alarm_joins > 0;
    if (result.outcome == REGISTER_OK) {
        j->user = result.user != NULL ? user_ref(result.user) : NULL;
    } else if (result.outcome == REGISTER_REFUSED) {
        j->key_limit = result.key_limit;
        snprintf(j->error, sizeof(j->error), "%s", result.err.text);
    }
}

static void report_outcome(const struct register_job *j)
{
    if (j->outcome == REGISTER_REFUSED) {
        metric_inc(&refused);
        metric_add(&key_source, j->key_limit == KEY_LIMIT_SOURCE);
        metric_add(&key_full, j->key_limit == KEY_LIMIT_NODES);
        char from[ADDR_TEXT_CAP];
        addr_format(&j->from, false, from);
        log_limited(LOG_WARN, "registration refused", LOG_S("why", j->error), LOG_S("from", from),
                    LOG_S("host", j->host_name));
    } else if (j->outcome == REGISTER_KEY_EXPIRED) {
        metric_inc(&expired);
    } else if (j->is_new) {
        metric_inc(&joined);
    } else {
        metric_inc(&returned);
    }
    metric_add(&key_alarms, j->outcome == REGISTER_OK && j->is_alarm);
}

static void done(struct core_job *job)
{
    struct register_job *j = (struct register_job *)job;
    if (job->refused != RC_OK) {
        j->outcome = REGISTER_REFUSED;
        snprintf(j->error, sizeof(j->error), "%s", store_refusal_text(job->refused));
    }
    report_outcome(j);
    if (j->p.ex != NULL && j->outcome == REGISTER_OK)
        ts2021_conn_know(j->p.ex);
    if (j->p.ex != NULL)
        respond(j->p.ex, j);
    user_unref(&j->user);
    forget_request(j);
    pending_free(&j->p);
}

static void refuse_now(struct register_job *j, const char *text)
{
    j->outcome = REGISTER_REFUSED;
    snprintf(j->error, sizeof(j->error), "%s", text);
    done(&j->p.job);
}

static void fill(struct register_job *j, const struct register_request *req)
{
    j->reg.machine = j->p.machine;
    j->reg.key = req->key;
    j->reg.old_key = req->old_key;
    j->reg.nl = req->nl;
    /* A copy: parsed strings may point into the request. */
    j->reg.auth_key = arena_str(&j->p.arena, req->auth_key);
    j->reg.expiry_ms = req->expiry_ms;
    j->reg.is_ephemeral = req->is_ephemeral;
    j->reg.from = j->client;
    rng_bytes(j->reg.random, sizeof(j->reg.random));
    struct str *tags = arena_zalloc(&j->p.arena, req->hostinfo.tags_n + 1, sizeof(*tags));
    for (size_t i = 0; i < req->hostinfo.tags_n; i++)
        tags[i] = arena_str(&j->p.arena, req->hostinfo.tags[i]);
    j->reg.tags = tags;
    j->reg.tag_n = req->hostinfo.tags_n;
    snprintf(j->host_name, sizeof(j->host_name), "%.*s", STR_ARG(req->hostinfo.hostname));
    control_report_fill(&j->reg.report, &j->p.arena, req->version, &req->hostinfo);
}

static void log_misunderstood(const struct register_job *j, const struct err *err)
{
    char text[640];
    char from[ADDR_TEXT_CAP];
    err_format(err, text, sizeof(text));
    addr_format(&j->from, false, from);
    log_limited(LOG_WARN, "register request that is no register request", LOG_S("why", text), LOG_S("from", from));
}

/* A mebibyte of JSON takes twelve when it is parsed: only what is used of it is kept while the job waits. */
static bool read_request(struct register_job *j, struct str body)
{
    struct arena scratch = {0};
    struct register_request req;
    struct err err = {0};
    enum rc rc = tailcfg_register_request_parse(&scratch, body, &req, &err);
    if (rc == RC_OK)
        fill(j, &req);
    else
        log_misunderstood(j, &err);
    arena_fini(&scratch);
    return rc == RC_OK;
}

void control_handle_register(void *app, struct http_exchange *ex)
{
    struct control_worker *w = app;
    const struct http_request *http = http_request(ex);
    const struct ts2021_conn *conn = http->conn_ctx;
    struct register_job *j = (struct register_job *)pending_create(w, ex, sizeof(*j));
    j->from = http->peer;
    j->client = conn->from;
    if (conn->version < CAP_VERSION_FLOOR) {
        refuse_now(j, "this Tailscale client is too old for this server, which needs " CLIENT_FLOOR_TEXT
                      " or newer: please update it");
        return;
    }
    if (!read_request(j, http->body)) {
        refuse_now(j, "this server did not understand the client's registration request");
        return;
    }
    j->p.job.kind = JOB_LOCAL;
    j->p.job.run = run;
    j->p.job.done = done;
    if (!pending_post(&j->p, sizeof(*j), &j->reg.report))
        refuse_now(j, CORE_BUSY_TEXT);
}
