/* A policy at work: made from a doc and users, nodes put in and taken out, peers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/parts.h"

/* --- making a policy --- */

static void add_unit(struct engine *p, enum unit_kind kind, uint32_t rule, uint32_t list)
{
    uint32_t id = (uint32_t)p->unit_n;
    struct source_list *l = &p->list[list];
    VEC_PUSH(p->unit, p->unit_n, p->unit_cap, ((struct unit){kind, rule, list}));
    VEC_PUSH(l->unit, l->unit_n, l->unit_cap, id);
}

/* The destinations but autogroup:self, as a list of sources. */
static struct sel_list others(struct engine *p, const struct rule *rule)
{
    struct sel_list list = {arena_zalloc(&p->arena, rule->dst_n, sizeof(*list.v)), 0};
    for (size_t i = 0; i < rule->dst_n; i++) {
        if (p->doc->sel[rule->dst[i].sel].kind != SEL_SELF)
            list.v[list.n++] = rule->dst[i].sel;
    }
    return list;
}

static void add_rule_units(struct engine *p, uint32_t index)
{
    const struct rule *rule = &p->doc->rule[index];
    struct sel_list dst = others(p, rule);
    uint32_t list = sources_intern(p, &rule->src, rule->posture);
    p->rule_list[index] = list;
    if (dst.n < rule->dst_n && rule->via.n == 0) {
        p->self_rule[p->self_rule_n++] = index;
        p->list[list].is_self = true;
    }
    if (dst.n == 0)
        return;
    add_unit(p, rule->via.n > 0 ? UNIT_VIA : UNIT_RULE, index, list);
    if ((rule->has_drive || rule->has_relay) && rule->via.n == 0)
        add_unit(p, UNIT_BACK, index, sources_intern(p, &dst, 0));
}

static void add_units(struct engine *p)
{
    const struct policy_doc *doc = p->doc;
    p->rule_list = arena_zalloc(&p->arena, doc->rule_n, sizeof(*p->rule_list));
    p->self_rule = arena_zalloc(&p->arena, doc->rule_n, sizeof(*p->self_rule));
    p->ssh_list = arena_zalloc(&p->arena, doc->ssh_n, sizeof(*p->ssh_list));
    for (uint32_t i = 0; i < doc->rule_n; i++)
        add_rule_units(p, i);
    p->recorder_list = arena_zalloc(&p->arena, doc->ssh_n, sizeof(*p->recorder_list));
    for (uint32_t i = 0; i < doc->ssh_n; i++) {
        p->ssh_list[i] = sources_intern(p, &doc->ssh[i].src, doc->ssh[i].posture);
        p->recorder_list[i] = sources_intern(p, &doc->ssh[i].recorder, 0);
        p->list[p->recorder_list[i]].is_recorder = true;
    }
    sources_finish(p);
    p->has_own = p->self_rule_n > 0;
    for (uint32_t i = 0; i < doc->ssh_n; i++) {
        for (size_t k = 0; k < doc->ssh[i].dst.n; k++)
            p->has_own = p->has_own || doc->sel[doc->ssh[i].dst.v[k]].kind == SEL_SELF;
    }
    p->unit_words = bits_words(p->unit_n);
    p->list_words = bits_words(p->list_n);
}

/* For each selector, of which lists it is a part; counted first, then filled. */
static void index_sources(struct engine *p)
{
    size_t sel_n = p->doc->sel_n;
    p->src_lists = arena_zalloc(&p->arena, sel_n, sizeof(*p->src_lists));
    p->src_lists_n = arena_zalloc(&p->arena, sel_n, sizeof(*p->src_lists_n));
    p->self_lists = arena_zalloc(&p->arena, p->list_words, sizeof(*p->self_lists));
    p->posture_list = arena_zalloc(&p->arena, p->list_n, sizeof(*p->posture_list));
    for (int fill = 0; fill < 2; fill++) {
        for (uint32_t list = 0; list < p->list_n; list++) {
            for (size_t i = 0; i < p->list[list].sels.n; i++) {
                sel_id sel = p->list[list].sels.v[i];
                if (fill)
                    p->src_lists[sel][p->src_lists_n[sel]] = list;
                p->src_lists_n[sel]++;
            }
        }
        for (sel_id sel = 0; !fill && sel < sel_n; sel++) {
            p->src_lists[sel] = arena_zalloc(&p->arena, p->src_lists_n[sel], sizeof(**p->src_lists));
            p->src_lists_n[sel] = 0;
        }
    }
    for (uint32_t list = 0; list < p->list_n; list++) {
        if (p->list[list].is_self)
            bit_put(p->self_lists, list);
        if (p->list[list].posture != 0)
            p->posture_list[p->posture_list_n++] = list;
    }
}

/* What of a unit is a destination. */
static size_t unit_dst_n(const struct engine *p, const struct unit *u)
{
    const struct rule *rule = &p->doc->rule[u->rule];
    return u->kind == UNIT_BACK ? rule->src.n : u->kind == UNIT_RULE ? rule->dst_n : 0;
}

static sel_id unit_dst(const struct engine *p, const struct unit *u, size_t i)
{
    const struct rule *rule = &p->doc->rule[u->rule];
    return u->kind == UNIT_BACK ? rule->src.v[i] : rule->dst[i].sel;
}

static void index_destinations(struct engine *p)
{
    size_t sel_n = p->doc->sel_n;
    p->dst_units = arena_zalloc(&p->arena, sel_n, sizeof(*p->dst_units));
    p->dst_units_n = arena_zalloc(&p->arena, sel_n, sizeof(*p->dst_units_n));
    p->via_unit = arena_zalloc(&p->arena, p->unit_n, sizeof(*p->via_unit));
    for (int fill = 0; fill < 2; fill++) {
        for (uint32_t id = 0; id < p->unit_n; id++) {
            for (size_t i = 0; i < unit_dst_n(p, &p->unit[id]); i++) {
                sel_id sel = unit_dst(p, &p->unit[id], i);
                if (fill)
                    p->dst_units[sel][p->dst_units_n[sel]] = id;
                p->dst_units_n[sel]++;
            }
            if (fill && p->unit[id].kind == UNIT_VIA)
                p->via_unit[p->via_unit_n++] = id;
        }
        for (sel_id sel = 0; !fill && sel < sel_n; sel++) {
            p->dst_units[sel] = arena_zalloc(&p->arena, p->dst_units_n[sel], sizeof(**p->dst_units));
            p->dst_units_n[sel] = 0;
        }
    }
}

static void find_everyone(struct engine *p)
{
    p->everyone = arena_zalloc(&p->arena, p->sel_words, sizeof(*p->everyone));
    p->tagged = arena_zalloc(&p->arena, p->sel_words, sizeof(*p->tagged));
    for (sel_id sel = 0; sel < p->doc->sel_n; sel++) {
        enum sel_kind kind = p->doc->sel[sel].kind;
        if (kind == SEL_STAR || kind == SEL_DANGER_ALL)
            bit_put(p->everyone, sel);
        if (kind == SEL_TAGGED)
            bit_put(p->tagged, sel);
    }
}

/* What its nodes may get: the prefixes and ipPools. The usual ranges leave out what ChromeOS uses. src:
 * docs/protocol/policy.md 2.5 */
static void set_tailnet(struct engine *p, const struct engine_ranges *ranges)
{
    static const char *const usual[] = {"100.64.0.0-100.115.91.255", "100.115.94.0-100.127.255.255",
                                        "fd7a:115c:a1e0::/48"};
    bool has_v4 = ranges != NULL && ranges->v4.family != 0;
    bool has_v6 = ranges != NULL && ranges->v6.family != 0;
    struct range r;
    for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
        if (range_parse(str_c(usual[i]), &r) && !(r.family == 4 ? has_v4 : has_v6))
            range_set_add(&p->tailnet, r);
    }
    if (has_v4)
        range_set_add(&p->tailnet, range_of_prefix(&ranges->v4, ranges->v4_bits));
    if (has_v6)
        range_set_add(&p->tailnet, range_of_prefix(&ranges->v6, ranges->v6_bits));
    for (size_t i = 0; i < p->doc->node_attr_n; i++) {
        for (size_t k = 0; k < p->doc->node_attr[i].pool_n; k++)
            range_set_add(&p->tailnet, p->doc->node_attr[i].pool[k]);
    }
    range_set_join(&p->tailnet);
}

struct engine *engine_create(struct policy_doc *doc, const struct engine_user *users, size_t user_n,
                             const struct engine_ranges *ranges)
{
    struct engine *p = MEM_NEW(struct engine);
    struct map *maps[] = {&p->owner_by_id,   &p->owner_by_provider,   &p->owner_by_email,
                          &p->owner_by_name, &p->owner_by_lower_name, &p->list_by_key,
                          &p->node_by_id,    &p->class_by_key,        &p->holders_by_route};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_init(maps[i], NULL);
    list_init(&p->nodes_by_version);
    list_init(&p->owners_by_version);
    list_init(&p->strays);
    p->doc = policy_doc_ref(doc);
    p->clock = 1;
    p->sel_words = bits_words(doc->sel_n);
    owners_create(p, users, user_n);
    add_units(p);
    index_sources(p);
    index_destinations(p);
    find_everyone(p);
    set_tailnet(p, ranges);
    p->cover = cover_create(doc);
    return p;
}

const struct policy_doc *engine_doc(const struct engine *p)
{
    return p->doc;
}

/* --- a node's facts --- */

static void put_bytes(struct buf *b, const void *v, size_t n)
{
    buf_append(b, v, n);
}

static void put_text(struct buf *b, struct str s)
{
    uint64_t len = s.len;
    put_bytes(b, &len, sizeof(len));
    buf_append_str(b, s);
}

static void put_addr(struct buf *b, const struct addr *a)
{
    buf_append_byte(b, a->family);
    put_bytes(b, a->ip, sizeof(a->ip));
}

/* All facts as bytes, to compare. */
static struct str facts_of(const struct engine_facts *f)
{
    struct buf b = {0};
    put_bytes(&b, &f->user, sizeof(f->user));
    put_bytes(&b, &f->created_ms, sizeof(f->created_ms));
    buf_append_byte(&b, f->is_online);
    buf_append_byte(&b, f->has_old_ssh);
    put_addr(&b, &f->v4);
    put_addr(&b, &f->v6);
    put_bytes(&b, &f->tag_n, sizeof(f->tag_n));
    for (size_t i = 0; i < f->tag_n; i++)
        put_text(&b, f->tags[i]);
    put_bytes(&b, &f->route_n, sizeof(f->route_n));
    for (size_t i = 0; i < f->route_n; i++) {
        put_addr(&b, &f->routes[i].addr);
        buf_append_byte(&b, f->routes[i].bits);
        buf_append_byte(&b, f->routes[i].is_primary);
    }
    for (size_t i = 0; i < f->attr_n; i++) {
        put_text(&b, f->attrs[i].name);
        put_text(&b, f->attrs[i].text);
        put_bytes(&b, &f->attrs[i].number, sizeof(f->attrs[i].number));
        buf_append_byte(&b, (uint8_t)f->attrs[i].type);
        buf_append_byte(&b, f->attrs[i].truth);
    }
    return str_n(b.data, buf_len(&b));
}

static void set_address(struct range *range, char text[IP_TEXT_CAP], const struct addr *a)
{
    char long_text[RANGE_TEXT_CAP] = "";
    *range = range_of_addr(a);
    if (range->family != 0)
        range_format(range, long_text);
    snprintf(text, IP_TEXT_CAP, "%.47s", long_text);
}

static struct str put_copy(char **at, struct str s)
{
    struct str copy = str_n(*at, s.len);
    if (s.len > 0)
        memcpy(*at, s.p, s.len);
    *at += s.len;
    return copy;
}

/* Tests ask again, with other attributes in front: a copy, in one block, when there are postures at all. */
static void copy_attrs(const struct engine *p, struct engine_node *n, const struct engine_facts *f)
{
    size_t bytes = 0;
    if (p->doc->posture_set_n <= 1 || f->attr_n == 0)
        return;
    for (size_t i = 0; i < f->attr_n; i++)
        bytes += f->attrs[i].name.len + f->attrs[i].text.len;
    n->attr_n = f->attr_n;
    n->attr = mem_alloc(f->attr_n * sizeof(*n->attr) + bytes);
    char *at = (char *)(n->attr + f->attr_n);
    for (size_t i = 0; i < f->attr_n; i++) {
        n->attr[i] = f->attrs[i];
        n->attr[i].name = put_copy(&at, f->attrs[i].name);
        n->attr[i].text = put_copy(&at, f->attrs[i].text);
    }
}

/* Also tags that no rule speaks of: tests and people do. */
static void copy_tags(struct engine_node *n, const struct engine_facts *f)
{
    size_t bytes = 0;
    if (f->tag_n == 0)
        return;
    for (size_t i = 0; i < f->tag_n; i++)
        bytes += f->tags[i].len;
    n->tag_n = f->tag_n;
    n->tag = mem_alloc(f->tag_n * sizeof(*n->tag) + bytes);
    char *at = (char *)(n->tag + f->tag_n);
    for (size_t i = 0; i < f->tag_n; i++)
        n->tag[i] = put_copy(&at, f->tags[i]);
}

static struct engine_node *node_make(struct engine *p, const struct engine_facts *f)
{
    struct engine_node *n = MEM_NEW(struct engine_node);
    n->id = f->id;
    n->owner = f->tag_n == 0 ? owner_get(p, f->user) : NULL;
    n->is_online = f->is_online;
    n->has_old_ssh = f->has_old_ssh;
    n->created_ms = f->created_ms;
    for (size_t i = 0; i < f->attr_n; i++)
        n->is_mac = n->is_mac || (str_eq(f->attrs[i].name, STR("node:os")) && str_eq(f->attrs[i].text, STR("macos")));
    copy_attrs(p, n, f);
    copy_tags(n, f);
    list_init(&n->of_class);
    list_init(&n->of_owner);
    list_init(&n->by_version);
    list_init(&n->of_strays);
    set_address(&n->v4, n->text4, &f->v4);
    set_address(&n->v6, n->text6, &f->v6);
    n->route_n = f->route_n < ENGINE_ROUTES_MAX ? f->route_n : ENGINE_ROUTES_MAX;
    n->route = mem_zalloc(n->route_n + 1, sizeof(*n->route));
    for (size_t i = 0; i < n->route_n; i++) {
        const struct engine_route *r = &f->routes[i];
        n->route[i] = (struct node_route){.range = range_of_prefix(&r->addr, r->bits), .is_exit = r->bits == 0};
        n->route[i].is_primary = r->is_primary;
    }
    return n;
}

static void node_free(struct engine_node *n)
{
    for (size_t i = 0; i < n->route_n; i++)
        mem_free(n->route[i].units.to);
    mem_free(n->route);
    mem_free(n->attr);
    mem_free(n->tag);
    mem_free((void *)n->facts.p);
    mem_free(n);
}

/* --- its class --- */

static void mark_tags(const struct engine *p, const struct engine_facts *f, uint64_t *in)
{
    sel_id sel;
    for (size_t w = 0; w < p->sel_words; w++)
        in[w] |= p->tagged[w];
    for (size_t i = 0; i < f->tag_n; i++) {
        if (doc_find_selector(p->doc, f->tags[i], &sel) && p->doc->sel[sel].kind == SEL_TAG)
            bit_put(in, sel);
    }
}

static void mark_selectors(struct engine *p, const struct engine_node *n, const struct engine_facts *f, uint64_t *in)
{
    memcpy(in, p->everyone, p->sel_words * sizeof(*in));
    if (n->owner == NULL) {
        mark_tags(p, f, in);
    } else {
        for (size_t w = 0; w < p->sel_words; w++)
            in[w] |= n->owner->in[w];
    }
    cover_find(p->cover, &n->v4, in);
    cover_find(p->cover, &n->v6, in);
}

static struct class *class_of(struct engine *p, const struct engine_node *n, const struct engine_facts *f)
{
    size_t fit_words = bits_words(p->doc->posture_set_n);
    uint64_t *in = mem_zalloc(p->sel_words + fit_words, sizeof(*in));
    uint64_t *fit = in + p->sel_words;
    struct attr_view attrs = {.own = f->attrs, .own_n = f->attr_n};
    struct buf key = {0};
    mark_selectors(p, n, f, in);
    for (posture_set_id i = 0; i < p->doc->posture_set_n; i++) {
        if (policy_posture_holds(p->doc, i, &attrs))
            bit_put(fit, i);
    }
    put_bytes(&key, in, (p->sel_words + fit_words) * sizeof(*in));
    for (size_t i = 0; i < n->route_n; i++) {
        struct range_key route = range_key_of(&n->route[i].range);
        put_bytes(&key, &route, sizeof(route));
    }
    struct str key_text = buf_str(&key);
    struct class *c = class_get(p, n, &key_text, in, fit);
    buf_fini(&key);
    mem_free(in);
    return c;
}

/* --- its routes --- */

/* What `*` is gets the range, or loses it. */
static void star_count(struct engine *p, const struct range *r, int delta)
{
    uint64_t sum[2] = {p->star_hash, 0};
    hash_range(sum, r, delta);
    p->star_hash = sum[0];
    p->star_version = p->clock;
}

static void route_hold(struct engine *p, struct engine_node *n, struct node_route *r)
{
    struct range_key key = range_key_of(&r->range);
    struct route_holders *h = map_get(&p->holders_by_route, &key, sizeof(key));
    if (h == NULL) {
        h = MEM_NEW(struct route_holders);
        h->range = r->range;
        h->key = key;
        map_put(&p->holders_by_route, &h->key, sizeof(h->key), h);
        star_count(p, &h->range, 1);
    }
    VEC_PUSH(h->v, h->n, h->cap, n);
    r->holders = h;
}

static void route_release(struct engine *p, const struct engine_node *n, struct node_route *r)
{
    struct route_holders *h = r->holders;
    size_t i = 0;
    while (h->v[i] != n)
        i++;
    h->v[i] = h->v[--h->n];
    if (h->n > 0)
        return;
    star_count(p, &h->range, -1);
    map_remove(&p->holders_by_route, &h->key, sizeof(h->key));
    mem_free(h->v);
    mem_free(h);
}

/* The node comes or goes. What is shown of a route depends on all who hold it; and what a router's own class is
 * shown is asked of another node of the class, so it changes when the first other one comes, or the last goes. */
static void routes_touch(struct engine *p, struct engine_node *n)
{
    n->routes_version = p->clock;
    if (n->route_n == 0)
        return;
    p->routes_touched = p->clock;
    for (size_t i = 0; i < n->route_n; i++) {
        const struct route_holders *h = n->route[i].holders;
        for (size_t k = 0; h != NULL && k < h->n; k++)
            h->v[k]->routes_version = p->clock;
    }
    if (n->class->node_n > 2)
        return;
    LIST_EACH (it, &n->class->nodes)
        LIST_ENTRY(it, struct engine_node, of_class)->routes_version = p->clock;
}

static void routes_hold(struct engine *p, struct engine_node *n)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit)
            route_hold(p, n, &n->route[i]);
    }
}

static void routes_release(struct engine *p, struct engine_node *n)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit)
            route_release(p, n, &n->route[i]);
    }
}

/* --- its addresses outside of the tailnet's ranges --- */

void engine_node_add_stray(const struct engine *p, const struct engine_node *n, struct range_set *out)
{
    for (int family = 4; family <= 6; family += 2) {
        struct range own = engine_node_range(n, family);
        if (own.family != 0 && !range_set_holds(&p->tailnet, &own))
            range_set_add(out, own);
    }
}

static bool is_stray(const struct engine *p, const struct engine_node *n)
{
    return (n->v4.family != 0 && !range_set_holds(&p->tailnet, &n->v4)) ||
           (n->v6.family != 0 && !range_set_holds(&p->tailnet, &n->v6));
}

static void strays_count(struct engine *p, const struct engine_node *n, int delta)
{
    struct range_set own = {0};
    engine_node_add_stray(p, n, &own);
    for (size_t i = 0; i < own.n; i++)
        star_count(p, &own.v[i], delta);
    range_set_fini(&own);
}

/* --- in and out --- */

struct engine_node *engine_node_find(const struct engine *p, uint64_t id)
{
    return map_get(&p->node_by_id, &id, sizeof(id));
}

static void owner_count(struct engine *p, struct engine_node *n, int delta)
{
    struct owner *o = n->owner;
    if (o == NULL || !p->has_own)
        return;
    o->self_sources += n->class->is_self_source ? (size_t)delta : 0;
    o->version = p->clock;
    list_remove(&o->by_version);
    list_push_back(&p->owners_by_version, &o->by_version);
}

/* Links the node to its class and owner, without counting it. */
static void node_link(struct engine *p, struct engine_node *n)
{
    if (is_stray(p, n))
        list_push_back(&p->strays, &n->of_strays);
    list_push_back(&n->class->nodes, &n->of_class);
    n->class->node_n++;
    if (n->owner != NULL)
        list_push_back(&n->owner->nodes, &n->of_owner);
}

static void node_unlink(struct engine *p, struct engine_node *n)
{
    list_remove(&n->of_class);
    list_remove(&n->of_owner);
    list_remove(&n->by_version);
    list_remove(&n->of_strays);
    if (--n->class->node_n == 0)
        class_drop(p, n->class);
}

static bool same_range(const struct range *a, const struct range *b)
{
    return a->family == b->family && a->lo == b->lo;
}

/* The node's place in all filters is as it was. */
static bool is_same_to_others(const struct engine_node *a, const struct engine_node *b)
{
    return a->class == b->class && a->owner == b->owner && same_range(&a->v4, &b->v4) && same_range(&a->v6, &b->v6);
}

void engine_put_node(struct engine *p, const struct engine_facts *f)
{
    struct engine_node *old = engine_node_find(p, f->id);
    struct str facts = facts_of(f);
    if (old != NULL && str_eq(old->facts, facts)) {
        mem_free((void *)facts.p);
        return;
    }
    p->clock++;
    struct engine_node *n = node_make(p, f);
    n->facts = facts;
    n->class = class_of(p, n, f);
    n->version = p->clock;
    routes_hold(p, n);
    routes_touch(p, n);
    node_link(p, n);
    if (old != NULL && is_same_to_others(old, n)) {
        /* Capabilities are told by system, login names by client. */
        bool is_same_to_itself = old->is_mac == n->is_mac && old->has_old_ssh == n->has_old_ssh;
        n->version = is_same_to_itself ? old->version : p->clock;
        list_push_back(is_same_to_itself ? &old->by_version : &p->nodes_by_version, &n->by_version);
    } else {
        engine_view_unref(&p->view);
        sources_count(p, n, 1);
        strays_count(p, n, 1);
        owner_count(p, n, 1);
        if (old != NULL) {
            sources_count(p, old, -1);
            strays_count(p, old, -1);
            owner_count(p, old, -1);
            unseat_node(p, old);
        }
        seat_node(p, n);
        list_push_back(&p->nodes_by_version, &n->by_version);
    }
    map_put(&p->node_by_id, &n->id, sizeof(n->id), n);
    if (old != NULL) {
        routes_touch(p, old);
        routes_release(p, old);
        node_unlink(p, old);
        node_free(old);
    }
}

void engine_remove_node(struct engine *p, uint64_t id)
{
    struct engine_node *n = engine_node_find(p, id);
    if (n == NULL)
        return;
    p->clock++;
    engine_view_unref(&p->view);
    sources_count(p, n, -1);
    strays_count(p, n, -1);
    owner_count(p, n, -1);
    unseat_node(p, n);
    routes_touch(p, n);
    routes_release(p, n);
    map_remove(&p->node_by_id, &n->id, sizeof(n->id));
    node_unlink(p, n);
    node_free(n);
}

void engine_destroy(struct engine **p_ptr)
{
    struct engine *p = *p_ptr;
    *p_ptr = NULL;
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->node_by_id.cap; i++) {
        struct engine_node *n = p->node_by_id.slots[i].value;
        if (n == NULL)
            continue;
        routes_release(p, n);
        node_unlink(p, n);
        node_free(n);
    }
    for (size_t i = 0; i < p->list_n; i++)
        sources_fini(&p->list[i]);
    struct map *maps[] = {&p->owner_by_id,   &p->owner_by_provider,   &p->owner_by_email,
                          &p->owner_by_name, &p->owner_by_lower_name, &p->list_by_key,
                          &p->node_by_id,    &p->class_by_key,        &p->holders_by_route};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_fini(maps[i]);
    engine_view_unref(&p->view);
    class_table_unref(&p->classes);
    seating_fini(&p->seats);
    rolls_fini(&p->in_class);
    rolls_fini(&p->of_owner);
    range_set_fini(&p->tailnet);
    cover_destroy(&p->cover);
    mem_free(p->unit);
    mem_free(p->list);
    mem_free(p->class_at);
    mem_free(p->place);
    policy_doc_unref(&p->doc);
    arena_fini(&p->arena);
    mem_free(p);
}

size_t engine_node_count(const struct engine *p)
{
    return p->node_by_id.n;
}

size_t engine_class_count(const struct engine *p)
{
    return p->class_n;
}

/* --- peers. src: docs/protocol/policy.md 6.1 --- */

/* Within a user's nodes: one of the two is a source of a rule with autogroup:self. */
static bool are_own(const struct engine_node *a, const struct engine_node *b)
{
    return a->owner != NULL && a->owner == b->owner && (a->class->is_self_source || b->class->is_self_source);
}

bool engine_sees(const struct engine *p, uint64_t a, uint64_t b)
{
    const struct engine_node *x = engine_node_find(p, a), *y = engine_node_find(p, b);
    if (x == NULL || y == NULL || x == y)
        return false;
    return bit_get(x->class->row, y->class->index) || are_own(x, y);
}

void engine_peers(const struct engine *p, uint64_t id, void (*visit)(void *ctx, uint64_t peer), void *ctx)
{
    const struct engine_node *n = engine_node_find(p, id);
    if (n == NULL)
        return;
    BITS_EACH (i, n->class->row, bits_words(p->class_cap)) {
        LIST_EACH (it, &p->class_at[i]->nodes) {
            const struct engine_node *peer = LIST_ENTRY(it, struct engine_node, of_class);
            if (peer != n)
                visit(ctx, peer->id);
        }
    }
    if (n->owner == NULL || n->owner->self_sources == 0)
        return;
    LIST_EACH (it, &n->owner->nodes) {
        const struct engine_node *peer = LIST_ENTRY(it, struct engine_node, of_owner);
        if (peer != n && are_own(n, peer) && !bit_get(n->class->row, peer->class->index))
            visit(ctx, peer->id);
    }
}

size_t engine_peer_count(const struct engine *p, uint64_t id)
{
    const struct engine_node *n = engine_node_find(p, id);
    size_t count = 0;
    if (n == NULL)
        return 0;
    BITS_EACH (i, n->class->row, bits_words(p->class_cap))
        count += p->class_at[i]->node_n;
    count -= bit_get(n->class->row, n->class->index);
    if (n->owner == NULL || n->owner->self_sources == 0)
        return count;
    LIST_EACH (it, &n->owner->nodes) {
        const struct engine_node *peer = LIST_ENTRY(it, struct engine_node, of_owner);
        count += peer != n && are_own(n, peer) && !bit_get(n->class->row, peer->class->index);
    }
    return count;
}
