/* Settings of the tailnet in messages: the DERP map, which has two forms, and the DNS configuration as far as it is the
 * same for all nodes. */
#include "netmap/netmap_internal.h"

/* src: tailscale 1.82 derp/derphttp: "sha256-raw:" in CertName is understood from there on (capability version 115) */
static bool needs_unpinned(const struct node *n, const struct tailnet_settings *settings)
{
    enum { CAP_PINNED_CERT = 115 };
    return settings->derp_map_unpinned_json != NULL && n->cap_version != 0 && n->cap_version < CAP_PINNED_CERT;
}

/* The DERP map without pins, or the only one if there is no difference. */
static const struct rcbuf *derp_map(const struct tailnet_settings *settings, bool is_unpinned)
{
    return is_unpinned && settings->derp_map_unpinned_json != NULL ? settings->derp_map_unpinned_json
                                                                   : settings->derp_map_json;
}

static const struct rcbuf *derp_map_of(const struct tailnet_settings *settings, const struct node *n)
{
    return derp_map(settings, needs_unpinned(n, settings));
}

void netmap_write_derp_map(struct json_writer *w, const struct tailnet_settings *settings, const struct node *n)
{
    netmap_write_raw(w, "DERPMap", derp_map_of(settings, n));
}

/* True also when the client had the other map before, and there is only one now. */
bool netmap_wants_unpinned(const struct change *c, const struct node *n)
{
    return c->settings_changed && (needs_unpinned(n, c->before->settings) || needs_unpinned(n, c->after->settings));
}

static void write_raw_if_new(struct json_writer *w, const char *key, const struct rcbuf *old, const struct rcbuf *new)
{
    if (!rcbuf_eq(old, new))
        netmap_write_raw(w, key, new);
}

void netmap_write_new_settings(struct json_writer *w, const struct change *c, bool is_unpinned)
{
    const struct tailnet_settings *old = c->before->settings, *new = c->after->settings;
    write_raw_if_new(w, "DERPMap", derp_map(old, is_unpinned), derp_map(new, is_unpinned));
    if (!netmap_dns_is_own(new))
        write_raw_if_new(w, "DNSConfig", old->dns_config_json, new->dns_config_json);
}

/* The common message has the right DERP map only for a node whose client version has not changed. */
void netmap_push_other_derp_map(struct netmap_ctx *ctx, const struct change *c, const struct change_item *self,
                                enum netmap_coding coding, struct netmap_pieces *out)
{
    struct json_writer w;
    if (self == NULL || self->before == NULL || self->after == NULL ||
        self->before->cap_version == self->after->cap_version ||
        rcbuf_eq(derp_map_of(c->before->settings, self->before), derp_map_of(c->after->settings, self->after)))
        return;
    netmap_object_begin(ctx, &w);
    netmap_write_derp_map(&w, c->after->settings, self->after);
    netmap_pieces_push(out, netmap_object_end(ctx, &w, coding));
}
