/* What every client should have, straight from the definitions (docs/protocol/policy.md 4-6, 8): rule by rule and pair
 * by pair, from the state's nodes and users and from the policy as data. Nothing of the compiled policy, of snapshots
 * or of netmap/ is used. To be fast enough for a hundred million pairs, it is first written down for each node alone of
 * which rules it is a source and of which a destination. */
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/time.h"
#include "base/mem.h"
#include "support/filter_set.h"

enum { WORDS = PLAN_RULES_MAX / 64, ROUTES_HERE = 8, TEXT_CAP = 128 };

/* Rules. */
struct bits {
    uint64_t w[WORDS];
};

struct served {
    struct prefix prefix;
    struct filter_span span;
    bool is_primary;
    struct bits over;     /* rules without via that have a destination over it */
    struct bits via_over; /* those with */
    struct bits from;     /* that have a source over it */
};

/* What who-sees-whom depends on: few bytes, of which a hundred million pairs are made. */
struct reach {
    struct bits source, destination;
    uint64_t owner; /* 0: it has tags, or there is no such node */
    bool is_self_source;
};

/* What the definitions ask of a node. */
struct fact {
    const struct node *n; /* null: no such node */
    const struct user *user;
    int named, mailed; /* which user of the plans its owner's names are those of; -1: none */
    struct filter_span v4, v6;
    uint64_t tags; /* bits of the plans' tags */
    bool has_tags, is_fit, is_exit, hides_v4;
    size_t route_n;
    struct served *routes; /* heap */
    struct reach *reach;
    struct bits via;  /* those whose tag it carries */
    struct look bare; /* as a peer, without addresses and routes */
    look_id looks[2]; /* without routes: with and without IPv4 */
};

struct facts {
    struct sim *s;
    const struct plan *plan; /* null: none */
    struct fact *v;          /* by id */
    struct reach *reach;     /* the same */
    size_t n;
    struct machine **machines; /* by id; that poll */
    struct fact **routers;
    size_t router_n;
    struct filter_set sources[PLAN_RULES_MAX]; /* the sources of each rule, under one name; made when asked for */
    bool has_sources[PLAN_RULES_MAX];
};

static bool meets(const struct bits *a, const struct bits *b)
{
    uint64_t any = 0;
    for (size_t i = 0; i < WORDS; i++)
        any |= a->w[i] & b->w[i];
    return any != 0;
}

static bool meets_both(const struct bits *a, const struct bits *b, const struct bits *c)
{
    uint64_t any = 0;
    for (size_t i = 0; i < WORDS; i++)
        any |= a->w[i] & b->w[i] & c->w[i];
    return any != 0;
}

static void put(struct bits *b, size_t i, bool is)
{
    b->w[i / 64] |= (uint64_t)is << (i % 64);
}

static bool get(const struct bits *b, size_t i)
{
    return (b->w[i / 64] >> (i % 64) & 1) != 0;
}

/* --- selectors --- */

static struct filter_span span_of(const struct prefix *p)
{
    filter_ip first = filter_ip_of(&p->ip), hosts = 0;
    for (unsigned i = p->bits; i < (p->ip.family == 4 ? 32u : 128u); i++)
        hosts = hosts << 1 | 1;
    return (struct filter_span){p->ip.family, first, first | hosts};
}

static struct filter_span span_of_addr(const struct addr *a)
{
    return (struct filter_span){a->family, filter_ip_of(a), filter_ip_of(a)};
}

static bool spans_meet(const struct filter_span *a, const struct filter_span *b)
{
    return a->family == b->family && a->family != 0 && a->lo <= b->hi && b->lo <= a->hi;
}

static uint64_t tags_of(const struct node *n)
{
    char name[16], quoted[20];
    uint64_t tags = 0;
    for (unsigned tag = 0; n->tags != NULL && tag < PLAN_TAGS_N; tag++) {
        plan_tag_name(tag, name);
        snprintf(quoted, sizeof(quoted), "\"%s\"", name);
        if (memmem(n->tags->data, n->tags->len, quoted, strlen(quoted)) != NULL)
            tags |= UINT64_C(1) << tag;
    }
    return tags;
}

static bool has_tag(const struct fact *f, unsigned tag)
{
    return (f->tags >> tag & 1) != 0;
}

/* Whose the name is; -1: nobody's. */
static int user_of_name(const char *name, void (*format)(unsigned user, char out[32]))
{
    static const char *const digits = "0123456789";
    char text[32];
    unsigned user = 0;
    for (const char *p = strpbrk(name, digits); p != NULL && *p >= '0' && *p <= '9'; p++)
        user = user * 10 + (unsigned)(*p - '0');
    format(user, text);
    return strcmp(text, name) == 0 ? (int)user : -1;
}

/* By what it is, not by its addresses. src: docs/protocol/policy.md 2.6 */
static bool is_in(const struct plan *p, const struct fact *f, const struct pick *s)
{
    bool is = false;
    if (s->kind == PICK_STAR || s->kind == PICK_DANGER)
        return true;
    if (s->kind == PICK_TAG)
        return has_tag(f, s->index);
    if (s->kind == PICK_TAGGED)
        return f->has_tags;
    if (f->has_tags || f->user == NULL)
        return false;
    switch (s->kind) {
    case PICK_USER: return f->named == (int)s->index;
    case PICK_EMAIL: return f->mailed == (int)s->index;
    case PICK_MEMBER: return true;
    case PICK_ADMIN: return f->user->role == USER_ADMIN || f->user->role == USER_OWNER;
    case PICK_GROUP:
        for (size_t i = 0; i < PLAN_GROUP_USERS; i++)
            is = is || f->named == (int)p->groups[s->index][i];
        return is;
    default: return false;
    }
}

static bool has_address(const struct fact *f, const struct pick *s)
{
    if (s->kind != PICK_ADDRS)
        return false;
    struct filter_span span = span_of(&s->prefix);
    return spans_meet(&span, &f->v4) || spans_meet(&span, &f->v6);
}

static bool is_over(const struct pick *s, const struct served *r)
{
    if (s->kind == PICK_STAR || s->kind == PICK_DANGER)
        return true;
    if (r->prefix.bits == 0)
        return s->kind == PICK_INTERNET;
    if (s->kind != PICK_ADDRS)
        return false;
    struct filter_span span = span_of(&s->prefix);
    return spans_meet(&span, &r->span);
}

static bool is_over_some(const struct pick *s, const struct fact *f)
{
    for (size_t i = 0; i < f->route_n; i++) {
        if (f->routes[i].prefix.bits != 0 && is_over(s, &f->routes[i]))
            return true;
    }
    return false;
}

/* --- a node and a rule. src: docs/protocol/policy.md 4, 5, 6.1 --- */

static bool is_source_itself(const struct plan *p, const struct fact *f, const struct plan_rule *r)
{
    bool is = false;
    for (size_t i = 0; i < r->src_n; i++)
        is = is || is_in(p, f, &r->src[i]) || has_address(f, &r->src[i]);
    return is && (!r->has_posture || f->is_fit);
}

static bool is_source(const struct plan *p, const struct fact *f, const struct plan_rule *r)
{
    bool is = is_source_itself(p, f, r);
    for (size_t i = 0; i < r->src_n; i++)
        is = is || is_over_some(&r->src[i], f);
    return is;
}

/* Whether its filter has something from the rule. */
static bool is_destination(const struct plan *p, const struct fact *f, const struct plan_rule *r)
{
    bool is = false;
    for (size_t i = 0; i < r->dst_n; i++) {
        const struct pick *s = &r->dst[i];
        if (s->kind == PICK_SELF)
            continue;
        if (r->via < 0)
            is = is || is_in(p, f, s) || has_address(f, s);
        if (r->via < 0 || s->kind == PICK_ADDRS)
            is = is || is_over_some(s, f);
        is = is || (s->kind == PICK_INTERNET && f->is_exit);
    }
    return is && (r->via < 0 || has_tag(f, (unsigned)r->via));
}

static bool has_self(const struct plan_rule *r)
{
    return r->dst[0].kind == PICK_SELF;
}

static bool any_over(const struct pick *v, size_t n, const struct served *r)
{
    bool is = false;
    for (size_t i = 0; i < n; i++)
        is = is || is_over(&v[i], r);
    return is;
}

static void judge_route(const struct plan *p, struct served *route)
{
    for (size_t i = 0; i < p->rule_n; i++) {
        const struct plan_rule *r = &p->rules[i];
        bool is = any_over(r->dst, r->dst_n, route);
        put(&route->over, i, is && r->via < 0);
        put(&route->via_over, i, is && r->via >= 0);
        put(&route->from, i, any_over(r->src, r->src_n, route));
    }
}

static void judge(const struct plan *p, struct fact *f)
{
    for (size_t i = 0; i < p->rule_n; i++) {
        const struct plan_rule *r = &p->rules[i];
        put(&f->reach->source, i, !has_self(r) && is_source(p, f, r));
        put(&f->reach->destination, i, is_destination(p, f, r));
        put(&f->via, i, r->via >= 0 && has_tag(f, (unsigned)r->via));
        if (has_self(r))
            f->reach->is_self_source = f->reach->is_self_source || is_source_itself(p, f, r);
    }
    for (size_t i = 0; i < f->route_n; i++)
        judge_route(p, &f->routes[i]);
    f->hides_v4 = p->hides_all_ipv4;
    for (size_t i = 0; i < p->attr_n; i++) {
        const struct plan_attr *a = &p->attrs[i];
        bool is_target = is_in(p, f, &a->target) || has_address(f, &a->target);
        f->hides_v4 = f->hides_v4 || (is_target && strcmp(a->name, "disable-ipv4") == 0);
    }
}

/* --- looks --- */

static text_id text_c(const char *text)
{
    return text_number(str_c(text));
}

static text_id text_u64(uint64_t v)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    return text_c(text);
}

static text_id text_time(int64_t ms)
{
    char text[TIME_TEXT_CAP];
    time_format(ms, text);
    return text_c(text);
}

static text_id text_raw(const struct rcbuf *b)
{
    return b != NULL ? text_number(str_n(b->data, b->len)) : 0;
}

static text_id text_tags(const struct rcbuf *tags)
{
    struct arena a = {0};
    const struct json *list;
    if (tags == NULL)
        return 0;
    assert_int_equal(json_parse(&a, str_n(tags->data, tags->len), NULL, &list, NULL), RC_OK);
    text_id id = look_value(LOOK_TAGS, list);
    arena_fini(&a);
    return id;
}

/* What stands in both views of a node but for addresses and routes. */
static struct look common_look(const struct node *n)
{
    struct look l = {0};
    char text[TEXT_CAP];
    l.f[LOOK_STABLE_ID] = text_c(n->stable_id);
    snprintf(text, sizeof(text), "%s.example.net.", n->name);
    l.f[LOOK_NAME] = text_c(text);
    l.f[LOOK_USER] = text_u64(n->tags != NULL ? TAGGED_DEVICES_USER : n->user);
    node_key_format(&n->key, text);
    l.f[LOOK_KEY] = text_c(text);
    l.f[LOOK_CREATED] = text_time(n->created_ms);
    l.f[LOOK_AUTHORIZED] = text_c("true");
    l.f[LOOK_TAGS] = text_tags(n->tags);
    if (n->expires_ms != NO_EXPIRY)
        l.f[LOOK_KEY_EXPIRY] = text_time(n->expires_ms);
    return l;
}

static text_id endpoints_of(const struct node *n)
{
    char texts[ENDPOINTS_MAX][ADDR_TEXT_CAP];
    struct str v[ENDPOINTS_MAX];
    for (unsigned i = 0; i < n->endpoints_n; i++) {
        addr_format(&n->endpoints[i], true, texts[i]);
        v[i] = str_c(texts[i]);
    }
    return look_set(v, n->endpoints_n);
}

static struct look bare_look(const struct node *n)
{
    struct look l = common_look(n);
    char text[TEXT_CAP];
    if (!key_is_zero(n->disco.b)) {
        disco_key_format(&n->disco, text);
        l.f[LOOK_DISCO] = text_c(text);
    }
    l.f[LOOK_ENDPOINTS] = endpoints_of(n);
    l.f[LOOK_HOME_DERP] = n->home_derp != 0 ? text_u64(n->home_derp) : 0;
    l.f[LOOK_HOSTINFO] = n->hostinfo_peers != NULL ? text_raw(n->hostinfo_peers) : text_c("{}"); /* never without */
    l.f[LOOK_CAP] = n->cap_version != 0 ? text_u64(n->cap_version) : 0;
    l.f[LOOK_ONLINE] = text_c(n->is_online ? "true" : "false");
    l.f[LOOK_LAST_SEEN] = n->is_online ? 0 : text_time(n->last_seen_ms);
    l.f[LOOK_EXPIRED] = n->is_expired ? text_c("true") : 0;
    return l;
}

/* A list of prefixes in the making. */
struct prefixes {
    char texts[ROUTES_HERE + 2][PREFIX_TEXT_CAP];
    struct str v[ROUTES_HERE + 2];
    size_t n;
};

static void add_prefix(struct prefixes *l, const struct addr *ip, unsigned bits)
{
    struct prefix p = {*ip, (uint8_t)bits};
    if (ip->family == 0)
        return;
    p.ip.port = 0;
    prefix_format(&p, l->texts[l->n]);
    l->v[l->n] = str_c(l->texts[l->n]);
    l->n++;
}

static void add_addresses(struct prefixes *l, const struct node *n, bool hides_v4)
{
    if (!hides_v4)
        add_prefix(l, &n->v4, 32);
    add_prefix(l, &n->v6, 128);
}

/* `shown`: of its routes. src: docs/protocol/policy.md 6.2, 6.4 */
static look_id look_with(const struct fact *f, uint64_t shown, bool hides_v4)
{
    struct look l = f->bare;
    struct prefixes addresses = {.n = 0}, allowed = {.n = 0}, primary = {.n = 0};
    bool has_exit = false;
    add_addresses(&addresses, f->n, hides_v4);
    add_addresses(&allowed, f->n, hides_v4);
    for (size_t i = 0; i < f->route_n; i++) {
        const struct prefix *p = &f->routes[i].prefix;
        if ((shown >> i & 1) == 0)
            continue;
        add_prefix(&allowed, &p->ip, p->bits);
        if (p->bits != 0)
            add_prefix(&primary, &p->ip, p->bits);
        has_exit = has_exit || p->bits == 0;
    }
    l.f[LOOK_ADDRESSES] = look_set(addresses.v, addresses.n);
    l.f[LOOK_ALLOWED] = look_set(allowed.v, allowed.n);
    l.f[LOOK_PRIMARY] = look_set(primary.v, primary.n);
    l.f[LOOK_CAPS] = has_exit ? text_c("suggest-exit-node=null") : 0;
    return look_number(&l);
}

/* As it sees itself. */
static look_id self_look(const struct facts *facts, const struct fact *f)
{
    struct look l = common_look(f->n);
    char machine[KEY_TEXT_CAP];
    struct prefixes addresses = {.n = 0}, allowed = {.n = 0}, primary = {.n = 0};
    char caps[PLAN_ATTRS_MAX + 1][40] = {"base=[]"};
    struct str caps_v[PLAN_ATTRS_MAX + 1] = {str_c(caps[0])};
    size_t cap_n = 1;
    machine_key_format(&f->n->machine, machine);
    l.f[LOOK_MACHINE] = text_c(machine);
    add_addresses(&addresses, f->n, f->hides_v4);
    add_addresses(&allowed, f->n, f->hides_v4);
    for (size_t i = 0; i < f->route_n; i++) {
        const struct served *r = &f->routes[i];
        add_prefix(&allowed, &r->prefix.ip, r->prefix.bits);
        if (r->is_primary)
            add_prefix(&primary, &r->prefix.ip, r->prefix.bits);
    }
    for (size_t i = 0; facts->plan != NULL && i < facts->plan->attr_n; i++) {
        const struct plan_attr *a = &facts->plan->attrs[i];
        if (!is_in(facts->plan, f, &a->target) && !has_address(f, &a->target))
            continue;
        snprintf(caps[cap_n], sizeof(caps[0]), "%s=null", a->name);
        caps_v[cap_n] = str_c(caps[cap_n]);
        cap_n++;
    }
    l.f[LOOK_ADDRESSES] = look_set(addresses.v, addresses.n);
    l.f[LOOK_ALLOWED] = look_set(allowed.v, allowed.n);
    l.f[LOOK_PRIMARY] = look_set(primary.v, primary.n);
    l.f[LOOK_CAPS] = look_set(caps_v, cap_n);
    return look_number(&l);
}

/* --- all nodes --- */

static void fill_fact(struct facts *facts, const struct node *n)
{
    static const char fit[] = "\"OSVersion\":\"1\"";
    struct fact *f = &facts->v[n->id];
    struct prefix p;
    *f = (struct fact){.n = n, .user = state_user(facts->s->st, n->user), .has_tags = n->tags != NULL};
    f->reach = &facts->reach[n->id];
    f->reach->owner = f->has_tags ? 0 : n->user;
    f->tags = tags_of(n);
    f->named = f->user != NULL ? user_of_name(f->user->name, plan_user_name) : -1;
    f->mailed = f->user != NULL ? user_of_name(f->user->email, plan_user_email) : -1;
    f->v4 = span_of_addr(&n->v4);
    f->v6 = span_of_addr(&n->v6);
    f->is_fit = n->hostinfo != NULL && memmem(n->hostinfo->data, n->hostinfo->len, fit, sizeof(fit) - 1) != NULL;
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (f->routes == NULL)
            f->routes = mem_zalloc(ROUTES_HERE, sizeof(*f->routes));
        assert_true(f->route_n < ROUTES_HERE);
        f->routes[f->route_n++] = (struct served){p, span_of(&p), prefix_list_has(n->primary, &p), {{0}}, {{0}}, {{0}}};
        f->is_exit = f->is_exit || p.bits == 0;
    }
    if (f->route_n > 0)
        facts->routers[facts->router_n++] = f;
    if (facts->plan != NULL)
        judge(facts->plan, f);
    f->bare = bare_look(n);
    f->looks[0] = look_with(f, 0, false);
    f->looks[1] = look_with(f, 0, true);
}

/* Of several nodes that serve a prefix one is the primary. src: docs/protocol/policy.md 6.3 */
static void check_primaries(const struct facts *facts)
{
    for (size_t i = 0; i < facts->router_n; i++) {
        const struct fact *f = facts->routers[i];
        for (size_t k = 0; k < f->route_n; k++) {
            unsigned primaries = 0;
            for (size_t j = 0; j < facts->router_n; j++)
                primaries += prefix_list_has(facts->routers[j]->n->primary, &f->routes[k].prefix);
            assert_int_equal(primaries, f->routes[k].prefix.bits != 0);
        }
    }
}

static void facts_make(struct facts *facts, struct sim *s)
{
    size_t cap = state_snapshot(s->st)->group_n * GROUP_NODES;
    *facts = (struct facts){.s = s, .plan = s->plan, .n = cap};
    facts->v = mem_zalloc(cap, sizeof(*facts->v));
    facts->reach = mem_zalloc(cap, sizeof(*facts->reach));
    facts->machines = mem_zalloc(cap, sizeof(struct machine *));
    facts->routers = mem_zalloc(cap, sizeof(struct fact *));
    for (node_id id = 1; id < cap; id++) {
        const struct node *n = state_node(s->st, id);
        if (n != NULL)
            fill_fact(facts, n);
    }
    for (size_t i = 0; i < s->machine_n; i++) {
        struct machine *m = &s->machines[i];
        if (m->poll == POLL_ACTIVE && facts->v[m->client.id].n != NULL)
            facts->machines[m->client.id] = m;
    }
    check_primaries(facts);
}

static void facts_fini(struct facts *facts)
{
    for (size_t i = 0; i < PLAN_RULES_MAX; i++) {
        if (facts->has_sources[i])
            filter_set_fini(&facts->sources[i]);
    }
    for (size_t i = 0; i < facts->router_n; i++)
        mem_free(facts->routers[i]->routes);
    mem_free(facts->v);
    mem_free(facts->reach);
    mem_free(facts->machines);
    mem_free(facts->routers);
}

/* --- pairs --- */

/* Both are there. src: docs/protocol/policy.md 6.1 */
static bool should_see(const struct plan *plan, const struct reach *a, const struct reach *b)
{
    return plan == NULL || meets(&a->source, &b->destination) || meets(&b->source, &a->destination) ||
           (a->owner == b->owner && a->owner != 0 && (a->is_self_source || b->is_self_source));
}

static const struct served *route_like(const struct fact *f, const struct served *r)
{
    for (size_t i = 0; i < f->route_n; i++) {
        if (prefix_compare(&f->routes[i].prefix, &r->prefix) == 0)
            return &f->routes[i];
    }
    return NULL;
}

/* Of several that a via grant lets serve, one. src: docs/protocol/policy.md 5.5 */
static bool is_best_via(const struct facts *facts, const struct fact *viewer, const struct fact *f,
                        const struct served *r)
{
    const struct fact *best = NULL;
    for (size_t i = 0; i < facts->router_n; i++) {
        const struct fact *other = facts->routers[i];
        const struct served *held = route_like(other, r);
        if (held == NULL || !meets_both(&viewer->reach->source, &r->via_over, &other->via))
            continue;
        if (held->is_primary)
            return other == f;
        if (best == NULL || (node_can_serve(other->n) && !node_can_serve(best->n)) ||
            (node_can_serve(other->n) == node_can_serve(best->n) && other->n->created_ms < best->n->created_ms))
            best = other;
    }
    return best == f;
}

static bool serves(const struct facts *facts, const struct fact *viewer, const struct fact *f, const struct served *r)
{
    bool is_steered = meets(&viewer->reach->source, &r->via_over) && !meets(&viewer->reach->source, &r->over);
    bool is_exit = r->prefix.bits == 0;
    if (!is_steered)
        return is_exit || r->is_primary;
    if (!meets_both(&viewer->reach->source, &r->via_over, &f->via))
        return false;
    return is_exit || is_best_via(facts, viewer, f, r);
}

/* src: docs/protocol/policy.md 6.2 */
static bool should_show(const struct facts *facts, const struct fact *viewer, const struct fact *f,
                        const struct served *r)
{
    bool is_exit = r->prefix.bits == 0;
    if (facts->plan == NULL)
        return is_exit || r->is_primary;
    if (!serves(facts, viewer, f, r))
        return false;
    if (meets(&viewer->reach->source, &r->over) || meets_both(&viewer->reach->source, &r->via_over, &f->via))
        return true;
    if (is_exit)
        return false;
    return meets(&viewer->reach->destination, &r->from) || (route_like(viewer, r) != NULL && r->is_primary);
}

static look_id wanted_look(const struct facts *facts, const struct fact *viewer, const struct fact *f)
{
    bool hides_v4 = viewer->hides_v4 || f->hides_v4;
    uint64_t shown = 0;
    if (f->route_n == 0)
        return f->looks[hides_v4];
    for (size_t i = 0; i < f->route_n; i++) {
        bool is = should_show(facts, viewer, f, &f->routes[i]);
        shown |= (uint64_t)is << i;
        facts->s->counts.hidden_routes += !is;
    }
    facts->s->counts.router_pairs++;
    return look_with(f, shown, hides_v4);
}

static void fail_pair(const struct facts *facts, const struct fact *viewer, node_id id, look_id have, look_id want)
{
    struct buf text = {0};
    buf_printf(&text, "seed %llu, after %llu publications: node %u sees %u wrongly\n  have",
               (unsigned long long)facts->s->seed, (unsigned long long)facts->s->counts.publications,
               (unsigned)viewer->n->id, (unsigned)id);
    look_format(have, &text);
    buf_append_c(&text, "\n  want");
    look_format(want, &text);
    fail_msg("%s", buf_cstr(&text));
}

/* Nobody else is told of a node in its first seconds while it has no home relay. */
static bool is_newcomer(const struct facts *facts, const struct node *n)
{
    return n->home_derp == 0 && facts->s->now_ms < n->created_ms + SIM_NEWCOMER_MS;
}

static void compare_peers(const struct facts *facts, const struct fact *viewer, const struct client *c)
{
    size_t at = 0;
    for (node_id id = 1; id < facts->n; id++) {
        const struct fact *f = &facts->v[id];
        bool has = at < c->peer_n && c->peers[at].id == id;
        bool want = should_see(facts->plan, viewer->reach, &facts->reach[id]) && f->n != NULL && f != viewer;
        if (want && is_newcomer(facts, f->n)) {
            facts->s->counts.newcomers++;
            want = false;
        }
        if (!has && !want)
            continue;
        look_id have_look = has ? c->peers[at++].look : 0;
        look_id want_look = want ? wanted_look(facts, viewer, f) : 0;
        facts->s->counts.pairs++;
        if (have_look != want_look)
            fail_pair(facts, viewer, id, have_look, want_look);
    }
    assert_int_equal(at, c->peer_n);
}

/* --- filters, as sets. src: docs/protocol/policy.md 4, 5 --- */

static void allow_node(struct filter_set *to, struct str what, const struct fact *f)
{
    filter_set_what(to, what);
    if (f->v4.family != 0)
        filter_set_allow(to, what, f->v4);
    if (f->v6.family != 0)
        filter_set_allow(to, what, f->v6);
}

/* src: docs/protocol/policy.md 2.5 */
static void allow_star(const struct facts *facts, struct filter_set *to, struct str what)
{
    static const char *const ranges[] = {"100.64.0.0-100.115.91.255", "100.115.94.0-100.127.255.255",
                                         "fd7a:115c:a1e0::/48"};
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
        filter_set_allow(to, what, filter_span_of(str_c(ranges[i])));
    for (size_t i = 0; i < facts->router_n; i++) {
        for (size_t k = 0; k < facts->routers[i]->route_n; k++) {
            if (facts->routers[i]->routes[k].prefix.bits != 0)
                filter_set_allow(to, what, facts->routers[i]->routes[k].span);
        }
    }
}

/* The sources of a rule that are not narrowed to one user's nodes. */
static const struct filter_allowed *sources_of(struct facts *facts, size_t rule)
{
    const struct plan_rule *r = &facts->plan->rules[rule];
    struct filter_set *to = &facts->sources[rule];
    if (!facts->has_sources[rule]) {
        facts->has_sources[rule] = true;
        filter_set_init(to);
        filter_set_what(to, STR("src"));
        for (size_t i = 0; i < r->src_n; i++) {
            /* Postures bind addresses as well: none of the plans has both. */
            assert_false(r->has_posture && (r->src[i].kind == PICK_ADDRS || r->src[i].kind == PICK_STAR));
            if (r->src[i].kind == PICK_ADDRS)
                filter_set_allow(to, STR("src"), span_of(&r->src[i].prefix));
            if (r->src[i].kind == PICK_STAR)
                allow_star(facts, to, STR("src"));
            for (node_id id = 1; r->src[i].kind != PICK_STAR && id < facts->n; id++) {
                const struct fact *f = &facts->v[id];
                if (f->n != NULL && is_in(facts->plan, f, &r->src[i]) && (!r->has_posture || f->is_fit))
                    allow_node(to, STR("src"), f);
            }
        }
        filter_set_join(to);
    }
    return filter_set_what(to, STR("src"));
}

/* A filter in the making. */
struct wanted_filter {
    struct facts *facts;
    const struct fact *f;
    const struct plan_rule *rule;
    const struct filter_allowed *from;
    struct filter_set set;
    struct buf what;
};

static void allow_from(struct wanted_filter *w)
{
    filter_set_what(&w->set, buf_str(&w->what));
    for (size_t i = 0; i < w->from->n; i++)
        filter_set_allow(&w->set, buf_str(&w->what), w->from->v[i]);
    w->facts->s->counts.sources_empty += w->from->n == 0;
}

static void allow_at(struct wanted_filter *w, struct str ip)
{
    for (size_t i = 0; i < w->rule->port_n; i++) {
        const struct plan_ports *p = &w->rule->ports[i];
        filter_what_ip(&w->what, p->proto, ip, p->first, p->last);
        allow_from(w);
    }
}

static void allow_cap_at(struct wanted_filter *w, struct str prefix)
{
    if (!w->rule->has_app)
        return;
    filter_what_cap(&w->what, prefix, STR("x.example/cap"), STR("[{\"n\":1}]"));
    allow_from(w);
}

static void allow_own(struct wanted_filter *w, const struct addr *a)
{
    char text[PREFIX_TEXT_CAP];
    struct prefix p = {*a, a->family == 4 ? 32 : 128};
    if (a->family == 0)
        return;
    addr_format(a, false, text);
    allow_at(w, str_c(text));
    prefix_format(&p, text);
    allow_cap_at(w, str_c(text));
}

static void allow_internet(struct wanted_filter *w)
{
    static const char *const ranges[] = {"0.0.0.0-9.255.255.255",
                                         "11.0.0.0-100.63.255.255",
                                         "100.128.0.0-169.253.255.255",
                                         "169.255.0.0-172.15.255.255",
                                         "172.32.0.0-192.167.255.255",
                                         "192.169.0.0-255.255.255.255",
                                         "2000::-3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    for (size_t i = 0; w->f->is_exit && i < ARRAY_LEN(ranges); i++)
        allow_at(w, str_c(ranges[i]));
}

static void allow_dst(struct wanted_filter *w, const struct pick *s)
{
    char text[PREFIX_TEXT_CAP];
    bool has_via = w->rule->via >= 0;
    if (s->kind == PICK_INTERNET) {
        allow_internet(w);
    } else if (s->kind == PICK_ADDRS) {
        prefix_format(&s->prefix, text);
        if (is_over_some(s, w->f) || (!has_via && has_address(w->f, s)))
            allow_at(w, str_c(text));
    } else if (s->kind == PICK_STAR) {
        if (!has_via)
            allow_at(w, STR("*"));
    } else if (!has_via && is_in(w->facts->plan, w->f, s)) {
        allow_own(w, &w->f->n->v4);
        allow_own(w, &w->f->n->v6);
    }
}

/* src: docs/protocol/policy.md 5.3 */
static void allow_self(struct wanted_filter *w)
{
    struct filter_set own;
    if (w->f->has_tags)
        return;
    filter_set_init(&own);
    filter_set_what(&own, STR("src"));
    for (node_id id = 1; id < w->facts->n; id++) {
        const struct fact *f = &w->facts->v[id];
        if (f->n != NULL && !f->has_tags && f->n->user == w->f->n->user && is_source_itself(w->facts->plan, f, w->rule))
            allow_node(&own, STR("src"), f);
    }
    w->from = filter_set_what(&own, STR("src"));
    allow_own(w, &w->f->n->v4);
    allow_own(w, &w->f->n->v6);
    filter_set_fini(&own);
}

static void make_filter(struct wanted_filter *w)
{
    const struct plan *p = w->facts->plan;
    filter_set_init(&w->set);
    if (p == NULL) {
        filter_what_ip(&w->what, 0, STR("*"), 0, 65535);
        filter_set_allow(&w->set, buf_str(&w->what), (struct filter_span){4, 0, UINT32_MAX});
        filter_set_allow(&w->set, buf_str(&w->what), (struct filter_span){6, 0, ~(filter_ip)0});
        return;
    }
    for (size_t i = 0; i < p->rule_n; i++) {
        w->rule = &p->rules[i];
        if (has_self(w->rule)) {
            allow_self(w);
            continue;
        }
        if (!get(&w->f->reach->destination, i))
            continue;
        w->from = sources_of(w->facts, i);
        for (size_t k = 0; k < w->rule->dst_n; k++)
            allow_dst(w, &w->rule->dst[k]);
    }
}

static void compare_filter(struct facts *facts, const struct fact *f, const struct client *c)
{
    struct wanted_filter want = {.facts = facts, .f = f};
    struct filter_set have;
    struct arena a = {0};
    const struct json *json;
    assert_non_null(c->filter);
    assert_int_equal(json_parse(&a, str_n(c->filter->data, c->filter->len), &json_limits_trusted, &json, NULL), RC_OK);
    filter_set_init(&have);
    filter_set_add_json(&have, json);
    make_filter(&want);
    const struct filter_allowed *less = filter_set_differs(&want.set, &have);
    const struct filter_allowed *more = filter_set_differs(&have, &want.set);
    if (less != NULL || more != NULL)
        fail_msg("seed %llu, after %llu publications: the filter of node %u is wrong in '%.*s' '%.*s': %.*s",
                 (unsigned long long)facts->s->seed, (unsigned long long)facts->s->counts.publications,
                 (unsigned)f->n->id, less != NULL ? (int)less->what.len : 0, less != NULL ? less->what.p : "",
                 more != NULL ? (int)more->what.len : 0, more != NULL ? more->what.p : "", (int)c->filter->len,
                 (const char *)c->filter->data);
    facts->s->counts.filters++;
    facts->s->counts.filter_whats += want.set.by_what.n;
    filter_set_fini(&have);
    filter_set_fini(&want.set);
    buf_fini(&want.what);
    arena_fini(&a);
}

/* --- SSH policies: each rule as action, users and the set of addresses. src: docs/protocol/policy.md 8.2 --- */

static bool is_in_any(const struct plan *p, const struct fact *f, const struct pick *v, size_t n)
{
    bool is = false;
    for (size_t i = 0; i < n; i++)
        is = is || is_in(p, f, &v[i]);
    return is;
}

static text_id address_set(const struct facts *facts, const struct fact *f, const struct plan_ssh *rule, bool is_own)
{
    size_t cap = facts->n * 2, n = 0;
    char(*texts)[ADDR_TEXT_CAP] = mem_zalloc(cap, sizeof(*texts));
    struct str *v = mem_zalloc(cap, sizeof(*v));
    for (node_id id = 1; id < facts->n; id++) {
        const struct fact *src = &facts->v[id];
        if (src->n == NULL || !is_in_any(facts->plan, src, rule->src, rule->src_n) ||
            (is_own && (src->has_tags || src->n->user != f->n->user)))
            continue;
        const struct addr *own[] = {&src->n->v4, &src->n->v6};
        for (size_t i = 0; i < 2; i++) {
            addr_format(own[i], false, texts[n]);
            v[n] = str_c(texts[n]);
            n++;
        }
    }
    text_id id = look_set(v, n);
    mem_free(texts);
    mem_free(v);
    return id;
}

static void want_ssh_rule(const struct facts *facts, const struct fact *f, const struct plan_ssh *rule, struct buf *out)
{
    const struct plan *p = facts->plan;
    bool is_reached = is_in_any(p, f, rule->dst, rule->dst_n), is_own = false;
    for (size_t i = 0; i < rule->dst_n; i++)
        is_own = is_own || (rule->dst[i].kind == PICK_SELF && !f->has_tags);
    text_id from = is_reached || is_own ? address_set(facts, f, rule, !is_reached) : 0;
    if (from == 0)
        return;
    facts->s->counts.ssh_rules++;
    buf_printf(out, "%s root=%d nonroot=%d deploy=%d from ", rule->is_check ? "check" : "accept", rule->has_root,
               rule->has_nonroot, rule->has_deploy);
    buf_append_str(out, text_of(from));
    buf_append_byte(out, '\n');
}

static text_id wanted_ssh(const struct facts *facts, const struct fact *f)
{
    struct buf out = {0};
    for (int check = 1; check >= 0; check--) {
        for (size_t i = 0; facts->plan != NULL && i < facts->plan->ssh_n; i++) {
            if (facts->plan->ssh[i].is_check == (check == 1))
                want_ssh_rule(facts, f, &facts->plan->ssh[i], &out);
        }
    }
    text_id id = text_number(buf_str(&out));
    buf_fini(&out);
    return id;
}

static bool maps_to(const struct json *users, const char *login, const char *to)
{
    struct str s = STR_EMPTY;
    return json_str(json_get_exact(users, login), &s) && str_eq_c(s, to);
}

static void read_ssh_rule(const struct json *rule, struct buf *out)
{
    const struct json *users = json_get_exact(rule, "sshUsers"), *principals = json_get_exact(rule, "principals");
    struct str *v = mem_zalloc(json_len(principals) + 1, sizeof(*v));
    size_t n = 0;
    JSON_EACH (p, principals)
        assert_true(json_str(json_get_exact(p, "nodeIP"), &v[n++]));
    bool is_accept = json_get_exact(json_get_exact(rule, "action"), "accept") != NULL;
    text_id from = look_set(v, n);
    buf_printf(out, "%s root=%d nonroot=%d deploy=%d from ", is_accept ? "accept" : "check",
               maps_to(users, "root", "root"), maps_to(users, "*", "="), maps_to(users, "deploy", "deploy"));
    buf_append_str(out, text_of(from));
    buf_append_byte(out, '\n');
    mem_free(v);
}

static text_id read_ssh(const struct client *c)
{
    struct buf out = {0};
    struct arena a = {0};
    const struct json *json;
    assert_true(c->ssh != 0);
    assert_int_equal(json_parse(&a, text_of(c->ssh), &json_limits_trusted, &json, NULL), RC_OK);
    JSON_EACH (rule, json_get_exact(json, "rules"))
        read_ssh_rule(rule, &out);
    text_id id = text_number(buf_str(&out));
    buf_fini(&out);
    arena_fini(&a);
    return id;
}

static void compare_ssh(const struct facts *facts, const struct fact *f, const struct client *c)
{
    text_id have = read_ssh(c), want = wanted_ssh(facts, f);
    if (have != want)
        fail_msg("seed %llu, after %llu publications: the SSH policy of node %u is\n%.*s\nand should be\n%.*s",
                 (unsigned long long)facts->s->seed, (unsigned long long)facts->s->counts.publications,
                 (unsigned)f->n->id, STR_ARG(text_of(have)), STR_ARG(text_of(want)));
}

/* --- users, and what is the same for all --- */

static void compare_profile(const struct facts *facts, const struct client *c, text_id shown)
{
    struct buf want = {0};
    uint64_t id;
    assert_int_equal(str_to_u64(text_of(shown), &id), RC_OK);
    text_id have = client_profile(c, id);
    const struct user *u = state_user(facts->s->st, id);
    if (u != NULL)
        buf_printf(&want, "{\"ID\":%llu,\"LoginName\":\"%s\",\"DisplayName\":\"%s\"}", (unsigned long long)u->id,
                   u->email, u->name);
    else
        assert_int_equal(id, TAGGED_DEVICES_USER);
    if (have == 0 || (u != NULL && !str_eq(text_of(have), buf_str(&want))))
        fail_msg("node %u knows of user %u '%.*s', not %s", (unsigned)c->id, (unsigned)id, STR_ARG(text_of(have)),
                 u != NULL ? buf_cstr(&want) : "anything");
    buf_fini(&want);
}

/* Of everyone whose nodes it sees, itself among them, as they are called now. */
static void compare_profiles(const struct facts *facts, const struct client *c)
{
    enum { RECENT = 16 };
    text_id seen[RECENT] = {look_of(c->self)->f[LOOK_USER]};
    size_t n = 1;
    compare_profile(facts, c, seen[0]);
    for (size_t i = 0; i < c->peer_n; i++) {
        text_id user = look_of(c->peers[i].look)->f[LOOK_USER];
        bool is_done = false;
        for (size_t k = 0; k < RECENT && !is_done; k++)
            is_done = seen[k] == user;
        if (is_done)
            continue;
        seen[n++ % RECENT] = user;
        compare_profile(facts, c, user);
    }
}

static void compare_settings(const struct facts *facts, const struct fact *f, const struct client *c)
{
    const struct tailnet_settings *t = state_settings(facts->s->st);
    /* src: tailscale 1.82 derp/derphttp: "sha256-raw:" in CertName is understood from there on (capability version
     * 115) */
    bool is_old = f->n->cap_version != 0 && f->n->cap_version < 115 && t->derp_map_unpinned_json != NULL;
    text_id derp_map = text_raw(is_old ? t->derp_map_unpinned_json : t->derp_map_json);
    if (c->derp_map != derp_map)
        fail_msg("seed %llu: node %u (version %u) has the DERP map %.*s, not %.*s", (unsigned long long)facts->s->seed,
                 (unsigned)c->id, f->n->cap_version, STR_ARG(text_of(c->derp_map)), STR_ARG(text_of(derp_map)));
    assert_int_equal(c->dns, text_raw(t->dns_config_json));
    assert_true(str_eq_c(text_of(c->domain), "\"example.net\""));
}

/* Somebody whose key has expired hears of itself only. */
static void compare_expired(const struct fact *f, const struct client *c)
{
    const struct look *l = look_of(c->self);
    assert_int_equal(l->f[LOOK_KEY], f->bare.f[LOOK_KEY]);
    assert_int_equal(l->f[LOOK_NAME], f->bare.f[LOOK_NAME]);
    assert_int_equal(l->f[LOOK_KEY_EXPIRY], f->bare.f[LOOK_KEY_EXPIRY]);
}

static void compare_client(struct facts *facts, const struct fact *f, const struct client *c, bool with_filter)
{
    facts->s->counts.views++;
    if (f->n->is_expired) {
        compare_expired(f, c);
        return;
    }
    compare_peers(facts, f, c);
    look_id want = self_look(facts, f);
    if (c->self != want)
        fail_pair(facts, f, f->n->id, c->self, want);
    compare_profiles(facts, c);
    compare_settings(facts, f, c);
    if (with_filter) {
        compare_filter(facts, f, c);
        compare_ssh(facts, f, c);
    }
}

static void compare_id(struct facts *facts, node_id id, bool with_filter)
{
    if (id < facts->n && facts->machines[id] != NULL)
        compare_client(facts, &facts->v[id], &facts->machines[id]->client, with_filter);
}

void reference_compare(struct sim *s, size_t client_n, size_t filter_n)
{
    struct facts *facts = MEM_NEW(struct facts);
    size_t hot_n = s->hot_n < SIM_HOT ? s->hot_n : SIM_HOT;
    facts_make(facts, s);
    /* Those who see everybody came first. */
    for (node_id id = 1; id < 6; id++)
        compare_id(facts, id, true);
    /* Half of the others looked at closely are such that something has happened to. */
    for (size_t i = 0; i < filter_n / 2; i++) {
        if (hot_n > 0)
            compare_id(facts, s->hot[sim_below(s, (uint32_t)hot_n)], true);
        compare_id(facts, sim_below(s, (uint32_t)facts->n), true);
    }
    for (size_t i = 0; i < hot_n && client_n < s->machine_n; i++)
        compare_id(facts, s->hot[i], false);
    for (size_t i = 0; i < client_n && client_n < s->machine_n; i++)
        compare_id(facts, sim_below(s, (uint32_t)facts->n), false);
    for (node_id id = 1; client_n >= s->machine_n && id < facts->n; id++)
        compare_id(facts, id, false);
    s->hot_n = 0;
    facts_fini(facts);
    mem_free(facts);
}
