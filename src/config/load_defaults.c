/* Values of keys that are not set: from the table, from this machine, and from other keys. */
#include <unistd.h>

#include "base/file.h"
#include "codec/json.h"
#include "config/load_internal.h"
#include "config/value_internal.h"

enum { LAST_START_MAX_BYTES = 16 * 1024 };

static bool is_wildcard(const struct addr *a)
{
    static const uint8_t zeros[16];
    return memcmp(a->ip, zeros, a->family == 4 ? 4 : 16) == 0;
}

/* http://ADDRESS:PORT of this machine, from where it listens. */
static const char *default_server_url(struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    bool is_https = cfg->tls_cert_path[0] != '\0';
    char host[ADDR_TEXT_CAP] = "127.0.0.1";
    if (!is_wildcard(&cfg->listen_addr.addr))
        addr_format(&cfg->listen_addr.addr, false, host);
    else if (l->src->primary_ip[0] != '\0')
        memcpy(host, l->src->primary_ip, sizeof(host));
    bool is_v6 = strchr(host, ':') != NULL;
    const char *url = arena_printf(&l->out->arena, "%s://%s%s%s", is_https ? "https" : "http", is_v6 ? "[" : "", host,
                                   is_v6 ? "]" : "");
    if (cfg->listen_addr.addr.port == (is_https ? 443 : 80))
        return url;
    return arena_printf(&l->out->arena, "%s:%u", url, cfg->listen_addr.addr.port);
}

/* A certificate that clients trust serves the relay too, and so does a proxy with one, which may publish nothing but
 * server_url. A certificate or a name of the relay alone shows that it has a port of its own. */
static bool is_relay_at_main_port(const struct loader *l)
{
    const struct config *cfg = &l->out->cfg;
    if (loader_is_set(l, "derp.server.tls_cert_path") || l->src->is_relay)
        return false;
    if (cfg->tls_cert_path[0] != '\0')
        return true;
    char host[CONFIG_HOST_CAP];
    config_url_host(cfg->server_url, host);
    bool has_own_name = loader_is_set(l, "derp.server.hostname") &&
                        !str_eq_ci(str_c(host), str_c(cfg->derp_server_hostname));
    return config_is_behind_proxy(cfg) && !has_own_name;
}

/* The URL that was guessed at the first start, if it differs from this one only in the address; else null. A guess made
 * without a network does not count. */
static const char *remembered_url(struct loader *l, const char *guess)
{
    const char *path = arena_printf(&l->out->arena, "%s/%s", l->out->cfg.state_dir, CONFIG_LAST_START);
    struct buf text = {0};
    const struct json *root;
    const char *found = NULL;
    struct str url;
    struct schema_url old, now;
    struct addr ip;
    bool was_guessed = false;
    if (file_read(path, LAST_START_MAX_BYTES, &text, NULL) == RC_OK &&
        json_parse(&l->out->arena, buf_str(&text), NULL, &root, NULL) == RC_OK &&
        json_bool(json_get(root, "guessed"), &was_guessed) && was_guessed &&
        json_str(json_get(root, "server_url"), &url) && schema_url_parse(url, &old) &&
        schema_url_parse(str_c(guess), &now) && old.is_https == now.is_https && old.port == now.port)
        found = addr_parse_ip(old.host, &ip) == RC_OK && !addr_is_loopback(&ip) ? arena_str(&l->out->arena, url).p
                                                                                : NULL;
    buf_fini(&text);
    return found;
}

static const char *guess_or_remember_url(struct loader *l)
{
    const char *guess = default_server_url(l);
    const char *remembered = l->src->is_relay ? NULL : remembered_url(l, guess);
    return remembered != NULL ? remembered : guess;
}

/* Beside the file, wherever the program is started. Older versions made it in the working directory. */
static const char *default_state_dir(struct loader *l)
{
    static const char name[] = "fullscale-data";
    if (l->src->is_root)
        return "/var/lib/fullscale";
    if (l->base_dir[0] == '\0')
        return name;
    const char *beside = arena_printf(&l->out->arena, "%s/%s", l->base_dir, name);
    return access(beside, F_OK) != 0 && access(name, F_OK) == 0 ? name : beside;
}

static const char *expand(struct loader *l, const char *def)
{
    struct str rest = str_c(def);
    bool is_root = l->src->is_root;
    if (str_eq_c(rest, "{server_url}"))
        return guess_or_remember_url(l);
    if (str_eq_c(rest, "{state_dir}"))
        return default_state_dir(l);
    if (str_starts(rest, STR("{state_dir}/")))
        return arena_printf(&l->out->arena, "%s%s", l->out->cfg.state_dir, def + 11);
    if (str_eq_c(rest, "{derp_listen}"))
        return is_relay_at_main_port(l) ? "" : "[::]:8443";
    if (str_starts(rest, STR("{run_dir}/")))
        return arena_printf(&l->out->arena, "%s%s", is_root ? "/run/fullscale" : l->out->cfg.state_dir, def + 9);
    return def;
}

void loader_take_defaults(struct loader *l)
{
    const struct schema_row *first = schema_find(STR("state_dir")); /* server_url may be remembered there */
    for (size_t i = 0; i <= schema_rows_n; i++) {
        const struct schema_row *row = i == 0 ? first : &schema_rows[i - 1];
        if (l->origins[row - schema_rows].is_set || value_is_yaml_only(row->type))
            continue;
        loader_set_text(l, row, row->name, "", (struct value_item){str_c(expand(l, row->def)), 0, 0});
    }
}

/* --- what follows from several keys --- */

void loader_place_relay(struct loader *l)
{
    struct config *cfg = &l->out->cfg;
    struct schema_url url;
    struct config_listen *at = &cfg->derp_server_listen_addr;
    if (!schema_url_parse(str_c(cfg->server_url), &url))
        return;
    if (cfg->derp_server_hostname[0] == '\0')
        cfg->derp_server_hostname = arena_str(&l->out->arena, url.host).p;
    bool has_tls = cfg->tls_cert_path[0] != '\0' || url.is_https;
    if (has_tls && !l->src->is_relay && config_is_same_port(at, &cfg->listen_addr))
        *at = (struct config_listen){.text = ""};
    cfg->derp_public_port = at->addr.family != 0 ? at->addr.port
                            : !url.is_https      ? cfg->listen_addr.addr.port
                            : url.port != 0      ? url.port
                                                 : 443;
}

/* base_domain is searched first anyway. */
void loader_drop_searched_twice(struct loader *l)
{
    struct config *cfg = &l->out->cfg;
    struct config_strings *domains = &cfg->dns_search_domains;
    size_t n = 0;
    for (size_t i = 0; i < domains->n; i++) {
        if (!cfg->dns_magic_dns || strcmp(domains->items[i], cfg->dns_base_domain) != 0)
            domains->items[n++] = domains->items[i];
    }
    domains->n = n;
}
