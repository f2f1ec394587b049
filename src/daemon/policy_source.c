/* The policy of the start, and the policy file as it changes.
 *
 * The file is looked at once a second and on SIGHUP, on the main thread, which has nothing else to do. A change counts
 * when the file looks the same twice: many editors empty it before they write. An invalid, empty or missing file
 * changes nothing; it is logged, and the API and a metric report it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "daemon/daemon_internal.h"
#include "reach/reach.h"

LOG_MODULE("policy");
METRIC_COUNTER(reloads_changed, "fullscale_policy_reloads_total", "result=\"changed\"",
               "Times that the policy file was read again, by result: one that failed leaves the last good policy.");
METRIC_COUNTER(reloads_same, "fullscale_policy_reloads_total", "result=\"unchanged\"", "");
METRIC_COUNTER(reloads_failed, "fullscale_policy_reloads_total", "result=\"failed\"", "");
METRIC_GAUGE(file_faulty, "fullscale_policy_file_faulty", "",
             "1: the policy file as it is now cannot be used, the last good policy is in force.");

/* --- reading --- */

static bool is_file_mode(const struct config *cfg)
{
    return cfg->policy_mode == CONFIG_POLICY_FILE;
}

static enum rc parse(struct str text, const struct policy_options *opts, const char *name, struct policy_doc **out,
                     struct buf *fault)
{
    struct policy_errors errors = {0};
    enum rc rc = policy_parse(text, opts, out, &errors);
    if (rc != RC_OK)
        policy_errors_format(&errors, name, fault);
    policy_errors_fini(&errors);
    return rc;
}

/* Opening a pipe would wait for its writer. */
static enum rc read_regular(const char *path, struct buf *text, struct err *err)
{
    struct stat s;
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode))
        return err_set(err, RC_IO, "cannot read %s: it is %s, not a file", path,
                       S_ISDIR(s.st_mode) ? "a directory" : "a device or pipe");
    return file_read(path, policy_limits_default.text_bytes, text, err);
}

enum rc daemon_policy_read(const char *path, struct policy_doc **out, struct policy_errors *errors, struct err *err)
{
    struct buf text = {0};
    enum rc rc = read_regular(path, &text, err);
    if (rc == RC_OK)
        rc = policy_parse(buf_str(&text), NULL, out, errors);
    buf_fini(&text);
    return rc;
}

/* RC_INVALID: it could be read, but is no valid policy. */
static enum rc read_file(const char *path, struct policy_doc **out, struct buf *fault)
{
    struct buf text = {0};
    struct err err;
    enum rc rc = read_regular(path, &text, &err);
    if (rc == RC_OK)
        rc = parse(buf_str(&text), NULL, path, out, fault);
    else
        buf_printf(fault, "%s\n", err.text);
    buf_fini(&text);
    return rc;
}

/* --- warnings about a valid policy --- */

static void log_each(const struct policy_errors *errors, const char *what)
{
    for (size_t i = 0; i < errors->n; i++)
        log_warn("the policy is used, but", LOG_S(what, errors->v[i].text), LOG_I("line", errors->v[i].line));
}

static void log_warnings(const struct engine *p)
{
    struct policy_errors warnings = {0};
    engine_warnings(p, &warnings);
    log_each(&warnings, "warning");
    policy_errors_fini(&warnings);
}

/* Nodes have come and gone since the policy was set: failing tests are logged and do not keep the server from
 * starting. */
static void log_oddities(struct engine *p)
{
    struct policy_errors failed = {0};
    log_warnings(p);
    if (reach_run_tests(p, &failed) != RC_OK)
        log_each(&failed, "test");
    policy_errors_fini(&failed);
}

/* --- its derpMap --- */

struct str daemon_policy_derp_map(const struct state *st)
{
    const struct engine *p = state_policy(st);
    return p != NULL ? policy_doc_network(engine_doc(p)).derp_map : STR_EMPTY;
}

void daemon_policy_changed(void *ctx, struct tailnet *t)
{
    struct daemon *d = ctx;
    daemon_derpmap_set_policy(d->derpmap, daemon_policy_derp_map(t->state));
}

/* --- at the start --- */

/* The store could not read the newest policy. An older one, or none, might allow what the newest denies. */
static enum rc refuse_older(const struct daemon *d, const struct policy_text *newest, struct err *err)
{
    struct store_aside aside = store_policy_text_aside(d->store);
    if (!aside.is_there || (newest != NULL && aside.id <= (int64_t)newest->id))
        return RC_OK;
    return err_set(
        err, RC_INVALID,
        "policy version %lld in the database cannot be used and is set aside: mend and put it back (why, and its "
        "statement, are in the table set_aside), then delete its row there; or only delete that, to take the "
        "version before; or start with policy.mode file",
        (long long)aside.id);
}

/* Null: none. An empty or missing file is refused as any invalid one: an operator who once wrote a policy must not find
 * the network open after a restart. */
static enum rc load_first(struct daemon *d, const struct state *st, struct policy_doc **out, struct buf *fault,
                          struct err *err)
{
    static const struct policy_options as_stored = {.is_stored = true};
    const char *path = d->cfg->policy_path;
    const struct policy_text *t = state_policy_text_newest(st);
    char name[48];
    if (is_file_mode(d->cfg)) {
        d->policy_read = d->policy_seen = file_stamp(path);
        if (path[0] == '\0' || read_file(path, out, fault) == RC_OK)
            return RC_OK;
        return err_set(err, RC_INVALID, "the policy cannot be used: correct it (fullscale policy check -f %s)", path);
    }
    TRY(refuse_older(d, t, err));
    if (t == NULL)
        return RC_OK;
    snprintf(name, sizeof(name), "policy version %llu", (unsigned long long)t->id);
    if (parse(str_n(t->text->data, t->text->len), &as_stored, name, out, fault) == RC_OK)
        return RC_OK;
    return err_set(err, RC_INVALID,
                   "the policy in the database cannot be used: start with policy.mode file and a "
                   "corrected policy in policy.path");
}

enum rc daemon_policy_load(struct daemon *d, struct state *st, struct err *err)
{
    struct policy_doc *doc = NULL;
    struct buf fault = {0};
    enum rc rc = load_first(d, st, &doc, &fault, err);
    fputs(buf_cstr(&fault), stderr);
    buf_fini(&fault);
    if (rc == RC_OK && doc == NULL)
        log_info("there is no policy: every node reaches every other");
    if (rc != RC_OK || doc == NULL)
        return rc;
    state_set_policy(st, doc);
    if (state_policy(st) != NULL)
        log_oddities(state_policy(st));
    struct change *c = state_publish(st, state_snapshot(st)->made_ms);
    change_unref(&c);
    return RC_OK;
}

/* --- the file, read again --- */

struct reload_job {
    struct core_job job;
    struct policy_doc *doc; /* reference; null: `fault` says why */
    struct buf fault;
};

static void log_fault(struct str lines)
{
    struct str line;
    while (lines.len > 0) {
        str_cut(lines, '\n', &line, &lines);
        log_error("the policy file is not used, the policy stays as it was", LOG_STR("error", line));
    }
}

static bool is_at_work(const struct state *st, const struct policy_doc *doc)
{
    const struct engine *p = state_policy(st);
    return p != NULL && str_eq(policy_doc_text(engine_doc(p)), policy_doc_text(doc));
}

static void try_tests(struct reload_job *j, const struct state *st)
{
    struct policy_errors failed = {0};
    struct engine *tried = state_policy_try(st, j->doc);
    if (reach_run_tests(tried, &failed) != RC_OK)
        policy_errors_format(&failed, j->job.tailnet->policy.path, &j->fault);
    else
        log_warnings(tried);
    policy_errors_fini(&failed);
    engine_destroy(&tried);
}

static void run_reload(struct core_job *job, struct state *st, int64_t now_ms)
{
    (void)now_ms;
    struct reload_job *j = (struct reload_job *)job;
    struct buf *fault = &job->tailnet->policy.fault;
    bool is_same = j->doc != NULL && is_at_work(st, j->doc);
    if (j->doc != NULL && !is_same)
        try_tests(j, st);
    buf_clear(fault);
    buf_append_str(fault, buf_str(&j->fault));
    metric_set(&file_faulty, buf_len(fault) > 0);
    if (buf_len(fault) > 0) {
        metric_inc(&reloads_failed);
        log_fault(buf_str(fault));
    } else if (is_same) {
        metric_inc(&reloads_same);
    } else {
        metric_inc(&reloads_changed);
        state_set_policy(st, policy_doc_ref(j->doc));
        state_note_policy_file(st, str_c(j->job.tailnet->policy.path));
    }
    policy_doc_unref(&j->doc);
    buf_fini(&j->fault);
}

static void reload(struct daemon *d, bool is_retry)
{
    const char *path = d->cfg->policy_path;
    struct reload_job *j = MEM_NEW(struct reload_job);
    *j = (struct reload_job){.job = {.tailnet = d->tailnet, .kind = JOB_PEN, .run = run_reload}};
    d->policy_read = d->policy_seen = file_stamp(path);
    enum rc rc = read_file(path, &j->doc, &j->fault);
    d->policy_unread = rc != RC_OK && rc != RC_INVALID;
    if (!is_retry || !d->policy_unread) {
        core_post(d->core, &j->job);
        return;
    }
    buf_fini(&j->fault); /* logged before */
    mem_free(j);
}

void daemon_policy_reload(struct daemon *d)
{
    if (is_file_mode(d->cfg) && d->cfg->policy_path[0] != '\0')
        reload(d, false);
}

void daemon_policy_watch(struct daemon *d)
{
    if (!is_file_mode(d->cfg) || d->cfg->policy_path[0] == '\0')
        return;
    struct file_stamp now = file_stamp(d->cfg->policy_path);
    bool is_stable = file_stamp_eq(&now, &d->policy_seen);
    d->policy_seen = now;
    bool is_other = !file_stamp_eq(&now, &d->policy_read);
    /* The reason (a disk, descriptors) may have ended without a change to the file. */
    if (is_stable && (is_other || (d->policy_unread && now.exists)))
        reload(d, !is_other);
}
