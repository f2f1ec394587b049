/* Protocols and ports of a rule. src: docs/protocol/policy.md 3.1, 3.3 */
#include "policy/document.h"

enum { PROTO_TCP = 6, PROTO_UDP = 17, PROTO_SCTP = 132 };

bool policy_proto_parse(struct str text, uint8_t *out)
{
    static const struct {
        const char *name;
        uint8_t number;
    } names[] = {
        {"icmp", 1}, {"icmpv4", 1},     {"igmp", 2},    {"ipv4", 4},   {"ip-in-ip", 4}, {"tcp", 6},
        {"egp", 8},  {"igp", 9},        {"udp", 17},    {"dccp", 33},  {"gre", 47},     {"esp", 50},
        {"ah", 51},  {"ipv6-icmp", 58}, {"icmpv6", 58}, {"sctp", 132}, {"fc", 133},
    };
    uint64_t number;
    *out = 0;
    if (text.len == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_ci(text, str_c(names[i].name))) {
            *out = names[i].number;
            return true;
        }
    }
    if (text.p[0] == '0' || str_to_u64(text, &number) != RC_OK || number > 255)
        return false;
    *out = (uint8_t)number;
    return true;
}

bool policy_proto_has_ports(uint8_t proto)
{
    return proto == 0 || proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP;
}

static bool parse_port(struct str text, uint16_t *out)
{
    uint64_t v;
    if (str_to_u64(text, &v) != RC_OK || v > 65535)
        return false;
    *out = (uint16_t)v;
    return true;
}

static const char *parse_port_range(struct str text, struct port_range *out)
{
    struct str first, last;
    bool is_range = str_cut(text, '-', &first, &last);
    if (!parse_port(first, &out->first))
        return "invalid first integer";
    out->last = out->first;
    if (!is_range)
        return out->first > 0 ? NULL : "first port must be >0, or use '*' for wildcard";
    if (!parse_port(last, &out->last))
        return "invalid last integer";
    return out->first <= out->last ? NULL : "the first port is above the last";
}

const char *policy_ports_parse(struct arena *a, struct str text, struct port_list *out)
{
    size_t n = 1;
    if (str_eq(text, STR("*"))) {
        out->v = arena_zalloc(a, 1, sizeof(*out->v));
        out->v[0] = (struct port_range){0, 65535};
        out->n = 1;
        return NULL;
    }
    for (size_t i = 0; i < text.len; i++)
        n += text.p[i] == ',';
    out->v = arena_zalloc(a, n, sizeof(*out->v));
    out->n = 0;
    bool more = true;
    while (more) {
        struct str part, rest;
        more = str_cut(text, ',', &part, &rest);
        const char *fault = parse_port_range(str_trim(part), &out->v[out->n]);
        if (fault != NULL)
            return fault;
        out->n++;
        text = rest;
    }
    return NULL;
}
