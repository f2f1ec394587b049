#include "engine/twin.h"

/* --- the twin: routes. src: docs/protocol/policy.md 6.2, 5.5 --- */

static bool is_same_route(const struct engine_route *a, const struct engine_route *b)
{
    return a->bits == b->bits && addr_eq(&a->addr, &b->addr);
}

static const struct engine_route *route_of(const struct engine_facts *n, const struct engine_route *like)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (is_same_route(&n->routes[i], like))
            return &n->routes[i];
    }
    return NULL;
}

/* Whether the node has a tag of a `via` grant with `a` as source and a destination that overlaps the route. */
static bool twin_is_via(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b,
                        size_t route, const struct engine_facts *carrier)
{
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        const struct rule *rule = &f->doc->rule[i];
        if (rule->via.n > 0 && twin_over(f, rule, b, route, false) && twin_source_of(f, rule, a) &&
            (carrier == NULL || twin_has_via_tag(carrier, f->doc, rule)))
            return true;
    }
    return false;
}

static bool twin_has_plain(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b,
                           size_t route)
{
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        const struct rule *rule = &f->doc->rule[i];
        if (rule->via.n == 0 && twin_over(f, rule, b, route, true) && twin_source_of(f, rule, a))
            return true;
    }
    return false;
}

static bool twin_serves(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b,
                        size_t route)
{
    const struct engine_route *r = &b->routes[route];
    const struct engine_facts *best = NULL;
    if (!twin_is_via(f, a, b, route, NULL) || twin_has_plain(f, a, b, route))
        return r->bits == 0 || r->is_primary;
    if (!twin_is_via(f, a, b, route, b) || r->bits == 0)
        return twin_is_via(f, a, b, route, b);
    NODE_EACH(n, f)
    {
        const struct engine_route *held = route_of(n, r);
        if (held == NULL || !twin_is_via(f, a, b, route, n))
            continue;
        if (held->is_primary)
            return n == b;
        if (best == NULL || (n->is_online && !best->is_online) ||
            (n->is_online == best->is_online && n->created_ms < best->created_ms))
            best = n;
    }
    return best == b;
}

/* Whether a rule in the filter of B has A as source and a destination that overlaps the route. */
static bool twin_may_send(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b,
                          size_t route)
{
    struct range r = twin_route(b, route);
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        const struct rule *rule = &f->doc->rule[i];
        bool has_ip = rule->ip_n > 0;
        bool is_in_filter = rule->via.n == 0 || (has_ip && twin_has_via_tag(b, f->doc, rule));
        if (is_in_filter && twin_over(f, rule, b, route, has_ip && rule->via.n == 0) && twin_source_of(f, rule, a))
            return true;
        bool has_internet = false;
        for (size_t k = 0; k < rule->dst_n; k++)
            has_internet = has_internet || f->doc->sel[rule->dst[k].sel].kind == SEL_INTERNET;
        if (has_internet && has_ip && is_in_filter && twin_is_exit(b) && twin_in_internet(&r) &&
            twin_source_of(f, rule, a))
            return true;
        if (rule->via.n > 0 || (!rule->has_drive && !rule->has_relay) || b->routes[route].bits == 0)
            continue;
        /* The companion: from the destinations to the sources. */
        bool over = false, is_source = false;
        for (size_t k = 0; k < rule->src.n; k++) {
            struct range_set ranges = {0};
            doc_ranges(f->doc, &f->doc->sel[rule->src.v[k]], &ranges);
            over = over || range_set_meets(&ranges, &r);
            range_set_fini(&ranges);
        }
        struct rule back = {.src = {mem_zalloc(rule->dst_n + 1, sizeof(sel_id)), 0}};
        for (size_t k = 0; k < rule->dst_n; k++) {
            if (f->doc->sel[rule->dst[k].sel].kind != SEL_SELF)
                back.src.v[back.src.n++] = rule->dst[k].sel;
        }
        is_source = twin_source_of(f, &back, a);
        mem_free(back.src.v);
        if (over && is_source)
            return true;
    }
    return false;
}

/* Whether the filter of A has a source that overlaps the route. */
static bool twin_may_answer(const struct random_tailnet *f, const struct engine_facts *a, const struct range *r)
{
    struct twin_filter t;
    const struct filter_allowed *what;
    size_t pos = 0;
    bool may = false;
    twin_filter_of(f, a, &t);
    while ((what = map_next(&t.set.by_what, &pos)) != NULL) {
        for (size_t i = 0; i < what->n; i++) {
            struct range src = {what->v[i].lo, what->v[i].hi, (uint8_t)what->v[i].family};
            may = may || range_meets(&src, r);
        }
    }
    twin_filter_fini(&t);
    return may;
}

bool twin_shows(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b,
                size_t route)
{
    struct range r = twin_route(b, route);
    if (!twin_serves(f, a, b, route))
        return false;
    if (twin_may_send(f, a, b, route) || twin_is_via(f, a, b, route, b))
        return true;
    if (b->routes[route].bits == 0)
        return false;
    return twin_may_answer(f, a, &r) || (route_of(a, &b->routes[route]) != NULL && b->routes[route].is_primary);
}

/* --- the twin: SSH. src: docs/protocol/policy.md 8.2, 8.3 --- */

static bool twin_is_any(const struct random_tailnet *f, const struct engine_facts *n, const struct sel_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (twin_is(f, n, &f->doc->sel[list->v[i]]))
            return true;
    }
    return false;
}

/* Whether the SSH policy of `n` has the rule with `src` among its principals. */
static bool twin_ssh_applies(const struct random_tailnet *f, const struct ssh_rule *rule, const struct engine_facts *n,
                             const struct engine_facts *src)
{
    bool are_own = n->tag_n == 0 && src->tag_n == 0 && n->user == src->user, has_self = false;
    if (!twin_is_any(f, src, &rule->src))
        return false;
    for (size_t i = 0; i < rule->dst.n; i++)
        has_self = has_self || f->doc->sel[rule->dst.v[i]].kind == SEL_SELF;
    if (twin_is_any(f, n, &rule->dst))
        return true;
    if (has_self && n->tag_n == 0)
        return are_own;
    return rule->local_domain_n > 0 && twin_is_any(f, n, &rule->src) && (n->tag_n == 0 ? are_own : src == n);
}

static bool twin_ssh_maps(const struct random_tailnet *f, const struct ssh_rule *rule, const struct engine_facts *src,
                          const char *login)
{
    const struct engine_user *u = &f->user[src->user - 1];
    for (size_t i = 0; i < rule->login_n; i++) {
        if (str_eq_c(rule->login[i], login))
            return true;
    }
    if (rule->has_nonroot && strcmp(login, "root") != 0)
        return true;
    /* The policies of random tailnets name a.com only. */
    return rule->local_domain_n > 0 && src->tag_n == 0 && str_ends(u->email, STR("@a.com")) && str_eq_c(u->name, login);
}

enum answer twin_ssh(const struct random_tailnet *f, const struct engine_facts *n, const struct engine_facts *src,
                     const char *login)
{
    for (int check = 1; check >= 0; check--) {
        for (size_t i = 0; i < f->doc->ssh_n; i++) {
            const struct ssh_rule *rule = &f->doc->ssh[i];
            if (rule->is_check == (check == 1) && twin_ssh_applies(f, rule, n, src) &&
                twin_ssh_maps(f, rule, src, login))
                return check == 1 ? ANSWER_CHECK : ANSWER_ACCEPT;
        }
    }
    return ANSWER_NONE;
}
