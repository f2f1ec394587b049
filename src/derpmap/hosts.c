/* The hosts of a DERP map: which texts can be a host name, and which hosts clients cannot reach. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "derpmap/derpmap_internal.h"

static bool is_dns_name(struct str name)
{
    size_t label = 0;
    if (name.len > 1 && name.p[name.len - 1] == '.')
        name.len--;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];
        bool is_end = c == '.';
        if (is_end ? label == 0 || name.p[i - 1] == '-' : (!isalnum(c) && c != '_' && (c != '-' || label == 0)))
            return false;
        label = is_end ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return label > 0 && name.len <= 253 && name.p[name.len - 1] != '-';
}

bool derpmap_is_host(struct str text)
{
    struct addr ip;
    return addr_parse_ip(text, &ip) == RC_OK || is_dns_name(text);
}

void derpmap_advise_host(const char *text, char out[300])
{
    struct str rest = str_trim(str_c(text));
    struct str host, path, port = STR_EMPTY;
    struct addr ip;
    uint64_t number = 0;
    const char *scheme = strstr(text, "://");
    out[0] = '\0';
    if (scheme != NULL)
        rest = str_trim(str_c(scheme + 3));
    str_cut(rest, '/', &host, &path);
    if (addr_parse(host, &ip) == RC_OK) {
        char literal[ADDR_TEXT_CAP];
        addr_format(&ip, false, literal);
        snprintf(out, 300, "hostname: \"%s\" and derpport: %u", literal, ip.port);
        return;
    }
    struct str name = host;
    if (str_index(host, ':') >= 0)
        str_cut(host, ':', &name, &port);
    if (!derpmap_is_host(name) || (port.len > 0 && (str_to_u64(port, &number) != RC_OK || number > UINT16_MAX)))
        return;
    if (number > 0)
        snprintf(out, 300, "hostname: %.*s and derpport: %u", STR_ARG(name), (unsigned)number);
    else
        snprintf(out, 300, "hostname: %.*s", STR_ARG(name));
}

/* --- Hosts that clients cannot reach --- */

struct warnings {
    void (*report)(void *ctx, int line, const char *text);
    void *ctx;
    bool is_server_public;
};

static bool is_placeholder(const char *host)
{
    static const char *const known[] = {"derp.example.com", "derp.example.org", "headscale.example.com",
                                        "your-domain.com", "derp.your-domain.com"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (str_eq_ci(str_c(host), str_c(known[i])))
            return true;
    }
    return false;
}

static void look_at_address(const struct warnings *w, const struct derpmap_region *r, const struct derpmap_node *n,
                            const char *field, const char *text)
{
    struct addr ip;
    char sentence[400];
    if (text == NULL || addr_parse_ip(str_c(text), &ip) != RC_OK)
        return;
    bool is_example = addr_documentation_net(&ip) != 0;
    if (!is_example && !(w->is_server_public && addr_is_private(&ip)))
        return;
    snprintf(sentence, sizeof(sentence), "DERP region %d, node %.60s: %s %s is %s", r->id, n->name, field, text,
             is_example ? "an address for documentation, which leads nowhere: write the relay's own"
                        : "a private address, and server_url a public one: nodes elsewhere do not reach it");
    w->report(w->ctx, n->line, sentence);
}

static void look_at_node(const struct warnings *w, const struct derpmap_region *r, const struct derpmap_node *n)
{
    char sentence[400];
    if (n->name == NULL || n->host_name == NULL)
        return;
    look_at_address(w, r, n, "hostname", n->host_name);
    look_at_address(w, r, n, "ipv4", n->ipv4);
    look_at_address(w, r, n, "ipv6", n->ipv6);
    if (!is_placeholder(n->host_name))
        return;
    snprintf(sentence, sizeof(sentence),
             "DERP region %d, node %.60s: hostname is the example's (%.100s): write the relay's", r->id, n->name,
             n->host_name);
    w->report(w->ctx, n->line, sentence);
}

void derpmap_oddities(const struct derpmap *map, bool is_server_public,
                      void (*report)(void *ctx, int line, const char *text), void *ctx)
{
    struct warnings w = {report, ctx, is_server_public};
    for (unsigned i = 0; i < map->region_n; i++) {
        const struct derpmap_region *r = &map->regions[i];
        char sentence[100];
        snprintf(sentence, sizeof(sentence), "DERP region %d has no nodes: no client can use it", r->id);
        if (r->node_n == 0)
            report(ctx, r->line, sentence);
        for (unsigned k = 0; k < r->node_n; k++)
            look_at_node(&w, r, &r->nodes[k]);
    }
}
