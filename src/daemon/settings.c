/* The settings that nodes receive, from the configuration. src: docs/protocol/control.md 6.11, 6.12, 7.1 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "codec/json_write.h"
#include "daemon/daemon_internal.h"

static struct rcbuf *take(struct buf *b)
{
    struct rcbuf *made = rcbuf_create(buf_at(b), buf_len(b));
    buf_fini(b);
    return made;
}

/* --- DNS --- */

static bool is_nextdns(const char *addr)
{
    static const char host[] = "https://dns.nextdns.io";
    size_t n = sizeof(host) - 1;
    return strncasecmp(addr, host, n) == 0 && (addr[n] == '/' || addr[n] == '\0');
}

/* Remembers where the text that was written from `at` on stands, without its quotes. */
static void note_hole(struct tailnet_settings *t, const struct buf *json, size_t at)
{
    if (t->dns_hole_n < DNS_HOLES_MAX)
        t->dns_hole[t->dns_hole_n++] = (struct dns_hole){(uint32_t)at + 1, (uint32_t)(buf_len(json) - at - 2)};
}

/* `t` gets the positions of the addresses of NextDNS, which differ for each node; null: they are not noted. */
static void write_resolvers(struct json_writer *w, const struct config_strings *servers, struct tailnet_settings *t,
                            const struct buf *json)
{
    json_w_array(w);
    for (size_t i = 0; i < servers->n; i++) {
        json_w_object(w);
        json_w_key(w, "Addr");
        size_t at = buf_len(json);
        json_w_cstr(w, servers->items[i]);
        if (t != NULL && is_nextdns(servers->items[i]))
            note_hole(t, json, at);
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

static void make_dns_config(const struct config *cfg, struct tailnet_settings *t)
{
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    json_w_object(&w);
    json_w_kv_bool(&w, "Proxied", cfg->dns_magic_dns);
    write_domains(&w, cfg);
    if (cfg->dns_nameservers_global.n > 0) {
        json_w_key(&w, cfg->dns_override_local_dns ? "Resolvers" : "FallbackResolvers");
        write_resolvers(&w, &cfg->dns_nameservers_global, t, &json);
    }
    if (cfg->dns_nameservers_split.n > 0) {
        json_w_key(&w, "Routes");
        json_w_object(&w);
        for (size_t i = 0; i < cfg->dns_nameservers_split.n; i++) {
            json_w_key(&w, cfg->dns_nameservers_split.items[i].domain);
            write_resolvers(&w, &cfg->dns_nameservers_split.items[i].servers, NULL, &json);
        }
        json_w_end_object(&w);
    }
    if (cfg->dns_extra_records.n > 0)
        write_records(&w, &cfg->dns_extra_records);
    json_w_end_object(&w);
    t->dns_config_json = take(&json);
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
    /* Without it a client refuses --ssh; the policy decides who may log in.
     * src: docs/protocol/control.md 7.1 */
    json_w_key(&w, "https://tailscale.com/cap/ssh");
    json_w_null(&w);
    json_w_key(&w, "ssh-env-vars"); /* the variables that a rule's acceptEnv names */
    json_w_null(&w);
    /* Without both, macOS and iOS list no exit nodes (tailscale 1.102). */
    json_w_key(&w, "suggest-exit-node");
    json_w_null(&w);
    json_w_key(&w, "suggest-exit-node-ui");
    json_w_null(&w);
    json_w_key(&w, "default-auto-update");
    json_w_raw(&w, cfg->auto_update_enabled ? STR("[true]") : STR("[false]"));
    if (cfg->randomize_client_port) {
        json_w_key(&w, "randomize-client-port");
        json_w_null(&w);
    }
    json_w_end_object(&w);
    return take(&json);
}

struct tailnet_settings *settings_make(const struct config *cfg, const struct daemon_derpmap_texts *derp)
{
    struct tailnet_settings *t = tailnet_settings_create();
    settings_set_derp(t, derp);
    snprintf(t->domain, sizeof(t->domain), "%s", cfg->dns_base_domain);
    snprintf(t->server_url, sizeof(t->server_url), "%s", cfg->server_url);
    make_dns_config(cfg, t);
    t->self_caps_json = make_self_caps(cfg);
    t->collect_logs = cfg->logtail_enabled;
    return t;
}

void settings_set_derp(struct tailnet_settings *t, const struct daemon_derpmap_texts *derp)
{
    rcbuf_unref(&t->derp_map_json);
    rcbuf_unref(&t->derp_map_unpinned_json);
    t->derp_map_json = rcbuf_ref(derp->pinned);
    t->derp_map_unpinned_json = derp->unpinned != NULL ? rcbuf_ref(derp->unpinned) : NULL;
}
