/* What the definitions say of each node alone: the rules that it is a source or a destination of. */
#include "sim/reference_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/time.h"

/* --- selectors --- */

struct filter_span span_of_prefix(const struct prefix *p)
{
    filter_ip first = filter_ip_of(&p->ip), hosts = 0;
    for (unsigned i = p->bits; i < (p->ip.family == 4 ? 32u : 128u); i++)
        hosts = hosts << 1 | 1;
    return (struct filter_span){p->ip.family, first, first | hosts};
}

struct filter_span span_of_addr(const struct addr *a)
{
    return (struct filter_span){a->family, filter_ip_of(a), filter_ip_of(a)};
}

static bool spans_meet(const struct filter_span *a, const struct filter_span *b)
{
    return a->family == b->family && a->family != 0 && a->lo <= b->hi && b->lo <= a->hi;
}

uint64_t plan_tags_of(const struct node *n)
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

int plan_user_of_name(const char *name, void (*format)(unsigned user, char out[32]))
{
    static const char *const digits = "0123456789";
    char text[32];
    unsigned user = 0;
    for (const char *p = strpbrk(name, digits); p != NULL && *p >= '0' && *p <= '9'; p++)
        user = user * 10 + (unsigned)(*p - '0');
    format(user, text);
    return strcmp(text, name) == 0 ? (int)user : -1;
}

bool fact_is_in(const struct plan *p, const struct fact *f, const struct pick *s)
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

bool fact_has_address(const struct fact *f, const struct pick *s)
{
    if (s->kind != PICK_ADDRS)
        return false;
    struct filter_span span = span_of_prefix(&s->prefix);
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
    struct filter_span span = span_of_prefix(&s->prefix);
    return spans_meet(&span, &r->span);
}

bool fact_is_over_some(const struct pick *s, const struct fact *f)
{
    for (size_t i = 0; i < f->route_n; i++) {
        if (f->routes[i].prefix.bits != 0 && is_over(s, &f->routes[i]))
            return true;
    }
    return false;
}

/* --- a node and a rule. src: docs/protocol/policy.md 4, 5, 6.1 --- */

bool fact_is_source_itself(const struct plan *p, const struct fact *f, const struct plan_rule *r)
{
    bool is = false;
    for (size_t i = 0; i < r->src_n; i++)
        is = is || fact_is_in(p, f, &r->src[i]) || fact_has_address(f, &r->src[i]);
    return is && (!r->has_posture || f->is_fit);
}

static bool is_source(const struct plan *p, const struct fact *f, const struct plan_rule *r)
{
    bool is = fact_is_source_itself(p, f, r);
    for (size_t i = 0; i < r->src_n; i++)
        is = is || fact_is_over_some(&r->src[i], f);
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
            is = is || fact_is_in(p, f, s) || fact_has_address(f, s);
        if (r->via < 0 || s->kind == PICK_ADDRS)
            is = is || fact_is_over_some(s, f);
        is = is || (s->kind == PICK_INTERNET && f->is_exit);
    }
    return is && (r->via < 0 || has_tag(f, (unsigned)r->via));
}

bool plan_rule_has_self(const struct plan_rule *r)
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

void fact_judge(const struct plan *p, struct fact *f)
{
    for (size_t i = 0; i < p->rule_n; i++) {
        const struct plan_rule *r = &p->rules[i];
        put(&f->reach->source, i, !plan_rule_has_self(r) && is_source(p, f, r));
        put(&f->reach->destination, i, is_destination(p, f, r));
        put(&f->via, i, r->via >= 0 && has_tag(f, (unsigned)r->via));
        if (plan_rule_has_self(r))
            f->reach->is_self_source = f->reach->is_self_source || fact_is_source_itself(p, f, r);
    }
    for (size_t i = 0; i < f->route_n; i++)
        judge_route(p, &f->routes[i]);
    f->hides_v4 = p->hides_all_ipv4;
    for (size_t i = 0; i < p->attr_n; i++) {
        const struct plan_attr *a = &p->attrs[i];
        bool is_target = fact_is_in(p, f, &a->target) || fact_has_address(f, &a->target);
        f->hides_v4 = f->hides_v4 || (is_target && strcmp(a->name, "disable-ipv4") == 0);
    }
}
