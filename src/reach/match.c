/* Whether a rule matches a pair of addresses. */
#include "reach/reach_internal.h"

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };

static bool entry_holds(const struct engine *e, const struct selector *s, const struct range *at)
{
    for (uint32_t i = 0; i < s->range_n; i++) {
        if (range_holds(&e->doc->range[s->range_first + i].range, at))
            return true;
    }
    return false;
}

static bool is_source(const struct engine *e, sel_id sel, const struct probe *src)
{
    const struct selector *s = &e->doc->sel[sel];
    switch (s->kind) {
    case SEL_DANGER_ALL: return true;
    case SEL_STAR:
        return range_set_holds(&e->routes.tailnet, &src->at) || route_index_holds(&e->routes, &src->at) ||
               src->node != NULL;
    case SEL_ADDRS: return entry_holds(e, s, &src->at);
    default: return src->node != NULL && engine_node_is(src->node, sel);
    }
}

static bool is_destination(const struct engine *e, sel_id sel, const struct probe *src, const struct probe *dst)
{
    const struct selector *s = &e->doc->sel[sel];
    switch (s->kind) {
    case SEL_STAR: return true;
    case SEL_ADDRS:
    case SEL_INTERNET: return entry_holds(e, s, &dst->at);
    case SEL_SELF:
        return src->node != NULL && dst->node != NULL && src->node->owner != NULL &&
               src->node->owner == dst->node->owner;
    default: return dst->node != NULL && engine_node_is(dst->node, sel);
    }
}

static bool is_proto(uint8_t rule, int asked)
{
    if (asked == 0)
        return rule == 0 || rule == ICMP || rule == TCP || rule == UDP || rule == ICMPV6;
    return rule == asked || (rule == 0 && (asked == ICMP || asked == TCP || asked == UDP || asked == ICMPV6));
}

static bool has_port(const struct port_list *ports, int port)
{
    for (size_t i = 0; i < ports->n; i++) {
        if (port < 0 || (ports->v[i].first <= port && port <= ports->v[i].last))
            return true;
    }
    return false;
}

static bool is_port(const struct rule *rule, const struct rule_dst *dst, int proto, int port)
{
    for (size_t i = 0; i < rule->ip_n; i++) {
        const struct port_list *ports = rule->is_acl ? &dst->ports : &rule->ip[i].ports;
        if (is_proto(rule->ip[i].proto, proto) && has_port(ports, port))
            return true;
    }
    return false;
}

/* Whether the source satisfies the rule's posture set. A source that is no node is behind a router, and postures do
 * not apply to it. src: docs/protocol/policy.md 7.3 */
static bool satisfies(const struct engine *e, const struct rule *rule, const struct probe *src,
                      const struct attr_view *attrs)
{
    if (rule->posture == 0 || src->node == NULL)
        return true;
    if (attrs == NULL || attrs->more_n == 0)
        return bit_get(src->node->class->postures, rule->posture);
    return policy_posture_holds(e->doc, rule->posture, attrs);
}

struct rule_match reach_match_rule(const struct engine *e, const struct rule *rule, const struct probe *src,
                                   const struct probe *dst, int proto, int port, const struct attr_view *attrs)
{
    struct rule_match match = {0};
    for (size_t i = 0; i < rule->src.n && !match.source; i++)
        match.source = is_source(e, rule->src.v[i], src) && satisfies(e, rule, src, attrs);
    for (size_t i = 0; i < rule->dst_n; i++) {
        if (!is_destination(e, rule->dst[i].sel, src, dst))
            continue;
        match.destination = true;
        match.port = match.port || is_port(rule, &rule->dst[i], proto, port);
    }
    return match;
}
