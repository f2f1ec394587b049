#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "crypto/crypto.h"
#include "daemon/derpmap_internal.h"

LOG_MODULE("derpmap");
METRIC_COUNTER(fetches_new, "fullscale_derpmap_fetches_total", "result=\"new\"", "Answers of derp.urls, by result.");
METRIC_COUNTER(fetches_same, "fullscale_derpmap_fetches_total", "result=\"unchanged\"", "");
METRIC_COUNTER(fetches_failed, "fullscale_derpmap_fetches_total", "result=\"failed\"", "");

struct source {
    const char *name; /* URL or path; borrowed from the configuration */
    struct buf text;  /* the last valid document; empty: none yet */
    char etag[260];   /* of `text`; "": none */
    char fault[512];  /* the fault that was logged last; "": none */
    char detail[256]; /* of the last failure, as the failing library words it; may differ each time */
    bool omits_urls;  /* `text` has OmitDefaultRegions; only for the policy's */
};

struct contribution {
    char *name;
    struct derpmap map;
};

struct daemon_derpmap_sources {
    const struct config *cfg;
    struct source *urls;
    struct source *files;
    struct source policy;
    struct contribution *contributions;
    size_t contribution_n, contribution_cap;
};

/* --- life --- */

struct daemon_derpmap_sources *daemon_derpmap_sources_create(const struct config *cfg)
{
    struct daemon_derpmap_sources *s = MEM_NEW(struct daemon_derpmap_sources);
    s->cfg = cfg;
    s->policy.name = "derpMap of the policy";
    s->urls = mem_zalloc(cfg->derp_urls.n + 1, sizeof(*s->urls));
    s->files = mem_zalloc(cfg->derp_paths.n + 1, sizeof(*s->files));
    for (size_t i = 0; i < cfg->derp_urls.n; i++)
        s->urls[i].name = cfg->derp_urls.items[i];
    for (size_t i = 0; i < cfg->derp_paths.n; i++)
        s->files[i].name = cfg->derp_paths.items[i];
    return s;
}

void daemon_derpmap_sources_destroy(struct daemon_derpmap_sources **at)
{
    struct daemon_derpmap_sources *s = *at;
    *at = NULL;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->cfg->derp_urls.n; i++)
        buf_fini(&s->urls[i].text);
    for (size_t i = 0; i < s->cfg->derp_paths.n; i++)
        buf_fini(&s->files[i].text);
    for (size_t i = 0; i < s->contribution_n; i++) {
        mem_free(s->contributions[i].name);
        derpmap_fini(&s->contributions[i].map);
    }
    buf_fini(&s->policy.text);
    mem_free(s->urls);
    mem_free(s->files);
    mem_free(s->contributions);
    mem_free(s);
}

/* --- one document --- */

static bool is_url(const struct daemon_derpmap_sources *s, const struct source *src)
{
    return src >= s->urls && src < s->urls + s->cfg->derp_urls.n;
}

static enum rc merge(const struct daemon_derpmap_sources *s, const struct source *src, struct str text,
                     struct derpmap *map, struct err *err)
{
    return is_url(s, src) || src == &s->policy ? derpmap_merge_json(map, text, src->name, err)
                                               : derpmap_merge_text(map, text, src->name, err);
}

/* Keeps the text if it is a valid document by itself. */
static enum rc accept_text(const struct daemon_derpmap_sources *s, struct source *src, struct str text, struct err *err)
{
    struct derpmap alone = {0};
    enum rc rc = merge(s, src, text, &alone, err);
    if (rc == RC_OK)
        rc = derpmap_check_nodes(&alone, err);
    bool omits_urls = alone.omit_default_regions;
    derpmap_fini(&alone);
    if (rc != RC_OK)
        return rc;
    src->omits_urls = omits_urls;
    buf_clear(&src->text);
    buf_append_str(&src->text, text);
    return RC_OK;
}

/* Notes a fault; null or "": there is none. Logged when it differs from last time. */
static void note(struct source *src, const char *fault)
{
    fault = fault != NULL ? fault : "";
    if (strcmp(src->fault, fault) == 0)
        return;
    if (fault[0] != '\0')
        log_warn("DERP map not updated: what was there before stays", LOG_S("source", src->name), LOG_S("why", fault),
                 LOG_S("detail", src->detail));
    else
        log_info("DERP map updated again", LOG_S("source", src->name));
    if (fault[0] == '\0')
        src->detail[0] = '\0';
    snprintf(src->fault, sizeof(src->fault), "%s", fault);
}

static void note_err(struct source *src, const struct err *err)
{
    char text[sizeof(src->fault)];
    err_format(err, text, sizeof(text));
    note(src, text);
}

/* --- copies of URLs on disk --- */

static void copy_path(const struct daemon_derpmap_sources *s, const struct source *src, char out[4096])
{
    uint8_t hash[32];
    char name[33] = "";
    sha256(src->name, strlen(src->name), hash);
    hex_encode(hash, 16, name);
    snprintf(out, 4096, "%s/derpmap/%s.json", s->cfg->state_dir, name);
}

static void save_copy(const struct daemon_derpmap_sources *s, const struct source *src)
{
    char path[4096], folder[4096];
    struct err err = {0};
    copy_path(s, src, path);
    snprintf(folder, sizeof(folder), "%s/derpmap", s->cfg->state_dir);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        err_set(&err, RC_IO, "cannot make %s: %s", folder, strerror(errno));
    else if (file_save(path, buf_str(&src->text), &err) == RC_OK)
        return;
    log_warn("the copy of a DERP map is not saved", LOG_S("why", err.text));
}

static void load_copy(struct daemon_derpmap_sources *s, struct source *src)
{
    char path[4096];
    struct buf text = {0};
    struct err err = {0};
    copy_path(s, src, path);
    if (access(path, F_OK) != 0)
        return;
    enum rc rc = file_read(path, DERPMAP_FILE_MAX_BYTES, &text, &err);
    if (rc == RC_OK)
        rc = accept_text(s, src, buf_str(&text), &err);
    if (rc != RC_OK)
        log_warn("the copy of a DERP map is not used", LOG_S("source", src->name), LOG_S("why", err.text));
    buf_fini(&text);
}

/* --- files --- */

static enum rc read_source(struct daemon_derpmap_sources *s, struct source *src, struct err *err)
{
    struct buf text = {0};
    enum rc rc = file_read(src->name, DERPMAP_FILE_MAX_BYTES, &text, err);
    if (rc == RC_OK)
        rc = accept_text(s, src, buf_str(&text), err);
    buf_fini(&text);
    return rc;
}

enum rc daemon_derpmap_sources_load(struct daemon_derpmap_sources *s, struct err *err)
{
    for (size_t i = 0; i < s->cfg->derp_paths.n; i++)
        TRY(read_source(s, &s->files[i], err));
    for (size_t i = 0; i < s->cfg->derp_urls.n; i++)
        load_copy(s, &s->urls[i]);
    return RC_OK;
}

void daemon_derpmap_sources_reread(struct daemon_derpmap_sources *s)
{
    for (size_t i = 0; i < s->cfg->derp_paths.n; i++) {
        struct err err = {0};
        if (read_source(s, &s->files[i], &err) == RC_OK)
            note(&s->files[i], NULL);
        else
            note_err(&s->files[i], &err);
    }
}

/* --- URLs --- */

void daemon_derpmap_sources_forget_urls(struct daemon_derpmap_sources *s)
{
    for (size_t i = 0; i < s->cfg->derp_urls.n; i++) {
        buf_clear(&s->urls[i].text);
        s->urls[i].etag[0] = '\0';
    }
}

size_t daemon_derpmap_sources_url_n(const struct daemon_derpmap_sources *s)
{
    return s->cfg->derp_urls.n;
}

const char *daemon_derpmap_sources_url(const struct daemon_derpmap_sources *s, size_t i)
{
    return s->urls[i].name;
}

bool daemon_derpmap_sources_is_failing(const struct daemon_derpmap_sources *s)
{
    for (size_t i = 0; i < s->cfg->derp_urls.n; i++) {
        if (s->urls[i].fault[0] != '\0')
            return true;
    }
    return false;
}

static void append_fault(const struct source *src, const char *key, struct buf *out)
{
    if (src->fault[0] == '\0')
        return;
    buf_printf(out, "%s: %s: %s", key, src->name, src->fault);
    if (src->detail[0] != '\0')
        buf_printf(out, " (%s)", src->detail);
    buf_append_c(out, "; what was there before stays\n");
}

void daemon_derpmap_sources_faults(const struct daemon_derpmap_sources *s, struct buf *out)
{
    for (size_t i = 0; i < s->cfg->derp_urls.n; i++)
        append_fault(&s->urls[i], "derp.urls", out);
    for (size_t i = 0; i < s->cfg->derp_paths.n; i++)
        append_fault(&s->files[i], "derp.paths", out);
    append_fault(&s->policy, "policy", out);
}

const char *daemon_derpmap_sources_etag(const struct daemon_derpmap_sources *s, size_t i)
{
    return s->urls[i].etag[0] != '\0' ? s->urls[i].etag : NULL;
}

/* Why this is no valid document, without details that differ each time (such as how long a connection was tried). */
static enum rc judge(const struct daemon_derpmap_sources *s, struct source *src, const struct fetch_reply *reply,
                     struct err *err)
{
    if (reply->rc != RC_OK)
        return err_set(err, reply->rc, "%s", rc_text(reply->rc));
    if (reply->status != 200)
        return err_set(err, RC_IO, "HTTP status %d", reply->status);
    return accept_text(s, src, reply->body, err);
}

void daemon_derpmap_sources_take(struct daemon_derpmap_sources *s, size_t i, const struct fetch_reply *reply)
{
    struct source *src = &s->urls[i];
    struct err err = {0};
    if (reply->rc == RC_CLOSED)
        return;
    bool is_same = reply->rc == RC_OK && buf_len(&src->text) > 0 &&
                   ((reply->status == 304 && src->etag[0] != '\0') ||
                    (reply->status == 200 && str_eq(reply->body, buf_str(&src->text))));
    if (is_same) {
        metric_inc(&fetches_same);
    } else if (judge(s, src, reply, &err) == RC_OK) {
        metric_inc(&fetches_new);
        save_copy(s, src);
    } else {
        metric_inc(&fetches_failed);
        snprintf(src->detail, sizeof(src->detail), "%s", reply->error);
        log_debug("no DERP map", LOG_S("source", src->name), LOG_S("why", reply->error));
        note_err(src, &err);
        return;
    }
    if (reply->status == 200)
        snprintf(src->etag, sizeof(src->etag), "%s", reply->etag);
    note(src, NULL);
}

/* --- the policy --- */

bool daemon_derpmap_sources_set_policy(struct daemon_derpmap_sources *s, struct str text)
{
    struct err err = {0};
    if (str_eq(text, buf_str(&s->policy.text)))
        return false;
    if (text.len == 0) {
        buf_clear(&s->policy.text);
        s->policy.omits_urls = false;
    } else if (accept_text(s, &s->policy, text, &err) != RC_OK) {
        note_err(&s->policy, &err);
        return false;
    }
    note(&s->policy, NULL);
    return true;
}

/* --- contributions --- */

void daemon_derpmap_sources_contribute(struct daemon_derpmap_sources *s, const char *name, struct derpmap *map)
{
    size_t i = 0;
    while (i < s->contribution_n && strcmp(s->contributions[i].name, name) != 0)
        i++;
    if (i == s->contribution_n) {
        VEC_ROOM(s->contributions, s->contribution_n, s->contribution_cap, 4);
        s->contributions[s->contribution_n++] = (struct contribution){.name = mem_strdup(name)};
    }
    derpmap_fini(&s->contributions[i].map);
    s->contributions[i].map = *map;
    *map = (struct derpmap){0};
}

/* --- the map --- */

static enum rc add_own_region(const struct config *cfg, const char *pin, struct derpmap *map, struct err *err)
{
    char cert_name[TLS_FINGERPRINT_CAP + 16] = "";
    struct addr ip = {0};
    if (pin[0] != '\0')
        snprintf(cert_name, sizeof(cert_name), "sha256-raw:%s", pin);
    struct derpmap_own own = {
        .region_id = (int)cfg->derp_server_region_id,
        .region_code = cfg->derp_server_region_code,
        .region_name = cfg->derp_server_region_name,
        .host_name = cfg->derp_server_hostname,
        .ipv4 = cfg->derp_server_ipv4,
        .ipv6 = cfg->derp_server_ipv6,
        .cert_name = cert_name,
        .stun_port = cfg->derp_server_stun_listen_addr.addr.family != 0 ? cfg->derp_server_stun_listen_addr.addr.port
                                                                        : -1,
        .derp_port = cfg->derp_public_port,
        /* Clients look for captive portals at /generate_204 on that port. */
        .can_port80 = cfg->listen_addr.addr.port == 80 && cfg->tls_cert_path[0] == '\0',
    };
    /* An address spares clients the look-up, and shows which family will do. */
    if (addr_parse_ip(str_c(cfg->derp_server_hostname), &ip) == RC_OK) {
        if (ip.family == 4 && own.ipv4[0] == '\0')
            own.ipv4 = cfg->derp_server_hostname;
        if (ip.family == 6 && own.ipv6[0] == '\0')
            own.ipv6 = cfg->derp_server_hostname;
    }
    return derpmap_add_own(map, &own, err);
}

/* Replaces pins by no check at all, for clients that know no pins. Relayed packets are encrypted by WireGuard; an
 * attacker in between could only see which nodes communicate, or cut them off. True when there was a pin. */
static bool drop_pins(struct derpmap *map)
{
    bool found = false;
    for (unsigned i = 0; i < map->region_n; i++) {
        for (unsigned k = 0; k < map->regions[i].node_n; k++) {
            struct derpmap_node *n = &map->regions[i].nodes[k];
            if (n->cert_name == NULL || !str_starts(str_c(n->cert_name), STR("sha256-raw:")))
                continue;
            mem_free(n->cert_name);
            n->cert_name = NULL;
            n->insecure_for_tests = true;
            found = true;
        }
    }
    return found;
}

static struct rcbuf *text_of(const struct derpmap *map)
{
    struct buf json = {0};
    derpmap_write_json(map, &json);
    struct rcbuf *made = rcbuf_create(buf_at(&json), buf_len(&json));
    buf_fini(&json);
    return made;
}

static enum rc merge_all(const struct daemon_derpmap_sources *s, const char *pin, struct derpmap *map, struct err *err)
{
    const struct config *cfg = s->cfg;
    for (size_t i = 0; i < cfg->derp_urls.n; i++) {
        if (buf_len(&s->urls[i].text) > 0 && !s->policy.omits_urls)
            TRY(merge(s, &s->urls[i], buf_str(&s->urls[i].text), map, err));
    }
    for (size_t i = 0; i < cfg->derp_paths.n; i++)
        TRY(merge(s, &s->files[i], buf_str(&s->files[i].text), map, err));
    if (buf_len(&s->policy.text) > 0)
        TRY(merge(s, &s->policy, buf_str(&s->policy.text), map, err));
    if (cfg->derp_server_enabled && cfg->derp_server_add_region)
        TRY(add_own_region(cfg, pin, map, err));
    for (size_t i = 0; i < s->contribution_n; i++)
        derpmap_append(map, &s->contributions[i].map);
    return RC_OK;
}

static bool waits_for_url(const struct daemon_derpmap_sources *s)
{
    for (size_t i = 0; i < s->cfg->derp_urls.n; i++) {
        if (buf_len(&s->urls[i].text) == 0)
            return true;
    }
    return false;
}

enum rc daemon_derpmap_sources_build(const struct daemon_derpmap_sources *s, const char *pin, bool may_be_empty,
                                     struct daemon_derpmap_texts *out, struct err *err)
{
    struct derpmap map = {0};
    *out = (struct daemon_derpmap_texts){0};
    enum rc rc = merge_all(s, pin, &map, err);
    if (rc == RC_OK)
        rc = may_be_empty || waits_for_url(s) ? derpmap_check_nodes(&map, err) : derpmap_check(&map, err);
    if (rc == RC_OK) {
        out->pinned = text_of(&map);
        out->region_n = map.region_n;
        if (drop_pins(&map))
            out->unpinned = text_of(&map);
    }
    derpmap_fini(&map);
    return rc;
}

void daemon_derpmap_texts_fini(struct daemon_derpmap_texts *t)
{
    rcbuf_unref(&t->pinned);
    rcbuf_unref(&t->unpinned);
}
