/* Reads what a relay on another machine announces of itself. All of it is checked: it goes into maps of nodes. */
#include <stdio.h>
#include <string.h>

#include "codec/json.h"
#include "control/relays_internal.h"

/* A DNS name or an address; nothing that would need quoting anywhere. */
static bool is_host(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '-' || c == '_' || c == ':';
        if (!is_fit)
            return false;
    }
    return s.len > 0 && s.len < HOSTNAME_CAP;
}

/* A missing member leaves "" or 0 behind. */
static bool read_text(const struct json *body, const char *name, char out[HOSTNAME_CAP])
{
    struct str s = STR_EMPTY;
    const struct json *node = json_get(body, name);
    if (!json_is_null(node) && !json_str(node, &s))
        return false;
    if (s.len > 0 && !is_host(s))
        return false;
    snprintf(out, HOSTNAME_CAP, "%.*s", STR_ARG(s));
    return true;
}

static bool read_flag(const struct json *body, const char *name, bool *out)
{
    const struct json *node = json_get(body, name);
    return json_is_null(node) || json_bool(node, out);
}

static bool read_number(const struct json *body, const char *name, uint64_t *out)
{
    const struct json *node = json_get(body, name);
    return json_is_null(node) || json_u64(node, out);
}

static bool read_port(const struct json *body, const char *name, uint16_t *out)
{
    uint64_t v = 0;
    const struct json *node = json_get(body, name);
    if (!json_is_null(node) && (!json_u64(node, &v) || v > UINT16_MAX))
        return false;
    *out = (uint16_t)v;
    return true;
}

static bool read_ip(const struct json *body, const char *name, uint8_t family, struct addr *out)
{
    char text[HOSTNAME_CAP];
    if (!read_text(body, name, text))
        return false;
    return text[0] == '\0' || (addr_parse_ip(str_c(text), out) == RC_OK && out->family == family);
}

/* The relay's address as this server sees it; behind a proxy it is what the proxy says. A relay may name any host as
 * its own, so a false address gains it nothing. Family 0: it cannot be seen. */
static struct addr seen_from(const struct relays_call *c)
{
    const struct addr *peer = &http_request(c->ex)->peer;
    const struct control_options *o = &c->worker->control->options;
    bool is_proxy = addr_is_loopback(peer) || (o->is_trusted != NULL && o->is_trusted(o->trusted_ctx, peer));
    return is_proxy ? (struct addr){0} : *peer;
}

/* A relay without a name in its configuration is reached at the address that it comes from; one on this machine, at the
 * address that it reports. */
static bool choose_host(const struct json *body, const struct addr *from, struct relay_report *r)
{
    char local[HOSTNAME_CAP];
    struct addr ip = {0};
    if (!read_text(body, "hostname", r->host_name) || !read_text(body, "localIP", local))
        return false;
    if (r->host_name[0] == '\0' && !addr_is_loopback(from) && from->family != 0)
        addr_format(from, false, r->host_name);
    else if (r->host_name[0] == '\0')
        snprintf(r->host_name, sizeof(r->host_name), "%s", local);
    /* With an address as the host name, clients need no look-up. */
    if (addr_parse_ip(str_c(r->host_name), &ip) == RC_OK && ip.family == 4 && r->ipv4.family == 0)
        r->ipv4 = ip;
    if (ip.family == 6 && r->ipv6.family == 0)
        r->ipv6 = ip;
    return r->host_name[0] != '\0';
}

/* A malformed pin would make the whole DERP map unusable. */
static bool read_cert_name(const struct json *body, char out[HOSTNAME_CAP])
{
    static const struct str pin = {"sha256-raw:", 11};
    uint8_t hash[32];
    if (!read_text(body, "certName", out))
        return false;
    struct str name = str_c(out);
    if (!str_starts(name, pin))
        return true;
    struct str hex = str_n(name.p + pin.len, name.len - pin.len);
    return hex_decode(hex, hash, sizeof(hash)) == RC_OK && strpbrk(hex.p, "ABCDEF") == NULL;
}

bool relays_report_read(struct relays_call *c, const struct json *body)
{
    struct relay_report *r = &c->report;
    const struct addr from = seen_from(c);
    return read_ip(body, "ipv4", 4, &r->ipv4) && read_ip(body, "ipv6", 6, &r->ipv6) &&
           read_cert_name(body, r->cert_name) && read_port(body, "derpPort", &r->derp_port) &&
           read_port(body, "stunPort", &r->stun_port) && r->derp_port != 0 && choose_host(body, &from, r) &&
           read_number(body, "news", &c->seen) && read_number(body, "started", &c->started_ms) &&
           read_number(body, "turn", &c->number) && read_flag(body, "starting", &c->is_starting) &&
           read_flag(body, "draining", &c->is_draining);
}
