/* How nodes must look to others and to themselves. */
#include "sim/reference_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/time.h"

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

text_id text_raw(const struct rcbuf *b)
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

struct look look_bare(const struct node *n)
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

look_id look_shaped(const struct fact *f, uint64_t shown, bool hides_v4)
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

look_id look_self(const struct facts *facts, const struct fact *f)
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
        if (!fact_is_in(facts->plan, f, &a->target) && !fact_has_address(f, &a->target))
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
