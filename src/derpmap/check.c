/* Whether a DERP map can be given to clients. */
#include <string.h>

#include "base/addr.h"
#include "derpmap/derpmap_internal.h"

/* An address of the right family, or a word that switches the family off. An address of the other family is a
 * mistake. */
static bool is_address_fit(const char *text, int family)
{
    struct addr a;
    return text == NULL || addr_parse_ip(str_c(text), &a) != RC_OK || a.family == family;
}

static bool is_cert_name_fit(const char *name)
{
    static const char prefix[] = "sha256-raw:";
    if (name == NULL || strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return true;
    const char *hex = name + sizeof(prefix) - 1;
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}

static const char *node_fault(const struct derpmap_node *n)
{
    if (n->host_name == NULL)
        return "hostname is required";
    if (!derpmap_is_host(str_c(n->host_name)))
        return "hostname must be a host name alone: no https://, no path, and the port is derpport";
    if (n->stun_port < -1 || n->stun_port > 65535)
        return "stunport must be from 0 to 65535, or -1 for none";
    if (n->derp_port < 0 || n->derp_port > 65535)
        return "derpport must be from 0 to 65535";
    if (!is_address_fit(n->ipv4, 4))
        return "ipv4 is an IPv6 address";
    if (!is_address_fit(n->ipv6, 6))
        return "ipv6 is an IPv4 address";
    if (!is_cert_name_fit(n->cert_name))
        return "certname must have 64 lower-case hex digits after sha256-raw:";
    return NULL;
}

static bool is_name_taken(const struct derpmap *map, unsigned region, unsigned node)
{
    const char *name = map->regions[region].nodes[node].name;
    for (unsigned i = 0; i <= region; i++)
        for (unsigned k = 0; k < (i < region ? map->regions[i].node_n : node); k++)
            if (strcmp(map->regions[i].nodes[k].name, name) == 0)
                return true;
    return false;
}

static enum rc check_node(const struct derpmap *map, unsigned region, unsigned node, struct err *err)
{
    int id = map->regions[region].id;
    const struct derpmap_node *n = &map->regions[region].nodes[node];
    if (n->name == NULL)
        return err_set(err, RC_INVALID, "DERP region %d: node %u has no name", id, node + 1);
    if (is_name_taken(map, region, node))
        return err_set(err, RC_INVALID, "DERP region %d: there is another node named %s", id, n->name);
    const char *fault = node_fault(n);
    return fault == NULL ? RC_OK : err_set(err, RC_INVALID, "DERP region %d, node %s: %s", id, n->name, fault);
}

enum rc derpmap_check_nodes(const struct derpmap *map, struct err *err)
{
    for (unsigned i = 0; i < map->region_n; i++) {
        const struct derpmap_region *r = &map->regions[i];
        if (r->id < 1 || r->id > DERPMAP_REGION_ID_MAX)
            return err_set(err, RC_INVALID, "DERP region %d: the number must be from 1 to %d", r->id,
                           DERPMAP_REGION_ID_MAX);
        for (unsigned k = 0; k < r->node_n; k++)
            TRY(check_node(map, i, k, err));
    }
    return RC_OK;
}

static bool has_relay(const struct derpmap *map)
{
    for (unsigned i = 0; i < map->region_n; i++)
        for (unsigned k = 0; k < map->regions[i].node_n; k++)
            if (!map->regions[i].nodes[k].stun_only && !map->regions[i].no_measure_no_home)
                return true;
    return false;
}

enum rc derpmap_check(const struct derpmap *map, struct err *err)
{
    TRY(derpmap_check_nodes(map, err));
    return has_relay(map) ? RC_OK
                          : err_set(err, RC_INVALID,
                                    "the DERP map has no relay that a node could have as its home: enable "
                                    "the one inside (derp.server.enabled) or name others (derp.paths, derp.urls)");
}
