/* Classes: what the units mean to nodes that are alike, and who sees whom. src: docs/protocol/policy.md 4.5, 6.1 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/parts.h"

bool engine_node_routes_meet(const struct engine_node *n, const struct range *r)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit && range_meets(&n->route[i].range, r))
            return true;
    }
    return false;
}

static bool has_exit(const struct engine_node *n)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (n->route[i].is_exit)
            return true;
    }
    return false;
}

bool engine_node_keeps(const struct engine_node *n, const struct sel_range *e)
{
    return range_holds(&e->range, &n->v4) || range_holds(&e->range, &n->v6) || engine_node_routes_meet(n, &e->range) ||
           (e->is_in_internet && has_exit(n));
}

/* --- units --- */

static void put_units(const struct engine *p, const struct source_list *l, uint64_t *units)
{
    (void)p;
    for (size_t i = 0; i < l->unit_n; i++)
        bit_put(units, l->unit[i]);
}

static void find_sources(struct engine *p, struct class *c, const struct engine_node *n, const uint64_t *fit)
{
    BITS_EACH (sel, c->in, p->sel_words) {
        for (size_t i = 0; i < p->src_lists_n[sel]; i++) {
            uint32_t list = p->src_lists[sel][i];
            if (bit_get(fit, p->list[list].posture))
                bit_put(c->member, list);
        }
    }
    BITS_EACH (list, c->member, p->list_words)
        put_units(p, &p->list[list], c->src);
    /* A router stands for its routes. src: docs/protocol/policy.md 5.2 */
    for (size_t i = 0; i < n->route_n; i++) {
        for (size_t k = 0; k < p->list_n && !n->route[i].is_exit; k++) {
            if (sources_meets(&p->list[k], &n->route[i].range))
                put_units(p, &p->list[k], c->src);
        }
    }
    c->is_self_source = bits_meet(c->member, p->self_lists, p->list_words);
}

/* Whether the class's routes keep something of an address selector; `is_exit`: exit routes count. */
static bool routes_keep(const struct engine *p, const struct selector *s, const struct engine_node *n, bool is_exit)
{
    if (s->kind == SEL_INTERNET)
        return is_exit;
    for (uint32_t e = 0; e < s->range_n; e++) {
        const struct sel_range *entry = &p->doc->range[s->range_first + e];
        if (engine_node_routes_meet(n, &entry->range) || (entry->is_in_internet && is_exit))
            return true;
    }
    return false;
}

/* What the node's routes make it a destination of. Backwards, sources are reached by address and route only. */
static void find_routed(struct engine *p, struct class *c, const struct engine_node *n)
{
    for (sel_id sel = 0; n->route_n > 0 && sel < p->doc->sel_n; sel++) {
        const struct selector *s = &p->doc->sel[sel];
        bool by_route = p->dst_units_n[sel] > 0 && routes_keep(p, s, n, false);
        bool by_exit = p->dst_units_n[sel] > 0 && c->is_exit && routes_keep(p, s, n, true);
        for (size_t i = 0; (by_route || by_exit) && i < p->dst_units_n[sel]; i++) {
            if (by_route || p->unit[p->dst_units[sel][i]].kind != UNIT_BACK)
                bit_put(c->dst, p->dst_units[sel][i]);
        }
    }
}

/* src: docs/protocol/policy.md 5.5. Prefixes that overlap a route, or the internet of an exit node: own addresses do
 * not count. */
static bool is_via_for(const struct engine *p, const struct rule *rule, const struct class *c,
                       const struct engine_node *n)
{
    bool has_tag = false, has_route = false;
    for (size_t i = 0; i < rule->via.n; i++)
        has_tag = has_tag || bit_get(c->in, rule->via.v[i]);
    for (size_t i = 0; has_tag && i < rule->dst_n; i++) {
        const struct selector *s = &p->doc->sel[rule->dst[i].sel];
        has_route = has_route || (s->has_internet && has_exit(n));
        for (uint32_t e = 0; s->kind == SEL_ADDRS && e < s->range_n; e++)
            has_route = has_route || engine_node_routes_meet(n, &p->doc->range[s->range_first + e].range);
    }
    return has_route;
}

static void find_destinations(struct engine *p, struct class *c, const struct engine_node *n, const uint64_t *fit)
{
    BITS_EACH (sel, c->in, p->sel_words) {
        for (size_t i = 0; i < p->dst_units_n[sel]; i++) {
            const struct unit *u = &p->unit[p->dst_units[sel][i]];
            /* Backwards, the destinations are the grant's sources. */
            if (u->kind != UNIT_BACK || bit_get(fit, p->doc->rule[u->rule].posture))
                bit_put(c->dst, p->dst_units[sel][i]);
        }
    }
    find_routed(p, c, n);
    for (size_t i = 0; i < p->via_unit_n; i++) {
        if (is_via_for(p, &p->doc->rule[p->unit[p->via_unit[i]].rule], c, n))
            bit_put(c->dst, p->via_unit[i]);
    }
}

/* --- the table --- */

static bool classes_see(const struct engine *p, const struct class *a, const struct class *b)
{
    return bits_meet(a->src, b->dst, p->unit_words) || bits_meet(b->src, a->dst, p->unit_words);
}

static void fill_row(struct engine *p, struct class *c)
{
    CLASS_EACH (other, p) {
        if (classes_see(p, c, other)) {
            bit_put(c->row, other->index);
            bit_put(other->row, c->index);
        }
    }
}

static void grow_table(struct engine *p)
{
    size_t cap = p->class_cap > 0 ? p->class_cap * 2 : 64;
    size_t words = bits_words(p->class_cap);
    p->class_at = mem_realloc_array(p->class_at, cap, sizeof(*p->class_at));
    for (size_t i = p->class_cap; i < cap; i++)
        p->class_at[i] = NULL;
    for (size_t i = 0; i < p->class_cap; i++) {
        struct class *c = p->class_at[i];
        uint64_t *row = mem_zalloc(bits_words(cap), sizeof(*row));
        memcpy(row, c->row, words * sizeof(*row));
        mem_free(c->row);
        c->row = row;
    }
    p->class_cap = cap;
}

static void place_class(struct engine *p, struct class *c)
{
    if (p->class_n == p->class_cap)
        grow_table(p);
    while (p->class_at[c->index] != NULL)
        c->index++;
    p->class_at[c->index] = c;
    p->class_n++;
    c->row = mem_zalloc(bits_words(p->class_cap), sizeof(*c->row));
}

struct class *class_get(struct engine *p, const struct engine_node *n, const struct str *key, const uint64_t *in,
                        const uint64_t *fit)
{
    struct class *c = map_get(&p->class_by_key, key->p, key->len);
    if (c != NULL)
        return c;
    size_t fit_words = bits_words(p->doc->posture_set_n);
    size_t words = p->sel_words + p->list_words + 2 * p->unit_words + fit_words;
    c = MEM_NEW(struct class);
    c->key = mem_dup(key->p, key->len);
    c->key_len = key->len;
    c->in = mem_zalloc(words, sizeof(*c->in));
    c->member = c->in + p->sel_words;
    c->src = c->member + p->list_words;
    c->dst = c->src + p->unit_words;
    c->fit = c->dst + p->unit_words;
    c->is_exit = has_exit(n);
    c->version = p->clock;
    list_init(&c->nodes);
    memcpy(c->in, in, p->sel_words * sizeof(*in));
    memcpy(c->fit, fit, fit_words * sizeof(*fit));
    find_sources(p, c, n, fit);
    find_destinations(p, c, n, fit);
    place_class(p, c);
    fill_row(p, c);
    class_table_unref(&p->classes);
    map_put(&p->class_by_key, c->key, c->key_len, c);
    return c;
}

void class_drop(struct engine *p, struct class *c)
{
    CLASS_EACH (other, p)
        bit_drop(other->row, c->index);
    p->class_at[c->index] = NULL;
    p->class_n--;
    class_table_unref(&p->classes);
    map_remove(&p->class_by_key, c->key, c->key_len);
    buf_fini(&c->caps);
    mem_free(c->row);
    mem_free(c->in);
    mem_free(c->key);
    mem_free(c);
}
