/* The values that nodes depend on, as they were at the last start: kept in the state directory (CONFIG_LAST_START), so
 * that a change is noticed. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "daemon/daemon_internal.h"

LOG_MODULE("daemon");

enum { FILE_MAX_BYTES = 16 * 1024 };

struct last_start {
    char server_url[CONFIG_HOST_CAP + 32];
    char state_dir[PATH_MAX];
};

static void path_of(const struct config *cfg, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s", cfg->state_dir, CONFIG_LAST_START);
}

static void copy_text(const struct json *root, const char *name, char *out, size_t cap)
{
    struct str s;
    if (json_str(json_get(root, name), &s) && s.len < cap && memchr(s.p, '\0', s.len) == NULL)
        snprintf(out, cap, "%.*s", STR_ARG(s));
}

/* Texts are empty when they are not known. */
static struct last_start read_last(const struct config *cfg)
{
    struct last_start last = {0};
    struct arena a = {0};
    struct buf text = {0};
    const struct json *root;
    char path[PATH_MAX];
    path_of(cfg, path);
    if (file_read(path, FILE_MAX_BYTES, &text, NULL) == RC_OK &&
        json_parse(&a, buf_str(&text), NULL, &root, NULL) == RC_OK) {
        copy_text(root, "server_url", last.server_url, sizeof(last.server_url));
        copy_text(root, "state_dir", last.state_dir, sizeof(last.state_dir));
    }
    arena_fini(&a);
    buf_fini(&text);
    return last;
}

static void write_this(const struct config *cfg, const struct last_start *now)
{
    struct buf text = {0};
    struct json_writer w;
    struct err err = {0};
    char path[PATH_MAX];
    json_w_init(&w, &text);
    json_w_object(&w);
    json_w_kv_cstr(&w, "server_url", now->server_url);
    json_w_kv_bool(&w, "guessed", !config_is_set(cfg, "server_url"));
    json_w_kv_cstr(&w, "state_dir", now->state_dir);
    json_w_end_object(&w);
    buf_append_byte(&text, '\n');
    path_of(cfg, path);
    if (file_save(path, buf_str(&text), &err) != RC_OK)
        log_warn("what this start was like is not kept: a change of server_url will not be noticed",
                 LOG_S("why", err.text));
    buf_fini(&text);
}

/* A client keeps the URL of its login (ControlURL in its preferences) until it logs in anew. */
static void log_changed_url(const struct last_start *last, const struct config *cfg, size_t nodes)
{
    if (last->server_url[0] == '\0' || strcmp(last->server_url, cfg->server_url) == 0 || nodes == 0)
        return;
    log_warn(
        "server_url has changed: nodes that have joined go on calling the old one. Keep it working (DNS, proxy), or on "
        "each node: tailscale up --force-reauth --login-server NEW",
        LOG_S("was", last->server_url), LOG_S("is", cfg->server_url), LOG_U("nodes", nodes));
}

static void log_moved_state_dir(const struct last_start *last, const struct last_start *now)
{
    if (last->state_dir[0] == '\0' || strcmp(last->state_dir, now->state_dir) == 0)
        return;
    log_warn(
        "the state directory lies elsewhere than at the last start. If it was copied, never run both: they are one "
        "server "
        "with one identity, and nodes would see now this, now that one",
        LOG_S("was", last->state_dir), LOG_S("is", now->state_dir));
}

void last_start_compare(const struct config *cfg, size_t nodes)
{
    struct last_start last = read_last(cfg);
    struct last_start now = {0};
    snprintf(now.server_url, sizeof(now.server_url), "%s", cfg->server_url);
    if (realpath(cfg->state_dir, now.state_dir) == NULL)
        snprintf(now.state_dir, sizeof(now.state_dir), "%s", cfg->state_dir);
    log_changed_url(&last, cfg, nodes);
    log_moved_state_dir(&last, &now);
    write_this(cfg, &now);
}
