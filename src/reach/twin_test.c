/* Random policies, users, nodes and events against a naive twin, which works as the specification is written: filter by
 * filter, address by address, pair by pair. And what has grown by events against what is made at once. */
#include "engine/testing.h"

#include "reach/reach_internal.h"
#include "support/filter_set.h"
#include "support/test_random.h"

enum {
    USERS = 6,
    GROUPS = 3,
    TAGS = 4,
    IDS = 24,
    ROUNDS = 500,
    EVENTS = 24,
    PACKETS = 40,
    DIFF_ROUNDS = 40,
    DIFF_PACKETS = 400
};

struct fixture {
    struct test_random random;
    struct buf text;
    struct engine_user user[USERS];
    struct engine *p;
    const struct policy_doc *doc;
    /* What every node is now; id 0: not there. */
    struct engine_facts node[IDS];
    struct str tag[IDS][2];
    struct engine_route route[IDS][3];
    struct policy_attr attr[IDS][1];
};

static uint32_t below(struct fixture *f, uint32_t n)
{
    return test_random_below(&f->random, n);
}

static const char *const tag_names[TAGS] = {"tag:t0", "tag:t1", "tag:t2", "tag:t3"};
static const char *const route_names[] = {"10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "fd00:1::/64", "8.8.8.0/24"};

/* --- random policies --- */

static const char *const sources[] = {
    "u0@a.com",
    "u1@b.org",
    "u2",
    "u3@",
    "user:*@a.com",
    "group:g0",
    "group:g1",
    "group:g2",
    "autogroup:member",
    "autogroup:admin",
    "autogroup:owner",
    "tag:t0",
    "tag:t1",
    "tag:t2",
    "autogroup:tagged",
    "*",
    "autogroup:danger-all",
    "100.64.0.3",
    "100.64.0.4-100.64.0.9",
    "100.64.0.0/29",
    "fd7a:115c:a1e0::5",
    "host",
    "net",
    "ipset:s",
    "10.1.0.0/15",
    "fd00:1::/32",
    "8.8.8.8",
};
static const char *const destinations[] = {
    "u0@a.com",
    "user:*@b.org",
    "group:g0",
    "group:g1",
    "autogroup:member",
    "autogroup:admin",
    "tag:t0",
    "tag:t1",
    "tag:t3",
    "autogroup:tagged",
    "*",
    "100.64.0.3",
    "100.64.0.4-100.64.0.9",
    "fd7a:115c:a1e0::/124",
    "host",
    "net",
    "ipset:s",
    "10.1.2.0/23",
    "fd00:1::7",
    "8.8.0.0/16",
    "autogroup:internet",
};
static const char *const self_sources[] = {"u0@a.com", "user:*@a.com",     "group:g0",
                                           "group:g2", "autogroup:member", "autogroup:admin"};
static const char *const ports[] = {"*", "22", "80,443", "1000-2000", "1-65535"};
static const char *const protos[] = {"", "tcp", "udp", "icmp", "47"};

#define PICK(f, list) ((list)[below(f, ARRAY_LEN(list))])

static void put_some(struct fixture *f, const char *field, const char *const *list, size_t n)
{
    uint32_t count = below(f, 4) == 0 ? 1 + below(f, 4) : 1;
    buf_printf(&f->text, "\"%s\":[", field);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = list[below(f, (uint32_t)n)];
        /* A user without an @ would be a host. */
        buf_printf(&f->text, "%s\"%s\"", i > 0 ? "," : "", strcmp(name, "u2") == 0 ? "u2@" : name);
    }
    buf_append_c(&f->text, "]");
}

static void put_posture(struct fixture *f)
{
    if (below(f, 5) == 0)
        buf_printf(&f->text, ",\"srcPosture\":[\"posture:p%u\"]", below(f, 2));
}

static void put_acl(struct fixture *f)
{
    bool has_self = below(f, 4) == 0;
    const char *proto = PICK(f, protos);
    bool has_ports = proto[0] == '\0' || proto[0] == 't' || proto[0] == 'u';
    uint32_t count = 1 + below(f, 3);
    buf_printf(&f->text, "{\"action\":\"accept\",\"proto\":\"%s\",", proto);
    if (has_self)
        put_some(f, "src", self_sources, ARRAY_LEN(self_sources));
    else
        put_some(f, "src", sources, ARRAY_LEN(sources));
    buf_append_c(&f->text, ",\"dst\":[");
    for (uint32_t i = 0; i < count; i++) {
        const char *dst = has_self && i == 0 ? "autogroup:self" : PICK(f, destinations);
        buf_printf(&f->text, "%s\"%s:%s\"", i > 0 ? "," : "", dst, has_ports ? PICK(f, ports) : "*");
    }
    buf_append_c(&f->text, "]");
    put_posture(f);
    buf_append_c(&f->text, "}");
}

static void put_ip(struct fixture *f)
{
    uint32_t count = 1 + below(f, 3);
    buf_append_c(&f->text, ",\"ip\":[");
    for (uint32_t i = 0; i < count; i++) {
        const char *proto = PICK(f, protos);
        bool has_ports = proto[0] == '\0' || proto[0] == 't' || proto[0] == 'u';
        buf_printf(&f->text, "%s\"%s%s%s\"", i > 0 ? "," : "", proto, proto[0] != '\0' ? ":" : "",
                   has_ports ? PICK(f, ports) : "*");
    }
    buf_append_c(&f->text, "]");
}

static void put_grant(struct fixture *f)
{
    static const char *const apps[] = {"x.com/cap", "tailscale.com/cap/drive", "tailscale.com/cap/relay"};
    static const char *const self[] = {"autogroup:self"};
    bool has_self = below(f, 5) == 0, has_via = !has_self && below(f, 4) == 0, has_app = below(f, 2) == 0;
    buf_append_c(&f->text, "{");
    if (has_self)
        put_some(f, "src", self_sources, ARRAY_LEN(self_sources));
    else
        put_some(f, "src", sources, ARRAY_LEN(sources));
    buf_append_c(&f->text, ",");
    if (has_self)
        put_some(f, "dst", self, 1);
    else
        put_some(f, "dst", destinations, ARRAY_LEN(destinations) - has_app); /* no app with the internet */
    if (!has_app || below(f, 2) == 0)
        put_ip(f);
    if (has_app)
        buf_printf(&f->text, ",\"app\":{\"%s\":[{\"v\":%u}]}", PICK(f, apps), below(f, 3));
    if (has_via)
        buf_printf(&f->text, ",\"via\":[\"%s\"]", tag_names[below(f, TAGS)]);
    put_posture(f);
    buf_append_c(&f->text, "}");
}

static void put_ssh(struct fixture *f)
{
    static const char *const dst[] = {"tag:t0", "tag:t1", "autogroup:self", "autogroup:tagged"};
    static const char *const users[] = {"root", "autogroup:nonroot", "deploy", "localpart:*@a.com"};
    buf_printf(&f->text, "{\"action\":\"%s\",", below(f, 2) == 0 ? "check" : "accept");
    put_some(f, "src", self_sources, ARRAY_LEN(self_sources));
    buf_append_c(&f->text, ",");
    put_some(f, "dst", dst, ARRAY_LEN(dst));
    buf_append_c(&f->text, ",");
    put_some(f, "users", users, ARRAY_LEN(users));
    if (below(f, 4) == 0)
        buf_append_c(&f->text, ",\"recorder\":[\"tag:t2\",\"100.64.0.7\"],\"enforceRecorder\":true");
    buf_append_c(&f->text, "}");
}

static void put_list(struct fixture *f, const char *name, uint32_t most, void (*put)(struct fixture *))
{
    uint32_t count = below(f, most + 1);
    buf_printf(&f->text, ",\n\"%s\":[", name);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_c(&f->text, ",\n");
        put(f);
    }
    buf_append_c(&f->text, "]");
}

static void make_text(struct fixture *f)
{
    buf_clear(&f->text);
    buf_append_c(&f->text, "{\"groups\":{");
    for (uint32_t g = 0; g < GROUPS; g++) {
        buf_printf(&f->text, "%s\"group:g%u\":[", g > 0 ? "," : "", g);
        for (uint32_t u = below(f, 3), n = 0; u < USERS; u += 1 + below(f, 3), n++)
            buf_printf(&f->text, "%s\"u%u@%s\"", n > 0 ? "," : "", u, u % 2 == 0 ? "a.com" : "b.org");
        buf_append_c(&f->text, "]");
    }
    buf_append_c(&f->text,
                 "},\"tagOwners\":{\"tag:t0\":[],\"tag:t1\":[],\"tag:t2\":[],\"tag:t3\":[]},"
                 "\"hosts\":{\"host\":\"100.64.0.6\",\"net\":\"10.1.0.0/16\"},"
                 "\"ipsets\":{\"ipset:s\":[\"add 100.64.0.2-100.64.0.12\",\"remove 100.64.0.5\",\"add 10.2.0.0/15\","
                 "\"add fd7a:115c:a1e0::8\"]},"
                 "\"postures\":{\"posture:p0\":[\"custom:x > 3\"],\"posture:p1\":[\"custom:x IN [1, 2, 5]\"]},"
                 "\"nodeAttrs\":[{\"target\":[\"tag:t0\",\"u1@b.org\",\"100.64.0.4\"],\"attr\":[\"a\"]},"
                 "{\"target\":[\"*\"],\"attr\":[\"b\"]}]");
    put_list(f, "grants", 5, put_grant);
    put_list(f, "acls", 5, put_acl);
    put_list(f, "ssh", 3, put_ssh);
    buf_append_c(&f->text, "}");
}

/* --- random nodes --- */

static void make_users(struct fixture *f)
{
    static const struct str names[] = {STR("u0"), STR("u1"), STR("u2"), STR("u3"), STR("u4"), STR("u5")};
    static const struct str emails[] = {STR("u0@a.com"), STR("u1@b.org"), STR("u2@a.com"),
                                        STR("u3@b.org"), STR("u4@a.com"), STR("u5@b.org")};
    for (uint32_t i = 0; i < USERS; i++) {
        f->user[i] = (struct engine_user){i + 1, names[i], emails[i], STR_EMPTY, POLICY_MEMBER};
        f->user[i].role = i == 0 ? POLICY_OWNER : i == 1 ? POLICY_ADMIN : POLICY_MEMBER;
    }
}

static void add_route(struct engine_facts *n, struct engine_route *to, const char *text, bool is_primary)
{
    struct str ip, bits;
    uint64_t v = 0;
    str_cut(str_c(text), '/', &ip, &bits);
    assert_int_equal(str_to_u64(bits, &v), RC_OK);
    assert_int_equal(addr_parse_ip(ip, &to->addr), RC_OK);
    to->bits = (uint8_t)v;
    to->is_primary = is_primary;
    n->route_n++;
}

static bool is_held(const struct fixture *f, uint32_t except, const struct engine_route *route)
{
    for (uint32_t i = 0; i < IDS; i++) {
        for (size_t k = 0; i != except && f->node[i].id != 0 && k < f->node[i].route_n; k++) {
            const struct engine_route *r = &f->route[i][k];
            if (addr_eq(&r->addr, &route->addr) && r->bits == route->bits && r->is_primary)
                return true;
        }
    }
    return false;
}

static void make_routes(struct fixture *f, uint32_t slot, struct engine_facts *n)
{
    n->routes = f->route[slot];
    if (below(f, 3) == 0)
        add_route(n, &f->route[slot][0], PICK(f, route_names), false);
    if (n->route_n > 0)
        f->route[slot][0].is_primary = !is_held(f, slot, &f->route[slot][0]);
    if (below(f, 5) == 0)
        add_route(n, &f->route[slot][n->route_n], "0.0.0.0/0", false);
    if (below(f, 5) == 0)
        add_route(n, &f->route[slot][n->route_n], "::/0", false);
}

/* Some have addresses from outside of the tailnet's ranges: from before these were changed. */
static void make_node(struct fixture *f, uint32_t slot)
{
    static const char *const fours[] = {"100.64.0", "100.64.0", "100.64.0", "100.115.92", "172.20.0"};
    static const char *const sixes[] = {"fd7a:115c:a1e0", "fd7a:115c:a1e0", "fd00:9"};
    char text[48];
    struct engine_facts n = {.id = slot + 1, .user = 1 + below(f, USERS), .is_online = below(f, 4) != 0};
    n.created_ms = below(f, 5);
    n.tags = f->tag[slot];
    for (uint32_t i = 0; i < 2 && below(f, 3) == 0; i++)
        f->tag[slot][n.tag_n++] = str_c(tag_names[(slot + i) % TAGS]);
    snprintf(text, sizeof(text), "%s.%u", PICK(f, fours), slot + 1);
    if (below(f, 8) != 0)
        n.v4 = test_addr(text);
    snprintf(text, sizeof(text), "%s::%x", PICK(f, sixes), slot + 1);
    if (below(f, 8) != 0 || n.v4.family == 0)
        n.v6 = test_addr(text);
    f->attr[slot][0] = (struct policy_attr){STR("custom:x"), POLICY_ATTR_NUMBER, STR_EMPTY, (double)below(f, 7), false};
    n.attrs = f->attr[slot];
    n.attr_n = below(f, 3) != 0;
    f->node[slot].id = 0;
    make_routes(f, slot, &n);
    f->node[slot] = n;
    engine_put_node(f->p, &n);
}

static void random_event(struct fixture *f)
{
    uint32_t slot = below(f, IDS);
    if (f->node[slot].id != 0 && below(f, 3) == 0) {
        engine_remove_node(f->p, f->node[slot].id);
        f->node[slot].id = 0;
    } else {
        make_node(f, slot);
    }
}

/* --- the twin: who is what --- */

static bool twin_is_user(const struct fixture *f, const struct engine_facts *n, struct str text)
{
    const struct engine_user *u = &f->user[n->user - 1];
    struct str bare = str_ends(text, STR("@")) ? str_n(text.p, text.len - 1) : text;
    return str_eq(u->email, bare) || str_eq(u->name, bare);
}

static bool twin_is(const struct fixture *f, const struct engine_facts *n, const struct selector *s)
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

static bool twin_fits(const struct fixture *f, const struct engine_facts *n, posture_set_id posture)
{
    /* posture:p0 is custom:x > 3; p1 is one of 1, 2, 5. */
    double x = n->attr_n > 0 ? n->attrs[0].number : -1;
    if (posture == 0)
        return true;
    const struct posture *p = &f->doc->posture[f->doc->posture_set[posture].any[0]];
    return str_eq(p->name, STR("posture:p0")) ? x > 3 : x == 1 || x == 2 || x == 5;
}

static struct range twin_range(const struct engine_facts *n, int family)
{
    return range_of_addr(family == 4 ? &n->v4 : &n->v6);
}

static struct range twin_route(const struct engine_facts *n, size_t i)
{
    return range_of_prefix(&n->routes[i].addr, n->routes[i].bits);
}

static bool twin_routes_meet(const struct engine_facts *n, const struct range *r)
{
    for (size_t i = 0; i < n->route_n; i++) {
        struct range route = twin_route(n, i);
        if (n->routes[i].bits > 0 && range_meets(&route, r))
            return true;
    }
    return false;
}

static bool twin_is_exit(const struct engine_facts *n)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (n->routes[i].bits == 0)
            return true;
    }
    return false;
}

static bool twin_in_internet(const struct range *r)
{
    for (size_t i = 0; i < range_internet_n; i++) {
        if (range_holds(&range_internet[i], r))
            return true;
    }
    return false;
}

#define NODE_EACH(it, f)                                                                                               \
    for (const struct engine_facts *it = (f)->node; it < (f)->node + IDS; it++)                                        \
        if (it->id != 0)

/* --- the twin: sources. src: docs/protocol/policy.md 4.1, 7.3 --- */

static void twin_add_node(struct range_set *out, const struct engine_facts *n)
{
    range_set_add(out, twin_range(n, 4));
    range_set_add(out, twin_range(n, 6));
}

static void twin_add_star(const struct fixture *f, posture_set_id posture, struct range_set *out)
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
        /* Wherever their addresses are from. */
        if (posture == 0 || twin_fits(f, n, posture))
            twin_add_node(out, n);
        for (size_t i = 0; i < n->route_n; i++) {
            if (n->routes[i].bits > 0)
                range_set_add(out, twin_route(n, i));
        }
    }
}

static void twin_add_source(const struct fixture *f, const struct selector *s, posture_set_id posture,
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

static void twin_sources(const struct fixture *f, const struct rule *rule, struct range_set *out)
{
    for (size_t i = 0; i < rule->src.n; i++)
        twin_add_source(f, &f->doc->sel[rule->src.v[i]], rule->posture, out);
    range_set_join(out);
}

/* Whether the node is a source by itself: what autogroup:self asks. */
static bool twin_is_source(const struct fixture *f, const struct rule *rule, const struct engine_facts *n)
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

struct twin_filter {
    const struct fixture *f;
    const struct engine_facts *n;
    struct filter_set set;
    struct buf what;
};

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

/* The capability at what of `s` is the node's. */
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
                     struct str value, bool backwards)
{
    size_t n = backwards ? rule->src.n : rule->dst_n;
    for (size_t i = 0; i < n; i++) {
        const struct selector *s = &t->f->doc->sel[backwards ? rule->src.v[i] : rule->dst[i].sel];
        if (s->kind != SEL_SELF)
            twin_cap_dst(t, s, from, name, value, !backwards, !backwards || twin_fits(t->f, t->n, rule->posture));
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

static bool twin_has_via_tag(const struct engine_facts *n, const struct policy_doc *doc, const struct rule *rule)
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

static void twin_filter_of(const struct fixture *f, const struct engine_facts *n, struct twin_filter *t)
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

static void twin_filter_fini(struct twin_filter *t)
{
    filter_set_fini(&t->set);
    buf_fini(&t->what);
}

static bool same_filter(struct fixture *f, const struct engine_facts *n)
{
    struct twin_filter t;
    struct filter_set ours;
    struct buf text = {0};
    struct arena a = {0};
    const struct json *json;
    engine_filter(f->p, n->id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &json, NULL), RC_OK);
    filter_set_init(&ours);
    filter_set_add_json(&ours, json);
    twin_filter_of(f, n, &t);
    const struct filter_allowed *more = filter_set_differs(&t.set, &ours);
    const struct filter_allowed *less = filter_set_differs(&ours, &t.set);
    if (more != NULL || less != NULL)
        fprintf(stderr, "node %u: twin has %.*s, ours has %.*s\n%.*s\n", (unsigned)n->id,
                more != NULL ? (int)more->what.len : 0, more != NULL ? more->what.p : "",
                less != NULL ? (int)less->what.len : 0, less != NULL ? less->what.p : "", STR_ARG(buf_str(&text)));
    filter_set_fini(&ours);
    twin_filter_fini(&t);
    buf_fini(&text);
    arena_fini(&a);
    return more == NULL && less == NULL;
}

/* --- the twin: peers. src: docs/protocol/policy.md 6.1 --- */

/* Whether a rule of the filter has a source with an address of `a`, or over a route of it. */
static bool twin_reaches(const struct twin_filter *t, const struct engine_facts *a)
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

static bool twin_source_of(const struct fixture *f, const struct rule *rule, const struct engine_facts *a)
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

/* A destination over the route; for an exit route the internet. */
static bool twin_over(const struct fixture *f, const struct rule *rule, const struct engine_facts *b, size_t route,
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

static bool twin_steers(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b)
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

static bool same_peers(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b)
{
    struct twin_filter of_a, of_b;
    twin_filter_of(f, a, &of_a);
    twin_filter_of(f, b, &of_b);
    bool want = twin_reaches(&of_b, a) || twin_reaches(&of_a, b) || twin_steers(f, a, b) || twin_steers(f, b, a);
    twin_filter_fini(&of_a);
    twin_filter_fini(&of_b);
    if (engine_sees(f->p, a->id, b->id) != want)
        fprintf(stderr, "%u and %u should %ssee each other\n", (unsigned)a->id, (unsigned)b->id, want ? "" : "not ");
    return engine_sees(f->p, a->id, b->id) == want && engine_sees(f->p, b->id, a->id) == want;
}

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

/* Carries a tag of a via grant that has `a` as source and reaches over the route. */
static bool twin_is_via(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b,
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

static bool twin_has_plain(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b,
                           size_t route)
{
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        const struct rule *rule = &f->doc->rule[i];
        if (rule->via.n == 0 && twin_over(f, rule, b, route, true) && twin_source_of(f, rule, a))
            return true;
    }
    return false;
}

static bool twin_serves(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b,
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

/* F(B) has a destination over the route in a rule with a source matching A. */
static bool twin_may_send(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b,
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

/* F(A) has a source over the route. */
static bool twin_may_answer(const struct fixture *f, const struct engine_facts *a, const struct range *r)
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

static bool twin_shows(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b,
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

static bool same_routes(const struct fixture *f, const struct engine_facts *a, const struct engine_facts *b)
{
    uint64_t routes = 0;
    engine_routes(f->p, a->id, b->id, &routes, b->route_n);
    for (size_t i = 0; i < b->route_n; i++) {
        if ((routes >> i & 1) != twin_shows(f, a, b, i)) {
            fprintf(stderr, "route %zu of %u for %u should %sbe there\n", i, (unsigned)b->id, (unsigned)a->id,
                    (routes >> i & 1) != 0 ? "not " : "");
            return false;
        }
    }
    return true;
}

/* --- the twin: SSH. src: docs/protocol/policy.md 8.2, 8.3 --- */

enum answer { ANSWER_NONE, ANSWER_CHECK, ANSWER_ACCEPT };

static bool twin_is_any(const struct fixture *f, const struct engine_facts *n, const struct sel_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (twin_is(f, n, &f->doc->sel[list->v[i]]))
            return true;
    }
    return false;
}

/* Whether the rule stands in `n`'s policy with `src` among the principals. */
static bool twin_ssh_applies(const struct fixture *f, const struct ssh_rule *rule, const struct engine_facts *n,
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

static bool twin_ssh_maps(const struct fixture *f, const struct ssh_rule *rule, const struct engine_facts *src,
                          const char *login)
{
    const struct engine_user *u = &f->user[src->user - 1];
    for (size_t i = 0; i < rule->login_n; i++) {
        if (str_eq_c(rule->login[i], login))
            return true;
    }
    if (rule->has_nonroot && strcmp(login, "root") != 0)
        return true;
    /* Every domain that is asked for is a.com. */
    return rule->local_domain_n > 0 && src->tag_n == 0 && str_ends(u->email, STR("@a.com")) && str_eq_c(u->name, login);
}

static enum answer twin_ssh(const struct fixture *f, const struct engine_facts *n, const struct engine_facts *src,
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

static bool has_principal(const struct json *rule, const struct addr *a)
{
    char text[ADDR_TEXT_CAP];
    addr_format(a, false, text);
    JSON_EACH (p, json_get_exact(rule, "principals")) {
        struct str ip = STR_EMPTY;
        if (a->family != 0 && json_str(json_get_exact(p, "nodeIP"), &ip) && str_eq_c(ip, text))
            return true;
    }
    return false;
}

/* What a client does with the rules. */
static enum answer client_ssh(const struct json *rules, const struct engine_facts *src, const char *login)
{
    JSON_EACH (rule, rules) {
        const struct json *users = json_get_exact(rule, "sshUsers"), *to = json_get_exact(users, login);
        struct str name = STR_EMPTY;
        if (!has_principal(rule, &src->v4) && !has_principal(rule, &src->v6))
            continue;
        if (to == NULL && strcmp(login, "root") != 0)
            to = json_get_exact(users, "*");
        if (json_str(to, &name) && name.len > 0)
            return json_get_exact(json_get_exact(rule, "action"), "accept") != NULL ? ANSWER_ACCEPT : ANSWER_CHECK;
    }
    return ANSWER_NONE;
}

static bool same_ssh(const struct fixture *f, const struct engine_facts *n)
{
    static const char *const logins[] = {"root", "deploy", "other", "u0", "u1", "u2"};
    struct buf text = {0};
    struct arena a = {0};
    const struct json *rules;
    bool same = true;
    engine_ssh(f->p, n->id, "https://s", &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &rules, NULL), RC_OK);
    NODE_EACH(src, f)
    {
        for (size_t i = 0; i < ARRAY_LEN(logins); i++)
            same = same && client_ssh(rules, src, logins[i]) == twin_ssh(f, n, src, logins[i]);
    }
    if (!same)
        fprintf(stderr, "ssh of %u: %s\n", (unsigned)n->id, buf_cstr(&text));
    arena_fini(&a);
    buf_fini(&text);
    return same;
}

/* --- packets --- */

static bool filter_allows(struct filter_set *set, unsigned proto, const struct range *from, const struct range *to,
                          unsigned port)
{
    const struct filter_allowed *a;
    size_t pos = 0;
    while ((a = map_next(&set->by_what, &pos)) != NULL) {
        unsigned p, first, last;
        int family;
        unsigned long long words[4];
        bool fits = false;
        if (sscanf(a->what.p, "ip %u * %u-%u", &p, &first, &last) == 3)
            fits = true;
        else if (sscanf(a->what.p, "ip %u %d %llx.%llx-%llx.%llx %u-%u", &p, &family, &words[0], &words[1], &words[2],
                        &words[3], &first, &last) == 8)
            fits = family == to->family && ((ip_number)words[0] << 64 | words[1]) <= to->lo &&
                   to->lo <= ((ip_number)words[2] << 64 | words[3]);
        fits = fits && (p == proto || (p == 0 && (proto == 1 || proto == 6 || proto == 17 || proto == 58)));
        for (size_t i = 0; fits && first <= port && port <= last && i < a->n; i++) {
            if (a->v[i].family == from->family && a->v[i].lo <= from->lo && from->lo <= a->v[i].hi)
                return true;
        }
    }
    return false;
}

/* What an admin is told. */
static bool why_allows(struct fixture *f, const struct engine_facts *from, const struct engine_facts *to, int family,
                       int proto, int port)
{
    char src[ADDR_TEXT_CAP], dst[ADDR_TEXT_CAP];
    struct reach_reason reason = {0};
    size_t n;
    addr_format(family == 4 ? &from->v4 : &from->v6, false, src);
    addr_format(family == 4 ? &to->v4 : &to->v6, false, dst);
    assert_int_equal(reach_why(f->p, str_c(src), str_c(dst), proto, port, &reason, 1, &n), RC_OK);
    return n > 0 && reason.is_allowed;
}

static bool same_packet(struct fixture *f, const struct engine_facts *from, const struct engine_facts *to)
{
    static const unsigned some_ports[] = {0, 22, 80, 443, 1500, 65535}, some_protos[] = {6, 17, 1, 47, 58, 99};
    unsigned port = PICK(f, some_ports), proto = PICK(f, some_protos);
    int family = below(f, 2) == 0 ? 4 : 6;
    struct probe src = {twin_range(from, family), engine_node_find(&f->p->nodes, from->id)};
    struct probe dst = {twin_range(to, family), engine_node_find(&f->p->nodes, to->id)};
    struct buf text = {0};
    struct arena a = {0};
    struct filter_set set;
    const struct json *json;
    bool want = false;
    if (src.at.family == 0 || dst.at.family == 0)
        return true;
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        struct rule_match fit = reach_match_rule(f->p, &f->doc->rule[i], &src, &dst, (int)proto, (int)port, NULL);
        want = want || (f->doc->rule[i].via.n == 0 && fit.source && fit.destination && fit.port);
    }
    engine_filter(f->p, to->id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &json, NULL), RC_OK);
    filter_set_init(&set);
    filter_set_add_json(&set, json);
    bool got = filter_allows(&set, proto, &src.at, &dst.at, port);
    assert_int_equal(why_allows(f, from, to, family, (int)proto, (int)port), got);
    if (got != want)
        fprintf(stderr, "%u -> %u proto %u port %u: filter %d, rules %d\n", (unsigned)from->id, (unsigned)to->id, proto,
                port, got, want);
    filter_set_fini(&set);
    buf_fini(&text);
    arena_fini(&a);
    return got == want;
}

/* --- from scratch --- */

static void append_all(struct engine *p, uint64_t id, struct buf *out)
{
    engine_filter(p, id, out);
    engine_ssh(p, id, "https://s", out);
    engine_self_caps(p, id, out);
}

static bool same_from_scratch(struct fixture *f)
{
    struct policy_doc *doc = policy_doc_ref((struct policy_doc *)f->doc);
    struct engine *fresh = engine_create(doc, f->user, USERS, NULL);
    bool same = true;
    NODE_EACH(n, f)
    engine_put_node(fresh, n);
    NODE_EACH(n, f)
    {
        struct buf a = {0}, b = {0};
        append_all(f->p, n->id, &a);
        append_all(fresh, n->id, &b);
        same = same && str_eq(buf_str(&a), buf_str(&b)) &&
               engine_fingerprint(f->p, n->id) == engine_fingerprint(fresh, n->id);
        if (!str_eq(buf_str(&a), buf_str(&b)))
            fprintf(stderr, "node %u: grown %s\nfresh %s\n", (unsigned)n->id, buf_cstr(&a), buf_cstr(&b));
        buf_fini(&a);
        buf_fini(&b);
        NODE_EACH(m, f)
        {
            uint64_t x = 0, y = 0;
            engine_routes(f->p, n->id, m->id, &x, m->route_n);
            engine_routes(fresh, n->id, m->id, &y, m->route_n);
            same = same && x == y && engine_sees(f->p, n->id, m->id) == engine_sees(fresh, n->id, m->id);
        }
        same = same && engine_peer_count(f->p, n->id) == engine_peer_count(fresh, n->id);
    }
    same = same && engine_class_count(f->p) == engine_class_count(fresh) &&
           engine_node_count(f->p) == engine_node_count(fresh);
    engine_destroy(&fresh);
    policy_doc_unref(&doc);
    return same;
}

/* --- views --- */

/* What `engine_sees` says of all pairs, as bits. */
static void all_pairs(const struct fixture *f, bool out[IDS][IDS])
{
    for (uint32_t a = 0; a < IDS; a++) {
        for (uint32_t b = 0; b < IDS; b++)
            out[a][b] = engine_sees(f->p, a + 1, b + 1);
    }
}

/* Whom a viewer in the membership of `id` sees, as the view has it in one fragment. */
static bool marks_as(const struct engine_view *v, uint64_t id, const bool want[IDS])
{
    struct viewer_key membership = engine_view_key(v, id);
    uint64_t set[IDS / 64 + 2] = {0}, none[1] = {0};
    engine_view_mark(v, membership, set, ARRAY_LEN(set));
    engine_view_mark(v, membership, none, 0);
    if (membership.class_index != ENGINE_NO_CLASS &&
        engine_view_keys_see(v, membership, membership) != bit_get(set, id))
        return false;
    for (uint64_t b = 1; b < ARRAY_LEN(set) * 64; b++) {
        if (b != id && bit_get(set, b) != (b <= IDS && want[b - 1]))
            return false;
    }
    return !bit_get(set, 0) && none[0] == 0;
}

static bool view_says(const struct engine_view *v, bool want[IDS][IDS])
{
    for (uint32_t a = 0; a < IDS; a++) {
        if (!marks_as(v, a + 1, want[a]))
            return false;
        for (uint32_t b = 0; b < IDS; b++) {
            if (engine_view_sees(v, a + 1, b + 1) != want[a][b])
                return false;
            struct viewer_key x = engine_view_key(v, a + 1), y = engine_view_key(v, b + 1);
            if (a != b && engine_view_keys_see(v, x, y) != want[a][b])
                return false;
        }
    }
    return !engine_view_sees(v, 0, 1) && engine_view_class(v, 0) == -1 && engine_view_class(v, IDS + 1) == -1;
}

/* A view says what was so when it was made, whatever happens. */
static bool same_views(struct fixture *f)
{
    bool before[IDS][IDS], after[IDS][IDS];
    struct engine_view *old = engine_view_get(f->p), *again = engine_view_get(f->p);
    all_pairs(f, before);
    bool same = old == again && view_says(old, before);
    for (int i = 0; i < 5; i++)
        random_event(f);
    struct engine_view *new = engine_view_get(f->p);
    all_pairs(f, after);
    same = same && view_says(old, before) && view_says(new, after);
    engine_view_unref(&old);
    engine_view_unref(&again);
    engine_view_unref(&new);
    return same;
}

/* --- versions --- */

static void read_filter(struct fixture *f, uint64_t id, struct filter_set *out)
{
    struct buf text = {0};
    struct arena a = {0};
    const struct json *json;
    engine_filter(f->p, id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &json, NULL), RC_OK);
    filter_set_init(out);
    filter_set_add_json(out, json);
    buf_fini(&text);
    arena_fini(&a);
}

/* Whose version is above the clock of before an event is named; and nobody else. */
static bool names_who_moved(const struct fixture *f, uint64_t since)
{
    uint64_t set[IDS / 64 + 1] = {0};
    engine_mark_moved(f->p, since, set, ARRAY_LEN(set));
    for (uint32_t i = 0; i < IDS; i++) {
        if (engine_version(f->p, i + 1) > since && !bit_get(set, i + 1))
            return false;
        if (engine_version(f->p, i + 1) <= since && bit_get(set, i + 1))
            return false;
    }
    memset(set, 0, sizeof(set));
    engine_mark_moved(f->p, engine_clock(f->p), set, ARRAY_LEN(set));
    for (size_t i = 0; i < ARRAY_LEN(set); i++) {
        if (set[i] != 0)
            return false;
    }
    return true;
}

/* A node whose version stays is told the same after an event as before. */
static bool same_while_version_stays(struct fixture *f)
{
    struct filter_set before[IDS], after;
    struct buf ssh[IDS] = {0}, ssh_after = {0};
    uint64_t version[IDS];
    bool same = true;
    for (uint32_t i = 0; i < IDS; i++) {
        version[i] = engine_version(f->p, i + 1);
        read_filter(f, i + 1, &before[i]);
        engine_ssh(f->p, i + 1, "", &ssh[i]);
    }
    uint64_t since = engine_clock(f->p);
    random_event(f);
    same = names_who_moved(f, since);
    for (uint32_t i = 0; i < IDS; i++) {
        if (version[i] == engine_version(f->p, i + 1)) {
            read_filter(f, i + 1, &after);
            buf_clear(&ssh_after);
            engine_ssh(f->p, i + 1, "", &ssh_after);
            same = same && filter_sets_equal(&before[i], &after) && str_eq(buf_str(&ssh[i]), buf_str(&ssh_after));
            filter_set_fini(&after);
        }
        filter_set_fini(&before[i]);
        buf_fini(&ssh[i]);
    }
    buf_fini(&ssh_after);
    return same;
}

/* --- rows: what classes are shown of a router's routes --- */

enum { CLASSES = 4 * IDS };

struct rows {
    uint64_t version[IDS];
    uint64_t row[IDS][CLASSES]; /* by router and class; 0 when there is nobody to be shown anything */
    bool has[IDS][CLASSES];
    uint64_t made[CLASSES]; /* 0: no such class */
};

static void read_rows(const struct fixture *f, struct rows *out)
{
    struct engine_view *view = engine_view_get(f->p);
    assert_true(engine_view_class_cap(view) <= CLASSES);
    memset(out, 0, sizeof(*out));
    for (size_t c = 0; c < CLASSES; c++)
        (void)engine_view_class_made(view, c, &out->made[c]);
    for (uint32_t i = 0; i < IDS; i++) {
        out->version[i] = engine_routes_version(f->p, i + 1);
        for (size_t c = 0; c < CLASSES; c++) {
            uint64_t member = out->made[c] != 0 ? engine_class_member(f->p, c, i + 1) : 0;
            out->has[i][c] = member != 0;
            if (member != 0)
                engine_routes(f->p, member, i + 1, &out->row[i][c], 3);
        }
    }
    engine_view_unref(&view);
}

/* A router whose version stays shows the classes that stay what it showed them. */
static bool same_rows_while_version_stays(struct fixture *f)
{
    static struct rows before, after;
    bool same = true;
    read_rows(f, &before);
    random_event(f);
    read_rows(f, &after);
    for (uint32_t i = 0; i < IDS; i++) {
        for (size_t c = 0; c < CLASSES && before.version[i] == after.version[i]; c++) {
            bool is_kept = before.made[c] != 0 && before.made[c] == after.made[c] && after.has[i][c];
            same = same && (!is_kept || before.row[i][c] == after.row[i][c]);
        }
    }
    return same;
}

/* --- running --- */

static const struct engine_facts *some_node(struct fixture *f)
{
    for (uint32_t i = 0; i < 100; i++) {
        const struct engine_facts *n = &f->node[below(f, IDS)];
        if (n->id != 0)
            return n;
    }
    return NULL;
}

static bool same_as_twin(struct fixture *f)
{
    const struct engine_facts *a = some_node(f), *b = some_node(f);
    if (a == NULL || b == NULL)
        return true;
    return same_filter(f, a) && same_ssh(f, a) && (a == b || (same_peers(f, a, b) && same_routes(f, a, b)));
}

static void print_state(struct fixture *f)
{
    fprintf(stderr, "%s\n", buf_cstr(&f->text));
    NODE_EACH(n, f)
    {
        fprintf(stderr, "node %u user %u online %d created %d tags", (unsigned)n->id, (unsigned)n->user, n->is_online,
                (int)n->created_ms);
        for (size_t i = 0; i < n->tag_n; i++)
            fprintf(stderr, " %s", n->tags[i].p);
        fprintf(stderr, " v%s%s x %d", n->v4.family != 0 ? "4" : "", n->v6.family != 0 ? "6" : "",
                n->attr_n > 0 ? (int)n->attrs[0].number : -1);
        for (size_t i = 0; i < n->route_n; i++) {
            char text[RANGE_TEXT_CAP];
            struct range r = twin_route(n, i);
            range_format_prefix(&r, text);
            fprintf(stderr, " %s%s", text, n->routes[i].is_primary ? "*" : "");
        }
        fprintf(stderr, "\n");
    }
}

static void run_round(struct fixture *f)
{
    make_text(f);
    struct policy_doc *doc = test_parse(buf_cstr(&f->text));
    f->doc = doc;
    f->p = engine_create(doc, f->user, USERS, NULL);
    memset(f->node, 0, sizeof(f->node));
    for (uint32_t i = 0; i < IDS / 2; i++)
        make_node(f, below(f, IDS));
    bool same = true;
    for (uint32_t i = 0; same && i < EVENTS; i++) {
        random_event(f);
        same = same_as_twin(f);
    }
    for (uint32_t i = 0; same && i < PACKETS; i++) {
        const struct engine_facts *from = some_node(f), *to = some_node(f);
        same = from == NULL || to == NULL || same_packet(f, from, to);
    }
    for (uint32_t i = 0; same && i < 3; i++)
        same = same_while_version_stays(f) && same_rows_while_version_stays(f);
    same = same && same_views(f) && same_from_scratch(f);
    if (!same)
        print_state(f);
    assert_true(same);
    engine_destroy(&f->p);
    policy_doc_unref(&doc);
}

static void test_engine_equals_twin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    (void)state;
    f->random.state = 20240607;
    make_users(f);
    for (int i = 0; i < ROUNDS; i++)
        run_round(f);
    buf_fini(&f->text);
    mem_free(f);
}

/* --- diff --- */

struct reach_row {
    bool is_gained;
    struct filter_span *src, *dst; /* heap */
    size_t src_n, dst_n;
    unsigned proto, first, last;
};

struct reach_rows {
    struct reach_row *v; /* heap */
    size_t n, cap;
};

static struct filter_span *spans_of(struct str list, size_t *n_out)
{
    struct filter_span *v = NULL;
    size_t cap = 0;
    *n_out = 0;
    while (list.len > 0) {
        struct str one, rest;
        str_cut(list, ',', &one, &rest);
        VEC_PUSH(v, *n_out, cap, filter_span_of(one));
        list = str_trim(rest);
    }
    return v;
}

static void take_reach(void *ctx, const struct reach_difference *reach)
{
    struct reach_rows *rows = ctx;
    struct reach_row row = {.is_gained = reach->is_gained, .proto = reach->proto};
    row.first = reach->first_port;
    row.last = reach->last_port;
    row.src = spans_of(reach->source, &row.src_n);
    row.dst = spans_of(reach->destination, &row.dst_n);
    assert_true(row.src_n > 0 && row.dst_n > 0 && row.first <= row.last && row.proto > 0);
    VEC_PUSH(rows->v, rows->n, rows->cap, row);
}

static bool spans_hold(const struct filter_span *v, size_t n, const struct range *at)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].family == at->family && v[i].lo <= at->lo && at->lo <= v[i].hi)
            return true;
    }
    return false;
}

static bool rows_hold(const struct reach_rows *rows, bool is_gained, const struct probe *src, const struct probe *dst,
                      unsigned proto, unsigned port)
{
    for (size_t i = 0; i < rows->n; i++) {
        const struct reach_row *r = &rows->v[i];
        if (r->is_gained == is_gained && r->proto == proto && r->first <= port && port <= r->last &&
            spans_hold(r->src, r->src_n, &src->at) && spans_hold(r->dst, r->dst_n, &dst->at))
            return true;
    }
    return false;
}

static bool reaches(const struct engine *p, const struct probe *src, const struct probe *dst, unsigned proto,
                    unsigned port)
{
    for (size_t i = 0; i < p->doc->rule_n; i++) {
        struct rule_match fit = reach_match_rule(p, &p->doc->rule[i], src, dst, (int)proto, (int)port, NULL);
        if (fit.source && fit.destination && fit.port)
            return true;
    }
    return false;
}

/* A node's address, or one that no node has. */
static struct probe random_spot(struct fixture *f, const struct engine *p, int family)
{
    static const char *const fours[] = {"10.1.2.3",    "10.2.0.1",     "8.8.8.8", "8.9.0.0",
                                        "192.168.0.1", "100.64.0.200", "0.0.0.0", "255.255.255.255"};
    static const char *const sixes[] = {"fd00:1::7",   "fd00:1::8",
                                        "2001:db8::1", "fd7a:115c:a1e0::ffff",
                                        "::",          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    const struct engine_facts *n = below(f, 3) != 0 ? some_node(f) : NULL;
    struct addr a = test_addr(family == 4 ? PICK(f, fours) : PICK(f, sixes));
    if (n != NULL && twin_range(n, family).family != 0)
        return (struct probe){twin_range(n, family), engine_node_find(&p->nodes, n->id)};
    return (struct probe){range_of_addr(&a), NULL};
}

static void check_diff_packet(struct fixture *f, const struct engine *before, const struct engine *after,
                              const struct reach_rows *rows)
{
    static const unsigned some_ports[] = {0, 1, 22, 80, 81, 443, 1000, 2000, 2001, 65535},
                          some_protos[] = {6, 17, 1, 47, 58, 99};
    unsigned port = PICK(f, some_ports), proto = PICK(f, some_protos);
    int family = below(f, 2) == 0 ? 4 : 6;
    struct probe src = random_spot(f, before, family), dst = random_spot(f, before, family);
    struct probe src_after = {src.at, src.node != NULL ? engine_node_find(&after->nodes, src.node->id) : NULL};
    struct probe dst_after = {dst.at, dst.node != NULL ? engine_node_find(&after->nodes, dst.node->id) : NULL};
    bool was = reaches(before, &src, &dst, proto, port);
    bool is = reaches(after, &src_after, &dst_after, proto, port);
    assert_int_equal(rows_hold(rows, true, &src, &dst, proto, port), is && !was);
    assert_int_equal(rows_hold(rows, false, &src, &dst, proto, port), was && !is);
}

/* Policies with the same number say the same. */
static void check_fingerprints(const struct fixture *f, struct engine *before, struct engine *after)
{
    NODE_EACH(n, f)
    {
        struct buf a = {0}, b = {0};
        append_all(before, n->id, &a);
        append_all(after, n->id, &b);
        if (engine_fingerprint(before, n->id) == engine_fingerprint(after, n->id))
            assert_true(str_eq(buf_str(&a), buf_str(&b)));
        else
            assert_false(str_eq(buf_str(&a), buf_str(&b)));
        buf_fini(&a);
        buf_fini(&b);
    }
}

static void test_diff_turns_one_into_the_other(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    (void)state;
    f->random.state = 424242;
    make_users(f);
    for (int round = 0; round < DIFF_ROUNDS; round++) {
        struct engine *p[2];
        struct reach_rows rows = {0};
        for (int i = 0; i < 2; i++) {
            make_text(f);
            struct policy_doc *doc = test_parse(buf_cstr(&f->text));
            p[i] = engine_create(doc, f->user, USERS, NULL);
            policy_doc_unref(&doc);
        }
        f->p = p[0];
        memset(f->node, 0, sizeof(f->node));
        for (uint32_t i = 0; i < IDS / 2; i++)
            make_node(f, below(f, IDS));
        NODE_EACH(n, f)
        engine_put_node(p[1], n);
        check_fingerprints(f, p[0], p[1]);
        reach_diff(p[0], p[1], take_reach, &rows);
        for (uint32_t i = 0; i < DIFF_PACKETS; i++)
            check_diff_packet(f, p[0], p[1], &rows);
        for (size_t i = 0; i < rows.n; i++) {
            mem_free(rows.v[i].src);
            mem_free(rows.v[i].dst);
        }
        /* A policy does not differ from itself. */
        size_t n = rows.n;
        reach_diff(p[1], p[1], take_reach, &rows);
        assert_int_equal(rows.n, n);
        mem_free(rows.v);
        engine_destroy(&p[0]);
        engine_destroy(&p[1]);
    }
    buf_fini(&f->text);
    mem_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_engine_equals_twin),
                                       cmocka_unit_test(test_diff_turns_one_into_the_other)};
    return cmocka_run_group_tests_name("policy twin", tests, NULL, NULL);
}
