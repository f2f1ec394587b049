#include "reach/reach_internal.h"

#include <string.h>

#include "base/mem.h"

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };

void spots_fini(struct spots *s)
{
    mem_free(s->v);
    *s = (struct spots){0};
}

static void add_node(struct spots *out, const struct engine_node *n)
{
    for (int family = 4; family <= 6; family += 2) {
        struct spot spot = {engine_node_range(n, family), n};
        if (spot.at.family != 0)
            VEC_PUSH(out->v, out->n, out->cap, spot);
    }
}

static const struct engine_node *node_at(const struct engine *p, const struct range *at)
{
    size_t pos = 0;
    const struct engine_node *n;
    while ((n = map_next(&p->node_by_id, &pos)) != NULL) {
        if ((n->v4.family == at->family && n->v4.lo == at->lo) || (n->v6.family == at->family && n->v6.lo == at->lo))
            return n;
    }
    return NULL;
}

static bool has_tag(const struct engine_node *n, struct str tag)
{
    for (size_t i = 0; i < n->tag_n; i++) {
        if (str_eq(n->tag[i], tag))
            return true;
    }
    return false;
}

static bool holds_node(const struct engine *p, const struct selector *s, const struct engine_node *n)
{
    switch (s->kind) {
    case SEL_TAG: return has_tag(n, s->text);
    case SEL_TAGGED: return n->owner == NULL;
    default: return n->owner != NULL && owner_is(p, n->owner, s);
    }
}

static void add_owned(struct spots *out, const struct owner *o)
{
    if (o == NULL)
        return;
    LIST_EACH (it, &o->nodes)
        add_node(out, LIST_ENTRY(it, struct engine_node, of_owner));
}

/* Users and groups are looked up by name, not asked of every node. */
static void add_group(const struct engine *p, const struct group *g, struct spots *out)
{
    struct map seen;
    bool is_ambiguous;
    map_init(&seen, NULL);
    for (size_t i = 0; i < g->member_n; i++) {
        struct owner *o = owner_find(p, g->member[i], &is_ambiguous);
        if (o != NULL && map_put(&seen, &o->number, sizeof(o->number), o) == NULL)
            add_owned(out, o);
    }
    map_fini(&seen);
}

static void add_nodes(const struct engine *p, const struct selector *s, const struct owner *self_of, struct spots *out)
{
    size_t pos = 0;
    bool is_ambiguous;
    const struct engine_node *n;
    if (s->kind == SEL_USER)
        add_owned(out, owner_find(p, s->name, &is_ambiguous));
    else if (s->kind == SEL_GROUP)
        add_group(p, &p->doc->group[s->group], out);
    else if (s->kind == SEL_SELF && self_of != NULL)
        add_owned(out, self_of);
    else if (s->kind != SEL_SELF) {
        while ((n = map_next(&p->node_by_id, &pos)) != NULL) {
            if (holds_node(p, s, n))
                add_node(out, n);
        }
    }
}

bool spots_find(const struct engine *p, struct str text, const struct owner *self_of, struct spots *out)
{
    struct selector s;
    if (doc_classify(p->doc, text, &s) != SEL_FINE)
        return false;
    if (s.kind == SEL_STAR || s.kind == SEL_INTERNET || s.kind == SEL_DANGER_ALL)
        return false;
    if (s.kind == SEL_ADDRS) {
        struct range_set set = {0};
        doc_ranges(p->doc, &s, &set);
        bool is_one = set.n == 1 && range_is_single(&set.v[0]) && str_index(text, '/') < 0;
        if (is_one)
            VEC_PUSH(out->v, out->n, out->cap, ((struct spot){set.v[0], node_at(p, &set.v[0])}));
        range_set_fini(&set);
        return is_one;
    }
    add_nodes(p, &s, self_of, out);
    return out->n > 0;
}

const char *spots_none_reason(const struct engine *p, struct str text)
{
    struct selector s;
    bool is_ambiguous;
    if (text.len == 0)
        return "it is empty";
    switch (doc_classify(p->doc, text, &s)) {
    case SEL_NO_TAG: return "no such tag in tagOwners";
    case SEL_NO_GROUP: return "no such group";
    case SEL_NO_IPSET: return "no such ipset";
    case SEL_NO_AUTOGROUP: return "no such autogroup";
    case SEL_NO_SERVICES: return "there are no services here";
    case SEL_FOREIGN_DOMAIN:
    case SEL_NO_ADDRESS: return "no address, and no such host";
    case SEL_FINE: break;
    }
    switch (s.kind) {
    case SEL_STAR:
    case SEL_INTERNET:
    case SEL_DANGER_ALL: return "not one address or name";
    case SEL_ADDRS: return "not one address (a prefix, a range or a set)";
    case SEL_SELF: return "the source is no user's node";
    case SEL_TAG: return "no node has this tag yet";
    case SEL_GROUP: return "no one of this group has a node without tags yet";
    case SEL_USER:
        if (owner_find(p, s.name, &is_ambiguous) == NULL)
            return is_ambiguous ? "several users match" : "there is no such user yet";
        return "this user has no node without tags yet";
    default: return "it has no nodes yet";
    }
}

/* What rules see of a spot, as bytes. */
static void put_spot(struct engine *p, const struct spot *spot, const struct policy_attr *more, size_t more_n,
                     struct buf *key)
{
    uint64_t *in = mem_zalloc(p->sel_words + 1, sizeof(*in));
    const struct engine_node *n = spot->node;
    address_selectors(p, n, &spot->at, in);
    buf_append(key, in, p->sel_words * sizeof(*in));
    buf_append_byte(key, n != NULL);
    buf_append_byte(key, spot->at.family);
    for (posture_set_id i = 0; n != NULL && i < p->doc->posture_set_n; i++) {
        struct attr_view attrs = {more, more_n, n->attr, n->attr_n};
        buf_append_byte(key, policy_posture_holds(p->doc, i, &attrs));
    }
    if (n != NULL && n->owner != NULL)
        buf_append(key, &n->owner->number, sizeof(n->owner->number));
    mem_free(in);
}

void spots_reduce(struct engine *p, struct spots *s, const struct policy_attr *more, size_t more_n)
{
    struct arena keys = {0};
    struct map seen;
    size_t n = 0;
    map_init(&seen, NULL);
    for (size_t i = 0; s->n > 1 && i < s->n; i++) {
        struct buf key = {0};
        put_spot(p, &s->v[i], more, more_n, &key);
        struct str kept = arena_str(&keys, buf_str(&key));
        /* An address of no node stands for itself: `*` may hold it or not. */
        bool is_new = s->v[i].node == NULL || map_get(&seen, kept.p, kept.len) == NULL;
        if (is_new) {
            map_put(&seen, kept.p, kept.len, s);
            s->v[n++] = s->v[i];
        }
        buf_fini(&key);
    }
    s->n = s->n > 1 ? n : s->n;
    map_fini(&seen);
    arena_fini(&keys);
}

/* --- a rule --- */

static bool entry_holds(const struct engine *p, const struct selector *s, const struct range *at)
{
    for (uint32_t i = 0; i < s->range_n; i++) {
        if (range_holds(&p->doc->range[s->range_first + i].range, at))
            return true;
    }
    return false;
}

static bool is_routed(const struct engine *p, const struct range *at)
{
    size_t pos = 0;
    const struct route_holders *h;
    while ((h = map_next(&p->holders_by_route, &pos)) != NULL) {
        if (range_holds(&h->range, at))
            return true;
    }
    return false;
}

static bool is_source(const struct engine *p, sel_id sel, const struct spot *src)
{
    const struct selector *s = &p->doc->sel[sel];
    switch (s->kind) {
    case SEL_DANGER_ALL: return true;
    case SEL_STAR: return range_set_holds(&p->tailnet, &src->at) || is_routed(p, &src->at) || src->node != NULL;
    case SEL_ADDRS: return entry_holds(p, s, &src->at);
    default: return src->node != NULL && engine_node_is(src->node, sel);
    }
}

static bool is_destination(const struct engine *p, sel_id sel, const struct spot *src, const struct spot *dst)
{
    const struct selector *s = &p->doc->sel[sel];
    switch (s->kind) {
    case SEL_STAR: return true;
    case SEL_ADDRS:
    case SEL_INTERNET: return entry_holds(p, s, &dst->at);
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

/* A source that is no node comes from behind a router, which postures do not bind. src: docs/protocol/policy.md 7.3 */
static bool is_fit(const struct engine *p, const struct rule *rule, const struct spot *src,
                   const struct attr_view *attrs)
{
    if (rule->posture == 0 || src->node == NULL)
        return true;
    uint32_t list = p->rule_list[rule - p->doc->rule];
    if (attrs == NULL || attrs->more_n == 0)
        return bit_get(src->node->class->fit, p->list[list].posture);
    return policy_posture_holds(p->doc, rule->posture, attrs);
}

struct fit rule_fits(const struct engine *p, const struct rule *rule, const struct spot *src, const struct spot *dst,
                     int proto, int port, const struct attr_view *attrs)
{
    struct fit fit = {0};
    for (size_t i = 0; i < rule->src.n && !fit.source; i++)
        fit.source = is_source(p, rule->src.v[i], src) && is_fit(p, rule, src, attrs);
    for (size_t i = 0; i < rule->dst_n; i++) {
        if (!is_destination(p, rule->dst[i].sel, src, dst))
            continue;
        fit.destination = true;
        fit.port = fit.port || is_port(rule, &rule->dst[i], proto, port);
    }
    return fit;
}
