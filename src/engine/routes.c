/* Which routes of a peer a viewer gets. src: docs/protocol/policy.md 6.2, 5.5 */
#include <string.h>

#include "base/mem.h"
#include "engine/sources.h"
#include "engine/tables.h"

/* --- which rule parts concern a route --- */

/* Whether a range of the selector overlaps the route. For an exit route it must contain all of it, or be the
 * internet. */
static bool ranges_reach(const struct engine *e, const struct selector *s, const struct node_route *r)
{
    if (r->is_exit && s->has_internet)
        return true;
    for (uint32_t i = 0; s->kind == SEL_ADDRS && i < s->range_n; i++) {
        const struct range *range = &e->doc->range[s->range_first + i].range;
        if (r->is_exit ? range_holds(range, &r->range) : range_meets(range, &r->range))
            return true;
    }
    return false;
}

static bool rule_reaches(const struct engine *e, const struct rule *rule, const struct node_route *r, bool with_star)
{
    for (size_t i = 0; i < rule->dst_n; i++) {
        const struct selector *s = &e->doc->sel[rule->dst[i].sel];
        if ((s->kind == SEL_STAR && with_star) || ranges_reach(e, s, r))
            return true;
    }
    return false;
}

/* autogroup:internet overlaps a public route as well, but counts only for exit nodes, which have all of its ranges
 * in their filters. */
static bool internet_reaches(const struct engine *e, const struct rule *rule, const struct engine_node *n,
                             const struct node_route *r)
{
    bool has_internet = false, meets = false;
    for (size_t i = 0; i < rule->dst_n; i++)
        has_internet = has_internet || e->doc->sel[rule->dst[i].sel].kind == SEL_INTERNET;
    for (size_t i = 0; i < range_internet_n; i++)
        meets = meets || range_meets(&range_internet[i], &r->range);
    return has_internet && meets && n->class->is_exit;
}

static bool companion_reaches(const struct engine *e, const struct rule *rule, const struct node_route *r)
{
    for (size_t i = 0; i < rule->src.n && !r->is_exit; i++) {
        if (ranges_reach(e, &e->doc->sel[rule->src.v[i]], r))
            return true;
    }
    return false;
}

/* Whether this part puts a destination that overlaps the route into the router's filter. */
static bool part_reaches(const struct engine *e, const struct engine_node *n, const struct node_route *r,
                         const struct rule_part *part)
{
    const struct rule *rule = &e->doc->rule[part->rule];
    bool has_ip = rule->ip_n > 0;
    if (part->kind == PART_COMPANION)
        return companion_reaches(e, rule, r);
    if (has_ip && internet_reaches(e, rule, n, r))
        return true;
    /* A grant with `via` is in filters only when it has `ip`. Without `ip`, `*` means the node's own addresses and
     * no route. */
    if (part->kind == PART_VIA)
        return has_ip && rule_reaches(e, rule, r, false);
    return rule_reaches(e, rule, r, has_ip);
}

/* The parts of rules that concern the route, found when they are first needed. */
static const struct route_parts *parts_of(const struct engine *e, const struct engine_node *n, struct node_route *r)
{
    struct route_parts *parts = &r->parts;
    if (parts->to != NULL)
        return parts;
    parts->to = mem_zalloc(4 * e->rules.words + 1, sizeof(*parts->to));
    parts->from = parts->to + e->rules.words;
    parts->via = parts->from + e->rules.words;
    parts->plain = parts->via + e->rules.words;
    for (uint32_t id = 0; id < e->rules.part_n; id++) {
        const struct rule_part *part = &e->rules.part[id];
        const struct rule *rule = &e->doc->rule[part->rule];
        if (part_reaches(e, n, r, part))
            bit_put(parts->to, id);
        if (part->kind == PART_VIA && rule_reaches(e, rule, r, false))
            bit_put(parts->via, id);
        if (part->kind == PART_RULE && rule_reaches(e, rule, r, true))
            bit_put(parts->plain, id);
        /* A grant with `via` and without `ip` is in no filter. */
        if (!r->is_exit && (part->kind != PART_VIA || rule->ip_n > 0) &&
            source_list_meets(&e->sources.list[part->list], &r->range))
            bit_put(parts->from, id);
    }
    return parts;
}

/* --- which router serves a viewer --- */

static bool has_via_tag(const struct engine *e, const struct engine_node *n, const uint64_t *via_parts)
{
    BITS_EACH (u, via_parts, e->rules.words) {
        const struct rule *rule = &e->doc->rule[e->rules.part[u].rule];
        for (size_t i = 0; i < rule->via.n; i++) {
            if (engine_node_is(n, rule->via.v[i]))
                return true;
        }
    }
    return false;
}

static bool is_primary_of(const struct engine_node *n, const struct range *route)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (n->route[i].range.family == route->family && n->route[i].range.lo == route->lo &&
            n->route[i].range.hi == route->hi)
            return n->route[i].is_primary;
    }
    return false;
}

/* Whether `a` is chosen before `b`: the primary first, then those online, then the oldest. */
static bool is_better(const struct engine_node *a, const struct engine_node *b, const struct range *route)
{
    bool a_first = is_primary_of(a, route), b_first = is_primary_of(b, route);
    if (a_first != b_first)
        return a_first;
    if (a->is_online != b->is_online)
        return a->is_online;
    return a->created_ms != b->created_ms ? a->created_ms < b->created_ms : a->id < b->id;
}

static bool holds(const struct engine_node *n, const struct range *route)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit && n->route[i].range.family == route->family && n->route[i].range.lo == route->lo &&
            n->route[i].range.hi == route->hi)
            return true;
    }
    return false;
}

/* Whether the viewer gets the route of `n`: `n` is the router that the viewer uses for it, and packets may go one way
 * at least. `via_parts` has room for the parts of all rules. src: docs/protocol/policy.md 5.5, 6.2 */
static bool is_shown(const struct engine *e, const struct engine_node *viewer, const struct engine_node *n,
                     struct node_route *r, uint64_t *via_parts)
{
    const struct route_parts *parts = parts_of(e, n, r);
    bool has_via = false, may_send = false;
    for (size_t w = 0; w < e->rules.words; w++) {
        via_parts[w] = viewer->class->src[w] & parts->via[w];
        has_via = has_via || via_parts[w] != 0;
        may_send = may_send || (viewer->class->src[w] & n->class->dst[w] & parts->to[w]) != 0;
    }
    bool is_chosen = has_via && has_via_tag(e, n, via_parts);
    if (!has_via || bits_meet(viewer->class->src, parts->plain, e->rules.words)) {
        if (!r->is_exit && !r->is_primary)
            return false;
    } else {
        if (!is_chosen)
            return false;
        for (size_t i = 0; !r->is_exit && i < r->holders->n; i++) {
            const struct engine_node *other = r->holders->v[i];
            if (other != n && has_via_tag(e, other, via_parts) && is_better(other, n, &r->range))
                return false;
        }
    }
    if (may_send || is_chosen)
        return true;
    if (r->is_exit)
        return false;
    return bits_meet(viewer->class->dst, parts->from, e->rules.words) || (holds(viewer, &r->range) && r->is_primary);
}

void engine_routes(struct engine *e, uint64_t viewer, uint64_t peer, uint64_t *out, size_t bits_n)
{
    const struct engine_node *v = engine_node_find(&e->nodes, viewer);
    struct engine_node *n = engine_node_find(&e->nodes, peer);
    memset(out, 0, bits_words(bits_n) * sizeof(*out));
    if (v == NULL || n == NULL)
        return;
    uint64_t *via_parts = mem_zalloc(e->rules.words + 1, sizeof(*via_parts));
    for (size_t i = 0; i < n->route_n && i < bits_n; i++) {
        if (v == n || is_shown(e, v, n, &n->route[i], via_parts))
            bit_put(out, i);
    }
    mem_free(via_parts);
}

uint64_t engine_routes_version(const struct engine *e, uint64_t peer)
{
    const struct engine_node *n = engine_node_find(&e->nodes, peer);
    return n != NULL ? n->routes_version : 0;
}

uint64_t engine_routes_clock(const struct engine *e)
{
    return e->routes.touched;
}
