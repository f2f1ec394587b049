#include "support/filter_set.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"

void filter_set_init(struct filter_set *set)
{
    *set = (struct filter_set){0};
    map_init(&set->by_what, NULL);
}

void filter_set_fini(struct filter_set *set)
{
    struct filter_allowed *a;
    size_t pos = 0;
    while ((a = map_next(&set->by_what, &pos)) != NULL)
        mem_free(a->v);
    map_fini(&set->by_what);
    arena_fini(&set->arena);
}

filter_ip filter_ip_of(const struct addr *a)
{
    filter_ip v = 0;
    for (int i = 0; i < (a->family == 4 ? 4 : 16); i++)
        v = v << 8 | a->ip[i];
    return v;
}

struct filter_span filter_span_of(struct str text)
{
    struct str first, second;
    struct addr a = {0}, b = {0};
    uint64_t bits;
    if (str_cut(text, '/', &first, &second) && addr_parse_ip(first, &a) == RC_OK &&
        str_to_u64(second, &bits) == RC_OK) {
        unsigned host = (a.family == 4 ? 32 : 128) - (unsigned)bits;
        filter_ip mask = host == 128 ? ~(filter_ip)0 : ((filter_ip)1 << host) - 1;
        return (struct filter_span){a.family, filter_ip_of(&a) & ~mask, filter_ip_of(&a) | mask};
    }
    if (str_cut(text, '-', &first, &second) && addr_parse_ip(first, &a) == RC_OK && addr_parse_ip(second, &b) == RC_OK)
        return (struct filter_span){a.family, filter_ip_of(&a), filter_ip_of(&b)};
    if (addr_parse_ip(text, &a) != RC_OK)
        abort();
    return (struct filter_span){a.family, filter_ip_of(&a), filter_ip_of(&a)};
}

struct filter_allowed *filter_set_what(struct filter_set *set, struct str what)
{
    struct filter_allowed *a = map_get(&set->by_what, what.p, what.len);
    if (a != NULL)
        return a;
    a = arena_zalloc(&set->arena, 1, sizeof(*a));
    a->what = arena_str(&set->arena, what);
    map_put(&set->by_what, a->what.p, a->what.len, a);
    return a;
}

void filter_set_allow(struct filter_set *set, struct str what, struct filter_span s)
{
    struct filter_allowed *to = filter_set_what(set, what);
    VEC_ROOM(to->v, to->n, to->cap, 16);
    to->v[to->n++] = s;
    set->is_joined = false;
}

void filter_what_ip(struct buf *out, unsigned proto, struct str ip, unsigned first, unsigned last)
{
    buf_clear(out);
    if (str_eq(ip, STR("*"))) {
        buf_printf(out, "ip %u * %u-%u", proto, first, last);
        return;
    }
    struct filter_span s = filter_span_of(ip);
    buf_printf(out, "ip %u %d %llx.%llx-%llx.%llx %u-%u", proto, s.family, (unsigned long long)(s.lo >> 64),
               (unsigned long long)s.lo, (unsigned long long)(s.hi >> 64), (unsigned long long)s.hi, first, last);
}

void filter_what_cap(struct buf *out, struct str dst, struct str name, struct str value)
{
    buf_clear(out);
    buf_printf(out, "cap %.*s %.*s ", STR_ARG(dst), STR_ARG(name));
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] != ' ')
            buf_append_byte(out, (uint8_t)value.p[i]);
    }
}

static void add_sources(struct filter_set *set, struct str what, const struct json *rule)
{
    filter_set_what(set, what);
    JSON_EACH (src, json_get_exact(rule, "SrcIPs")) {
        struct str text = STR_EMPTY;
        json_str(src, &text);
        if (!str_eq(text, STR("*"))) {
            filter_set_allow(set, what, filter_span_of(text));
            continue;
        }
        filter_set_allow(set, what, (struct filter_span){4, 0, UINT32_MAX});
        filter_set_allow(set, what, (struct filter_span){6, 0, ~(filter_ip)0});
    }
}

void filter_set_add_json(struct filter_set *set, const struct json *filter)
{
    struct buf what = {0};
    JSON_EACH (rule, filter) {
        uint64_t proto = 0, first = 0, last = 0;
        struct str text = STR_EMPTY;
        json_u64(json_first(json_get_exact(rule, "IPProto")), &proto);
        JSON_EACH (dst, json_get_exact(rule, "DstPorts")) {
            const struct json *ports = json_get_exact(dst, "Ports");
            json_u64(json_get_exact(ports, "First"), &first);
            json_u64(json_get_exact(ports, "Last"), &last);
            json_str(json_get_exact(dst, "IP"), &text);
            filter_what_ip(&what, (unsigned)proto, text, (unsigned)first, (unsigned)last);
            add_sources(set, buf_str(&what), rule);
        }
        JSON_EACH (grant, json_get_exact(rule, "CapGrant")) {
            JSON_EACH (dst, json_get_exact(grant, "Dsts")) {
                JSON_EACH (cap, json_get_exact(grant, "CapMap")) {
                    json_str(dst, &text);
                    filter_what_cap(&what, text, json_key_of(cap), json_raw(cap));
                    add_sources(set, buf_str(&what), rule);
                }
            }
        }
    }
    buf_fini(&what);
}

static int compare_spans(const void *a, const void *b)
{
    const struct filter_span *x = a, *y = b;
    if (x->family != y->family)
        return x->family - y->family;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

void filter_set_join(struct filter_set *set)
{
    struct filter_allowed *a;
    size_t pos = 0;
    while (!set->is_joined && (a = map_next(&set->by_what, &pos)) != NULL) {
        size_t n = 0;
        if (a->n == 0)
            continue;
        qsort(a->v, a->n, sizeof(*a->v), compare_spans);
        for (size_t i = 1; i < a->n; i++) {
            struct filter_span *last = &a->v[n];
            if (a->v[i].family == last->family && (a->v[i].lo <= last->hi || a->v[i].lo - 1 == last->hi))
                last->hi = a->v[i].hi > last->hi ? a->v[i].hi : last->hi;
            else
                a->v[++n] = a->v[i];
        }
        a->n = n + 1;
    }
    set->is_joined = true;
}

const struct filter_allowed *filter_set_differs(struct filter_set *a, struct filter_set *b)
{
    const struct filter_allowed *x;
    size_t pos = 0;
    filter_set_join(a);
    filter_set_join(b);
    while ((x = map_next(&a->by_what, &pos)) != NULL) {
        const struct filter_allowed *y = map_get(&b->by_what, x->what.p, x->what.len);
        bool same = y != NULL ? x->n == y->n : x->n == 0;
        for (size_t i = 0; same && y != NULL && i < x->n; i++)
            same = x->v[i].family == y->v[i].family && x->v[i].lo == y->v[i].lo && x->v[i].hi == y->v[i].hi;
        if (!same)
            return x;
    }
    return NULL;
}

bool filter_sets_equal(struct filter_set *a, struct filter_set *b)
{
    return filter_set_differs(a, b) == NULL && filter_set_differs(b, a) == NULL;
}
