/* Keys, certificates, maps of relays, the policy and the database: read as `serve` reads them; nothing is made. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"
#include "daemon/preflight_internal.h"
#include "store/store.h"

enum {
    DAY_S = 24 * 3600,
    CERTIFICATE_SOON_S = 14 * DAY_S,
    URL_TIMEOUT_MS = 15000,
};

/* --- keys --- */

static void check_key(struct preflight *p, const char *key, const char *path)
{
    struct err err = {0};
    struct stat st;
    /* A missing key is made by `serve`; another check covers its folder. */
    if (stat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return;
    enum rc rc = private_key_check(path, &err);
    if (rc == RC_INVALID)
        preflight_report(p, FINDING_ERROR, rc, key,
                         "cannot be used: %s. Put the file back from a backup, or move it away for a new key",
                         err.text);
    else if (rc != RC_OK)
        preflight_report(p, FINDING_ERROR, rc, key, "cannot be used: %s. The server's user must be able to read it",
                         err.text);
    else if ((st.st_mode & 077) != 0)
        preflight_report(p, FINDING_WARNING, RC_INVALID, key,
                         "(%.200s) is a secret that others on this machine may read or change: chmod 600 it", path);
}

void preflight_keys(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    static const char mesh_key[] = "derp.server.mesh_key_path"; /* the beginning of its error messages */
    uint8_t mesh[32];
    struct err err = {0};
    struct stat st;
    check_key(p, "noise.private_key_path", cfg->noise_private_key_path);
    if (!cfg->derp_server_enabled)
        return;
    check_key(p, "derp.server.private_key_path", cfg->derp_server_private_key_path);
    if (daemon_mesh_key_read(cfg, mesh, &err) != RC_OK)
        preflight_report(p, FINDING_ERROR, err.code, mesh_key, "cannot be used: %s", err.text + strlen(mesh_key) + 2);
    else if (cfg->derp_server_mesh_key_path[0] != '\0' && stat(cfg->derp_server_mesh_key_path, &st) == 0 &&
             (st.st_mode & 007) != 0)
        preflight_report(p, FINDING_WARNING, RC_INVALID, mesh_key,
                         "(%.200s) is a secret that everyone on this machine may read or change: chmod 640 it",
                         cfg->derp_server_mesh_key_path);
    secret_wipe(mesh, sizeof(mesh));
}

/* --- certificates --- */

static void format_date(int64_t s, char out[40])
{
    struct tm tm;
    time_t t = (time_t)s;
    gmtime_r(&t, &tm);
    strftime(out, 40, "%Y-%m-%d %H:%M UTC", &tm);
}

static void check_dates(struct preflight *p, const char *key, const struct tls_pair *pair)
{
    char date[40];
    if (pair->begins_s > p->now_s) {
        format_date(pair->begins_s, date);
        preflight_report(p, FINDING_FAULT, RC_INVALID, key,
                         "names a certificate that is good from %s on only: clients refuse it (is the clock right?)",
                         date);
    } else if (pair->ends_s <= p->now_s) {
        format_date(pair->ends_s, date);
        preflight_report(p, FINDING_FAULT, RC_EXPIRED, key,
                         "names a certificate that ended at %s: clients refuse it. Renew it", date);
    } else if (pair->ends_s - p->now_s < CERTIFICATE_SOON_S) {
        format_date(pair->ends_s, date);
        preflight_report(p, FINDING_WARNING, RC_INVALID, key, "names a certificate that ends soon, at %s: renew it",
                         date);
    }
}

static void check_pair(struct preflight *p, const char *key, const char *cert, const char *key_file, const char *host,
                       const char *host_key)
{
    struct tls_pair pair;
    struct err err = {0};
    struct stat st;
    enum rc rc = tls_pair_look(cert, key_file, host, &pair, &err);
    if (rc != RC_OK) {
        preflight_report(p, FINDING_ERROR, rc, key, "cannot be used with %.150s: %s", key_file, err.text);
        return;
    }
    check_dates(p, key, &pair);
    if (!pair.is_for_host)
        preflight_report(
            p, p->cfg->trusted_proxies.n > 0 ? FINDING_WARNING : FINDING_FAULT, RC_INVALID, key,
            "names a certificate for %s, and not for %.100s (%s): clients refuse it. Get one for that name",
            pair.names[0] != '\0' ? pair.names : "no name at all", host, host_key);
    if (stat(key_file, &st) == 0 && (st.st_mode & 007) != 0)
        preflight_report(p, FINDING_WARNING, RC_INVALID, key,
                         "has a key that everyone on this machine may read or change: "
                         "chmod 640 %.150s",
                         key_file);
}

void preflight_certificates(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    char host[CONFIG_HOST_CAP];
    config_url_host(cfg->server_url, host);
    if (cfg->tls_cert_path[0] != '\0')
        check_pair(p, "tls_cert_path", cfg->tls_cert_path, cfg->tls_key_path, host, "server_url");
    if (cfg->derp_server_enabled && daemon_relay_part_has_port(cfg) && !daemon_derp_certificate_is_ours(cfg))
        check_pair(p, "derp.server.tls_cert_path", cfg->derp_server_tls_cert_path, cfg->derp_server_tls_key_path,
                   cfg->derp_server_hostname, "derp.server.hostname");
}

/* --- the database --- */

void preflight_database(struct preflight *p)
{
    struct err err = {0};
    enum rc rc = store_check_sqlite(p->cfg->database_sqlite_path, &err);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        preflight_report(p, FINDING_ERROR, rc, "database.sqlite.path", "cannot be used: %s", err.text);
}

/* --- relays --- */

struct document {
    struct preflight *p;
    const char *key;
    const char *name;
};

static void report_oddity(void *ctx, int line, const char *text)
{
    const struct document *d = ctx;
    struct err err = {0};
    (void)err_set_at(&err, RC_INVALID, d->name, line, line > 0 ? 1 : 0, "%s", text);
    preflight_report_err(d->p, FINDING_WARNING, d->key, &err);
}

static void check_map(const struct document *d, const struct derpmap *map, enum finding_level level)
{
    struct err err = {0}, placed = {0};
    char host[CONFIG_HOST_CAP];
    if (derpmap_check_nodes(map, &err) != RC_OK) {
        (void)err_set_at(&placed, err.code, d->name, 0, 0, "%s", err.text);
        preflight_report_err(d->p, level, d->key, &placed);
        return;
    }
    config_url_host(d->p->cfg->server_url, host);
    derpmap_oddities(map, config_is_public_host(host), report_oddity, (void *)d);
}

/* True: the document is valid by itself. */
static void check_file(struct preflight *p, const char *path)
{
    struct document d = {p, "derp.paths", path};
    struct buf text = {0};
    struct derpmap map = {0};
    struct err err = {0};
    enum rc rc = file_read(path, DERPMAP_FILE_MAX_BYTES, &text, &err);
    if (rc == RC_OK)
        rc = derpmap_merge_text(&map, buf_str(&text), path, &err);
    if (rc == RC_OK)
        check_map(&d, &map, FINDING_ERROR);
    else
        preflight_report_err(p, FINDING_ERROR, "derp.paths", &err);
    derpmap_fini(&map);
    buf_fini(&text);
}

/* Documents that are valid alone may contradict each other. */
static void check_together(struct preflight *p)
{
    struct daemon_derpmap_sources *s = daemon_derpmap_sources_create(p->cfg);
    struct daemon_derpmap_texts texts = {0};
    struct err err = {0};
    if (daemon_derpmap_sources_load(s, &err) == RC_OK) {
        daemon_derpmap_sources_forget_urls(s);
        if (daemon_derpmap_sources_build(s, "", true, &texts, &err) != RC_OK)
            preflight_report(p, FINDING_ERROR, err.code, "derp.paths", "do not fit together: %s", err.text);
    }
    daemon_derpmap_texts_fini(&texts);
    daemon_derpmap_sources_destroy(&s);
}

void preflight_relays(struct preflight *p)
{
    const struct config_strings *paths = &p->cfg->derp_paths;
    for (size_t i = 0; i < paths->n; i++)
        check_file(p, paths->items[i]);
    if (preflight_first(p, FINDING_ERROR) == NULL)
        check_together(p);
}

/* --- the policy --- */

static void check_derp_map(struct preflight *p, struct str text)
{
    struct document d = {p, "policy.path", p->cfg->policy_path};
    struct derpmap map = {0};
    struct err err = {0}, placed = {0};
    if (text.len == 0)
        return;
    if (derpmap_merge_json(&map, text, "derpMap", &err) == RC_OK) {
        check_map(&d, &map, FINDING_FAULT);
    } else {
        (void)err_set_at(&placed, err.code, d.name, 0, 0, "derpMap: %s", err.text);
        preflight_report_err(p, FINDING_FAULT, d.key, &placed);
    }
    derpmap_fini(&map);
}

static void report_policy(struct preflight *p, enum finding_level level, const struct policy_errors *errors)
{
    for (size_t i = 0; i < errors->n; i++) {
        struct err err = {0};
        (void)err_set_at(&err, RC_INVALID, p->cfg->policy_path, errors->v[i].line, errors->v[i].col, "%s",
                         errors->v[i].text);
        preflight_report_err(p, level, "policy.path", &err);
    }
}

void preflight_policy(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    struct err err = {0};
    if (cfg->policy_mode != CONFIG_POLICY_FILE || cfg->policy_path[0] == '\0')
        return;
    enum rc rc = daemon_policy_read(cfg->policy_path, &doc, &errors, &err);
    if (rc != RC_OK && errors.n == 0)
        preflight_report(p, FINDING_ERROR, rc, "policy.path", "cannot be used: %s", err.text);
    report_policy(p, FINDING_ERROR, &errors);
    if (rc == RC_OK)
        check_derp_map(p, policy_doc_network(doc).derp_map);
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
}

/* --- what is on other servers --- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool is_here;
    enum rc rc;
    int status;
    struct buf body;
    char error[256];
};

static void on_answer(void *ctx, const struct fetch_reply *reply)
{
    struct answer *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->rc = reply->rc;
    a->status = reply->status;
    buf_append_str(&a->body, reply->body);
    snprintf(a->error, sizeof(a->error), "%s", reply->error);
    a->is_here = true;
    pthread_cond_signal(&a->came);
    pthread_mutex_unlock(&a->lock);
}

static void wait_for(struct fetch *f, const char *url, struct answer *a)
{
    struct fetch_request req = {.url = url, .max_bytes = DERPMAP_FILE_MAX_BYTES, .timeout_ms = URL_TIMEOUT_MS};
    fetch_start(f, &req, on_answer, a);
    pthread_mutex_lock(&a->lock);
    while (!a->is_here)
        pthread_cond_wait(&a->came, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

/* A URL that fails is no error: the server starts without it, and asks again. */
static void check_url(struct preflight *p, struct fetch *f, const char *url)
{
    struct document d = {p, "derp.urls", url};
    struct answer a = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};
    struct derpmap map = {0};
    struct err err = {0};
    wait_for(f, url, &a);
    if (a.rc != RC_OK)
        preflight_report(p, FINDING_WARNING, a.rc, d.key, "names %.150s, which does not answer: %s", url, a.error);
    else if (a.status != 200)
        preflight_report(p, FINDING_WARNING, RC_IO, d.key, "names %.150s, which answers with HTTP status %d", url,
                         a.status);
    else if (derpmap_merge_json(&map, buf_str(&a.body), url, &err) != RC_OK)
        preflight_report(p, FINDING_WARNING, err.code, d.key, "names %.150s, which is no DERP map: %s", url, err.text);
    else
        check_map(&d, &map, FINDING_WARNING);
    derpmap_fini(&map);
    buf_fini(&a.body);
}

void preflight_urls(struct preflight *p)
{
    const struct config_strings *urls = &p->cfg->derp_urls;
    if (!p->asks_urls || urls->n == 0)
        return;
    struct fetch *f = fetch_create();
    for (size_t i = 0; i < urls->n; i++)
        check_url(p, f, urls->items[i]);
    fetch_destroy(&f);
}
