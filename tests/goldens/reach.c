#include "goldens/reach.h"

#include <string.h>

#include "engine/access.h"
#include "goldens/compare.h"
#include "support/filter_set.h"

/* One question: "SOURCE -> NODE:PORT/PROTOCOL". SOURCE is a node or an address; NODE may be "NODE=ADDRESS": the
 * filter of the node, asked for a packet to another address. Without a protocol: tcp. */
struct question {
    struct str source;
    const struct tailnet_node *node;
    struct str target; /* empty: the node's own addresses */
    uint64_t port;
    uint64_t proto;
};

static uint64_t protocol_of(struct str name)
{
    static const struct {
        struct str name;
        uint64_t number;
    } known[] = {{STR("tcp"), 6}, {STR("udp"), 17}, {STR("icmp"), 1}, {STR("icmpv6"), 58}, {STR("sctp"), 132}};
    uint64_t number = 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq(name, known[i].name))
            return known[i].number;
    }
    return str_to_u64(name, &number) == RC_OK ? number : 0;
}

/* The last `by` of `text` cuts it in two. */
static bool cut_last(struct str text, char by, struct str *before, struct str *after)
{
    for (size_t i = text.len; i > 0; i--) {
        if (text.p[i - 1] == by) {
            *before = str_n(text.p, i - 1);
            *after = str_n(text.p + i, text.len - i);
            return true;
        }
    }
    return false;
}

static bool read_question(const struct tailnet *t, struct str text, struct question *q)
{
    struct str left, right, target, port, proto, rest;
    const char *arrow = memmem(text.p, text.len, " -> ", 4);
    *q = (struct question){0};
    if (arrow == NULL)
        return false;
    left = str_n(text.p, (size_t)(arrow - text.p));
    right = str_n(arrow + 4, text.len - left.len - 4);
    if (str_cut(right, '/', &rest, &proto))
        right = rest;
    else
        proto = STR("tcp");
    if (!cut_last(right, ':', &target, &port) || str_to_u64(port, &q->port) != RC_OK)
        return false;
    if (!str_cut(target, '=', &rest, &q->target)) {
        rest = target;
        q->target = STR_EMPTY;
    }
    q->source = left;
    q->node = tailnet_node(t, rest);
    q->proto = protocol_of(proto);
    return q->node != NULL && q->proto != 0;
}

static bool matches(struct str pattern, const struct addr *a)
{
    if (str_eq(pattern, STR("*")))
        return true;
    struct filter_span span = filter_span_of(pattern);
    filter_ip ip = filter_ip_of(a);
    return span.family == a->family && span.lo <= ip && ip <= span.hi;
}

static bool rule_has_source(const struct json *rule, const struct addr *a)
{
    JSON_EACH (it, json_get_exact(rule, "SrcIPs")) {
        if (matches(case_text(it), a))
            return true;
    }
    return false;
}

/* As clients read it: without IPProto a rule is about TCP, UDP, ICMP and ICMPv6. */
static bool rule_has_protocol(const struct json *rule, uint64_t proto)
{
    const struct json *list = json_get_exact(rule, "IPProto");
    JSON_EACH (it, list) {
        uint64_t n = 0;
        if (json_u64(it, &n) && n == proto)
            return true;
    }
    return list == NULL && (proto == 6 || proto == 17 || proto == 1 || proto == 58);
}

static bool rule_has_target(const struct json *rule, const struct addr *a, uint64_t port)
{
    JSON_EACH (it, json_get_exact(rule, "DstPorts")) {
        const struct json *ports = json_get_exact(it, "Ports");
        uint64_t first = 1, last = 0;
        json_u64(json_get_exact(ports, "First"), &first);
        json_u64(json_get_exact(ports, "Last"), &last);
        if (matches(case_field(it, "IP"), a) && first <= port && port <= last)
            return true;
    }
    return false;
}

static bool filter_lets(const struct json *filter, const struct addr *from, const struct addr *to,
                        const struct question *q)
{
    JSON_EACH (rule, filter) {
        if (rule_has_source(rule, from) && rule_has_protocol(rule, q->proto) && rule_has_target(rule, to, q->port))
            return true;
    }
    return false;
}

/* Both families of addresses, which must agree where source and target have both. */
static void check_question(const struct tailnet *t, struct engine *p, const struct question *q, struct str text,
                           bool wanted, struct buf *why)
{
    const struct tailnet_node *source = tailnet_node(t, q->source);
    struct addr from[2] = {0}, to[2] = {q->node->facts.v4, q->node->facts.v6};
    struct buf out = {0};
    struct arena a = {0};
    unsigned asked = 0;
    engine_filter(p, q->node->facts.id, &out);
    const struct json *filter = case_parse_ours(&a, &out);
    if (source != NULL) {
        from[0] = source->facts.v4;
        from[1] = source->facts.v6;
    } else if (addr_parse_ip(q->source, &from[0]) == RC_OK && from[0].family == 6) {
        from[1] = from[0];
        from[0] = (struct addr){0};
    }
    for (int i = 0; i < 2; i++) {
        if (q->target.len > 0 && addr_parse_ip(q->target, &to[i]) != RC_OK)
            continue;
        if (from[i].family == 0 || from[i].family != to[i].family)
            continue;
        asked++;
        if (filter_lets(filter, &from[i], &to[i], q) != wanted)
            case_wrong(why, "%.*s over IPv%d should %sbe allowed: %.*s", STR_ARG(text), from[i].family,
                       wanted ? "" : "not ", STR_ARG(buf_str(&out)));
    }
    if (asked == 0)
        case_wrong(why, "%.*s: source and target have no address of one family", STR_ARG(text));
    arena_fini(&a);
    buf_fini(&out);
}

void case_check_reach(const struct tailnet *t, struct engine *p, const struct json *want, struct buf *why)
{
    JSON_EACH (it, want) {
        struct question q;
        bool wanted = false;
        if (!json_bool(it, &wanted) || !read_question(t, json_key_of(it), &q))
            case_wrong(why, "no question that can be asked: %.*s", STR_ARG(json_key_of(it)));
        else
            check_question(t, p, &q, json_key_of(it), wanted, why);
    }
}
