/* Relays on other machines: into the DERP map, and into the mesh of the relay inside. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "daemon/daemon_internal.h"

static const char *pinned_hash(const char *cert_name)
{
    static const char pin[] = "sha256-raw:";
    return strncmp(cert_name, pin, sizeof(pin) - 1) == 0 ? cert_name + sizeof(pin) - 1 : NULL;
}

/* --- the DERP map --- */

static void add_relay(struct derpmap *map, const struct relay_host *r)
{
    char name[80], v4[ADDR_TEXT_CAP] = "", v6[ADDR_TEXT_CAP] = "";
    struct derpmap one = {0};
    struct err err;
    snprintf(name, sizeof(name), "%u-%s", r->region_id, r->name);
    if (r->report.ipv4.family != 0)
        addr_format(&r->report.ipv4, false, v4);
    if (r->report.ipv6.family != 0)
        addr_format(&r->report.ipv6, false, v6);
    struct derpmap_own node = {
        .region_id = r->region_id,
        .region_code = r->region_code,
        .region_name = r->region_name,
        .node_name = name,
        .host_name = r->report.host_name,
        .ipv4 = v4,
        .ipv6 = v6,
        .cert_name = r->report.cert_name,
        .stun_port = r->report.stun_port != 0 ? r->report.stun_port : -1,
        .derp_port = r->report.derp_port,
    };
    /* A relay that announces invalid values must not keep the others out of the map. */
    if (derpmap_add_own(&one, &node, &err) == RC_OK && derpmap_check_nodes(&one, &err) == RC_OK)
        derpmap_append(map, &one);
    derpmap_fini(&one);
}

/* Those that are up, in the order in which they were enrolled: any other order would make nodes reconnect. */
static void make_map(const struct state *st, struct derpmap *out)
{
    const struct relay_host *r;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;) {
        if (r->is_up)
            add_relay(out, r);
    }
}

/* --- the mesh --- */

static void make_neighbour(const struct relay_host *r, char dial[ADDR_TEXT_CAP], struct relay_neighbour *out)
{
    dial[0] = '\0';
    if (r->report.ipv4.family != 0)
        addr_format(&r->report.ipv4, false, dial);
    else if (r->report.ipv6.family != 0)
        addr_format(&r->report.ipv6, false, dial);
    *out = (struct relay_neighbour){.host = r->report.host_name,
                                    .dial = dial[0] != '\0' ? dial : r->report.host_name,
                                    .port = r->report.derp_port,
                                    .fingerprint = pinned_hash(r->report.cert_name)};
    if (out->fingerprint == NULL && r->report.cert_name[0] != '\0')
        out->host = r->report.cert_name;
}

size_t daemon_relays_neighbours(const struct state *st, int64_t region_id,
                                struct relay_neighbour all[DAEMON_NEIGHBOURS_MAX],
                                char dials[DAEMON_NEIGHBOURS_MAX][ADDR_TEXT_CAP])
{
    const struct relay_host *r;
    size_t n = 0;
    for (size_t pos = 0; n < DAEMON_NEIGHBOURS_MAX && (r = state_relay_next(st, &pos)) != NULL;) {
        if (!r->is_up || r->region_id != region_id)
            continue;
        make_neighbour(r, dials[n], &all[n]);
        n++;
    }
    return n;
}

static void set_mesh(struct daemon *d, const struct state *st)
{
    struct relay_neighbour all[DAEMON_NEIGHBOURS_MAX];
    char dials[DAEMON_NEIGHBOURS_MAX][ADDR_TEXT_CAP];
    struct err err;
    size_t n = daemon_relays_neighbours(st, d->cfg->derp_server_region_id, all, dials);
    (void)!daemon_mesh_set(d, all, n, &err); /* the listed neighbours were checked at the start */
}

/* --- when they change --- */

void daemon_relays_changed(void *ctx, struct tailnet *t)
{
    struct daemon *d = ctx;
    struct derpmap map = {0};
    make_map(t->state, &map);
    daemon_derpmap_contribute(d->derpmap, "relays", &map);
    control_relays_changed(d->control, t);
    if (d->relay != NULL)
        set_mesh(d, t->state);
}

/* The relays that were up when the server stopped are in the first map that nodes get: without them each would leave
 * its relay, only to come back a moment later. */
enum rc daemon_relays_load(struct daemon *d, struct state *st, struct err *err)
{
    struct derpmap map = {0};
    struct str policy = daemon_policy_derp_map(st);
    make_map(st, &map);
    if (map.region_n == 0 && policy.len == 0)
        return RC_OK;
    TRY(daemon_derpmap_set_policy_first(d->derpmap, policy, err));
    TRY(daemon_derpmap_contribute_first(d->derpmap, "relays", &map, err));
    struct tailnet_settings *t = tailnet_settings_edit(state_settings(st));
    settings_set_derp(t, daemon_derpmap_first(d->derpmap));
    state_set_settings(st, t);
    struct change *c = state_publish(st, state_snapshot(st)->made_ms);
    change_unref(&c);
    return RC_OK;
}
