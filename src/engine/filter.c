/* The packet filter of a node. src: docs/protocol/policy.md 4, 5
 *
 * Each rule contributes a few fragments in a fixed order. Fragments with the same sources and protocol are merged
 * into one rule of the filter. Its position is that of the first such fragment of the whole tailnet (4.4), even if
 * that fragment has no destination on this node. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "engine/sources.h"
#include "engine/tables.h"

struct filter_fragment {
    uint32_t order;
    uint32_t slot_order; /* the order of its slot, or its own */
    const struct rule *rule;
    enum filter_phase phase;
    uint32_t ip; /* index in rule->ip */
    uint32_t proto;
    uint64_t hash[2];
    struct str sources;
};

struct filter_builder {
    struct engine *e;
    const struct engine_node *n;
    struct filter_fragment *v; /* heap */
    size_t fragment_n, cap;
    struct arena scratch;
    struct buf *out;
    bool is_hashed; /* for fingerprints: a source list is written as its hash */
};

/* The index of autogroup:self among the destinations of an ACL, or their number. */
static size_t self_index(const struct engine *e, const struct rule *rule)
{
    size_t i = 0;
    while (i < rule->dst_n && e->doc->sel[rule->dst[i].sel].kind != SEL_SELF)
        i++;
    return i;
}

/* --- fragments --- */

static struct filter_fragment *add_fragment(struct filter_builder *b, const struct rule *rule, enum filter_phase phase,
                                            uint32_t ip)
{
    struct filter_fragment fragment = {.rule = rule, .phase = phase, .ip = ip};
    fragment.order = fragment.slot_order = merge_order(b->e->doc, rule, (uint32_t)phase + ip);
    VEC_PUSH(b->v, b->fragment_n, b->cap, fragment);
    return &b->v[b->fragment_n - 1];
}

/* One fragment for each protocol of the rule. */
static void add_ip(struct filter_builder *b, const struct rule *rule, enum filter_phase phase, struct str sources,
                   const uint64_t hash[2])
{
    for (uint32_t i = 0; i < rule->ip_n; i++) {
        struct filter_fragment *fragment = add_fragment(b, rule, phase, i);
        fragment->proto = rule->ip[i].proto;
        fragment->sources = sources;
        memcpy(fragment->hash, hash, sizeof(fragment->hash));
        const struct merge_slot *at = merge_slot_find(&b->e->merges, hash, fragment->proto);
        if (at->order != 0 && at->order < fragment->slot_order)
            fragment->slot_order = at->order;
    }
}

/* The text of the sources, or their hash. */
static struct str sources_of(struct filter_builder *b, struct source_list *l)
{
    uint64_t hash[2];
    if (!b->is_hashed)
        return sources_text(b->e, l);
    sources_hash(b->e, l, hash);
    return str_c(arena_printf(&b->scratch, "%016llx%016llx", (unsigned long long)hash[0], (unsigned long long)hash[1]));
}

/* The fragments of a rule part. */
static void add_part(struct filter_builder *b, const struct rule_part *part)
{
    struct engine *e = b->e;
    const struct rule *rule = &e->doc->rule[part->rule];
    struct source_list *l = &e->sources.list[part->list];
    struct str sources = sources_of(b, l);
    uint64_t hash[2];
    if (part->kind == PART_COMPANION) {
        if (rule->has_drive)
            add_fragment(b, rule, PHASE_DRIVE, 0)->sources = sources;
        if (rule->has_relay)
            add_fragment(b, rule, PHASE_RELAY, 0)->sources = sources;
        return;
    }
    if (rule->app.len > 0 && part->kind == PART_RULE)
        add_fragment(b, rule, PHASE_APP, 0)->sources = sources;
    if (rule->ip_n == 0 || sources_is_empty(e, l))
        return;
    sources_hash(e, l, hash);
    if (merge_has_before_self(e->doc, rule))
        add_ip(b, rule, PHASE_BEFORE_SELF, sources, hash);
    if (rule->is_acl && self_index(e, rule) + 1 < rule->dst_n)
        add_ip(b, rule, PHASE_AFTER_SELF, sources, hash);
}

/* The fragments of a rule with autogroup:self. src: docs/protocol/policy.md 5.3 */
static void add_self(struct filter_builder *b, const struct rule *rule, uint32_t list)
{
    uint64_t hash[2], unused[2];
    struct buf text = {0}, all = {0};
    sources_own_text(b->n->owner, list, false, &text, hash);
    struct str sources = arena_str(&b->scratch, buf_str(&text));
    bool has_sources = sources.len > 2;
    buf_fini(&text);
    if (has_sources)
        add_ip(b, rule, PHASE_SELF, sources, hash);
    if (rule->app.len > 0 && has_sources)
        add_fragment(b, rule, PHASE_APP_SELF, 0)->sources = sources;
    if (!engine_node_in_list(b->n, list) || (!rule->has_drive && !rule->has_relay))
        return;
    sources_own_text(b->n->owner, list, true, &all, unused);
    sources = arena_str(&b->scratch, buf_str(&all));
    buf_fini(&all);
    if (rule->has_drive)
        add_fragment(b, rule, PHASE_DRIVE_SELF, 0)->sources = sources;
    if (rule->has_relay)
        add_fragment(b, rule, PHASE_RELAY_SELF, 0)->sources = sources;
}

static int compare_fragments(const void *a, const void *b)
{
    const struct filter_fragment *x = a, *y = b;
    if (x->slot_order != y->slot_order)
        return x->slot_order < y->slot_order ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static bool is_same_rule(const struct filter_fragment *a, const struct filter_fragment *b)
{
    return a->phase < PHASE_APP && b->phase < PHASE_APP && a->proto == b->proto && a->hash[0] == b->hash[0] &&
           a->hash[1] == b->hash[1];
}

/* The merge table does not have the sources of autogroup:self, which differ by user: such a fragment may come before
 * all others with the same sources. */
static void settle_orders(struct filter_builder *b)
{
    for (size_t i = 0; i < b->fragment_n; i++) {
        const struct filter_fragment *self = &b->v[i];
        if (self->phase != PHASE_SELF)
            continue;
        for (size_t k = 0; k < b->fragment_n; k++) {
            if (is_same_rule(&b->v[k], self) && b->v[k].slot_order > self->order)
                b->v[k].slot_order = self->order;
        }
    }
    if (b->fragment_n > 1)
        qsort(b->v, b->fragment_n, sizeof(*b->v), compare_fragments);
}

/* --- text --- */

static void put_comma(struct buf *out, bool *has_some)
{
    if (*has_some)
        buf_append_byte(out, ',');
    *has_some = true;
}

static void put_port(struct buf *out, unsigned port)
{
    char text[5];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + port % 10);
        port /= 10;
    } while (port > 0);
    buf_append(out, text + at, sizeof(text) - at);
}

/* Most of a filter consists of these, so printf would be too slow. */
static void put_dst(struct filter_builder *b, struct str ip, const struct port_list *ports, bool *has_some)
{
    for (size_t i = 0; i < ports->n; i++) {
        put_comma(b->out, has_some);
        buf_append_str(b->out, STR("{\"IP\":\""));
        buf_append_str(b->out, ip);
        buf_append_str(b->out, STR("\",\"Ports\":{\"First\":"));
        put_port(b->out, ports->v[i].first);
        buf_append_str(b->out, STR(",\"Last\":"));
        put_port(b->out, ports->v[i].last);
        buf_append_str(b->out, STR("}}"));
    }
}

static void put_own_dst(struct filter_builder *b, const struct port_list *ports, bool *has_some)
{
    if (b->n->v4.family != 0)
        put_dst(b, str_c(b->n->text4), ports, has_some);
    if (b->n->v6.family != 0)
        put_dst(b, str_c(b->n->text6), ports, has_some);
}

static void put_selector_dst(struct filter_builder *b, const struct rule *rule, sel_id sel,
                             const struct port_list *ports, bool *has_some)
{
    const struct policy_doc *doc = b->e->doc;
    const struct selector *s = &doc->sel[sel];
    if (s->kind == SEL_ADDRS || s->kind == SEL_INTERNET) {
        for (uint32_t i = 0; i < s->range_n; i++) {
            const struct sel_range *range = &doc->range[s->range_first + i];
            bool is_kept;
            if (s->kind == SEL_INTERNET)
                is_kept = b->n->class->is_exit;
            else if (rule->via.n > 0)
                is_kept = engine_node_routes_meet(b->n, &range->range) ||
                          (s->has_internet && range->is_in_internet && b->n->class->is_exit);
            else
                is_kept = engine_node_keeps(b->n, range);
            if (is_kept)
                put_dst(b, range->text, ports, has_some);
        }
    } else if (rule->via.n > 0) {
        return;
    } else if (s->kind == SEL_STAR) {
        put_dst(b, STR("*"), ports, has_some);
    } else if (engine_node_is(b->n, sel)) {
        put_own_dst(b, ports, has_some);
    }
}

static void put_fragment_dst(struct filter_builder *b, const struct filter_fragment *fragment, bool *has_some)
{
    const struct rule *rule = fragment->rule;
    size_t self = self_index(b->e, rule), from = 0, to = rule->dst_n;
    if (rule->is_acl && fragment->phase == PHASE_BEFORE_SELF)
        to = self;
    if (rule->is_acl && fragment->phase != PHASE_BEFORE_SELF)
        from = self + (fragment->phase == PHASE_AFTER_SELF);
    if (rule->is_acl && fragment->phase == PHASE_SELF)
        to = self + 1;
    for (size_t i = from; i < to; i++) {
        const struct port_list *ports = rule->is_acl ? &rule->dst[i].ports : &rule->ip[fragment->ip].ports;
        bool is_self = b->e->doc->sel[rule->dst[i].sel].kind == SEL_SELF;
        if (is_self && fragment->phase == PHASE_SELF)
            put_own_dst(b, ports, has_some);
        else if (!is_self && fragment->phase != PHASE_SELF)
            put_selector_dst(b, rule, rule->dst[i].sel, ports, has_some);
    }
}

static void put_sources(struct filter_builder *b, struct str sources, bool *has_rules)
{
    put_comma(b->out, has_rules);
    buf_append_c(b->out, "{\"SrcIPs\":");
    buf_append_str(b->out, sources);
}

/* Writes the fragments v[0..n), which make one rule; nothing when they have no destination. */
static void put_ip_rule(struct filter_builder *b, const struct filter_fragment *v, size_t n, bool *has_rules)
{
    size_t start = b->out->end;
    bool had_rules = *has_rules, has_dst = false;
    put_sources(b, v->sources, has_rules);
    buf_append_c(b->out, ",\"DstPorts\":[");
    for (size_t i = 0; i < n; i++)
        put_fragment_dst(b, &v[i], &has_dst);
    buf_append_byte(b->out, ']');
    if (v->proto != 0)
        buf_printf(b->out, ",\"IPProto\":[%u]", v->proto);
    buf_append_byte(b->out, '}');
    if (!has_dst) {
        b->out->end = start;
        *has_rules = had_rules;
    }
}

/* --- capabilities. src: docs/protocol/policy.md 4.3, 4.5 --- */

static void put_prefix(struct filter_builder *b, const struct range *prefix, bool *has_some)
{
    char text[RANGE_TEXT_CAP];
    size_t n = range_format_prefix(prefix, text);
    put_comma(b->out, has_some);
    buf_append_byte(b->out, '"');
    buf_append(b->out, text, n);
    buf_append_byte(b->out, '"');
}

static void put_own_prefixes(struct filter_builder *b, const struct range *within, bool *has_some)
{
    for (int family = 4; family <= 6; family += 2) {
        struct range own = engine_node_range(b->n, family);
        if (own.family != 0 && (within == NULL || range_holds(within, &own)))
            put_prefix(b, &own, has_some);
    }
}

static void put_range_prefixes(struct filter_builder *b, const struct sel_range *range, bool *has_some)
{
    put_own_prefixes(b, &range->range, has_some);
    if (!engine_node_routes_meet(b->n, &range->range) && !(range->is_in_internet && b->n->class->is_exit))
        return;
    struct range rest = range->range, prefix;
    while (range_take_prefix(&rest, &prefix))
        put_prefix(b, &prefix, has_some);
}

static void put_selector_prefixes(struct filter_builder *b, sel_id sel, bool *has_some)
{
    const struct policy_doc *doc = b->e->doc;
    const struct selector *s = &doc->sel[sel];
    for (uint32_t i = 0; s->kind == SEL_ADDRS && i < s->range_n; i++)
        put_range_prefixes(b, &doc->range[s->range_first + i], has_some);
    if (s->kind != SEL_ADDRS && s->kind != SEL_SELF && engine_node_is(b->n, sel))
        put_own_prefixes(b, NULL, has_some);
}

static bool satisfies_posture(const struct filter_builder *b, const struct rule *rule)
{
    return rule->posture == 0 || engine_node_in_list(b->n, b->e->rules.rule_list[rule - b->e->doc->rule]);
}

/* Whether a source of the grant holds this address of the node. */
static bool is_companion_dst(const struct filter_builder *b, const struct rule *rule, const struct range *own)
{
    const struct policy_doc *doc = b->e->doc;
    for (size_t i = 0; i < rule->src.n; i++) {
        const struct selector *s = &doc->sel[rule->src.v[i]];
        if (s->kind != SEL_ADDRS && engine_node_is(b->n, rule->src.v[i]))
            return true;
        for (uint32_t k = 0; s->kind == SEL_ADDRS && k < s->range_n; k++) {
            if (range_holds(&doc->range[s->range_first + k].range, own))
                return true;
        }
    }
    return false;
}

/* Writes the grant's sources as destinations of its companion. */
static void put_companion_prefixes(struct filter_builder *b, const struct rule *rule, bool *has_some)
{
    const struct policy_doc *doc = b->e->doc;
    for (int family = 4; family <= 6; family += 2) {
        struct range own = engine_node_range(b->n, family);
        if (own.family != 0 && satisfies_posture(b, rule) && is_companion_dst(b, rule, &own))
            put_prefix(b, &own, has_some);
    }
    for (size_t i = 0; i < rule->src.n; i++) {
        const struct selector *s = &doc->sel[rule->src.v[i]];
        for (uint32_t k = 0; s->kind == SEL_ADDRS && k < s->range_n; k++) {
            struct range rest = doc->range[s->range_first + k].range, prefix;
            if (!engine_node_routes_meet(b->n, &rest))
                continue;
            while (range_take_prefix(&rest, &prefix))
                put_prefix(b, &prefix, has_some);
        }
    }
}

/* Writes one {"Dsts": ..., "CapMap": ...}; nothing when there is no destination. */
static void put_grant(struct filter_builder *b, const struct filter_fragment *fragment, sel_id sel, bool *has_some)
{
    static const char *const companion[] = {"drive-sharer", "relay-target"};
    size_t start = b->out->end;
    bool had_some = *has_some, has_dst = false;
    put_comma(b->out, has_some);
    buf_append_c(b->out, "{\"Dsts\":[");
    switch (fragment->phase) {
    case PHASE_APP: put_selector_prefixes(b, sel, &has_dst); break;
    case PHASE_DRIVE:
    case PHASE_RELAY: put_companion_prefixes(b, fragment->rule, &has_dst); break;
    default: put_own_prefixes(b, NULL, &has_dst); break;
    }
    buf_append_c(b->out, "],\"CapMap\":");
    if (fragment->phase == PHASE_APP || fragment->phase == PHASE_APP_SELF)
        buf_append_str(b->out, fragment->rule->app);
    else
        buf_printf(b->out, "{\"tailscale.com/cap/%s\":null}",
                   companion[fragment->phase == PHASE_RELAY || fragment->phase == PHASE_RELAY_SELF]);
    buf_append_byte(b->out, '}');
    if (!has_dst) {
        b->out->end = start;
        *has_some = had_some;
    }
}

static void put_cap_rule(struct filter_builder *b, const struct filter_fragment *fragment, bool *has_rules)
{
    size_t start = b->out->end;
    bool had_rules = *has_rules, has_some = false;
    put_sources(b, fragment->sources, has_rules);
    buf_append_c(b->out, ",\"CapGrant\":[");
    for (size_t i = 0; fragment->phase == PHASE_APP && i < fragment->rule->dst_n; i++)
        put_grant(b, fragment, fragment->rule->dst[i].sel, &has_some);
    if (fragment->phase != PHASE_APP)
        put_grant(b, fragment, 0, &has_some);
    buf_append_c(b->out, "]}");
    if (!has_some) {
        b->out->end = start;
        *has_rules = had_rules;
    }
}

static void put_rules(struct filter_builder *b)
{
    bool has_rules = false;
    size_t n;
    buf_append_byte(b->out, '[');
    for (size_t i = 0; i < b->fragment_n; i += n) {
        n = 1;
        if (b->v[i].phase >= PHASE_APP) {
            put_cap_rule(b, &b->v[i], &has_rules);
            continue;
        }
        while (i + n < b->fragment_n && is_same_rule(&b->v[i], &b->v[i + n]))
            n++;
        put_ip_rule(b, &b->v[i], n, &has_rules);
    }
    buf_append_byte(b->out, ']');
}

static void make_filter(struct engine *e, const struct engine_node *n, bool is_hashed, struct buf *out)
{
    struct filter_builder b = {.e = e, .n = n, .out = out, .is_hashed = is_hashed};
    merge_slots_fill(e);
    BITS_EACH (u, n->class->dst, e->rules.words)
        add_part(&b, &e->rules.part[u]);
    for (size_t i = 0; n->owner != NULL && i < e->rules.self_rules.n; i++)
        add_self(&b, &e->doc->rule[e->rules.self_rules.v[i]], e->rules.rule_list[e->rules.self_rules.v[i]]);
    settle_orders(&b);
    put_rules(&b);
    mem_free(b.v);
    arena_fini(&b.scratch);
}

void engine_filter(struct engine *e, uint64_t id, struct buf *out)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n != NULL)
        make_filter(e, n, false, out);
    else
        buf_append_c(out, "[]");
}

uint64_t engine_fingerprint(struct engine *e, uint64_t id)
{
    static const uint64_t seed[2] = {5, 6};
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    struct buf out = {0};
    if (n == NULL)
        return 0;
    make_filter(e, n, true, &out);
    engine_ssh(e, id, "", &out);
    engine_self_caps(e, id, &out);
    uint64_t hash = siphash13(seed, buf_at(&out), buf_len(&out));
    buf_fini(&out);
    return hash != 0 ? hash : 1;
}
