/* Making a class: which rule parts it is a source and destination of, and which classes it sees.
 * src: docs/protocol/policy.md 4.5, 6.1 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "engine/tables.h"

/* --- which rule parts concern a class --- */

static void put_parts(const struct source_list *l, uint64_t *parts)
{
    for (size_t i = 0; i < l->part_n; i++)
        bit_put(parts, l->part[i]);
}

static void find_sources(struct engine *e, struct class *c, const struct engine_node *n, const uint64_t *postures)
{
    BITS_EACH (sel, c->in, e->sel_words) {
        for (size_t i = 0; i < e->sources.by_selector[sel].n; i++) {
            uint32_t list = e->sources.by_selector[sel].v[i];
            if (bit_get(postures, e->sources.list[list].posture))
                bit_put(c->member, list);
        }
    }
    BITS_EACH (list, c->member, e->sources.words)
        put_parts(&e->sources.list[list], c->src);
    /* A router is a source for the addresses behind it. src: docs/protocol/policy.md 5.2 */
    for (size_t i = 0; i < n->route_n; i++) {
        for (size_t k = 0; k < e->sources.n && !n->route[i].is_exit; k++) {
            if (source_list_meets(&e->sources.list[k], &n->route[i].range))
                put_parts(&e->sources.list[k], c->src);
        }
    }
    c->is_self_source = bits_meet(c->member, e->sources.self_lists, e->sources.words);
}

/* Whether a destination of the selector stays in the filter because of the node's routes. `is_exit`: exit routes
 * count. */
static bool routes_keep(const struct engine *e, const struct selector *s, const struct engine_node *n, bool is_exit)
{
    if (s->kind == SEL_INTERNET)
        return is_exit;
    for (uint32_t r = 0; r < s->range_n; r++) {
        const struct sel_range *range = &e->doc->range[s->range_first + r];
        if (engine_node_routes_meet(n, &range->range) || (range->is_in_internet && is_exit))
            return true;
    }
    return false;
}

/* Adds the parts that the node is a destination of because of its routes. Exit routes do not count for companions. */
static void find_routed(struct engine *e, struct class *c, const struct engine_node *n)
{
    for (sel_id sel = 0; n->route_n > 0 && sel < e->doc->sel_n; sel++) {
        const struct selector *s = &e->doc->sel[sel];
        bool by_route = e->rules.dst_parts[sel].n > 0 && routes_keep(e, s, n, false);
        bool by_exit = e->rules.dst_parts[sel].n > 0 && c->is_exit && routes_keep(e, s, n, true);
        for (size_t i = 0; (by_route || by_exit) && i < e->rules.dst_parts[sel].n; i++) {
            if (by_route || e->rules.part[e->rules.dst_parts[sel].v[i]].kind != PART_COMPANION)
                bit_put(c->dst, e->rules.dst_parts[sel].v[i]);
        }
    }
}

/* Whether a grant with `via` may choose the node: it has a tag of `via`, and a route that overlaps a destination, or
 * an exit route when the destination is the internet. Its own addresses do not count.
 * src: docs/protocol/policy.md 5.5 */
static bool is_via_for(const struct engine *e, const struct rule *rule, const struct class *c,
                       const struct engine_node *n)
{
    bool has_tag = false, has_route = false;
    for (size_t i = 0; i < rule->via.n; i++)
        has_tag = has_tag || bit_get(c->in, rule->via.v[i]);
    for (size_t i = 0; has_tag && i < rule->dst_n; i++) {
        const struct selector *s = &e->doc->sel[rule->dst[i].sel];
        has_route = has_route || (s->has_internet && engine_node_has_exit(n));
        for (uint32_t r = 0; s->kind == SEL_ADDRS && r < s->range_n; r++)
            has_route = has_route || engine_node_routes_meet(n, &e->doc->range[s->range_first + r].range);
    }
    return has_route;
}

static void find_destinations(struct engine *e, struct class *c, const struct engine_node *n, const uint64_t *postures)
{
    BITS_EACH (sel, c->in, e->sel_words) {
        for (size_t i = 0; i < e->rules.dst_parts[sel].n; i++) {
            const struct rule_part *part = &e->rules.part[e->rules.dst_parts[sel].v[i]];
            /* The destinations of a companion are the sources of its grant, so the posture applies to them. */
            if (part->kind != PART_COMPANION || bit_get(postures, e->doc->rule[part->rule].posture))
                bit_put(c->dst, e->rules.dst_parts[sel].v[i]);
        }
    }
    find_routed(e, c, n);
    for (size_t i = 0; i < e->rules.via_parts.n; i++) {
        if (is_via_for(e, &e->doc->rule[e->rules.part[e->rules.via_parts.v[i]].rule], c, n))
            bit_put(c->dst, e->rules.via_parts.v[i]);
    }
}

/* --- rows: which classes see each other --- */

static bool classes_see(const struct engine *e, const struct class *a, const struct class *b)
{
    return bits_meet(a->src, b->dst, e->rules.words) || bits_meet(b->src, a->dst, e->rules.words);
}

static void fill_row(struct engine *e, struct class *c)
{
    CLASS_EACH (other, e) {
        if (classes_see(e, c, other)) {
            bit_put(c->row, other->index);
            bit_put(other->row, c->index);
        }
    }
}

/* Doubles the table, and with it the row of each class. */
static void grow_table(struct engine *e)
{
    size_t old_cap = e->classes.cap;
    VEC_COVER(e->classes.at, e->classes.cap, old_cap, 64);
    for (size_t i = 0; i < old_cap; i++) {
        struct class *c = e->classes.at[i];
        uint64_t *row = mem_zalloc(bits_words(e->classes.cap), sizeof(*row));
        memcpy(row, c->row, bits_words(old_cap) * sizeof(*row));
        mem_free(c->row);
        c->row = row;
    }
}

static void add_class(struct engine *e, struct class *c)
{
    if (e->classes.n == e->classes.cap)
        grow_table(e);
    while (e->classes.at[c->index] != NULL)
        c->index++;
    e->classes.at[c->index] = c;
    e->classes.n++;
    c->row = mem_zalloc(bits_words(e->classes.cap), sizeof(*c->row));
}

static struct class *find_or_make(struct engine *e, const struct engine_node *n, const struct str *key,
                                  const uint64_t *in, const uint64_t *postures)
{
    struct class *c = map_get(&e->classes.by_key, key->p, key->len);
    if (c != NULL)
        return c;
    size_t posture_words = bits_words(e->doc->posture_set_n);
    size_t words = e->sel_words + e->sources.words + 2 * e->rules.words + posture_words;
    c = MEM_NEW(struct class);
    c->key = mem_dup(key->p, key->len);
    c->key_len = key->len;
    c->in = mem_zalloc(words, sizeof(*c->in));
    c->member = c->in + e->sel_words;
    c->src = c->member + e->sources.words;
    c->dst = c->src + e->rules.words;
    c->postures = c->dst + e->rules.words;
    c->is_exit = engine_node_has_exit(n);
    c->version = e->clock;
    list_init(&c->nodes);
    memcpy(c->in, in, e->sel_words * sizeof(*in));
    memcpy(c->postures, postures, posture_words * sizeof(*postures));
    find_sources(e, c, n, postures);
    find_destinations(e, c, n, postures);
    add_class(e, c);
    fill_row(e, c);
    view_builder_forget_rows(&e->views);
    map_put(&e->classes.by_key, c->key, c->key_len, c);
    return c;
}

/* --- the class of a node --- */

static void mark_tags(const struct engine *e, const struct engine_facts *f, uint64_t *in)
{
    sel_id sel;
    for (size_t w = 0; w < e->sel_words; w++)
        in[w] |= e->nodes.tagged[w];
    for (size_t i = 0; i < f->tag_n; i++) {
        if (doc_find_selector(e->doc, f->tags[i], &sel) && e->doc->sel[sel].kind == SEL_TAG)
            bit_put(in, sel);
    }
}

static void mark_selectors(struct engine *e, const struct engine_node *n, const struct engine_facts *f, uint64_t *in)
{
    memcpy(in, e->nodes.everyone, e->sel_words * sizeof(*in));
    if (n->owner == NULL) {
        mark_tags(e, f, in);
    } else {
        for (size_t w = 0; w < e->sel_words; w++)
            in[w] |= n->owner->in[w];
    }
    address_index_find(e->addresses, &n->v4, in);
    address_index_find(e->addresses, &n->v6, in);
}

struct class *class_get(struct engine *e, const struct engine_node *n, const struct engine_facts *f)
{
    size_t posture_words = bits_words(e->doc->posture_set_n);
    uint64_t *in = mem_zalloc(e->sel_words + posture_words, sizeof(*in));
    uint64_t *postures = in + e->sel_words;
    struct attr_view attrs = {.own = f->attrs, .own_n = f->attr_n};
    struct buf key = {0};
    mark_selectors(e, n, f, in);
    for (posture_set_id i = 0; i < e->doc->posture_set_n; i++) {
        if (policy_posture_holds(e->doc, i, &attrs))
            bit_put(postures, i);
    }
    buf_append(&key, in, (e->sel_words + posture_words) * sizeof(*in));
    for (size_t i = 0; i < n->route_n; i++) {
        struct range_key route = range_key_of(&n->route[i].range);
        buf_append(&key, &route, sizeof(route));
    }
    struct str key_text = buf_str(&key);
    struct class *c = find_or_make(e, n, &key_text, in, postures);
    buf_fini(&key);
    mem_free(in);
    return c;
}

void class_drop(struct engine *e, struct class *c)
{
    CLASS_EACH (other, e)
        bit_drop(other->row, c->index);
    e->classes.at[c->index] = NULL;
    e->classes.n--;
    view_builder_forget_rows(&e->views);
    map_remove(&e->classes.by_key, c->key, c->key_len);
    buf_fini(&c->caps);
    mem_free(c->row);
    mem_free(c->in);
    mem_free(c->key);
    mem_free(c);
}
