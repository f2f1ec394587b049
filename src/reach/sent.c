/* What the filters let through that nodes are sent. reach_why answers from the same bytes that clients obey, so that
 * its answer cannot differ from what happens. */
#include "base/mem.h"
#include "codec/json.h"
#include "reach/reach_internal.h"

struct question {
    struct engine *e;
    const struct probes *src;
    struct range dst;
    int proto; /* 0: any of those that a rule without a protocol allows */
    int port;  /* -1: any */
};

/* Whether a client lets the protocol through by a rule without IPProto. src: docs/protocol/policy.md 3.3 */
static bool is_usual(int64_t proto)
{
    return proto == 1 || proto == 6 || proto == 17 || proto == 58;
}

static bool has_proto(const struct json *rule, int asked)
{
    const struct json *protos = json_get_exact(rule, "IPProto");
    int64_t proto;
    if (json_len(protos) == 0)
        return asked == 0 || is_usual(asked);
    JSON_EACH (it, protos) {
        if (json_i64(it, &proto) && (asked == 0 ? is_usual(proto) : proto == asked))
            return true;
    }
    return false;
}

/* Whether "*", an address, a prefix or a range of a filter has all of `at`. */
static bool text_holds(const struct json *text, const struct range *at)
{
    struct str s = STR_EMPTY;
    struct range r;
    return json_str(text, &s) && (str_eq(s, STR("*")) || (range_parse(s, &r) && range_holds(&r, at)));
}

static bool has_source(const struct json *rule, const struct range *at)
{
    JSON_EACH (it, json_get_exact(rule, "SrcIPs")) {
        if (text_holds(it, at))
            return true;
    }
    return false;
}

static bool has_destination(const struct json *rule, const struct range *at, int port)
{
    int64_t first = 0, last = 0;
    JSON_EACH (it, json_get_exact(rule, "DstPorts")) {
        const struct json *ports = json_get_exact(it, "Ports");
        if (json_i64(json_get_exact(ports, "First"), &first) && json_i64(json_get_exact(ports, "Last"), &last) &&
            (port < 0 || (first <= port && port <= last)) && text_holds(json_get_exact(it, "IP"), at))
            return true;
    }
    return false;
}

static bool lets_through(const struct json *filter, const struct question *q)
{
    JSON_EACH (rule, filter) {
        if (!has_proto(rule, q->proto) || !has_destination(rule, &q->dst, q->port))
            continue;
        for (size_t i = 0; i < q->src->n; i++) {
            if (q->src->v[i].at.family == q->dst.family && has_source(rule, &q->src->v[i].at))
                return true;
        }
    }
    return false;
}

static bool ask_node(const struct question *q, const struct engine_node *n)
{
    struct buf text = {0};
    struct arena a = {0};
    const struct json *filter;
    engine_filter(q->e, n->id, &text);
    const struct json_limits limits = {.max_bytes = buf_len(&text), .max_depth = 8, .max_nodes = buf_len(&text)};
    bool is = json_parse(&a, buf_str(&text), &limits, &filter, NULL) == RC_OK && lets_through(filter, q);
    arena_fini(&a);
    buf_fini(&text);
    return is;
}

/* Whether the node takes packets for the address as a router or exit node. */
static bool serves(const struct engine_node *n, const struct range *at)
{
    for (size_t i = 0; n->class->is_exit && i < range_internet_n; i++) {
        if (range_holds(&range_internet[i], at))
            return true;
    }
    return engine_node_routes_meet(n, at);
}

enum sent reach_sent(struct engine *e, const struct probes *src, const struct probe *dst, int proto, int port)
{
    const struct question q = {e, src, dst->at, proto, port};
    const struct engine_node *n;
    bool is_served = false;
    if (dst->node != NULL)
        return ask_node(&q, dst->node) ? SENT_ALLOWED : SENT_DENIED;
    for (size_t pos = 0; (n = map_next(&e->nodes.by_id, &pos)) != NULL;) {
        if (!serves(n, &dst->at))
            continue;
        if (ask_node(&q, n))
            return SENT_ALLOWED;
        is_served = true;
    }
    return is_served ? SENT_DENIED : SENT_NOTHING;
}
