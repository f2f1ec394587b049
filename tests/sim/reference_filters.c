/* Packet filters and SSH policies, as sets. */
#include "sim/reference_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/time.h"

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
                filter_set_allow(to, STR("src"), span_of_prefix(&r->src[i].prefix));
            if (r->src[i].kind == PICK_STAR)
                allow_star(facts, to, STR("src"));
            for (node_id id = 1; r->src[i].kind != PICK_STAR && id < facts->n; id++) {
                const struct fact *f = &facts->v[id];
                if (f->n != NULL && fact_is_in(facts->plan, f, &r->src[i]) && (!r->has_posture || f->is_fit))
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
        if (fact_is_over_some(s, w->f) || (!has_via && fact_has_address(w->f, s)))
            allow_at(w, str_c(text));
    } else if (s->kind == PICK_STAR) {
        if (!has_via)
            allow_at(w, STR("*"));
    } else if (!has_via && fact_is_in(w->facts->plan, w->f, s)) {
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
        if (f->n != NULL && !f->has_tags && f->n->user == w->f->n->user &&
            fact_is_source_itself(w->facts->plan, f, w->rule))
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
        if (plan_rule_has_self(w->rule)) {
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

void reference_compare_filter(struct facts *facts, const struct fact *f, const struct client *c)
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
        is = is || fact_is_in(p, f, &v[i]);
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

void reference_compare_ssh(const struct facts *facts, const struct fact *f, const struct client *c)
{
    text_id have = read_ssh(c), want = wanted_ssh(facts, f);
    if (have != want)
        fail_msg("seed %llu, after %llu publications: the SSH policy of node %u is\n%.*s\nand should be\n%.*s",
                 (unsigned long long)facts->s->seed, (unsigned long long)facts->s->counts.publications,
                 (unsigned)f->n->id, STR_ARG(text_of(have)), STR_ARG(text_of(want)));
}
