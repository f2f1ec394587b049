/* Configuration to what nodes are told. src: protocol/control.md 6.11, 6.12, 7.1 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "daemon/daemon_internal.h"

static struct rcbuf *take(struct buf *b)
{
    struct rcbuf *made = rcbuf_create(buf_at(b), buf_len(b));
    buf_fini(b);
    return made;
}

/* --- DERP map --- */

static enum rc add_own_region(const struct config *cfg, const char *fingerprint, struct derpmap *map, struct err *err)
{
    char cert_name[TLS_FINGERPRINT_CAP + 16] = "";
    struct addr ip = {0};
    if (fingerprint[0] != '\0')
        snprintf(cert_name, sizeof(cert_name), "sha256-raw:%s", fingerprint);
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
        .derp_port = cfg->derp_server_listen_addr.addr.port,
    };
    /* A literal spares clients the look-up, and tells them which family will do. */
    if (addr_parse_ip(str_c(cfg->derp_server_hostname), &ip) == RC_OK) {
        if (ip.family == 4 && own.ipv4[0] == '\0')
            own.ipv4 = cfg->derp_server_hostname;
        if (ip.family == 6 && own.ipv6[0] == '\0')
            own.ipv6 = cfg->derp_server_hostname;
    }
    return derpmap_add_own(map, &own, err);
}

/* Turns pins into no check at all, for clients that know no pins. What they relay is WireGuard's and stays secret; whoever
 * stands between could only see who talks to whom, or cut them off. True when there was a pin. */
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

static struct rcbuf *derp_map_json(const struct derpmap *map)
{
    struct buf json = {0};
    derpmap_write_json(map, &json);
    return take(&json);
}

static enum rc make_derp_map(const struct config *cfg, const char *fingerprint, struct tailnet_settings *t,
                             struct err *err)
{
    struct derpmap map = {0};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < cfg->derp_paths.n && rc == RC_OK; i++)
        rc = derpmap_merge_file(&map, cfg->derp_paths.items[i], err);
    if (rc == RC_OK && cfg->derp_server_enabled && cfg->derp_server_add_region)
        rc = add_own_region(cfg, fingerprint, &map, err);
    if (rc == RC_OK)
        rc = derpmap_check(&map, err);
    if (rc == RC_OK) {
        t->derp_map_json = derp_map_json(&map);
        if (drop_pins(&map))
            t->derp_map_unpinned_json = derp_map_json(&map);
    }
    derpmap_fini(&map);
    return rc;
}

/* --- DNS --- */

static void write_resolvers(struct json_writer *w, const struct config_strings *servers)
{
    json_w_array(w);
    for (size_t i = 0; i < servers->n; i++) {
        json_w_object(w);
        json_w_kv_cstr(w, "Addr", servers->items[i]);
        json_w_end_object(w);
    }
    json_w_end_array(w);
}

static void write_domains(struct json_writer *w, const struct config *cfg)
{
    json_w_key(w, "Domains");
    json_w_array(w);
    if (cfg->dns_magic_dns && cfg->dns_base_domain[0] != '\0')
        json_w_cstr(w, cfg->dns_base_domain);
    for (size_t i = 0; i < cfg->dns_search_domains.n; i++)
        json_w_cstr(w, cfg->dns_search_domains.items[i]);
    json_w_end_array(w);
}

static void write_records(struct json_writer *w, const struct config_records *records)
{
    json_w_key(w, "ExtraRecords");
    json_w_array(w);
    for (size_t i = 0; i < records->n; i++) {
        json_w_object(w);
        json_w_kv_cstr(w, "Name", records->items[i].name);
        json_w_kv_cstr(w, "Type", records->items[i].type);
        json_w_kv_cstr(w, "Value", records->items[i].value);
        json_w_end_object(w);
    }
    json_w_end_array(w);
}

static struct rcbuf *make_dns_config(const struct config *cfg)
{
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    json_w_object(&w);
    json_w_kv_bool(&w, "Proxied", cfg->dns_magic_dns);
    write_domains(&w, cfg);
    if (cfg->dns_nameservers_global.n > 0) {
        json_w_key(&w, cfg->dns_override_local_dns ? "Resolvers" : "FallbackResolvers");
        write_resolvers(&w, &cfg->dns_nameservers_global);
    }
    if (cfg->dns_nameservers_split.n > 0) {
        json_w_key(&w, "Routes");
        json_w_object(&w);
        for (size_t i = 0; i < cfg->dns_nameservers_split.n; i++) {
            json_w_key(&w, cfg->dns_nameservers_split.items[i].domain);
            write_resolvers(&w, &cfg->dns_nameservers_split.items[i].servers);
        }
        json_w_end_object(&w);
    }
    if (cfg->dns_extra_records.n > 0)
        write_records(&w, &cfg->dns_extra_records);
    json_w_end_object(&w);
    return take(&json);
}

/* --- capabilities --- */

static struct rcbuf *make_self_caps(const struct config *cfg)
{
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    json_w_object(&w);
    if (cfg->taildrop_enabled) {
        json_w_key(&w, "https://tailscale.com/cap/file-sharing");
        json_w_null(&w);
    }
    json_w_key(&w, "default-auto-update");
    json_w_raw(&w, cfg->auto_update_enabled ? STR("[true]") : STR("[false]"));
    if (cfg->randomize_client_port) {
        json_w_key(&w, "randomize-client-port");
        json_w_null(&w);
    }
    json_w_end_object(&w);
    return take(&json);
}

enum rc settings_make(const struct config *cfg, const char *derp_fingerprint, struct tailnet_settings **out,
                      struct err *err)
{
    struct tailnet_settings *t = tailnet_settings_create();
    enum rc rc = make_derp_map(cfg, derp_fingerprint, t, err);
    if (rc != RC_OK) {
        tailnet_settings_unref(&t);
        return rc;
    }
    snprintf(t->domain, sizeof(t->domain), "%s", cfg->dns_base_domain);
    t->dns_config_json = make_dns_config(cfg);
    t->self_caps_json = make_self_caps(cfg);
    t->collect_logs = cfg->logtail_enabled;
    *out = t;
    return RC_OK;
}
