/* What every client should have, straight from the definitions (docs/protocol/policy.md 4-6, 8): rule by rule and pair
 * by pair, from the state's nodes and users and from the policy as data. Nothing of the compiled policy, of snapshots
 * or of netmap/ is used. To be fast enough for a hundred million pairs, it is first written down for each node alone of
 * which rules it is a source and of which a destination. */
#include "sim/reference_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/time.h"

/* --- all nodes --- */

static void fill_fact(struct facts *facts, const struct node *n)
{
    static const char fit[] = "\"OSVersion\":\"1\"";
    struct fact *f = &facts->v[n->id];
    struct prefix p;
    *f = (struct fact){.n = n, .user = state_user(facts->s->st, n->user), .has_tags = n->tags != NULL};
    f->reach = &facts->reach[n->id];
    f->reach->owner = f->has_tags ? 0 : n->user;
    f->tags = plan_tags_of(n);
    f->named = f->user != NULL ? plan_user_of_name(f->user->name, plan_user_name) : -1;
    f->mailed = f->user != NULL ? plan_user_of_name(f->user->email, plan_user_email) : -1;
    f->v4 = span_of_addr(&n->v4);
    f->v6 = span_of_addr(&n->v6);
    f->is_fit = n->hostinfo != NULL && memmem(n->hostinfo->data, n->hostinfo->len, fit, sizeof(fit) - 1) != NULL;
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (f->routes == NULL)
            f->routes = mem_zalloc(ROUTES_HERE, sizeof(*f->routes));
        assert_true(f->route_n < ROUTES_HERE);
        f->routes[f->route_n++] = (struct served){
            p, span_of_prefix(&p), prefix_list_has(n->primary, &p), {{0}}, {{0}}, {{0}}};
        f->is_exit = f->is_exit || p.bits == 0;
    }
    if (f->route_n > 0)
        facts->routers[facts->router_n++] = f;
    if (facts->plan != NULL)
        fact_judge(facts->plan, f);
    f->bare = look_bare(n);
    f->looks[0] = look_shaped(f, 0, false);
    f->looks[1] = look_shaped(f, 0, true);
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

/* Whether the two existing nodes are peers. src: docs/protocol/policy.md 6.1 */
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
    return look_shaped(f, shown, hides_v4);
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

/* Other nodes do not get a node in its first seconds while it has no home relay. */
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

/* A node whose key has expired is sent only itself. */
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
    look_id want = look_self(facts, f);
    if (c->self != want)
        fail_pair(facts, f, f->n->id, c->self, want);
    compare_profiles(facts, c);
    compare_settings(facts, f, c);
    if (with_filter) {
        reference_compare_filter(facts, f, c);
        reference_compare_ssh(facts, f, c);
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
    /* The nodes that see all others came first. */
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
