#include "engine/twin.h"

/* --- the twin: which selectors hold which nodes --- */

static bool twin_is_user(const struct random_tailnet *f, const struct engine_facts *n, struct str text)
{
    const struct engine_user *u = &f->user[n->user - 1];
    struct str bare = str_ends(text, STR("@")) ? str_n(text.p, text.len - 1) : text;
    return str_eq(u->email, bare) || str_eq(u->name, bare);
}

bool twin_is(const struct random_tailnet *f, const struct engine_facts *n, const struct selector *s)
{
    const struct engine_user *u = &f->user[n->user - 1];
    if (s->kind == SEL_STAR || s->kind == SEL_DANGER_ALL)
        return true;
    if (s->kind == SEL_TAGGED || s->kind == SEL_TAG) {
        for (size_t i = 0; s->kind == SEL_TAG && i < n->tag_n; i++) {
            if (str_eq(n->tags[i], s->text))
                return true;
        }
        return s->kind == SEL_TAGGED && n->tag_n > 0;
    }
    if (n->tag_n > 0)
        return false;
    switch (s->kind) {
    case SEL_MEMBER: return true;
    case SEL_USER: return twin_is_user(f, n, s->text);
    case SEL_DOMAIN: return str_ends(u->email, s->name);
    case SEL_ROLE: return u->role == s->role || (s->role == POLICY_ADMIN && u->role == POLICY_OWNER);
    case SEL_GROUP:
        for (size_t i = 0; i < f->doc->group[s->group].member_n; i++) {
            if (twin_is_user(f, n, f->doc->group[s->group].member[i]))
                return true;
        }
        return false;
    default: return false;
    }
}

static bool twin_fits(const struct random_tailnet *f, const struct engine_facts *n, posture_set_id posture)
{
    /* posture:p0 is custom:x > 3; p1 is one of 1, 2, 5. */
    double x = n->attr_n > 0 ? n->attrs[0].number : -1;
    if (posture == 0)
        return true;
    const struct posture *p = &f->doc->posture[f->doc->posture_set[posture].any[0]];
    return str_eq(p->name, STR("posture:p0")) ? x > 3 : x == 1 || x == 2 || x == 5;
}

struct range twin_range(const struct engine_facts *n, int family)
{
    return range_of_addr(family == 4 ? &n->v4 : &n->v6);
}

struct range twin_route(const struct engine_facts *n, size_t i)
{
    return range_of_prefix(&n->routes[i].addr, n->routes[i].bits);
}

bool twin_routes_meet(const struct engine_facts *n, const struct range *r)
{
    for (size_t i = 0; i < n->route_n; i++) {
        struct range route = twin_route(n, i);
        if (n->routes[i].bits > 0 && range_meets(&route, r))
            return true;
    }
    return false;
}

bool twin_is_exit(const struct engine_facts *n)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (n->routes[i].bits == 0)
            return true;
    }
    return false;
}

bool twin_in_internet(const struct range *r)
{
    for (size_t i = 0; i < range_internet_n; i++) {
        if (range_holds(&range_internet[i], r))
            return true;
    }
    return false;
}

/* --- the twin: sources. src: docs/protocol/policy.md 4.1, 7.3 --- */

static void twin_add_node(struct range_set *out, const struct engine_facts *n)
{
    range_set_add(out, twin_range(n, 4));
    range_set_add(out, twin_range(n, 6));
}

static void twin_add_star(const struct random_tailnet *f, posture_set_id posture, struct range_set *out)
{
    static const char *const ranges[] = {"100.64.0.0-100.115.91.255", "100.115.94.0-100.127.255.255",
                                         "fd7a:115c:a1e0::/48"};
    struct range r;
    for (size_t i = 0; posture == 0 && i < ARRAY_LEN(ranges); i++) {
        if (range_parse(str_c(ranges[i]), &r))
            range_set_add(out, r);
    }
    NODE_EACH(n, f)
    {
        /* Also nodes with addresses outside the tailnet's ranges. */
        if (posture == 0 || twin_fits(f, n, posture))
            twin_add_node(out, n);
        for (size_t i = 0; i < n->route_n; i++) {
            if (n->routes[i].bits > 0)
                range_set_add(out, twin_route(n, i));
        }
    }
}

static void twin_add_source(const struct random_tailnet *f, const struct selector *s, posture_set_id posture,
                            struct range_set *out)
{
    struct range_set own = {0}, unfit = {0};
    if (s->kind == SEL_STAR) {
        twin_add_star(f, posture, out);
        return;
    }
    if (s->kind == SEL_DANGER_ALL) {
        range_set_add(&own, (struct range){0, UINT32_MAX, 4});
        range_set_add(&own, (struct range){0, ~(ip_number)0, 6});
    }
    doc_ranges(f->doc, s, &own);
    NODE_EACH(n, f)
    {
        bool fits = twin_fits(f, n, posture);
        if (fits && twin_is(f, n, s))
            twin_add_node(&own, n);
        if (!fits)
            twin_add_node(&unfit, n);
    }
    range_set_join(&own);
    range_set_join(&unfit);
    range_set_subtract(&own, &unfit);
    for (size_t i = 0; i < own.n; i++)
        range_set_add(out, own.v[i]);
    range_set_fini(&own);
    range_set_fini(&unfit);
}

static void twin_sources(const struct random_tailnet *f, const struct rule *rule, struct range_set *out)
{
    for (size_t i = 0; i < rule->src.n; i++)
        twin_add_source(f, &f->doc->sel[rule->src.v[i]], rule->posture, out);
    range_set_join(out);
}

/* Whether the node is a source by itself: what autogroup:self asks. */
static bool twin_is_source(const struct random_tailnet *f, const struct rule *rule, const struct engine_facts *n)
{
    bool is = false;
    for (size_t i = 0; i < rule->src.n; i++) {
        const struct selector *s = &f->doc->sel[rule->src.v[i]];
        struct range_set ranges = {0};
        doc_ranges(f->doc, s, &ranges);
        is = is || twin_is(f, n, s) || range_set_has(&ranges, n->v4.family, range_number(&n->v4)) ||
             range_set_has(&ranges, n->v6.family, range_number(&n->v6));
        range_set_fini(&ranges);
    }
    return is && twin_fits(f, n, rule->posture);
}

/* --- the twin: a node's filter, as a set. src: docs/protocol/policy.md 4.2-4.5, 5 --- */

static void twin_allow(struct twin_filter *t, const struct range_set *from)
{
    filter_set_what(&t->set, buf_str(&t->what));
    for (size_t i = 0; i < from->n; i++)
        filter_set_allow(&t->set, buf_str(&t->what),
                         (struct filter_span){from->v[i].family, from->v[i].lo, from->v[i].hi});
}

static void twin_allow_ip(struct twin_filter *t, const struct range_set *from, uint8_t proto, struct str ip,
                          const struct port_list *ports_of)
{
    for (size_t i = 0; i < ports_of->n; i++) {
        filter_what_ip(&t->what, proto, ip, ports_of->v[i].first, ports_of->v[i].last);
        twin_allow(t, from);
    }
}

static void twin_allow_own(struct twin_filter *t, const struct range_set *from, uint8_t proto,
                           const struct port_list *ports_of)
{
    char text[RANGE_TEXT_CAP];
    for (int family = 4; family <= 6; family += 2) {
        struct range own = twin_range(t->n, family);
        if (own.family != 0)
            twin_allow_ip(t, from, proto, str_n(text, range_format(&own, text)), ports_of);
    }
}

static bool twin_keeps(const struct twin_filter *t, const struct rule *rule, const struct selector *s,
                       const struct range *r)
{
    struct range v4 = twin_range(t->n, 4), v6 = twin_range(t->n, 6);
    bool by_exit = twin_is_exit(t->n) && twin_in_internet(r);
    if (s->kind == SEL_INTERNET)
        return by_exit;
    if (rule->via.n > 0)
        return twin_routes_meet(t->n, r);
    return range_holds(r, &v4) || range_holds(r, &v6) || twin_routes_meet(t->n, r) || by_exit;
}

static void twin_dst(struct twin_filter *t, const struct rule *rule, const struct selector *s,
                     const struct range_set *from, uint8_t proto, const struct port_list *ports_of)
{
    char text[RANGE_TEXT_CAP];
    struct range_set ranges = {0};
    doc_ranges(t->f->doc, s, &ranges);
    for (size_t i = 0; i < ranges.n; i++) {
        if (twin_keeps(t, rule, s, &ranges.v[i]))
            twin_allow_ip(t, from, proto, str_n(text, range_format(&ranges.v[i], text)), ports_of);
    }
    range_set_fini(&ranges);
    if (rule->via.n > 0)
        return;
    if (s->kind == SEL_STAR)
        twin_allow_ip(t, from, proto, STR("*"), ports_of);
    else if (twin_is(t->f, t->n, s))
        twin_allow_own(t, from, proto, ports_of);
}

static void twin_allow_cap(struct twin_filter *t, const struct range_set *from, const struct range *dst,
                           struct str name, struct str value)
{
    char text[RANGE_TEXT_CAP];
    struct range rest = *dst, prefix;
    while (range_take_prefix(&rest, &prefix)) {
        filter_what_cap(&t->what, str_n(text, range_format_prefix(&prefix, text)), name, value);
        twin_allow(t, from);
    }
}

/* The capability at those destinations of `s` that are the node's. */
static void twin_cap_dst(struct twin_filter *t, const struct selector *s, const struct range_set *from, struct str name,
                         struct str value, bool with_internet, bool with_own)
{
    struct range_set ranges = {0};
    doc_ranges(t->f->doc, s, &ranges);
    for (int family = 4; family <= 6 && with_own; family += 2) {
        struct range own = twin_range(t->n, family);
        bool is_held = own.family != 0 && (twin_is(t->f, t->n, s) || range_set_has(&ranges, own.family, own.lo));
        if (is_held)
            twin_allow_cap(t, from, &own, name, value);
    }
    for (size_t i = 0; i < ranges.n; i++) {
        if (twin_routes_meet(t->n, &ranges.v[i]) ||
            (with_internet && twin_is_exit(t->n) && twin_in_internet(&ranges.v[i])))
            twin_allow_cap(t, from, &ranges.v[i], name, value);
    }
    range_set_fini(&ranges);
}

static void twin_cap(struct twin_filter *t, const struct rule *rule, const struct range_set *from, struct str name,
                     struct str value, bool is_companion)
{
    size_t n = is_companion ? rule->src.n : rule->dst_n;
    for (size_t i = 0; i < n; i++) {
        const struct selector *s = &t->f->doc->sel[is_companion ? rule->src.v[i] : rule->dst[i].sel];
        if (s->kind != SEL_SELF)
            twin_cap_dst(t, s, from, name, value, !is_companion, !is_companion || twin_fits(t->f, t->n, rule->posture));
    }
}

static void twin_app(struct twin_filter *t, const struct rule *rule, const struct range_set *from, bool is_self,
                     const struct range_set *back)
{
    struct arena a = {0};
    const struct json *app;
    assert_int_equal(json_parse(&a, rule->app, NULL, &app, NULL), RC_OK);
    const struct json *cap = json_first(app);
    struct range_set none = {0};
    static const struct selector star = {.kind = SEL_STAR};
    if (is_self)
        twin_cap_dst(t, &star, from, json_key_of(cap), json_raw(cap), false, true);
    else
        twin_cap(t, rule, from, json_key_of(cap), json_raw(cap), false);
    struct str companion = rule->has_drive   ? STR("tailscale.com/cap/drive-sharer")
                           : rule->has_relay ? STR("tailscale.com/cap/relay-target")
                                             : STR_EMPTY;
    if (companion.len > 0 && is_self && twin_is_source(t->f, rule, t->n))
        twin_cap_dst(t, &star, back, companion, STR("null"), false, true);
    else if (companion.len > 0 && !is_self)
        twin_cap(t, rule, back, companion, STR("null"), true);
    range_set_fini(&none);
    arena_fini(&a);
}

bool twin_has_via_tag(const struct engine_facts *n, const struct policy_doc *doc, const struct rule *rule)
{
    for (size_t i = 0; i < rule->via.n; i++) {
        for (size_t k = 0; k < n->tag_n; k++) {
            if (str_eq(n->tags[k], doc->sel[rule->via.v[i]].text))
                return true;
        }
    }
    return false;
}

static void twin_plain_rule(struct twin_filter *t, const struct rule *rule)
{
    struct range_set from = {0}, back = {0};
    const struct policy_doc *doc = t->f->doc;
    twin_sources(t->f, rule, &from);
    for (size_t i = 0; i < rule->dst_n; i++) {
        const struct selector *s = &doc->sel[rule->dst[i].sel];
        if (s->kind == SEL_SELF)
            continue;
        twin_add_source(t->f, s, 0, &back);
        for (size_t k = 0; k < rule->ip_n; k++)
            twin_dst(t, rule, s, &from, rule->ip[k].proto, rule->is_acl ? &rule->dst[i].ports : &rule->ip[k].ports);
    }
    range_set_join(&back);
    if (rule->app.len > 0 && rule->via.n == 0)
        twin_app(t, rule, &from, false, &back);
    range_set_fini(&from);
    range_set_fini(&back);
}

static void twin_self_rule(struct twin_filter *t, const struct rule *rule, const struct rule_dst *dst)
{
    struct range_set from = {0}, all = {0};
    NODE_EACH(n, t->f)
    {
        if (n->tag_n > 0 || n->user != t->n->user)
            continue;
        twin_add_node(&all, n);
        if (twin_is_source(t->f, rule, n))
            twin_add_node(&from, n);
    }
    range_set_join(&from);
    range_set_join(&all);
    for (size_t k = 0; k < rule->ip_n; k++)
        twin_allow_own(t, &from, rule->ip[k].proto, rule->is_acl ? &dst->ports : &rule->ip[k].ports);
    if (rule->app.len > 0)
        twin_app(t, rule, &from, true, &all);
    range_set_fini(&from);
    range_set_fini(&all);
}

void twin_filter_of(const struct random_tailnet *f, const struct engine_facts *n, struct twin_filter *t)
{
    *t = (struct twin_filter){.f = f, .n = n};
    filter_set_init(&t->set);
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        const struct rule *rule = &f->doc->rule[i];
        if (rule->via.n > 0 && !twin_has_via_tag(n, f->doc, rule))
            continue;
        twin_plain_rule(t, rule);
        for (size_t k = 0; k < rule->dst_n; k++) {
            if (f->doc->sel[rule->dst[k].sel].kind == SEL_SELF && n->tag_n == 0)
                twin_self_rule(t, rule, &rule->dst[k]);
        }
    }
}

void twin_filter_fini(struct twin_filter *t)
{
    filter_set_fini(&t->set);
    buf_fini(&t->what);
}

/* --- the twin: peers. src: docs/protocol/policy.md 6.1 --- */

bool twin_reaches(const struct twin_filter *t, const struct engine_facts *a)
{
    const struct filter_allowed *what;
    size_t pos = 0;
    while ((what = map_next(&t->set.by_what, &pos)) != NULL) {
        for (size_t i = 0; i < what->n; i++) {
            struct range r = {what->v[i].lo, what->v[i].hi, (uint8_t)what->v[i].family};
            struct range v4 = twin_range(a, 4), v6 = twin_range(a, 6);
            if ((v4.family != 0 && range_holds(&r, &v4)) || (v6.family != 0 && range_holds(&r, &v6)) ||
                twin_routes_meet(a, &r))
                return true;
        }
    }
    return false;
}

bool twin_source_of(const struct random_tailnet *f, const struct rule *rule, const struct engine_facts *a)
{
    struct range_set from = {0};
    bool is = false;
    twin_sources(f, rule, &from);
    for (size_t i = 0; i < from.n; i++) {
        struct range v4 = twin_range(a, 4), v6 = twin_range(a, 6);
        is = is || (v4.family != 0 && range_holds(&from.v[i], &v4)) ||
             (v6.family != 0 && range_holds(&from.v[i], &v6)) || twin_routes_meet(a, &from.v[i]);
    }
    range_set_fini(&from);
    return is;
}

bool twin_over(const struct random_tailnet *f, const struct rule *rule, const struct engine_facts *b, size_t route,
               bool with_star)
{
    struct range r = twin_route(b, route);
    for (size_t i = 0; i < rule->dst_n; i++) {
        const struct selector *s = &f->doc->sel[rule->dst[i].sel];
        struct range_set ranges = {0};
        bool over = with_star && s->kind == SEL_STAR;
        doc_ranges(f->doc, s, &ranges);
        for (size_t k = 0; s->kind == SEL_ADDRS && k < ranges.n; k++)
            over = over || (b->routes[route].bits == 0 ? range_holds(&ranges.v[k], &r) : range_meets(&ranges.v[k], &r));
        range_set_fini(&ranges);
        if (over || (b->routes[route].bits == 0 && s->kind == SEL_INTERNET))
            return true;
    }
    return false;
}

bool twin_steers(const struct random_tailnet *f, const struct engine_facts *a, const struct engine_facts *b)
{
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        const struct rule *rule = &f->doc->rule[i];
        if (rule->via.n == 0 || !twin_has_via_tag(b, f->doc, rule) || !twin_source_of(f, rule, a))
            continue;
        for (size_t k = 0; k < b->route_n; k++) {
            if (twin_over(f, rule, b, k, false))
                return true;
        }
    }
    return false;
}
